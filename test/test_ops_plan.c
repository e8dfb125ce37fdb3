/* Every op of the table inside a plan: views as inputs (transposed, sliced, flipped, broadcast) give the bits of contiguous copies, and memory reuse,
 * work in place, poisoned memory and another order of steps give the bits of a plan without them. */
#include "optest.h"

#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static bool same_bits(const double *a, const double *b, int64_t n) {
    return a && b && memcmp(a, b, (size_t)n * sizeof *a) == 0;
}

/* -- views ------------------------------------------------------------------------------------------------------------------------------------- */

typedef enum { VIEW_NONE, VIEW_TRANSPOSE, VIEW_SLICE, VIEW_FLIP, VIEW_BROADCAST, VIEW_KINDS } view_kind;

typedef struct view { /* how `type` is seen in a tensor of type `stored` */
    view_kind kind;
    adze_type type, stored;
    int perm[ADZE_MAX_RANK], axes[ADZE_MAX_RANK], naxes;
    int64_t from[ADZE_MAX_RANK], step[ADZE_MAX_RANK];
} view;

static view view_make(adze_rng *r, adze_type type, view_kind kind) {
    view v = {.kind = type.rank > 0 ? kind : VIEW_NONE, .type = type, .stored = type};
    int64_t order[ADZE_MAX_RANK];
    for (int k = 0; k < type.rank; k++) {
        order[k] = k;
    }
    adze_rng_permute(r, order, type.rank);
    int axis = type.rank > 0 ? (int)adze_rng_below(r, (uint64_t)type.rank) : 0;
    for (int k = 0; k < type.rank; k++) {
        v.perm[k] = (int)order[k];
        v.from[k] = (int64_t)adze_rng_below(r, 3);
        v.step[k] = adze_rng_range(r, 1, 3);
        if (v.kind == VIEW_TRANSPOSE) {
            v.stored.dims[v.perm[k]] = type.dims[k];
        } else if (v.kind == VIEW_SLICE) {
            v.stored.dims[k] = v.from[k] + (type.dims[k] > 0 ? (type.dims[k] - 1) * v.step[k] + 1 : 0) + (int64_t)adze_rng_below(r, 3);
        } else if (v.kind == VIEW_FLIP && (k == axis || adze_rng_below(r, 2))) {
            v.axes[v.naxes++] = k;
        } else if (v.kind == VIEW_BROADCAST && k == axis) {
            v.stored.dims[k] = 1;
        }
    }
    return v;
}

/* The place in the stored tensor of element `flat` of the view. */
static int64_t view_place(const view *v, int64_t flat) {
    int64_t at[ADZE_MAX_RANK] = {0}, to[ADZE_MAX_RANK] = {0}, place = 0;
    for (int k = v->type.rank - 1; k >= 0; k--) {
        at[k] = flat % v->type.dims[k];
        flat /= v->type.dims[k];
    }
    memcpy(to, at, sizeof to);
    for (int k = 0; k < v->type.rank; k++) {
        if (v->kind == VIEW_TRANSPOSE) {
            to[v->perm[k]] = at[k];
        } else if (v->kind == VIEW_SLICE) {
            to[k] = v->from[k] + at[k] * v->step[k];
        } else if (v->kind == VIEW_BROADCAST && v->stored.dims[k] == 1) {
            to[k] = 0;
        }
    }
    for (int j = 0; j < v->naxes; j++) {
        to[v->axes[j]] = v->type.dims[v->axes[j]] - 1 - at[v->axes[j]];
    }
    for (int k = 0; k < v->type.rank; k++) {
        place = place * v->stored.dims[k] + to[k];
    }
    return place;
}

/* Stores x so that the view shows it; what the view does not show is NaN. A broadcast makes x constant along its axis. */
static double *view_store(const view *v, double *x) {
    int64_t n = adze_type_count(&v->type), m = adze_type_count(&v->stored);
    double *stored = ot_alloc(m);
    for (int64_t i = 0; i < m && adze_dtype_is_float(v->type.dtype); i++) {
        stored[i] = (double)NAN;
    }
    for (int64_t i = 0; i < n; i++) {
        stored[view_place(v, i)] = x[i];
    }
    for (int64_t i = 0; i < n; i++) {
        x[i] = stored[view_place(v, i)];
    }
    return stored;
}

static adze_val view_build(adze_graph *g, const view *v, adze_val stored) {
    int64_t to[ADZE_MAX_RANK] = {0};
    for (int k = 0; k < v->type.rank; k++) {
        to[k] = v->from[k] + (v->type.dims[k] > 0 ? (v->type.dims[k] - 1) * v->step[k] + 1 : 0);
    }
    switch (v->kind) {
    case VIEW_TRANSPOSE:
        return adze_transpose(g, stored, v->perm, v->type.rank);
    case VIEW_SLICE:
        return adze_slice(g, stored, v->from, to, v->step);
    case VIEW_FLIP:
        return adze_flip(g, stored, v->axes, v->naxes);
    case VIEW_BROADCAST:
        return adze_broadcast(g, stored, v->type.dims, v->type.rank);
    default:
        return stored;
    }
}

static void outputs(ot_prog *p, const ot_case *c) {
    for (int k = 0; k < c->nout; k++) {
        ot_output(p, "y", k, p->y[k]);
    }
}

static void check_views(ot *t, ot_case *c, adze_ctx *ctx, const char *device) {
    ot_prog seen, plain;
    double *stored[ADZE_MAX_IN] = {0};
    char kinds[ADZE_MAX_IN * 2 + 1] = "";
    ot_prog_begin(&seen, ctx);
    for (int i = 0; i < c->c.nin; i++) {
        view_kind kind = ot_is_slot(c, i) ? VIEW_NONE : (view_kind)adze_rng_below(&c->rng, VIEW_KINDS);
        view a = view_make(&c->rng, c->c.in[i], kind);
        view b = view_make(&c->rng, a.stored, ot_is_slot(c, i) ? VIEW_NONE : (view_kind)adze_rng_below(&c->rng, VIEW_BROADCAST));
        double *first = view_store(&a, c->x[i]);
        stored[i] = view_store(&b, first);
        free(first);
        kinds[2 * i] = "ctsfb"[a.kind];
        kinds[2 * i + 1] = "ctsfb"[b.kind];
        char name[32];
        snprintf(name, sizeof name, "x%d", i);
        seen.x[i] = ot_is_slot(c, i) ? adze_slot(seen.g, name, c->c.in[i])
                                     : view_build(seen.g, &a, view_build(seen.g, &b, adze_input(seen.g, name, b.stored)));
    }
    ot_prog_op(&seen, c);
    outputs(&seen, c);
    ot_prog_begin(&plain, ctx);
    ot_prog_inputs(&plain, c);
    ot_prog_op(&plain, c);
    outputs(&plain, c);
    bool ok = ot_prog_compile(&seen, NULL, device) && ot_prog_compile(&plain, NULL, device);
    if (ot_check(t, c, ok, "views %s on %s do not compile: %s", kinds, device, adze_errmsg(ctx))) {
        ot_set_case(&plain, c);
        for (int i = 0; i < c->c.nin; i++) {
            ot_set(&seen, "x", i, stored[i]);
        }
        ok = ot_prog_run(&seen) && ot_prog_run(&plain);
        ot_check(t, c, ok, "views %s on %s do not run: %s", kinds, device, adze_errmsg(ctx));
        for (int k = 0; ok && k < c->nout; k++) {
            double *a = ot_get(&seen, "y", k), *b = ot_get(&plain, "y", k);
            ot_check(t, c, same_bits(a, b, adze_type_count(&c->out[k])), "views %s on %s change the bits of output %d", kinds, device, k);
            free(a);
            free(b);
        }
    }
    ot_prog_free(&seen);
    ot_prog_free(&plain);
    for (int i = 0; i < c->c.nin; i++) {
        free(stored[i]);
    }
}

/* -- memory -------------------------------------------------------------------------------------------------------------------------------------- */

/* The same values as x, but in memory that dies at the op: + 0 for numbers (a run-time 0, so that nothing folds it), or false for bools. */
static adze_val pass(ot_prog *p, adze_val x, const char *name, int i) {
    adze_type type = adze_val_type(p->g, x);
    if (type.dtype == ADZE_BOOL) {
        return adze_or(p->g, x, ot_input(p, name, i, type));
    }
    bool sums = type.dtype == ADZE_F64 || type.dtype == ADZE_F32 || type.dtype == ADZE_I64 || type.dtype == ADZE_I32;
    return sums ? adze_add(p->g, x, ot_input(p, name, i, type)) : x;
}

/* results: y, and for half of the cases the gradients, so that inputs stay alive. Returns how many. */
static int build_chain(ot_prog *p, ot_case *c, adze_ctx *ctx, int64_t counts[2 * ADZE_MAX_IN + ADZE_MAX_OUT]) {
    adze_val x[ADZE_MAX_IN], y[ADZE_MAX_OUT], u[ADZE_MAX_OUT], gx[ADZE_MAX_IN];
    int n = 0, m = 0, results = 0;
    ot_prog_begin(p, ctx);
    ot_prog_inputs(p, c);
    for (int i = 0; i < c->c.nin; i++) {
        p->x[i] = ot_is_slot(c, i) ? p->x[i] : pass(p, p->x[i], "zx", i);
        if (ot_differentiable(c, i)) {
            x[n++] = p->x[i];
        }
    }
    ot_prog_op(p, c);
    for (int k = 0; k < c->nout; k++) {
        if (c->out[k].dtype == c->c.dtype) {
            y[m] = p->y[k];
            u[m++] = ot_input(p, "u", k, c->out[k]);
        }
        counts[results] = adze_type_count(&c->out[k]);
        ot_output(p, "o", results++, pass(p, p->y[k], "zy", k));
    }
    if (c->seed % 2 && n > 0 && m > 0 && !(c->op->flags & ADZE_OP_UPDATE)) {
        (void)adze_vjp(p->g, y, u, m, x, n, gx, 0);
        for (int i = 0; i < n; i++) {
            adze_type type = adze_val_type(p->g, gx[i]);
            counts[results] = adze_type_count(&type);
            ot_output(p, "o", results++, gx[i]);
        }
    }
    return results;
}

static bool run_chain(ot_prog *p, ot_case *c, double *const *u) {
    ot_set_case(p, c);
    for (int k = 0; k < c->nout; k++) {
        ot_set(p, "u", k, u[k]);
    }
    return ot_prog_run(p);
}

static void check_memory(ot *t, ot_case *c, adze_ctx *ctx, const char *device) {
    const adze_compile_opts safe = {.no_reuse = true};
    const adze_compile_opts others[] = {{.poison = false}, {.poison = true}, {.random_order = c->seed + 1, .poison = true}, {.no_simplify = true}};
    static const char *const what[] = {"reuse of memory", "poisoned memory", "another order", "no simplification"};
    int64_t counts[2 * ADZE_MAX_IN + ADZE_MAX_OUT];
    double *want[2 * ADZE_MAX_IN + ADZE_MAX_OUT] = {0}, *u[ADZE_MAX_OUT] = {0};
    for (int k = 0; k < c->nout; k++) {
        u[k] = ot_random(&c->rng, adze_type_count(&c->out[k]));
    }
    ot_prog p;
    int n = build_chain(&p, c, ctx, counts);
    bool ok = ot_prog_compile(&p, &safe, device) && run_chain(&p, c, u);
    ot_check(t, c, ok, "the plan without reuse on %s fails: %s", device, adze_errmsg(ctx));
    for (int i = 0; ok && i < n; i++) {
        want[i] = ot_get(&p, "o", i);
    }
    ot_prog_free(&p);
    int variant = (int)(c->seed / 2 % 4); /* the plain plan always, one of the others in turn */
    for (int v = 0; ok && v < 4; v++) {
        if (v != 0 && v != variant) {
            continue;
        }
        (void)build_chain(&p, c, ctx, counts);
        bool ran = ot_prog_compile(&p, &others[v], device) && run_chain(&p, c, u);
        ot_check(t, c, ran, "%s on %s: %s", what[v], device, adze_errmsg(ctx));
        for (int i = 0; ran && i < n; i++) {
            double *got = ot_get(&p, "o", i);
            ot_check(t, c, same_bits(got, want[i], counts[i]), "%s on %s changes the bits of result %d", what[v], device, i);
            free(got);
        }
        ot_prog_free(&p);
    }
    for (int i = 0; i < n; i++) {
        free(want[i]);
    }
    for (int k = 0; k < c->nout; k++) {
        free(u[k]);
    }
}

static void check_case(ot *t, ot_case *c) {
    adze_ctx *best = t->user;
    bool cpu = c->seed % 4 >= 2;
    check_memory(t, c, cpu ? best : t->ctx, cpu ? "cpu" : "ref");
    check_views(t, c, cpu ? t->ctx : best, cpu ? "ref" : "cpu"); /* last: a broadcast view changes the case's data */
}

static void views_and_memory_reuse_never_change_a_bit(void **state) {
    (void)state;
    adze_ctx_opts opts = {.size = sizeof opts, .threads = 1, .isa = adze_isa_name(adze_isa_best()), .mem_limit = (size_t)1 << 30};
    adze_ctx *best = NULL;
    assert_int_equal(adze_ctx_new(&opts, &best), ADZE_OK);
    int64_t failures = ot_run("test_ops_plan", ADZE_NONE, check_case, NULL, best);
    adze_ctx_free(best);
    assert_int_equal(failures, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(views_and_memory_reuse_never_change_a_bit)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
