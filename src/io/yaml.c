/* YAML by libfyaml, event by event, into the tree that JSON becomes: a small and unsurprising part of the language, everything else refused. */
#include "adze/io.h"
#include "base/base.h"
#include "base/tree.h"

#include <errno.h>
#include <libfyaml.h>

enum {
    MAX_BYTES = 1 << 20,
    MAX_BLANK_LINES = 10000, /* libfyaml keeps those behind a block of text on the stack */
    MAX_PERCENTS = 1000,     /* in a tag, libfyaml's time grows with the square of their number */
    MAX_KEYS_COMPARED = 4096
};

struct adze_doc {
    adze_arena arena;
    adze_tree *root;
};

typedef struct frame { /* a list or map that is being read */
    adze_tree *node, **end;
    int count;
} frame;

typedef struct reader {
    adze_ctx *ctx;
    adze_doc *doc;
    const char *file;
    struct fy_parser *fyp;
    struct fy_diag *diag;
    frame stack[ADZE_TREE_MAX_DEPTH];
    int depth;
    bool has_key; /* a map's key was read, its value comes next */
    const char *key;
    int key_line, key_col;
    bool document;
} reader;

static int refuse(const reader *r, const struct fy_mark *at, const char *what) {
    int line = at ? at->line + 1 : 1, col = at ? at->column + 1 : 1;
    return adze_fail(r->ctx, ADZE_EFORMAT, "%s:%d:%d: %s", r->file, line, col, what);
}

static int no_memory(const reader *r) {
    return adze_fail(r->ctx, ADZE_ENOMEM, "out of memory while reading '%s'", r->file);
}

/* libfyaml's complaint as our sentence: the first one it collected. It does not say when it got no memory, but malloc does. */
static int parser_fault(const reader *r) {
    if (errno == ENOMEM) {
        return no_memory(r);
    }
    void *iter = NULL;
    const struct fy_diag_error *e = r->diag ? fy_diag_errors_iterate(r->diag, &iter) : NULL;
    if (!e || !e->msg) {
        return adze_fail(r->ctx, ADZE_EFORMAT, "%s: this is no YAML that can be read", r->file);
    }
    int len = (int)strcspn(e->msg, "\r\n");
    return adze_fail(r->ctx, ADZE_EFORMAT, "%s:%d:%d: %.*s", r->file, e->line > 0 ? e->line : 1, e->column > 0 ? e->column : 1, len < 300 ? len : 300,
                     e->msg);
}

/* Hangs a node into the innermost list or map. */
static int attach(reader *r, adze_tree_kind kind, const char *text, const struct fy_mark *at, adze_tree **out) {
    adze_tree *t = adze_arena_alloc(&r->doc->arena, sizeof *t);
    if (!t) {
        return ADZE_ENOMEM;
    }
    *t = (adze_tree){.kind = kind, .text = text, .line = at ? at->line + 1 : 0, .col = at ? at->column + 1 : 0};
    *out = t;
    if (!r->depth) {
        r->doc->root = t;
        return ADZE_OK;
    }
    frame *f = &r->stack[r->depth - 1];
    if (f->node->kind == ADZE_T_MAP) {
        t->key = r->key;
        t->line = r->key_line;
        t->col = r->key_col;
        r->has_key = false;
    }
    *f->end = t;
    f->end = &t->next;
    f->count++;
    return ADZE_OK;
}

static int push(reader *r, adze_tree_kind kind, const struct fy_mark *at) {
    if (r->depth && r->stack[r->depth - 1].node->kind == ADZE_T_MAP && !r->has_key) {
        return refuse(r, at, "a key must be a plain word, not a list or a map");
    }
    if (r->depth == ADZE_TREE_MAX_DEPTH) {
        return refuse(r, at, "lists and maps are nested more than 32 deep");
    }
    adze_tree *t;
    TRY(attach(r, kind, NULL, at, &t));
    r->stack[r->depth++] = (frame){.node = t, .end = &t->child};
    return ADZE_OK;
}

static int read_key(reader *r, const char *text, bool plain, const struct fy_mark *at) {
    const frame *f = &r->stack[r->depth - 1];
    if (plain && strcmp(text, "<<") == 0) {
        return refuse(r, at, "merge keys '<<' are not allowed here; write the values out");
    }
    if (f->count >= MAX_KEYS_COMPARED) {
        return refuse(r, at, "a map has more than 4096 keys");
    }
    if (adze_tree_get(f->node, text)) {
        return adze_fail(r->ctx, ADZE_EFORMAT, "%s:%d:%d: the key '%.80s' is there twice", r->file, at ? at->line + 1 : 1, at ? at->column + 1 : 1,
                         text);
    }
    r->key = text;
    r->key_line = at ? at->line + 1 : 0;
    r->key_col = at ? at->column + 1 : 0;
    r->has_key = true;
    return ADZE_OK;
}

/* The text of a scalar, piece by piece: fy_token_get_text may leak and gives an empty text when it gets no memory, and fy_token_iter_read lays the
 * pieces over each other. */
static int token_text(reader *r, struct fy_token *token, char **text, size_t *n) {
    adze_text t = {.ctx = r->ctx};
    struct fy_token_iter *iter = token ? fy_token_iter_create(token) : NULL;
    if (token && !iter) {
        return no_memory(r);
    }
    const struct fy_iter_chunk *piece = NULL;
    int fault = 0;
    while (iter && (piece = fy_token_iter_chunk_next(iter, piece, &fault)) != NULL) {
        adze_text_put(&t, piece->str, piece->len);
    }
    fy_token_iter_destroy(iter);
    *n = (size_t)t.len;
    *text = fault || t.failed ? NULL : adze_arena_alloc(&r->doc->arena, *n + 1);
    if (*text && *n) {
        memcpy(*text, t.s, *n);
    }
    adze_text_drop(&t);
    if (fault && errno != ENOMEM) {
        return refuse(r, fy_token_start_mark(token), "this text cannot be read");
    }
    return *text ? ADZE_OK : no_memory(r);
}

static int read_scalar(reader *r, struct fy_event *e, const struct fy_mark *at) {
    size_t n = 0;
    char *text = NULL;
    bool plain = !e->scalar.value || fy_token_scalar_style(e->scalar.value) == FYSS_PLAIN;
    TRY(token_text(r, e->scalar.value, &text, &n));
    if (memchr(text, 0, n)) {
        return refuse(r, at, "a text holds a zero byte");
    }
    if (r->depth && r->stack[r->depth - 1].node->kind == ADZE_T_MAP && !r->has_key) {
        return read_key(r, text, plain, at);
    }
    adze_tree *t;
    return attach(r, plain ? n ? ADZE_T_SCALAR : ADZE_T_NULL : ADZE_T_STRING, plain && !n ? NULL : text, at, &t);
}

static int check_document(const reader *r, struct fy_event *e) {
    struct fy_document_state *s = e->document_start.document_state;
    if (r->document) {
        return refuse(r, fy_event_start_mark(e), "there is a second document; a model file has one");
    }
    if (s && (fy_document_state_version_explicit(s) || fy_document_state_tags_explicit(s))) {
        return refuse(r, fy_event_start_mark(e), "%YAML and %TAG directives are not allowed here");
    }
    return ADZE_OK;
}

static int read_event(reader *r, struct fy_event *e) {
    const struct fy_mark *at = fy_event_start_mark(e);
    const struct fy_token *anchor = e->type == FYET_SCALAR           ? e->scalar.anchor
                                    : e->type == FYET_MAPPING_START  ? e->mapping_start.anchor
                                    : e->type == FYET_SEQUENCE_START ? e->sequence_start.anchor
                                                                     : NULL;
    const struct fy_token *tag = e->type == FYET_SCALAR           ? e->scalar.tag
                                 : e->type == FYET_MAPPING_START  ? e->mapping_start.tag
                                 : e->type == FYET_SEQUENCE_START ? e->sequence_start.tag
                                                                  : NULL;
    if (anchor || e->type == FYET_ALIAS) {
        return refuse(r, at, "anchors '&' and aliases '*' are not allowed here; use repeat, or write the values out");
    }
    if (tag) {
        return refuse(r, at, "tags '!' are not allowed here; the model's fields give values their types");
    }
    switch (e->type) {
    case FYET_DOCUMENT_START:
        TRY(check_document(r, e));
        r->document = true;
        return ADZE_OK;
    case FYET_MAPPING_START:
        return push(r, ADZE_T_MAP, at);
    case FYET_SEQUENCE_START:
        return push(r, ADZE_T_LIST, at);
    case FYET_MAPPING_END:
    case FYET_SEQUENCE_END:
        r->depth--;
        return ADZE_OK;
    case FYET_SCALAR:
        return read_scalar(r, e, at);
    default:
        return ADZE_OK;
    }
}

static int read_events(reader *r) {
    errno = 0;
    int status = ADZE_OK;
    struct fy_event *e;
    bool ended = false;
    while (status == ADZE_OK && (e = fy_parser_parse(r->fyp)) != NULL) {
        ended = e->type == FYET_STREAM_END;
        status = read_event(r, e);
        fy_parser_event_free(r->fyp, e);
    }
    TRY(status);
    if (!ended) {
        return parser_fault(r);
    }
    return r->doc->root ? ADZE_OK : adze_fail(r->ctx, ADZE_EFORMAT, "%s: the file is empty", r->file);
}

static int parse(reader *r, const char *text, size_t n) {
    struct fy_diag_cfg quiet;
    fy_diag_cfg_default(&quiet);
    quiet.fp = NULL;
    quiet.output_fn = NULL;
    r->diag = fy_diag_create(&quiet);
    if (!r->diag) {
        return no_memory(r);
    }
    fy_diag_set_collect_errors(r->diag, true);
    struct fy_parse_cfg cfg = {.flags = FYPCF_QUIET | FYPCF_COLLECT_DIAG | FYPCF_DEFAULT_VERSION_1_2 | FYPCF_JSON_NONE, .diag = r->diag};
    r->fyp = fy_parser_create(&cfg);
    int status = ADZE_OK;
    if (!r->fyp || fy_parser_set_string(r->fyp, text, n) != 0) {
        status = no_memory(r);
    }
    status = status == ADZE_OK ? read_events(r) : status;
    if (r->fyp) {
        fy_parser_destroy(r->fyp);
    }
    fy_diag_destroy(r->diag);
    return status;
}

/* A block of text that ends with the file lets libfyaml read a line break it has not set: the last line always gets one. */
static int parse_ended(reader *r, const char *text, size_t n) {
    if (text[n - 1] == '\n') {
        return parse(r, text, n);
    }
    char *ended = adze_alloc(r->ctx, (int64_t)n + 1, 1);
    if (!ended) {
        return ADZE_ENOMEM;
    }
    memcpy(ended, text, n);
    ended[n] = '\n';
    int status = parse(r, ended, n + 1);
    adze_free(r->ctx, ended);
    return status;
}

typedef struct text_count { /* of what libfyaml takes too much time or stack for */
    int blank, percents;
    bool empty; /* this line, so far */
} text_count;

static void count_byte(text_count *t, char c) {
    bool end = c == '\n' || c == '\r';
    t->empty = t->empty && strchr(" \t\r\n", c);
    t->blank += end && t->empty;
    t->empty = t->empty || end;
    t->percents += c == '%';
}

/* libfyaml is given UTF-8 without zero bytes only, and nothing that it is slow or careless with: what else it might make of it need not be known. */
static int check_text(adze_ctx *ctx, const char *text, size_t n, const char *file) {
    if (n > MAX_BYTES) {
        return adze_fail(ctx, ADZE_EFORMAT, "%s: the file has %zu bytes, at most %d are allowed", file, n, MAX_BYTES);
    }
    int line = 1;
    text_count t = {.empty = true};
    for (size_t i = 0, len; i < n; i += len) {
        char four[5] = {0};
        memcpy(four, text + i, n - i < 4 ? n - i : 4);
        len = four[0] ? adze_utf8_length(four) : 0;
        bool control = four[0] > 0 && four[0] < 0x20 && !strchr("\t\n\r", four[0]);
        if (!len || control) {
            return adze_fail(ctx, ADZE_EFORMAT, "%s:%d: byte %zu is no UTF-8 text", file, line, i);
        }
        if (four[0] == '%' && (i == 0 || text[i - 1] == '\n' || text[i - 1] == '\r')) {
            return adze_fail(ctx, ADZE_EFORMAT, "%s:%d:1: %%YAML and %%TAG directives are not allowed here", file, line);
        }
        count_byte(&t, four[0]);
        line += four[0] == '\n';
    }
    if (t.blank > MAX_BLANK_LINES || t.percents > MAX_PERCENTS) {
        return adze_fail(ctx, ADZE_EFORMAT, "%s: the file has more than %d %s", file, t.blank > MAX_BLANK_LINES ? MAX_BLANK_LINES : MAX_PERCENTS,
                         t.blank > MAX_BLANK_LINES ? "empty lines" : "percent signs");
    }
    return ADZE_OK;
}

int adze_yaml_parse(adze_ctx *ctx, const char *text, size_t n, const char *file, adze_doc **out) {
    *out = NULL;
    file = file ? file : "yaml";
    TRY(check_text(ctx, text, n, file));
    adze_doc *doc = adze_alloc(ctx, 1, sizeof *doc);
    if (!doc) {
        return ADZE_ENOMEM;
    }
    doc->arena.ctx = ctx;
    reader r = {.ctx = ctx, .doc = doc, .file = file};
    int status = n ? parse_ended(&r, text, n) : adze_fail(ctx, ADZE_EFORMAT, "%s: the file is empty", file);
    if (status != ADZE_OK) {
        adze_doc_free(doc);
        return status;
    }
    *out = doc;
    return ADZE_OK;
}

const adze_tree *adze_doc_root(const adze_doc *d) {
    return d->root;
}

void adze_doc_free(adze_doc *d) {
    if (d) {
        adze_ctx *ctx = d->arena.ctx;
        adze_arena_free(&d->arena);
        adze_free(ctx, d);
    }
}
