/* What the records of ops and their rules share beyond rules.h: the first lines of a record, views of a tensor about one axis, small answers. */
#ifndef ADZE_OP_RECORD_H
#define ADZE_OP_RECORD_H

#include "core/type.h"
#include "op/rules.h"

/* Of adze_op: so many inputs and outputs (0: count_out says); the table of its attributes and their struct. */
#define ADZE_ARITY(ins, outs) .nin_min = (ins), .nin_max = (ins), .nout = (outs)
#define ADZE_ATTRS(table, T) .attrs = (table), .attrs_size = sizeof(T)

/* A tensor seen as (outer, n, inner) about one axis. */
typedef struct adze_lines {
    int64_t outer, n, inner;
} adze_lines;
adze_lines adze_lines_of(const adze_view *x, int64_t axis);             /* a negative axis counts from the end */
static inline int64_t adze_line_start(const adze_lines *l, int64_t i) { /* of line i of outer * inner; its elements are `inner` apart */
    return i / l->inner * l->n * l->inner + i % l->inner;
}

/* y[at] += x[from], of one dtype; integers wrap around. */
void adze_add_element(const adze_view *y, int64_t at, const adze_view *x, int64_t from);

int adze_set_like(adze_sig *s, int o, int i); /* output o has the type of input i */

/* Reduces all axes but the last, by adze_sum or another of its kind: (..., C) -> (C). */
adze_val adze_over_rows(adze_graph *g, adze_val v, adze_val (*reduce)(adze_graph *, adze_val, const int *, int, bool));
uint32_t adze_inplace_first(const adze_sig *s); /* output 0 may use input 0's memory */
void adze_give(adze_val *to, adze_val v);       /* a result that the caller may not want: to may be NULL */

#endif
