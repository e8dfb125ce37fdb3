/* Prints GFLOP/s of the convolution kernels, forward and dx, on the shapes of known networks, beside a probed peak of multiply-adds, for the
 * context's instruction set and threads: bench_conv [threads] [seconds per line] [part of a name]. Inputs are random: never zeros. */
#include "graph/device.h"

#include "adze/ops.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct bench {
    adze_ctx *ctx;
    const adze_device *device;
    int threads;
    double seconds;
} bench;

typedef struct phase {
    const adze_step *s;
    adze_kernel_fn run;
} phase;

static void run_phase(void *arg, int ith, int nth) {
    const phase *p = arg;
    p->run(p->s, ith, nth);
}

/* -- the peak: 24 independent chains of multiply-adds, as the compiler's target allows -- */

typedef float lanes __attribute__((vector_size(64)));

#if defined(__clang__)
#define EVERY_TARGET __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define EVERY_TARGET __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"), optimize("fp-contract=fast", "O3")))
#endif

EVERY_TARGET static float probe(int64_t rounds, float x) {
    lanes a[12];
    for (int i = 0; i < 12; i++) {
        a[i] = (lanes){0} + (x + (float)i);
    }
    const lanes m = (lanes){0} + 0.999f, c = (lanes){0} + 1e-3f;
    for (int64_t r = 0; r < rounds; r++) {
        for (int i = 0; i < 12; i++) {
            a[i] = a[i] * m + c;
        }
    }
    float sum = 0;
    for (int i = 0; i < 12; i++) {
        sum += a[i][0];
    }
    return sum;
}

static void probe_task(void *arg, int ith, int nth) {
    (void)nth;
    ((float *)arg)[ith * 16] = probe(100000, (float)ith);
}

static double peak(const bench *b) {
    float sink[16 * 64] = {0};
    double best = 0;
    const int n = b->threads < 64 ? b->threads : 64;
    for (int i = 0; i < 8; i++) {
        const double t0 = adze_now();
        adze_pool_run(b->ctx, probe_task, sink, n);
        const double rate = 2.0 * 16 * 12 * 100000 * n / (adze_now() - t0) / 1e9;
        best = rate > best ? rate : best;
    }
    return best;
}

/* -- one line of the table -- */

static int fill(adze_ctx *ctx, adze_view *v, const adze_type *t, uint64_t stream) {
    const int64_t n = adze_type_count(t);
    adze_rng r = adze_rng_make(1, stream);
    *v = (adze_view){.dtype = t->dtype, .rank = t->rank, .data = adze_alloc(ctx, adze_type_bytes(t), 1)};
    if (v->data == NULL) {
        return ADZE_ENOMEM;
    }
    int64_t stride = 1;
    for (int i = t->rank - 1; i >= 0; i--) {
        v->dims[i] = t->dims[i], v->strides[i] = stride;
        stride *= t->dims[i];
    }
    for (int64_t i = 0; i < n; i++) {
        ((float *)v->data)[i] = (float)(adze_rng_uniform(&r) - 0.5);
    }
    return ADZE_OK;
}

static int measure(const bench *b, const char *label, const char *op, const void *attrs, adze_type x, adze_type y, adze_type out, double flops) {
    const adze_type in[2] = {x, y};
    adze_sig sig = {.ctx = b->ctx, .op = adze_op_find(op), .name = label, .attrs = attrs, .nin = 2, .nout = 1, .in = in, .out = &out};
    const adze_kernel *k = adze_device_kernel(b->device, &sig);
    adze_view v[3];
    if (k == NULL) {
        printf("%-34s no kernel\n", label);
        return ADZE_OK;
    }
    TRY(fill(b->ctx, &v[0], &in[0], 1));
    TRY(fill(b->ctx, &v[1], &in[1], 2));
    TRY(fill(b->ctx, &v[2], &out, 3));
    const size_t local = k->local ? (k->local(&sig) + 63) / 64 * 64 : 0;
    void *scratch = adze_alloc(b->ctx, (int64_t)(k->scratch ? k->scratch(&sig) : 0), 1);
    char *locals = adze_alloc(b->ctx, (int64_t)local * b->threads, 1);
    const adze_run run = {0};
    const adze_step s = {.op = sig.op,
                         .attrs = attrs,
                         .nin = 2,
                         .nout = 1,
                         .in = v,
                         .out = &v[2],
                         .scratch = scratch,
                         .local = locals,
                         .local_stride = local,
                         .run = &run};
    double best = 1e30, begin = adze_now();
    for (int i = 0; i < 3 || adze_now() - begin < b->seconds; i++) {
        const double t0 = adze_now();
        for (int p = 0; k->run[p] != NULL; p++) {
            phase ph = {&s, k->run[p]};
            adze_pool_run(b->ctx, run_phase, &ph, b->threads);
        }
        const double t = adze_now() - t0;
        best = t < best ? t : best;
    }
    const double top = peak(b);
    printf("%-34s %-8s %9.3f ms %8.1f GFLOP/s %5.1f %% of %.0f\n", label, k->name, best * 1e3, flops / best / 1e9, 100 * flops / best / 1e9 / top,
           top);
    for (int i = 0; i < 3; i++) {
        adze_free(b->ctx, v[i].data);
    }
    adze_free(b->ctx, scratch);
    adze_free(b->ctx, locals);
    return ADZE_OK;
}

static adze_type dims4(int64_t a, int64_t b, int64_t c, int64_t d) {
    return adze_type_make(ADZE_F32, 4, (const int64_t[]){a, b, c, d});
}

static int conv_lines(const bench *b, const char *name, int64_t n, int64_t h, int64_t c, int64_t k, int64_t size, int64_t stride, int64_t pad,
                      int64_t groups) {
    const int64_t o = (h + 2 * pad - size) / stride + 1;
    const adze_ints strides = {.n = 2, .v = {stride, stride}}, pads = {.n = 2, .v = {pad, pad}};
    const adze_conv_attrs at = {.stride = strides, .pad_lo = pads, .pad_hi = pads, .size = {.n = 2, .v = {h, h}}, .groups = groups};
    const adze_type x = dims4(n, h, h, c), w = dims4(size, size, c / groups, k), y = dims4(n, o, o, k);
    const double flops = 2.0 * (double)(n * o * o * k * size * size * c / groups);
    char label[80];
    snprintf(label, sizeof label, "%s", name);
    TRY(measure(b, label, "conv", &at, x, w, y, flops));
    snprintf(label, sizeof label, "  dx");
    return measure(b, label, "conv_dx", &at, y, w, x, flops);
}

static int all_lines(const bench *b, const char *only) {
    static const struct {
        const char *name;
        int64_t n, h, c, k, size, stride, pad, groups;
    } LINES[] = {
        {"16->16 3x3 @32", 128, 32, 16, 16, 3, 1, 1, 1},
        {"32->32 3x3 @16", 128, 16, 32, 32, 3, 1, 1, 1},
        {"64->64 3x3 @8", 128, 8, 64, 64, 3, 1, 1, 1},
        {"16->32 3x3/2 @32", 128, 32, 16, 32, 3, 2, 1, 1},
        {"64->64 3x3 @56", 8, 56, 64, 64, 3, 1, 1, 1},
        {"128->128 3x3 @28", 8, 28, 128, 128, 3, 1, 1, 1},
        {"256->256 3x3 @14", 8, 14, 256, 256, 3, 1, 1, 1},
        {"512->512 3x3 @7", 8, 7, 512, 512, 3, 1, 1, 1},
        {"64->256 1x1 @56", 8, 56, 64, 256, 1, 1, 0, 1},
        {"256->64 1x1 @56", 8, 56, 256, 64, 1, 1, 0, 1},
        {"512->2048 1x1 @7", 8, 7, 512, 2048, 1, 1, 0, 1},
        {"1024->256 1x1 @14", 8, 14, 1024, 256, 1, 1, 0, 1},
        {"256->512 1x1/2 @56", 8, 56, 256, 512, 1, 2, 0, 1},
        {"3->64 7x7/2 @224", 8, 224, 3, 64, 7, 2, 3, 1},
        {"3->96 11x11/4 @224", 8, 224, 3, 96, 11, 4, 2, 1},
        {"3->64 3x3 @224", 2, 224, 3, 64, 3, 1, 1, 1},
        {"1->20 5x5 @28", 128, 28, 1, 20, 5, 1, 0, 1},
        {"20->50 5x5 @12", 128, 12, 20, 50, 5, 1, 0, 1},
        {"16->32 5x5 @28", 32, 28, 16, 32, 5, 1, 2, 1},
        {"256->256 3x3 @14 groups 32", 8, 14, 256, 256, 3, 1, 1, 32},
        {"128->128 3x3 @28 depthwise", 8, 28, 128, 128, 3, 1, 1, 128},
        {"128->128 3x3/2 @28 depthwise", 8, 28, 128, 128, 3, 2, 1, 128},
        {"batch 1 64->64 3x3 @56", 1, 56, 64, 64, 3, 1, 1, 1},
        {"batch 1 256->256 3x3 @14", 1, 14, 256, 256, 3, 1, 1, 1},
        {"batch 1 512->512 3x3 @7", 1, 7, 512, 512, 3, 1, 1, 1},
        {"batch 1 512->2048 1x1 @7", 1, 7, 512, 2048, 1, 1, 0, 1},
    };
    for (size_t i = 0; i < sizeof LINES / sizeof *LINES; i++) {
        if (only == NULL || strstr(LINES[i].name, only)) {
            TRY(conv_lines(b, LINES[i].name, LINES[i].n, LINES[i].h, LINES[i].c, LINES[i].k, LINES[i].size, LINES[i].stride, LINES[i].pad,
                           LINES[i].groups));
        }
    }
    return ADZE_OK;
}

int main(int argc, char **argv) {
    bench b = {.seconds = argc > 2 ? atof(argv[2]) : 0.05};
    const adze_ctx_opts opts = {.size = sizeof opts, .threads = argc > 1 ? atoi(argv[1]) : 0};
    if (adze_ctx_new(&opts, &b.ctx) != ADZE_OK) {
        fprintf(stderr, "no context\n");
        return 1;
    }
    b.threads = adze_ctx_threads(b.ctx);
    b.device = adze_device_find("cpu", adze_ctx_isa_level(b.ctx));
    printf("%d thread(s), %s, peak %.0f GFLOP/s\n", b.threads, adze_ctx_isa(b.ctx), peak(&b));
    const int status = all_lines(&b, argc > 3 ? argv[3] : NULL);
    if (status != ADZE_OK) {
        fprintf(stderr, "%s\n", adze_errmsg(b.ctx));
    }
    adze_ctx_free(b.ctx);
    return status == ADZE_OK ? 0 : 1;
}
