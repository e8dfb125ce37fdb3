/* Pass "recompute": when a plan needs more memory than it may have (opts->memory), values of the first part are dropped and computed once more in
 * the second part, where they are needed again. Nothing else changes: a clone has the kernel, the attributes and so the random numbers of its
 * original, steps that write slots have no clones, and every result has the bits that it has without the pass.
 *
 * The plan is cut where most bytes lie idle for longest: behind the loss. Which values to keep is searched in a family with two numbers: steps that
 * cost more for a byte than `dear` are kept; of the others, one is kept whenever `segment` bytes have been dropped since the last (Chen et al., arXiv
 * 1604.06174, section 4.4, whose segments are the case that nothing is dear). Of the choices that fit, the cheapest is taken, and what it dropped
 * is kept after all, dearest first, as long as the plan still fits. Every choice is judged by laying the plan out. */
#include "sched.h"

#include <stdlib.h>

enum { DEARS = 8, SEGMENTS = 14, WORK = 1000000, MOST = 1000, SMALL = 4096, RETRIES = 4, ROUNDS = 4 };

typedef struct choice {
    bool *drop; /* by candidate */
    int64_t peak;
    double cost;
} choice;

typedef struct again {
    adze_work *w;
    adze_graph *g;
    int32_t nnodes, nvals, nregions; /* as they were */
    int32_t *seq, nseq, turn;        /* steps and the views that they read, in order; those from `turn` on come late */
    int32_t *cand, ncand;            /* by candidate: its node, in the order of seq */
    bool *idle;                      /* by candidate: somebody needs it late */
    double *cost, *bytes;            /* by candidate */
    double *sorted;
    int32_t *which;               /* by node: its candidate, -1 for none */
    bool *need;                   /* by node */
    int32_t *now;                 /* by value */
    int32_t *ins, *room, nins;    /* inputs of all nodes as they were; room for those of clones */
    int32_t budget;               /* layouts that may still be tried */
    choice trial, best, smallest; /* best: the cheapest that fits; smallest: the one with the lowest peak */
} again;

/* -- one layout of the plan --------------------------------------------------------------------------------------------------------------------- */

/* Takes back what the passes "order" and "memory" did, but not the nodes that there are. */
static void unlay(again *a) {
    adze_work *w = a->w;
    for (int32_t i = 0; i < a->g->nnodes; i++) {
        int32_t *r = &a->g->nodes[i].region;
        *r = *r < a->nregions ? *r : 0;
    }
    a->g->nregions = a->nregions;
    adze_free(w->ctx, w->order);
    adze_free(w->ctx, w->local);
    adze_free(w->ctx, w->kept);
    adze_live_free(w->ctx, &w->live);
    w->order = NULL;
    w->local = NULL;
    w->kept = NULL;
    w->arena = 0;
}

static int lay(again *a, bool quick) {
    adze_work *w = a->w;
    unlay(a);
    w->quick = quick;
    int status = adze_pass_order(w);
    w->quick = false;
    TRY(status);
    return quick ? adze_plan_live(w, w->order, &w->live) : adze_pass_memory(w);
}

/* -- clones ------------------------------------------------------------------------------------------------------------------------------------- */

static void undo(again *a) {
    adze_graph *g = a->g;
    adze_work *w = a->w;
    int32_t n = 0;
    unlay(a);
    memset(w->copy_of + a->nvals, 0, sizeof *w->copy_of * (size_t)(w->cap_val - a->nvals));
    for (int32_t v = 0; v < a->nvals; v++) {
        w->copy_of[v] = w->copy_of[v] < a->nvals ? w->copy_of[v] : 0;
    }
    g->nnodes = a->nnodes;
    g->nvals = a->nvals;
    for (int32_t i = 0; i < a->nnodes; i++) {
        memcpy(g->nodes[i].in, a->ins + n, sizeof *a->ins * (size_t)g->nodes[i].nin);
        n += g->nodes[i].nin;
    }
    for (int32_t i = a->turn; i < a->nseq; i++) {
        const adze_gnode *m = &g->nodes[a->seq[i]];
        if (w->kind[a->seq[i]] == ADZE_KIND_VIEW) {
            w->layout[m->first].root = w->layout[m->in[0]].root;
        }
    }
}

static int clone(again *a, int32_t id, int32_t *room) {
    adze_graph *g = a->g;
    adze_work *w = a->w;
    adze_gnode n = g->nodes[id];
    const int32_t to = g->nnodes, from = n.first;
    TRY(adze_graph_room(g, (void **)&g->nodes, g->nnodes, &g->cap_nodes, sizeof *g->nodes));
    for (int k = 0; k < n.nin; k++) {
        room[k] = a->now[n.in[k]];
    }
    n.in = room;
    n.first = g->nvals;
    n.again = true;
    for (int o = 0; o < n.nout; o++) {
        TRY(adze_graph_room(g, (void **)&g->vals, g->nvals, &g->cap_vals, sizeof *g->vals));
        g->vals[g->nvals++] = (adze_gval){to, o};
        a->now[from + o] = n.first + o;
    }
    g->nodes[g->nnodes++] = n;
    TRY(adze_work_room(w));
    w->kind[to] = w->kind[id];
    w->kernel[to] = w->kernel[id];
    for (int o = 0; o < n.nout; o++) {
        w->layout[n.first + o] = w->layout[from + o];
        w->layout[n.first + o].root = w->kind[id] == ADZE_KIND_VIEW ? w->layout[n.in[0]].root : n.first + o;
    }
    return ADZE_OK;
}

static bool drops(const again *a, const choice *c, int32_t id) {
    return a->w->kind[id] == ADZE_KIND_VIEW || (a->which[id] >= 0 && c->drop[a->which[id]]);
}

/* What late steps need of what is dropped, and what that needs in turn. */
static void find_needs(again *a, const choice *c) {
    const adze_graph *g = a->g;
    memset(a->need, 0, (size_t)a->nnodes);
    for (int32_t i = a->nseq; i-- > 0;) {
        const adze_gnode *n = &g->nodes[a->seq[i]];
        const bool reads = i >= a->turn || (a->need[a->seq[i]] && drops(a, c, a->seq[i]));
        for (int k = 0; k < n->nin && reads; k++) {
            a->need[g->vals[n->in[k]].node] = true;
        }
    }
}

/* The graph with a clone of everything that is dropped and needed again. */
static int apply(again *a, choice *c) {
    adze_graph *g = a->g;
    int32_t used = 0;
    find_needs(a, c);
    c->cost = 0;
    for (int32_t v = 0; v < a->nvals; v++) {
        a->now[v] = v;
    }
    for (int32_t i = 0; i < a->turn; i++) {
        const int32_t id = a->seq[i], nin = g->nodes[id].nin;
        const bool view = a->w->kind[id] == ADZE_KIND_VIEW;
        if (!a->need[id] || !drops(a, c, id) || (view && a->now[g->nodes[id].in[0]] == g->nodes[id].in[0])) {
            continue;
        }
        TRY(clone(a, id, a->room + used));
        used += nin;
        c->cost += view ? 0 : a->cost[a->which[id]];
    }
    for (int32_t i = a->turn; i < a->nseq; i++) {
        const int32_t id = a->seq[i];
        adze_gnode *n = &g->nodes[id];
        for (int k = 0; k < n->nin; k++) {
            n->in[k] = a->now[n->in[k]];
        }
        if (a->w->kind[id] == ADZE_KIND_VIEW) {
            a->w->layout[n->first].root = a->w->layout[n->in[0]].root;
        }
    }
    return ADZE_OK;
}

/* -- what may be dropped ------------------------------------------------------------------------------------------------------------------------ */

static void list_view(again *a, int32_t v) {
    const int32_t id = a->g->vals[v].node;
    if (a->w->kind[id] == ADZE_KIND_VIEW && !a->need[id]) {
        list_view(a, a->g->nodes[id].in[0]);
        a->need[id] = true;
        a->seq[a->nseq++] = id;
    }
}

/* Bytes times steps that lie idle across the position behind each step; the best is where the plan is cut. */
static int find_turn(again *a, int32_t *best) {
    const adze_work *w = a->w;
    const adze_graph *g = a->g;
    int32_t *seen = adze_alloc(w->ctx, g->nvals, sizeof *seen), turn = 0;
    double *idle = adze_alloc(w->ctx, (int64_t)w->norder + 2, sizeof *idle), most = 0, sum = 0;
    for (int32_t t = 0; t < w->norder && seen && idle; t++) {
        const adze_gnode *n = &g->nodes[w->order[t]];
        for (int k = 0; k < n->nin; k++) {
            const int32_t v = w->layout[n->in[k]].root, from = seen[v] - 1;
            if (from >= 0) {
                const double weight = (double)adze_type_bytes(adze_type_of(g, v)) * (t - from);
                idle[from] += weight;
                idle[t] -= weight;
                seen[v] = t + 1;
            }
        }
        for (int o = 0; o < n->nout; o++) {
            seen[n->first + o] = t + 1;
        }
    }
    for (int32_t t = 0; t + 1 < w->norder && seen && idle; t++) {
        const int32_t r = g->nodes[w->order[t]].region;
        sum += idle[t];
        if (sum > most && (r == 0 || g->nodes[w->order[t + 1]].region != r)) {
            most = sum;
            turn = t + 1;
        }
    }
    const int status = ADZE_GOT(seen && idle);
    adze_free(w->ctx, seen);
    adze_free(w->ctx, idle);
    *best = turn;
    return status;
}

static int list_steps(again *a) {
    const adze_work *w = a->w;
    int32_t turn = 0;
    TRY(find_turn(a, &turn));
    for (int32_t t = 0; t < w->norder; t++) {
        const adze_gnode *n = &a->g->nodes[w->order[t]];
        a->turn = t == turn ? a->nseq : a->turn;
        for (int k = 0; k < n->nin; k++) {
            list_view(a, n->in[k]);
        }
        a->seq[a->nseq++] = w->order[t];
    }
    return ADZE_OK;
}

/* Steps that write slots or belong to a region run once; a result stays anyway; and what is small is not worth the trouble. */
static bool may_drop(const again *a, int32_t id, double least) {
    const adze_work *w = a->w;
    const adze_graph *g = a->g;
    const adze_gnode *n = &g->nodes[id];
    double bytes = 0;
    if (w->kind[id] != ADZE_KIND_STEP || n->op->flags & (ADZE_OP_UPDATE | ADZE_OP_COMM | ADZE_OP_REGION) || (n->region && n->region < a->nregions)) {
        return false;
    }
    for (int o = 0; o < n->nout; o++) {
        bytes += (double)adze_type_bytes(&n->types[o]);
        for (int i = 0; i < g->noutputs; i++) {
            if (w->layout[g->outputs[i].val].root == n->first + o) {
                return false;
            }
        }
    }
    for (int k = 0; k < n->nin; k++) { /* a slot's new value may be written again before the clone reads it */
        if (adze_val_node(g, w->layout[n->in[k]].root)->op->flags & ADZE_OP_UPDATE) {
            return false;
        }
    }
    return bytes >= least;
}

static int by_size(const void *x, const void *y) {
    const double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

static int list_candidates(again *a) {
    adze_work *w = a->w;
    adze_graph *g = a->g;
    const double BYTE = 6; /* operations that take as long as a byte from memory */
    for (int32_t i = 0; i < a->nnodes; i++) {
        a->which[i] = -1;
    }
    for (int32_t i = 0; i < a->turn; i++) {
        if (may_drop(a, a->seq[i], (double)w->live.peak / SMALL)) {
            a->which[a->seq[i]] = a->ncand;
            a->cand[a->ncand++] = a->seq[i];
        }
    }
    for (int32_t c = 0; c < a->ncand; c++) {
        const adze_gnode *n = &g->nodes[a->cand[c]];
        adze_type types[ADZE_MAX_IN];
        const adze_sig sig = adze_node_sig(g, n, types);
        const adze_cost cost = adze_sig_cost(&sig);
        a->cost[c] = cost.flops + BYTE * (cost.read + cost.written);
        for (int o = 0; o < n->nout; o++) {
            a->bytes[c] += (double)adze_type_bytes(&n->types[o]);
        }
        a->sorted[c] = a->cost[c] / a->bytes[c];
    }
    for (int32_t i = a->turn; i < a->nseq; i++) {
        const adze_gnode *n = &g->nodes[a->seq[i]];
        for (int k = 0; k < n->nin; k++) {
            const int32_t c = a->which[g->vals[w->layout[n->in[k]].root].node];
            if (c >= 0) {
                a->idle[c] = true;
            }
        }
    }
    if (a->ncand > 0) {
        qsort(a->sorted, (size_t)a->ncand, sizeof *a->sorted, by_size);
    }
    return ADZE_OK;
}

/* -- the search --------------------------------------------------------------------------------------------------------------------------------- */

static void take(const again *a, choice *to, const choice *from) {
    memcpy(to->drop, from->drop, (size_t)a->ncand);
    to->peak = from->peak;
    to->cost = from->cost;
}

/* Lays out the plan of a->trial and remembers it when it is the best so far. */
static int judge(again *a, int64_t limit) {
    undo(a);
    TRY(apply(a, &a->trial));
    TRY(lay(a, true));
    a->trial.peak = a->w->live.peak;
    a->budget--;
    if (a->trial.peak <= limit && (a->best.peak < 0 || a->best.peak > limit || a->trial.cost < a->best.cost)) {
        take(a, &a->best, &a->trial);
    }
    if (a->smallest.peak < 0 || a->trial.peak < a->smallest.peak) {
        take(a, &a->smallest, &a->trial);
    }
    return ADZE_OK;
}

static int try_family(again *a, int64_t limit) {
    double total = 0;
    for (int32_t c = 0; c < a->ncand; c++) {
        total += a->bytes[c];
    }
    for (int d = 1; d <= DEARS; d++) {
        const double dear = a->sorted[(int64_t)(a->ncand - 1) * d / DEARS];
        for (int s = 0; s < SEGMENTS; s++) {
            double segment = total, sum = 0;
            for (int i = 0; i < s; i++) {
                segment *= 0.68;
            }
            for (int32_t c = 0; c < a->ncand; c++) {
                const bool cheap = !a->idle[c] || a->cost[c] <= dear * a->bytes[c];
                sum += cheap && a->idle[c] ? a->bytes[c] : 0;
                a->trial.drop[c] = cheap && (sum <= segment || !a->idle[c]);
                sum = sum > segment ? 0 : sum;
            }
            TRY(judge(a, limit));
        }
    }
    return ADZE_OK;
}

/* Changes one value at a time, the dearest first. `keep`: what is dropped is kept while the plan fits; else every change that lowers the peak is
 * taken. */
static int improve(again *a, int64_t limit, bool keep) {
    choice *at = keep ? &a->best : &a->smallest;
    double below = 1e300;
    while (a->budget > 0 && (keep || a->best.peak < 0)) {
        double next = -1;
        for (int32_t c = 0; c < a->ncand; c++) {
            next = a->cost[c] < below && a->cost[c] > next ? a->cost[c] : next;
        }
        for (int32_t c = 0; c < a->ncand && next >= 0 && a->budget > 0; c++) {
            const bool now = at->drop[c];
            if (a->cost[c] == next && (now || !keep)) {
                take(a, &a->trial, at);
                a->trial.drop[c] = !now;
                TRY(judge(a, limit));
            }
        }
        if (next < 0) {
            break;
        }
        below = next;
    }
    return ADZE_OK;
}

static int too_large(const adze_work *w, int64_t smallest) {
    return adze_graph_fail(w->g, ADZE_ENOMEM,
                           "the plan may hold %lld bytes; the least that it can be brought to by computing values twice is %lld bytes: allow more, "
                           "or take a smaller batch",
                           (long long)w->opts->memory, (long long)smallest);
}

/* The cheapest choice that fits, or else the smallest, laid out in full. The arena may come out larger than the bytes alive at once: then less is
 * aimed at. */
static int choose(again *a) {
    const int64_t memory = a->w->opts->memory;
    int64_t limit = memory;
    for (int r = 0; r < RETRIES; r++) {
        const int32_t left = WORK / (a->nseq + 1);
        a->budget = (left > MOST ? MOST : left) + DEARS * SEGMENTS;
        a->best.peak = -1;
        if (r == 0) {
            a->smallest.peak = -1;
        }
        TRY(try_family(a, limit));
        if (a->best.peak < 0) {
            TRY(improve(a, limit, false));
        }
        if (a->best.peak >= 0) {
            TRY(improve(a, limit, true));
        }
        choice *c = a->best.peak >= 0 ? &a->best : &a->smallest;
        undo(a);
        TRY(apply(a, c));
        TRY(lay(a, false));
        if (a->w->arena <= memory || c == &a->smallest) {
            break;
        }
        limit -= a->w->arena - memory + memory / 200;
    }
    return ADZE_OK;
}

/* -- the pass ----------------------------------------------------------------------------------------------------------------------------------- */

static int prepare(again *a) {
    adze_ctx *ctx = a->w->ctx;
    const adze_graph *g = a->g;
    const int64_t nodes = (int64_t)g->nnodes + 1;
    for (int32_t i = 0; i < g->nnodes; i++) {
        a->nins += g->nodes[i].nin;
    }
    a->seq = adze_alloc(ctx, nodes, sizeof *a->seq);
    a->cand = adze_alloc(ctx, nodes, sizeof *a->cand);
    a->idle = adze_alloc(ctx, nodes, sizeof *a->idle);
    a->cost = adze_alloc(ctx, nodes, sizeof *a->cost);
    a->bytes = adze_alloc(ctx, nodes, sizeof *a->bytes);
    a->sorted = adze_alloc(ctx, nodes, sizeof *a->sorted);
    a->which = adze_alloc(ctx, nodes, sizeof *a->which);
    a->need = adze_alloc(ctx, nodes, sizeof *a->need);
    a->now = adze_alloc(ctx, g->nvals, sizeof *a->now);
    a->ins = adze_alloc(ctx, a->nins, sizeof *a->ins);
    a->room = adze_arena_alloc(&a->g->arena, sizeof *a->room * (size_t)(a->nins + 1)); /* the clones that stay live as long as the graph */
    choice *all[] = {&a->trial, &a->best, &a->smallest};
    bool good = a->seq && a->cand && a->idle && a->cost && a->bytes && a->sorted && a->which && a->need && a->now && a->ins && a->room;
    for (size_t i = 0; i < ADZE_COUNT(all); i++) {
        all[i]->drop = adze_alloc(ctx, nodes, sizeof *all[i]->drop);
        good = good && all[i]->drop;
    }
    for (int32_t i = 0, n = 0; i < g->nnodes && good; i++) {
        memcpy(a->ins + n, g->nodes[i].in, sizeof *a->ins * (size_t)g->nodes[i].nin);
        n += g->nodes[i].nin;
    }
    return ADZE_GOT(good);
}

static void release(again *a) {
    void *all[] = {a->seq,  a->cand, a->idle, a->cost,      a->bytes,      a->sorted,       a->which,
                   a->need, a->now,  a->ins,  a->best.drop, a->trial.drop, a->smallest.drop};
    for (size_t i = 0; i < ADZE_COUNT(all); i++) {
        adze_free(a->w->ctx, all[i]);
    }
}

static int search(again *a) {
    TRY(lay(a, true));
    a->nnodes = a->g->nnodes; /* with the copies that an order needs */
    a->nvals = a->g->nvals;
    TRY(prepare(a));
    TRY(list_steps(a));
    TRY(list_candidates(a));
    return a->ncand > 0 ? choose(a) : lay(a, false);
}

int adze_pass_recompute(adze_work *w) {
    if (!w->opts || w->opts->memory <= 0) {
        return ADZE_OK;
    }
    const int32_t nregions = w->g->nregions;
    TRY(lay(&(again){.w = w, .g = w->g, .nregions = nregions}, false));
    int64_t before = INT64_MAX, least = w->arena;
    for (int r = 0; r < ROUNDS && least > w->opts->memory && least < before; r++) {
        again a = {.w = w, .g = w->g, .nregions = nregions};
        const int status = search(&a);
        release(&a);
        TRY(status);
        before = least;
        least = w->arena < least ? w->arena : least;
    }
    return least <= w->opts->memory ? ADZE_OK : too_large(w, least);
}
