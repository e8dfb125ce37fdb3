/* The geometry of convolutions and pools: how windows lie over an input. Checked once by infer, then filled in for every kernel from the same place.
 */
#ifndef ADZE_OP_CONV_GEOM_H
#define ADZE_OP_CONV_GEOM_H

#include "adze/op.h"
#include "adze/ops.h"

enum { ADZE_SPATIAL = 3 }; /* most spatial axes */

/* One spatial axis: output o and tap t meet at input position o * stride + t * dilation - lo; positions outside 0 .. in - 1 are padding. */
typedef struct adze_window {
    int64_t in, out, size, stride, dilation, lo, hi;
} adze_window;

/* x: (n, axis[].in, c), w: (axis[].size, c / groups, k), y: (n, axis[].out, k). Kernels always loop over three axes (depth, height, width): the
 * missing leading ones are 1 everywhere. A pool has k = c and groups = c. */
typedef struct adze_geom {
    int spatial; /* axes that the tensors really have: axis[3 - spatial] is the first of them */
    int64_t n, c, k, groups;
    adze_window axis[ADZE_SPATIAL];
} adze_geom;

/* Geometry of a legal node, from the dims of its three tensors (rank: of x): for conv (in 0, in 1, out 0), conv_dx (out 0, in 1, in 0), conv_dw (in
 * 0, out 0, in 1). */
adze_geom adze_conv_geom(const adze_conv_attrs *a, int rank, const int64_t *x, const int64_t *w, const int64_t *y);
/* The same for pools: the dims of the large side x and of the small side y. */
adze_geom adze_pool_geom(const adze_pool_attrs *a, int rank, const int64_t *x, const int64_t *y);

/* Outputs *from .. *to - 1 of this axis are those for which tap t lies inside the input. */
void adze_window_outputs(const adze_window *w, int64_t t, int64_t *from, int64_t *to);
/* (output, tap) pairs that lie inside the input, over all axes: multiply-adds per pair of channels. */
double adze_geom_taps(const adze_geom *g);
/* What an average over output o divides by on this axis; the divisor is the product over axes. */
int64_t adze_window_divisor(const adze_window *w, int64_t o, bool count_pad);

/* The largest a list member may be: keeps every sum of positions far from overflow. */
#define ADZE_WINDOW_MAX INT32_MAX

/* Output size of one axis, 0 or less when no window fits. */
int64_t adze_conv_out(const adze_window *w);
int64_t adze_pool_out(const adze_window *w, bool ceil);

/* Legality: `list` holds 0 or `spatial` members (need: exactly that many), each >= lo. name: of the attribute, for the message. */
int adze_check_list(adze_sig *s, const char *name, const adze_ints *list, int spatial, int64_t lo, bool need);
/* Rank 3 to 5, f32 or f64 for input i; *spatial: the number of spatial axes. */
int adze_check_spatial(adze_sig *s, int i, const char *what, int set, int *spatial);

#endif
