/* Data sets that lie in memory: the form every small image set is brought into, and the one a program makes from its own arrays. */
#include "data/formats.h"

#include <stdio.h>

typedef struct memory_set { /* impl of a data set; owned parts may be NULL */
    const uint8_t *pixels;
    const int64_t *labels;
    int64_t bytes; /* of one example */
    void *owned_pixels;
    int64_t *owned_labels;
} memory_set;

static int memory_read(const adze_dataset *d, int64_t i, void *x, int64_t *label) {
    const memory_set *m = d->impl;
    if (i < 0 || i >= d->count) {
        return ADZE_EARG;
    }
    memcpy(x, m->pixels + i * m->bytes, (size_t)m->bytes);
    *label = m->labels[i];
    return ADZE_OK;
}

static const uint8_t *memory_peek(const adze_dataset *d, int64_t i) {
    const memory_set *m = d->impl;
    return i < 0 || i >= d->count ? NULL : m->pixels + i * m->bytes;
}

static void memory_close(adze_dataset *d) {
    memory_set *m = d->impl;
    adze_ctx *ctx = d->ctx;
    if (m != NULL) {
        adze_free(ctx, m->owned_pixels);
        adze_free(ctx, m->owned_labels);
    }
    adze_free(ctx, m);
    adze_free(ctx, d);
}

/* The fingerprint covers pixels, labels, shape and classes, so that a resume on other data is noticed. */
static void memory_fingerprint(adze_dataset *d, const memory_set *m) {
    uint64_t parts[4 + ADZE_MAX_RANK + 3] = {0};
    adze_hash128(m->pixels, (size_t)(m->bytes * d->count), parts);
    adze_hash128(m->labels, sizeof(int64_t) * (size_t)d->count, parts + 2);
    for (int i = 0; i < d->example.rank; i++) {
        parts[4 + i] = (uint64_t)d->example.dims[i];
    }
    parts[4 + ADZE_MAX_RANK] = (uint64_t)d->count;
    parts[5 + ADZE_MAX_RANK] = (uint64_t)d->classes;
    parts[6 + ADZE_MAX_RANK] = (uint64_t)d->example.rank;
    adze_hash128(parts, sizeof parts, d->fingerprint);
}

static int memory_check(adze_ctx *ctx, const adze_type *example, const int64_t *labels, int64_t count, int classes, int64_t *bytes) {
    int64_t total;
    *bytes = adze_type_bytes(example);
    if (example->dtype != ADZE_U8) {
        return adze_fail(ctx, ADZE_ENOSUP, "a data set holds u8 pixels, not %s", adze_dtype_name(example->dtype));
    }
    if (*bytes <= 0 || count < 0 || !adze_mul_size(*bytes, count, &total) || !adze_mul_size(count, (int64_t)sizeof(int64_t), &total)) {
        return adze_fail(ctx, ADZE_ESHAPE, "a data set needs examples of at least one byte and a legal count, not %lld bytes and %lld examples",
                         (long long)*bytes, (long long)count);
    }
    for (int64_t i = 0; i < count; i++) {
        if (labels[i] < 0 || labels[i] >= classes) {
            return adze_fail(ctx, ADZE_EFORMAT, "example %lld has label %lld, outside 0..%d", (long long)i, (long long)labels[i], classes - 1);
        }
    }
    return ADZE_OK;
}

static int memory_new(adze_ctx *ctx, adze_type example, const uint8_t *pixels, const int64_t *labels, int64_t count, int classes,
                      adze_dataset **out) {
    int64_t bytes;
    TRY(memory_check(ctx, &example, labels, count, classes, &bytes));
    adze_dataset *d = adze_alloc(ctx, 1, sizeof *d);
    memory_set *m = adze_alloc(ctx, 1, sizeof *m);
    if (d == NULL || m == NULL) {
        adze_free(ctx, d);
        adze_free(ctx, m);
        return ADZE_ENOMEM;
    }
    *m = (memory_set){.pixels = pixels, .labels = labels, .bytes = bytes};
    *d = (adze_dataset){.name = "memory",
                        .count = count,
                        .example = example,
                        .classes = classes,
                        .read = memory_read,
                        .peek = memory_peek,
                        .close = memory_close,
                        .ctx = ctx,
                        .impl = m};
    memory_fingerprint(d, m);
    *out = d;
    return ADZE_OK;
}

int adze_dataset_from_memory(adze_ctx *ctx, adze_type example, const void *x, const int64_t *labels, int64_t count, int classes, adze_dataset **out) {
    *out = NULL;
    return memory_new(ctx, example, x, labels, count, classes, out);
}

int adze_dataset_take(adze_ctx *ctx, const char *name, adze_type example, void *owned, const uint8_t *pixels, int64_t *labels, int64_t count,
                      int classes, const char *const *class_names, adze_dataset **out) {
    *out = NULL;
    int st = memory_new(ctx, example, pixels, labels, count, classes, out);
    if (st != ADZE_OK) {
        adze_free(ctx, owned);
        adze_free(ctx, labels);
        return st;
    }
    memory_set *m = (*out)->impl;
    m->owned_pixels = owned;
    m->owned_labels = labels;
    (*out)->class_names = class_names;
    snprintf((*out)->name, sizeof(*out)->name, "%s", name);
    return ADZE_OK;
}
