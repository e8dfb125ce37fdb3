/* The geometry of convolutions and pools: sizes, the taps that lie inside, and the checks that convolutions and pools share. */
#include "op/conv_geom.h"
#include "op/rules.h"

static int64_t list_at(const adze_ints *list, int i, int64_t otherwise) {
    return list->n > 0 ? list->v[i] : otherwise;
}

static const adze_window UNIT = {.in = 1, .out = 1, .size = 1, .stride = 1, .dilation = 1, .lo = 0, .hi = 0};

adze_geom adze_conv_geom(const adze_conv_attrs *a, int rank, const int64_t *x, const int64_t *w, const int64_t *y) {
    adze_geom g = {.spatial = rank - 2, .n = x[0], .c = x[rank - 1], .k = y[rank - 1], .groups = a->groups, .axis = {UNIT, UNIT, UNIT}};
    for (int i = 0; i < g.spatial; i++) {
        g.axis[ADZE_SPATIAL - g.spatial + i] = (adze_window){.in = x[i + 1],
                                                             .out = y[i + 1],
                                                             .size = w[i],
                                                             .stride = list_at(&a->stride, i, 1),
                                                             .dilation = list_at(&a->dilation, i, 1),
                                                             .lo = list_at(&a->pad_lo, i, 0),
                                                             .hi = list_at(&a->pad_hi, i, 0)};
    }
    return g;
}

adze_geom adze_pool_geom(const adze_pool_attrs *a, int rank, const int64_t *x, const int64_t *y) {
    adze_geom g = {.spatial = rank - 2, .n = x[0], .c = x[rank - 1], .k = x[rank - 1], .groups = x[rank - 1], .axis = {UNIT, UNIT, UNIT}};
    for (int i = 0; i < g.spatial; i++) {
        g.axis[ADZE_SPATIAL - g.spatial + i] = (adze_window){.in = x[i + 1],
                                                             .out = y[i + 1],
                                                             .size = a->size.v[i],
                                                             .stride = list_at(&a->stride, i, a->size.v[i]),
                                                             .dilation = 1,
                                                             .lo = list_at(&a->pad_lo, i, 0),
                                                             .hi = list_at(&a->pad_hi, i, 0)};
    }
    return g;
}

/* Rounds towards minus infinity; b > 0. */
static int64_t floor_div(int64_t a, int64_t b) {
    return a >= 0 ? a / b : -((-a + b - 1) / b);
}

void adze_window_outputs(const adze_window *w, int64_t t, int64_t *from, int64_t *to) {
    int64_t shift = w->lo - t * w->dilation; /* output o reads o * stride - shift */
    int64_t first = floor_div(shift + w->stride - 1, w->stride);
    int64_t end = floor_div(w->in - 1 + shift, w->stride) + 1;
    *from = first < 0 ? 0 : first > w->out ? w->out : first;
    *to = end > w->out ? w->out : end < *from ? *from : end;
}

double adze_geom_taps(const adze_geom *g) {
    double all = 1;
    for (int i = 0; i < ADZE_SPATIAL; i++) {
        double taps = 0;
        for (int64_t t = 0; t < g->axis[i].size; t++) {
            int64_t from, to;
            adze_window_outputs(&g->axis[i], t, &from, &to);
            taps += (double)(to - from);
        }
        all *= taps;
    }
    return all;
}

int64_t adze_window_divisor(const adze_window *w, int64_t o, bool count_pad) {
    int64_t from = o * w->stride - w->lo, to = from + w->size;
    int64_t last = count_pad ? w->in + w->hi : w->in;
    to = to < last ? to : last;
    return to - (count_pad || from > 0 ? from : 0);
}

int64_t adze_conv_out(const adze_window *w) {
    int64_t width = (w->size - 1) * w->dilation + 1;
    return floor_div(w->in + w->lo + w->hi - width, w->stride) + 1;
}

int64_t adze_pool_out(const adze_window *w, bool ceil) {
    int64_t out = floor_div(w->in + w->lo + w->hi - w->size + (ceil ? w->stride - 1 : 0), w->stride) + 1;
    return ceil && (out - 1) * w->stride >= w->in + w->lo ? out - 1 : out; /* the last window starts inside the input or the padding before it */
}

int adze_check_list(adze_sig *s, const char *name, const adze_ints *list, int spatial, int64_t lo, bool need) {
    if (list->n != spatial && (need || list->n != 0)) {
        return adze_op_fail(s, ADZE_ESHAPE, "%s has %lld entries, %d spatial %s %d", name, (long long)list->n, spatial,
                            spatial == 1 ? "axis needs" : "axes need", spatial);
    }
    for (int i = 0; i < list->n; i++) {
        if (list->v[i] < lo || list->v[i] > ADZE_WINDOW_MAX) {
            return adze_op_fail(s, ADZE_EARG, "%s is %lld on spatial axis %d, it must be %lld to %lld", name, (long long)list->v[i], i, (long long)lo,
                                (long long)ADZE_WINDOW_MAX);
        }
    }
    return ADZE_OK;
}

int adze_check_spatial(adze_sig *s, int i, const char *what, int set, int *spatial) {
    const adze_type *t = &s->in[i];
    TRY(adze_check_dtype(s, i, what, set));
    TRY(adze_check_rank(s, i, what, 3, 2 + ADZE_SPATIAL));
    for (int k = 0; k < t->rank; k++) {
        if (t->dims[k] > (int64_t)ADZE_WINDOW_MAX) {
            return adze_op_fail(s, ADZE_ESHAPE, "%s has %lld positions on axis %d, at most %lld are possible", what, (long long)t->dims[k], k,
                                (long long)ADZE_WINDOW_MAX);
        }
    }
    *spatial = (int)t->rank - 2;
    return ADZE_OK;
}
