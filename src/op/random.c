/* Random tensors: uniform, normal, bernoulli. f32 and f64 get the same draws; a draw depends on seed, stream, step, example and element alone. */
#include "op/random.h"
#include "op/record.h"

/* -- draws --------------------------------------------------------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t x) { /* the finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014) */
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

void adze_random_key(const adze_run *run, uint64_t stream, uint32_t key[2]) {
    const uint64_t golden = 0x9e3779b97f4a7c15u; /* keeps zeros from mapping to zero */
    uint64_t h = mix(run->seed + golden);
    h = mix((h ^ stream) + golden);
    h = mix((h ^ run->step) + golden);
    key[0] = (uint32_t)h;
    key[1] = (uint32_t)(h >> 32);
}

uint32_t adze_random_word(adze_draw *d, uint64_t example, uint64_t element) {
    uint64_t block = element / 4;
    if (!d->filled || d->example != example || d->block != block) {
        uint32_t counter[4] = {(uint32_t)example, (uint32_t)(example >> 32), (uint32_t)block, (uint32_t)(block >> 32)};
        adze_philox(d->key, counter, d->word);
        d->filled = true;
        d->example = example;
        d->block = block;
    }
    return d->word[element & 3];
}

double adze_random_uniform(adze_draw *d, uint64_t example, uint64_t element) {
    return (double)(adze_random_word(d, example, element) >> 8) * 0x1p-24;
}

double adze_random_normal(adze_draw *d, uint64_t example, uint64_t element) {
    uint64_t even = element & ~(uint64_t)1;
    double u = ((double)adze_random_word(d, example, even) + 1.0) * 0x1p-32; /* (0, 1]: the logarithm is finite */
    double angle = (double)adze_random_word(d, example, even + 1) * 0x1p-32 * 6.283185307179586;
    double radius = sqrt(-2.0 * log(u));
    return radius * (element & 1 ? sin(angle) : cos(angle));
}

int64_t adze_random_per(const adze_view *v) {
    int64_t n = v->rank > 0 ? adze_dims_count(v->dims, 1, v->rank) : 1;
    return n > 0 ? n : 1;
}

/* -- the three ops ------------------------------------------------------------------------------------------------------------------------------- */

static const adze_field UNIFORM_ATTRS[] = {ADZE_ATTR(adze_random_attrs, dims, ADZE_F_INTS, "shape"),
                                           ADZE_ATTR_DTYPE(adze_random_attrs, dtype),
                                           ADZE_ATTR(adze_random_attrs, stream, ADZE_F_U64, "names the random numbers"),
                                           ADZE_ATTR(adze_random_attrs, a, ADZE_F_F64, "lower bound"),
                                           ADZE_ATTR_DEF(adze_random_attrs, b, ADZE_F_F64, "1", "upper bound"),
                                           ADZE_ATTR_END};
static const adze_field NORMAL_ATTRS[] = {ADZE_ATTR(adze_random_attrs, dims, ADZE_F_INTS, "shape"),
                                          ADZE_ATTR_DTYPE(adze_random_attrs, dtype),
                                          ADZE_ATTR(adze_random_attrs, stream, ADZE_F_U64, "names the random numbers"),
                                          ADZE_ATTR(adze_random_attrs, a, ADZE_F_F64, "mean"),
                                          ADZE_ATTR_DEF(adze_random_attrs, b, ADZE_F_F64, "1", "standard deviation"),
                                          ADZE_ATTR_END};
static const adze_field BERNOULLI_ATTRS[] = {ADZE_ATTR(adze_random_attrs, dims, ADZE_F_INTS, "shape"), ADZE_ATTR_DTYPE(adze_random_attrs, dtype),
                                             ADZE_ATTR(adze_random_attrs, stream, ADZE_F_U64, "names the random numbers"),
                                             ADZE_ATTR_DEF(adze_random_attrs, a, ADZE_F_F64, "0.5", "probability of 1"), ADZE_ATTR_END};

static int infer_random(adze_sig *s) {
    const adze_random_attrs *p = s->attrs;
    if (!adze_in_set(ADZE_SET_F, (adze_dtype)p->dtype)) {
        return adze_op_fail(s, ADZE_ETYPE, "the result is %s, but must be f64 or f32", adze_dtype_name((adze_dtype)p->dtype));
    }
    return adze_set_out(s, 0, (adze_dtype)p->dtype, (int)p->dims.n, p->dims.v);
}

static int infer_uniform(adze_sig *s) {
    const adze_random_attrs *p = s->attrs;
    if (!(p->a <= p->b) || isinf(p->a) || isinf(p->b)) {
        return adze_op_fail(s, ADZE_EARG, "the bounds %g and %g are not finite and in order", p->a, p->b);
    }
    return infer_random(s);
}

static int infer_normal(adze_sig *s) {
    const adze_random_attrs *p = s->attrs;
    if (!(p->b >= 0.0) || isinf(p->b) || isnan(p->a) || isinf(p->a)) {
        return adze_op_fail(s, ADZE_EARG, "the mean is %g and the deviation %g, but both must be finite and the deviation >= 0", p->a, p->b);
    }
    return infer_random(s);
}

static int infer_bernoulli(adze_sig *s) {
    const adze_random_attrs *p = s->attrs;
    if (!(p->a >= 0.0 && p->a <= 1.0)) {
        return adze_op_fail(s, ADZE_EARG, "the probability is %g, but must lie between 0 and 1", p->a);
    }
    return infer_random(s);
}

static double draw_uniform(adze_draw *d, uint64_t example, uint64_t element, const adze_random_attrs *p) {
    return p->a + (p->b - p->a) * adze_random_uniform(d, example, element);
}

static double draw_normal(adze_draw *d, uint64_t example, uint64_t element, const adze_random_attrs *p) {
    return p->a + p->b * adze_random_normal(d, example, element);
}

static double draw_bernoulli(adze_draw *d, uint64_t example, uint64_t element, const adze_random_attrs *p) {
    return adze_random_uniform(d, example, element) < p->a ? 1.0 : 0.0;
}

static void run_random(const adze_step *s, double (*draw)(adze_draw *, uint64_t, uint64_t, const adze_random_attrs *)) {
    const adze_random_attrs *p = s->attrs;
    const adze_view *y = &s->out[0];
    int64_t n = adze_view_count(y), per = adze_random_per(y);
    adze_draw d = {.filled = false};
    adze_random_key(s->run, p->stream, d.key);
    for (int64_t i = 0; i < n; i++) {
        adze_store_f(y->data, y->dtype, i, draw(&d, adze_random_example(s->run, y, per, i), (uint64_t)(i % per), p));
    }
}

static void ref_uniform(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    run_random(s, draw_uniform);
}
static void ref_normal(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    run_random(s, draw_normal);
}
static void ref_bernoulli(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    run_random(s, draw_bernoulli);
}

static adze_cost cost_random(const adze_sig *s) {
    return adze_cost_of(s, 30.0 * (double)adze_type_count(&s->out[0])); /* ten rounds of Philox for four elements, about */
}

static adze_random_attrs *sample_random(adze_rng *r, adze_case *c) {
    adze_random_attrs *p = c->attrs;
    adze_type t = adze_sample_type(r, c, adze_sample_dtype(r, c, ADZE_SET_F), 0, 3, 0);
    c->nin = 0;
    p->dims = adze_ints_of(t.dims, t.rank);
    p->dtype = (int32_t)t.dtype;
    p->stream = adze_rng_u64(r);
    return p;
}

static void sample_uniform(adze_rng *r, adze_case *c) {
    adze_random_attrs *p = sample_random(r, c);
    p->a = (double)adze_rng_range(r, -3, 0);
    p->b = (double)adze_rng_range(r, 0, 3);
}
static void sample_normal(adze_rng *r, adze_case *c) {
    adze_random_attrs *p = sample_random(r, c);
    p->a = (double)adze_rng_range(r, -3, 3);
    p->b = (double)adze_rng_range(r, 0, 3);
}
static void sample_bernoulli(adze_rng *r, adze_case *c) {
    sample_random(r, c)->a = (double)adze_rng_range(r, 0, 4) / 4.0;
}

#define RANDOM(name_, table, doc_)                                                                                                                   \
    const adze_op adze_op_##name_ = {.name = #name_,                                                                                                 \
                                     .nout = 1,                                                                                                      \
                                     .flags = ADZE_OP_RANDOM | ADZE_OP_NOGRAD,                                                                       \
                                     ADZE_ATTRS(table, adze_random_attrs),                                                                           \
                                     .doc = doc_,                                                                                                    \
                                     .infer = infer_##name_,                                                                                         \
                                     .cost = cost_random,                                                                                            \
                                     .ref = ref_##name_,                                                                                             \
                                     .sample = sample_##name_};

RANDOM(uniform, UNIFORM_ATTRS, "y = a + (b - a) u with u uniform in [0, 1), a multiple of 2^-24")
RANDOM(normal, NORMAL_ATTRS, "y = a + b z with z standard normal (Box-Muller)")
RANDOM(bernoulli, BERNOULLI_ATTRS, "y = 1 with probability a, else 0")

static adze_val build_random(adze_graph *g, const adze_op *op, adze_type t, double a, double b) {
    adze_random_attrs p;
    memset(&p, 0, sizeof p);
    p.dims = adze_ints_of(t.dims, t.rank);
    p.dtype = (int32_t)t.dtype;
    p.stream = adze_graph_stream(g);
    p.a = a;
    p.b = b;
    return adze_apply(g, op, NULL, 0, &p, NULL);
}

adze_val adze_uniform(adze_graph *g, adze_type t, double lo, double hi) {
    return build_random(g, &adze_op_uniform, t, lo, hi);
}
adze_val adze_normal(adze_graph *g, adze_type t, double mean, double sd) {
    return build_random(g, &adze_op_normal, t, mean, sd);
}
adze_val adze_bernoulli(adze_graph *g, adze_type t, double p) {
    return build_random(g, &adze_op_bernoulli, t, p, 0.0);
}
