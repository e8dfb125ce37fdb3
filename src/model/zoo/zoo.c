/* The zoo: networks from the literature, each made as the tree that its file would become, so that name and file give the same bits. */
#include "model/layer.h"

#include <stdio.h>

static const adze_zoo_net *const FAMILIES[] = {adze_zoo_mlp,     adze_zoo_lenet, adze_zoo_resnet,     adze_zoo_charlstm,
                                               adze_zoo_alexnet, adze_zoo_vgg,   adze_zoo_squeezenet, adze_zoo_autoencoder};

static const adze_zoo_net *net_at(int i) {
    for (size_t f = 0; f < ADZE_COUNT(FAMILIES) && i >= 0; f++) {
        for (const adze_zoo_net *n = FAMILIES[f]; n->name; n++) {
            if (i-- == 0) {
                return n;
            }
        }
    }
    return NULL;
}

int adze_zoo_count(void) {
    int n = 0;
    while (net_at(n)) {
        n++;
    }
    return n;
}

const char *adze_zoo_name(int i) {
    const adze_zoo_net *n = net_at(i);
    return n ? n->name : NULL;
}

const char *adze_zoo_doc(int i) {
    const adze_zoo_net *n = net_at(i);
    return n ? n->doc : NULL;
}

int adze_zoo_usage(int i, char *out, size_t n) {
    const adze_zoo_net *net = net_at(i);
    if (!net) {
        return ADZE_EARG;
    }
    size_t used = 0;
    out[0] = 0;
    for (const adze_zoo_option *o = net->options; o && o->name && used < n; o++) {
        used += (size_t)snprintf(out + used, n - used, "%s%s%s=%s", used ? "" : net->name, used ? "," : ":", o->name, o->value);
    }
    if (net->hidden && used < n) {
        snprintf(out + used, n - used, ", and the fields of layer %s", net->hidden->name);
    }
    return ADZE_OK;
}

/* -- making trees -- */

static adze_tree *child(adze_zoo *z, adze_tree *parent, adze_tree_kind kind, const char *key, const char *text) {
    adze_tree *t = adze_arena_alloc(&z->arena, sizeof *t);
    if (!t || !parent) {
        z->failed = true;
        return NULL;
    }
    *t = (adze_tree){.kind = kind, .key = key, .text = text};
    adze_tree **end = &parent->child;
    while (*end) {
        end = &(*end)->next;
    }
    return *end = t;
}

adze_tree *adze_zoo_set(adze_zoo *z, adze_tree *map, const char *key, const char *value) {
    if (!value) {
        return child(z, map, ADZE_T_MAP, key, NULL);
    }
    if (value[0] != '[') {
        return child(z, map, ADZE_T_SCALAR, key, value);
    }
    adze_tree *list = child(z, map, ADZE_T_LIST, key, NULL);
    for (const char *s = value + 1; *s && *s != ']';) {
        size_t n = strcspn(s, ",]");
        char *item = adze_arena_dup(&z->arena, s, n + 1);
        if (item) {
            item[n] = 0;
        }
        child(z, list, ADZE_T_SCALAR, NULL, item);
        s += n + (s[n] == ',');
        s += strspn(s, " ");
    }
    return list;
}

void adze_zoo_layer(adze_zoo *z, const char *type, const char *name, ...) {
    adze_tree *map = child(z, z->layers, ADZE_T_MAP, NULL, NULL);
    adze_zoo_set(z, map, "type", type);
    adze_zoo_set(z, map, "name", name);
    va_list ap;
    va_start(ap, name);
    for (const char *key; (key = va_arg(ap, const char *)) != NULL;) {
        adze_zoo_set(z, map, key, va_arg(ap, const char *));
    }
    va_end(ap);
}

adze_tree *adze_zoo_repeat(adze_zoo *z, const char *name, const char *times) {
    adze_tree *outer = z->layers, *map = child(z, outer, ADZE_T_MAP, NULL, NULL);
    adze_zoo_set(z, map, "repeat", times);
    adze_zoo_set(z, map, "name", name);
    z->layers = adze_zoo_set(z, map, "layers", "[]");
    return outer;
}

void adze_zoo_imagenet(adze_zoo *z) {
    adze_zoo_set(z, z->root, "input", "[224, 224, 3]");
    adze_tree *pre = adze_zoo_set(z, z->root, "preprocess", NULL);
    adze_zoo_set(z, pre, "fixed", "true");
    adze_zoo_set(z, pre, "mean", "[0.485, 0.456, 0.406]");
    adze_zoo_set(z, pre, "sd", "[0.229, 0.224, 0.225]");
    z->layers = adze_zoo_set(z, z->root, "layers", "[]");
}

static int make(adze_zoo *z, const adze_zoo_net *net, adze_model **out) {
    z->root = adze_arena_alloc(&z->arena, sizeof *z->root);
    TRY(ADZE_GOT(z->root));
    z->root->kind = ADZE_T_MAP;
    adze_zoo_set(z, z->root, "name", net->name);
    net->build(z);
    if (z->message[0]) {
        return adze_fail(z->ctx, ADZE_EARG, "network %s: %s", net->name, z->message);
    }
    return z->failed ? ADZE_ENOMEM : adze_model_from_tree(z->ctx, z->root, net->name, out);
}

int adze_model_from_zoo(adze_ctx *ctx, const char *name, adze_model **out) {
    *out = NULL;
    const char *names[64], *options = strchr(name, ':');
    char base[64];
    snprintf(base, sizeof base, "%.*s", options ? (int)(options - name) : (int)sizeof base, name);
    int n = 0;
    for (; n < (int)ADZE_COUNT(names) && net_at(n); n++) {
        names[n] = net_at(n)->name;
        if (strcmp(names[n], base) == 0) {
            adze_zoo z = {.ctx = ctx, .arena = {.ctx = ctx}, .net = net_at(n)};
            int status = adze_zoo_parse(&z, options ? options + 1 : "");
            status = status == ADZE_OK ? make(&z, net_at(n), out) : status;
            adze_arena_free(&z.arena);
            return status;
        }
    }
    const char *near = adze_suggest(base, names, (size_t)n, sizeof names[0]);
    return adze_fail(ctx, ADZE_EARG, "no network called '%.64s' is in the zoo%s%s%s", base, near ? "; did you mean '" : "; `adze zoo list` shows all",
                     near ? near : "", near ? "'?" : "");
}
