/* The demonstration `order`: a net of tanh units learns which of two symbols came first and which second, with clipped gradients and without. The
 * task is 6a of Hochreiter and Schmidhuber 1997, in the form of Pascanu, Mikolov and Bengio 2013, section 4.1: sequences of one length. */
#include "train/demo.h"
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>

enum { SYMBOLS = 6, BATCH = 20, EPOCH = 250, FRESH = 1000, RUNS = 5, SMOOTH = 25 }; /* EPOCH: updates between two judgements, at most */

/* Four distractors, and at a tenth or two and at four or five tenths of the length one of two symbols: four classes. */
static void sequences(int64_t count, int64_t length, uint64_t seed, uint8_t *x, int64_t *label) {
    adze_rng r = adze_rng_make(seed, adze_hash_str("order"));
    for (int64_t i = 0; i < count; i++, x += length * SYMBOLS) {
        const int64_t at[2] = {adze_rng_range(&r, length / 10, length / 5), adze_rng_range(&r, 2 * length / 5, length / 2)};
        label[i] = 0;
        for (int64_t t = 0; t < length; t++) {
            const bool tells = t == at[0] || t == at[1];
            const int64_t symbol = tells ? adze_rng_range(&r, 0, 1) : adze_rng_range(&r, 2, SYMBOLS - 1);
            label[i] = tells ? 2 * label[i] + symbol : label[i];
            x[t * SYMBOLS + symbol] = UINT8_MAX;
        }
    }
}

typedef struct attempt { /* one training */
    double steepest;     /* norm of a gradient before it is clipped */
    double loss, solved; /* sum since the last point of the track; updates until it was, or NaN */
    adze_findings *f;
    adze_track *track; /* or NULL */
} attempt;

static int look(void *user, adze_trainer *t, int64_t step, int64_t per_epoch, double loss, double lr) {
    attempt *a = user;
    double norm;
    (void)per_epoch, (void)lr;
    TRY(adze_steps_norm(&t->steps, true, &norm));
    a->steepest = fmax(a->steepest, norm);
    a->loss += loss / SMOOTH;
    if (step % SMOOTH == 0) {
        if (a->track != NULL) {
            adze_found_point(a->f, a->track, (double)step, a->loss);
        }
        a->loss = 0;
    }
    return ADZE_OK;
}

static int judge(void *user, adze_trainer *t, const adze_epoch_stats *s) {
    (void)t;
    if (s->val_acc >= 0.99) {
        ((attempt *)user)->solved = (double)s->step;
        return ADZE_ESTOPPED;
    }
    return ADZE_OK;
}

/* One that diverges has failed, and is no failure of the demonstration. */
static int run_once(const adze_demo *d, adze_model *m, const adze_dataset *data, const adze_train_opts *o, attempt *a) {
    const adze_callbacks cb = {.user = a, .step_end = look, .epoch_end = judge};
    adze_trainer *t = NULL;
    a->solved = (double)NAN;
    int st = adze_trainer_new(d->ctx, m, data, o, NULL, &cb, &t);
    st = st == ADZE_OK ? adze_trainer_run(t, NULL) : st;
    adze_trainer_free(t);
    if (st == ADZE_ESTOPPED || st == ADZE_ENAN) {
        adze_err_clear(d->ctx);
        return ADZE_OK;
    }
    return st;
}

/* Both trainings of a row, on the same sequences from the same weights. */
static int compare(const adze_demo *d, adze_train_opts *o, adze_model *m, const adze_dataset *data, double *cell) {
    for (int clip = 0; clip < 2; clip++) {
        attempt a = {.f = d->f};
        a.track = d->f->nrows == 1 ? adze_found_track(d->f, clip ? "clipped" : "not clipped") : NULL;
        o->clip_norm = clip ? adze_demo_clip_at(d, 1) : 0;
        TRY(run_once(d, m, data, o, &a));
        cell[2 * clip] = a.solved, cell[2 * clip + 1] = a.steepest;
    }
    return ADZE_OK;
}

static int run_all(const adze_demo *d, int64_t count, int64_t length, adze_train_opts *o, adze_model *m, uint8_t *x, int64_t *label) {
    const adze_type example = adze_type_make(ADZE_U8, 2, (int64_t[]){length, SYMBOLS});
    double solved[2] = {0}, updates = 0, steepest[2] = {0};
    for (int i = 0; i < RUNS; i++) {
        adze_dataset *data = NULL;
        o->seed = d->o->seed * RUNS + (uint64_t)i; /* no two demonstrations share one */
        memset(x, 0, (size_t)(count * length * SYMBOLS));
        sequences(count, length, o->seed, x, label);
        TRY(adze_dataset_from_memory(d->ctx, example, x, label, count, 4, &data));
        double *cell = adze_found_row(d->f, "seed %llu", (unsigned long long)o->seed);
        const int st = compare(d, o, m, data, cell);
        adze_dataset_close(data);
        TRY(st);
        for (int clip = 0; clip < 2; clip++) {
            solved[clip] += isfinite(cell[2 * clip]);
            steepest[clip] = fmax(steepest[clip], cell[2 * clip + 1]);
        }
        updates += isfinite(cell[2]) ? cell[2] : 0;
    }
    adze_found(d->f, "solved_unclipped", solved[0] / RUNS);
    adze_found(d->f, "solved_clipped", solved[1] / RUNS);
    adze_found(d->f, "updates_clipped", updates / solved[1]);
    adze_found(d->f, "steepest_unclipped", steepest[0]);
    adze_found(d->f, "steepest_clipped", steepest[1]);
    return ADZE_OK;
}

int adze_demo_order(const adze_demo *d) {
    const int64_t length = d->o->length, steps = adze_demo_steps(d, 3000), epoch = steps < EPOCH ? steps : EPOCH;
    const int64_t count = epoch * BATCH + FRESH;
    char net[512];
    if (length < 10 || length > 1000) {
        return adze_fail(d->ctx, ADZE_EARG, "option length: sequences have 10 to 1000 symbols, not %lld", (long long)length);
    }
    adze_model *m = NULL;
    adze_train_opts o = *d->t;
    o.optimizer = ADZE_DEMO_SGD, o.schedule = ADZE_CONSTANT, o.l2 = 0, o.lr = o.lr > 0 ? o.lr : 0.1;
    o.batch = BATCH, o.val_count = FRESH, o.epochs = (steps + epoch - 1) / epoch;
    snprintf(net, sizeof net,
             "{\"name\":\"order\",\"input\":[%lld,%d],\"preprocess\":{\"norm\":\"none\"},\"layers\":["
             "{\"type\":\"rnn\",\"name\":\"h\",\"units\":50,\"return_sequences\":false,\"init\":\"normal\",\"init_value\":0.1},"
             "{\"type\":\"dense\",\"name\":\"y\",\"units\":4,\"init\":\"normal\",\"init_value\":0.1}]}",
             (long long)length, SYMBOLS);
    ADZE_COLUMNS(d->f, "solved after", "steepest", "clipped after", "steepest clipped");
    adze_found(d->f, "length", (double)length);
    adze_found(d->f, "rate", o.lr);
    adze_found_picture(d->f, "updates", "loss", "Temporal order, %lld symbols, with and without clipping at %g", (long long)length,
                       adze_demo_clip_at(d, 1));
    uint8_t *x = adze_alloc(d->ctx, count * length * SYMBOLS, 1);
    int64_t *label = adze_alloc(d->ctx, count, sizeof *label);
    int st = x != NULL && label != NULL ? adze_model_from_json(d->ctx, net, strlen(net), "order", &m) : ADZE_ENOMEM;
    st = st == ADZE_OK ? run_all(d, count, length, &o, m, x, label) : st;
    adze_model_free(m);
    adze_free(d->ctx, x);
    adze_free(d->ctx, label);
    return st;
}
