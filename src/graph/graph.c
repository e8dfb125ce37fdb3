/* Graphs: an arena of nodes that name each other by integer id. Builders are sticky: after the first error they do nothing. */
#include "graph_internal.h"

#include <stdarg.h>
#include <stdio.h>

/* -- life ------------------------------------------------------------------------------------------------------------------------------------- */

int adze_graph_new(adze_ctx *ctx, adze_graph **out) {
    *out = NULL;
    adze_graph *g = adze_alloc(ctx, 1, sizeof *g);
    TRY(ADZE_GOT(g));
    g->ctx = g->arena.ctx = ctx;
    g->cap_vals = 64;
    g->vals = adze_alloc(ctx, g->cap_vals, sizeof *g->vals);
    g->cap_regions = 4;
    g->regions = adze_alloc(ctx, g->cap_regions, sizeof *g->regions);
    if (!g->vals || !g->regions) {
        adze_graph_free(g);
        return ADZE_ENOMEM;
    }
    g->vals[0].node = -1;
    g->nvals = 1;
    g->regions[0].name = "";
    g->regions[0].closed = true;
    g->nregions = 1;
    *out = g;
    return ADZE_OK;
}

void adze_graph_free(adze_graph *g) {
    if (!g) {
        return;
    }
    adze_free(g->ctx, g->nodes);
    adze_free(g->ctx, g->vals);
    adze_free(g->ctx, g->regions);
    adze_free(g->ctx, g->outputs);
    adze_free(g->ctx, g->carries);
    adze_free(g->ctx, g->ordinals);
    adze_free(g->ctx, g->sources);
    adze_arena_free(&g->arena);
    adze_free(g->ctx, g);
}

int adze_graph_status(const adze_graph *g) {
    return g->status;
}

adze_ctx *adze_graph_ctx(const adze_graph *g) {
    return g->ctx;
}

int adze_graph_stick(adze_graph *g, int code) {
    if (g->status == ADZE_OK) {
        g->status = code;
        snprintf(g->message, sizeof g->message, "%s", adze_errmsg(g->ctx));
    }
    return code;
}

int adze_graph_fail(adze_graph *g, int code, const char *fmt, ...) {
    char text[sizeof g->message];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    adze_fail(g->ctx, code, "%s", text);
    return adze_graph_stick(g, code);
}

int adze_op_fail(const adze_sig *s, int code, const char *fmt, ...) {
    char text[768];
    va_list args;
    if (!s->ctx) {
        return code;
    }
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return adze_fail(s->ctx, code, "%s '%s': %s", s->op->name, s->name ? s->name : "", text);
}

void *adze_graph_dup(adze_graph *g, const void *p, size_t bytes) {
    void *copy = g->status == ADZE_OK ? adze_arena_dup(&g->arena, p, bytes) : NULL;
    if (!copy) {
        adze_graph_stick(g, ADZE_ENOMEM);
    }
    return copy;
}

int adze_graph_room(adze_graph *g, void **array, int32_t count, int32_t *cap, size_t size) {
    if (count < *cap) {
        return ADZE_OK;
    }
    if (*cap > INT32_MAX / 2) {
        return adze_graph_fail(g, ADZE_ENOMEM, "the graph is too large");
    }
    int32_t more = *cap ? *cap * 2 : 32;
    void *p = adze_resize(g->ctx, *array, *cap, more, size);
    if (!p) {
        return adze_graph_stick(g, ADZE_ENOMEM);
    }
    *array = p;
    *cap = more;
    return ADZE_OK;
}

/* -- values ------------------------------------------------------------------------------------------------------------------------------------- */

bool adze_val_ok(const adze_graph *g, adze_val v) {
    return v.id > 0 && v.id < g->nvals;
}

adze_gnode *adze_val_node(const adze_graph *g, int32_t v) {
    return &g->nodes[g->vals[v].node];
}

const adze_type *adze_type_of(const adze_graph *g, int32_t v) {
    return &adze_val_node(g, v)->types[g->vals[v].out];
}

adze_type adze_val_type(const adze_graph *g, adze_val v) {
    return adze_val_ok(g, v) ? *adze_type_of(g, v.id) : (adze_type){0};
}

bool adze_op_exports(const adze_op *op) {
    return op == &adze_op_guard_add || op == &adze_op_repeat_next || op == &adze_op_repeat_collect;
}

bool adze_op_forced(const adze_op *op) {
    return adze_op_exports(op) || (op->flags & ADZE_OP_UPDATE) != 0;
}

int32_t adze_val_region(const adze_graph *g, int32_t v) {
    const adze_gnode *n = adze_val_node(g, v);
    return adze_op_exports(n->op) ? 0 : n->region;
}

adze_val adze_settled(const adze_graph *g, adze_val v) {
    if (adze_val_ok(g, v) && adze_val_node(g, v.id)->op == &adze_op_repeat_carry) {
        for (int i = 0; i < g->ncarries; i++) {
            if (g->carries[i].carry == v.id && g->carries[i].next && g->regions[g->carries[i].region].closed) {
                return (adze_val){g->carries[i].next};
            }
        }
    }
    return v;
}

adze_sig adze_node_sig(const adze_graph *g, const adze_gnode *n, adze_type *in) {
    for (int i = 0; i < n->nin; i++) {
        in[i] = *adze_type_of(g, n->in[i]);
    }
    return (adze_sig){.op = n->op, .name = n->name, .attrs = n->attrs, .nin = n->nin, .nout = n->nout, .in = in, .out = n->types};
}

/* -- nodes --------------------------------------------------------------------------------------------------------------------------------------- */

static const char *node_name(adze_graph *g, const char *given) {
    char text[ADZE_PATH_MAX + ADZE_NAME_MAX];
    if (given) {
        return adze_arena_strdup(&g->arena, given);
    }
    if (g->name_override) {
        return g->name_override;
    }
    if (g->path[0]) {
        return adze_arena_strdup(&g->arena, g->path);
    }
    snprintf(text, sizeof text, "n%d", (int)g->nnodes);
    return adze_arena_strdup(&g->arena, text);
}

/* What a region may read: the outside, itself, and (a gradient) what its own trip count guards. */
static int check_region(adze_graph *g, const adze_sig *s, const adze_val *in, int32_t home) {
    for (int i = 0; i < s->nin; i++) {
        int32_t r = adze_val_region(g, in[i].id);
        if (r != 0 && r != home && (home == 0 || g->regions[r].group != g->regions[home].group || g->regions[r].kind != ADZE_REGION_GUARD)) {
            const adze_region *region = &g->regions[r];
            adze_op_fail(s, ADZE_EARG, "input %d lies inside the region '%s', which may not run; only what %s gives may be used outside", i,
                         region->name, region->kind == ADZE_REGION_GUARD ? "adze_guard_end" : "adze_repeat_collect or a carry");
            return adze_graph_stick(g, ADZE_EARG);
        }
        const adze_gnode *n = adze_val_node(g, in[i].id);
        if (home != 0 && n->region == home && adze_op_exports(n->op) && !(adze_op_forced(s->op) && i == 0)) {
            adze_op_fail(s, ADZE_EARG, "input %d is a result of the region '%s' and is not settled before its end", i, g->regions[home].name);
            return adze_graph_stick(g, ADZE_EARG);
        }
    }
    return ADZE_OK;
}

/* An UPDATE writes where a slot lies: its inputs 0 .. nout-1 must be slots or what earlier UPDATEs made of them. */
static int check_update(adze_graph *g, const adze_sig *s, const adze_val *in, int32_t home) {
    if (home != 0 && g->regions[home].kind != ADZE_REGION_GUARD) {
        adze_op_fail(s, ADZE_EARG, "a slot cannot be updated inside the region '%s'", g->regions[home].name);
        return adze_graph_stick(g, ADZE_EARG);
    }
    for (int i = 0; i < s->nout; i++) {
        const adze_gnode *n = adze_val_node(g, in[i].id);
        if (n->op != &adze_op_slot && !(n->op->flags & ADZE_OP_UPDATE)) {
            adze_op_fail(s, ADZE_EARG, "input %d must be a slot of the store, it is the result of %s", i, n->op->name);
            return adze_graph_stick(g, ADZE_EARG);
        }
        if (!adze_type_equal(&s->in[i], &s->out[i])) {
            adze_op_fail(s, ADZE_EBUG, "output %d does not have its slot's type", i);
            return adze_graph_stick(g, ADZE_EBUG);
        }
    }
    return ADZE_OK;
}

static int gather_inputs(adze_graph *g, const adze_sig *s, const adze_val *in, adze_val *settled, adze_type *types) {
    if (s->nin < s->op->nin_min || s->nin > s->op->nin_max || s->nin > ADZE_MAX_IN) {
        adze_op_fail(s, ADZE_EARG, "takes %d to %d inputs, %d were given", s->op->nin_min, s->op->nin_max, s->nin);
        return adze_graph_stick(g, ADZE_EARG);
    }
    for (int i = 0; i < s->nin; i++) {
        if (!adze_val_ok(g, in[i])) {
            adze_op_fail(s, ADZE_EARG, "input %d is not a value of this graph", i);
            return adze_graph_stick(g, ADZE_EARG);
        }
        settled[i] = adze_settled(g, in[i]);
        types[i] = *adze_type_of(g, settled[i].id);
    }
    return ADZE_OK;
}

static int append(adze_graph *g, const adze_sig *s, const adze_val *in, const void *attrs, int32_t home, adze_gnode **out) {
    TRY(adze_graph_room(g, (void **)&g->nodes, g->nnodes, &g->cap_nodes, sizeof *g->nodes));
    for (int i = 0; i < s->nout; i++) {
        TRY(adze_graph_room(g, (void **)&g->vals, g->nvals + i, &g->cap_vals, sizeof *g->vals));
    }
    adze_gnode n = {
        .op = s->op, .name = s->name, .attrs = attrs, .nin = s->nin, .nout = s->nout, .first = g->nvals, .region = home, .guard = g->guard};
    n.in = adze_arena_alloc(&g->arena, sizeof(int32_t) * (size_t)(s->nin ? s->nin : 1));
    n.types = adze_arena_dup(&g->arena, s->out, sizeof(adze_type) * (size_t)s->nout);
    if (!n.in || !n.types) {
        return adze_graph_stick(g, ADZE_ENOMEM);
    }
    for (int i = 0; i < s->nin; i++) {
        n.in[i] = in[i].id;
    }
    for (int i = 0; i < s->nout; i++) {
        g->vals[g->nvals++] = (adze_gval){g->nnodes, i};
    }
    g->nodes[g->nnodes] = n;
    *out = &g->nodes[g->nnodes++];
    return ADZE_OK;
}

static int copy_attrs(adze_graph *g, const adze_op *op, const void *given, const void **out) {
    *out = NULL;
    if (op->attrs_size == 0) {
        return ADZE_OK;
    }
    void *attrs = adze_arena_alloc(&g->arena, op->attrs_size);
    if (!attrs) {
        return adze_graph_stick(g, ADZE_ENOMEM);
    }
    if (given) {
        memcpy(attrs, given, op->attrs_size);
    } else if (op->attrs && adze_fields_default(op->attrs, attrs) != ADZE_OK) {
        return adze_graph_fail(g, ADZE_EBUG, "the op %s has a default that cannot be read", op->name);
    }
    *out = attrs;
    return ADZE_OK;
}

static int apply_named(adze_graph *g, const adze_op *op, const adze_val *in, int nin, const void *given, const char *name, adze_val *first,
                       adze_gnode **out) {
    adze_type in_types[ADZE_MAX_IN], out_types[ADZE_MAX_OUT];
    adze_val settled[ADZE_MAX_IN];
    if (g->status != ADZE_OK) {
        return g->status;
    }
    adze_sig s = {.ctx = g->ctx, .op = op, .name = node_name(g, name), .nin = nin, .nout = op->nout, .in = in_types, .out = out_types};
    if (!s.name) {
        return adze_graph_stick(g, ADZE_ENOMEM);
    }
    TRY(copy_attrs(g, op, given, &s.attrs));
    TRY(gather_inputs(g, &s, in, settled, in_types));
    if (op->nout == 0) {
        s.nout = op->count_out ? op->count_out(&s) : 0;
        if (s.nout < 1 || s.nout > ADZE_MAX_OUT) {
            adze_op_fail(&s, ADZE_EARG, "it would have %d outputs; 1 to %d are possible", s.nout, ADZE_MAX_OUT);
            return adze_graph_stick(g, ADZE_EARG);
        }
    }
    memset(out_types, 0, sizeof(adze_type) * (size_t)s.nout);
    int status = op->infer(&s);
    if (status != ADZE_OK) {
        return adze_graph_stick(g, status);
    }
    for (int i = 0; i < s.nout; i++) {
        if (adze_type_bytes(&out_types[i]) < 0) {
            adze_op_fail(&s, ADZE_ESHAPE, "the result is too large to address");
            return adze_graph_stick(g, ADZE_ESHAPE);
        }
    }
    /* What depends on nothing is computed once, outside every region. */
    int32_t home = nin == 0 && !(op->flags & ADZE_OP_RANDOM) ? 0 : g->region;
    TRY(check_region(g, &s, settled, home));
    if (op->flags & ADZE_OP_UPDATE) {
        TRY(check_update(g, &s, settled, home));
    }
    TRY(append(g, &s, settled, s.attrs, home, out));
    *first = (adze_val){(*out)->first};
    return ADZE_OK;
}

adze_val adze_apply(adze_graph *g, const adze_op *op, const adze_val *in, int nin, const void *attrs, adze_val *outs) {
    adze_val first = {0};
    adze_gnode *n = NULL;
    int status = apply_named(g, op, in, nin, attrs, NULL, &first, &n);
    if (status != ADZE_OK) {
        for (int i = 0; outs && i < op->nout; i++) {
            outs[i] = (adze_val){0};
        }
        return (adze_val){0};
    }
    for (int i = 0; outs && i < n->nout; i++) {
        outs[i] = (adze_val){first.id + i};
    }
    return first;
}

adze_val adze_apply_name(adze_graph *g, const char *name, const adze_val *in, int nin, const void *attrs, adze_val *outs) {
    if (g->status != ADZE_OK) {
        return (adze_val){0};
    }
    const adze_op *op = adze_op_find(name);
    if (op) {
        return adze_apply(g, op, in, nin, attrs, outs);
    }
    int n = adze_op_count();
    const char **names = adze_alloc(g->ctx, n, sizeof *names);
    const char *near = NULL;
    for (int i = 0; names && i < n; i++) {
        names[i] = adze_op_at(i)->name;
    }
    if (names) {
        near = adze_suggest(name, names, (size_t)n, sizeof *names);
    }
    adze_free(g->ctx, names);
    if (near) {
        adze_graph_fail(g, ADZE_EARG, "there is no op '%s'; did you mean '%s'?", name, near);
    } else {
        adze_graph_fail(g, ADZE_EARG, "there is no op '%s'", name);
    }
    return (adze_val){0};
}

/* -- sources and results ------------------------------------------------------------------------------------------------------------------------- */

static adze_val source(adze_graph *g, const adze_op *op, const char *name, adze_type type) {
    adze_source_attrs a = {.dtype = (int32_t)type.dtype};
    if (g->status != ADZE_OK) {
        return (adze_val){0};
    }
    if (!name || !name[0] || strlen(name) >= sizeof a.name) {
        adze_graph_fail(g, ADZE_EARG, "the name of %s must have 1 to %d bytes", op == &adze_op_input ? "an input" : "a slot", ADZE_NAME_MAX - 1);
        return (adze_val){0};
    }
    if (type.rank < 0 || type.rank > ADZE_MAX_RANK) {
        adze_graph_fail(g, ADZE_ESHAPE, "%s '%s': the rank is %d; 0 to %d are possible", op->name, name, (int)type.rank, ADZE_MAX_RANK);
        return (adze_val){0};
    }
    for (int i = 0; i < g->nsources; i++) {
        const adze_gnode *n = &g->nodes[g->sources[i]];
        if (n->op == op && strcmp(n->name, name) == 0) {
            if (adze_type_equal(&n->types[0], &type)) {
                return (adze_val){n->first};
            }
            adze_graph_fail(g, ADZE_ESHAPE, "%s '%s' is asked for as %s, but was made as %s", op->name, name, ADZE_SHOWN(&type),
                            ADZE_SHOWN(&n->types[0]));
            return (adze_val){0};
        }
    }
    snprintf(a.name, sizeof a.name, "%s", name);
    a.dims.n = type.rank;
    memcpy(a.dims.v, type.dims, sizeof a.dims.v);
    adze_val v = {0};
    adze_gnode *n = NULL;
    if (adze_graph_room(g, (void **)&g->sources, g->nsources, &g->cap_sources, sizeof *g->sources) != ADZE_OK ||
        apply_named(g, op, NULL, 0, &a, name, &v, &n) != ADZE_OK) {
        return (adze_val){0};
    }
    g->sources[g->nsources++] = g->nnodes - 1;
    return v;
}

adze_val adze_input(adze_graph *g, const char *name, adze_type type) {
    return source(g, &adze_op_input, name, type);
}

adze_val adze_slot(adze_graph *g, const char *slot_name, adze_type type) {
    return source(g, &adze_op_slot, slot_name, type);
}

adze_val adze_assign(adze_graph *g, adze_val slot, adze_val v) {
    adze_val in[2] = {slot, v};
    return adze_apply(g, &adze_op_assign, in, 2, NULL, NULL);
}

int adze_output(adze_graph *g, const char *name, adze_val v) {
    TRY(g->status);
    if (!adze_val_ok(g, v)) {
        return adze_graph_fail(g, ADZE_EARG, "output '%s' is not a value of this graph", name);
    }
    v = adze_settled(g, v);
    int32_t r = adze_val_region(g, v.id);
    if (r != 0 || (g->region != 0 && adze_val_node(g, v.id)->region == g->region)) {
        return adze_graph_fail(g, ADZE_EARG, "output '%s' lies inside the region '%s', which may not run; make an output of the region's result",
                               name, g->regions[r ? r : g->region].name);
    }
    for (int i = 0; i < g->noutputs; i++) {
        if (strcmp(g->outputs[i].name, name) == 0) {
            return adze_graph_fail(g, ADZE_EARG, "there is already an output '%s'", name);
        }
    }
    TRY(adze_graph_room(g, (void **)&g->outputs, g->noutputs, &g->cap_outputs, sizeof *g->outputs));
    const char *copy = adze_arena_strdup(&g->arena, name);
    if (!copy) {
        return adze_graph_stick(g, ADZE_ENOMEM);
    }
    g->outputs[g->noutputs++] = (adze_goutput){copy, v.id};
    return ADZE_OK;
}

/* -- scopes -------------------------------------------------------------------------------------------------------------------------------------- */

void adze_scope_push(adze_graph *g, const char *name) {
    size_t len = strlen(g->path);
    if (g->status != ADZE_OK) {
        return;
    }
    if (!name[0] || strchr(name, '/') || len + strlen(name) + 2 > sizeof g->path) {
        adze_graph_fail(g, ADZE_EARG, "the scope '%s' must have a name without '/', and the path at most %d bytes", name, ADZE_PATH_MAX - 1);
        return;
    }
    snprintf(g->path + len, sizeof g->path - len, "%s%s", len ? "/" : "", name);
}

void adze_scope_pop(adze_graph *g) {
    char *slash = strrchr(g->path, '/');
    *(slash ? slash : g->path) = 0;
}

uint64_t adze_graph_stream(adze_graph *g) {
    uint64_t path = adze_hash_str(g->path);
    int i = 0;
    while (i < g->nordinals && g->ordinals[i].path != path) {
        i++;
    }
    if (i == g->nordinals) {
        if (adze_graph_room(g, (void **)&g->ordinals, g->nordinals, &g->cap_ordinals, sizeof *g->ordinals) != ADZE_OK) {
            return 0;
        }
        g->ordinals[g->nordinals++] = (adze_ordinal){path, 0};
    }
    uint64_t key[2] = {path, g->ordinals[i].count++};
    return adze_hash64(key, sizeof key, 0);
}
