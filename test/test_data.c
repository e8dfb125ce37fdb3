/* Data: hostile IDX files, gzip, named sets, splits, preprocessing, and a loader whose batches depend on nothing but seed, epoch and example; PNG and
 * plots. */
#include "adze/io.h"
#include "data/formats.h"
#include "faulty.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

static adze_ctx *ctx;

static int setup(void **state) {
    (void)state;
    if (adze_ctx_new(&(adze_ctx_opts){.size = sizeof(adze_ctx_opts), .threads = 2}, &ctx) != ADZE_OK) {
        return -1;
    }
    return adze_io_register(ctx);
}

static int teardown(void **state) {
    (void)state;
    bool leak = adze_ctx_mem_used(ctx) != 0;
    adze_ctx_free(ctx);
    return leak ? -1 : 0;
}

static void assert_ok(int st) {
    if (st != ADZE_OK) {
        fail_msg("%s: %s", adze_status_name(st), adze_errmsg(ctx));
    }
}

/* -- IDX ---------------------------------------------------------------------------------------------------------------------------------------- */

static void idx_malformed_files_are_refused_with_a_reason(void **state) {
    (void)state;
    static const struct {
        const char *why;
        uint8_t bytes[24];
        size_t n;
    } table[] = {
        {"0 bytes", {0}, 0},
        {"3 bytes", {0, 0, 8}, 3},
        {"begins with", {1, 0, 8, 1, 0, 0, 0, 1, 7}, 9},
        {"begins with", {0, 9, 8, 1, 0, 0, 0, 1, 7}, 9},
        {"element type 13", {0, 0, 13, 1, 0, 0, 0, 1, 7}, 9},
        {"rank 0", {0, 0, 8, 0}, 4},
        {"rank 5", {0, 0, 8, 5, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1}, 24},
        {"within its header", {0, 0, 8, 2, 0, 0, 0, 1, 0, 0}, 10},
        {"cut short", {0, 0, 8, 1, 0, 0, 0, 2, 7}, 9},
        {"do not belong", {0, 0, 8, 1, 0, 0, 0, 1, 7, 7}, 10},
        {"cut short", {0, 0, 8, 1, 255, 255, 255, 255, 7}, 9},
        {"more than a file", {0, 0, 8, 4, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255}, 20},
    };
    for (size_t i = 0; i < ADZE_COUNT(table); i++) {
        adze_type t;
        const void *data;
        assert_int_equal(adze_idx_parse(ctx, table[i].bytes, table[i].n, "x.idx", &t, &data), ADZE_EFORMAT);
        if (strstr(adze_errmsg(ctx), table[i].why) == NULL || strstr(adze_errmsg(ctx), "x.idx") == NULL) {
            fail_msg("row %zu: expected '%s' in: %s", i, table[i].why, adze_errmsg(ctx));
        }
    }
}

static void idx_good_file_gives_type_and_data(void **state) {
    (void)state;
    const uint8_t file[] = {0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6};
    adze_type t;
    const void *data;
    assert_ok(adze_idx_parse(ctx, file, sizeof file, "x", &t, &data));
    assert_int_equal(t.rank, 2);
    assert_int_equal(t.dims[0], 2);
    assert_int_equal(t.dims[1], 3);
    assert_ptr_equal(data, file + 12);
}

static void write_file(const char *dir, const char *name, const void *bytes, size_t n) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static void write_gz(const char *dir, const char *name, const void *bytes, size_t n, const char *mode) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    gzFile f = gzopen(path, mode);
    assert_non_null(f);
    assert_int_equal(gzwrite(f, bytes, (unsigned)n), (int)n);
    assert_int_equal(gzclose(f), Z_OK);
}

static const uint8_t small_images[] = {0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8};
static const uint8_t small_labels[] = {0, 0, 8, 1, 0, 0, 0, 2, 3, 0};

static void folder_of_idx_files_opens_plain_packed_and_in_members(void **state) {
    (void)state;
    char dir[256];
    faulty_folder(dir, sizeof dir);
    write_gz(dir, "train-images-idx3-ubyte.gz", small_images, 10, "wb");
    write_gz(dir, "train-images-idx3-ubyte.gz", small_images + 10, sizeof small_images - 10, "ab"); /* a second gzip member */
    write_file(dir, "train-labels-idx1-ubyte", small_labels, sizeof small_labels);
    adze_dataset *d;
    assert_ok(adze_dataset_open(ctx, dir, "train", &d));
    assert_int_equal(d->count, 2);
    assert_int_equal(d->classes, 4);
    uint8_t x[4];
    int64_t label;
    assert_ok(d->read(d, 1, x, &label));
    assert_int_equal(label, 0);
    assert_memory_equal(x, small_images + 20, 4);
    assert_int_equal(d->read(d, 2, x, &label), ADZE_EARG);
    adze_dataset_close(d);
    assert_int_equal(adze_dataset_open(ctx, dir, "test", &d), ADZE_EARG);
    assert_null(d);
    assert_int_equal(adze_dataset_open(ctx, dir, "valid", &d), ADZE_EARG);
    faulty_folder_drop(dir);
}

static void refused(const char *dir, int status, const char *why) {
    adze_dataset *d;
    assert_int_equal(adze_dataset_open(ctx, dir, "train", &d), status);
    if (strstr(adze_errmsg(ctx), why) == NULL) {
        fail_msg("expected '%s' in: %s", why, adze_errmsg(ctx));
    }
}

static void packed_files_that_lie_are_refused(void **state) {
    (void)state;
    char dir[256], path[512];
    faulty_folder(dir, sizeof dir);
    write_file(dir, "train-labels-idx1-ubyte", small_labels, sizeof small_labels);
    snprintf(path, sizeof path, "%s/train-images-idx3-ubyte.gz", dir);
    uint8_t lie[sizeof small_images + 1];
    memcpy(lie, small_images, sizeof small_images);
    write_gz(dir, "train-images-idx3-ubyte.gz", lie, sizeof lie, "wb");
    refused(dir, ADZE_EFORMAT, "unpacks to more than");
    write_gz(dir, "train-images-idx3-ubyte.gz", lie, sizeof small_images - 1, "wb");
    refused(dir, ADZE_EFORMAT, "cut short");
    lie[4] = 0x7f; /* two thousand million images in a few bytes */
    write_gz(dir, "train-images-idx3-ubyte.gz", lie, sizeof lie, "wb");
    refused(dir, ADZE_EFORMAT, "packed bytes can hold");
    write_gz(dir, "train-images-idx3-ubyte.gz", small_images, sizeof small_images, "wb");
    void *bytes;
    int64_t n;
    assert_ok(adze_read_file(ctx, path, 0, &bytes, &n));
    ((uint8_t *)bytes)[n - 6] ^= 1; /* the CRC */
    write_file(dir, "train-images-idx3-ubyte.gz", bytes, (size_t)n);
    refused(dir, ADZE_EFORMAT, "damaged");
    for (int64_t k = 0; k < n; k++) { /* cut anywhere */
        write_file(dir, "train-images-idx3-ubyte.gz", bytes, (size_t)k);
        refused(dir, ADZE_EFORMAT, "");
    }
    adze_free(ctx, bytes);
    faulty_folder_drop(dir);
}

static void without_the_decoder_a_packed_file_says_what_to_do(void **state) {
    (void)state;
    char dir[256];
    faulty_folder(dir, sizeof dir);
    write_file(dir, "train-labels-idx1-ubyte", small_labels, sizeof small_labels);
    write_gz(dir, "train-images-idx3-ubyte.gz", small_images, sizeof small_images, "wb");
    adze_ctx_set_formats(ctx, NULL);
    refused(dir, ADZE_ENOSUP, "adze_io_register");
    assert_ok(adze_io_register(ctx));
    faulty_folder_drop(dir);
}

static void optdigits_lines_are_parsed_and_stretched(void **state) {
    (void)state;
    char dir[256], line[512] = "";
    faulty_folder(dir, sizeof dir);
    for (int i = 0; i < 64; i++) {
        snprintf(line + strlen(line), sizeof line - strlen(line), "%d,", i % 17);
    }
    char good[1100], bad[600];
    snprintf(good, sizeof good, "%s7\n%s3\r\n", line, line);
    write_file(dir, "optdigits.tra", good, strlen(good));
    adze_dataset *d;
    assert_ok(adze_dataset_open(ctx, dir, "train", &d));
    assert_int_equal(d->count, 2);
    uint8_t x[64];
    int64_t label;
    assert_ok(d->read(d, 1, x, &label));
    assert_int_equal(label, 3);
    assert_int_equal(x[0], 0);
    assert_int_equal(x[8], 128);
    assert_int_equal(x[16], 255);
    adze_dataset_close(d);
    static const char *const ends[] = {"10\n", "", "7,1\n", "x\n", "7 \n", "-1\n"};
    for (size_t i = 0; i < ADZE_COUNT(ends); i++) {
        snprintf(bad, sizeof bad, "%s%s", line, ends[i]);
        write_file(dir, "optdigits.tra", bad, strlen(bad));
        refused(dir, ADZE_EFORMAT, "line 1");
    }
    faulty_folder_drop(dir);
}

/* Five files of two records each; the planes of a record become channels of a pixel. */
static void cifar_records_are_read_and_faults_named(void **state) {
    (void)state;
    enum { RECORD = 3073 };
    char dir[256], file[32];
    uint8_t two[2 * RECORD + 1], x[3072];
    faulty_folder(dir, sizeof dir);
    for (int part = 1; part <= 5; part++) {
        for (int i = 0; i < 2 * RECORD; i++) {
            two[i] = (uint8_t)(i % RECORD == 0 ? part + i / RECORD : (i % RECORD - 1) / 1024 * 50 + (i % RECORD - 1) % 1024 % 47 + part);
        }
        if (part == 5) {
            refused(dir, ADZE_EIO, "data_batch_5.bin");
        }
        snprintf(file, sizeof file, "data_batch_%d.bin", part);
        write_file(dir, file, two, 2 * RECORD);
    }
    adze_dataset *d;
    assert_ok(adze_dataset_open(ctx, dir, "train", &d));
    assert_int_equal(d->count, 10);
    assert_int_equal(d->classes, 10);
    assert_int_equal(d->example.dims[0] * 10000 + d->example.dims[1] * 100 + d->example.dims[2], 323203);
    assert_string_equal(d->class_names[9], "truck");
    for (int i = 0; i < 10; i++) {
        int64_t label;
        assert_ok(d->read(d, i, x, &label));
        assert_int_equal(label, i / 2 + 1 + i % 2);
        for (int k = 0; k < 3072; k++) {
            assert_int_equal(x[k], k % 3 * 50 + k / 3 % 47 + i / 2 + 1);
        }
    }
    adze_dataset_close(d);
    write_file(dir, "test_batch.bin", two, RECORD);
    assert_ok(adze_dataset_open(ctx, dir, "test", &d));
    assert_int_equal(d->count, 1);
    adze_dataset_close(d);
    two[RECORD] = 10;
    write_file(dir, "data_batch_3.bin", two, 2 * RECORD);
    refused(dir, ADZE_EFORMAT, "data_batch_3.bin': record 1 has the label 10; 0 to 9 are known");
    write_file(dir, "data_batch_3.bin", two, 2 * RECORD + 1);
    refused(dir, ADZE_EFORMAT, "data_batch_3.bin' has 6147 bytes, no multiple of the 3073 of a record");
    write_file(dir, "data_batch_3.bin", two, 0);
    refused(dir, ADZE_EFORMAT, "has 0 bytes");
    faulty_folder_drop(dir);
}

static void named_sets_are_found_where_they_are_installed(void **state) {
    (void)state;
    adze_dataset *d;
    refused("fashon-mnist", ADZE_EARG, "did you mean 'fashion-mnist'");
    int st = adze_dataset_open(ctx, "fashion-mnist", "test", &d);
    if (st == ADZE_EARG) { /* not installed: the message must say where it was looked for */
        assert_non_null(strstr(adze_errmsg(ctx), "/usr/share/datasets/fashion-mnist"));
        skip();
    }
    assert_ok(st);
    assert_int_equal(d->count, 10000);
    assert_int_equal(d->classes, 10);
    assert_string_equal(d->class_names[9], "Ankle boot");
    uint8_t x[784];
    int64_t label, counts[10] = {0};
    for (int64_t i = 0; i < d->count; i++) {
        assert_ok(d->read(d, i, x, &label));
        counts[label]++;
    }
    for (int c = 0; c < 10; c++) {
        assert_int_equal(counts[c], 1000);
    }
    adze_dataset_close(d);
}

/* -- splits and preprocessing -------------------------------------------------------------------------------------------------------------------- */

enum { N = 103, H = 5, W = 4, C = 2, BYTES = H * W * C };
static uint8_t pixels[N * BYTES];
static int64_t labels[N];

static adze_dataset *synthetic(void) {
    const int64_t dims[3] = {H, W, C};
    adze_rng r = adze_rng_make(7, 7);
    for (int i = 0; i < N * BYTES; i++) {
        pixels[i] = (uint8_t)adze_rng_below(&r, i % 2 ? 256 : 100);
    }
    for (int i = 0; i < N; i++) {
        labels[i] = i % 3;
    }
    adze_dataset *d;
    assert_ok(adze_dataset_from_memory(ctx, adze_type_make(ADZE_U8, 3, dims), pixels, labels, N, 3, &d));
    return d;
}

static void split_is_a_permutation_fixed_by_the_seed(void **state) {
    (void)state;
    int64_t a[N], b[N], c[N];
    bool seen[N] = {false};
    assert_ok(adze_split_ids(ctx, N, 10, 3, a));
    assert_ok(adze_split_ids(ctx, N, 20, 3, b));
    assert_ok(adze_split_ids(ctx, N, 10, 4, c));
    assert_memory_equal(a, b, sizeof a); /* a larger validation part contains the smaller one */
    assert_memory_not_equal(a, c, sizeof a);
    for (int i = 0; i < N; i++) {
        assert_false(seen[a[i]]);
        seen[a[i]] = true;
    }
    assert_int_equal(adze_split_ids(ctx, 5, 6, 1, a), ADZE_EARG);
}

static void preprocessing_is_fitted_per_channel_on_the_given_examples_only(void **state) {
    (void)state;
    adze_dataset *d = synthetic();
    const int64_t ids[] = {5, 9, 77};
    adze_preprocess p = {.pad = 1};
    assert_ok(adze_preprocess_fit(ctx, d, ids, 3, &p));
    assert_int_equal(p.channels, C);
    assert_int_equal(p.pad, 1);
    for (int c = 0; c < C; c++) {
        double sum = 0, sq = 0, n = 3 * H * W;
        for (int k = 0; k < 3; k++) {
            for (int i = 0; i < H * W; i++) {
                double v = pixels[ids[k] * BYTES + i * C + c] / 255.0;
                sum += v;
                sq += v * v;
            }
        }
        assert_true(fabs(p.mean[c] - sum / n) < 1e-12);
        assert_true(fabs(p.sd[c] - sqrt(sq / n - sum / n * (sum / n))) < 1e-12);
    }
    float out[(H + 2) * (W + 2) * C];
    assert_ok(adze_preprocess_apply(&p, &d->example, d->peek(d, 9), ADZE_F32, out));
    assert_true(out[0] == (float)((0.0 * p.scale - p.mean[0]) / p.sd[0])); /* the border is pixel 0 */
    const float *first = out + ((W + 2) + 1) * C + 1;
    assert_true(*first == (float)((pixels[9 * BYTES + 1] * p.scale - p.mean[1]) / p.sd[1]));
    adze_dataset_close(d);
}

/* -- the loader
 * --------------------------------------------------------------------------------------------------------------------------------------- */

enum { BATCH = 16, BATCHES = 7, EPOCHS = 3, ROW = (H + 2) * (W + 2) * C };

typedef struct recording { /* what a loader gave */
    float x[EPOCHS * N * ROW];
    int64_t labels[EPOCHS * N], sizes[EPOCHS * (BATCHES + 1)];
} recording;

static adze_loader *make_loader(const adze_dataset *d, int workers, int ahead) {
    adze_preprocess p = {.pad = 1};
    adze_loader_opts o = {.size = sizeof o,
                          .batch = BATCH,
                          .shuffle = true,
                          .seed = 11,
                          .dtype = ADZE_F32,
                          .workers = workers,
                          .ahead = ahead,
                          .augment = "crop:pad=2,hflip"};
    adze_loader *l;
    assert_ok(adze_preprocess_fit(ctx, d, NULL, N, &p));
    assert_ok(adze_loader_new(ctx, d, NULL, N, &p, &o, &l));
    return l;
}

static void record(adze_loader *l, int64_t from_epoch, int64_t from_batch, recording *r) {
    adze_tensor x, y;
    const int64_t xd[4] = {BATCH, H + 2, W + 2, C}, yd[1] = {BATCH};
    assert_ok(adze_tensor_new(ctx, adze_type_make(ADZE_F32, 4, xd), &x));
    assert_ok(adze_tensor_new(ctx, adze_type_make(ADZE_I64, 1, yd), &y));
    assert_ok(adze_loader_seek(l, from_epoch, from_batch));
    int64_t at = from_epoch * N + from_batch * BATCH, k = from_epoch * (BATCHES + 1) + from_batch, n;
    for (; k < EPOCHS * (BATCHES + 1); k++) {
        assert_ok(adze_loader_next(l, x, y, &n));
        r->sizes[k] = n;
        memcpy(r->x + at * ROW, adze_tensor_data(&x), (size_t)n * ROW * sizeof(float));
        memcpy(r->labels + at, adze_tensor_data(&y), (size_t)n * sizeof(int64_t));
        at += n;
    }
    adze_tensor_free(&x);
    adze_tensor_free(&y);
}

static recording *new_recording(void) {
    recording *r = calloc(1, sizeof *r);
    assert_non_null(r);
    return r;
}

static void loader_gives_the_same_batches_for_any_number_of_workers(void **state) {
    (void)state;
    adze_dataset *d = synthetic();
    recording *want = new_recording(), *got = new_recording();
    adze_loader *l = make_loader(d, 0, 0);
    assert_int_equal(adze_loader_batches(l), BATCHES);
    record(l, 0, 0, want);
    adze_loader_free(l);
    assert_int_equal(want->sizes[BATCHES - 1], N % BATCH);
    assert_int_equal(want->sizes[BATCHES], 0); /* the epoch's end */
    assert_memory_not_equal(want->labels, want->labels + N, N * sizeof(int64_t));
    for (int workers = 1; workers <= 8; workers += 2) {
        memset(got, 0, sizeof *got);
        l = make_loader(d, workers, workers == 3 ? 8 : 0);
        record(l, 0, 0, got);
        adze_loader_free(l);
        assert_memory_equal(got, want, sizeof *got);
    }
    free(want);
    free(got);
    adze_dataset_close(d);
}

static void loader_seek_continues_exactly_anywhere(void **state) {
    (void)state;
    adze_dataset *d = synthetic();
    recording *want = new_recording(), *got = new_recording();
    for (int workers = 0; workers <= 2; workers++) {
        adze_loader *l = make_loader(d, workers, 0);
        record(l, 0, 0, want);
        for (int64_t e = EPOCHS - 1; e >= 0; e--) {
            for (int64_t b = 0; b <= BATCHES; b++) {
                memcpy(got, want, sizeof *got);
                int64_t at = e * N + (b * BATCH < N ? b * BATCH : N);
                memset(got->x + at * ROW, 0, sizeof(float) * (size_t)((EPOCHS * N - at) * ROW));
                if (b < BATCHES) {
                    record(l, e, b, got);
                    assert_memory_equal(got, want, sizeof *got);
                }
            }
        }
        assert_int_equal(adze_loader_seek(l, 0, BATCHES + 1), ADZE_EARG);
        adze_loader_free(l);
    }
    free(want);
    free(got);
    adze_dataset_close(d);
}

static void augmentation_moves_images_whole_and_covers_its_range(void **state) {
    (void)state;
    const int64_t dims[3] = {5, 5, 1};
    uint8_t x[25] = {0};
    int64_t label[1] = {0}, hits[5][5] = {{0}};
    x[12] = 255; /* a dot in the middle */
    adze_dataset *d;
    assert_ok(adze_dataset_from_memory(ctx, adze_type_make(ADZE_U8, 3, dims), x, label, 1, 1, &d));
    adze_preprocess p = {.scale = 1, .channels = 1, .sd = {1}};
    adze_loader_opts o = {.size = sizeof o, .batch = 1, .shuffle = true, .seed = 5, .dtype = ADZE_F64, .augment = "crop:pad=1"};
    adze_loader *l;
    assert_ok(adze_loader_new(ctx, d, NULL, 1, &p, &o, &l));
    double out[25];
    int64_t y[1], n;
    adze_tensor tx, ty;
    assert_ok(adze_tensor_wrap(ctx, adze_type_make(ADZE_F64, 4, (int64_t[]){1, 5, 5, 1}), out, &tx));
    assert_ok(adze_tensor_wrap(ctx, adze_type_make(ADZE_I64, 1, (int64_t[]){1}), y, &ty));
    for (int e = 0; e < 900; e++) {
        do {
            assert_ok(adze_loader_next(l, tx, ty, &n));
        } while (n == 0);
        int dots = 0;
        for (int i = 0; i < 25; i++) {
            dots += out[i] != 0;
            hits[i / 5][i % 5] += out[i] == 255;
        }
        assert_int_equal(dots, 1);
    }
    for (int i = 0; i < 25; i++) {
        bool near = i / 5 >= 1 && i / 5 <= 3 && i % 5 >= 1 && i % 5 <= 3;
        assert_true(near ? hits[i / 5][i % 5] > 60 : hits[i / 5][i % 5] == 0); /* 100 expected of 900 in each of 9 places */
    }
    adze_loader_free(l);
    adze_tensor_free(&tx);
    adze_tensor_free(&ty);
    adze_dataset_close(d);
}

static int broken_read(const adze_dataset *d, int64_t i, void *x, int64_t *label) {
    (void)d;
    memset(x, 0, BYTES);
    *label = 0;
    return i == 40 ? ADZE_EIO : ADZE_OK;
}

static void loader_reports_a_bad_example_at_its_batch_and_names_it(void **state) {
    (void)state;
    adze_dataset *d = synthetic();
    d->read = broken_read;
    adze_preprocess p = {.scale = 1, .channels = C, .sd = {1, 1}};
    float *x = calloc(BATCH * BYTES, sizeof *x);
    int64_t y[BATCH], n;
    adze_tensor tx, ty;
    assert_ok(adze_tensor_wrap(ctx, adze_type_make(ADZE_F32, 4, (int64_t[]){BATCH, H, W, C}), x, &tx));
    assert_ok(adze_tensor_wrap(ctx, adze_type_make(ADZE_I64, 1, (int64_t[]){BATCH}), y, &ty));
    for (int workers = 0; workers < 3; workers++) {
        adze_loader_opts o = {.size = sizeof o, .batch = BATCH, .dtype = ADZE_F32, .workers = workers};
        adze_loader *l;
        assert_ok(adze_loader_new(ctx, d, NULL, N, &p, &o, &l));
        for (int b = 0; b < 4; b++) {
            assert_int_equal(adze_loader_next(l, tx, ty, &n), b == 2 ? ADZE_EIO : ADZE_OK); /* 40 is in batch 2 */
        }
        assert_non_null(strstr(adze_errmsg(ctx), "example 40"));
        adze_loader_free(l);
    }
    adze_tensor_free(&tx);
    adze_tensor_free(&ty);
    free(x);
    adze_dataset_close(d);
}

/* -- PNG and plots
 * -------------------------------------------------------------------------------------------------------------------------------------- */

static void png_round_trip_is_exact(void **state) {
    (void)state;
    char dir[256], path[300];
    faulty_folder(dir, sizeof dir);
    snprintf(path, sizeof path, "%s/a.png", dir);
    for (int64_t c = 1; c <= 3; c += 2) {
        adze_tensor t, back;
        assert_ok(adze_tensor_new(ctx, adze_type_make(ADZE_U8, 3, (int64_t[]){7, 13, c}), &t));
        uint8_t *p = adze_tensor_data(&t);
        for (int64_t i = 0; i < 7 * 13 * c; i++) {
            p[i] = (uint8_t)(i * 37);
        }
        assert_ok(adze_png_write(ctx, path, t));
        assert_ok(adze_png_read(ctx, path, &back));
        assert_int_equal(back.dims[2], c);
        assert_memory_equal(adze_tensor_data(&back), p, (size_t)(7 * 13 * c));
        adze_tensor_free(&t);
        adze_tensor_free(&back);
    }
    faulty_folder_drop(dir);
}

static void damaged_png_files_are_refused_everywhere(void **state) {
    (void)state;
    char dir[256], path[300];
    void *bytes;
    int64_t n;
    faulty_folder(dir, sizeof dir);
    snprintf(path, sizeof path, "%s/a.png", dir);
    adze_tensor t, back;
    assert_ok(adze_tensor_new(ctx, adze_type_make(ADZE_U8, 3, (int64_t[]){5, 6, 3}), &t));
    assert_ok(adze_png_write(ctx, path, t));
    assert_ok(adze_read_file(ctx, path, 0, &bytes, &n));
    for (int64_t k = 0; k < n; k++) {
        assert_int_equal(adze_png_parse(ctx, bytes, (size_t)k, "cut.png", &back), ADZE_EFORMAT);
        uint8_t *p = bytes;
        p[k] ^= 0x55; /* every chunk has a check sum: no changed byte passes */
        assert_int_equal(adze_png_parse(ctx, bytes, (size_t)n, "changed.png", &back), ADZE_EFORMAT);
        p[k] ^= 0x55;
    }
    assert_ok(adze_png_parse(ctx, bytes, (size_t)n, "whole.png", &back));
    adze_tensor_free(&back);
    uint8_t *p = bytes; /* 16384 x 16384 in a header with a right check sum: refused before memory is asked for */
    p[18] = p[22] = 0x40;
    p[19] = p[23] = 0;
    uint32_t crc = (uint32_t)crc32(crc32(0, NULL, 0), p + 12, 17);
    for (int i = 0; i < 4; i++) {
        p[29 + i] = (uint8_t)(crc >> (24 - 8 * i));
    }
    size_t before = adze_ctx_mem_peak(ctx);
    assert_int_equal(adze_png_parse(ctx, bytes, (size_t)n, "huge.png", &back), ADZE_EFORMAT);
    assert_non_null(strstr(adze_errmsg(ctx), "more than"));
    assert_true(adze_ctx_mem_peak(ctx) < before + (1 << 20));
    adze_free(ctx, bytes);
    adze_tensor_free(&t);
    faulty_folder_drop(dir);
}

static void plots_are_written_in_both_formats(void **state) {
    (void)state;
    char dir[256], path[300];
    faulty_folder(dir, sizeof dir);
    adze_epoch_stats s[4] = {{.epoch = 0, .loss = 0.8, .val_loss = 0.7, .acc = 0.7, .val_acc = 0.75},
                             {.epoch = 1, .loss = 0.5, .val_loss = 0.45, .acc = 0.82, .val_acc = 0.84},
                             {.epoch = 2, .loss = NAN, .val_loss = 0.4, .acc = 0.85, .val_acc = NAN},
                             {.epoch = 3, .loss = 0.3, .val_loss = 0.39, .acc = 0.9, .val_acc = 0.87}};
    void *bytes;
    int64_t n;
    snprintf(path, sizeof path, "%s/a.svg", dir);
    assert_ok(adze_history_plot(ctx, path, s, 4));
    assert_ok(adze_read_file(ctx, path, 0, &bytes, &n));
    assert_non_null(strstr(bytes, "</svg>"));
    assert_non_null(strstr(bytes, "Accuracy"));
    assert_null(strstr(bytes, "nan"));
    adze_free(ctx, bytes);
    snprintf(path, sizeof path, "%s/a.png", dir);
    assert_ok(adze_history_plot(ctx, path, s, 4));
    adze_tensor t;
    assert_ok(adze_png_read(ctx, path, &t));
    int64_t inked = 0;
    for (int64_t i = 0; i < t.dims[0] * t.dims[1]; i++) {
        inked += ((const uint8_t *)adze_tensor_data(&t))[3 * i] < 128;
    }
    assert_true(inked > 1000 && inked < t.dims[0] * t.dims[1] / 4);
    adze_tensor_free(&t);
    assert_ok(adze_history_plot(ctx, path, s, 0)); /* no epoch yet is no error */
    assert_int_equal(adze_history_plot(ctx, "curve.gif", s, 4), ADZE_EARG);
    adze_dataset *d = synthetic();
    assert_int_equal(adze_contact_sheet(ctx, d, NULL, 4, 2, 1, &t), ADZE_ENOSUP); /* two channels are no image */
    adze_dataset_close(d);
    faulty_folder_drop(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(idx_malformed_files_are_refused_with_a_reason, setup, teardown),
        cmocka_unit_test_setup_teardown(idx_good_file_gives_type_and_data, setup, teardown),
        cmocka_unit_test_setup_teardown(folder_of_idx_files_opens_plain_packed_and_in_members, setup, teardown),
        cmocka_unit_test_setup_teardown(packed_files_that_lie_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(without_the_decoder_a_packed_file_says_what_to_do, setup, teardown),
        cmocka_unit_test_setup_teardown(optdigits_lines_are_parsed_and_stretched, setup, teardown),
        cmocka_unit_test_setup_teardown(cifar_records_are_read_and_faults_named, setup, teardown),
        cmocka_unit_test_setup_teardown(named_sets_are_found_where_they_are_installed, setup, teardown),
        cmocka_unit_test_setup_teardown(split_is_a_permutation_fixed_by_the_seed, setup, teardown),
        cmocka_unit_test_setup_teardown(preprocessing_is_fitted_per_channel_on_the_given_examples_only, setup, teardown),
        cmocka_unit_test_setup_teardown(loader_gives_the_same_batches_for_any_number_of_workers, setup, teardown),
        cmocka_unit_test_setup_teardown(loader_seek_continues_exactly_anywhere, setup, teardown),
        cmocka_unit_test_setup_teardown(augmentation_moves_images_whole_and_covers_its_range, setup, teardown),
        cmocka_unit_test_setup_teardown(loader_reports_a_bad_example_at_its_batch_and_names_it, setup, teardown),
        cmocka_unit_test_setup_teardown(png_round_trip_is_exact, setup, teardown),
        cmocka_unit_test_setup_teardown(damaged_png_files_are_refused_everywhere, setup, teardown),
        cmocka_unit_test_setup_teardown(plots_are_written_in_both_formats, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
