/* Reads safetensors as if every file were hostile: the whole header is checked against the file's size before anything is made of it. */
#include "model/safetensors.h"

#include <stdio.h>
#include <stdlib.h>

struct adze_safetensors {
    adze_ctx *ctx;
    adze_arena arena;
    char *file;
    uint8_t *bytes; /* the whole file */
    int64_t n, data; /* bytes; where the data section starts */
    adze_st_entry *entries;
    int count, cap;
    int *sorted; /* entry numbers by name */
    adze_meta *meta;
    int nmeta, cap_meta;
    adze_tensor *copies; /* of tensors that lie unaligned in the file */
};

typedef struct scan { /* a place in the header's text */
    adze_safetensors *f;
    const uint8_t *s, *end;
    const uint8_t *start;
} scan;

static int refuse(const scan *p, const char *what) {
    return adze_fail(p->f->ctx, ADZE_EFORMAT, "'%s' is no sound safetensors file: %s at byte %lld", p->f->file, what, (long long)(p->s - p->start) + 8);
}

static int broken(const adze_safetensors *f, const char *name, const char *what) {
    return adze_fail(f->ctx, ADZE_EFORMAT, "'%s' is no sound safetensors file: tensor '%.200s' %s", f->file, name, what);
}

/* -- the header's JSON: only what the format needs of it -- */

static void blanks(scan *p) {
    while (p->s < p->end && (*p->s == ' ' || *p->s == '\t' || *p->s == '\n' || *p->s == '\r')) {
        p->s++;
    }
}

static bool accept(scan *p, char c) {
    blanks(p);
    if (p->s < p->end && *p->s == (uint8_t)c) {
        p->s++;
        return true;
    }
    return false;
}

static int hex4(scan *p, uint32_t *out) {
    *out = 0;
    for (int i = 0; i < 4; i++, p->s++) {
        int c = p->s < p->end ? *p->s : 0;
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (digit < 0) {
            return refuse(p, "a broken \\u escape");
        }
        *out = *out * 16 + (uint32_t)digit;
    }
    return ADZE_OK;
}

static char *put_utf8(char *o, uint32_t c) {
    if (c < 0x80) {
        *o++ = (char)c;
    } else if (c < 0x800) {
        *o++ = (char)(0xC0 | c >> 6);
        *o++ = (char)(0x80 | (c & 63));
    } else {
        if (c < 0x10000) {
            *o++ = (char)(0xE0 | c >> 12);
        } else {
            *o++ = (char)(0xF0 | c >> 18);
            *o++ = (char)(0x80 | (c >> 12 & 63));
        }
        *o++ = (char)(0x80 | (c >> 6 & 63));
        *o++ = (char)(0x80 | (c & 63));
    }
    return o;
}

static int escape(scan *p, char **o) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    int c = p->s < p->end ? *p->s++ : 0;
    const char *at = c ? strchr(from, c) : NULL;
    if (at) {
        *(*o)++ = to[at - from];
        return ADZE_OK;
    }
    uint32_t u, low;
    if (c != 'u') {
        return refuse(p, "an unknown escape");
    }
    TRY(hex4(p, &u));
    if (u >= 0xD800 && u < 0xDC00) {
        if (p->end - p->s < 2 || p->s[0] != '\\' || p->s[1] != 'u') {
            return refuse(p, "half a surrogate pair");
        }
        p->s += 2;
        TRY(hex4(p, &low));
        if (low < 0xDC00 || low > 0xDFFF) {
            return refuse(p, "half a surrogate pair");
        }
        u = 0x10000 + ((u - 0xD800) << 10) + (low - 0xDC00);
    } else if (u == 0 || (u >= 0xDC00 && u <= 0xDFFF)) {
        return refuse(p, u ? "half a surrogate pair" : "a zero in a text");
    }
    *o = put_utf8(*o, u);
    return ADZE_OK;
}

/* Bytes of the UTF-8 character at s, 0 when it is malformed (overlong, surrogate, beyond U+10FFFF, cut off). */
static int utf8_length(const uint8_t *s, const uint8_t *end) {
    int n = *s < 0x80 ? 1 : *s >= 0xC2 && *s < 0xE0 ? 2 : *s >= 0xE0 && *s < 0xF0 ? 3 : *s >= 0xF0 && *s < 0xF5 ? 4 : 0;
    if (n > end - s) {
        return 0;
    }
    for (int i = 1; i < n; i++) {
        if ((s[i] & 0xC0) != 0x80) {
            return 0;
        }
    }
    bool bad = (*s == 0xE0 && s[1] < 0xA0) || (*s == 0xED && s[1] > 0x9F) || (*s == 0xF0 && s[1] < 0x90) || (*s == 0xF4 && s[1] > 0x8F);
    return bad ? 0 : n;
}

static int read_string(scan *p, const char **out) {
    if (!accept(p, '"')) {
        return refuse(p, "a text was expected");
    }
    const uint8_t *close = p->s; /* the text in memory is never longer than in the file */
    while (close < p->end && *close != '"') {
        close += *close == '\\' && close + 1 < p->end ? 2 : 1;
    }
    if (close >= p->end) {
        return refuse(p, "a text without its end");
    }
    char *text = adze_arena_alloc(&p->f->arena, (size_t)(close - p->s) + 1), *o = text;
    if (!text) {
        return ADZE_ENOMEM;
    }
    while (*p->s != '"') {
        if (*p->s == '\\') {
            p->s++;
            TRY(escape(p, &o));
            continue;
        }
        int n = *p->s < 0x20 ? 0 : utf8_length(p->s, p->end);
        if (!n) {
            return refuse(p, "a text that is not UTF-8, or has control characters");
        }
        memcpy(o, p->s, (size_t)n);
        o += n;
        p->s += n;
    }
    p->s++;
    *out = text;
    return ADZE_OK;
}

static int read_size(scan *p, int64_t *out) {
    blanks(p);
    const uint8_t *first = p->s;
    int64_t v = 0;
    for (; p->s < p->end && *p->s >= '0' && *p->s <= '9'; p->s++) {
        if (!adze_mul_size(v, 10, &v) || !adze_add_size(v, *p->s - '0', &v)) {
            return refuse(p, "a size that does not fit in 63 bits");
        }
    }
    if (p->s == first || (*first == '0' && p->s - first > 1)) {
        return refuse(p, "a size was expected, a whole number from 0 up");
    }
    return ADZE_OK + (*out = v, 0);
}

/* A list of at most `most` sizes. */
static int read_sizes(scan *p, int64_t *v, int most, int *n) {
    *n = 0;
    if (!accept(p, '[')) {
        return refuse(p, "a list of sizes was expected");
    }
    if (accept(p, ']')) {
        return ADZE_OK;
    }
    do {
        if (*n == most) {
            return refuse(p, most == 2 ? "data_offsets with more than two numbers" : "a tensor of more than 8 axes");
        }
        TRY(read_size(p, &v[*n]));
        ++*n;
    } while (accept(p, ','));
    return accept(p, ']') ? ADZE_OK : refuse(p, "a list without its end");
}

/* -- entries -- */

static int read_tensor_key(scan *p, adze_st_entry *e, unsigned *seen) {
    const char *key, *name;
    int64_t offsets[2];
    int n;
    TRY(read_string(p, &key));
    if (!accept(p, ':')) {
        return refuse(p, "a colon was expected");
    }
    unsigned bit = strcmp(key, "dtype") == 0 ? 1 : strcmp(key, "shape") == 0 ? 2 : strcmp(key, "data_offsets") == 0 ? 4 : 0;
    if (!bit || (*seen & bit)) {
        return refuse(p, bit ? "a tensor with the same key twice" : "a tensor with a key that is not dtype, shape or data_offsets");
    }
    *seen |= bit;
    if (bit == 1) {
        TRY(read_string(p, &name));
        e->type.dtype = adze_st_dtype_parse(name);
        return e->type.dtype ? ADZE_OK : refuse(p, "an unknown dtype");
    }
    if (bit == 2) {
        TRY(read_sizes(p, e->type.dims, ADZE_MAX_RANK, &n));
        e->type.rank = n;
        return ADZE_OK;
    }
    TRY(read_sizes(p, offsets, 2, &n));
    if (n != 2) {
        return refuse(p, "data_offsets without two numbers");
    }
    e->begin = offsets[0];
    e->end = offsets[1];
    return ADZE_OK;
}

static int read_tensor(scan *p, const char *name) {
    adze_safetensors *f = p->f;
    if (f->count == f->cap) {
        int cap = f->cap ? 2 * f->cap : 16;
        adze_st_entry *e = adze_resize(f->ctx, f->entries, f->cap, cap, sizeof *e);
        if (!e) {
            return ADZE_ENOMEM;
        }
        f->entries = e;
        f->cap = cap;
    }
    adze_st_entry *e = &f->entries[f->count++];
    *e = (adze_st_entry){.name = name};
    unsigned seen = 0;
    if (!accept(p, '{')) {
        return refuse(p, "a tensor's map was expected");
    }
    do {
        TRY(read_tensor_key(p, e, &seen));
    } while (accept(p, ','));
    if (!accept(p, '}')) {
        return refuse(p, "a tensor's map without its end");
    }
    if (seen != 7) {
        return broken(f, name, "lacks its dtype, shape or data_offsets");
    }
    int64_t bytes = adze_type_bytes(&e->type);
    if (bytes < 0) {
        return broken(f, name, "has a shape whose bytes do not fit in 63 bits");
    }
    if (e->begin > e->end || e->end > f->n - f->data) {
        return broken(f, name, "has data_offsets outside the file");
    }
    return bytes == e->end - e->begin ? ADZE_OK : broken(f, name, "has data_offsets that do not fit its dtype and shape");
}

static int read_meta(scan *p) {
    adze_safetensors *f = p->f;
    if (!accept(p, '{')) {
        return refuse(p, "__metadata__ must be a map of texts");
    }
    if (accept(p, '}')) {
        return ADZE_OK;
    }
    do {
        if (f->nmeta == f->cap_meta) {
            int cap = f->cap_meta ? 2 * f->cap_meta : 16;
            adze_meta *m = adze_resize(f->ctx, f->meta, f->cap_meta, cap, sizeof *m);
            if (!m) {
                return ADZE_ENOMEM;
            }
            f->meta = m;
            f->cap_meta = cap;
        }
        adze_meta *m = &f->meta[f->nmeta];
        TRY(read_string(p, &m->key));
        if (!accept(p, ':')) {
            return refuse(p, "a colon was expected");
        }
        TRY(read_string(p, &m->value));
        f->nmeta++;
    } while (accept(p, ','));
    return accept(p, '}') ? ADZE_OK : refuse(p, "__metadata__ without its end");
}

static int read_header(scan *p) {
    bool meta = false;
    const char *name;
    if (p->s == p->end || *p->s != '{') {
        return refuse(p, "a header that does not begin with '{'");
    }
    p->s++;
    if (!accept(p, '}')) {
        do {
            TRY(read_string(p, &name));
            if (!accept(p, ':')) {
                return refuse(p, "a colon was expected");
            }
            if (strcmp(name, "__metadata__") != 0) {
                TRY(read_tensor(p, name));
            } else if (meta) {
                return refuse(p, "a second __metadata__");
            } else {
                meta = true;
                TRY(read_meta(p));
            }
        } while (accept(p, ','));
        if (!accept(p, '}')) {
            return refuse(p, "a header without its end");
        }
    }
    blanks(p);
    return p->s == p->end ? ADZE_OK : refuse(p, "something after the header's end");
}

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
            return broken(f, order[i]->name, order[i]->begin < at ? "overlaps another one" : "has a hole before it");
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
            return broken(f, order[i]->name, "is there twice");
        }
    }
    return ADZE_OK;
}

static int check_order(adze_safetensors *f) {
    int most = f->count > f->nmeta ? f->count : f->nmeta;
    void **order = adze_alloc(f->ctx, most, sizeof *order);
    f->sorted = adze_alloc(f->ctx, f->count, sizeof *f->sorted);
    int status = order && f->sorted ? ADZE_OK : ADZE_ENOMEM;
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
        return adze_fail(f->ctx, ADZE_EFORMAT, "'%s' is no sound safetensors file: its header claims %llu bytes, the file has %lld, at most %d are allowed",
                         f->file, (unsigned long long)len, (long long)f->n - 8, ADZE_ST_MAX_HEADER);
    }
    f->data = 8 + (int64_t)len;
    scan p = {.f = f, .s = f->bytes + 8, .start = f->bytes + 8, .end = f->bytes + f->data};
    TRY(read_header(&p));
    TRY(check_order(f));
    TRY(check_hashes(f));
    f->copies = adze_alloc(f->ctx, f->count, sizeof *f->copies);
    return f->copies ? ADZE_OK : ADZE_ENOMEM;
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
    if (!copy) {
        return ADZE_ENOMEM;
    }
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
