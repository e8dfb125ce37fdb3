/* Random numbers in the graph: Philox draws that depend on the run's seed and step, the stream and the element's place in the global batch only. */
#include "op/random.h"

#include "op/element.h"

/* -- draws -------------------------------------------------------------------------------------------------------------------------------------- */

void adze_random_key(const adze_run *run, uint64_t stream, uint32_t key[2]) {
    const uint64_t from[3] = {run->seed, stream, run->step};
    const uint64_t mixed = adze_hash64(from, sizeof from, 0);
    key[0] = (uint32_t)mixed;
    key[1] = (uint32_t)(mixed >> 32);
}

static const uint32_t *block_of(adze_draw *d, uint64_t example, uint64_t element) {
    const uint64_t block = element / 4;
    if (!d->filled || d->example != example || d->block != block) {
        const uint32_t counter[4] = {(uint32_t)example, (uint32_t)(example >> 32), (uint32_t)block, (uint32_t)(block >> 32)};
        adze_philox(d->key, counter, d->word);
        d->example = example;
        d->block = block;
        d->filled = true;
    }
    return d->word;
}

uint32_t adze_random_word(adze_draw *d, uint64_t example, uint64_t element) {
    return block_of(d, example, element)[element % 4];
}

double adze_random_uniform(adze_draw *d, uint64_t example, uint64_t element) {
    return (double)(adze_random_word(d, example, element) >> 8) * 0x1p-24;
}

/* All 32 bits of both words count; the first is moved into (0, 1], so that there is no log of zero. */
double adze_random_normal(adze_draw *d, uint64_t example, uint64_t element) {
    const uint32_t *pair = block_of(d, example, element) + (element % 4 & 2);
    const double radius = sqrt(-2.0 * log(((double)pair[0] + 1.0) * 0x1p-32));
    const double angle = 6.283185307179586476925286766559 * 0x1p-32 * (double)pair[1];
    return radius * (element % 2 == 0 ? cos(angle) : sin(angle));
}

int64_t adze_random_per(const adze_view *v) {
    return adze_dims_count(v->dims, v->rank > 0 ? 1 : 0, v->rank);
}

/* -- the ops -------------------------------------------------------------------------------------------------------------------------------------- */

#define RANDOM_ATTRS                                                                                                                                 \
    ADZE_ATTR(adze_random_attrs, dims, ADZE_F_INTS, "shape"), ADZE_ATTR_DTYPE(adze_random_attrs, dtype),                                             \
        ADZE_ATTR(adze_random_attrs, stream, ADZE_F_U64, "names the random numbers")

static const adze_field UNIFORM_ATTRS[] = {RANDOM_ATTRS, ADZE_ATTR(adze_random_attrs, a, ADZE_F_F64, "lower bound"),
                                           ADZE_ATTR_DEF(adze_random_attrs, b, ADZE_F_F64, "1", "upper bound"), ADZE_ATTR_END};
static const adze_field NORMAL_ATTRS[] = {RANDOM_ATTRS, ADZE_ATTR(adze_random_attrs, a, ADZE_F_F64, "mean"),
                                          ADZE_ATTR_DEF(adze_random_attrs, b, ADZE_F_F64, "1", "standard deviation"), ADZE_ATTR_END};
static const adze_field BERNOULLI_ATTRS[] = {RANDOM_ATTRS, ADZE_ATTR_DEF(adze_random_attrs, a, ADZE_F_F64, "0.5", "probability of a 1"), ADZE_ATTR_END};

static int infer_random(adze_sig *s) {
    const adze_random_attrs *p = s->attrs;
    if (!adze_in_set(ADZE_SET_F, (adze_dtype)p->dtype)) {
        return adze_op_fail(s, ADZE_ETYPE, "random numbers are f32 or f64, not %s", adze_dtype_name((adze_dtype)p->dtype));
    }
    if (p->dims.n < 0 || p->dims.n > ADZE_MAX_RANK) {
        return adze_op_fail(s, ADZE_ESHAPE, "a tensor has 0 to %d axes, not %lld", ADZE_MAX_RANK, (long long)p->dims.n);
    }
    return adze_set_out(s, 0, (adze_dtype)p->dtype, (int)p->dims.n, p->dims.v);
}

static int infer_uniform(adze_sig *s) {
    const adze_random_attrs *p = s->attrs;
    if (!(p->a <= p->b) || !isfinite(p->b - p->a)) {
        return adze_op_fail(s, ADZE_EARG, "the bounds %g and %g are not two finite numbers in order", p->a, p->b);
    }
    return infer_random(s);
}

static int infer_normal(adze_sig *s) {
    const adze_random_attrs *p = s->attrs;
    if (!isfinite(p->a) || !isfinite(p->b) || p->b < 0.0) {
        return adze_op_fail(s, ADZE_EARG, "the mean %g must be finite and the standard deviation %g finite and not negative", p->a, p->b);
    }
    return infer_random(s);
}

static int infer_bernoulli(adze_sig *s) {
    const adze_random_attrs *p = s->attrs;
    if (!(p->a >= 0.0 && p->a <= 1.0)) {
        return adze_op_fail(s, ADZE_EARG, "the probability %g is not between 0 and 1", p->a);
    }
    return infer_random(s);
}

typedef double (*draw_fn)(adze_draw *d, uint64_t example, uint64_t element, const adze_random_attrs *p);

static double draw_uniform(adze_draw *d, uint64_t example, uint64_t element, const adze_random_attrs *p) {
    return p->a + (p->b - p->a) * adze_random_uniform(d, example, element);
}

static double draw_normal(adze_draw *d, uint64_t example, uint64_t element, const adze_random_attrs *p) {
    return p->a + p->b * adze_random_normal(d, example, element);
}

static double draw_bernoulli(adze_draw *d, uint64_t example, uint64_t element, const adze_random_attrs *p) {
    return adze_random_uniform(d, example, element) < p->a ? 1.0 : 0.0;
}

static void fill(const adze_step *s, draw_fn draw) {
    const adze_random_attrs *p = s->attrs;
    const adze_view *y = &s->out[0];
    const int64_t n = adze_view_count(y), per = adze_random_per(y);
    adze_draw d = {0};
    adze_random_key(s->run, p->stream, d.key);
    for (int64_t i = 0; i < n; i++) {
        adze_put(y, i, draw(&d, adze_random_example(s->run, y, per, i), (uint64_t)(i % per), p));
    }
}

static void ref_uniform(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    fill(s, draw_uniform);
}

static void ref_normal(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    fill(s, draw_normal);
}

static void ref_bernoulli(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    fill(s, draw_bernoulli);
}

/* Ten rounds of Philox, of six operations each, serve four elements. */
static adze_cost cost_bits(const adze_sig *s) {
    return adze_cost_of(s, 17.0 * (double)adze_type_count(&s->out[0]));
}

/* A logarithm, a root and a sine or cosine more. */
static adze_cost cost_normal(const adze_sig *s) {
    return adze_cost_of(s, 60.0 * (double)adze_type_count(&s->out[0]));
}

static adze_random_attrs *sample_random(adze_rng *r, adze_case *c) {
    adze_random_attrs *p = c->attrs;
    const adze_type t = adze_sample_type(r, c, adze_sample_dtype(c, ADZE_SET_F), 0, 4, 0);
    p->dims = adze_ints_of(t.dims, t.rank);
    p->dtype = (int32_t)t.dtype;
    p->stream = adze_rng_u64(r);
    c->nin = 0;
    return p;
}

static void sample_uniform(adze_rng *r, adze_case *c) {
    adze_random_attrs *p = sample_random(r, c);
    p->a = 4.0 * adze_rng_uniform(r) - 2.0;
    p->b = adze_sample_coin(r, 8) ? p->a : p->a + 3.0 * adze_rng_uniform(r);
}

static void sample_normal(adze_rng *r, adze_case *c) {
    adze_random_attrs *p = sample_random(r, c);
    p->a = 4.0 * adze_rng_uniform(r) - 2.0;
    p->b = adze_sample_coin(r, 8) ? 0.0 : 2.0 * adze_rng_uniform(r);
}

static void sample_bernoulli(adze_rng *r, adze_case *c) {
    adze_random_attrs *p = sample_random(r, c);
    p->a = adze_sample_coin(r, 6) ? 0.0 : adze_sample_coin(r, 6) ? 1.0 : adze_rng_uniform(r);
}

const adze_op adze_op_uniform = {.name = "uniform",
                                 .nout = 1,
                                 .flags = ADZE_OP_RANDOM | ADZE_OP_NOGRAD,
                                 .attrs = UNIFORM_ATTRS,
                                 .attrs_size = sizeof(adze_random_attrs),
                                 .doc = "y = a + (b - a) u, of shape dims; u uniform in [0, 1) with 24 bits",
                                 .infer = infer_uniform,
                                 .cost = cost_bits,
                                 .ref = ref_uniform,
                                 .sample = sample_uniform};

const adze_op adze_op_normal = {.name = "normal",
                                .nout = 1,
                                .flags = ADZE_OP_RANDOM | ADZE_OP_NOGRAD,
                                .attrs = NORMAL_ATTRS,
                                .attrs_size = sizeof(adze_random_attrs),
                                .doc = "y = a + b z, of shape dims; z standard normal (Box-Muller)",
                                .infer = infer_normal,
                                .cost = cost_normal,
                                .ref = ref_normal,
                                .sample = sample_normal};

const adze_op adze_op_bernoulli = {.name = "bernoulli",
                                   .nout = 1,
                                   .flags = ADZE_OP_RANDOM | ADZE_OP_NOGRAD,
                                   .attrs = BERNOULLI_ATTRS,
                                   .attrs_size = sizeof(adze_random_attrs),
                                   .doc = "y = 1 with probability a, else 0, of shape dims",
                                   .infer = infer_bernoulli,
                                   .cost = cost_bits,
                                   .ref = ref_bernoulli,
                                   .sample = sample_bernoulli};

static adze_val random_of(adze_graph *g, const adze_op *op, adze_type t, double a, double b) {
    const adze_random_attrs p = {adze_ints_of(t.dims, t.rank), (int32_t)t.dtype, adze_graph_stream(g), a, b};
    return adze_apply(g, op, NULL, 0, &p, NULL);
}

adze_val adze_uniform(adze_graph *g, adze_type t, double lo, double hi) {
    return random_of(g, &adze_op_uniform, t, lo, hi);
}

adze_val adze_normal(adze_graph *g, adze_type t, double mean, double sd) {
    return random_of(g, &adze_op_normal, t, mean, sd);
}

adze_val adze_bernoulli(adze_graph *g, adze_type t, double p) {
    return random_of(g, &adze_op_bernoulli, t, p, 0.0);
}
