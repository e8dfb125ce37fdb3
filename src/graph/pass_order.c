/* Pass "order": the sequence of the steps. Every read of memory precedes the step that overwrites it, a region's steps stay together, and of several
 * orders the one that keeps the fewest bytes alive is taken. */
#include "plan_internal.h"

typedef enum policy { POLICY_PRIORITY, POLICY_GREEDY, POLICY_NOISY, POLICY_RANDOM } policy;

typedef struct sched {
    adze_work *w;
    int32_t n;               /* steps */
    int32_t *node, *step_of; /* step -> node; node -> step or -1 */
    int32_t *head, *to;      /* successors of step s: to[head[s]] .. to[head[s + 1] - 1] */
    int32_t *unit;           /* by step: itself, or n + its region */
    int32_t *waits, *unit_waits;
    int32_t *readers; /* by value: steps that have still to read it */
    int32_t *kept;    /* by value: an output, or memory that is not planned: never freed */
    int64_t *priority;
    int32_t *ready, *inner, *out;
    int32_t nout;
    policy how;
    adze_rng rng;
} sched;

static void sched_free(sched *s) {
    void *all[] = {s->node,    s->step_of, s->head,     s->to,    s->unit,  s->waits, s->unit_waits,
                   s->readers, s->kept,    s->priority, s->ready, s->inner, s->out};
    for (size_t i = 0; i < ADZE_COUNT(all); i++) {
        adze_free(s->w->ctx, all[i]);
    }
}

/* -- the partial order --------------------------------------------------------------------------------------------------------------------------- */

static int32_t maker(const sched *s, int32_t v) { /* the step that makes a value, through views; -1: none */
    return s->step_of[s->w->g->vals[s->w->layout[v].root].node];
}

typedef void edge_fn(sched *s, int32_t from, int32_t to);

static void each_edge(sched *s, edge_fn *fn) {
    for (int32_t i = 0; i < s->n; i++) {
        const adze_gnode *n = &s->w->g->nodes[s->node[i]];
        for (int k = 0; k < n->nin; k++) {
            int32_t from = maker(s, n->in[k]);
            if (from >= 0) {
                fn(s, from, i);
            }
        }
    }
    for (int32_t b = 0; b < s->w->nbefore; b++) {
        fn(s, s->step_of[s->w->before[2 * b]], s->step_of[s->w->before[2 * b + 1]]);
    }
}

static void count_edge(sched *s, int32_t from, int32_t to) {
    (void)to;
    s->head[from + 1]++;
}

static void fill_edge(sched *s, int32_t from, int32_t to) {
    s->to[--s->head[from + 1]] = to;
}

static int build_edges(sched *s) {
    memset(s->head, 0, sizeof *s->head * (size_t)(s->n + 2));
    each_edge(s, count_edge);
    for (int32_t i = 0; i < s->n; i++) {
        s->head[i + 1] += s->head[i];
    }
    int32_t total = s->head[s->n];
    adze_free(s->w->ctx, s->to);
    s->to = adze_alloc(s->w->ctx, total, sizeof *s->to);
    if (!s->to) {
        return ADZE_ENOMEM;
    }
    each_edge(s, fill_edge); /* now head[i + 1] is where the edges of i begin */
    memmove(s->head, s->head + 1, sizeof *s->head * (size_t)s->n);
    s->head[s->n] = total;
    return ADZE_OK;
}

static int sched_steps(sched *s) {
    adze_work *w = s->w;
    adze_graph *g = w->g;
    adze_ctx *ctx = w->ctx;
    int64_t nodes = g->nnodes, units = nodes + g->nregions;
    s->node = adze_alloc(ctx, nodes, sizeof *s->node);
    s->step_of = adze_alloc(ctx, nodes, sizeof *s->step_of);
    s->head = adze_alloc(ctx, nodes + 2, sizeof *s->head);
    s->unit = adze_alloc(ctx, nodes, sizeof *s->unit);
    s->waits = adze_alloc(ctx, nodes, sizeof *s->waits);
    s->unit_waits = adze_alloc(ctx, units, sizeof *s->unit_waits);
    s->readers = adze_alloc(ctx, g->nvals, sizeof *s->readers);
    s->kept = adze_alloc(ctx, g->nvals, sizeof *s->kept);
    s->priority = adze_alloc(ctx, units, sizeof *s->priority);
    s->ready = adze_alloc(ctx, units, sizeof *s->ready);
    s->inner = adze_alloc(ctx, nodes, sizeof *s->inner);
    s->out = adze_alloc(ctx, nodes, sizeof *s->out);
    if (!s->node || !s->step_of || !s->head || !s->unit || !s->waits || !s->unit_waits || !s->readers || !s->kept || !s->priority || !s->ready ||
        !s->inner || !s->out) {
        return ADZE_ENOMEM;
    }
    s->n = 0;
    for (int32_t i = 0; i < g->nnodes; i++) {
        s->step_of[i] = -1;
        if (w->kind[i] == ADZE_KIND_STEP) {
            s->step_of[i] = s->n;
            s->node[s->n++] = i;
        }
    }
    for (int32_t i = 0; i < s->n; i++) {
        int32_t r = g->nodes[s->node[i]].region;
        s->unit[i] = r ? s->n + r : i;
    }
    return build_edges(s);
}

/* -- reads before writes ---------------------------------------------------------------------------------------------------------------------------
 */

static int add_before(adze_work *w, int32_t reader, int32_t writer) {
    if (w->nbefore == w->cap_before) {
        int32_t more = w->cap_before * 2 + 64;
        int32_t *p = adze_resize(w->ctx, w->before, 2 * (int64_t)w->cap_before, 2 * (int64_t)more, sizeof *p);
        if (!p) {
            return ADZE_ENOMEM;
        }
        w->before = p;
        w->cap_before = more;
    }
    w->before[2 * w->nbefore] = reader;
    w->before[2 * w->nbefore + 1] = writer;
    w->nbefore++;
    return ADZE_OK;
}

/* Marks every step that must come after step `from`: regions count as one. */
static int mark_after(sched *s, int32_t from, uint8_t *seen) {
    memset(seen, 0, (size_t)(s->n + s->w->g->nregions));
    int32_t *stack = adze_alloc(s->w->ctx, (int64_t)s->n + 1, sizeof *stack), top = 0;
    if (!stack) {
        return ADZE_ENOMEM;
    }
    stack[top++] = from;
    while (top > 0) {
        int32_t i = stack[--top];
        for (int32_t e = s->head[i]; e < s->head[i + 1]; e++) {
            int32_t u = s->unit[s->to[e]];
            if (seen[u] || u == s->unit[i]) {
                continue;
            }
            seen[u] = 1;
            for (int32_t k = 0; k < s->n && u >= s->n; k++) {
                if (s->unit[k] == u) {
                    stack[top++] = k;
                }
            }
            if (u < s->n) {
                stack[top++] = u;
            }
        }
    }
    adze_free(s->w->ctx, stack);
    return ADZE_OK;
}

/* Step `writer` overwrites value c. Its other readers come before it; a reader that needs what the writer makes gets a copy of the old value. */
static int protect(sched *s, int32_t writer, int32_t c, uint8_t *seen) {
    adze_work *w = s->w;
    adze_graph *g = w->g;
    bool marked = false;
    for (int32_t i = 0; i < s->n; i++) {
        int32_t id = s->node[i];
        for (int k = 0; k < g->nodes[id].nin; k++) {
            if (id == writer || w->layout[g->nodes[id].in[k]].root != c) {
                continue;
            }
            for (int o = 0; o < g->nodes[id].nout; o++) {
                int32_t f = adze_forced_input(&g->nodes[id], o);
                if (f && w->layout[f].root == c) {
                    return adze_graph_fail(g, ADZE_EARG,
                                           "the slot of '%s' is written twice from one old value ('%s' and '%s'); give the second write "
                                           "the result of the first",
                                           adze_val_node(g, c)->name, g->nodes[writer].name, g->nodes[id].name);
                }
            }
            if (!marked) {
                TRY(mark_after(s, s->step_of[writer], seen));
                marked = true;
            }
            if (seen[s->unit[i]]) {
                int32_t copy = 0;
                TRY(adze_work_copy(w, g->nodes[id].in[k], true, &copy));
                g->nodes[id].in[k] = copy;
                return 1; /* the steps have changed: start again */
            }
            TRY(add_before(w, id, writer));
        }
    }
    return marked ? build_edges(s) : ADZE_OK;
}

static int order_reads(adze_work *w) {
    for (int again = 1; again;) {
        sched s = {.w = w};
        w->nbefore = 0;
        again = 0;
        int status = sched_steps(&s);
        uint8_t *seen = status == ADZE_OK ? adze_alloc(w->ctx, (int64_t)s.n + w->g->nregions, 1) : NULL;
        for (int32_t i = 0; i < s.n && seen && status == ADZE_OK; i++) {
            adze_gnode n = w->g->nodes[s.node[i]];
            for (int o = 0; o < n.nout && status == ADZE_OK; o++) {
                int32_t target = adze_forced_input(&n, o);
                status = target ? protect(&s, s.node[i], w->layout[target].root, seen) : ADZE_OK;
            }
        }
        status = status == ADZE_OK && !seen ? ADZE_ENOMEM : status;
        again = status == 1;
        adze_free(w->ctx, seen);
        sched_free(&s);
        if (status < 0) {
            return status;
        }
    }
    return ADZE_OK;
}

/* -- list scheduling
 * ---------------------------------------------------------------------------------------------------------------------------------- */

/* How many more bytes are alive after step i than before it. */
static double growth(const sched *s, int32_t i) {
    const adze_work *w = s->w;
    const adze_gnode *n = &w->g->nodes[s->node[i]];
    double bytes = 0;
    for (int o = 0; o < n->nout; o++) {
        if (!adze_forced_input(n, o)) {
            bytes += (double)adze_round_up(adze_type_bytes(&n->types[o]));
        }
    }
    for (int k = 0; k < n->nin; k++) {
        int32_t v = w->layout[n->in[k]].root, uses = 0;
        for (int j = 0; j < n->nin; j++) {
            int32_t u = w->layout[n->in[j]].root;
            uses += u == v;
            if (u == v && j < k) { /* counted already */
                uses = -ADZE_MAX_IN;
                break;
            }
        }
        if (uses == s->readers[v] && !s->kept[v]) {
            bytes -= (double)adze_round_up(adze_type_bytes(adze_type_of(w->g, v)));
        }
    }
    return bytes;
}

static int32_t pick(sched *s, const int32_t *ready, int32_t n) {
    int32_t best = n - 1;
    double best_score = 0;
    if (s->how == POLICY_RANDOM) {
        return (int32_t)adze_rng_below(&s->rng, (uint64_t)n);
    }
    for (int32_t i = n; i-- > 0;) {
        double score = s->how == POLICY_PRIORITY ? (double)s->priority[ready[i]] : ready[i] < s->n ? growth(s, ready[i]) : 0;
        if (s->how == POLICY_NOISY) {
            score *= 0.5 + adze_rng_uniform(&s->rng);
            score += 256 * adze_rng_uniform(&s->rng);
        }
        if (i == n - 1 || score < best_score) {
            best = i;
            best_score = score;
        }
    }
    return best;
}

static void emit(sched *s, int32_t i) {
    const adze_gnode *n = &s->w->g->nodes[s->node[i]];
    s->out[s->nout++] = s->node[i];
    for (int k = 0; k < n->nin; k++) {
        s->readers[s->w->layout[n->in[k]].root]--;
    }
}

static void run_region(sched *s, int32_t unit) {
    int32_t n = 0;
    for (int32_t i = 0; i < s->n; i++) {
        if (s->unit[i] == unit && s->waits[i] == 0) {
            s->inner[n++] = i;
        }
    }
    while (n > 0) {
        int32_t at = pick(s, s->inner, n), i = s->inner[at];
        memmove(s->inner + at, s->inner + at + 1, sizeof *s->inner * (size_t)(--n - at));
        emit(s, i);
        for (int32_t e = s->head[i]; e < s->head[i + 1]; e++) {
            if (s->unit[s->to[e]] == unit && --s->waits[s->to[e]] == 0) {
                s->inner[n++] = s->to[e];
            }
        }
    }
}

static void release(sched *s, int32_t unit, int32_t i, int32_t *n) {
    for (int32_t e = s->head[i]; e < s->head[i + 1]; e++) {
        int32_t u = s->unit[s->to[e]];
        if (u != unit && --s->unit_waits[u] == 0) {
            s->ready[(*n)++] = u;
        }
    }
}

static void reset(sched *s) {
    adze_graph *g = s->w->g;
    memset(s->waits, 0, sizeof *s->waits * (size_t)s->n);
    memset(s->unit_waits, 0, sizeof *s->unit_waits * (size_t)(s->n + g->nregions));
    memset(s->readers, 0, sizeof *s->readers * (size_t)g->nvals);
    for (int32_t i = 0; i < s->n; i++) {
        for (int32_t e = s->head[i]; e < s->head[i + 1]; e++) {
            int32_t j = s->to[e];
            s->waits[j] += s->unit[i] == s->unit[j];
            s->unit_waits[s->unit[j]] += s->unit[i] != s->unit[j];
        }
        const adze_gnode *n = &g->nodes[s->node[i]];
        for (int k = 0; k < n->nin; k++) {
            s->readers[s->w->layout[n->in[k]].root]++;
        }
    }
    for (int32_t v = 0; v < g->nvals; v++) {
        s->kept[v] = s->w->kind[g->vals[v].node < 0 ? 0 : g->vals[v].node] != ADZE_KIND_STEP;
    }
    for (int i = 0; i < g->noutputs; i++) {
        s->kept[s->w->layout[g->outputs[i].val].root] = 1;
    }
    s->nout = 0;
}

/* One order in s->out. */
static int list_schedule(sched *s) {
    int32_t n = 0;
    reset(s);
    for (int32_t i = 0; i < s->n; i++) {
        int32_t u = s->unit[i];
        bool first = u < s->n;
        if (!first) { /* a region is listed once, by its first step */
            first = true;
            for (int32_t k = 0; k < i; k++) {
                first = first && s->unit[k] != u;
            }
        }
        if (first && s->unit_waits[u] == 0) {
            s->ready[n++] = u;
        }
    }
    while (n > 0) {
        int32_t at = pick(s, s->ready, n), u = s->ready[at], from = s->nout;
        memmove(s->ready + at, s->ready + at + 1, sizeof *s->ready * (size_t)(--n - at));
        if (u < s->n) {
            emit(s, u);
        } else {
            run_region(s, u);
        }
        for (int32_t k = from, to = s->nout; k < to; k++) {
            release(s, u, s->step_of[s->out[k]], &n);
        }
    }
    if (s->nout != s->n) {
        return adze_graph_fail(s->w->g, ADZE_EBUG, "the steps of the plan wait for each other");
    }
    return ADZE_OK;
}

/* -- the choice
 * ----------------------------------------------------------------------------------------------------------------------------------------- */

/* Depth-first from the last step backwards: what a step needs is computed just before it. */
static int depth_first(sched *s) {
    adze_graph *g = s->w->g;
    int32_t *stack = adze_alloc(s->w->ctx, 2 * (int64_t)s->n + 2, sizeof *stack), top, next = 0;
    if (!stack) {
        return ADZE_ENOMEM;
    }
    for (int32_t i = 0; i < s->n + g->nregions; i++) {
        s->priority[i] = -1;
    }
    for (int32_t root = 0; root < s->n; root++) {
        if (s->priority[root] >= 0) {
            continue;
        }
        s->priority[root] = INT32_MAX;
        top = 0;
        stack[top++] = root;
        stack[top++] = 0;
        while (top > 0) {
            int32_t i = stack[top - 2], k = stack[top - 1]++;
            const adze_gnode *n = &g->nodes[s->node[i]];
            if (k >= n->nin) {
                s->priority[i] = next++;
                int64_t *u = &s->priority[s->unit[i]];
                *u = *u < 0 || *u > s->priority[i] ? s->priority[i] : *u;
                top -= 2;
                continue;
            }
            int32_t j = maker(s, n->in[k]);
            if (j >= 0 && s->priority[j] < 0) {
                s->priority[j] = INT32_MAX;
                stack[top++] = j;
                stack[top++] = 0;
            }
        }
    }
    adze_free(s->w->ctx, stack);
    return ADZE_OK;
}

static void by_construction(sched *s) {
    for (int32_t i = s->n; i-- > 0;) {
        s->priority[i] = s->node[i];
        s->priority[s->unit[i]] = s->node[i];
    }
}

static bool better(const adze_live *a, const adze_live *b) {
    return a->peak < b->peak || (a->peak == b->peak && a->area <= b->area);
}

static int keep_best(sched *s, adze_live *live, adze_live *best) {
    adze_work *w = s->w;
    TRY(list_schedule(s));
    TRY(adze_plan_live(w, s->out, live));
    if (best->peak < 0 || live->peak < best->peak || (live->peak == best->peak && live->area < best->area)) {
        best->peak = live->peak;
        best->area = live->area;
        memcpy(w->order, s->out, sizeof *w->order * (size_t)s->n);
    }
    return ADZE_OK;
}

/* Whether positions p - 1 and p hold steps of one region: nothing may come between them. */
static bool joined(const sched *s, int32_t p) {
    if (p <= 0 || p >= s->n) {
        return false;
    }
    int32_t unit = s->unit[s->step_of[s->out[p - 1]]];
    return unit >= s->n && unit == s->unit[s->step_of[s->out[p]]];
}

static bool one_region(const sched *s, int32_t from, int32_t to) {
    for (int32_t p = from + 1; p < to; p++) {
        if (!joined(s, p)) {
            return false;
        }
    }
    return s->unit[s->step_of[s->out[from]]] >= s->n;
}

/* Whether the steps at [a, b) and at [b, c) may change places. */
static bool may_swap(const sched *s, int32_t a, int32_t b, int32_t c, const int32_t *pos) {
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

static void swap_ranges(sched *s, int32_t a, int32_t b, int32_t c) {
    size_t size = sizeof *s->out;
    memcpy(s->inner, s->out + a, size * (size_t)(b - a));
    memmove(s->out + a, s->out + b, size * (size_t)(c - b));
    memcpy(s->out + a + (c - b), s->inner, size * (size_t)(b - a));
}

/* Two neighbouring ranges that may change places: the first short, the second as long as it can be, or the other way round. */
static bool propose(sched *s, const int32_t *pos, int32_t *a, int32_t *b, int32_t *c) {
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
static int improve(sched *s, adze_live *live, adze_live *best) {
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

static int try_all(sched *s, adze_live *live, adze_live *best) {
    enum { SMALL = 1000, TRIES = 24 }; /* graphs of more steps get fewer tries: compiling stays quick */
    int tries = s->n < SMALL ? TRIES : s->n < 4 * SMALL ? 2 : 0;
    by_construction(s);
    s->how = POLICY_PRIORITY;
    TRY(keep_best(s, live, best));
    TRY(depth_first(s));
    TRY(keep_best(s, live, best));
    s->how = POLICY_GREEDY;
    TRY(keep_best(s, live, best));
    s->rng = adze_rng_make(1, 0); /* the same tries always: a plan is a function of its graph */
    for (int i = 0; i < 2 * tries; i++) {
        s->how = i % 2 ? POLICY_RANDOM : POLICY_NOISY;
        TRY(keep_best(s, live, best));
    }
    return improve(s, live, best);
}

static int choose_order(sched *s) {
    adze_work *w = s->w;
    adze_live live = {0}, best = {.peak = -1};
    int status = ADZE_OK;
    if (w->opts && w->opts->random_order) {
        s->how = POLICY_RANDOM;
        s->rng = adze_rng_make(w->opts->random_order, 0);
        status = keep_best(s, &live, &best);
    } else {
        status = try_all(s, &live, &best);
    }
    adze_live_free(w->ctx, &live);
    return status;
}

int adze_pass_order(adze_work *w) {
    TRY(order_reads(w));
    sched s = {.w = w};
    int status = sched_steps(&s);
    if (status == ADZE_OK) {
        w->norder = s.n;
        w->order = adze_alloc(w->ctx, s.n, sizeof *w->order);
        status = w->order ? choose_order(&s) : ADZE_ENOMEM;
    }
    sched_free(&s);
    return status;
}
