/* The inside of the context, for the ground floor alone. */
#ifndef ADZE_SRC_CTX_H
#define ADZE_SRC_CTX_H

#include "base/base.h"

#include <stdatomic.h>

enum {
    ADZE_MSG_FIXED = 4096,  /* bytes of the message buffers that need no allocation */
    ADZE_MAX_THREADS = 256, /* more than this is a mistake, not a machine */
    ADZE_ALIGN = 64         /* a cache line, and a whole vector of the widest instruction set */
};

typedef struct adze_pool adze_pool;

struct adze_ctx {
    adze_mem mem;
    adze_fs fs;
    adze_log_fn log;
    void *log_user;
    size_t limit; /* 0: none */
    atomic_size_t used, peak;
    atomic_uint temps;                  /* numbers the temporary files */
    const struct adze_formats *formats; /* decoders registered by libadze-io (data/formats.h); NULL: none */
    int threads, cores;
    adze_isa isa;
    bool reproducible, pin;
    adze_pool *pool; /* NULL until the first parallel run */
    bool pool_failed;
    int code;
    int side;          /* which of the two buffers holds the message: a new one may quote the old one */
    char *long_msg[2]; /* in use instead of msg when a message is longer than that; else NULL */
    char msg[2][ADZE_MSG_FIXED];
};

extern const adze_mem adze_mem_default;
extern const adze_fs adze_fs_posix;

int adze_cores_usable(const adze_fs *fs);      /* processors this process may use: affinity and cgroup quota */
int64_t adze_memory_usable(const adze_fs *fs); /* bytes it may still take before somebody is killed; INT64_MAX when nobody says */
bool adze_isa_parse(const char *name, adze_isa *out);
void adze_pool_free(adze_ctx *ctx);

#endif
