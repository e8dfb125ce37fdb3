/* Pass "kernel": decides which nodes are only views, chooses each other node's kernel, and puts in copies where a kernel takes no strides, where a
 * result must be contiguous, and where memory that a step overwrites is still read by it. */
#include "plan_internal.h"

int adze_work_room(adze_work *w) {
    adze_ctx *ctx = w->ctx;
    int32_t nodes = w->g->nnodes, vals = w->g->nvals;
    if (nodes > w->cap_node) {
        int32_t more = nodes + nodes / 2;
        uint8_t *kind = adze_resize(ctx, w->kind, w->cap_node, more, sizeof *kind);
        w->kind = kind ? kind : w->kind;
        const adze_kernel **kernel = kind ? adze_resize(ctx, w->kernel, w->cap_node, more, sizeof *kernel) : NULL;
        w->kernel = kernel ? kernel : w->kernel;
        TRY(ADZE_GOT(kernel));
        w->cap_node = more;
    }
    if (vals > w->cap_val) {
        int32_t more = vals + vals / 2;
        adze_layout *layout = adze_resize(ctx, w->layout, w->cap_val, more, sizeof *layout);
        w->layout = layout ? layout : w->layout;
        int32_t *copy_of = layout ? adze_resize(ctx, w->copy_of, w->cap_val, more, sizeof *copy_of) : NULL;
        w->copy_of = copy_of ? copy_of : w->copy_of;
        TRY(ADZE_GOT(copy_of));
        w->cap_val = more;
    }
    return ADZE_OK;
}

int64_t adze_round_up(int64_t bytes) {
    return (bytes + ADZE_ALIGN - 1) / ADZE_ALIGN * ADZE_ALIGN;
}

bool adze_view_dense(const adze_view *v) {
    int64_t want = 1;
    bool dense = true;
    for (int d = v->rank - 1; d >= 0; d--) {
        if (v->dims[d] == 0) {
            return true;
        }
        dense = dense && (v->dims[d] == 1 || v->strides[d] == want);
        want *= v->dims[d];
    }
    return dense;
}

int32_t adze_forced_input(const adze_gnode *n, int o) {
    return adze_op_exports(n->op) ? n->in[0] : (n->op->flags & ADZE_OP_UPDATE) ? n->in[o] : 0;
}

bool adze_kernel_strided(const adze_work *w, int32_t node) {
    return w->kernel[node] ? w->kernel[node]->strided : (w->g->nodes[node].op->flags & ADZE_OP_STRIDED) != 0;
}

static void lay_dense(adze_layout *l, int32_t v, const adze_type *t) {
    *l = (adze_layout){.root = v, .view = {.data = ADZE_VIEW_BASE, .dtype = t->dtype, .rank = t->rank}};
    int64_t stride = 1;
    for (int d = t->rank - 1; d >= 0; d--) {
        l->view.dims[d] = t->dims[d];
        l->view.strides[d] = stride;
        stride *= t->dims[d] > 0 ? t->dims[d] : 1;
    }
}

/* The op that copies any strides: `copy` where there is a kernel for it that does, else `open`. */
static const adze_op *copy_op(const adze_work *w, adze_sig *s, const adze_kernel **kernel) {
    const adze_op *op = adze_op_find("copy");
    *kernel = NULL;
    if (!op) {
        return &adze_op_open;
    }
    s->op = op;
    *kernel = adze_device_kernel(w->device, s);
    if (*kernel && !(*kernel)->strided) {
        *kernel = NULL;
    }
    return *kernel || (op->ref && (op->flags & ADZE_OP_STRIDED)) ? op : &adze_op_open;
}

int adze_work_copy(adze_work *w, int32_t v, bool shared, int32_t *out) {
    adze_graph *g = w->g;
    if (shared && w->copy_of[v]) {
        *out = w->copy_of[v];
        return ADZE_OK;
    }
    adze_type t = *adze_type_of(g, v), to = t;
    adze_sig s = {.name = "", .nin = 1, .nout = 1, .in = &t, .out = &to};
    const adze_kernel *kernel = NULL;
    const adze_op *op = copy_op(w, &s, &kernel);
    const adze_gnode *from = adze_val_node(g, v);
    adze_val in = {v};
    /* In the region of what it copies, so that a repeat does not copy the same value again and again. */
    g->region = adze_val_region(g, v);
    g->guard = adze_val_node(g, v)->guard;
    g->name_override = from->name;
    adze_val c = adze_apply(g, op, &in, 1, NULL, NULL);
    g->region = g->guard = 0;
    g->name_override = NULL;
    TRY(g->status);
    TRY(adze_work_room(w));
    w->kind[g->nnodes - 1] = ADZE_KIND_STEP;
    w->kernel[g->nnodes - 1] = kernel;
    lay_dense(&w->layout[c.id], c.id, &to);
    if (shared) {
        w->copy_of[v] = c.id;
    }
    *out = c.id;
    return ADZE_OK;
}

static bool try_view(adze_work *w, int32_t id) {
    const adze_gnode *n = &w->g->nodes[id];
    const adze_layout *in = &w->layout[n->in[0]];
    adze_type types[ADZE_MAX_IN];
    adze_sig s = adze_node_sig(w->g, n, types);
    adze_view out = {.data = in->view.data, .dtype = n->types[0].dtype, .rank = n->types[0].rank};
    if (!n->op->view || !n->op->view(&s, &in->view, &out)) {
        return false;
    }
    int64_t iter = in->iter;
    if (n->op == &adze_op_repeat_row) {
        iter += in->view.strides[0] * (int64_t)adze_dtype_size(in->view.dtype);
    }
    w->layout[n->first] = (adze_layout){in->root, out, iter};
    w->kind[id] = ADZE_KIND_VIEW;
    return true;
}

/* Replaces inputs that the kernel cannot read where they are. */
static int fit_inputs(adze_work *w, int32_t id) {
    adze_graph *g = w->g;
    bool strided = adze_kernel_strided(w, id);
    for (int k = 0; k < g->nodes[id].nin; k++) {
        const adze_gnode *n = &g->nodes[id];
        int32_t v = n->in[k];
        bool clash = false; /* input k is read while another output is written over it */
        for (int o = 0; o < n->nout; o++) {
            int32_t target = adze_forced_input(n, o);
            int own = adze_op_exports(n->op) ? 0 : o;
            clash = clash || (target && k != own && w->layout[target].root == w->layout[v].root);
        }
        if (clash || (!strided && !adze_view_dense(&w->layout[v].view))) {
            int32_t c = 0;
            TRY(adze_work_copy(w, v, true, &c));
            g->nodes[id].in[k] = c;
        }
    }
    return ADZE_OK;
}

static int choose(adze_work *w, int32_t id) {
    adze_graph *g = w->g;
    const adze_gnode *n = &g->nodes[id];
    if (n->dead) {
        w->kind[id] = ADZE_KIND_DEAD;
        return ADZE_OK;
    }
    for (int o = 0; o < n->nout; o++) {
        lay_dense(&w->layout[n->first + o], n->first + o, &n->types[o]);
    }
    w->kernel[id] = NULL;
    w->kind[id] = n->op == &adze_op_input ? ADZE_KIND_INPUT : n->op == &adze_op_slot ? ADZE_KIND_SLOT : ADZE_KIND_STEP;
    if (w->kind[id] != ADZE_KIND_STEP) {
        return ADZE_OK;
    }
    if (n->op->flags & ADZE_OP_VIEW) {
        if (try_view(w, id)) {
            return ADZE_OK;
        }
        if (!adze_view_dense(&w->layout[n->in[0]].view)) {
            int32_t c = 0;
            TRY(adze_work_copy(w, n->in[0], true, &c));
            g->nodes[id].in[0] = c;
            if (try_view(w, id)) {
                return ADZE_OK;
            }
        }
        n = &g->nodes[id];
    }
    adze_type types[ADZE_MAX_IN];
    adze_sig s = adze_node_sig(g, n, types);
    if (n->nin == 0 && !(n->op->flags & ADZE_OP_RANDOM) && n->op->ref) {
        w->kind[id] = ADZE_KIND_CONST;
        return ADZE_OK;
    }
    const char *wanted = w->opts && strncmp(n->op->name, "conv", 4) == 0 ? w->opts->conv : NULL;
    w->kernel[id] = adze_device_kernel_named(w->device, &s, wanted);
    if (!w->kernel[id] && !n->op->ref) {
        return adze_graph_fail(g, ADZE_ENOSUP, "%s '%s': the device '%s' has no kernel for it", n->op->name, n->name, w->device->name);
    }
    return fit_inputs(w, id);
}

/* A result is contiguous, and is not memory that a later step writes. */
static int fit_outputs(adze_work *w) {
    adze_graph *g = w->g;
    bool *overwritten = adze_alloc(w->ctx, g->nvals, sizeof *overwritten);
    TRY(ADZE_GOT(overwritten));
    for (int32_t i = 0; i < g->nnodes; i++) {
        const adze_gnode *n = &g->nodes[i];
        for (int o = 0; w->kind[i] == ADZE_KIND_STEP && o < n->nout; o++) {
            int32_t target = adze_forced_input(n, o);
            overwritten[target ? w->layout[target].root : 0] = true;
        }
    }
    int status = ADZE_OK;
    for (int i = 0, n = g->noutputs; i < n && status == ADZE_OK; i++) {
        const adze_layout *l = &w->layout[g->outputs[i].val];
        if (overwritten[l->root] || !adze_view_dense(&l->view)) {
            int32_t c = 0;
            status = adze_work_copy(w, g->outputs[i].val, false, &c);
            g->outputs[i].val = c;
        }
    }
    adze_free(w->ctx, overwritten);
    return status;
}

int adze_pass_kernel(adze_work *w) {
    TRY(adze_work_room(w));
    for (int32_t i = 0, n = w->g->nnodes; i < n; i++) {
        TRY(choose(w, i));
    }
    return fit_outputs(w);
}
