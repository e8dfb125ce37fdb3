/* What follows from a confusion matrix: precision, recall, and the matrix as text. */
#include "train/options.h"

#include <math.h>

double adze_metrics_precision(const adze_metrics *m, int64_t cls) {
    int64_t called = 0;
    for (int64_t r = 0; r < m->classes; r++) {
        called += m->confusion[r * m->classes + cls];
    }
    return called > 0 ? (double)m->confusion[cls * m->classes + cls] / (double)called : NAN;
}

double adze_metrics_recall(const adze_metrics *m, int64_t cls) {
    int64_t there = 0;
    for (int64_t c = 0; c < m->classes; c++) {
        there += m->confusion[cls * m->classes + c];
    }
    return there > 0 ? (double)m->confusion[cls * m->classes + cls] / (double)there : NAN;
}

static void print_share(adze_text *t, double v) {
    if (isnan(v)) {
        adze_text_add(t, "      -");
        return;
    }
    long long tenths = llround(v * 1000); /* per cent with one digit, without the locale's comma */
    adze_text_add(t, "%5lld.%lld", tenths / 10, tenths % 10);
}

/* Columns are as wide as the largest count needs; the class numbers head them, the names follow their rows. */
int adze_metrics_print(adze_ctx *ctx, const adze_metrics *m, const adze_model *model, char **text) {
    adze_text t = {.ctx = ctx};
    int64_t most = m->classes;
    int width = 2;
    for (int64_t i = 0; i < m->classes * m->classes; i++) {
        most = m->confusion[i] > most ? m->confusion[i] : most;
    }
    for (int64_t v = most; v > 0; v /= 10) {
        width++;
    }
    adze_text_add(&t, "true\\called");
    for (int64_t c = 0; c < m->classes; c++) {
        adze_text_add(&t, "%*lld", width, (long long)c);
    }
    adze_text_add(&t, "  prec. %%  recall %%\n");
    for (int64_t r = 0; r < m->classes; r++) {
        adze_text_add(&t, "%11lld", (long long)r);
        for (int64_t c = 0; c < m->classes; c++) {
            adze_text_add(&t, "%*lld", width, (long long)m->confusion[r * m->classes + c]);
        }
        adze_text_add(&t, "  ");
        print_share(&t, adze_metrics_precision(m, r));
        adze_text_add(&t, "  ");
        print_share(&t, adze_metrics_recall(m, r));
        adze_text_add(&t, "   %s\n", adze_model_class_name(model, (int)r));
    }
    return adze_text_finish(&t, text);
}
