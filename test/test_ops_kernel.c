/* Every kernel of every op, called directly: the reference and each fast kernel of each instruction set that accepts the case, also those that a plan
 * would not choose. Guard bytes lie around outputs and scratch, outputs start as garbage, inputs must not change, gaps between strided elements hold
 * NaN; the work is split among 1, 2, 3 and 8 threads, in both orders, and the bits must stay. They must stay too where a kernel that says that it
 * takes slices of a batch gets it in slices.
 *
 * A fast kernel must be as near to the reference as test_ops_device.c says. */
#include "optest.h"

#include "core/dtype.h"

#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { GUARD = 64, GUARD_BYTE = 0xC5, GARBAGE = 0xFB };

/* -- guarded memory -------------------------------------------------------------------------------------------------------------------------- */

typedef struct block {
    unsigned char *raw;
    size_t bytes;
} block;

static block block_new(size_t bytes, int fill) {
    block b = {.bytes = bytes};
    b.raw = aligned_alloc(GUARD, (bytes + 2 * GUARD + GUARD - 1) / GUARD * GUARD);
    assert_non_null(b.raw);
    memset(b.raw, GUARD_BYTE, GUARD);
    memset(b.raw + GUARD, fill, bytes);
    memset(b.raw + GUARD + bytes, GUARD_BYTE, GUARD);
    return b;
}

static void *block_data(block b) {
    return b.raw + GUARD;
}

static bool block_whole(block b) {
    for (size_t i = 0; i < GUARD; i++) {
        if (b.raw[i] != GUARD_BYTE || b.raw[GUARD + b.bytes + i] != GUARD_BYTE) {
            return false;
        }
    }
    return true;
}

/* -- elements ---------------------------------------------------------------------------------------------------------------------------------- */

static void put(void *at, adze_dtype d, int64_t i, double v) {
    adze_dtype_store(d, (char *)at + (size_t)i * adze_dtype_size(d), 1, 1, &v);
}

static double take(const void *at, adze_dtype d, int64_t i) {
    double v;
    adze_dtype_load(d, (const char *)at + (size_t)i * adze_dtype_size(d), 1, 1, &v);
    return v;
}

/* -- a call ------------------------------------------------------------------------------------------------------------------------------------- */

typedef struct call {
    adze_view in[ADZE_MAX_IN], out[ADZE_MAX_OUT];
    block bin[ADZE_MAX_IN], bout[ADZE_MAX_OUT], scratch, local;
    unsigned char *copy[ADZE_MAX_IN]; /* of the inputs, to see that they stay */
} call;

static adze_view contiguous(const adze_type *type, void *data) {
    adze_view v = {.data = data, .dtype = type->dtype, .rank = type->rank};
    int64_t stride = 1;
    for (int k = type->rank - 1; k >= 0; k--) {
        v.dims[k] = type->dims[k];
        v.strides[k] = stride;
        stride *= type->dims[k];
    }
    return v;
}

static int64_t place(const adze_view *v, int64_t flat) { /* offset in elements of element `flat` */
    int64_t at = 0;
    for (int k = v->rank - 1; k >= 0; k--) {
        at += flat % v->dims[k] * v->strides[k];
        flat /= v->dims[k];
    }
    return at;
}

/* Axes in a random order, each with a stride beyond what it needs and some of them backwards. */
static adze_view scattered(adze_rng *r, const adze_type *type, int64_t *elements, int64_t *origin) {
    adze_view v = contiguous(type, NULL);
    int64_t order[ADZE_MAX_RANK], stride = adze_rng_range(r, 1, 2);
    for (int k = 0; k < type->rank; k++) {
        order[k] = k;
    }
    adze_rng_permute(r, order, type->rank);
    *origin = 0;
    for (int j = 0; j < type->rank; j++) {
        int64_t k = order[j], d = type->dims[k] > 0 ? type->dims[k] : 1;
        bool back = adze_rng_below(r, 3) == 0;
        v.strides[k] = back ? -stride : stride;
        *origin += back ? (d - 1) * stride : 0;
        stride *= d + adze_rng_range(r, 0, 1);
    }
    *elements = stride;
    return v;
}

static void add_input(call *k, ot_case *c, int i, bool strided) {
    const adze_type *type = &c->c.in[i];
    int64_t n = adze_type_count(type), elements = n, origin = 0;
    adze_rng r = c->rng; /* every call of this case lays its inputs out alike */
    r.ctr[3] ^= (uint32_t)i + 1;
    adze_view v = strided && n > 0 && !ot_is_slot(c, i) ? scattered(&r, type, &elements, &origin) : contiguous(type, NULL);
    size_t size = adze_dtype_size(type->dtype);
    k->bin[i] = block_new((size_t)elements * size, 0);
    char *data = block_data(k->bin[i]);
    for (int64_t e = 0; e < elements; e++) {
        put(data, type->dtype, e, (double)NAN);
    }
    v.data = data + (size_t)origin * size;
    for (int64_t e = 0; e < n; e++) {
        put(data, type->dtype, origin + place(&v, e), c->x[i][e]);
    }
    k->in[i] = v;
    k->copy[i] = malloc(k->bin[i].bytes + 1);
    assert_non_null(k->copy[i]);
    memcpy(k->copy[i], data, k->bin[i].bytes);
}

static void call_begin(call *k, ot_case *c, bool strided, size_t scratch, size_t local, int nth) {
    memset(k, 0, sizeof *k);
    for (int i = 0; i < c->c.nin; i++) {
        add_input(k, c, i, strided);
    }
    for (int o = 0; o < c->nout; o++) {
        if (ot_is_slot(c, o)) { /* an update works in place */
            k->out[o] = k->in[o];
            continue;
        }
        int64_t n = adze_type_count(&c->out[o]);
        k->bout[o] = block_new((size_t)n * adze_dtype_size(c->out[o].dtype), GARBAGE);
        k->out[o] = contiguous(&c->out[o], block_data(k->bout[o]));
    }
    k->scratch = block_new(scratch, GARBAGE);
    k->local = block_new((local + GUARD) * (size_t)nth, GARBAGE); /* a gap after each thread's share */
}

static void call_end(ot *t, ot_case *c, call *k, const char *what) {
    for (int i = 0; i < c->c.nin; i++) {
        ot_check(t, c, block_whole(k->bin[i]), "%s writes around input %d", what, i);
        ot_check(t, c, ot_is_slot(c, i) || memcmp(k->copy[i], block_data(k->bin[i]), k->bin[i].bytes) == 0, "%s changes input %d", what, i);
        free(k->bin[i].raw);
        free(k->copy[i]);
    }
    for (int o = 0; o < c->nout; o++) {
        ot_check(t, c, !k->bout[o].raw || block_whole(k->bout[o]), "%s writes around output %d", what, o);
        free(k->bout[o].raw);
    }
    ot_check(t, c, block_whole(k->scratch), "%s writes around its scratch", what);
    ot_check(t, c, block_whole(k->local), "%s writes around its threads' scratch", what);
    free(k->scratch.raw);
    free(k->local.raw);
}

typedef struct job {              /* which kernel, how */
    const adze_kernel_fn *phases; /* NULL-terminated */
    size_t scratch, local;
    int nth;
    bool strided, backwards;
    const adze_kernel *sliced; /* by slices of `each` examples, as groups of steps run it */
    int64_t each;
    const char *what;
} job;

static bool takes_slices(const adze_kernel *k, int i) {
    return k->sliced == ~0u || (i < 32 && (k->sliced >> i & 1));
}

/* Examples of a case whose sliced inputs and outputs agree about them; else 0. */
static int64_t examples_of(const adze_kernel *k, const ot_case *c) {
    const int64_t n = c->nout > 0 && c->out[0].rank > 0 ? c->out[0].dims[0] : 0;
    bool same = k->sliced != 0 && !k->partial;
    for (int i = 0; i < c->c.nin; i++) {
        same = same && (!takes_slices(k, i) || (c->c.in[i].rank > 0 && c->c.in[i].dims[0] == n));
    }
    for (int o = 0; o < c->nout; o++) {
        same = same && c->out[o].rank > 0 && c->out[o].dims[0] == n;
    }
    return same ? n : 0;
}

static void cut(adze_view *v, int64_t from, int64_t to) {
    v->data = (char *)v->data + from * v->strides[0] * (int64_t)adze_dtype_size(v->dtype);
    v->dims[0] = to - from;
}

static void run_slices(const job *j, const adze_step *whole, int64_t n) {
    static adze_view in[ADZE_MAX_IN], out[ADZE_MAX_OUT];
    for (int p = 0; p < j->sliced->prepare; p++) {
        j->phases[p](whole, 0, 1);
    }
    for (int64_t from = 0; from < n; from += j->each) {
        const int64_t to = from + j->each < n ? from + j->each : n;
        adze_step s = *whole;
        memcpy(in, whole->in, (size_t)s.nin * sizeof *in);
        memcpy(out, whole->out, (size_t)s.nout * sizeof *out);
        for (int i = 0; i < s.nin; i++) {
            if (takes_slices(j->sliced, i)) {
                cut(&in[i], from, to);
            }
        }
        for (int o = 0; o < s.nout; o++) {
            cut(&out[o], from, to);
        }
        s.in = in, s.out = out;
        j->phases[j->sliced->prepare](&s, 0, 1);
    }
}

/* Runs it and returns the outputs' elements as doubles (exact). */
static void run_job(ot *t, ot_case *c, const job *j, double **y) {
    call *k = malloc(sizeof *k);
    assert_non_null(k);
    size_t local = (j->local + GUARD - 1) / GUARD * GUARD;
    call_begin(k, c, j->strided, j->scratch, local, j->nth);
    adze_run run = {.seed = 20240229, .step = 7, .first_example = 3};
    adze_step s = {.op = c->op,
                   .attrs = c->op->attrs ? c->attrs.bytes : NULL,
                   .nin = c->c.nin,
                   .nout = c->nout,
                   .in = k->in,
                   .out = k->out,
                   .scratch = block_data(k->scratch),
                   .local = block_data(k->local),
                   .local_stride = local + GUARD,
                   .run = &run};
    if (j->sliced) {
        run_slices(j, &s, examples_of(j->sliced, c));
    }
    for (int p = 0; j->phases[p] && !j->sliced; p++) {
        for (int i = 0; i < j->nth; i++) {
            j->phases[p](&s, j->backwards ? j->nth - 1 - i : i, j->nth);
        }
    }
    for (int o = 0; o < c->nout; o++) {
        int64_t n = adze_type_count(&c->out[o]);
        y[o] = ot_alloc(n);
        for (int64_t e = 0; e < n; e++) {
            y[o][e] = take(k->out[o].data, c->out[o].dtype, e);
        }
    }
    call_end(t, c, k, j->what);
    free(k);
}

static void free_all(double **y) {
    for (int o = 0; o < ADZE_MAX_OUT; o++) {
        free(y[o]);
        y[o] = NULL;
    }
}

static void expect_same(ot *t, ot_case *c, double **a, double **b, const char *what, const char *how) {
    for (int o = 0; o < c->nout; o++) {
        size_t bytes = (size_t)adze_type_count(&c->out[o]) * sizeof(double);
        ot_check(t, c, memcmp(a[o], b[o], bytes) == 0, "%s: %s changes the bits of output %d", what, how, o);
    }
}

static void expect_near(ot *t, ot_case *c, double **got, double **want, const char *what) {
    for (int o = 0; o < c->nout; o++) {
        double far = ot_distance(got[o], want[o], adze_type_count(&c->out[o]));
        ot_check(t, c, ot_near(t, c, o, far, want[o]), "%s: output %d is %.3g from ref, of size %.3g", what, o, far,
                 ot_norm(want[o], adze_type_count(&c->out[o])));
    }
}

/* -- what is checked ----------------------------------------------------------------------------------------------------------------------------- */

static void check_kernel(ot *t, ot_case *c, const adze_kernel *k, const char *isa, double **ref) {
    static const int splits[] = {2, 3, 8};
    adze_sig s = ot_case_sig(t, c);
    char what[128];
    snprintf(what, sizeof what, "%s/%s", isa, k->name);
    job j = {.phases = k->run, .scratch = k->scratch ? k->scratch(&s) : 0, .local = k->local ? k->local(&s) : 0, .nth = 1, .what = what};
    double *one[ADZE_MAX_OUT] = {0}, *more[ADZE_MAX_OUT] = {0};
    run_job(t, c, &j, one);
    expect_near(t, c, one, ref, what);
    for (size_t i = 0; i < ADZE_COUNT(splits); i++) {
        char how[64];
        j.nth = splits[i];
        j.backwards = (c->seed + i) % 2;
        snprintf(how, sizeof how, "work for %d threads%s", j.nth, j.backwards ? ", last first," : "");
        run_job(t, c, &j, more);
        expect_same(t, c, more, one, what, how);
        free_all(more);
    }
    if (examples_of(k, c) > 1) {
        j.nth = 1, j.sliced = k, j.each = 1 + (int64_t)(c->seed % 3);
        run_job(t, c, &j, more);
        expect_same(t, c, more, one, what, "a batch in slices");
        free_all(more);
        j.sliced = NULL;
    }
    if (k->strided) {
        j.nth = 1 + (int)(c->seed % 3);
        j.strided = true;
        run_job(t, c, &j, more);
        expect_same(t, c, more, one, what, "a strided layout");
        free_all(more);
    }
    free_all(one);
}

/* The levels above v4 take what they do not have from v4. */
static bool of_level_below(const adze_kernel_list *list, int level) {
    const adze_device *d = adze_device_find("cpu", (adze_isa)(level > 0 ? level - 1 : 0));
    for (size_t l = 0; level > 0 && l < ADZE_COUNT(d->lists); l++) {
        if (d->lists[l] == list) {
            return true;
        }
    }
    return false;
}

static void check_case(ot *t, ot_case *c) {
    int *kernels = t->user;
    if (!c->op->ref) {
        return;
    }
    const adze_kernel_fn ref_phases[] = {c->op->ref, NULL};
    adze_sig s = ot_case_sig(t, c);
    job j = {.phases = ref_phases, .scratch = c->op->ref_scratch ? c->op->ref_scratch(&s) : 0, .nth = 1, .what = "the reference"};
    double *ref[ADZE_MAX_OUT] = {0}, *other[ADZE_MAX_OUT] = {0};
    run_job(t, c, &j, ref);
    if (c->op->flags & ADZE_OP_STRIDED) {
        j.strided = true;
        run_job(t, c, &j, other);
        expect_same(t, c, other, ref, "the reference", "a strided layout");
        free_all(other);
    }
    for (int level = 0; level <= (int)adze_isa_best(); level++) {
        const adze_device *d = adze_device_find("cpu", (adze_isa)level);
        for (size_t l = 0; l < ADZE_COUNT(d->lists) && d->lists[l]; l++) {
            for (int i = 0; i < d->lists[l]->count && !of_level_below(d->lists[l], level); i++) {
                const adze_kernel *k = &d->lists[l]->kernels[i];
                if (strcmp(k->op, c->op->name) == 0 && (!k->accept || k->accept(&s))) {
                    check_kernel(t, c, k, adze_isa_name((adze_isa)level), ref);
                    kernels[level]++;
                }
            }
        }
    }
    free_all(ref);
}

static void every_kernel_stays_in_its_memory_and_gives_the_bits_of_one_thread(void **state) {
    (void)state;
    int kernels[ADZE_ISA_AMX + 1] = {0};
    int64_t failures = ot_run("test_ops_kernel", ADZE_NONE, check_case, NULL, kernels);
    printf("test_ops_kernel: kernel cases ref %d, v2 %d, v3 %d, v4 %d, avx512bf16 %d, amx %d\n", kernels[0], kernels[1], kernels[2], kernels[3],
           kernels[4], kernels[5]);
    assert_int_equal(failures, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_kernel_stays_in_its_memory_and_gives_the_bits_of_one_thread)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
