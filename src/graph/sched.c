/* List scheduling: which step waits for which, and one order of them by a policy; a region's steps stay together. */
#include "sched.h"

void adze_sched_free(adze_sched *s) {
    void *all[] = {s->node,    s->step_of, s->head,     s->to,    s->unit,  s->waits, s->unit_waits,
                   s->readers, s->kept,    s->priority, s->ready, s->inner, s->out};
    for (size_t i = 0; i < ADZE_COUNT(all); i++) {
        adze_free(s->w->ctx, all[i]);
    }
}

/* -- the partial order --------------------------------------------------------------------------------------------------------------------------- */

int32_t adze_sched_maker(const adze_sched *s, int32_t v) {
    return s->step_of[s->w->g->vals[s->w->layout[v].root].node];
}

typedef void edge_fn(adze_sched *s, int32_t from, int32_t to);

static void each_edge(adze_sched *s, edge_fn *fn) {
    for (int32_t i = 0; i < s->n; i++) {
        const adze_gnode *n = &s->w->g->nodes[s->node[i]];
        for (int k = 0; k < n->nin; k++) {
            int32_t from = adze_sched_maker(s, n->in[k]);
            if (from >= 0) {
                fn(s, from, i);
            }
        }
    }
    for (int32_t b = 0; b < s->w->nbefore; b++) {
        fn(s, s->step_of[s->w->before[2 * b]], s->step_of[s->w->before[2 * b + 1]]);
    }
}

static void count_edge(adze_sched *s, int32_t from, int32_t to) {
    (void)to;
    s->head[from + 1]++;
}

static void fill_edge(adze_sched *s, int32_t from, int32_t to) {
    s->to[--s->head[from + 1]] = to;
}

int adze_sched_edges(adze_sched *s) {
    memset(s->head, 0, sizeof *s->head * (size_t)(s->n + 2));
    each_edge(s, count_edge);
    for (int32_t i = 0; i < s->n; i++) {
        s->head[i + 1] += s->head[i];
    }
    int32_t total = s->head[s->n];
    adze_free(s->w->ctx, s->to);
    s->to = adze_alloc(s->w->ctx, total, sizeof *s->to);
    TRY(ADZE_GOT(s->to));
    each_edge(s, fill_edge); /* now head[i + 1] is where the edges of i begin */
    memmove(s->head, s->head + 1, sizeof *s->head * (size_t)s->n);
    s->head[s->n] = total;
    return ADZE_OK;
}

int adze_sched_build(adze_sched *s) {
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
    TRY(ADZE_GOT(s->node && s->step_of && s->head && s->unit && s->waits && s->unit_waits && s->readers && s->kept && s->priority && s->ready &&
                 s->inner && s->out));
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
    return adze_sched_edges(s);
}

/* -- list scheduling ----------------------------------------------------------------------------------------------------------------------------- */

/* How many more bytes are alive after step i than before it. */
static double growth(const adze_sched *s, int32_t i) {
    const adze_work *w = s->w;
    const adze_gnode *n = &w->g->nodes[s->node[i]];
    double bytes = 0;
    for (int o = 0; o < n->nout; o++) {
        if (!adze_forced_input(n, o) && !(w->local && w->local[n->first + o])) {
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
        if (uses == s->readers[v] && !s->kept[v] && !(w->local && w->local[v])) {
            bytes -= (double)adze_round_up(adze_type_bytes(adze_type_of(w->g, v)));
        }
    }
    return bytes;
}

static int32_t pick(adze_sched *s, const int32_t *ready, int32_t n) {
    int32_t best = n - 1;
    double best_score = 0;
    if (s->how == ADZE_POLICY_RANDOM) {
        return (int32_t)adze_rng_below(&s->rng, (uint64_t)n);
    }
    for (int32_t i = n; i-- > 0;) {
        double score = s->how == ADZE_POLICY_PRIORITY ? (double)s->priority[ready[i]] : ready[i] < s->n ? growth(s, ready[i]) : 0;
        if (s->how == ADZE_POLICY_NOISY) {
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

static void emit(adze_sched *s, int32_t i) {
    const adze_gnode *n = &s->w->g->nodes[s->node[i]];
    s->out[s->nout++] = s->node[i];
    for (int k = 0; k < n->nin; k++) {
        s->readers[s->w->layout[n->in[k]].root]--;
    }
}

static void run_region(adze_sched *s, int32_t unit) {
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

static void release(adze_sched *s, int32_t unit, int32_t i, int32_t *n) {
    for (int32_t e = s->head[i]; e < s->head[i + 1]; e++) {
        int32_t u = s->unit[s->to[e]];
        if (u != unit && --s->unit_waits[u] == 0) {
            s->ready[(*n)++] = u;
        }
    }
}

static void reset(adze_sched *s) {
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
int adze_sched_list(adze_sched *s) {
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

/* Depth-first from the last step backwards: what a step needs is computed just before it. */
int adze_sched_depth_first(adze_sched *s) {
    adze_graph *g = s->w->g;
    int32_t *stack = adze_alloc(s->w->ctx, 2 * (int64_t)s->n + 2, sizeof *stack), top, next = 0;
    TRY(ADZE_GOT(stack));
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
            int32_t j = adze_sched_maker(s, n->in[k]);
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
