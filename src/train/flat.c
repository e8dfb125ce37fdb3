/* All parameters of a training as one vector of doubles, in the order of the store. */
#include "op/rules.h"
#include "train/second.h"

int64_t adze_flat_count(const adze_steps *s) {
    int64_t n = 0;
    for (int i = 0; i < s->nparams; i++) {
        const adze_type t = adze_store_type(s->store, s->params[i]);
        n += adze_type_count(&t);
    }
    return n;
}

static int slot_tensor(const adze_steps *s, int param, const char *role, adze_tensor *t, int64_t *n) {
    TRY(adze_curvature_tensor(s, param, role, t));
    const adze_type type = adze_tensor_type(t);
    *n = adze_type_count(&type);
    return ADZE_OK;
}

int adze_flat_get(const adze_steps *s, const char *role, double *out) {
    const bool gradient = role != NULL && strcmp(role, "g") == 0;
    for (int i = 0; i < s->nparams; i++) {
        adze_tensor t, w;
        int64_t n;
        TRY(slot_tensor(s, i, role, &t, &n));
        TRY(slot_tensor(s, i, NULL, &w, &n));
        const double l2 = gradient ? adze_curvature_decay(s, i) : 0;
        const void *data = adze_tensor_data(&t);
        for (int64_t k = 0; k < n; k++) {
            out[k] = adze_load_f(data, t.dtype, k);
        }
        for (int64_t k = 0; k < n && l2 > 0; k++) {
            out[k] += l2 * adze_tensor_get(&w, k);
        }
        out += n;
    }
    return ADZE_OK;
}

int adze_flat_put(const adze_steps *s, const char *role, const double *in) {
    for (int i = 0; i < s->nparams; i++) {
        adze_tensor t;
        int64_t n;
        TRY(slot_tensor(s, i, role, &t, &n));
        void *data = adze_tensor_data(&t);
        for (int64_t k = 0; k < n; k++) {
            adze_store_f(data, t.dtype, k, in[k]);
        }
        in += n;
    }
    adze_store_touch(s->store);
    return ADZE_OK;
}

void adze_flat_decay(const adze_steps *s, const double *v, double *out) {
    for (int i = 0; i < s->nparams; i++) {
        const adze_type t = adze_store_type(s->store, s->params[i]);
        const int64_t n = adze_type_count(&t);
        const double l2 = adze_curvature_decay(s, i);
        for (int64_t k = 0; k < n && l2 > 0; k++) {
            out[k] += l2 * v[k];
        }
        out += n;
        v += n;
    }
}

double adze_flat_penalty(const adze_steps *s, const double *w) {
    double sum = 0;
    for (int i = 0; i < s->nparams; i++) {
        const adze_type t = adze_store_type(s->store, s->params[i]);
        const int64_t n = adze_type_count(&t);
        const double l2 = adze_curvature_decay(s, i);
        for (int64_t k = 0; k < n && l2 > 0; k++) {
            sum += l2 / 2 * w[k] * w[k];
        }
        w += n;
    }
    return sum;
}
