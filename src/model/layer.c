/* The table of layer types, and the helpers with which their build functions ask for slots, count and complain. */
#include "model/layer.h"

#include <stdio.h>

static const adze_layer_kind *const KINDS[] = {
    &adze_layer_dense,
    &adze_layer_conv,
    &adze_layer_maxpool,
    &adze_layer_avgpool,
    &adze_layer_global_avgpool,
    &adze_layer_subsample,
    &adze_layer_global_maxpool,
    &adze_layer_activation,
    &adze_layer_softmax,
    &adze_layer_batchnorm,
    &adze_layer_layernorm,
    &adze_layer_dropout,
    &adze_layer_flatten,
    &adze_layer_reshape,
    &adze_layer_add,
    &adze_layer_concat,
    &adze_layer_shortcut,
    &adze_layer_rbf,
    &adze_layer_rnn,
    &adze_layer_lstm,
    &adze_layer_gru,
    &adze_layer_groupnorm,
    &adze_layer_instancenorm,
    &adze_layer_rmsnorm,
    &adze_layer_lrn,
    &adze_layer_fractional_maxpool,
    &adze_layer_omp,
};

const adze_layer_kind *adze_layer_kind_at(int i) {
    return i >= 0 && i < (int)ADZE_COUNT(KINDS) ? KINDS[i] : NULL;
}

const adze_layer_kind *adze_layer_kind_find(const char *name) {
    for (size_t i = 0; i < ADZE_COUNT(KINDS); i++) {
        if (strcmp(KINDS[i]->name, name) == 0) {
            return KINDS[i];
        }
    }
    return NULL;
}

int adze_layer_count(void) {
    return (int)ADZE_COUNT(KINDS);
}

const char *adze_layer_name(int i) {
    const adze_layer_kind *k = adze_layer_kind_at(i);
    return k ? k->name : NULL;
}

const char *adze_layer_doc(int i) {
    const adze_layer_kind *k = adze_layer_kind_at(i);
    return k ? k->doc : NULL;
}

const char *adze_layer_cost(int i) {
    const adze_layer_kind *k = adze_layer_kind_at(i);
    return k ? k->cost : NULL;
}

const adze_field *adze_layer_fields(int i) {
    const adze_layer_kind *k = adze_layer_kind_at(i);
    return k ? k->fields : NULL;
}

static const adze_layer *this_layer(const adze_builder *b) {
    return &b->m->layers[b->layer];
}

adze_val adze_layer_fail(adze_builder *b, int code, const char *fmt, ...) {
    adze_val none = {0};
    if (b->failed || adze_graph_status(b->g) != ADZE_OK) {
        return none;
    }
    char sentence[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(sentence, sizeof sentence, fmt, ap);
    va_end(ap);
    const adze_layer *l = this_layer(b);
    snprintf(b->message, sizeof b->message, "%s '%s': %s", l->spec->kind->name, l->path, sentence);
    b->failed = adze_fail(b->m->ctx, code, "%s", b->message);
    return none;
}

bool adze_layer_has_map(adze_builder *b) {
    const adze_type x = adze_layer_in(b, 0);
    if (x.rank < 3) {
        adze_layer_fail(b, ADZE_ESHAPE, "the input is %s, it needs at least one spatial axis (N, ..., C)", ADZE_SHOWN(&x));
    }
    return x.rank >= 3;
}

adze_type adze_layer_in(const adze_builder *b, int i) {
    return adze_val_type(b->g, b->x[i]);
}

void adze_layer_fixed(adze_builder *b, int64_t numbers) {
    if (b->probe) {
        b->probe->layers[b->layer].fixed += numbers;
    }
}

void adze_layer_macs(adze_builder *b, double macs) {
    if (b->probe) {
        b->probe->layers[b->layer].macs += macs;
    }
}

/* Notes a new slot of the model being probed. */
static int record(adze_builder *b, const adze_param_desc *d, const char *slot) {
    adze_model *m = b->probe;
    int64_t count = adze_type_count(&d->type);
    adze_layer *l = &m->layers[b->layer];
    int64_t total = 0;
    if (count < 0 || count > ADZE_MODEL_MAX_PARAMS || !adze_add_size(adze_model_params(m), count, &total) || total > ADZE_MODEL_MAX_PARAMS) {
        adze_layer_fail(b, ADZE_EARG, "its parameter '%s', %s, makes the model larger than %d parameters; use smaller layers", d->role,
                        ADZE_SHOWN(&d->type), ADZE_MODEL_MAX_PARAMS);
        return b->failed;
    }
    if (m->nparams == m->cap_params) {
        int cap = m->cap_params ? 2 * m->cap_params : 16;
        adze_param *p = adze_resize(m->ctx, m->params, m->cap_params, cap, sizeof *p);
        TRY(ADZE_GOT(p));
        m->params = p;
        m->cap_params = cap;
    }
    adze_param *p = &m->params[m->nparams];
    *p = (adze_param){.type = d->type, .flags = d->flags, .init = d->init, .fan_in = d->fan_in, .fan_out = d->fan_out};
    p->shift = d->shift, p->shift_from = d->shift_from, p->shift_to = d->shift_to;
    p->mirror_in = d->mirror_in, p->mirror_out = d->mirror_out, p->norms = d->norms;
    p->type.dtype = ADZE_F32;
    p->slot = adze_arena_strdup(&m->arena, slot);
    if (d->mask) {
        const int64_t *dims = d->type.dims + d->type.rank - 2;
        p->mask = adze_arena_dup(&m->arena, d->mask, (size_t)(dims[0] * dims[1]));
    }
    TRY(ADZE_GOT(p->slot && (!d->mask || p->mask)));
    m->nparams++;
    if (d->flags & ADZE_SLOT_TRAINABLE) {
        l->params += count - d->absent;
    } else {
        l->fixed += count;
    }
    return ADZE_OK;
}

adze_val adze_layer_param(adze_builder *b, const adze_param_desc *d) {
    adze_val none = {0};
    if (b->failed || adze_graph_status(b->g) != ADZE_OK) {
        return none;
    }
    char slot[ADZE_LAYER_NAME + 16];
    snprintf(slot, sizeof slot, "%s:%s", this_layer(b)->path, d->role);
    if (b->probe) {
        int status = record(b, d, slot);
        if (status != ADZE_OK) {
            b->failed = status;
            return none;
        }
    }
    adze_type t = d->type;
    t.dtype = b->dtype;
    return adze_slot(b->g, slot, t);
}

void adze_layer_mirror(adze_builder *b, adze_param_desc *d, const adze_act *a, int64_t width) {
    if (d->init.kind != ADZE_INIT_LOOKS_LINEAR) {
        return;
    }
    const int64_t rows = d->type.dims[d->type.rank - 2];
    d->mirror_in = b->mirror_in > 0 && rows % b->mirror_in == 0 ? b->mirror_in : 0;
    d->mirror_out = a->fn == ADZE_ACT_RELU;
    b->mirror = d->mirror_out ? width : 0;
    if (d->mirror_out && width % 2) {
        adze_layer_fail(b, ADZE_EARG, "'init: looks_linear' before relu mirrors the outputs, and %lld is odd; give an even number or use crelu",
                        (long long)width);
    }
}

adze_val adze_layer_vector(adze_builder *b, const char *role, int64_t n, double value, uint32_t flags) {
    adze_param_desc d = {.role = role, .type = adze_type_make(b->dtype, 1, &n), .flags = flags, .fan_in = 1, .fan_out = 1};
    d.init = (adze_init){.kind = ADZE_INIT_CONSTANT, .gain = 1, .value = value};
    return adze_layer_param(b, &d);
}
