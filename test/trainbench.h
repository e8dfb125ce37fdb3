/* What the tests of training share: a small data set, small networks, and one training from nothing as a value. Included by one test program each. */
#ifndef ADZE_TEST_TRAINBENCH_H
#define ADZE_TEST_TRAINBENCH_H

#include "adze/train.h"
#include "base/base.h"
#include "faulty.h"
#include "train/options.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { N = 200, SIDE = 8, CLASSES = 4, TINY_N = 40 };

/* Not every program needs everything here. */
#define MAYBE __attribute__((unused))
static const char plain_net[] MAYBE =
    "{\"name\":\"plain\",\"input\":[8,8,1],\"layers\":[{\"type\":\"conv\",\"name\":\"c1\",\"filters\":8,\"kernel\":3,\"pad\":\"same\","
    "\"activation\":\"relu\"},{\"type\":\"maxpool\",\"name\":\"p1\",\"size\":2,\"stride\":2},{\"type\":\"flatten\",\"name\":\"f\"},"
    "{\"type\":\"dense\",\"name\":\"fc1\",\"units\":16,\"activation\":\"tanh\"},{\"type\":\"dense\",\"name\":\"fc2\",\"units\":4}]}";
static const char full_net[] MAYBE =
    "{\"name\":\"full\",\"input\":[10,10,1],\"layers\":[{\"type\":\"conv\",\"name\":\"c1\",\"filters\":8,\"kernel\":3,\"pad\":\"same\"},"
    "{\"type\":\"batchnorm\",\"name\":\"bn1\"},{\"type\":\"activation\",\"name\":\"a1\",\"fn\":\"relu\"},"
    "{\"type\":\"maxpool\",\"name\":\"p1\",\"size\":2,\"stride\":2},{\"type\":\"flatten\",\"name\":\"f\"},"
    "{\"type\":\"dropout\",\"name\":\"d1\",\"p\":0.2},{\"type\":\"dense\",\"name\":\"fc1\",\"units\":4}]}";
static const char drop_net[] MAYBE =
    "{\"name\":\"drop\",\"input\":[8,8,1],\"layers\":[{\"type\":\"flatten\",\"name\":\"f\"},{\"type\":\"dropout\",\"name\":\"d1\",\"p\":0.3},"
    "{\"type\":\"dense\",\"name\":\"fc1\",\"units\":16,\"activation\":\"tanh\"},{\"type\":\"dense\",\"name\":\"fc2\",\"units\":4}]}";
static const char tiny_net[] MAYBE =
    "{\"name\":\"tiny\",\"input\":[8,8,1],\"layers\":[{\"type\":\"flatten\",\"name\":\"f\"},{\"type\":\"dense\",\"name\":\"fc1\",\"units\":4}]}";

static uint8_t pixels[N * SIDE * SIDE];
static int64_t labels[N];

/* Four classes: a bright bar in one quarter of the image, in noise. */
static void make_data(void) {
    adze_rng r = adze_rng_make(99, 1);
    for (int i = 0; i < N; i++) {
        int c = (int)adze_rng_below(&r, CLASSES);
        labels[i] = c;
        for (int k = 0; k < SIDE * SIDE; k++) {
            int quarter = k / SIDE / (SIDE / 2) * 2 + k % SIDE / (SIDE / 2);
            pixels[i * SIDE * SIDE + k] = (uint8_t)((quarter == c ? 90 : 0) + adze_rng_below(&r, 140));
        }
    }
}

static MAYBE int prepare(void **state) {
    (void)state;
    make_data();
    return 0;
}

typedef struct bench { /* one training from nothing */
    adze_ctx *ctx;
    adze_model *model;
    adze_dataset *data;
    adze_trainer *t;
    adze_callbacks cb;
    int64_t stop_at;  /* step after which the callback asks to stop; 0: never */
    uint64_t hash[2]; /* of the store after the last good step */
    bool hash_steps;
    double losses[400];
    int64_t nlosses;
    char notes[4096];
} bench;

typedef struct setting {
    const char *net;
    int threads;
    int64_t count;
    size_t mem_limit; /* 0: none */
    const adze_mem *mem;
    const adze_fs *fs;
    const char *dir;
    adze_train_opts o;
} setting;

static MAYBE setting usual(const char *net) {
    setting s = {.net = net, .threads = 2, .count = N};
    adze_fields_default(adze_train_fields(), &s.o);
    s.o.epochs = 2;
    s.o.batch = 16;
    s.o.val_count = 40;
    return s;
}

static void take_note(void *user, adze_level level, const char *message) {
    bench *b = user;
    (void)level;
    snprintf(b->notes + strlen(b->notes), sizeof b->notes - strlen(b->notes), "%s\n", message);
}

static int on_step(void *user, adze_trainer *t, int64_t step, int64_t steps_per_epoch, double loss, double lr) {
    bench *b = user;
    (void)steps_per_epoch;
    (void)lr;
    if (b->nlosses < (int64_t)ADZE_COUNT(b->losses)) {
        b->losses[b->nlosses++] = loss;
    }
    if (b->hash_steps) {
        assert_int_equal(adze_store_hash(adze_trainer_store(t), b->hash), ADZE_OK);
    }
    return step == b->stop_at;
}

static MAYBE int bench_open(bench *b, const setting *s) {
    *b = (bench){.stop_at = b->stop_at, .hash_steps = b->hash_steps};
    b->cb = (adze_callbacks){.user = b, .step_end = on_step};
    adze_ctx_opts o = {
        .size = sizeof o, .threads = s->threads, .mem_limit = s->mem_limit, .mem = s->mem, .fs = s->fs, .log = take_note, .log_user = b};
    const int64_t dims[3] = {SIDE, SIDE, 1};
    TRY(adze_ctx_new(&o, &b->ctx));
    TRY(adze_model_from_json(b->ctx, s->net, strlen(s->net), "net.json", &b->model));
    TRY(adze_dataset_from_memory(b->ctx, adze_type_make(ADZE_U8, 3, dims), pixels, labels, s->count, CLASSES, &b->data));
    return adze_trainer_new(b->ctx, b->model, b->data, &s->o, s->dir, &b->cb, &b->t);
}

static MAYBE void bench_close(bench *b) {
    adze_trainer_free(b->t);
    adze_dataset_close(b->data);
    adze_model_free(b->model);
    adze_ctx_free(b->ctx);
    b->t = NULL;
    b->data = NULL;
    b->model = NULL;
    b->ctx = NULL;
}

static MAYBE void must(const bench *b, int st) {
    if (st != ADZE_OK) {
        fail_msg("%s: %s", adze_status_name(st), adze_errmsg(b->ctx));
    }
}

static MAYBE void must_say(const bench *b, const char *what) {
    if (strstr(adze_errmsg(b->ctx), what) == NULL) {
        fail_msg("expected '%s' in: %s", what, adze_errmsg(b->ctx));
    }
}

/* Trains to the end; the hash of the store goes into b->hash. */
static MAYBE void train(bench *b, const setting *s, bool resume) {
    adze_stop why;
    must(b, bench_open(b, s));
    if (resume) {
        must(b, adze_trainer_resume(b->t));
    }
    must(b, adze_trainer_run(b->t, &why));
    assert_int_equal(why, ADZE_STOP_EPOCHS);
    must(b, adze_store_hash(adze_trainer_store(b->t), b->hash));
}

/* The same, stopped after some step, with another process's worth of forgetting between; the folder stays, for the caller to drop. */
static MAYBE void train_in_two(bench *b, setting *s, char *dir, size_t n, int64_t stop_at) {
    bench first = {.stop_at = stop_at};
    faulty_folder(dir, n);
    s->dir = dir;
    must(&first, bench_open(&first, s));
    assert_int_equal(adze_trainer_run(first.t, NULL), ADZE_ESTOPPED);
    bench_close(&first);
    *b = (bench){0};
    train(b, s, true);
}

static MAYBE void same_hash(const bench *a, const bench *b, const char *what) {
    if (memcmp(a->hash, b->hash, sizeof a->hash) != 0) {
        fail_msg("%s changed the bits", what);
    }
}

static MAYBE setting everything(void) { /* shuffling, augmentation, dropout, batch statistics, a remainder batch, clipping, accumulation */
    setting s = usual(full_net);
    s.o.shift = 1;
    s.o.hflip = true;
    strcpy(s.o.augment, "noise,mixup:alpha=1:p=0.5,cutmix:p=0.5");
    s.o.clip_norm = 0.5;
    s.o.accumulate = 2;
    s.o.optimizer = ADZE_ADAM;
    s.o.batch = 24;
    return s;
}

#endif
