/* Compiling, from the inside: the working copy that the passes change one after the other, and the plan that they leave behind. */
#ifndef ADZE_SRC_PLAN_INTERNAL_H
#define ADZE_SRC_PLAN_INTERNAL_H

#include "graph/device.h"
#include "graph_internal.h"

enum { ADZE_ALIGN = 64 };

/* -- the working copy --------------------------------------------------------------------------------------------------------------------------- */

typedef enum adze_node_kind { ADZE_KIND_DEAD, ADZE_KIND_INPUT, ADZE_KIND_SLOT, ADZE_KIND_CONST, ADZE_KIND_VIEW, ADZE_KIND_STEP } adze_node_kind;

typedef enum adze_kept { /* opts->keep_packed: steps that depend on slots and constants alone run only after something was written */
                         ADZE_KEPT_NOT,
                         ADZE_KEPT_PASSING, /* only others of them and what packs weights read the results, in the same run */
                         ADZE_KEPT_LASTING  /* the results lie there from run to run */
} adze_kept;

typedef struct adze_layout { /* where a value lies, once the kernel pass has decided what is a view */
    int32_t root;            /* the value that was computed; itself unless this is a view */
    adze_view view;          /* data: ADZE_VIEW_BASE + bytes into the root */
    int64_t iter;            /* bytes from one iteration of a repeat to the next */
} adze_layout;

#define ADZE_VIEW_BASE ((char *)(uintptr_t)((uintptr_t)1 << (sizeof(uintptr_t) * 8 - 3)))

typedef struct adze_block { /* memory that is planned as one: all values that share it, or a step's scratch */
    int64_t size, offset;
    int32_t from, to; /* positions in the order, both included */
    int32_t val;      /* its first value; -1: scratch of the step `from` */
} adze_block;

typedef struct adze_live { /* liveness under one order */
    adze_block *blocks;
    int32_t nblocks;
    int32_t *block_of;                       /* by value: its block, -1 for none */
    int32_t *pos, *last, *begin_of, *end_of; /* positions: of a node, of a value's last reader, of a region's first and last step */
    uint32_t *mask;                          /* by node: inputs whose memory output 0 may take over */
    int64_t *scratch, *size, *change;        /* bytes by node, by value, and from one position to the next */
    int64_t peak;                            /* most bytes live at once */
    double area;                             /* bytes alive, summed over the steps */
} adze_live;

typedef struct adze_work {
    adze_ctx *ctx;
    adze_graph *g; /* a copy; its nodes may be changed */
    const adze_compile_opts *opts;
    const adze_device *device;
    uint8_t *kind;              /* by node: adze_node_kind */
    const adze_kernel **kernel; /* by node; NULL: the op's ref */
    adze_layout *layout;        /* by value */
    int32_t *copy_of;           /* by value: a contiguous copy of it, 0 for none */
    int32_t cap_node, cap_val;
    int32_t *order; /* node ids of the steps */
    int32_t norder;
    uint8_t *local;                       /* by value: lives within a group of steps, for a few examples at a time */
    uint8_t *kept;                        /* by node: adze_kept */
    int32_t *before, nbefore, cap_before; /* pairs of node ids (reader, writer): the reader comes first */
    adze_live live;
    int64_t arena;
    bool quick; /* the order pass makes one order instead of searching */
} adze_work;

int adze_work_room(adze_work *w); /* the arrays by node and by value reach every node and value */
/* Appends a step that copies value v to contiguous memory of its own, or finds the one that there is. */
int adze_work_copy(adze_work *w, int32_t v, bool shared, int32_t *out);
/* The value whose memory output o of node n takes by force, 0 for none. */
int32_t adze_forced_input(const adze_gnode *n, int o);
bool adze_kernel_strided(const adze_work *w, int32_t node);
int64_t adze_round_up(int64_t bytes);
bool adze_view_dense(const adze_view *v);
/* Bytes of the leaves' parts of a sum over the batch in a group, 0 for any other step; leaf: bytes of one. They follow the step's scratch. */
int64_t adze_step_partials(const adze_work *w, int32_t node, int64_t *leaf);
bool adze_step_packed(const adze_work *w, int32_t node); /* opts->keep_packed: what the step prepares depends on slots and constants alone */
adze_cost adze_sig_cost(const adze_sig *s);
size_t adze_step_scratch(const adze_work *w, int32_t node);
int64_t adze_trips_of(const adze_graph *g, int32_t region);

/* After a pass has replaced values: everybody reads now[v] instead of v, and nodes take ids such that inputs come first again. */
int adze_work_replace(adze_work *w, const int32_t *now);
bool adze_work_device_is(const adze_work *w, const char *name);

int adze_pass_dead(adze_work *w);
int adze_pass_simplify(adze_work *w);
int adze_pass_lower(adze_work *w);
int adze_lower_guards(adze_work *w);                                /* pass_guard.c: called by it */
bool adze_is_zero(const adze_graph *g, adze_val v);                 /* the constant 0 in every element */
void adze_guard_flag_name(const char *region, char *out, size_t n); /* the input that says whether a guard is on */
int adze_pass_cast(adze_work *w);
int adze_pass_fuse(adze_work *w);
int adze_pass_kernel(adze_work *w);
int adze_pass_recompute(adze_work *w); /* where it has to, it runs the next two as well */
int adze_pass_group(adze_work *w);     /* called by the order pass, once what reads before what is known */
int adze_pass_tail(adze_work *w);      /* likewise, once there are groups */
int adze_find_kept(adze_work *w);      /* likewise, when the regions are final */
int adze_pass_order(adze_work *w);
int adze_pass_memory(adze_work *w);
int adze_pass_steps(adze_work *w, adze_plan *p);
int adze_plan_live(adze_work *w, const int32_t *order,
                   adze_live *out); /* who lives when; begin with a zeroed `out`, which may be used again and again */
void adze_live_free(adze_ctx *ctx, adze_live *l);

/* -- the plan ----------------------------------------------------------------------------------------------------------------------------------- */

typedef enum adze_place {
    ADZE_PLACE_ARENA,
    ADZE_PLACE_INPUT,
    ADZE_PLACE_CONST,
    ADZE_PLACE_SLOT,
    ADZE_PLACE_LOCAL /* in each thread's own memory, a slice of the batch at a time */
} adze_place;

typedef struct adze_spot {
    adze_place place;
    int32_t slot;   /* ADZE_PLACE_SLOT: index into the plan's slots */
    int64_t offset; /* bytes */
    int64_t iter;   /* bytes from one iteration to the next */
    int64_t slice;  /* bytes from one example to the next, where a group takes the value apart */
    bool sliced;
} adze_spot;

typedef struct adze_pstep {
    const adze_op *op;
    const adze_kernel *kernel; /* NULL: op->ref on one thread */
    const char *name;
    const void *attrs;
    int32_t nin, nout;
    int32_t view;          /* its inputs' views, then its outputs', start here */
    int32_t region, guard; /* guard: of a region whose trips say whether the step runs; 0: none */
    int64_t scratch_offset, scratch, local;
    int64_t partial_offset, partial; /* sums over the batch in a group: where the leaves' parts lie, bytes of each; 0: none */
    double flops, bytes;
    bool kept;               /* runs only after slots were written */
    bool packed;             /* scratch lies in the session's packed memory and lives from run to run */
    int32_t poison, npoison; /* opts->poison: blocks that die here */
    bool update;
    bool follows; /* it runs as the tail of the step before it */
} adze_pstep;

typedef struct adze_port { /* an input, output or slot: a name and a place */
    const char *name;
    adze_type type;
    adze_spot at;
} adze_port;

typedef struct adze_pregion {
    const char *name;
    adze_region_kind kind;
    int32_t group;
    int64_t max_trips;
    int64_t batch, slice; /* of a group: examples in all, and at a time */
    int64_t unit;         /* examples that one thread takes: a leaf where there are sums */
    int64_t values;       /* bytes of the slices' values in each thread's memory; the steps' own local memory comes after them */
} adze_pregion;

struct adze_plan {
    adze_ctx *ctx;
    adze_arena arena; /* of everything below */
    const char *device;
    adze_pstep *steps;
    adze_view *views;
    adze_spot *spots; /* of each view */
    adze_port *inputs, *outputs, *slots;
    adze_pregion *regions;
    adze_block *blocks; /* of the arena, for adze_plan_check and poisoning */
    int32_t *poison;    /* block indices */
    int32_t nsteps, nviews, ninputs, noutputs, nslots, nregions, nblocks;
    int64_t arena_bytes, live_bytes, input_bytes, slot_bytes, local_bytes, scratch_bytes, packed_bytes;
    int32_t nagain;     /* steps that compute a value once more */
    double again_flops; /* their operations */
    double flops, bytes;
    adze_tensor constants; /* u8, or zeroed */
    bool poisoned;
};

/* Runs the steps [from, to) of group `region` (src/graph/group.c). */
typedef struct adze_group_env {
    adze_ctx *ctx;
    const adze_plan *p;
    const adze_view *views; /* all of the plan's, with addresses */
    char *arena, *local;    /* local: p->local_bytes for each thread */
    const adze_run *run;
    const int64_t *trips; /* by region: members whose guard is off are left out */
    double *times;        /* by step, added to; NULL: not measured */
    int threads;
} adze_group_env;
/* Chooses each group's slices and lays out the values that live in them; local_at: by value. Then, with all steps known, each thread's memory. */
void adze_group_lay(const adze_work *w, adze_pregion *regions, int64_t *local_at);
void adze_group_room(adze_plan *p);
void adze_group_run(const adze_group_env *env, int32_t region, int32_t from, int32_t to);
bool adze_kernel_sliced(const adze_kernel *k, int input);
bool adze_group_sums(const adze_work *w, int32_t node); /* a sum over the batch: its outputs are whole */

/* For tests: no two blocks that live at once overlap, all lie inside the arena, and every view lies inside its block. */
int adze_plan_check(const adze_plan *p);

/* Compiles the graph with these values instead of its outputs and UPDATEs when `vals` is given. */
int adze_compile_vals(adze_graph *g, const adze_compile_opts *opts, const adze_goutput *outs, int nouts, adze_plan **out);
void adze_graph_print(const adze_graph *g, adze_text *t); /* one line a node that is not dead */

#endif
