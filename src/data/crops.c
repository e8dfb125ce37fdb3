/* Crops of pictures as a data set of their own: what a network that reads smaller or shifted pictures is judged on. */
#include "data/formats.h"

#include <stdio.h>

enum { PLACES = 5 /* four corners and the centre */, MOST = 2 * PLACES, PAD_MOST = 1024 };

typedef struct crop_set { /* impl of a data set */
    const adze_dataset *of;
    int64_t crops, pad;
    int64_t *labels; /* of the pictures */
} crop_set;

/* Where a crop begins in a side with so much room: at an end or in the middle, halves rounded to the even pixel as torchvision does. */
static int64_t begin(int64_t room, bool centre, bool far) {
    return centre ? room / 2 + (room % 4 == 3) : far ? room : 0;
}

/* The crops of a picture: top left, top right, bottom left, bottom right, centre; then those of its mirror image. */
static int crops_read(const adze_dataset *d, int64_t i, void *x, int64_t *label) {
    const crop_set *s = d->impl;
    if (i < 0 || i >= d->count) {
        return ADZE_EARG;
    }
    const int64_t k = i % s->crops, place = k % PLACES, high = s->of->example.dims[0], wide = s->of->example.dims[1];
    const int64_t h = d->example.dims[0], w = d->example.dims[1], c = d->example.dims[2];
    const bool centre = s->crops < PLACES || place == PLACES - 1, mirror = s->crops % 2 == 0 && k >= s->crops / 2;
    const int64_t top = begin(high + 2 * s->pad - h, centre, place / 2 == 1) - s->pad;
    const int64_t left = begin(wide + 2 * s->pad - w, centre, place % 2 == 1) - s->pad;
    const uint8_t *from = s->of->peek(s->of, i / s->crops);
    uint8_t *out = x;
    for (int64_t n = 0; n < h * w; n++, out += c) {
        const int64_t sy = top + n / w, at = left + n % w, sx = mirror ? wide - 1 - at : at;
        if (sy < 0 || sy >= high || sx < 0 || sx >= wide) {
            memset(out, 0, (size_t)c);
        } else {
            memcpy(out, from + (sy * wide + sx) * c, (size_t)c);
        }
    }
    *label = s->labels[i / s->crops];
    return ADZE_OK;
}

static void crops_close(adze_dataset *d) {
    crop_set *s = d->impl;
    adze_free(d->ctx, s->labels);
    adze_free(d->ctx, s);
    adze_free(d->ctx, d);
}

static int crops_check(adze_ctx *ctx, const adze_dataset *d, int64_t h, int64_t w, int64_t crops, int64_t pad) {
    const int64_t *side = d->example.dims;
    if ((crops != 1 && crops != 2 && crops != PLACES && crops != MOST) || pad < 0 || pad > PAD_MOST) {
        return adze_fail(ctx, ADZE_EARG,
                         "crops are 1 (the centre), 2 (and its mirror image), 5 (and the corners) or 10 (and their mirror images), "
                         "in a border of 0 to %d pixels, not %lld in %lld",
                         PAD_MOST, (long long)crops, (long long)pad);
    }
    if (d->example.rank != 3 || d->example.dtype != ADZE_U8 || d->count < 1 || !d->peek || !d->peek(d, 0)) {
        return adze_fail(ctx, ADZE_ENOSUP, "crops are cut from 8-bit pictures (H, W, C) that lie in memory; those of '%s' are none", d->name);
    }
    if (h < 1 || w < 1 || h > side[0] + 2 * pad || w > side[1] + 2 * pad) {
        return adze_fail(ctx, ADZE_ESHAPE, "crops of %lldx%lld do not fit into the pictures of '%s', %lldx%lld with a border of %lld", (long long)h,
                         (long long)w, d->name, (long long)side[0], (long long)side[1], (long long)pad);
    }
    if (crops >= PLACES && h == side[0] + 2 * pad && w == side[1] + 2 * pad) {
        return adze_fail(ctx, ADZE_EARG, "crops of %lldx%lld are the whole pictures of '%s', all of them alike; a border gives them room",
                         (long long)h, (long long)w, d->name);
    }
    return ADZE_OK;
}

int adze_dataset_crops(adze_ctx *ctx, const adze_dataset *d, int64_t h, int64_t w, int64_t crops, int64_t pad, adze_dataset **out) {
    *out = NULL;
    TRY(crops_check(ctx, d, h, w, crops, pad));
    const int64_t dims[3] = {h, w, d->example.dims[2]}, parts[] = {h, w, crops, pad};
    adze_dataset *view = adze_alloc(ctx, 1, sizeof *view);
    crop_set *s = adze_alloc(ctx, 1, sizeof *s);
    int64_t *labels = adze_alloc(ctx, d->count, sizeof *labels);
    uint8_t *picture = adze_alloc(ctx, adze_type_bytes(&d->example), 1);
    int st = ADZE_GOT(view && s && labels && picture);
    for (int64_t i = 0; i < d->count && st == ADZE_OK; i++) {
        st = d->read(d, i, picture, &labels[i]);
    }
    adze_free(ctx, picture);
    if (st != ADZE_OK) {
        adze_free(ctx, view);
        adze_free(ctx, s);
        adze_free(ctx, labels);
        return st;
    }
    *s = (crop_set){d, crops, pad, labels};
    *view = (adze_dataset){.count = d->count * crops, .example = adze_type_make(ADZE_U8, 3, dims), .classes = d->classes, .ctx = ctx, .impl = s};
    view->class_names = d->class_names;
    view->read = crops_read;
    view->close = crops_close;
    snprintf(view->name, sizeof view->name, "%s", d->name);
    for (int i = 0; i < 2; i++) {
        view->fingerprint[i] = adze_hash64(parts, sizeof parts, d->fingerprint[i]);
    }
    *out = view;
    return ADZE_OK;
}
