/* Every op with an expansion: the expansion computes the same, does not end in the op itself, and the derivative through it (ADZE_DIFFERENTIABLE)
 * equals the fast one. */
#include "optest.h"

#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void expand(ot_prog *p, ot_case *c, adze_val *out) {
    adze_adj a = {
        .g = p->g, .op = c->op, .name = "case", .attrs = c->op->attrs ? c->attrs.bytes : NULL, .nin = c->c.nin, .nout = c->nout, .x = p->x, .r = out};
    c->op->expand(&a);
}

static bool build(ot *t, ot_case *c, ot_prog *p, int *nx, int *ny) {
    adze_val x[ADZE_MAX_IN], y[ADZE_MAX_OUT], u[ADZE_MAX_OUT], e[ADZE_MAX_OUT] = {{0}}, fast[ADZE_MAX_IN], slow[ADZE_MAX_IN];
    ot_prog_begin(p, t->ctx);
    ot_prog_inputs(p, c);
    ot_prog_op(p, c);
    expand(p, c, e);
    int n = 0, m = 0;
    for (int k = 0; k < c->nout; k++) {
        adze_type type = adze_val_type(p->g, e[k]);
        if (!ot_check(t, c, e[k].id != 0 && adze_type_equal(&type, &c->out[k]), "the expansion of output %d has another type: %s", k,
                      adze_errmsg(t->ctx))) {
            return false;
        }
        ot_output(p, "y", k, p->y[k]);
        ot_output(p, "e", k, e[k]);
        if (c->out[k].dtype == c->c.dtype) {
            y[m] = p->y[k];
            u[m++] = ot_input(p, "u", k, c->out[k]);
        }
    }
    for (int i = 0; i < c->c.nin; i++) {
        if (ot_differentiable(c, i)) {
            x[n++] = p->x[i];
        }
    }
    if (n > 0 && m > 0) {
        (void)adze_vjp(p->g, y, u, m, x, n, fast, 0);
        (void)adze_vjp(p->g, y, u, m, x, n, slow, ADZE_DIFFERENTIABLE);
        for (int i = 0; i < n; i++) {
            ot_output(p, "fast", i, fast[i]);
            ot_output(p, "slow", i, slow[i]);
        }
    }
    *nx = n;
    *ny = m;
    return ot_check(t, c, ot_prog_compile(p, NULL, "ref"), "the expansion does not compile: %s", adze_errmsg(t->ctx));
}

static void compare(ot *t, ot_case *c, ot_prog *p, const char *a, const char *b, int i, int64_t n) {
    double *va = ot_get(p, a, i), *vb = ot_get(p, b, i);
    if (ot_check(t, c, va && vb, "%s%d or %s%d cannot be read", a, i, b, i)) {
        double far = ot_distance(va, vb, n), size = ot_norm(vb, n);
        ot_check(t, c, far <= 1e-10 * fmax(size, 1e-3), "%s%d and %s%d differ by %.3g of %.3g", a, i, b, i, far, size);
    }
    free(va);
    free(vb);
}

static void check_case(ot *t, ot_case *c) {
    if (!c->op->expand) {
        return;
    }
    ot_prog p;
    int nx = 0, ny = 0;
    if (build(t, c, &p, &nx, &ny)) {
        ot_set_case(&p, c);
        for (int k = 0; k < c->nout; k++) {
            double *u = ot_random(&c->rng, adze_type_count(&c->out[k]));
            ot_set(&p, "u", k, u);
            free(u);
        }
        if (ot_check(t, c, ot_prog_run(&p), "the expansion does not run: %s", adze_errmsg(t->ctx))) {
            for (int k = 0; k < c->nout; k++) {
                compare(t, c, &p, "e", "y", k, adze_type_count(&c->out[k]));
            }
            for (int i = 0, n = 0; ny > 0 && i < c->c.nin; i++) {
                if (ot_differentiable(c, i)) {
                    compare(t, c, &p, "slow", "fast", n++, adze_type_count(&c->c.in[i]));
                }
            }
        }
    }
    ot_prog_free(&p);
}

static void every_expansion_equals_its_op(void **state) {
    (void)state;
    assert_int_equal(ot_run("test_ops_expand", ADZE_F64, check_case, NULL, NULL), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_expansion_equals_its_op)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
