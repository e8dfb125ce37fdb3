/* Reads the header of a safetensors file: the part of JSON that the format uses, and what a single entry can get wrong. */
#include "model/safetensors.h"

typedef struct scan { /* a place in the header's text */
    adze_safetensors *f;
    const uint8_t *s, *end;
    const uint8_t *start;
} scan;

static int refuse(const scan *p, const char *what) {
    return adze_fail(p->f->ctx, ADZE_EFORMAT, "'%s' is no sound safetensors file: %s at byte %lld", p->f->file, what,
                     (long long)(p->s - p->start) + 8);
}

int adze_st_broken(const adze_safetensors *f, const char *name, const char *what) {
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
    TRY(ADZE_GOT(text));
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
    if (f->count == ADZE_ST_MAX_ITEMS) {
        return refuse(p, "more than 100000 tensors");
    }
    if (f->count == f->cap) {
        int cap = f->cap ? 2 * f->cap : 16;
        adze_st_entry *e = adze_resize(f->ctx, f->entries, f->cap, cap, sizeof *e);
        TRY(ADZE_GOT(e));
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
        return adze_st_broken(f, name, "lacks its dtype, shape or data_offsets");
    }
    int64_t bytes = adze_type_bytes(&e->type);
    if (bytes < 0) {
        return adze_st_broken(f, name, "has a shape whose bytes do not fit in 63 bits");
    }
    if (e->begin > e->end || e->end > f->n - f->data) {
        return adze_st_broken(f, name, "has data_offsets outside the file");
    }
    return bytes == e->end - e->begin ? ADZE_OK : adze_st_broken(f, name, "has data_offsets that do not fit its dtype and shape");
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
        if (f->nmeta == ADZE_ST_MAX_ITEMS) {
            return refuse(p, "more than 100000 keys of metadata");
        }
        if (f->nmeta == f->cap_meta) {
            int cap = f->cap_meta ? 2 * f->cap_meta : 16;
            adze_meta *m = adze_resize(f->ctx, f->meta, f->cap_meta, cap, sizeof *m);
            TRY(ADZE_GOT(m));
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

int adze_st_read_header(adze_safetensors *f) {
    scan p = {.f = f, .s = f->bytes + 8, .start = f->bytes + 8, .end = f->bytes + f->data};
    return read_header(&p);
}
