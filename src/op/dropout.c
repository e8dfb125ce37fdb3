/* Dropout as one op that draws its mask anew wherever it stands: linear in x, so its derivatives are the same op with the same stream, and no mask is
 * kept. */
#include "graph/graph_internal.h"
#include "op/element.h"
#include "op/random.h"
#include "op/record.h"

static const adze_field DROPOUT_FIELDS[] = {ADZE_ATTR(adze_dropout_attrs, p, ADZE_F_F64, "probability that an element is dropped, 0 <= p < 1"),
                                            ADZE_ATTR(adze_dropout_attrs, stream, ADZE_F_U64, "names the random numbers"), ADZE_ATTR_END};

static int infer_dropout(adze_sig *s) {
    const double p = ((const adze_dropout_attrs *)s->attrs)->p;
    TRY(adze_check_dtype(s, 0, "the input", ADZE_SET_F));
    if (!(p >= 0 && p < 1)) {
        return adze_op_fail(s, ADZE_EARG, "p is %g, it must be at least 0 and less than 1", p);
    }
    return adze_set_like(s, 0, 0);
}

static void vjp_dropout(adze_adj *a) {
    a->r[0] = adze_apply(a->g, a->op, &a->t[0], 1, a->attrs, NULL);
}

/* y[i] = 0 where the draw of element i is below p, else x[i] / (1 - p) */
static void ref_dropout(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const adze_dropout_attrs *a = s->attrs;
    const adze_view *x = &s->in[0];
    const int64_t n = adze_view_count(x), per = adze_random_per(x);
    const double scale = 1 / (1 - a->p),
                 keep = x->dtype == ADZE_F64 ? scale : (double)(float)scale; /* of x's dtype: one product, the same bits everywhere */
    adze_draw d = {0};
    adze_random_key(s->run, a->stream, d.key);
    for (int64_t i = 0; i < n; i++) {
        const uint64_t example = adze_random_example(s->run, x, per, i), element = x->rank == 0 ? 0 : (uint64_t)(i % per);
        adze_put(&s->out[0], i, adze_random_uniform(&d, example, element) < a->p ? 0 : adze_at(x, i) * keep);
    }
}

/* Ten rounds of Philox, of six operations each, serve four elements. */
static adze_cost cost_dropout(const adze_sig *s) {
    return adze_cost_of(s, 17.0 * (double)adze_type_count(&s->in[0]));
}

static void sample_dropout(adze_rng *r, adze_case *c) {
    adze_dropout_attrs *a = c->attrs;
    c->nin = 1;
    c->in[0] = adze_sample_type(r, c, c->dtype, 0, 4, 0);
    a->p = adze_sample_coin(r, 4) ? 0 : 0.9 * adze_rng_uniform(r);
    a->stream = adze_rng_u64(r);
}

const adze_op adze_op_dropout = {
    .name = "dropout",
    ADZE_ARITY(1, 1),
    .flags = ADZE_OP_LINEAR | ADZE_OP_RANDOM,
    ADZE_ATTRS(DROPOUT_FIELDS, adze_dropout_attrs),
    .doc = "y = x mask / (1 - p), of the shape of x; an element of the mask is 0 with probability p, else 1.\n"
           "The mask depends on the run's seed and step, the "
           "stream, and the element's place in the global batch only: the op applied to a cotangent is its own adjoint.",
    .infer = infer_dropout,
    .vjp = vjp_dropout,
    .inplace = adze_inplace_first,
    .cost = cost_dropout,
    .ref = ref_dropout,
    .sample = sample_dropout,
};

adze_val adze_dropout(adze_graph *g, adze_val x, double p) {
    const adze_dropout_attrs a = {.p = p, .stream = adze_graph_stream(g)};
    return adze_apply(g, &adze_op_dropout, &x, 1, &a, NULL);
}
