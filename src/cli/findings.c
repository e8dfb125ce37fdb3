/* Findings for people and programs, and the data that probes look at. */
#include "cli/findings.h"

#include <math.h>

static void add_number(adze_text *t, double v) {
    char text[24];
    snprintf(text, sizeof(text), isnan(v) ? "-" : "%.5g", v);
    adze_text_add(t, " %14s", text);
}

static int print_people(cli *c, const adze_findings *f) {
    adze_text t = {.ctx = c->ctx};
    int width = 12;
    for (int i = 0; i < f->nrows; i++) {
        const int n = (int)strlen(f->rows[i]);
        width = n > width ? n : width;
    }
    for (int k = 0; k < f->ncolumns && f->nrows > 0; k++) {
        adze_text_add(&t, "%*s %14s", k ? 0 : width, "", f->columns[k]);
    }
    adze_text_add(&t, "%s", f->ncolumns && f->nrows ? "\n" : "");
    for (int i = 0; i < f->nrows; i++) {
        adze_text_add(&t, "%-*s", width, f->rows[i]);
        for (int k = 0; k < f->ncolumns; k++) {
            add_number(&t, f->cells[(int64_t)i * f->ncolumns + k]);
        }
        adze_text_add(&t, "\n");
    }
    for (int i = 0; i < f->nkeys; i++) {
        adze_text_add(&t, "%-34s", f->keys[i]);
        add_number(&t, f->values[i]);
        adze_text_add(&t, "\n");
    }
    if (f->verdict[0]) {
        adze_text_add(&t, "%s\n", f->verdict);
    }
    return cli_print_text(c, &t);
}

int cli_findings_print(cli *c, const adze_findings *f, const char *plot) {
    if (plot[0]) {
        TRY(adze_findings_plot(c->ctx, plot, f));
    }
    if (!c->global.json) {
        return print_people(c, f);
    }
    char *json = NULL;
    TRY(adze_findings_json(f, &json));
    puts(json);
    adze_text_free(c->ctx, json);
    return cli_finish_output(c);
}

static int make(cli *c, adze_type x_type, adze_type label_type, adze_tensor *x, adze_tensor *labels) {
    *labels = (adze_tensor){.dtype = ADZE_NONE};
    TRY(adze_tensor_new(c->ctx, x_type, x));
    const int status = adze_tensor_new(c->ctx, label_type, labels);
    if (status != ADZE_OK) {
        adze_tensor_free(x);
    }
    return status;
}

int cli_examples(cli *c, const adze_model *m, const adze_dataset *d, const int64_t *ids, int64_t n, adze_dtype dtype, adze_tensor *x,
                 adze_tensor *labels) {
    adze_loader_opts lo = {.size = sizeof(lo), .batch = n, .dtype = dtype};
    adze_loader *l = NULL;
    TRY(make(c, adze_model_input_type(m, n, dtype), adze_type_make(ADZE_I64, 1, &n), x, labels));
    int status = adze_loader_new(c->ctx, d, ids, n, adze_model_preprocess(m), &lo, &l);
    status = status == ADZE_OK ? adze_loader_next(l, *x, *labels, &n) : status;
    adze_loader_free(l);
    if (status != ADZE_OK) {
        adze_tensor_free(x);
        adze_tensor_free(labels);
    }
    return status;
}

int cli_made_up(cli *c, const adze_model *m, int64_t n, uint64_t seed, adze_dtype dtype, adze_tensor *x, adze_tensor *labels) {
    const int classes = adze_model_classes(m);
    const adze_type type = adze_model_input_type(m, n, dtype), label = classes > 0 ? adze_model_label_type(m, n) : adze_type_make(ADZE_I64, 1, &n);
    adze_rng r = adze_rng_make(seed, adze_hash_str("made up"));
    TRY(make(c, type, label, x, labels));
    for (int64_t i = 0; i < adze_type_count(&type); i++) {
        adze_tensor_set(x, i, adze_rng_normal(&r));
    }
    for (int64_t i = 0; i < adze_type_count(&label) && classes > 0; i++) {
        adze_tensor_set(labels, i, (double)adze_rng_below(&r, (uint64_t)classes));
    }
    return ADZE_OK;
}
