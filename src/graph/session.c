/* Sessions: a plan bound to a store and to memory of its own. Running one allocates nothing and looks nothing up. */
#include "plan_internal.h"

#include "op/chain.h"

#include <math.h>
#include <stdio.h>

struct adze_session {
    adze_ctx *ctx;
    const adze_plan *p;
    adze_store *store;
    uint64_t generation, version;             /* of the store: when bound, and when the packed weights were made */
    adze_tensor arena, inputs, local, packed; /* u8 */
    adze_tensor *slots;                       /* borrowed */
    adze_view *views;                         /* the plan's, with addresses */
    int64_t *trips;                           /* by region */
    double *times;                            /* by step, of the last run; NULL until switched on */
    bool profile, is_packed, updates;         /* updates: the plan writes slots */
    bool lent;                                /* the arena: others may write to it between two runs */
    int threads;
    adze_run run;
};

/* -- binding ------------------------------------------------------------------------------------------------------------------------------------- */

static int bind_slots(adze_session *s, const char *prefix) {
    const adze_plan *p = s->p;
    char name[2 * ADZE_NAME_MAX];
    if (p->nslots > 0 && !s->store) {
        return adze_fail(s->ctx, ADZE_EARG, "the plan reads the slot '%s', but the session has no store", p->slots[0].name);
    }
    for (int pass = 0; pass < 2; pass++) { /* slots that are added together lie together */
        for (int32_t i = 0; i < p->nslots; i++) {
            int slot = -1;
            int n = snprintf(name, sizeof name, "%s%s", prefix ? prefix : "", p->slots[i].name);
            if (n < 0 || n >= (int)sizeof name) {
                return adze_fail(s->ctx, ADZE_EARG, "the slot name '%s%s' is too long", prefix, p->slots[i].name);
            }
            if (pass == 0) {
                TRY(adze_store_add(s->store, name, p->slots[i].type, 0, &slot));
            } else {
                TRY(adze_store_tensor(s->store, adze_store_find(s->store, name), &s->slots[i]));
            }
        }
    }
    s->generation = s->store ? adze_store_generation(s->store) : 0;
    return ADZE_OK;
}

static const adze_tensor *memory_of(const adze_session *s, const adze_spot *at) {
    switch (at->place) {
    case ADZE_PLACE_INPUT:
        return &s->inputs;
    case ADZE_PLACE_CONST:
        return &s->p->constants;
    case ADZE_PLACE_SLOT:
        return &s->slots[at->slot];
    default:
        return &s->arena;
    }
}

static int new_bytes(adze_ctx *ctx, int64_t bytes, adze_tensor *out) {
    int64_t n = bytes > 0 ? bytes : ADZE_ALIGN;
    return adze_tensor_new(ctx, adze_type_make(ADZE_U8, 1, &n), out);
}

/* Sets the flag of a guard too, which the maps that leave it read. */
static void set_trips(adze_session *s, int32_t region, int64_t trips) {
    const adze_pregion *r = &s->p->regions[region];
    char name[ADZE_NAME_MAX];
    s->trips[region] = trips;
    adze_guard_flag_name(r->name, name, sizeof name);
    for (int32_t i = 0; r->kind == ADZE_REGION_GUARD && i < s->p->ninputs; i++) {
        if (strcmp(s->p->inputs[i].name, name) == 0) {
            *((bool *)adze_tensor_data(&s->inputs) + s->p->inputs[i].at.offset) = trips > 0;
        }
    }
}

static int bind(adze_session *s, const char *prefix) {
    const adze_plan *p = s->p;
    s->slots = adze_alloc(s->ctx, p->nslots, sizeof *s->slots);
    s->views = adze_alloc(s->ctx, p->nviews, sizeof *s->views);
    s->trips = adze_alloc(s->ctx, p->nregions, sizeof *s->trips);
    TRY(ADZE_GOT(s->slots && s->views && s->trips));
    TRY(bind_slots(s, prefix));
    const bool own = s->arena.dtype == ADZE_NONE;
    TRY(adze_memory_check(s->ctx, (own ? p->arena_bytes : 0) + p->input_bytes + p->local_bytes * s->threads + p->packed_bytes));
    if (own) {
        TRY(new_bytes(s->ctx, p->arena_bytes, &s->arena));
    }
    TRY(new_bytes(s->ctx, p->input_bytes, &s->inputs));
    TRY(new_bytes(s->ctx, p->local_bytes * s->threads, &s->local));
    TRY(new_bytes(s->ctx, p->packed_bytes, &s->packed));
    for (int32_t t = 0; t < p->nsteps; t++) {
        s->updates = s->updates || p->steps[t].update;
    }
    for (int32_t i = 0; i < p->nviews; i++) {
        s->views[i] = p->views[i];
        if (p->spots[i].place == ADZE_PLACE_LOCAL) {
            continue; /* each slice has its address */
        }
        s->views[i].data = (char *)adze_tensor_data(memory_of(s, &p->spots[i])) + p->spots[i].offset;
    }
    for (int32_t r = 0; r < p->nregions; r++) {
        set_trips(s, r, p->regions[r].max_trips);
    }
    return ADZE_OK;
}

int adze_session_new(adze_ctx *ctx, const adze_plan *p, adze_store *store, const char *prefix, adze_session **out) {
    return adze_session_new_in(ctx, p, store, prefix, (adze_tensor){0}, out);
}

int adze_session_new_in(adze_ctx *ctx, const adze_plan *p, adze_store *store, const char *prefix, adze_tensor arena, adze_session **out) {
    *out = NULL;
    const adze_type have = adze_tensor_type(&arena);
    if (arena.dtype != ADZE_NONE && (arena.dtype != ADZE_U8 || adze_type_bytes(&have) < p->arena_bytes)) {
        return adze_fail(ctx, ADZE_EARG, "the arena that is given must be %lld bytes (u8) at least", (long long)p->arena_bytes);
    }
    adze_session *s = adze_alloc(ctx, 1, sizeof *s);
    TRY(ADZE_GOT(s));
    s->ctx = ctx;
    s->p = p;
    s->store = store;
    s->threads = adze_ctx_threads(ctx);
    s->lent = arena.dtype != ADZE_NONE;
    s->arena = arena.dtype == ADZE_NONE ? arena : adze_tensor_ref(arena);
    int status = bind(s, prefix);
    if (status != ADZE_OK) {
        adze_session_free(s);
        return status;
    }
    *out = s;
    return ADZE_OK;
}

void adze_session_free(adze_session *s) {
    if (!s) {
        return;
    }
    adze_tensor_free(&s->arena);
    adze_tensor_free(&s->inputs);
    adze_tensor_free(&s->local);
    adze_tensor_free(&s->packed);
    adze_free(s->ctx, s->slots);
    adze_free(s->ctx, s->views);
    adze_free(s->ctx, s->trips);
    adze_free(s->ctx, s->times);
    adze_free(s->ctx, s);
}

static int find_port(const adze_session *s, const adze_port *ports, int32_t n, const char *what, const char *name, adze_tensor *out) {
    for (int32_t i = 0; i < n; i++) {
        if (strcmp(ports[i].name, name) != 0) {
            continue;
        }
        const adze_tensor *m = memory_of(s, &ports[i].at);
        adze_tensor t = {.dtype = ports[i].type.dtype, .rank = ports[i].type.rank, .buf = m->buf, .offset = m->offset + ports[i].at.offset};
        int64_t stride = 1;
        for (int d = t.rank - 1; d >= 0; d--) {
            t.dims[d] = ports[i].type.dims[d];
            t.strides[d] = stride;
            stride *= t.dims[d] > 0 ? t.dims[d] : 1;
        }
        *out = t;
        return ADZE_OK;
    }
    const char *near = n > 0 ? adze_suggest(name, ports, (size_t)n, sizeof *ports) : NULL;
    *out = (adze_tensor){0};
    return adze_fail(s->ctx, ADZE_EARG, "the plan has no %s '%s'%s%s%s", what, name, near ? "; did you mean '" : "", near ? near : "",
                     near ? "'?" : "");
}

int adze_session_input(adze_session *s, const char *name, adze_tensor *out) {
    return find_port(s, s->p->inputs, s->p->ninputs, "input", name, out);
}

int adze_session_output(adze_session *s, const char *name, adze_tensor *out) {
    return find_port(s, s->p->outputs, s->p->noutputs, "output", name, out);
}

int adze_session_trips(adze_session *s, const char *region, int64_t trips) {
    bool found = false;
    for (int32_t r = 1; r < s->p->nregions; r++) {
        const adze_pregion *p = &s->p->regions[r];
        if (strcmp(p->name, region) != 0) {
            continue;
        }
        if (trips < 0 || trips > p->max_trips) {
            return adze_fail(s->ctx, ADZE_EARG, "the region '%s' runs 0 to %lld times, not %lld", region, (long long)p->max_trips, (long long)trips);
        }
        set_trips(s, r, trips);
        found = true;
    }
    return found ? ADZE_OK : adze_fail(s->ctx, ADZE_EARG, "the plan has no region '%s'", region);
}

void adze_session_random(adze_session *s, uint64_t seed, uint64_t step, int64_t first_example) {
    s->run = (adze_run){seed, step, first_example};
}

/* -- running ------------------------------------------------------------------------------------------------------------------------------------- */

typedef struct job {
    const adze_step *step;
    adze_kernel_fn fn;
} job;

static void run_job(void *arg, int ith, int nth) {
    const job *j = arg;
    j->fn(j->step, ith, nth);
}

/* Small steps run on one thread: waking the others costs more than they save. */
static int threads_for(const adze_session *s, const adze_pstep *p) {
    const double SHARE = 65536; /* operations and bytes that are worth one thread */
    double worth = (p->flops + p->bytes) / SHARE;
    return worth < 2 ? 1 : worth > s->threads ? s->threads : (int)worth;
}

static adze_step step_of(const adze_session *s, const adze_pstep *p) {
    adze_step step = {.op = p->op, .attrs = p->attrs, .nin = p->nin, .nout = p->nout, .run = &s->run};
    step.in = s->views + p->view;
    step.out = step.in + p->nin;
    return step;
}

/* follower: the step that runs as its tail, or NULL. */
static void run_step(adze_session *s, const adze_pstep *p, const adze_pstep *follower) {
    adze_step step = step_of(s, p), next;
    adze_tail tail;
    if (follower) {
        next = step_of(s, follower);
        tail = (adze_tail){follower->kernel->rows, &next};
        step.tail = &tail;
    }
    step.scratch = (char *)adze_tensor_data(p->packed ? &s->packed : &s->arena) + p->scratch_offset;
    step.local = adze_tensor_data(&s->local);
    step.local_stride = (size_t)p->local;
    if (!p->kernel) {
        p->op->ref(&step, 0, 1);
        return;
    }
    int nth = threads_for(s, p);
    for (int i = p->packed && s->is_packed ? p->kernel->prepare : 0; i < ADZE_MAX_PHASES && p->kernel->run[i]; i++) {
        if (nth == 1) {
            p->kernel->run[i](&step, 0, 1);
        } else {
            adze_pool_run(s->ctx, run_job, &(job){&step, p->kernel->run[i]}, nth);
        }
    }
}

/* Whether the step's guard is on. */
static bool runs(const adze_session *s, const adze_pstep *p) {
    return p->guard == 0 || s->trips[p->guard] > 0;
}

/* For tests: what is dead becomes NaN. `more`: a repeat has iterations to come, which read what was there before it. */
static void poison(adze_session *s, int32_t t, int32_t begin, bool more) {
    const adze_plan *p = s->p;
    for (int32_t i = 0; i < p->steps[t].npoison; i++) {
        const adze_block *b = &p->blocks[p->poison[p->steps[t].poison + i]];
        if (!more || b->from >= begin) {
            memset((char *)adze_tensor_data(&s->arena) + b->offset, 0xFF, (size_t)b->size);
        }
    }
}

static void shift_views(adze_session *s, int32_t from, int32_t to, int64_t by) {
    const adze_pstep *a = &s->p->steps[from], *z = &s->p->steps[to - 1];
    for (int32_t v = a->view; v < z->view + z->nin + z->nout; v++) {
        s->views[v].data = (char *)s->views[v].data + by * s->p->spots[v].iter;
    }
}

/* Called after a step; not ADZE_OK ends the run. */
typedef int after_fn(adze_session *s, int32_t t, void *arg);

static int run_group(adze_session *s, int32_t region, int32_t from, int32_t to, after_fn *after, void *arg) {
    const adze_group_env env = {.ctx = s->ctx,
                                .p = s->p,
                                .views = s->views,
                                .arena = adze_tensor_data(&s->arena),
                                .local = adze_tensor_data(&s->local),
                                .run = &s->run,
                                .trips = s->trips,
                                .times = s->profile ? s->times : NULL,
                                .threads = s->threads};
    adze_group_run(&env, region, from, to);
    for (int32_t t = from; t < to; t++) {
        if (after && runs(s, &s->p->steps[t])) {
            TRY(after(s, t, arg));
        }
        if (s->p->poisoned) {
            poison(s, t, from, false);
        }
    }
    return ADZE_OK;
}

static int run_range(adze_session *s, int32_t from, int32_t to, bool updates, bool more, after_fn *after, void *arg) {
    const bool apart = after != NULL; /* tails may write over what the step before them made: who looks at every result has them run apart */
    for (int32_t t = from; t < to; t++) {
        const adze_pstep *p = &s->p->steps[t];
        double start = s->profile ? adze_now() : 0;
        const bool followed = t + 1 < to && p[1].follows;
        const bool on = runs(s, p), alone = apart || !p->follows || !runs(s, p - 1); /* a tail outlives the guard of its product */
        if (on && (updates || !p->update) && !(p->kept && s->is_packed && !s->lent) && alone) {
            run_step(s, p, followed && !apart ? p + 1 : NULL);
        }
        if (s->profile && on) {
            s->times[t] += adze_now() - start;
        }
        if (after && on) {
            TRY(after(s, t, arg));
        }
        if (s->p->poisoned) {
            poison(s, t, from, more);
        }
    }
    return ADZE_OK;
}

static int run_regions(adze_session *s, bool updates, after_fn *after, void *arg) {
    const adze_plan *p = s->p;
    for (int32_t from = 0, to; from < p->nsteps; from = to) {
        int32_t r = p->steps[from].region;
        int64_t trips = r ? s->trips[r] : 1;
        for (to = from + 1; to < p->nsteps && p->steps[to].region == r; to++) {
        }
        if (p->regions[r].kind == ADZE_REGION_GROUP) {
            TRY(run_group(s, r, from, to, after, arg));
            continue;
        }
        int status = ADZE_OK;
        int64_t i = 0;
        while (i < trips && status == ADZE_OK) {
            status = run_range(s, from, to, updates, i + 1 < trips, after, arg);
            if (++i < trips && status == ADZE_OK) {
                shift_views(s, from, to, 1);
            }
        }
        if (i > 1) {
            shift_views(s, from, to, 1 - i);
        }
        TRY(status);
    }
    return ADZE_OK;
}

static int run_all(adze_session *s, bool updates, after_fn *after, void *arg) {
    const adze_plan *p = s->p;
    if (s->store && adze_store_generation(s->store) != s->generation) {
        return adze_fail(s->ctx, ADZE_EARG, "the store changed since the session was made (a slot went or took another shape); make a new session");
    }
    const uint64_t version = s->store ? adze_store_version(s->store) : 0;
    s->is_packed = s->is_packed && s->version == version && !after; /* who looks at every result sees none that is left over */
    s->version = version;
    if (p->poisoned && !s->is_packed) {
        memset(adze_tensor_data(&s->arena), 0xFF, (size_t)p->arena_bytes);
    }
    TRY(run_regions(s, updates, after, arg));
    s->is_packed = true;
    if (s->updates && updates && s->store) {
        adze_store_touch(s->store);
    }
    return ADZE_OK;
}

int adze_session_run(adze_session *s) {
    if (s->profile) {
        memset(s->times, 0, sizeof *s->times * (size_t)s->p->nsteps);
    }
    return run_all(s, true, NULL, NULL);
}

void adze_session_profile(adze_session *s, bool on) {
    if (on && !s->times) {
        s->times = adze_alloc(s->ctx, s->p->nsteps, sizeof *s->times);
    }
    s->profile = on && s->times;
}

int adze_session_times(const adze_session *s, double *seconds, int64_t n) {
    if (!s->times || n < s->p->nsteps) {
        return adze_fail(s->ctx, ADZE_EARG, s->times ? "there are %d times, one a step" : "switch the profile of the %d steps on before a run",
                         (int)s->p->nsteps);
    }
    memcpy(seconds, s->times, sizeof *seconds * (size_t)s->p->nsteps);
    return ADZE_OK;
}

/* -- looking for what is not finite -------------------------------------------------------------------------------------------------------------- */

typedef struct finding {
    char *name;
    size_t n;
} finding;

static bool finite_tensor(const adze_tensor *t) {
    adze_type type = adze_tensor_type(t);
    int64_t n = adze_dtype_is_float(t->dtype) ? adze_type_count(&type) : 0;
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(adze_tensor_get(t, i))) {
            return false;
        }
    }
    return true;
}

static int check_step(adze_session *s, int32_t t, void *arg) {
    const finding *f = arg;
    const adze_pstep *p = &s->p->steps[t];
    for (int32_t o = p->view + p->nin; o < p->view + p->nin + p->nout; o++) {
        if (s->p->spots[o].place == ADZE_PLACE_LOCAL) {
            continue; /* gone: what is not finite shows in what was made of it */
        }
        const adze_view *v = &s->views[o];
        const adze_tensor *m = memory_of(s, &s->p->spots[o]);
        adze_tensor out = {.dtype = v->dtype, .rank = v->rank, .buf = m->buf};
        out.offset = m->offset + ((char *)v->data - (char *)adze_tensor_data(m));
        memcpy(out.dims, v->dims, sizeof out.dims);
        memcpy(out.strides, v->strides, sizeof out.strides);
        if (!finite_tensor(&out)) {
            const bool chain = p->op == &adze_op_chain; /* one of its maps: their names */
            snprintf(f->name, f->n, "%s '%s'", chain ? ((const adze_chain_attrs *)p->attrs)->text : p->op->name, p->name);
            return ADZE_ENAN;
        }
    }
    return ADZE_OK;
}

static int check_ports(adze_session *s, const adze_port *ports, int32_t n, const char *what, const finding *f) {
    for (int32_t i = 0; i < n; i++) {
        adze_tensor t;
        TRY(find_port(s, ports, n, what, ports[i].name, &t));
        if (!finite_tensor(&t)) {
            snprintf(f->name, f->n, "%s '%s'", what, ports[i].name);
            return ADZE_ENAN;
        }
    }
    return ADZE_OK;
}

int adze_session_find_nonfinite(adze_session *s, char *name, size_t n) {
    finding f = {name, n};
    if (n > 0) {
        name[0] = 0;
    }
    int status = check_ports(s, s->p->inputs, s->p->ninputs, "input", &f);
    if (status == ADZE_OK) {
        status = check_ports(s, s->p->slots, s->p->nslots, "slot", &f);
    }
    bool profile = s->profile;
    s->profile = false;
    if (status == ADZE_OK) { /* each step is looked at before its memory is used again; updates would change the store twice */
        status = run_all(s, false, check_step, &f);
    }
    s->profile = profile;
    if (status == ADZE_ENAN) {
        return adze_fail(s->ctx, ADZE_ENAN, "the result of %s is not finite", name);
    }
    return status;
}
