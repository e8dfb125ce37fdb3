/* Averaged stochastic gradient descent where theory says what it attains: linear regression with independent examples. */
#include "train/steps.h"

#include "adze/ops.h"

#include <math.h>

typedef struct demo {
    const adze_regression *o;
    adze_store *store;
    adze_plan *plan;
    adze_session *session;
    adze_tensor x, noise, lr, share;
} demo;

/* w -= lr (x . (w - 1) - noise) x; avg += share (w - avg), a run in each row. */
static int build(const demo *d, adze_graph *g) {
    const int64_t dims[2] = {d->o->runs, d->o->dims};
    const adze_type rows = adze_type_make(ADZE_F64, 2, dims), column = adze_type_make(ADZE_F64, 2, (int64_t[]){d->o->runs, 1});
    const adze_val w = adze_slot(g, "w", rows), avg = adze_slot(g, "avg", rows), x = adze_input(g, "x", rows);
    const adze_val lr = adze_input(g, "lr", adze_scalar_type(ADZE_F64)), share = adze_input(g, "share", adze_scalar_type(ADZE_F64));
    const adze_val off = adze_sum(g, adze_mul(g, adze_scale(g, w, 1, -1), x), (int[]){1}, 1, true);
    const adze_val residual = adze_sub(g, off, adze_input(g, "noise", column));
    const adze_val next = adze_sub(g, w, adze_mul(g, lr, adze_mul(g, residual, x)));
    adze_assign(g, w, next);
    adze_assign(g, avg, adze_average_toward(g, avg, next, share));
    return adze_graph_status(g);
}

static int open_demo(demo *d, adze_ctx *ctx) {
    adze_graph *g = NULL;
    TRY(adze_graph_new(ctx, &g));
    int st = build(d, g);
    if (st == ADZE_OK) {
        st = adze_compile(g, NULL, &d->plan);
    }
    adze_graph_free(g);
    TRY(st);
    TRY(adze_store_new(ctx, &d->store));
    TRY(adze_session_new(ctx, d->plan, d->store, "", &d->session));
    TRY(adze_session_input(d->session, "x", &d->x));
    TRY(adze_session_input(d->session, "noise", &d->noise));
    TRY(adze_session_input(d->session, "lr", &d->lr));
    return adze_session_input(d->session, "share", &d->share);
}

static void draw(const adze_tensor *t, int64_t n, double sd, uint64_t seed, int64_t step) {
    double *v = adze_tensor_data(t);
    adze_rng r = adze_rng_make(seed, (uint64_t)step);
    for (int64_t i = 0; i < n; i++) {
        v[i] = sd * adze_rng_normal(&r);
    }
}

static int distance(const demo *d, const char *slot, double *out) {
    adze_tensor t;
    const int64_t n = d->o->runs * d->o->dims;
    TRY(adze_store_tensor(d->store, adze_store_find(d->store, slot), &t));
    *out = 0;
    for (int64_t i = 0; i < n; i++) {
        const double off = adze_tensor_get(&t, i) - 1;
        *out += off * off / (double)d->o->runs;
    }
    return ADZE_OK;
}

static int descend(demo *d, adze_regression_result *out) {
    const adze_regression *o = d->o;
    for (int64_t t = 1; t <= o->steps; t++) {
        draw(&d->x, o->runs * o->dims, 1, o->seed, 2 * t);
        draw(&d->noise, o->runs, o->sigma, o->seed, 2 * t + 1);
        adze_tensor_set(&d->lr, 0, o->lr * pow((double)t, -o->power));
        adze_tensor_set(&d->share, 0, 1 / (double)t);
        TRY(adze_session_run(d->session));
    }
    out->optimal = o->sigma * o->sigma * (double)o->dims / (double)o->steps;
    TRY(distance(d, "w", &out->last));
    return distance(d, "avg", &out->average);
}

int adze_average_regression(adze_ctx *ctx, const adze_regression *o, adze_regression_result *out) {
    demo d = {.o = o};
    *out = (adze_regression_result){0};
    if (o->dims < 1 || o->steps < 1 || o->runs < 1 || !(o->lr > 0) || !(o->power >= 0) || !(o->sigma >= 0)) {
        return adze_fail(ctx, ADZE_EARG, "a regression needs at least one dimension, step and run, a rate above 0, and no negative power or sigma");
    }
    int st = open_demo(&d, ctx);
    if (st == ADZE_OK) {
        st = descend(&d, out);
    }
    adze_session_free(d.session);
    adze_plan_free(d.plan);
    adze_store_free(d.store);
    return st;
}
