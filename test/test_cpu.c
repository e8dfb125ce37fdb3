/* The CPU kernels of every instruction set that this machine has, against the reference kernels in f64, on random cases of the ops' own samplers; any
 * number of threads must give the same bits, and nothing outside the outputs may be written. */
#include "graph/device.h"

#include "adze/ops.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

enum { CANARY = 64, TRIALS = 80 };

typedef struct operand { /* memory of one input or output between two canaries */
    unsigned char *block;
    size_t bytes;
    adze_view v;
} operand;

static adze_ctx *ctx;

static operand operand_new(const adze_type *t) {
    operand o = {.bytes = (size_t)adze_type_bytes(t)};
    o.block = aligned_alloc(64, (o.bytes + 2 * CANARY + 63) / 64 * 64);
    assert_non_null(o.block);
    memset(o.block, 0xA5, (o.bytes + 2 * CANARY + 63) / 64 * 64);
    o.v.data = o.block + CANARY;
    o.v.dtype = t->dtype, o.v.rank = t->rank;
    int64_t stride = 1;
    for (int i = t->rank - 1; i >= 0; i--) {
        o.v.dims[i] = t->dims[i];
        o.v.strides[i] = stride;
        stride *= t->dims[i];
    }
    return o;
}

static void operand_check(const operand *o, const char *what) {
    for (size_t i = 0; i < CANARY; i++) {
        if (o->block[i] != 0xA5 || o->block[CANARY + o->bytes + i] != 0xA5) {
            fail_msg("%s: memory outside an operand was written", what);
        }
    }
}

static int64_t count_of(const adze_view *v) {
    int64_t n = 1;
    for (int i = 0; i < v->rank; i++) {
        n *= v->dims[i];
    }
    return n;
}

static double get(const adze_view *v, int64_t i) {
    switch (v->dtype) {
    case ADZE_F64:
        return ((const double *)v->data)[i];
    case ADZE_F32:
        return (double)((const float *)v->data)[i];
    case ADZE_I64:
        return (double)((const int64_t *)v->data)[i];
    case ADZE_I32:
        return ((const int32_t *)v->data)[i];
    default:
        return ((const uint8_t *)v->data)[i];
    }
}

static void put(adze_view *v, int64_t i, double x) {
    switch (v->dtype) {
    case ADZE_F64:
        ((double *)v->data)[i] = x;
        break;
    case ADZE_F32:
        ((float *)v->data)[i] = (float)x;
        break;
    case ADZE_I64:
        ((int64_t *)v->data)[i] = (int64_t)x;
        break;
    case ADZE_I32:
        ((int32_t *)v->data)[i] = (int32_t)x;
        break;
    default:
        ((uint8_t *)v->data)[i] = (uint8_t)x;
        break;
    }
}

static void fill(adze_view *v, const adze_domain *d, adze_rng *r) {
    const bool real = adze_dtype_is_float(v->dtype);
    double lo = d->lo, hi = d->hi;
    if (lo == 0 && hi == 0) {
        lo = -2, hi = 2;
    }
    if (v->dtype == ADZE_BOOL) {
        lo = 0, hi = 2;
    }
    const int64_t n = count_of(v);
    for (int64_t i = 0; i < n; i++) {
        const double u = adze_rng_uniform(r);
        put(v, i, real ? lo + u * (hi - lo) : floor(lo + u * (hi - lo)));
    }
}

/* -- running one node ------------------------------------------------------------------------------------------------------------------------ */

typedef struct node {
    const adze_op *op;
    const void *attrs;
    int nin, nout;
    adze_type in_type[ADZE_MAX_IN], out_type[ADZE_MAX_OUT];
    operand in[ADZE_MAX_IN], out[ADZE_MAX_OUT];
    adze_sig sig;
} node;

/* False where infer refuses the case. */
static bool node_make(node *n, const adze_op *op, const void *attrs, int nin, const adze_type *in) {
    memset(n, 0, sizeof *n);
    n->op = op, n->attrs = attrs, n->nin = nin;
    memcpy(n->in_type, in, (size_t)nin * sizeof *in);
    n->sig = (adze_sig){.ctx = ctx, .op = op, .name = "test", .attrs = attrs, .nin = nin, .nout = op->nout, .in = n->in_type, .out = n->out_type};
    n->nout = op->nout > 0 ? op->nout : op->count_out(&n->sig);
    n->sig.nout = n->nout;
    if (op->infer(&n->sig) != ADZE_OK) {
        return false;
    }
    for (int i = 0; i < nin; i++) {
        n->in[i] = operand_new(&n->in_type[i]);
    }
    for (int i = 0; i < n->nout; i++) {
        n->out[i] = operand_new(&n->out_type[i]);
    }
    return true;
}

static void node_free(node *n) {
    for (int i = 0; i < n->nin; i++) {
        free(n->in[i].block);
    }
    for (int i = 0; i < n->nout; i++) {
        free(n->out[i].block);
    }
}

static void copy_values(operand *to, const operand *from) {
    const int64_t n = count_of(&from->v);
    if (to->v.dtype == from->v.dtype) {
        memcpy(to->v.data, from->v.data, from->bytes);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        put(&to->v, i, get(&from->v, i));
    }
}

/* Runs k (NULL: the reference) with nth threads, one after the other in the order of `backwards`. An UPDATE's outputs lie on its inputs. */
static void node_run(node *n, const adze_kernel *k, int nth, bool backwards) {
    static const adze_run RUN = {.seed = 7, .step = 3, .first_example = 5};
    adze_view in[ADZE_MAX_IN], out[ADZE_MAX_OUT];
    for (int i = 0; i < n->nin; i++) {
        in[i] = n->in[i].v;
    }
    for (int i = 0; i < n->nout; i++) {
        out[i] = n->out[i].v;
        if (n->op->flags & ADZE_OP_UPDATE) {
            copy_values(&n->out[i], &n->in[i]);
            in[i].data = out[i].data;
        }
    }
    const size_t scratch = k == NULL ? (n->op->ref_scratch ? n->op->ref_scratch(&n->sig) : 0) : k->scratch ? k->scratch(&n->sig) : 0;
    const size_t local = k != NULL && k->local ? (k->local(&n->sig) + 63) / 64 * 64 : 0;
    const adze_type st = {.dtype = ADZE_U8, .rank = 1, .dims = {(int64_t)scratch}},
                    lt = {.dtype = ADZE_U8, .rank = 1, .dims = {(int64_t)local * nth}};
    operand so = operand_new(&st), lo = operand_new(&lt);
    memset(so.v.data, 0xFF, scratch); /* NaN: nobody may count on zeros */
    memset(lo.v.data, 0xFF, local * (size_t)nth);
    const adze_step s = {.op = n->op,
                         .attrs = n->attrs,
                         .nin = n->nin,
                         .nout = n->nout,
                         .in = in,
                         .out = out,
                         .scratch = so.v.data,
                         .local = lo.v.data,
                         .local_stride = local,
                         .run = &RUN};
    if (k == NULL) {
        n->op->ref(&s, 0, 1);
    }
    for (int phase = 0; k != NULL && k->run[phase] != NULL; phase++) {
        for (int i = 0; i < nth; i++) {
            k->run[phase](&s, backwards ? nth - 1 - i : i, nth);
        }
    }
    operand_check(&so, n->op->name);
    operand_check(&lo, n->op->name);
    for (int i = 0; i < n->nout; i++) {
        operand_check(&n->out[i], n->op->name);
    }
    free(so.block);
    free(lo.block);
}

/* |a - b| / |b|; NaN meets NaN. The terms of a few sums may all cancel: then the scale is that of the inputs, about 1. */
static double distance(const operand *a, const operand *b) {
    double d = 0, s = 0;
    const int64_t n = count_of(&b->v);
    for (int64_t i = 0; i < n; i++) {
        const double x = get(&a->v, i), y = get(&b->v, i);
        if (isnan(x) != isnan(y) || (isinf(y) && x != y)) {
            return INFINITY;
        }
        if (isfinite(y)) {
            d += (x - y) * (x - y), s += y * y;
        }
    }
    if (n <= 64 && s < (double)n) {
        s = (double)n;
    }
    return sqrt(d) / (s > 0 ? sqrt(s) : 1);
}

static const char *describe(const node *n, const adze_kernel *k, char *text, size_t size) {
    int at = snprintf(text, size, "%s/%s:", k->op, k->name);
    for (int i = 0; i < n->nin; i++) {
        char t[100];
        at += snprintf(text + at, size - (size_t)at, " %s", adze_type_print(&n->in_type[i], t, sizeof t));
    }
    return text;
}

/* The kernel against the reference computed in f64 from the same numbers, and against itself with other thread counts. */
static void compare(node *n, const adze_kernel *k, const adze_domain *dom, adze_rng *r) {
    char text[700];
    node exact;
    adze_type wide[ADZE_MAX_IN];
    for (int i = 0; i < n->nin; i++) {
        fill(&n->in[i].v, &dom[i], r);
        wide[i] = n->in_type[i];
        wide[i].dtype = wide[i].dtype == ADZE_F32 ? ADZE_F64 : wide[i].dtype;
    }
    assert_true(node_make(&exact, n->op, n->attrs, n->nin, wide));
    for (int i = 0; i < n->nin; i++) {
        copy_values(&exact.in[i], &n->in[i]);
    }
    node_run(&exact, NULL, 1, false);
    node_run(n, k, 1, false);
    for (int i = 0; i < n->nout; i++) {
        const double limit = n->out_type[i].dtype == ADZE_F32 ? 1e-6 : n->out_type[i].dtype == ADZE_F64 ? 1e-13 : 0;
        const double d = distance(&n->out[i], &exact.out[i]);
        if (!(d <= limit)) {
            fail_msg("%s: output %d is off by %.3g", describe(n, k, text, sizeof text), i, d);
        }
    }
    static const int THREADS[] = {2, 3, 8};
    for (size_t t = 0; t < ADZE_COUNT(THREADS); t++) {
        unsigned char *first[ADZE_MAX_OUT];
        for (int i = 0; i < n->nout; i++) {
            first[i] = malloc(n->out[i].bytes + 1);
            assert_non_null(first[i]);
            memcpy(first[i], n->out[i].v.data, n->out[i].bytes);
            memset(n->out[i].v.data, 0xFF, n->out[i].bytes);
        }
        node_run(n, k, THREADS[t], t % 2 == 0);
        for (int i = 0; i < n->nout; i++) {
            if (memcmp(first[i], n->out[i].v.data, n->out[i].bytes) != 0) {
                fail_msg("%s: output %d differs between 1 and %d threads", describe(n, k, text, sizeof text), i, THREADS[t]);
            }
            free(first[i]);
        }
    }
    node_free(&exact);
}

/* -- the lists of this machine ----------------------------------------------------------------------------------------------------------------- */

static const adze_kernel_list *const LISTS[][2] = {{&adze_kernels_ref, &adze_linear_ref},
                                                   {&adze_kernels_v2, &adze_linear_v2},
                                                   {&adze_kernels_v3, &adze_linear_v3},
                                                   {&adze_kernels_v4, &adze_linear_v4}};

static void for_each_kernel(void (*f)(const adze_kernel *k, adze_isa isa)) {
    for (int isa = ADZE_ISA_REF; isa <= (int)adze_isa_best() && isa < (int)ADZE_COUNT(LISTS); isa++) {
        for (int l = 0; l < 2; l++) {
            for (int i = 0; i < LISTS[isa][l]->count; i++) {
                f(&LISTS[isa][l]->kernels[i], (adze_isa)isa);
            }
        }
    }
}

static const char *only(void) { /* for work on one kernel: its op's name in the environment */
    return getenv("ADZE_TEST_OP");
}

static bool skipped(const adze_kernel *k) {
    return only() != NULL && strcmp(only(), k->op) != 0;
}

static void sampled_kernel(const adze_kernel *k, adze_isa isa) {
    if (skipped(k)) {
        return;
    }
    const adze_op *op = adze_op_find(k->op);
    if (strcmp(k->op, "chain") == 0 || strcmp(k->name, "winograd") == 0) {
        return; /* of the compiler alone, and larger than any sample: test_fuse, test_cpu_conv */
    }
    if (op == NULL) {
        fail_msg("kernel %s/%s: there is no such op", k->op, k->name);
        return;
    }
    assert_non_null(op->sample);
    int taken = 0;
    for (int trial = 0; trial < TRIALS; trial++) {
        union {
            double align;
            char bytes[1024];
        } attrs;
        assert_true(op->attrs_size <= sizeof attrs);
        adze_rng r = adze_rng_make(1234, (uint64_t)(trial + 1000 * (int)isa));
        adze_case c = {.dtype = trial % 3 == 2 ? ADZE_F64 : ADZE_F32, .attrs = &attrs, .awkward = trial % 2 == 1};
        memset(&attrs, 0, sizeof attrs);
        if (op->attrs != NULL) {
            assert_int_equal(adze_fields_default(op->attrs, &attrs), ADZE_OK);
        }
        op->sample(&r, &c);
        node n;
        if (!node_make(&n, op, &attrs, c.nin, c.in)) {
            continue;
        }
        if (k->accept == NULL || k->accept(&n.sig)) {
            compare(&n, k, c.dom, &r);
            taken++;
        }
        node_free(&n);
    }
    if (taken == 0 && strcmp(k->name, "fft") != 0) { /* by itself it takes larger shapes; the same kernel by name takes samples */
        fail_msg("%s/%s (%s) accepted none of %d sampled cases", k->op, k->name, adze_isa_name(isa), TRIALS);
    }
}

static void kernels_agree_with_ref_on_sampled_cases(void **state) {
    (void)state;
    for_each_kernel(sampled_kernel);
}

/* -- the functions of math.inc ------------------------------------------------------------------------------------------------------------- */

static double exact_sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

static double exact_softplus(double x) {
    return (x > 0 ? x : 0) + log1p(exp(-fabs(x)));
}

typedef struct function {
    const char *op;
    double (*exact)(double);
    double lo, hi;  /* where it is scanned */
    double max_ulp; /* the bound that math.inc states */
} function;

static const function FUNCTIONS[] = {
    {"exp", exp, -87, 88.7, 2},
    {"expm1", expm1, -20, 88, 2},
    {"log", log, 1e-30, 1e30, 2},
    {"log1p", log1p, -0.99, 1e6, 3},
    {"tanh", tanh, -12, 12, 4},
    {"sigmoid", exact_sigmoid, -80, 80, 4},
    {"softplus", exact_softplus, -60, 60, 4},
};

static void run_line(const adze_kernel *k, float *x, float *y, int64_t n) {
    const adze_view in = {.data = x, .dtype = ADZE_F32, .rank = 1, .dims = {n}, .strides = {1}};
    const adze_view out = {.data = y, .dtype = ADZE_F32, .rank = 1, .dims = {n}, .strides = {1}};
    const adze_step s = {.nin = 1, .nout = 1, .in = &in, .out = &out};
    k->run[0](&s, 0, 1);
}

static double ulps(float y, double exact) {
    const float nearest = (float)exact;
    const double unit = fmax((double)nextafterf(fabsf(nearest), INFINITY) - (double)fabsf(nearest), 1.401298464324817e-45);
    return fabs((double)y - exact) / unit;
}

static void scan_function(const adze_kernel *k, adze_isa isa) {
    enum { N = 50000 };
    static float x[N], y[N];
    for (size_t f = 0; f < ADZE_COUNT(FUNCTIONS); f++) {
        const function *fn = &FUNCTIONS[f];
        if (strcmp(k->op, fn->op) != 0) {
            continue;
        }
        adze_rng r = adze_rng_make(3, (uint64_t)f);
        for (int i = 0; i < N; i++) { /* half of them evenly, half evenly in the logarithm, so that small ones occur */
            const double u = adze_rng_uniform(&r), bound = i % 4 == 1 ? fn->lo : fn->hi;
            x[i] = (float)(i % 2 == 0 ? fn->lo + u * (fn->hi - fn->lo) : fn->lo > 0 ? fn->lo * pow(fn->hi / fn->lo, u) : bound * pow(10, -10 * u));
        }
        run_line(k, x, y, N);
        double worst = 0;
        for (int i = 0; i < N; i++) {
            const double e = ulps(y[i], fn->exact((double)x[i]));
            if (!(e <= fn->max_ulp)) {
                fail_msg("%s (%s): at %.9g the error is %.2f units in the last place", fn->op, adze_isa_name(isa), (double)x[i], e);
            }
            worst = fmax(worst, e);
        }
        if (getenv("ADZE_TEST_VERBOSE") != NULL) {
            print_message("%s %s: %.2f\n", adze_isa_name(isa), fn->op, worst);
        }
        float special[4] = {INFINITY, -INFINITY, NAN, 0}, got[4];
        run_line(k, special, got, 4);
        for (int i = 0; i < 4; i++) {
            const double e = fn->exact((double)special[i]);
            if (isnan(e) ? !isnan(got[i]) : (double)got[i] != (double)(float)e && fabs((double)got[i] - e) > 1e-6) {
                fail_msg("%s (%s): %g gives %g, not %g", fn->op, adze_isa_name(isa), (double)special[i], (double)got[i], e);
            }
        }
    }
}

static void functions_stay_within_their_error(void **state) {
    (void)state;
    for_each_kernel(scan_function);
}

static int setup(void **state) {
    (void)state;
    const adze_ctx_opts opts = {.size = sizeof opts, .threads = 1};
    return adze_ctx_new(&opts, &ctx);
}

static int teardown(void **state) {
    (void)state;
    adze_ctx_free(ctx);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(functions_stay_within_their_error),
        cmocka_unit_test(kernels_agree_with_ref_on_sampled_cases),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
