/* adze bench peak: the limits that everything else is held against. */
#include "cli/bench.h"

#include <stdlib.h>
#include <unistd.h>

enum { TRIES = 9 };

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void line(const cli *c, const char *what, const char *detail, int threads, double *v, const char *unit) {
    qsort(v, TRIES, sizeof(*v), compare);
    const double middle = v[TRIES / 2] * 1e-9, best = v[TRIES - 1] * 1e-9;
    if (c->global.json) {
        printf(
            "{\"schema\":1,\"work\":\"peak\",\"what\":\"%s\",\"detail\":\"%s\",\"threads\":%d,\"isa\":\"%s\",\"unit\":\"%s\",\"median\":%.2f,\"best\":%.2f,"
            "\"repro\":\"adze bench peak\"}\n",
            what, detail, threads, adze_ctx_isa(c->ctx), unit, middle, best);
    } else {
        printf("%-12s %-14s %2d %-8s %9.1f %9.1f %s\n", what, detail, threads, threads == 1 ? "thread" : "threads", middle, best, unit);
    }
}

static void math_line(cli *c, probe_math m, int threads) {
    static const char *const NAMES[PROBE_NMATH] = {"f32", "f64", "bf16 dot", "int8 dot"};
    double v[TRIES];
    const char *detail = probe_math_name(c, m);
    for (int i = 0; detail && i < TRIES; i++) {
        v[i] = probe_ops(c, m, threads);
    }
    if (detail) {
        line(c, NAMES[m], detail, threads, v, "GFLOP/s");
    }
}

static int stream_line(cli *c, const char *what, probe_stream s, int64_t bytes, int threads) {
    static const char *const NAMES[] = {"read", "copy", "triad"};
    probe_room r;
    double v[TRIES];
    TRY(probe_room_new(c, bytes, &r));
    for (int i = 0; i < TRIES; i++) {
        v[i] = probe_bytes(c, &r, s, threads);
    }
    probe_room_free(c, &r);
    line(c, what, NAMES[s], threads, v, "GB/s");
    return ADZE_OK;
}

static int64_t cache_bytes(int name, int64_t usual) {
    const long n = sysconf(name);
    return n > 0 ? n : usual;
}

/* Half of the second level is surely in it; of the last one, which strangers may share, a quarter, if that is outside the second. */
static int memory_lines(cli *c, int threads) {
    const int64_t l2 = cache_bytes(_SC_LEVEL2_CACHE_SIZE, 1 << 20), l3 = cache_bytes(_SC_LEVEL3_CACHE_SIZE, 0), far = l3 > 0 ? 4 * l3 : 16 * l2;
    const int64_t memory = far < (INT64_C(192) << 20) ? far : INT64_C(192) << 20;
    for (probe_stream s = PROBE_READ; s <= PROBE_TRIAD; s++) {
        TRY(stream_line(c, "L2", s, l2 / 2 * threads, threads));
    }
    for (probe_stream s = PROBE_READ; s <= PROBE_TRIAD && l3 / 4 > 2 * l2 * threads; s++) {
        TRY(stream_line(c, "L3", s, l3 / 4, threads));
    }
    for (probe_stream s = PROBE_READ; s <= PROBE_TRIAD; s++) {
        TRY(stream_line(c, "memory", s, memory, threads));
    }
    return ADZE_OK;
}

int cli_bench_peak(cli *c) {
    const int all = adze_ctx_threads(c->ctx);
    if (!c->global.json) {
        printf("%-38s %9s %9s\n", "", "median", "best");
    }
    for (int threads = 1;; threads = all) {
        for (int m = 0; m < PROBE_NMATH; m++) {
            math_line(c, (probe_math)m, threads);
        }
        TRY(memory_lines(c, threads));
        if (threads == all) {
            return cli_finish_output(c);
        }
    }
}
