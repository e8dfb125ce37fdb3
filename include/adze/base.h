/* The ground floor: status codes, the context, the tables for memory and files, option fields and random numbers.
 *
 * Every function that can fail returns ADZE_OK (0) or a negative ADZE_E* code and leaves one sentence in the context (adze_errmsg).
 * Nothing here prints, exits or keeps state outside the context. A context belongs to one thread at a time; objects made from it keep a
 * pointer to it and must be freed before it. */
#ifndef ADZE_BASE_H
#define ADZE_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define ADZE_API __attribute__((visibility("default")))
#define ADZE_PRINTF(a, b) __attribute__((format(printf, a, b)))
#else
#define ADZE_API
#define ADZE_PRINTF(a, b)
#endif

#define ADZE_VERSION_MAJOR 0
#define ADZE_VERSION_MINOR 1
#define ADZE_VERSION_PATCH 0

/* -- status ------------------------------------------------------------------------------------------------------------------------ */

typedef enum adze_status {
    ADZE_OK = 0,
    ADZE_EARG = -1,     /* an argument, option or configuration is wrong */
    ADZE_ESHAPE = -2,   /* shapes do not fit */
    ADZE_ETYPE = -3,    /* dtypes do not fit */
    ADZE_ENOMEM = -4,   /* memory is exhausted, or a limit on it reached */
    ADZE_EIO = -5,      /* the operating system refused a file operation */
    ADZE_EFORMAT = -6,  /* a file's content is not what it claims to be */
    ADZE_ENOSUP = -7,   /* legal, but not supported here */
    ADZE_EDEVICE = -8,  /* a device failed */
    ADZE_ECOMM = -9,    /* a rank, the network or another process is in the way: may pass */
    ADZE_EBUG = -10,    /* a fault of Adze itself */
    ADZE_ENAN = -11,    /* training diverged: a tensor is not finite */
    ADZE_ESTOPPED = -12 /* stopped on request; what had to be saved is saved */
} adze_status;

/* The name of a code ("ADZE_ESHAPE") and the exit code of the command that stands for it (docs/guide.md has the table). */
ADZE_API const char *adze_status_name(int status);
ADZE_API int adze_status_exit_code(int status);
ADZE_API const char *adze_version(void); /* "0.1.0" */

/* -- memory and files: every allocation and every file access goes through these two tables ---------------------------------------- */

typedef struct adze_mem {
    void *user;
    void *(*alloc)(void *user, size_t bytes, size_t align); /* align: a power of two; NULL when there is none; thread-safe */
    void (*free)(void *user, void *p, size_t bytes);        /* bytes: as asked for */
} adze_mem;

enum { ADZE_OPEN_READ = 0, ADZE_OPEN_CREATE = 1 /* new or truncated */, ADZE_OPEN_APPEND = 2 };

typedef struct adze_fstat {
    bool exists, is_dir, is_link;
    bool is_special;  /* a device, a pipe, a socket: neither file nor folder */
    int64_t size;     /* bytes */
    int64_t mtime_ns; /* since 1970 */
} adze_fstat;

/* Each returns a value >= 0, or minus an errno. Short reads and writes are legal; the library loops. */
typedef struct adze_fs {
    void *user;
    int (*open)(void *user, const char *path, int mode); /* -> descriptor */
    int (*close)(void *user, int fd);
    int64_t (*read)(void *user, int fd, void *buf, size_t n);
    int64_t (*write)(void *user, int fd, const void *buf, size_t n);
    int (*reserve)(void *user, int fd, int64_t bytes); /* disk space, so that a full disk is found before old files are touched */
    int (*sync)(void *user, int fd);
    int (*sync_dir)(void *user, const char *path); /* makes a rename in this folder durable */
    int (*rename)(void *user, const char *from, const char *to);
    int (*unlink)(void *user, const char *path);
    int (*mkdir)(void *user, const char *path);
    int (*symlink)(void *user, const char *target, const char *path);
    int (*stat)(void *user, const char *path, adze_fstat *out); /* 0 also when nothing is there: out->exists says */
    int (*list)(void *user, const char *path, int (*each)(void *arg, const char *name), void *arg); /* stops when each returns != 0 */
} adze_fs;

/* -- context ------------------------------------------------------------------------------------------------------------------------ */

typedef struct adze_ctx adze_ctx;

typedef enum adze_level { ADZE_DEBUG, ADZE_INFO, ADZE_WARN } adze_level;
typedef void (*adze_log_fn)(void *user, adze_level level, const char *message);

typedef struct adze_ctx_opts {
    size_t size;         /* sizeof(adze_ctx_opts): lets the struct grow */
    int threads;         /* 0: as many as this process may use (cgroup quota and affinity respected) */
    const char *isa;     /* "ref", "v2", "v3", "v4", "avx512bf16", "amx"; NULL: $ADZE_ISA, else the processor's best */
    const adze_mem *mem; /* NULL: aligned_alloc and free */
    const adze_fs *fs;   /* NULL: POSIX files */
    adze_log_fn log;     /* NULL: silence */
    void *log_user;
    size_t mem_limit;  /* bytes this context may hold at once; 0: no limit */
    bool reproducible; /* f32 and f64 have the same bits at every instruction set; also with ADZE_REPRODUCIBLE=1 in the environment. Refuses bf16 */
    bool pin;          /* binds each worker thread to one of the processors that this process may use; the caller's thread is left alone */
} adze_ctx_opts;

/* opts may be NULL. On ADZE_EARG *out is a context too, so that adze_errmsg can say why: free it. On ADZE_ENOMEM *out is NULL. */
ADZE_API int adze_ctx_new(const adze_ctx_opts *opts, adze_ctx **out);
ADZE_API void adze_ctx_free(adze_ctx *ctx);
ADZE_API const char *adze_errmsg(const adze_ctx *ctx); /* the last failure as one sentence; "" when there was none */
ADZE_API int adze_errcode(const adze_ctx *ctx);
ADZE_API void adze_err_clear(adze_ctx *ctx);
ADZE_API int adze_ctx_threads(const adze_ctx *ctx);
ADZE_API const char *adze_ctx_isa(const adze_ctx *ctx);
ADZE_API bool adze_ctx_reproducible(const adze_ctx *ctx);
ADZE_API size_t adze_ctx_mem_used(const adze_ctx *ctx);  /* bytes held now */
ADZE_API int64_t adze_ctx_mem_left(const adze_ctx *ctx); /* bytes that mem_limit still allows; INT64_MAX without a limit */
ADZE_API size_t adze_ctx_mem_peak(const adze_ctx *ctx);  /* the most ever held */

/* Sets the context's error and returns `code`, so that a check reads `return adze_fail(ctx, ADZE_ESHAPE, "...")`. */
ADZE_API int adze_fail(adze_ctx *ctx, int code, const char *fmt, ...) ADZE_PRINTF(3, 4);
ADZE_API void adze_note(adze_ctx *ctx, adze_level level, const char *fmt, ...) ADZE_PRINTF(3, 4);

/* -- fields: one table per options struct drives parsing, printing, defaults, ranges, help, hashing --------------------------------- */

typedef struct adze_ints { /* a short list of integers: axes, sizes, strides */
    int64_t n;
    int64_t v[8];
} adze_ints;

typedef enum adze_kind {
    ADZE_F_BOOL, /* bool */
    ADZE_F_I64,  /* int64_t */
    ADZE_F_U64,  /* uint64_t */
    ADZE_F_F64,  /* double */
    ADZE_F_ENUM, /* int32_t: index into `names` */
    ADZE_F_STR,  /* char[size], NUL-terminated, inside the struct */
    ADZE_F_INTS  /* adze_ints */
} adze_kind;

enum { ADZE_FIELD_REQUIRED = 1, ADZE_FIELD_HIDDEN = 2 };

typedef struct adze_field {
    const char *name; /* NULL ends a table */
    adze_kind kind;
    uint32_t flags;
    size_t offset;            /* offsetof(struct, member) */
    size_t size;              /* ADZE_F_STR: bytes of the array */
    const char *def;          /* default as text; NULL: zero, false, empty, first name */
    double lo, hi;            /* allowed range of numbers and list members; lo == hi == 0: any */
    const char *const *names; /* ADZE_F_ENUM: NULL-terminated */
    const char *help;         /* one line: what it is, with its unit */
} adze_field;

ADZE_API int adze_fields_default(const adze_field *table, void *obj);
ADZE_API const adze_field *adze_field_find(const adze_field *table, const char *name);
/* Parses `text` into one field; `where` begins the message ("net.yaml:14:3", "--lr"). Refuses what the field does not allow, with its range
 * or the nearest legal value. Numbers are read without the locale. */
ADZE_API int adze_field_parse(adze_ctx *ctx, const adze_field *f, void *obj, const char *text, const char *where);
ADZE_API int adze_field_print(const adze_field *f, const void *obj, char *out, size_t n); /* parses back to the same value; length or < 0 */
ADZE_API bool adze_field_is_default(const adze_field *f, const void *obj);
ADZE_API uint64_t adze_fields_hash(const adze_field *table, const void *obj, uint64_t seed);
ADZE_API bool adze_fields_equal(const adze_field *table, const void *a, const void *b);
/* The nearest of `names` (stride: bytes between the char pointers) by edit distance, or NULL when none is near enough to suggest. */
ADZE_API const char *adze_suggest(const char *word, const void *names, size_t count, size_t stride);

/* -- random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, SC 2011), counter-based ---------------------------------------------- */

ADZE_API void adze_philox(const uint32_t key[2], const uint32_t ctr[4], uint32_t out[4]);

typedef struct adze_rng { /* a stream: a value, to be copied freely */
    uint32_t key[2], ctr[4], out[4];
    int left; /* words of out not yet used */
} adze_rng;

ADZE_API adze_rng adze_rng_make(uint64_t seed, uint64_t stream);
ADZE_API uint32_t adze_rng_u32(adze_rng *r);
ADZE_API uint64_t adze_rng_u64(adze_rng *r);
ADZE_API uint64_t adze_rng_below(adze_rng *r, uint64_t n);            /* 0 .. n-1 without bias; n > 0 */
ADZE_API int64_t adze_rng_range(adze_rng *r, int64_t lo, int64_t hi); /* lo .. hi, both included */
ADZE_API double adze_rng_uniform(adze_rng *r);                        /* [0, 1) with 53 bits */
ADZE_API double adze_rng_normal(adze_rng *r);                         /* mean 0, deviation 1 (Box-Muller) */
ADZE_API void adze_rng_permute(adze_rng *r, int64_t *v, int64_t n);   /* Fisher-Yates on v */
ADZE_API uint64_t adze_hash_str(const char *s);                       /* 64-bit XXH3: stream ids from layer paths */

#ifdef __cplusplus
}
#endif
#endif
