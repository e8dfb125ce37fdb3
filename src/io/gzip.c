/* Gzip (RFC 1952) for packed data sets: bounded output, several members, check sums verified by zlib. Also the registration of all decoders. */
#include "adze/io.h"
#include "data/formats.h"

#include <limits.h>
#include <zlib.h>

enum { GZIP_WINDOW = 16 + MAX_WBITS }; /* 16: a gzip wrapper, with its CRC-32 and length checked */

static void *gzip_alloc(void *ctx, unsigned count, unsigned size) {
    int64_t bytes;
    return adze_mul_size((int64_t)count, (int64_t)size, &bytes) ? adze_alloc_raw(ctx, bytes) : NULL;
}

static void gzip_free(void *ctx, void *p) {
    adze_free(ctx, p);
}

typedef struct gzip_job {
    adze_ctx *ctx;
    const char *file;
    const uint8_t *in;
    int64_t n, at; /* packed bytes, and how many are read */
    uint8_t *out;
    int64_t cap, len;
} gzip_job;

static int gzip_fail(const gzip_job *j, int zstatus, const char *msg) {
    if (zstatus == Z_MEM_ERROR) {
        return adze_fail(j->ctx, ADZE_ENOMEM, "no memory to unpack '%s'", j->file);
    }
    return adze_fail(j->ctx, ADZE_EFORMAT, "'%s' is damaged: gzip stops at byte %lld of %lld (%s)", j->file, (long long)j->at, (long long)j->n,
                     msg != NULL ? msg : "the file is cut short");
}

/* One call of inflate with as much as its 32-bit counters hold. A spare byte stands for output beyond cap, so that too long a stream is seen. */
static int gzip_step(gzip_job *j, z_stream *z, bool *over) {
    uint8_t spare;
    int64_t in = j->n - j->at, room = j->cap - j->len;
    z->next_in = (Bytef *)(uintptr_t)(j->in + j->at);
    z->avail_in = in < INT_MAX ? (uInt)in : INT_MAX;
    z->next_out = room > 0 ? j->out + j->len : &spare;
    z->avail_out = room <= 0 ? 1 : room < INT_MAX ? (uInt)room : INT_MAX;
    uInt in_before = z->avail_in, out_before = z->avail_out;
    int st = inflate(z, Z_NO_FLUSH);
    j->at += in_before - z->avail_in;
    *over = room <= 0 && z->avail_out == 0;
    j->len += room > 0 ? (int64_t)(out_before - z->avail_out) : 0;
    return st;
}

static int gzip_member(gzip_job *j, z_stream *z, bool prefix, bool *done) {
    for (;;) {
        bool over;
        int64_t at = j->at, len = j->len;
        int st = gzip_step(j, z, &over);
        if (over || (prefix && j->len == j->cap)) {
            *done = true;
            return prefix ? ADZE_OK
                          : adze_fail(j->ctx, ADZE_EFORMAT, "'%s' unpacks to more than the %lld bytes it should hold", j->file, (long long)j->cap);
        }
        if (st == Z_STREAM_END) {
            return ADZE_OK;
        }
        if (st != Z_OK || (j->at == at && j->len == len)) {
            return gzip_fail(j, st, z->msg);
        }
    }
}

static int gzip_unpack(adze_ctx *ctx, const void *in, int64_t n, void *out, int64_t cap, bool prefix, const char *file, int64_t *out_n) {
    gzip_job j = {.ctx = ctx, .file = file, .in = in, .n = n, .out = out, .cap = cap};
    z_stream z = {.zalloc = gzip_alloc, .zfree = gzip_free, .opaque = ctx};
    int zs = inflateInit2(&z, GZIP_WINDOW);
    if (zs != Z_OK) {
        return gzip_fail(&j, zs, z.msg);
    }
    int st = ADZE_OK;
    bool done = false;
    do {
        st = gzip_member(&j, &z, prefix, &done);
        if (st == ADZE_OK && !done && j.at < n && inflateReset(&z) != Z_OK) {
            st = gzip_fail(&j, Z_STREAM_ERROR, z.msg);
        }
    } while (st == ADZE_OK && !done && j.at < n);
    inflateEnd(&z);
    *out_n = j.len;
    return st;
}

int adze_io_register(adze_ctx *ctx) {
    static const adze_formats formats = {.gunzip = gzip_unpack};
    adze_ctx_set_formats(ctx, &formats);
    return ADZE_OK;
}
