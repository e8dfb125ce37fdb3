/* Memory: counted blocks from the context's table, checked sizes, and arenas. */
#include "base/ctx.h"

#include <stdlib.h>

/* -- the default table -- */

static void *default_alloc(void *user, size_t bytes, size_t align) {
    (void)user;
    if (bytes > SIZE_MAX - align) {
        return NULL;
    }
    return aligned_alloc(align, (bytes + align - 1) & ~(align - 1));
}

static void default_free(void *user, void *p, size_t bytes) {
    (void)user;
    (void)bytes;
    free(p);
}

const adze_mem adze_mem_default = {NULL, default_alloc, default_free};

/* -- checked sizes -- */

bool adze_mul_size(int64_t a, int64_t b, int64_t *out) {
    if (a < 0 || b < 0 || (b && a > INT64_MAX / b)) {
        return false;
    }
    *out = a * b;
    return true;
}

bool adze_add_size(int64_t a, int64_t b, int64_t *out) {
    if (a < 0 || b < 0 || a > INT64_MAX - b) {
        return false;
    }
    *out = a + b;
    return true;
}

/* -- blocks: a header of one cache line remembers the size, so that free needs none and data stays aligned -- */

typedef struct block_header {
    size_t total; /* bytes asked of the table */
    char pad[ADZE_ALIGN - sizeof(size_t)];
} block_header;

static bool take(adze_ctx *ctx, size_t bytes) {
    size_t before = atomic_load(&ctx->used);
    do {
        if (bytes > SIZE_MAX - before || (ctx->limit && before + bytes > ctx->limit)) {
            return false;
        }
    } while (!atomic_compare_exchange_weak(&ctx->used, &before, before + bytes));
    size_t peak = atomic_load(&ctx->peak);
    while (peak < before + bytes && !atomic_compare_exchange_weak(&ctx->peak, &peak, before + bytes)) {
    }
    return true;
}

void *adze_alloc_raw(adze_ctx *ctx, int64_t bytes) {
    int64_t total;
    if (!adze_add_size(bytes, (int64_t)sizeof(block_header), &total) || !take(ctx, (size_t)total)) {
        return NULL;
    }
    block_header *h = ctx->mem.alloc(ctx->mem.user, (size_t)total, ADZE_ALIGN);
    if (!h) {
        atomic_fetch_sub(&ctx->used, (size_t)total);
        return NULL;
    }
    h->total = (size_t)total;
    return h + 1;
}

static void fail_memory(adze_ctx *ctx, int64_t bytes) {
    size_t used = adze_ctx_mem_used(ctx);
    if (ctx->limit && (size_t)bytes + sizeof(block_header) > ctx->limit - (used < ctx->limit ? used : ctx->limit)) {
        adze_fail(ctx, ADZE_ENOMEM, "the memory limit is reached: %lld bytes asked for, %zu of the %zu allowed are in use", (long long)bytes, used,
                  ctx->limit);
    } else {
        adze_fail(ctx, ADZE_ENOMEM, "out of memory: %lld bytes asked for, %zu are in use", (long long)bytes, used);
    }
}

static void *alloc_unset(adze_ctx *ctx, int64_t count, size_t size, int64_t *bytes) {
    if (size > INT64_MAX || !adze_mul_size(count, (int64_t)size, bytes)) {
        adze_fail(ctx, ADZE_ENOMEM, "out of memory: %lld items of %zu bytes are more than can be addressed", (long long)count, size);
        return NULL;
    }
    void *p = adze_alloc_raw(ctx, *bytes);
    if (!p) {
        fail_memory(ctx, *bytes);
    }
    return p;
}

void *adze_alloc(adze_ctx *ctx, int64_t count, size_t size) {
    int64_t bytes;
    void *p = alloc_unset(ctx, count, size, &bytes);
    return p ? memset(p, 0, (size_t)bytes) : NULL;
}

void adze_free(adze_ctx *ctx, void *p) {
    if (p) {
        block_header *h = (block_header *)p - 1;
        size_t total = h->total;
        ctx->mem.free(ctx->mem.user, h, total);
        atomic_fetch_sub(&ctx->used, total);
    }
}

void *adze_resize(adze_ctx *ctx, void *p, int64_t old_count, int64_t new_count, size_t size) {
    int64_t bytes;
    char *q = alloc_unset(ctx, new_count, size, &bytes);
    if (!q) {
        return NULL;
    }
    size_t kept = p ? (size_t)(old_count < new_count ? old_count : new_count) * size : 0;
    if (kept) {
        memcpy(q, p, kept);
    }
    memset(q + kept, 0, (size_t)bytes - kept);
    adze_free(ctx, p);
    return q;
}

char *adze_strdup(adze_ctx *ctx, const char *s) {
    size_t n = strlen(s) + 1;
    char *copy = adze_alloc(ctx, (int64_t)n, 1);
    return copy ? memcpy(copy, s, n) : NULL;
}

/* -- arenas -- */

enum { ARENA_BLOCK = 16 * 1024 - 128 };

struct adze_arena_block {
    struct adze_arena_block *next;
    size_t used, cap; /* of bytes */
    _Alignas(16) char bytes[];
};

static void *arena_alloc(adze_arena *a, size_t bytes, size_t align) {
    struct adze_arena_block *b = a->blocks;
    size_t at = b ? (b->used + align - 1) & ~(align - 1) : 0;
    if (!b || at > b->cap || bytes > b->cap - at) {
        size_t cap = bytes > ARENA_BLOCK / 4 ? bytes : ARENA_BLOCK;
        if (cap > INT64_MAX - sizeof *b) {
            adze_fail(a->ctx, ADZE_ENOMEM, "out of memory: %zu bytes are more than can be addressed", bytes);
            return NULL;
        }
        struct adze_arena_block *fresh = adze_alloc(a->ctx, (int64_t)(sizeof *b + cap), 1);
        if (!fresh) {
            return NULL;
        }
        fresh->cap = cap;
        at = 0;
        if (b && cap != ARENA_BLOCK) { /* a large object gets a block of its own; the one in use stays in front */
            fresh->next = b->next;
            b->next = fresh;
        } else {
            fresh->next = b;
            a->blocks = fresh;
        }
        b = fresh;
    }
    b->used = at + bytes;
    a->used += bytes;
    return b->bytes + at;
}

void *adze_arena_alloc(adze_arena *a, size_t bytes) {
    return arena_alloc(a, bytes, 16);
}

void *adze_arena_dup(adze_arena *a, const void *p, size_t bytes) {
    void *copy = arena_alloc(a, bytes, 16);
    return copy && bytes ? memcpy(copy, p, bytes) : copy;
}

char *adze_arena_strdup(adze_arena *a, const char *s) {
    size_t n = strlen(s) + 1;
    char *copy = arena_alloc(a, n, 1);
    return copy ? memcpy(copy, s, n) : NULL;
}

void adze_arena_free(adze_arena *a) {
    for (struct adze_arena_block *b = a->blocks, *next; b; b = next) {
        next = b->next;
        adze_free(a->ctx, b);
    }
    a->blocks = NULL;
    a->used = 0;
}
