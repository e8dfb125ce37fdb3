/* Layers that normalise: against PyTorch's recorded values with their derivatives of first and second order, and the laws that batch normalisation,
 * maxout and fractional max pooling keep. */
#define CONTEXT_THREADS 2
#include "context.h"

#include "adze/data.h"
#include "adze/io.h"
#include "adze/ops.h"
#include "adze/train.h"
#include "base/base.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reference/norms.inc"

static double formula(int seed, int64_t i) {
    return 1.5 * sin(12.9898 * (double)(i + 1) + 78.233 * seed) + 0.1;
}

static void fill(adze_tensor *t, int seed) {
    const adze_type type = adze_tensor_type(t);
    for (int64_t i = 0; i < adze_type_count(&type); i++) {
        adze_tensor_set(t, i, formula(seed, i));
    }
}

/* -- a model of one list of layers, run with its derivatives ------------------------------------------------------------------------------------- */

typedef struct net {
    adze_ctx *ctx;
    adze_model *m;
    adze_store *store;
    adze_graph *g;
    adze_plan *plan;
    adze_session *session;
    adze_val x, y;
} net;

/* layers: what stands between "layers: [" and "]". */
static net net_new(adze_ctx *ctx, const char *layers, const adze_type *x, bool train) {
    net n = {.ctx = ctx};
    char text[1024], dims[64] = "";
    for (int i = 1; i < x->rank; i++) {
        snprintf(dims + strlen(dims), sizeof dims - strlen(dims), "%s%lld", i > 1 ? ", " : "", (long long)x->dims[i]);
    }
    snprintf(text, sizeof text, "name: n\ntask: regress\ninput: [%s]\nlayers: [%s]\n", dims, layers);
    must(ctx, parse(ctx, text, &n.m));
    must(ctx, adze_store_new(ctx, &n.store));
    must(ctx, adze_model_init(n.m, n.store, x->dtype, 1));
    must(ctx, adze_graph_new(ctx, &n.g));
    n.x = adze_input(n.g, "x", *x);
    must(ctx, adze_model_build(n.m, n.g, n.x, &(adze_build_opts){.size = sizeof(adze_build_opts), .train = train}, &n.y));
    adze_output(n.g, "y", n.y);
    return n;
}

static adze_tensor net_slot(const net *n, const char *name) {
    adze_tensor t;
    must(n->ctx, adze_store_tensor(n->store, adze_store_find(n->store, name), &t));
    return t;
}

static adze_val net_slot_val(const net *n, const char *name) {
    return adze_slot(n->g, name, adze_store_type(n->store, adze_store_find(n->store, name)));
}

static void net_compile(net *n) {
    must(n->ctx, adze_graph_status(n->g));
    must(n->ctx, adze_compile(n->g, NULL, &n->plan));
    must(n->ctx, adze_session_new(n->ctx, n->plan, n->store, "", &n->session));
}

static adze_tensor net_input(const net *n, const char *name) {
    adze_tensor t;
    must(n->ctx, adze_session_input(n->session, name, &t));
    return t;
}

static adze_tensor net_output(const net *n, const char *name) {
    adze_tensor t;
    must(n->ctx, adze_session_output(n->session, name, &t));
    return t;
}

static void net_free(net *n) {
    adze_session_free(n->session);
    adze_plan_free(n->plan);
    adze_graph_free(n->g);
    adze_store_free(n->store);
    adze_model_free(n->m);
}

static adze_val dot(adze_graph *g, adze_val a, adze_val b) {
    return adze_sum(g, adze_mul(g, a, b), NULL, 0, false);
}

/* -- recorded values ----------------------------------------------------------------------------------------------------------------------------- */

/* Within the tolerance of the largest number. */
static void compare(const char *layer, const char *what, const adze_tensor *have, const double *want, double tolerance) {
    const adze_type t = adze_tensor_type(have);
    double most = 0;
    for (int64_t i = 0; i < adze_type_count(&t); i++) {
        most = fmax(most, fabs(want[i]));
    }
    for (int64_t i = 0; i < adze_type_count(&t); i++) {
        const double h = adze_tensor_get(have, i);
        if (!(fabs(h - want[i]) <= tolerance * most)) {
            fail_msg("%s, %s: %s[%lld] is %.17g, not %.17g", adze_dtype_name(t.dtype), layer, what, (long long)i, h, want[i]);
        }
    }
}

static void check_case(adze_ctx *ctx, size_t k, adze_dtype d) {
    const adze_type t = adze_type_make(d, NORMS[k].rank, NORMS[k].dims);
    char layer[256], name[3][16], grad[3][16] = {"d0", "d1", "d2"};
    snprintf(layer, sizeof layer, "{%s, name: n}", NORMS[k].layer);
    net n = net_new(ctx, layer, &t, true);
    adze_val wrt[4] = {n.x}, r[4], ddx;
    int nwrt = 1;
    for (int i = 0; i < 3 && NORMS[k].slots[i]; i++) {
        snprintf(name[i], sizeof name[i], "n:%s", NORMS[k].slots[i]);
        adze_tensor slot = net_slot(&n, name[i]);
        fill(&slot, 4 + i);
        wrt[nwrt++] = net_slot_val(&n, name[i]);
    }
    const adze_val dy = adze_input(n.g, "dy", adze_val_type(n.g, n.y)), v = adze_input(n.g, "v", t);
    must(ctx, adze_grad(n.g, dot(n.g, n.y, dy), wrt, nwrt, r, ADZE_DIFFERENTIABLE));
    must(ctx, adze_grad(n.g, dot(n.g, r[0], v), wrt, 1, &ddx, ADZE_DIFFERENTIABLE));
    adze_output(n.g, "dx", r[0]);
    adze_output(n.g, "ddx", ddx);
    for (int i = 1; i < nwrt; i++) {
        adze_output(n.g, grad[i - 1], r[i]);
    }
    net_compile(&n);
    adze_tensor in[3] = {net_input(&n, "x"), net_input(&n, "dy"), net_input(&n, "v")};
    for (int i = 0; i < 3; i++) {
        fill(&in[i], i + 1);
    }
    must(ctx, adze_session_run(n.session));
    const double tolerance = d == ADZE_F64 ? 1e-10 : 1e-6;
    adze_tensor out[3] = {net_output(&n, "y"), net_output(&n, "dx"), net_output(&n, "ddx")};
    compare(NORMS[k].layer, "y", &out[0], NORMS[k].y, tolerance);
    compare(NORMS[k].layer, "dx", &out[1], NORMS[k].dx, tolerance);
    compare(NORMS[k].layer, "ddx", &out[2], NORMS[k].ddx, tolerance);
    for (int i = 1; i < nwrt; i++) {
        adze_tensor ds = net_output(&n, grad[i - 1]);
        compare(NORMS[k].layer, name[i - 1], &ds, NORMS[k].dslot[i - 1], tolerance);
    }
    net_free(&n);
}

static void layers_give_pytorchs_values_and_derivatives(void **state) {
    for (size_t k = 0; k < sizeof NORMS / sizeof *NORMS; k++) {
        check_case(*state, k, ADZE_F64);
        check_case(*state, k, ADZE_F32);
    }
}

/* -- maxout -------------------------------------------------------------------------------------------------------------------------------------- */

static void run_formula(net *n) {
    net_compile(n);
    adze_tensor x = net_input(n, "x");
    fill(&x, 1);
    must(n->ctx, adze_session_run(n->session));
}

/* A layer of 3 maxouts of 2 sums, the second `share` of the first, beside one of 3 plain sums with that activation. */
static void compare_maxout(adze_ctx *ctx, const char *layer, const adze_type *x, const char *activation, double share, double tolerance) {
    char text[256];
    snprintf(text, sizeof text, "{%s, name: n, activation: maxout}", layer);
    net two = net_new(ctx, text, x, true);
    snprintf(text, sizeof text, "{%s, name: n, activation: %s}", layer, activation);
    net one = net_new(ctx, text, x, true);
    assert_int_equal(adze_model_params(two.m), 2 * adze_model_params(one.m));
    for (int i = 0; i < 2; i++) {
        adze_tensor from = net_slot(&one, i ? "n:b" : "n:w"), to = net_slot(&two, i ? "n:b" : "n:w");
        const adze_type t = adze_tensor_type(&from);
        fill(&from, 4 + i);
        for (int64_t k = 0; k < adze_type_count(&t); k++) {
            const double v = adze_tensor_get(&from, k);
            adze_tensor_set(&to, 2 * k, v);
            adze_tensor_set(&to, 2 * k + 1, share * v);
        }
    }
    run_formula(&one);
    run_formula(&two);
    adze_tensor a = net_output(&one, "y"), b = net_output(&two, "y");
    const adze_type t = adze_tensor_type(&a);
    if (tolerance == 0) {
        assert_memory_equal(adze_tensor_data(&a), adze_tensor_data(&b), (size_t)adze_type_bytes(&t));
    }
    for (int64_t k = 0; k < adze_type_count(&t); k++) {
        assert_true(fabs(adze_tensor_get(&a, k) - adze_tensor_get(&b, k)) <= tolerance);
    }
    net_free(&one);
    net_free(&two);
}

static void maxout_is_relu_and_leaky_relu_by_its_weights(void **state) {
    for (int wide = 0; wide < 2; wide++) {
        const adze_dtype d = wide ? ADZE_F64 : ADZE_F32;
        const adze_type maps = adze_type_make(d, 4, (int64_t[]){2, 6, 5, 3}), rows = adze_type_make(d, 2, (int64_t[]){4, 7});
        for (int dense = 0; dense < 2; dense++) {
            const char *layer = dense ? "type: dense, units: 3" : "type: conv, filters: 3, kernel: 2";
            const adze_type *x = dense ? &rows : &maps;
            compare_maxout(*state, layer, x, "relu", 0, 0);
            compare_maxout(*state, layer, x, "leaky_relu, slope: 0.0078125", 0.0078125, 0);         /* 2^-7: products stay exact */
            compare_maxout(*state, layer, x, "leaky_relu, slope: 0.01", 0.01, wide ? 1e-14 : 1e-6); /* 0.01 w is rounded */
        }
    }
}

/* Goodfellow et al. 2013, section 4: the difference of two maxouts is any piecewise linear function; here |x| - |x - 1|. */
static void two_maxouts_make_a_function_that_is_not_convex(void **state) {
    const adze_type t = adze_type_make(ADZE_F64, 2, (int64_t[]){9, 1});
    net n = net_new(*state, "{type: dense, name: h, units: 2, activation: maxout}, {type: dense, name: n, units: 1, bias: false}", &t, true);
    adze_tensor w = net_slot(&n, "h:w"), b = net_slot(&n, "h:b"), v = net_slot(&n, "n:w");
    for (int64_t i = 0; i < 4; i++) {
        adze_tensor_set(&w, i, i % 2 ? -1 : 1);
        adze_tensor_set(&b, i, (double[]){0, 0, -1, 1}[i]);
        adze_tensor_set(&v, i / 2, i < 2 ? 1 : -1);
    }
    net_compile(&n);
    adze_tensor x = net_input(&n, "x"), y = net_output(&n, "y");
    for (int64_t i = 0; i < 9; i++) {
        adze_tensor_set(&x, i, (double)i / 2 - 2);
    }
    must(n.ctx, adze_session_run(n.session));
    for (int64_t i = 0; i < 9; i++) {
        const double at = (double)i / 2 - 2;
        assert_true(adze_tensor_get(&y, i) == fabs(at) - fabs(at - 1));
    }
    net_free(&n);
}

/* -- batch normalisation ------------------------------------------------------------------------------------------------------------------------- */

static void batchnorm_can_be_the_identity(void **state) {
    const adze_type t = adze_type_make(ADZE_F32, 4, (int64_t[]){8, 3, 4, 5});
    net n = net_new(*state, "{type: batchnorm, name: n}", &t, true);
    net_compile(&n);
    adze_tensor x = net_input(&n, "x"), scale = net_slot(&n, "n:scale"), shift = net_slot(&n, "n:shift");
    fill(&x, 1);
    for (int64_t c = 0; c < 5; c++) {
        double mean = 0, var = 0;
        for (int64_t r = 0; r < 96; r++) {
            mean += adze_tensor_get(&x, r * 5 + c) / 96;
        }
        for (int64_t r = 0; r < 96; r++) {
            var += pow(adze_tensor_get(&x, r * 5 + c) - mean, 2) / 96;
        }
        adze_tensor_set(&scale, c, sqrt(var + 1e-5));
        adze_tensor_set(&shift, c, mean);
    }
    must(n.ctx, adze_session_run(n.session));
    adze_tensor y = net_output(&n, "y");
    for (int64_t i = 0; i < 480; i++) {
        assert_true(fabs(adze_tensor_get(&y, i) - adze_tensor_get(&x, i)) <= 1e-6);
    }
    net_free(&n);
}

typedef struct scaled { /* BN(u (a W)) and the gradient in a W */
    double y[32], dw[32];
} scaled;

static scaled run_scaled(adze_ctx *ctx, double a) {
    adze_graph *g;
    adze_plan *plan;
    adze_session *session;
    scaled r;
    must(ctx, adze_graph_new(ctx, &g));
    const adze_type tu = adze_type_make(ADZE_F64, 2, (int64_t[]){8, 8}), tw = adze_type_make(ADZE_F64, 2, (int64_t[]){8, 4}),
                    tc = adze_type_make(ADZE_F64, 1, (int64_t[]){4});
    const adze_val u = adze_input(g, "0", tu), w = adze_input(g, "1", tw), scale = adze_input(g, "2", tc), dy = adze_input(g, "3", tw);
    adze_val mean, var, dw;
    const adze_val y = adze_batchnorm(g, adze_matmul(g, u, w, false, false), scale, adze_full(g, tc, 0), 0, &mean, &var);
    must(ctx, adze_grad(g, dot(g, y, dy), &w, 1, &dw, 0));
    adze_output(g, "y", y);
    adze_output(g, "dw", dw);
    must(ctx, adze_compile(g, NULL, &plan));
    must(ctx, adze_session_new(ctx, plan, NULL, "", &session));
    for (int i = 0; i < 4; i++) {
        adze_tensor t;
        must(ctx, adze_session_input(session, (char[]){(char)('0' + i), 0}, &t));
        fill(&t, 7 + i);
        for (int64_t k = 0; i == 1 && k < 32; k++) {
            adze_tensor_set(&t, k, a * adze_tensor_get(&t, k));
        }
    }
    must(ctx, adze_session_run(session));
    for (int out = 0; out < 2; out++) {
        adze_tensor t;
        must(ctx, adze_session_output(session, out ? "dw" : "y", &t));
        for (int64_t k = 0; k < 32; k++) {
            (out ? r.dw : r.y)[k] = adze_tensor_get(&t, k);
        }
    }
    adze_session_free(session);
    adze_plan_free(plan);
    adze_graph_free(g);
    return r;
}

/* Ioffe and Szegedy 2015, section 3.3. */
static void batchnorm_does_not_see_the_scale_of_the_weights(void **state) {
    const scaled one = run_scaled(*state, 1), four = run_scaled(*state, 4), three = run_scaled(*state, 3);
    double most = 0;
    for (int k = 0; k < 32; k++) {
        assert_true(four.y[k] == one.y[k]);
        assert_true(four.dw[k] == one.dw[k] / 4);
        assert_true(fabs(three.y[k] - one.y[k]) <= 1e-13);
        assert_true(fabs(three.dw[k] - one.dw[k] / 3) <= 1e-13);
        most = fmax(most, fabs(one.dw[k]));
    }
    assert_true(most > 0.01);
}

/* d (outputs of example 0) / d (inputs of the others), the largest entry's size: of one seed per output. */
static double coupling(adze_ctx *ctx, const char *layer, bool train) {
    const adze_type t = adze_type_make(ADZE_F64, 4, (int64_t[]){3, 2, 2, 4});
    net n = net_new(ctx, layer, &t, train);
    adze_val dx;
    const adze_val dy = adze_input(n.g, "dy", t);
    double most = 0;
    must(ctx, adze_grad(n.g, dot(n.g, n.y, dy), &n.x, 1, &dx, 0));
    adze_output(n.g, "dx", dx);
    net_compile(&n);
    adze_tensor x = net_input(&n, "x"), seed = net_input(&n, "dy"), d = net_output(&n, "dx");
    fill(&x, 1);
    for (int64_t k = 0; k < 16; k++) {
        for (int64_t i = 0; i < 48; i++) {
            adze_tensor_set(&seed, i, i == k);
        }
        must(ctx, adze_session_run(n.session));
        for (int64_t i = 16; i < 48; i++) {
            most = fmax(most, fabs(adze_tensor_get(&d, i)));
        }
    }
    net_free(&n);
    return most;
}

static void only_batchnorm_in_training_ties_examples_together(void **state) {
    assert_true(coupling(*state, "{type: batchnorm, name: n}", true) > 0.01);
    assert_true(coupling(*state, "{type: batchnorm, name: n}", false) == 0);
    static const char *const others[] = {"{type: layernorm, name: n}", "{type: groupnorm, groups: 2, name: n}", "{type: instancenorm, name: n}",
                                         "{type: rmsnorm, name: n}", "{type: lrn, name: n}"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        assert_true(coupling(*state, others[i], true) == 0);
    }
}

/* -- weight normalisation ------------------------------------------------------------------------------------------------------------------------ */

static void normalised_weights_start_as_their_directions(void **state) {
    const adze_type t = adze_type_make(ADZE_F64, 4, (int64_t[]){1, 4, 4, 3});
    net n = net_new(*state, "{type: conv, filters: 5, kernel: 3, weight_norm: true, name: n}", &t, true);
    adze_tensor v = net_slot(&n, "n:v"), g = net_slot(&n, "n:g");
    for (int64_t k = 0; k < 5; k++) {
        double sum = 0;
        for (int64_t r = 0; r < 27; r++) {
            sum += pow(adze_tensor_get(&v, r * 5 + k), 2);
        }
        assert_true(fabs(adze_tensor_get(&g, k) - sqrt(sum)) <= 1e-14 && sum > 0.1);
    }
    assert_int_equal(adze_model_params(n.m), 27 * 5 + 5 + 5);
    assert_int_equal(adze_store_flags(n.store, adze_store_find(n.store, "n:g")), ADZE_SLOT_TRAINABLE | ADZE_SLOT_DECAY);
    assert_int_equal(adze_store_flags(n.store, adze_store_find(n.store, "n:v")), ADZE_SLOT_TRAINABLE);
    net_free(&n);
}

/* -- fractional max pooling ---------------------------------------------------------------------------------------------------------------------- */

enum { SIDE = 25, MOST = 32 };

typedef struct regions { /* of one axis */
    int n;
    double first[MOST], last[MOST];
} regions;

/* Pools the numbers of rows and columns, and their negatives: the largest of a region is its last one, or minus its first. */
static void read_regions(net *n, regions out[2]) {
    adze_tensor y = net_output(n, "y");
    must(n->ctx, adze_session_run(n->session));
    for (int axis = 0; axis < 2; axis++) {
        out[axis].n = (int)y.dims[axis + 1];
        for (int i = 0; i < out[axis].n; i++) {
            const int64_t at = (axis ? i : i * y.dims[2]) * 4 + 2 * axis;
            out[axis].last[i] = adze_tensor_get(&y, at);
            out[axis].first[i] = -adze_tensor_get(&y, at + 1);
        }
    }
}

static net fractional_net(adze_ctx *ctx, const char *fields, bool train) {
    char text[256];
    const adze_type t = adze_type_make(ADZE_F32, 4, (int64_t[]){2, SIDE, SIDE + 3, 4});
    snprintf(text, sizeof text, "{type: fractional_maxpool, name: n%s}", fields);
    net n = net_new(ctx, text, &t, train);
    net_compile(&n);
    adze_tensor x = net_input(&n, "x");
    for (int64_t i = 0; i < 2 * SIDE * (SIDE + 3); i++) {
        const double row = (double)(i / (SIDE + 3) % SIDE), col = (double)(i % (SIDE + 3));
        adze_tensor_set(&x, 4 * i, row);
        adze_tensor_set(&x, 4 * i + 1, -row);
        adze_tensor_set(&x, 4 * i + 2, col);
        adze_tensor_set(&x, 4 * i + 3, -col);
    }
    return n;
}

static void check_regions(const regions *r, int pixels, double alpha, bool overlap, bool pseudo) {
    const int sum = pixels - overlap;
    double start = 0;
    assert_int_equal(r->n, (int)floor(pixels / alpha));
    for (int i = 0; i < r->n; i++) {
        const double next = r->last[i] + (overlap ? 0 : 1), step = next - start;
        assert_true(r->first[i] == start);
        assert_true(step == 1 || step == 2);
        start = next;
        assert_true(!pseudo || fabs(start - (double)sum / r->n * (i + 1)) < 1);
    }
    assert_true(start == sum);
}

static bool same_regions(const regions *a, const regions *b) {
    return a->n == b->n && memcmp(a->last, b->last, sizeof *a->last * (size_t)a->n) == 0;
}

static void fractional_regions_step_by_one_or_two_and_cover_the_axis(void **state) {
    static const double alphas[] = {1.1, 1.4142135623730951, 1.7};
    for (int k = 0; k < 12; k++) {
        const double alpha = alphas[k / 4];
        const bool overlap = k & 1, pseudo = k & 2;
        char fields[96];
        snprintf(fields, sizeof fields, ", alpha: %.17g, order: %s, overlap: %s", alpha, pseudo ? "pseudo" : "random", overlap ? "true" : "false");
        net n = fractional_net(*state, fields, true);
        for (uint64_t step = 0; step < 50; step++) {
            regions r[2];
            adze_session_random(n.session, 3, step, 0);
            read_regions(&n, r);
            check_regions(&r[0], SIDE, alpha, overlap, pseudo);
            check_regions(&r[1], SIDE + 3, alpha, overlap, pseudo);
        }
        net_free(&n);
    }
}

/* In training a new draw for each step, whatever part of the batch this is; in use always the same unless the caller asks for another. */
static void fractional_regions_come_from_seed_and_step_alone(void **state) {
    net train = fractional_net(*state, "", true), use = fractional_net(*state, "", false), again = fractional_net(*state, "", true);
    regions a[2], b[2];
    int equal = 0, twos[MOST] = {0};
    for (uint64_t step = 0; step < 2000; step++) {
        adze_session_random(train.session, 5, step, 0);
        adze_session_random(again.session, 5, step, 64);
        read_regions(&train, a);
        read_regions(&again, b);
        assert_true(same_regions(&a[0], &b[0]) && same_regions(&a[1], &b[1]));
        equal += a[0].n == a[1].n && same_regions(&a[0], &a[1]);
        for (int i = 0; i < a[0].n; i++) {
            twos[i] += a[0].last[i] - a[0].first[i] == 2;
        }
    }
    assert_true(equal < 5); /* rows and columns are drawn apart */
    const double p = (double)(SIDE - 1 - a[0].n) / a[0].n, sd = sqrt(2000 * p * (1 - p));
    for (int i = 0; i < a[0].n; i++) { /* every order is as likely: a 2 is as likely everywhere */
        assert_true(fabs(twos[i] - 2000 * p) < 5 * sd);
    }
    adze_session_random(train.session, 6, 1999, 0);
    read_regions(&train, b);
    assert_false(same_regions(&a[0], &b[0]) && same_regions(&a[1], &b[1]));
    read_regions(&use, a);
    read_regions(&use, b);
    assert_true(same_regions(&a[0], &b[0]) && same_regions(&a[1], &b[1]));
    net_free(&train);
    net_free(&use);
    net_free(&again);
}

/* The mean of the probabilities of three passes, each with the regions of its step, whatever the batch. */
static void passes_average_probabilities(void **state) {
    enum { N = 7, PIXELS = 9 * 9, CLASSES = 3, PASSES = 3 };
    adze_ctx *ctx = *state;
    const char *const text = "name: p\ninput: [9, 9, 1]\nlayers:\n  - {type: fractional_maxpool, name: f}\n  - {type: flatten, name: flat}\n"
                             "  - {type: dense, name: d, units: 3}\n";
    const adze_type tx = adze_type_make(ADZE_F32, 4, (int64_t[]){N, 9, 9, 1}), example = adze_type_make(ADZE_U8, 3, (int64_t[]){9, 9, 1});
    uint8_t pixels[N * PIXELS];
    int64_t labels[N];
    adze_model *m;
    adze_store *s;
    adze_dataset *d;
    must(ctx, parse(ctx, text, &m));
    must(ctx, adze_store_new(ctx, &s));
    must(ctx, adze_model_init(m, s, ADZE_F32, 1));
    for (int64_t i = 0; i < N * PIXELS; i++) {
        pixels[i] = (uint8_t)(128 + 75 * formula(1, i));
        labels[i / PIXELS] = i / PIXELS % CLASSES;
    }
    must(ctx, adze_dataset_from_memory(ctx, example, pixels, labels, N, CLASSES, &d));
    double want[N][CLASSES] = {{0}}, differ = 0;
    adze_graph *g;
    adze_plan *plan;
    adze_session *session;
    adze_val y;
    must(ctx, adze_graph_new(ctx, &g));
    must(ctx, adze_model_build(m, g, adze_input(g, "x", tx), &(adze_build_opts){.size = sizeof(adze_build_opts)}, &y));
    adze_output(g, "p", adze_softmax(g, y, -1));
    must(ctx, adze_compile(g, NULL, &plan));
    must(ctx, adze_session_new(ctx, plan, s, "", &session));
    adze_tensor in, p;
    must(ctx, adze_session_input(session, "x", &in));
    for (int64_t i = 0; i < N; i++) {
        must(ctx,
             adze_preprocess_apply(adze_model_preprocess(m), &example, pixels + i * PIXELS, ADZE_F32, (float *)adze_tensor_data(&in) + i * PIXELS));
    }
    must(ctx, adze_session_output(session, "p", &p));
    for (uint64_t pass = 0; pass < PASSES; pass++) {
        adze_session_random(session, 0, pass, 0);
        must(ctx, adze_session_run(session));
        for (int64_t i = 0; i < N * CLASSES; i++) {
            want[i / CLASSES][i % CLASSES] += adze_tensor_get(&p, i) / PASSES;
            differ = fmax(differ, fabs(want[i / CLASSES][i % CLASSES] * PASSES / (double)(pass + 1) - adze_tensor_get(&p, i)));
        }
    }
    assert_true(differ > 0.01); /* the passes are not all alike */
    for (int64_t batch = 2; batch <= 4; batch += 2) {
        adze_metrics r;
        const adze_eval_opts how = {.size = sizeof how, .batch = batch, .passes = PASSES};
        must(ctx, adze_evaluate_with(ctx, m, s, &how, d, NULL, 0, &r));
        double nll = 0;
        for (int64_t i = 0; i < N; i++) {
            nll -= log(want[i][i % CLASSES]) / N;
            for (int64_t c = 0; c < CLASSES; c++) {
                assert_true(fabs(r.scores[i * CLASSES + c] - want[i][c]) <= 1e-6);
            }
        }
        assert_true(fabs(r.nll - nll) <= 1e-6 && r.loss >= r.nll); /* Jensen */
        adze_metrics_free(ctx, &r);
    }
    adze_session_free(session);
    adze_plan_free(plan);
    adze_graph_free(g);
    adze_dataset_close(d);
    adze_store_free(s);
    adze_model_free(m);
}

/* -- folding ------------------------------------------------------------------------------------------------------------------------------------- */

static const char FOLDED[] = "name: f\ninput: [6, 6, 3]\nlayers:\n"
                             "  - {type: conv, name: c0, filters: 4, kernel: 3, pad: same, bias: false}\n"
                             "  - {type: batchnorm, name: b0, activation: prelu}\n"
                             "  - repeat: 2\n    name: block\n    layers:\n"
                             "      - {type: conv, name: c, filters: 4, kernel: 3, pad: same, weight_norm: true}\n"
                             "      - {type: batchnorm, name: b, from: c, activation: relu}\n"
                             "      - {type: conv, name: c2, filters: 4, kernel: 3, pad: same, groups: 2}\n"
                             "      - {type: batchnorm, name: b2, eps: 0.01}\n"
                             "      - {type: add, name: sum, from: [b2, input]}\n"
                             "  - {type: batchnorm, name: kept}\n" /* after no layer with weights */
                             "  - {type: conv, name: c3, filters: 4, kernel: 1, activation: tanh}\n"
                             "  - {type: batchnorm, name: kept2}\n" /* after an activation */
                             "  - {type: conv, name: c4, filters: 4, kernel: 1}\n"
                             "  - {type: batchnorm, name: kept3}\n" /* not the only reader of c4 */
                             "  - {type: add, name: sum, from: [kept3, c4]}\n"
                             "  - {type: flatten, name: flat}\n"
                             "  - {type: dense, name: d1, units: 8, bias: false, weight_norm: true}\n"
                             "  - {type: dense, name: d, units: 5}\n"
                             "  - {type: batchnorm, name: b5}\n";

static void outputs_of(adze_ctx *ctx, const adze_model *m, adze_store *s, double *y) {
    adze_tensor x, probs;
    must(ctx, adze_tensor_new(ctx, adze_model_input_type(m, 4, ADZE_F32), &x));
    fill(&x, 1);
    must(ctx, adze_predict(ctx, m, s, x, &probs));
    for (int64_t i = 0; i < 20; i++) {
        y[i] = log(adze_tensor_get(&probs, i));
    }
    adze_tensor_free(&probs);
    adze_tensor_free(&x);
}

static int64_t file_size(const char *path) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    const int64_t n = ftell(f);
    fclose(f);
    return n;
}

static void folding_changes_numbers_and_not_the_function(void **state) {
    adze_ctx *ctx = *state;
    adze_model *m, *folded;
    adze_store *s, *now;
    double want[20], have[20], spread = 0;
    must(ctx, parse(ctx, FOLDED, &m));
    must(ctx, adze_store_new(ctx, &s));
    must(ctx, adze_model_init(m, s, ADZE_F32, 3));
    for (int i = 0; i < adze_store_count(s); i++) { /* as if trained: no statistic is 0 or 1 any more */
        adze_tensor t;
        const char *role = strchr(adze_store_name(s, i), ':') + 1;
        must(ctx, adze_store_tensor(s, i, &t));
        const adze_type type = adze_tensor_type(&t);
        for (int64_t k = 0; type.rank == 1 && k < type.dims[0]; k++) {
            adze_tensor_set(&t, k, strcmp(role, "var") == 0 || strcmp(role, "g") == 0 ? 1.5 + 0.8 * formula(i, k) / 2 : 0.5 * formula(i, k));
        }
    }
    const char *before = "fold_before.safetensors", *after = "fold_after.safetensors";
    must(ctx, adze_model_save(m, s, "", before));
    assert_int_equal(system(ADZE_COMMAND " fold fold_before.safetensors fold_after.safetensors --json > fold.json"), 0);
    assert_int_equal(system(ADZE_COMMAND " eval fold_after.safetensors 2>&1 | grep -q 'does not say what it was trained on'"), 0);
    must(ctx, adze_model_load(ctx, after, &folded, &now));
    assert_true(file_size(after) < file_size(before));
    assert_int_equal(adze_model_summary(m, NULL, 0), 22);
    assert_int_equal(adze_model_summary(folded, NULL, 0), 16);
    assert_true(adze_store_find(now, "block/2/c:w") >= 0 && adze_store_find(now, "block/2/c:g") < 0 && adze_store_find(now, "kept:var") >= 0);
    assert_true(adze_store_find(now, "d1:w") >= 0 && adze_store_find(now, "d1:b") < 0 && adze_store_find(now, "c0:slope") >= 0);
    outputs_of(ctx, m, s, want);
    outputs_of(ctx, folded, now, have);
    for (int i = 0; i < 20; i++) {
        assert_true(fabs(have[i] - want[i]) <= 1e-5 * fmax(1, fabs(want[i])));
        spread = fmax(spread, fabs(want[i] - want[0]));
    }
    assert_true(spread > 0.1);
    remove(before), remove(after), remove("fold.json");
    adze_store_free(now);
    adze_store_free(s);
    adze_model_free(folded);
    adze_model_free(m);
}

/* -- refusals ------------------------------------------------------------------------------------------------------------------------------------ */

static void layers_say_what_does_not_fit(void **state) {
    static const struct {
        const char *input, *layer, *sentence;
    } cases[] = {
        {"[4, 4, 6]", "type: groupnorm, groups: 4", "the input has 6 channels, no multiple of 'groups' 4"},
        {"[6]", "type: instancenorm", "it needs at least one spatial axis"},
        {"[1025]", "type: lrn", "the input has 1025 channels, 1024 are the most"},
        {"[8, 3]", "type: fractional_maxpool", "it needs two spatial axes of at least 2 pixels"},
        {"[8, 1, 3]", "type: fractional_maxpool", "it needs two spatial axes of at least 2 pixels"},
        {"[8, 8, 3]", "type: fractional_maxpool, alpha: 1", "'alpha' must be greater than 1"},
        {"[8, 8, 2]", "type: conv, filters: 2, kernel: 3, table: '0, 1', weight_norm: true", "a 'table' and 'weight_norm' exclude each other"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[256];
        adze_model *m;
        snprintf(text, sizeof text, "name: n\ntask: regress\ninput: %s\nlayers: [{%s, name: n}]\n", cases[i].input, cases[i].layer);
        assert_int_not_equal(parse(*state, text, &m), ADZE_OK);
        if (!strstr(adze_errmsg(*state), cases[i].sentence)) {
            fail_msg("%s", adze_errmsg(*state));
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(layers_give_pytorchs_values_and_derivatives, setup, teardown),
        cmocka_unit_test_setup_teardown(maxout_is_relu_and_leaky_relu_by_its_weights, setup, teardown),
        cmocka_unit_test_setup_teardown(two_maxouts_make_a_function_that_is_not_convex, setup, teardown),
        cmocka_unit_test_setup_teardown(batchnorm_can_be_the_identity, setup, teardown),
        cmocka_unit_test_setup_teardown(batchnorm_does_not_see_the_scale_of_the_weights, setup, teardown),
        cmocka_unit_test_setup_teardown(only_batchnorm_in_training_ties_examples_together, setup, teardown),
        cmocka_unit_test_setup_teardown(normalised_weights_start_as_their_directions, setup, teardown),
        cmocka_unit_test_setup_teardown(fractional_regions_step_by_one_or_two_and_cover_the_axis, setup, teardown),
        cmocka_unit_test_setup_teardown(fractional_regions_come_from_seed_and_step_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(passes_average_probabilities, setup, teardown),
        cmocka_unit_test_setup_teardown(folding_changes_numbers_and_not_the_function, setup, teardown),
        cmocka_unit_test_setup_teardown(layers_say_what_does_not_fit, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
