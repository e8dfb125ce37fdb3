/* Every op of the table on the device `cpu`, run by sessions: for every instruction set of this machine the results of `ref`, and for 1, 2, 3 and 8
 * threads the same bits.
 *
 * Bounds: |a - b|2 <= 1e-6 |b|2 in f32, 1e-13 |b|2 in f64, 4e-3 |b|2 in bf16 (ot_near). Where a sum cancels, or an op is steep, the result may also
 * lie within 4 sqrt(n) times what a change of the inputs by one rounding (2^-24, 2^-53) does to it, n the terms that end in one element. Integers,
 * bools and random draws must be equal to the bit. Maps are also compared at NaN, infinities and zeros, element by element. */
#include "optest.h"

#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MAX_ISA = 6, NTHREADS = 4 };

typedef struct machines {
    adze_ctx *isa[MAX_ISA]; /* one thread each */
    int nisa;
    adze_ctx *threads[NTHREADS]; /* the best instruction set with 1, 2, 3 and 8 threads */
} machines;

static bool run(ot_prog *p, const ot_case *c, adze_ctx *ctx, const char *device) {
    ot_prog_begin(p, ctx);
    ot_prog_inputs(p, c);
    ot_prog_op(p, c);
    for (int k = 0; k < c->nout; k++) {
        ot_output(p, "y", k, p->y[k]);
    }
    if (!ot_prog_compile(p, NULL, device)) {
        return false;
    }
    ot_set_case(p, c);
    return ot_prog_run(p);
}

static void compare_all(ot *t, ot_case *c, ot_prog *p, double *const *want, const char *isa) {
    for (int k = 0; k < c->nout; k++) {
        int64_t n = adze_type_count(&c->out[k]);
        double *got = ot_get(p, "y", k);
        if (!got || !want[k]) {
            ot_check(t, c, false, "output %d cannot be read", k);
        } else {
            double far = ot_distance(got, want[k], n);
            ot_check(t, c, ot_near(t, c, k, far, want[k]), "cpu/%s: output %d is %.3g from ref, of size %.3g", isa, k, far, ot_norm(want[k], n));
        }
        free(got);
    }
}

/* Maps also at NaN, infinities, both zeros, a denormal and where exponentials overflow: element by element, NaN where ref has NaN. */
static void sprinkle(ot_case *c) {
    static const double special[] = {(double)NAN, (double)INFINITY, -(double)INFINITY, 0.0, -0.0, 1e-40, 1.0, -1.0, 100, -100};
    for (int i = 0; i < c->c.nin; i++) {
        int64_t n = adze_dtype_is_float(c->c.in[i].dtype) ? adze_type_count(&c->c.in[i]) : 0;
        for (int64_t e = 0; e < n; e++) {
            if (adze_rng_below(&c->rng, 2)) {
                c->x[i][e] = ot_round_to(c->c.in[i].dtype, special[adze_rng_below(&c->rng, ADZE_COUNT(special))]);
            }
        }
    }
}

/* size: of the largest finite input, at most 1: what an element that cancels (a x + b) is measured by. */
static bool near_element(double a, double b, double size, bool wide) {
    bool same = a == b || (isnan(a) && isnan(b));
    return same || fabs(a - b) <= (wide ? 1e-13 : 1e-6) * fmax(fabs(b), size) + (wide ? 0 : 1.2e-38); /* an f32 result may be flushed to 0 */
}

static void compare_elements(ot *t, ot_case *c, ot_prog *p, double *const *wants, const char *isa) {
    const double *want = wants[0];
    double *got = ot_get(p, "y", 0);
    for (int64_t e = 0; got && want && e < adze_type_count(&c->out[0]); e++) {
        char in[128] = "";
        size_t used = 0;
        double size = 0;
        for (int i = 0; i < c->c.nin && used < 80 && adze_type_equal(&c->c.in[i], &c->c.in[0]); i++) {
            used += (size_t)snprintf(in + used, sizeof in - used, " %g", c->x[i][e]);
            size = isfinite(c->x[i][e]) ? fmax(size, fmin(1, fabs(c->x[i][e]))) : size;
        }
        bool ok = near_element(got[e], want[e], size, c->out[0].dtype == ADZE_F64);
        if (!ot_check(t, c, ok, "cpu/%s at%s: %g, ref has %g", isa, in, got[e], want[e])) {
            break;
        }
    }
    free(got);
}

static void check_threads(ot *t, ot_case *c, machines *m) {
    double *one[ADZE_MAX_OUT] = {0};
    for (int j = 0; j < NTHREADS; j++) {
        ot_prog p;
        if (ot_check(t, c, run(&p, c, m->threads[j], "cpu"), "with %d threads: %s", adze_ctx_threads(m->threads[j]), adze_errmsg(m->threads[j]))) {
            for (int k = 0; k < c->nout; k++) {
                double *y = ot_get(&p, "y", k);
                if (j == 0) {
                    one[k] = y;
                    continue;
                }
                bool same = y && one[k] && memcmp(y, one[k], (size_t)adze_type_count(&c->out[k]) * sizeof *y) == 0;
                ot_check(t, c, same, "%d threads change the bits of output %d", adze_ctx_threads(m->threads[j]), k);
                free(y);
            }
        }
        ot_prog_free(&p);
    }
    for (int k = 0; k < ADZE_MAX_OUT; k++) {
        free(one[k]);
    }
}

static void check_case(ot *t, ot_case *c) {
    machines *m = t->user;
    bool elements = (c->op->flags & ADZE_OP_MAP) && c->seed % 4 == 3;
    if (elements) {
        sprinkle(c);
    }
    double *want[ADZE_MAX_OUT] = {0};
    ot_prog p;
    bool ok = ot_check(t, c, run(&p, c, t->ctx, "ref"), "ref does not run: %s", adze_errmsg(t->ctx));
    for (int k = 0; ok && k < c->nout; k++) {
        want[k] = ot_get(&p, "y", k);
    }
    ot_prog_free(&p);
    for (int j = 0; ok && j < m->nisa; j++) {
        if (ot_check(t, c, run(&p, c, m->isa[j], "cpu"), "cpu/%s does not run: %s", adze_ctx_isa(m->isa[j]), adze_errmsg(m->isa[j]))) {
            (elements ? compare_elements : compare_all)(t, c, &p, want, adze_ctx_isa(m->isa[j]));
        }
        ot_prog_free(&p);
    }
    if (ok && c->seed % 4 == 1) { /* test_ops_kernel splits every case; sessions are tried on some */
        check_threads(t, c, m);
    }
    for (int k = 0; k < ADZE_MAX_OUT; k++) {
        free(want[k]);
    }
}

static void cpu_equals_ref_on_every_instruction_set_and_any_number_of_threads(void **state) {
    (void)state;
    static const int counts[NTHREADS] = {1, 2, 3, 8};
    machines m = {.nisa = (int)adze_isa_best() + 1};
    adze_ctx_opts opts = {.size = sizeof opts, .threads = 1, .mem_limit = (size_t)1 << 30};
    for (int j = 0; j < m.nisa; j++) {
        opts.isa = adze_isa_name((adze_isa)j);
        assert_int_equal(adze_ctx_new(&opts, &m.isa[j]), ADZE_OK);
        assert_string_equal(adze_ctx_isa(m.isa[j]), opts.isa);
    }
    for (int j = 0; j < NTHREADS; j++) {
        opts.threads = counts[j];
        assert_int_equal(adze_ctx_new(&opts, &m.threads[j]), ADZE_OK);
        assert_int_equal(adze_ctx_threads(m.threads[j]), counts[j]);
    }
    int64_t failures = ot_run("test_ops_device", ADZE_NONE, check_case, NULL, &m);
    for (int j = 0; j < m.nisa; j++) {
        adze_ctx_free(m.isa[j]);
    }
    for (int j = 0; j < NTHREADS; j++) {
        adze_ctx_free(m.threads[j]);
    }
    assert_int_equal(failures, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(cpu_equals_ref_on_every_instruction_set_and_any_number_of_threads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
