/* Pass "lower", for the device cpu: batchnorm and its gradient become sums over the batch (moments, norm_sums), maps of vectors of channels, and one
 * elementwise chain each, so that the chain can go where it costs no memory: into its neighbours' loops. A sum over all axes but the last, such as
 * the gradient of a bias, becomes channel_sums, which can be a member of a group. */
#include "plan_internal.h"

#include "adze/ops.h"
#include "op/chain.h"

extern const adze_op adze_op_batchnorm, adze_op_batchnorm_grad, adze_op_moments, adze_op_norm_sums, adze_op_channel_sums, adze_op_sum;

/* -- after values were replaced ------------------------------------------------------------------------------------------------------------------ */

bool adze_work_device_is(const adze_work *w, const char *name) {
    return strcmp(w->device->name, name) == 0;
}

/* Appends node `from` and what it needs to the list, what it needs first. */
static void list_node(const adze_graph *g, int32_t from, int32_t *stack, int32_t *list, int32_t *n, bool *listed) {
    int32_t top = listed[from] ? 0 : 1;
    stack[0] = from;
    while (top > 0) {
        const adze_gnode *node = &g->nodes[stack[top - 1]];
        int k = 0;
        while (k < node->nin && !node->dead && listed[g->vals[node->in[k]].node]) {
            k++;
        }
        if (k < node->nin && !node->dead) {
            stack[top++] = g->vals[node->in[k]].node;
        } else {
            listed[stack[--top]] = true;
            list[(*n)++] = stack[top];
        }
    }
}

static int sort_nodes(adze_graph *g) {
    int32_t n = 0;
    int32_t *list = adze_alloc(g->ctx, 2 * (int64_t)g->nnodes, sizeof *list);
    adze_gnode *nodes = adze_alloc(g->ctx, g->cap_nodes, sizeof *nodes);
    bool *listed = adze_alloc(g->ctx, g->nnodes, sizeof *listed);
    const int status = ADZE_GOT(list && nodes && listed);
    for (int32_t i = 0; i < g->nnodes && status == ADZE_OK; i++) {
        list_node(g, i, list + g->nnodes, list, &n, listed);
    }
    for (int32_t i = 0; i < n && status == ADZE_OK; i++) {
        nodes[i] = g->nodes[list[i]];
        for (int o = 0; o < nodes[i].nout; o++) {
            g->vals[nodes[i].first + o].node = i;
        }
    }
    if (status == ADZE_OK) {
        adze_gnode *old = g->nodes;
        g->nodes = nodes;
        nodes = old;
    }
    adze_free(g->ctx, nodes);
    adze_free(g->ctx, list);
    adze_free(g->ctx, listed);
    return status;
}

int adze_work_replace(adze_work *w, const int32_t *now) {
    adze_graph *g = w->g;
    for (int32_t i = 0; i < g->nnodes; i++) {
        for (int k = 0; k < g->nodes[i].nin; k++) {
            g->nodes[i].in[k] = now[g->nodes[i].in[k]];
        }
    }
    for (int i = 0; i < g->noutputs; i++) {
        g->outputs[i].val = now[g->outputs[i].val];
    }
    TRY(sort_nodes(g));
    return adze_pass_dead(w);
}

/* -- batch normalisation ------------------------------------------------------------------------------------------------------------------------- */

/* (x - mean) a + b, and with six inputs p dy + that: x's shape from vectors of channels. inputs x, mean, a, b, p, dy */
static adze_val normalise(adze_graph *g, adze_val x, const adze_val *vectors, int nvectors, adze_val dy) {
    const adze_type t = adze_val_type(g, x);
    adze_chain_attrs c = {.dtype = (int32_t)t.dtype, .nout = 1};
    adze_val in[6] = {x};
    int n = 1;
    for (int i = 0; i < nvectors; i++) {
        in[n++] = adze_broadcast(g, vectors[i], t.dims, t.rank);
    }
    int v = adze_chain_push(&c, ADZE_CHAIN_sub, t.dtype, (int[]){0, 1}, 2, 0, 0);
    v = adze_chain_push(&c, ADZE_CHAIN_fma, t.dtype, (int[]){v, 2, 3}, 3, 0, 0);
    if (dy.id) {
        in[n++] = dy;
        v = adze_chain_push(&c, ADZE_CHAIN_fma, t.dtype, (int[]){4, 5, v}, 3, 0, 0);
    }
    c.out[0] = (uint8_t)v;
    c.read = (double)adze_type_bytes(&t) * (dy.id ? 2 : 1) + (double)(t.dims[t.rank - 1] * (int64_t)adze_dtype_size(t.dtype)) * nvectors;
    adze_chain_seal(&c);
    return adze_apply(g, &adze_op_chain, in, n, &c, NULL);
}

static double eps_of(const adze_gnode *n) {
    return ((const adze_norm_attrs *)n->attrs)->eps;
}

/* x, scale, shift -> y, mean, var */
static void lower_batchnorm(adze_graph *g, const adze_gnode *n, adze_val *out) {
    const adze_val x = {n->in[0]}, scale = {n->in[1]}, shift = {n->in[2]};
    adze_apply(g, &adze_op_moments, &x, 1, NULL, &out[1]);
    const adze_val a = adze_mul(g, scale, adze_rsqrt(g, adze_scale(g, out[2], 1, eps_of(n))));
    out[0] = normalise(g, x, (adze_val[]){out[1], a, shift}, 3, (adze_val){0});
}

/* x, scale, mean, var, dy -> dx, dscale, dshift. dx = p dy + q (x - mean) + o */
static void lower_batchnorm_grad(adze_graph *g, const adze_gnode *n, adze_val *out) {
    const adze_val x = {n->in[0]}, scale = {n->in[1]}, mean = {n->in[2]}, var = {n->in[3]}, dy = {n->in[4]};
    const adze_type t = adze_val_type(g, x);
    const double rows = (double)adze_type_count(&t) / (double)(t.dims[t.rank - 1] > 0 ? t.dims[t.rank - 1] : 1);
    adze_val sums[2];
    adze_apply(g, &adze_op_norm_sums, (adze_val[]){dy, x, mean}, 3, NULL, sums);
    const adze_val inv = adze_rsqrt(g, adze_scale(g, var, 1, eps_of(n))), p = adze_mul(g, scale, inv);
    out[1] = adze_mul(g, sums[1], inv);
    out[2] = sums[0];
    const adze_val share = adze_scale(g, p, -1 / rows, 0);
    const adze_val q = adze_mul(g, adze_mul(g, share, inv), out[1]), o = adze_mul(g, share, sums[0]);
    out[0] = normalise(g, x, (adze_val[]){mean, q, o, p}, 4, dy);
}

/* A sum over all axes but the last. */
static bool sums_channels(const adze_graph *g, const adze_gnode *n) {
    const adze_reduce_attrs *a = n->attrs;
    const adze_type *x = adze_type_of(g, n->in[0]);
    if (n->op != &adze_op_sum || a->keep || x->rank < 2 || a->axes.n != x->rank - 1 || !adze_dtype_is_float(x->dtype) || adze_type_count(x) == 0) {
        return false;
    }
    for (int64_t k = 0; k < a->axes.n; k++) { /* each is named once: none may be the last */
        if (a->axes.v[k] == -1 || a->axes.v[k] == x->rank - 1) {
            return false;
        }
    }
    return true;
}

static void lower_sum(adze_graph *g, const adze_gnode *n, adze_val *out) {
    adze_apply(g, &adze_op_channel_sums, (adze_val[]){{n->in[0]}}, 1, NULL, out);
}

int adze_pass_lower(adze_work *w) {
    adze_graph *g = w->g;
    if (!adze_work_device_is(w, "cpu")) {
        return ADZE_OK;
    }
    TRY(adze_lower_guards(w));
    int32_t *now = NULL, nnodes = g->nnodes, nvals = g->nvals;
    for (int32_t i = 0; i < nnodes && g->status == ADZE_OK; i++) {
        const adze_gnode n = g->nodes[i];
        void (*const lower)(adze_graph *, const adze_gnode *, adze_val *) = n.op == &adze_op_batchnorm        ? lower_batchnorm
                                                                            : n.op == &adze_op_batchnorm_grad ? lower_batchnorm_grad
                                                                                                              : lower_sum;
        adze_val out[3] = {{0}, {0}, {0}};
        if (n.dead || (lower == lower_sum && !sums_channels(g, &n))) {
            continue;
        }
        if (!now) {
            now = adze_alloc(w->ctx, nvals, sizeof *now);
            for (int32_t v = 0; now && v < nvals; v++) {
                now[v] = v;
            }
            TRY(ADZE_GOT(now));
        }
        g->region = n.region;
        g->guard = n.guard;
        g->name_override = n.name;
        lower(g, &n, out);
        g->region = g->guard = 0;
        g->name_override = NULL;
        for (int o = 0; o < n.nout; o++) {
            now[n.first + o] = out[o].id;
        }
    }
    int status = g->status;
    if (now && status == ADZE_OK) {
        int32_t *all = adze_resize(w->ctx, now, nvals, g->nvals, sizeof *now);
        now = all ? all : now;
        for (int32_t v = nvals; all && v < g->nvals; v++) {
            all[v] = v;
        }
        status = all ? adze_work_replace(w, all) : ADZE_ENOMEM;
    }
    adze_free(w->ctx, now);
    return status;
}
