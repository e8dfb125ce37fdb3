/* Statistics and metrics: they agree with recorded SciPy and scikit-learn results, and intervals hold the truth as often as they say. */
#include "adze/train.h"
#include "base/stats.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* clang-format off */
#include "reference/stats.inc"
/* clang-format on */

static void same(const char *what, double got, double want, double eps) {
    if (!(fabs(got - want) <= eps * fmax(1e-3, fabs(want)))) { /* p values: relative, also small ones */
        fail_msg("%s is %.17g, not %.17g", what, got, want);
    }
}

static adze_ctx *context(void) {
    adze_ctx *ctx;
    assert_int_equal(adze_ctx_new(NULL, &ctx), ADZE_OK);
    return ctx;
}

static void student_t_agrees_with_scipy(void **state) {
    (void)state;
    for (size_t i = 0; i < ADZE_COUNT(T_CDF); i++) {
        same("t cdf", adze_t_cdf(T_CDF[i].t, T_CDF[i].df), T_CDF[i].cdf, 1e-12);
    }
    for (size_t i = 0; i < ADZE_COUNT(T_QUANTILE); i++) {
        same("t quantile", adze_t_quantile(T_QUANTILE[i].p, T_QUANTILE[i].df), T_QUANTILE[i].t, 1e-11);
    }
    assert_true(isnan(adze_t_quantile(0, 3)) && isnan(adze_t_quantile(1, 3)));
}

static void paired_tests_agree_with_scipy(void **state) {
    (void)state;
    adze_ctx *ctx = context();
    adze_interval t = adze_t_interval(DIFF, SN), boot, again;
    same("mean", adze_stats_mean(DIFF, SN), DIFF_MEAN, 1e-13);
    same("sd", adze_stats_sd(DIFF, SN), DIFF_SD, 1e-13);
    same("t interval, low", t.lo, DIFF_LO, 1e-11);
    same("t interval, high", t.hi, DIFF_HI, 1e-11);
    same("paired t", adze_paired_t_p(DIFF, SN), DIFF_T_P, 1e-11);
    same("sign test", adze_sign_p(DIFF, SN), DIFF_SIGN_P, 1e-12);
    assert_int_equal(adze_bootstrap_interval(ctx, DIFF, SN, 7, &boot), ADZE_OK);
    assert_true(fabs(boot.lo - DIFF_BOOT_LO) < 0.04 * DIFF_SD && fabs(boot.hi - DIFF_BOOT_HI) < 0.04 * DIFF_SD); /* three errors of 10,000 draws */
    assert_int_equal(adze_bootstrap_interval(ctx, DIFF, SN, 7, &again), ADZE_OK);
    assert_true(boot.lo == again.lo && boot.hi == again.hi);
    for (size_t i = 0; i < ADZE_COUNT(MCNEMAR); i++) {
        same("McNemar", adze_mcnemar_p(MCNEMAR[i].b, MCNEMAR[i].c), MCNEMAR[i].p, 1e-11);
        same("McNemar, mirrored", adze_mcnemar_p(MCNEMAR[i].c, MCNEMAR[i].b), MCNEMAR[i].p, 1e-11);
    }
    adze_ctx_free(ctx);
}

static void holm_corrects_in_order_and_passes_over_tests_that_say_nothing(void **state) {
    (void)state;
    double p[HN + 1];
    p[0] = NAN;
    memcpy(p + 1, RAW_P, sizeof RAW_P);
    adze_holm(p, HN + 1);
    assert_true(isnan(p[0]));
    for (int i = 0; i < HN; i++) {
        same("Holm", p[i + 1], HOLM_P[i], 1e-14);
    }
}

static void samples_too_small_or_all_the_same_give_no_p_value(void **state) {
    (void)state;
    static const double one[] = {0.5}, equal[] = {0.25, 0.25, 0.25}, zero[] = {0, 0, 0};
    adze_interval boot;
    assert_true(isnan(adze_stats_sd(one, 1)) && isnan(adze_t_interval(one, 1).lo) && isnan(adze_paired_t_p(one, 1)));
    assert_int_equal(adze_bootstrap_interval(NULL, one, 1, 1, &boot), ADZE_OK);
    assert_true(isnan(boot.lo));
    assert_true(isnan(adze_paired_t_p(equal, 3)) && isnan(adze_paired_t_p(zero, 3)));
    same("sign test of three", adze_sign_p(equal, 3), 0.25, 1e-12);
    assert_true(adze_sign_p(zero, 3) == 1);
}

/* 95 % intervals of 8 normal values: Student's t holds the mean in 95 % of all samples, the percentile bootstrap in about 90 % of such small ones
 * (too narrow by sqrt(7/8) and by the normal's quantile; 1 - 2 P(t7 > 1.96 sqrt(7/8)) = 0.891). */
static void intervals_hold_the_truth_as_often_as_they_say(void **state) {
    (void)state;
    enum { TRIALS = 2000, BOOTS = 300, SIZE = 8 };
    adze_ctx *ctx = context();
    adze_rng r = adze_rng_make(5, 5);
    int t_holds = 0, boot_holds = 0;
    for (int k = 0; k < TRIALS; k++) {
        double v[SIZE];
        for (int i = 0; i < SIZE; i++) {
            v[i] = 3 + 2 * adze_rng_normal(&r);
        }
        adze_interval t = adze_t_interval(v, SIZE), boot;
        t_holds += t.lo <= 3 && 3 <= t.hi;
        if (k < BOOTS) {
            assert_int_equal(adze_bootstrap_interval(ctx, v, SIZE, (uint64_t)k, &boot), ADZE_OK);
            boot_holds += boot.lo <= 3 && 3 <= boot.hi;
        }
    }
    const double t_share = (double)t_holds / TRIALS, boot_share = (double)boot_holds / BOOTS;
    assert_true(fabs(t_share - 0.95) < 3 * sqrt(0.95 * 0.05 / TRIALS));
    assert_true(fabs(boot_share - 0.891) < 3 * sqrt(0.891 * 0.109 / BOOTS));
    adze_ctx_free(ctx);
}

static void reports_agree_with_scikit_learn(void **state) {
    (void)state;
    adze_ctx *ctx = context();
    int64_t labels[MN], confusion[MC * MC];
    double scores[MN * MC];
    memcpy(scores, SCORES, sizeof scores);
    for (int i = 0; i < MN; i++) {
        labels[i] = LABELS[i];
    }
    for (int i = 0; i < MC * MC; i++) {
        confusion[i] = CONFUSION[i];
    }
    adze_metrics m = {.count = MN, .classes = MC, .acc = ACCURACY, .nll = NLL, .confusion = confusion, .scores = scores, .labels = labels};
    adze_report r;
    assert_int_equal(adze_metrics_report(ctx, &m, &r), ADZE_OK);
    for (int k = 0; k < MC; k++) {
        same("precision", r.of[k].precision, PRECISION[k], 1e-13);
        same("recall", r.of[k].recall, RECALL[k], 1e-13);
        same("f1", r.of[k].f1, F1[k], 1e-13);
        same("auc", r.of[k].auc, AUC[k], 1e-13);
        same("top", adze_metrics_top(&m, k + 1), TOP[k], 1e-13);
    }
    const double macro[4] = {r.macro.precision, r.macro.recall, r.macro.f1, r.macro.auc};
    const double fit[4] = {r.ordinal.mae, r.ordinal.rmse, r.ordinal.r2, r.ordinal.spearman};
    for (int i = 0; i < 4; i++) {
        same("macro mean", macro[i], MACRO[i], 1e-13);
        same("fit of class numbers", fit[i], FIT[i], 1e-12);
    }
    same("micro precision", r.micro.precision, MICRO[0], 1e-13);
    same("micro f1", r.micro.f1, MICRO[2], 1e-13);
    same("Matthews", r.matthews, MATTHEWS, 1e-13);
    same("perplexity", r.perplexity, PERPLEXITY, 1e-13);
    same("bits", r.bits, BITS, 1e-13);
    same("Brier", r.brier, BRIER, 1e-13);
    same("ECE", r.ece, ECE, 1e-12);
    same("MCE", r.mce, MCE, 1e-12);
    adze_report_free(ctx, &r);
    m.scores = NULL;
    assert_int_equal(adze_metrics_report(ctx, &m, &r), ADZE_EARG);
    adze_ctx_free(ctx);
}

static void an_area_under_the_curve_counts_ties_half_and_needs_both_sides(void **state) {
    (void)state;
    adze_ctx *ctx = context();
    static const double score[] = {0.1, 0.4, 0.4, 0.8};
    static const bool some[] = {false, true, false, true}, all[] = {true, true, true, true};
    double auc;
    assert_int_equal(adze_auc(ctx, score, some, 4, &auc), ADZE_OK);
    same("auc", auc, 3.5 / 4, 1e-14);
    assert_int_equal(adze_auc(ctx, score, all, 4, &auc), ADZE_OK);
    assert_true(isnan(auc));
    adze_ctx_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(student_t_agrees_with_scipy),
        cmocka_unit_test(paired_tests_agree_with_scipy),
        cmocka_unit_test(holm_corrects_in_order_and_passes_over_tests_that_say_nothing),
        cmocka_unit_test(samples_too_small_or_all_the_same_give_no_p_value),
        cmocka_unit_test(intervals_hold_the_truth_as_often_as_they_say),
        cmocka_unit_test(reports_agree_with_scikit_learn),
        cmocka_unit_test(an_area_under_the_curve_counts_ties_half_and_needs_both_sides),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
