/* Reverse mode, graph to graph: walks the nodes between x and y backwards and appends the nodes of each one's vector-Jacobian product. */
#include "graph_internal.h"

#include "adze/ops.h"

#include <stdio.h>

/* One walk. All arrays have one entry a value and grow with the graph: expansions append values that are walked as well. */
typedef struct walk {
    adze_graph *g;
    uint32_t flags;
    int32_t *ct;    /* the cotangent so far, 0 for none */
    int32_t *local; /* inside a guard: what the region itself contributes to a value outside */
    bool *on;       /* the value depends on an x */
    int32_t cap;
    int32_t block, back; /* the guard being walked and the region of its backward nodes; 0: none */
    int depth;
} walk;

enum { MAX_DEPTH = 64 }; /* an expansion that never ends in primitive ops is a fault of the op */

static int walk_room(walk *w) {
    if (w->cap >= w->g->nvals) {
        return ADZE_OK;
    }
    int32_t more = w->g->nvals * 2;
    adze_ctx *ctx = w->g->ctx;
    int32_t *ct = adze_resize(ctx, w->ct, w->cap, more, sizeof *ct);
    w->ct = ct ? ct : w->ct;
    int32_t *local = ct ? adze_resize(ctx, w->local, w->cap, more, sizeof *local) : NULL;
    w->local = local ? local : w->local;
    bool *on = local ? adze_resize(ctx, w->on, w->cap, more, sizeof *on) : NULL;
    w->on = on ? on : w->on;
    if (!on) {
        return adze_graph_stick(w->g, ADZE_ENOMEM);
    }
    w->cap = more;
    return ADZE_OK;
}

static bool is_float(const adze_graph *g, int32_t v) {
    return adze_dtype_is_float(adze_type_of(g, v)->dtype);
}

static void add_to(walk *w, int32_t *sum, int32_t c) {
    *sum = *sum ? adze_add(w->g, (adze_val){*sum}, (adze_val){c}).id : c;
}

/* A contribution to the cotangent of v. */
static int contribute(walk *w, int32_t v, int32_t c) {
    adze_graph *g = w->g;
    TRY(g->status);
    TRY(walk_room(w));
    if (!adze_type_equal(adze_type_of(g, v), adze_type_of(g, c))) {
        return adze_graph_fail(g, ADZE_EBUG, "the cotangent of a value %s of '%s' came out as %s", ADZE_SHOWN(adze_type_of(g, v)),
                               adze_val_node(g, v)->name, ADZE_SHOWN(adze_type_of(g, c)));
    }
    int32_t r = adze_val_region(g, v);
    bool inside = w->block == 0 || (r != 0 && g->regions[r].group == g->regions[w->block].group);
    add_to(w, inside ? &w->ct[v] : &w->local[v], c);
    return g->status;
}

/* The cotangent of a guard's sum passes by the guard on its way to x, and enters it on its way to f(x). */
static int pull_guard_add(walk *w, const adze_gnode *n) {
    int32_t y = n->first, x = n->in[0], fx = n->in[1];
    if (w->on[x]) {
        w->g->region = 0;
        add_to(w, &w->ct[x], w->ct[y]);
        w->g->region = w->back;
    }
    return w->on[fx] ? contribute(w, fx, w->ct[y]) : ADZE_OK;
}

static int pull_range(walk *w, int32_t from, int32_t to);

static int pull_expansion(walk *w, adze_adj *a, int32_t first_node) {
    adze_graph *g = w->g;
    TRY(g->status);
    TRY(walk_room(w));
    int32_t end = g->nnodes;
    for (int32_t i = first_node; i < end; i++) {
        const adze_gnode *n = &g->nodes[i];
        bool any = false;
        for (int k = 0; k < n->nin; k++) {
            any = any || w->on[n->in[k]];
        }
        for (int k = 0; k < n->nout; k++) {
            w->on[n->first + k] = any && !(n->op->flags & ADZE_OP_NOGRAD) && is_float(g, n->first + k);
        }
    }
    for (int k = 0; k < a->nout; k++) {
        if (a->t[k].id && a->r[k].id && w->on[a->r[k].id]) {
            TRY(contribute(w, a->r[k].id, a->t[k].id));
        }
    }
    if (++w->depth > MAX_DEPTH) {
        return adze_graph_fail(g, ADZE_EBUG, "the expansion of '%s' never ends", a->op->name);
    }
    int status = pull_range(w, first_node, end);
    w->depth--;
    return status;
}

static int pull_rule(walk *w, adze_adj *a, const int32_t *in) {
    adze_graph *g = w->g;
    const adze_op *op = a->op;
    int32_t first_node = g->nnodes;
    if (op->expand && ((w->flags & ADZE_DIFFERENTIABLE) || (!op->vjp && !op->partial))) {
        adze_val r[ADZE_MAX_OUT] = {{0}};
        adze_adj e = *a;
        e.y = NULL;
        e.t = NULL;
        e.r = r;
        op->expand(&e);
        e.t = a->t;
        return pull_expansion(w, &e, first_node);
    }
    if (op->vjp) {
        op->vjp(a);
    } else if (op->partial) {
        for (int i = 0; i < a->nin; i++) {
            adze_val d = a->need[i] ? op->partial(a, i) : (adze_val){0};
            a->r[i] = d.id ? adze_mul(g, a->t[0], d) : d;
        }
    } else {
        return adze_graph_fail(g, ADZE_ENOSUP, "%s '%s': this op has no derivative", op->name, a->name);
    }
    for (int i = 0; i < a->nin && g->status == ADZE_OK; i++) {
        if (a->need[i] && a->r[i].id) {
            TRY(contribute(w, in[i], a->r[i].id));
        }
    }
    return g->status;
}

static int pull_node(walk *w, int32_t id) {
    adze_graph *g = w->g;
    const adze_gnode n = g->nodes[id]; /* a copy: rules append nodes, which may move the array */
    adze_val x[ADZE_MAX_IN], y[ADZE_MAX_OUT], t[ADZE_MAX_OUT], r[ADZE_MAX_IN];
    bool need[ADZE_MAX_IN], any_t = false, any_x = false;
    TRY(g->status);
    TRY(walk_room(w));
    for (int i = 0; i < n.nout; i++) {
        y[i] = (adze_val){n.first + i};
        t[i] = (adze_val){w->ct[n.first + i]};
        any_t = any_t || t[i].id;
    }
    for (int i = 0; i < n.nin; i++) {
        x[i] = (adze_val){n.in[i]};
        r[i] = (adze_val){0};
        need[i] = w->on[n.in[i]] && is_float(g, n.in[i]);
        any_x = any_x || need[i];
    }
    if (!any_t || !any_x) {
        return ADZE_OK;
    }
    if (g->regions[n.region].kind == ADZE_REGION_REPEAT) {
        return adze_graph_fail(g, ADZE_ENOSUP, "reverse mode cannot go through the repeat '%s' yet; unroll it to differentiate",
                               g->regions[n.region].name);
    }
    if (n.op->flags & ADZE_OP_NOGRAD) {
        return ADZE_OK;
    }
    if (n.op == &adze_op_guard_add) {
        return pull_guard_add(w, &n);
    }
    const char *outer = g->name_override;
    char name[ADZE_PATH_MAX + ADZE_NAME_MAX + 2];
    snprintf(name, sizeof name, "%s'", n.name);
    g->name_override = w->depth ? outer : adze_arena_strdup(&g->arena, name);
    if (!g->name_override) {
        g->name_override = outer;
        return adze_graph_stick(g, ADZE_ENOMEM);
    }
    adze_adj a = {.g = g, .op = n.op, .name = n.name, .attrs = n.attrs, .nin = n.nin, .nout = n.nout, .x = x, .y = y, .t = t, .need = need, .r = r};
    int status = pull_rule(w, &a, n.in);
    g->name_override = outer;
    return status;
}

static int pull_range(walk *w, int32_t from, int32_t to) {
    for (int32_t i = to; i-- > from;) {
        TRY(pull_node(w, i));
    }
    return ADZE_OK;
}

/* Leaves a guard: what its backward region contributed to values outside is added there, in place, so that a skipped region adds nothing. */
static int leave_block(walk *w) {
    adze_graph *g = w->g;
    TRY(walk_room(w));
    int32_t n = g->nvals;
    for (int32_t v = 1; v < n; v++) {
        if (w->local[v] == 0) {
            continue;
        }
        adze_val in[2] = {{w->ct[v]}, {w->local[v]}};
        w->local[v] = 0;
        g->region = 0;
        if (in[0].id == 0) {
            in[0] = adze_zeros_like(g, (adze_val){v});
        }
        in[0] = adze_open_copy(g, in[0]);
        g->region = w->back;
        w->ct[v] = adze_apply(g, &adze_op_guard_add, in, 2, NULL, NULL).id;
        TRY(g->status);
    }
    g->regions[w->back].closed = true;
    g->region = 0;
    w->block = w->back = 0;
    return ADZE_OK;
}

static int enter_block(walk *w, int32_t region) {
    adze_graph *g = w->g;
    if (w->block != 0) {
        TRY(leave_block(w));
    }
    if (region == 0 || g->regions[region].kind != ADZE_REGION_GUARD) {
        return ADZE_OK;
    }
    TRY(adze_region_add(g, g->regions[region].name, ADZE_REGION_GUARD, 1, &w->back));
    w->block = region;
    g->region = w->back;
    return ADZE_OK;
}

static int mark(walk *w, const adze_val *x, int n) {
    adze_graph *g = w->g;
    for (int i = 0; i < n; i++) {
        w->on[x[i].id] = true;
    }
    for (int32_t i = 0; i < g->nnodes; i++) {
        const adze_gnode *d = &g->nodes[i];
        bool any = false;
        for (int k = 0; k < d->nin; k++) {
            any = any || w->on[d->in[k]];
        }
        bool repeat = g->regions[d->region].kind == ADZE_REGION_REPEAT;
        for (int k = 0; any && k < d->nout && (repeat || !(d->op->flags & ADZE_OP_NOGRAD)); k++) {
            w->on[d->first + k] = w->on[d->first + k] || is_float(g, d->first + k);
        }
    }
    return ADZE_OK;
}

static int pull_all(walk *w) {
    adze_graph *g = w->g;
    int32_t n = g->nnodes, here = 0;
    int32_t *ids = adze_alloc(g->ctx, n, sizeof *ids), *last = adze_alloc(g->ctx, g->nregions, sizeof *last);
    int status = ids && last ? ADZE_OK : adze_graph_stick(g, ADZE_ENOMEM);
    if (status == ADZE_OK) {
        adze_graph_blocks(g, n, ids, last);
    }
    for (int32_t i = n; i-- > 0 && status == ADZE_OK;) {
        int32_t r = g->nodes[ids[i]].region;
        if (r != here) {
            status = enter_block(w, r);
            here = r;
        }
        if (status == ADZE_OK) {
            status = pull_node(w, ids[i]);
        }
    }
    if (status == ADZE_OK && w->block != 0) {
        status = leave_block(w);
    }
    g->region = 0;
    adze_free(g->ctx, ids);
    adze_free(g->ctx, last);
    return status;
}

static int check_float(adze_graph *g, adze_val v, const char *what, int i) {
    if (!adze_val_ok(g, v)) {
        return adze_graph_fail(g, ADZE_EARG, "derivative: %s %d is not a value of this graph", what, i);
    }
    if (!is_float(g, v.id)) {
        return adze_graph_fail(g, ADZE_ETYPE, "derivative: %s %d ('%s') is %s; only floating-point values have derivatives", what, i,
                               adze_val_node(g, v.id)->name, adze_dtype_name(adze_type_of(g, v.id)->dtype));
    }
    return ADZE_OK;
}

static int check_vjp(adze_graph *g, const adze_val *y, const adze_val *seed, int ny, const adze_val *x, int n) {
    TRY(g->status);
    if (g->region != 0) {
        return adze_graph_fail(g, ADZE_EARG, "derivatives cannot be taken inside the region '%s'; end it first", g->regions[g->region].name);
    }
    for (int i = 0; i < ny; i++) {
        TRY(check_float(g, y[i], "y", i));
        TRY(check_float(g, seed[i], "seed", i));
        if (!adze_type_equal(adze_type_of(g, y[i].id), adze_type_of(g, seed[i].id))) {
            return adze_graph_fail(g, ADZE_ESHAPE, "derivative: seed %d is %s, y is %s; they must be equal", i,
                                   ADZE_SHOWN(adze_type_of(g, seed[i].id)), ADZE_SHOWN(adze_type_of(g, y[i].id)));
        }
    }
    for (int i = 0; i < n; i++) {
        TRY(check_float(g, x[i], "x", i));
    }
    return ADZE_OK;
}

int adze_vjp(adze_graph *g, const adze_val *y, const adze_val *seed, int ny, const adze_val *x, int n, adze_val *gx, uint32_t flags) {
    for (int i = 0; i < n; i++) {
        gx[i] = (adze_val){0};
    }
    TRY(check_vjp(g, y, seed, ny, x, n));
    walk w = {.g = g, .flags = flags};
    int status = walk_room(&w);
    if (status == ADZE_OK) {
        status = mark(&w, x, n);
    }
    for (int i = 0; i < ny && status == ADZE_OK; i++) {
        int32_t v = adze_settled(g, y[i]).id;
        status = w.on[v] ? contribute(&w, v, seed[i].id) : ADZE_OK;
    }
    if (status == ADZE_OK) {
        status = pull_all(&w);
    }
    for (int i = 0; i < n && status == ADZE_OK; i++) {
        int32_t c = x[i].id < w.cap ? w.ct[x[i].id] : 0;
        gx[i] = c ? (adze_val){c} : adze_zeros_like(g, x[i]);
        status = g->status;
    }
    adze_free(g->ctx, w.ct);
    adze_free(g->ctx, w.local);
    adze_free(g->ctx, w.on);
    g->region = 0;
    return status;
}

int adze_grad(adze_graph *g, adze_val y, const adze_val *x, int n, adze_val *gx, uint32_t flags) {
    for (int i = 0; i < n; i++) {
        gx[i] = (adze_val){0};
    }
    TRY(g->status);
    TRY(check_float(g, y, "y", 0));
    const adze_type *t = adze_type_of(g, y.id);
    if (t->rank != 0) {
        return adze_graph_fail(g, ADZE_ESHAPE, "the gradient of '%s' (%s) needs a scalar; sum it, or give seeds with adze_vjp",
                               adze_val_node(g, y.id)->name, ADZE_SHOWN(t));
    }
    adze_val one = adze_scalar(g, t->dtype, 1.0);
    return adze_vjp(g, &y, &one, 1, x, n, gx, flags);
}
