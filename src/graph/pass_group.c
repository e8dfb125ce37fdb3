/* Pass "group": runs of steps whose examples are independent become one region that passes over the batch a few examples at a time: what lies between
 * its steps stays in the cache and is never laid out for the whole batch. Sums over the batch (weight gradients, statistics) may be members; what
 * needs their result comes after the group.
 *
 * Groups grow along one topological order. A step joins the open group when all that it needs is either made by members, example by example, or does
 * not depend on a member at all, and when it shares a value or a reader with a member. A group closes before the next one opens, so that groups never
 * wait for each other. */
#include "sched.h"

#include <stdio.h>

enum {
    GROUP_EXAMPLES = 32,       /* smaller batches are left to the kernels, which split images over the threads */
    GROUP_EXAMPLE = 512 << 10, /* bytes of one example of one value: more would not stay in the cache */
    GROUP_LEAST = 128 << 10,   /* bytes of the largest value: less is not worth the trouble */
    GROUP_SLICES = 4           /* at least as many slices a thread */
};

enum { TOUCHES_MEMBER = 1, TOUCHES_TAINT = 2 };

typedef struct former {
    adze_work *w;
    adze_sched s;
    uint8_t *touch;    /* by step: what its predecessors are to the open group */
    uint8_t *member;   /* by step: in the open group */
    int32_t *members;  /* steps of the open group */
    int32_t *user;     /* by value: a member of this group (its number) reads it, example by example */
    int32_t n, number; /* members so far; the group's number */
    int64_t batch;
} former;

bool adze_kernel_sliced(const adze_kernel *k, int i) {
    return i >= 32 ? k->sliced == ~0u : (k->sliced >> i & 1) != 0;
}

bool adze_group_sums(const adze_work *w, int32_t node) {
    return w->kernel[node] && w->kernel[node]->partial;
}

/* Axis 0 is the batch, and an example is not too large. */
static bool fits(const adze_type *t, int64_t batch) {
    return t->rank >= 1 && t->dims[0] == batch && adze_type_bytes(t) > 0 && adze_type_bytes(t) / batch <= GROUP_EXAMPLE;
}

/* The number of examples that the step takes apart, 0 when it cannot. */
static int64_t batch_of(const adze_work *w, int32_t node) {
    const adze_gnode *n = &w->g->nodes[node];
    const adze_kernel *k = w->kernel[node];
    if (!k || !k->sliced || n->region || n->op->flags & ADZE_OP_UPDATE || n->nout == 0) {
        return 0;
    }
    adze_type types[ADZE_MAX_IN];
    adze_sig sig = adze_node_sig(w->g, n, types);
    int64_t batch = 0, threads = adze_ctx_threads(w->ctx);
    for (int i = 0; i < n->nin && batch == 0; i++) {
        batch = adze_kernel_sliced(k, i) && types[i].rank > 0 ? types[i].dims[0] : 0;
    }
    if (batch < GROUP_EXAMPLES || batch < GROUP_SLICES * threads) {
        return 0;
    }
    int64_t largest = 0;
    for (int i = 0; i < n->nin; i++) {
        if (adze_kernel_sliced(k, i) && !fits(&types[i], batch)) {
            return 0;
        }
        largest = adze_kernel_sliced(k, i) && adze_type_bytes(&types[i]) > largest ? adze_type_bytes(&types[i]) : largest;
    }
    if (largest < GROUP_LEAST) {
        return 0;
    }
    if (k->partial) { /* a leaf is one thread's: fewer leaves than threads would leave some idle */
        return k->partial(&sig) > 0 && batch >= 2 * ADZE_LEAF * threads ? batch : 0;
    }
    for (int o = 0; o < n->nout; o++) {
        if (!fits(&n->types[o], batch)) {
            return 0;
        }
    }
    return batch;
}

/* Example i of the view lies in example i of what was computed. */
static bool aligned(const adze_work *w, int32_t v, int64_t batch) {
    const adze_layout *l = &w->layout[v];
    const adze_type *root = adze_type_of(w->g, l->root);
    int64_t example = adze_type_bytes(root) / batch;
    return root->rank > 0 && root->dims[0] == batch && l->iter == 0 && l->view.strides[0] * (int64_t)adze_dtype_size(l->view.dtype) == example &&
           (char *)l->view.data >= ADZE_VIEW_BASE && (char *)l->view.data < ADZE_VIEW_BASE + (example > 0 ? example : 1);
}

static bool made_inside(const former *f, int32_t v) {
    int32_t maker = adze_sched_maker(&f->s, v);
    return maker >= 0 && f->member[maker];
}

/* The step depends on a member and on nothing that came after one outside. */
static bool follows(const former *f, int32_t step) {
    return step >= 0 && f->touch[step] == TOUCHES_MEMBER;
}

/* A reader of what the step makes reads a member too, or what another step makes of one: all belong here. */
static bool serves_reader(const former *f, int32_t step, int64_t batch) {
    const adze_work *w = f->w;
    bool serves = false;
    for (int32_t e = f->s.head[step]; e < f->s.head[step + 1] && !serves; e++) {
        const int32_t reader = f->s.to[e];
        const adze_gnode *n = &w->g->nodes[f->s.node[reader]];
        serves = follows(f, reader);
        for (int i = 0; i < n->nin && !serves && f->touch[reader] == 0; i++) {
            serves = follows(f, adze_sched_maker(&f->s, n->in[i]));
        }
        serves = serves && batch_of(w, f->s.node[reader]) == batch;
    }
    return serves;
}

static bool may_join(const former *f, int32_t step, int64_t batch) {
    const adze_work *w = f->w;
    const adze_gnode *n = &w->g->nodes[f->s.node[step]];
    const adze_kernel *k = w->kernel[f->s.node[step]];
    if (batch != f->batch || f->touch[step] & TOUCHES_TAINT) {
        return false;
    }
    bool related = n->again /* it is computed for those that come next */ || serves_reader(f, step, batch);
    for (int i = 0; i < n->nin; i++) {
        const int32_t root = w->layout[n->in[i]].root;
        if (made_inside(f, n->in[i])) {
            if (!adze_kernel_sliced(k, i) || !aligned(w, n->in[i], batch) || adze_group_sums(w, w->g->vals[root].node)) {
                return false;
            }
            related = true;
        } else if (adze_kernel_sliced(k, i) && f->user[root] == f->number) {
            related = true;
        }
    }
    return related;
}

/* No reader of the step could be in a group with it: it would only break the open one. */
static bool is_alone(const former *f, int32_t step) {
    bool alone = true;
    for (int32_t e = f->s.head[step]; e < f->s.head[step + 1] && alone; e++) {
        alone = batch_of(f->w, f->s.node[f->s.to[e]]) == 0;
    }
    return alone;
}

static void join(former *f, int32_t step) {
    const adze_work *w = f->w;
    const adze_gnode *n = &w->g->nodes[f->s.node[step]];
    f->member[step] = 1;
    f->members[f->n++] = step;
    for (int i = 0; i < n->nin; i++) {
        if (adze_kernel_sliced(w->kernel[f->s.node[step]], i)) {
            f->user[w->layout[n->in[i]].root] = f->number;
        }
    }
}

static int close_group(former *f) {
    if (f->n >= 2) {
        adze_graph *g = f->w->g;
        char name[32];
        int32_t region = 0;
        snprintf(name, sizeof name, "(group %d)", (int)f->number); /* no name that a user's region can have */
        TRY(adze_region_add(g, name, ADZE_REGION_GROUP, 1, &region));
        g->regions[region].closed = true;
        for (int32_t i = 0; i < f->n; i++) {
            g->nodes[f->s.node[f->members[i]]].region = region;
        }
    }
    memset(f->touch, 0, (size_t)f->s.n);
    memset(f->member, 0, (size_t)f->s.n);
    f->n = 0;
    f->number++;
    return ADZE_OK;
}

static int form(former *f) {
    const adze_work *w = f->w;
    for (int32_t t = 0; t < f->s.n; t++) {
        const int32_t step = f->s.step_of[f->s.out[t]];
        const int64_t batch = batch_of(w, f->s.out[t]);
        const bool stays_out = f->n > 0 && batch > 0 && !may_join(f, step, batch);
        const bool alone = stays_out && is_alone(f, step);
        if (stays_out && !alone) {
            TRY(close_group(f));
        }
        if (batch > 0 && !alone) {
            f->batch = batch;
            join(f, step);
        }
        const uint8_t mark = f->member[step] ? TOUCHES_MEMBER : f->touch[step] ? TOUCHES_TAINT : 0;
        for (int32_t e = f->s.head[step]; e < f->s.head[step + 1]; e++) {
            f->touch[f->s.to[e]] |= mark;
        }
    }
    return close_group(f);
}

/* Values that no one outside the group of their maker needs. */
static int find_local(adze_work *w) {
    const adze_graph *g = w->g;
    w->local = adze_alloc(w->ctx, g->nvals, sizeof *w->local);
    TRY(ADZE_GOT(w->local));
    for (int32_t i = 0; i < g->nnodes; i++) {
        const adze_gnode *n = &g->nodes[i];
        bool group = w->kind[i] == ADZE_KIND_STEP && g->regions[n->region].kind == ADZE_REGION_GROUP && !adze_group_sums(w, i);
        for (int o = 0; group && o < n->nout; o++) {
            w->local[n->first + o] = 1;
        }
    }
    for (int32_t i = 0; i < g->nnodes; i++) {
        const adze_gnode *n = &g->nodes[i];
        for (int k = 0; w->kind[i] == ADZE_KIND_STEP && k < n->nin; k++) {
            const int32_t root = w->layout[n->in[k]].root;
            if (g->nodes[g->vals[root].node].region != n->region) {
                w->local[root] = 0;
            }
        }
    }
    for (int i = 0; i < g->noutputs; i++) {
        w->local[w->layout[g->outputs[i].val].root] = 0;
    }
    return ADZE_OK;
}

static int form_all(former *f) {
    adze_ctx *ctx = f->w->ctx;
    f->touch = adze_alloc(ctx, f->s.n, sizeof *f->touch);
    f->member = adze_alloc(ctx, f->s.n, sizeof *f->member);
    f->members = adze_alloc(ctx, f->s.n, sizeof *f->members);
    f->user = adze_alloc(ctx, f->w->g->nvals, sizeof *f->user);
    int status = f->touch && f->member && f->members && f->user ? adze_sched_depth_first(&f->s) : ADZE_ENOMEM;
    if (status == ADZE_OK) {
        f->s.how = ADZE_POLICY_PRIORITY;
        f->number = 1;
        status = adze_sched_list(&f->s);
    }
    status = status == ADZE_OK ? form(f) : status;
    adze_free(ctx, f->touch);
    adze_free(ctx, f->member);
    adze_free(ctx, f->members);
    adze_free(ctx, f->user);
    return status;
}

int adze_pass_group(adze_work *w) {
    if (!w->opts || !w->opts->no_group) {
        former f = {.w = w, .s = {.w = w}};
        int status = adze_sched_build(&f.s);
        status = status == ADZE_OK ? form_all(&f) : status;
        adze_sched_free(&f.s);
        TRY(status);
    }
    return find_local(w);
}
