/* CIFAR-10 in its binary form (Krizhevsky 2009): records of a label byte and 32 x 32 pixels, all red ones first, then green, then blue. */
#include "data/formats.h"

#include <stdio.h>

enum { SIDE = 32, CHANNELS = 3, PLANE = SIDE * SIDE, PIXELS = PLANE * CHANNELS, RECORD = 1 + PIXELS, CLASSES = 10, PARTS = 5, MAX_FILE = 1 << 28 };

static const char *const class_names[CLASSES] = {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"};

typedef struct records { /* of all files so far */
    uint8_t *pixels;     /* (count, 32, 32, 3) */
    int64_t *labels;
    int64_t count;
} records;

static int grow(adze_ctx *ctx, records *r, int64_t more) {
    uint8_t *pixels = adze_resize(ctx, r->pixels, r->count * PIXELS, (r->count + more) * PIXELS, 1);
    r->pixels = pixels ? pixels : r->pixels;
    int64_t *labels = pixels ? adze_resize(ctx, r->labels, r->count, r->count + more, sizeof *labels) : NULL;
    r->labels = labels ? labels : r->labels;
    return ADZE_GOT(labels);
}

static int decode(adze_ctx *ctx, const char *path, const uint8_t *bytes, int64_t n, records *r) {
    if (n == 0 || n % RECORD) {
        return adze_fail(ctx, ADZE_EFORMAT, "'%s' has %lld bytes, no multiple of the %d of a record: it is cut short or another format", path,
                         (long long)n, RECORD);
    }
    TRY(grow(ctx, r, n / RECORD));
    for (int64_t i = 0; i < n / RECORD; i++, r->count++) {
        const uint8_t *record = bytes + i * RECORD;
        uint8_t *x = r->pixels + r->count * PIXELS;
        if (record[0] >= CLASSES) {
            return adze_fail(ctx, ADZE_EFORMAT, "'%s': record %lld has the label %d; 0 to %d are known", path, (long long)i, record[0], CLASSES - 1);
        }
        r->labels[r->count] = record[0];
        for (int p = 0; p < PLANE; p++) {
            for (int c = 0; c < CHANNELS; c++) {
                x[p * CHANNELS + c] = record[1 + c * PLANE + p];
            }
        }
    }
    return ADZE_OK;
}

static int read_part(adze_ctx *ctx, const char *dir, const char *file, records *r) {
    char path[1024];
    void *bytes;
    int64_t n;
    TRY(adze_path_join(path, sizeof path, dir, file));
    TRY(adze_read_file(ctx, path, MAX_FILE, &bytes, &n));
    int status = decode(ctx, path, bytes, n, r);
    adze_free(ctx, bytes);
    return status;
}

int adze_cifar_open(adze_ctx *ctx, const char *dir, const char *name, bool train, adze_dataset **out) {
    records r = {0};
    int status = train ? ADZE_OK : read_part(ctx, dir, "test_batch.bin", &r);
    for (int i = 1; train && i <= PARTS && status == ADZE_OK; i++) {
        char file[32];
        snprintf(file, sizeof file, "data_batch_%d.bin", i);
        status = read_part(ctx, dir, file, &r);
    }
    if (status != ADZE_OK) {
        adze_free(ctx, r.pixels);
        adze_free(ctx, r.labels);
        return status;
    }
    const int64_t dims[3] = {SIDE, SIDE, CHANNELS};
    return adze_dataset_take(ctx, name, adze_type_make(ADZE_U8, 3, dims), r.pixels, r.pixels, r.labels, r.count, CLASSES, class_names, out);
}
