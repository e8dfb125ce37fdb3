/* Elements of contiguous views as double: one loop serves all dtypes (f32 and f64 fast), sums are in double, the store rounds once. */
#ifndef ADZE_OP_ELEMENT_H
#define ADZE_OP_ELEMENT_H

#include "core/dtype.h"
#include "op/rules.h"

static inline double adze_at(const adze_view *v, int64_t i) {
    if (v->dtype == ADZE_F32 || v->dtype == ADZE_F64) {
        return adze_load_f(v->data, v->dtype, i);
    }
    double x;
    adze_dtype_load(v->dtype, adze_view_at(v, i), 1, 1, &x);
    return x;
}

static inline void adze_put(const adze_view *v, int64_t i, double x) {
    if (v->dtype == ADZE_F32 || v->dtype == ADZE_F64) {
        adze_store_f(v->data, v->dtype, i, x);
    } else {
        adze_dtype_store(v->dtype, adze_view_at(v, i), 1, 1, &x);
    }
}

#endif
