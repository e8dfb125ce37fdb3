/* Probes of what flows: the size of gradients from layer to layer and from step to step, what activations look like, their zeros, units that have
 * died, and signs of weight gradients. */
#include "base/stats.h"
#include "train/tap.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const double VANISHED = 1e-3; /* of a gradient at the input over one at the output; its reciprocal: exploded */

/* -- gradflow ------------------------------------------------------------------------------------------------------------------------------------ */

static int add_norm(adze_tap *t, const char *name, int i, double *norm) {
    const double *v;
    int64_t n;
    TRY(adze_tap_read(t, name, i, &v, &n));
    *norm = hypot(isnan(*norm) ? 0 : *norm, adze_norm_of(v, n));
    return ADZE_OK;
}

typedef struct extent {
    double least, most, first, last;
} extent;

static void widen(extent *e, double v) {
    if (isfinite(v)) {
        e->first = isnan(e->first) ? v : e->first;
        e->least = fmin(e->least, v);
        e->most = fmax(e->most, v);
        e->last = v;
    }
}

static const extent NOTHING = {INFINITY, 0, (double)NAN, (double)NAN};

static void tell_extent(adze_findings *f, const char *what, const extent *e) {
    char key[ADZE_FINDING_NAME];
    snprintf(key, sizeof key, "%s_ratio", what);
    adze_found(f, key, e->most / e->least);
    snprintf(key, sizeof key, "%s_first_over_last", what);
    adze_found(f, key, e->first / e->last);
}

static void judge_flow(adze_findings *f, const char *what, double ratio) {
    const bool small = ratio<VANISHED, large = ratio> 1 / VANISHED || isnan(ratio);
    adze_found(f, "vanishing", small);
    adze_found(f, "exploding", large);
    snprintf(f->verdict, sizeof f->verdict, "%s: the gradient at the first %s is %.3g times that at the last",
             small   ? "vanishing"
             : large ? "exploding"
                     : "ok",
             what, ratio);
}

/* A row for each state; the ratios are those of the lowest recurrent layer. */
static int flow_in_time(adze_tap *t, adze_findings *f) {
    extent e = NOTHING;
    int sequence = 0;
    adze_track *k = t->nstates > 0 ? adze_found_track(f, "dL/dh") : NULL;
    for (int i = 0; i < t->nstates; i++) {
        const char *path = t->m->layers[t->owner[i]].path;
        sequence += t->time[i] == 1;
        const bool again = sequence > 1 && t->owner[i] == t->owner[0]; /* a layer above within the same one of the model */
        double *cell = again ? adze_found_row(f, "%s/%d/t=%d", path, sequence, t->time[i]) : adze_found_row(f, "%s/t=%d", path, t->time[i]);
        TRY(add_norm(t, "gh", i, &cell[1]));
        if (sequence == 1) {
            widen(&e, cell[1]);
            adze_found_point(f, k, t->time[i], log10(cell[1]));
        }
    }
    if (t->nstates > 0) {
        tell_extent(f, "time", &e);
        judge_flow(f, "step", e.first / e.last);
    }
    return ADZE_OK;
}

/* |dL/dW| of the first layer that has weights. */
static int first_weights(adze_tap *t, double *norm) {
    *norm = (double)NAN;
    for (int i = 0; i < t->nparams; i++) {
        const adze_type type = adze_store_type(t->store, t->slot[i]);
        if (type.rank >= 2) {
            return add_norm(t, "g", i, norm);
        }
    }
    return ADZE_OK;
}

/* How much larger the first layer's weight gradient is for inputs times xscale. */
static int flow_by_scale(adze_tap *t, adze_findings *f) {
    double scaled, plain;
    if (t->o->xscale == 1) {
        return ADZE_OK;
    }
    TRY(first_weights(t, &scaled));
    t->xscale = 1;
    TRY(adze_tap_fill(t, 0));
    TRY(adze_tap_run(t));
    TRY(first_weights(t, &plain));
    adze_found(f, "xscale_gradient_ratio", scaled / plain);
    return ADZE_OK;
}

static int flow(adze_tap *t, adze_findings *f, double *none) {
    (void)none;
    extent weights = NOTHING, outs = NOTHING;
    TRY(adze_tap_run(t));
    ADZE_COLUMNS(f, "dL/dW", "dL/da", "W", "dL/dW over W");
    adze_track *k = adze_found_track(f, "dL/da");
    for (int l = -1; l < t->m->nlayers; l++) {
        double *cell = adze_found_row(f, "%s", l < 0 ? "input" : t->m->layers[l].path);
        for (int i = 0; i < t->nparams; i++) {
            adze_tensor w;
            const adze_type type = adze_store_type(t->store, t->slot[i]);
            if (t->layer[i] == l && type.rank >= 2) {
                TRY(add_norm(t, "g", i, &cell[0]));
                TRY(adze_store_tensor(t->store, t->slot[i], &w));
                for (int64_t j = 0; j < adze_type_count(&type); j++) {
                    cell[2] = hypot(isnan(cell[2]) ? 0 : cell[2], adze_tensor_get(&w, j));
                }
                cell[3] = cell[0] / cell[2];
            }
        }
        if (l < 0 || adze_tap_has(t, "a", l)) {
            TRY(add_norm(t, "ga", l, &cell[1]));
        }
        widen(&weights, cell[0]);
        widen(&outs, cell[1]);
        adze_found_point(f, k, l + 1, log10(cell[1]));
    }
    tell_extent(f, "weight", &weights);
    tell_extent(f, "activation", &outs);
    judge_flow(f, "layer", outs.first / outs.last);
    adze_found_picture(f, t->nstates > 0 ? "layer, or step" : "layer", "log10 of the norm", "Gradients");
    TRY(flow_in_time(t, f));
    return flow_by_scale(t, f);
}

int adze_probe_gradflow(adze_ctx *ctx, const adze_diag_subject *s, const adze_diag_opts *o, adze_findings *f) {
    return adze_tap_with(ctx, s, o, f, (adze_tap_look){ADZE_TAP_GRADS | ADZE_TAP_OUT_GRADS | ADZE_TAP_STATES, 0, flow});
}

/* -- stats --------------------------------------------------------------------------------------------------------------------------------------- */

enum { MEAN, STD, MIN, MAX, SATURATED, BEYOND, P15, P50, P85, STD_RATIO, SQUARE_RATIO, GRAD_RATIO, NSTATS };
static const char *const STATS[NSTATS] = {"mean", "std", "min", "max",       "saturated",    "beyond 0.95",
                                          "p15",  "p50", "p85", "std ratio", "square ratio", "grad ratio"};

static double mean_square(const double *v, int64_t n) {
    const double r = adze_norm_of(v, n);
    return r * (r / (double)n);
}

static void describe(double *v, int64_t n, double *cell) { /* v: sorted afterwards */
    double sum = 0, squares = 0, beyond = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += v[i];
        beyond += fabs(v[i]) > 0.95;
    }
    cell[MEAN] = sum / (double)n;
    for (int64_t i = 0; i < n; i++) {
        squares += (v[i] - cell[MEAN]) * (v[i] - cell[MEAN]);
    }
    qsort(v, (size_t)n, sizeof *v, adze_ascending);
    cell[STD] = sqrt(squares / (double)n);
    cell[MIN] = v[0], cell[MAX] = v[n - 1];
    cell[BEYOND] = beyond / (double)n;
    const double at[] = {0.15, 0.5, 0.85};
    for (int i = 0; i < 3; i++) {
        cell[P15 + i] = v[(int64_t)(at[i] * (double)(n - 1) + 0.5)];
    }
}

static int copy_read(adze_tap *t, const char *name, int i, double **out, int64_t *n) {
    const double *v;
    TRY(adze_tap_read(t, name, i, &v, n));
    *out = adze_alloc(t->ctx, *n, sizeof **out);
    TRY(ADZE_GOT(*out));
    memcpy(*out, v, (size_t)*n * sizeof *v);
    return ADZE_OK;
}

static int saturation(adze_tap *t, int layer, double *share) {
    const double *v;
    int64_t n, flat = 0;
    if (!adze_tap_has(t, "s", layer)) {
        return ADZE_OK;
    }
    TRY(adze_tap_read(t, "s", layer, &v, &n));
    for (int64_t i = 0; i < n; i++) {
        flat += fabs(v[i]) < 0.05;
    }
    *share = (double)flat / (double)n;
    return ADZE_OK;
}

/* One value (name "a") of layer l, or the input: a row. before: index of the row that it is compared with, or -1. */
static int stats_row(adze_tap *t, adze_findings *f, int l, int before, double *squares, double *grads) {
    double *v = NULL, *cell = adze_found_row(f, "%s", l < 0 ? "input" : t->m->layers[l].path);
    const double *g;
    int64_t n = 0;
    if (l >= 0 && !adze_tap_has(t, "a", l)) {
        squares[l + 1] = grads[l + 1] = (double)NAN;
        return ADZE_OK;
    }
    if (l >= 0) {
        TRY(copy_read(t, "a", l, &v, &n));
    } else {
        adze_tensor x;
        TRY(adze_tap_input(t, "x", &x));
        const adze_type type = adze_tensor_type(&x);
        n = adze_type_count(&type);
        v = adze_alloc(t->ctx, n, sizeof *v);
        for (int64_t i = 0; v != NULL && i < n; i++) {
            v[i] = adze_tensor_get(&x, i);
        }
    }
    TRY(ADZE_GOT(v));
    squares[l + 1] = mean_square(v, n);
    describe(v, n, cell);
    adze_free(t->ctx, v);
    TRY(adze_tap_read(t, "ga", l, &g, &n));
    grads[l + 1] = sqrt(mean_square(g, n));
    if (l >= 0) {
        TRY(saturation(t, l, &cell[SATURATED]));
    }
    if (before >= 0 && !f->failed) {
        cell[STD_RATIO] = cell[STD] / f->cells[(int64_t)before * f->ncolumns + STD];
        cell[SQUARE_RATIO] = squares[l + 1] / squares[before];
        cell[GRAD_RATIO] = grads[before] / grads[l + 1]; /* backward: nearer to the input over nearer to the output */
    }
    return ADZE_OK;
}

static void sum_up_stats(const adze_tap *t, adze_findings *f) {
    double worst = 0, sum = 0, squares = 0, grads = 0;
    int n = 0;
    for (int i = 1; i < f->nrows; i++) {
        const double *cell = f->cells + (int64_t)i * f->ncolumns;
        const adze_layer *l = &t->m->layers[i - 1];
        worst = isfinite(cell[SATURATED]) ? fmax(worst, cell[SATURATED]) : worst;
        if (l->params > 0 && i > 1 && i < t->m->nlayers && isfinite(log(cell[STD_RATIO]) + log(cell[GRAD_RATIO]))) {
            sum += log(cell[STD_RATIO]), squares += log(cell[SQUARE_RATIO]), grads += log(cell[GRAD_RATIO]);
            n++;
        }
    }
    adze_found(f, "saturated_most", worst);
    adze_found(f, "std_ratio", exp(sum / n)); /* geometric means over the layers between the first and the last */
    adze_found(f, "square_ratio", exp(squares / n));
    adze_found(f, "grad_ratio", exp(grads / n));
    const double ratio = exp(sum / n);
    const char *verdict = worst >= 0.75 ? "saturated: more than three quarters of a layer's units hardly change with their sum"
                          : !(n > 0)    ? ""
                          : ratio < 0.5 ? "the signal shrinks from layer to layer"
                          : ratio > 2   ? "the signal grows from layer to layer"
                                        : "ok";
    snprintf(f->verdict, sizeof f->verdict, "%s", verdict);
}

int adze_probe_stats(adze_ctx *ctx, const adze_diag_subject *s, const adze_diag_opts *o, adze_findings *f) {
    adze_tap t = {.ctx = NULL};
    double *squares = adze_alloc(ctx, 2 * ((int64_t)s->model->nlayers + 1), sizeof *squares);
    int st = squares == NULL ? ADZE_ENOMEM
                             : adze_tap_open(&t, ctx, s, o, o->batch, o->mode, ADZE_TAP_OUTS | ADZE_TAP_SUMS | ADZE_TAP_SLOPES | ADZE_TAP_OUT_GRADS);
    st = st == ADZE_OK ? adze_tap_run(&t) : st;
    adze_found_columns(f, STATS, NSTATS);
    for (int l = -1; l < s->model->nlayers && st == ADZE_OK; l++) {
        st = stats_row(&t, f, l, l >= 0 ? s->model->layers[l].from[0] + 1 : -1, squares, squares + s->model->nlayers + 1);
    }
    if (st == ADZE_OK && !f->failed) {
        sum_up_stats(&t, f);
        adze_track *k = adze_found_track(f, "std");
        for (int i = 0; i < f->nrows; i++) {
            adze_found_point(f, k, i, log10(f->cells[(int64_t)i * f->ncolumns + STD]));
        }
        adze_found_picture(f, "layer", "log10", "Deviation of outputs");
    }
    adze_free(ctx, squares);
    adze_tap_close(&t);
    return st;
}

/* -- sparsity ------------------------------------------------------------------------------------------------------------------------------------ */

static double zeros(const double *v, int64_t n) {
    int64_t z = 0;
    for (int64_t i = 0; i < n; i++) {
        z += v[i] == 0;
    }
    return (double)z / (double)n;
}

static int sparse(adze_tap *t, adze_findings *f, double *none) {
    (void)none;
    double nothing[2] = {0}, all[2] = {0};
    ADZE_COLUMNS(f, "zeros", "numbers", "mean");
    TRY(adze_tap_run(t));
    for (int i = 0; i < t->nparams + t->m->nlayers; i++) {
        const int l = i - t->nparams;
        const double *v;
        int64_t n;
        if (l >= 0 && !adze_tap_has(t, "z", l)) {
            continue;
        }
        bool matters = true;
        double *cell;
        if (l < 0) {
            adze_tensor w;
            const adze_type type = adze_store_type(t->store, t->slot[i]);
            cell = adze_found_row(f, "%s", adze_store_name(t->store, t->slot[i]));
            TRY(adze_store_tensor(t->store, t->slot[i], &w));
            n = adze_type_count(&type);
            cell[0] = cell[2] = 0;
            for (int64_t k = 0; k < n; k++) {
                cell[0] += adze_tensor_get(&w, k) == 0, cell[2] += adze_tensor_get(&w, k);
            }
            cell[0] /= (double)n;
            matters = type.rank > 1; /* biases are no weights, and start at 0 */
        } else {
            cell = adze_found_row(f, "%s (activations)", t->m->layers[l].path);
            TRY(adze_tap_read(t, "a", l, &v, &n));
            cell[0] = zeros(v, n), cell[2] = 0;
            for (int64_t k = 0; k < n; k++) {
                cell[2] += v[k];
            }
        }
        cell[1] = (double)n, cell[2] /= (double)n;
        if (matters) {
            nothing[l >= 0] += cell[0] * (double)n, all[l >= 0] += (double)n;
        }
    }
    adze_found(f, "weight_zeros", nothing[0] / all[0]);
    adze_found(f, "activation_zeros", nothing[1] / all[1]);
    return ADZE_OK;
}

int adze_probe_sparsity(adze_ctx *ctx, const adze_diag_subject *s, const adze_diag_opts *o, adze_findings *f) {
    return adze_tap_with(ctx, s, o, f, (adze_tap_look){ADZE_TAP_OUTS | ADZE_TAP_SUMS, 0, sparse});
}

/* -- dead ---------------------------------------------------------------------------------------------------------------------------------------- */

/* An unused piece of maxout is one that is the largest of its unit on no example. */
static void mark_pieces(const double *z, int64_t n, int64_t units, int64_t pieces, uint8_t *used) {
    for (int64_t i = 0; i < n; i += pieces) {
        int64_t best = 0;
        for (int64_t k = 1; k < pieces; k++) {
            best = z[i + k] > z[i + best] ? k : best;
        }
        used[i / pieces % units * pieces + best] = 1;
    }
}

static void mark_active(const double *a, int64_t n, int64_t units, uint8_t *active) {
    for (int64_t i = 0; i < n; i++) {
        active[i % units] |= a[i] != 0;
    }
}

typedef struct dead_layer {
    int layer;
    int64_t units, pieces, at; /* pieces: 0 but of maxout; at: of its bytes */
} dead_layer;

/* The layers with an activation; *bytes: of the marks of all units, then of all pieces. */
static int find_layers(adze_tap *t, dead_layer *d, int64_t *bytes, int64_t *units) {
    int n = 0;
    for (int l = 0; l < t->m->nlayers; l++) {
        if (adze_tap_has(t, "z", l)) {
            const adze_type a = adze_val_type(t->g, t->outs[l]), z = adze_val_type(t->g, t->sums[l]);
            d[n] = (dead_layer){.layer = l, .units = a.dims[a.rank - 1], .at = *units};
            const int64_t times = z.dims[z.rank - 1] / d[n].units;
            d[n].pieces = times > 1 ? times : 0;
            *units += d[n].units;
            *bytes += d[n++].units * (1 + times);
        }
    }
    return n;
}

static int count_dead(adze_tap *t, adze_findings *f, const dead_layer *d, int n, uint8_t *marks, int64_t units) {
    int64_t all = 0, dead = 0, unused = 0;
    const int64_t examples = t->of->x.dims[0];
    for (int64_t at = 0; at < examples; at += t->batch) { /* the last batch may see some examples again */
        const int64_t first = at + t->batch <= examples ? at : examples - t->batch;
        uint8_t *pieces = marks + units;
        TRY(adze_tap_fill(t, first));
        TRY(adze_tap_run(t));
        for (int i = 0; i < n; i++) {
            const double *v;
            int64_t len;
            TRY(adze_tap_read(t, "a", d[i].layer, &v, &len));
            mark_active(v, len, d[i].units, marks + d[i].at);
            if (d[i].pieces > 0) {
                TRY(adze_tap_read(t, "z", d[i].layer, &v, &len));
                mark_pieces(v, len, d[i].units, d[i].pieces, pieces);
                pieces += d[i].units * d[i].pieces;
            }
        }
    }
    ADZE_COLUMNS(f, "units", "dead", "share", "pieces", "unused pieces");
    const uint8_t *pieces = marks + units;
    for (int i = 0; i < n; i++) {
        double *cell = adze_found_row(f, "%s", t->m->layers[d[i].layer].path);
        cell[0] = (double)d[i].units;
        cell[1] = cell[4] = 0;
        for (int64_t k = 0; k < d[i].units; k++) {
            cell[1] += marks[d[i].at + k] == 0;
        }
        for (int64_t k = 0; k < d[i].units * d[i].pieces; k++) {
            cell[4] += *pieces++ == 0;
        }
        cell[2] = cell[1] / cell[0];
        cell[3] = (double)(d[i].units * d[i].pieces);
        all += d[i].units, dead += (int64_t)cell[1], unused += (int64_t)cell[4];
    }
    adze_found(f, "units", (double)all);
    adze_found(f, "dead", (double)dead);
    adze_found(f, "dead_share", all > 0 ? (double)dead / (double)all : 0);
    adze_found(f, "unused_pieces", (double)unused);
    adze_found(f, "examples", (double)examples);
    snprintf(f->verdict, sizeof f->verdict, dead > 0 ? "%lld of %lld units are active on no example" : "ok: every unit is active on some example",
             (long long)dead, (long long)all);
    return ADZE_OK;
}

int adze_probe_alive(adze_ctx *ctx, const adze_diag_subject *s, const adze_diag_opts *o, adze_findings *f, adze_alive *alive) {
    adze_tap t = {.ctx = NULL};
    dead_layer *d = adze_alloc(ctx, s->model->nlayers, sizeof *d);
    int64_t bytes = 0;
    int st = d == NULL ? ADZE_ENOMEM : adze_tap_open(&t, ctx, s, o, o->batch, o->mode, ADZE_TAP_OUTS | ADZE_TAP_SUMS);
    if (st == ADZE_OK) {
        const int n = find_layers(&t, d, &bytes, &alive->n);
        alive->unit = adze_alloc(ctx, bytes, 1);
        st = alive->unit == NULL ? ADZE_ENOMEM : count_dead(&t, f, d, n, alive->unit, alive->n);
    }
    adze_tap_close(&t);
    adze_free(ctx, d);
    return st;
}

int adze_probe_dead(adze_ctx *ctx, const adze_diag_subject *s, const adze_diag_opts *o, adze_findings *f) {
    adze_alive alive = {.n = 0};
    const int st = adze_probe_alive(ctx, s, o, f, &alive);
    adze_free(ctx, alive.unit);
    return st;
}

/* -- signs --------------------------------------------------------------------------------------------------------------------------------------- */

/* Of each neuron (column) with a gradient: the share of its gradient's numbers that have the commoner sign; their sum and how many neurons. */
static void count_signs(const double *g, int64_t rows, int64_t cols, double *sum, int64_t *count) {
    for (int64_t c = 0; c < cols; c++) {
        int64_t up = 0, down = 0;
        for (int64_t r = 0; r < rows; r++) {
            up += g[r * cols + c] > 0;
            down += g[r * cols + c] < 0;
        }
        if (up + down > 0) {
            *sum += (double)(up > down ? up : down) / (double)(up + down);
            *count += 1;
        }
    }
}

static int signs_of_batch(adze_ctx *ctx, const adze_diag_subject *s, const adze_diag_opts *o, int64_t batch, double *sum, int64_t *count) {
    adze_tap t = {.ctx = NULL};
    int st = adze_tap_open(&t, ctx, s, o, batch, o->mode, ADZE_TAP_GRADS);
    for (int64_t k = 0; k < s->x.dims[0] / batch && k * batch < o->batch && st == ADZE_OK; k++) {
        st = adze_tap_fill(&t, k * batch);
        st = st == ADZE_OK ? adze_tap_run(&t) : st;
        for (int i = 0; i < t.nparams && st == ADZE_OK; i++) {
            const adze_type type = adze_store_type(t.store, t.slot[i]);
            const double *g;
            int64_t n;
            if (type.rank >= 2) {
                st = adze_tap_read(&t, "g", i, &g, &n);
                const int64_t cols = type.dims[type.rank - 1];
                if (st == ADZE_OK) {
                    count_signs(g, n / cols, cols, &sum[i], &count[i]);
                }
            }
        }
    }
    adze_tap_close(&t);
    return st;
}

int adze_probe_signs(adze_ctx *ctx, const adze_diag_subject *s, const adze_diag_opts *o, adze_findings *f) {
    static const char *const keys[] = {"first_batch_1", "first_batch_8", "first_batch_64"};
    static const int64_t batches[] = {1, 8, 64};
    const adze_model *m = s->model;
    const int n = m->nparams;
    double *sum = adze_alloc(ctx, 3 * (int64_t)n, sizeof *sum);
    int64_t *count = adze_alloc(ctx, 3 * (int64_t)n, sizeof *count);
    int st = ADZE_GOT(sum && count);
    for (int b = 0; b < 3 && st == ADZE_OK; b++) {
        st = s->x.dims[0] >= batches[b] ? signs_of_batch(ctx, s, o, batches[b], sum + b * n, count + b * n) : ADZE_OK;
    }
    ADZE_COLUMNS(f, "batch 1", "batch 8", "batch 64");
    for (int i = 0, k = 0; i < n && st == ADZE_OK; i++) {
        if (m->params[i].flags & ADZE_SLOT_TRAINABLE) { /* k: its number among those that are trained */
            double *cell = m->params[i].type.rank >= 2 ? adze_found_row(f, "%s", m->params[i].slot) : NULL;
            for (int b = 0; b < 3 && cell != NULL; b++) {
                cell[b] = count[b * n + k] > 0 ? sum[b * n + k] / (double)count[b * n + k] : (double)NAN;
                if (f->nrows == 1) {
                    adze_found(f, keys[b], cell[b]);
                }
            }
            k++;
        }
    }
    adze_free(ctx, sum);
    adze_free(ctx, count);
    return st;
}
