/* Demonstrations of motion: rates of convergence, terminal velocity, wells and oscillations, and what a walk that stops early has in common with
 * weight decay. */
#include "train/demo.h"

#include <math.h>
#include <stdio.h>

adze_val adze_demo_bowl(adze_graph *g, adze_val w, const void *bowl) {
    const adze_bowl *b = bowl;
    const adze_val lambda = adze_const(g, adze_type_make(ADZE_F64, 1, &b->n), b->lambda);
    return adze_scale(g, adze_sum(g, adze_mul(g, lambda, adze_square(g, adze_scale(g, w, 1, -b->at))), NULL, 0, false), 0.5, 0);
}

/* -- rates --------------------------------------------------------------------------------------------------------------------------------------- */

enum { RATES_DRAWN = 150 }; /* steps */

/* Factor per step over the second half of `most` steps from (1, 1). drawn: a name for the way, or NULL. */
static int rate_of(const adze_demo *d, const adze_surface *s, const adze_runner *r, int64_t most, const char *drawn, double *rate) {
    static const double from[2] = {1, 1};
    double *ways = adze_alloc(d->ctx, 2 * (most + 1), sizeof *ways);
    TRY(ADZE_GOT(ways));
    adze_walk w = {.s = s, .r = r, .from = from, .most = most, .log = ways};
    const int st = adze_demo_walk(d, &w);
    const double *a = ways + most / 2 * 2, *b = ways + most * 2;
    *rate = exp((log(hypot(b[0], b[1])) - log(hypot(a[0], a[1]))) / (double)(most - most / 2));
    adze_track *t = drawn != NULL ? adze_found_track(d->f, "%s", drawn) : NULL;
    for (int64_t i = 0; i <= RATES_DRAWN && t != NULL && st == ADZE_OK; i++) {
        adze_found_point(d->f, t, (double)i, log10(hypot(ways[2 * i], ways[2 * i + 1])));
    }
    adze_free(d->ctx, ways);
    return st;
}

static void draw_rate(const adze_demo *d, const char *name, double rate) {
    adze_track *t = adze_found_track(d->f, "%s", name);
    adze_found_point(d->f, t, 0, log10(hypot(1, 1)));
    adze_found_point(d->f, t, RATES_DRAWN, log10(hypot(1, 1)) + RATES_DRAWN * log10(rate));
}

int adze_demo_rates(const adze_demo *d) {
    static const double kappas[] = {10, 100, 1e3, 1e4};
    double most[2] = {0};
    ADZE_COLUMNS(d->f, "descent", "formula", "error", "heavy ball", "heavy formula", "heavy error");
    for (size_t i = 0; i < ADZE_COUNT(kappas); i++) {
        const double k = kappas[i], root = sqrt(k), lambda[2] = {1, k}, plain = (k - 1) / (k + 1), heavy = (root - 1) / (root + 1);
        const adze_bowl bowl = {2, lambda, 0};
        const adze_surface s = {2, adze_demo_bowl, &bowl};
        const adze_runner a = adze_demo_runner(d, ADZE_DEMO_SGD, 2 / (1 + k), 0);
        const adze_runner b = adze_demo_runner(d, ADZE_DEMO_HEAVY, 4 / ((1 + root) * (1 + root)), heavy * heavy);
        double *cell = adze_found_row(d->f, "kappa %g", k), rate[2];
        const bool drawn = k == 100;
        const int64_t steps = (int64_t)(100 * root); /* the heavy ball's roots are double: the longer, the nearer */
        TRY(rate_of(d, &s, &a, steps, drawn ? "descent" : NULL, &rate[0]));
        TRY(rate_of(d, &s, &b, steps, drawn ? "heavy ball" : NULL, &rate[1]));
        if (drawn) {
            draw_rate(d, "descent, formula", plain);
            draw_rate(d, "heavy ball, formula", heavy);
        }
        cell[0] = rate[0], cell[1] = plain, cell[2] = fabs(log(rate[0]) / log(plain) - 1);
        cell[3] = rate[1], cell[4] = heavy, cell[5] = fabs(log(rate[1]) / log(heavy) - 1);
        most[0] = fmax(most[0], cell[2]), most[1] = fmax(most[1], cell[5]);
    }
    adze_found(d->f, "descent_error", most[0]); /* of the logarithm of the rate, relative, at the worst kappa */
    adze_found(d->f, "heavy_ball_error", most[1]);
    adze_found_picture(d->f, "step", "log10", "Distance from the minimum, condition 100");
    return ADZE_OK;
}

/* -- plateau ------------------------------------------------------------------------------------------------------------------------------------- */

static adze_val slope(adze_graph *g, adze_val w, const void *user) {
    (void)user;
    return adze_sum(g, w, NULL, 0, false);
}

int adze_demo_plateau(const adze_demo *d) {
    const adze_surface s = {1, slope, NULL};
    const int64_t most = adze_demo_steps(d, 1000);
    const double from = 0, lr = d->t->lr > 0 ? d->t->lr : 0.01;
    const adze_runner runs[2] = {adze_demo_runner(d, ADZE_DEMO_SGD, lr, 0), adze_demo_runner(d, ADZE_DEMO_HEAVY, lr, d->o->rho)};
    double *log = adze_alloc(d->ctx, most + 1, sizeof *log), one = 1, far = 1;
    int st = ADZE_GOT(log);
    ADZE_COLUMNS(d->f, "displacement", "last step", "over sgd");
    for (int i = 0; i < 2 && st == ADZE_OK; i++) {
        adze_walk w = {.s = &s, .r = &runs[i], .from = &from, .most = most, .log = log};
        adze_track *t = adze_found_track(d->f, i ? "momentum" : "sgd");
        st = adze_demo_walk(d, &w);
        for (int64_t k = 0; k <= most && k <= 100; k++) {
            adze_found_point(d->f, t, (double)k, -log[k]);
        }
        double *cell = adze_found_row(d->f, i ? "momentum" : "sgd");
        cell[0] = -log[most], cell[1] = log[most - 1] - log[most], cell[2] = cell[1] / (i ? one : cell[1]);
        far = i ? cell[0] / far : cell[0], one = i ? one : cell[1];
        adze_found(d->f, "terminal_ratio", cell[2]);
    }
    adze_found(d->f, "formula", 1 / (1 - d->o->rho));
    adze_found(d->f, "displacement_ratio", far);
    adze_found_picture(d->f, "step", "way", "The way on a plateau of slope 1, momentum %g", d->o->rho);
    adze_free(d->ctx, log);
    return st;
}

/* -- double-well: x^4 / 4 - x^2 / 2 + 0.15 x, from rest at 1.6 into the shallower well ----------------------------------------------------------- */

static const double TILT = 0.15, WELL_START = 1.6, WELL_TIME = 30;

static adze_val wells(adze_graph *g, adze_val w, const void *user) {
    (void)user;
    const adze_val q = adze_square(g, w);
    const adze_val f = adze_add(g, adze_sub(g, adze_scale(g, adze_square(g, q), 0.25, 0), adze_scale(g, q, 0.5, 0)), adze_scale(g, w, TILT, 0));
    return adze_sum(g, f, NULL, 0, false);
}

static double well_slope(double x) {
    return x * x * x - x + TILT;
}

static double barrier(void) { /* between the wells: the root of the slope near 0, by Newton */
    double x = TILT;
    for (int i = 0; i < 20; i++) {
        x -= well_slope(x) / (3 * x * x - 1);
    }
    return x;
}

static bool across(const adze_descent *k, const void *top) {
    return adze_descent_get(k, 0) < *(const double *)top;
}

/* x'' + mu x' + f'(x) = 0 by the classical Runge-Kutta method: whether it crosses. */
static bool ball_crosses(double mu, double top) {
    const double h = 2e-3;
    double x = WELL_START, v = 0;
    for (double t = 0; t < WELL_TIME && x >= top; t += h) {
        const double a1 = -mu * v - well_slope(x), v2 = v + h / 2 * a1, a2 = -mu * v2 - well_slope(x + h / 2 * v);
        const double v3 = v + h / 2 * a2, a3 = -mu * v3 - well_slope(x + h / 2 * v2), v4 = v + h * a3, a4 = -mu * v4 - well_slope(x + h * v3);
        x += h / 6 * (v + 2 * v2 + 2 * v3 + v4);
        v += h / 6 * (a1 + 2 * a2 + 2 * a3 + a4);
    }
    return x < top;
}

static int crosses(const adze_demo *d, double lr, double rho, const double *top, adze_track *track, bool *out) {
    const adze_surface s = {1, wells, NULL};
    const adze_runner r = adze_demo_runner(d, ADZE_DEMO_HEAVY, lr, rho);
    const int64_t most = (int64_t)(WELL_TIME / sqrt(lr));
    double *log = adze_alloc(d->ctx, most + 1, sizeof *log);
    adze_walk w = {.s = &s, .r = &r, .from = &WELL_START, .most = most, .done = track ? NULL : across, .user = top, .log = log};
    const int st = log != NULL ? adze_demo_walk(d, &w) : ADZE_ENOMEM;
    for (int64_t i = 0; track != NULL && i <= most && st == ADZE_OK; i++) {
        adze_found_point(d->f, track, (double)i, log[i]);
    }
    adze_free(d->ctx, log);
    *out = w.steps >= 0;
    return st;
}

int adze_demo_double_well(const adze_demo *d) {
    static const double rates[] = {1e-3, 3e-3, 1e-2, 3e-2};
    const double top = barrier();
    double slow = 5, fast = 0, worst = 0, shown = 0;
    bool there, monotone = true;
    for (int i = 0; i < 40; i++) { /* friction below which the ball crosses */
        const double mu = (slow + fast) / 2;
        *(ball_crosses(mu, top) ? &fast : &slow) = mu;
    }
    ADZE_COLUMNS(d->f, "threshold", "predicted", "difference");
    for (size_t i = 0; i < ADZE_COUNT(rates); i++) {
        double lo = 0, hi = 0.9999, *cell = adze_found_row(d->f, "rate %g", rates[i]);
        for (int k = 0; k < 16; k++) {
            const double rho = (lo + hi) / 2;
            TRY(crosses(d, rates[i], rho, &top, NULL, &there));
            *(there ? &hi : &lo) = rho;
        }
        const double eta = rates[i], dt = (eta * fast + sqrt(eta * eta * fast * fast + 4 * eta)) / 2; /* eta = dt^2 / (1 + mu dt) */
        cell[0] = hi, cell[1] = 1 / (1 + fast * dt), cell[2] = fabs(cell[0] - cell[1]);
        worst = fmax(worst, cell[2]), shown = i == 2 ? hi : shown;
        for (int k = 0; k < 20; k++) {
            const double rho = 0.05 * k;
            TRY(crosses(d, rates[i], rho, &top, NULL, &there));
            monotone = monotone && there == (rho >= hi);
        }
    }
    for (int i = 0; i < 2; i++) {
        const double rho = shown + (i ? 0.02 : -0.02);
        TRY(crosses(d, rates[2], rho, &top, adze_found_track(d->f, "momentum %.2f", rho), &there));
    }
    adze_found(d->f, "critical_friction", fast);
    adze_found(d->f, "threshold", shown); /* at rate 0.01 */
    adze_found(d->f, "difference_most", worst);
    adze_found(d->f, "monotone", monotone); /* it crosses if and only if the momentum is above the threshold */
    adze_found_picture(d->f, "step", "x", "A ball above two wells, rate 0.01");
    return ADZE_OK;
}

/* -- oscillator: eta = dt^2 / (m + mu dt), rho = m / (m + mu dt) --------------------------------------------------------------------------------- */

static const double FRICTION = 0.5, SPAN = 20; /* mass 1, spring 1 */

static double oscillation(double t) {
    const double a = FRICTION / 2, b = sqrt(1 - a * a);
    return exp(-a * t) * (cos(b * t) + a / b * sin(b * t));
}

static int oscillate(const adze_demo *d, double dt, adze_track *track, double *error) {
    static const double lambda = 1, from = 1;
    const adze_bowl bowl = {1, &lambda, 0};
    const adze_surface s = {1, adze_demo_bowl, &bowl};
    const adze_runner r = adze_demo_runner(d, ADZE_DEMO_HEAVY, dt * dt / (1 + FRICTION * dt), 1 / (1 + FRICTION * dt));
    const int64_t most = (int64_t)(SPAN / dt + 0.5);
    double *log = adze_alloc(d->ctx, most + 1, sizeof *log);
    adze_walk w = {.s = &s, .r = &r, .from = &from, .most = most, .log = log};
    const int st = log != NULL ? adze_demo_walk(d, &w) : ADZE_ENOMEM;
    *error = 0;
    for (int64_t i = 0; i <= most && st == ADZE_OK; i++) {
        *error = fmax(*error, fabs(log[i] - oscillation((double)i * dt)));
        if (track != NULL) {
            adze_found_point(d->f, track, (double)i * dt, log[i]);
        }
    }
    adze_free(d->ctx, log);
    return st;
}

int adze_demo_oscillator(const adze_demo *d) {
    double before = 0, error;
    ADZE_COLUMNS(d->f, "error", "order");
    for (int i = 0; i < 5; i++) {
        const double dt = 0.2 / (1 << i);
        TRY(oscillate(d, dt, i == 0 ? adze_found_track(d->f, "heavy ball, dt 0.2") : NULL, &error));
        double *cell = adze_found_row(d->f, "dt %g", dt);
        cell[0] = error, cell[1] = i > 0 ? log2(before / error) : (double)NAN;
        before = error;
        adze_found(d->f, "order", cell[1]); /* 1: the error halves with dt, so that it goes as the root of the rate */
    }
    adze_found(d->f, "error", error);
    adze_track *exact = adze_found_track(d->f, "equation of motion");
    for (int i = 0; i <= 100; i++) {
        adze_found_point(d->f, exact, SPAN * i / 100, oscillation(SPAN * i / 100));
    }
    adze_found_picture(d->f, "time", "x", "Heavy ball and damped oscillator");
    return ADZE_OK;
}

/* -- early-stopping ------------------------------------------------------------------------------------------------------------------------------ */

int adze_demo_early_stopping(const adze_demo *d) {
    enum { EIGENVALUES = 9 };
    const int64_t most = adze_demo_steps(d, 100);
    const double lr = d->t->lr > 0 ? d->t->lr : 0.01, alpha = 1 / ((double)most * lr);
    double lambda[EIGENVALUES], from[EIGENVALUES] = {0}, formula_error = 0, difference = 0;
    for (int i = 0; i < EIGENVALUES; i++) {
        lambda[i] = pow(10, -2 + 0.5 * i) * 0.5;
    }
    const adze_bowl bowl = {EIGENVALUES, lambda, 1};
    const adze_surface s = {EIGENVALUES, adze_demo_bowl, &bowl};
    const adze_runner r = adze_demo_runner(d, ADZE_DEMO_SGD, lr, 0);
    double *log = adze_alloc(d->ctx, EIGENVALUES * (most + 1), sizeof *log);
    adze_walk w = {.s = &s, .r = &r, .from = from, .most = most, .log = log};
    const int st = log != NULL ? adze_demo_walk(d, &w) : ADZE_ENOMEM;
    ADZE_COLUMNS(d->f, "stopped", "formula", "decayed", "difference");
    for (int i = 0; i < EIGENVALUES && st == ADZE_OK; i++) {
        double *cell = adze_found_row(d->f, "lambda %.3g", lambda[i]);
        cell[0] = log[most * EIGENVALUES + i], cell[1] = 1 - pow(1 - lr * lambda[i], (double)most), cell[2] = lambda[i] / (lambda[i] + alpha);
        cell[3] = fabs(cell[0] - cell[2]);
        formula_error = fmax(formula_error, fabs(cell[0] - cell[1]));
        difference = fmax(difference, cell[3]);
    }
    for (int i = 0; i < 3 && st == ADZE_OK; i++) {
        adze_track *t = adze_found_track(d->f, i == 0 ? "stopped" : i == 1 ? "formula" : "decayed");
        for (int k = 0; k < EIGENVALUES; k++) {
            const double way[3] = {log[most * EIGENVALUES + k], 1 - pow(1 - lr * lambda[k], (double)most), lambda[k] / (lambda[k] + alpha)};
            adze_found_point(d->f, t, log10(lambda[k]), way[i]);
        }
    }
    adze_found_picture(d->f, "log10 of the curvature", "share", "Shares of the way: %lld steps, and decay", (long long)most);
    adze_free(d->ctx, log);
    adze_found(d->f, "alpha", alpha);
    adze_found(d->f, "formula_error", formula_error);
    adze_found(d->f, "difference_most", difference); /* of shares of the way to the minimum; 0 would be the same */
    return st;
}
