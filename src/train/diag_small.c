/* Probes of single questions: does batch normalisation tie examples together, is a network linear, what does a small turn of the weights change, what
 * the loss of units, how large are an optimiser's steps under a constant gradient. */
#include "train/descent.h"
#include "train/evaluate.h"
#include "train/tap.h"

#include <math.h>
#include <stdio.h>

/* -- bn-coupling: the Jacobian of one example's outputs with respect to all examples' inputs ----------------------------------------------------- */

static int coupling(adze_ctx *ctx, const adze_diag_subject *s, const adze_diag_opts *o, int mode, double *own, double *others) {
    adze_tap t = {.ctx = NULL};
    adze_tensor pick;
    const double *gx;
    int64_t n = 0;
    int st = adze_tap_open(&t, ctx, s, o, o->batch, mode, ADZE_TAP_ROW);
    st = st == ADZE_OK ? adze_tap_input(&t, "pick", &pick) : st;
    if (st == ADZE_OK) {
        adze_rng r = adze_rng_make(o->seed, adze_hash_str("pick"));
        const adze_type type = adze_tensor_type(&pick);
        for (int64_t i = 0, k = adze_type_count(&type) / o->batch; i < k; i++) { /* the first example's outputs, in a random direction */
            adze_tensor_set(&pick, i, adze_rng_normal(&r));
        }
        st = adze_tap_run(&t);
        st = st == ADZE_OK ? adze_tap_read(&t, "gx", 0, &gx, &n) : st;
    }
    if (st == ADZE_OK) {
        *own = adze_norm_of(gx, n / o->batch);
        *others = adze_norm_of(gx + n / o->batch, n - n / o->batch);
    }
    adze_tap_close(&t);
    return st;
}

int adze_probe_coupling(adze_ctx *ctx, const adze_diag_subject *s, const adze_diag_opts *o, adze_findings *f) {
    static const char *const modes[] = {"train", "eval"};
    ADZE_COLUMNS(f, "own input", "others' inputs", "share");
    if (o->batch < 2) {
        return adze_fail(ctx, ADZE_EARG, "coupling between examples needs a batch of at least 2");
    }
    for (int mode = ADZE_DIAG_TRAIN; mode <= ADZE_DIAG_EVAL; mode++) {
        double *cell = adze_found_row(f, "%s", modes[mode]);
        TRY(coupling(ctx, s, o, mode, &cell[0], &cell[1]));
        cell[2] = cell[1] / hypot(cell[0], cell[1]);
        adze_found(f, mode == ADZE_DIAG_TRAIN ? "off_diagonal_train" : "off_diagonal_eval", cell[1]);
        if (mode == ADZE_DIAG_TRAIN) {
            snprintf(f->verdict, sizeof f->verdict, "%s",
                     cell[1] > 0 ? "examples of a batch influence each other in training" : "no example sees another");
        }
    }
    return ADZE_OK;
}

/* -- linear: f(a x + b y) = a f(x) + b f(y), and how alike gradients are along a line of inputs (Balduzzi et al. 2017, section 2) ---------------- */

static int outputs_of(adze_tap *t, const double *x, int64_t n, double *y, int64_t *ny) {
    adze_tensor in;
    const double *v;
    TRY(adze_tap_input(t, "x", &in));
    for (int64_t i = 0; i < n; i++) {
        adze_tensor_set(&in, i, x[i]);
    }
    TRY(adze_tap_run(t));
    TRY(adze_tap_read(t, "y", 0, &v, ny));
    memcpy(y, v, (size_t)*ny * sizeof *v);
    return ADZE_OK;
}

static int combine(adze_tap *t, adze_findings *f, double *room, int64_t nx, int64_t ny) {
    const double a = 0.7, b = -1.3;
    double *x1 = room, *x2 = x1 + nx, *x3 = x2 + nx, *y1 = x3 + nx, *y2 = y1 + ny, *y3 = y2 + ny, top = 0;
    adze_rng r = adze_rng_make(t->o->seed, adze_hash_str("combine"));
    for (int64_t i = 0; i < nx; i++) {
        x1[i] = adze_rng_normal(&r), x2[i] = adze_rng_normal(&r), x3[i] = a * x1[i] + b * x2[i];
    }
    TRY(outputs_of(t, x1, nx, y1, &ny));
    TRY(outputs_of(t, x2, nx, y2, &ny));
    TRY(outputs_of(t, x3, nx, y3, &ny));
    for (int64_t i = 0; i < ny; i++) {
        y1[i] = a * y1[i] + b * y2[i] - y3[i];
        top = fmax(top, fabs(y3[i]));
    }
    const double error = adze_norm_of(y1, ny) / adze_norm_of(y3, ny);
    adze_found(f, "linearity_error", error);
    snprintf(f->verdict, sizeof f->verdict, "%s", error < 1e-5 ? "linear" : "not linear");
    return top > 0 ? ADZE_OK : adze_fail(t->ctx, ADZE_EARG, "the outputs are all 0: nothing to compare");
}

/* The batch becomes points on the line between the first two examples; gx has the gradient of a fixed sum of outputs at each. */
static int along_a_line(adze_tap *t, adze_findings *f, double *room, int64_t nx) {
    const int64_t batch = t->batch, n = nx / batch;
    adze_tensor in, pick;
    const double *g;
    int64_t len;
    double next = 0, all = 0;
    TRY(adze_tap_input(t, "x", &in));
    TRY(adze_tap_input(t, "pick", &pick));
    for (int64_t i = 0; i < 2 * n; i++) {
        room[i] = adze_tensor_get(&t->of->x, i % (t->of->x.dims[0] > 1 ? 2 * n : n));
    }
    for (int64_t e = 0; e < batch; e++) {
        const double share = batch > 1 ? (double)e / (double)(batch - 1) : 0;
        for (int64_t i = 0; i < n; i++) {
            adze_tensor_set(&in, e * n + i, (1 - share) * room[i] + share * room[n + i]);
        }
    }
    const adze_type type = adze_tensor_type(&pick);
    const int64_t ny = adze_type_count(&type) / batch;
    adze_rng r = adze_rng_make(t->o->seed, adze_hash_str("pick"));
    for (int64_t i = 0; i < ny; i++) {
        const double v = adze_rng_normal(&r);
        for (int64_t e = 0; e < batch; e++) {
            adze_tensor_set(&pick, e * ny + i, v);
        }
    }
    TRY(adze_tap_run(t));
    TRY(adze_tap_read(t, "gx", 0, &g, &len));
    for (int64_t a = 0; a < batch; a++) {
        for (int64_t b = a + 1; b < batch; b++) {
            const double c = adze_dot(g + a * n, g + b * n, n) / (adze_norm_of(g + a * n, n) * adze_norm_of(g + b * n, n));
            next += b == a + 1 ? c / (double)(batch - 1) : 0;
            all += c / ((double)batch * (double)(batch - 1) / 2);
        }
    }
    adze_found(f, "gradient_autocorrelation_next", next); /* cosine of gradients at neighbouring points of the line */
    adze_found(f, "gradient_autocorrelation", all);       /* at any two */
    return ADZE_OK;
}

int adze_probe_linear(adze_ctx *ctx, const adze_diag_subject *s, const adze_diag_opts *o, adze_findings *f) {
    adze_tap t = {.ctx = NULL};
    double *room = NULL;
    int st = adze_tap_open(&t, ctx, s, o, o->batch, ADZE_DIAG_EVAL, ADZE_TAP_ROW);
    if (st == ADZE_OK) {
        const adze_type x = adze_val_type(t.g, t.x), y = adze_val_type(t.g, t.y);
        const int64_t nx = adze_type_count(&x), ny = adze_type_count(&y);
        room = adze_alloc(ctx, 3 * (nx + ny), sizeof *room);
        st = room != NULL ? combine(&t, f, room, nx, ny) : ADZE_ENOMEM;
        st = st == ADZE_OK && t.batch > 1 ? along_a_line(&t, f, room, nx) : st;
    }
    adze_free(ctx, room);
    adze_tap_close(&t);
    return st;
}

/* -- sensitivity: each parameter tensor turned by a hundredth of its length in a random direction ------------------------------------------------ */

enum { TURNS = 8 };

static int turned(adze_tap *t, const double *w, double *at, adze_rng *r) {
    int64_t from = 0;
    for (int i = 0; i < t->nparams; i++) {
        const adze_type type = adze_store_type(t->store, t->slot[i]);
        const int64_t n = adze_type_count(&type);
        const double length = adze_norm_of(w + from, n);
        for (int64_t k = from; k < from + n; k++) {
            at[k] = adze_rng_normal(r);
        }
        const double along = length > 0 ? adze_dot(at + from, w + from, n) / (length * length) : 0;
        for (int64_t k = from; k < from + n; k++) {
            at[k] -= along * w[k];
        }
        const double size = adze_norm_of(at + from, n), angle = 0.01;
        for (int64_t k = from; k < from + n; k++) {
            at[k] = cos(angle) * w[k] + (size > 0 ? sin(angle) * length / size * at[k] : 0);
        }
        from += n;
    }
    return adze_tap_set_weights(t, at);
}

static int sensitivity(adze_tap *t, adze_findings *f, double *w, double *y) {
    const double *v;
    int64_t ny;
    double loss, base, most = 0, rise = 0, *at = w + t->nweights;
    adze_rng r = adze_rng_make(t->o->seed, adze_hash_str("turn"));
    TRY(adze_tap_weights(t, w));
    TRY(adze_tap_loss(t, &base));
    TRY(adze_tap_read(t, "y", 0, &v, &ny));
    memcpy(y, v, (size_t)ny * sizeof *y);
    for (int k = 0; k < TURNS; k++) {
        TRY(turned(t, w, at, &r));
        TRY(adze_tap_loss(t, &loss));
        TRY(adze_tap_read(t, "y", 0, &v, &ny));
        rise += fabs(loss - base) / TURNS;
        for (int64_t i = 0; i < ny; i++) {
            most = fmax(most, fabs(v[i] - y[i]));
        }
    }
    adze_found(f, "output_change_most", most);
    adze_found(f, "output_change_relative", most / (adze_norm_of(y, ny) / sqrt((double)ny)));
    adze_found(f, "loss_change_mean", rise);
    adze_found(f, "loss", base);
    return ADZE_OK;
}

int adze_probe_sensitivity(adze_ctx *ctx, const adze_diag_subject *s, const adze_diag_opts *o, adze_findings *f) {
    adze_tap t = {.ctx = NULL};
    double *w = NULL, *y = NULL;
    int st = adze_tap_open(&t, ctx, s, o, o->batch, o->mode, 0);
    if (st == ADZE_OK) {
        const adze_type type = adze_val_type(t.g, t.y);
        w = adze_alloc(ctx, 2 * t.nweights, sizeof *w);
        y = adze_alloc(ctx, adze_type_count(&type), sizeof *y);
        st = w && y ? sensitivity(&t, f, w, y) : ADZE_ENOMEM;
    }
    adze_free(ctx, w);
    adze_free(ctx, y);
    adze_tap_close(&t);
    return st;
}

/* -- ablation: a share of the units of every dense and convolutional layer but the last is deleted: their weights and biases become 0 ------------ */

enum { SHARES = 9, DRAWS = 3 };

static bool has_units(const adze_tap *t, int param) {
    const adze_layer_kind *kind = t->layer[param] >= 0 ? t->m->layers[t->layer[param]].spec->kind : NULL;
    return kind == &adze_layer_dense || kind == &adze_layer_conv;
}

static void delete_units(const adze_tap *t, const double *w, double share, int draw, double *at, int64_t *order) {
    int last = -1, layer = -1;
    int64_t from = 0, units = 0;
    memcpy(at, w, (size_t)t->nweights * sizeof *w);
    for (int i = 0; i < t->nparams; i++) {
        last = has_units(t, i) ? t->layer[i] : last;
    }
    for (int i = 0; i < t->nparams; i++) {
        const adze_type type = adze_store_type(t->store, t->slot[i]);
        const int64_t n = adze_type_count(&type), cols = type.dims[type.rank - 1];
        if (has_units(t, i) && t->layer[i] != layer) { /* its weights come first */
            layer = t->layer[i];
            units = cols;
            adze_rng r = adze_rng_make(t->o->seed, adze_hash_str("ablation") + (uint64_t)(layer * DRAWS + draw));
            for (int64_t k = 0; k < units; k++) {
                order[k] = k;
            }
            adze_rng_permute(&r, order, units);
        }
        for (int64_t k = 0; k < n && t->layer[i] == layer && layer != last && cols == units; k++) {
            at[from + k] = (double)order[k % cols] < share * (double)units ? 0 : at[from + k];
        }
        from += n;
    }
}

static int share_of_errors(adze_tap *t, const adze_diag_subject *s, double *error) {
    const int64_t n = s->x.dims[0], *label = adze_tensor_data(&s->labels);
    int64_t wrong = 0;
    for (int64_t at = 0; at < n; at += t->batch) {
        const int64_t first = at + t->batch <= n ? at : n - t->batch; /* the last batch holds some again, which count once */
        const double *y;
        int64_t ny;
        TRY(adze_tap_fill(t, first));
        TRY(adze_tap_run(t));
        TRY(adze_tap_read(t, "y", 0, &y, &ny));
        for (int64_t i = at - first; i < t->batch; i++) {
            wrong += adze_scores_rank(y + i * (ny / t->batch), ny / t->batch, label[first + i]) != 0;
        }
    }
    *error = (double)wrong / (double)n;
    return ADZE_OK;
}

static int ablation(adze_tap *t, const adze_diag_subject *s, adze_findings *f, double *w, int64_t *order) {
    double first = 0, area = 0;
    ADZE_COLUMNS(f, "error", "rise");
    adze_track *track = adze_found_track(f, "error");
    TRY(adze_tap_weights(t, w));
    for (int i = 0; i < SHARES; i++) {
        const double share = 0.1 * i;
        double mean = 0, *cell = adze_found_row(f, "%.0f %% of the units", 100 * share);
        for (int draw = 0; draw < (i > 0 ? DRAWS : 1); draw++) {
            double error;
            delete_units(t, w, share, draw, w + t->nweights, order);
            TRY(adze_tap_set_weights(t, w + t->nweights));
            TRY(share_of_errors(t, s, &error));
            mean += error / (i > 0 ? DRAWS : 1);
        }
        first = i > 0 ? first : mean;
        area += mean / SHARES;
        cell[0] = mean, cell[1] = mean - first;
        adze_found_point(f, track, share, mean);
        if (i == 3 || i == 5) {
            adze_found(f, i == 3 ? "rise_30" : "rise_50", mean - first);
        }
    }
    adze_found(f, "error", first);
    adze_found(f, "error_mean", area);
    adze_found_picture(f, "share of the units", "error", "Errors when units are deleted");
    return ADZE_OK;
}

int adze_probe_ablation(adze_ctx *ctx, const adze_diag_subject *s, const adze_diag_opts *o, adze_findings *f) {
    adze_tap t = {.ctx = NULL};
    double *w = NULL;
    int64_t *order = NULL, most = 0;
    int st = adze_tap_open(&t, ctx, s, o, o->batch, ADZE_DIAG_EVAL, 0);
    if (st == ADZE_OK && (adze_val_type(t.g, t.y).rank != 2 || adze_val_type(t.g, t.y).dims[1] < 2)) {
        st = adze_fail(ctx, ADZE_EARG, "probe 'ablation' counts errors: model '%s' has no classes", adze_model_name(t.m));
    }
    for (int i = 0; st == ADZE_OK && i < t.nparams; i++) {
        const adze_type type = adze_store_type(t.store, t.slot[i]);
        most = has_units(&t, i) && type.dims[type.rank - 1] > most ? type.dims[type.rank - 1] : most;
    }
    if (st == ADZE_OK && most == 0) {
        st = adze_fail(ctx, ADZE_EARG, "probe 'ablation' deletes units of dense and convolutional layers: model '%s' has none", adze_model_name(t.m));
    }
    if (st == ADZE_OK) {
        w = adze_alloc(ctx, 2 * t.nweights, sizeof *w);
        order = adze_alloc(ctx, most, sizeof *order);
        st = w && order ? ablation(&t, s, f, w, order) : ADZE_ENOMEM;
    }
    adze_free(ctx, w);
    adze_free(ctx, order);
    adze_tap_close(&t);
    return st;
}

/* -- effective-lr -------------------------------------------------------------------------------------------------------------------------------- */

static adze_val slope_one(adze_graph *g, adze_val w, const void *user) {
    (void)user;
    return adze_sum(g, w, NULL, 0, false);
}

static const int64_t MOMENTS[] = {1, 2, 3, 5, 10, 12, 20, 50, 100, 1000};
static const char *const MOMENT_NAMES[] = {"t=1", "t=2", "t=3", "t=5", "t=10", "t=12", "t=20", "t=50", "t=100", "t=1000"};

static int steps_of(adze_ctx *ctx, const adze_runner *r, adze_findings *f) {
    const adze_surface line = {.n = 1, .loss = slope_one};
    adze_descent d = {.ctx = NULL};
    double last = 0, most = 0, *cell = adze_found_row(f, "%s", r->name);
    adze_track *track = adze_found_track(f, "%s", r->name);
    char key[ADZE_FINDING_NAME];
    int st = adze_descent_open(&d, ctx, &line, &r->o);
    st = st == ADZE_OK ? adze_descent_start(&d, &last) : st;
    for (size_t k = 0; st == ADZE_OK && k < ADZE_COUNT(MOMENTS);) {
        st = adze_descent_step(&d, NULL);
        const double now = adze_descent_get(&d, 0), step = (last - now) / d.o.lr;
        last = now;
        if (step > most * (1 + 1e-9)) { /* not by rounding */
            most = step;
            snprintf(key, sizeof key, "%.50s_peak_at", r->name);
            adze_found(f, key, (double)d.t);
        }
        if (d.t <= 100) {
            adze_found_point(f, track, (double)d.t, step);
        }
        if (d.t == MOMENTS[k]) {
            snprintf(key, sizeof key, "%.50s_t%lld", r->name, (long long)d.t);
            adze_found(f, key, step);
            cell[k++] = step;
        }
    }
    snprintf(key, sizeof key, "%.50s_peak", r->name);
    adze_found(f, key, most);
    adze_descent_close(&d);
    return st;
}

int adze_probe_effective_lr(adze_ctx *ctx, const adze_diag_subject *s, const adze_diag_opts *o, adze_findings *f) {
    adze_train_opts base;
    char text[1024] = "";
    int n = 0;
    (void)s;
    TRY(adze_fields_default(adze_train_fields(), &base));
    const char *const *names = adze_field_find(adze_train_fields(), "optimizer")->names;
    for (int i = 0; i < ADZE_NEWTON && strlen(text) + strlen(names[i]) + 40 < sizeof text; i++) {
        strcat(strcat(text, names[i]), ",");
    }
    strcat(text, "adam:bias_correction=false");
    adze_runner *list = adze_alloc(ctx, ADZE_RUNNERS, sizeof *list);
    int st = list != NULL ? adze_runners(ctx, o->optimizers[0] != 0 ? o->optimizers : text, &base, list, &n) : ADZE_ENOMEM;
    adze_found_columns(f, MOMENT_NAMES, ADZE_COUNT(MOMENTS));
    adze_found_picture(f, "step", "step / rate", "Step over rate, gradient always 1");
    for (int i = 0; i < n && st == ADZE_OK; i++) {
        st = steps_of(ctx, &list[i], f);
    }
    adze_free(ctx, list);
    return st;
}
