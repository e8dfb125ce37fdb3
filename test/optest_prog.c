/* Small graphs around one op: inputs by name, compile, run, and read the outputs as doubles. */
#include "optest.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

void ot_prog_begin(ot_prog *p, adze_ctx *ctx) {
    memset(p, 0, sizeof *p);
    p->ctx = ctx;
    adze_err_clear(ctx);
    if (adze_graph_new(ctx, &p->g) != ADZE_OK) {
        abort();
    }
}

adze_val ot_input(ot_prog *p, const char *name, int i, adze_type type) {
    char s[32];
    snprintf(s, sizeof s, "%s%d", name, i);
    return adze_input(p->g, s, type);
}

void ot_output(ot_prog *p, const char *name, int i, adze_val v) {
    char s[32];
    snprintf(s, sizeof s, "%s%d", name, i);
    (void)adze_output(p->g, s, v); /* sticky: compile tells */
}

void ot_prog_inputs(ot_prog *p, const ot_case *c) {
    for (int i = 0; i < c->c.nin; i++) {
        char s[32];
        snprintf(s, sizeof s, "x%d", i);
        p->x[i] = ot_is_slot(c, i) ? adze_slot(p->g, s, c->c.in[i]) : adze_input(p->g, s, c->c.in[i]);
    }
}

void ot_prog_op(ot_prog *p, const ot_case *c) {
    (void)adze_apply(p->g, c->op, p->x, c->c.nin, c->op->attrs ? c->attrs.bytes : NULL, p->y);
}

bool ot_prog_compile(ot_prog *p, const adze_compile_opts *o, const char *device) {
    adze_compile_opts opts = {.size = sizeof opts};
    if (o) {
        opts = *o;
    }
    opts.size = sizeof opts;
    opts.device = device;
    return adze_store_new(p->ctx, &p->store) == ADZE_OK && adze_compile(p->g, &opts, &p->plan) == ADZE_OK &&
           adze_session_new(p->ctx, p->plan, p->store, "", &p->session) == ADZE_OK;
}

void ot_prog_free(ot_prog *p) {
    adze_session_free(p->session);
    adze_plan_free(p->plan);
    adze_store_free(p->store);
    adze_graph_free(p->g);
    memset(p, 0, sizeof *p);
}

void ot_set(ot_prog *p, const char *name, int i, const double *v) {
    char s[32];
    adze_tensor x;
    snprintf(s, sizeof s, "%s%d", name, i);
    int slot = adze_store_find(p->store, s);
    int status = slot >= 0 ? adze_store_tensor(p->store, slot, &x) : adze_session_input(p->session, s, &x);
    if (status != ADZE_OK) {
        return; /* an input that the plan dropped: nothing depends on it */
    }
    adze_type type = adze_tensor_type(&x);
    int64_t n = adze_type_count(&type);
    for (int64_t k = 0; k < n; k++) {
        adze_tensor_set(&x, k, v[k]);
    }
}

void ot_set_case(ot_prog *p, const ot_case *c) {
    for (int i = 0; i < c->c.nin; i++) {
        ot_set(p, "x", i, c->x[i]);
    }
}

bool ot_prog_run(ot_prog *p) {
    adze_session_random(p->session, 20240229, 7, 3);
    return adze_session_run(p->session) == ADZE_OK;
}

double *ot_get(ot_prog *p, const char *name, int i) {
    char s[32];
    adze_tensor y;
    snprintf(s, sizeof s, "%s%d", name, i);
    if (adze_session_output(p->session, s, &y) != ADZE_OK) {
        return NULL;
    }
    adze_type type = adze_tensor_type(&y);
    int64_t n = adze_type_count(&type);
    double *out = ot_alloc(n);
    for (int64_t k = 0; k < n; k++) {
        out[k] = adze_tensor_get(&y, k);
    }
    return out;
}

bool ot_exact(const ot_case *c, int k) {
    return !adze_dtype_is_float(c->out[k].dtype) || ((c->op->flags & ADZE_OP_RANDOM) && c->c.nin == 0);
}

double ot_depth(ot *t, ot_case *c, int k) {
    int64_t in = 0, out = adze_type_count(&c->out[k]);
    for (int i = 0; i < c->c.nin; i++) {
        in += adze_type_count(&c->c.in[i]);
    }
    double work = (double)in;
    if (c->op->cost) {
        adze_sig s = ot_case_sig(t, c);
        work = fmax(work, c->op->cost(&s).flops);
    }
    return fmax(1, work / (double)(out > 0 ? out : 1));
}

/* Runs the f64 reference on inputs that are changed by a relative 2^-30 at random and returns how far output k moves. */
static double sensitivity(ot *t, ot_case *c, int k) {
    ot_case *wide = calloc(1, sizeof *wide); /* the same shapes and values in f64 */
    if (!wide || !ot_case_make(t, wide, c->op, c->seed, ADZE_F64)) {
        free(wide);
        return 0;
    }
    ot_prog p;
    ot_prog_begin(&p, t->ctx);
    ot_prog_inputs(&p, wide);
    ot_prog_op(&p, wide);
    ot_output(&p, "y", k, p.y[k]);
    double moved = 0;
    if (ot_prog_compile(&p, NULL, "ref")) {
        ot_set_case(&p, wide);
        double *before = ot_prog_run(&p) ? ot_get(&p, "y", k) : NULL;
        for (int i = 0; i < wide->c.nin; i++) {
            int64_t n = adze_type_count(&wide->c.in[i]);
            for (int64_t e = 0; e < n && adze_dtype_is_float(wide->c.in[i].dtype); e++) {
                wide->x[i][e] += ldexp(adze_rng_below(&wide->rng, 2) ? 1 : -1, -30) * wide->x[i][e];
            }
        }
        ot_set_case(&p, wide);
        double *after = ot_prog_run(&p) ? ot_get(&p, "y", k) : NULL;
        moved = before && after ? ot_distance(before, after, adze_type_count(&wide->out[k])) : 0;
        free(before);
        free(after);
    }
    ot_prog_free(&p);
    ot_case_free(wide);
    free(wide);
    return moved;
}

/* The norm of output k of a product of the absolute values of this case's inputs. */
static double magnitude(ot *t, ot_case *c, int k) {
    ot_prog p;
    double *x[ADZE_MAX_IN] = {0}, size = 0;
    ot_prog_begin(&p, t->ctx);
    ot_prog_inputs(&p, c);
    ot_prog_op(&p, c);
    ot_output(&p, "y", k, p.y[k]);
    if (ot_prog_compile(&p, NULL, "ref")) {
        for (int i = 0; i < c->c.nin; i++) {
            int64_t n = adze_type_count(&c->c.in[i]);
            x[i] = ot_alloc(n);
            for (int64_t e = 0; e < n; e++) {
                x[i][e] = fabs(c->x[i][e]);
            }
            ot_set(&p, "x", i, x[i]);
            free(x[i]);
        }
        double *y = ot_prog_run(&p) ? ot_get(&p, "y", k) : NULL;
        size = y ? ot_norm(y, adze_type_count(&c->out[k])) : 0;
        free(y);
    }
    ot_prog_free(&p);
    return size;
}

bool ot_near(ot *t, ot_case *c, int k, double far, const double *want) {
    const adze_dtype d = c->out[k].dtype;
    const double rel = d == ADZE_F64 ? 1e-13 : d == ADZE_F32 ? 1e-6 : 4e-3, size = ot_norm(want, adze_type_count(&c->out[k]));
    if (ot_exact(c, k)) {
        return far == 0;
    }
    if (far <= rel * size) {
        return true;
    }
    if (c->c.in[0].dtype == ADZE_BF16 && (c->op->flags & ADZE_OP_BILINEAR)) {
        return far <= rel * size + 1e-6 * magnitude(t, c, k);
    }
    return d != ADZE_BF16 && far <= ot_tolerance(t, c, k, want, rel, d == ADZE_F64 ? ldexp(1, -53) : ldexp(1, -24));
}

double ot_tolerance(ot *t, ot_case *c, int k, const double *b, double rel, double ulp) {
    double root = sqrt(ot_depth(t, c, k));
    return rel * ot_norm(b, adze_type_count(&c->out[k])) + 4 * root * ulp * ldexp(sensitivity(t, c, k), 30);
}
