/* Compiling: copies the graph and runs the passes over the copy, one after the other; and what a plan tells about itself. */
#include "plan_internal.h"

const char *adze_pass_name(adze_pass p) {
    static const char *const NAMES[ADZE_NPASSES] = {"build",  "dead",      "simplify", "lower",  "cast", "fuse",
                                                    "kernel", "recompute", "order",    "memory", "steps"};
    return (int)p >= 0 && p < ADZE_NPASSES ? NAMES[p] : "unknown";
}

/* Nodes of the copy share attributes, names and types with the graph, which outlives it; their lists of inputs are their own. */
static int clone(adze_graph *g, const adze_goutput *outs, int nouts, adze_graph **out) {
    adze_graph *c = NULL;
    TRY(adze_graph_new(g->ctx, &c));
    adze_free(g->ctx, c->vals);
    adze_free(g->ctx, c->regions);
    c->cap_nodes = c->nnodes = g->nnodes;
    c->cap_vals = c->nvals = g->nvals;
    c->cap_regions = c->nregions = g->nregions;
    c->cap_outputs = c->noutputs = nouts;
    c->nodes = adze_alloc(g->ctx, g->nnodes, sizeof *c->nodes);
    c->vals = adze_alloc(g->ctx, g->nvals, sizeof *c->vals);
    c->regions = adze_alloc(g->ctx, g->nregions, sizeof *c->regions);
    c->outputs = adze_alloc(g->ctx, nouts, sizeof *c->outputs);
    int status = ADZE_GOT(c->nodes && c->vals && c->regions && c->outputs);
    if (status == ADZE_OK) {
        if (g->nnodes > 0) {
            memcpy(c->nodes, g->nodes, sizeof *c->nodes * (size_t)g->nnodes);
        }
        memcpy(c->vals, g->vals, sizeof *c->vals * (size_t)g->nvals);
        memcpy(c->regions, g->regions, sizeof *c->regions * (size_t)g->nregions);
        if (nouts > 0) {
            memcpy(c->outputs, outs, sizeof *c->outputs * (size_t)nouts);
        }
    }
    for (int32_t i = 0; i < g->nnodes && status == ADZE_OK; i++) {
        const adze_gnode *n = &g->nodes[i];
        c->nodes[i].in = adze_arena_dup(&c->arena, n->in, sizeof *n->in * (size_t)(n->nin ? n->nin : 1));
        status = ADZE_GOT(c->nodes[i].in);
    }
    if (status != ADZE_OK) {
        adze_graph_free(c);
        return status;
    }
    *out = c;
    return ADZE_OK;
}

static int show(adze_work *w, adze_pass after, const adze_plan *p) {
    const adze_compile_opts *o = w->opts;
    char *text = NULL;
    if (!o || !o->dump) {
        return ADZE_OK;
    }
    if (after >= ADZE_PASS_ORDER && p && p->nsteps > 0) {
        TRY(adze_plan_dump(p, &text));
    } else {
        adze_text t = {.ctx = w->ctx};
        adze_graph_print(w->g, &t);
        for (int32_t i = 0; (after == ADZE_PASS_ORDER || after == ADZE_PASS_MEMORY) && i < w->norder; i++) {
            adze_text_add(&t, "step %d: node %d\n", (int)i, (int)w->order[i]);
        }
        for (int32_t i = 0; after == ADZE_PASS_MEMORY && i < w->live.nblocks; i++) {
            const adze_block *b = &w->live.blocks[i];
            adze_text_add(&t, "block %d: value %d, %lld bytes at %lld, steps %d to %d\n", (int)i, (int)b->val, (long long)b->size,
                          (long long)b->offset, (int)b->from, (int)b->to);
        }
        TRY(adze_text_finish(&t, &text));
    }
    o->dump(o->dump_user, after, text);
    adze_text_free(w->ctx, text);
    return ADZE_OK;
}

static int simplify(adze_work *w) {
    if (w->opts && w->opts->no_simplify) {
        return ADZE_OK;
    }
    TRY(adze_pass_simplify(w));
    return adze_pass_dead(w);
}

static int fuse(adze_work *w) {
    return w->opts && w->opts->no_simplify ? ADZE_OK : adze_pass_fuse(w);
}

/* The pass "recompute" has laid the plan out already when it had to. */
static int order(adze_work *w) {
    return w->order ? ADZE_OK : adze_pass_order(w);
}

static int memory(adze_work *w) {
    return w->live.blocks ? ADZE_OK : adze_pass_memory(w);
}

static int run_passes(adze_work *w, adze_plan *p) {
    int (*const passes[])(adze_work *) = {
        [ADZE_PASS_DEAD] = adze_pass_dead,           [ADZE_PASS_SIMPLIFY] = simplify, [ADZE_PASS_LOWER] = adze_pass_lower,
        [ADZE_PASS_CAST] = adze_pass_cast,           [ADZE_PASS_FUSE] = fuse,         [ADZE_PASS_KERNEL] = adze_pass_kernel,
        [ADZE_PASS_RECOMPUTE] = adze_pass_recompute, [ADZE_PASS_ORDER] = order,       [ADZE_PASS_MEMORY] = memory,
    };
    TRY(show(w, ADZE_PASS_BUILD, NULL));
    for (int i = ADZE_PASS_DEAD; i <= ADZE_PASS_MEMORY; i++) {
        TRY(passes[i](w));
        TRY(show(w, (adze_pass)i, NULL));
    }
    TRY(adze_pass_steps(w, p));
    return show(w, ADZE_PASS_STEPS, p);
}

static int check_ready(adze_graph *g) {
    if (g->status != ADZE_OK) {
        return adze_fail(g->ctx, g->status, "%s", g->message);
    }
    if (g->region != 0) {
        return adze_fail(g->ctx, ADZE_EARG, "the region '%s' has no end", g->regions[g->region].name);
    }
    return ADZE_OK;
}

int adze_compile_vals(adze_graph *g, const adze_compile_opts *opts, const adze_goutput *outs, int nouts, adze_plan **out) {
    *out = NULL;
    TRY(check_ready(g));
    adze_work w = {.ctx = g->ctx, .opts = opts};
    const char *device = opts && opts->device ? opts->device : "cpu";
    const bool reproducible = adze_ctx_reproducible(g->ctx);
    w.device = (reproducible ? adze_device_reproducible : adze_device_find)(device, adze_ctx_isa_level(g->ctx));
    if (!w.device) {
        return adze_fail(g->ctx, ADZE_EARG, "there is no device '%s'; there are 'cpu' and 'ref'", device);
    }
    if (reproducible && opts && opts->precision == ADZE_BF16) {
        return adze_fail(g->ctx, ADZE_EARG, "reproducible: products in bf16 round differently on every processor; use full precision");
    }
    TRY(clone(g, outs ? outs : g->outputs, outs ? nouts : g->noutputs, &w.g));
    for (int32_t i = 0; outs && i < w.g->nnodes; i++) {
        w.g->nodes[i].dead = true; /* only what the values need: no UPDATE runs for its own sake */
    }
    adze_plan *p = adze_alloc(g->ctx, 1, sizeof *p);
    int status = ADZE_GOT(p);
    if (status == ADZE_OK) {
        p->ctx = p->arena.ctx = g->ctx;
        p->device = w.device->name;
        status = run_passes(&w, p);
    }
    adze_free(g->ctx, w.kind);
    adze_free(g->ctx, w.kernel);
    adze_free(g->ctx, w.layout);
    adze_free(g->ctx, w.copy_of);
    adze_free(g->ctx, w.local);
    adze_free(g->ctx, w.kept);
    adze_free(g->ctx, w.order);
    adze_free(g->ctx, w.before);
    adze_live_free(g->ctx, &w.live);
    adze_graph_free(w.g);
    if (status != ADZE_OK) {
        adze_plan_free(p);
        return status;
    }
    *out = p;
    return ADZE_OK;
}

int adze_compile(adze_graph *g, const adze_compile_opts *opts, adze_plan **out) {
    return adze_compile_vals(g, opts, NULL, 0, out);
}

void adze_plan_free(adze_plan *p) {
    if (!p) {
        return;
    }
    adze_ctx *ctx = p->ctx;
    adze_tensor_free(&p->constants);
    adze_arena_free(&p->arena);
    adze_free(ctx, p);
}

adze_plan_info adze_plan_describe(const adze_plan *p) {
    return (adze_plan_info){.nsteps = p->nsteps,
                            .arena_bytes = p->arena_bytes,
                            .live_bytes = p->live_bytes,
                            .scratch_bytes = p->local_bytes,
                            .packed_bytes = p->packed_bytes,
                            .slot_bytes = p->slot_bytes,
                            .input_bytes = p->input_bytes,
                            .recomputed_steps = p->nagain,
                            .recomputed_flops = p->again_flops,
                            .flops = p->flops,
                            .bytes = p->bytes};
}

static int64_t view_end(const adze_view *v, int64_t iter, int64_t trips, int64_t *begin) {
    int64_t lo = 0, hi = 0, size = (int64_t)adze_dtype_size(v->dtype);
    for (int d = 0; d < v->rank; d++) {
        if (v->dims[d] == 0) {
            *begin = 0;
            return 0;
        }
        int64_t reach = (v->dims[d] - 1) * v->strides[d] * size;
        lo += reach < 0 ? reach : 0;
        hi += reach > 0 ? reach : 0;
    }
    *begin = lo;
    return hi + size + (trips > 1 ? (trips - 1) * iter : 0);
}

int adze_plan_check(const adze_plan *p) {
    for (int32_t i = 0; i < p->nblocks; i++) {
        const adze_block *a = &p->blocks[i];
        if (a->size > 0 && (a->offset < 0 || a->offset % ADZE_ALIGN != 0 || a->offset + a->size > p->arena_bytes)) {
            return adze_fail(p->ctx, ADZE_EBUG, "block %d lies outside the arena or is not aligned", (int)i);
        }
        for (int32_t k = 0; k < i; k++) {
            const adze_block *b = &p->blocks[k];
            bool apart = a->to < b->from || b->to < a->from || a->offset + a->size <= b->offset || b->offset + b->size <= a->offset;
            if (!apart && a->size > 0 && b->size > 0) {
                return adze_fail(p->ctx, ADZE_EBUG, "blocks %d and %d live at once and overlap", (int)k, (int)i);
            }
        }
    }
    for (int32_t t = 0; t < p->nsteps; t++) {
        const adze_pstep *s = &p->steps[t];
        for (int32_t v = s->view; v < s->view + s->nin + s->nout; v++) {
            const adze_spot *at = &p->spots[v];
            int64_t begin = 0, trips = p->regions[s->region].kind == ADZE_REGION_REPEAT ? p->regions[s->region].max_trips : 1;
            int64_t end = view_end(&p->views[v], at->iter, trips, &begin);
            bool found = at->place != ADZE_PLACE_ARENA || end == begin; /* what lies elsewhere is not planned here */
            for (int32_t i = 0; i < p->nblocks && !found; i++) {
                const adze_block *b = &p->blocks[i];
                found = b->from <= t - s->follows && t <= b->to && b->offset <= at->offset + begin && at->offset + end <= b->offset + b->size;
            }
            if (!found) {
                return adze_fail(p->ctx, ADZE_EBUG, "step %d ('%s') touches memory that is no live block's", (int)t, s->name);
            }
        }
    }
    return ADZE_OK;
}
