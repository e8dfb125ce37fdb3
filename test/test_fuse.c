/* What the compiler makes of batch normalisation and of elementwise ops: sums over a batch that come out the same however the batch is sliced, and
 * chains that give the bits of the ops that they stand for. */
#include "optest.h"

#include "graph/plan_internal.h"

#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const adze_kernel_list *const LISTS[] = {&adze_kernels_ref, &adze_kernels_v2, &adze_kernels_v3, &adze_kernels_v4};

/* -- sums over slices of a batch
 * ---------------------------------------------------------------------------------------------------------------------- */

typedef struct sums { /* one call of moments, norm_sums or channel_sums on random data */
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
    const bool grad = strcmp(op, "norm_sums") == 0, one = strcmp(op, "channel_sums") == 0;
    *s = (sums){.op = adze_op_find(op), .in_types = {x, x, channels}, .out_types = {channels, channels}};
    s->sig = (adze_sig){.op = s->op, .name = "", .nin = grad ? 3 : 1, .nout = one ? 1 : 2, .in = s->in_types, .out = s->out_types};
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
    return (adze_step){.op = s->op,
                       .nin = s->sig.nin,
                       .nout = s->sig.nout,
                       .in = in,
                       .out = s->out,
                       .scratch = s->scratch,
                       .local = s->local,
                       .local_stride = s->local_bytes};
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
            const bool sliced = sums_begin(&s, LISTS[level], (const char *[]){"moments", "norm_sums", "channel_sums"}[c % 3],
                                           adze_type_make(dtypes[c / 3 % 3], 4, dims), &r);
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
                if (s.sig.nout == 2) {
                    assert_memory_equal(s.memory[4], want + bytes, bytes);
                }
            }
            cut += dims[0] > ADZE_LEAF;
            free(want);
            sums_end(&s);
        }
    }
    assert_true(cut > 20); /* leaves were merged */
}

/* -- chains -------------------------------------------------------------------------------------------------------------------------------------- */

enum { POOL = 40, NTHREADS = 3 };

typedef struct maps { /* a random graph of maps: the same for the same seed */
    adze_graph *g;
    adze_val pool[POOL], conditions[POOL], vector;
    int n, nconditions;
} maps;

static adze_val any_map(maps *m, adze_rng *r) {
    adze_graph *g = m->g;
    const adze_val a = m->pool[adze_rng_below(r, (uint32_t)m->n)], b = m->pool[adze_rng_below(r, (uint32_t)m->n)];
    switch (adze_rng_below(r, 19)) {
    case 0:
        return adze_add(g, a, b);
    case 1:
        return adze_sub(g, a, b);
    case 2:
        return adze_mul(g, a, b);
    case 3:
        return adze_relu(g, a);
    case 4:
        return adze_relu(g, adze_add(g, a, b));
    case 5:
        return adze_scale(g, a, 0.5, 0.25);
    case 6:
        return adze_clip(g, a, -0.5, 1.5);
    case 7:
        return adze_tanh(g, a);
    case 8:
        return adze_relu_grad(g, a, b);
    case 9:
        return adze_sigmoid(g, a);
    case 10:
        return adze_max(g, a, b);
    case 11:
        m->conditions[m->nconditions++] = adze_lt(g, a, b);
        return adze_neg(g, a);
    case 12:
        return m->nconditions ? adze_where(g, m->conditions[adze_rng_below(r, (uint32_t)m->nconditions)], a, b) : adze_abs(g, a);
    case 13:
        return m->nconditions ? adze_mul(g, a, adze_cast(g, m->conditions[m->nconditions - 1], adze_val_type(g, a).dtype)) : a;
    case 14: /* something that no chain holds lies between two maps */
        return adze_add(g, a, adze_mean(g, b, (int[]){-1}, 1, true));
    case 15: {
        adze_val mean, var;
        return adze_batchnorm(g, a, m->vector, m->vector, 1e-3, &mean, &var);
    }
    case 16:
    case 17: /* through 16 bits */
        return adze_val_type(g, a).dtype == ADZE_F32 ? adze_cast(g, adze_cast(g, a, ADZE_BF16), ADZE_F32) : a;
    default:
        return adze_mul(g, a, adze_square(g, b));
    }
}

static void build_maps(maps *m, adze_ctx *ctx, uint64_t seed, adze_dtype d, double *mb) {
    adze_rng r = adze_rng_make(seed, 5);
    const int64_t c = (int64_t[]){1, 3, 7, 16, 50, 600}[adze_rng_below(&r, 6)];
    const int64_t dims[4] = {adze_rng_range(&r, 1, 9), adze_rng_range(&r, 1, 6), adze_rng_range(&r, 1, 7), c};
    const adze_type full = adze_type_make(d, 4, dims), vector = adze_type_make(d, 1, &dims[3]);
    const adze_type each = adze_type_make(d, 4, (int64_t[]){dims[0], 1, 1, c}),
                    turned = adze_type_make(d, 4, (int64_t[]){dims[0], dims[2], dims[1], c});
    *m = (maps){0};
    assert_int_equal(adze_graph_new(ctx, &m->g), ADZE_OK);
    m->pool[m->n++] = adze_input(m->g, "x0", full);
    m->pool[m->n++] = adze_input(m->g, "x1", full);
    m->vector = adze_input(m->g, "x2", vector);
    m->pool[m->n++] = adze_broadcast(m->g, m->vector, dims, 4);
    m->pool[m->n++] = adze_broadcast(m->g, adze_input(m->g, "x3", each), dims, 4);
    m->pool[m->n++] = adze_transpose(m->g, adze_input(m->g, "x4", turned), (int[]){0, 2, 1, 3}, 4);
    m->pool[m->n++] = adze_broadcast(m->g, adze_input(m->g, "x5", adze_scalar_type(d)), dims, 4);
    while (m->n < POOL) {
        m->pool[m->n] = any_map(m, &r);
        m->n++;
    }
    for (int i = 0; i < 6; i++) { /* results, in no order */
        char name[8];
        snprintf(name, sizeof name, "y%d", i);
        adze_output(m->g, name, m->pool[6 + adze_rng_below(&r, POOL - 6)]);
    }
    *mb = (double)adze_type_bytes(&full);
    assert_int_equal(adze_graph_status(m->g), ADZE_OK);
}

/* Runs the graph of `seed` and returns its results, one after the other, and what the plan says about itself. */
static char *run_maps(adze_ctx *ctx, uint64_t seed, adze_dtype d, const adze_compile_opts *opts, int64_t *bytes, adze_plan_info *info) {
    maps m;
    double size;
    build_maps(&m, ctx, seed, d, &size);
    adze_plan *plan = NULL;
    adze_session *s = NULL;
    assert_int_equal(adze_compile(m.g, opts, &plan), ADZE_OK);
    assert_int_equal(adze_plan_check(plan), ADZE_OK);
    assert_int_equal(adze_session_new(ctx, plan, NULL, "", &s), ADZE_OK);
    adze_rng r = adze_rng_make(seed, 6);
    for (int i = 0; i < 6; i++) {
        char name[8];
        adze_tensor t;
        snprintf(name, sizeof name, "x%d", i);
        assert_int_equal(adze_session_input(s, name, &t), ADZE_OK);
        const adze_type type = adze_tensor_type(&t);
        for (int64_t e = 0; e < adze_type_count(&type); e++) {
            adze_tensor_set(&t, e, 4 * adze_rng_uniform(&r) - 2);
        }
    }
    assert_int_equal(adze_session_run(s), ADZE_OK);
    *bytes = 0;
    char *all = NULL;
    for (int i = 0; i < 6; i++) {
        char name[8];
        adze_tensor t;
        snprintf(name, sizeof name, "y%d", i);
        assert_int_equal(adze_session_output(s, name, &t), ADZE_OK);
        const adze_type type = adze_tensor_type(&t);
        const int64_t n = adze_type_bytes(&type);
        all = realloc(all, (size_t)(*bytes + n));
        assert_non_null(all);
        memcpy(all + *bytes, adze_tensor_data(&t), (size_t)n);
        *bytes += n;
    }
    *info = adze_plan_describe(plan);
    adze_session_free(s);
    adze_plan_free(plan);
    adze_graph_free(m.g);
    return all;
}

static void chains_give_the_bits_of_the_ops_that_they_stand_for(void **state) {
    (void)state;
    const adze_compile_opts plain = {.no_simplify = true, .no_reuse = true}, ways[] = {{.poison = true}, {.no_reuse = true}, {.random_order = 3}};
    int64_t steps = 0, fused_steps = 0;
    for (int level = 0; level <= (int)adze_isa_best(); level++) {
        for (uint64_t seed = 0; seed < 60; seed++) {
            const adze_ctx_opts opts = {
                .size = sizeof opts, .threads = (int[NTHREADS]){1, 3, 8}[seed % NTHREADS], .isa = adze_isa_name((adze_isa)level)};
            adze_ctx *ctx = NULL;
            assert_int_equal(adze_ctx_new(&opts, &ctx), ADZE_OK);
            const adze_dtype d = seed % 4 == 3 ? ADZE_F64 : ADZE_F32;
            adze_plan_info info;
            int64_t n, m;
            char *want = run_maps(ctx, seed, d, &plain, &n, &info);
            steps += info.nsteps;
            char *got = run_maps(ctx, seed, d, &ways[seed % 3], &m, &info);
            fused_steps += info.nsteps;
            assert_int_equal(n, m);
            if (memcmp(want, got, (size_t)n) != 0) {
                fail_msg("seed %d on %s: a chain changes bits", (int)seed, adze_isa_name((adze_isa)level));
            }
            free(want);
            free(got);
            adze_ctx_free(ctx);
        }
    }
    assert_true(2 * fused_steps < steps);
}

/* Every pattern of the upper bits with lower bits about the middle, in runs of any length. */
static void rounding_to_bf16_is_to_the_nearest_even_at_every_level(void **state) {
    (void)state;
    enum { LOWS = 5, N = 65536 * LOWS };
    static const uint32_t low[LOWS] = {0, 0x7fff, 0x8000, 0x8001, 0xffff};
    uint32_t *x = malloc(N * sizeof *x);
    uint16_t *y = malloc(N * sizeof *y);
    assert_true(x && y);
    for (uint32_t i = 0; i < N; i++) {
        x[i] = i / LOWS << 16 | low[i % LOWS];
    }
    for (int level = 0; level <= (int)adze_isa_best() && level <= ADZE_ISA_V4; level++) {
        const adze_kernel *k = NULL;
        for (int i = 0; i < LISTS[level]->count; i++) {
            const adze_kernel *one = &LISTS[level]->kernels[i];
            k = strcmp(one->op, "cast") == 0 && strcmp(one->name, "bf16") == 0 ? one : k;
        }
        assert_non_null(k);
        for (int64_t at = 0, n = 1; at < N; at += n, n = n % 83 + 1) {
            n = n < N - at ? n : N - at;
            const adze_type from = adze_type_make(ADZE_F32, 1, &n), to = adze_type_make(ADZE_BF16, 1, &n);
            const adze_view in = dense(&from, (char *)(x + at)), out = dense(&to, (char *)(y + at));
            const adze_step step = {.nin = 1, .nout = 1, .in = &in, .out = &out};
            k->run[0](&step, 0, 1);
        }
        for (uint32_t i = 0; i < N; i++) {
            const uint32_t high = x[i] >> 16;
            const bool nan = (x[i] & 0x7fffffff) > 0x7f800000, up = low[i % LOWS] > 0x8000 || (low[i % LOWS] == 0x8000 && high % 2);
            if (nan ? (y[i] & 0x7fff) <= 0x7f80 : y[i] != high + up) {
                fail_msg("%s: %08x becomes %04x", adze_isa_name((adze_isa)level), (unsigned)x[i], (unsigned)y[i]);
            }
        }
    }
    free(x);
    free(y);
}

/* A residual block with batch normalisation, trained: how many bytes the steps move and how much memory they need. */
static adze_plan_info plan_block(adze_ctx *ctx, bool fuse) {
    const int64_t dims[4] = {32, 16, 16, 16}, kernel[4] = {3, 3, 16, 16};
    const adze_type x_type = adze_type_make(ADZE_F32, 4, dims), w_type = adze_type_make(ADZE_F32, 4, kernel),
                    c_type = adze_type_make(ADZE_F32, 1, &dims[3]);
    adze_graph *g = NULL;
    adze_plan *plan = NULL;
    assert_int_equal(adze_graph_new(ctx, &g), ADZE_OK);
    adze_val x = adze_input(g, "x", x_type), p[18], gp[18];
    int n = 0;
    for (int layer = 0; layer < 6; layer++) {
        char name[16];
        for (int k = 0; k < 3; k++) {
            snprintf(name, sizeof name, "p%d.%d", layer, k);
            p[n++] = adze_slot(g, name, k == 0 ? w_type : c_type);
        }
        const adze_conv_attrs attrs = {.pad_lo = {2, {1, 1}}, .pad_hi = {2, {1, 1}}};
        adze_val mean, var;
        const adze_val z = adze_conv(g, x, p[n - 3], &attrs), y = adze_batchnorm(g, z, p[n - 2], p[n - 1], 1e-5, &mean, &var);
        x = adze_relu(g, layer % 2 ? adze_add(g, y, x) : y);
    }
    const adze_val loss = adze_mean(g, adze_square(g, x), NULL, 0, false);
    adze_grad(g, loss, p, n, gp, 0);
    for (int i = 0; i < n; i++) {
        char name[16];
        snprintf(name, sizeof name, "g%d", i);
        adze_output(g, name, gp[i]);
    }
    const adze_compile_opts opts = {.no_simplify = !fuse};
    const int status = adze_compile(g, &opts, &plan);
    if (status != ADZE_OK) {
        fail_msg("%s", adze_errmsg(ctx));
    }
    const adze_plan_info info = adze_plan_describe(plan);
    adze_plan_free(plan);
    adze_graph_free(g);
    return info;
}

static void fusing_moves_fewer_bytes_and_needs_no_more_memory(void **state) {
    (void)state;
    adze_ctx *ctx = NULL;
    assert_int_equal(adze_ctx_new(NULL, &ctx), ADZE_OK);
    const adze_plan_info plain = plan_block(ctx, false), fused = plan_block(ctx, true);
    printf("residual block: %.1f MB in %d steps, fused %.1f MB in %d steps; arena %.2f and %.2f MB\n", plain.bytes / 1e6, (int)plain.nsteps,
           fused.bytes / 1e6, (int)fused.nsteps, (double)plain.arena_bytes / 1e6, (double)fused.arena_bytes / 1e6);
    assert_true(fused.bytes < plain.bytes);
    assert_true(fused.arena_bytes <= plain.arena_bytes);
    adze_ctx_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_over_a_batch_have_the_same_bits_however_it_is_sliced),
        cmocka_unit_test(chains_give_the_bits_of_the_ops_that_they_stand_for),
        cmocka_unit_test(rounding_to_bf16_is_to_the_nearest_even_at_every_level),
        cmocka_unit_test(fusing_moves_fewer_bytes_and_needs_no_more_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
