/* From a file's tree to a model: every fault of the file is found before any is told. */
#include "model/layer.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>

enum { MAX_NESTING = 32 };

/* -- faults -- */

void adze_fault(adze_faults *f, const adze_tree *at, const char *fmt, ...) {
    if (f->count++ >= ADZE_MAX_FAULTS) {
        return;
    }
    if (at && at->line) {
        adze_text_add(&f->text, "%s:%d:%d: ", f->file, at->line, at->col);
    } else {
        adze_text_add(&f->text, "%s: ", f->file);
    }
    char sentence[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(sentence, sizeof sentence, fmt, ap);
    va_end(ap);
    adze_text_add(&f->text, "%s\n", sentence);
}

int adze_faults_finish(adze_faults *f) {
    if (!f->count) {
        adze_text_drop(&f->text);
        return ADZE_OK;
    }
    if (f->count > ADZE_MAX_FAULTS) {
        adze_text_add(&f->text, "%s: and more faults\n", f->file);
    }
    char *all;
    int status = adze_text_finish(&f->text, &all);
    if (status != ADZE_OK) {
        return status;
    }
    status = adze_fail(f->ctx, ADZE_EARG, "%.*s", (int)strlen(all) - 1, all);
    adze_free(f->ctx, all);
    return status;
}

/* -- layers as written -- */

typedef struct parser {
    adze_model *m;
    adze_faults *faults;
    int nspecs;
} parser;

static bool name_ok(const char *s) {
    for (const char *c = s; *c; c++) {
        if (!isalnum((unsigned char)*c) && !strchr("_-.", *c)) {
            return false;
        }
    }
    return *s && strlen(s) < ADZE_LAYER_NAME;
}

static bool is_text(const adze_tree *t) {
    return t->kind == ADZE_T_SCALAR || t->kind == ADZE_T_STRING;
}

/* A name given by the file, or the type and its number among its kind: "conv2". */
static void read_name(parser *p, const adze_tree *t, const char *type, int ordinal, adze_spec *s) {
    const adze_tree *name = adze_tree_get(t, "name");
    snprintf(s->name, sizeof s->name, "%s%d", type, ordinal);
    if (!name) {
        return;
    }
    if (!is_text(name) || !name_ok(name->text)) {
        adze_fault(p->faults, name, "a layer's name is made of letters, digits, '_', '-' and '.', at most %d of them", ADZE_LAYER_NAME - 1);
        return;
    }
    snprintf(s->name, sizeof s->name, "%s", name->text);
    if (strcmp(s->name, "input") == 0) {
        adze_fault(p->faults, name, "'input' is the name of what comes in; call the layer something else");
    }
}

static void read_from(parser *p, const adze_tree *t, adze_spec *s) {
    const adze_tree *from = adze_tree_get(t, "from");
    if (!from) {
        return;
    }
    bool list = from->kind == ADZE_T_LIST;
    for (const adze_tree *e = list ? from->child : from; e; e = list ? e->next : NULL) {
        if (!is_text(e)) {
            adze_fault(p->faults, e, "'from' of layer '%s' takes the name of a layer, or a list of names", s->name);
            return;
        }
        if (s->nfrom == ADZE_LAYER_MAX_FROM) {
            adze_fault(p->faults, e, "'from' of layer '%s' names more than %d layers", s->name, ADZE_LAYER_MAX_FROM);
            return;
        }
        s->from[s->nfrom] = adze_arena_strdup(&p->m->arena, e->text);
        if (!s->from[s->nfrom]) {
            p->faults->text.failed = true;
            return;
        }
        s->nfrom++;
    }
    if (!s->nfrom) {
        adze_fault(p->faults, from, "'from' of layer '%s' is an empty list", s->name);
    }
}

/* "pad: 2" and "pad: [2, 1]" stand for pad_lo and pad_hi. */
static bool is_number_pad(const adze_tree *pad) {
    return pad && (pad->kind == ADZE_T_LIST || (pad->kind == ADZE_T_SCALAR && pad->text[0] && pad->text[strspn(pad->text, "+-0123456789.")] == 0));
}

static void read_pad(parser *p, const adze_tree *t, adze_spec *s, const char *owner) {
    const adze_field *lo = adze_field_find(s->kind->fields, "pad_lo"), *hi = adze_field_find(s->kind->fields, "pad_hi");
    adze_tree only = *adze_tree_get(t, "pad"), map = {.kind = ADZE_T_MAP, .line = t->line, .col = t->col, .child = &only};
    if (adze_tree_get(t, "pad_lo") || adze_tree_get(t, "pad_hi")) {
        adze_fault(p->faults, &only, "'pad' as a number and 'pad_lo' or 'pad_hi' exclude each other in %s", owner);
        return;
    }
    only.next = NULL;
    adze_field one[2] = {*lo, {0}};
    one[0].name = "pad";
    p->faults->count += adze_tree_fields(p->m->ctx, &map, one, s->fields, p->faults->file, owner, NULL, &p->faults->text);
    memcpy((char *)s->fields + hi->offset, (char *)s->fields + lo->offset, sizeof(adze_ints));
}

static void read_fields(parser *p, const adze_tree *t, adze_spec *s) {
    char owner[ADZE_LAYER_NAME + 16], buf[256];
    snprintf(owner, sizeof owner, "layer '%s'", s->name);
    s->fields = adze_arena_alloc(&p->m->arena, s->kind->size);
    if (!s->fields) {
        p->faults->text.failed = true;
        return;
    }
    adze_fields_default(s->kind->fields, s->fields);
    int before = p->faults->count;
    bool pad = is_number_pad(adze_tree_get(t, "pad")) && adze_field_find(s->kind->fields, "pad_lo");
    const char *const skip[] = {"type", "name", "from", pad ? "pad" : NULL, NULL};
    p->faults->count += adze_tree_fields(p->m->ctx, t, s->kind->fields, s->fields, p->faults->file, owner, skip, &p->faults->text);
    if (pad) {
        read_pad(p, t, s, owner);
    }
    if (p->faults->count == before && s->kind->check) {
        const char *fault = s->kind->check(s->fields, buf, sizeof buf);
        if (fault) {
            adze_fault(p->faults, t, "%s: %s", owner, fault);
        }
    }
}

static const char *suggest_type(const char *word) {
    const char *names[64];
    size_t n = 0;
    for (int i = 0; adze_layer_kind_at(i) && n < ADZE_COUNT(names) - 1; i++) {
        names[n++] = adze_layer_kind_at(i)->name;
    }
    names[n++] = "repeat";
    return adze_suggest(word, names, n, sizeof names[0]);
}

static adze_spec *read_list(parser *p, const adze_tree *list, int nesting);

typedef struct repeat {
    int64_t times;
} repeat;
static const adze_field REPEAT_FIELDS[] = {
    {"repeat", ADZE_F_I64, ADZE_FIELD_REQUIRED, offsetof(repeat, times), 0, NULL, 1, 1000, NULL, "how often the layers follow each other"},
    {0},
};

static void read_repeat(parser *p, const adze_tree *t, adze_spec *s, int nesting) {
    char owner[ADZE_LAYER_NAME + 16];
    snprintf(owner, sizeof owner, "repeat '%s'", s->name);
    repeat r = {1};
    const char *const skip[] = {"name", "layers", NULL};
    p->faults->count += adze_tree_fields(p->m->ctx, t, REPEAT_FIELDS, &r, p->faults->file, owner, skip, &p->faults->text);
    s->times = r.times;
    const adze_tree *layers = adze_tree_get(t, "layers");
    if (!layers || layers->kind != ADZE_T_LIST || !layers->child) {
        adze_fault(p->faults, layers ? layers : t, "%s needs 'layers', a list of at least one layer", owner);
    } else {
        s->child = read_list(p, layers, nesting + 1);
    }
}

/* How many specs of this type the list holds so far: numbers the names that the file leaves out. */
static int ordinal(const adze_spec *first, const adze_layer_kind *kind) {
    int n = 1;
    for (const adze_spec *s = first; s; s = s->next) {
        n += s->kind == kind;
    }
    return n;
}

/* A layer without a type: most likely the key is misspelt. */
static void fault_no_type(parser *p, const adze_tree *t, const adze_tree *type) {
    static const char *const keys[] = {"type", "repeat"};
    const adze_tree *name = adze_tree_get(t, "name");
    const char *who = name && is_text(name) ? name->text : "?";
    for (const adze_tree *c = t->child; c && !type; c = c->next) {
        const char *near = adze_suggest(c->key, keys, ADZE_COUNT(keys), sizeof keys[0]);
        if (near) {
            adze_fault(p->faults, c, "unknown key '%.80s' in layer '%.64s'; did you mean '%s'?", c->key, who, near);
            return;
        }
    }
    adze_fault(p->faults, type ? type : t, "layer '%.64s' needs a 'type' such as dense or conv", who);
}

static void read_layer(parser *p, const adze_tree *t, const adze_spec *before, adze_spec *s, int nesting) {
    s->tree = t;
    if (t->kind != ADZE_T_MAP) {
        adze_fault(p->faults, t, "a layer is a map such as {type: dense, units: 10}");
        return;
    }
    if (adze_tree_get(t, "repeat")) {
        read_name(p, t, "repeat", ordinal(before, NULL), s);
        read_repeat(p, t, s, nesting);
        return;
    }
    const adze_tree *type = adze_tree_get(t, "type");
    if (!type || !is_text(type)) {
        fault_no_type(p, t, type);
        return;
    }
    s->kind = adze_layer_kind_find(type->text);
    if (!s->kind) {
        const char *near = suggest_type(type->text);
        adze_fault(p->faults, type, "unknown layer type '%.64s'%s%s%s", type->text, near ? "; did you mean '" : "; `adze layers` lists them",
                   near ? near : "", near ? "'?" : "");
        return;
    }
    read_name(p, t, s->kind->name, ordinal(before, s->kind), s);
    read_from(p, t, s);
    if (!s->nfrom && s->kind->from_min > 1) {
        adze_fault(p->faults, t, "layer '%s' joins layers: name them, such as from: [a, b]", s->name);
    } else if (s->nfrom && (s->nfrom < s->kind->from_min || s->nfrom > s->kind->from_max)) {
        adze_fault(p->faults, t, "layer '%s' has %d inputs, %s takes %s%d", s->name, s->nfrom, s->kind->name,
                   s->nfrom < s->kind->from_min ? "at least " : "", s->nfrom < s->kind->from_min ? s->kind->from_min : s->kind->from_max);
    }
    read_fields(p, t, s);
}

static adze_spec *read_list(parser *p, const adze_tree *list, int nesting) {
    adze_spec *first = NULL, **end = &first;
    if (nesting > MAX_NESTING) {
        adze_fault(p->faults, list, "repeats are nested more than %d deep", MAX_NESTING);
        return NULL;
    }
    for (const adze_tree *t = list->child; t && !p->faults->text.failed && p->faults->count <= ADZE_MAX_FAULTS; t = t->next) {
        if (++p->nspecs > ADZE_MODEL_MAX_LAYERS) {
            adze_fault(p->faults, t, "the file has more than %d layers", ADZE_MODEL_MAX_LAYERS);
            break;
        }
        adze_spec *s = adze_arena_alloc(&p->m->arena, sizeof *s);
        if (!s) {
            p->faults->text.failed = true;
            break;
        }
        read_layer(p, t, first, s, nesting);
        for (const adze_spec *o = first; o && s->name[0]; o = o->next) {
            if (strcmp(o->name, s->name) == 0) {
                adze_fault(p->faults, t, "there are two layers called '%s'%s", s->name,
                           o->tree && o->tree->line ? "; give one of them another name" : "");
                break;
            }
        }
        *end = s;
        end = &s->next;
    }
    return first;
}

adze_spec *adze_specs_read(adze_model *m, adze_faults *f, const adze_tree *list) {
    parser p = {.m = m, .faults = f};
    return read_list(&p, list, 1);
}
