/* Corners of checkpoints: the order of the calls that make a file durable, restoring all or nothing, progress that survives its
 * text, tensors aligned in the file. */
#include "base/base.h"
#include "faulty.h"
#include "model/safetensors.h"
#include "train/trainer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* -- the order of file calls ------------------------------------------------------------------------------------------------------------------- */

typedef struct recorder { /* a file table that notes what is called, one letter each: o s c R d u l; writes and the rest are not noted */
    adze_fs table, under;
    char log[4096];
    int n;
} recorder;

static void note(void *user, char what) {
    recorder *r = user;
    if (r->n + 1 < (int)sizeof r->log) {
        r->log[r->n++] = what;
        r->log[r->n] = 0;
    }
}

static int note_open(void *user, const char *path, int mode) {
    const recorder *r = user;
    if (mode != ADZE_OPEN_READ) {
        note(user, 'o');
    }
    return r->under.open(r->under.user, path, mode);
}
static int64_t note_write(void *user, int fd, const void *buf, size_t n) {
    recorder *r = user;
    if (r->n == 0 || r->log[r->n - 1] != 'w') { /* once for all of a row */
        note(user, 'w');
    }
    return r->under.write(r->under.user, fd, buf, n);
}
static int note_sync(void *user, int fd) {
    const recorder *r = user;
    note(user, 's');
    return r->under.sync(r->under.user, fd);
}
static int note_sync_dir(void *user, const char *path) {
    const recorder *r = user;
    note(user, 'd');
    return r->under.sync_dir(r->under.user, path);
}
static int note_rename(void *user, const char *from, const char *to) {
    const recorder *r = user;
    note(user, 'R');
    return r->under.rename(r->under.user, from, to);
}
static int note_unlink(void *user, const char *path) {
    const recorder *r = user;
    adze_fstat st;
    bool there = r->under.stat(r->under.user, path, &st) == 0 && st.exists;
    if (there) {
        note(user, 'u');
    }
    return r->under.unlink(r->under.user, path);
}
static int pass_close(void *user, int fd) {
    const recorder *r = user;
    return r->under.close(r->under.user, fd);
}
static int64_t pass_read(void *user, int fd, void *buf, size_t n) {
    const recorder *r = user;
    return r->under.read(r->under.user, fd, buf, n);
}
static int pass_reserve(void *user, int fd, int64_t bytes) {
    const recorder *r = user;
    return r->under.reserve(r->under.user, fd, bytes);
}
static int pass_mkdir(void *user, const char *path) {
    const recorder *r = user;
    return r->under.mkdir(r->under.user, path);
}
static int note_symlink(void *user, const char *target, const char *path) {
    const recorder *r = user;
    note(user, 'l');
    return r->under.symlink(r->under.user, target, path);
}
static int pass_stat(void *user, const char *path, adze_fstat *out) {
    const recorder *r = user;
    return r->under.stat(r->under.user, path, out);
}
static int pass_list(void *user, const char *path, int (*each)(void *arg, const char *name), void *arg) {
    const recorder *r = user;
    return r->under.list(r->under.user, path, each, arg);
}

static void record(recorder *r) {
    faulty_fs posix;
    faulty_fs_init(&posix);
    *r = (recorder){.under = posix.under};
    r->table = (adze_fs){r,           note_open,   pass_close, pass_read,    note_write, pass_reserve, note_sync, note_sync_dir,
                         note_rename, note_unlink, pass_mkdir, note_symlink, pass_stat,  pass_list};
}

typedef struct shelf { /* a context, a store of two saved slots, a folder */
    adze_ctx *ctx;
    adze_store *store;
    char dir[256];
} shelf;

static const int64_t COUNT = 5;

static void shelf_open(shelf *h, const adze_fs *fs) {
    adze_ctx_opts o = {.size = sizeof o, .threads = 1, .fs = fs};
    int slot;
    assert_int_equal(adze_ctx_new(&o, &h->ctx), ADZE_OK);
    assert_int_equal(adze_store_new(h->ctx, &h->store), ADZE_OK);
    assert_int_equal(adze_store_add(h->store, "a:w", adze_type_make(ADZE_F32, 1, &COUNT), ADZE_SLOT_TRAINABLE, &slot), ADZE_OK);
    assert_int_equal(adze_store_add(h->store, "b:w", adze_type_make(ADZE_F64, 1, &COUNT), ADZE_SLOT_TRAINABLE, &slot), ADZE_OK);
    faulty_folder(h->dir, sizeof h->dir);
}

static void shelf_close(shelf *h) {
    faulty_folder_drop(h->dir);
    adze_store_free(h->store);
    adze_ctx_free(h->ctx);
}

static void fill(shelf *h, double v) {
    for (int i = 0; i < 2; i++) {
        adze_tensor t;
        assert_int_equal(adze_store_tensor(h->store, i, &t), ADZE_OK);
        for (int64_t k = 0; k < COUNT; k++) {
            adze_tensor_set(&t, k, v);
        }
    }
}

static void shelf_save(shelf *h, int64_t step, int64_t best, char *path) {
    fill(h, (double)step);
    const adze_meta meta = {"adze.checkpoint", "1"};
    const adze_ckpt c = {.step = step, .best_step = best, .state = "{}", .meta = &meta, .nmeta = 1};
    assert_int_equal(adze_ckpt_save(h->ctx, h->dir, h->store, &c, path), ADZE_OK);
}

/* A file is synced before it gets its name, the folder after; only then do the links move, each followed by the folder; only then goes the old. */
static void what_is_replaced_is_durable_before_the_old_goes(void **state) {
    (void)state;
    static recorder r;
    shelf h;
    char path[ADZE_CKPT_PATH];
    record(&r);
    shelf_open(&h, &r.table);
    const adze_piece piece = {"text", 4};
    snprintf(path, sizeof path, "%s/file", h.dir);
    assert_int_equal(adze_replace_file(h.ctx, path, &piece, 1), ADZE_OK);
    assert_string_equal(r.log, "owsRd");
    shelf_save(&h, 1, -1, path);
    shelf_save(&h, 2, -1, path);
    r.n = 0;
    shelf_save(&h, 3, 2, path);
    assert_string_equal(r.log, "owsRd"
                               "lRd" /* last */
                               "lRd" /* best */
                               "u" /* step 1 */);
    shelf_close(&h);
}

/* After going back to an older checkpoint, the newer files do not count as generations: what has just been saved stays. */
static void newer_files_do_not_push_out_what_is_saved(void **state) {
    (void)state;
    shelf h;
    char path[ADZE_CKPT_PATH];
    int64_t *steps, n;
    shelf_open(&h, NULL);
    static const int64_t order[] = {0, 8, 9, 3, 4, 5};
    for (size_t i = 0; i < ADZE_COUNT(order); i++) {
        shelf_save(&h, order[i], 0, path);
        assert_true(adze_path_exists(h.ctx, path));
    }
    assert_int_equal(adze_ckpt_steps(h.ctx, h.dir, &steps, &n), ADZE_OK);
    static const int64_t left[] = {9, 8, 5, 4, 0};
    assert_int_equal(n, ADZE_COUNT(left));
    assert_memory_equal(steps, left, sizeof left);
    adze_free(h.ctx, steps);
    snprintf(path, sizeof path, "%s/best", h.dir); /* step 0, the start, may be the best */
    assert_true(adze_path_exists(h.ctx, path));
    shelf_close(&h);
}

/* -- reading ---------------------------------------------------------------------------------------------------------------------------------- */

static void a_damaged_tensor_leaves_the_store_as_it_was(void **state) {
    (void)state;
    shelf h;
    char path[ADZE_CKPT_PATH];
    shelf_open(&h, NULL);
    shelf_save(&h, 4, -1, path);
    void *bytes;
    int64_t n;
    adze_safetensors *f;
    assert_int_equal(adze_read_file(h.ctx, path, 0, &bytes, &n), ADZE_OK);
    for (int which = 0; which < 2; which++) {
        assert_int_equal(adze_safetensors_parse(h.ctx, bytes, (size_t)n, "sound", &f), ADZE_OK);
        int64_t at = f->data + f->entries[adze_safetensors_find(f, which ? "b:w" : "a:w")].begin + 1;
        adze_safetensors_close(f);
        ((uint8_t *)bytes)[at] ^= 4;
        assert_int_equal(adze_safetensors_parse(h.ctx, bytes, (size_t)n, "damaged", &f), ADZE_OK); /* the data is looked at when it is used */
        ((uint8_t *)bytes)[at] ^= 4;
        fill(&h, 7);
        assert_int_equal(adze_ckpt_restore(h.ctx, f, "damaged", h.store), ADZE_EFORMAT);
        adze_safetensors_close(f);
        for (int i = 0; i < 2; i++) {
            adze_tensor t;
            assert_int_equal(adze_store_tensor(h.store, i, &t), ADZE_OK);
            for (int64_t k = 0; k < COUNT; k++) {
                assert_true(adze_tensor_get(&t, k) == 7);
            }
        }
    }
    adze_free(h.ctx, bytes);
    shelf_close(&h);
}

static void progress_survives_its_text(void **state) {
    (void)state;
    adze_ctx *ctx;
    assert_int_equal(adze_ctx_new(NULL, &ctx), ADZE_OK);
    static adze_trainer t;
    adze_epoch_stats rows[] = {
        {.epoch = 1, .step = 2, .examples = 3, .loss = 0.1, .acc = 0.2, .val_loss = 0.3, .val_acc = 0.4, .lr = 0.5, .best = true},
        {.epoch = 6, .step = 7, .examples = 8, .loss = -1e-300, .acc = NAN, .val_loss = INFINITY, .val_acc = 1.0 / 3, .lr = 1e-3}};
    t = (adze_trainer){.ctx = ctx, .history = rows, .nhistory = 2};
    t.p = (adze_progress){.epoch = 11,
                          .batch = 12,
                          .step = 13,
                          .seen = 14,
                          .right = 15,
                          .loss_sum = 16.1,
                          .best = 17.3,
                          .best_epoch = 18,
                          .best_step = 19,
                          .waited = 20,
                          .patience_over = true};
    char *text;
    adze_progress p;
    adze_epoch_stats *h;
    int64_t n;
    assert_int_equal(adze_progress_print(&t, &text), ADZE_OK);
    assert_int_equal(adze_progress_parse(ctx, text, (int64_t)strlen(text), "state", &p, &h, &n), ADZE_OK);
    assert_true(p.epoch == 11 && p.batch == 12 && p.step == 13 && p.seen == 14 && p.right == 15 && p.loss_sum == 16.1 && p.best == 17.3);
    assert_true(p.best_epoch == 18 && p.best_step == 19 && p.waited == 20 && p.patience_over);
    assert_int_equal(n, 2);
    for (int i = 0; i < 2; i++) {
        assert_true(h[i].epoch == rows[i].epoch && h[i].step == rows[i].step && h[i].examples == rows[i].examples && h[i].loss == rows[i].loss);
        assert_true((isnan(h[i].acc) && isnan(rows[i].acc)) || h[i].acc == rows[i].acc);
        assert_true(h[i].val_loss == rows[i].val_loss && h[i].val_acc == rows[i].val_acc && h[i].lr == rows[i].lr && h[i].best == rows[i].best);
    }
    adze_free(ctx, h);
    adze_free(ctx, text);
    adze_ctx_free(ctx);
}

/* Blanks instead of one hash of several: what is not covered must not pass. */
static void a_missing_hash_is_noticed(void **state) {
    (void)state;
    shelf h;
    char path[ADZE_CKPT_PATH];
    void *bytes;
    int64_t n;
    shelf_open(&h, NULL);
    shelf_save(&h, 4, -1, path);
    assert_int_equal(adze_read_file(h.ctx, path, 0, &bytes, &n), ADZE_OK);
    static const char *const keys[] = {",\"hash.a:w\":\"", ",\"hash.b:w\":\"", ",\"hash\":\""};
    for (size_t i = 0; i < ADZE_COUNT(keys); i++) {
        char *at = strstr((char *)bytes + 8, keys[i]), kept[64];
        size_t len = strlen(keys[i]) + ADZE_ST_HASH_CHARS + 1;
        adze_safetensors *f;
        assert_non_null(at);
        assert_true(len <= sizeof kept);
        memcpy(kept, at, len);
        memset(at, ' ', len);
        assert_int_equal(adze_safetensors_parse(h.ctx, bytes, (size_t)n, "gap", &f), ADZE_EFORMAT);
        assert_non_null(strstr(adze_errmsg(h.ctx), "some of its hashes are missing"));
        memcpy(at, kept, len);
        assert_int_equal(adze_safetensors_parse(h.ctx, bytes, (size_t)n, "whole", &f), ADZE_OK);
        adze_safetensors_close(f);
    }
    adze_free(h.ctx, bytes);
    shelf_close(&h);
}

static void names_are_utf8(void **state) {
    (void)state;
    static const struct {
        const char *name;
        bool good;
    } cases[] = {
        {"\xC3\xA9", true},          {"\xE0\xA0\x80", true},  {"\xED\x9F\xBF", true},  {"\xF0\x90\x80\x80", true},  {"\xF4\x8F\xBF\xBF", true},
        {"\xC1\xBF", false},         {"\xE0\x9F\xBF", false}, {"\xED\xA0\x80", false}, {"\xF0\x8F\xBF\xBF", false}, {"\xF4\x90\x80\x80", false},
        {"\xF5\x80\x80\x80", false}, {"\xE2\x82", false},     {"\x80", false}};
    shelf h;
    shelf_open(&h, NULL);
    for (size_t i = 0; i < ADZE_COUNT(cases); i++) {
        char file[160] = {0};
        adze_safetensors *f;
        int len = snprintf(file + 8, sizeof file - 8, "{\"%s\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", cases[i].name);
        file[0] = (char)len;
        int st = adze_safetensors_parse(h.ctx, file, 8 + (size_t)len, "name", &f);
        assert_int_equal(st, cases[i].good ? ADZE_OK : ADZE_EFORMAT);
        adze_safetensors_close(f);
    }
    shelf_close(&h);
}

/* Whatever the order in which they are given, tensors lie aligned to their elements; of one width, in that order. */
static void tensors_lie_aligned_in_the_file(void **state) {
    (void)state;
    shelf h;
    char path[512];
    static const adze_dtype kinds[] = {ADZE_U8, ADZE_F32, ADZE_F64, ADZE_I8, ADZE_BF16, ADZE_I64, ADZE_F32};
    static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g"};
    enum { KINDS = 7 };
    adze_named t[KINDS];
    shelf_open(&h, NULL);
    for (int i = 0; i < KINDS; i++) {
        t[i].name = names[i];
        assert_int_equal(adze_tensor_new(h.ctx, adze_type_make(kinds[i], 1, (const int64_t[]){3}), &t[i].t), ADZE_OK);
    }
    snprintf(path, sizeof path, "%s/kinds.safetensors", h.dir);
    assert_int_equal(adze_safetensors_save(h.ctx, path, t, KINDS, NULL, 0), ADZE_OK);
    adze_safetensors *f;
    assert_int_equal(adze_safetensors_open(h.ctx, path, &f), ADZE_OK);
    int64_t begin[KINDS];
    for (int i = 0; i < KINDS; i++) {
        begin[i] = f->entries[adze_safetensors_find(f, names[i])].begin;
        assert_int_equal((f->data + begin[i]) % (int64_t)adze_dtype_size(kinds[i]), 0);
        adze_tensor_free(&t[i].t);
    }
    assert_true(begin[2] < begin[5] && begin[1] < begin[6] && begin[0] < begin[3]);
    adze_safetensors_close(f);
    shelf_close(&h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_replaced_is_durable_before_the_old_goes),
        cmocka_unit_test(newer_files_do_not_push_out_what_is_saved),
        cmocka_unit_test(a_missing_hash_is_noticed),
        cmocka_unit_test(names_are_utf8),
        cmocka_unit_test(a_damaged_tensor_leaves_the_store_as_it_was),
        cmocka_unit_test(progress_survives_its_text),
        cmocka_unit_test(tensors_lie_aligned_in_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
