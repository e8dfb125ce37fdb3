/* The options of a training: one table for the command line, the configuration file, the checkpoint's metadata and the help. */
#include "adze/train.h"
#include "train/penalty.h"

#include <stdio.h>

static const char *const optimizers[] = {"sgd",
                                         "momentum",
                                         "nesterov",
                                         "adam",
                                         "adamw",
                                         "heavy_ball",
                                         "nesterov_ahead",
                                         "nesterov_shifted",
                                         "adagrad",
                                         "adadelta",
                                         "rmsprop",
                                         "amsgrad",
                                         "adamax",
                                         "nadam",
                                         "radam",
                                         "lion",
                                         "lars",
                                         "lamb",
                                         "rprop",
                                         "delta_bar_delta",
                                         "shampoo",
                                         "soap",
                                         "muon",
                                         "newton",
                                         "bfgs",
                                         "lbfgs",
                                         "hf",
                                         "kfac",
                                         NULL};
static const char *const schedules[] = {"constant",   "step",     "exponential", "inverse", "cosine", "milestones",
                                        "polynomial", "restarts", "one_cycle",   "plateau", "range",  NULL};
static const char *const dtypes[] = {"f32", "f64", NULL};
static const char *const precisions[] = {"full", "bf16", NULL};
static const char *const norms[] = {"auto",           "zscore",         "none", "center", "minmax", "zscore_feature",
                                    "center_feature", "minmax_feature", "gcn",  "zca",    NULL};
static const char *const muon_scales[] = {"rms", "original", NULL};
static const char *const l1_modes[] = {"prox", "subgrad", NULL};
static const char *const averages[] = {"none", "polyak", "ema", "swa", NULL};
static const char *const targets[] = {"label", "input", NULL};
static const char *const monitors[] = {"val_loss", "val_acc", NULL};

#define AT(member) offsetof(adze_train_opts, member)
#define MANY 1e12 /* more examples, epochs or steps than this is a slip of the keyboard */

static const adze_field train_fields[] = {
    {"epochs", ADZE_F_I64, 0, AT(epochs), 0, "10", 0, 1e9, NULL, "passes over the training examples"},
    {"batch", ADZE_F_I64, 0, AT(batch), 0, "64", 1, 1e6, NULL, "examples held at once"},
    {"accumulate", ADZE_F_I64, 0, AT(accumulate), 0, "1", 1, 1e6, NULL, "batches whose gradients are added for one update"},
    {"val_count", ADZE_F_I64, 0, AT(val_count), 0, "-1", -1, MANY, NULL, "training examples held out for validation; -1: a tenth, at most 5000"},
    {"seed", ADZE_F_U64, 0, AT(seed), 0, "1", 0, 0, NULL, "seed of weights, split, order, augmentation and dropout"},
    {"optimizer", ADZE_F_ENUM, 0, AT(optimizer), 0, "momentum", 0, 0, optimizers, "update rule"},
    {"lr", ADZE_F_F64, 0, AT(lr), 0, "0", 0, 1e300, NULL, "learning rate; 0: the optimizer's usual one (adze list optimizers)"},
    {"momentum", ADZE_F_F64, 0, AT(momentum), 0, "-1", -1, 0.999999, NULL, "share of the old velocity; -1: the optimizer's usual one"},
    {"l2", ADZE_F_F64, 0, AT(l2), 0, "-1", -1, 1e6, NULL,
     "l2 times the weight is added to its gradient (not to biases and scales); -1: the optimizer's usual one"},
    {"l1", ADZE_F_F64, 0, AT(l1), 0, "0", 0, 1e6, NULL, "l1 times the sum of absolute weights (not of biases and scales) is added to the loss"},
    {"l1_mode", ADZE_F_ENUM, 0, AT(l1_mode), 0, "prox", 0, 0, l1_modes,
     "prox: after each update weights go lr * l1 towards 0 and stop there (over 1 - momentum where there is one); subgrad: l1 * sign in the gradient"},
    {"prior", ADZE_F_STR, 0, AT(prior), sizeof(((adze_train_opts *)0)->prior), "", 0, 0, NULL,
     "of each weight, for the most likely ones: gauss:S is l2 = 1/(S^2 N), laplace:B is l1 = 1/(B N), with N training examples"},
    {"maxnorm", ADZE_F_F64, 0, AT(maxnorm), 0, "0", 0, 1e300, NULL,
     "after each update the incoming weights of a unit or filter are scaled to at most this norm; the output layer only by groups; 0: off"},
    {"activity_l1", ADZE_F_STR, 0, AT(activity_l1), sizeof(((adze_train_opts *)0)->activity_l1), "", 0, 0, NULL,
     "LAYER=A,...: A times the sum of an example's absolute outputs of that layer is added to its loss; * in a name is any text"},
    {"activity_kl", ADZE_F_STR, 0, AT(activity_kl), sizeof(((adze_train_opts *)0)->activity_kl), "", 0, 0, NULL,
     "LAYER=A:RHO,...: A times the divergence of each unit's mean over the batch from RHO is added to the loss; sigmoid layers"},
    {"weight_decay", ADZE_F_F64, 0, AT(weight_decay), 0, "0", 0, 1e6, NULL,
     "decoupled decay (adamw, lion, lamb, ...): weights shrink by lr times this"},
    {"beta1", ADZE_F_F64, 0, AT(beta1), 0, "-1", -1, 0.9999999, NULL, "decay of the gradient's mean; -1: the optimizer's usual one"},
    {"beta2", ADZE_F_F64, 0, AT(beta2), 0, "-1", -1, 0.9999999, NULL, "decay of its square's mean; -1: the optimizer's usual one"},
    {"eps", ADZE_F_F64, 0, AT(eps), 0, "-1", -1, 1, NULL, "added to the divisor; -1: the optimizer's usual one"},
    {"bias_correction", ADZE_F_BOOL, 0, AT(bias_correction), 0, "true", 0, 0, NULL, "adam and its kin: means are freed of their start at 0"},
    {"centered", ADZE_F_BOOL, 0, AT(centered), 0, "false", 0, 0, NULL, "rmsprop: the variance in place of the mean square"},
    {"grow", ADZE_F_F64, 0, AT(grow), 0, "-1", -1, 1e6, NULL, "rprop, delta_bar_delta: of rates whose gradient keeps its sign; -1: usual"},
    {"shrink", ADZE_F_F64, 0, AT(shrink), 0, "-1", -1, 1, NULL, "rprop, delta_bar_delta: of rates whose gradient turns; -1: usual"},
    {"trust", ADZE_F_F64, 0, AT(trust), 0, "-1", -1, 1e6, NULL, "lars: step over weights, as norms; -1: usual"},
    {"precond_every", ADZE_F_I64, 0, AT(precond_every), 0, "10", 1, 1e9, NULL,
     "shampoo, soap: steps between two roots or bases of what was gathered (shampoo: also after steps 1, 2, 4, 8 .. before)"},
    {"precond_most", ADZE_F_I64, 0, AT(precond_most), 0, "512", 1, 65536, NULL,
     "shampoo, soap: longest side of a weight that has a square; longer ones have a diagonal (shampoo) or nothing (soap)"},
    {"muon_steps", ADZE_F_I64, 0, AT(muon_steps), 0, "5", 1, 100, NULL, "muon: Newton-Schulz steps that make singular values about 1"},
    {"muon_scale", ADZE_F_ENUM, 0, AT(muon_scale), 0, "rms", 0, 0, muon_scales,
     "muon: factor of a step: rms: 0.2 sqrt of the longer side, so that adamw's rate fits; original: sqrt(outputs / inputs), at least 1"},
    {"damping", ADZE_F_F64, 0, AT(damping), 0, "0", 0, 1e300, NULL,
     "hf, kfac: first multiple of the identity in the curvature; 0: usual (kfac: 1 / outputs where the loss is their mean)"},
    {"lbfgs_m", ADZE_F_I64, 0, AT(lbfgs_m), 0, "10", 1, 256, NULL, "lbfgs: pairs of steps and changes of the gradient that are kept"},
    {"inner", ADZE_F_I64, 0, AT(inner), 0, "1", 1, 1e6, NULL, "newton, bfgs, lbfgs: steps on the examples of one update"},
    {"overlap", ADZE_F_F64, 0, AT(overlap), 0, "1", 0, 1, NULL,
     "lbfgs: share of the last batch whose gradient is taken before and after the step; 1: with a line search, 0: of unlike batches"},
    {"cg_steps", ADZE_F_I64, 0, AT(cg_steps), 0, "250", 1, 1e6, NULL, "hf: products with the curvature in a step, at most"},
    {"cg_decay", ADZE_F_F64, 0, AT(cg_decay), 0, "0.95", 0, 1, NULL, "hf: share of the last step that the search for the next begins with"},
    {"kfac_stats", ADZE_F_F64, 0, AT(kfac_stats), 0, "0.125", 1e-9, 1, NULL, "kfac: share of a batch that gives the factors; at least 64 examples"},
    {"kfac_products", ADZE_F_F64, 0, AT(kfac_products), 0, "0.25", 1e-9, 1, NULL,
     "kfac: share of a batch that gives the exact curvature along a step; at least 64 examples"},
    {"kfac_keep", ADZE_F_F64, 0, AT(kfac_keep), 0, "0.95", 0, 1, NULL, "kfac: share of the old factors in the new ones, at most"},
    {"kfac_invert_every", ADZE_F_I64, 0, AT(kfac_invert_every), 0, "20", 1, 1e9, NULL, "kfac: steps between inversions (the first three invert)"},
    {"kfac_gamma_every", ADZE_F_I64, 0, AT(kfac_gamma_every), 0, "0", 0, 1e9, NULL,
     "kfac: steps between trials of the factors' damping gamma; 0: it is sqrt(damping + l2)"},
    {"kfac_lambda_every", ADZE_F_I64, 0, AT(kfac_lambda_every), 0, "5", 0, 1e9, NULL, "kfac: steps between checks of the damping; 0: none"},
    {"kfac_momentum", ADZE_F_BOOL, 0, AT(kfac_momentum), 0, "true", 0, 0, NULL, "kfac: the last step is part of the next"},
    {"groups", ADZE_F_STR, 0, AT(groups), sizeof(((adze_train_opts *)0)->groups), "", 0, 0, NULL,
     "factors by a pattern on parameter names: '*:b:lr=2,decay=0;fc*:maxnorm=2'; the first that fits counts"},
    {"lookahead_k", ADZE_F_I64, 0, AT(lookahead_k), 0, "0", 0, 1e9, NULL, "updates between two moves of lookahead's slow weights; 0: off"},
    {"lookahead_alpha", ADZE_F_F64, 0, AT(lookahead_alpha), 0, "0.5", 0, 1, NULL, "lookahead: share of the way that the slow weights go"},
    {"sam", ADZE_F_F64, 0, AT(sam), 0, "0", 0, 1e6, NULL, "gradients are taken so far up the slope (two passes a step); 0: off"},
    {"average", ADZE_F_ENUM, 0, AT(average), 0, "none", 0, 0, averages,
     "average of the weights that is judged and becomes the model: of all updates; exponential; of epochs at a high rate"},
    {"average_start", ADZE_F_I64, 0, AT(average_start), 0, "0", 0, 1e9, NULL, "polyak, ema: epochs before the average begins"},
    {"ema_decay", ADZE_F_F64, 0, AT(ema_decay), 0, "0.999", 0, 0.9999999, NULL, "ema: most of the old average that an update leaves"},
    {"swa_start", ADZE_F_I64, 0, AT(swa_start), 0, "-1", -1, 1e9, NULL, "swa: epochs before the average begins; -1: three quarters"},
    {"swa_lr", ADZE_F_F64, 0, AT(swa_lr), 0, "0", 0, 1e300, NULL, "swa: learning rate from then on; 0: half of lr"},
    {"swa_cycle", ADZE_F_I64, 0, AT(swa_cycle), 0, "0", 0, 1e9, NULL,
     "swa: in so many epochs the rate falls from swa_lr to min_lr, again and again, and each end is averaged; 0: constant, every epoch"},
    {"average_batches", ADZE_F_I64, 0, AT(average_batches), 0, "100", 0, MANY, NULL,
     "batches on which batchnorm's statistics are estimated for averaged weights; 0: the whole training part"},
    {"snapshots", ADZE_F_I64, 0, AT(snapshots), 0, "0", 0, 1e6, NULL,
     "schedule restarts: so many equal cycles, each of which leaves a model file; 0: as cycle_epochs says, none"},
    {"schedule", ADZE_F_ENUM, 0, AT(schedule), 0, "cosine", 0, 0, schedules, "how the learning rate changes"},
    {"warmup_epochs", ADZE_F_F64, 0, AT(warmup_epochs), 0, "0", 0, 1e9, NULL, "epochs over which the learning rate rises from 0"},
    {"min_lr", ADZE_F_F64, 0, AT(min_lr), 0, "0", 0, 1e300, NULL, "the schedule goes no lower"},
    {"gamma", ADZE_F_F64, 0, AT(gamma), 0, "0.1", 0, 1e6, NULL, "step, milestones, exponential, plateau: factor; inverse: rate of decay"},
    {"step_epochs", ADZE_F_I64, 0, AT(step_epochs), 0, "10", 1, 1e9, NULL, "step: epochs between two cuts"},
    {"milestones", ADZE_F_INTS, 0, AT(milestones), 0, "80,120", 0, 1e9, NULL, "milestones: epochs of the cuts"},
    {"power", ADZE_F_F64, 0, AT(power), 0, "1", 0, 1e3, NULL, "polynomial: (1 - share of the steps) to this power"},
    {"cycle_epochs", ADZE_F_I64, 0, AT(cycle_epochs), 0, "10", 1, 1e9, NULL, "restarts: epochs of the first cycle"},
    {"cycle_factor", ADZE_F_F64, 0, AT(cycle_factor), 0, "1", 1, 1e3, NULL, "restarts: each cycle is so many times as long as the one before"},
    {"rise_share", ADZE_F_F64, 0, AT(rise_share), 0, "0.3", 0, 0.99, NULL, "one_cycle: share of the steps in which the rate rises"},
    {"start_div", ADZE_F_F64, 0, AT(start_div), 0, "25", 1, 1e12, NULL, "one_cycle: it begins with lr over this"},
    {"plateau_patience", ADZE_F_I64, 0, AT(plateau_patience), 0, "5", 1, 1e9, NULL, "plateau: epochs without improvement before a cut"},
    {"clip_value", ADZE_F_F64, 0, AT(clip_value), 0, "0", 0, 1e300, NULL, "gradients are cut to plus or minus this; 0: off"},
    {"clip_norm", ADZE_F_F64, 0, AT(clip_norm), 0, "0", 0, 1e300, NULL, "gradients are scaled to at most this norm; 0: off"},
    {"clip_auto", ADZE_F_F64, 0, AT(clip_auto), 0, "0", 0, 1e300, NULL, "to at most so many times their usual norm; 0: off"},
    {"clip_tensor", ADZE_F_F64, 0, AT(clip_tensor), 0, "0", 0, 1e300, NULL, "the same for each tensor by itself; 0: off"},
    {"clip_agc", ADZE_F_F64, 0, AT(clip_agc), 0, "0", 0, 1e300, NULL, "each unit's gradient to this share of its weights' norm; 0: off"},
    {"loss", ADZE_F_ENUM, 0, AT(loss), 0, "auto", 0, 0, adze_loss_names, "loss; `adze list losses` has the formulas"},
    {"target", ADZE_F_ENUM, 0, AT(target), 0, "label", 0, 0, targets,
     "what the loss compares outputs with; input: the example itself (autoencoders)"},
    {"label_smoothing", ADZE_F_F64, 0, AT(label_smoothing), 0, "0", 0, 0.999, NULL,
     "softmax_xent, sigmoid_xent, kl: share of the target spread over all classes"},
    {"huber_delta", ADZE_F_F64, 0, AT(huber_delta), 0, "1", 1e-300, 1e300, NULL, "huber: errors beyond this count linearly"},
    {"focal_gamma", ADZE_F_F64, 0, AT(focal_gamma), 0, "2", 0, 100, NULL, "focal: how much less examples count that are nearly right"},
    {"dtype", ADZE_F_ENUM, 0, AT(dtype), 0, "f32", 0, 0, dtypes, "type of weights and arithmetic"},
    {"precision", ADZE_F_ENUM, 0, AT(precision), 0, "full", 0, 0, precisions,
     "bf16: products and what is stored between layers in bfloat16; weights, sums, statistics and losses stay f32"},
    {"monitor", ADZE_F_ENUM, 0, AT(monitor), 0, "val_acc", 0, 0, monitors, "what decides the best epoch and early stopping"},
    {"patience", ADZE_F_I64, 0, AT(patience), 0, "0", 0, 1e9, NULL, "stop after so many epochs without improvement; 0: off"},
    {"min_delta", ADZE_F_F64, 0, AT(min_delta), 0, "0", 0, 1e300, NULL, "an improvement is at least this large"},
    {"augment", ADZE_F_STR, 0, AT(augment), sizeof(((adze_train_opts *)0)->augment), "", 0, 0, NULL,
     "changes to training pictures, as in hflip,crop:pad=4:border=reflect; `adze list augmentations` has them"},
    {"shift", ADZE_F_I64, 0, AT(shift), 0, "0", 0, 1024, NULL, "augmentation: short for crop:pad=N, a random shift by up to so many pixels"},
    {"hflip", ADZE_F_BOOL, 0, AT(hflip), 0, "false", 0, 0, NULL, "augmentation: short for hflip, mirrored with probability 1/2"},
    {"pad", ADZE_F_I64, 0, AT(pad), 0, "-1", -1, 4096, NULL, "border of the images in pixels; -1: what the model's input needs"},
    {"limit_train", ADZE_F_I64, 0, AT(limit_train), 0, "0", 0, MANY, NULL, "training examples used; 0: all"},
    {"limit_val", ADZE_F_I64, 0, AT(limit_val), 0, "0", 0, MANY, NULL, "validation examples used; 0: all"},
    {"save_every", ADZE_F_I64, 0, AT(save_every), 0, "0", 0, MANY, NULL, "steps between checkpoints within an epoch; 0: at its end only"},
    {"norm", ADZE_F_ENUM, 0, AT(norm), 0, "auto", 0, 0, norms,
     "preprocessing, fitted on the training examples; auto: what the model file says (zscore)"},
    {"zca_eps", ADZE_F_F64, 0, AT(zca_eps), 0, "-1", -1, 1e6, NULL,
     "norm zca: added to the variance in every direction, pixels being 0 to 1; -1: what the model file says (0.01)"},
    {"lsuv", ADZE_F_BOOL, 0, AT(lsuv), 0, "false", 0, 0, NULL,
     "layer-sequential unit variance: before the first step each layer's weights are scaled until its sums on a batch have variance 1"},
    {"drop_path", ADZE_F_STR, 0, AT(drop_path), sizeof(((adze_train_opts *)0)->drop_path), "", 0, 0, NULL,
     "stochastic depth: share of steps in which a residual block's branch runs, as linear:0.5 (at the last block) or 0.8; default: as the model says"},
    {"workers", ADZE_F_I64, 0, AT(workers), 0, "1", 0, 64, NULL, "threads that prepare batches; never changes the result"},
    {0},
};

const adze_field *adze_train_fields(void) {
    return train_fields;
}

int adze_train_check(adze_ctx *ctx, const adze_train_opts *o) {
    adze_train_opts scratch;
    adze_fields_default(train_fields, &scratch);
    for (const adze_field *f = train_fields; f->name != NULL; f++) {
        char text[ADZE_OPTION_TEXT], where[64] = "option ";
        strcat(where, f->name);
        if (f->kind == ADZE_F_ENUM) {
            int32_t v = *(const int32_t *)((const char *)o + f->offset), n = 0;
            while (f->names[n] != NULL) {
                n++;
            }
            if (v < 0 || v >= n) {
                return adze_fail(ctx, ADZE_EARG, "%s: there is no choice %d; 0 to %d are known", where, v, n - 1);
            }
            continue;
        }
        if (adze_field_print(f, o, text, sizeof text) < 0) {
            return adze_fail(ctx, ADZE_EARG, "%s: the value cannot be printed", where);
        }
        TRY(adze_field_parse(ctx, f, &scratch, text, where));
    }
    if (o->weight_decay > 0 && !(adze_optimizer_of(o)->reads & ADZE_OPT_DECOUPLES)) {
        return adze_fail(ctx, ADZE_EARG, "option weight_decay is the decoupled decay of adamw and some others; with optimizer %s use l2",
                         optimizers[o->optimizer]);
    }
    if ((o->clip_norm > 0) + (o->clip_auto > 0) + (o->clip_tensor > 0) + (o->clip_agc > 0) > 1) {
        return adze_fail(ctx, ADZE_EARG, "options clip_norm, clip_auto, clip_tensor and clip_agc bound the same: give one of them");
    }
    if (o->milestones.n == 0) {
        return adze_fail(ctx, ADZE_EARG, "option milestones needs at least one epoch, such as 80,120");
    }
    if (o->sam > 0 && o->accumulate > 1) {
        return adze_fail(ctx, ADZE_EARG, "option sam goes over the same batch twice, so accumulate must be 1");
    }
    TRY(adze_groups_check(ctx, o->groups, NULL, 0));
    TRY(adze_penalty_check(ctx, o));
    TRY(adze_average_check(ctx, o));
    if (o->precision == ADZE_PRECISION_BF16 && adze_train_dtype(o) != ADZE_F32) {
        return adze_fail(ctx, ADZE_EARG, "option precision bf16 needs dtype f32, not %s", dtypes[o->dtype]);
    }
    if (o->precision == ADZE_PRECISION_BF16 && ctx && adze_ctx_reproducible(ctx)) {
        return adze_fail(ctx, ADZE_EARG, "option precision bf16 rounds differently on every processor, so it is not reproducible; use full");
    }
    if (o->label_smoothing > 0 && !adze_loss_smooths(o->loss)) {
        return adze_fail(ctx, ADZE_EARG, "option label_smoothing belongs to losses softmax_xent, sigmoid_xent and kl, not to %s",
                         adze_loss_names[o->loss]);
    }
    if (o->target == ADZE_TARGET_INPUT && (o->label_smoothing > 0 || !adze_loss_takes_numbers(o->loss))) {
        return adze_fail(
            ctx, ADZE_EARG,
            "option target input goes with losses auto (mse), mse, mae, huber, gaussian, poisson and sigmoid_xent, without label_smoothing");
    }
    char augment[ADZE_OPTION_TEXT];
    return adze_train_augment(ctx, o, augment);
}

int adze_train_augment(adze_ctx *ctx, const adze_train_opts *o, char text[ADZE_OPTION_TEXT]) {
    char crop[32] = "";
    if (o->shift > 0) {
        snprintf(crop, sizeof crop, "crop:pad=%lld", (long long)o->shift);
    }
    const char *const parts[] = {o->augment, crop, o->hflip ? "hflip" : ""};
    text[0] = 0;
    for (size_t i = 0; i < ADZE_COUNT(parts); i++) { /* a text of blanks is an empty one */
        if (parts[i][strspn(parts[i], " ")] != 0) {
            strcat(strcat(text, text[0] != 0 ? "," : ""), parts[i]);
        }
    }
    return adze_augmentation_check(ctx, text, "option augment");
}

adze_dtype adze_train_precision(const adze_train_opts *o) {
    return o->precision == ADZE_PRECISION_BF16 ? ADZE_BF16 : ADZE_NONE;
}

/* -- tables as JSON ---------------------------------------------------------------------------------------------------------------------------- */

void adze_fields_json(const adze_field *table, const void *obj, adze_text *out) {
    adze_text_add(out, "{");
    for (const adze_field *f = table; f->name != NULL; f++) {
        char text[ADZE_OPTION_TEXT];
        if (adze_field_print(f, obj, text, sizeof text) < 0) {
            out->failed = true;
            return;
        }
        adze_text_add(out, "%s", f == table ? "" : ",");
        adze_json_string(out, f->name);
        adze_text_add(out, ":");
        bool bare = f->kind == ADZE_F_BOOL || f->kind == ADZE_F_I64;
        if (bare) {
            adze_text_add(out, "%s", text);
        } else {
            adze_json_string(out, text); /* quoted: JSON has no word for nan, and 64-bit numbers outgrow other readers */
        }
    }
    adze_text_add(out, "}");
}
