/* Writes safetensors: hashes of every tensor and of the header in the metadata, data from a multiple of 64 on, the old file safe until the end. */
#include "model/safetensors.h"

#include <stdio.h>
#include <stdlib.h>

static const char *const DTYPES[ADZE_NDTYPES] = {
    [ADZE_F64] = "F64", [ADZE_F32] = "F32", [ADZE_BF16] = "BF16", [ADZE_F16] = "F16",        [ADZE_I64] = "I64",
    [ADZE_I32] = "I32", [ADZE_I8] = "I8",   [ADZE_U8] = "U8",     [ADZE_BOOL] = "BOOL",      [ADZE_I16] = "I16",
    [ADZE_U16] = "U16", [ADZE_U32] = "U32", [ADZE_U64] = "U64",   [ADZE_F8E4M3] = "F8_E4M3", [ADZE_F8E5M2] = "F8_E5M2",
};

const char *adze_st_dtype_name(adze_dtype d) {
    return d > ADZE_NONE && d < ADZE_NDTYPES ? DTYPES[d] : NULL;
}

adze_dtype adze_st_dtype_parse(const char *name) {
    for (int d = ADZE_NONE + 1; d < ADZE_NDTYPES; d++) {
        if (DTYPES[d] && strcmp(DTYPES[d], name) == 0) {
            return (adze_dtype)d;
        }
    }
    return ADZE_NONE;
}

bool adze_st_is_hash_key(const char *key) {
    return strcmp(key, "hash") == 0 || strncmp(key, "hash.", 5) == 0;
}

void adze_st_print_hash(const uint64_t hash[2], char out[ADZE_ST_HASH_CHARS + 1]) {
    snprintf(out, ADZE_ST_HASH_CHARS + 1, "%016llx%016llx", (unsigned long long)hash[0], (unsigned long long)hash[1]);
}

static void print_meta(adze_text *t, const adze_st_entry *e, int n, const adze_meta *meta, int nmeta, const uint64_t header_hash[2]) {
    char hex[ADZE_ST_HASH_CHARS + 1];
    const char *comma = "";
    adze_text_add(t, "\"__metadata__\":{");
    for (int i = 0; i < nmeta; i++, comma = ",") {
        adze_text_add(t, "%s", comma);
        adze_json_string(t, meta[i].key);
        adze_text_add(t, ":");
        adze_json_string(t, meta[i].value);
    }
    if (header_hash) {
        adze_st_print_hash(header_hash, hex);
        adze_text_add(t, "%s\"hash\":\"%s\"", comma, hex);
        for (int i = 0; i < n; i++) {
            adze_text key = {.ctx = t->ctx};
            char *s;
            adze_text_add(&key, "hash.%s", e[i].name);
            if (adze_text_finish(&key, &s) != ADZE_OK) {
                t->failed = true;
                return;
            }
            adze_st_print_hash(e[i].hash, hex);
            adze_text_add(t, ",");
            adze_json_string(t, s);
            adze_text_add(t, ":\"%s\"", hex);
            adze_free(t->ctx, s);
        }
    }
    adze_text_add(t, "}");
}

void adze_st_print(adze_text *t, const adze_st_entry *e, int n, const adze_meta *meta, int nmeta, const uint64_t header_hash[2]) {
    adze_text_add(t, "{");
    print_meta(t, e, n, meta, nmeta, header_hash);
    for (int i = 0; i < n; i++) {
        adze_text_add(t, ",");
        adze_json_string(t, e[i].name);
        adze_text_add(t, ":{\"dtype\":\"%s\",\"shape\":[", adze_st_dtype_name(e[i].type.dtype));
        for (int k = 0; k < e[i].type.rank; k++) {
            adze_text_add(t, "%s%lld", k ? "," : "", (long long)e[i].type.dims[k]);
        }
        adze_text_add(t, "],\"data_offsets\":[%lld,%lld]}", (long long)e[i].begin, (long long)e[i].end);
    }
    adze_text_add(t, "}");
}

/* -- saving -- */

typedef struct item { /* a tensor on its way to the file */
    const adze_named *named;
    adze_tensor copy; /* contiguous, when the original is not */
    size_t size;
    int order;
} item;

typedef struct writer {
    adze_ctx *ctx;
    const char *path;
    int n;
    item *items;
    adze_st_entry *entries;
    adze_piece *pieces; /* length, header, then the tensors */
} writer;

/* Wide elements first, so that every tensor is aligned to its element; else in the caller's order. */
static int by_size(const void *a, const void *b) {
    const item *x = a, *y = b;
    return x->size != y->size ? (x->size < y->size ? 1 : -1) : x->order - y->order;
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Names of tensors, or keys of the metadata: each once. */
static int check_unique(writer *w, const char **names, int n, const char *what) {
    qsort(names, (size_t)n, sizeof *names, by_name);
    for (int i = 1; i < n; i++) {
        if (strcmp(names[i - 1], names[i]) == 0) {
            return adze_fail(w->ctx, ADZE_EARG, "cannot write '%s': there are two %s called '%s'", w->path, what, names[i]);
        }
    }
    return ADZE_OK;
}

static int check_names(writer *w, const adze_named *t, const adze_meta *meta, int nmeta) {
    int most = w->n > nmeta ? w->n : nmeta;
    const char **names = adze_alloc(w->ctx, most, sizeof *names);
    TRY(ADZE_GOT(names));
    int status = ADZE_OK;
    for (int i = 0; i < w->n; i++) {
        names[i] = t[i].name;
        if (strcmp(t[i].name, "__metadata__") == 0) {
            status = adze_fail(w->ctx, ADZE_EARG, "cannot write '%s': no tensor may be called '__metadata__'", w->path);
        }
    }
    status = status != ADZE_OK ? status : check_unique(w, names, w->n, "tensors");
    for (int i = 0; i < nmeta; i++) {
        names[i] = meta[i].key;
        if (adze_st_is_hash_key(meta[i].key) && status == ADZE_OK) {
            status = adze_fail(w->ctx, ADZE_EARG, "cannot write '%s': the metadata key '%s' is kept for hashes", w->path, meta[i].key);
        }
    }
    status = status != ADZE_OK ? status : check_unique(w, names, nmeta, "metadata keys");
    adze_free(w->ctx, names);
    return status;
}

static int prepare(writer *w, const adze_named *t) {
    for (int i = 0; i < w->n; i++) {
        w->items[i] = (item){.named = &t[i], .size = adze_dtype_size(t[i].t.dtype), .order = i};
        if (!adze_st_dtype_name(t[i].t.dtype)) {
            return adze_fail(w->ctx, ADZE_ETYPE, "cannot write '%s': tensor '%s' has no dtype that safetensors knows", w->path, t[i].name);
        }
    }
    qsort(w->items, (size_t)w->n, sizeof *w->items, by_size);
    int64_t at = 0;
    for (int i = 0; i < w->n; i++) {
        item *it = &w->items[i];
        adze_st_entry *e = &w->entries[i];
        adze_tensor from = it->named->t;
        e->name = it->named->name;
        e->type = adze_tensor_type(&from);
        e->begin = at;
        int64_t bytes = adze_type_bytes(&e->type);
        if (bytes < 0 || !adze_add_size(at, bytes, &at)) {
            return adze_fail(w->ctx, ADZE_EARG, "cannot write '%s': the tensors are larger than any file", w->path);
        }
        e->end = at;
        if (!adze_tensor_contiguous(&from)) {
            TRY(adze_tensor_new(w->ctx, e->type, &it->copy));
            TRY(adze_tensor_copy(w->ctx, it->copy, from));
            from = it->copy;
        }
        w->pieces[i + 2] = (adze_piece){bytes ? adze_tensor_data(&from) : "", bytes};
        adze_hash128(w->pieces[i + 2].bytes, (size_t)bytes, e->hash);
    }
    return ADZE_OK;
}

/* The header's text, padded with spaces so that the data behind it starts at a multiple of 64. */
static int make_header(writer *w, const adze_meta *meta, int nmeta, char **header) {
    adze_text plain = {.ctx = w->ctx}, t = {.ctx = w->ctx};
    char *text;
    uint64_t hash[2];
    adze_st_print(&plain, w->entries, w->n, meta, nmeta, NULL);
    TRY(adze_text_finish(&plain, &text));
    adze_hash128(text, strlen(text), hash);
    adze_free(w->ctx, text);
    adze_st_print(&t, w->entries, w->n, meta, nmeta, hash);
    while ((t.len + 8) % ADZE_ST_ALIGN && !t.failed) {
        adze_text_put(&t, " ", 1);
    }
    if (t.len > ADZE_ST_MAX_HEADER) {
        adze_text_drop(&t);
        return adze_fail(w->ctx, ADZE_EARG, "cannot write '%s': its header would have more than %d bytes", w->path, ADZE_ST_MAX_HEADER);
    }
    return adze_text_finish(&t, header);
}

static int write_file(writer *w, const adze_named *t, const adze_meta *meta, int nmeta) {
    TRY(check_names(w, t, meta, nmeta));
    TRY(prepare(w, t));
    char *header;
    TRY(make_header(w, meta, nmeta, &header));
    uint8_t length[8];
    uint64_t len = strlen(header);
    for (int i = 0; i < 8; i++) {
        length[i] = (uint8_t)(len >> (8 * i));
    }
    w->pieces[0] = (adze_piece){length, 8};
    w->pieces[1] = (adze_piece){header, (int64_t)len};
    int status = adze_replace_file(w->ctx, w->path, w->pieces, w->n + 2);
    adze_free(w->ctx, header);
    return status;
}

int adze_safetensors_save(adze_ctx *ctx, const char *path, const adze_named *t, int n, const adze_meta *meta, int nmeta) {
    writer w = {.ctx = ctx, .path = path, .n = n};
    if (n < 0 || n > ADZE_ST_MAX_ITEMS || nmeta < 0 || nmeta > ADZE_ST_MAX_ITEMS - n - 1) { /* the hashes are metadata, too */
        return adze_fail(ctx, ADZE_EARG, "cannot write '%s': a file holds at most %d tensors and keys of metadata", path, ADZE_ST_MAX_ITEMS);
    }
    w.items = adze_alloc(ctx, n, sizeof *w.items);
    w.entries = adze_alloc(ctx, n, sizeof *w.entries);
    w.pieces = adze_alloc(ctx, (int64_t)n + 2, sizeof *w.pieces);
    int status = w.items && w.entries && w.pieces ? write_file(&w, t, meta, nmeta) : ADZE_ENOMEM;
    for (int i = 0; w.items && i < n; i++) {
        adze_tensor_free(&w.items[i].copy);
    }
    adze_free(ctx, w.items);
    adze_free(ctx, w.entries);
    adze_free(ctx, w.pieces);
    return status;
}
