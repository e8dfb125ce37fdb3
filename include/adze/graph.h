/* Graphs of ops, their derivatives, and their compiled form: plans, run by sessions.
 *
 * A graph is static: every value has a concrete type. Builders are sticky: after the first error they do nothing and return the invalid
 * value {0}; adze_compile reports that error. Derivatives are graph to graph: they append nodes, so a gradient has a gradient. */
#ifndef ADZE_GRAPH_H
#define ADZE_GRAPH_H

#include "core.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct adze_op adze_op; /* op.h */
typedef struct adze_graph adze_graph;
typedef struct adze_plan adze_plan;
typedef struct adze_session adze_session;

typedef struct adze_val { /* one output of one node; 0 is invalid */
    int32_t id;
} adze_val;

/* -- building --------------------------------------------------------------------------------------------------------------------------- */

ADZE_API int adze_graph_new(adze_ctx *ctx, adze_graph **out);
ADZE_API void adze_graph_free(adze_graph *g);
ADZE_API int adze_graph_status(const adze_graph *g); /* the sticky error, ADZE_OK when there is none; its sentence is in the context */
ADZE_API adze_ctx *adze_graph_ctx(const adze_graph *g);
ADZE_API adze_type adze_val_type(const adze_graph *g, adze_val v); /* dtype ADZE_NONE for an invalid value */

/* The sources: an input that the caller fills before each run, and a slot of the store. */
ADZE_API adze_val adze_input(adze_graph *g, const char *name, adze_type type);
ADZE_API adze_val adze_slot(adze_graph *g, const char *slot_name, adze_type type);
/* Marks a value as a result that the caller reads under `name` after a run. */
ADZE_API int adze_output(adze_graph *g, const char *name, adze_val v);
/* UPDATE: writes `v` into the slot (same type), after every read of the slot's old value; the result is the slot's new value. */
ADZE_API adze_val adze_assign(adze_graph *g, adze_val slot, adze_val v);

/* A node of any op. attrs: the op's attribute struct (copied), or NULL for its defaults. outs: op->nout values, may be NULL; returns the first. */
ADZE_API adze_val adze_apply(adze_graph *g, const adze_op *op, const adze_val *in, int nin, const void *attrs, adze_val *outs);
ADZE_API adze_val adze_apply_name(adze_graph *g, const char *op, const adze_val *in, int nin, const void *attrs, adze_val *outs);

/* Names in messages, dumps and RANDOM streams: nodes built between push and pop carry "outer/inner". */
ADZE_API void adze_scope_push(adze_graph *g, const char *name);
ADZE_API void adze_scope_pop(adze_graph *g);
ADZE_API uint64_t adze_graph_stream(adze_graph *g); /* a fresh random stream: hash of the scope path and an ordinal within it */

/* -- regions: the only control flow -------------------------------------------------------------------------------------------------- */

/* Nodes built between begin and end form one contiguous range of steps whose trip count the host sets before a run (adze_session_trips):
 * 0..1 for a guard, 0..max for a repeat. Regions do not nest. */
ADZE_API int adze_guard_begin(adze_graph *g, const char *name);
/* Ends it: y = x + fx when the guard's trip count is 1, y = x when it is 0 (the region then costs nothing). Differentiable: the backward
 * region carries the same guard; parameters used only inside get gradient 0 when it is skipped. */
ADZE_API adze_val adze_guard_end(adze_graph *g, adze_val x, adze_val fx);

/* Repeat: iteration i sees row i of each sequence (adze_repeat_row: seq (T, ...) -> (...)), a carried value starts as `init` and is replaced
 * at the end of an iteration (adze_repeat_next), and rows of a result are collected (adze_repeat_collect: row -> (T, ...)). */
ADZE_API int adze_repeat_begin(adze_graph *g, const char *name, int64_t max_trips);
ADZE_API adze_val adze_repeat_row(adze_graph *g, adze_val seq);
ADZE_API adze_val adze_repeat_carry(adze_graph *g, adze_val init);
ADZE_API int adze_repeat_next(adze_graph *g, adze_val carry, adze_val next);
ADZE_API adze_val adze_repeat_collect(adze_graph *g, adze_val row); /* rows beyond the trip count are 0 */
ADZE_API int adze_repeat_end(adze_graph *g);                        /* a carry used after this is its last value */

/* -- derivatives ------------------------------------------------------------------------------------------------------------------------ */

enum {
    ADZE_DIFFERENTIABLE = 1 /* fused ops are taken apart (expand), so that the result can be differentiated again everywhere */
};

/* gx[i] = d(sum of y) / d x[i] for i < n; y is a scalar unless seeds are given with adze_vjp. A value that y does not depend on gets zeros. */
ADZE_API int adze_grad(adze_graph *g, adze_val y, const adze_val *x, int n, adze_val *gx, uint32_t flags);
/* Vector-Jacobian product: gx[i] = sum over j of (dy[j]/dx[i])' seed[j]. */
ADZE_API int adze_vjp(adze_graph *g, const adze_val *y, const adze_val *seed, int ny, const adze_val *x, int n, adze_val *gx, uint32_t flags);
/* Jacobian-vector product: ty[j] = sum over i of (dy[j]/dx[i]) tx[i]. */
ADZE_API int adze_jvp(adze_graph *g, const adze_val *y, int ny, const adze_val *x, const adze_val *tx, int n, adze_val *ty, uint32_t flags);
/* Hessian-vector product of scalar y: hv[i] = sum_j d2y/dx[i]dx[j] v[j]; forward over reverse, or reverse over reverse. */
enum { ADZE_HVP_FORWARD = 0, ADZE_HVP_REVERSE = 2 };
ADZE_API int adze_hvp(adze_graph *g, adze_val y, const adze_val *x, const adze_val *v, int n, adze_val *hv, uint32_t flags);

/* -- compiling --------------------------------------------------------------------------------------------------------------------------- */

typedef enum adze_pass {
    ADZE_PASS_BUILD,
    ADZE_PASS_DEAD,
    ADZE_PASS_SIMPLIFY,
    ADZE_PASS_LOWER,
    ADZE_PASS_CAST,
    ADZE_PASS_FUSE,
    ADZE_PASS_KERNEL,
    ADZE_PASS_RECOMPUTE,
    ADZE_PASS_ORDER,
    ADZE_PASS_MEMORY,
    ADZE_PASS_STEPS,
    ADZE_NPASSES
} adze_pass;
ADZE_API const char *adze_pass_name(adze_pass p); /* "build", "dead", "simplify", "lower", "cast", "fuse", "kernel", "recompute", "order", ... */

typedef struct adze_compile_opts {
    size_t size;
    const char *device;    /* "cpu" (default) or "ref" */
    adze_dtype precision;  /* ADZE_BF16: products and stored values in bf16 (cpu, f32 graphs); else as built */
    const char *conv;      /* "direct", "im2col", "winograd", "fft": convolutions' kernel where it takes the shape; NULL: by shape */
    int64_t memory;        /* bytes that the arena may have: values are computed twice so that it fits; ADZE_ENOMEM where it cannot. 0: no limit */
    bool keep_packed;      /* for inference: packed weights stay until the store's version changes */
    bool no_simplify;      /* for tests */
    bool no_reuse;         /* every value its own memory: for tests */
    bool no_group;         /* no step works on parts of the batch: for tests */
    bool poison;           /* freed memory is filled with NaN after its last use: for tests */
    uint64_t random_order; /* not 0: a random legal order of this seed: for tests */
    void (*dump)(void *user, adze_pass after, const char *text); /* called after each pass */
    void *dump_user;
} adze_compile_opts;

ADZE_API int adze_compile(adze_graph *g, const adze_compile_opts *opts, adze_plan **out); /* the graph stays as it was */
ADZE_API void adze_plan_free(adze_plan *p);

typedef struct adze_plan_info {
    int64_t nsteps;
    int64_t arena_bytes;      /* what a session allocates for values */
    int64_t live_bytes;       /* the most bytes live at once in this order: a lower bound for the arena */
    int64_t scratch_bytes;    /* per thread */
    int64_t packed_bytes;     /* weights that stay packed from run to run */
    int64_t slot_bytes;       /* store slots read or written */
    int64_t input_bytes;      /* input slots */
    int64_t recomputed_steps; /* by opts->memory: steps that compute a value once more, */
    double recomputed_flops;  /* and their part of the operations */
    double flops, bytes;      /* of one run: operations, bytes moved */
} adze_plan_info;
ADZE_API adze_plan_info adze_plan_describe(const adze_plan *p);
ADZE_API int adze_plan_dump(const adze_plan *p, char **text);   /* the steps, one a line; free with adze_text_free */
ADZE_API int adze_graph_dump(const adze_graph *g, char **text); /* the nodes, one a line */
ADZE_API int adze_graph_dot(const adze_graph *g, char **text);  /* Graphviz */
ADZE_API void adze_text_free(adze_ctx *ctx, char *text);

/* -- running ------------------------------------------------------------------------------------------------------------------------------ */

/* Binds the plan to the store's slots (adding absent ones, zeroed) under `prefix` ("" or "ema/") and allocates the arena. store may be NULL when the
 * graph has no slots. */
ADZE_API int adze_session_new(adze_ctx *ctx, const adze_plan *p, adze_store *store, const char *prefix, adze_session **out);
/* The same with its values in `arena` (u8, at least the plan's arena_bytes, filled with anything): sessions that run in turn may share one. */
ADZE_API int adze_session_new_in(adze_ctx *ctx, const adze_plan *p, adze_store *store, const char *prefix, adze_tensor arena, adze_session **out);
ADZE_API void adze_session_free(adze_session *s);
ADZE_API int adze_session_input(adze_session *s, const char *name, adze_tensor *out);  /* borrowed view to fill */
ADZE_API int adze_session_output(adze_session *s, const char *name, adze_tensor *out); /* borrowed view, valid until the next run */
ADZE_API int adze_session_trips(adze_session *s, const char *region, int64_t trips);
/* What RANDOM ops depend on: seed, step, and the index of this batch's first example within the global batch. */
ADZE_API void adze_session_random(adze_session *s, uint64_t seed, uint64_t step, int64_t first_example);
ADZE_API int adze_session_run(adze_session *s); /* allocates nothing; bits do not depend on the number of threads */
ADZE_API int adze_session_times(const adze_session *s, double *seconds, int64_t n); /* per step of the last run, when switched on */
ADZE_API void adze_session_profile(adze_session *s, bool on);
/* The first step of the last run whose output is not finite: its node's name and op (of a chain of maps: their names, and the first one's node);
 * ADZE_OK when all are. Runs the plan again without its updates. */
ADZE_API int adze_session_find_nonfinite(adze_session *s, char *name, size_t n);

/* Computes one value now, with the same kernels: for debugging and tests. Inputs are given by name. out: new tensor. */
typedef struct adze_named {
    const char *name;
    adze_tensor t;
} adze_named;
ADZE_API int adze_eval(adze_graph *g, adze_val v, const adze_named *inputs, int ninputs, adze_store *store, const char *device, adze_tensor *out);

#ifdef __cplusplus
}
#endif
#endif
