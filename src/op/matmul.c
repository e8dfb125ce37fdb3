/* Matrix products, batched or with shared weights, either side stored transposed. Bilinear; its derivatives are matrix products again. */
#include "op/element.h"
#include "op/record.h"

static const adze_field MATMUL_FIELDS[] = {ADZE_ATTR(adze_matmul_attrs, ta, ADZE_F_BOOL, "the left side is stored transposed: (..., K, M)"),
                                           ADZE_ATTR(adze_matmul_attrs, tb, ADZE_F_BOOL, "the right side is stored transposed: (..., N, K)"),
                                           ADZE_ATTR_DTYPE(adze_matmul_attrs, out), ADZE_ATTR_END};

enum { SET_LEFT = ADZE_SET_BF | 1 << ADZE_I8 | 1 << ADZE_U8, SET_RIGHT = ADZE_SET_BF | 1 << ADZE_I8 };

/* One product of (m, k) and (k, n) per example; an operand without leading axes serves all examples. */
typedef struct product {
    int64_t batch, m, n, k;
    bool batch_a, batch_b;
} product;

static product product_of(const adze_matmul_attrs *t, int ra, const int64_t *a, int rb, const int64_t *b) {
    return (product){.batch = ra > 2 ? adze_dims_count(a, 0, ra - 2) : adze_dims_count(b, 0, rb - 2),
                     .m = a[ra - (t->ta ? 1 : 2)],
                     .n = b[rb - (t->tb ? 2 : 1)],
                     .k = a[ra - (t->ta ? 2 : 1)],
                     .batch_a = ra > 2,
                     .batch_b = rb > 2};
}

static int infer_matmul(adze_sig *s) {
    const adze_type *a = &s->in[0], *b = &s->in[1];
    const adze_matmul_attrs *t = s->attrs;
    adze_dtype d;
    TRY(adze_check_dtype(s, 0, "the left side", SET_LEFT));
    TRY(adze_check_dtype(s, 1, "the right side", SET_RIGHT));
    TRY(adze_check_rank(s, 0, "the left side", 2, ADZE_MAX_RANK));
    TRY(adze_check_rank(s, 1, "the right side", 2, ADZE_MAX_RANK));
    const product p = product_of(t, a->rank, a->dims, b->rank, b->dims);
    TRY(adze_product_dtype(s, t->out, p.k, &d));
    const int64_t kb = b->dims[b->rank - (t->tb ? 1 : 2)];
    if (p.k != kb) {
        return adze_op_fail(s, ADZE_ESHAPE, "the left side %s%s has %lld columns, the right side %s%s has %lld rows", ADZE_SHOWN(a),
                            t->ta ? " transposed" : "", (long long)p.k, ADZE_SHOWN(b), t->tb ? " transposed" : "", (long long)kb);
    }
    bool equal = a->rank == b->rank;
    for (int i = 0; equal && i < a->rank - 2; i++) {
        equal = a->dims[i] == b->dims[i];
    }
    if (a->rank > 2 && b->rank > 2 && !equal) {
        return adze_op_fail(s, ADZE_ESHAPE, "the leading axes of %s and %s differ; they must be equal, or one side must have none", ADZE_SHOWN(a),
                            ADZE_SHOWN(b));
    }
    const adze_type *lead = a->rank > 2 ? a : b;
    int64_t dims[ADZE_MAX_RANK];
    for (int i = 0; i < lead->rank - 2; i++) {
        dims[i] = lead->dims[i];
    }
    dims[lead->rank - 2] = p.m;
    dims[lead->rank - 1] = p.n;
    return adze_set_out(s, 0, d, lead->rank, dims);
}

/* -- derivatives: with C = A B, dA = dC B' and dB = A' dC; a side without leading axes sums over the examples ------------------------------------ */

/* Sums away the axes before the last two. */
static adze_val sum_batch(adze_graph *g, adze_val v) {
    int axes[ADZE_MAX_RANK], n = adze_val_type(g, v).rank - 2;
    for (int i = 0; i < n; i++) {
        axes[i] = i;
    }
    return n > 0 ? adze_sum(g, v, axes, n, false) : v;
}

/* All axes but the last become one: the rows of all examples. */
static adze_val fold(adze_graph *g, adze_val v) {
    const adze_type t = adze_val_type(g, v);
    const int64_t dims[2] = {t.rank > 0 ? adze_dims_count(t.dims, 0, t.rank - 1) : 0, t.rank > 0 ? t.dims[t.rank - 1] : 0};
    return adze_reshape(g, v, dims, 2);
}

static void vjp_matmul(adze_adj *a) {
    const adze_matmul_attrs *m = a->attrs;
    adze_graph *g = a->g;
    const adze_val x = a->x[0], w = a->x[1], t = adze_cast(g, a->t[0], adze_val_type(g, x).dtype);
    const int ra = adze_val_type(g, x).rank, rb = adze_val_type(g, w).rank;
    if (a->need[0]) {
        adze_val d = m->ta ? adze_matmul(g, w, t, m->tb, true) : adze_matmul(g, t, w, false, !m->tb);
        a->r[0] = ra == 2 ? sum_batch(g, d) : d;
    }
    if (a->need[1] && ra > 2 && rb == 2 && !m->ta) { /* shared weights, the hot case: one product over the rows of all examples */
        const adze_val xf = fold(g, x), tf = fold(g, t);
        a->r[1] = m->tb ? adze_matmul(g, tf, xf, true, false) : adze_matmul(g, xf, tf, true, false);
    } else if (a->need[1]) {
        adze_val d = m->tb ? adze_matmul(g, t, x, true, m->ta) : adze_matmul(g, x, t, !m->ta, false);
        a->r[1] = rb == 2 ? sum_batch(g, d) : d;
    }
}

/* y[e, i, j] = sum over k: a[e, i, k] b[e, k, j] */
static void ref_matmul(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const adze_matmul_attrs *t = s->attrs;
    const adze_view *a = &s->in[0], *b = &s->in[1];
    const product p = product_of(t, a->rank, a->dims, b->rank, b->dims);
    for (int64_t e = 0; e < p.batch; e++) {
        const int64_t a0 = p.batch_a ? e * p.m * p.k : 0, b0 = p.batch_b ? e * p.k * p.n : 0;
        for (int64_t i = 0; i < p.m; i++) {
            for (int64_t j = 0; j < p.n; j++) {
                double sum = 0;
                for (int64_t k = 0; k < p.k; k++) {
                    sum += adze_at(a, a0 + (t->ta ? k * p.m + i : i * p.k + k)) * adze_at(b, b0 + (t->tb ? j * p.k + k : k * p.n + j));
                }
                adze_put(&s->out[0], (e * p.m + i) * p.n + j, sum);
            }
        }
    }
}

static adze_cost cost_matmul(const adze_sig *s) {
    const product p = product_of(s->attrs, s->in[0].rank, s->in[0].dims, s->in[1].rank, s->in[1].dims);
    return adze_cost_of(s, 2.0 * (double)p.batch * (double)p.m * (double)p.n * (double)p.k);
}

static void sample_matmul(adze_rng *r, adze_case *c) {
    adze_matmul_attrs *t = c->attrs;
    int64_t size[3], lead[2]; /* m, n, k */
    for (int i = 0; i < 3; i++) {
        int64_t d = adze_sample_size(r, c, 0);
        size[i] = d > 9 && !adze_sample_coin(r, 3) ? adze_rng_range(r, 1, 7) : d > 33 ? 17 : d;
    }
    for (int i = 0; size[0] * size[1] * size[2] > 1200; i = (i + 1) % 3) { /* few multiply-adds */
        size[i] = (size[i] + 1) / 2;
    }
    int nlead = (int)adze_rng_range(r, 0, 2), who = (int)adze_rng_range(r, 0, 2); /* 0: both sides have the leading axes, 1: left, 2: right */
    for (int i = 0; i < nlead; i++) {
        lead[i] = c->awkward && adze_sample_coin(r, 8) ? 0 : adze_rng_range(r, 1, 2);
    }
    t->ta = adze_sample_coin(r, 2);
    t->tb = adze_sample_coin(r, 2);
    const adze_dtype left = adze_sample_dtype(r, c, SET_LEFT), right = left == ADZE_U8 ? ADZE_I8 : left;
    t->out = left == ADZE_BF16 && adze_sample_coin(r, 2) ? ADZE_F32 : ADZE_NONE;
    c->nin = 2;
    for (int side = 0; side < 2; side++) {
        int64_t dims[4];
        int n = who == 0 || who == side + 1 ? nlead : 0;
        for (int i = 0; i < n; i++) {
            dims[i] = lead[i];
        }
        int64_t rows = side == 0 ? size[0] : size[2], cols = side == 0 ? size[2] : size[1];
        bool swap = side == 0 ? t->ta : t->tb;
        dims[n] = swap ? cols : rows;
        dims[n + 1] = swap ? rows : cols;
        c->in[side] = adze_type_make(side == 0 ? left : right, n + 2, dims);
        c->dom[side] = left == ADZE_I8 || left == ADZE_U8 ? adze_dom_ids(c->in[side].dtype == ADZE_U8 ? 0 : -128, 128) : adze_dom_range(0, 0);
    }
}

const adze_op adze_op_matmul = {
    .name = "matmul",
    ADZE_ARITY(2, 1),
    .flags = ADZE_OP_BILINEAR,
    ADZE_ATTRS(MATMUL_FIELDS, adze_matmul_attrs),
    .doc = "y[..., i, j] = sum over k: a[..., i, k] b[..., k, j]. a (..., M, K) or with ta (..., K, M),\n"
           "b (..., K, N) or with tb (..., N, K) -> (..., M, N). "
           "The leading axes are equal, or one side has none and serves all examples. "
           "bf16 is summed in f32, and y is f32 when `out` says so; i8 (a: also u8) gives i32, exactly.",
    .infer = infer_matmul,
    .vjp = vjp_matmul,
    .cost = cost_matmul,
    .ref = ref_matmul,
    .sample = sample_matmul,
};

adze_val adze_matmul(adze_graph *g, adze_val a, adze_val b, bool ta, bool tb) {
    const adze_matmul_attrs attrs = {.ta = ta, .tb = tb};
    return adze_apply(g, &adze_op_matmul, (adze_val[]){a, b}, 2, &attrs, NULL);
}
