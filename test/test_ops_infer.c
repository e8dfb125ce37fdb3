/* Every op of the table: the record is whole and closed under derivatives, sampled cases are accepted, and mutated cases are either refused with a
 * sentence that names the op or accepted and then safe to run. */
#include "optest.h"

#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MAX_ELEMENTS = 1 << 20 };

/* Closure: what cannot be differentiated must say so. */
static void check_record(ot *t, const adze_op *op) {
    ot_case *c = calloc(1, sizeof *c);
    assert_non_null(c);
    c->op = op;
    ot_check(t, c, adze_op_find(op->name) == op, "the table finds another record of this name");
    ot_check(t, c, op->doc && op->doc[0], "the record has no doc");
    ot_check(t, c, op->infer != NULL, "the record has no infer");
    ot_check(t, c, op->nin_min <= op->nin_max && op->nin_max <= ADZE_MAX_IN && op->nout <= ADZE_MAX_OUT, "input or output counts are out of range");
    ot_check(t, c, op->nout > 0 || op->count_out, "nothing says how many outputs there are");
    ot_check(t, c, (op->attrs == NULL) == (op->attrs_size == 0), "attribute table and size do not belong together");
    for (const adze_field *f = op->attrs; f && f->name; f++) {
        ot_check(t, c, f->help && f->help[0], "the attribute %s has no help", f->name);
    }
    bool map_ok = !(op->flags & ADZE_OP_MAP) || op->nout == 1;
    ot_check(t, c, map_ok, "a map has one output");
    ot_check(t, c, !op->partial || (op->flags & ADZE_OP_MAP), "only maps have partial");
    ot_check(t, c, !(op->flags & ADZE_OP_UPDATE) || (op->flags & ADZE_OP_NOGRAD), "an update has no derivative and must say so");
    if (!ot_is_source(op)) {
        bool back = op->vjp || op->partial || op->expand || (op->flags & ADZE_OP_NOGRAD);
        bool forward = op->jvp || op->partial || op->expand || (op->flags & (ADZE_OP_NOGRAD | ADZE_OP_LINEAR | ADZE_OP_BILINEAR));
        ot_check(t, c, back, "no vjp, partial or expand, and no NOGRAD");
        ot_check(t, c, forward, "no jvp, partial, expand, LINEAR or BILINEAR, and no NOGRAD");
        ot_check(t, c, op->ref || (op->flags & ADZE_OP_VIEW), "no reference kernel");
        ot_check(t, c, !(op->flags & ADZE_OP_VIEW) || op->view, "a view without its rule");
    }
    free(c);
}

/* -- mutations: each changes one thing and returns its name, or NULL when it does not apply -- */

static const char *mutate_rank(adze_rng *r, ot_case *c) {
    adze_type *x = &c->c.in[adze_rng_below(r, (uint64_t)c->c.nin)];
    if (x->rank == 0 || (x->rank < ADZE_MAX_RANK && adze_rng_below(r, 2))) {
        x->dims[x->rank++] = 1 + (int64_t)adze_rng_below(r, 3);
        return "a rank too high";
    }
    x->rank--;
    return "a rank too low";
}

static const char *mutate_dtype(adze_rng *r, ot_case *c) {
    adze_type *x = &c->c.in[adze_rng_below(r, (uint64_t)c->c.nin)];
    adze_dtype old = x->dtype;
    while (x->dtype == old) {
        x->dtype = (adze_dtype)adze_rng_range(r, ADZE_NONE, ADZE_NDTYPES - 1);
    }
    return "another dtype";
}

static const char *mutate_dim(adze_rng *r, ot_case *c) {
    adze_type *x = &c->c.in[adze_rng_below(r, (uint64_t)c->c.nin)];
    if (x->rank == 0) {
        return NULL;
    }
    int64_t *d = &x->dims[adze_rng_below(r, (uint64_t)x->rank)];
    static const int64_t wild[] = {0, -1, INT64_MAX, INT64_MIN, (int64_t)1 << 33};
    int pick = (int)adze_rng_below(r, 12);
    *d = pick < 5 ? wild[pick] : *d + (adze_rng_below(r, 2) || *d == 0 ? 1 : -1);
    return "a dim off";
}

static const char *mutate_count(adze_rng *r, ot_case *c) {
    if (adze_rng_below(r, 2) && c->c.nin < ADZE_MAX_IN) {
        c->c.in[c->c.nin] = c->c.in[0];
        c->c.nin++;
        return "an input too many";
    }
    c->c.nin--;
    return "an input too few";
}

static const char *mutate_attr(adze_rng *r, ot_case *c) {
    static const int64_t wild[] = {-1, 0, 1, 2, 5, 63, 1000, (int64_t)1 << 40, INT64_MIN, INT64_MAX};
    static const double wild_f[] = {-1, 0, 1, 2, -1e300, 1e300, (double)INFINITY, (double)NAN};
    int64_t some = wild[adze_rng_below(r, ADZE_COUNT(wild))];
    double some_f = wild_f[adze_rng_below(r, ADZE_COUNT(wild_f))];
    uint64_t n = 0;
    for (const adze_field *f = c->op->attrs; f && f->name; f++) {
        n++;
    }
    if (n == 0) {
        return NULL;
    }
    const adze_field *f = &c->op->attrs[adze_rng_below(r, n)];
    char *at = c->attrs.bytes + f->offset;
    if (f->kind == ADZE_F_I64 || f->kind == ADZE_F_U64) {
        memcpy(at, &some, sizeof some);
    } else if (f->kind == ADZE_F_F64) {
        memcpy(at, &some_f, sizeof some_f);
    } else if (f->kind == ADZE_F_ENUM) {
        int32_t v = (int32_t)some;
        memcpy(at, &v, sizeof v);
    } else if (f->kind == ADZE_F_INTS) {
        adze_ints list;
        memcpy(&list, at, sizeof list);
        if (adze_rng_below(r, 2)) {
            list.n = adze_rng_range(r, 0, 8);
        }
        list.v[adze_rng_below(r, 8)] = some;
        if (list.n > 0) {
            list.v[adze_rng_below(r, (uint64_t)list.n)] = adze_rng_below(r, 2) ? some : adze_rng_range(r, -2, 9);
        }
        memcpy(at, &list, sizeof list);
    } else {
        return NULL;
    }
    return "another attribute";
}

static bool small_enough(const adze_graph *g, const ot_prog *p, const ot_case *c) {
    for (int i = 0; i < c->c.nin; i++) {
        int64_t n = adze_type_count(&c->c.in[i]);
        if (n < 0 || n > MAX_ELEMENTS) {
            return false;
        }
    }
    adze_type y = adze_val_type(g, p->y[0]);
    int64_t n = adze_type_count(&y);
    return n >= 0 && n <= MAX_ELEMENTS;
}

/* What infer took must run on both devices, whatever the data: no crash, and ADZE_OK or a sentence. */
static void run_accepted(ot *t, ot_case *c, ot_prog *p, const char *what) {
    static const char *const devices[] = {"ref", "cpu"};
    ot_output(p, "y", 0, p->y[0]);
    for (int d = 0; d < 2; d++) {
        adze_err_clear(p->ctx);
        if (d == 1) {
            adze_session_free(p->session);
            adze_plan_free(p->plan);
            adze_store_free(p->store);
            p->session = NULL;
            p->plan = NULL;
            p->store = NULL;
        }
        bool ok = ot_prog_compile(p, NULL, devices[d]);
        if (ok) {
            for (int i = 0; i < c->c.nin; i++) {
                double *x = ot_alloc(adze_type_count(&c->c.in[i]));
                ot_fill(&c->rng, c->c.in[i], &c->c.dom[i], x);
                ot_set(p, "x", i, x);
                free(x);
            }
            ok = ot_prog_run(p);
        }
        int code = adze_errcode(p->ctx);
        ot_check(t, c, ok || code == ADZE_ENOMEM || code == ADZE_ENOSUP, "%s: accepted, but on %s: %s", what, devices[d], adze_errmsg(p->ctx));
    }
}

static void mutate(ot *t, ot_case *c, int kind) {
    static const char *(*const kinds[])(adze_rng *, ot_case *) = {mutate_rank, mutate_dtype, mutate_dim, mutate_count, mutate_attr};
    adze_case saved = c->c;
    char attrs[OT_ATTRS_BYTES];
    memcpy(attrs, c->attrs.bytes, sizeof attrs);
    const char *what = c->c.nin > 0 || kind == 4 ? kinds[kind](&c->rng, c) : NULL;
    if (what && c->c.nin >= 0) {
        ot_prog p;
        ot_prog_begin(&p, t->ctx);
        ot_prog_inputs(&p, c);
        bool sources_ok = adze_graph_status(p.g) == ADZE_OK; /* the input node itself may refuse a type */
        ot_prog_op(&p, c);
        int status = adze_graph_status(p.g);
        if (sources_ok && status != ADZE_OK) {
            const char *m = adze_errmsg(t->ctx);
            ot_check(t, c, strstr(m, c->op->name) != NULL, "%s: the message does not name the op: '%s'", what, m);
            ot_check(t, c, status == ADZE_ESHAPE || status == ADZE_ETYPE || status == ADZE_EARG || status == ADZE_ENOSUP || status == ADZE_ENOMEM,
                     "%s: refused with %s: '%s'", what, adze_status_name(status), m);
            ot_check(t, c, p.y[0].id == 0, "%s: refused, but a value came back", what);
        } else if (sources_ok) {
            adze_type y = adze_val_type(p.g, p.y[0]);
            ot_check(t, c, adze_type_count(&y) >= 0, "%s: accepted with an output that cannot be counted", what);
            if (small_enough(p.g, &p, c)) {
                run_accepted(t, c, &p, what);
            }
        } else {
            ot_check(t, c, adze_errmsg(t->ctx)[0] != 0, "%s: refused without a message", what);
        }
        ot_prog_free(&p);
    }
    c->c = saved;
    memcpy(c->attrs.bytes, attrs, sizeof attrs);
}

static void check_case(ot *t, ot_case *c) {
    for (int k = 0; k < c->nout; k++) {
        ot_check(t, c, c->out[k].dtype != ADZE_NONE && adze_type_count(&c->out[k]) >= 0, "output %d has no proper type", k);
    }
    if (c->op->cost) {
        adze_sig s = ot_case_sig(t, c);
        adze_cost cost = c->op->cost(&s);
        ot_check(t, c, cost.flops >= 0 && cost.read >= 0 && cost.written >= 0 && cost.flops < 1e15, "the cost is not a sensible number");
    }
    for (int kind = 0; kind < 5; kind++) {
        mutate(t, c, kind);
    }
}

static void every_op_accepts_legal_cases_and_survives_mutated_ones(void **state) {
    (void)state;
    assert_int_equal(ot_run("test_ops_infer", ADZE_NONE, check_case, check_record, NULL), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_op_accepts_legal_cases_and_survives_mutated_ones)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
