/* The second floor: dtypes and their roundings, types, tensors, copies, and the choice of kernels. */
#include "faulty.h"

#include "adze/core.h"
#include "base/base.h"
#include "graph/device.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static adze_type shape(adze_dtype d, int rank, int64_t a, int64_t b, int64_t c) {
    return adze_type_make(d, rank, (const int64_t[]){a, b, c});
}

/* Every test gets a context over counted memory, and must give all of it back. */
typedef struct scene {
    faulty_mem mem;
    adze_ctx *ctx;
} scene;

static int set_up(void **state) {
    scene *s = calloc(1, sizeof *s);
    faulty_mem_init(&s->mem);
    *state = s;
    return adze_ctx_new(&(adze_ctx_opts){.mem = &s->mem.table, .threads = 1}, &s->ctx);
}

static int tear_down(void **state) {
    scene *s = *state;
    adze_ctx_free(s->ctx);
    bool clean = faulty_mem_clean(&s->mem);
    free(s);
    return clean ? 0 : -1;
}

static adze_ctx *ctx_of(void **state) {
    return ((scene *)*state)->ctx;
}

/* -- dtypes and types -- */

static void dtypes_have_names_and_sizes(void **state) {
    (void)state;
    static const struct {
        const char *name;
        size_t size;
        bool is_float, is_int;
    } ALL[] = {{"f64", 8, 1, 0}, {"f32", 4, 1, 0}, {"bf16", 2, 1, 0}, {"f16", 2, 1, 0},    {"i64", 8, 0, 1},
               {"i32", 4, 0, 1}, {"i8", 1, 0, 1},  {"u8", 1, 0, 1},   {"bool", 1, 0, 0},   {"i16", 2, 0, 1},
               {"u16", 2, 0, 1}, {"u32", 4, 0, 1}, {"u64", 8, 0, 1},  {"f8e4m3", 1, 1, 0}, {"f8e5m2", 1, 1, 0}};
    assert_int_equal(ADZE_COUNT(ALL), ADZE_NDTYPES - 1);
    for (size_t i = 0; i < ADZE_COUNT(ALL); i++) {
        adze_dtype d = adze_dtype_parse(ALL[i].name);
        assert_int_equal(d, i + 1);
        assert_string_equal(adze_dtype_name(d), ALL[i].name);
        assert_int_equal(adze_dtype_size(d), ALL[i].size);
        assert_int_equal(adze_dtype_is_float(d), ALL[i].is_float);
        assert_int_equal(adze_dtype_is_int(d), ALL[i].is_int);
    }
    assert_int_equal(adze_dtype_parse("f33"), ADZE_NONE);
    assert_int_equal(adze_dtype_parse("none"), ADZE_NONE);
    assert_int_equal(adze_dtype_size((adze_dtype)99), 0);
    assert_int_equal(adze_dtype_size((adze_dtype)-1), 0);
}

static void types_count_and_print(void **state) {
    (void)state;
    char s[64], tiny[4];
    adze_type t = shape(ADZE_F32, 3, 32, 28, 3);
    assert_int_equal(adze_type_count(&t), 32 * 28 * 3);
    assert_int_equal(adze_type_bytes(&t), 32 * 28 * 3 * 4);
    assert_string_equal(adze_type_print(&t, s, sizeof s), "f32 (32, 28, 3)");
    assert_string_equal(adze_type_print(&t, tiny, sizeof tiny), "f32");
    adze_type scalar = adze_scalar_type(ADZE_I64);
    assert_int_equal(adze_type_count(&scalar), 1);
    assert_string_equal(adze_type_print(&scalar, s, sizeof s), "i64 ()");
    t = shape(ADZE_F32, 3, INT64_MAX, 0, INT64_MAX); /* empty, but its strides would overflow */
    assert_int_equal(adze_type_count(&t), -1);
    t = shape(ADZE_F32, 3, INT64_MAX, 0, 1);
    assert_int_equal(adze_type_count(&t), 0);
    t = shape(ADZE_F32, 2, INT64_MAX, 2, 0);
    assert_int_equal(adze_type_count(&t), -1);
    t = shape(ADZE_F32, 1, INT64_MAX / 2, 0, 0);
    assert_int_equal(adze_type_count(&t), INT64_MAX / 2);
    assert_int_equal(adze_type_bytes(&t), -1);
    t = shape(ADZE_F32, 2, 0, -1, 0);
    assert_int_equal(adze_type_count(&t), -1);
    t.rank = 9;
    assert_int_equal(adze_type_count(&t), -1);
    adze_type a = shape(ADZE_F32, 2, 3, 4, 0), b = shape(ADZE_F32, 2, 3, 4, 7), c = shape(ADZE_F32, 2, 3, 5, 0), d = shape(ADZE_F64, 2, 3, 4, 0);
    assert_true(adze_type_equal(&a, &b));
    assert_false(adze_type_equal(&a, &c));
    assert_false(adze_type_equal(&a, &d));
}

/* -- conversion -- */

static uint32_t store_bits(adze_ctx *ctx, adze_dtype d, double v) {
    uint32_t bits = 0;
    adze_tensor t;
    assert_int_equal(adze_tensor_wrap(ctx, adze_scalar_type(d), &bits, &t), ADZE_OK);
    adze_tensor_set(&t, 0, v);
    adze_tensor_free(&t);
    return bits;
}

static double load_bits(adze_ctx *ctx, adze_dtype d, uint32_t bits) {
    adze_tensor t;
    assert_int_equal(adze_tensor_wrap(ctx, adze_scalar_type(d), &bits, &t), ADZE_OK);
    double v = adze_tensor_get(&t, 0);
    adze_tensor_free(&t);
    return v;
}

static void small_floats_round_to_nearest_even(void **state) {
    adze_ctx *ctx = ctx_of(state);
    static const struct {
        adze_dtype d;
        double v;
        uint32_t bits;
    } KNOWN[] = {
        {ADZE_F16, 1.0, 0x3c00},
        {ADZE_F16, -2.0, 0xc000},
        {ADZE_F16, 65504, 0x7bff},
        {ADZE_F16, 65519.99, 0x7bff},
        {ADZE_F16, 65520, 0x7c00},
        {ADZE_F16, 1 + 0x1p-11, 0x3c00},
        {ADZE_F16, 1 + 0x3p-11, 0x3c02},
        {ADZE_F16, 1 + 0x1p-11 + 0x1p-50, 0x3c01},
        {ADZE_F16, 0x1p-24, 0x0001},
        {ADZE_F16, 0x1p-25, 0x0000},
        {ADZE_F16, 0x1.8p-25, 0x0001},
        {ADZE_F16, 0x1.ffcp-15, 0x0400},
        {ADZE_F16, -0.0, 0x8000},
        {ADZE_F16, INFINITY, 0x7c00},
        {ADZE_F16, 1e-300, 0},
        {ADZE_F16, 5e-324, 0},
        {ADZE_F16, 0x1p-26 * 1.999, 0},
        {ADZE_F16, 0x1.0000001p-25, 1},
        {ADZE_F16, -1e9, 0xfc00},
        {ADZE_BF16, 1.0, 0x3f80},
        {ADZE_BF16, 1 + 0x1p-8, 0x3f80},
        {ADZE_BF16, 1 + 0x3p-8, 0x3f82},
        {ADZE_BF16, 3.4e38, 0x7f80},
        {ADZE_BF16, 0x1p-133, 0x0001},
        {ADZE_BF16, 1 + 0x1p-8 + 0x1p-40, 0x3f81},
        {ADZE_F8E4M3, 448, 0x7e},
        {ADZE_F8E4M3, 465, 0x7f},
        {ADZE_F8E4M3, 464, 0x7e},
        {ADZE_F8E4M3, 1, 0x38},
        {ADZE_F8E4M3, 0x1p-9, 0x01},
        {ADZE_F8E5M2, 57344, 0x7b},
        {ADZE_F8E5M2, 1e9, 0x7c},
    };
    for (size_t i = 0; i < ADZE_COUNT(KNOWN); i++) {
        uint32_t got = store_bits(ctx, KNOWN[i].d, KNOWN[i].v);
        if (got != KNOWN[i].bits) {
            fail_msg("%s of %a is %#x, not %#x", adze_dtype_name(KNOWN[i].d), KNOWN[i].v, KNOWN[i].bits, got);
        }
    }
    assert_true(isnan(load_bits(ctx, ADZE_F16, store_bits(ctx, ADZE_F16, NAN))));
    assert_true(isnan(load_bits(ctx, ADZE_BF16, store_bits(ctx, ADZE_BF16, -NAN))));
    assert_true(isnan(load_bits(ctx, ADZE_F8E4M3, store_bits(ctx, ADZE_F8E4M3, INFINITY))));
}

/* Every pattern survives; the midpoint of neighbours goes to the even one; a hair more or less goes to the nearer. */
static void every_small_float_is_exact(void **state) {
    adze_ctx *ctx = ctx_of(state);
    static const struct {
        adze_dtype d;
        uint32_t top; /* the pattern of the largest finite value */
        uint32_t sign;
    } KINDS[] = {{ADZE_F16, 0x7bff, 0x8000}, {ADZE_BF16, 0x7f7f, 0x8000}, {ADZE_F8E4M3, 0x7e, 0x80}, {ADZE_F8E5M2, 0x7b, 0x80}};
    for (size_t k = 0; k < ADZE_COUNT(KINDS); k++) {
        adze_dtype d = KINDS[k].d;
        for (uint32_t b = 0; b < KINDS[k].top; b++) {
            double v = load_bits(ctx, d, b), next = load_bits(ctx, d, b + 1), middle = (v + next) / 2;
            assert_true(next > v);
            bool right = store_bits(ctx, d, v) == b && store_bits(ctx, d, -v) == (b | KINDS[k].sign) && store_bits(ctx, d, middle) == b + (b & 1) &&
                         store_bits(ctx, d, nextafter(middle, 0)) == b && store_bits(ctx, d, nextafter(middle, INFINITY)) == b + 1;
            if (!right) {
                fail_msg("%s is wrong near pattern %#x", adze_dtype_name(d), b);
            }
        }
    }
}

static void copy_scalar(adze_ctx *ctx, adze_dtype to, void *dst, adze_dtype from, void *src) {
    adze_tensor a, b;
    assert_int_equal(adze_tensor_wrap(ctx, adze_scalar_type(to), dst, &a), ADZE_OK);
    assert_int_equal(adze_tensor_wrap(ctx, adze_scalar_type(from), src, &b), ADZE_OK);
    assert_int_equal(adze_tensor_copy(ctx, a, b), ADZE_OK);
    adze_tensor_free(&a);
    adze_tensor_free(&b);
}

static void integers_convert_exactly_or_saturate(void **state) {
    adze_ctx *ctx = ctx_of(state);
    static const struct {
        double v;
        int8_t i8;
        uint8_t u8;
        int32_t i32;
        int64_t i64;
        uint64_t u64;
    } REALS[] = {{1.9, 1, 1, 1, 1, 1},
                 {-1.9, -1, 0, -1, -1, 0},
                 {300, 127, 255, 300, 300, 300},
                 {1e30, 127, 255, INT32_MAX, INT64_MAX, UINT64_MAX},
                 {-1e30, -128, 0, INT32_MIN, INT64_MIN, 0},
                 {NAN, 0, 0, 0, 0, 0},
                 {INFINITY, 127, 255, INT32_MAX, INT64_MAX, UINT64_MAX},
                 {0x1p63, 127, 255, INT32_MAX, INT64_MAX, UINT64_C(1) << 63}};
    for (size_t i = 0; i < ADZE_COUNT(REALS); i++) {
        double v = REALS[i].v;
        int8_t i8;
        uint8_t u8, flag;
        int32_t i32;
        int64_t i64;
        uint64_t u64;
        copy_scalar(ctx, ADZE_I8, &i8, ADZE_F64, &v);
        copy_scalar(ctx, ADZE_U8, &u8, ADZE_F64, &v);
        copy_scalar(ctx, ADZE_I32, &i32, ADZE_F64, &v);
        copy_scalar(ctx, ADZE_I64, &i64, ADZE_F64, &v);
        copy_scalar(ctx, ADZE_U64, &u64, ADZE_F64, &v);
        copy_scalar(ctx, ADZE_BOOL, &flag, ADZE_F64, &v);
        assert_true(i8 == REALS[i].i8 && u8 == REALS[i].u8 && i32 == REALS[i].i32 && i64 == REALS[i].i64 && u64 == REALS[i].u64 && flag == 1);
    }
    int64_t big = INT64_C(9007199254740993), back;
    uint64_t u64 = UINT64_MAX;
    int16_t i16;
    copy_scalar(ctx, ADZE_I64, &back, ADZE_I64, &big);
    assert_true(back == big);
    copy_scalar(ctx, ADZE_U64, &u64, ADZE_I64, &big);
    assert_true(u64 == (uint64_t)big);
    copy_scalar(ctx, ADZE_I16, &i16, ADZE_I64, &big);
    assert_int_equal(i16, INT16_MAX);
    u64 = UINT64_MAX;
    copy_scalar(ctx, ADZE_I64, &back, ADZE_U64, &u64);
    assert_true(back == INT64_MAX);
    int64_t minus = -5;
    copy_scalar(ctx, ADZE_U64, &u64, ADZE_I64, &minus);
    assert_true(u64 == 0);
}

/* By way of a double that is itself rounded, the second rounding could go wrong. */
static void large_integers_round_once(void **state) {
    adze_ctx *ctx = ctx_of(state);
    adze_rng r = adze_rng_make(1, 1);
    for (int i = 0; i < 20000; i++) {
        int64_t v = (int64_t)adze_rng_u64(&r) >> adze_rng_below(&r, 40);
        if (i % 2) { /* a hair beside the middle between two floats */
            v = (int64_t)((uint64_t)v << 38);
            v = (int64_t)((uint64_t)v & 0x7fffff8000000000u) | (INT64_C(1) << 38) | adze_rng_range(&r, -1, 1);
        }
        uint64_t u = (uint64_t)v;
        float f, g;
        double d;
        copy_scalar(ctx, ADZE_F32, &f, ADZE_I64, &v);
        copy_scalar(ctx, ADZE_F32, &g, ADZE_U64, &u);
        copy_scalar(ctx, ADZE_F64, &d, ADZE_I64, &v);
        assert_true(f == (float)v && g == (float)u && d == (double)v);
    }
    int64_t tie = (INT64_C(1) << 62) + (INT64_C(1) << 54) + 1; /* a hair above the middle of two bf16 */
    uint16_t b;
    copy_scalar(ctx, ADZE_BF16, &b, ADZE_I64, &tie);
    assert_int_equal(b, 0x5e81);
    tie--;
    copy_scalar(ctx, ADZE_BF16, &b, ADZE_I64, &tie);
    assert_int_equal(b, 0x5e80);
}

/* -- tensors -- */

static void tensors_are_zeroed_counted_views(void **state) {
    adze_ctx *ctx = ctx_of(state);
    adze_tensor t, more, part;
    assert_int_equal(adze_tensor_new(ctx, shape(ADZE_F32, 2, 4, 6, 0), &t), ADZE_OK);
    assert_true(adze_tensor_contiguous(&t));
    assert_int_equal((uintptr_t)adze_tensor_data(&t) % 64, 0);
    for (int64_t i = 0; i < 24; i++) {
        assert_true(adze_tensor_get(&t, i) == 0);
        adze_tensor_set(&t, i, (double)i);
    }
    assert_int_equal(adze_tensor_slice(ctx, t, 1, 2, 5, &part), ADZE_OK);
    assert_false(adze_tensor_contiguous(&part));
    assert_true(adze_tensor_get(&part, 0) == 2 && adze_tensor_get(&part, 3) == 8 && adze_tensor_get(&part, 11) == 22);
    assert_true(isnan(adze_tensor_get(&part, 12)));
    assert_true(isnan(adze_tensor_get(&part, -1)));
    assert_int_equal(adze_tensor_slice(ctx, t, 0, 1, 3, &part), ADZE_OK);
    assert_true(adze_tensor_contiguous(&part));
    assert_int_equal(adze_tensor_slice(ctx, t, 0, 2, 2, &part), ADZE_OK);
    assert_int_equal(part.dims[0], 0);
    assert_int_equal(adze_tensor_slice(ctx, t, 2, 0, 1, &part), ADZE_ESHAPE);
    assert_int_equal(adze_tensor_slice(ctx, t, 1, 0, 7, &part), ADZE_ESHAPE);
    assert_int_equal(adze_tensor_slice(ctx, t, 1, 3, 2, &part), ADZE_ESHAPE);
    assert_int_equal(adze_tensor_slice(ctx, t, 1, -1, 2, &part), ADZE_ESHAPE);
    more = adze_tensor_ref(t);
    adze_tensor_free(&t);
    assert_null(adze_tensor_data(&t));
    assert_true(adze_tensor_get(&more, 23) == 23);
    adze_tensor_free(&more);
    assert_int_equal(adze_ctx_mem_used(ctx), 0);
    adze_tensor_free(&more);
}

static void impossible_tensors_are_refused(void **state) {
    adze_ctx *ctx = ctx_of(state);
    adze_tensor t;
    assert_int_equal(adze_tensor_new(ctx, shape(ADZE_F32, 2, INT64_MAX, 4, 0), &t), ADZE_ESHAPE);
    assert_null(adze_tensor_data(&t));
    assert_int_equal(adze_tensor_new(ctx, shape(ADZE_F32, 2, -1, 4, 0), &t), ADZE_ESHAPE);
    assert_int_equal(adze_tensor_new(ctx, shape(ADZE_F32, 3, INT64_MAX, 4, 0), &t), ADZE_ESHAPE); /* strides would overflow */
    assert_int_equal(adze_tensor_new(ctx, shape(ADZE_NONE, 1, 1, 0, 0), &t), ADZE_ETYPE);
    adze_type deep = {.dtype = ADZE_F32, .rank = 9};
    assert_int_equal(adze_tensor_new(ctx, deep, &t), ADZE_ESHAPE);
    assert_int_equal(adze_tensor_new(ctx, shape(ADZE_F32, 1, INT64_C(1) << 60, 0, 0), &t), ADZE_ENOMEM);
    assert_int_equal(adze_tensor_new(ctx, shape(ADZE_F32, 2, 0, 5, 0), &t), ADZE_OK);
    assert_non_null(adze_tensor_data(&t));
    assert_true(adze_tensor_contiguous(&t));
    adze_tensor_free(&t);
    scene *s = *state;
    for (long n = 1; n <= 2; n++) {
        faulty_mem_arm(&s->mem, n, false);
        assert_int_equal(adze_tensor_new(ctx, adze_scalar_type(ADZE_F32), &t), ADZE_ENOMEM);
        assert_int_equal(adze_ctx_mem_used(ctx), 0);
    }
}

static adze_tensor transposed(adze_tensor t) {
    adze_tensor u = t;
    for (int i = 0; i < t.rank; i++) {
        u.dims[i] = t.dims[t.rank - 1 - i];
        u.strides[i] = t.strides[t.rank - 1 - i];
    }
    return u;
}

static void copies_follow_strides_and_convert(void **state) {
    adze_ctx *ctx = ctx_of(state);
    for (int from = ADZE_F64; from < ADZE_NDTYPES; from++) {
        for (int to = ADZE_F64; to < ADZE_NDTYPES; to++) {
            adze_tensor a, b;
            assert_int_equal(adze_tensor_new(ctx, shape((adze_dtype)from, 3, 2, 3, 5), &a), ADZE_OK);
            assert_int_equal(adze_tensor_new(ctx, shape((adze_dtype)to, 3, 5, 3, 2), &b), ADZE_OK);
            for (int64_t i = 0; i < 30; i++) {
                adze_tensor_set(&a, i, from == ADZE_BOOL || to == ADZE_BOOL ? (double)(i % 2) : (double)(i % 9)); /* what even f8e5m2 holds */
            }
            assert_int_equal(adze_tensor_copy(ctx, transposed(b), a), ADZE_OK);
            adze_tensor t = transposed(b);
            for (int64_t i = 0; i < 30; i++) {
                assert_true(adze_tensor_get(&t, i) == adze_tensor_get(&a, i));
            }
            assert_int_equal(adze_tensor_copy(ctx, b, transposed(a)), ADZE_OK);
            for (int64_t i = 0; i < 30; i++) {
                assert_true(adze_tensor_get(&t, i) == adze_tensor_get(&a, i));
            }
            adze_tensor_free(&a);
            adze_tensor_free(&b);
        }
    }
}

static void copies_of_odd_views_are_right(void **state) {
    adze_ctx *ctx = ctx_of(state);
    float src[1000], row[3] = {1, 2, 3};
    double dst[1000];
    for (int i = 0; i < 1000; i++) {
        src[i] = (float)i;
    }
    adze_tensor a, b, spread;
    assert_int_equal(adze_tensor_wrap(ctx, shape(ADZE_F32, 1, 1000, 0, 0), src, &a), ADZE_OK);
    assert_int_equal(adze_tensor_wrap(ctx, shape(ADZE_F64, 1, 1000, 0, 0), dst, &b), ADZE_OK);
    adze_tensor backward = a;
    backward.strides[0] = -1;
    backward.offset = 999 * 4;
    assert_int_equal(adze_tensor_copy(ctx, b, backward), ADZE_OK);
    for (int i = 0; i < 1000; i++) {
        assert_true(dst[i] == 999 - i);
    }
    assert_int_equal(adze_tensor_wrap(ctx, shape(ADZE_F32, 2, 4, 3, 0), row, &spread), ADZE_OK);
    spread.strides[0] = 0;
    adze_tensor c;
    assert_int_equal(adze_tensor_new(ctx, shape(ADZE_F32, 2, 4, 3, 0), &c), ADZE_OK);
    assert_int_equal(adze_tensor_copy(ctx, c, spread), ADZE_OK);
    for (int64_t i = 0; i < 12; i++) {
        assert_true(adze_tensor_get(&c, i) == (double)(i % 3 + 1));
    }
    assert_int_equal(adze_tensor_copy(ctx, c, a), ADZE_ESHAPE);
    assert_non_null(strstr(adze_errmsg(ctx), "f32 (1000)"));
    assert_non_null(strstr(adze_errmsg(ctx), "f32 (4, 3)"));
    adze_tensor none = {0};
    assert_int_equal(adze_tensor_copy(ctx, none, none), ADZE_EARG);
    adze_tensor empty = c;
    empty.dims[0] = 0;
    assert_int_equal(adze_tensor_copy(ctx, empty, empty), ADZE_OK);
    adze_tensor_free(&a);
    adze_tensor_free(&b);
    adze_tensor_free(&c);
    adze_tensor_free(&spread);
}

/* -- devices -- */

static bool accept_small(const adze_sig *sig) {
    return sig->in[0].dims[0] < 10;
}

static void the_first_kernel_that_accepts_is_chosen(void **state) {
    (void)state;
    static const adze_kernel FIRST[] = {{.op = "mul", .name = "m"}, {.op = "add", .name = "small", .accept = accept_small}};
    static const adze_kernel SECOND[] = {{.op = "add", .name = "large"}};
    static const adze_kernel_list LISTS[] = {{FIRST, 2}, {SECOND, 1}};
    const adze_device d = {.name = "test", .lists = {&LISTS[0], &LISTS[1]}};
    const adze_op add = {.name = "add"}, sub = {.name = "sub"};
    adze_type in = shape(ADZE_F32, 1, 5, 0, 0);
    adze_sig sig = {.op = &add, .in = &in, .nin = 1};
    assert_string_equal(adze_device_kernel(&d, &sig)->name, "small");
    in.dims[0] = 10;
    assert_string_equal(adze_device_kernel(&d, &sig)->name, "large");
    sig.op = &sub;
    assert_null(adze_device_kernel(&d, &sig));
    const adze_device *ref = adze_device_find("ref", ADZE_ISA_V4);
    assert_string_equal(ref->name, "ref");
    assert_null(adze_device_kernel(ref, &sig));
    for (int i = ADZE_ISA_REF; i <= ADZE_ISA_AMX; i++) {
        const adze_device *cpu = adze_device_find("cpu", (adze_isa)i);
        assert_string_equal(cpu->name, "cpu");
        assert_non_null(cpu->lists[0]);
        assert_true(i == 0 || cpu->lists[0] != adze_device_find("cpu", ADZE_ISA_REF)->lists[0]);
    }
    assert_null(adze_device_find("gpu", ADZE_ISA_REF));
    assert_null(adze_device_find("cpu", (adze_isa)9));
}

#define SCENE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dtypes_have_names_and_sizes),
        cmocka_unit_test(types_count_and_print),
        SCENE(small_floats_round_to_nearest_even),
        SCENE(every_small_float_is_exact),
        SCENE(integers_convert_exactly_or_saturate),
        SCENE(large_integers_round_once),
        SCENE(tensors_are_zeroed_counted_views),
        SCENE(impossible_tensors_are_refused),
        SCENE(copies_follow_strides_and_convert),
        SCENE(copies_of_odd_views_are_right),
        cmocka_unit_test(the_first_kernel_that_accepts_is_chosen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
