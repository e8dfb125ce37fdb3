/* What the op table cannot see of the convolution kernels: a slice of the batch has the bits of the whole batch, the tail is called once for every
 * block, and shapes larger than random cases: several tiles in a row, several bands and panels, depths of several blocks. */
#include "adze.h"
#include "base/base.h"
#include "graph/device.h"

#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

typedef struct shape {
    int64_t n, h, w, c, k, kh, kw, stride, dilation, pad, groups;
    int64_t d, kd; /* of volumes */
} shape;

static const shape SHAPES[] = {
    {3, 30, 31, 5, 20, 5, 5, 1, 1, 2, 1, 0, 0},
    {3, 12, 12, 20, 50, 5, 5, 1, 1, 0, 1, 0, 0},
    {5, 8, 8, 64, 72, 3, 3, 1, 1, 1, 1, 0, 0},
    {3, 9, 33, 16, 16, 3, 3, 1, 1, 1, 1, 0, 0},
    {2, 41, 40, 3, 18, 7, 7, 2, 1, 3, 1, 0, 0},
    {2, 35, 35, 3, 33, 11, 11, 4, 1, 2, 1, 0, 0},
    {3, 7, 7, 40, 56, 1, 1, 1, 1, 0, 1, 0, 0},
    {3, 9, 8, 17, 8, 1, 1, 2, 1, 0, 1, 0, 0},
    {3, 14, 13, 24, 48, 3, 3, 2, 1, 1, 4, 0, 0},
    {3, 15, 15, 12, 24, 3, 3, 1, 2, 2, 3, 0, 0},
    {4, 19, 37, 37, 37, 3, 3, 1, 1, 1, 37, 0, 0},
    {3, 18, 17, 21, 21, 5, 5, 2, 1, 2, 21, 0, 0},
    {2, 2, 2, 6, 6, 5, 5, 1, 1, 2, 1, 0, 0},
    {3, 4, 4, 300, 40, 3, 3, 1, 1, 1, 1, 0, 0},
    {2, 17, 16, 4, 9, 2, 3, 3, 2, 1, 1, 0, 0},
    {2, 23, 5, 8, 8, 3, 3, 5, 3, 4, 2, 0, 0},
    {3, 5, 7, 19, 19, 1, 1, 1, 1, 0, 19, 0, 0},
    {2, 3, 90, 16, 30, 3, 3, 1, 1, 1, 1, 0, 0},
    {9, 6, 6, 6, 12, 3, 3, 1, 1, 1, 6, 0, 0},
    /* volumes: 3x3x3, strided, slices that no tap reads, one place, dilation and groups, a kernel of depth only, depths of several blocks */
    {3, 9, 10, 16, 40, 3, 3, 1, 1, 1, 1, 7, 3},
    {2, 11, 9, 5, 18, 3, 3, 2, 1, 1, 1, 8, 3},
    {2, 7, 7, 8, 8, 2, 2, 4, 1, 0, 1, 9, 1},
    {3, 5, 6, 9, 12, 1, 1, 1, 1, 0, 1, 4, 1},
    {2, 9, 8, 12, 24, 2, 3, 1, 2, 2, 3, 6, 2},
    {2, 4, 5, 20, 17, 1, 1, 1, 1, 0, 1, 12, 5},
    {2, 4, 4, 300, 40, 3, 3, 1, 1, 1, 1, 3, 3},
    {2, 1, 1, 3, 4, 1, 1, 1, 1, 2, 1, 1, 3},
};

typedef struct set { /* a node's tensors */
    adze_conv_attrs at;
    adze_type type[3]; /* in 0, in 1, out */
    adze_view v[3];
    int64_t count[3];
} set;

static double next(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(int64_t)(*state >> 11) / 4503599627370496.0 - 1.0;
}

static void make(set *t, const shape *s, adze_dtype d, bool dx) {
    const int rank = s->d > 0 ? 5 : 4, skip = 5 - rank; /* an image has no depth axis */
    const int64_t od = s->d > 0 ? (s->d + 2 * s->pad - (s->kd - 1) * s->dilation - 1) / s->stride + 1 : 1;
    const int64_t reach_h = (s->kh - 1) * s->dilation + 1, reach_w = (s->kw - 1) * s->dilation + 1;
    const int64_t oh = (s->h + 2 * s->pad - reach_h) / s->stride + 1, ow = (s->w + 2 * s->pad - reach_w) / s->stride + 1;
    const int64_t xs[] = {s->n, s->d, s->h, s->w, s->c}, ws[] = {s->kd, s->kh, s->kw, s->c / s->groups, s->k}, ys[] = {s->n, od, oh, ow, s->k};
    adze_type x = adze_type_make(d, rank, xs + skip), w = adze_type_make(d, rank, ws + skip), y = adze_type_make(d, rank, ys + skip);
    x.dims[0] = y.dims[0] = s->n;
    uint64_t state = 17;
    memset(t, 0, sizeof *t);
    t->at.stride = (adze_ints){.n = rank - 2, .v = {s->stride, s->stride, s->stride}};
    t->at.dilation = (adze_ints){.n = rank - 2, .v = {s->dilation, s->dilation, s->dilation}};
    t->at.pad_lo = t->at.pad_hi = (adze_ints){.n = rank - 2, .v = {s->pad, s->pad, s->pad}};
    t->at.size.n = rank - 2;
    memcpy(t->at.size.v, x.dims + 1, (size_t)(rank - 2) * sizeof *x.dims);
    t->at.groups = s->groups;
    t->type[0] = dx ? y : x, t->type[1] = w, t->type[2] = dx ? x : y;
    for (int i = 0; i < 3; i++) {
        adze_view *v = &t->v[i];
        int64_t stride = 1;
        v->dtype = d, v->rank = rank;
        for (int k = rank - 1; k >= 0; k--) {
            v->dims[k] = t->type[i].dims[k], v->strides[k] = stride;
            stride *= v->dims[k];
        }
        t->count[i] = stride;
        v->data = malloc((size_t)stride * adze_dtype_size(d));
        assert_non_null(v->data);
        for (int64_t e = 0; e < stride; e++) {
            const double value = i == 2 ? (double)NAN : next(&state);
            if (d == ADZE_F32) {
                ((float *)v->data)[e] = (float)value;
            } else {
                ((double *)v->data)[e] = value;
            }
        }
    }
}

static void drop(set *t) {
    for (int i = 0; i < 3; i++) {
        free(t->v[i].data);
    }
}

static double element(const adze_view *v, int64_t i) {
    return v->dtype == ADZE_F32 ? (double)((const float *)v->data)[i] : ((const double *)v->data)[i];
}

static adze_sig sig_of(set *t, const adze_op *op) {
    return (adze_sig){.op = op, .name = "test", .attrs = &t->at, .nin = 2, .nout = 1, .in = t->type, .out = &t->type[2]};
}

/* How often the tail has seen every element of the output. */
typedef struct watch {
    adze_step step;
    unsigned char *seen;
    int64_t rows, cols;
    bool inside, complete; /* all blocks lay in the output; no element was still NaN */
} watch;

static void look(const adze_step *s, int64_t row, int64_t nrows, int64_t col, int64_t ncols) {
    watch *w = s->scratch;
    if (row < 0 || col < 0 || nrows < 1 || ncols < 1 || row + nrows > w->rows || col + ncols > w->cols) {
        w->inside = false;
        return;
    }
    for (int64_t r = row; r < row + nrows; r++) {
        for (int64_t c = col; c < col + ncols; c++) {
            w->seen[r * w->cols + c]++;
            w->complete = w->complete && !isnan(element(s->in, r * w->cols + c));
        }
    }
}

typedef struct memory {
    void *scratch;
    char *local;
    size_t stride;
} memory;

static memory memory_of(const adze_kernel *k, const adze_sig *sig, int nth) {
    memory m = {.stride = k->local ? (k->local(sig) + 63) / 64 * 64 : 0};
    const size_t scratch = k->scratch ? (k->scratch(sig) + 63) / 64 * 64 : 0;
    m.scratch = aligned_alloc(64, scratch + 64);
    m.local = aligned_alloc(64, m.stride * (size_t)nth + 64);
    assert_true(m.scratch && m.local);
    return m;
}

static adze_step step_of(const set *t, const adze_op *op, memory m) {
    return (adze_step){.op = op,
                       .attrs = &t->at,
                       .nin = 2,
                       .nout = 1,
                       .in = t->v,
                       .out = &t->v[2],
                       .scratch = m.scratch,
                       .local = m.local,
                       .local_stride = m.stride};
}

static void run_whole(const adze_kernel *k, const adze_step *s, int nth) {
    for (int p = 0; k->run[p]; p++) {
        for (int i = nth - 1; i >= 0; i--) {
            k->run[p](s, i, nth);
        }
    }
}

static void *bits(const set *t) {
    const size_t n = (size_t)t->count[2] * adze_dtype_size(t->v[2].dtype);
    void *p = malloc(n);
    assert_non_null(p);
    memcpy(p, t->v[2].data, n);
    memset(t->v[2].data, 0xFF, n);
    return p;
}

static void same(const set *t, const void *want, const char *what, const adze_kernel *k, int line) {
    if (memcmp(want, t->v[2].data, (size_t)t->count[2] * adze_dtype_size(t->v[2].dtype)) != 0) {
        fail_msg("%s/%s, shape %d: %s changes bits", k->op, k->name, line, what);
    }
    memset(t->v[2].data, 0xFF, (size_t)t->count[2] * adze_dtype_size(t->v[2].dtype));
}

static void near_ref(const set *t, const double *ref, const adze_kernel *k, int line) {
    double far = 0, size = 0;
    for (int64_t i = 0; i < t->count[2]; i++) {
        const double d = element(&t->v[2], i) - ref[i];
        far += d * d, size += ref[i] * ref[i];
    }
    if (!(sqrt(far) <= (t->v[2].dtype == ADZE_F32 ? 1e-6 : 1e-14) * sqrt(size))) {
        fail_msg("%s/%s, shape %d: %g from ref, of size %g", k->op, k->name, line, sqrt(far), sqrt(size));
    }
}

/* Images [n0, n1) as a group of steps would have them computed. */
static void run_slice(const adze_kernel *k, const adze_step *whole, int64_t n0, int64_t n1) {
    adze_view in[2] = {whole->in[0], whole->in[1]}, out = whole->out[0];
    const int64_t size = (int64_t)adze_dtype_size(out.dtype);
    in[0].dims[0] = out.dims[0] = n1 - n0;
    in[0].data = (char *)in[0].data + n0 * in[0].strides[0] * size;
    out.data = (char *)out.data + n0 * out.strides[0] * size;
    adze_step s = *whole;
    s.in = in, s.out = &out;
    k->run[k->prepare](&s, 0, 1);
}

static void check_slices(const adze_kernel *k, const set *t, const adze_step *s, const void *want, int line) {
    const int64_t n = t->v[0].dims[0];
    for (int64_t each = 1; each <= 2; each++) {
        for (int p = 0; p < k->prepare; p++) {
            k->run[p](s, 0, 1);
        }
        for (int64_t n0 = 0; n0 < n; n0 += each) {
            run_slice(k, s, n0, n0 + each < n ? n0 + each : n);
        }
        same(t, want, "a slice", k, line);
    }
}

static void check_tail(const adze_kernel *k, const set *t, adze_step s, const void *want, int nth, int line) {
    const int64_t cols = t->v[2].dims[t->v[2].rank - 1];
    watch w = {.rows = t->count[2] / cols, .cols = cols, .inside = true, .complete = true, .seen = calloc((size_t)t->count[2], 1)};
    assert_non_null(w.seen);
    w.step = (adze_step){.in = &t->v[2], .scratch = &w};
    const adze_tail tail = {.rows = look, .step = &w.step};
    s.tail = &tail;
    run_whole(k, &s, nth);
    for (int64_t i = 0; i < t->count[2]; i++) {
        if (w.seen[i] != 1 || !w.inside || !w.complete) {
            fail_msg("%s/%s, shape %d: the tail saw element %d %d times, inside %d, final %d", k->op, k->name, line, (int)i, w.seen[i], w.inside,
                     w.complete);
        }
    }
    free(w.seen);
    same(t, want, "a tail", k, line);
}

static void check_kernel(const adze_kernel *k, const adze_op *op, set *t, const double *ref, int line) {
    const adze_sig sig = sig_of(t, op);
    const memory m = memory_of(k, &sig, 8);
    const adze_step s = step_of(t, op, m);
    run_whole(k, &s, 1);
    near_ref(t, ref, k, line);
    void *want = bits(t);
    for (int nth = 2; nth <= 8; nth++) {
        run_whole(k, &s, nth);
        same(t, want, "a number of threads", k, line);
    }
    if (k->tail) {
        check_tail(k, t, s, want, 1, line);
        check_tail(k, t, s, want, 3, line);
    }
    assert_true(k->sliced == 1);
    check_slices(k, t, &s, want, line);
    free(want);
    free(m.scratch);
    free(m.local);
}

/* The reference in f64 on the same values. */
static double *reference(const set *t, const adze_op *op) {
    set wide = *t;
    for (int i = 0; i < 3; i++) {
        wide.v[i].dtype = wide.type[i].dtype = ADZE_F64;
        double *data = malloc((size_t)t->count[i] * sizeof *data);
        assert_non_null(data);
        for (int64_t e = 0; e < t->count[i]; e++) {
            data[e] = element(&t->v[i], e);
        }
        wide.v[i].data = data;
    }
    const adze_sig sig = sig_of(&wide, op);
    const size_t scratch = op->ref_scratch ? op->ref_scratch(&sig) : 0;
    const memory m = {.scratch = malloc(scratch + 1)};
    assert_non_null(m.scratch);
    const adze_step s = step_of(&wide, op, m);
    op->ref(&s, 0, 1);
    free(m.scratch);
    free(wide.v[0].data);
    free(wide.v[1].data);
    return wide.v[2].data;
}

static void check_op(const char *name, adze_dtype d) {
    static const adze_kernel_list *const lists[] = {&adze_linear_ref, &adze_linear_v2, &adze_linear_v3, &adze_linear_v4};
    const adze_op *op = adze_op_find(name);
    int64_t checked = 0;
    for (int line = 0; line < (int)ADZE_COUNT(SHAPES); line++) {
        set t;
        make(&t, &SHAPES[line], d, strcmp(name, "conv_dx") == 0);
        const adze_sig sig = sig_of(&t, op);
        double *ref = reference(&t, op);
        for (int level = 0; level <= (int)adze_isa_best() && level <= ADZE_ISA_V4; level++) {
            for (int i = 0; i < lists[level]->count; i++) {
                const adze_kernel *k = &lists[level]->kernels[i];
                if (strcmp(k->op, name) == 0 && (!k->accept || k->accept(&sig))) {
                    check_kernel(k, op, &t, ref, line);
                    checked++;
                }
            }
        }
        free(ref);
        drop(&t);
    }
    assert_true(checked >= (int64_t)ADZE_COUNT(SHAPES));
}

static void forward_has_the_bits_of_one_thread_and_of_the_whole_batch(void **state) {
    (void)state;
    check_op("conv", ADZE_F32);
    check_op("conv", ADZE_F64);
}

static void dx_has_the_bits_of_one_thread_and_of_the_whole_batch(void **state) {
    (void)state;
    check_op("conv_dx", ADZE_F32);
    check_op("conv_dx", ADZE_F64);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(forward_has_the_bits_of_one_thread_and_of_the_whole_batch),
                                       cmocka_unit_test(dx_has_the_bits_of_one_thread_and_of_the_whole_batch)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
