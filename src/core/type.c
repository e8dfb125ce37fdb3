/* Types: a dtype and a shape, with every size checked. */
#include "adze/core.h"

#include "base/base.h"

#include <stdio.h>

adze_type adze_type_make(adze_dtype d, int rank, const int64_t *dims) {
    adze_type t = {.dtype = d, .rank = rank};
    for (int i = 0; i < rank && i < ADZE_MAX_RANK; i++) {
        t.dims[i] = dims[i];
    }
    return t;
}

adze_type adze_scalar_type(adze_dtype d) {
    return (adze_type){.dtype = d};
}

int64_t adze_type_count(const adze_type *t) {
    int64_t n = 1;
    bool zero = false;
    if (t->rank < 0 || t->rank > ADZE_MAX_RANK) {
        return -1;
    }
    for (int i = 0; i < t->rank; i++) { /* sizes of 0 count as 1 on the way, so that no stride of an empty tensor overflows either */
        zero |= t->dims[i] == 0;
        if (!adze_mul_size(n, t->dims[i] == 0 ? 1 : t->dims[i], &n)) {
            return -1;
        }
    }
    return zero ? 0 : n;
}

int64_t adze_type_bytes(const adze_type *t) {
    int64_t n = adze_type_count(t);
    return adze_mul_size(n, (int64_t)adze_dtype_size(t->dtype), &n) ? n : -1;
}

bool adze_type_equal(const adze_type *a, const adze_type *b) {
    if (a->dtype != b->dtype || a->rank != b->rank) {
        return false;
    }
    for (int i = 0; i < a->rank && i < ADZE_MAX_RANK; i++) {
        if (a->dims[i] != b->dims[i]) {
            return false;
        }
    }
    return true;
}

const char *adze_type_print(const adze_type *t, char *out, size_t n) {
    char s[32 + ADZE_MAX_RANK * 24];
    int len = snprintf(s, sizeof s, "%s (", adze_dtype_name(t->dtype));
    for (int i = 0; i < t->rank && i < ADZE_MAX_RANK; i++) {
        len += snprintf(s + len, sizeof s - (size_t)len, i ? ", %lld" : "%lld", (long long)t->dims[i]);
    }
    snprintf(s + len, sizeof s - (size_t)len, ")");
    if (n) {
        snprintf(out, n, "%s", s);
    }
    return out;
}
