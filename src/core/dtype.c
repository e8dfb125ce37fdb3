/* dtypes: names, sizes, and the conversion of elements, correctly rounded (to nearest, ties to even). */
#include "core/dtype.h"

#include "base/base.h"

#include <math.h>

typedef struct dtype_row {
    const char *name;
    size_t size;
    bool is_float, is_int;
} dtype_row;

static const dtype_row DTYPES[ADZE_NDTYPES] = {
    [ADZE_NONE] = {"none", 0, false, false},    [ADZE_F64] = {"f64", 8, true, false}, [ADZE_F32] = {"f32", 4, true, false},
    [ADZE_BF16] = {"bf16", 2, true, false},     [ADZE_F16] = {"f16", 2, true, false}, [ADZE_I64] = {"i64", 8, false, true},
    [ADZE_I32] = {"i32", 4, false, true},       [ADZE_I8] = {"i8", 1, false, true},   [ADZE_U8] = {"u8", 1, false, true},
    [ADZE_BOOL] = {"bool", 1, false, false},    [ADZE_I16] = {"i16", 2, false, true}, [ADZE_U16] = {"u16", 2, false, true},
    [ADZE_U32] = {"u32", 4, false, true},       [ADZE_U64] = {"u64", 8, false, true}, [ADZE_F8E4M3] = {"f8e4m3", 1, true, false},
    [ADZE_F8E5M2] = {"f8e5m2", 1, true, false},
};

static const dtype_row *row(adze_dtype d) {
    return &DTYPES[(unsigned)d < ADZE_NDTYPES ? d : ADZE_NONE];
}

size_t adze_dtype_size(adze_dtype d) {
    return row(d)->size;
}

const char *adze_dtype_name(adze_dtype d) {
    return row(d)->name;
}

adze_dtype adze_dtype_parse(const char *name) {
    for (int d = ADZE_NONE + 1; d < ADZE_NDTYPES; d++) {
        if (strcmp(DTYPES[d].name, name) == 0) {
            return (adze_dtype)d;
        }
    }
    return ADZE_NONE;
}

bool adze_dtype_is_float(adze_dtype d) {
    return row(d)->is_float;
}

bool adze_dtype_is_int(adze_dtype d) {
    return row(d)->is_int;
}

/* -- small floats -- */

typedef struct small_float {
    int exp_bits, man_bits;
    bool finite; /* e4m3: no infinities, and only all ones is NaN */
} small_float;

static const small_float BF16 = {8, 7, false}, F16 = {5, 10, false}, E4M3 = {4, 3, true}, E5M2 = {5, 2, false};

static uint64_t bits_of(double v) {
    uint64_t u;
    memcpy(&u, &v, sizeof u);
    return u;
}

static double double_of(uint64_t u) {
    double v;
    memcpy(&v, &u, sizeof v);
    return v;
}

static uint32_t pack_small(small_float f, double v) {
    const uint64_t u = bits_of(v);
    const int man = f.man_bits, bias = (1 << (f.exp_bits - 1)) - 1;
    const uint32_t top = ((1u << f.exp_bits) - 1) << man; /* exponent all ones */
    const uint32_t nan = f.finite ? top | ((1u << man) - 1) : top | 1u << (man - 1);
    const uint32_t sign = (uint32_t)(u >> 63) << (f.exp_bits + man);
    if (isnan(v)) {
        return sign | nan;
    }
    if (v == 0) {
        return sign;
    }
    const int e = (int)(u >> 52 & 0x7ff) - 1023, least = 1 - bias;
    const int shift = 52 - man + (e < least ? least - e : 0);
    if (shift > 54) {
        return sign; /* less than half of the least subnormal */
    }
    const uint64_t whole = (u & ((UINT64_C(1) << 52) - 1)) | UINT64_C(1) << 52;
    const uint64_t rest = whole & ((UINT64_C(1) << shift) - 1), half = UINT64_C(1) << (shift - 1);
    uint64_t q = whole >> shift;
    q += rest > half || (rest == half && (q & 1));
    /* A carry out of the fraction runs on into the exponent, which is right. */
    const uint64_t result = e < least ? q : ((uint64_t)(e + bias) << man) + (q - (UINT64_C(1) << man));
    if (f.finite) {
        return sign | (result >= nan ? nan : (uint32_t)result);
    }
    return sign | (result >= top ? top : (uint32_t)result);
}

static double unpack_small(small_float f, uint32_t b) {
    const int man = f.man_bits, bias = (1 << (f.exp_bits - 1)) - 1;
    const uint32_t ones = (1u << f.exp_bits) - 1;
    const uint64_t sign = (uint64_t)(b >> (f.exp_bits + man) & 1) << 63;
    const uint32_t e = b >> man & ones, m = b & ((1u << man) - 1);
    if (f.finite ? (e == ones && m == (1u << man) - 1) : (e == ones && m)) {
        return double_of(sign | UINT64_C(0x7ff8) << 48);
    }
    if (e == ones && !f.finite) {
        return double_of(sign | UINT64_C(0x7ff) << 52);
    }
    if (e == 0) {
        double least = double_of((uint64_t)(1 - bias - man + 1023) << 52);
        return (sign ? -(double)m : (double)m) * least;
    }
    return double_of(sign | (uint64_t)((int)e - bias + 1023) << 52 | (uint64_t)m << (52 - man));
}

/* -- integers and doubles -- */

static double odd_u64(uint64_t x) {
    const uint64_t low = 0x7ff; /* 64 - 53 bits */
    if (x > UINT64_C(1) << 53) {
        x = (x & ~low) | (x & low ? low + 1 : 0);
    }
    return (double)x;
}

static double odd_i64(int64_t x) {
    return x < 0 ? -odd_u64(0 - (uint64_t)x) : odd_u64((uint64_t)x);
}

static int64_t to_i64(double v) {
    if (isnan(v)) {
        return 0;
    }
    if (v >= 0x1p63) {
        return INT64_MAX;
    }
    return v < -0x1p63 ? INT64_MIN : (int64_t)v;
}

static uint64_t to_u64(double v) {
    if (!(v > 0)) {
        return 0;
    }
    return v >= 0x1p64 ? UINT64_MAX : (uint64_t)v;
}

static int64_t clamp(int64_t v, int64_t lo, int64_t hi) {
    return v < lo ? lo : v > hi ? hi : v;
}

/* One loop per dtype: T is how an element lies in memory, x names it, `expression` is what becomes of it. */
#define LOAD(T, expression)                                                                                                                          \
    for (int64_t i = 0; i < n; i++) {                                                                                                                \
        const T x = ((const T *)p)[i * stride];                                                                                                      \
        out[i] = expression;                                                                                                                         \
    }                                                                                                                                                \
    return
#define STORE(T, V, expression)                                                                                                                      \
    for (int64_t i = 0; i < n; i++) {                                                                                                                \
        const V x = in[i];                                                                                                                           \
        ((T *)p)[i * stride] = (T)(expression);                                                                                                      \
    }                                                                                                                                                \
    return

void adze_dtype_load(adze_dtype d, const void *p, int64_t stride, int64_t n, double *out) {
    switch (d) {
    case ADZE_F64:
        LOAD(double, x);
    case ADZE_F32:
        LOAD(float, (double)x);
    case ADZE_BF16:
        LOAD(uint16_t, unpack_small(BF16, x));
    case ADZE_F16:
        LOAD(uint16_t, unpack_small(F16, x));
    case ADZE_I64:
        LOAD(int64_t, odd_i64(x));
    case ADZE_I32:
        LOAD(int32_t, (double)x);
    case ADZE_I8:
        LOAD(int8_t, (double)x);
    case ADZE_U8:
        LOAD(uint8_t, (double)x);
    case ADZE_BOOL:
        LOAD(uint8_t, (double)(x != 0));
    case ADZE_I16:
        LOAD(int16_t, (double)x);
    case ADZE_U16:
        LOAD(uint16_t, (double)x);
    case ADZE_U32:
        LOAD(uint32_t, (double)x);
    case ADZE_U64:
        LOAD(uint64_t, odd_u64(x));
    case ADZE_F8E4M3:
        LOAD(uint8_t, unpack_small(E4M3, x));
    case ADZE_F8E5M2:
        LOAD(uint8_t, unpack_small(E5M2, x));
    case ADZE_NONE:
    case ADZE_NDTYPES:
        break;
    }
    for (int64_t i = 0; i < n; i++) {
        out[i] = NAN;
    }
}

void adze_dtype_store(adze_dtype d, void *p, int64_t stride, int64_t n, const double *in) {
    switch (d) {
    case ADZE_F64:
        STORE(double, double, x);
    case ADZE_F32:
        STORE(float, double, x);
    case ADZE_BF16:
        STORE(uint16_t, double, pack_small(BF16, x));
    case ADZE_F16:
        STORE(uint16_t, double, pack_small(F16, x));
    case ADZE_I64:
        STORE(int64_t, double, to_i64(x));
    case ADZE_I32:
        STORE(int32_t, double, clamp(to_i64(x), INT32_MIN, INT32_MAX));
    case ADZE_I8:
        STORE(int8_t, double, clamp(to_i64(x), INT8_MIN, INT8_MAX));
    case ADZE_U8:
        STORE(uint8_t, double, clamp(to_i64(x), 0, UINT8_MAX));
    case ADZE_BOOL:
        STORE(uint8_t, double, x != 0);
    case ADZE_I16:
        STORE(int16_t, double, clamp(to_i64(x), INT16_MIN, INT16_MAX));
    case ADZE_U16:
        STORE(uint16_t, double, clamp(to_i64(x), 0, UINT16_MAX));
    case ADZE_U32:
        STORE(uint32_t, double, clamp(to_i64(x), 0, UINT32_MAX));
    case ADZE_U64:
        STORE(uint64_t, double, to_u64(x));
    case ADZE_F8E4M3:
        STORE(uint8_t, double, pack_small(E4M3, x));
    case ADZE_F8E5M2:
        STORE(uint8_t, double, pack_small(E5M2, x));
    case ADZE_NONE:
    case ADZE_NDTYPES:
        break;
    }
}

void adze_dtype_load_int(adze_dtype d, const void *p, int64_t stride, int64_t n, int64_t *out) {
    switch (d) {
    case ADZE_I64:
        LOAD(int64_t, x);
    case ADZE_I32:
        LOAD(int32_t, x);
    case ADZE_I8:
        LOAD(int8_t, x);
    case ADZE_U8:
        LOAD(uint8_t, x);
    case ADZE_BOOL:
        LOAD(uint8_t, x != 0);
    case ADZE_I16:
        LOAD(int16_t, x);
    case ADZE_U16:
        LOAD(uint16_t, x);
    case ADZE_U32:
        LOAD(uint32_t, x);
    case ADZE_U64:
        LOAD(uint64_t, x > INT64_MAX ? INT64_MAX : (int64_t)x);
    default:
        break;
    }
}

void adze_dtype_store_int(adze_dtype d, void *p, int64_t stride, int64_t n, const int64_t *in) {
    switch (d) {
    case ADZE_I64:
        STORE(int64_t, int64_t, x);
    case ADZE_I32:
        STORE(int32_t, int64_t, clamp(x, INT32_MIN, INT32_MAX));
    case ADZE_I8:
        STORE(int8_t, int64_t, clamp(x, INT8_MIN, INT8_MAX));
    case ADZE_U8:
        STORE(uint8_t, int64_t, clamp(x, 0, UINT8_MAX));
    case ADZE_BOOL:
        STORE(uint8_t, int64_t, x != 0);
    case ADZE_I16:
        STORE(int16_t, int64_t, clamp(x, INT16_MIN, INT16_MAX));
    case ADZE_U16:
        STORE(uint16_t, int64_t, clamp(x, 0, UINT16_MAX));
    case ADZE_U32:
        STORE(uint32_t, int64_t, clamp(x, 0, UINT32_MAX));
    case ADZE_U64:
        STORE(uint64_t, int64_t, clamp(x, 0, INT64_MAX));
    default:
        break;
    }
}

double adze_dtype_nearest(adze_dtype d, const void *p) {
    double v;
    if (d == ADZE_I64) {
        return (double)*(const int64_t *)p;
    }
    if (d == ADZE_U64) {
        return (double)*(const uint64_t *)p;
    }
    adze_dtype_load(d, p, 1, 1, &v);
    return v;
}
