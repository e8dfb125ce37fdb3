/* A new op in one record: "cube", y = x^3. The library needs no change: a record from outside is a full citizen, differentiable to any order.
 * docs/new-op.md walks through it; an op of the library itself is the same record plus one line in src/op/ops.def. */
#include <adze.h>
#include <adze/op.h>
#include <math.h>
#include <stdio.h>

/* Output types, and every legality check with its sentence. */
static int cube_infer(adze_sig *s) {
    if (!adze_dtype_is_float(s->in[0].dtype)) {
        return adze_op_fail(s, ADZE_ETYPE, "the input is %s, a floating dtype is needed", adze_dtype_name(s->in[0].dtype));
    }
    s->out[0] = s->in[0];
    return ADZE_OK;
}

/* dy/dx = 3 x^2, in ops that have derivatives themselves: vjp, jvp and all higher orders follow. */
static adze_val cube_partial(adze_adj *a, int i) {
    (void)i;
    return adze_scale(a->g, adze_square(a->g, a->x[0]), 3, 0);
}

/* Plain C, the truth: inputs and outputs are contiguous. */
static void cube_ref(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    int64_t n = 1;
    for (int k = 0; k < s->out[0].rank; k++) {
        n *= s->out[0].dims[k];
    }
    for (int64_t i = 0; i < n; i++) {
        if (s->out[0].dtype == ADZE_F64) {
            double v = ((const double *)s->in[0].data)[i];
            ((double *)s->out[0].data)[i] = v * v * v;
        } else {
            float v = ((const float *)s->in[0].data)[i];
            ((float *)s->out[0].data)[i] = v * v * v;
        }
    }
}

static void cube_sample(adze_rng *r, adze_case *c) {
    c->nin = 1;
    c->in[0] = adze_type_make(c->dtype, 2, (int64_t[]){adze_rng_range(r, 0, 5), adze_rng_range(r, 1, 17)});
}

static const adze_op CUBE = {
    .name = "cube",
    .nin_min = 1,
    .nin_max = 1,
    .nout = 1,
    .flags = ADZE_OP_MAP,
    .doc = "y = x^3, elementwise",
    .infer = cube_infer,
    .partial = cube_partial,
    .ref = cube_ref,
    .sample = cube_sample,
};

static double eval(adze_graph *g, adze_val v, adze_tensor x) {
    adze_named in = {"x", x};
    adze_tensor y;
    if (adze_eval(g, v, &in, 1, NULL, "ref", &y) != ADZE_OK) {
        fprintf(stderr, "%s\n", adze_errmsg(adze_graph_ctx(g)));
        return NAN;
    }
    double value = adze_tensor_get(&y, 0);
    adze_tensor_free(&y);
    return value;
}

int main(void) {
    adze_ctx *ctx;
    adze_graph *g;
    adze_tensor at;
    if (adze_ctx_new(NULL, &ctx) || adze_graph_new(ctx, &g) || adze_tensor_new(ctx, adze_scalar_type(ADZE_F64), &at)) {
        return 1;
    }
    adze_tensor_set(&at, 0, 2);
    adze_val x = adze_input(g, "x", adze_scalar_type(ADZE_F64)), d1, d2, d3;
    adze_val y = adze_apply(g, &CUBE, &x, 1, NULL, NULL);
    adze_grad(g, y, &x, 1, &d1, 0);
    adze_grad(g, d1, &x, 1, &d2, 0);
    adze_grad(g, d2, &x, 1, &d3, 0);
    const double want[4] = {8, 12, 12, 6};
    const adze_val vals[4] = {y, d1, d2, d3};
    int wrong = 0;
    for (int i = 0; i < 4; i++) {
        double got = eval(g, vals[i], at);
        printf("derivative %d of x^3 at 2: %g\n", i, got);
        wrong += !(fabs(got - want[i]) < 1e-12);
    }
    adze_tensor_free(&at);
    adze_graph_free(g);
    adze_ctx_free(ctx);
    return wrong;
}
