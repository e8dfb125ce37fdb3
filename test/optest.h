/* The test bench of the op table: makes random legal cases of every op from its record, runs small graphs around them, counts checks and tells how
 * to repeat a failure (ADZE_OP=conv ADZE_SEED=17 test_ops_grad). Nothing here names an op: what a case needs is read from the record's flags. */
#ifndef ADZE_TEST_OPTEST_H
#define ADZE_TEST_OPTEST_H

#include "adze.h"
#include "base/base.h"
#include "graph/device.h"

enum { OT_ATTRS_BYTES = 4096, OT_MAX_BINDS = 4 * ADZE_MAX_IN };

typedef struct ot { /* one test program: what it has done so far */
    const char *program;
    adze_ctx *ctx; /* portable code, one thread */
    int64_t per_op;
    int64_t ops, cases, checks, failures, op_failures;
    const char *only; /* ADZE_OP */
    const char *seed; /* ADZE_SEED */
    adze_dtype dtype; /* of every case; NONE: f64 and f32 in turn */
    void *user;
} ot;

typedef struct ot_case { /* a random legal case with data */
    const adze_op *op;
    uint64_t seed;
    adze_rng rng; /* what the test itself draws: does not disturb the case */
    adze_case c;
    union {
        max_align_t align;
        char bytes[OT_ATTRS_BYTES];
    } attrs;
    int nout;
    adze_type out[ADZE_MAX_OUT];
    double *x[ADZE_MAX_IN]; /* the inputs' elements in row-major order, exact in the input's dtype */
} ot_case;

typedef void (*ot_test)(ot *t, ot_case *c);

/* Runs `test` on at least 200 cases of every op that has samples (ADZE_CASES, ADZE_OP and ADZE_SEED change that), prints the counts and returns the
 * number of failures. before: called once for every op of the table, with no case; may be NULL. */
int64_t ot_run(const char *program, adze_dtype dtype, ot_test test, void (*before)(ot *, const adze_op *), void *user);

/* Counts a check; when it fails prints one line with the op, its attributes and shapes, the reason and how to repeat it. Returns ok. */
bool ot_check(ot *t, const ot_case *c, bool ok, const char *fmt, ...) ADZE_PRINTF(4, 5);

/* -- cases ----------------------------------------------------------------------------------------------------------------------------------- */
bool ot_case_make(ot *t, ot_case *c, const adze_op *op, uint64_t seed, adze_dtype dtype); /* false: sample and infer disagree (counted) */
void ot_case_free(ot_case *c);
adze_sig ot_case_sig(ot *t, ot_case *c);
bool ot_is_slot(const ot_case *c, int i);                                     /* this input is a store slot that the op writes */
bool ot_is_source(const adze_op *op);                                         /* a leaf or a region marker: nothing to compute, so no samples */
bool ot_differentiable(const ot_case *c, int i);                              /* a floating input that is not declared constant */
void ot_fill(adze_rng *r, adze_type type, const adze_domain *d, double *out); /* values of the domain, away from its kinks */
double ot_round_to(adze_dtype d, double v);                                   /* the nearest value that the dtype holds */

/* -- vectors ------------------------------------------------------------------------------------------------------------------------------------ */
double *ot_alloc(int64_t n);               /* zeros; never NULL */
double *ot_random(adze_rng *r, int64_t n); /* uniform in -1 .. 1 */
double ot_dot(const double *a, const double *b, int64_t n);
double ot_norm(const double *a, int64_t n);
double ot_distance(const double *a, const double *b, int64_t n); /* |a - b|2; equal infinities and NaNs have distance 0 */

/* -- small graphs ------------------------------------------------------------------------------------------------------------------------------- */
typedef struct ot_prog { /* a graph around one op, compiled and bound */
    adze_ctx *ctx;
    adze_graph *g;
    adze_plan *plan;
    adze_store *store;
    adze_session *session;
    adze_val x[ADZE_MAX_IN], y[ADZE_MAX_OUT];
} ot_prog;

void ot_prog_begin(ot_prog *p, adze_ctx *ctx);                                    /* an empty graph */
void ot_prog_inputs(ot_prog *p, const ot_case *c);                                /* inputs (or slots) x0, x1, ... of the case */
void ot_prog_op(ot_prog *p, const ot_case *c);                                    /* the op on them: y */
bool ot_prog_compile(ot_prog *p, const adze_compile_opts *o, const char *device); /* o may be NULL */
void ot_prog_free(ot_prog *p);
void ot_set(ot_prog *p, const char *name, int i, const double *v); /* input or slot "x3" */
void ot_set_case(ot_prog *p, const ot_case *c);                    /* all inputs of the case */
bool ot_prog_run(ot_prog *p);                                      /* with a fixed seed and step */
double *ot_get(ot_prog *p, const char *name, int i);               /* the output's elements; to be freed; NULL when it failed */
adze_val ot_input(ot_prog *p, const char *name, int i, adze_type type);
void ot_output(ot_prog *p, const char *name, int i, adze_val v);
void ot_text_case(const ot_case *c, char *out, size_t n); /* attributes and shapes */

/* How far two correct computations of this case may lie apart in output k: `rel` |b|, and for sums that cancel a bound from the sensitivity of the
 * output to a relative change of `ulp` of its inputs, times the root of the number of terms. */
double ot_tolerance(ot *t, ot_case *c, int k, const double *b, double rel, double ulp);
/* As near as a fast kernel must come to `want`, the reference's output k. f64: 1e-13, f32: 1e-6, bf16: 4e-3 (a rounding of 2^-9 on either side), of
 * the norm; sums that cancel have more (ot_tolerance), and so have products of bf16: 1e-6 of the same product of absolute values. */
bool ot_near(ot *t, ot_case *c, int k, double far, const double *want);
bool ot_exact(const ot_case *c, int k);    /* output k must be that of ref to the bit: integers, bools, draws that depend on nothing but the run */
double ot_depth(ot *t, ot_case *c, int k); /* terms that end in one element of output k */

#endif
