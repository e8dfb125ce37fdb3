/* Findings: numbers by name, a table and curves, which grow while a probe or a demonstration runs. */
#include "train/findings.h"

#include <math.h>
#include <stdio.h>

/* Room for one more of `size` bytes; what could not grow is NULL only at the very first time. */
static void *grow(adze_findings *f, void *p, int n, int *cap, size_t size) {
    if (n < *cap || f->failed) {
        return p;
    }
    const int more = *cap > 0 ? 2 * *cap : 16;
    void *q = adze_resize(f->ctx, p, *cap, more, size);
    f->failed = q == NULL;
    *cap = q != NULL ? more : *cap;
    return q != NULL ? q : p;
}

static int find(char (*names)[ADZE_FINDING_NAME], int n, const char *name) {
    for (int i = 0; i < n; i++) {
        if (strcmp(names[i], name) == 0) {
            return i;
        }
    }
    return -1;
}

/* Names as programs like them: small letters, digits, and one underscore for whatever else stands between. */
static void snake(const char *name, char out[ADZE_FINDING_NAME]) {
    size_t n = 0;
    for (; *name != 0 && n + 1 < ADZE_FINDING_NAME; name++) {
        const char c = *name >= 'A' && *name <= 'Z' ? (char)(*name - 'A' + 'a') : *name;
        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) {
            out[n++] = c;
        } else if (n > 0 && out[n - 1] != '_') {
            out[n++] = '_';
        }
    }
    out[n - (n > 0 && out[n - 1] == '_')] = 0;
}

void adze_found(adze_findings *f, const char *name, double v) {
    char key[ADZE_FINDING_NAME];
    snake(name, key);
    int i = find(f->keys, f->nkeys, key), cap = f->cap_keys;
    if (i < 0) {
        f->keys = grow(f, f->keys, f->nkeys, &cap, sizeof *f->keys);
        f->values = grow(f, f->values, f->nkeys, &f->cap_keys, sizeof *f->values);
        if (f->failed) {
            return;
        }
        i = f->nkeys++;
        snprintf(f->keys[i], sizeof f->keys[i], "%s", key);
    }
    f->values[i] = v;
}

void adze_found_columns(adze_findings *f, const char *const *names, int n) {
    f->ncolumns = n < ADZE_FINDING_COLUMNS ? n : ADZE_FINDING_COLUMNS;
    memcpy(f->columns, names, (size_t)f->ncolumns * sizeof *names);
}

double *adze_found_row(adze_findings *f, const char *fmt, ...) {
    int cap = f->cap_rows;
    f->rows = grow(f, f->rows, f->nrows, &cap, sizeof *f->rows);
    f->cells = grow(f, f->cells, f->nrows, &f->cap_rows, ADZE_FINDING_COLUMNS * sizeof *f->cells);
    if (f->failed) { /* the callers write somewhere all the same */
        return f->spare;
    }
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(f->rows[f->nrows], sizeof f->rows[f->nrows], fmt, ap);
    va_end(ap);
    double *cells = f->cells + (int64_t)f->nrows++ * f->ncolumns;
    for (int i = 0; i < f->ncolumns; i++) {
        cells[i] = (double)NAN;
    }
    return cells;
}

adze_track *adze_found_track(adze_findings *f, const char *fmt, ...) {
    f->tracks = grow(f, f->tracks, f->ntracks, &f->cap_tracks, sizeof *f->tracks);
    if (f->failed) {
        return NULL;
    }
    adze_track *t = &f->tracks[f->ntracks++];
    *t = (adze_track){.n = 0};
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(t->name, sizeof t->name, fmt, ap);
    va_end(ap);
    return t;
}

void adze_found_point(adze_findings *f, adze_track *t, double x, double y) {
    if (t == NULL || f->failed) {
        return;
    }
    if (t->n == t->cap) {
        const int64_t cap = t->cap > 0 ? 2 * t->cap : 64;
        double *xs = adze_resize(f->ctx, t->x, t->cap, cap, sizeof *xs);
        t->x = xs != NULL ? xs : t->x;
        double *ys = xs != NULL ? adze_resize(f->ctx, t->y, t->cap, cap, sizeof *ys) : NULL;
        t->y = ys != NULL ? ys : t->y;
        if (ys == NULL) {
            f->failed = true;
            return;
        }
        t->cap = cap;
    }
    t->x[t->n] = x;
    t->y[t->n++] = y;
}

int adze_found_status(const adze_findings *f) {
    return f->failed ? ADZE_ENOMEM : ADZE_OK;
}

void adze_found_picture(adze_findings *f, const char *x, const char *y, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(f->title, sizeof f->title, fmt, ap);
    va_end(ap);
    f->x_label = x, f->y_label = y;
}

void adze_found_forget_tracks(adze_findings *f) {
    for (int i = 0; i < f->ntracks; i++) {
        adze_free(f->ctx, f->tracks[i].x);
        adze_free(f->ctx, f->tracks[i].y);
    }
    f->ntracks = 0;
}

void adze_findings_free(adze_findings *f) {
    if (f->ctx == NULL) {
        return;
    }
    adze_found_forget_tracks(f);
    adze_free(f->ctx, f->tracks);
    adze_free(f->ctx, f->keys);
    adze_free(f->ctx, f->values);
    adze_free(f->ctx, f->rows);
    adze_free(f->ctx, f->cells);
    adze_free(f->ctx, f->surface);
    *f = (adze_findings){.ctx = NULL};
}

double adze_findings_value(const adze_findings *f, const char *key) {
    const int i = find(f->keys, f->nkeys, key);
    return i >= 0 ? f->values[i] : (double)NAN;
}

double adze_findings_cell(const adze_findings *f, const char *row, const char *column) {
    const int i = find(f->rows, f->nrows, row);
    for (int c = 0; i >= 0 && c < f->ncolumns; c++) {
        if (strcmp(f->columns[c], column) == 0) {
            return f->cells[(int64_t)i * f->ncolumns + c];
        }
    }
    return (double)NAN;
}

/* -- as JSON ------------------------------------------------------------------------------------------------------------------------------------ */

static void number(adze_text *t, double v) {
    char text[40];
    if (!isfinite(v) || adze_print_f64(text, sizeof text, v) < 0) {
        snprintf(text, sizeof text, "null");
    }
    adze_text_add(t, "%s", text);
}

static void numbers(adze_text *t, const char *name, const double *v, int64_t n) {
    adze_text_add(t, ",\"%s\":[", name);
    for (int64_t i = 0; i < n; i++) {
        adze_text_add(t, "%s", i ? "," : "");
        number(t, v[i]);
    }
    adze_text_add(t, "]");
}

static void named(adze_text *t, const char *name, double v) {
    char key[ADZE_FINDING_NAME];
    snake(name, key);
    adze_text_add(t, ",\"%s\":", key);
    number(t, v);
}

int adze_findings_json(const adze_findings *f, char **text) {
    adze_text t = {.ctx = f->ctx};
    adze_text_add(&t, "{\"schema\":1");
    for (int i = 0; i < f->nkeys; i++) {
        named(&t, f->keys[i], f->values[i]);
    }
    adze_text_add(&t, ",\"verdict\":");
    adze_json_string(&t, f->verdict);
    adze_text_add(&t, ",\"rows\":[");
    for (int i = 0; i < f->nrows; i++) {
        adze_text_add(&t, "%s{\"name\":", i ? "," : "");
        adze_json_string(&t, f->rows[i]);
        for (int c = 0; c < f->ncolumns; c++) {
            named(&t, f->columns[c], f->cells[(int64_t)i * f->ncolumns + c]);
        }
        adze_text_add(&t, "}");
    }
    adze_text_add(&t, "],\"tracks\":[");
    for (int i = 0; i < f->ntracks; i++) {
        adze_text_add(&t, "%s{\"name\":", i ? "," : "");
        adze_json_string(&t, f->tracks[i].name);
        numbers(&t, "x", f->tracks[i].x, f->tracks[i].n);
        numbers(&t, "y", f->tracks[i].y, f->tracks[i].n);
        adze_text_add(&t, "}");
    }
    adze_text_add(&t, "]}");
    return adze_text_finish(&t, text);
}
