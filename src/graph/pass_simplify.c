/* Pass "simplify": equal nodes become one, and nodes that cannot change a bit go: copies, casts to the same type, x * 1, x / 1, x - 0, double
 * negation, chains of reshapes and of transposes; a transpose of the last two axes is folded into matmul. x + 0 stays: it turns -0 into 0. */
#include "plan_internal.h"

#include "adze/ops.h"

typedef struct simple {
    adze_work *w;
    adze_graph *g;
    int32_t *now;   /* by value: what stands for it */
    int32_t *table; /* open addressing: node id + 1 */
    int64_t size;   /* a power of two */
} simple;

static bool is_op(const adze_gnode *n, const char *name) {
    return strcmp(n->op->name, name) == 0;
}

/* -- equal nodes --------------------------------------------------------------------------------------------------------------------------------- */

static bool may_merge(const adze_gnode *n) {
    return !(n->op->flags & (ADZE_OP_UPDATE | ADZE_OP_COMM)) && !adze_op_exports(n->op) && n->op != &adze_op_open && n->op != &adze_op_repeat_carry &&
           (n->op->attrs || n->op->attrs_size == 0);
}

static bool equal(const adze_gnode *a, const adze_gnode *b) {
    if (a->op != b->op || a->nin != b->nin || a->nout != b->nout || a->region != b->region) {
        return false;
    }
    for (int i = 0; i < a->nin; i++) {
        if (a->in[i] != b->in[i]) {
            return false;
        }
    }
    for (int i = 0; i < a->nout; i++) {
        if (!adze_type_equal(&a->types[i], &b->types[i])) {
            return false;
        }
    }
    if (a->op->attrs && !adze_fields_equal(a->op->attrs, a->attrs, b->attrs)) {
        return false;
    }
    /* A constant's attributes may point to elements that its table of fields does not show. */
    return a->nin > 0 || a->op->attrs_size == 0 || memcmp(a->attrs, b->attrs, a->op->attrs_size) == 0;
}

static uint64_t hash(const adze_gnode *n) {
    uint64_t h = adze_hash64(n->op->name, strlen(n->op->name), (uint64_t)n->region);
    h = adze_hash64(n->in, sizeof *n->in * (size_t)n->nin, h);
    return n->op->attrs ? adze_fields_hash(n->op->attrs, n->attrs, h) : h;
}

/* The earlier node that computes the same, or this one. */
static int32_t find_equal(simple *s, int32_t id) {
    const adze_gnode *n = &s->g->nodes[id];
    for (uint64_t at = hash(n);; at++) {
        int32_t *cell = &s->table[at & (uint64_t)(s->size - 1)];
        if (*cell == 0) {
            *cell = id + 1;
            return id;
        }
        if (equal(&s->g->nodes[*cell - 1], n)) {
            return *cell - 1;
        }
    }
}

/* -- nodes that change nothing ------------------------------------------------------------------------------------------------------------------- */

/* The one number that all elements of v have, when v is a constant scalar or a view of one. */
static bool constant(const adze_graph *g, int32_t v, double *out) {
    const adze_gnode *n = adze_val_node(g, v);
    while ((n->op->flags & ADZE_OP_VIEW) && n->nin == 1) {
        n = adze_val_node(g, n->in[0]);
    }
    if (n->nin != 0 || (n->op->flags & ADZE_OP_RANDOM) || !n->op->ref || n->op->ref_scratch || n->nout != 1 || adze_type_count(&n->types[0]) != 1) {
        return false;
    }
    union {
        double d;
        float f;
        char bytes[16];
    } u = {0};
    adze_run run = {0};
    adze_view view = {.data = &u, .dtype = n->types[0].dtype, .rank = n->types[0].rank};
    for (int d = 0; d < view.rank; d++) {
        view.dims[d] = view.strides[d] = 1;
    }
    adze_step step = {.op = n->op, .attrs = n->attrs, .nout = 1, .out = &view, .run = &run};
    if (view.dtype != ADZE_F32 && view.dtype != ADZE_F64) {
        return false;
    }
    n->op->ref(&step, 0, 1);
    *out = view.dtype == ADZE_F64 ? u.d : (double)u.f;
    return true;
}

static bool is_number(const adze_graph *g, int32_t v, double want) {
    double c = 0;
    return constant(g, v, &c) && c == want && !(want == 0 && 1 / c < 0);
}

/* The value that stands for a node's only output without any work, or 0. */
static int32_t same_as(const adze_graph *g, const adze_gnode *n) {
    if (n->nout != 1 || n->nin < 1 || n->nin > 2) {
        return 0;
    }
    int32_t a = n->in[0], b = n->nin == 2 ? n->in[1] : 0;
    bool keeps_type = adze_type_equal(adze_type_of(g, a), &n->types[0]);
    if (n->nin == 1) {
        if (is_op(n, "copy") || (keeps_type && (is_op(n, "cast") || is_op(n, "reshape") || is_op(n, "broadcast")))) {
            return a;
        }
        const adze_gnode *inner = adze_val_node(g, a);
        return is_op(n, "neg") && inner->op == n->op ? inner->in[0] : 0;
    }
    if (!keeps_type && !(b && adze_type_equal(adze_type_of(g, b), &n->types[0]))) {
        return 0;
    }
    if (is_op(n, "mul") && is_number(g, b, 1)) {
        return a;
    }
    if (is_op(n, "mul") && is_number(g, a, 1)) {
        return b;
    }
    return (is_op(n, "div") && is_number(g, b, 1)) || (is_op(n, "sub") && is_number(g, b, 0)) ? a : 0;
}

/* -- chains of views ----------------------------------------------------------------------------------------------------------------------------- */

static bool is_perm(const adze_gnode *n) {
    return is_op(n, "transpose") && ((const adze_perm_attrs *)n->attrs)->perm.n == n->types[0].rank;
}

/* transpose(transpose(x, p), q) is transpose(x, r) with r[i] = p[q[i]]. Returns x when r changes nothing. */
static int fold_transposes(simple *s, adze_gnode *n, int32_t *same) {
    const adze_gnode *inner = adze_val_node(s->g, n->in[0]);
    adze_perm_attrs a = *(const adze_perm_attrs *)n->attrs;
    bool idle = true;
    if (is_perm(inner)) {
        const adze_perm_attrs *p = inner->attrs, *q = n->attrs;
        for (int64_t i = 0; i < a.perm.n; i++) {
            a.perm.v[i] = p->perm.v[q->perm.v[i]];
        }
        n->in[0] = inner->in[0];
        n->attrs = adze_arena_dup(&s->g->arena, &a, sizeof a);
        TRY(ADZE_GOT(n->attrs));
    }
    for (int64_t i = 0; i < a.perm.n; i++) {
        idle = idle && a.perm.v[i] == i;
    }
    *same = idle ? n->in[0] : 0;
    return ADZE_OK;
}

static bool swaps_last(const adze_gnode *n) {
    if (!is_perm(n) || n->types[0].rank < 2) {
        return false;
    }
    const adze_ints *p = &((const adze_perm_attrs *)n->attrs)->perm;
    for (int64_t i = 0; i + 2 < p->n; i++) {
        if (p->v[i] != i) {
            return false;
        }
    }
    return p->v[p->n - 1] == p->n - 2;
}

static int fold_matmul(simple *s, adze_gnode *n) {
    adze_matmul_attrs a = *(const adze_matmul_attrs *)n->attrs;
    bool changed = false;
    for (int k = 0; k < 2; k++) {
        const adze_gnode *in = adze_val_node(s->g, n->in[k]);
        if (swaps_last(in)) {
            n->in[k] = in->in[0];
            *(k == 0 ? &a.ta : &a.tb) ^= true;
            changed = true;
        }
    }
    if (changed) {
        n->attrs = adze_arena_dup(&s->g->arena, &a, sizeof a);
    }
    return ADZE_GOT(n->attrs);
}

/* -- the pass ------------------------------------------------------------------------------------------------------------------------------------ */

static int visit(simple *s, int32_t id) {
    adze_graph *g = s->g;
    adze_gnode *n = &g->nodes[id];
    int32_t same = 0;
    for (int k = 0; k < n->nin; k++) {
        n->in[k] = s->now[n->in[k]];
    }
    if (is_perm(n)) {
        TRY(fold_transposes(s, n, &same));
    } else if (is_op(n, "matmul") && n->nin == 2) {
        TRY(fold_matmul(s, n));
    } else if (is_op(n, "reshape")) {
        const adze_gnode *inner = adze_val_node(g, n->in[0]);
        n->in[0] = is_op(inner, "reshape") ? inner->in[0] : n->in[0];
    }
    same = same ? same : same_as(g, n);
    if (same) {
        s->now[n->first] = same;
        return ADZE_OK;
    }
    if (may_merge(n)) {
        int32_t other = find_equal(s, id);
        for (int o = 0; o < n->nout; o++) {
            s->now[n->first + o] = g->nodes[other].first + o;
        }
    }
    return ADZE_OK;
}

int adze_pass_simplify(adze_work *w) {
    simple s = {.w = w, .g = w->g, .size = 64};
    while (s.size < 2 * (int64_t)w->g->nnodes) {
        s.size *= 2;
    }
    s.now = adze_alloc(w->ctx, w->g->nvals, sizeof *s.now);
    s.table = adze_alloc(w->ctx, s.size, sizeof *s.table);
    int status = ADZE_GOT(s.now && s.table);
    for (int32_t v = 0; v < w->g->nvals && status == ADZE_OK; v++) {
        s.now[v] = v;
    }
    for (int32_t i = 0; i < w->g->nnodes && status == ADZE_OK; i++) {
        status = w->g->nodes[i].dead ? ADZE_OK : visit(&s, i);
    }
    for (int i = 0; i < w->g->noutputs && status == ADZE_OK; i++) {
        w->g->outputs[i].val = s.now[w->g->outputs[i].val];
    }
    adze_free(w->ctx, s.now);
    adze_free(w->ctx, s.table);
    return status;
}
