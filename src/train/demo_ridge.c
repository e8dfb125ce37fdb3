/* A demonstration of priors: what L2 leaves of each direction of a turned bowl, and what a prior of the bowl's own shape does. */
#include "train/demo.h"

#include <math.h>
#include <stdio.h>

typedef struct pulled { /* (w - at)' H (w - at) / 2 + w' C w / 2, in the plane */
    double h[4], c[4], at[2];
} pulled;

static adze_val form(adze_graph *g, adze_val w, const double *m) {
    const adze_val row = adze_reshape(g, w, (int64_t[]){1, 2}, 2), matrix = adze_const(g, adze_type_make(ADZE_F64, 2, (int64_t[]){2, 2}), m);
    return adze_scale(g, adze_sum(g, adze_mul(g, adze_matmul(g, row, matrix, false, false), row), NULL, 0, false), 0.5, 0);
}

static adze_val pulled_loss(adze_graph *g, adze_val w, const void *user) {
    const pulled *p = user;
    const int64_t two = 2;
    const adze_val at = adze_const(g, adze_type_make(ADZE_F64, 1, &two), p->at);
    return adze_add(g, form(g, adze_sub(g, w, at), p->h), form(g, w, p->c));
}

typedef struct frame { /* of the bowl: its axes, and curvatures along them */
    double cos, sin, low, high;
} frame;

static void turned_matrix(const frame *f, double factor, double *m) {
    m[0] = factor * (f->low * f->cos * f->cos + f->high * f->sin * f->sin);
    m[3] = factor * (f->low * f->sin * f->sin + f->high * f->cos * f->cos);
    m[1] = m[2] = factor * (f->low - f->high) * f->cos * f->sin;
}

/* Where the heavy ball comes to rest: the optimiser's own L2, or (shaped) alpha times the bowl's matrix. kept: of the minimum, along both axes. */
static int rest_of(const adze_demo *d, const frame *f, double alpha, bool shaped, double *w, double *kept) {
    const double low = f->low + alpha * (shaped ? f->low : 1), high = f->high + alpha * (shaped ? f->high : 1);
    const double sum = sqrt(low) + sqrt(high), from[2] = {0, 0};
    pulled p = {.at = {f->cos - f->sin, f->sin + f->cos}}; /* 1 along both */
    turned_matrix(f, 1, p.h);
    turned_matrix(f, shaped ? alpha : 0, p.c);
    const adze_surface s = {2, pulled_loss, &p};
    adze_runner r = adze_demo_runner(d, ADZE_DEMO_HEAVY, 4 / (sum * sum), pow((sqrt(high) - sqrt(low)) / sum, 2));
    r.o.l2 = shaped ? 0 : alpha;
    const int64_t most = adze_demo_steps(d, 100 + (int64_t)fmin(60 * sqrt(f->high / f->low), 1e5));
    double *log = adze_alloc(d->ctx, 2 * (most + 1), sizeof *log);
    adze_walk walk = {.s = &s, .r = &r, .from = from, .most = most, .log = log};
    const int st = log != NULL ? adze_demo_walk(d, &walk) : ADZE_ENOMEM;
    if (st == ADZE_OK) {
        memcpy(w, log + 2 * most, 2 * sizeof *w);
        kept[0] = f->cos * w[0] + f->sin * w[1], kept[1] = f->cos * w[1] - f->sin * w[0];
    }
    adze_free(d->ctx, log);
    return st;
}

int adze_demo_ridge(const adze_demo *d) {
    const double angle = d->o->rotate * acos(-1) / 180;
    const frame f = {cos(angle), sin(angle), 1, d->o->kappa};
    double error = 0, way[13][2][2];
    ADZE_COLUMNS(d->f, "flat", "formula", "steep", "steep formula", "shaped", "shaped formula");
    for (int i = 0; i < 13; i++) {
        const double alpha = pow(10, -2 + 0.5 * i), want[3] = {f.low / (f.low + alpha), f.high / (f.high + alpha), 1 / (1 + alpha)};
        double round[2], shaped[2], *cell = adze_found_row(d->f, "alpha %.3g", alpha);
        TRY(rest_of(d, &f, alpha, false, way[i][0], round));
        TRY(rest_of(d, &f, alpha, true, way[i][1], shaped));
        cell[0] = round[0], cell[1] = want[0], cell[2] = round[1], cell[3] = want[1], cell[4] = shaped[0], cell[5] = want[2];
        error = fmax(fmax(error, fabs(round[0] - want[0])), fmax(fabs(round[1] - want[1]), fabs(shaped[0] - want[2])));
        error = fmax(error, fabs(shaped[1] - want[2])); /* such a prior takes the same share of both */
    }
    for (int k = 0; k < 2; k++) {
        adze_track *t = adze_found_track(d->f, k ? "prior of the bowl's shape" : "L2: a round prior");
        for (int i = 0; i < 13; i++) {
            adze_found_point(d->f, t, way[i][k][0], way[i][k][1]);
        }
    }
    adze_found(d->f, "formula_error", error);
    adze_found_picture(d->f, "w1", "w2", "Where the minimum goes as the prior narrows, condition %g", d->o->kappa);
    return ADZE_OK;
}
