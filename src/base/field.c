/* Fields: a table that describes the members of an options struct drives reading, printing, defaults, ranges, comparing and hashing. */
#include "base/base.h"

#include <stdio.h>

static void *member(const adze_field *f, void *obj) {
    return (char *)obj + f->offset;
}

static const void *member_const(const adze_field *f, const void *obj) {
    return (const char *)obj + f->offset;
}

static int name_count(const char *const *names) {
    int n = 0;
    while (names && names[n]) {
        n++;
    }
    return n;
}

const adze_field *adze_field_find(const adze_field *table, const char *name) {
    for (; table && table->name; table++) {
        if (strcmp(table->name, name) == 0) {
            return table;
        }
    }
    return NULL;
}

/* -- reading -- */

typedef struct parsing {
    adze_ctx *ctx;
    const adze_field *f;
    const char *text, *where;
    char who[256]; /* how messages begin: "--lr: " or "net.yaml:3:5: units " */
} parsing;

/* Names the place, and the field unless the place already ends in its name ("--batch-size" for batch_size). */
static void name_place(parsing *p) {
    const char *where = p->where ? p->where : "";
    size_t n = strlen(where), m = strlen(p->f->name);
    bool named = n == m || (n > m && strchr("- .:", where[n - m - 1]));
    for (size_t i = 0; i < m && named; i++) {
        char a = where[n - m + i], b = p->f->name[i];
        named = a == b || (a == '-' && b == '_');
    }
    snprintf(p->who, sizeof p->who, "%s%s%s%s", where, n ? ": " : "", named && n ? "" : p->f->name, named && n ? "" : " ");
}

static void print_bound(char *out, size_t n, double v) {
    if (v > -1e15 && v < 1e15 && v == (double)(int64_t)v) {
        snprintf(out, n, "%lld", (long long)v);
    } else {
        adze_print_f64(out, n, v);
    }
}

static int check_range(const parsing *p, double v) {
    double lo = p->f->lo, hi = p->f->hi;
    if ((lo == 0 && hi == 0) || (v >= lo && v <= hi)) {
        return ADZE_OK;
    }
    char from[32], to[32];
    print_bound(from, sizeof from, lo);
    print_bound(to, sizeof to, hi);
    const double huge = 1e300;
    if (hi > huge || (p->f->kind != ADZE_F_F64 && hi >= 9e18)) {
        return adze_fail(p->ctx, ADZE_EARG, "%s'%.80s' is out of range; it must be at least %s", p->who, p->text, from);
    }
    if (lo < -huge || (p->f->kind != ADZE_F_F64 && lo <= -9e18)) {
        return adze_fail(p->ctx, ADZE_EARG, "%s'%.80s' is out of range; it must be at most %s", p->who, p->text, to);
    }
    return adze_fail(p->ctx, ADZE_EARG, "%s'%.80s' is out of range; it must be %s to %s", p->who, p->text, from, to);
}

static int fail_kind(const parsing *p, const char *what) {
    return adze_fail(p->ctx, ADZE_EARG, "%s'%.80s' is not %s", p->who, p->text, what);
}

static int parse_bool(const parsing *p, bool *out) {
    static const struct {
        const char *text;
        bool value;
    } WORDS[] = {{"true", true}, {"false", false}, {"yes", true}, {"no", false}, {"on", true}, {"off", false}, {"1", true}, {"0", false}};
    for (size_t i = 0; i < ADZE_COUNT(WORDS); i++) {
        if (strcmp(p->text, WORDS[i].text) == 0) {
            *out = WORDS[i].value;
            return ADZE_OK;
        }
    }
    return fail_kind(p, "true or false");
}

static int parse_enum(const parsing *p, int32_t *out) {
    const char *const *names = p->f->names;
    int n = name_count(names);
    for (int i = 0; i < n; i++) {
        if (strcmp(names[i], p->text) == 0) {
            *out = i;
            return ADZE_OK;
        }
    }
    const char *near = adze_suggest(p->text, names, (size_t)n, sizeof *names);
    if (near) {
        return adze_fail(p->ctx, ADZE_EARG, "%s'%.80s' is not known; did you mean '%s'?", p->who, p->text, near);
    }
    char legal[1024] = "";
    size_t len = 0;
    for (int i = 0; i < n && len < sizeof legal; i++) {
        len += (size_t)snprintf(legal + len, sizeof legal - len, "%s%s", i ? ", " : "", names[i]);
    }
    return adze_fail(p->ctx, ADZE_EARG, "%s'%.80s' is not known; legal are %s", p->who, p->text, legal);
}

static int parse_str(const parsing *p, char *out) {
    size_t n = strlen(p->text);
    if (n >= p->f->size) {
        return adze_fail(p->ctx, ADZE_EARG, "%sa text of %zu bytes is too long; at most %zu are allowed", p->who, n, p->f->size ? p->f->size - 1 : 0);
    }
    memset(out, 0, p->f->size); /* so that equal texts are equal bytes */
    memcpy(out, p->text, n);
    return ADZE_OK;
}

static bool is_gap(char c) {
    return c == ' ' || c == '\t';
}

/* "3", "3,3", "3 3", "[3, 3]", "(3, 3)"; "" and "[]" are the empty list. */
static int parse_ints(const parsing *p, adze_ints *out) {
    static const char WHAT[] = "a list of whole numbers such as 3,3";
    adze_ints v = {0};
    const char *s = p->text, *end = s + strlen(s);
    if (end - s >= 2 && ((s[0] == '[' && end[-1] == ']') || (s[0] == '(' && end[-1] == ')'))) {
        s++;
        end--;
    }
    while (s < end && is_gap(end[-1])) {
        end--;
    }
    for (bool comma = false;;) {
        while (s < end && is_gap(*s)) {
            s++;
        }
        if (s == end) {
            if (comma) {
                return fail_kind(p, WHAT);
            }
            break;
        }
        char digits[32];
        size_t n = 0;
        while (s < end && !is_gap(*s) && *s != ',' && n < sizeof digits - 1) {
            digits[n++] = *s++;
        }
        digits[n] = 0;
        if (v.n == (int64_t)ADZE_COUNT(v.v)) {
            return adze_fail(p->ctx, ADZE_EARG, "%s'%.80s' has more than %zu members", p->who, p->text, ADZE_COUNT(v.v));
        }
        if (!adze_parse_i64(digits, &v.v[v.n])) {
            return fail_kind(p, WHAT);
        }
        TRY(check_range(p, (double)v.v[v.n]));
        v.n++;
        while (s < end && is_gap(*s)) {
            s++;
        }
        comma = s < end && *s == ',';
        s += comma;
    }
    *out = v;
    return ADZE_OK;
}

/* The value is stored only when it is legal. */
static int parse_value(const parsing *p, void *at) {
    int64_t i;
    uint64_t u;
    double d;
    switch (p->f->kind) {
    case ADZE_F_BOOL:
        return parse_bool(p, at);
    case ADZE_F_I64:
        if (!adze_parse_i64(p->text, &i)) {
            return fail_kind(p, "a whole number");
        }
        TRY(check_range(p, (double)i));
        memcpy(at, &i, sizeof i);
        return ADZE_OK;
    case ADZE_F_U64:
        if (!adze_parse_u64(p->text, &u)) {
            return fail_kind(p, "a whole number from 0 up");
        }
        TRY(check_range(p, (double)u));
        memcpy(at, &u, sizeof u);
        return ADZE_OK;
    case ADZE_F_F64:
        if (!adze_parse_f64(p->text, &d)) {
            return fail_kind(p, "a number");
        }
        TRY(check_range(p, d));
        memcpy(at, &d, sizeof d);
        return ADZE_OK;
    case ADZE_F_ENUM:
        return parse_enum(p, at);
    case ADZE_F_STR:
        return parse_str(p, at);
    case ADZE_F_INTS:
        return parse_ints(p, at);
    }
    return adze_fail(p->ctx, ADZE_EBUG, "%sthe field table has no such kind", p->who);
}

int adze_field_parse(adze_ctx *ctx, const adze_field *f, void *obj, const char *text, const char *where) {
    parsing p = {.ctx = ctx, .f = f, .text = text, .where = where};
    if (!f || !obj || !text) {
        return adze_fail(ctx, ADZE_EARG, "%s%sthere is no such option, or no value for it", where ? where : "", where ? ": " : "");
    }
    name_place(&p);
    return parse_value(&p, member(f, obj));
}

/* A default that is not legal is a fault of the table; one merely out of range is set all the same ("0: choose"). */
int adze_fields_default(const adze_field *table, void *obj) {
    int status = ADZE_OK;
    for (const adze_field *f = table; f && f->name; f++) {
        static const size_t SIZES[] = {[ADZE_F_BOOL] = sizeof(bool),  [ADZE_F_I64] = sizeof(int64_t),  [ADZE_F_U64] = sizeof(uint64_t),
                                       [ADZE_F_F64] = sizeof(double), [ADZE_F_ENUM] = sizeof(int32_t), [ADZE_F_INTS] = sizeof(adze_ints)};
        memset(member(f, obj), 0, f->kind == ADZE_F_STR ? f->size : SIZES[f->kind]);
        if (f->def && adze_field_parse(NULL, f, obj, f->def, NULL) != ADZE_OK) {
            adze_field any = *f;
            any.lo = any.hi = 0;
            adze_field_parse(NULL, &any, obj, f->def, NULL);
            status = ADZE_EBUG;
        }
    }
    return status;
}

/* -- printing -- */

static int print_text(char *out, size_t n, const char *s) {
    size_t len = strlen(s);
    if (len >= n) {
        return -1;
    }
    memcpy(out, s, len + 1);
    return (int)len;
}

static int print_ints(char *out, size_t n, const adze_ints *v) {
    char s[8 * 24] = "";
    int len = 0;
    if (v->n < 0 || v->n > (int64_t)ADZE_COUNT(v->v)) {
        return -1;
    }
    for (int64_t i = 0; i < v->n; i++) {
        len += snprintf(s + len, sizeof s - (size_t)len, i ? ",%lld" : "%lld", (long long)v->v[i]);
    }
    return print_text(out, n, s);
}

int adze_field_print(const adze_field *f, const void *obj, char *out, size_t n) {
    const void *at = member_const(f, obj);
    char s[32];
    int64_t i;
    uint64_t u;
    double d;
    int32_t e;
    switch (f->kind) {
    case ADZE_F_BOOL:
        return print_text(out, n, *(const bool *)at ? "true" : "false");
    case ADZE_F_I64:
        memcpy(&i, at, sizeof i);
        snprintf(s, sizeof s, "%lld", (long long)i);
        return print_text(out, n, s);
    case ADZE_F_U64:
        memcpy(&u, at, sizeof u);
        snprintf(s, sizeof s, "%llu", (unsigned long long)u);
        return print_text(out, n, s);
    case ADZE_F_F64:
        memcpy(&d, at, sizeof d);
        return adze_print_f64(out, n, d);
    case ADZE_F_ENUM:
        memcpy(&e, at, sizeof e);
        return e >= 0 && e < name_count(f->names) ? print_text(out, n, f->names[e]) : -1;
    case ADZE_F_STR:
        return memchr(at, 0, f->size) ? print_text(out, n, at) : -1;
    case ADZE_F_INTS:
        return print_ints(out, n, at);
    }
    return -1;
}

/* -- comparing and hashing: both look at the same bytes -- */

typedef struct span {
    const void *bytes;
    size_t n;
} span;

static span value_span(const adze_field *f, const void *obj) {
    const void *at = member_const(f, obj);
    switch (f->kind) {
    case ADZE_F_BOOL:
        return (span){at, sizeof(bool)};
    case ADZE_F_ENUM:
        return (span){at, sizeof(int32_t)};
    case ADZE_F_STR:
        return (span){at, strnlen(at, f->size)};
    case ADZE_F_INTS: {
        int64_t n = ((const adze_ints *)at)->n;
        return (span){((const adze_ints *)at)->v, n > 0 && n <= 8 ? (size_t)n * sizeof(int64_t) : 0};
    }
    default:
        return (span){at, sizeof(int64_t)};
    }
}

static bool field_equal(const adze_field *f, const void *a, const void *b) {
    span x = value_span(f, a), y = value_span(f, b);
    return x.n == y.n && (x.n == 0 || memcmp(x.bytes, y.bytes, x.n) == 0);
}

bool adze_fields_equal(const adze_field *table, const void *a, const void *b) {
    for (const adze_field *f = table; f && f->name; f++) {
        if (!field_equal(f, a, b)) {
            return false;
        }
    }
    return true;
}

uint64_t adze_fields_hash(const adze_field *table, const void *obj, uint64_t seed) {
    uint64_t h = seed;
    for (const adze_field *f = table; f && f->name; f++) {
        span v = value_span(f, obj);
        h = adze_hash64(f->name, strlen(f->name), h);
        h = adze_hash64(v.bytes, v.n, h ^ v.n);
    }
    return h;
}

bool adze_field_is_default(const adze_field *f, const void *obj) {
    char is[4096], def[4096]; /* texts longer than this are no defaults */
    if (adze_field_print(f, obj, is, sizeof is) < 0) {
        return false;
    }
    if (f->kind == ADZE_F_STR) {
        return strcmp(is, f->def ? f->def : "") == 0;
    }
    /* A default may be written in more than one way ("1e-3"): compare what it reads as. */
    union {
        bool b;
        int64_t i;
        double d;
        adze_ints v;
    } value = {.v = {0}};
    adze_field alone = *f;
    alone.offset = 0;
    alone.lo = alone.hi = 0;
    if (f->def && adze_field_parse(NULL, &alone, &value, f->def, NULL) != ADZE_OK) {
        return false;
    }
    return adze_field_print(&alone, &value, def, sizeof def) >= 0 && strcmp(is, def) == 0;
}
