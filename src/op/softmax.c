/* Softmax and the cross-entropies: fused, because they are stable and fast only in one piece. Each has an expansion into primitive ops as well. */
#include "op/element.h"

extern const adze_op adze_op_softmax_xent_grad;

static const adze_field AXIS_FIELDS[] = {ADZE_ATTR_DEF(adze_axis_attrs, axis, ADZE_F_I64, "-1", "the axis that sums to 1; negative: from the end"),
                                         ADZE_ATTR_END};

/* A tensor seen as (outer, n, inner) around one axis. */
typedef struct lanes {
    int64_t outer, n, inner;
} lanes;

static lanes lanes_of(const adze_view *v, int64_t axis) {
    const int at = (int)adze_axis(axis, v->rank);
    return (lanes){adze_dims_count(v->dims, 0, at), v->dims[at], adze_dims_count(v->dims, at + 1, v->rank)};
}

/* Where lane l (outer and inner together) begins; its elements are `inner` apart. */
static int64_t lane_start(const lanes *d, int64_t l) {
    return l / d->inner * d->n * d->inner + l % d->inner;
}

/* log(sum of exp) of the n elements of x at `start`, `gap` apart. */
static double log_sum_exp(const adze_view *x, int64_t start, int64_t gap, int64_t n) {
    double top = adze_at(x, start), sum = 0;
    for (int64_t i = 1; i < n; i++) {
        double v = adze_at(x, start + i * gap);
        top = v > top || isnan(v) ? v : top;
    }
    if (isinf(top)) {
        return top; /* inf - inf below would lose it */
    }
    for (int64_t i = 0; i < n; i++) {
        sum += exp(adze_at(x, start + i * gap) - top);
    }
    return top + log(sum);
}

/* -- helpers of the derivative rules: everything is per lane along the axis ---------------------------------------------------------------------- */

static adze_val sum_keep(adze_graph *g, adze_val v, int64_t axis) {
    const int at = (int)axis;
    return adze_sum(g, v, &at, 1, true);
}

static adze_val logsumexp_keep(adze_graph *g, adze_val v, int64_t axis) {
    const int at = (int)axis;
    return adze_logsumexp(g, v, &at, 1, true);
}

static adze_val sum_last(adze_graph *g, adze_val v) {
    const int at = -1;
    return adze_sum(g, v, &at, 1, false);
}

/* (...) -> (..., 1) */
static adze_val add_axis(adze_graph *g, adze_val v) {
    const adze_type t = adze_val_type(g, v);
    int64_t dims[ADZE_MAX_RANK + 1];
    for (int i = 0; i < t.rank; i++) {
        dims[i] = t.dims[i];
    }
    dims[t.rank] = 1;
    return adze_reshape(g, v, dims, t.rank + 1);
}

/* -- softmax and log_softmax --------------------------------------------------------------------------------------------------------------------- */

static int infer_softmax(adze_sig *s) {
    TRY(adze_check_dtype(s, 0, "the input", ADZE_SET_F));
    TRY(adze_check_axis(s, ((const adze_axis_attrs *)s->attrs)->axis, s->in[0].rank));
    return adze_set_out(s, 0, s->in[0].dtype, s->in[0].rank, s->in[0].dims);
}

/* y = exp(x - logsumexp(x)) */
static void ref_softmax(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const lanes d = lanes_of(&s->in[0], ((const adze_axis_attrs *)s->attrs)->axis);
    for (int64_t l = 0; l < d.outer * d.inner && d.n > 0; l++) {
        const int64_t start = lane_start(&d, l);
        const double lse = log_sum_exp(&s->in[0], start, d.inner, d.n);
        for (int64_t i = 0; i < d.n; i++) {
            adze_put(&s->out[0], start + i * d.inner, exp(adze_at(&s->in[0], start + i * d.inner) - lse));
        }
    }
}

/* y = x - logsumexp(x) */
static void ref_log_softmax(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const lanes d = lanes_of(&s->in[0], ((const adze_axis_attrs *)s->attrs)->axis);
    for (int64_t l = 0; l < d.outer * d.inner && d.n > 0; l++) {
        const int64_t start = lane_start(&d, l);
        const double lse = log_sum_exp(&s->in[0], start, d.inner, d.n);
        for (int64_t i = 0; i < d.n; i++) {
            adze_put(&s->out[0], start + i * d.inner, adze_at(&s->in[0], start + i * d.inner) - lse);
        }
    }
}

/* The Jacobian is symmetric, so vjp and jvp are the same: y (t - sum y t) */
static void adj_softmax(adze_adj *a, adze_val y) {
    const int64_t axis = ((const adze_axis_attrs *)a->attrs)->axis;
    a->r[0] = adze_mul(a->g, y, adze_sub(a->g, a->t[0], sum_keep(a->g, adze_mul(a->g, y, a->t[0]), axis)));
}

static void vjp_softmax(adze_adj *a) {
    adj_softmax(a, a->y[0]);
}

/* x - logsumexp(x); with no elements along the axis there are none at all. */
static adze_val expand_log(adze_adj *a) {
    const int64_t axis = ((const adze_axis_attrs *)a->attrs)->axis;
    const adze_type t = adze_val_type(a->g, a->x[0]);
    if (t.rank > 0 && t.dims[adze_axis(axis, t.rank)] == 0) {
        return adze_copy(a->g, a->x[0]);
    }
    return adze_sub(a->g, a->x[0], logsumexp_keep(a->g, a->x[0], axis));
}

static void expand_softmax(adze_adj *a) {
    a->r[0] = adze_exp(a->g, expand_log(a));
}

/* t - exp(y) sum t */
static void vjp_log_softmax(adze_adj *a) {
    const int64_t axis = ((const adze_axis_attrs *)a->attrs)->axis;
    a->r[0] = adze_sub(a->g, a->t[0], adze_mul(a->g, adze_exp(a->g, a->y[0]), sum_keep(a->g, a->t[0], axis)));
}

/* t - sum (exp(y) t) */
static void jvp_log_softmax(adze_adj *a) {
    const int64_t axis = ((const adze_axis_attrs *)a->attrs)->axis;
    a->r[0] = adze_sub(a->g, a->t[0], sum_keep(a->g, adze_mul(a->g, adze_exp(a->g, a->y[0]), a->t[0]), axis));
}

static void expand_log_softmax(adze_adj *a) {
    a->r[0] = expand_log(a);
}

static uint32_t inplace_first(const adze_sig *s) {
    (void)s;
    return 1;
}

/* An element costs a comparison, a subtraction, an exponential, a sum and a division or subtraction. */
static adze_cost cost_softmax(const adze_sig *s) {
    return adze_cost_of(s, 5.0 * (double)adze_type_count(&s->in[0]));
}

static void sample_softmax(adze_rng *r, adze_case *c) {
    c->nin = 1;
    c->in[0] = adze_sample_type(r, c, c->dtype, 1, 4, 0);
    const int rank = c->in[0].rank;
    ((adze_axis_attrs *)c->attrs)->axis = adze_rng_range(r, -rank, rank - 1);
}

const adze_op adze_op_softmax = {
    .name = "softmax",
    .nin_min = 1,
    .nin_max = 1,
    .nout = 1,
    .attrs = AXIS_FIELDS,
    .attrs_size = sizeof(adze_axis_attrs),
    .doc = "y = exp(x) / sum of exp(x) along axis, of the shape of x. Stable for any finite x.",
    .infer = infer_softmax,
    .vjp = vjp_softmax,
    .jvp = vjp_softmax,
    .expand = expand_softmax,
    .inplace = inplace_first,
    .cost = cost_softmax,
    .ref = ref_softmax,
    .sample = sample_softmax,
};

const adze_op adze_op_log_softmax = {
    .name = "log_softmax",
    .nin_min = 1,
    .nin_max = 1,
    .nout = 1,
    .attrs = AXIS_FIELDS,
    .attrs_size = sizeof(adze_axis_attrs),
    .doc = "y = x - log(sum of exp(x)) along axis, of the shape of x. Stable for any finite x.",
    .infer = infer_softmax,
    .vjp = vjp_log_softmax,
    .jvp = jvp_log_softmax,
    .expand = expand_log_softmax,
    .inplace = inplace_first,
    .cost = cost_softmax,
    .ref = ref_log_softmax,
    .sample = sample_softmax,
};

/* -- cross-entropy with integer labels ----------------------------------------------------------------------------------------------------------- */

/* x: (..., C), label: (...) */
static int check_logits(adze_sig *s) {
    TRY(adze_check_dtype(s, 0, "the input", ADZE_SET_F));
    TRY(adze_check_rank(s, 0, "the input", 1, ADZE_MAX_RANK));
    if (s->in[0].dims[s->in[0].rank - 1] < 1) {
        return adze_op_fail(s, ADZE_ESHAPE, "the last axis of the input holds the classes; it is empty");
    }
    return ADZE_OK;
}

static int check_rows(adze_sig *s, int i, const char *what) {
    const adze_type *x = &s->in[0], *v = &s->in[i];
    bool same = v->rank == x->rank - 1;
    for (int k = 0; same && k < v->rank; k++) {
        same = v->dims[k] == x->dims[k];
    }
    if (!same) {
        char has[160], logits[160];
        return adze_op_fail(s, ADZE_ESHAPE, "the %s is %s, it must be the input's shape %s without its last axis", what,
                            adze_type_print(v, has, sizeof has), adze_type_print(x, logits, sizeof logits));
    }
    return ADZE_OK;
}

static int infer_softmax_xent(adze_sig *s) {
    TRY(check_logits(s));
    TRY(adze_check_dtype(s, 1, "the label", ADZE_SET_ID));
    TRY(check_rows(s, 1, "label"));
    return adze_set_out(s, 0, s->in[0].dtype, s->in[1].rank, s->in[1].dims);
}

/* y = logsumexp(x) - x[label]; 0 for a negative label, NaN for a label that is no class */
static void ref_softmax_xent(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const adze_view *x = &s->in[0];
    const int64_t classes = x->dims[x->rank - 1], rows = adze_view_count(&s->in[1]);
    for (int64_t r = 0; r < rows; r++) {
        const int64_t label = adze_load_i(s->in[1].data, s->in[1].dtype, r);
        double loss = label < 0 ? 0 : NAN;
        if (label >= 0 && label < classes) {
            loss = log_sum_exp(x, r * classes, 1, classes) - adze_at(x, r * classes + label);
        }
        adze_put(&s->out[0], r, loss);
    }
}

static void vjp_softmax_xent(adze_adj *a) {
    if (a->need[0]) {
        a->r[0] = adze_apply(a->g, &adze_op_softmax_xent_grad, (adze_val[]){a->x[0], a->x[1], a->t[0]}, 3, NULL, NULL);
    }
}

/* sum over classes of (softmax - onehot) t */
static void jvp_softmax_xent(adze_adj *a) {
    if (a->t[0].id) {
        const adze_val ones = adze_ones_like(a->g, a->y[0]);
        const adze_val d = adze_apply(a->g, &adze_op_softmax_xent_grad, (adze_val[]){a->x[0], a->x[1], ones}, 3, NULL, NULL);
        a->r[0] = sum_last(a->g, adze_mul(a->g, d, a->t[0]));
    }
}

/* Replaces rows of v by 0 where the label is negative and by NaN where it is no class. */
static adze_val by_label(adze_graph *g, adze_val v, adze_val label, int64_t classes) {
    const adze_type t = adze_val_type(g, v), l = adze_val_type(g, label);
    const adze_val zero = adze_full(g, l, 0), end = adze_full(g, l, (double)classes);
    const adze_val legal = adze_where(g, adze_lt(g, label, end), v, adze_full(g, t, NAN));
    return adze_where(g, adze_lt(g, label, zero), adze_full(g, t, 0), legal);
}

static int64_t classes_of(adze_graph *g, adze_val x) {
    const adze_type t = adze_val_type(g, x);
    return t.rank > 0 ? t.dims[t.rank - 1] : 0;
}

static void expand_softmax_xent(adze_adj *a) {
    adze_graph *g = a->g;
    const int last = -1;
    const int64_t classes = classes_of(g, a->x[0]);
    const adze_type l = adze_val_type(g, a->x[1]);
    const adze_val safe = adze_min(g, adze_max(g, a->x[1], adze_full(g, l, 0)), adze_full(g, l, (double)(classes - 1)));
    const adze_val hit = sum_last(g, adze_take_along(g, a->x[0], add_axis(g, safe), -1)); /* one element a row: the sum drops the axis */
    a->r[0] = by_label(g, adze_sub(g, adze_logsumexp(g, a->x[0], &last, 1, false), hit), a->x[1], classes);
}

static adze_cost cost_softmax_xent(const adze_sig *s) {
    return adze_cost_of(s, 4.0 * (double)adze_type_count(&s->in[0]));
}

/* x (..., C) with few elements, labels that are mostly classes. */
static void sample_softmax_xent(adze_rng *r, adze_case *c) {
    c->nin = 2;
    do {
        c->in[0] = adze_sample_type(r, c, c->dtype, 1, 3, 0);
    } while (c->in[0].dims[c->in[0].rank - 1] < 1);
    c->in[1] = adze_type_make(adze_sample_any(r, ADZE_SET_ID), c->in[0].rank - 1, c->in[0].dims);
    const int64_t padding = adze_sample_coin(r, 3) ? 2 : 0;
    c->dom[1] = adze_dom_ids(-padding, c->in[0].dims[c->in[0].rank - 1]);
}

const adze_op adze_op_softmax_xent = {
    .name = "softmax_xent",
    .nin_min = 2,
    .nin_max = 2,
    .nout = 1,
    .doc = "Cross-entropy of each row: logsumexp(x) - x[label]; x (..., C), label i32 or i64 (...) -> (...).\n"
           "A negative label gives loss 0 and gradient 0 (padding); a label >= C gives NaN, so that the run's finite check finds it.",
    .infer = infer_softmax_xent,
    .vjp = vjp_softmax_xent,
    .jvp = jvp_softmax_xent,
    .expand = expand_softmax_xent,
    .cost = cost_softmax_xent,
    .ref = ref_softmax_xent,
    .sample = sample_softmax_xent,
};

/* -- its gradient: x (..., C), label (...), t (...) -> (..., C) ---------------------------------------------------------------------------------- */

static int infer_softmax_xent_grad(adze_sig *s) {
    TRY(check_logits(s));
    TRY(adze_check_dtype(s, 1, "the label", ADZE_SET_ID));
    TRY(check_rows(s, 1, "label"));
    TRY(adze_check_same_dtype(s, 0, 2));
    TRY(check_rows(s, 2, "cotangent"));
    return adze_set_out(s, 0, s->in[0].dtype, s->in[0].rank, s->in[0].dims);
}

/* y = (softmax(x) - onehot(label)) t; 0 for a negative label, NaN for a label that is no class */
static void ref_softmax_xent_grad(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const adze_view *x = &s->in[0];
    const int64_t classes = x->dims[x->rank - 1], rows = adze_view_count(&s->in[1]);
    for (int64_t r = 0; r < rows; r++) {
        const int64_t label = adze_load_i(s->in[1].data, s->in[1].dtype, r);
        const bool legal = label >= 0 && label < classes;
        const double t = adze_at(&s->in[2], r), lse = legal ? log_sum_exp(x, r * classes, 1, classes) : 0;
        for (int64_t c = 0; c < classes; c++) {
            const int64_t i = r * classes + c;
            const double other = label < 0 ? 0 : NAN;
            adze_put(&s->out[0], i, legal ? (exp(adze_at(x, i) - lse) - (c == label ? 1 : 0)) * t : other);
        }
    }
}

static void expand_softmax_xent_grad(adze_adj *a) {
    adze_graph *g = a->g;
    const adze_type x = adze_val_type(g, a->x[0]);
    const int64_t classes = classes_of(g, a->x[0]);
    const adze_val p = adze_exp(g, adze_sub(g, a->x[0], logsumexp_keep(g, a->x[0], -1)));
    const adze_val d = adze_sub(g, p, adze_one_hot(g, a->x[1], classes, x.dtype, 1, 0));
    a->r[0] = adze_mul(g, d, add_axis(g, by_label(g, a->x[2], a->x[1], classes)));
}

static void sample_softmax_xent_grad(adze_rng *r, adze_case *c) {
    sample_softmax_xent(r, c);
    c->nin = 3;
    c->in[2] = c->in[1];
    c->in[2].dtype = c->dtype;
}

const adze_op adze_op_softmax_xent_grad = {
    .name = "softmax_xent_grad",
    .nin_min = 3,
    .nin_max = 3,
    .nout = 1,
    .doc = "(softmax(x) - onehot(label)) t for each row: x (..., C), label (...), t (...) -> (..., C).\n"
           "Rows with a negative label are 0, rows with a label >= C are NaN.",
    .infer = infer_softmax_xent_grad,
    .expand = expand_softmax_xent_grad,
    .inplace = inplace_first,
    .cost = cost_softmax,
    .ref = ref_softmax_xent_grad,
    .sample = sample_softmax_xent_grad,
};

/* -- cross-entropy with target probabilities ----------------------------------------------------------------------------------------------------- */

static int infer_softmax_xent_prob(adze_sig *s) {
    TRY(check_logits(s));
    TRY(adze_check_same_dtype(s, 0, 1));
    if (!adze_same_dims(&s->in[0], &s->in[1])) {
        char x[160], p[160];
        return adze_op_fail(s, ADZE_ESHAPE, "the targets are %s, they must have the input's shape %s", adze_type_print(&s->in[1], p, sizeof p),
                            adze_type_print(&s->in[0], x, sizeof x));
    }
    return adze_set_out(s, 0, s->in[0].dtype, s->in[0].rank - 1, s->in[0].dims);
}

/* y = sum over classes: p (logsumexp(x) - x) */
static void ref_softmax_xent_prob(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const adze_view *x = &s->in[0];
    const int64_t classes = x->dims[x->rank - 1], rows = adze_view_count(&s->out[0]);
    for (int64_t r = 0; r < rows; r++) {
        const double lse = log_sum_exp(x, r * classes, 1, classes);
        double loss = 0;
        for (int64_t i = r * classes; i < (r + 1) * classes; i++) {
            loss += adze_at(&s->in[1], i) * (lse - adze_at(x, i));
        }
        adze_put(&s->out[0], r, loss);
    }
}

/* d loss / d x = softmax(x) sum p - p */
static adze_val prob_dx(adze_adj *a) {
    adze_graph *g = a->g;
    return adze_sub(g, adze_mul(g, adze_softmax(g, a->x[0], -1), sum_keep(g, a->x[1], -1)), a->x[1]);
}

static void vjp_softmax_xent_prob(adze_adj *a) {
    const adze_val t = add_axis(a->g, a->t[0]);
    if (a->need[0]) {
        a->r[0] = adze_mul(a->g, prob_dx(a), t);
    }
    if (a->need[1]) {
        a->r[1] = adze_neg(a->g, adze_mul(a->g, adze_log_softmax(a->g, a->x[0], -1), t));
    }
}

static void jvp_softmax_xent_prob(adze_adj *a) {
    adze_graph *g = a->g;
    adze_val dx = {0}, dp = {0};
    if (a->t[0].id) {
        dx = sum_last(g, adze_mul(g, prob_dx(a), a->t[0]));
    }
    if (a->t[1].id) {
        dp = adze_neg(g, sum_last(g, adze_mul(g, adze_log_softmax(g, a->x[0], -1), a->t[1])));
    }
    a->r[0] = dx.id && dp.id ? adze_add(g, dx, dp) : dx.id ? dx : dp;
}

static void expand_softmax_xent_prob(adze_adj *a) {
    adze_graph *g = a->g;
    a->r[0] = sum_last(g, adze_mul(g, a->x[1], adze_sub(g, logsumexp_keep(g, a->x[0], -1), a->x[0])));
}

static adze_cost cost_softmax_xent_prob(const adze_sig *s) {
    return adze_cost_of(s, 7.0 * (double)adze_type_count(&s->in[0]));
}

static void sample_softmax_xent_prob(adze_rng *r, adze_case *c) {
    sample_softmax_xent(r, c);
    c->in[1] = c->in[0];
    c->dom[1] = adze_dom_range(0, 1);
}

const adze_op adze_op_softmax_xent_prob = {
    .name = "softmax_xent_prob",
    .nin_min = 2,
    .nin_max = 2,
    .nout = 1,
    .doc = "Cross-entropy of each row with target probabilities: - sum of p log softmax(x); x, p (..., C) -> (...). p need not sum to 1.",
    .infer = infer_softmax_xent_prob,
    .vjp = vjp_softmax_xent_prob,
    .jvp = jvp_softmax_xent_prob,
    .expand = expand_softmax_xent_prob,
    .cost = cost_softmax_xent_prob,
    .ref = ref_softmax_xent_prob,
    .sample = sample_softmax_xent_prob,
};

/* -- cross-entropy of independent logits --------------------------------------------------------------------------------------------------------- */

static int infer_sigmoid_xent(adze_sig *s) {
    TRY(adze_check_dtype(s, 0, "the input", ADZE_SET_F));
    TRY(adze_check_same_dtype(s, 0, 1));
    if (!adze_same_dims(&s->in[0], &s->in[1])) {
        char x[160], p[160];
        return adze_op_fail(s, ADZE_ESHAPE, "the targets are %s, they must have the input's shape %s", adze_type_print(&s->in[1], p, sizeof p),
                            adze_type_print(&s->in[0], x, sizeof x));
    }
    return adze_set_out(s, 0, s->in[0].dtype, s->in[0].rank, s->in[0].dims);
}

static void ref_sigmoid_xent(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const int64_t n = adze_view_count(&s->out[0]);
    for (int64_t i = 0; i < n; i++) {
        const double x = adze_at(&s->in[0], i), p = adze_at(&s->in[1], i);
        adze_put(&s->out[0], i, (x > 0 ? x : 0) - x * p + log1p(exp(-fabs(x))));
    }
}

static adze_val partial_sigmoid_xent(adze_adj *a, int i) {
    return i == 0 ? adze_sub(a->g, adze_sigmoid(a->g, a->x[0]), a->x[1]) : adze_neg(a->g, a->x[0]);
}

/* softplus, not max and |x|: their derivatives at 0 would be wrong. */
static void expand_sigmoid_xent(adze_adj *a) {
    a->r[0] = adze_sub(a->g, adze_softplus(a->g, a->x[0]), adze_mul(a->g, a->x[0], a->x[1]));
}

static adze_cost cost_sigmoid_xent(const adze_sig *s) {
    return adze_cost_of(s, 7.0 * (double)adze_type_count(&s->in[0]));
}

static void sample_sigmoid_xent(adze_rng *r, adze_case *c) {
    c->nin = 2;
    c->in[0] = c->in[1] = adze_sample_type(r, c, c->dtype, 0, 4, 0);
    c->dom[0] = adze_dom_range(-4, 4);
    c->dom[1] = adze_dom_range(0, 1);
}

const adze_op adze_op_sigmoid_xent = {
    .name = "sigmoid_xent",
    .nin_min = 2,
    .nin_max = 2,
    .nout = 1,
    .flags = ADZE_OP_MAP,
    .doc = "Cross-entropy of sigmoid(x) with the probability p, elementwise: max(x, 0) - x p + log(1 + exp(-|x|)).",
    .infer = infer_sigmoid_xent,
    .expand = expand_sigmoid_xent,
    .partial = partial_sigmoid_xent,
    .cost = cost_sigmoid_xent,
    .ref = ref_sigmoid_xent,
    .sample = sample_sigmoid_xent,
};

/* -- builders ------------------------------------------------------------------------------------------------------------------------------------ */

adze_val adze_softmax(adze_graph *g, adze_val x, int axis) {
    const adze_axis_attrs a = {.axis = axis};
    return adze_apply(g, &adze_op_softmax, &x, 1, &a, NULL);
}

adze_val adze_log_softmax(adze_graph *g, adze_val x, int axis) {
    const adze_axis_attrs a = {.axis = axis};
    return adze_apply(g, &adze_op_log_softmax, &x, 1, &a, NULL);
}

adze_val adze_softmax_xent(adze_graph *g, adze_val x, adze_val label) {
    return adze_apply(g, &adze_op_softmax_xent, (adze_val[]){x, label}, 2, NULL, NULL);
}

adze_val adze_softmax_xent_prob(adze_graph *g, adze_val x, adze_val p) {
    return adze_apply(g, &adze_op_softmax_xent_prob, (adze_val[]){x, p}, 2, NULL, NULL);
}

adze_val adze_sigmoid_xent(adze_graph *g, adze_val x, adze_val p) {
    adze_val v[2] = {x, p};
    adze_broadcast_all(g, v, 2);
    return adze_apply(g, &adze_op_sigmoid_xent, v, 2, NULL, NULL);
}
