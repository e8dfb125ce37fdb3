/* Random products, convolutions, pools and recurrent layers against `ref`, every operand and all of a kernel's memory directly before or directly
 * after a page that nobody may touch. 100 problems of each family, on the levels of this machine in turn; ADZE_CASES changes how many, ADZE_SEED
 * which is the first (a failure names its number). Bounds follow from the terms of a sum and the format (optest_kernel.c). */
#include "optest_kernel.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

enum { MOST_TERMS = 300000 }; /* multiply-adds of a problem, which `ref` does slowly */

typedef struct problem {
    kt_problem p;
    const char *kernel; /* by name; NULL: all that accept */
    union {
        max_align_t align;
        char bytes[OT_ATTRS_BYTES];
        adze_matmul_attrs product;
        adze_conv_attrs conv;
        adze_pool_attrs pool;
        adze_rnn_attrs recurrent;
    } at;
} problem;

static bool coin(adze_rng *r, int64_t n) { /* one time in n */
    return adze_rng_range(r, 1, n) == 1;
}

/* Mostly small, sometimes next to the sizes of vectors and tiles, sometimes large. */
static int64_t size(adze_rng *r, int64_t most) {
    static const int64_t EDGES[] = {1, 4, 8, 14, 16, 28, 32, 64, 128};
    const int64_t edge = EDGES[adze_rng_range(r, 0, 8)] + adze_rng_range(r, -1, 1);
    const int64_t n = coin(r, 3)                               ? adze_rng_range(r, 1, most)
                      : coin(r, 2) && edge > 0 && edge <= most ? edge
                                                               : adze_rng_range(r, 1, most < 9 ? most : 9);
    return n;
}

static bool draw_product(adze_rng *r, problem *t) {
    static const adze_dtype LEFT[] = {ADZE_F32, ADZE_F32, ADZE_F64, ADZE_BF16, ADZE_I8, ADZE_U8};
    const adze_dtype left = LEFT[adze_rng_range(r, 0, 5)];
    t->at.product = (adze_matmul_attrs){.ta = coin(r, 2), .tb = coin(r, 2), .out = left == ADZE_BF16 && coin(r, 2) ? ADZE_F32 : ADZE_NONE};
    const int64_t batch = coin(r, 4) ? adze_rng_range(r, 1, 5) : 0, m = size(r, 300), n = size(r, 600), k = coin(r, 40) ? 0 : size(r, 900);
    const bool both = coin(r, 2), left_only = coin(r, 2);
    t->p = kt_product(both || left_only ? batch : 0, both || !left_only ? batch : 0, m, n, k, left, left == ADZE_U8 ? ADZE_I8 : left, &t->at.product);
    return (batch + 1) * m * n * k <= MOST_TERMS;
}

static bool draw_conv(adze_rng *r, problem *t) {
    static const adze_dtype TYPES[] = {ADZE_F32, ADZE_F64, ADZE_BF16};
    const adze_dtype d = TYPES[adze_rng_range(r, 0, 2)];
    const bool wino = d != ADZE_BF16 && coin(r, 4), fft = d != ADZE_BF16 && !wino && coin(r, 4);
    kt_conv s = {.n = size(r, 18), .h = size(r, 40), .w = size(r, 40), .kh = adze_rng_range(r, 1, 7), .kw = adze_rng_range(r, 1, 7), .groups = 1};
    s.stride = coin(r, 2) ? 1 : adze_rng_range(r, 1, 4), s.dilation = coin(r, 3) ? adze_rng_range(r, 1, 3) : 1;
    s.lo = coin(r, 3) ? 0 : adze_rng_range(r, 0, 4), s.hi = coin(r, 3) ? adze_rng_range(r, 0, 4) : s.lo;
    s.groups = wino || !coin(r, 3) ? 1 : coin(r, 2) ? size(r, 70) : adze_rng_range(r, 2, 4);
    s.c = s.groups * (s.groups > 1 && coin(r, 2) ? 1 : size(r, 80 / s.groups + 1));
    s.k = s.groups * (s.groups > 1 && coin(r, 2) ? 1 : size(r, 80 / s.groups + 1));
    if (coin(r, 4)) {
        s.d = adze_rng_range(r, 1, 8), s.kd = adze_rng_range(r, 1, 3), s.n = adze_rng_range(r, 1, 3);
    }
    if (wino) {
        s.d = s.kd = 0, s.kh = s.kw = coin(r, 2) ? 3 : 5, s.stride = s.dilation = 1, s.n = adze_rng_range(r, 1, 2);
        s.h = adze_rng_range(r, 8, 20), s.w = adze_rng_range(r, 8, 20);
        s.c = adze_rng_range(r, 16, 36), s.k = adze_rng_range(r, 16, 36);
        t->kernel = "winograd";
    }
    if (fft) {
        s.d = s.kd = 0, s.stride = s.dilation = s.groups = 1, s.n = adze_rng_range(r, 1, 2);
        s.kh = adze_rng_range(r, 1, 13), s.kw = adze_rng_range(r, 1, 13), s.h = adze_rng_range(r, 13, 40), s.w = adze_rng_range(r, 13, 40);
        s.c = adze_rng_range(r, 3, 18), s.k = adze_rng_range(r, 3, 18);
        t->kernel = "fft";
    }
    if ((s.d > 0 && s.d + s.lo + s.hi <= (s.kd - 1) * s.dilation) || s.h + s.lo + s.hi <= (s.kh - 1) * s.dilation ||
        s.w + s.lo + s.hi <= (s.kw - 1) * s.dilation) {
        return false;
    }
    const int pass = (int)adze_rng_range(r, 0, 2);
    t->p = kt_conv_problem(&s, pass, d, d == ADZE_BF16 && coin(r, 2) ? ADZE_F32 : ADZE_NONE, &t->at.conv);
    return (double)adze_type_count(&t->p.in[0]) * (double)((s.d > 0 ? s.kd : 1) * s.kh * s.kw * (pass == 1 ? s.c : s.k)) / (double)s.groups <=
           (wino || fft ? 6 : 1) * MOST_TERMS;
}

static bool draw_pool(adze_rng *r, problem *t) {
    static const char *const OPS[] = {"maxpool", "avgpool", "maxpool_dx", "avgpool_dx"};
    const adze_dtype d = coin(r, 3) ? ADZE_F64 : ADZE_F32;
    const int op = (int)adze_rng_range(r, 0, 3), spatial = (int)adze_rng_range(r, 1, 3);
    adze_pool_attrs *a = &t->at.pool;
    adze_type x = {.dtype = d, .rank = spatial + 2, .dims = {adze_rng_range(r, 1, 5)}}, y = x;
    int64_t windows = 1, terms = 1;
    x.dims[spatial + 1] = y.dims[spatial + 1] = size(r, 140);
    a->size.n = a->stride.n = a->pad_lo.n = a->pad_hi.n = spatial;
    a->ceil = coin(r, 2), a->count_pad = op % 2 == 1 && coin(r, 2);
    for (int i = 0; i < spatial; i++) {
        const int64_t in = x.dims[i + 1] = size(r, spatial == 1 ? 60 : 20), k = a->size.v[i] = adze_rng_range(r, 1, 4);
        const int64_t step = a->stride.v[i] = adze_rng_range(r, 1, 4), lo = a->pad_lo.v[i] = adze_rng_range(r, 0, k - 1);
        const int64_t hi = a->pad_hi.v[i] = adze_rng_range(r, 0, k - 1), room = in + lo + hi - k + (a->ceil ? step - 1 : 0);
        y.dims[i + 1] = room < 0 ? 0 : room / step + 1;
        y.dims[i + 1] -= a->ceil && y.dims[i + 1] > 1 && (y.dims[i + 1] - 1) * step >= in + lo; /* the last window starts inside */
        windows *= y.dims[i + 1], terms *= k;
    }
    if (windows < 1) {
        return false;
    }
    t->p = (kt_problem){.op = OPS[op], .attrs = a, .nin = op == 2 ? 2 : 1, .in = {op < 2 ? x : y, y}, .terms = (double)terms};
    if (op >= 2) {
        a->in = (adze_ints){.n = spatial};
        memcpy(a->in.v, x.dims + 1, (size_t)spatial * sizeof *a->in.v);
    }
    if (op == 2) {
        t->p.in[1].dtype = ADZE_I32, t->p.terms = (double)windows;
        t->p.dom[1].hi = (double)(adze_type_count(&x) / x.dims[0] / x.dims[spatial + 1]);
    }
    t->p.terms = op == 0 ? 0 : t->p.terms;
    return adze_type_count(&x) * terms <= MOST_TERMS;
}

static bool draw_recurrent(adze_rng *r, problem *t) {
    static const adze_dtype TYPES[] = {ADZE_F32, ADZE_F64, ADZE_BF16};
    t->p = kt_recurrent(r, TYPES[adze_rng_range(r, 0, 2)], &t->at.recurrent);
    return true;
}

static char current[800]; /* the problem that is being checked */

static void on_fault(int number) {
    (void)number;
    const ssize_t written = write(STDERR_FILENO, current, strlen(current));
    _exit(written > 0 ? 1 : 2);
}

static int64_t from_env(const char *name, int64_t otherwise) {
    const char *text = getenv(name);
    return text ? strtoll(text, NULL, 10) : otherwise;
}

static void check_family(const char *family, bool (*draw)(adze_rng *, problem *)) {
    const int64_t first = from_env("ADZE_SEED", 0), count = from_env("ADZE_CASES", 100);
    int64_t kernels = 0;
    signal(SIGSEGV, on_fault);
    signal(SIGBUS, on_fault);
    for (int64_t i = first; i < first + count; i++) {
        adze_rng r = adze_rng_make((uint64_t)i, adze_hash_str(family));
        problem t;
        do {
            memset(&t, 0, sizeof t);
        } while (!draw(&r, &t));
        t.p.seed = (uint64_t)i, t.p.first = coin(&r, 3), t.p.one_pass = !coin(&r, 3);
        const int at = snprintf(current, sizeof current, "\n%s: ", family);
        kt_text(&t.p, current + at, sizeof current - (size_t)at - 1);
        const int checked = kt_check_levels(&t.p, (int)(i % 1000), t.kernel);
        if (checked == 0 && !(t.p.in[0].dtype == ADZE_BF16 && t.p.in[0].rank == 5)) { /* volumes in bf16 are left to ref */
            fail_msg("%s: no kernel takes it on level %d", current, (int)(i % 1000) % ((int)adze_isa_best() + 1));
        }
        kernels += checked;
    }
    print_message("%lld problems, %lld kernels\n", (long long)count, (long long)kernels);
}

static void products(void **state) {
    (void)state;
    check_family("products", draw_product);
}

static void convolutions(void **state) {
    (void)state;
    check_family("convolutions", draw_conv);
}

static void pools(void **state) {
    (void)state;
    check_family("pools", draw_pool);
}

static void recurrent_layers(void **state) {
    (void)state;
    check_family("recurrent layers", draw_recurrent);
}

static int setup(void **state) {
    (void)state;
    kt_setup();
    return 0;
}

static int teardown(void **state) {
    (void)state;
    kt_teardown();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(products), cmocka_unit_test(convolutions), cmocka_unit_test(pools),
                                       cmocka_unit_test(recurrent_layers)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
