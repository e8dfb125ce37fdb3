/* Liveness under one order: which values share memory (forced or in place), from which step to which each block lives, and the most bytes at once. */
#include "plan_internal.h"

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

int64_t adze_step_partials(const adze_work *w, int32_t node, int64_t *leaf) {
    const adze_gnode *n = &w->g->nodes[node];
    if (w->g->regions[n->region].kind != ADZE_REGION_GROUP || !adze_group_sums(w, node)) {
        return 0;
    }
    adze_type types[ADZE_MAX_IN];
    adze_sig s = adze_node_sig(w->g, n, types);
    const int64_t bytes = adze_round_up((int64_t)w->kernel[node]->partial(&s));
    if (leaf) {
        *leaf = bytes;
    }
    int i = 0;
    while (!adze_kernel_sliced(w->kernel[node], i)) {
        i++;
    }
    return bytes * ((types[i].dims[0] + ADZE_LEAF - 1) / ADZE_LEAF);
}

/* Only a write to the store changes the value. */
static bool fixed(const adze_work *w, int32_t v) {
    const int32_t maker = w->g->vals[w->layout[v].root].node;
    return w->kind[maker] == ADZE_KIND_SLOT || w->kind[maker] == ADZE_KIND_CONST || (w->kind[maker] == ADZE_KIND_STEP && w->kept[maker]);
}

bool adze_step_packed(const adze_work *w, int32_t node) {
    const adze_gnode *n = &w->g->nodes[node];
    const adze_kernel *k = w->kernel[node];
    if (!w->opts || !w->opts->keep_packed || !k || k->prepare == 0 || !k->sliced || k->partial || n->guard ||
        (n->region && w->g->regions[n->region].kind != ADZE_REGION_TAIL)) {
        return false;
    }
    for (int i = 0; i < n->nin; i++) {
        if (!adze_kernel_sliced(k, i) && !fixed(w, n->in[i])) {
            return false;
        }
    }
    return true;
}

static bool may_keep(const adze_work *w, int32_t node) {
    const adze_gnode *n = &w->g->nodes[node];
    bool keep = w->kind[node] == ADZE_KIND_STEP && n->region == 0 && n->guard == 0 &&
                !(n->op->flags & (ADZE_OP_RANDOM | ADZE_OP_UPDATE | ADZE_OP_COMM | ADZE_OP_REGION));
    for (int i = 0; i < n->nin && keep; i++) {
        keep = fixed(w, n->in[i]);
    }
    return keep;
}

int adze_find_kept(adze_work *w) {
    const adze_graph *g = w->g;
    bool more = w->opts && w->opts->keep_packed;
    w->kept = adze_alloc(w->ctx, g->nnodes, sizeof *w->kept);
    TRY(ADZE_GOT(w->kept));
    while (more) { /* copies have later ids than their readers, so once is not enough */
        more = false;
        for (int32_t i = 0; i < g->nnodes; i++) {
            if (!w->kept[i] && may_keep(w, i)) {
                w->kept[i] = ADZE_KEPT_PASSING;
                more = true;
            }
        }
    }
    for (int32_t i = 0; i < g->nnodes; i++) {
        const adze_gnode *n = &g->nodes[i];
        const bool packed = w->kind[i] == ADZE_KIND_STEP && adze_step_packed(w, i);
        for (int k = 0; k < n->nin && w->kind[i] == ADZE_KIND_STEP && !w->kept[i]; k++) {
            uint8_t *maker = &w->kept[g->vals[w->layout[n->in[k]].root].node];
            *maker = *maker && !(packed && !adze_kernel_sliced(w->kernel[i], k)) ? ADZE_KEPT_LASTING : *maker;
        }
    }
    for (int i = 0; i < g->noutputs; i++) {
        uint8_t *maker = &w->kept[g->vals[w->layout[g->outputs[i].val].root].node];
        *maker = *maker ? ADZE_KEPT_LASTING : *maker;
    }
    return ADZE_OK;
}

static bool planned(const adze_work *w, int32_t v) {
    return w->kind[w->g->vals[v].node] == ADZE_KIND_STEP;
}

/* Repeats and groups pass over their steps again and again: what one of them reads or writes must lie there all the while. */
static bool passes_again(const adze_graph *g, int32_t region) {
    return g->regions[region].kind == ADZE_REGION_REPEAT || g->regions[region].kind == ADZE_REGION_GROUP;
}

/* The last reader of each computed value. A repeat reads what lies outside it until its last iteration ends. */
static void find_last(const adze_work *w, const int32_t *order, adze_live *l) {
    const adze_graph *g = w->g;
    for (int32_t r = 0; r < g->nregions; r++) {
        l->begin_of[r] = l->end_of[r] = -1;
    }
    for (int32_t t = 0; t < w->norder; t++) {
        int32_t r = g->nodes[order[t]].region;
        l->pos[order[t]] = t;
        l->begin_of[r] = l->begin_of[r] < 0 ? t : l->begin_of[r];
        l->end_of[r] = t;
    }
    for (int32_t v = 0; v < g->nvals; v++) {
        l->last[v] = l->block_of[v] = -1;
    }
    for (int32_t t = 0; t < w->norder; t++) {
        const adze_gnode *n = &g->nodes[order[t]];
        for (int k = 0; k < n->nin; k++) {
            int32_t v = w->layout[n->in[k]].root, until = t;
            if (passes_again(g, n->region) && planned(w, v) && l->pos[g->vals[v].node] < l->begin_of[n->region]) {
                until = l->end_of[n->region];
            }
            l->last[v] = until > l->last[v] ? until : l->last[v];
        }
    }
    for (int i = 0; i < g->noutputs; i++) {
        l->last[w->layout[g->outputs[i].val].root] = w->norder;
    }
}

static bool whole(const adze_layout *l) { /* all of its root's memory, in order */
    return (char *)l->view.data == ADZE_VIEW_BASE && l->iter == 0 && adze_view_dense(&l->view);
}

/* Bit k: output 0 may take over input k's memory once nobody else needs it. Depends on the node alone. */
static uint32_t in_place_mask(const adze_work *w, const adze_gnode *n) {
    const adze_op *op = n->op;
    adze_type types[ADZE_MAX_IN];
    adze_sig s = adze_node_sig(w->g, n, types);
    if ((w->opts && w->opts->no_reuse) || adze_op_forced(op) || (!(op->flags & ADZE_OP_MAP) && !op->inplace)) {
        return 0;
    }
    uint32_t mask = op->inplace ? op->inplace(&s) : ~0u, out = 0;
    int64_t bytes = adze_type_bytes(&n->types[0]);
    for (int k = 0; k < n->nin && k < 32; k++) {
        const adze_layout *in = &w->layout[n->in[k]];
        bool fits = (mask >> k & 1) && bytes > 0 && whole(in) && adze_type_bytes(&types[k]) == bytes &&
                    adze_dtype_size(types[k].dtype) == adze_dtype_size(n->types[0].dtype);
        for (int j = 0; j < n->nin && fits; j++) { /* another view of the same memory must be read at the same places */
            const adze_layout *other = &w->layout[n->in[j]];
            fits = j == k || other->root != in->root || ((op->flags & ADZE_OP_MAP) && whole(other) && adze_type_bytes(&types[j]) == bytes);
        }
        out |= fits ? 1u << k : 0;
    }
    return out;
}

static bool reads_block(const adze_work *w, const adze_live *l, const adze_gnode *n, int32_t block) {
    bool reads = false;
    for (int k = 0; k < n->nin; k++) {
        reads = reads || l->block_of[w->layout[n->in[k]].root] == block;
    }
    return reads;
}

/* The input whose memory output 0 takes over at position t, or -1. */
static int find_in_place(const adze_work *w, const adze_live *l, const int32_t *order, int32_t t) {
    const adze_graph *g = w->g;
    const int32_t id = order[t];
    const adze_gnode *n = &g->nodes[id];
    const bool follows = g->regions[n->region].kind == ADZE_REGION_TAIL && l->begin_of[n->region] < t;
    for (int k = 0; l->mask[id] >> k; k++) {
        int32_t b = l->mask[id] >> k & 1 ? l->block_of[w->layout[n->in[k]].root] : -1;
        if (b < 0 || l->blocks[b].to != t || l->blocks[b].size != l->size[n->first]) {
            continue;
        }
        if (g->regions[n->region].kind == ADZE_REGION_REPEAT && l->blocks[b].from < l->begin_of[n->region]) {
            continue; /* the next iteration reads it again */
        }
        if (follows && reads_block(w, l, &g->nodes[order[t - 1]], b)) {
            continue; /* the step before it is still at work */
        }
        bool clash = false; /* a value of this block under another name */
        for (int j = 0; j < n->nin; j++) {
            int32_t root = w->layout[n->in[j]].root;
            clash = clash || (root != w->layout[n->in[k]].root && l->block_of[root] == b);
        }
        if (!clash) {
            return k;
        }
    }
    return -1;
}

static int32_t new_block(adze_live *l, int64_t size, int32_t from, int32_t to, int32_t val) {
    l->blocks[l->nblocks] = (adze_block){.size = size, .from = from, .to = to, .val = val};
    return l->nblocks++;
}

static void place_outputs(const adze_work *w, adze_live *l, const int32_t *order, int32_t t) {
    const int32_t id = order[t];
    const adze_gnode *n = &w->g->nodes[id];
    const adze_region_kind kind = w->g->regions[n->region].kind;
    const bool group = kind == ADZE_REGION_GROUP || kind == ADZE_REGION_TAIL, lasting = w->kept[id] == ADZE_KEPT_LASTING;
    const int32_t from = group ? l->begin_of[n->region] : t, to = group ? l->end_of[n->region] : t;
    int in_place = l->mask[id] && !lasting && kind != ADZE_REGION_GROUP && to == t ? find_in_place(w, l, order, t) : -1;
    for (int o = 0; o < n->nout; o++) {
        int32_t v = n->first + o, forced = adze_forced_input(n, o), b = -1;
        int32_t until = lasting ? w->norder : l->last[v] > to ? l->last[v] : to;
        if (w->local[v]) {
            continue;
        }
        if (forced) {
            b = l->block_of[w->layout[forced].root]; /* -1: a slot of the store */
        } else if (o == 0 && in_place >= 0) {
            b = l->block_of[w->layout[n->in[in_place]].root];
        } else {
            b = new_block(l, l->size[v], lasting ? 0 : from, until, v);
        }
        l->block_of[v] = b;
        if (b >= 0 && l->blocks[b].to < until) {
            l->blocks[b].to = until;
        }
    }
    if (l->scratch[id] > 0) {
        new_block(l, l->scratch[id], from, to, -1);
    }
}

static void find_peak(const adze_work *w, adze_live *l) {
    memset(l->change, 0, sizeof *l->change * (size_t)(w->norder + 2));
    for (int32_t b = 0; b < l->nblocks; b++) {
        l->change[l->blocks[b].from] += l->blocks[b].size;
        l->change[l->blocks[b].to + 1] -= l->blocks[b].size;
    }
    l->peak = 0;
    l->area = 0;
    for (int64_t t = 0, now = 0; t <= w->norder; t++) {
        now += l->change[t];
        l->peak = now > l->peak ? now : l->peak;
        l->area += (double)now;
    }
}

/* What does not depend on the order, and room for what does: an order is judged many times. */
static int prepare(const adze_work *w, adze_live *l) {
    const adze_graph *g = w->g;
    adze_ctx *ctx = w->ctx;
    l->blocks = adze_alloc(ctx, (int64_t)g->nvals + g->nnodes, sizeof *l->blocks);
    l->block_of = adze_alloc(ctx, g->nvals, sizeof *l->block_of);
    l->pos = adze_alloc(ctx, g->nnodes, sizeof *l->pos);
    l->last = adze_alloc(ctx, g->nvals, sizeof *l->last);
    l->begin_of = adze_alloc(ctx, g->nregions, sizeof *l->begin_of);
    l->end_of = adze_alloc(ctx, g->nregions, sizeof *l->end_of);
    l->mask = adze_alloc(ctx, g->nnodes, sizeof *l->mask);
    l->scratch = adze_alloc(ctx, g->nnodes, sizeof *l->scratch);
    l->size = adze_alloc(ctx, g->nvals, sizeof *l->size);
    l->change = adze_alloc(ctx, (int64_t)g->nnodes + 2, sizeof *l->change);
    TRY(ADZE_GOT(l->blocks && l->block_of && l->pos && l->last && l->begin_of && l->end_of && l->mask && l->scratch && l->size && l->change));
    for (int32_t i = 0; i < g->nnodes; i++) {
        const adze_gnode *n = &g->nodes[i];
        if (w->kind[i] != ADZE_KIND_STEP) {
            continue;
        }
        l->mask[i] = in_place_mask(w, n);
        l->scratch[i] = adze_step_packed(w, i) ? 0 : adze_round_up((int64_t)adze_step_scratch(w, i)) + adze_step_partials(w, i, NULL);
        for (int o = 0; o < n->nout; o++) {
            l->size[n->first + o] = adze_round_up(adze_type_bytes(&n->types[o]));
        }
    }
    return ADZE_OK;
}

int adze_plan_live(adze_work *w, const int32_t *order, adze_live *l) {
    if (!l->change) {
        TRY(prepare(w, l));
    }
    find_last(w, order, l);
    l->nblocks = 0;
    for (int32_t t = 0; t < w->norder; t++) {
        place_outputs(w, l, order, t);
    }
    for (int32_t b = 0; w->opts && w->opts->no_reuse && b < l->nblocks; b++) {
        l->blocks[b].from = 0;
        l->blocks[b].to = w->norder;
    }
    find_peak(w, l);
    return ADZE_OK;
}

void adze_live_free(adze_ctx *ctx, adze_live *l) {
    void *all[] = {l->blocks, l->block_of, l->pos, l->last, l->begin_of, l->end_of, l->mask, l->scratch, l->size, l->change};
    for (size_t i = 0; i < ADZE_COUNT(all); i++) {
        adze_free(ctx, all[i]);
    }
    *l = (adze_live){0};
}
