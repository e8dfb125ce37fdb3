/* A model as text: the canonical JSON (fixed key order, defaults left out), and the YAML that a person would write. */
#include "model/layer.h"

#include <ctype.h>
#include <stdio.h>

typedef struct printer {
    adze_text *t;
    bool yaml;
    bool first; /* no item yet in the innermost map */
} printer;

/* Plain in YAML when nothing in it can be mistaken for syntax. */
static bool is_plain(const char *s) {
    for (const char *c = s; *c; c++) {
        if (!isalnum((unsigned char)*c) && !strchr("_./+-", *c)) {
            return false;
        }
    }
    return isalnum((unsigned char)*s);
}

static void put_string(printer *p, const char *s) {
    if (p->yaml && is_plain(s)) {
        adze_text_put(p->t, s, strlen(s));
    } else {
        adze_json_string(p->t, s);
    }
}

static void put_key(printer *p, const char *key) {
    adze_text_add(p->t, p->yaml ? "%s%s: " : "%s\"%s\":", p->first ? "" : p->yaml ? ", " : ",", key);
    p->first = false;
}

static void put_ints(printer *p, const adze_ints *v) {
    if (v->n == 1) {
        adze_text_add(p->t, "%lld", (long long)v->v[0]);
        return;
    }
    adze_text_put(p->t, "[", 1);
    for (int64_t i = 0; i < v->n; i++) {
        adze_text_add(p->t, "%s%lld", i == 0 ? "" : p->yaml ? ", " : ",", (long long)v->v[i]);
    }
    adze_text_put(p->t, "]", 1);
}

/* Whether pad_lo and pad_hi are one list, which people write as "pad". */
static bool even_border(const adze_field *table, const void *obj) {
    const adze_field *lo = adze_field_find(table, "pad_lo"), *hi = adze_field_find(table, "pad_hi");
    if (!lo || !hi) {
        return false;
    }
    const adze_ints *a = (const adze_ints *)(const void *)((const char *)obj + lo->offset);
    const adze_ints *b = (const adze_ints *)(const void *)((const char *)obj + hi->offset);
    return a->n > 0 && a->n == b->n && memcmp(a->v, b->v, sizeof *a->v * (size_t)a->n) == 0;
}

/* The fields that differ from their defaults, as the rest of a map. */
static void put_fields(printer *p, const adze_field *table, const void *obj) {
    bool even = p->yaml && even_border(table, obj);
    for (const adze_field *f = table; f->name; f++) {
        if (even && strcmp(f->name, "pad_hi") == 0) {
            continue;
        }
        if (adze_field_is_default(f, obj) && !(f->flags & ADZE_FIELD_REQUIRED)) {
            continue;
        }
        const char *at = (const char *)obj + f->offset;
        put_key(p, even && strcmp(f->name, "pad_lo") == 0 ? "pad" : f->name);
        if (f->kind == ADZE_F_INTS) {
            put_ints(p, (const adze_ints *)(const void *)at);
        } else if (f->kind == ADZE_F_STR) {
            put_string(p, at);
        } else {
            char text[128];
            adze_field_print(f, obj, text, sizeof text);
            if (f->kind == ADZE_F_ENUM) {
                put_string(p, text);
            } else {
                adze_text_put(p->t, text, strlen(text));
            }
        }
    }
}

static void put_from(printer *p, const adze_spec *s) {
    if (!s->nfrom) {
        return;
    }
    put_key(p, "from");
    if (s->nfrom == 1) {
        put_string(p, s->from[0]);
        return;
    }
    adze_text_put(p->t, "[", 1);
    for (int i = 0; i < s->nfrom; i++) {
        adze_text_put(p->t, p->yaml ? ", " : ",", i == 0 ? 0 : p->yaml ? 2 : 1);
        put_string(p, s->from[i]);
    }
    adze_text_put(p->t, "]", 1);
}

static void put_layer(printer *p, const adze_spec *s) {
    adze_text_put(p->t, "{", 1);
    p->first = true;
    put_key(p, "type");
    put_string(p, s->kind->name);
    put_key(p, "name");
    put_string(p, s->name);
    put_from(p, s);
    put_fields(p, s->kind->fields, s->fields);
    adze_text_put(p->t, "}", 1);
}

static void json_layers(printer *p, const adze_spec *s) {
    adze_text_put(p->t, "[", 1);
    for (const adze_spec *first = s; s; s = s->next) {
        adze_text_put(p->t, ",", s != first);
        if (s->kind) {
            put_layer(p, s);
        } else {
            adze_text_add(p->t, "{\"repeat\":%lld,\"name\":\"%s\",\"layers\":", (long long)s->times, s->name);
            json_layers(p, s->child);
            adze_text_put(p->t, "}", 1);
        }
    }
    adze_text_put(p->t, "]", 1);
}

static void yaml_layers(printer *p, const adze_spec *s, int indent) {
    for (; s; s = s->next) {
        adze_text_add(p->t, "%*s- ", indent, "");
        if (s->kind) {
            put_layer(p, s);
            adze_text_put(p->t, "\n", 1);
        } else {
            adze_text_add(p->t, "repeat: %lld\n%*sname: %s\n%*slayers:\n", (long long)s->times, indent + 2, "", s->name, indent + 2, "");
            yaml_layers(p, s->child, indent + 4);
        }
    }
}

static void put_doubles(printer *p, const char *key, const double *v, int n) {
    put_key(p, key);
    for (int i = 0; i < n; i++) {
        char number[64];
        adze_print_f64(number, sizeof number, v[i]);
        adze_text_add(p->t, "%s%s", i == 0 ? "[" : p->yaml ? ", " : ",", number);
    }
    adze_text_put(p->t, "]", 1);
}

static bool all_equal(const double *v, int n, double to) {
    for (int i = 0; i < n; i++) {
        if (v[i] != to) {
            return false;
        }
    }
    return true;
}

void adze_preprocess_print(const adze_preprocess *pre, bool yaml, adze_text *t) {
    printer p = {.t = t, .yaml = yaml, .first = true};
    adze_text_put(t, "{", 1);
    put_fields(&p, adze_preprocess_fields, pre);
    if (!all_equal(pre->mean, pre->channels, 0) || !all_equal(pre->sd, pre->channels, 1)) {
        put_doubles(&p, "mean", pre->mean, pre->channels);
        put_doubles(&p, "sd", pre->sd, pre->channels);
    }
    adze_text_put(t, "}", 1);
}

void adze_class_names_print(const adze_model *m, bool yaml, adze_text *t) {
    printer p = {.t = t, .yaml = yaml};
    adze_text_put(t, "[", 1);
    for (int i = 0; i < m->nclass_names; i++) {
        adze_text_put(t, yaml ? ", " : ",", i == 0 ? 0 : yaml ? 2 : 1);
        put_string(&p, m->class_names[i]);
    }
    adze_text_put(t, "]", 1);
}

/* The input as a list also when it has one size, so that all models look alike. */
static void put_input(printer *p, const adze_model *m) {
    for (int64_t i = 0; i < m->input.n; i++) {
        adze_text_add(p->t, "%s%lld", i == 0 ? "[" : p->yaml ? ", " : ",", (long long)m->input.v[i]);
    }
    adze_text_put(p->t, "]", 1);
}

int adze_model_print(const adze_model *m, int what, char **text) {
    adze_text t = {.ctx = m->ctx};
    printer p = {.t = &t};
    adze_text_add(&t, "{\"adze\":%d,\"name\":", ADZE_MODEL_VERSION);
    adze_json_string(&t, m->name);
    adze_text_add(&t, "%s,\"input\":", m->task ? ",\"task\":\"regress\"" : "");
    put_input(&p, m);
    if (m->drop_path[0]) {
        adze_text_add(&t, ",\"drop_path\":\"%s\"", m->drop_path);
    }
    if (m->pre_given && what == ADZE_PRINT_ALL) {
        adze_text_add(&t, ",\"preprocess\":");
        adze_preprocess_print(&m->pre, false, &t);
    }
    if (m->nclass_names && what == ADZE_PRINT_ALL) {
        adze_text_add(&t, ",\"class_names\":");
        adze_class_names_print(m, false, &t);
    }
    adze_text_add(&t, ",\"layers\":");
    json_layers(&p, m->specs);
    adze_text_put(&t, "}", 1);
    return adze_text_finish(&t, text);
}

int adze_model_to_json(const adze_model *m, char **text) {
    return adze_model_print(m, ADZE_PRINT_ALL, text);
}

int adze_model_to_yaml(const adze_model *m, char **text) {
    adze_text t = {.ctx = m->ctx};
    printer p = {.t = &t, .yaml = true};
    adze_text_add(&t, "adze: %d\nname: ", ADZE_MODEL_VERSION);
    put_string(&p, m->name);
    adze_text_add(&t, "%s\ninput: ", m->task ? "\ntask: regress" : "");
    put_input(&p, m);
    if (m->drop_path[0]) {
        adze_text_add(&t, "\ndrop_path: %s", m->drop_path);
    }
    if (m->pre_given) {
        adze_text_add(&t, "\npreprocess: ");
        adze_preprocess_print(&m->pre, true, &t);
    }
    if (m->nclass_names) {
        adze_text_add(&t, "\nclass_names: ");
        adze_class_names_print(m, true, &t);
    }
    adze_text_add(&t, "\nlayers:\n");
    yaml_layers(&p, m->specs, 2);
    return adze_text_finish(&t, text);
}
