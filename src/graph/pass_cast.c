/* Pass "cast": mixed precision. Products and convolutions read bf16 and add up in f32; what lies between them is stored as bf16 and computed in f32;
 * weights, their gradients, statistics and losses stay f32. A value that such an op reads is rounded once, and everyone reads the rounded value, so
 * that it is stored once. The casts are maps: the pass "fuse" joins them to the chains beside them. (Micikevicius et al., arXiv 1710.03740, section
 * 3; bf16 has f32's range and needs no scaling of the loss: Kalamkar et al., arXiv 1905.12322.) */
#include "plan_internal.h"

#include "adze/ops.h"
#include "op/rnn.h"

enum { CAST_MATMUL = 1 << 20 }; /* bytes in f32 from which a product's result is stored as bf16: less stays in the cache */
enum { CAST_FEW = 32 }; /* rows, columns or depth below which a product is bound by its weights: rounding these each time costs more than it saves */
enum { CAST_GROUP = 16 }; /* channels of a group from which its products gain by bf16 */
enum { CAST_NEAR = 16 };  /* nodes between readers that share one widened copy: farther apart it would be stored in between */

typedef enum cast_kind {
    CAST_NONE,
    CAST_CONV,
    CAST_CONV_DW,
    CAST_MATMUL_OP,
    CAST_RNN,
    CAST_RNN_GRAD,
    CAST_MOMENTS,
    CAST_NORM_SUMS,
    CAST_KEPT
} cast_kind;

typedef struct caster {
    const adze_work *w;
    adze_graph *g;
    int32_t *narrow, *wide; /* by value: its form in bf16, and that in f32 again; 0: not made yet */
    int32_t *user;          /* by value: the last node that reads `wide` */
    bool *rounded;          /* by value: some reader wants bf16 */
    uint8_t *kind;          /* by node */
    int32_t nvals;          /* values there were before */
} caster;

/* Convolutions that compute in f32 on values that are stored as bf16: those over volumes, which have no other kernel, those of groups too small for
 * dot products (depthwise ones above all), and those that Winograd's kernel or Fourier's takes, which are faster in f32 than a direct one in bf16,
 * but where tiles multiply matrices. */
static bool stays_wide(const adze_work *w, const adze_gnode *n) {
    adze_type types[ADZE_MAX_IN];
    const adze_sig s = adze_node_sig(w->g, n, types);
    if (strncmp(n->op->name, "conv", 4) != 0 || types[0].rank > 4) {
        return strncmp(n->op->name, "conv", 4) == 0;
    }
    const adze_conv_attrs *a = n->attrs;
    if (a->groups > 1 && types[0].dims[types[0].rank - 1] < CAST_GROUP * a->groups) {
        return true;
    }
    const adze_kernel *k = strcmp(adze_ctx_isa(w->ctx), "amx") != 0 ? adze_device_kernel_named(w->device, &s, w->opts->conv) : NULL;
    return k && (strcmp(k->name, "winograd") == 0 || strcmp(k->name, "fft") == 0);
}

static bool few_products(const adze_work *w, const adze_gnode *n) {
    int64_t least = INT64_MAX;
    for (int k = 0; k < 2; k++) {
        const adze_type *t = adze_type_of(w->g, n->in[k]);
        for (int i = t->rank > 1 ? t->rank - 2 : 0; i < t->rank; i++) {
            least = t->dims[i] < least ? t->dims[i] : least;
        }
    }
    return least < CAST_FEW && !w->opts->keep_packed;
}

static cast_kind kind_of(const adze_work *w, const adze_gnode *n) {
    const adze_graph *g = w->g;
    static const struct {
        const char *op;
        cast_kind kind;
    } KINDS[] = {{"conv", CAST_CONV},
                 {"conv_dx", CAST_CONV},
                 {"conv_dw", CAST_CONV_DW},
                 {"matmul", CAST_MATMUL_OP},
                 {"moments", CAST_MOMENTS},
                 {"norm_sums", CAST_NORM_SUMS},
                 {"channel_sums", CAST_MOMENTS},
                 {"rnn", CAST_RNN},
                 {"lstm", CAST_RNN},
                 {"gru", CAST_RNN},
                 {"rnn_grad", CAST_RNN_GRAD},
                 {"lstm_grad", CAST_RNN_GRAD},
                 {"gru_grad", CAST_RNN_GRAD}};
    for (int k = 0; k < n->nin; k++) {
        if (adze_type_of(g, n->in[k])->dtype != ADZE_F32) {
            return CAST_NONE;
        }
    }
    for (size_t i = 0; i < ADZE_COUNT(KINDS) && !n->dead; i++) {
        if (strcmp(n->op->name, KINDS[i].op) == 0) {
            if (KINDS[i].kind == CAST_MATMUL_OP && few_products(w, n)) {
                return CAST_NONE;
            }
            return stays_wide(w, n) ? CAST_KEPT : KINDS[i].kind;
        }
    }
    return CAST_NONE;
}

/* The input is read in bf16: of statistics, the tensors but not the mean; of recurrent layers, x, the weights, y and its cotangent. */
static bool reads_narrow(cast_kind kind, int input) {
    switch (kind) {
    case CAST_NONE:
    case CAST_KEPT:
        return false;
    case CAST_MOMENTS:
        return input == 0;
    case CAST_NORM_SUMS:
        return input < 2;
    case CAST_RNN:
    case CAST_RNN_GRAD:
        return input <= RNN_WH || (kind == CAST_RNN_GRAD && (input == RNN_G_Y || input == RNN_G_DY));
    default:
        return true;
    }
}

static bool known(const caster *c, int32_t v) {
    return v < c->nvals;
}

/* Under the value's guard; what is outside of any, under that of its only reader. */
static int32_t cast_to(caster *c, int32_t v, adze_dtype d, int32_t reader_guard) {
    adze_graph *g = c->g;
    g->region = adze_val_region(g, v);
    g->guard = adze_val_node(g, v)->guard;
    g->guard = g->guard ? g->guard : reader_guard;
    g->name_override = adze_val_node(g, v)->name;
    const adze_val y = adze_cast(g, (adze_val){v}, d);
    g->region = g->guard = 0;
    g->name_override = NULL;
    return y.id;
}

static int32_t narrow_of(caster *c, int32_t v) {
    if (c->narrow[v] == 0) {
        c->narrow[v] = cast_to(c, v, ADZE_BF16, 0);
    }
    return c->narrow[v];
}

/* The value in f32 again. What is stored is the bf16: a map widens it for itself, in its own loop, and so do readers that are far apart. */
static int32_t wide_of(caster *c, int32_t v, int32_t reader) {
    if (reader < c->g->nnodes && c->g->nodes[reader].op->flags & ADZE_OP_MAP) {
        return cast_to(c, narrow_of(c, v), ADZE_F32, c->g->nodes[reader].guard);
    }
    if (c->wide[v] == 0 || reader - c->user[v] > CAST_NEAR) {
        c->wide[v] = cast_to(c, narrow_of(c, v), ADZE_F32, 0);
    }
    c->user[v] = reader;
    return c->wide[v];
}

/* The node's output k becomes bf16. Types are shared with the graph that the caller built: they are copied first. */
static int make_narrow(caster *c, adze_gnode *n, int k) {
    adze_type *types = adze_arena_dup(&c->g->arena, n->types, sizeof *types * (size_t)n->nout);
    TRY(ADZE_GOT(types));
    types[k].dtype = ADZE_BF16;
    n->types = types;
    c->narrow[n->first + k] = n->first + k;
    c->rounded[n->first + k] = true;
    return ADZE_OK;
}

/* To the caller or into a slot, where gradients of weights go. */
static bool leaves_plan(const adze_graph *g, int32_t v) {
    bool found = false;
    for (int i = 0; i < g->noutputs; i++) {
        found = found || g->outputs[i].val == v;
    }
    for (int32_t i = 0; i < g->nnodes && !found; i++) {
        const adze_gnode *n = &g->nodes[i];
        for (int k = 0; k < n->nin && !n->dead && n->op->flags & ADZE_OP_UPDATE; k++) {
            found = found || n->in[k] == v;
        }
    }
    return found;
}

static int set_result(caster *c, adze_gnode *n, cast_kind kind) {
    if (kind == CAST_MOMENTS || kind == CAST_NORM_SUMS || kind == CAST_KEPT) {
        return ADZE_OK;
    }
    if (kind == CAST_RNN || kind == CAST_RNN_GRAD) { /* y; dx, which is last */
        const bool grad = kind == CAST_RNN_GRAD;
        return grad && !((const adze_rnn_attrs *)n->attrs)->dx ? ADZE_OK : make_narrow(c, n, grad ? n->nout - 1 : RNN_Y);
    }
    const adze_type *y = &n->types[0];
    void *attrs = adze_arena_dup(&c->g->arena, n->attrs, n->op->attrs_size);
    TRY(ADZE_GOT(attrs));
    n->attrs = attrs;
    bool wide = kind == CAST_CONV_DW;
    if (kind == CAST_MATMUL_OP) {
        adze_matmul_attrs *a = attrs;
        wide = a->ta || leaves_plan(c->g, n->first) || adze_type_bytes(y) < CAST_MATMUL; /* a' b, or what leaves the plan: a weight gradient */
        a->out = wide ? ADZE_F32 : ADZE_NONE;
    } else {
        ((adze_conv_attrs *)attrs)->out = wide ? ADZE_F32 : ADZE_NONE;
    }
    return wide ? ADZE_OK : make_narrow(c, n, 0);
}

static int cast_node(caster *c, int32_t id) {
    const cast_kind kind = c->kind[id];
    for (int k = 0; k < c->g->nodes[id].nin; k++) {
        const int32_t v = c->g->nodes[id].in[k];
        const bool view = k == 0 && c->g->nodes[id].op->flags & ADZE_OP_VIEW;
        if (!known(c, v)) {
            continue;
        }
        if (view && c->narrow[v] == v) { /* a view of bf16 is bf16 */
            return make_narrow(c, &c->g->nodes[id], 0);
        }
        int32_t now = v;
        if (reads_narrow(kind, k)) {
            now = narrow_of(c, v);
        } else if (c->rounded[v] && !view) {
            now = wide_of(c, v, id);
        }
        TRY(c->g->status);
        c->g->nodes[id].in[k] = now; /* the array of nodes may have moved */
    }
    return kind == CAST_NONE ? ADZE_OK : set_result(c, &c->g->nodes[id], kind);
}

static int cast_all(caster *c, int32_t nnodes) {
    adze_graph *g = c->g;
    for (int32_t i = 0; i < nnodes; i++) {
        const adze_gnode *n = &g->nodes[i];
        const cast_kind kind = kind_of(c->w, n);
        c->kind[i] = (uint8_t)kind;
        const bool sums = strcmp(n->op->name, "conv_dw") == 0;
        if (kind == CAST_KEPT && strcmp(n->op->name, "conv") == 0) { /* is stored; what conv_dx gives is read at once */
            c->rounded[n->first] = true;
        }
        for (int k = 0; k < n->nin; k++) {
            const bool source = adze_val_node(g, n->in[k])->op == &adze_op_slot; /* weights: the cast is for this reader alone */
            const bool reads = reads_narrow(kind, k) || (kind == CAST_KEPT && (k == 0 || sums));
            c->rounded[n->in[k]] = c->rounded[n->in[k]] || (reads && !source);
        }
    }
    for (int32_t i = 0; i < nnodes; i++) {
        if (!g->nodes[i].dead) {
            TRY(cast_node(c, i));
        }
    }
    for (int i = 0; i < g->noutputs; i++) { /* what the caller reads keeps its type */
        const int32_t v = g->outputs[i].val;
        g->outputs[i].val = known(c, v) && c->narrow[v] == v ? wide_of(c, v, nnodes) : v;
    }
    return g->status;
}

int adze_pass_cast(adze_work *w) {
    adze_graph *g = w->g;
    if (!w->opts || w->opts->precision != ADZE_BF16 || !adze_work_device_is(w, "cpu")) {
        return ADZE_OK;
    }
    caster c = {.w = w, .g = g, .nvals = g->nvals};
    const int32_t nnodes = g->nnodes;
    c.narrow = adze_alloc(w->ctx, c.nvals, sizeof *c.narrow);
    c.wide = adze_alloc(w->ctx, c.nvals, sizeof *c.wide);
    c.user = adze_alloc(w->ctx, c.nvals, sizeof *c.user);
    c.rounded = adze_alloc(w->ctx, c.nvals, sizeof *c.rounded);
    c.kind = adze_alloc(w->ctx, nnodes, sizeof *c.kind);
    int status = c.narrow && c.wide && c.user && c.rounded && c.kind ? cast_all(&c, nnodes) : ADZE_ENOMEM;
    adze_free(w->ctx, c.narrow);
    adze_free(w->ctx, c.wide);
    adze_free(w->ctx, c.user);
    adze_free(w->ctx, c.rounded);
    adze_free(w->ctx, c.kind);
    TRY(status);
    int32_t *same = adze_alloc(w->ctx, g->nvals, sizeof *same);
    for (int32_t v = 0; same && v < g->nvals; v++) {
        same[v] = v;
    }
    status = same ? adze_work_replace(w, same) : ADZE_ENOMEM; /* sorts the nodes */
    adze_free(w->ctx, same);
    return status;
}
