/* Every op of the table: its first derivatives. vjp against signed five-point differences in f64, in a random direction and element by element on
 * small cases; jvp and vjp against each other by transposition. */
#include "optest.h"

#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { SMALL = 12 };

typedef struct grad { /* y = f(x), gx = J'u, ty = Jv in one plan; which inputs and outputs take part is drawn */
    ot_prog p;
    bool in[ADZE_MAX_IN], out[ADZE_MAX_OUT];
    double *u[ADZE_MAX_OUT], *v[ADZE_MAX_IN];
    int nx, ny;
} grad;

static int64_t count_in(const ot_case *c, int i) {
    return adze_type_count(&c->c.in[i]);
}

static int64_t count_out(const ot_case *c, int k) {
    return adze_type_count(&c->out[k]);
}

/* Half of the cases use every floating input and output, the others a random choice: rules must do without what is not asked for. */
static void choose(ot_case *c, grad *q) {
    bool all = adze_rng_below(&c->rng, 2);
    for (int i = 0; i < c->c.nin; i++) {
        q->in[i] = ot_differentiable(c, i) && (all || adze_rng_below(&c->rng, 2));
        q->nx += q->in[i];
        q->v[i] = ot_random(&c->rng, count_in(c, i));
    }
    for (int k = 0; k < c->nout; k++) {
        q->out[k] = c->out[k].dtype == c->c.dtype && (all || adze_rng_below(&c->rng, 2));
        q->ny += q->out[k];
        q->u[k] = ot_random(&c->rng, count_out(c, k));
    }
}

static bool build(ot *t, ot_case *c, grad *q) {
    ot_prog *p = &q->p;
    adze_val x[ADZE_MAX_IN], tx[ADZE_MAX_IN], gx[ADZE_MAX_IN], y[ADZE_MAX_OUT], uy[ADZE_MAX_OUT], ty[ADZE_MAX_OUT];
    int n = 0, m = 0;
    ot_prog_begin(p, t->ctx);
    ot_prog_inputs(p, c);
    ot_prog_op(p, c);
    for (int i = 0; i < c->c.nin; i++) {
        if (q->in[i]) {
            x[n] = p->x[i];
            tx[n++] = ot_input(p, "v", i, c->c.in[i]);
        }
    }
    for (int k = 0; k < c->nout; k++) {
        if (q->out[k]) {
            y[m] = p->y[k];
            uy[m++] = ot_input(p, "u", k, c->out[k]);
        }
    }
    uint32_t flags = c->seed % 2 ? 0 : ADZE_DIFFERENTIABLE;
    (void)adze_vjp(p->g, y, uy, m, x, n, gx, flags);
    (void)adze_jvp(p->g, y, m, x, tx, n, ty, flags);
    n = m = 0;
    for (int i = 0; i < c->c.nin; i++) {
        if (q->in[i]) {
            ot_output(p, "gx", i, gx[n++]);
        }
    }
    for (int k = 0; k < c->nout; k++) {
        if (q->out[k]) {
            ot_output(p, "y", k, y[m]);
            ot_output(p, "ty", k, ty[m++]);
        }
    }
    return ot_check(t, c, ot_prog_compile(p, NULL, "ref"), "the gradient does not compile: %s", adze_errmsg(t->ctx));
}

static void set_point(ot_case *c, grad *q, double h, double *const *v) { /* x + h v */
    for (int i = 0; i < c->c.nin; i++) {
        int64_t n = count_in(c, i);
        double *x = ot_alloc(n);
        for (int64_t e = 0; e < n; e++) {
            x[e] = c->x[i][e] + (q->in[i] && v[i] ? h * v[i][e] : 0);
        }
        ot_set(&q->p, "x", i, x);
        free(x);
    }
}

/* d/dh <u, f(x + h v)> at h = 0, five-point. */
static double slope(ot_case *c, grad *q, double *const *v, double h) {
    static const double at[4] = {-2, -1, 1, 2}, weight[4] = {1, -8, 8, -1};
    double sum = 0;
    for (int j = 0; j < 4; j++) {
        set_point(c, q, at[j] * h, v);
        if (!ot_prog_run(&q->p)) {
            return (double)NAN;
        }
        for (int k = 0; k < c->nout; k++) {
            double *y = q->out[k] ? ot_get(&q->p, "y", k) : NULL;
            sum += y ? weight[j] * ot_dot(q->u[k], y, count_out(c, k)) : 0;
            free(y);
        }
    }
    return sum / (12 * h);
}

/* One of three steps must agree: curved functions want a small one, sums of large terms a large one. A wrong derivative fits none. */
static void compare_slope(ot *t, ot_case *c, grad *q, double *const *v, double want, const char *what, int i, int64_t e) {
    static const double steps[3] = {1e-3, 2.5e-4, 4e-3};
    double d = 0, first = 0;
    for (int j = 0; j < 3; j++) {
        d = slope(c, q, v, steps[j]);
        first = j == 0 ? d : first;
        if (fabs(d - want) <= 1e-7 * fmax(1, fabs(want))) {
            break;
        }
    }
    ot_check(t, c, fabs(d - want) <= 1e-7 * fmax(1, fabs(want)), "%s: differences %.12g, vjp %.12g (input %d element %lld)", what, first, want, i,
             (long long)e);
}

static void check_elements(ot *t, ot_case *c, grad *q, double *const *gx) {
    for (int i = 0; i < c->c.nin; i++) {
        for (int64_t e = 0; q->in[i] && e < count_in(c, i); e++) {
            double *v[ADZE_MAX_IN] = {0};
            v[i] = ot_alloc(count_in(c, i));
            v[i][e] = 1;
            compare_slope(t, c, q, v, gx[i][e], "element", i, e);
            free(v[i]);
        }
    }
}

static void check_derivatives(ot *t, ot_case *c, grad *q) {
    double *gx[ADZE_MAX_IN] = {0}, along = 0, ujv = 0, bound = 0;
    int64_t total = 0;
    ot_set_case(&q->p, c);
    for (int i = 0; i < c->c.nin; i++) {
        if (q->in[i]) {
            ot_set(&q->p, "v", i, q->v[i]);
        }
    }
    for (int k = 0; k < c->nout; k++) {
        if (q->out[k]) {
            ot_set(&q->p, "u", k, q->u[k]);
        }
    }
    if (!ot_check(t, c, ot_prog_run(&q->p), "the gradient does not run: %s", adze_errmsg(t->ctx))) {
        return;
    }
    bool all = true;
    for (int i = 0; i < c->c.nin; i++) {
        if (q->in[i]) {
            gx[i] = ot_get(&q->p, "gx", i);
            all = all && gx[i];
            along += gx[i] ? ot_dot(gx[i], q->v[i], count_in(c, i)) : 0;
            bound += gx[i] ? ot_norm(gx[i], count_in(c, i)) * ot_norm(q->v[i], count_in(c, i)) : 0;
            total += count_in(c, i);
        }
    }
    for (int k = 0; k < c->nout; k++) {
        double *ty = q->out[k] ? ot_get(&q->p, "ty", k) : NULL;
        ujv += ty ? ot_dot(ty, q->u[k], count_out(c, k)) : 0;
        bound += ty ? ot_norm(ty, count_out(c, k)) * ot_norm(q->u[k], count_out(c, k)) : 0;
        all = all && (ty || !q->out[k]);
        free(ty);
    }
    if (ot_check(t, c, all, "a derivative cannot be read: %s", adze_errmsg(t->ctx))) {
        ot_check(t, c, fabs(ujv - along) <= 1e-10 * bound, "transposition: <u,Jv> = %.15g, <J'u,v> = %.15g", ujv, along);
        compare_slope(t, c, q, q->v, along, "direction", -1, -1);
        if (total <= SMALL) {
            check_elements(t, c, q, gx);
        }
    }
    for (int i = 0; i < c->c.nin; i++) {
        free(gx[i]);
    }
}

/* Updates change slots and have no derivative; everything else is checked, ops with NOGRAD against zero. */
static void check_case(ot *t, ot_case *c) {
    if (c->op->flags & ADZE_OP_UPDATE) {
        return;
    }
    grad *q = calloc(1, sizeof *q);
    assert_non_null(q);
    choose(c, q);
    if (q->nx > 0 && q->ny > 0) {
        if (build(t, c, q)) {
            check_derivatives(t, c, q);
        }
        ot_prog_free(&q->p);
    }
    for (int i = 0; i < ADZE_MAX_IN; i++) {
        free(q->v[i]);
    }
    for (int k = 0; k < ADZE_MAX_OUT; k++) {
        free(q->u[k]);
    }
    free(q);
}

static void every_vjp_equals_differences_and_the_transposed_jvp(void **state) {
    (void)state;
    assert_int_equal(ot_run("test_ops_grad", ADZE_F64, check_case, NULL, NULL), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_vjp_equals_differences_and_the_transposed_jvp)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
