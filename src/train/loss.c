/* Losses: one table of what `loss` may be, each a graph from outputs and targets to one number for each example. */
#include "model/layer.h"
#include "adze/ops.h"
#include "core/type.h"
#include "train/steps.h"

/* Outputs y and targets p are (N, C); p holds class probabilities (one 1 in each row for a label) or numbers of any kind. */
typedef struct loss_in {
    adze_graph *g;
    const adze_train_opts *o;
    adze_val y, p;
    adze_type t; /* of y */
} loss_in;

static const double VAST = 1e9;       /* takes a class out of a sum of exponentials; no output of a network comes near */
static const double MAX_LOG_VAR = 20; /* variances from 2e-9 to 5e8: beyond, one example's loss would overflow or drown all others */
static const double TINY = 1e-37;     /* keeps log(0) out of 0 log 0 */
static const int LAST[] = {-1};

static adze_val over_classes(const loss_in *in, adze_val v) {
    return adze_sum(in->g, v, LAST, 1, false);
}

static adze_val per_class(const loss_in *in, adze_val v) {
    return adze_mean(in->g, v, LAST, 1, false);
}

static adze_val error(const loss_in *in) {
    return adze_sub(in->g, in->y, in->p);
}

static adze_val build_xent(const loss_in *in) {
    return adze_softmax_xent_prob(in->g, in->y, in->p);
}

static adze_val build_mse(const loss_in *in) {
    return per_class(in, adze_square(in->g, error(in)));
}

static adze_val build_mae(const loss_in *in) {
    return per_class(in, adze_abs(in->g, error(in)));
}

/* e^2 / 2 within delta, delta (|e| - delta / 2) beyond; with c = e cut to [lo, delta] that is c (e - c / 2). */
static adze_val cut_square(adze_graph *g, adze_val e, double lo, double delta) {
    adze_val c = adze_clip(g, e, lo, delta);
    return adze_mul(g, c, adze_sub(g, e, adze_scale(g, c, 0.5, 0)));
}

static adze_val build_huber(const loss_in *in) {
    return per_class(in, cut_square(in->g, error(in), -in->o->huber_delta, in->o->huber_delta));
}

static adze_val build_sigmoid(const loss_in *in) {
    return per_class(in, adze_sigmoid_xent(in->g, in->y, in->p));
}

/* By how much the best wrong class comes within 1 of the right one: at least 0, which is the right class against itself. */
static adze_val build_hinge(const loss_in *in) {
    adze_val rival = adze_add(in->g, in->y, adze_scale(in->g, in->p, -1, 1));
    return adze_sub(in->g, adze_reduce_max(in->g, rival, LAST, 1, false), over_classes(in, adze_mul(in->g, in->y, in->p)));
}

static adze_val build_squared_hinge(const loss_in *in) {
    return adze_square(in->g, build_hinge(in));
}

/* 1 - s y with s = 1 for the right class and -1 for the others. */
static adze_val margin(const loss_in *in) {
    return adze_scale(in->g, adze_mul(in->g, adze_scale(in->g, in->p, 2, -1), in->y), -1, 1);
}

static adze_val build_hinge_ovr(const loss_in *in) {
    return per_class(in, adze_relu(in->g, margin(in)));
}

static adze_val build_squared_hinge_ovr(const loss_in *in) {
    return per_class(in, adze_square(in->g, adze_relu(in->g, margin(in))));
}

static adze_val build_smooth_hinge(const loss_in *in) {
    return per_class(in, cut_square(in->g, margin(in), 0, 1));
}

static adze_val build_kl(const loss_in *in) {
    adze_val known = adze_clip(in->g, in->p, TINY, 1); /* 0 log 0 = 0 */
    return adze_add(in->g, build_xent(in), over_classes(in, adze_mul(in->g, in->p, adze_log(in->g, known))));
}

static adze_val build_nll(const loss_in *in) {
    return adze_neg(in->g, over_classes(in, adze_mul(in->g, in->y, in->p)));
}

/* The first half of the outputs are means m, the second logarithms of variances s: ((p - m)^2 exp(-s) + s) / 2. */
static adze_val build_gaussian(const loss_in *in) {
    const int64_t n = in->t.dims[0], k = in->t.dims[1] / 2, step[] = {1, 1};
    adze_val mean = adze_slice(in->g, in->y, (int64_t[]){0, 0}, (int64_t[]){n, k}, step);
    adze_val s = adze_slice(in->g, in->y, (int64_t[]){0, k}, (int64_t[]){n, 2 * k}, step);
    s = adze_clip(in->g, s, -MAX_LOG_VAR, MAX_LOG_VAR);
    adze_val e = adze_mul(in->g, adze_square(in->g, adze_sub(in->g, mean, in->p)), adze_exp(in->g, adze_neg(in->g, s)));
    return per_class(in, adze_scale(in->g, adze_add(in->g, e, s), 0.5, 0));
}

static adze_val build_poisson(const loss_in *in) {
    return per_class(in, adze_sub(in->g, adze_exp(in->g, in->y), adze_mul(in->g, in->p, in->y)));
}

/* (1 - q)^gamma (-log q) with q the right class's probability. The logarithm of 1 - q is that of the others' share: no cancellation near q = 1, and
 * no power of 0. */
static adze_val build_focal(const loss_in *in) {
    adze_graph *g = in->g;
    adze_val rest = adze_sub(g, adze_log_softmax(g, in->y, -1), adze_scale(g, in->p, VAST, 0));
    adze_val share = adze_logsumexp(g, rest, LAST, 1, false);
    return adze_mul(g, adze_exp(g, adze_scale(g, share, in->o->focal_gamma, 0)), build_xent(in));
}

enum { SMOOTH = 1, LINKED = 2, HALVED = 4 }; /* label smoothing applies; it takes numbers before a softmax or sigmoid; two outputs for each target */

typedef struct loss_row {
    adze_loss_info info;
    unsigned flags;
    adze_val (*build)(const loss_in *in);
} loss_row;

const char *const adze_loss_names[] = {"auto",      "softmax_xent",      "mse",          "huber", "mae", "sigmoid_xent", "hinge",   "squared_hinge",
                                       "hinge_ovr", "squared_hinge_ovr", "smooth_hinge", "kl",    "nll", "gaussian",     "poisson", "focal",
                                       NULL};

#define CLASSES "probabilities"
#define NUMBERS "numbers"

static const loss_row losses[] = {
    [ADZE_LOSS_AUTO] = {{"what the last layer asks for: softmax_xent; rbf layers have their own", "classes", "", "as that loss"},
                        SMOOTH | LINKED,
                        NULL},
    [ADZE_LOSS_SOFTMAX_XENT] = {{"-sum p log softmax(y)", CLASSES, "Bridle 1990; smoothing: Szegedy et al. 2016",
                                 "an exponential and 5 operations an output"},
                                SMOOTH | LINKED,
                                build_xent},
    [ADZE_LOSS_MSE] = {{"mean (y - p)^2", NUMBERS, "", "3 operations an output"}, 0, build_mse},
    [ADZE_LOSS_HUBER] = {{"mean of e^2 / 2 where |e| <= d, else d (|e| - d / 2); e = y - p, d = huber_delta", NUMBERS, "Huber 1964",
                          "6 operations an output"},
                         0,
                         build_huber},
    [ADZE_LOSS_MAE] = {{"mean |y - p|", NUMBERS, "", "3 operations an output"}, 0, build_mae},
    [ADZE_LOSS_SIGMOID_XENT] = {{"mean -(p log s(y) + (1 - p) log(1 - s(y)))", "probabilities, each for itself", "",
                                 "an exponential, a logarithm and 5 operations an output"},
                                SMOOTH | LINKED,
                                build_sigmoid},
    [ADZE_LOSS_HINGE] = {{"max(0, 1 + max over wrong y - right y)", "one class", "Crammer and Singer 2001", "2 operations an output"},
                         0,
                         build_hinge},
    [ADZE_LOSS_SQUARED_HINGE] = {{"max(0, 1 + max over wrong y - right y)^2", "one class", "", "2 operations an output"}, 0, build_squared_hinge},
    [ADZE_LOSS_HINGE_OVR] = {{"mean max(0, 1 - s y), s = 2 p - 1", "0 and 1, each for itself", "Cortes and Vapnik 1995", "5 operations an output"},
                             0,
                             build_hinge_ovr},
    [ADZE_LOSS_SQUARED_HINGE_OVR] = {{"mean max(0, 1 - s y)^2, s = 2 p - 1", "0 and 1, each for itself", "Tang 2013", "6 operations an output"},
                                     0,
                                     build_squared_hinge_ovr},
    [ADZE_LOSS_SMOOTH_HINGE] = {{"mean of m^2 / 2 where 0 <= m <= 1, m - 1/2 beyond, 0 below; m = 1 - s y, s = 2 p - 1", "0 and 1, each for itself",
                                 "Rennie and Srebro 2005", "8 operations an output"},
                                0,
                                build_smooth_hinge},
    [ADZE_LOSS_KL] = {{"sum p (log p - log softmax(y))", CLASSES, "Kullback and Leibler 1951",
                       "an exponential, a logarithm and 6 operations an output"},
                      SMOOTH | LINKED,
                      build_kl},
    [ADZE_LOSS_NLL] = {{"-sum p y; y are logarithms of probabilities", CLASSES, "", "2 operations an output"}, 0, build_nll},
    [ADZE_LOSS_GAUSSIAN] = {{"mean ((p - m)^2 exp(-s) + s) / 2; y = (m, s)", "numbers, half as many as outputs", "Nix and Weigend 1994",
                             "half an exponential and 3 operations an output"},
                            HALVED,
                            build_gaussian},
    [ADZE_LOSS_POISSON] = {{"mean exp(y) - p y", "counts", "", "an exponential and 3 operations an output"}, 0, build_poisson},
    [ADZE_LOSS_FOCAL] = {{"-(1 - q)^g log q; q = softmax(y) of the class, g = focal_gamma", "one class", "Lin et al. 2017",
                          "an exponential and 3 operations an output"},
                         LINKED,
                         build_focal},
};

const adze_loss_info *adze_loss_at(int i) {
    return i >= 0 && i < (int)ADZE_COUNT(losses) ? &losses[i].info : NULL;
}

bool adze_loss_smooths(int loss) {
    return (losses[loss].flags & SMOOTH) != 0;
}

bool adze_loss_takes_numbers(int loss) {
    static const int known[] = {ADZE_LOSS_AUTO,         ADZE_LOSS_MSE,      ADZE_LOSS_MAE,    ADZE_LOSS_HUBER,
                                ADZE_LOSS_SIGMOID_XENT, ADZE_LOSS_GAUSSIAN, ADZE_LOSS_POISSON};
    for (size_t i = 0; i < ADZE_COUNT(known); i++) {
        if (loss == known[i]) {
            return true;
        }
    }
    return false;
}

bool adze_loss_links(int loss) {
    return (losses[loss].flags & LINKED) != 0;
}

int adze_loss_build(adze_graph *g, const adze_train_opts *o, adze_val y, adze_val target, adze_val *loss) {
    const loss_in in = {g, o, y, target, adze_val_type(g, y)};
    const int which = o->loss == ADZE_LOSS_AUTO ? ADZE_LOSS_SOFTMAX_XENT : o->loss;
    const adze_type t = adze_val_type(g, target);
    *loss = (adze_val){0};
    TRY(adze_graph_status(g));
    const int64_t share = (losses[which].flags & HALVED) != 0 ? 2 : 1;
    if (in.t.rank != 2 || t.rank != 2 || in.t.dims[0] != t.dims[0] || in.t.dims[1] != share * t.dims[1]) {
        return adze_fail(adze_graph_ctx(g), ADZE_ESHAPE, "loss %s wants outputs (N, %sC) and targets (N, C)", adze_loss_names[which],
                         share == 2 ? "2 " : "");
    }
    *loss = losses[which].build(&in);
    return adze_graph_status(g);
}

/* What outputs say of the target p, as numbers. */
static adze_val guess_of(adze_graph *g, int loss, adze_val y, adze_val p) {
    const adze_type t = adze_val_type(g, p);
    switch (loss) {
    case ADZE_LOSS_SIGMOID_XENT:
        return adze_sigmoid(g, y);
    case ADZE_LOSS_POISSON:
        return adze_exp(g, y);
    case ADZE_LOSS_GAUSSIAN: /* the means come first */
        return adze_slice(g, y, (int64_t[]){0, 0}, t.dims, (int64_t[]){1, 1});
    default:
        return y;
    }
}

/* x, flat, is the target; error: what the outputs, as numbers, are off it. */
static int reconstruction(const adze_model *m, adze_graph *g, const adze_train_opts *o, adze_val x, adze_val y, adze_train_terms *out) {
    const adze_type t = adze_val_type(g, y), tx = adze_val_type(g, x);
    const int64_t share = (losses[o->loss].flags & HALVED) != 0 ? 2 : 1;
    if (t.rank != 2 || adze_type_count(&t) != share * adze_type_count(&tx)) {
        return adze_fail(adze_graph_ctx(g), ADZE_ESHAPE, "option target input: model '%s' makes %s of %s, which is no reconstruction%s",
                         adze_model_name(m), ADZE_SHOWN(&t), ADZE_SHOWN(&tx), share > 1 ? " with a mean and a variance for each number" : "");
    }
    adze_train_opts own = *o;
    own.loss = o->loss == ADZE_LOSS_AUTO ? ADZE_LOSS_MSE : o->loss;
    const adze_val p = adze_reshape(g, x, (int64_t[]){t.dims[0], t.dims[1] / share}, 2);
    out->guess = guess_of(g, own.loss, y, p);
    out->error = adze_sum(g, adze_square(g, adze_sub(g, out->guess, p)), LAST, 1, false);
    return adze_loss_build(g, &own, y, p, &out->loss);
}

int adze_train_loss(const adze_model *m, adze_graph *g, const adze_train_opts *o, adze_val x, adze_val y, adze_val label, adze_train_terms *out) {
    const adze_type t = adze_val_type(g, y);
    adze_val *loss = &out->loss;
    *out = (adze_train_terms){0};
    TRY(adze_graph_status(g));
    if (o->target == ADZE_TARGET_INPUT) {
        return reconstruction(m, g, o, x, y, out);
    }
    if (t.rank != 2) {
        return adze_fail(adze_graph_ctx(g), ADZE_ESHAPE, "model '%s' ends in rank %d; training needs (examples, classes)", adze_model_name(m),
                         t.rank);
    }
    if ((losses[o->loss].flags & HALVED) != 0) {
        return adze_fail(adze_graph_ctx(g), ADZE_ENOSUP,
                         "loss %s needs numbers as targets, but data sets carry classes: give target input, or build it with adze_loss_build",
                         adze_loss_names[o->loss]);
    }
    if (o->label_smoothing > 0 && o->loss == ADZE_LOSS_AUTO && m->layers[m->nlayers - 1].spec->kind == &adze_layer_rbf) {
        return adze_fail(adze_graph_ctx(g), ADZE_EARG,
                         "option label_smoothing: the rbf layer of model '%s' has a loss of its own, which takes no smoothed targets; choose a loss",
                         adze_model_name(m));
    }
    if (o->label_smoothing <= 0 && o->loss == ADZE_LOSS_AUTO) {
        return adze_model_loss(m, g, y, label, loss);
    }
    if (o->label_smoothing <= 0 && o->loss == ADZE_LOSS_SOFTMAX_XENT) { /* the same numbers without the row of targets */
        *loss = adze_softmax_xent(g, y, label);
        return adze_graph_status(g);
    }
    const double classes = (double)t.dims[1], off = o->label_smoothing / classes;
    return adze_loss_build(g, o, y, adze_one_hot(g, label, t.dims[1], t.dtype, 1 - o->label_smoothing + off, off), loss);
}
