/* A trained model as one file: weights, network, preprocessing and class names in safetensors. */
#include "model/layer.h"
#include "model/safetensors.h"

#include <math.h>
#include <stdio.h>

/* -- saving -- */

/* The model's slots under `prefix`, named as the model names them. */
static int gather(const adze_model *m, adze_store *s, const char *prefix, adze_named *out) {
    for (int i = 0; i < m->nparams; i++) {
        adze_text t = {.ctx = m->ctx};
        char *name;
        adze_text_add(&t, "%s%s", prefix ? prefix : "", m->params[i].slot);
        TRY(adze_text_finish(&t, &name));
        int slot = adze_store_find(s, name), status = ADZE_OK;
        if (slot < 0) {
            status = adze_fail(m->ctx, ADZE_EARG, "the store has no slot '%s' of model '%s'; initialise the model first", name, m->name);
        }
        adze_free(m->ctx, name);
        TRY(status);
        out[i].name = m->params[i].slot;
        TRY(adze_store_tensor(s, slot, &out[i].t));
    }
    return ADZE_OK;
}

static int save(const adze_model *m, adze_store *s, const char *prefix, const char *path, adze_named *named, char *text[3]) {
    for (int i = 0; i < m->pre.channels; i++) {
        if (!isfinite(m->pre.mean[i]) || !isfinite(m->pre.sd[i]) || !(m->pre.sd[i] > 0)) {
            return adze_fail(m->ctx, ADZE_EARG, "cannot save model '%s': mean %g and deviation %g of channel %d are no preprocessing", m->name,
                             m->pre.mean[i], m->pre.sd[i], i);
        }
    }
    TRY(gather(m, s, prefix, named));
    const bool fitted = m->pre.feature != NULL;
    if (fitted) {
        named[m->nparams].name = ADZE_FITTED_SLOT;
        TRY(adze_tensor_wrap(m->ctx, adze_fitted_type(&m->pre, m->pre.nfeature), m->pre.feature, &named[m->nparams].t));
    }
    TRY(adze_model_print(m, ADZE_PRINT_NET, &text[0]));
    adze_text pre = {.ctx = m->ctx}, classes = {.ctx = m->ctx};
    adze_preprocess_print(&m->pre, false, &pre);
    TRY(adze_text_finish(&pre, &text[1]));
    adze_meta meta[5] = {{"adze.model", text[0]}, {"adze.preprocess", text[1]}};
    int n = 2;
    if (m->data[0]) {
        meta[n++] = (adze_meta){"adze.dataset", m->data};
    }
    if (m->training[0]) {
        meta[n++] = (adze_meta){"adze.training", m->training};
    }
    if (m->nclass_names) {
        adze_class_names_print(m, false, &classes);
        TRY(adze_text_finish(&classes, &text[2]));
        meta[n++] = (adze_meta){"adze.classes", text[2]};
    }
    int status = adze_safetensors_save(m->ctx, path, named, m->nparams + fitted, meta, n);
    if (fitted) {
        adze_tensor_free(&named[m->nparams].t);
    }
    return status;
}

int adze_model_save(const adze_model *m, adze_store *s, const char *prefix, const char *path) {
    adze_named *named = adze_alloc(m->ctx, m->nparams + 1, sizeof *named);
    TRY(ADZE_GOT(named));
    char *text[3] = {NULL, NULL, NULL};
    int status = save(m, s, prefix, path, named, text);
    for (int i = 0; i < 3; i++) {
        adze_free(m->ctx, text[i]);
    }
    adze_free(m->ctx, named);
    return status;
}

/* -- loading -- */

/* The parts of the file that stand beside the network: read like the same keys of a model file. */
static int read_extras(adze_model *m, const adze_safetensors *f, const char *path) {
    adze_ctx *ctx = m->ctx;
    adze_arena arena = {.ctx = ctx};
    adze_faults faults = {.ctx = ctx, .file = path, .text = {.ctx = ctx}};
    const char *pre = adze_safetensors_meta(f, "adze.preprocess"), *classes = adze_safetensors_meta(f, "adze.classes");
    adze_tree *t;
    int status = ADZE_OK;
    if (pre) {
        status = adze_json_parse(&arena, pre, strlen(pre), path, &t);
        if (status == ADZE_OK) {
            adze_preprocess_from_tree(&faults, t, &m->pre);
            m->pre_given = true;
        }
    }
    if (status == ADZE_OK && classes) {
        status = adze_json_parse(&arena, classes, strlen(classes), path, &t);
        if (status == ADZE_OK && adze_class_names_from_tree(m, &faults, t) == ADZE_ENOMEM) {
            status = ADZE_ENOMEM;
        }
        if (status == ADZE_OK && !faults.count && m->nclass_names != m->classes) {
            adze_fault(&faults, NULL, "there are %d class names, but the network has %d classes", m->nclass_names, m->classes);
        }
    }
    if (status == ADZE_OK) {
        status = adze_faults_finish(&faults);
        status = status == ADZE_EARG ? adze_fail(ctx, ADZE_EFORMAT, "%s", adze_errmsg(ctx)) : status;
    }
    adze_text_drop(&faults.text);
    adze_arena_free(&arena);
    return status;
}

/* What a preprocessing per feature was fitted to: as many numbers as the model's input has without its border. */
static int read_features(adze_model *m, const adze_safetensors *f, const char *path) {
    if (!adze_norm_per_feature(&m->pre)) {
        return ADZE_OK;
    }
    adze_tensor t;
    const int at = adze_safetensors_find(f, ADZE_FITTED_SLOT);
    int64_t n = 1;
    for (int i = 0; i < (int)m->input.n; i++) {
        n *= m->input.v[i] - (i + 1 < (int)m->input.n ? 2 * m->pre.pad : 0);
    }
    if (at < 0) {
        return adze_fail(m->ctx, ADZE_EFORMAT, "'%s' has no tensor '%s', which its preprocessing needs", path, ADZE_FITTED_SLOT);
    }
    TRY(adze_safetensors_tensor(f, at, &t));
    const adze_type have = adze_tensor_type(&t), want = adze_fitted_type(&m->pre, n);
    if (n < 1 || !adze_type_equal(&have, &want)) {
        return adze_fail(m->ctx, ADZE_EFORMAT, "'%s': tensor '%s' is %s, its model's input needs %s", path, ADZE_FITTED_SLOT, ADZE_SHOWN(&have),
                         ADZE_SHOWN(&want));
    }
    const int64_t count = adze_type_count(&want);
    for (int64_t i = 0; i < count; i++) {
        const double v = adze_tensor_get(&t, i);
        if (!isfinite(v) || (i >= n && v < 1e-30 && m->pre.norm != ADZE_NORM_ZCA)) {
            return adze_fail(m->ctx, ADZE_EFORMAT, "'%s': number %lld of tensor '%s' is %g, which is no mean or deviation", path, (long long)i,
                             ADZE_FITTED_SLOT, v);
        }
    }
    m->pre.feature = adze_alloc(m->ctx, count, sizeof *m->pre.feature);
    TRY(ADZE_GOT(m->pre.feature));
    m->pre.nfeature = n;
    memcpy(m->pre.feature, adze_tensor_data(&t), (size_t)count * sizeof *m->pre.feature);
    return ADZE_OK;
}

static int read_slots(const adze_model *m, const adze_safetensors *f, const char *path, const char *prefix, adze_store *s) {
    for (int pass = 0; pass < 2; pass++) { /* slots first, so that they lie in one block; then the data */
        for (int i = 0; i < m->nparams; i++) {
            const adze_param *p = &m->params[i];
            char name[512];
            const int len = snprintf(name, sizeof name, "%s%s", prefix, p->slot);
            int at = len < (int)sizeof name ? adze_safetensors_find(f, name) : -1, slot;
            if (at < 0) {
                return adze_fail(m->ctx, ADZE_EFORMAT, "'%s' has no tensor '%s', which its model needs", path, name);
            }
            adze_tensor from, to;
            TRY(adze_safetensors_tensor(f, at, &from));
            adze_type have = adze_tensor_type(&from), want = p->type;
            want.dtype = have.dtype == ADZE_F64 ? ADZE_F64 : ADZE_F32;
            if (!adze_type_equal(&have, &want)) {
                return adze_fail(m->ctx, ADZE_EFORMAT, "'%s': tensor '%s' is %s, its model needs %s", path, p->slot, ADZE_SHOWN(&have),
                                 ADZE_SHOWN(&want));
            }
            TRY(adze_store_add(s, p->slot, want, p->flags, &slot));
            if (pass == 1) {
                TRY(adze_store_tensor(s, slot, &to));
                TRY(adze_tensor_copy(m->ctx, to, from));
            }
        }
    }
    return ADZE_OK;
}

static int load(adze_ctx *ctx, const adze_safetensors *f, const char *path, const char *prefix, adze_model **m, adze_store **s) {
    const char *json = adze_safetensors_meta(f, "adze.model");
    if (!json) {
        return adze_fail(ctx, ADZE_EFORMAT, "'%s' holds tensors but no model: its metadata has no 'adze.model'", path);
    }
    int status = adze_model_from_json(ctx, json, strlen(json), path, m);
    if (status == ADZE_EARG) { /* here it is the file's fault, not the caller's */
        return adze_fail(ctx, ADZE_EFORMAT, "%s", adze_errmsg(ctx));
    }
    TRY(status);
    TRY(read_extras(*m, f, path));
    TRY(read_features(*m, f, path));
    const char *data = adze_safetensors_meta(f, "adze.dataset"), *training = adze_safetensors_meta(f, "adze.training");
    snprintf((*m)->data, sizeof(*m)->data, "%s", data && strlen(data) < sizeof(*m)->data ? data : "");
    snprintf((*m)->training, sizeof(*m)->training, "%s", training && strlen(training) < sizeof(*m)->training ? training : "");
    if (!s) {
        return ADZE_OK;
    }
    TRY(adze_store_new(ctx, s));
    return read_slots(*m, f, path, prefix, *s);
}

int adze_model_load(adze_ctx *ctx, const char *path, adze_model **m, adze_store **s) {
    return adze_model_load_under(ctx, path, "", m, s);
}

int adze_model_load_under(adze_ctx *ctx, const char *path, const char *prefix, adze_model **m, adze_store **s) {
    *m = NULL;
    if (s) {
        *s = NULL;
    }
    adze_safetensors *f;
    TRY(adze_safetensors_open(ctx, path, &f));
    int status = load(ctx, f, path, prefix, m, s);
    adze_safetensors_close(f);
    if (status != ADZE_OK) {
        adze_model_free(*m);
        *m = NULL;
        if (s && *s) {
            adze_store_free(*s);
            *s = NULL;
        }
    }
    return status;
}
