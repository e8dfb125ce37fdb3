/* How far the f32 functions of the CPU kernels are from the true values: every kernel of every instruction set of this machine over any list of
 * floats, against the C library in double. */
#ifndef ADZE_TEST_ULP_H
#define ADZE_TEST_ULP_H

#include "adze.h"
#include "base/base.h"
#include "graph/device.h"

#include <float.h>
#include <math.h>
#include <stdio.h>

typedef struct ulp_function {
    const char *op;
    double (*truth)(double);
} ulp_function;

static inline double ulp_sigmoid(double x) {
    const double e = exp(-fabs(x));
    return x < 0 ? e / (1 + e) : 1 / (1 + e);
}

static inline double ulp_softplus(double x) {
    return (x > 0 ? x : 0) + log1p(exp(-fabs(x)));
}

static const ulp_function ULP_FUNCTIONS[] = {{"exp", exp},
                                             {"expm1", expm1},
                                             {"log", log},
                                             {"log1p", log1p},
                                             {"tanh", tanh},
                                             {"erf", erf},
                                             {"sigmoid", ulp_sigmoid},
                                             {"softplus", ulp_softplus},
                                             {"sin", sin},
                                             {"cos", cos}};

enum { ULP_LEVELS = ADZE_ISA_V4 + 1, ULP_BLOCK = 1 << 13 };
static const char *const ULP_LEVEL_NAMES[ULP_LEVELS] = {"ref", "v2", "v3", "v4"};

/* What was found; the worst of two findings is a finding. */
typedef struct ulp_finding {
    double error[ULP_LEVELS]; /* the largest, in units in the last place of the true value; INFINITY where one is NaN and the other is not */
    uint32_t at[ULP_LEVELS];  /* the bits of the first float with that error */
    int64_t off[ULP_LEVELS];  /* how many are not the nearest float */
    int64_t differ;           /* floats where v3 and v4 have different bits */
} ulp_finding;

static inline float ulp_float(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline const adze_kernel *ulp_kernel(const char *op, int level) {
    static const adze_kernel_list *const LISTS[ULP_LEVELS] = {&adze_kernels_ref, &adze_kernels_v2, &adze_kernels_v3, &adze_kernels_v4};
    for (int i = 0; i < LISTS[level]->count; i++) {
        if (strcmp(LISTS[level]->kernels[i].op, op) == 0) {
            return &LISTS[level]->kernels[i];
        }
    }
    return NULL;
}

/* The distance of y from t in units of the last place that a float of t's size has; past the greatest float the units of that go on. */
static inline double ulp_distance(float y, double t) {
    const double beyond = 0x1p128; /* where rounding meets infinity, were there one exponent more */
    if (isnan(y) || isnan(t)) {
        return isnan(y) && isnan(t) ? 0 : INFINITY;
    }
    const double got = isinf(y) ? copysign(beyond, (double)y) : (double)y, want = fabs(t) > beyond ? copysign(beyond, t) : t;
    if (got == want) {
        return !signbit(y) == !signbit(t) ? 0 : INFINITY;
    }
    const double size = fmin(fmax(fabs(want), (double)FLT_MIN), (double)FLT_MAX);
    uint64_t unit; /* the power of two below, times 2^-23 */
    memcpy(&unit, &size, sizeof unit);
    unit = (unit >> 52 << 52) - (23ull << 52);
    double last;
    memcpy(&last, &unit, sizeof last);
    return fabs(got - want) / last;
}

/* Runs one function over n <= ULP_BLOCK floats on all levels. */
static inline void ulp_block(const ulp_function *f, const float *x, int64_t n, ulp_finding *found) {
    static _Thread_local float y[ULP_LEVELS][ULP_BLOCK];
    const int levels = (int)adze_isa_best() < ULP_LEVELS ? (int)adze_isa_best() + 1 : ULP_LEVELS;
    for (int l = 0; l < levels; l++) {
        const adze_view in = {.data = (void *)(uintptr_t)x, .dtype = ADZE_F32, .rank = 1, .dims = {n}, .strides = {1}};
        const adze_view out = {.data = y[l], .dtype = ADZE_F32, .rank = 1, .dims = {n}, .strides = {1}};
        const adze_step s = {.nin = 1, .nout = 1, .in = &in, .out = &out};
        ulp_kernel(f->op, l)->run[0](&s, 0, 1);
    }
    for (int64_t i = 0; i < n; i++) {
        const double t = f->truth((double)x[i]);
        double d = ulp_distance(y[0][i], t);
        for (int l = 0; l < levels; l++) {
            found->off[l] += y[l][i] != (float)t && !isnan(t);
            d = l > 0 && memcmp(&y[l][i], &y[l - 1][i], sizeof(float)) != 0 ? ulp_distance(y[l][i], t) : d;
            if (d > found->error[l]) {
                found->error[l] = d;
                memcpy(&found->at[l], &x[i], sizeof found->at[l]);
            }
        }
        found->differ += levels == ULP_LEVELS && memcmp(&y[ADZE_ISA_V3][i], &y[ADZE_ISA_V4][i], sizeof(float)) != 0;
    }
}

static inline void ulp_merge(ulp_finding *a, const ulp_finding *b) {
    for (int l = 0; l < ULP_LEVELS; l++) {
        if (b->error[l] > a->error[l] || (b->error[l] == a->error[l] && b->at[l] < a->at[l])) {
            a->error[l] = b->error[l], a->at[l] = b->at[l];
        }
        a->off[l] += b->off[l];
    }
    a->differ += b->differ;
}

/* Prints a function's findings; true when all are below 1 unit and v3 and v4 agree. */
static inline bool ulp_print(const ulp_function *f, const ulp_finding *found) {
    bool ok = found->differ == 0;
    for (int l = 0; l < ULP_LEVELS && l <= (int)adze_isa_best(); l++) {
        printf("%-8s %-3s largest error %.4f ulp at %.9g (0x%08x), %lld not the nearest\n", f->op, ULP_LEVEL_NAMES[l], found->error[l],
               (double)ulp_float(found->at[l]), (unsigned)found->at[l], (long long)found->off[l]);
        ok = ok && found->error[l] < 1;
    }
    if (found->differ > 0) {
        printf("%-8s v3 and v4 differ at %lld floats\n", f->op, (long long)found->differ);
    }
    return ok;
}

#endif
