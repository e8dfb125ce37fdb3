/* Pass "fuse", for the device cpu: elementwise ops that feed each other become one chain, so that what lies between them stays in L1. A result that
 * others read too becomes a further output of the chain. Clusters grow from producer to consumer; they never join when a path between them leads
 * through a third step, for that step could then run neither before nor after the chain. Ops inside repeats stay as they are. */
#include "plan_internal.h"

#include "op/chain.h"

typedef struct fuser {
    adze_work *w;
    adze_graph *g;
    int32_t nnodes, nvals;
    int16_t *code;          /* by node: ADZE_CHAIN_.., WHOLE for a chain, NONE */
    int32_t *dtype;         /* by node: in which it computes */
    int32_t *root, *next;   /* by node: its cluster, and the next member (-1 ends) */
    int32_t *last;          /* by cluster: its last member */
    int32_t *head, *reader; /* by value: who reads it */
    bool *result;           /* by value: an output of the graph */
    int32_t *seen, *stack;  /* by node, and by value: the number of the search that saw it */
    int32_t *seen_val, search;
} fuser;

enum { NONE = -1, WHOLE = -2 };

static bool fusible(const fuser *f, int32_t id) {
    return f->code[id] != NONE;
}

static int instructions(const fuser *f, int32_t id) {
    return f->code[id] == WHOLE ? ((const adze_chain_attrs *)f->g->nodes[id].attrs)->nins : 1;
}

static void classify(fuser *f, int32_t id) {
    const adze_gnode *n = &f->g->nodes[id];
    adze_type types[ADZE_MAX_IN];
    adze_dtype computes = ADZE_NONE;
    f->code[id] = NONE;
    if (n->dead || n->region || n->nin == 0 || !(n->op->flags & ADZE_OP_MAP)) {
        return;
    }
    if (n->op == &adze_op_chain) {
        f->code[id] = WHOLE;
        f->dtype[id] = ((const adze_chain_attrs *)n->attrs)->dtype;
        return;
    }
    adze_node_sig(f->g, n, types);
    f->code[id] = (int16_t)adze_chain_code_of(n->op, types, n->types, &computes);
    f->dtype[id] = (int32_t)computes;
}

static int32_t maker(const fuser *f, int32_t v) {
    return f->g->vals[v].node;
}

/* -- may two clusters become one? ---------------------------------------------------------------------------------------------------------------- */

/* A path from cluster `p` to cluster `c` that leads through others. */
static bool path_between(fuser *f, int32_t p, int32_t c) {
    const adze_graph *g = f->g;
    int32_t top = 0;
    f->search++;
    f->seen[c] = f->search;
    for (int32_t m = c; m >= 0; m = f->next[m]) {
        for (int k = 0; k < g->nodes[m].nin; k++) {
            const int32_t r = f->root[maker(f, g->nodes[m].in[k])];
            if (r != p && f->seen[r] != f->search) {
                f->seen[r] = f->search;
                f->stack[top++] = r;
            }
        }
    }
    while (top > 0) {
        for (int32_t m = f->stack[--top]; m >= 0; m = f->next[m]) {
            for (int k = 0; k < g->nodes[m].nin; k++) {
                const int32_t r = f->root[maker(f, g->nodes[m].in[k])];
                if (r == p) {
                    return true;
                }
                if (f->seen[r] != f->search) {
                    f->seen[r] = f->search;
                    f->stack[top++] = r;
                }
            }
        }
    }
    return false;
}

/* Somebody outside clusters a and b needs the value. */
static bool leaves(const fuser *f, int32_t v, int32_t a, int32_t b) {
    bool out = f->result[v];
    for (int32_t e = f->head[v]; e < f->head[v + 1] && !out; e++) {
        const int32_t r = f->root[f->reader[e]];
        out = r != a && r != b;
    }
    return out;
}

/* The joined program must fit into a chain. */
static bool small_enough(fuser *f, int32_t a, int32_t b) {
    const adze_graph *g = f->g;
    int nins = 0, nin = 0, nout = 0;
    f->search++;
    for (int part = 0; part < 2; part++) {
        for (int32_t m = part ? b : a; m >= 0; m = f->next[m]) {
            const adze_gnode *n = &g->nodes[m];
            nins += instructions(f, m);
            for (int k = 0; k < n->nin; k++) {
                const int32_t v = n->in[k], r = f->root[maker(f, v)];
                if (r != a && r != b && f->seen_val[v] != f->search) {
                    f->seen_val[v] = f->search;
                    nin++;
                }
            }
            for (int o = 0; o < n->nout; o++) {
                nout += leaves(f, n->first + o, a, b);
            }
        }
    }
    return nins <= ADZE_CHAIN_INS && nin <= ADZE_CHAIN_IN && nout <= ADZE_CHAIN_OUT;
}

static void join(fuser *f, int32_t a, int32_t b) { /* the members of b follow those of a */
    f->next[f->last[a]] = b;
    f->last[a] = f->last[b];
    for (int32_t m = b; m >= 0; m = f->next[m]) {
        f->root[m] = a;
    }
}

/* The guard that all members run under; 0 when one of them runs in any case, and then the chain does. */
static int32_t cluster_guard(const fuser *f, int32_t root) {
    int32_t guard = f->g->nodes[root].guard;
    for (int32_t m = root; m >= 0; m = f->next[m]) {
        guard = f->g->nodes[m].guard == 0 ? 0 : guard;
    }
    return guard;
}

/* Under one guard; or what a guard lets out, when nobody else reads it, in the map that lets it out: that one runs in any case. */
static bool same_guard(const fuser *f, int32_t p, int32_t c) {
    const int32_t guard = cluster_guard(f, p), other = cluster_guard(f, c);
    bool stays = other == 0;
    for (int32_t m = p; m >= 0 && guard != other && stays; m = f->next[m]) {
        for (int o = 0; o < f->g->nodes[m].nout && stays; o++) {
            stays = !leaves(f, f->g->nodes[m].first + o, p, c);
        }
    }
    return guard == other || stays;
}

/* Joins the maker of a value to the cluster of one of its readers. */
static void take_in(fuser *f, int32_t id, int32_t v) {
    const adze_gnode *n = &f->g->nodes[id];
    const int32_t from = maker(f, v), p = f->root[from], c = f->root[id];
    if (p != c && fusible(f, from) && f->dtype[from] == f->dtype[id] && adze_same_dims(&f->g->nodes[from].types[0], &n->types[0]) &&
        same_guard(f, p, c) && small_enough(f, p, c) && !path_between(f, p, c)) {
        join(f, p, c);
    }
    if (f->code[from] == ADZE_CHAIN_from_bf16 && f->root[from] == f->root[id]) {
        take_in(f, id, f->g->nodes[from].in[0]);
    }
}

/* What widens bf16 goes to its reader and not to its maker, for the narrow value is the one to store. */
static void grow(fuser *f, int32_t id) {
    const adze_gnode *n = &f->g->nodes[id];
    for (int k = 0; k < n->nin && fusible(f, id) && f->code[id] != ADZE_CHAIN_from_bf16; k++) {
        take_in(f, id, n->in[k]);
    }
}

/* -- the chain of a cluster ---------------------------------------------------------------------------------------------------------------------- */

typedef struct program {
    adze_chain_attrs c;
    adze_val in[ADZE_CHAIN_IN];
    int nin;
    int32_t *value; /* by graph value: chain value + 1 */
} program;

static int argument(const fuser *f, program *p, int32_t v) {
    if (p->value[v] == 0) { /* from outside */
        const adze_gnode *n = adze_val_node(f->g, v);
        const bool repeats = strcmp(n->op->name, "broadcast") == 0;
        p->c.read += (double)adze_type_bytes(adze_type_of(f->g, repeats ? n->in[0] : v));
        p->in[p->nin] = (adze_val){v};
        p->value[v] = ++p->nin;
    }
    return p->value[v] - 1;
}

/* One number for all elements. */
static bool is_one(const adze_graph *g, int32_t v) {
    const adze_gnode *n = adze_val_node(g, v);
    return strcmp(n->op->name, "broadcast") == 0 && adze_type_count(adze_type_of(g, n->in[0])) == 1;
}

static void append(const fuser *f, program *p, int32_t id) {
    const adze_gnode *n = &f->g->nodes[id];
    int args[ADZE_CHAIN_IN];
    for (int k = 0; k < n->nin; k++) {
        args[k] = argument(f, p, n->in[k]);
    }
    if (f->code[id] != WHOLE) {
        const adze_scale_attrs *a = n->op->attrs_size == sizeof *a ? n->attrs : NULL; /* scale and clip: two numbers */
        const bool one = f->code[id] == ADZE_CHAIN_where && is_one(f->g, n->in[0]), keeps = one && adze_is_zero(f->g, (adze_val){n->in[2]});
        const adze_chain_code code = keeps ? ADZE_CHAIN_keep_if : one ? ADZE_CHAIN_choose : (adze_chain_code)f->code[id];
        const int nargs = keeps ? 2 : n->nin;
        p->value[n->first] = 1 + adze_chain_push(&p->c, code, n->types[0].dtype, args, nargs, a ? a->a : 0, a ? a->b : 0);
        return;
    }
    const adze_chain_attrs *a = n->attrs;
    int made[ADZE_CHAIN_INS];
    for (int i = 0; i < a->nins; i++) {
        const adze_chain_ins *x = &a->ins[i];
        int own[ADZE_CHAIN_ARGS];
        for (int k = 0; k < x->nargs; k++) {
            own[k] = x->arg[k] < ADZE_CHAIN_IN ? args[x->arg[k]] : made[x->arg[k] - ADZE_CHAIN_IN];
        }
        made[i] = adze_chain_push(&p->c, (adze_chain_code)x->code, (adze_dtype)x->dtype, own, x->nargs, x->p, x->q);
    }
    for (int o = 0; o < n->nout; o++) {
        p->value[n->first + o] = 1 + made[a->out[o] - ADZE_CHAIN_IN];
    }
}

/* Members of a cluster in ascending order of ids: what they need comes first. */
static int32_t sorted_members(const fuser *f, int32_t root, int32_t *members) {
    int32_t n = 0;
    for (int32_t m = root; m >= 0; m = f->next[m]) {
        int32_t at = n++;
        for (; at > 0 && members[at - 1] > m; at--) {
            members[at] = members[at - 1];
        }
        members[at] = m;
    }
    return n;
}

/* Replaces cluster `root` by one node. Output 0 is the last result, so that as many inputs as possible may lend it their memory. */
static int emit(fuser *f, int32_t root, int32_t *value, int32_t *now) {
    adze_graph *g = f->g;
    int32_t members[ADZE_CHAIN_INS], out[ADZE_CHAIN_OUT], n = sorted_members(f, root, members);
    program p = {.c = {.dtype = f->dtype[root]}, .value = value};
    for (int32_t i = 0; i < n; i++) {
        append(f, &p, members[i]);
    }
    for (int32_t i = n; i-- > 0;) {
        const adze_gnode *m = &g->nodes[members[i]];
        for (int o = 0; o < m->nout; o++) {
            if (leaves(f, m->first + o, root, root)) {
                out[p.c.nout] = m->first + o;
                p.c.out[p.c.nout++] = (uint8_t)(value[m->first + o] - 1);
            }
        }
    }
    for (int32_t i = 0; i < n; i++) { /* leave the table as it was found */
        const adze_gnode *m = &g->nodes[members[i]];
        for (int k = 0; k < m->nin; k++) {
            value[m->in[k]] = 0;
        }
        for (int o = 0; o < m->nout; o++) {
            value[m->first + o] = 0;
        }
    }
    adze_val made[ADZE_CHAIN_OUT];
    const int nout = p.c.nout;
    adze_chain_seal(&p.c);
    g->name_override = g->nodes[members[0]].name;
    g->guard = cluster_guard(f, root);
    adze_apply(g, &adze_op_chain, p.in, p.nin, &p.c, made);
    g->guard = 0;
    g->name_override = NULL;
    for (int o = 0; o < nout && g->status == ADZE_OK; o++) {
        now[out[o]] = made[o].id;
    }
    return g->status;
}

/* A map alone after a product or convolution, which nobody else reads, is a chain too: it may become their tail. */
static bool follows_product(const fuser *f, int32_t id) {
    const adze_graph *g = f->g;
    const adze_gnode *n = &g->nodes[id];
    if (f->code[id] < 0 || n->nout != 1) {
        return false;
    }
    bool follows = false;
    for (int k = 0; k < n->nin; k++) {
        const int32_t v = n->in[k];
        const adze_gnode *m = adze_val_node(g, v);
        if (adze_type_of(g, v)->dtype != n->types[0].dtype) {
            return false;
        }
        follows = follows ||
                  ((strcmp(m->op->name, "conv") == 0 || strcmp(m->op->name, "matmul") == 0) && f->head[v + 1] - f->head[v] == 1 && !f->result[v]);
    }
    return follows;
}

static bool makes_chain(const fuser *f, int32_t id) {
    return f->root[id] == id && (f->next[id] >= 0 || follows_product(f, id));
}

static int emit_all(fuser *f) {
    adze_work *w = f->w;
    int32_t clusters = 0, *value = adze_alloc(w->ctx, f->nvals, sizeof *value);
    for (int32_t i = 0; i < f->nnodes; i++) {
        clusters += makes_chain(f, i);
    }
    const int32_t most = f->nvals + clusters * ADZE_CHAIN_OUT;
    int32_t *now = adze_alloc(w->ctx, most, sizeof *now);
    int status = ADZE_GOT(value && now);
    for (int32_t v = 0; v < most && status == ADZE_OK; v++) {
        now[v] = v;
    }
    for (int32_t i = 0; i < f->nnodes && status == ADZE_OK; i++) {
        if (makes_chain(f, i)) {
            status = emit(f, i, value, now);
        }
    }
    if (status == ADZE_OK && clusters > 0) {
        status = adze_work_replace(w, now);
    }
    adze_free(w->ctx, value);
    adze_free(w->ctx, now);
    return status;
}

/* -- the pass ------------------------------------------------------------------------------------------------------------------------------------ */

static int find_readers(fuser *f) {
    const adze_graph *g = f->g;
    int32_t edges = 0;
    for (int32_t i = 0; i < g->nnodes; i++) {
        for (int k = 0; k < g->nodes[i].nin && !g->nodes[i].dead; k++) {
            f->head[g->nodes[i].in[k] + 1]++;
            edges++;
        }
    }
    for (int32_t v = 0; v < g->nvals; v++) {
        f->head[v + 1] += f->head[v];
    }
    f->reader = adze_alloc(f->w->ctx, (int64_t)edges + 1, sizeof *f->reader);
    TRY(ADZE_GOT(f->reader));
    for (int32_t i = g->nnodes; i-- > 0;) { /* fills each list from its end: head[v + 1] moves down to its begin */
        for (int k = 0; k < g->nodes[i].nin && !g->nodes[i].dead; k++) {
            f->reader[--f->head[g->nodes[i].in[k] + 1]] = i;
        }
    }
    for (int32_t v = 0; v < g->nvals; v++) {
        f->head[v] = f->head[v + 1];
    }
    f->head[g->nvals] = edges;
    for (int i = 0; i < g->noutputs; i++) {
        f->result[g->outputs[i].val] = true;
    }
    return ADZE_OK;
}

static int prepare(fuser *f) {
    adze_ctx *ctx = f->w->ctx;
    const int64_t nodes = (int64_t)f->nnodes + 1, vals = (int64_t)f->nvals + 2;
    f->code = adze_alloc(ctx, nodes, sizeof *f->code);
    f->dtype = adze_alloc(ctx, nodes, sizeof *f->dtype);
    f->root = adze_alloc(ctx, nodes, sizeof *f->root);
    f->next = adze_alloc(ctx, nodes, sizeof *f->next);
    f->last = adze_alloc(ctx, nodes, sizeof *f->last);
    f->seen = adze_alloc(ctx, nodes, sizeof *f->seen);
    f->stack = adze_alloc(ctx, nodes, sizeof *f->stack);
    f->head = adze_alloc(ctx, vals, sizeof *f->head);
    f->result = adze_alloc(ctx, vals, sizeof *f->result);
    f->seen_val = adze_alloc(ctx, vals, sizeof *f->seen_val);
    TRY(ADZE_GOT(f->code && f->dtype && f->root && f->next && f->last && f->seen && f->stack && f->head && f->result && f->seen_val));
    for (int32_t i = 0; i < f->nnodes; i++) {
        f->root[i] = f->last[i] = i;
        f->next[i] = -1;
        classify(f, i);
    }
    return find_readers(f);
}

int adze_pass_fuse(adze_work *w) {
    fuser f = {.w = w, .g = w->g, .nnodes = w->g->nnodes, .nvals = w->g->nvals};
    if (!adze_work_device_is(w, "cpu")) {
        return ADZE_OK;
    }
    int status = prepare(&f);
    for (int32_t i = 0; i < f.nnodes && status == ADZE_OK; i++) {
        grow(&f, i);
    }
    status = status == ADZE_OK ? emit_all(&f) : status;
    void *all[] = {f.code, f.dtype, f.root, f.next, f.last, f.seen, f.stack, f.head, f.result, f.seen_val, f.reader};
    for (size_t i = 0; i < ADZE_COUNT(all); i++) {
        adze_free(w->ctx, all[i]);
    }
    return status;
}
