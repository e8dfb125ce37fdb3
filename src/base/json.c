/* The JSON reader: strict RFC 8259 into a tree, in one pass, without recursion; every byte may come from an enemy.
 *
 * Beyond the RFC it refuses duplicate keys, NUL characters, nesting deeper than 32 and more than a million values: so memory stays within a small
 * multiple of the text. Columns count bytes from 1. */
#include "base/tree.h"

#include <limits.h>

enum { MAX_NODES = 1 << 20, FEW_KEYS = 12 };
static const size_t MAX_TEXT = (size_t)1 << 30;

typedef struct open_node { /* a map or list whose end has not come */
    adze_tree *node, *last;
    int64_t count;
} open_node;

typedef struct parser {
    adze_arena *arena;
    const char *text, *file;
    size_t n, pos, line_start;
    int line, depth;
    int64_t nodes;
    open_node open[ADZE_TREE_MAX_DEPTH];
} parser;

static int fail_at(parser *p, int line, int col, const char *what) {
    return adze_fail(p->arena->ctx, ADZE_EFORMAT, "%s:%d:%d: %s", p->file ? p->file : "json", line, col, what);
}

static int fail_here(parser *p, const char *what) {
    return fail_at(p, p->line, (int)(p->pos - p->line_start) + 1, what);
}

static int peek(const parser *p) {
    return p->pos < p->n ? (unsigned char)p->text[p->pos] : -1;
}

static void skip_space(parser *p) {
    for (; p->pos < p->n; p->pos++) {
        char c = p->text[p->pos];
        if (c == '\n') {
            p->line++;
            p->line_start = p->pos + 1;
        } else if (c != ' ' && c != '\t' && c != '\r') {
            return;
        }
    }
}

/* -- strings -- */

/* Bytes of the valid UTF-8 sequence at s, or 0: no overlong forms, no surrogates, nothing above U+10FFFF (RFC 3629). */
static size_t utf8_length(const unsigned char *s, size_t n) {
    if (s[0] < 0x80) {
        return 1;
    }
    size_t len = s[0] >= 0xc2 && s[0] <= 0xdf ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 : s[0] >= 0xf0 && s[0] <= 0xf4 ? 4 : 0;
    if (len == 0 || len > n) {
        return 0;
    }
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    bool overlong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
    bool outside = (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf4 && s[1] > 0x8f);
    return overlong || outside ? 0 : len;
}

static char *utf8_put(char *out, uint32_t c) {
    if (c < 0x80) {
        *out++ = (char)c;
        return out;
    }
    if (c < 0x800) {
        *out++ = (char)(0xc0 | c >> 6);
    } else {
        if (c < 0x10000) {
            *out++ = (char)(0xe0 | c >> 12);
        } else {
            *out++ = (char)(0xf0 | c >> 18);
            *out++ = (char)(0x80 | (c >> 12 & 0x3f));
        }
        *out++ = (char)(0x80 | (c >> 6 & 0x3f));
    }
    *out++ = (char)(0x80 | (c & 0x3f));
    return out;
}

static bool read_hex4(parser *p, uint32_t *out) {
    *out = 0;
    if (p->n - p->pos < 4) {
        return false;
    }
    for (int i = 0; i < 4; i++) {
        char c = p->text[p->pos + (size_t)i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (digit < 0) {
            return false;
        }
        *out = *out << 4 | (uint32_t)digit;
    }
    p->pos += 4;
    return true;
}

/* After "\u": one unit, or a surrogate pair. */
static int read_unicode(parser *p, char **out) {
    uint32_t c, low;
    if (!read_hex4(p, &c)) {
        return fail_here(p, "\\u needs four hexadecimal digits");
    }
    if (c == 0) {
        return fail_here(p, "the character NUL is not allowed in a string");
    }
    if (c >= 0xdc00 && c <= 0xdfff) {
        return fail_here(p, "a low surrogate stands alone");
    }
    if (c >= 0xd800 && c <= 0xdbff) {
        if (p->n - p->pos < 6 || p->text[p->pos] != '\\' || p->text[p->pos + 1] != 'u') {
            return fail_here(p, "a high surrogate stands alone");
        }
        p->pos += 2;
        if (!read_hex4(p, &low) || low < 0xdc00 || low > 0xdfff) {
            return fail_here(p, "a high surrogate stands alone");
        }
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    }
    *out = utf8_put(*out, c);
    return ADZE_OK;
}

static int read_escape(parser *p, char **out) {
    static const char FROM[] = "\"\\/bfnrt", TO[] = "\"\\/\b\f\n\r\t";
    p->pos++;
    int c = peek(p);
    if (c == 'u') {
        p->pos++;
        return read_unicode(p, out);
    }
    const char *at = c > 0 ? strchr(FROM, c) : NULL;
    if (!at) {
        return fail_here(p, "no such escape; legal are \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX");
    }
    *(*out)++ = TO[at - FROM];
    p->pos++;
    return ADZE_OK;
}

/* Where the closing quote is, so that the copy can be allocated: it is never longer than the source. */
static bool string_end(const parser *p, size_t *end) {
    for (size_t i = p->pos; i < p->n; i++) {
        if (p->text[i] == '"') {
            *end = i;
            return true;
        }
        i += p->text[i] == '\\';
    }
    return false;
}

static int read_string(parser *p, const char **out) {
    size_t end;
    p->pos++;
    if (!string_end(p, &end)) {
        return fail_here(p, "this string has no end");
    }
    char *copy = adze_arena_alloc(p->arena, end - p->pos + 1), *to = copy;
    TRY(ADZE_GOT(copy));
    while (p->pos < end) {
        unsigned char c = (unsigned char)p->text[p->pos];
        if (c == '\\') {
            TRY(read_escape(p, &to));
            continue;
        }
        if (c < 0x20) {
            return fail_here(p, "a control character in a string must be escaped");
        }
        size_t len = utf8_length((const unsigned char *)p->text + p->pos, end - p->pos);
        if (len == 0) {
            return fail_here(p, "this is not valid UTF-8");
        }
        memcpy(to, p->text + p->pos, len);
        to += len;
        p->pos += len;
    }
    *to = 0;
    p->pos = end + 1;
    *out = copy;
    return ADZE_OK;
}

/* -- values -- */

static size_t digits(const char *s, size_t n, size_t at) {
    while (at < n && s[at] >= '0' && s[at] <= '9') {
        at++;
    }
    return at;
}

/* Length of the JSON number at the start of s, or 0. */
static size_t number_length(const char *s, size_t n) {
    size_t at = n > 0 && s[0] == '-';
    size_t whole = at;
    at = digits(s, n, at);
    if (at == whole || (s[whole] == '0' && at - whole > 1)) {
        return 0;
    }
    if (at < n && s[at] == '.') {
        size_t from = at + 1;
        at = digits(s, n, from);
        if (at == from) {
            return 0;
        }
    }
    if (at < n && (s[at] == 'e' || s[at] == 'E')) {
        size_t from = at + 1;
        from += from < n && (s[from] == '+' || s[from] == '-');
        at = digits(s, n, from);
        if (at == from) {
            return 0;
        }
    }
    return at;
}

static int read_plain(parser *p, adze_tree *node) {
    static const char *const WORDS[] = {"true", "false", "null"};
    const char *s = p->text + p->pos;
    size_t n = p->n - p->pos, len = 0;
    for (size_t i = 0; i < ADZE_COUNT(WORDS); i++) {
        size_t word = strlen(WORDS[i]);
        if (n >= word && memcmp(s, WORDS[i], word) == 0) {
            len = word;
        }
    }
    if (len == 0) {
        len = number_length(s, n);
    }
    if (len == 0) {
        return fail_here(p, "a value is expected here: a string, a number, true, false, null, [ or {");
    }
    node->kind = s[0] == 'n' ? ADZE_T_NULL : ADZE_T_SCALAR;
    if (node->kind == ADZE_T_SCALAR) {
        char *copy = adze_arena_alloc(p->arena, len + 1);
        TRY(ADZE_GOT(copy));
        memcpy(copy, s, len);
        node->text = copy;
    }
    p->pos += len;
    return ADZE_OK;
}

static int read_value(parser *p, const char *key, int line, int col, adze_tree **out) {
    if (++p->nodes > MAX_NODES) {
        return fail_here(p, "there are more than a million values");
    }
    adze_tree *node = adze_arena_alloc(p->arena, sizeof *node);
    TRY(ADZE_GOT(node));
    node->key = key;
    node->line = key ? line : p->line;
    node->col = key ? col : (int)(p->pos - p->line_start) + 1;
    *out = node;
    int c = peek(p);
    if (c == '"') {
        node->kind = ADZE_T_STRING;
        return read_string(p, &node->text);
    }
    if (c != '{' && c != '[') {
        return read_plain(p, node);
    }
    if (p->depth == ADZE_TREE_MAX_DEPTH) {
        return fail_here(p, "maps and lists are nested deeper than 32");
    }
    node->kind = c == '{' ? ADZE_T_MAP : ADZE_T_LIST;
    p->open[p->depth++] = (open_node){.node = node};
    p->pos++;
    return ADZE_OK;
}

/* -- maps: no key twice -- */

static int fail_twice(parser *p, const adze_tree *node) {
    return adze_fail(p->arena->ctx, ADZE_EFORMAT, "%s:%d:%d: the key '%.80s' stands here for the second time", p->file ? p->file : "json", node->line,
                     node->col, node->key);
}

static int check_few(parser *p, const adze_tree *map) {
    for (const adze_tree *a = map->child; a; a = a->next) {
        for (const adze_tree *b = map->child; b != a; b = b->next) {
            if (strcmp(a->key, b->key) == 0) {
                return fail_twice(p, a);
            }
        }
    }
    return ADZE_OK;
}

static int check_many(parser *p, const adze_tree *map, int64_t count) {
    int64_t cap = 64;
    while (cap < count * 2) {
        cap *= 2;
    }
    const adze_tree **seen = adze_alloc(p->arena->ctx, cap, sizeof *seen);
    TRY(ADZE_GOT(seen));
    int status = ADZE_OK;
    for (const adze_tree *a = map->child; a && status == ADZE_OK; a = a->next) {
        int64_t at = (int64_t)(adze_hash_str(a->key) & (uint64_t)(cap - 1));
        while (seen[at] && strcmp(seen[at]->key, a->key) != 0) {
            at = (at + 1) & (cap - 1);
        }
        status = seen[at] ? fail_twice(p, a) : ADZE_OK;
        seen[at] = a;
    }
    adze_free(p->arena->ctx, seen);
    return status;
}

static int close_node(parser *p) {
    open_node *o = &p->open[--p->depth];
    p->pos++;
    if (o->node->kind == ADZE_T_LIST) {
        return ADZE_OK;
    }
    return o->count <= FEW_KEYS ? check_few(p, o->node) : check_many(p, o->node, o->count);
}

/* The next member of the innermost open map or list, or its end. */
static int read_member(parser *p) {
    open_node *o = &p->open[p->depth - 1];
    const bool map = o->node->kind == ADZE_T_MAP;
    const char *key = NULL;
    adze_tree *node;
    skip_space(p);
    if (peek(p) == (map ? '}' : ']')) {
        return close_node(p);
    }
    if (o->count > 0) {
        if (peek(p) != ',') {
            return fail_here(p, map ? "a comma or } is expected here" : "a comma or ] is expected here");
        }
        p->pos++;
        skip_space(p);
    }
    int line = p->line, col = (int)(p->pos - p->line_start) + 1;
    if (map) {
        if (peek(p) != '"') {
            return fail_here(p, "a key in double quotes is expected here");
        }
        TRY(read_string(p, &key));
        skip_space(p);
        if (peek(p) != ':') {
            return fail_here(p, "a colon is expected here");
        }
        p->pos++;
        skip_space(p);
    }
    TRY(read_value(p, key, line, col, &node));
    *(o->last ? &o->last->next : &o->node->child) = node;
    o->last = node;
    o->count++;
    return ADZE_OK;
}

int adze_json_parse(adze_arena *a, const char *text, size_t n, const char *file, adze_tree **out) {
    parser p = {.arena = a, .text = text, .n = n, .file = file, .line = 1};
    *out = NULL;
    if (n > MAX_TEXT || n > INT_MAX) {
        return fail_here(&p, "this is longer than 1 GiB");
    }
    adze_tree *root;
    skip_space(&p);
    TRY(read_value(&p, NULL, 0, 0, &root));
    while (p.depth > 0) {
        TRY(read_member(&p));
    }
    skip_space(&p);
    if (p.pos < n) {
        return fail_here(&p, "the value has ended, but more follows");
    }
    *out = root;
    return ADZE_OK;
}

/* -- what the writer must know of the grammar -- */

bool adze_json_is_plain(const char *s) {
    size_t n = strlen(s);
    return strcmp(s, "true") == 0 || strcmp(s, "false") == 0 || (n > 0 && number_length(s, n) == n);
}

size_t adze_utf8_length(const char *s) {
    return utf8_length((const unsigned char *)s, strlen(s));
}
