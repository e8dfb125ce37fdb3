/* Tensors: views of reference-counted buffers, and the copy that converts. */
#include "adze/core.h"

#include "base/base.h"
#include "core/buffer.h"
#include "core/dtype.h"
#include "core/type.h"

#include <math.h>
#include <stdatomic.h>

/* -- buffers -- */

struct adze_buffer {
    atomic_int refs;
    adze_ctx *ctx;
    void *data;
    bool owned;
};

adze_buffer *adze_buffer_wrap(adze_ctx *ctx, void *data) {
    adze_buffer *b = adze_alloc(ctx, 1, sizeof *b);
    if (b) {
        atomic_init(&b->refs, 1);
        b->ctx = ctx;
        b->data = data;
    }
    return b;
}

adze_buffer *adze_buffer_new(adze_ctx *ctx, int64_t bytes) {
    void *data = adze_alloc(ctx, bytes, 1);
    adze_buffer *b = data ? adze_buffer_wrap(ctx, data) : NULL;
    if (!b) {
        adze_free(ctx, data);
        return NULL;
    }
    b->owned = true;
    return b;
}

void adze_buffer_ref(adze_buffer *b) {
    atomic_fetch_add(&b->refs, 1);
}

void adze_buffer_unref(adze_buffer *b) {
    if (b && atomic_fetch_sub(&b->refs, 1) == 1) {
        if (b->owned) {
            adze_free(b->ctx, b->data);
        }
        adze_free(b->ctx, b);
    }
}

/* -- tensors -- */

static adze_tensor view_of(adze_type type, adze_buffer *buf) {
    adze_tensor t = {.dtype = type.dtype, .rank = type.rank, .buf = buf};
    int64_t stride = 1;
    for (int i = type.rank - 1; i >= 0; i--) {
        t.dims[i] = type.dims[i];
        t.strides[i] = stride;
        stride *= type.dims[i] > 0 ? type.dims[i] : 1;
    }
    return t;
}

static int check_type(adze_ctx *ctx, const adze_type *type, int64_t *bytes) {
    if (adze_dtype_size(type->dtype) == 0) {
        return adze_fail(ctx, ADZE_ETYPE, "a tensor needs a dtype; %d is none", (int)type->dtype);
    }
    if (type->rank < 0 || type->rank > ADZE_MAX_RANK) {
        return adze_fail(ctx, ADZE_ESHAPE, "a tensor of rank %d is not possible; ranks go from 0 to %d", type->rank, ADZE_MAX_RANK);
    }
    adze_type unit = *type; /* with every 0 taken as 1, so that strides fit as well */
    for (int i = 0; i < unit.rank; i++) {
        unit.dims[i] += unit.dims[i] == 0;
    }
    *bytes = adze_type_bytes(type);
    if (*bytes < 0 || adze_type_bytes(&unit) < 0) {
        return adze_fail(ctx, ADZE_ESHAPE, "a tensor %s is not possible: its dims are negative or too large", ADZE_SHOWN(type));
    }
    return ADZE_OK;
}

int adze_tensor_new(adze_ctx *ctx, adze_type type, adze_tensor *out) {
    int64_t bytes;
    *out = (adze_tensor){0};
    TRY(check_type(ctx, &type, &bytes));
    adze_buffer *b = adze_buffer_new(ctx, bytes);
    TRY(ADZE_GOT(b));
    *out = view_of(type, b);
    return ADZE_OK;
}

int adze_tensor_wrap(adze_ctx *ctx, adze_type type, void *data, adze_tensor *out) {
    int64_t bytes;
    *out = (adze_tensor){0};
    TRY(check_type(ctx, &type, &bytes));
    adze_buffer *b = adze_buffer_wrap(ctx, data);
    TRY(ADZE_GOT(b));
    *out = view_of(type, b);
    return ADZE_OK;
}

adze_tensor adze_tensor_ref(adze_tensor t) {
    if (t.buf) {
        adze_buffer_ref(t.buf);
    }
    return t;
}

void adze_tensor_free(adze_tensor *t) {
    adze_buffer_unref(t->buf);
    *t = (adze_tensor){0};
}

void *adze_tensor_data(const adze_tensor *t) {
    return t->buf && t->buf->data ? (char *)t->buf->data + t->offset : NULL;
}

adze_type adze_tensor_type(const adze_tensor *t) {
    return adze_type_make(t->dtype, t->rank, t->dims);
}

bool adze_tensor_contiguous(const adze_tensor *t) {
    int64_t stride = 1;
    for (int i = 0; i < t->rank; i++) {
        if (t->dims[i] == 0) {
            return true;
        }
    }
    for (int i = t->rank - 1; i >= 0; i--) {
        if (t->dims[i] != 1 && t->strides[i] != stride) {
            return false;
        }
        stride *= t->dims[i];
    }
    return true;
}

int adze_tensor_slice(adze_ctx *ctx, adze_tensor t, int axis, int64_t from, int64_t to, adze_tensor *out) {
    if (axis < 0 || axis >= t.rank) {
        return adze_fail(ctx, ADZE_ESHAPE, "slice: axis %d does not exist in a tensor of rank %d", axis, t.rank);
    }
    if (from < 0 || to < from || to > t.dims[axis]) {
        return adze_fail(ctx, ADZE_ESHAPE, "slice: %lld to %lld does not lie in axis %d of size %lld", (long long)from, (long long)to, axis,
                         (long long)t.dims[axis]);
    }
    t.offset += from * t.strides[axis] * (int64_t)adze_dtype_size(t.dtype);
    t.dims[axis] = to - from;
    *out = t;
    return ADZE_OK;
}

/* -- elements by number -- */

static char *element(const adze_tensor *t, int64_t i) {
    int64_t at = 0;
    for (int k = t->rank - 1; k >= 0; k--) {
        at += i % t->dims[k] * t->strides[k];
        i /= t->dims[k];
    }
    return (char *)adze_tensor_data(t) + at * (int64_t)adze_dtype_size(t->dtype);
}

static bool inside(const adze_tensor *t, int64_t i) {
    adze_type type = adze_tensor_type(t);
    return adze_tensor_data(t) && i >= 0 && i < adze_type_count(&type);
}

double adze_tensor_get(const adze_tensor *t, int64_t i) {
    return inside(t, i) ? adze_dtype_nearest(t->dtype, element(t, i)) : NAN;
}

void adze_tensor_set(const adze_tensor *t, int64_t i, double v) {
    if (inside(t, i)) {
        adze_dtype_store(t->dtype, element(t, i), 1, 1, &v);
    }
}

/* -- copying: rows along the last axis, converted in pieces that stay in the nearest cache -- */

enum { PIECE = 256 };

typedef struct row_copy {
    adze_dtype to, from;
    int64_t to_stride, from_stride; /* elements */
    int64_t n;
} row_copy;

static void copy_same(const row_copy *c, char *to, const char *from) {
    size_t size = adze_dtype_size(c->to);
    if (c->to_stride == 1 && c->from_stride == 1) {
        memmove(to, from, (size_t)c->n * size);
        return;
    }
    for (int64_t i = 0; i < c->n; i++) {
        memcpy(to + i * c->to_stride * (int64_t)size, from + i * c->from_stride * (int64_t)size, size);
    }
}

static void convert_row(const row_copy *c, char *to, const char *from) {
    const int64_t to_size = (int64_t)adze_dtype_size(c->to), from_size = (int64_t)adze_dtype_size(c->from);
    const bool whole = !adze_dtype_is_float(c->to) && !adze_dtype_is_float(c->from);
    double real[PIECE];
    int64_t integer[PIECE];
    for (int64_t i = 0; i < c->n; i += PIECE) {
        int64_t n = c->n - i < PIECE ? c->n - i : PIECE;
        const char *src = from + i * c->from_stride * from_size;
        char *dst = to + i * c->to_stride * to_size;
        if (whole) {
            adze_dtype_load_int(c->from, src, c->from_stride, n, integer);
            adze_dtype_store_int(c->to, dst, c->to_stride, n, integer);
        } else if (c->to == ADZE_F64) { /* here rounding to odd would be the last rounding */
            for (int64_t k = 0; k < n; k++) {
                ((double *)(void *)dst)[k * c->to_stride] = adze_dtype_nearest(c->from, src + k * c->from_stride * from_size);
            }
        } else {
            adze_dtype_load(c->from, src, c->from_stride, n, real);
            adze_dtype_store(c->to, dst, c->to_stride, n, real);
        }
    }
}

static int check_copy(adze_ctx *ctx, const adze_tensor *to, const adze_tensor *from) {
    adze_type x = adze_tensor_type(to), y = adze_tensor_type(from);
    if (adze_dtype_size(x.dtype) == 0 || adze_dtype_size(y.dtype) == 0) {
        return adze_fail(ctx, ADZE_EARG, "copy: a tensor without a dtype cannot be copied");
    }
    x.dtype = y.dtype;
    if (!adze_type_equal(&x, &y)) {
        x.dtype = to->dtype;
        return adze_fail(ctx, ADZE_ESHAPE, "copy: %s does not fit into %s", ADZE_SHOWN(&y), ADZE_SHOWN(&x));
    }
    return ADZE_OK;
}

int adze_tensor_copy(adze_ctx *ctx, adze_tensor to, adze_tensor from) {
    TRY(check_copy(ctx, &to, &from));
    adze_type type = adze_tensor_type(&to);
    int64_t count = adze_type_count(&type);
    if (count <= 0) {
        return ADZE_OK;
    }
    char *dst = adze_tensor_data(&to);
    const char *src = adze_tensor_data(&from);
    if (!dst || !src) {
        return adze_fail(ctx, ADZE_EARG, "copy: a tensor has no data");
    }
    const int64_t to_size = (int64_t)adze_dtype_size(to.dtype), from_size = (int64_t)adze_dtype_size(from.dtype);
    const bool flat = to.rank == 0 || (adze_tensor_contiguous(&to) && adze_tensor_contiguous(&from));
    const int axes = flat ? 0 : to.rank - 1; /* walked one by one; the rest is the row */
    row_copy c = {to.dtype, from.dtype, flat ? 1 : to.strides[axes], flat ? 1 : from.strides[axes], flat ? count : to.dims[axes]};
    int64_t index[ADZE_MAX_RANK] = {0};
    for (;;) {
        (to.dtype == from.dtype ? copy_same : convert_row)(&c, dst, src);
        int k = axes - 1;
        for (; k >= 0; k--) {
            dst += to.strides[k] * to_size;
            src += from.strides[k] * from_size;
            if (++index[k] < to.dims[k]) {
                break;
            }
            dst -= to.strides[k] * to_size * to.dims[k];
            src -= from.strides[k] * from_size * to.dims[k];
            index[k] = 0;
        }
        if (k < 0) {
            return ADZE_OK;
        }
    }
}
