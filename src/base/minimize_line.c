/* The line search of More and Thuente: an interval that holds a point of the strong Wolfe conditions shrinks by cubic and quadratic steps. */
#include "base/linalg.h"
#include "base/minimize.h"

typedef struct trial { /* a step, the function there, its slope */
    double a, f, slope;
} trial;

static int evaluate(adze_min_line *l, double a, trial *t) {
    const int64_t n = l->fn->n;
    for (int64_t i = 0; i < n; i++) {
        l->xt[i] = l->x[i] + a * l->d[i];
    }
    l->evals++;
    t->a = a;
    TRY(l->fn->value(l->fn->user, l->xt, &t->f, l->gt));
    t->slope = la_dot(l->gt, l->d, n);
    return ADZE_OK;
}

/* Where the cubic through values and slopes of p and q has its minimum, as a share of the way from p to q. *real: the cubic has one. */
static double cubic(trial p, trial q, bool *real) {
    const double theta = 3 * (p.f - q.f) / (q.a - p.a) + p.slope + q.slope;
    const double s = fmax(fabs(theta), fmax(fabs(p.slope), fabs(q.slope)));
    const double square = (theta / s) * (theta / s) - (p.slope / s) * (q.slope / s);
    const double gamma = (q.a < p.a ? -s : s) * sqrt(fmax(square, 0));
    *real = square > 0;
    return (gamma - p.slope + theta) / (gamma - p.slope + gamma + q.slope);
}

static double secant(trial p, trial q) { /* the zero of the slope, from p to q */
    return p.slope / (p.slope - q.slope);
}

static double between(trial p, trial q, double share) {
    return p.a + share * (q.a - p.a);
}

typedef struct interval {
    trial best, end; /* best: the lowest so far; once bracketed, a minimum lies between the two */
    bool bracketed;
    double lo, hi; /* of the next trial */
} interval;

/* The next trial by the paper's four cases (section 4). */
static double next_trial(interval *v, trial t) {
    const trial b = v->best;
    bool real;
    double c, q, a;
    if (t.f > b.f) { /* 1: higher: a minimum is between */
        c = between(b, t, cubic(b, t, &real));
        q = b.a + 0.5 * (t.a - b.a) / (1 + (t.f - b.f) / (t.a - b.a) / -b.slope);
        a = fabs(c - b.a) < fabs(q - b.a) ? c : c + (q - c) / 2;
        v->bracketed = true;
    } else if (t.slope * b.slope < 0) { /* 2: lower, and the slope has turned */
        c = between(t, b, cubic(t, b, &real));
        q = between(t, b, secant(t, b));
        a = fabs(c - t.a) > fabs(q - t.a) ? c : q;
        v->bracketed = true;
    } else if (fabs(t.slope) < fabs(b.slope)) { /* 3: lower, and flatter */
        const double share = cubic(t, b, &real);
        c = share < 0 && real ? between(t, b, share) : t.a > b.a ? v->hi : v->lo;
        q = between(t, b, secant(t, b));
        const bool nearer = fabs(c - t.a) < fabs(q - t.a);
        a = nearer == v->bracketed ? c : q;
        const double most = t.a + 0.66 * (v->end.a - t.a);
        a = !v->bracketed ? fmin(fmax(a, v->lo), v->hi) : t.a > b.a ? fmin(most, a) : fmax(most, a);
    } else if (v->bracketed) { /* 4: lower, and no flatter */
        a = between(t, v->end, cubic(t, v->end, &real));
    } else {
        a = t.a > b.a ? v->hi : v->lo;
    }
    if (t.f > b.f) {
        v->end = t;
    } else {
        v->end = t.slope * b.slope < 0 ? b : v->end;
        v->best = t;
    }
    return a;
}

static int more_thuente(adze_min_line *l) {
    enum { GROW = 4 };
    const double most = 1e20, enough = l->c1 * l->slope;
    interval v = {.best = {0, l->f, l->slope}, .end = {0, l->f, l->slope}, .lo = 0, .hi = l->first * (1 + GROW)};
    double a = l->first, width = most, before = 2 * most;
    bool first_stage = true;
    while (l->evals < l->most) {
        trial t;
        TRY(evaluate(l, a, &t));
        if (!isfinite(t.f) || !isfinite(t.slope)) { /* outside of where f has a value */
            v.hi = a;
            a = v.best.a + (a - v.best.a) / 10;
            continue;
        }
        const double line = l->f + a * enough;
        first_stage = first_stage && !(t.f <= line && t.slope >= 0);
        if (t.f <= line && fabs(t.slope) <= -l->c2 * l->slope) {
            l->a = t.a;
            l->ft = t.f;
            l->slope_t = t.slope;
            return ADZE_OK;
        }
        if ((v.bracketed && (a <= v.lo || a >= v.hi || v.hi - v.lo <= 1e-14 * v.hi)) || a >= most) {
            break; /* rounding lets nothing better be found */
        }
        if (first_stage && t.f <= v.best.f && t.f > line) { /* the paper's auxiliary function: what is above the line of sufficient decrease */
            interval w = v;
            trial u = {t.a, t.f - t.a * enough, t.slope - enough};
            w.best = (trial){v.best.a, v.best.f - v.best.a * enough, v.best.slope - enough};
            w.end = (trial){v.end.a, v.end.f - v.end.a * enough, v.end.slope - enough};
            a = next_trial(&w, u);
            w.best = (trial){w.best.a, w.best.f + w.best.a * enough, w.best.slope + enough};
            w.end = (trial){w.end.a, w.end.f + w.end.a * enough, w.end.slope + enough};
            v = w;
        } else {
            a = next_trial(&v, t);
        }
        if (v.bracketed) {
            const double size = fabs(v.end.a - v.best.a);
            a = size >= 0.66 * before ? v.best.a + 0.5 * (v.end.a - v.best.a) : a;
            before = width;
            width = size;
            v.lo = fmin(v.best.a, v.end.a);
            v.hi = fmax(v.best.a, v.end.a);
        } else {
            v.lo = a + 1.1 * (a - v.best.a);
            v.hi = a + GROW * (a - v.best.a);
        }
    }
    l->a = v.best.f < l->f ? v.best.a : 0; /* not what was asked for, but lower */
    if (l->a > 0) {
        trial t;
        TRY(evaluate(l, l->a, &t));
        l->ft = t.f;
        l->slope_t = t.slope;
    }
    return ADZE_OK;
}

static int by_secant(adze_min_line *l) {
    trial t, start = {0, l->f, l->slope};
    TRY(evaluate(l, l->first, &t));
    const double a = between(start, t, secant(start, t));
    TRY(evaluate(l, a, &t));
    l->a = isfinite(t.f) && a > 0 ? a : 0;
    l->ft = t.f;
    l->slope_t = t.slope;
    return ADZE_OK;
}

int adze_min_search(adze_min_line *l) {
    l->a = 0;
    l->evals = 0;
    return l->exact ? by_secant(l) : more_thuente(l);
}
