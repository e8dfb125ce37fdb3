/* Pass "steps": writes the plan: the flat list of steps with their kernels and views, the ports, the constants, and the sums. */
#include "plan_internal.h"

typedef struct builder {
    adze_work *w;
    adze_plan *p;
    int32_t *slot_of;   /* by node: index into the plan's slots */
    int64_t *offset_of; /* by node: bytes into the input or the constant memory */
    int64_t *local_at;  /* by value: bytes into a thread's own memory */
} builder;

static const char *keep(builder *b, const char *s) {
    return adze_arena_strdup(&b->p->arena, s);
}

/* The store slot under a chain of UPDATEs, or -1. */
static int32_t slot_node(const adze_work *w, int32_t v) {
    for (;;) {
        v = w->layout[v].root;
        int32_t id = w->g->vals[v].node;
        int32_t target = adze_forced_input(&w->g->nodes[id], w->g->vals[v].out);
        if (!target) {
            return w->kind[id] == ADZE_KIND_SLOT ? id : -1;
        }
        v = target;
    }
}

static adze_spot locate(const builder *b, int32_t v) {
    const adze_work *w = b->w;
    const adze_layout *l = &w->layout[v];
    int32_t id = w->g->vals[l->root].node, block = w->live.block_of[l->root];
    adze_spot at = {.offset = (char *)l->view.data - ADZE_VIEW_BASE, .iter = l->iter};
    if (w->kind[id] == ADZE_KIND_INPUT || w->kind[id] == ADZE_KIND_CONST) {
        at.place = w->kind[id] == ADZE_KIND_INPUT ? ADZE_PLACE_INPUT : ADZE_PLACE_CONST;
        at.offset += b->offset_of[id];
    } else if (w->local[l->root]) {
        at.place = ADZE_PLACE_LOCAL;
        at.offset += b->local_at[l->root];
    } else if (block >= 0) {
        at.place = ADZE_PLACE_ARENA;
        at.offset += w->live.blocks[block].offset;
    } else {
        at.place = ADZE_PLACE_SLOT;
        at.slot = b->slot_of[slot_node(w, v)];
    }
    return at;
}

static int add_port(builder *b, adze_port *ports, int32_t *n, const char *name, const adze_type *type, adze_spot at) {
    ports[*n] = (adze_port){keep(b, name), *type, at};
    return ADZE_GOT(ports[(*n)++].name);
}

/* Inputs and slots in the order in which they were made; constants one after the other. */
static int lay_sources(builder *b, int64_t *const_bytes) {
    adze_work *w = b->w;
    adze_graph *g = w->g;
    adze_plan *p = b->p;
    for (int32_t i = 0; i < g->nnodes; i++) {
        const adze_gnode *n = &g->nodes[i];
        int64_t bytes = n->nout > 0 ? adze_round_up(adze_type_bytes(&n->types[0])) : 0;
        if (w->kind[i] == ADZE_KIND_INPUT) {
            b->offset_of[i] = p->input_bytes;
            TRY(add_port(b, p->inputs, &p->ninputs, n->name, &n->types[0], (adze_spot){.place = ADZE_PLACE_INPUT, .offset = p->input_bytes}));
            p->input_bytes += bytes;
        } else if (w->kind[i] == ADZE_KIND_SLOT) {
            b->slot_of[i] = p->nslots;
            TRY(add_port(b, p->slots, &p->nslots, n->name, &n->types[0], (adze_spot){.place = ADZE_PLACE_SLOT, .slot = p->nslots}));
            p->slot_bytes += adze_type_bytes(&n->types[0]);
        } else if (w->kind[i] == ADZE_KIND_CONST) {
            b->offset_of[i] = *const_bytes;
            for (int o = 0; o < n->nout; o++) {
                *const_bytes += adze_round_up(adze_type_bytes(&n->types[o]));
            }
        }
    }
    return ADZE_OK;
}

static int make_constants(builder *b, int64_t bytes) {
    adze_work *w = b->w;
    adze_graph *g = w->g;
    const adze_run run = {0};
    if (bytes == 0) {
        return ADZE_OK;
    }
    TRY(adze_tensor_new(w->ctx, adze_type_make(ADZE_U8, 1, &bytes), &b->p->constants));
    char *base = adze_tensor_data(&b->p->constants);
    for (int32_t i = 0; i < g->nnodes; i++) {
        const adze_gnode *n = &g->nodes[i];
        if (w->kind[i] != ADZE_KIND_CONST) {
            continue;
        }
        if (n->nout != 1) {
            return adze_graph_fail(g, ADZE_ENOSUP, "%s '%s': a constant has one output", n->op->name, n->name);
        }
        adze_view out = w->layout[n->first].view;
        out.data = base + b->offset_of[i];
        adze_step s = {.op = n->op, .attrs = n->attrs, .nout = 1, .out = &out, .run = &run};
        size_t scratch = n->op->ref_scratch ? adze_step_scratch(w, i) : 0;
        void *memory = scratch ? adze_alloc(w->ctx, (int64_t)scratch, 1) : NULL;
        TRY(ADZE_GOT(!scratch || memory));
        s.scratch = memory;
        n->op->ref(&s, 0, 1);
        adze_free(w->ctx, memory);
    }
    return ADZE_OK;
}

adze_cost adze_sig_cost(const adze_sig *s) {
    if (s->op->cost) {
        return s->op->cost(s);
    }
    adze_cost c = {0};
    for (int i = 0; i < s->nin; i++) {
        c.read += (double)adze_type_bytes(&s->in[i]);
    }
    for (int i = 0; i < s->nout; i++) {
        c.written += (double)adze_type_bytes(&s->out[i]);
        c.flops += (double)adze_type_count(&s->out[i]);
    }
    return c;
}

static void add_view(builder *b, int32_t v, bool sliced) {
    adze_view *view = &b->p->views[b->p->nviews];
    adze_spot *at = &b->p->spots[b->p->nviews++];
    *view = b->w->layout[v].view;
    view->data = NULL;
    *at = locate(b, v);
    at->sliced = sliced;
    at->slice = sliced ? view->strides[0] * (int64_t)adze_dtype_size(view->dtype) : 0;
}

/* repeat_collect writes one row of its result: the kernel sees row i in iteration i. */
static void narrow_collect(adze_plan *p, const adze_pstep *s) {
    adze_view *out = &p->views[s->view + s->nin], *row = &p->views[s->view + 1];
    p->spots[s->view + s->nin].iter = out->strides[0] * (int64_t)adze_dtype_size(out->dtype);
    out->rank = row->rank;
    for (int d = 0; d < row->rank; d++) {
        out->dims[d] = out->dims[d + 1];
        out->strides[d] = out->strides[d + 1];
    }
}

static int add_step(builder *b, int32_t t, int32_t *next_scratch) {
    adze_work *w = b->w;
    adze_plan *p = b->p;
    const adze_gnode *n = &w->g->nodes[w->order[t]];
    adze_type types[ADZE_MAX_IN];
    adze_sig sig = adze_node_sig(w->g, n, types);
    adze_pstep *s = &p->steps[p->nsteps++];
    adze_cost cost = adze_sig_cost(&sig);
    double trips = (double)adze_trips_of(w->g, n->region);
    *s = (adze_pstep){.op = n->op, .kernel = w->kernel[w->order[t]], .nin = n->nin, .nout = n->nout, .region = n->region, .view = p->nviews};
    s->guard = n->guard;
    s->name = keep(b, n->name);
    s->attrs = n->op->attrs_size ? adze_arena_dup(&p->arena, n->attrs, n->op->attrs_size) : NULL;
    TRY(ADZE_GOT(s->name && (!n->op->attrs_size || s->attrs)));
    s->flops = cost.flops;
    s->bytes = cost.read + cost.written;
    s->update = (n->op->flags & ADZE_OP_UPDATE) != 0;
    s->follows = w->g->regions[n->region].kind == ADZE_REGION_TAIL && t > 0 && w->g->nodes[w->order[t - 1]].region == n->region;
    p->flops += s->flops * trips;
    p->bytes += s->bytes * trips;
    p->nagain += n->again;
    p->again_flops += n->again ? s->flops : 0;
    const bool group = w->g->regions[n->region].kind == ADZE_REGION_GROUP, sums = group && adze_group_sums(w, w->order[t]);
    for (int k = 0; k < n->nin; k++) {
        add_view(b, n->in[k], group && adze_kernel_sliced(s->kernel, k));
    }
    for (int o = 0; o < n->nout; o++) {
        add_view(b, n->first + o, group && !sums);
    }
    if (n->op == &adze_op_repeat_collect) {
        narrow_collect(p, s);
    }
    s->scratch = (int64_t)adze_step_scratch(w, w->order[t]);
    const int64_t partials = adze_step_partials(w, w->order[t], &s->partial);
    s->kept = w->kept[w->order[t]] != ADZE_KEPT_NOT;
    s->packed = s->scratch > 0 && adze_step_packed(w, w->order[t]);
    if (s->packed) {
        s->scratch_offset = p->packed_bytes;
        p->packed_bytes += adze_round_up(s->scratch);
    } else if (s->scratch + partials > 0) { /* scratch blocks are in the order of the steps */
        while (p->blocks[*next_scratch].val >= 0) {
            ++*next_scratch;
        }
        s->scratch_offset = p->blocks[(*next_scratch)++].offset;
        s->partial_offset = s->scratch_offset + adze_round_up(s->scratch);
        p->scratch_bytes = s->scratch > p->scratch_bytes ? s->scratch : p->scratch_bytes;
    }
    s->local = s->kernel && s->kernel->local ? adze_round_up((int64_t)s->kernel->local(&sig)) : 0;
    p->local_bytes = s->local > p->local_bytes ? s->local : p->local_bytes;
    return ADZE_OK;
}

static void add_poison(adze_plan *p) {
    int32_t n = 0;
    for (int32_t t = 0; t < p->nsteps; t++) {
        p->steps[t].poison = n;
        for (int32_t i = 0; i < p->nblocks; i++) {
            if (p->blocks[i].to == t && p->blocks[i].size > 0) {
                p->poison[n++] = i;
            }
        }
        p->steps[t].npoison = n - p->steps[t].poison;
    }
}

static int make_room(builder *b) {
    adze_work *w = b->w;
    adze_graph *g = w->g;
    adze_plan *p = b->p;
    size_t views = 0, nodes = (size_t)g->nnodes + 1;
    for (int32_t t = 0; t < w->norder; t++) {
        views += (size_t)(g->nodes[w->order[t]].nin + g->nodes[w->order[t]].nout);
    }
    adze_arena *a = &p->arena;
    p->steps = adze_arena_alloc(a, sizeof *p->steps * (size_t)(w->norder + 1));
    p->views = adze_arena_alloc(a, sizeof *p->views * (views + 1));
    p->spots = adze_arena_alloc(a, sizeof *p->spots * (views + 1));
    p->inputs = adze_arena_alloc(a, sizeof *p->inputs * nodes);
    p->slots = adze_arena_alloc(a, sizeof *p->slots * nodes);
    p->outputs = adze_arena_alloc(a, sizeof *p->outputs * (size_t)(g->noutputs + 1));
    p->regions = adze_arena_alloc(a, sizeof *p->regions * (size_t)g->nregions);
    p->poison = adze_arena_alloc(a, sizeof *p->poison * (size_t)(w->live.nblocks + 1));
    p->nblocks = w->live.nblocks;
    p->blocks = adze_arena_dup(a, w->live.blocks, sizeof *p->blocks * (size_t)(p->nblocks + 1));
    return ADZE_GOT(p->steps && p->views && p->spots && p->inputs && p->slots && p->outputs && p->regions && p->poison && p->blocks);
}

static int build(builder *b) {
    adze_work *w = b->w;
    adze_graph *g = w->g;
    adze_plan *p = b->p;
    int64_t const_bytes = 0;
    int32_t next_scratch = 0;
    TRY(make_room(b));
    TRY(lay_sources(b, &const_bytes));
    TRY(make_constants(b, const_bytes));
    for (int32_t r = 0; r < g->nregions; r++) {
        p->regions[r] = (adze_pregion){.name = keep(b, g->regions[r].name), .kind = g->regions[r].kind, .group = g->regions[r].group};
        p->regions[r].max_trips = g->regions[r].max_trips;
        TRY(ADZE_GOT(p->regions[r].name));
    }
    p->nregions = g->nregions;
    adze_group_lay(w, p->regions, b->local_at);
    for (int32_t t = 0; t < w->norder; t++) {
        TRY(add_step(b, t, &next_scratch));
    }
    adze_group_room(p);
    for (int i = 0; i < g->noutputs; i++) {
        int32_t v = g->outputs[i].val;
        TRY(add_port(b, p->outputs, &p->noutputs, g->outputs[i].name, adze_type_of(g, v), locate(b, v)));
    }
    if (w->opts && w->opts->poison) {
        p->poisoned = true;
        add_poison(p);
    }
    p->arena_bytes = w->arena;
    p->live_bytes = w->live.peak;
    return ADZE_OK;
}

int adze_pass_steps(adze_work *w, adze_plan *p) {
    builder b = {.w = w, .p = p};
    b.slot_of = adze_alloc(w->ctx, w->g->nnodes, sizeof *b.slot_of);
    b.offset_of = adze_alloc(w->ctx, w->g->nnodes, sizeof *b.offset_of);
    b.local_at = adze_alloc(w->ctx, w->g->nvals, sizeof *b.local_at);
    int status = b.slot_of && b.offset_of && b.local_at ? build(&b) : ADZE_ENOMEM;
    adze_free(w->ctx, b.slot_of);
    adze_free(w->ctx, b.offset_of);
    adze_free(w->ctx, b.local_at);
    return status;
}
