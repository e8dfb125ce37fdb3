/* Every op of the table: its second derivatives two ways. The gradient g(x) of <u, f(x)> is differentiated forward (jvp of grad) and backward (grad
 * of <grad, v>); both must agree with each other and with five-point differences of the gradient. */
#include "optest.h"

#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

typedef struct second {
    ot_prog p;
    int in[ADZE_MAX_IN], nx; /* inputs that are differentiated */
    double *v[ADZE_MAX_IN];
} second;

static int64_t count(const ot_case *c, const second *q, int j) {
    return adze_type_count(&c->c.in[q->in[j]]);
}

static int add_cotangents(ot_case *c, ot_prog *p, adze_val *y, adze_val *u) {
    int n = 0;
    for (int k = 0; k < c->nout; k++) {
        if (c->out[k].dtype == c->c.dtype) {
            y[n] = p->y[k];
            u[n++] = ot_input(p, "u", k, c->out[k]);
        }
    }
    return n;
}

static bool build(ot *t, ot_case *c, second *q) {
    ot_prog *p = &q->p;
    adze_val x[ADZE_MAX_IN], v[ADZE_MAX_IN], gx[ADZE_MAX_IN], forward[ADZE_MAX_IN], reverse[ADZE_MAX_IN], y[ADZE_MAX_OUT], u[ADZE_MAX_OUT];
    ot_prog_begin(p, t->ctx);
    ot_prog_inputs(p, c);
    ot_prog_op(p, c);
    int n = q->nx, m = add_cotangents(c, p, y, u);
    for (int j = 0; j < n; j++) {
        x[j] = p->x[q->in[j]];
        v[j] = ot_input(p, "v", j, c->c.in[q->in[j]]);
    }
    uint32_t flags = c->seed % 2 ? 0 : ADZE_DIFFERENTIABLE;
    (void)adze_vjp(p->g, y, u, m, x, n, gx, flags);
    (void)adze_jvp(p->g, gx, n, x, v, n, forward, 0);
    (void)adze_vjp(p->g, gx, v, n, x, n, reverse, 0);
    for (int j = 0; j < n; j++) {
        ot_output(p, "gx", j, gx[j]);
        ot_output(p, "f", j, forward[j]);
        ot_output(p, "r", j, reverse[j]);
    }
    return ot_check(t, c, ot_prog_compile(p, NULL, "ref"), "the second derivative does not compile: %s", adze_errmsg(t->ctx));
}

/* |differences of the gradient along v - want| over all inputs; the size of want in *size. */
static double difference_error(ot_case *c, second *q, double *const *want, double h, double *size) {
    static const double at[4] = {-2, -1, 1, 2}, weight[4] = {1, -8, 8, -1};
    double *d[ADZE_MAX_IN] = {0}, error = 0, norm = 0;
    for (int j = 0; j < q->nx; j++) {
        d[j] = ot_alloc(count(c, q, j));
    }
    for (int s = 0; s < 4; s++) {
        for (int j = 0; j < q->nx; j++) {
            double *x = ot_alloc(count(c, q, j));
            for (int64_t e = 0; e < count(c, q, j); e++) {
                x[e] = c->x[q->in[j]][e] + at[s] * h * q->v[j][e];
            }
            ot_set(&q->p, "x", q->in[j], x);
            free(x);
        }
        bool ok = ot_prog_run(&q->p);
        for (int j = 0; j < q->nx; j++) {
            double *g = ok ? ot_get(&q->p, "gx", j) : NULL;
            for (int64_t e = 0; e < count(c, q, j); e++) {
                d[j][e] += weight[s] * (g ? g[e] : (double)NAN) / (12 * h);
            }
            free(g);
        }
    }
    for (int j = 0; j < q->nx; j++) {
        double far = ot_distance(d[j], want[j], count(c, q, j)), n = ot_norm(want[j], count(c, q, j));
        error += far * far;
        norm += n * n;
        free(d[j]);
    }
    *size = sqrt(norm);
    return sqrt(error);
}

static void check_values(ot *t, ot_case *c, second *q) {
    static const double steps[3] = {1e-3, 2.5e-4, 4e-3};
    double *f[ADZE_MAX_IN] = {0}, *r[ADZE_MAX_IN] = {0};
    bool all = ot_prog_run(&q->p);
    for (int j = 0; all && j < q->nx; j++) {
        f[j] = ot_get(&q->p, "f", j);
        r[j] = ot_get(&q->p, "r", j);
        all = f[j] && r[j];
    }
    if (ot_check(t, c, all, "the second derivative does not run: %s", adze_errmsg(t->ctx))) {
        double far = 0, size = 0;
        for (int j = 0; j < q->nx; j++) {
            far += ot_distance(f[j], r[j], count(c, q, j));
            size += ot_norm(f[j], count(c, q, j)) + ot_norm(r[j], count(c, q, j));
        }
        ot_check(t, c, far <= 1e-10 * size + 1e-13, "jvp of grad and grad of <grad, v> differ by %.3g of %.3g", far, size);
        double error = 0;
        for (int s = 0; s < 3; s++) {
            error = difference_error(c, q, f, steps[s], &size);
            if (error <= 1e-7 * fmax(1, size)) {
                break;
            }
        }
        ot_check(t, c, error <= 1e-7 * fmax(1, size), "differences of the gradient are %.3g away from H v of size %.3g", error, size);
    }
    for (int j = 0; j < q->nx; j++) {
        free(f[j]);
        free(r[j]);
    }
}

static void check_case(ot *t, ot_case *c) {
    if (c->op->flags & ADZE_OP_UPDATE) {
        return;
    }
    bool floating = false;
    for (int k = 0; k < c->nout; k++) {
        floating = floating || c->out[k].dtype == c->c.dtype;
    }
    second *q = calloc(1, sizeof *q);
    assert_non_null(q);
    for (int i = 0; i < c->c.nin; i++) {
        if (ot_differentiable(c, i)) {
            q->v[q->nx] = ot_random(&c->rng, adze_type_count(&c->c.in[i]));
            q->in[q->nx++] = i;
        }
    }
    if (floating && q->nx > 0) {
        if (build(t, c, q)) {
            ot_set_case(&q->p, c);
            for (int j = 0; j < q->nx; j++) {
                ot_set(&q->p, "v", j, q->v[j]);
            }
            for (int k = 0; k < c->nout; k++) {
                double *u = ot_random(&c->rng, adze_type_count(&c->out[k]));
                ot_set(&q->p, "u", k, u);
                free(u);
            }
            check_values(t, c, q);
        }
        ot_prog_free(&q->p);
    }
    for (int j = 0; j < q->nx; j++) {
        free(q->v[j]);
    }
    free(q);
}

static void second_derivatives_agree_two_ways_and_with_differences(void **state) {
    (void)state;
    assert_int_equal(ot_run("test_ops_second", ADZE_F64, check_case, NULL, NULL), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(second_derivatives_agree_two_ways_and_with_differences)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
