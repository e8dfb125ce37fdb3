/* Reads before writes: every step that reads memory which another step overwrites comes first, or gets a copy of the old value. */
#include "sched.h"

static int add_before(adze_work *w, int32_t reader, int32_t writer) {
    if (w->nbefore == w->cap_before) {
        int32_t more = w->cap_before * 2 + 64;
        int32_t *p = adze_resize(w->ctx, w->before, 2 * (int64_t)w->cap_before, 2 * (int64_t)more, sizeof *p);
        TRY(ADZE_GOT(p));
        w->before = p;
        w->cap_before = more;
    }
    w->before[2 * w->nbefore] = reader;
    w->before[2 * w->nbefore + 1] = writer;
    w->nbefore++;
    return ADZE_OK;
}

/* Marks every step that must come after step `from`: regions count as one. */
static int mark_after(adze_sched *s, int32_t from, uint8_t *seen) {
    memset(seen, 0, (size_t)(s->n + s->w->g->nregions));
    int32_t *stack = adze_alloc(s->w->ctx, (int64_t)s->n + 1, sizeof *stack), top = 0;
    TRY(ADZE_GOT(stack));
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
static int protect(adze_sched *s, int32_t writer, int32_t c, uint8_t *seen) {
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
    return marked ? adze_sched_edges(s) : ADZE_OK;
}

int adze_order_reads(adze_work *w) {
    for (int again = 1; again;) {
        adze_sched s = {.w = w};
        w->nbefore = 0;
        again = 0;
        int status = adze_sched_build(&s);
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
        adze_sched_free(&s);
        if (status < 0) {
            return status;
        }
    }
    return ADZE_OK;
}
