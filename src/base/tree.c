/* Trees: looking up, writing as JSON, and filling structs by their field tables with every fault collected. */
#include "base/tree.h"

#include <stdio.h>

enum {
    PRINT_DEPTH = 2 * ADZE_TREE_MAX_DEPTH, /* deeper trees come from no reader of ours */
    MAX_CHOICES = 256,                     /* names among which a suggestion is sought */
    LIST_TEXT = 1024
};

const adze_tree *adze_tree_get(const adze_tree *map, const char *key) {
    if (!map || map->kind != ADZE_T_MAP) {
        return NULL;
    }
    for (const adze_tree *t = map->child; t; t = t->next) {
        if (t->key && strcmp(t->key, key) == 0) {
            return t;
        }
    }
    return NULL;
}

int adze_tree_len(const adze_tree *t) {
    int n = 0;
    for (const adze_tree *c = t ? t->child : NULL; c; c = c->next) {
        n++;
    }
    return n;
}

/* -- writing -- */

/* Only what must be escaped is; bytes that are not UTF-8 become U+FFFD, so that what is written can be read. */
void adze_json_string(adze_text *t, const char *s) {
    static const char FROM[] = "\"\\\b\f\n\r\t", TO[] = "\"\\bfnrt";
    adze_text_put(t, "\"", 1);
    for (size_t len; *s; s += len) {
        const char *special = strchr(FROM, *s);
        len = adze_utf8_length(s);
        if (special) {
            char escape[2] = {'\\', TO[special - FROM]};
            adze_text_put(t, escape, 2);
        } else if ((unsigned char)*s < 0x20) {
            adze_text_add(t, "\\u%04x", (unsigned)(unsigned char)*s);
        } else if (len == 0) {
            adze_text_put(t, "\xef\xbf\xbd", 3);
            len = 1;
        } else {
            adze_text_put(t, s, len);
        }
    }
    adze_text_put(t, "\"", 1);
}

/* Scalars that JSON does not know bare ("relu", "010", ".5" from YAML) are quoted: field tables read both alike. */
static int print_node(const adze_tree *t, adze_text *out, int depth) {
    if (depth > PRINT_DEPTH) {
        return adze_fail(out->ctx, ADZE_EARG, "a tree nested deeper than %d cannot be written", PRINT_DEPTH);
    }
    if (t->kind == ADZE_T_NULL) {
        adze_text_put(out, "null", 4);
    } else if (t->kind == ADZE_T_SCALAR && adze_json_is_plain(t->text)) {
        adze_text_put(out, t->text, strlen(t->text));
    } else if (t->kind == ADZE_T_SCALAR || t->kind == ADZE_T_STRING) {
        adze_json_string(out, t->text);
    } else {
        const bool map = t->kind == ADZE_T_MAP;
        adze_text_put(out, map ? "{" : "[", 1);
        for (const adze_tree *c = t->child; c; c = c->next) {
            if (c != t->child) {
                adze_text_put(out, ",", 1);
            }
            if (map) {
                adze_json_string(out, c->key);
                adze_text_put(out, ":", 1);
            }
            TRY(print_node(c, out, depth + 1));
        }
        adze_text_put(out, map ? "}" : "]", 1);
    }
    return ADZE_OK;
}

int adze_tree_print_json(const adze_tree *t, adze_text *out) {
    TRY(print_node(t, out, 0));
    return out->failed ? ADZE_ENOMEM : ADZE_OK;
}

/* -- fields -- */

typedef struct filling {
    adze_ctx *ctx;
    const adze_field *table;
    void *obj;
    const char *file, *owner;
    const char *const *skip;
    adze_text *faults;
    int count;
} filling;

static void add_place(filling *f, const adze_tree *t) {
    if (f->file) {
        adze_text_add(f->faults, "%s:", f->file);
    }
    if (t->line > 0) {
        adze_text_add(f->faults, "%d:%d:", t->line, t->col);
    }
    if (f->file || t->line > 0) {
        adze_text_put(f->faults, " ", 1);
    }
    f->count++;
}

static bool is_skipped(const filling *f, const char *key) {
    for (const char *const *s = f->skip; s && *s; s++) {
        if (strcmp(*s, key) == 0) {
            return true;
        }
    }
    return false;
}

static void fault_unknown(filling *f, const adze_tree *t) {
    const char *choices[MAX_CHOICES];
    size_t n = 0;
    for (const adze_field *x = f->table; x && x->name && n < MAX_CHOICES; x++) {
        if (!(x->flags & ADZE_FIELD_HIDDEN)) {
            choices[n++] = x->name;
        }
    }
    for (const char *const *s = f->skip; s && *s && n < MAX_CHOICES; s++) {
        choices[n++] = *s;
    }
    const char *near = adze_suggest(t->key, choices, n, sizeof *choices);
    add_place(f, t);
    adze_text_add(f->faults, "unknown key '%.80s'%s%s", t->key, f->owner ? " in " : "", f->owner ? f->owner : "");
    if (near) {
        adze_text_add(f->faults, "; did you mean '%s'?\n", near);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        adze_text_add(f->faults, "%s%s", i ? ", " : "; legal are ", choices[i]);
    }
    adze_text_put(f->faults, "\n", 1);
}

static void fault_value(filling *f, const adze_tree *t, const char *what) {
    add_place(f, t);
    adze_text_add(f->faults, "%s%s'%.80s' %s\n", f->owner ? f->owner : "", f->owner ? ": " : "", t->key, what);
}

/* "3,3" from a list of scalars; false when it holds anything else. */
static bool join_list(const adze_tree *list, char *out, size_t n) {
    size_t len = 0;
    out[0] = 0;
    for (const adze_tree *c = list->child; c; c = c->next) {
        if (c->kind != ADZE_T_SCALAR && c->kind != ADZE_T_STRING) {
            return false;
        }
        len += (size_t)snprintf(out + len, n - len, "%s%s", c == list->child ? "" : ",", c->text);
        if (len >= n) {
            return false;
        }
    }
    return true;
}

static void fill_field(filling *f, const adze_tree *t, const adze_field *field) {
    char joined[LIST_TEXT], empty[] = "";
    const char *text = t->text;
    if (t->kind == ADZE_T_NULL) {
        fault_value(f, t, "has no value");
        return;
    }
    if (t->kind == ADZE_T_MAP || (t->kind == ADZE_T_LIST && field->kind != ADZE_F_INTS)) {
        fault_value(f, t, t->kind == ADZE_T_MAP ? "takes a single value, not a map" : "takes a single value, not a list");
        return;
    }
    if (t->kind == ADZE_T_LIST) {
        if (!join_list(t, joined, sizeof joined)) {
            fault_value(f, t, "takes a short list of whole numbers");
            return;
        }
        text = joined;
    }
    if (adze_field_parse(f->ctx, field, f->obj, text ? text : empty, f->owner) != ADZE_OK) {
        add_place(f, t);
        adze_text_add(f->faults, "%s\n", adze_errmsg(f->ctx));
    }
}

int adze_tree_fields(adze_ctx *ctx, const adze_tree *map, const adze_field *table, void *obj, const char *file, const char *owner,
                     const char *const *skip, adze_text *faults) {
    filling f = {ctx, table, obj, file, owner, skip, faults, 0};
    if (map->kind != ADZE_T_MAP) {
        add_place(&f, map);
        adze_text_add(faults, "%s must be a map of keys and values\n", owner ? owner : "this");
        return f.count;
    }
    for (const adze_tree *t = map->child; t; t = t->next) {
        const adze_field *field = adze_field_find(table, t->key);
        if (is_skipped(&f, t->key)) {
            continue;
        }
        if (field) {
            fill_field(&f, t, field);
        } else {
            fault_unknown(&f, t);
        }
    }
    for (const adze_field *x = table; x && x->name; x++) {
        if ((x->flags & ADZE_FIELD_REQUIRED) && !is_skipped(&f, x->name) && !adze_tree_get(map, x->name)) {
            add_place(&f, map);
            adze_text_add(faults, "%s needs '%s'%s%s\n", owner ? owner : "this", x->name, x->help ? ": " : "", x->help ? x->help : "");
        }
    }
    if (f.count && !faults->failed) {
        adze_err_clear(ctx); /* the faults are in the text now */
    }
    return f.count;
}
