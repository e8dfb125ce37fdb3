/* Forward mode, graph to graph: walks the nodes from x to y and appends each one's tangent; Hessian-vector products come from both modes. */
#include "graph_internal.h"

#include "adze/ops.h"

typedef struct push {
    adze_graph *g;
    int32_t *tan; /* the tangent of each value, 0 for zero */
    int32_t cap;
    int32_t block, ahead; /* the guard being walked and the region of its tangents */
    int depth;
} push;

enum { MAX_DEPTH = 64 };

static int push_room(push *p) {
    if (p->cap >= p->g->nvals) {
        return ADZE_OK;
    }
    int32_t more = p->g->nvals * 2;
    int32_t *tan = adze_resize(p->g->ctx, p->tan, p->cap, more, sizeof *tan);
    if (!tan) {
        return adze_graph_stick(p->g, ADZE_ENOMEM);
    }
    p->tan = tan;
    p->cap = more;
    return ADZE_OK;
}

static bool floats(const adze_graph *g, adze_val v) {
    return adze_dtype_is_float(adze_type_of(g, v.id)->dtype);
}

/* LINEAR: the op applied to the tangents of the floating inputs, the others as they are. */
static void push_linear(adze_adj *a) {
    adze_val in[ADZE_MAX_IN];
    for (int i = 0; i < a->nin; i++) {
        in[i] = !floats(a->g, a->x[i]) ? a->x[i] : a->t[i].id ? a->t[i] : adze_zeros_like(a->g, a->x[i]);
    }
    adze_apply(a->g, a->op, in, a->nin, a->attrs, a->r);
}

static void push_bilinear(adze_adj *a) {
    for (int side = 0; side < 2; side++) {
        if (a->t[side].id == 0) {
            continue;
        }
        adze_val in[ADZE_MAX_IN];
        for (int i = 0; i < a->nin; i++) {
            in[i] = i == side ? a->t[i] : a->x[i];
        }
        adze_val part = adze_apply(a->g, a->op, in, a->nin, a->attrs, NULL);
        a->r[0] = a->r[0].id ? adze_add(a->g, a->r[0], part) : part;
    }
}

static void push_partial(adze_adj *a) {
    for (int i = 0; i < a->nin; i++) {
        adze_val d = a->t[i].id ? a->op->partial(a, i) : (adze_val){0};
        if (d.id) {
            adze_val part = adze_mul(a->g, d, a->t[i]);
            a->r[0] = a->r[0].id ? adze_add(a->g, a->r[0], part) : part;
        }
    }
}

/* An op that only knows its vjp: the vjp is linear in its cotangent u, and the vjp of that, seeded with the tangents, is the tangent of y. */
static int push_twice(adze_adj *a) {
    adze_graph *g = a->g;
    adze_val u[ADZE_MAX_OUT], y[ADZE_MAX_IN], seed[ADZE_MAX_IN], x[ADZE_MAX_IN];
    bool need[ADZE_MAX_IN];
    int nu = 0, ny = 0, out[ADZE_MAX_OUT];
    adze_val t[ADZE_MAX_OUT] = {{0}}, r[ADZE_MAX_IN] = {{0}};
    for (int i = 0; i < a->nin; i++) {
        need[i] = a->t[i].id != 0;
    }
    for (int k = 0; k < a->nout; k++) {
        if (floats(g, a->y[k])) {
            t[k] = adze_zeros_like(g, a->y[k]);
            out[nu] = k;
            u[nu++] = t[k];
        }
    }
    adze_adj pull = *a;
    pull.t = t;
    pull.r = r;
    pull.need = need;
    a->op->vjp(&pull);
    for (int i = 0; i < a->nin && g->status == ADZE_OK; i++) {
        if (need[i] && r[i].id) {
            y[ny] = r[i];
            seed[ny++] = a->t[i];
        }
    }
    int32_t home = g->region;
    if (home != 0) {
        return adze_graph_fail(g, ADZE_ENOSUP, "%s '%s': this op has no forward derivative inside a region", a->op->name, a->name);
    }
    TRY(adze_vjp(g, y, seed, ny, u, nu, x, 0));
    for (int k = 0; k < nu; k++) {
        a->r[out[k]] = x[k];
    }
    return ADZE_OK;
}

static int push_node(push *p, int32_t id);

static int push_expansion(push *p, adze_adj *a) {
    adze_graph *g = p->g;
    adze_val r[ADZE_MAX_OUT] = {{0}};
    adze_adj e = *a;
    int32_t first = g->nnodes;
    e.y = NULL;
    e.t = NULL;
    e.r = r;
    a->op->expand(&e);
    TRY(g->status);
    if (++p->depth > MAX_DEPTH) {
        return adze_graph_fail(g, ADZE_EBUG, "the expansion of '%s' never ends", a->op->name);
    }
    for (int32_t i = first, end = g->nnodes; i < end; i++) {
        TRY(push_node(p, i));
    }
    p->depth--;
    TRY(push_room(p));
    for (int k = 0; k < a->nout; k++) {
        a->r[k] = (adze_val){r[k].id ? p->tan[r[k].id] : 0};
    }
    return ADZE_OK;
}

static int push_rule(push *p, adze_adj *a) {
    const adze_op *op = a->op;
    if (op->jvp) {
        op->jvp(a);
    } else if (op->partial) {
        push_partial(a);
    } else if (op->flags & ADZE_OP_LINEAR) {
        push_linear(a);
    } else if (op->flags & ADZE_OP_BILINEAR) {
        push_bilinear(a);
    } else if (op->expand) {
        return push_expansion(p, a);
    } else if (op->vjp) {
        return push_twice(a);
    } else {
        return adze_graph_fail(p->g, ADZE_ENOSUP, "%s '%s': this op has no derivative", op->name, a->name);
    }
    return p->g->status;
}

/* The tangent of a guard's sum: the tangent of x, plus, when the guard is taken, that of f(x). */
static int push_guard_add(push *p, const adze_gnode *n) {
    adze_graph *g = p->g;
    int32_t tx = p->tan[n->in[0]], tf = p->tan[n->in[1]];
    g->region = 0;
    if (tf == 0) {
        p->tan[n->first] = tx;
    } else {
        adze_val in[2] = {tx ? (adze_val){tx} : adze_zeros_like(g, (adze_val){n->in[0]}), {tf}};
        in[0] = adze_open_copy(g, in[0]);
        g->region = p->ahead;
        p->tan[n->first] = adze_apply(g, &adze_op_guard_add, in, 2, NULL, NULL).id;
    }
    g->region = p->ahead;
    return g->status;
}

static int push_node(push *p, int32_t id) {
    adze_graph *g = p->g;
    TRY(g->status);
    TRY(push_room(p));
    const adze_gnode n = g->nodes[id];
    adze_val x[ADZE_MAX_IN], y[ADZE_MAX_OUT], t[ADZE_MAX_IN], r[ADZE_MAX_OUT];
    bool any = false;
    for (int i = 0; i < n.nin; i++) {
        x[i] = (adze_val){n.in[i]};
        t[i] = (adze_val){p->tan[n.in[i]]};
        any = any || t[i].id;
    }
    if (!any) {
        return ADZE_OK;
    }
    if (g->regions[n.region].kind == ADZE_REGION_REPEAT) {
        return adze_graph_fail(g, ADZE_ENOSUP, "forward mode cannot go through the repeat '%s' yet; unroll it to differentiate",
                               g->regions[n.region].name);
    }
    if (n.op->flags & ADZE_OP_NOGRAD) {
        return ADZE_OK;
    }
    if (n.op == &adze_op_guard_add) {
        return push_guard_add(p, &n);
    }
    for (int i = 0; i < n.nout; i++) {
        y[i] = (adze_val){n.first + i};
        r[i] = (adze_val){0};
    }
    adze_adj a = {.g = g, .op = n.op, .name = n.name, .attrs = n.attrs, .nin = n.nin, .nout = n.nout, .x = x, .y = y, .t = t, .r = r};
    TRY(push_rule(p, &a));
    TRY(push_room(p));
    for (int i = 0; i < n.nout; i++) {
        if (r[i].id && floats(g, y[i]) && p->tan[y[i].id] == 0) { /* a value among the x keeps the tangent it was given */
            p->tan[y[i].id] = r[i].id;
        }
    }
    return ADZE_OK;
}

static int push_all(push *p) {
    adze_graph *g = p->g;
    int32_t n = g->nnodes;
    int32_t *ids = adze_alloc(g->ctx, n, sizeof *ids), *last = adze_alloc(g->ctx, g->nregions, sizeof *last);
    int status = ids && last ? ADZE_OK : adze_graph_stick(g, ADZE_ENOMEM);
    if (status == ADZE_OK) {
        adze_graph_blocks(g, n, ids, last);
    }
    for (int32_t i = 0; i < n && status == ADZE_OK; i++) {
        int32_t r = g->nodes[ids[i]].region;
        if (r != p->block) {
            p->block = r;
            p->ahead = 0;
            if (g->regions[r].kind == ADZE_REGION_GUARD) {
                status = adze_region_add(g, g->regions[r].name, ADZE_REGION_GUARD, 1, &p->ahead);
                g->regions[p->ahead].closed = true;
            }
            g->region = p->ahead;
        }
        if (status == ADZE_OK) {
            status = push_node(p, ids[i]);
        }
    }
    g->region = 0;
    adze_free(g->ctx, ids);
    adze_free(g->ctx, last);
    return status;
}

static int check_tangents(adze_graph *g, const adze_val *x, const adze_val *tx, int n) {
    TRY(g->status);
    if (g->region != 0) {
        return adze_graph_fail(g, ADZE_EARG, "derivatives cannot be taken inside the region '%s'; end it first", g->regions[g->region].name);
    }
    for (int i = 0; i < n; i++) {
        if (!adze_val_ok(g, x[i]) || !adze_val_ok(g, tx[i])) {
            return adze_graph_fail(g, ADZE_EARG, "derivative: x %d or its tangent is not a value of this graph", i);
        }
        if (!floats(g, x[i])) {
            return adze_graph_fail(g, ADZE_ETYPE, "derivative: x %d ('%s') is %s; only floating-point values have derivatives", i,
                                   adze_val_node(g, x[i].id)->name, adze_dtype_name(adze_type_of(g, x[i].id)->dtype));
        }
        if (!adze_type_equal(adze_type_of(g, x[i].id), adze_type_of(g, tx[i].id))) {
            return adze_graph_fail(g, ADZE_ESHAPE, "derivative: the tangent of x %d is %s, x is %s; they must be equal", i,
                                   ADZE_SHOWN(adze_type_of(g, tx[i].id)), ADZE_SHOWN(adze_type_of(g, x[i].id)));
        }
    }
    return ADZE_OK;
}

int adze_jvp(adze_graph *g, const adze_val *y, int ny, const adze_val *x, const adze_val *tx, int n, adze_val *ty, uint32_t flags) {
    (void)flags; /* every rule of forward mode can be differentiated again */
    for (int i = 0; i < ny; i++) {
        ty[i] = (adze_val){0};
    }
    TRY(check_tangents(g, x, tx, n));
    for (int i = 0; i < ny; i++) {
        if (!adze_val_ok(g, y[i])) {
            return adze_graph_fail(g, ADZE_EARG, "derivative: y %d is not a value of this graph", i);
        }
    }
    push p = {.g = g};
    int status = push_room(&p);
    for (int i = 0; i < n && status == ADZE_OK; i++) {
        p.tan[x[i].id] = tx[i].id;
    }
    if (status == ADZE_OK) {
        status = push_all(&p);
    }
    for (int i = 0; i < ny && status == ADZE_OK; i++) {
        int32_t v = adze_settled(g, y[i]).id, t = v < p.cap ? p.tan[v] : 0;
        ty[i] = t ? (adze_val){t} : adze_zeros_like(g, (adze_val){v});
        status = g->status;
    }
    adze_free(g->ctx, p.tan);
    return status;
}

int adze_hvp(adze_graph *g, adze_val y, const adze_val *x, const adze_val *v, int n, adze_val *hv, uint32_t flags) {
    adze_val *grad = adze_alloc(g->ctx, n, sizeof *grad);
    if (!grad) {
        return adze_graph_stick(g, ADZE_ENOMEM);
    }
    int status = check_tangents(g, x, v, n);
    if (status == ADZE_OK) {
        status = adze_grad(g, y, x, n, grad, flags | ADZE_DIFFERENTIABLE);
    }
    if (status == ADZE_OK && !(flags & ADZE_HVP_REVERSE)) {
        status = adze_jvp(g, grad, n, x, v, n, hv, flags);
    } else if (status == ADZE_OK) {
        adze_val dot = {0};
        for (int i = 0; i < n; i++) {
            adze_val part = adze_sum(g, adze_mul(g, grad[i], v[i]), NULL, 0, false);
            dot = dot.id ? adze_add(g, dot, part) : part;
        }
        status = n > 0 ? adze_grad(g, dot, x, n, hv, flags | ADZE_DIFFERENTIABLE) : ADZE_OK;
    }
    adze_free(g->ctx, grad);
    return status;
}
