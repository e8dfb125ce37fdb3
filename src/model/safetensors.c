/* Reads safetensors as if every file were hostile: the whole header is checked against the file's size before anything is made of it. */
#include "model/safetensors.h"

#include <stdio.h>
#include <stdlib.h>

/* -- the file as a whole -- */

static int by_offset(const void *a, const void *b) {
    const adze_st_entry *x = *(adze_st_entry *const *)a, *y = *(adze_st_entry *const *)b;
    return x->begin != y->begin ? (x->begin < y->begin ? -1 : 1) : x->end != y->end ? (x->end < y->end ? -1 : 1) : 0;
}

static int by_entry_name(const void *a, const void *b) {
    return strcmp((*(adze_st_entry *const *)a)->name, (*(adze_st_entry *const *)b)->name);
}

static int by_key(const void *a, const void *b) {
    return strcmp((*(adze_meta *const *)a)->key, (*(adze_meta *const *)b)->key);
}

/* Every byte of the data belongs to one tensor, no more and no less. */
static int check_cover(adze_safetensors *f, adze_st_entry **order) {
    int64_t at = 0;
    qsort(order, (size_t)f->count, sizeof *order, by_offset);
    for (int i = 0; i < f->count; i++) {
        if (order[i]->begin != at) {
            return adze_st_broken(f, order[i]->name, order[i]->begin < at ? "overlaps another one" : "has a hole before it");
        }
        at = order[i]->end;
    }
    if (at != f->n - f->data) {
        return adze_fail(f->ctx, ADZE_EFORMAT, "'%s' is no sound safetensors file: it ends in %lld bytes that belong to no tensor", f->file,
                         (long long)(f->n - f->data - at));
    }
    return ADZE_OK;
}

static int check_names(adze_safetensors *f, adze_st_entry **order) {
    qsort(order, (size_t)f->count, sizeof *order, by_entry_name);
    for (int i = 0; i < f->count; i++) {
        f->sorted[i] = (int)(order[i] - f->entries);
        if (i && strcmp(order[i - 1]->name, order[i]->name) == 0) {
            return adze_st_broken(f, order[i]->name, "is there twice");
        }
    }
    return ADZE_OK;
}

static int check_order(adze_safetensors *f) {
    int most = f->count > f->nmeta ? f->count : f->nmeta;
    void **order = adze_alloc(f->ctx, most, sizeof *order);
    f->sorted = adze_alloc(f->ctx, f->count, sizeof *f->sorted);
    int status = ADZE_GOT(order && f->sorted);
    for (int i = 0; status == ADZE_OK && i < f->count; i++) {
        order[i] = &f->entries[i];
    }
    status = status != ADZE_OK ? status : check_cover(f, (adze_st_entry **)(void *)order);
    status = status != ADZE_OK ? status : check_names(f, (adze_st_entry **)(void *)order);
    if (status == ADZE_OK) {
        for (int i = 0; i < f->nmeta; i++) {
            order[i] = &f->meta[i];
        }
        qsort(order, (size_t)f->nmeta, sizeof *order, by_key);
        for (int i = 1; i < f->nmeta && status == ADZE_OK; i++) {
            const char *key = ((adze_meta *)order[i])->key;
            if (strcmp(((adze_meta *)order[i - 1])->key, key) == 0) {
                status = adze_fail(f->ctx, ADZE_EFORMAT, "'%s' is no sound safetensors file: the metadata key '%.200s' is there twice", f->file, key);
            }
        }
    }
    adze_free(f->ctx, order);
    return status;
}

/* -- hashes -- */

static bool read_hash(const char *text, uint64_t out[2]) {
    if (strlen(text) != ADZE_ST_HASH_CHARS || text[strspn(text, "0123456789abcdef")]) {
        return false;
    }
    char half[ADZE_ST_HASH_CHARS / 2 + 1] = {0};
    for (int i = 0; i < 2; i++) {
        memcpy(half, text + i * ADZE_ST_HASH_CHARS / 2, ADZE_ST_HASH_CHARS / 2);
        out[i] = strtoull(half, NULL, 16);
    }
    return true;
}

static int damaged(const adze_safetensors *f, const char *what, const char *name) {
    return adze_fail(f->ctx, ADZE_EFORMAT, "'%s' is damaged: %s%s%.200s%s", f->file, what, name ? " '" : "", name ? name : "", name ? "'" : "");
}

/* Hashes leave the list of metadata; the rest, in its order, is what the header's hash was taken over. */
static int take_hashes(adze_safetensors *f, uint64_t header[2], bool *hashed, int *ntensors) {
    int kept = 0;
    for (int i = 0; i < f->nmeta; i++) {
        adze_meta m = f->meta[i];
        uint64_t hash[2];
        if (!adze_st_is_hash_key(m.key)) {
            f->meta[kept++] = m;
            continue;
        }
        if (!read_hash(m.value, hash)) {
            return damaged(f, "no hash stands under the metadata key", m.key);
        }
        if (!m.key[4]) {
            memcpy(header, hash, sizeof hash);
            *hashed = true;
            continue;
        }
        int at = adze_safetensors_find(f, m.key + 5);
        if (at < 0) {
            return damaged(f, "there is a hash but no tensor", m.key + 5);
        }
        memcpy(f->entries[at].hash, hash, sizeof hash);
        f->entries[at].hashed = true;
        ++*ntensors;
    }
    f->nmeta = kept;
    return ADZE_OK;
}

static int check_hashes(adze_safetensors *f) {
    uint64_t header[2] = {0}, now[2];
    bool hashed = false;
    int ntensors = 0;
    TRY(take_hashes(f, header, &hashed, &ntensors));
    if (!hashed && !ntensors) {
        return ADZE_OK; /* written by others */
    }
    if (!hashed || ntensors != f->count) {
        return damaged(f, "some of its hashes are missing", NULL);
    }
    adze_text t = {.ctx = f->ctx};
    char *text;
    adze_st_print(&t, f->entries, f->count, f->meta, f->nmeta, NULL);
    TRY(adze_text_finish(&t, &text));
    adze_hash128(text, strlen(text), now);
    adze_free(f->ctx, text);
    return memcmp(now, header, sizeof now) == 0 ? ADZE_OK : damaged(f, "its header does not match its hash", NULL);
}

/* -- opening -- */

static int read_file(adze_safetensors *f) {
    if (f->n < 8) {
        return adze_fail(f->ctx, ADZE_EFORMAT, "'%s' is no safetensors file: it has %lld bytes, the header alone needs 8", f->file, (long long)f->n);
    }
    uint64_t len = 0;
    for (int i = 7; i >= 0; i--) {
        len = len << 8 | f->bytes[i];
    }
    if (len > ADZE_ST_MAX_HEADER || (int64_t)len > f->n - 8) {
        return adze_fail(f->ctx, ADZE_EFORMAT,
                         "'%s' is no sound safetensors file: its header claims %llu bytes, the file has %lld, at most %d are allowed", f->file,
                         (unsigned long long)len, (long long)f->n - 8, ADZE_ST_MAX_HEADER);
    }
    f->data = 8 + (int64_t)len;
    TRY(adze_st_read_header(f));
    TRY(check_order(f));
    TRY(check_hashes(f));
    f->copies = adze_alloc(f->ctx, f->count, sizeof *f->copies);
    return ADZE_GOT(f->copies);
}

/* Takes over the bytes. */
static int open_bytes(adze_ctx *ctx, void *bytes, int64_t n, const char *file, adze_safetensors **out) {
    adze_safetensors *f = adze_alloc(ctx, 1, sizeof *f);
    if (!f) {
        adze_free(ctx, bytes);
        return ADZE_ENOMEM;
    }
    f->ctx = f->arena.ctx = ctx;
    f->bytes = bytes;
    f->n = n;
    f->file = adze_strdup(ctx, file ? file : "safetensors");
    int status = f->file ? read_file(f) : ADZE_ENOMEM;
    if (status != ADZE_OK) {
        adze_safetensors_close(f);
        return status;
    }
    *out = f;
    return ADZE_OK;
}

int adze_safetensors_parse(adze_ctx *ctx, const void *bytes, size_t n, const char *file, adze_safetensors **out) {
    *out = NULL;
    uint8_t *copy = adze_alloc(ctx, n > INT64_MAX ? -1 : (int64_t)n, 1);
    TRY(ADZE_GOT(copy));
    if (n) {
        memcpy(copy, bytes, n);
    }
    return open_bytes(ctx, copy, (int64_t)n, file, out);
}

int adze_safetensors_open(adze_ctx *ctx, const char *path, adze_safetensors **out) {
    *out = NULL;
    void *bytes;
    int64_t n;
    TRY(adze_read_file(ctx, path, INT64_MAX / 4, &bytes, &n));
    return open_bytes(ctx, bytes, n, path, out);
}

void adze_safetensors_close(adze_safetensors *f) {
    if (!f) {
        return;
    }
    for (int i = 0; f->copies && i < f->count; i++) {
        adze_tensor_free(&f->copies[i]);
    }
    adze_free(f->ctx, f->copies);
    adze_free(f->ctx, f->sorted);
    adze_free(f->ctx, f->entries);
    adze_free(f->ctx, f->meta);
    adze_free(f->ctx, f->file);
    adze_free(f->ctx, f->bytes);
    adze_arena_free(&f->arena);
    adze_free(f->ctx, f);
}

/* -- asking -- */

int adze_safetensors_count(const adze_safetensors *f) {
    return f->count;
}

const char *adze_safetensors_name(const adze_safetensors *f, int i) {
    return i >= 0 && i < f->count ? f->entries[i].name : NULL;
}

int adze_safetensors_find(const adze_safetensors *f, const char *name) {
    int lo = 0, hi = f->count;
    while (lo < hi) {
        int mid = lo + (hi - lo) / 2, c = strcmp(f->entries[f->sorted[mid]].name, name);
        if (c == 0) {
            return f->sorted[mid];
        }
        lo = c < 0 ? mid + 1 : lo;
        hi = c < 0 ? hi : mid;
    }
    return -1;
}

const char *adze_safetensors_meta(const adze_safetensors *f, const char *key) {
    for (int i = 0; i < f->nmeta; i++) {
        if (strcmp(f->meta[i].key, key) == 0) {
            return f->meta[i].value;
        }
    }
    return NULL;
}

int adze_safetensors_tensor(const adze_safetensors *f, int i, adze_tensor *out) {
    *out = (adze_tensor){0};
    if (i < 0 || i >= f->count) {
        return adze_fail(f->ctx, ADZE_EARG, "'%s' has %d tensors, there is no number %d", f->file, f->count, i);
    }
    adze_st_entry *e = &f->entries[i];
    uint8_t *at = f->bytes + f->data + e->begin;
    if (e->hashed && !e->checked) {
        uint64_t hash[2];
        adze_hash128(at, (size_t)(e->end - e->begin), hash);
        if (memcmp(hash, e->hash, sizeof hash) != 0) {
            return damaged(f, "the data does not match the hash of tensor", e->name);
        }
        e->checked = true;
    }
    if (f->copies[i].buf) {
        *out = f->copies[i];
        return ADZE_OK;
    }
    if ((uintptr_t)at % adze_dtype_size(e->type.dtype) == 0) {
        TRY(adze_tensor_wrap(f->ctx, e->type, at, &f->copies[i]));
    } else {
        TRY(adze_tensor_new(f->ctx, e->type, &f->copies[i]));
        memcpy(adze_tensor_data(&f->copies[i]), at, (size_t)(e->end - e->begin));
    }
    *out = f->copies[i];
    return ADZE_OK;
}
