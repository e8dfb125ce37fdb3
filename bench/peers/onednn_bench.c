/* oneDNN's side of the speed comparison: single convolutions and products, by the problem strings of `adze bench conv` and `adze bench gemm`.
 *
 * usage: onednn_bench [--threads N] [--layout nhwc|any] [--paced] PROBLEM...
 * A line of JSON for each problem, with the median of a run; or, with --paced, for each line "INDEX STEPS" on stdin the mean seconds of that many
 * runs of problem INDEX, after the line "ready". Layout nhwc: pictures as (N, H, W, C) and products row-major, as a caller has them; weights, which a
 * caller packs once, are oneDNN's choice. Layout any: everything is oneDNN's choice and stays so, as inside a network of its own.
 * Needs oneDNN 3; build_onednn compiles it. */
#include <dnnl.h>

#include <ctype.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void check(dnnl_status_t status, const char *what) {
    if (status != dnnl_success) {
        fprintf(stderr, "onednn_bench: %s failed with status %d\n", what, (int)status);
        exit(1);
    }
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* -- problems -------------------------------------------------------------------------------------------------------------------------------- */

enum { G, MB, IC, IH, IW, OC, OH, OW, KH, KW, SH, SW, PH, PW, DH, DW, M, N, K, NKEYS };
static const char *const KEYS[NKEYS] = {"g", "mb", "ic", "ih", "iw", "oc", "oh", "ow", "kh", "kw", "sh", "sw", "ph", "pw", "dh", "dw", "m", "n", "k"};
enum { FWD, DX, DW_ };

typedef struct problem {
    dnnl_dim_t v[NKEYS];
    bool given[NKEYS], ta, tb;
    dnnl_dim_t batch;
    int dir;
    dnnl_data_type_t dtype;
} problem;

static void refuse(const char *text) {
    fprintf(stderr, "onednn_bench: cannot read the problem '%s'\n", text);
    exit(2);
}

static const char *parse_key(const char *text, const char *s, problem *p) {
    size_t len = 0;
    while (isalpha((unsigned char)s[len])) {
        len++;
    }
    for (int k = 0; k < NKEYS && isdigit((unsigned char)s[len]); k++) {
        if (strlen(KEYS[k]) == len && memcmp(KEYS[k], s, len) == 0) {
            char *end;
            p->v[k] = strtoll(s + len, &end, 10);
            p->given[k] = true;
            return end;
        }
    }
    if (strncmp(s, "ta", 2) != 0 && strncmp(s, "tb", 2) != 0) {
        refuse(text);
    }
    *(s[1] == 'a' ? &p->ta : &p->tb) = true;
    return s + 2;
}

static void parse_option(const char *text, const char *s, size_t len, problem *p) {
    char option[32];
    snprintf(option, sizeof option, "%.*s", (int)len, s);
    const char *name = strncmp(option, "dtype=", 6) == 0 ? option + 6 : option;
    if (strcmp(name, "f32") == 0) {
        p->dtype = dnnl_f32;
    } else if (strcmp(name, "bf16") == 0) {
        p->dtype = dnnl_bf16;
    } else if (strcmp(name, "i8") == 0) {
        p->dtype = dnnl_s8;
    } else if (strncmp(name, "batch", 5) == 0) {
        p->batch = atoll(name + 5 + (name[5] == '='));
    } else if (strcmp(name, "dir=fwd") == 0 || strcmp(name, "dir=dx") == 0 || strcmp(name, "dir=dw") == 0) {
        p->dir = name[4] == 'f' ? FWD : name[5] == 'x' ? DX : DW_;
    } else {
        refuse(text);
    }
}

static void same_unless_given(problem *p, int key, int as) {
    p->v[key] = p->given[key] ? p->v[key] : p->v[as];
}

static problem parse(const char *text) {
    problem p = {.dtype = dnnl_f32};
    p.v[G] = p.v[MB] = p.v[SH] = 1;
    const char *s = text;
    while (*s && *s != ',') {
        s = parse_key(text, s, &p);
    }
    while (*s == ',') {
        const size_t len = strcspn(s + 1, ",");
        parse_option(text, s + 1, len, &p);
        s += 1 + len;
    }
    if (p.given[M] ? !(p.v[N] > 0 && p.v[K] > 0) : !(p.v[IC] > 0 && p.v[IH] > 0 && p.v[OC] > 0 && p.v[KH] > 0)) {
        refuse(text);
    }
    const bool square = !p.given[IW];
    same_unless_given(&p, IW, IH);
    same_unless_given(&p, KW, KH);
    same_unless_given(&p, SW, SH);
    same_unless_given(&p, PW, PH);
    same_unless_given(&p, DW, DH);
    for (int side = 0; side < 2 && !p.given[M]; side++) {
        const dnnl_dim_t span = (p.v[KH + side] - 1) * (p.v[DH + side] + 1) + 1;
        if (!p.given[OH + side] && !(side == 1 && square && p.given[OH])) {
            p.v[OH + side] = (p.v[IH + side] + 2 * p.v[PH + side] - span) / p.v[SH + side] + 1;
        } else if (!p.given[OH + side]) {
            p.v[OW] = p.v[OH];
        }
    }
    return p;
}

/* -- a primitive with its memory -------------------------------------------------------------------------------------------------------------- */

typedef struct work {
    dnnl_primitive_desc_t desc;
    dnnl_primitive_t primitive;
    dnnl_exec_arg_t args[4];
    int nargs;
} work;

typedef struct bench {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_attr_t attr; /* scratchpad by the library: kept with the primitive */
    bool any;
} bench;

static dnnl_memory_desc_t describe(int n, const dnnl_dims_t dims, dnnl_data_type_t type, dnnl_format_tag_t tag) {
    dnnl_memory_desc_t md;
    check(dnnl_memory_desc_create_with_tag(&md, n, dims, type, tag), "a memory descriptor");
    return md;
}

/* Memory in the layout that the primitive asks for, filled with small random numbers in that layout: which element is which does not matter. */
static void add_arg(bench *b, work *w, int arg, dnnl_query_t what, bool fill) {
    const_dnnl_memory_desc_t md = dnnl_primitive_desc_query_md(w->desc, what, 0);
    dnnl_memory_t m;
    check(dnnl_memory_create(&m, md, b->engine, DNNL_MEMORY_ALLOCATE), "memory");
    const size_t bytes = dnnl_memory_desc_get_size(md);
    dnnl_data_type_t type = dnnl_f32;
    dnnl_memory_desc_query(md, dnnl_query_data_type, &type);
    void *data;
    check(dnnl_memory_map_data(m, &data), "mapping memory");
    uint32_t r = 12345;
    for (size_t i = 0; i < bytes / dnnl_data_type_size(type); i++) {
        r = r * 1664525 + 1013904223;
        const float v = fill ? (float)(int32_t)r / 2147483648.0F : 0;
        uint32_t bits;
        memcpy(&bits, &v, sizeof bits);
        if (type == dnnl_f32) {
            ((float *)data)[i] = v;
        } else if (type == dnnl_bf16) {
            ((uint16_t *)data)[i] = (uint16_t)(bits >> 16);
        } else if (type == dnnl_s8 || type == dnnl_u8) {
            ((int8_t *)data)[i] = (int8_t)(r >> 25);
        } else {
            ((int32_t *)data)[i] = 0;
        }
    }
    check(dnnl_memory_unmap_data(m, data), "unmapping memory");
    w->args[w->nargs++] = (dnnl_exec_arg_t){arg, m};
}

static void open_conv(bench *b, const problem *p, work *w) {
    const dnnl_dim_t *v = p->v, g = v[G];
    const dnnl_dims_t xd = {v[MB], v[IC], v[IH], v[IW]}, yd = {v[MB], v[OC], v[OH], v[OW]};
    const dnnl_dims_t grouped = {g, v[OC] / g, v[IC] / g, v[KH], v[KW]}, plain = {v[OC], v[IC], v[KH], v[KW]};
    const dnnl_dims_t strides = {v[SH], v[SW]}, dilates = {v[DH], v[DW]}, lo = {v[PH], v[PW]};
    dnnl_dims_t hi = {0};
    for (int i = 0; i < 2; i++) {
        hi[i] = (v[OH + i] - 1) * v[SH + i] + (v[KH + i] - 1) * (v[DH + i] + 1) + 1 - v[IH + i] - v[PH + i];
    }
    const dnnl_format_tag_t tag = b->any ? dnnl_format_tag_any : dnnl_nhwc;
    dnnl_memory_desc_t x = describe(4, xd, p->dtype, tag), y = describe(4, yd, p->dtype, tag);
    dnnl_memory_desc_t k = describe(g > 1 ? 5 : 4, g > 1 ? grouped : plain, p->dtype, dnnl_format_tag_any);
    dnnl_primitive_desc_t fwd;
    check(dnnl_convolution_forward_primitive_desc_create(&fwd, b->engine, dnnl_forward_training, dnnl_convolution_direct, x, k, NULL, y, strides,
                                                         dilates, lo, hi, b->attr),
          "a forward convolution");
    if (p->dir == FWD) {
        w->desc = fwd;
    } else if (p->dir == DX) {
        check(dnnl_convolution_backward_data_primitive_desc_create(&w->desc, b->engine, dnnl_convolution_direct, x, k, y, strides, dilates, lo, hi,
                                                                   fwd, b->attr),
              "a convolution's dx");
    } else {
        check(dnnl_convolution_backward_weights_primitive_desc_create(&w->desc, b->engine, dnnl_convolution_direct, x, k, NULL, y, strides, dilates,
                                                                      lo, hi, fwd, b->attr),
              "a convolution's dw");
    }
    add_arg(b, w, p->dir == DX ? DNNL_ARG_DIFF_SRC : DNNL_ARG_SRC, p->dir == DX ? dnnl_query_diff_src_md : dnnl_query_src_md, p->dir != DX);
    add_arg(b, w, p->dir == DW_ ? DNNL_ARG_DIFF_WEIGHTS : DNNL_ARG_WEIGHTS, p->dir == DW_ ? dnnl_query_diff_weights_md : dnnl_query_weights_md,
            p->dir != DW_);
    add_arg(b, w, p->dir == FWD ? DNNL_ARG_DST : DNNL_ARG_DIFF_DST, p->dir == FWD ? dnnl_query_dst_md : dnnl_query_diff_dst_md, p->dir != FWD);
    dnnl_memory_desc_destroy(x);
    dnnl_memory_desc_destroy(y);
    dnnl_memory_desc_destroy(k);
    if (p->dir != FWD) {
        dnnl_primitive_desc_destroy(fwd);
    }
}

/* i8: the left side unsigned, sums in 32 bits, as quantised networks multiply. bf16 in, bf16 out. */
static void open_gemm(bench *b, const problem *p, work *w) {
    const int lead = p->batch > 0, n = 2 + lead;
    dnnl_dims_t ad = {p->batch}, bd = {p->batch}, cd = {p->batch};
    ad[lead] = cd[lead] = p->v[M];
    bd[lead + 1] = cd[lead + 1] = p->v[N];
    ad[lead + 1] = bd[lead] = p->v[K];
    const dnnl_format_tag_t plain = lead ? dnnl_abc : dnnl_ab, swapped = lead ? dnnl_acb : dnnl_ba, any = dnnl_format_tag_any;
    const bool i8 = p->dtype == dnnl_s8;
    dnnl_memory_desc_t x = describe(n, ad, i8 ? dnnl_u8 : p->dtype, b->any ? any : p->ta ? swapped : plain);
    dnnl_memory_desc_t k = describe(n, bd, p->dtype, b->any ? any : p->tb ? swapped : plain);
    dnnl_memory_desc_t y = describe(n, cd, i8 ? dnnl_s32 : p->dtype, b->any ? any : plain);
    check(dnnl_matmul_primitive_desc_create(&w->desc, b->engine, x, k, NULL, y, b->attr), "a product");
    add_arg(b, w, DNNL_ARG_SRC, dnnl_query_src_md, true);
    add_arg(b, w, DNNL_ARG_WEIGHTS, dnnl_query_weights_md, true);
    add_arg(b, w, DNNL_ARG_DST, dnnl_query_dst_md, false);
    dnnl_memory_desc_destroy(x);
    dnnl_memory_desc_destroy(k);
    dnnl_memory_desc_destroy(y);
}

static double time_runs(bench *b, work *w, long steps) {
    const double start = now();
    for (long i = 0; i < steps; i++) {
        check(dnnl_primitive_execute(w->primitive, b->stream, w->nargs, w->args), "running");
    }
    check(dnnl_stream_wait(b->stream), "waiting");
    return (now() - start) / (double)steps;
}

static void open_work(bench *b, const char *text, work *w) {
    const problem p = parse(text);
    *w = (work){0};
    if (p.given[M]) {
        open_gemm(b, &p, w);
    } else {
        open_conv(b, &p, w);
    }
    check(dnnl_primitive_create(&w->primitive, w->desc), "a primitive");
    time_runs(b, w, 3);
}

static void close_work(work *w) {
    for (int i = 0; i < w->nargs; i++) {
        dnnl_memory_destroy(w->args[i].memory);
    }
    if (w->primitive) {
        dnnl_primitive_destroy(w->primitive);
        dnnl_primitive_desc_destroy(w->desc);
    }
    *w = (work){0};
}

/* -- the program --------------------------------------------------------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(bench *b, const char *text) {
    enum { SAMPLES = 9 };
    double t[SAMPLES];
    work w;
    open_work(b, text, &w);
    const double once = time_runs(b, &w, 3);
    const long steps = once < 2e-3 ? (long)(2e-3 / once) + 1 : 1;
    for (int i = 0; i < SAMPLES; i++) {
        t[i] = time_runs(b, &w, steps);
    }
    qsort(t, SAMPLES, sizeof *t, compare);
    const char *kernel = "";
    dnnl_primitive_desc_query(w.desc, dnnl_query_impl_info_str, 0, (void *)&kernel);
    const dnnl_version_t *v = dnnl_version();
    printf("{\"problem\":\"%s\",\"layout\":\"%s\",\"seconds\":%.6g,\"kernel\":\"%s\",\"onednn\":\"%d.%d.%d\"}\n", text, b->any ? "any" : "nhwc",
           t[SAMPLES / 2], kernel, v->major, v->minor, v->patch);
    fflush(stdout);
    close_work(&w);
}

static void paced(bench *b, char **problems, int n) {
    work w = {0};
    long open = -1;
    char line[64];
    printf("ready\n");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        char *end = line;
        const long index = strtol(line, &end, 10), steps = strtol(end, NULL, 10);
        if (index < 0 || index >= n) {
            fprintf(stderr, "onednn_bench: there is no problem %ld\n", index);
            exit(2);
        }
        if (index != open) {
            close_work(&w);
            open_work(b, problems[index], &w);
            open = index;
        }
        printf("%.9f\n", time_runs(b, &w, steps > 0 ? steps : 1));
        fflush(stdout);
    }
    close_work(&w);
}

/* The library uses as many threads as the process may have processors. */
static void limit_threads(int threads) {
    cpu_set_t have, want;
    CPU_ZERO(&want);
    if (threads < 1 || sched_getaffinity(0, sizeof have, &have) != 0) {
        return;
    }
    for (int i = 0, left = threads; i < CPU_SETSIZE && left > 0; i++) {
        if (CPU_ISSET(i, &have)) {
            CPU_SET(i, &want);
            left--;
        }
    }
    sched_setaffinity(0, sizeof want, &want);
}

/* A oneDNN that is built on SYCL finds the processor through an OpenCL driver, which PyPI's packages put beside the library. */
static void name_driver(void) {
#ifdef ONEDNN_PREFIX
    static const char DRIVER[] = ONEDNN_PREFIX "/lib/libintelocl.so";
    if (access(DRIVER, R_OK) == 0) {
        setenv("OCL_ICD_FILENAMES", DRIVER, 0);
    }
#endif
}

int main(int argc, char **argv) {
    bench b = {0};
    bool wait = false;
    int threads = 0, at = 1;
    for (; at < argc && argv[at][0] == '-'; at++) {
        if (strcmp(argv[at], "--paced") == 0) {
            wait = true;
        } else if (at + 1 < argc && strcmp(argv[at], "--threads") == 0) {
            threads = atoi(argv[++at]);
        } else if (at + 1 < argc && strcmp(argv[at], "--layout") == 0) {
            b.any = strcmp(argv[++at], "any") == 0;
        } else {
            fprintf(stderr, "usage: onednn_bench [--threads N] [--layout nhwc|any] [--paced] PROBLEM...\n");
            return 2;
        }
    }
    limit_threads(threads);
    name_driver();
    check(dnnl_engine_create(&b.engine, dnnl_cpu, 0), "the engine");
    check(dnnl_stream_create(&b.stream, b.engine, dnnl_stream_in_order), "the stream");
    check(dnnl_primitive_attr_create(&b.attr), "attributes");
    if (wait) {
        paced(&b, argv + at, argc - at);
    }
    for (; at < argc && !wait; at++) {
        measure(&b, argv[at]);
    }
    dnnl_primitive_attr_destroy(b.attr);
    dnnl_stream_destroy(b.stream);
    dnnl_engine_destroy(b.engine);
    return 0;
}
