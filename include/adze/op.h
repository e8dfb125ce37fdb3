/* What an op is: one constant record. Everything the system knows about an op is here; tests, gradient check, benchmark and documentation are made
 * from the table of these records (src/op/ops.def). docs/new-op.md adds one step by step. */
#ifndef ADZE_OP_H
#define ADZE_OP_H

#include "graph.h"

#ifdef __cplusplus
extern "C" {
#endif

#define ADZE_MAX_IN 64  /* inputs of a node */
#define ADZE_MAX_OUT 64 /* outputs of a node (split) */

/* A node seen from outside the graph: what infer fills in, and what costs, kernels and views are chosen from. */
typedef struct adze_sig {
    adze_ctx *ctx; /* for messages; NULL where nothing may fail */
    const adze_op *op;
    const char *name;  /* of the node, for messages */
    const void *attrs; /* the op's attribute struct; constant once built */
    int nin, nout;
    const adze_type *in;
    adze_type *out;
} adze_sig;

/* The arguments of the derivative rules. A value {0} in `t` means zero; leave r[i] = {0} for "no gradient" or zero. */
typedef struct adze_adj {
    adze_graph *g;
    const adze_op *op;
    const char *name;
    const void *attrs;
    int nin, nout;
    const adze_val *x; /* the node's inputs */
    const adze_val *y; /* the node's outputs (expand: NULL) */
    const adze_val *t; /* vjp: cotangents of y; jvp: tangents of x; expand: NULL */
    const bool *need;  /* vjp: which inputs need a cotangent; else NULL */
    adze_val *r;       /* vjp: cotangents of x; jvp: tangents of y; expand: the outputs, in other ops */
} adze_adj;

typedef struct adze_cost {
    double flops, read, written; /* operations; bytes */
} adze_cost;

/* -- kernels ------------------------------------------------------------------------------------------------------------------------------- */

typedef struct adze_view { /* memory as a kernel sees it; strides in elements, may be 0 or negative */
    void *data;
    adze_dtype dtype;
    int32_t rank;
    int64_t dims[ADZE_MAX_RANK], strides[ADZE_MAX_RANK];
} adze_view;

typedef struct adze_run { /* what changes from run to run */
    uint64_t seed, step;
    int64_t first_example;
} adze_run;

typedef struct adze_step adze_step;

/* What a kernel does with a block of its first output as soon as that is final: the elementwise steps that follow. The output is seen as a matrix
 * whose columns are the last axis. */
typedef struct adze_tail {
    void (*rows)(const adze_step *s, int64_t row, int64_t nrows, int64_t col, int64_t ncols);
    const adze_step *step;
} adze_tail;

struct adze_step {
    const adze_op *op;
    const void *attrs;
    int nin, nout;
    const adze_view *in, *out;
    void *scratch; /* shared by the threads, as many bytes as the kernel asked for; 64-byte aligned */
    char *local;   /* thread ith owns local + ith * local_stride */
    size_t local_stride;
    const adze_run *run;
    const adze_tail *tail; /* NULL unless the kernel says that it calls adze_tail_run */
    char *partial;         /* the sum of one leaf of the batch so far (adze_kernel.partial); NULL outside groups */
};

static inline void adze_tail_run(const adze_step *s, int64_t row, int64_t nrows, int64_t col, int64_t ncols) {
    if (s->tail) {
        s->tail->rows(s->tail->step, row, nrows, col, ncols);
    }
}

/* Thread ith of nth does its share; the bits never depend on nth. */
typedef void (*adze_kernel_fn)(const adze_step *s, int ith, int nth);

#define ADZE_MAX_PHASES 4
typedef struct adze_kernel {
    const char *op;                          /* which op it computes */
    const char *name;                        /* "im2col", "direct" */
    bool strided;                            /* takes inputs of any strides; else the plan copies them first */
    bool (*accept)(const adze_sig *);        /* NULL: always */
    size_t (*scratch)(const adze_sig *);     /* shared bytes; NULL: none */
    size_t (*local)(const adze_sig *);       /* bytes for each thread; NULL: none */
    adze_kernel_fn run[ADZE_MAX_PHASES + 1]; /* phases with a barrier between them; NULL ends */
    bool tail;                               /* calls adze_tail_run once for every block of output 0, when no later phase changes it */
    void (*rows)(const adze_step *s, int64_t row, int64_t nrows, int64_t col, int64_t ncols); /* may be another kernel's tail */

    /* How a group of steps passes over the batch, a few examples at a time, so that what lies between them never leaves the cache. A slice is the
     * same step with views of some examples (axis 0 of the sliced inputs and of the outputs), scratch and local as the whole step has them. */
    uint32_t sliced; /* bit i: input i is sliced along axis 0; 0: the kernel takes whole batches only */
    int prepare;     /* phases before this one read no sliced input (they pack weights); run[prepare] called as (0, 1) serves a slice */
    /* A sum over the batch: bytes of a leaf's part. run[prepare] then adds the slice to s->partial (all bytes 0 at first) and leaves the outputs
     * alone; finish makes the outputs from the parts of all leaves, added in ascending order; they lie stride bytes apart. */
    size_t (*partial)(const adze_sig *);
    void (*finish)(const adze_step *s, const char *partials, size_t stride, int64_t leaves, int ith, int nth);
} adze_kernel;

enum { ADZE_LEAF = 16 }; /* examples of a leaf: sums over a batch are sums of leaves */

/* -- random test cases ------------------------------------------------------------------------------------------------------------------------ */

typedef struct adze_domain { /* how a test fills one input */
    double lo, hi;           /* uniform between them; 0, 0 stands for -2, 2. Integer dtypes: lo .. hi - 1 */
    double gap;              /* stay this far from every multiple of `grid` plus `kink` ... */
    double kink, grid;       /* ... (grid 0: from the one point `kink`); gap 0: no kinks */
    bool distinct;           /* all elements differ by at least `gap` (max, sort): a shuffled grid */
    bool constant;           /* not differentiated: labels, targets that have no gradient */
} adze_domain;

typedef struct adze_case {
    adze_dtype dtype; /* the floating type under test: use it for every differentiable input */
    int nin;
    adze_type in[ADZE_MAX_IN];
    adze_domain dom[ADZE_MAX_IN];
    void *attrs;    /* the op's struct, holding defaults; sample changes it */
    bool any_dtype; /* nothing will be differentiated: draw integer dtypes too where the op takes them */
    bool awkward;   /* asked for sizes such as 0, 1, primes, one more than a vector */
} adze_case;

/* -- the record ------------------------------------------------------------------------------------------------------------------------------- */

enum {
    ADZE_OP_MAP = 1,       /* elementwise; all inputs have the output's shape */
    ADZE_OP_LINEAR = 2,    /* jointly linear in its floating inputs: jvp applies the op to the tangents */
    ADZE_OP_BILINEAR = 4,  /* linear in input 0 and in input 1 apart */
    ADZE_OP_VIEW = 8,      /* the output may be a view of input 0 */
    ADZE_OP_RANDOM = 16,   /* depends on the run's seed and step; its `stream` attribute names the stream */
    ADZE_OP_UPDATE = 32,   /* output i is written into the slot that input i reads */
    ADZE_OP_COMM = 64,     /* talks to other ranks */
    ADZE_OP_NOGRAD = 128,  /* no derivative: integers, comparisons, random numbers, updates */
    ADZE_OP_STRIDED = 256, /* ref takes inputs of any strides; its outputs are contiguous */
    ADZE_OP_REGION = 512   /* a door of a region: means nothing outside one, so it has no sample */
};

struct adze_op {
    const char *name;
    uint8_t nin_min, nin_max, nout; /* nout 0: adze_op.count_out says */
    uint32_t flags;
    const adze_field *attrs; /* NULL: none. Node attributes are hashed and compared through this table */
    size_t attrs_size;
    const char *doc;                    /* the formula, with shapes: one or two lines for the reference */
    int (*infer)(adze_sig *);           /* fills out types; EVERY legality check, with its message (adze_op_fail) */
    int (*count_out)(const adze_sig *); /* number of outputs when nout == 0 */
    void (*vjp)(adze_adj *);
    void (*jvp)(adze_adj *);                /* NULL where flags, partial or expand say how */
    void (*expand)(adze_adj *);             /* the same function in other ops that do not end in this one */
    adze_val (*partial)(adze_adj *, int i); /* MAP: d y / d x_i elementwise, {0} for zero; vjp and jvp follow from it */
    uint32_t (*inplace)(const adze_sig *);  /* bit i: output 0 may use input i's memory. MAP: NULL means every input of equal size */
    bool (*view)(const adze_sig *, const adze_view *in, adze_view *out); /* VIEW: fills out; false: these strides need a copy */
    adze_cost (*cost)(const adze_sig *);                                 /* NULL: one operation an output element, all bytes once */
    adze_kernel_fn ref;                                                  /* plain C, f32 and f64, the truth; NULL only for sources and pure views */
    size_t (*ref_scratch)(const adze_sig *);                             /* shared bytes of ref; NULL: none. ref runs on one thread (ith 0, nth 1) */
    void (*sample)(adze_rng *, adze_case *); /* random legal cases, awkward sizes included; reaches every attribute value */
};

ADZE_API int adze_op_count(void);
ADZE_API const adze_op *adze_op_at(int i);
ADZE_API const adze_op *adze_op_find(const char *name); /* NULL when unknown */

/* Sets "conv2d 'res2a/c1': the input has 64 channels, ...": op, node, sentence; returns code. */
ADZE_API int adze_op_fail(const adze_sig *s, int code, const char *fmt, ...) ADZE_PRINTF(3, 4);

#ifdef __cplusplus
}
#endif
#endif
