/* How RANDOM ops draw: Philox keyed by (seed, stream, step) and counted by (example, element), so that a draw never depends on how a batch is cut. */
#ifndef ADZE_SRC_RANDOM_H
#define ADZE_SRC_RANDOM_H

#include "adze/op.h"
#include "adze/ops.h"

void adze_random_key(const adze_run *run, uint64_t stream, uint32_t key[2]);

/* Draws in any order; cheapest in ascending order, as a Philox block serves four elements. Zero-initialise, set key by adze_random_key. */
typedef struct adze_draw {
    uint32_t key[2];
    bool filled;
    uint64_t example, block;
    uint32_t word[4];
} adze_draw;
uint32_t adze_random_word(adze_draw *d, uint64_t example, uint64_t element);
double adze_random_uniform(adze_draw *d, uint64_t example, uint64_t element); /* [0, 1) with 24 bits: exact in f32 and f64 */
double adze_random_normal(adze_draw *d, uint64_t example, uint64_t element);  /* Box-Muller in double on the pair (element & ~1) */

/* Where element i (flat) of a tensor stands: `per` elements an example (adze_random_per), rank 0: example 0, element 0. */
int64_t adze_random_per(const adze_view *v);
static inline uint64_t adze_random_example(const adze_run *run, const adze_view *v, int64_t per, int64_t i) {
    return v->rank == 0 ? 0 : (uint64_t)(run->first_example + i / per);
}

/* Fractional max pooling: region i of spatial axis `axis`, n pixels long, is [start[i], start[i + 1]), with overlap one pixel more; start has one
 * element more than there are regions, whose number is returned. Not in the draw: how the batch is cut, so all examples have the same. */
enum { ADZE_FRACTIONAL_MOST = 1 << 15 }; /* pixels of an axis: positions fit in i32, products in 64 bits */
int64_t adze_fractional_starts(const adze_fractional_attrs *a, const adze_run *run, int axis, int64_t n, int64_t *start);
size_t adze_fractional_scratch(const adze_sig *s); /* bytes of the starts of both axes */

#endif
