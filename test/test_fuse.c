/* What the compiler makes of batch normalisation and of elementwise ops: sums over a batch that come out the same however the batch is sliced, and
 * chains that give the bits of the ops that they stand for. */
#include "optest.h"

#include "op/chain.h"

#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const adze_kernel_list *const LISTS[] = {&adze_kernels_ref, &adze_kernels_v2, &adze_kernels_v3, &adze_kernels_v4};

/* -- sums over slices of a batch
 * ---------------------------------------------------------------------------------------------------------------------- */

typedef struct sums { /* one call of moments or norm_sums on random data */
    const adze_op *op;
    const adze_kernel *k;
    adze_sig sig;
    adze_type in_types[3], out_types[2];
    adze_view in[3], out[2];
    char *memory[5], *scratch, *local;
    size_t local_bytes;
} sums;

static adze_view dense(const adze_type *t, char *data) {
    adze_view v = {.data = data, .dtype = t->dtype, .rank = t->rank};
    int64_t stride = 1;
    for (int d = t->rank - 1; d >= 0; d--) {
        v.dims[d] = t->dims[d];
        v.strides[d] = stride;
        stride *= t->dims[d];
    }
    return v;
}

static char *random_bytes(adze_rng *r, const adze_type *t) {
    const int64_t n = adze_type_count(t);
    char *p = calloc((size_t)n + 1, adze_dtype_size(t->dtype));
    assert_non_null(p);
    for (int64_t i = 0; i < n; i++) {
        const double v = 4 * adze_rng_uniform(r) - 1;
        const float f = (float)v;
        uint32_t bits;
        memcpy(&bits, &f, sizeof bits);
        if (t->dtype == ADZE_F64) {
            ((double *)(void *)p)[i] = v;
        } else if (t->dtype == ADZE_F32) {
            ((float *)(void *)p)[i] = f;
        } else {
            ((uint16_t *)(void *)p)[i] = (uint16_t)(bits >> 16);
        }
    }
    return p;
}

static bool sums_begin(sums *s, const adze_kernel_list *list, const char *op, adze_type x, adze_rng *r) {
    const adze_dtype result = x.dtype == ADZE_BF16 ? ADZE_F32 : x.dtype;
    const adze_type channels = adze_type_make(result, 1, &x.dims[x.rank - 1]);
    const bool grad = strcmp(op, "norm_sums") == 0;
    *s = (sums){.op = adze_op_find(op), .in_types = {x, x, channels}, .out_types = {channels, channels}};
    s->sig = (adze_sig){.op = s->op, .name = "", .nin = grad ? 3 : 1, .nout = 2, .in = s->in_types, .out = s->out_types};
    for (int i = 0; i < list->count && !s->k; i++) {
        const adze_kernel *k = &list->kernels[i];
        s->k = strcmp(k->op, op) == 0 && k->accept(&s->sig) ? k : NULL;
    }
    for (int i = 0; i < 3; i++) {
        s->memory[i] = random_bytes(r, &s->in_types[i]);
        s->in[i] = dense(&s->in_types[i], s->memory[i]);
    }
    for (int o = 0; o < 2; o++) {
        s->memory[3 + o] = random_bytes(r, &channels);
        s->out[o] = dense(&channels, s->memory[3 + o]);
    }
    s->local_bytes = (s->k->local(&s->sig) + 63) / 64 * 64;
    s->local = aligned_alloc(64, 8 * s->local_bytes);
    s->scratch = aligned_alloc(64, (s->k->scratch(&s->sig) + 63) / 64 * 64);
    assert_true(s->local && s->scratch);
    return s->k->sliced != 0;
}

static void sums_end(sums *s) {
    for (int i = 0; i < 5; i++) {
        free(s->memory[i]);
    }
    free(s->local);
    free(s->scratch);
}

static adze_step sums_step(const sums *s, const adze_view *in) {
    return (adze_step){
        .op = s->op, .nin = s->sig.nin, .nout = 2, .in = in, .out = s->out, .scratch = s->scratch, .local = s->local, .local_stride = s->local_bytes};
}

static void sums_whole(sums *s, int nth) {
    const adze_step step = sums_step(s, s->in);
    for (int p = 0; s->k->run[p]; p++) {
        for (int i = 0; i < nth; i++) {
            s->k->run[p](&step, nth - 1 - i, nth);
        }
    }
}

/* A few examples at a time, never across the end of a leaf. */
static void sums_sliced(sums *s, adze_rng *r) {
    const int64_t n = s->in[0].dims[0], leaves = (n + ADZE_LEAF - 1) / ADZE_LEAF;
    const size_t stride = (s->k->partial(&s->sig) + 63) / 64 * 64;
    char *partials = calloc((size_t)leaves, stride);
    assert_non_null(partials);
    for (int64_t at = 0, some; at < n; at += some) {
        const int64_t left = ADZE_LEAF - at % ADZE_LEAF;
        adze_view in[3] = {s->in[0], s->in[1], s->in[2]};
        some = adze_rng_range(r, 1, left);
        some = some < n - at ? some : n - at;
        for (int i = 0; i < s->sig.nin; i++) {
            if (s->k->sliced >> i & 1) {
                in[i].dims[0] = some;
                in[i].data = (char *)in[i].data + (size_t)(at * in[i].strides[0]) * adze_dtype_size(in[i].dtype);
            }
        }
        adze_step step = sums_step(s, in);
        step.partial = partials + (size_t)(at / ADZE_LEAF) * stride;
        s->k->run[s->k->prepare](&step, 0, 1);
    }
    const adze_step step = sums_step(s, s->in);
    for (int i = 0; i < 3; i++) {
        s->k->finish(&step, partials, stride, leaves, i, 3);
    }
    free(partials);
}

static void sums_over_a_batch_have_the_same_bits_however_it_is_sliced(void **state) {
    (void)state;
    static const int64_t channels[] = {1, 3, 16, 20, 32, 50, 64, 129, 300};
    static const adze_dtype dtypes[] = {ADZE_F32, ADZE_F64, ADZE_BF16};
    adze_rng r = adze_rng_make(7, 1);
    int cut = 0;
    for (int level = 0; level <= (int)adze_isa_best() && level <= ADZE_ISA_V4; level++) {
        for (int c = 0; c < 60; c++) {
            const int64_t dims[4] = {adze_rng_range(&r, 1, 50), adze_rng_range(&r, 3, 9), adze_rng_range(&r, 6, 11), channels[c % 9]};
            sums s;
            const bool sliced = sums_begin(&s, LISTS[level], c % 2 ? "moments" : "norm_sums", adze_type_make(dtypes[c / 2 % 3], 4, dims), &r);
            const size_t bytes = (size_t)adze_type_bytes(&s.out_types[0]);
            char *want = malloc(2 * bytes);
            assert_true(sliced && want);
            sums_whole(&s, 1);
            memcpy(want, s.memory[3], bytes);
            memcpy(want + bytes, s.memory[4], bytes);
            for (int how = 0; how < 3; how++) {
                memset(s.memory[3], 0xA5, bytes);
                memset(s.memory[4], 0xA5, bytes);
                if (how < 2) {
                    sums_sliced(&s, &r);
                } else {
                    sums_whole(&s, 5);
                }
                assert_memory_equal(s.memory[3], want, bytes);
                assert_memory_equal(s.memory[4], want + bytes, bytes);
            }
            cut += dims[0] > ADZE_LEAF;
            free(want);
            sums_end(&s);
        }
    }
    assert_true(cut > 20); /* leaves were merged */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_over_a_batch_have_the_same_bits_however_it_is_sliced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
