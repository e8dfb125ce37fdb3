/* What training drops: the layer dropout (Srivastava et al. 2014), by number or by channel, and DropConnect (Wan et al. 2013), by weight. */
#include "model/layer.h"

typedef struct dropout {
    double p;
    int32_t form;
    bool channel;
} dropout;

enum { INVERTED, CLASSIC };
static const char *const FORMS[] = {"inverted", "classic", NULL};

static const adze_field DROPOUT_FIELDS[] = {
    {"p", ADZE_F_F64, 0, offsetof(dropout, p), 0, "0.5", 0, 0.99, NULL, "probability that a number is set to 0 in training"},
    {"form", ADZE_F_ENUM, 0, offsetof(dropout, form), 0, "inverted", 0, 0, FORMS,
     "inverted: what stays is divided by 1 - p in training; classic: all is multiplied by 1 - p in use instead"},
    {"channel", ADZE_F_BOOL, 0, offsetof(dropout, channel), 0, "false", 0, 0, NULL, "whole channels of an example are dropped (spatial dropout)"},
    {0},
};

/* Ones and zeros for x, or for its channels and then repeated. */
static adze_val mask_like(adze_builder *b, const adze_type *x, double keep, double kept, bool channel) {
    adze_type t = *x;
    for (int i = 1; channel && i < t.rank - 1; i++) {
        t.dims[i] = 1;
    }
    const adze_val ones = adze_bernoulli(b->g, t, keep);
    return adze_broadcast(b->g, kept == 1 ? ones : adze_scale(b->g, ones, kept, 0), x->dims, x->rank);
}

static adze_val dropout_build(adze_builder *b, const void *fields) {
    const dropout *f = fields;
    const double keep = 1 - f->p;
    const adze_type x = adze_layer_in(b, 0);
    if (f->p == 0) {
        return b->x[0];
    }
    if (!b->drops) {
        return f->form == CLASSIC ? adze_scale(b->g, b->x[0], keep, 0) : b->x[0];
    }
    if (f->form == INVERTED && !f->channel) {
        return adze_dropout(b->g, b->x[0], f->p);
    }
    return adze_mul(b->g, b->x[0], mask_like(b, &x, keep, f->form == CLASSIC ? 1 : 1 / keep, f->channel));
}

const adze_layer_kind adze_layer_dropout = {
    .name = "dropout",
    .doc = "training: each number is 0 with probability p, else divided by 1 - p; in use: y = x (classic: x in training, (1 - p) x in use)",
    .cost = "17 operations an output, most for its random number; in use nothing",
    ADZE_LAYER_FIELDS(DROPOUT_FIELDS, dropout),
    ADZE_LAYER_FROM(1, 1),
    .keeps_mirror = true,
    .build = dropout_build,
};

/* -- DropConnect --------------------------------------------------------------------------------------------------------------------------------- */

const char *const adze_dropconnect_masks[] = {"batch", "example", NULL};

adze_val adze_dropconnect_weight(adze_builder *b, adze_val w, const adze_dropconnect *d) {
    return d->p > 0 && b->drops ? adze_dropout(b->g, w, d->p) : w;
}

adze_val adze_dropconnect_matmul(adze_builder *b, adze_val x, adze_val w, const adze_dropconnect *d) {
    adze_graph *g = b->g;
    const adze_type t = adze_val_type(g, x), k = adze_val_type(g, w);
    if (d->mask == ADZE_DROPCONNECT_BATCH || d->p == 0 || !b->drops || t.rank < 2 || k.rank != 2) {
        return adze_matmul(g, x, adze_dropconnect_weight(b, w, d), false, false);
    }
    const adze_val own = adze_dropout(g, adze_broadcast(g, w, (int64_t[]){t.dims[0], k.dims[0], k.dims[1]}, 3), d->p); /* (N, C, units) */
    if (t.rank == 3) {
        return adze_matmul(g, x, own, false, false);
    }
    const adze_val row = adze_reshape(g, x, (int64_t[]){t.dims[0], 1, t.dims[1]}, 3);
    return adze_reshape(g, adze_matmul(g, row, own, false, false), (int64_t[]){t.dims[0], k.dims[1]}, 2);
}

adze_val adze_dropconnect_variance(adze_graph *g, adze_val x, adze_val w, double p) {
    return adze_scale(g, adze_matmul(g, adze_square(g, x), adze_square(g, w), false, false), p / (1 - p), 0);
}

adze_val adze_dropconnect_samples(adze_builder *b, adze_val mean, adze_val var, const adze_act *a) {
    adze_graph *g = b->g;
    adze_type t = adze_val_type(g, mean), one, all;
    if (t.rank < 2) {
        return mean; /* refused already */
    }
    one = t; /* (..., units) -> (..., samples, units) */
    one.rank++;
    one.dims[t.rank] = t.dims[t.rank - 1];
    one.dims[t.rank - 1] = 1;
    all = one;
    all.dims[t.rank - 1] = b->samples;
    const adze_val sd = adze_reshape(g, adze_sqrt(g, var), one.dims, one.rank);
    const adze_val u = adze_add(g, adze_reshape(g, mean, one.dims, one.rank), adze_mul(g, sd, adze_normal(g, all, 0, 1)));
    return adze_mean(g, adze_layer_activate(b, u, a), (int[]){t.rank - 1}, 1, false);
}
