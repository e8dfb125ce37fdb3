/* The limits of the machine, probed beside what is measured: clocks wander, and so does what other programs leave over. */
#include "cli/probe.h"

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)

typedef void (*chains_fn)(int64_t rounds);
typedef struct streams {
    void (*read)(const float *x, int64_t n);
    void (*copy)(float *y, const float *x, int64_t n);
    void (*triad)(float *z, const float *x, const float *y, int64_t n);
} streams;

typedef struct math_row { /* the best first */
    probe_math math;
    adze_isa isa;
    const char *name;
    double ops; /* of one link of one chain */
    chains_fn run;
    bool (*has)(void); /* what the level does not imply; NULL: nothing */
} math_row;
enum { CHAINS = 12 };

#if defined(__x86_64__)
#include <immintrin.h>
#define KEEP(a, b, c, d, e, f) __asm__ volatile("" : "+x"(a), "+x"(b), "+x"(c), "+x"(d), "+x"(e), "+x"(f))
#define KEEP512(a, b, c, d, e, f) __asm__ volatile("" : "+v"(a), "+v"(b), "+v"(c), "+v"(d), "+v"(e), "+v"(f))

#define NAME(x) JOIN(x, v2_f32)
#define TARGET
#define V __m128
#define SPLAT_M _mm_set1_ps(0.999F)
#define SPLAT_K _mm_set1_ps(1e-3F)
#define ZERO _mm_setzero_ps()
#define STEP(a) _mm_add_ps(_mm_mul_ps(a, m), k)
#include "cli/probe_chains.inc"

#define NAME(x) JOIN(x, v2_f64)
#define TARGET
#define V __m128d
#define SPLAT_M _mm_set1_pd(0.999)
#define SPLAT_K _mm_set1_pd(1e-3)
#define ZERO _mm_setzero_pd()
#define STEP(a) _mm_add_pd(_mm_mul_pd(a, m), k)
#include "cli/probe_chains.inc"

#define NAME(x) JOIN(x, v3_f32)
#define TARGET __attribute__((target("avx2,fma")))
#define V __m256
#define SPLAT_M _mm256_set1_ps(0.999F)
#define SPLAT_K _mm256_set1_ps(1e-3F)
#define ZERO _mm256_setzero_ps()
#define STEP(a) _mm256_fmadd_ps(a, m, k)
#include "cli/probe_chains.inc"

#define NAME(x) JOIN(x, v3_f64)
#define TARGET __attribute__((target("avx2,fma")))
#define V __m256d
#define SPLAT_M _mm256_set1_pd(0.999)
#define SPLAT_K _mm256_set1_pd(1e-3)
#define ZERO _mm256_setzero_pd()
#define STEP(a) _mm256_fmadd_pd(a, m, k)
#include "cli/probe_chains.inc"

#define NAME(x) JOIN(x, v2)
#define TARGET
#define V __m128
#define LANES 4
#define ZERO _mm_setzero_ps()
#define SPLAT _mm_set1_ps(0.5F)
#define ADD _mm_add_ps
#define MUL _mm_mul_ps
#define LOAD _mm_load_ps
#define STORE _mm_store_ps
#include "cli/probe_stream.inc"

#define NAME(x) JOIN(x, v3)
#define TARGET __attribute__((target("avx2,fma")))
#define V __m256
#define LANES 8
#define ZERO _mm256_setzero_ps()
#define SPLAT _mm256_set1_ps(0.5F)
#define ADD _mm256_add_ps
#define MUL _mm256_mul_ps
#define LOAD _mm256_load_ps
#define STORE _mm256_store_ps
#include "cli/probe_stream.inc"

#undef KEEP
#define KEEP KEEP512

#define NAME(x) JOIN(x, v4_f32)
#define TARGET __attribute__((target("avx512f")))
#define V __m512
#define SPLAT_M _mm512_set1_ps(0.999F)
#define SPLAT_K _mm512_set1_ps(1e-3F)
#define ZERO _mm512_setzero_ps()
#define STEP(a) _mm512_fmadd_ps(a, m, k)
#include "cli/probe_chains.inc"

#define NAME(x) JOIN(x, v4_f64)
#define TARGET __attribute__((target("avx512f")))
#define V __m512d
#define SPLAT_M _mm512_set1_pd(0.999)
#define SPLAT_K _mm512_set1_pd(1e-3)
#define ZERO _mm512_setzero_pd()
#define STEP(a) _mm512_fmadd_pd(a, m, k)
#include "cli/probe_chains.inc"

#define NAME(x) JOIN(x, v4_bf16)
#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))
#define V __m512
#define SPLAT_M _mm512_set1_ps(0.5F)
#define SPLAT_K _mm512_set1_ps(0.25F)
#define ZERO _mm512_setzero_ps()
#define STEP(a) _mm512_dpbf16_ps(a, (__m512bh)m, (__m512bh)k)
#include "cli/probe_chains.inc"

#define NAME(x) JOIN(x, v4_i8)
#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))
#define V __m512i
#define SPLAT_M _mm512_set1_epi8(3)
#define SPLAT_K _mm512_set1_epi8(-1)
#define ZERO _mm512_setzero_si512()
#define STEP(a) _mm512_dpbusd_epi32(a, m, k)
#include "cli/probe_chains.inc"

#define NAME(x) JOIN(x, v4)
#define TARGET __attribute__((target("avx512f")))
#define V __m512
#define LANES 16
#define ZERO _mm512_setzero_ps()
#define SPLAT _mm512_set1_ps(0.5F)
#define ADD _mm512_add_ps
#define MUL _mm512_mul_ps
#define LOAD _mm512_load_ps
#define STORE _mm512_store_ps
#include "cli/probe_stream.inc"

static bool has_bf16(void) {
    return __builtin_cpu_supports("avx512bf16") != 0;
}
static bool has_vnni(void) {
    return __builtin_cpu_supports("avx512vnni") != 0;
}

static const math_row MATH[] = {
    {PROBE_F32, ADZE_ISA_V4, "avx512 fma", 32, chains_v4_f32, NULL},
    {PROBE_F32, ADZE_ISA_V3, "avx2 fma", 16, chains_v3_f32, NULL},
    {PROBE_F32, ADZE_ISA_REF, "sse2 mul, add", 8, chains_v2_f32, NULL},
    {PROBE_F64, ADZE_ISA_V4, "avx512 fma", 16, chains_v4_f64, NULL},
    {PROBE_F64, ADZE_ISA_V3, "avx2 fma", 8, chains_v3_f64, NULL},
    {PROBE_F64, ADZE_ISA_REF, "sse2 mul, add", 4, chains_v2_f64, NULL},
    {PROBE_BF16, ADZE_ISA_V4, "avx512 dpbf16", 64, chains_v4_bf16, has_bf16},
    {PROBE_I8, ADZE_ISA_V4, "avx512 dpbusd", 128, chains_v4_i8, has_vnni},
};

static const streams *find_streams(const cli *c) {
    const adze_isa isa = adze_ctx_isa_level(c->ctx);
    return isa >= ADZE_ISA_V4 ? &streams_v4 : isa >= ADZE_ISA_V3 ? &streams_v3 : &streams_v2;
}
#else
static void KEEP(double a, double b, double c, double d, double e, double f) {
    static volatile double sink;
    sink = a + b + c + d + e + f;
    (void)sink;
}

#define NAME(x) JOIN(x, any_f32)
#define TARGET
#define V float
#define SPLAT_M 0.999F
#define SPLAT_K 1e-3F
#define ZERO 0
#define STEP(a) a *m + k
#include "cli/probe_chains.inc"

#define NAME(x) JOIN(x, any)
#define TARGET
#define V float
#define LANES 1
#define ZERO 0
#define SPLAT 0.5F
#define ADD(a, b) ((a) + (b))
#define MUL(a, b) ((a) * (b))
#define LOAD(p) (*(p))
#define STORE(p, v) (*(p) = (v))
#include "cli/probe_stream.inc"

static const math_row MATH[] = {{PROBE_F32, ADZE_ISA_REF, "scalar", 2, chains_any_f32, NULL},
                                {PROBE_F64, ADZE_ISA_REF, "scalar", 2, chains_any_f32, NULL}};
static const streams *find_streams(const cli *c) {
    (void)c;
    return &streams_any;
}
#endif

static const math_row *find_math(const cli *c, probe_math m) {
    for (size_t i = 0; i < ADZE_COUNT(MATH); i++) {
        if (MATH[i].math == m && adze_ctx_isa_level(c->ctx) >= MATH[i].isa && (!MATH[i].has || MATH[i].has())) {
            return &MATH[i];
        }
    }
    return NULL;
}

const char *probe_math_name(const cli *c, probe_math m) {
    const math_row *row = find_math(c, m);
    return row ? row->name : NULL;
}

static const double LEAST_SECONDS = 0.4e-3;
enum { ROUNDS = 200000 }; /* of 6 to 12 cycles */

typedef struct chains_job {
    chains_fn run;
    int64_t rounds;
} chains_job;

static void chains_task(void *arg, int ith, int nth) {
    (void)ith, (void)nth;
    const chains_job *j = arg;
    j->run(j->rounds);
}

double probe_ops(cli *c, probe_math m, int threads) {
    const math_row *row = find_math(c, m);
    row = row ? row : find_math(c, PROBE_F32);
    chains_job j = {row->run, ROUNDS};
    const double start = adze_now();
    adze_pool_run(c->ctx, chains_task, &j, threads);
    return row->ops * CHAINS * (double)j.rounds * threads / (adze_now() - start);
}

int probe_room_new(cli *c, int64_t bytes, probe_room *r) {
    enum { LEAST = 16 << 10 };
    r->floats = (bytes > LEAST ? bytes : LEAST) / (int64_t)sizeof(float) / 64 * 64;
    r->at = adze_alloc(c->ctx, r->floats, sizeof(float));
    if (!r->at) {
        return ADZE_ENOMEM;
    }
    for (int64_t i = 0; i < r->floats; i++) {
        r->at[i] = 1; /* a page that was never written is no memory yet */
    }
    return ADZE_OK;
}

void probe_room_free(cli *c, probe_room *r) {
    adze_free(c->ctx, r->at);
    *r = (probe_room){0};
}

typedef struct stream_job {
    const streams *run;
    const probe_room *room;
    probe_stream kind;
    int64_t passes;
} stream_job;

/* A thread keeps to a part of its own, which is split into the arrays of the stream. */
static void stream_task(void *arg, int ith, int nth) {
    const stream_job *j = arg;
    int64_t from, to;
    adze_share(j->room->floats, 64, ith, nth, &from, &to);
    float *x = j->room->at + from;
    const int64_t part = (to - from) / (j->kind + 1) / 64 * 64;
    for (int64_t p = 0; p < j->passes; p++) {
        if (j->kind == PROBE_READ) {
            j->run->read(x, part);
        } else if (j->kind == PROBE_COPY) {
            j->run->copy(x, x + part, part);
        } else {
            j->run->triad(x, x + part, x + 2 * part, part);
        }
    }
}

double probe_bytes(cli *c, const probe_room *r, probe_stream s, int threads) {
    stream_job j = {find_streams(c), r, s, 1};
    for (;;) {
        double start = adze_now();
        adze_pool_run(c->ctx, stream_task, &j, threads);
        double seconds = adze_now() - start;
        if (seconds >= LEAST_SECONDS || j.passes >= INT64_C(1) << 40) {
            return (double)r->floats * sizeof(float) * (double)j.passes / seconds;
        }
        double more = seconds > 0 ? 1.2 * LEAST_SECONDS / seconds : 8;
        j.passes = (int64_t)((double)j.passes * (more < 8 ? more : 8)) + 1;
    }
}
