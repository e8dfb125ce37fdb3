/* Elements of contiguous f32 and f64 views as double: one loop serves both dtypes, sums are in double, the store rounds once. */
#ifndef ADZE_OP_ELEMENT_H
#define ADZE_OP_ELEMENT_H

#include "op/rules.h"

static inline double adze_at(const adze_view *v, int64_t i) {
    return adze_load_f(v->data, v->dtype, i);
}

static inline void adze_put(const adze_view *v, int64_t i, double x) {
    adze_store_f(v->data, v->dtype, i, x);
}

#endif
