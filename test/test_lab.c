/* What verdicts of experiments rest on: arithmetic with names, scripts, regions, measures out of JSON and metrics, and how often an interval decides
 * wrongly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "cli/lab_expr.c"
#include "cli/lab_judge.c"

static adze_ctx *ctx;

static int make_ctx(void **state) {
    (void)state;
    return adze_ctx_new(NULL, &ctx);
}
static int free_ctx(void **state) {
    (void)state;
    adze_ctx_free(ctx);
    return 0;
}

static double eval(const char *text) {
    lab_vars v = {.rng = adze_rng_make(1, 1)};
    double out = NAN;
    assert_int_equal(lab_set(ctx, &v, "he", 2, 3), ADZE_OK);
    assert_int_equal(lab_set(ctx, &v, "he.loss", 7, 0.5), ADZE_OK);
    const int status = lab_eval(ctx, text, &v, &out);
    return status == ADZE_OK ? out : -12345;
}

static void near(double a, double b) {
    if (!(fabs(a - b) <= 1e-12 * fmax(1, fabs(b)))) {
        fail_msg("%.17g is not %.17g", a, b);
    }
}

static void arithmetic_follows_the_usual_order(void **state) {
    (void)state;
    near(eval("1 + 2 * 3 - 4 / 8"), 6.5);
    near(eval("-2 ^ 2"), -4);
    near(eval("2 ^ 3 ^ 2"), 512);
    near(eval("2^-1"), 0.5);
    near(eval("8 - 4 - 2"), 2);
    near(eval("16 / 4 / 2"), 2);
    near(eval("(1 + 2) * (3 - 5)"), -6);
    near(eval("he - he.loss"), 2.5);
    near(eval("max(he, 7) + min(1, 2) + sqrt(16) + abs(-1.5e1)"), 27);
    near(eval("(he > 2) + (he < 3) + (he <= 3) * 10"), 11);
    near(eval("log(exp(2)) + tanh(0) + floor(2.9)"), 4);
    near(eval("1e-3*1E3"), 1);
    assert_true(eval("inf - 1") > 1e300);
}

static void what_is_no_arithmetic_is_refused(void **state) {
    (void)state;
    const char *const bad[] = {"",     "1 +",       "(1",         "1)",
                               "hee",  "sqrt 2",    "sqrt(1, 2)", "min(1)",
                               "1 2",  "he he",     "1..2",       "*2",
                               "he.l", "max(1,)",   "1e",         "$",
                               "2 ^",  "he.loss.x", "1 << 2",     "((((((((((((((((((((((((((((((((((((1))))))))))))))))))))))))))))))))))))"};
    for (size_t i = 0; i < ADZE_COUNT(bad); i++) {
        if (eval(bad[i]) > -12345) {
            fail_msg("'%s' was taken", bad[i]);
        }
        assert_true(adze_errmsg(ctx)[0] != 0);
    }
    static char deep[5 * 20000 + 1];
    for (size_t i = 0; i + 1 < sizeof(deep); i += 5) {
        memcpy(deep + i, "sqrt(", 5);
    }
    assert_true(eval(deep) <= -12345);
    assert_non_null(strstr(adze_errmsg(ctx), "nested too deeply"));
}

static void scripts_assign_and_repeat(void **state) {
    (void)state;
    lab_vars v = {0};
    assert_int_equal(lab_script(ctx, "s = 0; n = 2; repeat 3 { s += t ; repeat n { s *= 2; } } s /= 4; s -= 1", &v), ADZE_OK);
    near(v.value[0], ((((1 * 4) + 2) * 4 + 3) * 4) / 4.0 - 1);
    assert_string_equal(v.name[0], "s");
    const char *const bad[] = {"x += 1",
                               "x = 1 y = 2",
                               "repeat 2 { x = 1",
                               "x = 1 }",
                               "repeat 0 { x = 1 }",
                               "= 3",
                               "x",
                               "repeat 2 x = 1",
                               "repeat 99999 { repeat 99999 { x = 1 } }",
                               "repeat 9999 { repeat 9999 { } }"};
    for (size_t i = 0; i < ADZE_COUNT(bad); i++) {
        v = (lab_vars){0};
        if (lab_script(ctx, bad[i], &v) == ADZE_OK) {
            fail_msg("'%s' was taken", bad[i]);
        }
    }
}

static bool holds(const char *region, double lo, double hi) {
    lab_region r;
    assert_int_equal(lab_region_parse(ctx, region, &r), ADZE_OK);
    return lab_region_holds(&r, lo, hi);
}

static void a_region_holds_whole_intervals_only(void **state) {
    (void)state;
    assert_true(holds("> 1", 1.1, 5));
    assert_false(holds("> 1", 1, 5));
    assert_true(holds(">= 1", 1, 5));
    assert_false(holds("< -1", -2, 0));
    assert_true(holds("<= 2 * 3", -2, 6));
    assert_true(holds("0.2 .. 0.3", 0.2, 0.3));
    assert_false(holds("0.2..0.3", 0.1, 0.25));
    assert_true(holds("outside 0.2 .. 0.3", 0.31, 9));
    assert_false(holds("outside 0.2 .. 0.3", 0.1, 9));
    assert_false(holds("> 1", NAN, NAN));
    assert_false(holds("0 .. 1", NAN, NAN));
    assert_true(holds("> 1", INFINITY, INFINITY));
    lab_region r;
    const char *const bad[] = {"", "1", "> ", "2 .. 1", "> x", "1 .. 2 3", "within 1 .. 2"};
    for (size_t i = 0; i < ADZE_COUNT(bad); i++) {
        assert_int_not_equal(lab_region_parse(ctx, bad[i], &r), ADZE_OK);
    }
}

static const char CSV[] = "epoch,step,loss,acc,val_loss,val_acc,lr,seconds\n1,10,2.5,0.1,2.4,0.2,0.1,3\n2,20,1.5,0.4,1.6,0.9,0.1,5\n"
                          "epoch,step,loss,acc,val_loss,val_acc,lr,seconds\n3,30,1.0,0.5,1.7,0.8,0.1,4\n4,40,0.1,0.99,";

static double metric_of(const char *measure) {
    double v = NAN;
    bool known = false;
    const int status = lab_csv_number(ctx, CSV, measure, &known, &v);
    return status == ADZE_OK && known ? v : -12345;
}

static void metrics_are_read_by_name(void **state) {
    (void)state;
    near(metric_of("last val_error"), 20);
    near(metric_of("best val_acc"), 0.9);
    near(metric_of("best val_error"), 10);
    near(metric_of("last train_loss"), 1);
    near(metric_of("min val_loss"), 1.6);
    near(metric_of("max val_loss"), 2.4);
    near(metric_of("mean epoch_seconds"), 4);
    near(metric_of("first epoch val_error <= 25"), 2);
    near(metric_of("first step train_loss < 1.5"), 30);
    assert_true(metric_of("first epoch val_error <= 5") > 1e300); /* never reached */
    assert_true(metric_of("last val_acx") <= -12345);
    assert_true(metric_of("last val_acc now") <= -12345);
    assert_true(metric_of("first epoch val_acc around 3") <= -12345);
    assert_true(metric_of("accuracy") <= -12345);
    adze_arena a = {.ctx = ctx};
    lab_curve c;
    assert_int_equal(lab_csv_curve(&a, CSV, "first epoch val_error <= 5", &c), ADZE_OK);
    assert_int_equal(c.n, 3);
    near(c.v[1], 10);
    adze_arena_free(&a);
}

static void a_diverged_training_counts_as_the_worst(void **state) {
    (void)state;
    near(lab_diverged("last val_acc"), 0);
    near(lab_diverged("best val_error"), 100);
    near(lab_diverged("error"), 100);
    assert_true(lab_diverged("last train_loss") > 1e300);
    assert_true(lab_diverged("first epoch val_error <= 5") > 1e300);
    assert_true(isnan(lab_diverged("dead_share"))); /* what it would have been nobody knows */
}

static double json_of(const char *path) {
    static const char TEXT[] = "{\"a\":{\"b\":[1,{\"name\":\"x\",\"v\":2.5}]},\"yes\":true,\"none\":null,\"word\":\"inf\"}";
    adze_arena a = {.ctx = ctx};
    adze_tree *t;
    double v = NAN;
    assert_int_equal(adze_json_parse(&a, TEXT, strlen(TEXT), "x", &t), ADZE_OK);
    const int status = lab_json_number(ctx, t, path, &v);
    adze_arena_free(&a);
    return status == ADZE_OK ? v : -12345;
}

static void results_are_read_by_path(void **state) {
    (void)state;
    near(json_of("a.b.0"), 1);
    near(json_of("a.b.1.v"), 2.5);
    near(json_of("a.b.x.v"), 2.5);
    near(json_of("yes"), 1);
    assert_true(isnan(json_of("none")));
    assert_true(json_of("word") > 1e300);
    assert_true(json_of("a.c") <= -12345);
    assert_true(json_of("a.b.2") <= -12345);
    assert_true(json_of("a.b") <= -12345);
}

/* An experiment with one arm x whose values are given. */
static lab_verdict judged(const char *value, const char *yes, const char *no, const double *v, int n) {
    lab_part p = {.arm = {{.name = "x"}}, .measure = {{"", "m"}}, .narms = 1, .nmeasures = 1, .nrules = 1};
    lab_rule r = {.value = ""};
    snprintf(r.value, sizeof(r.value), "%s", value);
    snprintf(r.confirmed, sizeof(r.confirmed), "%s", yes);
    snprintf(r.refuted, sizeof(r.refuted), "%s", no);
    assert_int_equal(lab_region_parse(ctx, yes, &r.yes), ADZE_OK);
    if (no[0]) {
        assert_int_equal(lab_region_parse(ctx, no, &r.no), ADZE_OK);
    }
    memcpy(p.arm[0].value[0], v, (size_t)n * sizeof(*v));
    assert_int_equal(lab_judge_rule(ctx, &p, NULL, n, &r), ADZE_OK);
    return r.verdict;
}

static void verdicts_follow_the_interval(void **state) {
    (void)state;
    const double near_one[] = {0.9, 1.1, 1.0, 0.95, 1.05}, same[] = {2, 2, 2}, wild[] = {-9, 9, 1}, gone[] = {INFINITY, INFINITY, 5},
                 nothing[] = {NAN, 1, 1}, one[] = {0.5};
    assert_int_equal(judged("x", "> 0.5", "< 0", near_one, 5), LAB_CONFIRMED);
    assert_int_equal(judged("x - 2", "> 0.5", "< 0", near_one, 5), LAB_REFUTED);
    assert_int_equal(judged("x", "> 1", "< 0", near_one, 5), LAB_CONDITIONAL);
    assert_int_equal(judged("x", "> 1", "", near_one, 5), LAB_CONDITIONAL);
    assert_int_equal(judged("x", "> 2", "", near_one, 5), LAB_REFUTED); /* without a region of its own: wherever it is not confirmed */
    assert_int_equal(judged("x", "0.8 .. 1.2", "", near_one, 5), LAB_CONFIRMED);
    assert_int_equal(judged("x", "1.01 .. 1.2", "", near_one, 5), LAB_CONDITIONAL);
    assert_int_equal(judged("x", "3 .. 4", "", near_one, 5), LAB_REFUTED);
    assert_int_equal(judged("x", "outside 0 .. 3", "", near_one, 5), LAB_REFUTED);
    assert_int_equal(judged("x", ">= 2", "", same, 3), LAB_CONFIRMED);
    assert_int_equal(judged("x", "> 2", "", same, 3), LAB_REFUTED);
    assert_int_equal(judged("x", "> 0", "< 0", wild, 3), LAB_CONDITIONAL);
    assert_int_equal(judged("x", "> 4", "", gone, 3), LAB_CONFIRMED); /* no interval: every seed must say so */
    assert_int_equal(judged("x", "> 6", "", gone, 3), LAB_CONDITIONAL);
    assert_int_equal(judged("x", "> 0", "< 0", nothing, 3), LAB_CONDITIONAL);
    assert_int_equal(judged("x", "< 1", "", one, 1), LAB_CONFIRMED);
    assert_int_equal(judged("x", "> 1", "", one, 1), LAB_REFUTED);
}

/* On the edge of the region a verdict is right to doubt: each side is claimed wrongly in 2.5 % of all experiments, not more. */
static void an_interval_covers_as_often_as_it_says(void **state) {
    (void)state;
    enum { TRIALS = 4000 };
    for (int n = 3; n <= 10; n += 7) {
        adze_rng r = adze_rng_make(7, (uint64_t)n);
        int confirmed = 0, refuted = 0;
        for (int k = 0; k < TRIALS; k++) {
            double v[10];
            for (int i = 0; i < n; i++) {
                v[i] = 1 + 0.3 * adze_rng_normal(&r);
            }
            const lab_verdict verdict = judged("x", "> 1", "", v, n);
            confirmed += verdict == LAB_CONFIRMED;
            refuted += verdict == LAB_REFUTED;
        }
        /* 100 of each are expected, with a deviation of 10. */
        assert_in_range(confirmed, 60, 140);
        assert_in_range(refuted, 60, 140);
    }
}

static void a_control_that_does_not_behave_makes_it_invalid(void **state) {
    (void)state;
    lab_exp *e = calloc(1, sizeof(*e));
    assert_non_null(e);
    e->nseeds = 1;
    e->main = (lab_part){.arm = {{.name = "x"}}, .measure = {{"", "m"}, {"loss", "l"}}, .narms = 1, .nmeasures = 2, .nrules = 1};
    e->main.arm[0].value[0][0] = 3;
    e->main.arm[0].value[1][0] = 8;
    snprintf(e->main.rule[0].value, 20, "x.loss - x");
    assert_int_equal(lab_region_parse(ctx, "> 4", &e->main.rule[0].yes), ADZE_OK);
    e->control = e->main;
    e->ours = e->main.rule[0];
    e->control.arm[0].value[0][0] = 7; /* an arm of the same name is the control's own */
    e->must = LAB_REFUTED;
    assert_int_equal(lab_judge(ctx, e), ADZE_OK);
    assert_int_equal(e->main.verdict, LAB_CONFIRMED);
    assert_int_equal(e->control.verdict, LAB_REFUTED);
    assert_int_equal(e->verdict, LAB_CONFIRMED);
    near(e->ours.mean, 5);
    e->must = LAB_CONFIRMED;
    assert_int_equal(lab_judge(ctx, e), ADZE_OK);
    assert_int_equal(e->verdict, LAB_INVALID);
    e->must = LAB_NOT_CONFIRMED;
    assert_int_equal(lab_judge(ctx, e), ADZE_OK);
    assert_int_equal(e->verdict, LAB_CONFIRMED);
    free(e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arithmetic_follows_the_usual_order),
        cmocka_unit_test(what_is_no_arithmetic_is_refused),
        cmocka_unit_test(scripts_assign_and_repeat),
        cmocka_unit_test(a_region_holds_whole_intervals_only),
        cmocka_unit_test(metrics_are_read_by_name),
        cmocka_unit_test(a_diverged_training_counts_as_the_worst),
        cmocka_unit_test(results_are_read_by_path),
        cmocka_unit_test(verdicts_follow_the_interval),
        cmocka_unit_test(an_interval_covers_as_often_as_it_says),
        cmocka_unit_test(a_control_that_does_not_behave_makes_it_invalid),
    };
    return cmocka_run_group_tests(tests, make_ctx, free_ctx);
}
