/* What is likely a mistake in a model though it can be built: remarks for people. */
#include "model/layer.h"

#include <stdio.h>

enum { DEEP = 20, LARGE = 10 }; /* relu layers from which on halved variances matter; largest input that is no cause for a remark */

static bool field_is(const adze_layer *l, const char *name, const char *value) {
    const adze_field *f = adze_field_find(l->spec->kind->fields, name);
    char text[64];
    return f != NULL && adze_field_print(f, l->spec->fields, text, sizeof text) >= 0 && strcmp(text, value) == 0;
}

/* The layer that takes the layer's output as its only use; NULL where there is none or several. */
static const adze_layer *reader(const adze_model *m, int layer) {
    const adze_layer *found = NULL;
    for (int i = 0; i < m->nlayers; i++) {
        for (int k = 0; k < m->layers[i].nfrom; k++) {
            if (m->layers[i].from[k] == layer) {
                if (found != NULL) {
                    return NULL;
                }
                found = &m->layers[i];
            }
        }
    }
    return found;
}

/* Whether what the layer gives goes through relu, at once or after a layer that only normalises. */
static bool before_relu(const adze_model *m, int i) {
    const adze_layer *next = reader(m, i);
    return field_is(&m->layers[i], "activation", "relu") ||
           (next != NULL && (field_is(next, "fn", "relu") || field_is(next, "activation", "relu")) && next->params == 0);
}

static void equal_weights(const adze_model *m, int i, adze_text *t) {
    const adze_layer *l = &m->layers[i];
    const bool zeros = field_is(l, "init", "zeros"), constant = field_is(l, "init", "constant");
    if (i < m->nlayers - 1 && (zeros || constant)) {
        adze_text_add(t, "layer '%s' starts with equal weights, so that its units stay equal for ever; give it init: auto\n", l->path);
    }
}

static void taken_bias(const adze_model *m, int i, adze_text *t) {
    const adze_layer *l = &m->layers[i], *next = reader(m, i);
    if (field_is(l, "bias", "true") && field_is(l, "activation", "none") && next != NULL && next->spec->kind == &adze_layer_batchnorm) {
        adze_text_add(t, "layer '%s' has biases that batchnorm '%s' takes away; give it bias: false\n", l->path, next->path);
    }
}

static void halved_variance(const adze_model *m, adze_text *t) {
    int deep = 0;
    const char *first = NULL;
    for (int i = 0; i < m->nlayers; i++) {
        const bool glorot = field_is(&m->layers[i], "init", "glorot_normal") || field_is(&m->layers[i], "init", "glorot_uniform");
        if (glorot && before_relu(m, i)) {
            first = deep++ == 0 ? m->layers[i].path : first;
        }
    }
    if (deep >= DEEP) {
        adze_text_add(t, "%d layers from '%s' on start with glorot before relu, which halves the variance at each; use init: he_normal\n", deep,
                      first);
    }
}

static void large_inputs(const adze_model *m, adze_text *t) {
    const adze_preprocess *p = &m->pre;
    double most = 0;
    for (int c = 0; c < p->channels && c < (int)ADZE_COUNT(p->sd); c++) {
        const double high = (255 * p->scale - p->mean[c]) / p->sd[c], low = p->mean[c] / p->sd[c];
        most = high > most ? high : low > most ? low : most;
    }
    if ((p->fixed || p->norm == ADZE_NORM_NONE) && most > LARGE) {
        adze_text_add(t, "the preprocessing gives inputs up to %.4g: gradients of the first layer grow with them; use norm: zscore\n", most);
    }
}

int adze_model_remarks(const adze_model *m, int64_t batch, char **text) {
    adze_text t = {.ctx = m->ctx};
    for (int i = 0; i < m->nlayers; i++) {
        const adze_layer *l = &m->layers[i];
        const bool vector = l->out.rank == 2;
        equal_weights(m, i, &t);
        taken_bias(m, i, &t);
        if (batch == 1 && vector && l->spec->kind == &adze_layer_batchnorm) {
            adze_text_add(&t, "batchnorm '%s' sees one example at a time and gives 0 for each; train with a larger batch, or use layernorm\n",
                          l->path);
        }
    }
    halved_variance(m, &t);
    large_inputs(m, &t);
    return adze_text_finish(&t, text);
}
