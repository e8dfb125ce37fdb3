/* Pass "order": the sequence of the steps. Every read of memory precedes the step that overwrites it, a region's steps stay together, and of several
 * orders the one that keeps the fewest bytes alive is taken. */
#include "sched.h"

static void by_construction(adze_sched *s) {
    for (int32_t i = s->n; i-- > 0;) {
        s->priority[i] = s->node[i];
        s->priority[s->unit[i]] = s->node[i];
    }
}

static bool better(const adze_live *a, const adze_live *b) {
    return a->peak < b->peak || (a->peak == b->peak && a->area <= b->area);
}

static int keep_best(adze_sched *s, adze_live *live, adze_live *best) {
    adze_work *w = s->w;
    TRY(adze_sched_list(s));
    TRY(adze_plan_live(w, s->out, live));
    if (best->peak < 0 || live->peak < best->peak || (live->peak == best->peak && live->area < best->area)) {
        best->peak = live->peak;
        best->area = live->area;
        memcpy(w->order, s->out, sizeof *w->order * (size_t)s->n);
    }
    return ADZE_OK;
}

/* Whether positions p - 1 and p hold steps of one region: nothing may come between them. */
static bool joined(const adze_sched *s, int32_t p) {
    if (p <= 0 || p >= s->n) {
        return false;
    }
    int32_t unit = s->unit[s->step_of[s->out[p - 1]]];
    return unit >= s->n && unit == s->unit[s->step_of[s->out[p]]];
}

static bool one_region(const adze_sched *s, int32_t from, int32_t to) {
    for (int32_t p = from + 1; p < to; p++) {
        if (!joined(s, p)) {
            return false;
        }
    }
    return s->unit[s->step_of[s->out[from]]] >= s->n;
}

/* Whether the steps at [a, b) and at [b, c) may change places. */
static bool may_swap(const adze_sched *s, int32_t a, int32_t b, int32_t c, const int32_t *pos) {
    if ((joined(s, a) || joined(s, b) || joined(s, c)) && !one_region(s, a, c)) {
        return false;
    }
    for (int32_t p = a; p < b; p++) {
        int32_t i = s->step_of[s->out[p]];
        for (int32_t e = s->head[i]; e < s->head[i + 1]; e++) {
            if (pos[s->to[e]] >= b && pos[s->to[e]] < c) {
                return false;
            }
        }
    }
    return true;
}

static void swap_ranges(adze_sched *s, int32_t a, int32_t b, int32_t c) {
    size_t size = sizeof *s->out;
    memcpy(s->inner, s->out + a, size * (size_t)(b - a));
    memmove(s->out + a, s->out + b, size * (size_t)(c - b));
    memcpy(s->out + a + (c - b), s->inner, size * (size_t)(b - a));
}

/* Two neighbouring ranges that may change places: the first short, the second as long as it can be, or the other way round. */
static bool propose(adze_sched *s, const int32_t *pos, int32_t *a, int32_t *b, int32_t *c) {
    enum { SHORT = 6 };
    int32_t n = s->n, length = 1 + (int32_t)adze_rng_below(&s->rng, SHORT), far = 1 + (int32_t)adze_rng_below(&s->rng, (uint64_t)n);
    bool later = adze_rng_below(&s->rng, 2) != 0;
    int32_t at = (int32_t)adze_rng_below(&s->rng, (uint64_t)n);
    for (; far > 0; far = far * 2 / 3) {
        *a = later ? at : at - far;
        *b = later ? at + length : at;
        *c = later ? at + length + far : at + length;
        if (*a >= 0 && *c <= n && may_swap(s, *a, *b, *c, pos)) {
            return true;
        }
    }
    return false;
}

/* Lets ranges of steps change places and keeps what does not keep more bytes alive. */
static int improve(adze_sched *s, adze_live *live, adze_live *best) {
    enum { WORK = 200000, MOST = 2000 };
    adze_work *w = s->w;
    int32_t *pos = s->waits, a = 0, b = 0, c = 0;
    int moves = s->n > 2 ? (WORK / s->n > MOST ? MOST : WORK / s->n) : 0;
    memcpy(s->out, w->order, sizeof *s->out * (size_t)s->n);
    for (int32_t p = 0; p < s->n; p++) {
        pos[s->step_of[s->out[p]]] = p;
    }
    for (int m = 0; m < moves; m++) {
        if (!propose(s, pos, &a, &b, &c)) {
            continue;
        }
        swap_ranges(s, a, b, c);
        TRY(adze_plan_live(w, s->out, live));
        if (better(live, best)) {
            best->peak = live->peak;
            best->area = live->area;
            memcpy(w->order, s->out, sizeof *w->order * (size_t)s->n);
            for (int32_t p = a; p < c; p++) {
                pos[s->step_of[s->out[p]]] = p;
            }
        } else {
            swap_ranges(s, a, a + (c - b), c);
        }
    }
    return ADZE_OK;
}

static int try_all(adze_sched *s, adze_live *live, adze_live *best) {
    enum { TINY = 400, SMALL = 1000, MANY = 150, TRIES = 24 }; /* graphs of more steps get fewer tries: compiling stays quick */
    int tries = s->n < TINY ? MANY : s->n < SMALL ? TRIES : s->n < 4 * SMALL ? 2 : 0;
    by_construction(s);
    s->how = ADZE_POLICY_PRIORITY;
    TRY(keep_best(s, live, best));
    TRY(adze_sched_depth_first(s));
    TRY(keep_best(s, live, best));
    s->how = ADZE_POLICY_GREEDY;
    TRY(keep_best(s, live, best));
    s->rng = adze_rng_make(1, 0); /* the same tries always: a plan is a function of its graph */
    for (int i = 0; i < 2 * tries; i++) {
        s->how = i % 2 ? ADZE_POLICY_RANDOM : ADZE_POLICY_NOISY;
        TRY(keep_best(s, live, best));
    }
    return improve(s, live, best);
}

static int choose_order(adze_sched *s) {
    adze_work *w = s->w;
    adze_live live = {0}, best = {.peak = -1};
    int status = ADZE_OK;
    if (w->opts && w->opts->random_order) {
        s->how = ADZE_POLICY_RANDOM;
        s->rng = adze_rng_make(w->opts->random_order, 0);
        status = keep_best(s, &live, &best);
    } else if (w->quick) {
        s->how = ADZE_POLICY_PRIORITY;
        status = adze_sched_depth_first(s);
        status = status == ADZE_OK ? keep_best(s, &live, &best) : status;
    } else {
        status = try_all(s, &live, &best);
    }
    adze_live_free(w->ctx, &live);
    return status;
}

int adze_pass_order(adze_work *w) {
    TRY(adze_order_reads(w));
    TRY(adze_pass_group(w));
    TRY(adze_pass_tail(w));
    TRY(adze_find_kept(w));
    adze_sched s = {.w = w};
    int status = adze_sched_build(&s);
    if (status == ADZE_OK) {
        w->norder = s.n;
        w->order = adze_alloc(w->ctx, s.n, sizeof *w->order);
        status = w->order ? choose_order(&s) : ADZE_ENOMEM;
    }
    adze_sched_free(&s);
    return status;
}
