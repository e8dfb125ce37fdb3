/* Orthogonal matching pursuit as an op (Pati, Rezaiifar, Krishnaprasad 1993), and the equations of its derivatives. Both compute in double whatever
 * the dtype, in the order of adze_la_omp: a choice that hung on the last bits would differ between devices.
 *
 * With the atoms D_S chosen, the code is c = (D_S^T D_S)^-1 D_S^T x. Let t be its cotangent, u = (D_S^T D_S)^-1 t and r = x - D_S c: then x has the
 * cotangent D_S u, and D_S has r u^T - (D_S u) c^T. The equations are an op of their own (omp_solve), the rest are products. */
#include "op/omp.h"
#include "op/record.h"

enum { MOST = 1 << 14 }; /* atoms: their products take 2 GB */

/* x as a matrix of rows, and back. */
static adze_val flat(adze_graph *g, adze_val x) {
    const adze_type t = adze_val_type(g, x);
    return adze_reshape(g, x, (int64_t[]){adze_omp_rows(t.dims, t.rank), t.dims[t.rank - 1]}, 2);
}

static adze_val shaped(adze_graph *g, adze_val x, adze_val like) {
    const adze_type t = adze_val_type(g, like);
    return adze_reshape(g, x, t.dims, t.rank);
}

static int check_dictionary(adze_sig *s, const char *what, int64_t size, int axis) {
    const adze_type *x = &s->in[0], *d = &s->in[1];
    TRY(adze_check_dtype(s, 0, what, ADZE_SET_F));
    TRY(adze_check_same_dtype(s, 0, 1));
    TRY(adze_check_rank(s, 0, what, 2, ADZE_MAX_RANK));
    TRY(adze_check_rank(s, 1, "the dictionary", 2, 2));
    if (d->dims[axis] != x->dims[x->rank - 1]) {
        return adze_op_fail(s, ADZE_ESHAPE, "%s has %lld numbers a row, the dictionary (%lld, %lld) needs %lld", what,
                            (long long)x->dims[x->rank - 1], (long long)d->dims[0], (long long)d->dims[1], (long long)d->dims[axis]);
    }
    if (d->dims[1] > MOST || size < 1 || size > MOST) {
        return adze_op_fail(s, ADZE_EARG, "%lld atoms, of which %lld are chosen: 1 to %d are possible", (long long)d->dims[1], (long long)size, MOST);
    }
    return ADZE_OK;
}

/* c = y (R, atoms) and its u, both flat; rest (R, n): x - c d^T, or where x does not enter, - c d^T. The cotangent of d (n, atoms); p = u d^T. */
static adze_val dictionary_cotangent(adze_graph *g, adze_val c, adze_val u, adze_val rest, adze_val p) {
    return adze_sub(g, adze_matmul(g, rest, u, true, false), adze_matmul(g, p, c, true, false));
}

/* The right side of the tangent's equations: (tx - c td^T) d + rest td. tx, td: {0} for zero. */
static adze_val tangent_side(adze_graph *g, adze_val d, adze_val c, adze_val rest, adze_val tx, adze_val td) {
    adze_val inner = tx, side = {0};
    if (td.id) {
        const adze_val moved = adze_matmul(g, c, td, false, true);
        inner = tx.id ? adze_sub(g, tx, moved) : adze_neg(g, moved);
        side = adze_matmul(g, rest, td, false, false);
    }
    const adze_val first = adze_matmul(g, inner, d, false, false);
    return side.id ? adze_add(g, first, side) : first;
}

/* -- omp ---------------------------------------------------------------------------------------------------------------------------------------- */

static const adze_field OMP_ATTRS[] = {ADZE_ATTR_DEF(adze_omp_attrs, k, ADZE_F_I64, "1", "atoms of a row, at most"),
                                       ADZE_ATTR(adze_omp_attrs, tol, ADZE_F_F64, "a row ends early when this share of its length is left"),
                                       ADZE_ATTR_END};

static int infer_omp(adze_sig *s) {
    const adze_omp_attrs *a = s->attrs;
    int64_t dims[ADZE_MAX_RANK];
    TRY(check_dictionary(s, "the input", a->k, 0));
    if (a->k > s->in[1].dims[1] || !(a->tol >= 0 && a->tol < 1)) {
        return adze_op_fail(s, ADZE_EARG, "k %lld of %lld atoms, or the tolerance %g, is not possible", (long long)a->k, (long long)s->in[1].dims[1],
                            a->tol);
    }
    const int last = s->in[0].rank - 1;
    memcpy(dims, s->in[0].dims, sizeof dims);
    dims[last] = s->in[1].dims[1];
    TRY(adze_set_out(s, 0, s->in[0].dtype, last + 1, dims));
    dims[last] = a->k;
    return adze_set_out(s, 1, ADZE_I32, last + 1, dims);
}

static void vjp_omp(adze_adj *a) {
    adze_graph *g = a->g;
    const adze_val d = a->x[1];
    if (!a->t[0].id) {
        return;
    }
    const adze_val u = flat(g, adze_omp_solve(g, a->t[0], d, a->y[1])), p = adze_matmul(g, u, d, false, true);
    a->r[0] = shaped(g, p, a->x[0]);
    if (a->need[1]) {
        const adze_val c = flat(g, a->y[0]);
        a->r[1] = dictionary_cotangent(g, c, u, adze_sub(g, flat(g, a->x[0]), adze_matmul(g, c, d, false, true)), p);
    }
}

static void jvp_omp(adze_adj *a) {
    adze_graph *g = a->g;
    const adze_val d = a->x[1], tx = a->t[0].id ? flat(g, a->t[0]) : a->t[0];
    if (!tx.id && !a->t[1].id) {
        return;
    }
    const adze_val c = flat(g, a->y[0]), rest = adze_sub(g, flat(g, a->x[0]), adze_matmul(g, c, d, false, true));
    a->r[0] = adze_omp_solve(g, shaped(g, tangent_side(g, d, c, rest, tx, a->t[1]), a->y[0]), d, a->y[1]);
}

static void ref_omp(const adze_step *s, int ith, int nth) {
    const int64_t *d = s->in[1].dims;
    adze_step one = *s;
    one.local = (char *)((double *)s->scratch + (d[0] + 1 + d[1]) * d[1]);
    one.local_stride = 0;
    adze_omp_widen(&one, ith, nth);
    adze_omp_gram(&one, ith, nth);
    adze_omp_pursue(&one, ith, nth);
}

static size_t scratch_ref(const adze_sig *s) {
    return adze_omp_scratch(s) + adze_omp_local(s);
}

static adze_cost cost_omp(const adze_sig *s) {
    const double rows = (double)adze_omp_rows(s->in[0].dims, s->in[0].rank), n = (double)s->in[1].dims[0], atoms = (double)s->in[1].dims[1],
                 k = (double)((const adze_omp_attrs *)s->attrs)->k;
    return adze_cost_of(s, 2 * (rows + atoms) * n * atoms + rows * k * k * atoms);
}

static int sample_rows(adze_rng *r, const adze_case *c, int64_t *dims) {
    const int rank = (int)adze_rng_range(r, 2, 3);
    for (int i = 0; i < rank - 1; i++) {
        dims[i] = adze_rng_range(r, c->awkward && adze_sample_coin(r, 6) ? 0 : 1, 4);
    }
    return rank;
}

/* Where derivatives are looked at, all atoms are chosen, so that the choice cannot change; and there are few of many numbers each, so that they point
 * in ways that are far apart. */
static void sample_omp(adze_rng *r, adze_case *c) {
    adze_omp_attrs *a = c->attrs;
    int64_t dims[ADZE_MAX_RANK];
    const int rank = sample_rows(r, c, dims);
    int64_t atoms = adze_rng_range(r, 1, 3), n = atoms + 8 + adze_rng_range(r, 0, 4);
    a->k = atoms;
    if (c->any_dtype) {
        static const double TOLS[] = {0, 1e-6, 0.5};
        atoms = adze_rng_range(r, 1, 40);
        n = adze_sample_size(r, c, 0);
        a->k = adze_rng_range(r, 1, atoms < 6 ? atoms : 6);
        a->tol = TOLS[adze_rng_below(r, 3)];
    }
    dims[rank - 1] = n;
    c->nin = 2;
    c->in[0] = adze_type_make(c->dtype, rank, dims);
    c->in[1] = adze_type_make(c->dtype, 2, (int64_t[]){n, atoms});
}

const adze_op adze_op_omp = {
    .name = "omp",
    ADZE_ARITY(2, 2),
    ADZE_ATTRS(OMP_ATTRS, adze_omp_attrs),
    .doc =
        "c, ids = each row of x (..., n) as a sum of at most k columns S of d (n, atoms), by orthogonal matching pursuit: c (..., atoms), 0 but for\n"
        "c_S = (d_S^T d_S)^-1 d_S^T x; ids i32 (..., k) in order of choice, -1 behind the last. Derivatives hold the choice fixed",
    .infer = infer_omp,
    .vjp = vjp_omp,
    .jvp = jvp_omp,
    .cost = cost_omp,
    .ref = ref_omp,
    .ref_scratch = scratch_ref,
    .sample = sample_omp,
};

adze_val adze_omp(adze_graph *g, adze_val x, adze_val d, int64_t k, double tol, adze_val *ids) {
    const adze_omp_attrs a = {.k = k, .tol = tol};
    adze_val outs[2] = {{0}, {0}};
    adze_apply(g, &adze_op_omp, (adze_val[]){x, d}, 2, &a, outs);
    adze_give(ids, outs[1]);
    return outs[0];
}

/* -- omp_solve ----------------------------------------------------------------------------------------------------------------------------------- */

static int infer_solve(adze_sig *s) {
    const adze_type *b = &s->in[0], *ids = &s->in[2];
    TRY(adze_check_dtype(s, 2, "ids", ADZE_SET_ID));
    TRY(adze_check_rank(s, 2, "ids", b->rank, b->rank));
    TRY(check_dictionary(s, "the right side", b->rank > 0 ? ids->dims[ids->rank - 1] : 1, 1));
    for (int i = 0; i < b->rank - 1; i++) {
        if (b->dims[i] != ids->dims[i]) {
            return adze_op_fail(s, ADZE_ESHAPE, "axis %d of the right side has size %lld, that of ids %lld", i, (long long)b->dims[i],
                                (long long)ids->dims[i]);
        }
    }
    return adze_set_out(s, 0, b->dtype, b->rank, b->dims);
}

static void vjp_solve(adze_adj *a) {
    adze_graph *g = a->g;
    const adze_val d = a->x[1];
    a->r[0] = adze_omp_solve(g, a->t[0], d, a->x[2]);
    if (a->need[1]) {
        const adze_val u = flat(g, a->r[0]), c = flat(g, a->y[0]);
        a->r[1] = dictionary_cotangent(g, c, u, adze_neg(g, adze_matmul(g, c, d, false, true)), adze_matmul(g, u, d, false, true));
    }
}

static void jvp_solve(adze_adj *a) {
    adze_graph *g = a->g;
    const adze_val d = a->x[1], c = flat(g, a->y[0]);
    adze_val side = a->t[0];
    if (a->t[1].id) {
        const adze_val rest = adze_neg(g, adze_matmul(g, c, d, false, true));
        const adze_val moved = shaped(g, tangent_side(g, d, c, rest, (adze_val){0}, a->t[1]), a->y[0]);
        side = side.id ? adze_add(g, side, moved) : moved;
    }
    if (side.id) {
        a->r[0] = adze_omp_solve(g, side, d, a->x[2]);
    }
}

static void ref_solve(const adze_step *s, int ith, int nth) {
    adze_step one = *s;
    one.local = s->scratch;
    one.local_stride = 0;
    adze_omp_solve_rows(&one, ith, nth);
}

static adze_cost cost_solve(const adze_sig *s) {
    const double rows = (double)adze_omp_rows(s->in[0].dims, s->in[0].rank), n = (double)s->in[1].dims[0],
                 k = (double)s->in[2].dims[s->in[2].rank - 1];
    return adze_cost_of(s, rows * k * k * (n + k));
}

static void sample_solve(adze_rng *r, adze_case *c) {
    int64_t dims[ADZE_MAX_RANK];
    const int rank = sample_rows(r, c, dims);
    const int64_t atoms = adze_rng_range(r, 1, 4), n = c->any_dtype ? adze_sample_size(r, c, 0) : atoms + 8 + adze_rng_range(r, 0, 4);
    c->nin = 3;
    dims[rank - 1] = atoms;
    c->in[0] = adze_type_make(c->dtype, rank, dims);
    c->in[1] = adze_type_make(c->dtype, 2, (int64_t[]){n, atoms});
    dims[rank - 1] = adze_rng_range(r, 1, 5);
    c->in[2] = adze_type_make(adze_sample_any(r, ADZE_SET_ID), rank, dims);
    c->dom[2] = adze_dom_ids(-1, atoms + 1); /* now and then out of range, often twice */
}

const adze_op adze_op_omp_solve = {
    .name = "omp_solve",
    ADZE_ARITY(3, 1),
    .doc = "y (..., atoms), 0 but for y_S = (d_S^T d_S)^-1 b_S: b (..., atoms), d (n, atoms), S = ids (..., k) of each row, without those out of\n"
           "range and those whose columns depend on the ones before; what the derivatives of omp are made of",
    .infer = infer_solve,
    .vjp = vjp_solve,
    .jvp = jvp_solve,
    .cost = cost_solve,
    .ref = ref_solve,
    .ref_scratch = adze_omp_solve_local,
    .sample = sample_solve,
};

adze_val adze_omp_solve(adze_graph *g, adze_val b, adze_val d, adze_val ids) {
    return adze_apply(g, &adze_op_omp_solve, (adze_val[]){b, d, ids}, 3, NULL, NULL);
}
