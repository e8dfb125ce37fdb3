/* Losses per example for whole-number labels: the model's own, smoothed cross-entropy, squared error and Huber's loss against one-hot targets. */
#include "adze/ops.h"
#include "train/steps.h"

static adze_val one_hot_error(adze_graph *g, adze_val y, adze_val label, adze_type t) {
    return adze_sub(g, y, adze_one_hot(g, label, t.dims[t.rank - 1], t.dtype, 1, 0));
}

static adze_val smoothed_xent(adze_graph *g, adze_val y, adze_val label, adze_type t, double smoothing) {
    double classes = (double)t.dims[t.rank - 1], off = smoothing / classes;
    return adze_softmax_xent_prob(g, y, adze_one_hot(g, label, t.dims[t.rank - 1], t.dtype, 1 - smoothing + off, off));
}

/* Huber (1964): e^2 / 2 within delta, delta (|e| - delta / 2) beyond; with c = e cut to +-delta that is c (e - c / 2). */
static adze_val huber(adze_graph *g, adze_val e, double delta) {
    adze_val c = adze_clip(g, e, -delta, delta);
    return adze_mul(g, c, adze_sub(g, e, adze_scale(g, c, 0.5, 0)));
}

int adze_train_loss(const adze_model *m, adze_graph *g, const adze_train_opts *o, adze_val y, adze_val label, adze_val *loss) {
    adze_type t = adze_val_type(g, y);
    const int last = -1;
    *loss = (adze_val){0};
    TRY(adze_graph_status(g));
    if (t.rank != 2) {
        return adze_fail(adze_graph_ctx(g), ADZE_ESHAPE, "model '%s' ends in rank %d; training needs (examples, classes)", adze_model_name(m),
                         t.rank);
    }
    if (o->loss == ADZE_LOSS_AUTO && o->label_smoothing <= 0) {
        return adze_model_loss(m, g, y, label, loss);
    }
    if (o->loss == ADZE_LOSS_MSE) {
        *loss = adze_mean(g, adze_square(g, one_hot_error(g, y, label, t)), &last, 1, false);
    } else if (o->loss == ADZE_LOSS_HUBER) {
        *loss = adze_mean(g, huber(g, one_hot_error(g, y, label, t), o->huber_delta), &last, 1, false);
    } else if (o->label_smoothing > 0) {
        *loss = smoothed_xent(g, y, label, t, o->label_smoothing);
    } else {
        *loss = adze_softmax_xent(g, y, label);
    }
    return adze_graph_status(g);
}
