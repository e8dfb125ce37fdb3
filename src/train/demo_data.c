/* Demonstrations on data and sequences: where adaptive methods go wrong, conditions of random data, copies, gradients through time, clipping. */
#include "adze/linalg.h"
#include "train/demo.h"

#include <math.h>
#include <stdio.h>

typedef struct regression { /* mean of (x w - y)^2 / 2 */
    int64_t rows, cols;
    double *x, *y;
} regression;

static adze_val squares(adze_graph *g, adze_val w, const void *user) {
    const regression *r = user;
    const adze_val x = adze_const(g, adze_type_make(ADZE_F64, 2, (int64_t[]){r->rows, r->cols}), r->x);
    const adze_val y = adze_const(g, adze_type_make(ADZE_F64, 2, (int64_t[]){r->rows, 1}), r->y);
    const adze_val out = adze_matmul(g, x, adze_reshape(g, w, (int64_t[]){r->cols, 1}, 2), false, false);
    return adze_scale(g, adze_mean(g, adze_square(g, adze_sub(g, out, y)), NULL, 0, false), 0.5, 0);
}

static int regression_new(const adze_demo *d, int64_t rows, int64_t cols, regression *r) {
    *r = (regression){rows, cols, adze_alloc(d->ctx, rows * (cols + 1), sizeof(double)), NULL};
    r->y = r->x != NULL ? r->x + rows * cols : NULL;
    return ADZE_GOT(r->x);
}

/* -- wilson: the label, two ones, and features that no other example has ------------------------------------------------------------------------- */

enum { WILSON = 40, POSITIVE = 28 };

static void wilson_data(regression *r, uint64_t seed) {
    int64_t order[WILSON];
    adze_rng rng = adze_rng_make(seed, adze_hash_str("wilson"));
    for (int64_t i = 0; i < WILSON; i++) {
        order[i] = i;
    }
    adze_rng_permute(&rng, order, WILSON);
    for (int64_t i = 0; i < WILSON; i++) {
        double *row = r->x + i * r->cols;
        r->y[i] = order[i] < POSITIVE ? 1 : -1;
        row[0] = r->y[i], row[1] = row[2] = 1;
        for (int k = 0; k < (r->y[i] > 0 ? 1 : 5); k++) {
            row[3 + 5 * i + k] = 1;
        }
    }
}

/* A fresh example's own features have weights that were never moved: it is judged by the first three. */
static double wilson_error(const double *w) {
    const double share = (double)POSITIVE / WILSON;
    return (w[0] + w[1] + w[2] <= 0 ? share : 0) + (w[0] - w[1] - w[2] <= 0 ? 1 - share : 0);
}

static int wilson_run(const adze_demo *d, const regression *r, const adze_runner *who) {
    const adze_surface s = {r->cols, squares, r};
    adze_descent k = {.ctx = NULL};
    double *w = adze_alloc(d->ctx, r->cols, sizeof *w), loss = 0, *cell = adze_found_row(d->f, "%s", who->name);
    int wrong = 0, st = w != NULL ? adze_descent_open(&k, d->ctx, &s, &who->o) : ADZE_ENOMEM;
    st = st == ADZE_OK ? adze_descent_start(&k, w) : st;
    const int64_t most = adze_demo_steps(d, 5000), every = most / 100 > 0 ? most / 100 : 1;
    adze_track *margin = adze_found_track(d->f, "%s", who->name);
    for (int64_t i = 0; i < most && st == ADZE_OK; i++) {
        st = adze_descent_step(&k, &loss);
        if (i % every == 0) {
            adze_found_point(d->f, margin, (double)i, adze_descent_get(&k, 0) - adze_descent_get(&k, 1) - adze_descent_get(&k, 2));
        }
    }
    for (int64_t i = 0; i < r->cols && st == ADZE_OK; i++) {
        w[i] = adze_descent_get(&k, i);
    }
    for (int64_t i = 0; i < r->rows && st == ADZE_OK; i++) {
        double out = 0;
        for (int64_t j = 0; j < r->cols; j++) {
            out += r->x[i * r->cols + j] * w[j];
        }
        wrong += out * r->y[i] <= 0;
    }
    if (st == ADZE_OK) {
        cell[0] = loss, cell[1] = (double)wrong / (double)r->rows, cell[2] = wilson_error(w), cell[3] = w[0], cell[4] = w[1];
        adze_demo_key(d, who->name, "train_error", cell[1]);
        adze_demo_key(d, who->name, "test_error", cell[2]);
    }
    adze_descent_close(&k);
    adze_free(d->ctx, w);
    return st;
}

int adze_demo_wilson(const adze_demo *d) {
    regression r;
    adze_runner *list = adze_alloc(d->ctx, ADZE_RUNNERS, sizeof *list);
    int n = 0, st = regression_new(d, WILSON, 3 + 5 * WILSON, &r);
    st = list == NULL ? ADZE_ENOMEM : st;
    if (st == ADZE_OK) {
        wilson_data(&r, d->o->seed);
        st = adze_demo_runners(d, "sgd:lr=0.3,momentum:lr=0.05,adagrad:lr=0.05,rmsprop:lr=0.001,adam:lr=0.001", list, &n);
    }
    ADZE_COLUMNS(d->f, "loss", "training error", "test error", "weight of label", "weight of ones");
    for (int i = 0; i < n && st == ADZE_OK; i++) {
        st = wilson_run(d, &r, &list[i]);
    }
    adze_found_picture(d->f, "step", "margin", "Margin of fresh examples of the smaller class");
    adze_free(d->ctx, r.x);
    adze_free(d->ctx, list);
    return st;
}

/* -- reddi: slope 4 at every third step, else -1, on -1 .. 1; beta1 0, beta2 1/17, rate lr / sqrt t. The minimum of the sum is at -1 ------------- */

/* w[1] is the slope of this step: it is set anew before each. */
static adze_val tilted(adze_graph *g, adze_val w, const void *user) {
    const int64_t zero = 0, one = 1, two = 2;
    (void)user;
    return adze_sum(g, adze_mul(g, adze_slice(g, w, &zero, &one, &one), adze_slice(g, w, &one, &two, &one)), NULL, 0, false);
}

static int reddi_run(const adze_demo *d, adze_runner *r, double lr, double *end) {
    const adze_surface s = {2, tilted, NULL};
    const double from[2] = {0, 0};
    adze_descent k = {.ctx = NULL};
    adze_track *t = adze_found_track(d->f, "%s", r->name);
    int st = adze_descent_open(&k, d->ctx, &s, &r->o);
    st = st == ADZE_OK ? adze_descent_start(&k, from) : st;
    for (int64_t i = 1, most = adze_demo_steps(d, 3000); i <= most && st == ADZE_OK; i++) {
        k.o.lr = lr / sqrt((double)i);
        adze_descent_put(&k, 1, i % 3 == 1 ? 4 : -1);
        st = adze_descent_step(&k, NULL);
        *end = fmin(fmax(adze_descent_get(&k, 0), -1), 1);
        adze_descent_put(&k, 0, *end);
        if (i % (most / 100 > 0 ? most / 100 : 1) == 0) {
            adze_found_point(d->f, t, (double)i, *end);
        }
    }
    adze_descent_close(&k);
    return st;
}

int adze_demo_reddi(const adze_demo *d) {
    adze_runner *list = adze_alloc(d->ctx, ADZE_RUNNERS, sizeof *list);
    int n = 0, st = list != NULL ? adze_demo_runners(d, "sgd,adam,amsgrad", list, &n) : ADZE_ENOMEM;
    ADZE_COLUMNS(d->f, "end");
    for (int i = 0; i < n && st == ADZE_OK; i++) {
        double end = 0, *cell = adze_found_row(d->f, "%s", list[i].name);
        list[i].o.beta1 = list[i].o.beta1 >= 0 ? list[i].o.beta1 : 0;
        list[i].o.beta2 = list[i].o.beta2 >= 0 ? list[i].o.beta2 : 1.0 / 17;
        list[i].o.bias_correction = false; /* as the theorem has it */
        st = reddi_run(d, &list[i], list[i].o.lr > 0 ? list[i].o.lr : 0.5, &end);
        *cell = end;
        adze_demo_key(d, list[i].name, "end", end);
    }
    adze_free(d->ctx, list);
    adze_found_picture(d->f, "step", "x", "Slope 4, -1, -1, 4, ...: the best place is -1");
    return st;
}

/* -- wishart ------------------------------------------------------------------------------------------------------------------------------------- */

static int condition(const adze_demo *d, int64_t rows, int64_t cols, int draw, double *kappa) {
    double *room = adze_alloc(d->ctx, rows * cols + cols * cols + cols, sizeof *room);
    TRY(ADZE_GOT(room));
    adze_rng r = adze_rng_make(d->o->seed, (uint64_t)(cols * 10 + draw));
    for (int64_t i = 0; i < rows * cols; i++) {
        room[i] = adze_rng_normal(&r);
    }
    double *gram = room + rows * cols, *e = gram + cols * cols;
    const adze_la_mat x = adze_la_dense(room, rows, cols), g = adze_la_dense(gram, cols, cols);
    int st = adze_la_matmul(d->ctx, x, true, x, false, g);
    st = st == ADZE_OK ? adze_la_eigen(d->ctx, g, e, (adze_la_mat){.at = NULL}) : st;
    *kappa = e[cols - 1] / e[0];
    adze_free(d->ctx, room);
    return st;
}

int adze_demo_wishart(const adze_demo *d) {
    static const char *const columns[] = {"condition", "formula", "error"};
    enum { DRAWS = 3 };
    static const struct {
        int64_t rows;
        double share;
    } tried[] = {{2000, 0.02}, {2000, 0.05}, {2000, 0.1}, {2000, 0.2}, {2000, 0.3}, {400, 0.3}};
    double worst = 0, measured[ADZE_COUNT(tried)];
    adze_found_columns(d->f, columns, 3);
    for (size_t i = 0; i < ADZE_COUNT(tried); i++) {
        const int64_t rows = tried[i].rows;
        const double root = sqrt(tried[i].share), formula = pow((1 + root) / (1 - root), 2);
        double *cell = adze_found_row(d->f, "%g of %lld", tried[i].share * (double)rows, (long long)rows), kappa;
        cell[0] = 0;
        for (int k = 0; k < DRAWS; k++) {
            TRY(condition(d, rows, (int64_t)(tried[i].share * (double)rows + 0.5), k, &kappa));
            cell[0] += kappa / DRAWS;
        }
        cell[1] = formula, cell[2] = fabs(cell[0] / formula - 1);
        worst = rows == 2000 ? fmax(worst, cell[2]) : worst; /* few rows are farther from the limit */
        measured[i] = cell[0];
    }
    adze_track *t = adze_found_track(d->f, "2000 rows");
    for (size_t i = 0; i < ADZE_COUNT(tried) && tried[i].rows == 2000; i++) {
        adze_found_point(d->f, t, tried[i].share, measured[i]);
    }
    t = adze_found_track(d->f, "formula");
    for (int i = 2; i <= 30; i++) {
        const double root = sqrt(i / 100.0);
        adze_found_point(d->f, t, i / 100.0, pow((1 + root) / (1 - root), 2));
    }
    adze_found_picture(d->f, "columns over rows", "condition", "Condition of random data");
    adze_found(d->f, "error_most", worst);
    return ADZE_OK;
}

/* -- duplicate ----------------------------------------------------------------------------------------------------------------------------------- */

int adze_demo_duplicate(const adze_demo *d) {
    enum { ROWS = 50, COLS = 8 };
    static const struct {
        const char *name;
        int rows;
        bool whole;
    } sets[] = {{"1 copies", ROWS, true},
                {"2 copies", 2 * ROWS, true},
                {"10 copies", 10 * ROWS, true},
                {"100 copies", 100 * ROWS, true},
                {"half twice", ROWS + ROWS / 2, false}};
    double at[COLS], first[COLS], g[COLS], apart[ADZE_COUNT(sets)], worst = 0;
    ADZE_COLUMNS(d->f, "gradient", "difference");
    for (size_t k = 0; k < ADZE_COUNT(sets); k++) {
        const int rows = sets[k].rows;
        adze_rng r = adze_rng_make(d->o->seed, adze_hash_str("duplicate"));
        const adze_runner sgd = adze_demo_runner(d, ADZE_DEMO_SGD, 1, 0);
        regression data;
        adze_descent run = {.ctx = NULL};
        TRY(regression_new(d, rows, COLS, &data));
        for (int i = 0; i < rows * (COLS + 1); i++) {
            const int y = i - rows * COLS; /* the labels lie behind the rows */
            data.x[i] = y < 0 ? (i < ROWS * COLS ? adze_rng_normal(&r) : data.x[i - ROWS * COLS]) : 0;
        }
        for (int i = 0; i < rows; i++) {
            data.y[i] = sin(3 * data.x[i * COLS]);
        }
        for (int i = 0; i < COLS; i++) {
            at[i] = 0.1 * (i + 1);
        }
        const adze_surface s = {COLS, squares, &data};
        double loss;
        apart[k] = 0;
        int st = adze_descent_open(&run, d->ctx, &s, &sgd.o);
        st = st == ADZE_OK ? adze_descent_at(&run, at, &loss, g) : st;
        adze_descent_close(&run);
        adze_free(d->ctx, data.x);
        TRY(st);
        double *cell = adze_found_row(d->f, "%s", sets[k].name);
        cell[0] = 0;
        for (int i = 0; i < COLS; i++) {
            first[i] = k == 0 ? g[i] : first[i];
            cell[0] = hypot(cell[0], g[i]), apart[k] = hypot(apart[k], g[i] - first[i]);
        }
        cell[1] = apart[k] /= cell[0];
        worst = sets[k].whole ? fmax(worst, cell[1]) : worst;
    }
    adze_found(d->f, "difference_most", worst);
    for (int whole = 0; whole < 2; whole++) {
        adze_track *t = adze_found_track(d->f, whole ? "all of it" : "half of it");
        for (size_t k = 0; k < ADZE_COUNT(sets); k++) {
            if (sets[k].whole == whole && k > 0) {
                adze_found_point(d->f, t, log10((double)sets[k].rows / ROWS), log10(fmax(apart[k], 1e-17)));
            }
        }
    }
    adze_found_picture(d->f, "log10 of the copies", "log10", "How far copies of the data turn the gradient");
    return ADZE_OK;
}

/* -- recurrence: h = W h or h = tanh(W h) with W = rho Q, Q orthonormal -------------------------------------------------------------------------- */

enum { UNITS = 16, TIME = 30 };

static int orthonormal(const adze_demo *d, double *q) {
    double tau[UNITS], a[UNITS * UNITS];
    adze_rng r = adze_rng_make(d->o->seed, adze_hash_str("recurrence"));
    for (int i = 0; i < UNITS * UNITS; i++) {
        a[i] = adze_rng_normal(&r);
    }
    TRY(adze_la_qr(d->ctx, adze_la_dense(a, UNITS, UNITS), tau, NULL));
    return adze_la_qr_q(d->ctx, adze_la_dense(a, UNITS, UNITS), tau, adze_la_dense(q, UNITS, UNITS));
}

static adze_val unroll(adze_graph *g, const double *w, bool squash, adze_val *h) {
    const adze_val m = adze_const(g, adze_type_make(ADZE_F64, 2, (int64_t[]){UNITS, UNITS}), w);
    for (int t = 0; t < TIME; t++) {
        const adze_val next = adze_matmul(g, h[t], m, false, false);
        h[t + 1] = squash ? adze_tanh(g, next) : next;
    }
    const adze_val way = adze_iota(g, adze_type_make(ADZE_F64, 2, (int64_t[]){1, UNITS}), 1);
    return adze_sum(g, adze_mul(g, h[TIME], adze_sin(g, adze_scale(g, way, 1, 1))), NULL, 0, false);
}

/* norms[k]: of the gradient k steps before the end. */
static int norms_in_time(const adze_demo *d, const double *w, bool squash, double *norms) {
    adze_graph *g = NULL;
    adze_plan *plan = NULL;
    adze_session *s = NULL;
    adze_val h[TIME + 1], gh[TIME + 1];
    adze_tensor t;
    TRY(adze_graph_new(d->ctx, &g));
    h[0] = adze_input(g, "h", adze_type_make(ADZE_F64, 2, (int64_t[]){1, UNITS}));
    int st = adze_grad(g, unroll(g, w, squash, h), h, TIME + 1, gh, 0);
    for (int i = 0; i <= TIME && st == ADZE_OK; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        st = adze_output(g, name, adze_sqrt(g, adze_sum(g, adze_square(g, gh[i]), NULL, 0, false)));
    }
    st = st == ADZE_OK ? adze_compile(g, NULL, &plan) : st;
    st = st == ADZE_OK ? adze_session_new(d->ctx, plan, NULL, "", &s) : st;
    st = st == ADZE_OK ? adze_session_input(s, "h", &t) : st;
    for (int i = 0; i < UNITS && st == ADZE_OK; i++) {
        adze_tensor_set(&t, i, cos(i));
    }
    st = st == ADZE_OK ? adze_session_run(s) : st;
    for (int i = 0; i <= TIME && st == ADZE_OK; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        st = adze_session_output(s, name, &t);
        norms[TIME - i] = st == ADZE_OK ? adze_tensor_get(&t, 0) : 0;
    }
    adze_session_free(s);
    adze_plan_free(plan);
    adze_graph_free(g);
    return st;
}

int adze_demo_recurrence(const adze_demo *d) {
    double w[UNITS * UNITS], norms[2][TIME + 1], worst = 0;
    const double rho = d->o->rho;
    TRY(orthonormal(d, w));
    for (int i = 0; i < UNITS * UNITS; i++) {
        w[i] *= rho;
    }
    TRY(norms_in_time(d, w, false, norms[0]));
    TRY(norms_in_time(d, w, true, norms[1]));
    ADZE_COLUMNS(d->f, "linear", "rho^k", "error", "tanh");
    for (int k = 0; k <= TIME; k++) {
        const double ratio = norms[0][k] / norms[0][0], error = fabs(ratio / pow(rho, k) - 1);
        worst = fmax(worst, error);
        if (k % 5 == 0) {
            double *cell = adze_found_row(d->f, "%d steps back", k);
            cell[0] = ratio, cell[1] = pow(rho, k), cell[2] = error, cell[3] = norms[1][k] / norms[1][0];
        }
    }
    for (int i = 0; i < 2; i++) {
        adze_track *t = adze_found_track(d->f, i ? "tanh" : "linear");
        for (int k = 0; k <= TIME; k++) {
            adze_found_point(d->f, t, k, log10(norms[i][k] / norms[i][0]));
        }
    }
    adze_found(d->f, "formula_error", worst);
    adze_found(d->f, "linear_end", norms[0][TIME] / norms[0][0]);
    adze_found(d->f, "tanh_end", norms[1][TIME] / norms[1][0]);
    adze_found_picture(d->f, "steps back", "log10", "Gradients through time, spectral radius %g", rho);
    return ADZE_OK;
}

/* -- clip ---------------------------------------------------------------------------------------------------------------------------------------- */

typedef struct linear { /* its gradient is v everywhere */
    int64_t n;
    const double *v;
} linear;

static adze_val along(adze_graph *g, adze_val w, const void *user) {
    const linear *l = user;
    return adze_sum(g, adze_mul(g, w, adze_const(g, adze_type_make(ADZE_F64, 1, &l->n), l->v)), NULL, 0, false);
}

/* The step of rate 1: the clipped gradient itself. */
static int clipped_gradient(const adze_demo *d, const linear *l, double value, double norm, double *out) {
    const adze_surface s = {l->n, along, l};
    adze_runner r = adze_demo_runner(d, ADZE_DEMO_SGD, 1, 0);
    const double from[16] = {0};
    adze_descent k = {.ctx = NULL};
    r.o.clip_value = value, r.o.clip_norm = norm;
    int st = adze_descent_open(&k, d->ctx, &s, &r.o);
    st = st == ADZE_OK ? adze_descent_start(&k, from) : st;
    st = st == ADZE_OK ? adze_descent_step(&k, NULL) : st;
    for (int64_t i = 0; i < l->n && st == ADZE_OK; i++) {
        out[i] = -adze_descent_get(&k, i);
    }
    adze_descent_close(&k);
    return st;
}

int adze_demo_clip(const adze_demo *d) {
    enum { N = 10 };
    static const char *const names[] = {"by value", "by norm", "by norm, small"};
    const double clip = adze_demo_clip_at(d, ADZE_DEMO_CLIP);
    double v[N], drawn[N] = {0};
    const linear l = {N, v};
    adze_rng r = adze_rng_make(d->o->seed, adze_hash_str("clip"));
    ADZE_COLUMNS(d->f, "norm before", "norm after", "largest", "angle");
    for (int i = 0; i < N; i++) {
        v[i] = adze_rng_normal(&r) * (i == 3 ? 100 : 1);
    }
    for (int k = 0; k < 3; k++) {
        double c[N], a = 0, b = 0, apart = 0, most = 0;
        for (int i = 0; i < N && k == 2; i++) {
            v[i] *= 1e-3 * clip;
        }
        TRY(clipped_gradient(d, &l, k == 0 ? clip : 0, k > 0 ? clip : 0, c));
        for (int i = 0; i < N; i++) {
            a = hypot(a, v[i]), b = hypot(b, c[i]), most = fmax(most, fabs(c[i]));
        }
        for (int i = 0; i < N; i++) {
            apart = hypot(apart, v[i] / a - c[i] / b);
        }
        adze_track *t = adze_found_track(d->f, "%s", k == 0 ? "gradient" : names[k - 1]);
        for (int i = 0; i < N; i++) { /* the gradient as it is; then what value and norm made of it */
            adze_found_point(d->f, t, i + 1, k == 0 ? v[i] / a : drawn[i]);
            drawn[i] = c[i] / b;
        }
        double *cell = adze_found_row(d->f, "%s", names[k]);
        cell[0] = a, cell[1] = b, cell[2] = most, cell[3] = 2 * asin(fmin(apart / 2, 1)) * 180 / acos(-1); /* degrees */
        adze_demo_key(d, k == 0 ? "value" : k == 1 ? "norm" : "small", "angle", cell[3]);
        adze_demo_key(d, k == 0 ? "value" : k == 1 ? "norm" : "small", "kept", b / a);
    }
    adze_found_picture(d->f, "component", "over its norm", "The direction of a gradient and of what clipping leaves");
    adze_found(d->f, "value_most", adze_findings_cell(d->f, "by value", "largest"));
    adze_found(d->f, "norm_after", adze_findings_cell(d->f, "by norm", "norm after"));
    return ADZE_OK;
}
