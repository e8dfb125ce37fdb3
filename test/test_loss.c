/* Losses: each agrees with recorded values and gradients, also where outputs are huge; none is ever NaN; the table and the option name the same. */
#include "adze/ops.h"
#include "base/base.h"
#include "train/options.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* clang-format off */
#include "reference/losses.inc"
/* clang-format on */

typedef struct run {
    adze_ctx *ctx;
    adze_train_opts o;
    adze_dtype d;
    double loss[LN], grad[LN * LC];
} run;

static void must(const run *r, int st) {
    if (st != ADZE_OK) {
        fail_msg("%s: %s", adze_status_name(st), adze_errmsg(r->ctx));
    }
}

static void open_run(run *r, const char *loss, adze_dtype d) {
    *r = (run){.d = d};
    assert_int_equal(adze_ctx_new(NULL, &r->ctx), ADZE_OK);
    adze_fields_default(adze_train_fields(), &r->o);
    must(r, adze_field_parse(r->ctx, adze_field_find(adze_train_fields(), "loss"), &r->o, loss, "loss"));
    r->o.huber_delta = DELTA;
    r->o.focal_gamma = GAMMA;
}

static void fill(adze_session *s, const char *name, const double *v, int64_t n) {
    adze_tensor t;
    assert_int_equal(adze_session_input(s, name, &t), ADZE_OK);
    for (int64_t i = 0; i < n; i++) {
        adze_tensor_set(&t, i, v[i]);
    }
}

static void take(adze_session *s, const char *name, double *v, int64_t n) {
    adze_tensor t;
    assert_int_equal(adze_session_output(s, name, &t), ADZE_OK);
    for (int64_t i = 0; i < n; i++) {
        v[i] = adze_tensor_get(&t, i);
    }
}

static void compute(run *r, const double *y, const double *p, int targets) {
    const int64_t dims[2] = {LN, LC}, tdims[2] = {LN, targets};
    adze_graph *g;
    adze_plan *plan;
    adze_session *s;
    adze_val loss, grad;
    must(r, adze_graph_new(r->ctx, &g));
    adze_val out = adze_input(g, "y", adze_type_make(r->d, 2, dims)), target = adze_input(g, "p", adze_type_make(r->d, 2, tdims));
    must(r, adze_loss_build(g, &r->o, out, target, &loss));
    must(r, adze_grad(g, adze_sum(g, loss, NULL, 0, false), &out, 1, &grad, 0));
    must(r, adze_output(g, "loss", loss));
    must(r, adze_output(g, "grad", grad));
    must(r, adze_compile(g, NULL, &plan));
    must(r, adze_session_new(r->ctx, plan, NULL, "", &s));
    fill(s, "y", y, LN * LC);
    fill(s, "p", p, LN * targets);
    must(r, adze_session_run(s));
    take(s, "loss", r->loss, LN);
    take(s, "grad", r->grad, LN * LC);
    adze_session_free(s);
    adze_plan_free(plan);
    adze_graph_free(g);
}

static void close_to(const char *loss, const char *what, adze_dtype d, const double *got, const double *want, int n, double scale) {
    const double eps = d == ADZE_F64 ? 1e-12 : 2e-6;
    for (int i = 0; i < n; i++) {
        if (!(fabs(got[i] - want[i]) <= eps * (fabs(want[i]) + scale))) {
            fail_msg("%s in %s: %s[%d] is %.17g, not %.17g", loss, adze_dtype_name(d), what, i, got[i], want[i]);
        }
    }
}

static void losses_and_gradients_agree_with_the_record(void **state) {
    (void)state;
    for (int d = 0; d < 2; d++) {
        for (size_t k = 0; k < ADZE_COUNT(LOSSES); k++) {
            run r;
            open_run(&r, LOSSES[k].loss, d ? ADZE_F64 : ADZE_F32);
            compute(&r, LOSSES[k].y, LOSSES[k].p, LOSSES[k].targets);
            close_to(LOSSES[k].loss, "loss", r.d, r.loss, LOSSES[k].want, LN, 4);
            close_to(LOSSES[k].loss, "gradient", r.d, r.grad, LOSSES[k].grad, LN * LC, 4);
            adze_ctx_free(r.ctx);
        }
    }
}

static void the_record_holds_every_loss(void **state) {
    (void)state;
    int n = 0;
    for (; adze_loss_at(n) != NULL; n++) {
        assert_non_null(adze_loss_names[n]);
        assert_true(strlen(adze_loss_at(n)->formula) > 0 && strlen(adze_loss_at(n)->targets) > 0);
        bool there = n == ADZE_LOSS_AUTO;
        for (size_t k = 0; k < ADZE_COUNT(LOSSES); k++) {
            there = there || strcmp(LOSSES[k].loss, adze_loss_names[n]) == 0;
        }
        if (!there) {
            fail_msg("no record of loss %s", adze_loss_names[n]);
        }
    }
    assert_null(adze_loss_names[n]);
    assert_int_equal(n, ADZE_COUNT(LOSSES) + 1);
    assert_null(adze_loss_at(-1));
}

/* Every combination of -1e4, 0 and 1e4 in four outputs; the right class is each in turn. */
static void huge_outputs_give_no_nan(void **state) {
    (void)state;
    for (size_t k = 0; k < ADZE_COUNT(LOSSES); k++) {
        run r;
        open_run(&r, LOSSES[k].loss, ADZE_F32);
        for (int set = 0; set < 81; set += LN) {
            double y[LN * LC], p[LN * LC] = {0};
            for (int i = 0; i < LN; i++) {
                for (int c = 0, code = set + i; c < LC; c++, code /= 3) {
                    y[i * LC + c] = 1e4 * (code % 3 - 1);
                }
                p[i * LOSSES[k].targets + (set + i) % LOSSES[k].targets] = 1;
            }
            compute(&r, y, p, LOSSES[k].targets);
            for (int i = 0; i < LN * LC; i++) {
                const bool over = strcmp(LOSSES[k].loss, "poisson") == 0 && y[i] > 0; /* exp(1e4) is infinite */
                if (isnan(r.grad[i]) || isnan(r.loss[i / LC]) || (!over && !isfinite(r.grad[i]))) {
                    fail_msg("%s: gradient %g, loss %g at output %g", LOSSES[k].loss, r.grad[i], r.loss[i / LC], y[i]);
                }
            }
        }
        adze_ctx_free(r.ctx);
    }
}

static void targets_of_another_shape_are_refused(void **state) {
    (void)state;
    const int64_t dims[2] = {2, 4}, tdims[2] = {2, 4};
    run r;
    open_run(&r, "gaussian", ADZE_F32);
    adze_graph *g;
    adze_val loss;
    must(&r, adze_graph_new(r.ctx, &g));
    adze_val y = adze_input(g, "y", adze_type_make(ADZE_F32, 2, dims)), p = adze_input(g, "p", adze_type_make(ADZE_F32, 2, tdims));
    assert_int_equal(adze_loss_build(g, &r.o, y, p, &loss), ADZE_ESHAPE);
    assert_non_null(strstr(adze_errmsg(r.ctx), "(N, 2 C)"));
    adze_graph_free(g);
    adze_ctx_free(r.ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_and_gradients_agree_with_the_record),
        cmocka_unit_test(the_record_holds_every_loss),
        cmocka_unit_test(huge_outputs_give_no_nan),
        cmocka_unit_test(targets_of_another_shape_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
