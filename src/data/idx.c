/* IDX files, the format of MNIST and its kin: a big-endian magic number, dims, then the elements (Y. LeCun, yann.lecun.com/exdb/mnist). */
#include "data/formats.h"
#include "core/type.h"

enum {
    IDX_U8 = 8, /* the dtype code of unsigned bytes */
    IDX_MAX_RANK = 4,
    IDX_MAX_FILE = 1 << 30, /* bytes read from disk: far above any set in this format */
};

static int64_t idx_be32(const uint8_t *p) {
    return (int64_t)p[0] << 24 | (int64_t)p[1] << 16 | (int64_t)p[2] << 8 | (int64_t)p[3];
}

int adze_idx_header(adze_ctx *ctx, const void *bytes, size_t have, const char *file, adze_type *type, int64_t *header, int64_t *total) {
    const uint8_t *p = bytes;
    if (have < 4) {
        return adze_fail(ctx, ADZE_EFORMAT, "'%s' is no IDX file: it has %zu bytes, the header alone takes at least 8", file, have);
    }
    if (p[0] != 0 || p[1] != 0) {
        return adze_fail(ctx, ADZE_EFORMAT, "'%s' is no IDX file: it begins with bytes %d %d, not 0 0", file, p[0], p[1]);
    }
    if (p[2] != IDX_U8) {
        return adze_fail(ctx, ADZE_EFORMAT, "'%s': byte 2 gives element type %d; only 8 (unsigned bytes) is read", file, p[2]);
    }
    int rank = p[3];
    if (rank < 1 || rank > IDX_MAX_RANK) {
        return adze_fail(ctx, ADZE_EFORMAT, "'%s': byte 3 gives rank %d; 1 to %d are read", file, rank, IDX_MAX_RANK);
    }
    *header = 4 + 4 * (int64_t)rank;
    if ((int64_t)have < *header) {
        return adze_fail(ctx, ADZE_EFORMAT, "'%s' ends at byte %zu, within its header of %lld bytes", file, have, (long long)*header);
    }
    int64_t dims[IDX_MAX_RANK], size = 1;
    for (int i = 0; i < rank; i++) {
        dims[i] = idx_be32(p + 4 + 4 * i);
        if (!adze_mul_size(size, dims[i], &size)) {
            return adze_fail(ctx, ADZE_EFORMAT, "'%s': the dims in its header multiply to more than a file can hold", file);
        }
    }
    if (!adze_add_size(size, *header, total)) {
        return adze_fail(ctx, ADZE_EFORMAT, "'%s': the dims in its header multiply to more than a file can hold", file);
    }
    *type = adze_type_make(ADZE_U8, rank, dims);
    return ADZE_OK;
}

int adze_idx_parse(adze_ctx *ctx, const void *bytes, size_t n, const char *file, adze_type *type, const void **data) {
    int64_t header, total;
    TRY(adze_idx_header(ctx, bytes, n, file, type, &header, &total));
    if ((uint64_t)total != n) {
        return adze_fail(ctx, ADZE_EFORMAT, "'%s' has %zu bytes, but its header %s asks for %lld: it is %s", file, n, ADZE_SHOWN(type),
                         (long long)total, (uint64_t)total > n ? "cut short" : "followed by bytes that do not belong to it");
    }
    *data = (const uint8_t *)bytes + header;
    return ADZE_OK;
}

static bool idx_is_gz(const char *path) {
    size_t n = strlen(path);
    return n > 3 && strcmp(path + n - 3, ".gz") == 0;
}

static int idx_need_gunzip(adze_ctx *ctx, const char *path) {
    const adze_formats *f = adze_ctx_formats(ctx);
    if (f == NULL || f->gunzip == NULL) {
        return adze_fail(ctx, ADZE_ENOSUP,
                         "'%s' is packed and this program has no gzip reader: call adze_io_register first, or unpack it with gunzip", path);
    }
    return ADZE_OK;
}

/* The header tells the size before memory is asked for, and the packed size bounds what the header may claim. */
static int idx_unpack(adze_ctx *ctx, const char *path, const void *packed, int64_t n, void **bytes, int64_t *size) {
    TRY(idx_need_gunzip(ctx, path));
    const adze_formats *f = adze_ctx_formats(ctx);
    uint8_t head[ADZE_IDX_HEADER_MAX];
    int64_t have = 0, header, total;
    adze_type type;
    TRY(f->gunzip(ctx, packed, n, head, (int64_t)sizeof head, true, path, &have));
    TRY(adze_idx_header(ctx, head, (size_t)have, path, &type, &header, &total));
    if (total / ADZE_DEFLATE_MAX_RATIO > n) {
        return adze_fail(ctx, ADZE_EFORMAT, "'%s': its header asks for %lld bytes, more than %lld packed bytes can hold", path, (long long)total,
                         (long long)n);
    }
    void *out = adze_alloc(ctx, total, 1);
    TRY(ADZE_GOT(out));
    int st = f->gunzip(ctx, packed, n, out, total, false, path, size);
    if (st != ADZE_OK) {
        adze_free(ctx, out);
        return st;
    }
    *bytes = out;
    return ADZE_OK;
}

int adze_idx_read(adze_ctx *ctx, const char *path, void **bytes, adze_type *type, const uint8_t **data) {
    void *raw = NULL;
    int64_t n = 0;
    TRY(adze_read_file(ctx, path, IDX_MAX_FILE, &raw, &n));
    if (idx_is_gz(path)) {
        void *unpacked = NULL;
        int st = idx_unpack(ctx, path, raw, n, &unpacked, &n);
        adze_free(ctx, raw);
        TRY(st);
        raw = unpacked;
    }
    const void *at = NULL;
    int st = adze_idx_parse(ctx, raw, (size_t)n, path, type, &at);
    if (st != ADZE_OK) {
        adze_free(ctx, raw);
        return st;
    }
    *bytes = raw;
    *data = at;
    return ADZE_OK;
}

static int text_unpack(adze_ctx *ctx, const char *path, const void *packed, int64_t n, int64_t max, char **text, int64_t *len) {
    TRY(idx_need_gunzip(ctx, path));
    int64_t cap = n < max / ADZE_DEFLATE_MAX_RATIO ? n * ADZE_DEFLATE_MAX_RATIO : max;
    char *out = adze_alloc(ctx, cap + 1, 1);
    TRY(ADZE_GOT(out));
    int st = adze_ctx_formats(ctx)->gunzip(ctx, packed, n, out, cap, false, path, len);
    if (st != ADZE_OK) {
        adze_free(ctx, out);
        return st;
    }
    out[*len] = 0;
    *text = out;
    return ADZE_OK;
}

int adze_text_file_read(adze_ctx *ctx, const char *path, int64_t max, char **text, int64_t *n) {
    void *raw = NULL;
    TRY(adze_read_file(ctx, path, max, &raw, n));
    if (!idx_is_gz(path)) {
        *text = raw;
        return ADZE_OK;
    }
    int st = text_unpack(ctx, path, raw, *n, max, text, n);
    adze_free(ctx, raw);
    return st;
}
