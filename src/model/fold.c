/* A trained model made smaller for use: batch normalisation goes into the convolution or dense layer before it, normalised weights become plain ones.
 * The network's tree is rewritten first, then every slot of the new network is filled from those of the old one. */
#include "model/layer.h"

#include <math.h>
#include <stdio.h>

/* -- the tree ------------------------------------------------------------------------------------------------------------------------------------ */

static const char *text_of(const adze_tree *layer, const char *key) { /* "" when absent or no scalar */
    const adze_tree *t = adze_tree_get(layer, key);
    return t && t->text ? t->text : "";
}

static bool is_type(const adze_tree *layer, const char *type) {
    return strcmp(text_of(layer, "type"), type) == 0;
}

static adze_tree *inner_list(const adze_tree *layer) { /* of a repeat, else NULL */
    const adze_tree *t = adze_tree_get(layer, "layers");
    return t ? t->child : NULL;
}

/* Where `from` names the layer: scalars of one map. */
static bool names(const adze_tree *layer, const char *name, const char *now) {
    bool found = false;
    for (adze_tree *t = layer->child; t; t = t->next) {
        if (strcmp(t->key, "from") != 0) {
            continue;
        }
        for (adze_tree *f = t->kind == ADZE_T_LIST ? t->child : t; f; f = t->kind == ADZE_T_LIST ? f->next : NULL) {
            if (f->text && strcmp(f->text, name) == 0) {
                found = true;
                f->text = now ? now : f->text;
            }
        }
    }
    return found;
}

/* Some layer from here on, or within it, takes its input from that name. Inner lists may use it for a layer of their own: then too. */
static bool named_below(const adze_tree *layer, const char *name) {
    for (; layer; layer = layer->next) {
        if (names(layer, name, NULL) || named_below(inner_list(layer), name)) {
            return true;
        }
    }
    return false;
}

static bool one_of(const char *key, const char *const *keys) {
    while (*keys && strcmp(*keys, key) != 0) {
        keys++;
    }
    return *keys != NULL;
}

static const char *const STAYS[] = {"type", "name", "from", "eps", "momentum", NULL}; /* what the activation's keys are not */
static const char *const STARTS[] = {"init", "init_fan", "init_gain", "init_value", "bias_init", "weight_norm", NULL};

/* Takes out the keys that say how values start: they are known now; and one more, if any. */
static void drop_starts(adze_tree *layer, const char *key) {
    for (adze_tree **t = &layer->child; *t;) {
        if (one_of((*t)->key, STARTS) || (key && strcmp((*t)->key, key) == 0)) {
            *t = (*t)->next;
        } else {
            t = &(*t)->next;
        }
    }
}

/* Layer and normalisation are neighbours, and nobody else sees what lies between them. */
static bool foldable(const adze_tree *layer, const adze_tree *norm) {
    if (!norm || !is_type(norm, "batchnorm") || adze_tree_get(layer, "activation") || strcmp(text_of(norm, "activation"), "maxout") == 0) {
        return false;
    }
    const char *name = text_of(layer, "name"), *then = text_of(norm, "name");
    if ((adze_tree_get(norm, "from") && strcmp(text_of(norm, "from"), name) != 0) || named_below(norm->next, name)) {
        return false;
    }
    for (const adze_tree *t = norm->next; t; t = t->next) {
        if (named_below(inner_list(t), then)) { /* a new name might mean another layer there */
            return false;
        }
    }
    return true;
}

static void fold(adze_tree *layer, adze_tree *norm) {
    for (adze_tree *t = norm->next; t; t = t->next) {
        names(t, text_of(norm, "name"), text_of(layer, "name"));
    }
    adze_tree **end = &layer->child;
    while (*end) {
        end = &(*end)->next;
    }
    for (adze_tree *t = norm->child, *next; t; t = next) {
        next = t->next;
        if (!one_of(t->key, STAYS)) {
            *end = t;
            end = &t->next;
            t->next = NULL;
        }
    }
    layer->next = norm->next;
}

static void fold_list(adze_tree *layer) {
    for (; layer; layer = layer->next) {
        fold_list(inner_list(layer));
        if (!is_type(layer, "conv") && !is_type(layer, "dense")) {
            continue;
        }
        if (foldable(layer, layer->next)) {
            fold(layer, layer->next);
            drop_starts(layer, "bias"); /* it has one now */
        } else if (strcmp(text_of(layer, "weight_norm"), "true") == 0) {
            drop_starts(layer, NULL);
        }
    }
}

/* -- the numbers --------------------------------------------------------------------------------------------------------------------------------- */

typedef struct folder {
    const adze_model *from;
    adze_model *to;
    adze_store *old, *now;
} folder;

static bool slot_of(adze_store *s, const char *path, const char *role, adze_tensor *t) {
    char name[ADZE_LAYER_NAME + 16];
    snprintf(name, sizeof name, "%s:%s", path, role);
    const int slot = adze_store_find(s, name);
    return slot >= 0 && adze_store_tensor(s, slot, t) == ADZE_OK;
}

static double at(const adze_tensor *t, int64_t i, double otherwise) {
    return t->dtype ? adze_tensor_get(t, i) : otherwise;
}

static double squares(const adze_tensor *v, int64_t k, int64_t n, int64_t rows) {
    double sum = 0;
    for (int64_t r = 0; r < rows; r++) {
        sum += adze_tensor_get(v, r * n + k) * adze_tensor_get(v, r * n + k);
    }
    return sum;
}

static double eps_of(const adze_layer *norm) {
    const adze_field *f = adze_field_find(norm->spec->kind->fields, "eps");
    return *(const double *)(const void *)((const char *)norm->spec->fields + f->offset);
}

/* w = v g / |v| scale / sqrt(var + eps), b = (b - mean) scale / sqrt(var + eps) + shift; norm: the layer that goes, or NULL */
static int fill(const folder *f, const adze_layer *layer, const adze_layer *norm) {
    adze_tensor w, v = {0}, g = {0}, b = {0}, bias = {0}, scale = {0}, shift = {0}, mean = {0}, var = {0};
    if (!slot_of(f->now, layer->path, "w", &w) || (!slot_of(f->old, layer->path, "w", &v) && !slot_of(f->old, layer->path, "v", &v))) {
        return adze_fail(f->from->ctx, ADZE_EARG, "the store has no weights of layer '%s'; load or initialise the model first", layer->path);
    }
    slot_of(f->old, layer->path, "g", &g);
    slot_of(f->old, layer->path, "b", &b);
    slot_of(f->now, layer->path, "b", &bias);
    if (norm && (!slot_of(f->old, norm->path, "scale", &scale) || !slot_of(f->old, norm->path, "shift", &shift) ||
                 !slot_of(f->old, norm->path, "mean", &mean) || !slot_of(f->old, norm->path, "var", &var))) {
        return adze_fail(f->from->ctx, ADZE_EARG, "the store has no statistics of layer '%s'; load or initialise the model first", norm->path);
    }
    const adze_type t = adze_tensor_type(&w);
    const int64_t n = t.dims[t.rank - 1], rows = adze_type_count(&t) / n;
    for (int64_t k = 0; k < n; k++) {
        const double a = norm ? adze_tensor_get(&scale, k) / sqrt(adze_tensor_get(&var, k) + eps_of(norm)) : 1;
        const double unit = g.dtype ? a * adze_tensor_get(&g, k) / sqrt(squares(&v, k, n, rows) + 1e-30) : a;
        for (int64_t r = 0; r < rows; r++) {
            adze_tensor_set(&w, r * n + k, unit * adze_tensor_get(&v, r * n + k));
        }
        if (bias.dtype) {
            adze_tensor_set(&bias, k, (at(&b, k, 0) - at(&mean, k, 0)) * a + at(&shift, k, 0));
        }
    }
    return ADZE_OK;
}

/* Copies the slots that both networks have; those of a layer that goes (an activation's slopes) to the layer that takes it in. */
static int copy_slots(const folder *f, const char *from, const char *to) {
    const size_t n = strlen(to);
    for (int i = 0; i < f->to->nparams; i++) {
        const char *slot = f->to->params[i].slot;
        adze_tensor have, want;
        if (strncmp(slot, to, n) == 0 && slot[n] == ':' && slot_of(f->old, from, slot + n + 1, &have)) {
            TRY(adze_store_tensor(f->now, adze_store_find(f->now, slot), &want));
            TRY(adze_tensor_copy(f->from->ctx, want, have)); /* a folded layer's are overwritten by fill */
        }
    }
    return ADZE_OK;
}

static bool has_layer(const adze_model *m, const char *path) {
    int i = 0;
    while (i < m->nlayers && strcmp(m->layers[i].path, path) != 0) {
        i++;
    }
    return i < m->nlayers;
}

static int fill_all(const folder *f) {
    const adze_model *m = f->from;
    for (int i = 0; i < m->nlayers; i++) {
        const adze_layer *layer = &m->layers[i], *norm = i + 1 < m->nlayers && !has_layer(f->to, m->layers[i + 1].path) ? layer + 1 : NULL;
        adze_tensor g;
        TRY(copy_slots(f, layer->path, layer->path));
        if (norm) {
            TRY(copy_slots(f, norm->path, layer->path));
        }
        if (norm || slot_of(f->old, layer->path, "g", &g)) {
            TRY(fill(f, layer, norm));
        }
    }
    return ADZE_OK;
}

/* What the tree does not say: what training found out of its data, and which they were. */
static int copy_fitted(const adze_model *from, adze_model *to) {
    adze_preprocess p = from->pre;
    if (p.feature) {
        const adze_type t = adze_fitted_type(&p, p.nfeature);
        p.feature = adze_alloc(from->ctx, adze_type_count(&t), sizeof *p.feature);
        TRY(ADZE_GOT(p.feature));
        memcpy(p.feature, from->pre.feature, (size_t)adze_type_count(&t) * sizeof *p.feature);
    }
    adze_model_set_preprocess(to, &p);
    to->pre_given = from->pre_given;
    memcpy(to->data, from->data, sizeof to->data);
    memcpy(to->training, from->training, sizeof to->training);
    return ADZE_OK;
}

static int fold_model(const adze_model *m, adze_arena *arena, adze_model **out) {
    char *text = NULL;
    adze_tree *root;
    TRY(adze_model_to_json(m, &text));
    int status = adze_json_parse(arena, text, strlen(text), m->name, &root);
    adze_text_free(m->ctx, text);
    if (status == ADZE_OK) {
        fold_list(inner_list(root));
        status = adze_model_from_tree(m->ctx, root, m->name, out);
    }
    return status == ADZE_OK ? copy_fitted(m, *out) : status;
}

int adze_model_fold(const adze_model *m, adze_store *s, adze_model **out, adze_store **folded) {
    adze_arena arena = {.ctx = m->ctx};
    *out = NULL;
    *folded = NULL;
    int status = fold_model(m, &arena, out);
    const int first = m->nparams ? adze_store_find(s, m->params[0].slot) : -1;
    const adze_dtype d = first >= 0 ? adze_store_type(s, first).dtype : ADZE_F32;
    status = status == ADZE_OK ? adze_store_new(m->ctx, folded) : status;
    status = status == ADZE_OK ? adze_model_init(*out, *folded, d, 0) : status;
    status = status == ADZE_OK ? fill_all(&(folder){m, *out, s, *folded}) : status;
    adze_arena_free(&arena);
    if (status != ADZE_OK) {
        adze_model_free(*out);
        adze_store_free(*folded);
        *out = NULL;
        *folded = NULL;
    }
    return status;
}
