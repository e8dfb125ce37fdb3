/* The graph's inside, for the files of src/graph and for the builders of ops: nodes, values, regions, and the helpers that append to them. */
#ifndef ADZE_SRC_GRAPH_INTERNAL_H
#define ADZE_SRC_GRAPH_INTERNAL_H

#include "adze/op.h"
#include "base/base.h"
#include "core/type.h"

enum { ADZE_NAME_MAX = 256, ADZE_PATH_MAX = 512 };

typedef struct adze_source_attrs { /* of `input` and `slot` */
    char name[ADZE_NAME_MAX];
    int32_t dtype;
    adze_ints dims;
} adze_source_attrs;

typedef struct adze_gnode {
    const adze_op *op;
    const char *name;  /* of a source: its own; else the scope path, or n<id> */
    const void *attrs; /* in the graph's arena; NULL when the op has none */
    int32_t nin, nout;
    int32_t *in;      /* value ids */
    int32_t first;    /* value id of output 0; the others follow */
    adze_type *types; /* of the outputs */
    int32_t region;   /* 0: none */
    int32_t guard;    /* passes only: the guard that the step runs under, once it is no region any more (pass_guard.c); 0: none */
    bool dead, again; /* passes only; again: computes a value once more */
} adze_gnode;

typedef struct adze_gval {
    int32_t node, out;
} adze_gval;

typedef enum adze_region_kind {
    ADZE_REGION_NONE,
    ADZE_REGION_GUARD,
    ADZE_REGION_REPEAT,
    ADZE_REGION_GROUP, /* of a plan: pass_group.c */
    ADZE_REGION_TAIL   /* of a plan: a step and the chain that is its tail: pass_tail.c */
} adze_region_kind;

typedef struct adze_region {
    const char *name; /* full path: regions of one name share one trip count */
    adze_region_kind kind;
    int32_t group; /* the first region of that name */
    int64_t max_trips;
    bool closed;
} adze_region;

typedef struct adze_goutput {
    const char *name;
    int32_t val;
} adze_goutput;

typedef struct adze_carry { /* of a repeat: the carried value and, once given, what replaces it */
    int32_t carry, next, region;
} adze_carry;

typedef struct adze_ordinal { /* how many streams a scope path has handed out */
    uint64_t path, count;
} adze_ordinal;

struct adze_graph {
    adze_ctx *ctx;
    adze_arena arena;
    int status;
    char message[1024]; /* of the sticky error */
    adze_gnode *nodes;
    adze_gval *vals;      /* vals[0] is the invalid value */
    adze_region *regions; /* regions[0] is "none" */
    adze_goutput *outputs;
    adze_carry *carries;
    adze_ordinal *ordinals;
    int32_t *sources; /* node ids of inputs and slots, to find one by name */
    int32_t nnodes, nvals, nregions, noutputs, ncarries, nordinals, nsources;
    int32_t cap_nodes, cap_vals, cap_regions, cap_outputs, cap_carries, cap_ordinals, cap_sources;
    int32_t region, guard;     /* nodes are appended to these */
    bool internal;             /* derivative code is building: region rules are its own affair */
    const char *name_override; /* names of nodes that derivative rules append */
    char path[ADZE_PATH_MAX];  /* scope path */
};

extern const adze_op adze_op_input, adze_op_slot, adze_op_assign, adze_op_open, adze_op_guard_add, adze_op_repeat_row, adze_op_repeat_carry,
    adze_op_repeat_next, adze_op_repeat_collect;

/* Copies bytes into the graph's arena (constants, lists in attributes): they live as long as the graph. NULL with the sticky error set. */
void *adze_graph_dup(adze_graph *g, const void *p, size_t bytes);
/* Sets the sticky error when there is none, and the context's; returns code. */
int adze_graph_fail(adze_graph *g, int code, const char *fmt, ...) ADZE_PRINTF(3, 4);
int adze_graph_stick(adze_graph *g, int code); /* the context has the sentence already */
/* Makes room for one more element of a growing array. */
int adze_graph_room(adze_graph *g, void **array, int32_t count, int32_t *cap, size_t size);
int adze_region_add(adze_graph *g, const char *name, adze_region_kind kind, int64_t max_trips, int32_t *out);
bool adze_val_ok(const adze_graph *g, adze_val v);
adze_gnode *adze_val_node(const adze_graph *g, int32_t v);
const adze_type *adze_type_of(const adze_graph *g, int32_t v);
int32_t adze_val_region(const adze_graph *g, int32_t v);                         /* 0 when the value may be used everywhere */
adze_val adze_settled(const adze_graph *g, adze_val v);                          /* a carry of a closed repeat stands for its last value */
adze_sig adze_node_sig(const adze_graph *g, const adze_gnode *n, adze_type *in); /* in: room for nin types */
bool adze_op_exports(const adze_op *op);                                         /* the result of a region's step that the outside may use */
bool adze_op_forced(const adze_op *op);                                          /* output 0 is input 0's memory, always */
/* Node ids with every region in one piece, in an order that derivatives walk; ids: room for n. */
void adze_graph_blocks(const adze_graph *g, int32_t n, int32_t *ids, int32_t *last);
adze_val adze_open_copy(adze_graph *g, adze_val v); /* a private copy outside all regions */

#endif
