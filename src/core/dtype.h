/* Conversions of single elements, for the core alone. */
#ifndef ADZE_SRC_DTYPE_H
#define ADZE_SRC_DTYPE_H

#include "adze/core.h"

/* Into and out of doubles, n elements, `stride` elements apart on the dtype's side. Integers of more than 53 bits become the double "rounded to odd",
 * from which every narrower float is rounded correctly. Floats become integers by truncation; what does not fit becomes the nearest that does, NaN 0.
 */
void adze_dtype_load(adze_dtype d, const void *p, int64_t stride, int64_t n, double *out);
void adze_dtype_store(adze_dtype d, void *p, int64_t stride, int64_t n, const double *in);
/* Between integer dtypes and bool, exact up to the same saturation; u64 above INT64_MAX counts as INT64_MAX. */
void adze_dtype_load_int(adze_dtype d, const void *p, int64_t stride, int64_t n, int64_t *out);
void adze_dtype_store_int(adze_dtype d, void *p, int64_t stride, int64_t n, const int64_t *in);
/* Integers straight to f64, rounded to nearest. */
double adze_dtype_nearest(adze_dtype d, const void *p);

#endif
