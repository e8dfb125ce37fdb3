/* What every room may use from the ground floor beyond the public header: memory, checked sizes, text, files, threads. */
#ifndef ADZE_SRC_BASE_H
#define ADZE_SRC_BASE_H

#include "adze/base.h"

#include <string.h>

/* The one macro that hides control flow: returns the callee's failure to the caller. */
#define TRY(call)                                                                                                                                    \
    do {                                                                                                                                             \
        int try_status_ = (call);                                                                                                                    \
        if (try_status_ != ADZE_OK) {                                                                                                                \
            return try_status_;                                                                                                                      \
        }                                                                                                                                            \
    } while (0)

#define ADZE_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* -- checked sizes: no raw product next to an allocation; false on overflow or a negative operand (result untouched) -- */
bool adze_mul_size(int64_t a, int64_t b, int64_t *out);
bool adze_add_size(int64_t a, int64_t b, int64_t *out);

/* -- memory: through the context's table, counted, 64-byte aligned, zeroed. Thread-safe but for the error message. -- */
void *adze_alloc(adze_ctx *ctx, int64_t count, size_t size); /* NULL with ADZE_ENOMEM set, or on overflow; count 0 gives a valid pointer */
void *adze_alloc_raw(adze_ctx *ctx, int64_t bytes);          /* not zeroed; sets no error: for worker threads */
void *adze_resize(adze_ctx *ctx, void *p, int64_t old_count, int64_t new_count, size_t size); /* new part zeroed; NULL: p is still valid */
void adze_free(adze_ctx *ctx, void *p);                                                       /* p from the three above; NULL is fine */
char *adze_strdup(adze_ctx *ctx, const char *s);

typedef struct adze_arena { /* many small objects with one lifetime; zero-initialise, set ctx */
    adze_ctx *ctx;
    struct adze_arena_block *blocks;
    size_t used; /* bytes handed out */
} adze_arena;
void *adze_arena_alloc(adze_arena *a, size_t bytes); /* zeroed, 16-byte aligned; NULL with ADZE_ENOMEM set */
char *adze_arena_strdup(adze_arena *a, const char *s);
void *adze_arena_dup(adze_arena *a, const void *p, size_t bytes);
void adze_arena_free(adze_arena *a);

/* -- text: a growing string; the first failure sticks and is returned by finish -- */
typedef struct adze_text {
    adze_ctx *ctx;
    char *s;
    int64_t len, cap;
    bool failed;
} adze_text;
void adze_text_add(adze_text *t, const char *fmt, ...) ADZE_PRINTF(2, 3);
void adze_text_put(adze_text *t, const char *s, size_t n);
int adze_text_finish(adze_text *t, char **out); /* hands the string over (adze_free), or ADZE_ENOMEM */
void adze_text_drop(adze_text *t);

/* Numbers without the locale. Printing a double gives the shortest text that reads back to the same bits ("0.1", "1e-07", "inf", "nan"). */
int adze_print_f64(char *out, size_t n, double v);
bool adze_parse_f64(const char *s, double *out);  /* the whole string must be a number */
bool adze_parse_i64(const char *s, int64_t *out); /* decimal only: "010" is 10 */
bool adze_parse_u64(const char *s, uint64_t *out);

/* -- files: through the context's table -- */
const adze_fs *adze_ctx_fs(adze_ctx *ctx);
int adze_memory_check(adze_ctx *ctx, int64_t bytes); /* ADZE_ENOMEM with a sentence when a plan wants more than the machine can give */
struct adze_formats;                                 /* decoders that need a library of their own: data/formats.h; a constant table, borrowed */
void adze_ctx_set_formats(adze_ctx *ctx, const struct adze_formats *formats);
const struct adze_formats *adze_ctx_formats(const adze_ctx *ctx);                                 /* NULL: none registered */
int adze_read_file(adze_ctx *ctx, const char *path, int64_t max_bytes, void **bytes, int64_t *n); /* bytes[n] is 0 as well; adze_free */
/* Durable replacement: write to "path.tmp-...", sync, rename, sync the folder. The old file stays whole until the new one is. */
typedef struct adze_piece {
    const void *bytes;
    int64_t n;
} adze_piece;
int adze_replace_file(adze_ctx *ctx, const char *path, const adze_piece *pieces, int npieces);
int adze_append_file(adze_ctx *ctx, const char *path, const char *text); /* one whole write at the end, synced */
int adze_sync_folder(adze_ctx *ctx, const char *path);                   /* makes a rename in it durable; minus errno */
int adze_make_dirs(adze_ctx *ctx, const char *path);                     /* like mkdir -p */
bool adze_path_exists(adze_ctx *ctx, const char *path);
int adze_path_join(char *out, size_t n, const char *dir, const char *name);      /* ADZE_EARG when it does not fit */
int adze_fail_errno(adze_ctx *ctx, int err, const char *verb, const char *path); /* "cannot read 'x': No such file" -> ADZE_EIO */

/* -- hashing: XXH3, inlined from its header -- */
void adze_hash128(const void *p, size_t n, uint64_t out[2]);
uint64_t adze_hash64(const void *p, size_t n, uint64_t seed);

/* -- threads: a persistent pool, the caller is thread 0; returns when all have finished (a barrier) -- */
typedef void (*adze_task)(void *arg, int ith, int nth);
void adze_pool_run(adze_ctx *ctx, adze_task fn, void *arg, int nth); /* nth is clipped to the context's threads */
double adze_now(void);                                               /* seconds, monotonic */

/* Contiguous share of n items for thread ith of nth, in multiples of `grain`. */
static inline void adze_share(int64_t n, int64_t grain, int ith, int nth, int64_t *from, int64_t *to) {
    int64_t blocks = (n + grain - 1) / grain;
    int64_t a = blocks * ith / nth * grain, b = blocks * (ith + 1) / nth * grain;
    *from = a < n ? a : n;
    *to = b < n ? b : n;
}

/* -- instruction sets: what the code was built for and the processor has -- */
typedef enum adze_isa { ADZE_ISA_REF, ADZE_ISA_V2, ADZE_ISA_V3, ADZE_ISA_V4, ADZE_ISA_BF16, ADZE_ISA_AMX } adze_isa;
adze_isa adze_ctx_isa_level(const adze_ctx *ctx); /* REF: portable code compiled without extras */
adze_isa adze_isa_best(void);                     /* of this processor, read once by cpuid and xgetbv */
const char *adze_isa_name(adze_isa isa);          /* "ref", "v2", "v3", "v4", "avx512bf16", "amx" */

/* What a failed allocation returns, its message being set already: TRY(ADZE_GOT(p)). */
#define ADZE_GOT(p) ((p) ? ADZE_OK : ADZE_ENOMEM)

#endif
