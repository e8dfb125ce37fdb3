/* What may be chosen of a net of the zoo, written after its name: mlp:units=1024x3,activation=tanh. Options of the net come from its table, those of
 * its hidden layers are the fields of their layer type; the model reader judges their values. */
#include "model/layer.h"

#include <stdio.h>
#include <stdlib.h>

static const adze_zoo_option *find_option(const adze_zoo_net *net, const char *name) {
    for (const adze_zoo_option *o = net->options; o && o->name; o++) {
        if (strcmp(o->name, name) == 0) {
            return o;
        }
    }
    return NULL;
}

static int unknown(adze_zoo *z, const char *key) {
    const char *names[128];
    size_t n = 0;
    for (const adze_zoo_option *o = z->net->options; o && o->name && n < ADZE_COUNT(names); o++) {
        names[n++] = o->name;
    }
    for (const adze_field *f = z->net->hidden ? z->net->hidden->fields : NULL; f && f->name && n < ADZE_COUNT(names); f++) {
        names[n++] = f->name;
    }
    if (n == 0) {
        return adze_fail(z->ctx, ADZE_EARG, "network %s has no options, so '%.64s' cannot be set", z->net->name, key);
    }
    const char *near = adze_suggest(key, names, n, sizeof names[0]);
    return adze_fail(z->ctx, ADZE_EARG, "network %s has no option '%.64s'%s%s%s", z->net->name, key,
                     near ? "; did you mean '" : "; `adze zoo list` shows what it has", near ? near : "", near ? "'?" : "");
}

int adze_zoo_parse(adze_zoo *z, const char *text) {
    char *copy = adze_arena_dup(&z->arena, text, strlen(text) + 1);
    TRY(ADZE_GOT(copy));
    for (char *s = copy; *s;) {
        char *end = s + strcspn(s, ","), *eq = memchr(s, '=', (size_t)(end - s));
        const bool last = *end == 0;
        *end = 0;
        if (!eq || eq == s || !eq[1]) {
            return adze_fail(z->ctx, ADZE_EARG, "'%.64s' after %s: is not NAME=VALUE", s, z->net->name);
        }
        *eq = 0;
        if (!find_option(z->net, s) && !(z->net->hidden && adze_field_find(z->net->hidden->fields, s))) {
            return unknown(z, s);
        }
        for (int i = 0; i < z->ngiven; i++) {
            if (strcmp(z->key[i], s) == 0) {
                return adze_fail(z->ctx, ADZE_EARG, "network %s: option %s is given twice", z->net->name, s);
            }
        }
        if (z->ngiven == ADZE_ZOO_MAX_OPTIONS) {
            return adze_fail(z->ctx, ADZE_EARG, "network %s: more than %d options", z->net->name, ADZE_ZOO_MAX_OPTIONS);
        }
        z->key[z->ngiven] = s;
        z->value[z->ngiven++] = eq + 1;
        s = last ? end : end + 1;
    }
    return ADZE_OK;
}

const char *adze_zoo_option_of(adze_zoo *z, const char *name) {
    for (int i = 0; i < z->ngiven; i++) {
        if (strcmp(z->key[i], name) == 0) {
            return z->value[i];
        }
    }
    const adze_zoo_option *o = find_option(z->net, name);
    return o ? o->value : NULL;
}

int adze_zoo_sizes(adze_zoo *z, const char *name, int64_t *sizes, int max) {
    const char *text = adze_zoo_option_of(z, name);
    int n = 0;
    for (const char *s = text; n >= 0 && strcmp(text, "0") != 0;) {
        char *end;
        int64_t size = strtoll(s, &end, 10), times = 1;
        bool right = end > s && size >= 1 && size <= 10000000;
        if (right && *end == 'x') {
            s = end + 1;
            times = strtoll(s, &end, 10);
            right = end > s && times >= 1;
        }
        right = right && (*end == '-' || *end == 0) && times <= max - n;
        for (int64_t i = 0; i < times && right; i++) {
            sizes[n++] = size;
        }
        if (!right) {
            snprintf(z->message, sizeof z->message, "%s=%.64s is no list of at most %d sizes such as 300-100 or 1024x3", name, text, max);
            n = -1;
        } else if (*end == 0) {
            break;
        } else {
            s = end + 1;
        }
    }
    return n < 0 ? 0 : n;
}

void adze_zoo_input(adze_zoo *z) {
    char text[64];
    snprintf(text, sizeof text, "[%.60s]", adze_zoo_option_of(z, "input"));
    for (char *s = text; *s; s++) {
        *s = *s == 'x' ? ',' : *s;
    }
    adze_zoo_set(z, z->root, "input", adze_arena_dup(&z->arena, text, strlen(text) + 1));
}

static bool set_in(adze_zoo *z, adze_tree *map, const char *key, const char *value) {
    for (adze_tree *t = map ? map->child : NULL; t; t = t->next) {
        if (t->key && strcmp(t->key, key) == 0) {
            t->text = value;
            return true;
        }
    }
    return adze_zoo_set(z, map, key, value) != NULL;
}

static adze_tree *last_layer(const adze_zoo *z) {
    adze_tree *t = z->layers ? z->layers->child : NULL;
    while (t && t->next) {
        t = t->next;
    }
    return t;
}

void adze_zoo_pass(adze_zoo *z, const char *name) {
    const char *value = adze_zoo_option_of(z, name);
    if (value) {
        set_in(z, last_layer(z), name, value);
    }
}

/* Gives the last layer the options that are fields of its type; skip_act: but for those of the activation, which has a layer of its own. */
static void pass(adze_zoo *z, const adze_layer_kind *to, bool skip_act) {
    for (int i = 0; i < z->ngiven; i++) {
        const bool fn = strcmp(z->key[i], "activation") == 0, is_act = fn || adze_field_find(adze_layer_activation.fields, z->key[i]);
        const char *key = fn && to == &adze_layer_activation ? "fn" : z->key[i];
        if (!find_option(z->net, z->key[i]) && adze_field_find(to->fields, key) && !(skip_act && is_act)) {
            set_in(z, last_layer(z), key, z->value[i]);
        }
    }
}

void adze_zoo_hidden(adze_zoo *z, const char *name, const char *size_key, int64_t size, const char *norm, const char *dropout) {
    char text[24], path[ADZE_LAYER_NAME];
    snprintf(text, sizeof text, "%lld", (long long)size);
    const char *number = adze_arena_dup(&z->arena, text, strlen(text) + 1), *kept = adze_arena_dup(&z->arena, name, strlen(name) + 1);
    if (!number || !kept) {
        z->failed = true;
        return;
    }
    const bool normed = strcmp(norm, "none") != 0;
    adze_zoo_layer(z, z->net->hidden->name, kept, size_key, number, "activation", normed ? "none" : "relu", (char *)NULL);
    if (strcmp(z->net->hidden->name, "conv") == 0) {
        set_in(z, last_layer(z), "kernel", "3");
        set_in(z, last_layer(z), "pad", "same");
    }
    if (normed) { /* the normalisation stands between the sums and the activation, which then chooses the weights' scale no longer */
        set_in(z, last_layer(z), "bias", "false");
        set_in(z, last_layer(z), "init", "he_normal");
    }
    pass(z, z->net->hidden, normed);
    const struct {
        const char *type, *key, *value;
    } after[] = {{normed ? norm : NULL, NULL, NULL},
                 {normed ? "activation" : NULL, "fn", "relu"},
                 {strcmp(dropout, "0") != 0 ? "dropout" : NULL, "p", dropout}};
    for (size_t i = 0; i < ADZE_COUNT(after); i++) {
        if (!after[i].type) {
            continue;
        }
        snprintf(path, sizeof path, "%.40s_%.20s", name, after[i].type);
        const char *own = adze_arena_dup(&z->arena, path, strlen(path) + 1);
        if (!own) {
            z->failed = true;
            return;
        }
        adze_zoo_layer(z, after[i].type, own, after[i].key, after[i].value, (char *)NULL);
        if (i == 1) {
            pass(z, &adze_layer_activation, false);
        }
    }
}
