/* Pass "tail": a chain of elementwise ops becomes the tail of the step that makes its input: it runs block by block while that input is still in the
 * nearest cache. The two steps form a region of their own: they stay together in every order, and whatever one of them touches lives for both.
 *
 * Pairs are found along one topological order: when everything else that a chain needs comes before the step that it follows, the chain may move up
 * to right behind that step, and the order is still one. */
#include "sched.h"

#include "op/chain.h"

#include <stdio.h>

typedef struct finder {
    adze_work *w;
    adze_sched s;
    int32_t *pos;   /* by step: its position; that of the step that it follows */
    int32_t *last;  /* by step: what it needs and comes last, -1: nothing */
    int32_t *other; /* by step: the last position of all else that it needs, -1: nothing */
    int32_t found;
} finder;

/* All of the memory of what was computed, in order. */
static bool whole(const adze_layout *l) {
    return (char *)l->view.data == ADZE_VIEW_BASE && l->iter == 0 && adze_view_dense(&l->view);
}

static bool same_matrix(const adze_type *a, const adze_type *b) {
    return a->rank > 0 && b->rank > 0 && a->dims[a->rank - 1] == b->dims[b->rank - 1] && adze_type_count(a) == adze_type_count(b) &&
           adze_type_count(a) > 0;
}

static bool may_follow(const adze_work *w, int32_t id, int32_t chain) {
    const adze_gnode *p = &w->g->nodes[id], *c = &w->g->nodes[chain];
    const adze_kernel *kp = w->kernel[id], *kc = w->kernel[chain];
    if (!kp || !kp->tail || !kc || !kc->rows || p->region || c->region || (p->guard != c->guard && c->guard) || c->op != &adze_op_chain) {
        return false;
    }
    bool reads = false;
    for (int k = 0; k < c->nin; k++) {
        const adze_layout *l = &w->layout[c->in[k]];
        if (w->g->vals[l->root].node == id) {
            if (l->root != p->first || !whole(l)) {
                return false;
            }
            reads = true;
        }
    }
    const adze_chain_attrs *a = c->attrs;
    return reads && a->nrooms + c->nin <= ADZE_CHAIN_TAIL && same_matrix(&p->types[0], &c->types[0]);
}

static int pair(finder *f, int32_t id, int32_t chain) {
    adze_graph *g = f->w->g;
    char name[32];
    int32_t region = 0;
    snprintf(name, sizeof name, "(tail %d)", (int)++f->found); /* no name that a user's region can have */
    TRY(adze_region_add(g, name, ADZE_REGION_TAIL, 1, &region));
    g->regions[region].closed = true;
    g->nodes[id].region = g->nodes[chain].region = region;
    return ADZE_OK;
}

static void needs(finder *f, int32_t step, int32_t from) {
    const int32_t before = f->last[step];
    if (before == from) {
        return;
    }
    const bool later = before < 0 || f->pos[from] > f->pos[before];
    const int32_t rest = !later ? f->pos[from] : before < 0 ? -1 : f->pos[before];
    f->last[step] = later ? from : before;
    f->other[step] = rest > f->other[step] ? rest : f->other[step];
}

static int find_pairs(finder *f) {
    const adze_sched *s = &f->s;
    for (int32_t i = 0; i < s->n; i++) {
        f->last[i] = f->other[i] = -1;
    }
    for (int32_t t = 0; t < s->n; t++) {
        const int32_t step = s->step_of[s->out[t]], p = f->last[step];
        f->pos[step] = t;
        if (p >= 0 && f->other[step] < f->pos[p] && may_follow(f->w, s->node[p], s->out[t])) {
            TRY(pair(f, s->node[p], s->out[t]));
            f->pos[step] = f->pos[p];
        }
        for (int32_t e = s->head[step]; e < s->head[step + 1]; e++) {
            needs(f, s->to[e], step);
        }
    }
    return ADZE_OK;
}

static int find_all(finder *f) {
    adze_ctx *ctx = f->w->ctx;
    f->pos = adze_alloc(ctx, f->s.n, sizeof *f->pos);
    f->last = adze_alloc(ctx, f->s.n, sizeof *f->last);
    f->other = adze_alloc(ctx, f->s.n, sizeof *f->other);
    int status = f->pos && f->last && f->other ? adze_sched_depth_first(&f->s) : ADZE_ENOMEM;
    if (status == ADZE_OK) {
        for (int32_t i = 0; i < f->s.n; i++) { /* late, so that what their chains need besides comes before them */
            const adze_kernel *k = f->w->kernel[f->s.node[i]];
            f->s.priority[i] += k && k->tail ? f->s.n : 0;
        }
        f->s.how = ADZE_POLICY_PRIORITY;
        status = adze_sched_list(&f->s);
    }
    status = status == ADZE_OK ? find_pairs(f) : status;
    adze_free(ctx, f->pos);
    adze_free(ctx, f->last);
    adze_free(ctx, f->other);
    return status;
}

int adze_pass_tail(adze_work *w) {
    if (w->opts && w->opts->no_group) {
        return ADZE_OK;
    }
    finder f = {.w = w, .s = {.w = w}};
    int status = adze_sched_build(&f.s);
    status = status == ADZE_OK ? find_all(&f) : status;
    adze_sched_free(&f.s);
    return status;
}
