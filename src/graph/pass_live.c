/* Liveness under one order: which values share memory (forced or in place), from which step to which each block lives, and the most bytes at once. */
#include "plan_internal.h"

typedef struct lives {
    adze_work *w;
    const int32_t *order;
    int32_t *pos;       /* by node: its position */
    int32_t *last;      /* by value: position of its last reader */
    int32_t *end_of;    /* by region: position of its last step */
    int32_t *begin_of;  /* by region: position of its first step */
    adze_live *out;
} lives;

int64_t adze_trips_of(const adze_graph *g, int32_t region) {
    return g->regions[region].kind == ADZE_REGION_REPEAT ? g->regions[region].max_trips : 1;
}

size_t adze_step_scratch(const adze_work *w, int32_t node) {
    const adze_gnode *n = &w->g->nodes[node];
    adze_type types[ADZE_MAX_IN];
    adze_sig s = adze_node_sig(w->g, n, types);
    const adze_kernel *k = w->kernel[node];
    if (k) {
        return k->scratch ? k->scratch(&s) : 0;
    }
    return n->op->ref_scratch ? n->op->ref_scratch(&s) : 0;
}

static bool planned(const adze_work *w, int32_t v) {
    return w->kind[w->g->vals[v].node] == ADZE_KIND_STEP;
}

/* The last reader of each computed value. A repeat reads what lies outside it until its last iteration ends. */
static void find_last(lives *l) {
    adze_work *w = l->w;
    adze_graph *g = w->g;
    for (int32_t r = 0; r < g->nregions; r++) {
        l->begin_of[r] = l->end_of[r] = -1;
    }
    for (int32_t t = 0; t < w->norder; t++) {
        int32_t r = g->nodes[l->order[t]].region;
        l->pos[l->order[t]] = t;
        l->begin_of[r] = l->begin_of[r] < 0 ? t : l->begin_of[r];
        l->end_of[r] = t;
    }
    for (int32_t v = 0; v < g->nvals; v++) {
        l->last[v] = -1;
    }
    for (int32_t t = 0; t < w->norder; t++) {
        const adze_gnode *n = &g->nodes[l->order[t]];
        for (int k = 0; k < n->nin; k++) {
            int32_t v = w->layout[n->in[k]].root, until = t;
            if (g->regions[n->region].kind == ADZE_REGION_REPEAT && planned(w, v) && l->pos[g->vals[v].node] < l->begin_of[n->region]) {
                until = l->end_of[n->region];
            }
            l->last[v] = until > l->last[v] ? until : l->last[v];
        }
    }
    for (int i = 0; i < g->noutputs; i++) {
        l->last[w->layout[g->outputs[i].val].root] = w->norder;
    }
}

/* The input whose memory output 0 may take over at position t, or -1. */
static int find_in_place(const lives *l, const adze_gnode *n, int32_t t) {
    const adze_work *w = l->w;
    const adze_graph *g = w->g;
    const adze_op *op = n->op;
    adze_type types[ADZE_MAX_IN];
    adze_sig s = adze_node_sig(g, n, types);
    if ((w->opts && w->opts->no_reuse) || adze_op_forced(op) || (!(op->flags & ADZE_OP_MAP) && !op->inplace)) {
        return -1;
    }
    uint32_t mask = op->inplace ? op->inplace(&s) : ~0u;
    int64_t bytes = adze_type_bytes(&n->types[0]);
    for (int k = 0; k < n->nin && k < 32; k++) {
        const adze_layout *in = &w->layout[n->in[k]];
        int32_t b = l->out->block_of[in->root];
        if (!(mask >> k & 1) || b < 0 || bytes == 0 || adze_type_bytes(&types[k]) != bytes || !adze_view_dense(&in->view) ||
            adze_dtype_size(types[k].dtype) != adze_dtype_size(n->types[0].dtype)) {
            continue;
        }
        const adze_block *block = &l->out->blocks[b];
        bool fits = block->to == t && block->size == adze_round_up(bytes) && (char *)in->view.data == ADZE_VIEW_BASE && in->iter == 0;
        if (g->regions[n->region].kind == ADZE_REGION_REPEAT && block->from < l->begin_of[n->region]) {
            fits = false; /* the next iteration reads it again */
        }
        for (int j = 0; j < n->nin && fits; j++) {
            const adze_layout *other = &w->layout[n->in[j]];
            bool same = (op->flags & ADZE_OP_MAP) && (char *)other->view.data == ADZE_VIEW_BASE && adze_view_dense(&other->view) &&
                        adze_type_bytes(&types[j]) == bytes;
            fits = j == k || l->out->block_of[other->root] != b || same;
        }
        if (fits) {
            return k;
        }
    }
    return -1;
}

static int32_t new_block(adze_live *out, int64_t size, int32_t from, int32_t to, int32_t val) {
    out->blocks[out->nblocks] = (adze_block){.size = size, .from = from, .to = to, .val = val};
    return out->nblocks++;
}

static void place_outputs(lives *l, const adze_gnode *n, int32_t t) {
    adze_work *w = l->w;
    int in_place = find_in_place(l, n, t);
    for (int o = 0; o < n->nout; o++) {
        int32_t v = n->first + o, forced = adze_forced_input(n, o), b = -1;
        int32_t until = l->last[v] > t ? l->last[v] : t;
        if (forced) {
            b = l->out->block_of[w->layout[forced].root]; /* -1: a slot of the store */
        } else if (o == 0 && in_place >= 0) {
            b = l->out->block_of[w->layout[n->in[in_place]].root];
        } else {
            b = new_block(l->out, adze_round_up(adze_type_bytes(&n->types[o])), t, until, v);
        }
        l->out->block_of[v] = b;
        if (b >= 0 && l->out->blocks[b].to < until) {
            l->out->blocks[b].to = until;
        }
    }
    size_t scratch = adze_step_scratch(w, l->order[t]);
    if (scratch > 0) {
        new_block(l->out, adze_round_up((int64_t)scratch), t, t, -1);
    }
}

static int find_peak(adze_work *w, adze_live *out) {
    int64_t *change = adze_alloc(w->ctx, w->norder + 2, sizeof *change);
    if (!change) {
        return ADZE_ENOMEM;
    }
    for (int32_t b = 0; b < out->nblocks; b++) {
        change[out->blocks[b].from] += out->blocks[b].size;
        change[out->blocks[b].to + 1] -= out->blocks[b].size;
    }
    out->peak = 0;
    for (int64_t t = 0, now = 0; t <= w->norder; t++) {
        now += change[t];
        out->peak = now > out->peak ? now : out->peak;
    }
    adze_free(w->ctx, change);
    return ADZE_OK;
}

int adze_plan_live(adze_work *w, const int32_t *order, adze_live *out) {
    adze_graph *g = w->g;
    adze_ctx *ctx = w->ctx;
    if (!out->blocks) {
        out->blocks = adze_alloc(ctx, (int64_t)g->nvals + g->nnodes, sizeof *out->blocks);
    }
    if (!out->block_of) {
        out->block_of = adze_alloc(ctx, g->nvals, sizeof *out->block_of);
    }
    lives l = {.w = w, .order = order, .out = out};
    l.pos = adze_alloc(ctx, g->nnodes, sizeof *l.pos);
    l.last = adze_alloc(ctx, g->nvals, sizeof *l.last);
    l.begin_of = adze_alloc(ctx, g->nregions, sizeof *l.begin_of);
    l.end_of = adze_alloc(ctx, g->nregions, sizeof *l.end_of);
    int status = ADZE_ENOMEM;
    if (out->blocks && out->block_of && l.pos && l.last && l.begin_of && l.end_of) {
        find_last(&l);
        out->nblocks = 0;
        for (int32_t v = 0; v < g->nvals; v++) {
            out->block_of[v] = -1;
        }
        for (int32_t t = 0; t < w->norder; t++) {
            place_outputs(&l, &g->nodes[order[t]], t);
        }
        for (int32_t b = 0; w->opts && w->opts->no_reuse && b < out->nblocks; b++) {
            out->blocks[b].from = 0;
            out->blocks[b].to = w->norder;
        }
        status = find_peak(w, out);
    }
    adze_free(ctx, l.pos);
    adze_free(ctx, l.last);
    adze_free(ctx, l.begin_of);
    adze_free(ctx, l.end_of);
    return status;
}

void adze_live_free(adze_ctx *ctx, adze_live *l) {
    adze_free(ctx, l->blocks);
    adze_free(ctx, l->block_of);
    *l = (adze_live){0};
}
