/* Fractional max pooling (Graham 2014): regions that step on by one or two pixels, drawn anew in every run. Its derivatives are those of maxpool,
 * which read the index alone. */
#include "graph/graph_internal.h"
#include "op/element.h"
#include "op/random.h"
#include "op/record.h"

enum { MOST = ADZE_FRACTIONAL_MOST };

static const adze_field FRACTIONAL_FIELDS[] = {
    {.name = "out", .kind = ADZE_F_INTS, .offset = offsetof(adze_fractional_attrs, out), .lo = 1, .hi = MOST, .help = "regions of each spatial axis"},
    ADZE_ATTR(adze_fractional_attrs, stream, ADZE_F_U64, "names the random numbers"),
    ADZE_ATTR(adze_fractional_attrs, pseudo, ADZE_F_BOOL, "steps spread evenly instead of shuffled"),
    ADZE_ATTR(adze_fractional_attrs, overlap, ADZE_F_BOOL, "a region ends where the next begins"),
    ADZE_ATTR_END};

/* x: (N, H, W, C) -> y, index: (N, out.., C) */
static int infer_fractional(adze_sig *s) {
    const adze_fractional_attrs *a = s->attrs;
    const adze_type *x = &s->in[0];
    TRY(adze_check_dtype(s, 0, "the input", ADZE_SET_F));
    TRY(adze_check_rank(s, 0, "the input", 4, 4));
    if (a->out.n != 2) {
        return adze_op_fail(s, ADZE_EARG, "'out' has %lld numbers, one for each of 2 spatial axes is needed", (long long)a->out.n);
    }
    for (int i = 0; i < 2; i++) {
        const int64_t out = a->out.v[i], sum = x->dims[i + 1] - a->overlap;
        if (out < 1 || x->dims[i + 1] > MOST || sum < out || sum > 2 * out) {
            return adze_op_fail(s, ADZE_EARG, "%lld steps of 1 or 2 pixels cannot add up to %lld on spatial axis %d%s", (long long)out,
                                (long long)sum, i, x->dims[i + 1] > MOST ? ", which may have 32768 at most" : "");
        }
    }
    const int64_t dims[4] = {x->dims[0], a->out.v[0], a->out.v[1], x->dims[3]};
    TRY(adze_set_out(s, 0, x->dtype, 4, dims));
    return adze_set_out(s, 1, ADZE_I32, 4, dims);
}

/* Integers alone: steps are 1 or 2 and add up exactly, whatever is drawn. */
int64_t adze_fractional_starts(const adze_fractional_attrs *a, const adze_run *run, int axis, int64_t n, int64_t *start) {
    const int64_t out = a->out.v[axis], sum = n - a->overlap, unit = (int64_t)1 << 24;
    adze_draw d = {0};
    adze_random_key(run, a->stream, d.key);
    const int64_t u = adze_random_word(&d, (uint64_t)axis, 0) >> 8, first = (sum * u + out * unit - 1) / (out * unit); /* ceil(alpha u) */
    start[0] = 0;
    for (int64_t i = 0, twos = sum - out; i < out; i++) {
        if (a->pseudo) { /* ceil(alpha (i + 1 + u)) - ceil(alpha u) */
            start[i + 1] = (sum * ((i + 1) * unit + u) + out * unit - 1) / (out * unit) - first;
        } else { /* every order of the steps is as likely as any: a 2 with probability (2s left) / (steps left) */
            const bool two = (((uint64_t)adze_random_word(&d, (uint64_t)axis, (uint64_t)i) * (uint64_t)(out - i)) >> 32) < (uint64_t)twos;
            twos -= two;
            start[i + 1] = start[i] + 1 + two;
        }
    }
    return out;
}

size_t adze_fractional_scratch(const adze_sig *s) {
    return (size_t)(s->out[0].dims[1] + s->out[0].dims[2] + 2) * sizeof(int64_t);
}

/* y = the greatest x of the region, index = its position: first in order on ties; a NaN is greater than everything. */
static void ref_fractional(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const adze_fractional_attrs *a = s->attrs;
    const adze_view *x = &s->in[0], *y = &s->out[0];
    const int64_t h = x->dims[1], w = x->dims[2], c = x->dims[3], oh = y->dims[1], ow = y->dims[2], count = adze_view_count(y);
    int64_t *row = s->scratch, *col = row + oh + 1;
    adze_fractional_starts(a, s->run, 0, h, row);
    adze_fractional_starts(a, s->run, 1, w, col);
    for (int64_t i = 0; i < count; i++) {
        const int64_t k = i % c, ox = i / c % ow, oy = i / c / ow % oh, n = i / c / ow / oh;
        int64_t at = row[oy] * w + col[ox];
        double best = adze_at(x, (n * h * w + at) * c + k);
        for (int64_t p = row[oy]; p < row[oy + 1] + a->overlap; p++) {
            for (int64_t q = col[ox]; q < col[ox + 1] + a->overlap; q++) {
                const double v = adze_at(x, (n * h * w + p * w + q) * c + k);
                if (v > best || (isnan(v) && !isnan(best))) {
                    best = v;
                    at = p * w + q;
                }
            }
        }
        adze_put(y, i, best);
        ((int32_t *)s->out[1].data)[i] = (int32_t)at;
    }
}

/* Of windows that give as many outputs: where these windows lie does not matter to maxpool's derivatives. */
static adze_pool_attrs windows(const adze_adj *a) {
    const adze_fractional_attrs *f = a->attrs;
    const adze_type x = adze_val_type(a->g, a->x[0]);
    return (adze_pool_attrs){.in = adze_ints_of(x.dims + 1, 2),
                             .stride = adze_ints_of((int64_t[]){1, 1}, 2),
                             .size = adze_ints_of((int64_t[]){x.dims[1] - f->out.v[0] + 1, x.dims[2] - f->out.v[1] + 1}, 2)};
}

static void vjp_fractional(adze_adj *a) {
    if (a->t[0].id) {
        const adze_pool_attrs p = windows(a);
        a->r[0] = adze_maxpool_dx(a->g, a->t[0], a->y[1], &p);
    }
}

static void jvp_fractional(adze_adj *a) {
    if (a->t[0].id) {
        adze_pool_attrs p = windows(a);
        p.in.n = 0;
        a->r[0] = adze_maxpool_at(a->g, a->t[0], a->y[1], &p);
    }
}

static adze_cost cost_fractional(const adze_sig *s) {
    return adze_cost_of(s, (double)adze_type_count(&s->in[0]));
}

static void sample_fractional(adze_rng *r, adze_case *c) {
    adze_fractional_attrs *a = c->attrs;
    int64_t dims[4] = {adze_rng_range(r, c->awkward ? 0 : 1, 3), 0, 0, adze_sample_size(r, c, 1)};
    a->overlap = adze_sample_coin(r, 2);
    a->pseudo = adze_sample_coin(r, 2);
    a->stream = adze_rng_u64(r);
    a->out.n = 2;
    for (int i = 0; i < 2; i++) {
        a->out.v[i] = adze_rng_range(r, 1, 5);
        dims[i + 1] = adze_rng_range(r, a->out.v[i], 2 * a->out.v[i]) + a->overlap;
    }
    c->nin = 1;
    c->in[0] = adze_type_make(c->dtype, 4, dims);
    c->dom[0] = adze_dom_distinct();
}

const adze_op adze_op_fractional_maxpool = {
    .name = "fractional_maxpool",
    ADZE_ARITY(1, 2),
    .flags = ADZE_OP_RANDOM,
    ADZE_ATTRS(FRACTIONAL_FIELDS, adze_fractional_attrs),
    .doc = "The greatest x of each region, and where it lies: x (N, H, W, C) -> y (N, out..., C), index i32 (N, out..., C), as maxpool.\n"
           "Regions step on by 1 or 2 pixels, H in all (overlap: H - 1), drawn in each run: in random order, or pseudo: at ceil(alpha (i + u))",
    .infer = infer_fractional,
    .vjp = vjp_fractional,
    .jvp = jvp_fractional,
    .cost = cost_fractional,
    .ref = ref_fractional,
    .ref_scratch = adze_fractional_scratch,
    .sample = sample_fractional,
};

adze_val adze_fractional_maxpool(adze_graph *g, adze_val x, int64_t rows, int64_t cols, bool pseudo, bool overlap) {
    const adze_fractional_attrs a = {
        .out = adze_ints_of((int64_t[]){rows, cols}, 2), .stream = adze_graph_stream(g), .pseudo = pseudo, .overlap = overlap};
    return adze_apply(g, &adze_op_fractional_maxpool, &x, 1, &a, NULL);
}
