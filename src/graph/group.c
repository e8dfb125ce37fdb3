/* Groups of steps at run time: threads take units of the batch one after the other and pass each slice through all steps of the group. */
#include "plan_internal.h"

#include <stdatomic.h>

enum { SLICE_BYTES = 384 << 10, SLICE_MOST = 64 }; /* all values of a slice together: what a core's second cache holds beside the weights */

/* -- laying out ---------------------------------------------------------------------------------------------------------------------------------- */

static int64_t example_bytes(const adze_work *w, int32_t v, int64_t batch) {
    return adze_type_bytes(adze_type_of(w->g, v)) / batch;
}

/* Bytes that one example takes in all values the steps [from, to) touch example by example; each value once. */
static int64_t bytes_of_example(const adze_work *w, int32_t from, int32_t to, int64_t batch) {
    int64_t sum = 0;
    for (int32_t t = from; t < to; t++) {
        const adze_gnode *n = &w->g->nodes[w->order[t]];
        for (int k = 0; k < n->nin; k++) {
            const int32_t root = w->layout[n->in[k]].root;
            bool again = !adze_kernel_sliced(w->kernel[w->order[t]], k) || adze_type_bytes(adze_type_of(w->g, root)) % batch != 0;
            for (int32_t u = from; u <= t && !again; u++) {
                const adze_gnode *m = &w->g->nodes[w->order[u]];
                again = root >= m->first && root < m->first + m->nout; /* counted as an output */
                for (int j = 0; j < m->nin && !again; j++) {
                    again = (u < t || j < k) && w->layout[m->in[j]].root == root && adze_kernel_sliced(w->kernel[w->order[u]], j);
                }
            }
            sum += again ? 0 : example_bytes(w, root, batch);
        }
        for (int o = 0; o < n->nout && !adze_group_sums(w, w->order[t]); o++) {
            sum += example_bytes(w, n->first + o, batch);
        }
    }
    return sum;
}

static int32_t last_reader(const adze_work *w, int32_t v, int32_t from, int32_t to) {
    int32_t last = from;
    for (int32_t t = from; t < to; t++) {
        const adze_gnode *n = &w->g->nodes[w->order[t]];
        for (int k = 0; k < n->nin; k++) {
            last = w->layout[n->in[k]].root == v ? t : last;
        }
    }
    return last;
}

typedef struct room { /* memory of a local value: alive from its step to `to` */
    int64_t at, size;
    int32_t to;
} room;

/* Offsets of the local values: each takes the lowest gap that is free from its step on. Returns the bytes of them all. */
static int64_t lay_values(const adze_work *w, int32_t from, int32_t to, int64_t batch, int64_t slice, int64_t *local_at) {
    enum { ROOMS = 128 };
    room rooms[ROOMS];
    int n = 0;
    int64_t end = 0;
    bool full = false;
    for (int32_t t = from; t < to; t++) {
        const adze_gnode *node = &w->g->nodes[w->order[t]];
        for (int o = 0; o < node->nout; o++) {
            const int32_t v = node->first + o;
            if (!w->local[v]) {
                continue;
            }
            room r = {.size = adze_round_up(slice * example_bytes(w, v, batch)), .to = last_reader(w, v, t, to)};
            int keep = 0, at = 0;
            for (int i = 0; i < n; i++) { /* sorted by offset; what nobody reads any more leaves */
                if (rooms[i].to >= t) {
                    rooms[keep++] = rooms[i];
                }
            }
            n = keep;
            full = full || n == ROOMS; /* from here on each value gets memory of its own */
            r.at = full ? end : 0;
            for (; !full && at < n && rooms[at].at < r.at + r.size; at++) {
                r.at = rooms[at].at + rooms[at].size > r.at ? rooms[at].at + rooms[at].size : r.at;
            }
            if (!full) {
                memmove(rooms + at + 1, rooms + at, sizeof *rooms * (size_t)(n - at));
                rooms[at] = r;
                n++;
            }
            local_at[v] = r.at;
            end = r.at + r.size > end ? r.at + r.size : end;
        }
    }
    return end;
}

static void lay_group(const adze_work *w, adze_pregion *r, int32_t from, int32_t to, int64_t *local_at) {
    const adze_gnode *n = &w->g->nodes[w->order[from]];
    bool sums = false;
    int k = 0;
    while (!adze_kernel_sliced(w->kernel[w->order[from]], k)) {
        k++;
    }
    r->batch = w->layout[n->in[k]].view.dims[0];
    for (int32_t t = from; t < to; t++) {
        sums = sums || adze_group_sums(w, w->order[t]);
    }
    const int64_t bytes = bytes_of_example(w, from, to, r->batch), share = r->batch / (4 * adze_ctx_threads(w->ctx));
    int64_t most = sums ? ADZE_LEAF : share < SLICE_MOST ? share : SLICE_MOST;
    r->slice = bytes > 0 ? SLICE_BYTES / bytes : most;
    r->slice = r->slice > most ? most : r->slice;
    r->slice = r->slice < 1 ? 1 : r->slice;
    const int64_t whole = sums ? ADZE_LEAF : r->batch, parts = (whole + r->slice - 1) / r->slice;
    r->slice = (whole + parts - 1) / parts; /* slices of equal length */
    r->unit = sums ? ADZE_LEAF : r->slice;
    r->values = lay_values(w, from, to, r->batch, r->slice, local_at);
}

void adze_group_lay(const adze_work *w, adze_pregion *regions, int64_t *local_at) {
    const adze_graph *g = w->g;
    for (int32_t from = 0, to; from < w->norder; from = to) {
        const int32_t region = g->nodes[w->order[from]].region;
        for (to = from + 1; to < w->norder && g->nodes[w->order[to]].region == region; to++) {
        }
        if (g->regions[region].kind == ADZE_REGION_GROUP) {
            lay_group(w, &regions[region], from, to, local_at);
        }
    }
}

void adze_group_room(adze_plan *p) {
    for (int32_t t = 0; t < p->nsteps; t++) {
        const adze_pregion *r = &p->regions[p->steps[t].region];
        const int64_t bytes = r->values + p->steps[t].local;
        p->local_bytes = bytes > p->local_bytes ? bytes : p->local_bytes;
    }
}

/* -- running ------------------------------------------------------------------------------------------------------------------------------------- */

typedef struct group_job {
    const adze_group_env *env;
    const adze_pregion *r;
    int32_t from, to;
    int phase;          /* of the steps that prepare */
    atomic_llong next;  /* the first example that no thread has taken */
    double *step_times; /* of thread 0, by step; NULL: not measured */
} group_job;

static adze_step step_of(const adze_group_env *env, const adze_pstep *p) {
    adze_step s = {.op = p->op, .attrs = p->attrs, .nin = p->nin, .nout = p->nout, .run = env->run};
    s.in = env->views + p->view;
    s.out = s.in + p->nin;
    s.scratch = env->arena + p->scratch_offset;
    s.local = env->local;
    s.local_stride = (size_t)p->local;
    return s;
}

/* Whether the step runs: its guard is on. */
static bool on(const adze_group_env *env, const adze_pstep *p) {
    return p->guard == 0 || env->trips[p->guard] > 0;
}

static void prepare(void *arg, int ith, int nth) {
    const group_job *j = arg;
    for (int32_t t = j->from; t < j->to; t++) {
        const adze_pstep *p = &j->env->p->steps[t];
        if (j->phase < p->kernel->prepare && on(j->env, p)) {
            const adze_step s = step_of(j->env, p);
            p->kernel->run[j->phase](&s, ith, nth);
        }
    }
}

/* One step on the examples [n0, n1); leaf: where its sum goes. */
static void run_slice(const group_job *j, const adze_pstep *p, char *own, int64_t n0, int64_t n1) {
    const adze_group_env *env = j->env;
    adze_view views[ADZE_MAX_IN + ADZE_MAX_OUT];
    adze_run run = *env->run;
    adze_step s = step_of(env, p);
    for (int v = 0; v < p->nin + p->nout; v++) {
        const adze_spot *at = &env->p->spots[p->view + v];
        views[v] = env->views[p->view + v];
        if (at->place == ADZE_PLACE_LOCAL) {
            views[v].data = own + at->offset;
        } else if (at->sliced) {
            views[v].data = (char *)views[v].data + n0 * at->slice;
        }
        if (at->sliced) {
            views[v].dims[0] = n1 - n0;
        }
    }
    run.first_example += n0;
    s.in = views;
    s.out = views + p->nin;
    s.local = own + j->r->values;
    s.run = &run;
    s.partial = p->partial ? env->arena + p->partial_offset + n0 / ADZE_LEAF * p->partial : NULL;
    p->kernel->run[p->kernel->prepare](&s, 0, 1);
}

static void run_units(void *arg, int ith, int nth) {
    group_job *j = arg;
    const adze_group_env *env = j->env;
    const adze_pregion *r = j->r;
    char *own = env->local + ith * env->p->local_bytes;
    (void)nth;
    for (;;) {
        const int64_t u0 = atomic_fetch_add(&j->next, r->unit), u1 = u0 + r->unit < r->batch ? u0 + r->unit : r->batch;
        if (u0 >= r->batch) {
            return;
        }
        for (int32_t t = j->from; t < j->to; t++) {
            const adze_pstep *p = &env->p->steps[t];
            if (p->partial && on(env, p)) {
                memset(env->arena + p->partial_offset + u0 / ADZE_LEAF * p->partial, 0, (size_t)p->partial);
            }
        }
        for (int64_t n0 = u0; n0 < u1; n0 += r->slice) {
            double before = j->step_times && ith == 0 ? adze_now() : 0;
            for (int32_t t = j->from; t < j->to; t++) {
                if (!on(env, &env->p->steps[t])) {
                    continue;
                }
                run_slice(j, &env->p->steps[t], own, n0, n0 + r->slice < u1 ? n0 + r->slice : u1);
                if (j->step_times && ith == 0) {
                    const double now = adze_now();
                    j->step_times[t] += now - before;
                    before = now;
                }
            }
        }
    }
}

static void finish(void *arg, int ith, int nth) {
    const group_job *j = arg;
    for (int32_t t = j->from; t < j->to; t++) {
        const adze_pstep *p = &j->env->p->steps[t];
        if (p->partial && on(j->env, p)) {
            const adze_step s = step_of(j->env, p);
            const int64_t leaves = (j->r->batch + ADZE_LEAF - 1) / ADZE_LEAF;
            p->kernel->finish(&s, j->env->arena + p->partial_offset, (size_t)p->partial, leaves, ith, nth);
        }
    }
}

/* Thread 0's times, stretched so that they add up to the time that passed. */
static void spread_time(const group_job *j, double seconds) {
    double sum = 0;
    for (int32_t t = j->from; t < j->to; t++) {
        sum += j->step_times[t];
    }
    for (int32_t t = j->from; t < j->to; t++) {
        j->step_times[t] = sum > 0 ? j->step_times[t] * seconds / sum : seconds / (j->to - j->from);
    }
}

void adze_group_run(const adze_group_env *env, int32_t region, int32_t from, int32_t to) {
    group_job j = {.env = env, .r = &env->p->regions[region], .from = from, .to = to, .step_times = env->times};
    const double start = env->times ? adze_now() : 0;
    bool sums = false, any = false;
    int phases = 0;
    for (int32_t t = from; t < to; t++) {
        const adze_pstep *p = &env->p->steps[t];
        if (on(env, p)) {
            any = true;
            phases = p->kernel->prepare > phases ? p->kernel->prepare : phases;
            sums = sums || p->partial > 0;
        }
    }
    if (!any) {
        return;
    }
    for (j.phase = 0; j.phase < phases; j.phase++) {
        adze_pool_run(env->ctx, prepare, &j, env->threads);
    }
    atomic_init(&j.next, 0);
    adze_pool_run(env->ctx, run_units, &j, env->threads);
    if (sums) {
        adze_pool_run(env->ctx, finish, &j, env->threads);
    }
    if (env->times) {
        spread_time(&j, adze_now() - start);
    }
}
