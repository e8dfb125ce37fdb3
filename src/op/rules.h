/* What the op families share: checks and shapes for infer, walks over strided views for reference kernels, shapes and domains for random test cases.
 */
#ifndef ADZE_SRC_RULES_H
#define ADZE_SRC_RULES_H

#include "adze/op.h"
#include "adze/ops.h"
#include "base/base.h"

#include <math.h>

/* -- attributes ---------------------------------------------------------------------------------------------------------------------- */

/* One row of an attribute table; the table ends with ADZE_ATTR_END. */
#define ADZE_ATTR(T, member, k, help_)                                                                                                               \
    { .name = #member, .kind = k, .offset = offsetof(T, member), .size = sizeof(((T *)0)->member), .help = help_ }
#define ADZE_ATTR_DEF(T, member, k, def_, help_)                                                                                                     \
    { .name = #member, .kind = k, .offset = offsetof(T, member), .size = sizeof(((T *)0)->member), .def = def_, .help = help_ }
#define ADZE_ATTR_DTYPE(T, member)                                                                                                                   \
    {                                                                                                                                                \
        .name = #member, .kind = ADZE_F_ENUM, .offset = offsetof(T, member), .size = sizeof(int32_t), .names = adze_dtype_names,                     \
        .help = "element type"                                                                                                                       \
    }
#define ADZE_ATTR_END                                                                                                                                \
    { .name = NULL }

extern const char *const adze_dtype_names[]; /* by adze_dtype, NULL-terminated: for ADZE_F_ENUM fields */

static inline adze_ints adze_ints_of(const int64_t *v, int n) { /* n beyond 8 is kept as n, so that infer can refuse it */
    adze_ints l = {n, {0}};
    for (int i = 0; i < n && i < 8; i++) {
        l.v[i] = v[i];
    }
    return l;
}

/* -- infer ---------------------------------------------------------------------------------------------------------------------------- */

enum { /* sets of dtypes, for adze_check_dtype */
       ADZE_SET_F = 1 << ADZE_F64 | 1 << ADZE_F32,
       ADZE_SET_BF = ADZE_SET_F | 1 << ADZE_BF16,
       ADZE_SET_ID = 1 << ADZE_I64 | 1 << ADZE_I32,
       ADZE_SET_NUM = ADZE_SET_F | ADZE_SET_ID,
       ADZE_SET_BOOL = 1 << ADZE_BOOL,
       ADZE_SET_ANY = -2
};
static inline bool adze_in_set(int set, adze_dtype d) {
    return d > ADZE_NONE && d < ADZE_NDTYPES && (set >> d & 1);
}
/* Input i must have a dtype of the set; the message names the input ("the input", "ids") and lists what is allowed. */
int adze_check_dtype(adze_sig *s, int i, const char *what, int set);
int adze_check_same_dtype(adze_sig *s, int i, int j); /* inputs i and j: equal dtypes */
int adze_check_rank(adze_sig *s, int i, const char *what, int lo, int hi);
int adze_check_axis(adze_sig *s, int64_t axis, int rank); /* -rank <= axis < rank */
/* Sets output i; refuses negative sizes, more than 8 axes and byte counts that overflow. */
int adze_set_out(adze_sig *s, int i, adze_dtype d, int rank, const int64_t *dims);
/* The dtype of sums of products of inputs 0 and 1 (equal dtypes, unless u8 and i8): theirs, i32 of integers, or `out`: f32 of bf16. Integers: sums of
 * `terms` products must fit. */
int adze_product_dtype(adze_sig *s, int32_t out, int64_t terms, adze_dtype *d);
bool adze_same_dims(const adze_type *a, const adze_type *b);
static inline int64_t adze_axis(int64_t axis, int rank) { /* negative axes count from the end */
    return axis < 0 ? axis + rank : axis;
}

/* The shape to which all n values broadcast (NumPy's rule); false when they do not fit or a value is invalid. */
bool adze_common_dims(const adze_graph *g, const adze_val *v, int n, adze_type *out);
/* Puts broadcast nodes where needed; leaves v alone when the shapes do not fit (infer then says so). */
void adze_broadcast_all(adze_graph *g, adze_val *v, int n);
/* For axes that a reduction without `keep` took away: gives t its size-1 axes back and broadcasts it to x's shape. */
adze_val adze_unreduce(adze_graph *g, adze_val t, adze_val x, const adze_ints *axes);

/* -- costs: for ops whose cost is not "one operation an output element" -- */
adze_cost adze_cost_of(const adze_sig *s, double flops); /* these flops; all inputs read once, all outputs written once */
adze_cost adze_cost_move(const adze_sig *s);             /* no flops */
adze_cost adze_cost_input(const adze_sig *s);            /* one flop per element of input 0 */

/* -- reference kernels ------------------------------------------------------------------------------------------------------------------ */

#define ADZE_WALK_MAX 4
/* Visits all positions of `dims` in row-major order with the element offset of up to four views that have these dims:
 *     for (adze_walk_begin(&w, views, n); w.i < w.count; adze_walk_next(&w)) use(w.i, w.off[0], ...) */
typedef struct adze_walk {
    int rank, n;
    int64_t count, i; /* positions in all; the flat index of this one */
    int64_t dims[ADZE_MAX_RANK], at[ADZE_MAX_RANK];
    int64_t strides[ADZE_WALK_MAX][ADZE_MAX_RANK];
    int64_t off[ADZE_WALK_MAX];
} adze_walk;
void adze_walk_begin(adze_walk *w, const adze_view *views, int n); /* the dims are those of views[0] */

static inline void adze_walk_next(adze_walk *w) {
    w->i++;
    for (int d = w->rank - 1; d >= 0; d--) {
        for (int k = 0; k < w->n; k++) {
            w->off[k] += w->strides[k][d];
        }
        if (++w->at[d] < w->dims[d]) {
            return;
        }
        for (int k = 0; k < w->n; k++) {
            w->off[k] -= w->strides[k][d] * w->dims[d];
        }
        w->at[d] = 0;
    }
}

int64_t adze_view_count(const adze_view *v);
int64_t adze_dims_count(const int64_t *dims, int from, int to); /* product of dims[from .. to - 1]; no overflow check: of known types */
/* True when y has no elements: a kernel must ask before it loops over some of the axes, of which there may be 2^40. */
static inline bool adze_view_empty(const adze_view *y) {
    for (int d = 0; d < y->rank; d++) {
        if (y->dims[d] == 0) {
            return true;
        }
    }
    return false;
}

void adze_view_copy(void *to, const adze_view *from);                    /* row-major copy, any dtype, any strides */
static inline void *adze_view_at(const adze_view *v, int64_t elements) { /* the address of an element, without reading data (may be NULL) */
    return (void *)((uintptr_t)v->data + (uintptr_t)(elements * (int64_t)adze_dtype_size(v->dtype)));
}

/* Elements of f32 and f64 as double; of i64, i32, u8, bool as int64_t. */
static inline double adze_load_f(const void *p, adze_dtype d, int64_t i) {
    return d == ADZE_F64 ? ((const double *)p)[i] : (double)((const float *)p)[i];
}
static inline void adze_store_f(void *p, adze_dtype d, int64_t i, double v) {
    if (d == ADZE_F64) {
        ((double *)p)[i] = v;
    } else {
        ((float *)p)[i] = (float)v;
    }
}
static inline int64_t adze_load_i(const void *p, adze_dtype d, int64_t i) {
    return d == ADZE_I64 ? ((const int64_t *)p)[i] : d == ADZE_I32 ? ((const int32_t *)p)[i] : ((const uint8_t *)p)[i];
}
static inline void adze_store_i(void *p, adze_dtype d, int64_t i, int64_t v) { /* wraps to the width */
    if (d == ADZE_I64) {
        ((int64_t *)p)[i] = v;
    } else if (d == ADZE_I32) {
        ((int32_t *)p)[i] = (int32_t)(uint32_t)(uint64_t)v;
    } else {
        ((uint8_t *)p)[i] = (uint8_t)v;
    }
}

/* -- random test cases ----------------------------------------------------------------------------------------------------------------------- */

bool adze_sample_coin(adze_rng *r, int n); /* true once in n */
/* One size: 1..5, or with c->awkward also 0 (rarely), primes, one more and one less than vector widths. min: the least allowed (0 or 1). */
int64_t adze_sample_size(adze_rng *r, const adze_case *c, int64_t min);
/* A shape of min_rank .. max_rank axes with at most about 600 elements. min: the least size of an axis. */
adze_type adze_sample_type(adze_rng *r, const adze_case *c, adze_dtype d, int min_rank, int max_rank, int64_t min);
/* c->dtype, which the set has; with c->any_dtype any member of a set that has more than floating dtypes. */
adze_dtype adze_sample_dtype(adze_rng *r, const adze_case *c, int set);
adze_dtype adze_sample_any(adze_rng *r, int set); /* any member of the set: for ops without a gradient */

/* Domains: adze_domain says what the numbers mean. */
static inline adze_domain adze_dom_range(double lo, double hi) {
    adze_domain d = {.lo = lo, .hi = hi};
    return d;
}
static inline adze_domain adze_dom_kink(double kink, double grid, double gap) { /* -2 .. 2, away from kinks */
    adze_domain d = {.lo = -2.0, .hi = 2.0, .gap = gap, .kink = kink, .grid = grid};
    return d;
}
static inline adze_domain adze_dom_distinct(void) { /* no two elements nearer than 0.002 */
    adze_domain d = {.lo = -2.0, .hi = 2.0, .gap = 0.002, .distinct = true};
    return d;
}
static inline adze_domain adze_dom_ids(int64_t lo, int64_t hi) { /* integers lo .. hi - 1, not differentiated; bool: 0, 2 */
    adze_domain d = {.lo = (double)lo, .hi = (double)hi, .constant = true};
    return d;
}

#endif
