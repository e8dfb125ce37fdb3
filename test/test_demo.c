/* Demonstrations: what each one shows beside the formula that it is held against. */
#include "adze/diag.h"
#include "adze/io.h"
#include "base/base.h"
#include "base/tree.h"
#include "faulty.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

typedef struct shown {
    adze_ctx *ctx;
    adze_demo_opts o;
    adze_findings f;
} shown;

static int begin(void **state) {
    static shown d;
    d = (shown){.ctx = NULL};
    *state = &d;
    return adze_ctx_new(NULL, &d.ctx) == ADZE_OK && adze_fields_default(adze_demo_fields(), &d.o) == ADZE_OK ? 0 : 1;
}

static int end(void **state) {
    shown *d = *state;
    adze_findings_free(&d->f);
    adze_ctx_free(d->ctx);
    return 0;
}

static void must(adze_ctx *ctx, int status) {
    if (status != ADZE_OK) {
        fail_msg("%s", adze_errmsg(ctx));
    }
}

static void show(shown *d, const char *name) {
    adze_findings_free(&d->f);
    must(d->ctx, adze_demo_run(d->ctx, name, &d->o, &d->f));
}

static double key(const shown *d, const char *name) {
    const double v = adze_findings_value(&d->f, name);
    if (isnan(v)) {
        fail_msg("there is no number '%s'", name);
    }
    return v;
}

static void near(double got, double want, double relative) {
    if (!(fabs(got - want) <= relative * fabs(want))) {
        fail_msg("%.17g is not %.17g within %g", got, want, relative);
    }
}

static void descent_does_not_see_the_axes_and_adam_does(void **state) {
    shown *d = *state;
    d->o.kappa = 1e4;
    d->o.steps = 20000;
    snprintf(d->o.optimizers, sizeof d->o.optimizers, "momentum,adam");
    show(d, "valley");
    assert_true(key(d, "momentum_difference") < 1e-9);
    near(key(d, "momentum_steps"), key(d, "momentum_steps_rotated"), 1e-3);
    assert_true(key(d, "adam_difference") > 0.1);
    assert_true(key(d, "adam_steps_rotated") > 5 * key(d, "adam_steps"));
    near(key(d, "momentum_steps_rotated_tuned"), key(d, "momentum_steps"), 1e-3);
    assert_true(key(d, "adam_steps_rotated_tuned") <= key(d, "adam_steps_rotated") && key(d, "adam_steps_rotated_tuned") > key(d, "adam_steps"));
}

/* Rules of matrices see a vector as one column; adagrad is the diagonal of shampoo. */
static void shampoo_and_soap_do_not_see_the_axes(void **state) {
    shown *d = *state;
    d->o.kappa = 1e3;
    snprintf(d->o.optimizers, sizeof d->o.optimizers, "shampoo,soap:beta1=0.9:beta2=0.99,shampoo:precond_most=1:eps=0,adagrad:eps=0");
    show(d, "valley");
    assert_true(key(d, "shampoo_difference") < 1e-6 && key(d, "soap_beta1_0_9_beta2_0_99_difference") < 1e-6);
    near(key(d, "shampoo_steps_rotated"), key(d, "shampoo_steps"), 0.02);
    near(key(d, "soap_beta1_0_9_beta2_0_99_steps_rotated"), key(d, "soap_beta1_0_9_beta2_0_99_steps"), 0.02);
    assert_true(key(d, "adagrad_eps_0_difference") > 0.1);
    near(key(d, "shampoo_precond_most_1_eps_0_difference"), key(d, "adagrad_eps_0_difference"), 1e-6);
}

/* Where one way does not arrive, the two are compared as far as both go: not with what another optimiser has left in memory. */
static void ways_are_compared_as_far_as_both_go(void **state) {
    shown *d = *state;
    d->o.kappa = 1e4;
    d->o.steps = 1500;
    snprintf(d->o.optimizers, sizeof d->o.optimizers, "adam");
    show(d, "valley");
    const double alone = key(d, "adam_difference");
    assert_true(key(d, "adam_steps") < 1000 && isnan(adze_findings_value(&d->f, "adam_steps_rotated")));
    snprintf(d->o.optimizers, sizeof d->o.optimizers, "sgd:lr=2.01e-4,adam");
    show(d, "valley");
    near(key(d, "adam_difference"), alone, 0);
}

static void rates_are_tuned_where_none_is_given(void **state) {
    shown *d = *state;
    d->o.kappa = 1e4;
    d->o.steps = 20000;
    snprintf(d->o.optimizers, sizeof d->o.optimizers, "sgd:lr=1e-5,sgd:lr=1e-4,adam");
    show(d, "valley");
    near(adze_findings_cell(&d->f, "sgd:lr=1e-5", "rate"), 1e-5, 0);
    near(adze_findings_cell(&d->f, "sgd:lr=1e-4", "rate"), 1e-4, 0);
    assert_true(key(d, "adam_steps_rotated_tuned") < key(d, "adam_steps_rotated"));
}

static void adagrad_does_not_see_the_condition(void **state) {
    shown *d = *state;
    d->o.lr = 0.5;
    d->o.rotate = 0;
    double steps[2];
    snprintf(d->o.optimizers, sizeof d->o.optimizers, "adagrad:eps=0");
    for (int i = 0; i < 2; i++) {
        d->o.kappa = i ? 1e4 : 1;
        show(d, "valley");
        steps[i] = key(d, "adagrad_eps_0_steps");
    }
    near(steps[1], steps[0], 0);
}

static void a_saddle_holds_descent_as_the_logarithm_says(void **state) {
    shown *d = *state;
    show(d, "saddle");
    near(key(d, "sgd_steps"), key(d, "sgd_predicted"), 0);
    near(key(d, "sgd_per_decade"), key(d, "sgd_predicted_per_decade"), 0.01);
    assert_true(key(d, "momentum_steps") < key(d, "sgd_steps") / 2);
}

static void clipping_keeps_a_step_at_the_cliff(void **state) {
    shown *d = *state;
    show(d, "cliff");
    assert_true(key(d, "jump_at_wall") > 1e3);
    assert_true(key(d, "jump_unclipped") > 10 * key(d, "jump_clipped"));
    near(key(d, "longest_clipped"), 0.1, 1e-9); /* at rate 1 */
    assert_true(key(d, "rates_that_work_clipped") > key(d, "rates_that_work_unclipped"));
}

static void rates_are_those_of_the_formulas(void **state) {
    shown *d = *state;
    show(d, "rates");
    assert_true(key(d, "descent_error") < 0.01);
    assert_true(key(d, "heavy_ball_error") < 0.01);
}

static void momentum_goes_ten_times_as_far(void **state) {
    shown *d = *state;
    show(d, "plateau");
    near(key(d, "terminal_ratio"), 10, 1e-9);
    near(key(d, "displacement_ratio"), 10, 0.01);
}

static void a_ball_leaves_a_well_if_and_only_if_momentum_is_large(void **state) {
    shown *d = *state;
    show(d, "double-well");
    near(key(d, "monotone"), 1, 0);
    assert_true(key(d, "difference_most") < 0.01); /* from the equation of motion; it falls with the rate: */
    near(adze_findings_cell(&d->f, "rate 0.01", "difference") / adze_findings_cell(&d->f, "rate 0.001", "difference"), 10, 0.3);
}

static void heavy_ball_is_an_oscillator(void **state) {
    shown *d = *state;
    show(d, "oscillator");
    near(key(d, "order"), 1, 0.01);
    assert_true(key(d, "error") < 0.01);
}

static void stopping_early_is_much_like_decay(void **state) {
    shown *d = *state;
    show(d, "early-stopping");
    assert_true(key(d, "formula_error") < 1e-12);
    assert_true(key(d, "difference_most") < 0.2);
    assert_true(adze_findings_cell(&d->f, "lambda 0.005", "difference") < 1e-4);
}

static void priors_leave_what_their_formulas_say(void **state) {
    shown *d = *state;
    for (int i = 0; i < 2; i++) {
        d->o.kappa = i ? 1000 : 20;
        d->o.rotate = i ? 30 : 45;
        show(d, "ridge");
        assert_true(key(d, "formula_error") < 1e-8);
    }
    near(adze_findings_cell(&d->f, "alpha 1", "flat"), 0.5, 1e-8);
}

static void each_has_something_to_draw(void **state) {
    shown *d = *state;
    adze_about a;
    d->o.steps = 20;
    for (int i = 0; adze_demo_at(i, &a) == ADZE_OK; i++) {
        show(d, a.name);
        const bool named = d->f.side > 0 || (d->f.x_label != NULL && d->f.y_label != NULL); /* a surface has its own axes */
        if (d->f.ntracks == 0 || d->f.title[0] == 0 || !named) {
            fail_msg("%s: %d curves, '%s', %s, %s", a.name, d->f.ntracks, d->f.title, d->f.x_label, d->f.y_label);
        }
    }
}

static void adaptive_methods_miss_what_descent_finds(void **state) {
    shown *d = *state;
    show(d, "wilson");
    near(key(d, "sgd_test_error"), 0, 0);
    near(key(d, "momentum_test_error"), 0, 0);
    static const char *const adaptive[] = {"adam", "adagrad", "rmsprop"};
    for (size_t i = 0; i < ADZE_COUNT(adaptive); i++) {
        char name[64];
        snprintf(name, sizeof name, "%s_train_error", adaptive[i]);
        near(key(d, name), 0, 0);
        snprintf(name, sizeof name, "%s_test_error", adaptive[i]);
        near(key(d, name), 0.3, 1e-12); /* every example of the rarer class */
    }
}

static void adam_goes_the_wrong_way_and_amsgrad_does_not(void **state) {
    shown *d = *state;
    show(d, "reddi");
    assert_true(key(d, "adam_end") > 0.9);
    assert_true(key(d, "amsgrad_end") < -0.9);
}

static void random_data_has_the_condition_of_the_law(void **state) {
    shown *d = *state;
    show(d, "wishart");
    assert_true(key(d, "error_most") < 0.05);
}

static void copies_change_no_gradient(void **state) {
    shown *d = *state;
    show(d, "duplicate");
    assert_true(key(d, "difference_most") < 1e-12);
    assert_true(adze_findings_cell(&d->f, "half twice", "difference") > 0.01);
}

static void gradients_through_time_are_powers(void **state) {
    shown *d = *state;
    static const double radii[] = {0.9, 1.1};
    for (int i = 0; i < 2; i++) {
        d->o.rho = radii[i];
        show(d, "recurrence");
        assert_true(key(d, "formula_error") < 1e-12);
        near(key(d, "linear_end"), pow(radii[i], 30), 1e-12);
        assert_true(key(d, "tanh_end") < key(d, "linear_end"));
    }
}

/* Sequences of 10 symbols are learnt either way, so that at 20 it is not the net that is at fault. */
static void clipping_lets_a_net_learn_the_order_of_symbols(void **state) {
    shown *d = *state;
    d->o.steps = 1500;
    d->o.length = 10;
    show(d, "order");
    near(key(d, "solved_unclipped"), 1, 0);
    near(key(d, "solved_clipped"), 1, 0);
    d->o.length = 20;
    show(d, "order");
    assert_true(key(d, "solved_unclipped") < 0.5 && key(d, "solved_clipped") > 0.5);
    assert_true(key(d, "steepest_clipped") > 1); /* something was clipped */
    assert_int_equal(d->f.ntracks, 2);
    d->o.length = 9;
    adze_findings_free(&d->f);
    assert_int_equal(adze_demo_run(d->ctx, "order", &d->o, &d->f), ADZE_EARG);
    assert_non_null(strstr(adze_errmsg(d->ctx), "10 to 1000 symbols, not 9"));
}

static void clipping_by_norm_keeps_the_direction(void **state) {
    shown *d = *state;
    show(d, "clip");
    assert_true(key(d, "norm_angle") < 1e-6);
    near(key(d, "norm_after"), 0.1, 1e-12);
    assert_true(key(d, "value_angle") > 30);
    near(key(d, "value_most"), 0.1, 1e-12);
    near(key(d, "small_kept"), 1, 0); /* what is below the threshold stays as it is */
}

static void what_cannot_be_is_refused(void **state) {
    shown *d = *state;
    static const struct {
        const char *demo, *optimizers, *said;
    } cases[] = {{"vally", "", "did you mean 'valley'"},
                 {"valley", "adm", "did you mean"},
                 {"valley", "adam:beta3=1", "no setting 'beta3'"},
                 {"valley", "adam:beta2", "has no value"},
                 {"valley", "adam:beta2=2", "beta2"},
                 {"valley", "sgd:sam=1", "'sam' does nothing"},
                 {"saddle", "adam:lookahead_k=5", "'lookahead_k' does nothing"},
                 {"valley", "sgd:schedule=step", "'schedule' does nothing"}};
    for (size_t i = 0; i < ADZE_COUNT(cases); i++) {
        snprintf(d->o.optimizers, sizeof d->o.optimizers, "%s", cases[i].optimizers);
        adze_findings_free(&d->f);
        assert_int_equal(adze_demo_run(d->ctx, cases[i].demo, &d->o, &d->f), ADZE_EARG);
        if (strstr(adze_errmsg(d->ctx), cases[i].said) == NULL) {
            fail_msg("%s", adze_errmsg(d->ctx));
        }
    }
}

static void pictures_and_json_are_made(void **state) {
    shown *d = *state;
    static const char *const names[] = {"saddle", "plateau"};
    char dir[256], path[300], *json;
    faulty_folder(dir, sizeof dir);
    snprintf(path, sizeof path, "%s/demo.png", dir);
    for (int i = 0; i < 2; i++) {
        adze_tree *tree;
        adze_tensor image;
        adze_arena arena = {.ctx = d->ctx};
        show(d, names[i]);
        must(d->ctx, adze_findings_plot(d->ctx, path, &d->f));
        must(d->ctx, adze_png_read(d->ctx, path, &image));
        assert_int_equal(image.dims[0], i == 0 ? 1120 : 640); /* surfaces are taller */
        adze_tensor_free(&image);
        must(d->ctx, adze_findings_json(&d->f, &json));
        must(d->ctx, adze_json_parse(&arena, json, strlen(json), "findings", &tree));
        adze_arena_free(&arena);
        adze_text_free(d->ctx, json);
    }
    const adze_findings none = {.ctx = d->ctx};
    assert_int_equal(adze_findings_plot(d->ctx, path, &none), ADZE_EARG);
    faulty_folder_drop(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(descent_does_not_see_the_axes_and_adam_does, begin, end),
        cmocka_unit_test_setup_teardown(shampoo_and_soap_do_not_see_the_axes, begin, end),
        cmocka_unit_test_setup_teardown(ways_are_compared_as_far_as_both_go, begin, end),
        cmocka_unit_test_setup_teardown(rates_are_tuned_where_none_is_given, begin, end),
        cmocka_unit_test_setup_teardown(adagrad_does_not_see_the_condition, begin, end),
        cmocka_unit_test_setup_teardown(a_saddle_holds_descent_as_the_logarithm_says, begin, end),
        cmocka_unit_test_setup_teardown(clipping_keeps_a_step_at_the_cliff, begin, end),
        cmocka_unit_test_setup_teardown(rates_are_those_of_the_formulas, begin, end),
        cmocka_unit_test_setup_teardown(momentum_goes_ten_times_as_far, begin, end),
        cmocka_unit_test_setup_teardown(a_ball_leaves_a_well_if_and_only_if_momentum_is_large, begin, end),
        cmocka_unit_test_setup_teardown(heavy_ball_is_an_oscillator, begin, end),
        cmocka_unit_test_setup_teardown(stopping_early_is_much_like_decay, begin, end),
        cmocka_unit_test_setup_teardown(priors_leave_what_their_formulas_say, begin, end),
        cmocka_unit_test_setup_teardown(each_has_something_to_draw, begin, end),
        cmocka_unit_test_setup_teardown(adaptive_methods_miss_what_descent_finds, begin, end),
        cmocka_unit_test_setup_teardown(adam_goes_the_wrong_way_and_amsgrad_does_not, begin, end),
        cmocka_unit_test_setup_teardown(random_data_has_the_condition_of_the_law, begin, end),
        cmocka_unit_test_setup_teardown(copies_change_no_gradient, begin, end),
        cmocka_unit_test_setup_teardown(gradients_through_time_are_powers, begin, end),
        cmocka_unit_test_setup_teardown(clipping_lets_a_net_learn_the_order_of_symbols, begin, end),
        cmocka_unit_test_setup_teardown(clipping_by_norm_keeps_the_direction, begin, end),
        cmocka_unit_test_setup_teardown(what_cannot_be_is_refused, begin, end),
        cmocka_unit_test_setup_teardown(pictures_and_json_are_made, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
