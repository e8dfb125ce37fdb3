/* Recipes: the training options of published results, by name. */
#include "model/layer.h"
#include "train/options.h"

#include <stdio.h>

/* Only what the paper says is set. Epochs are those of 45,000 examples where the paper counts steps: 352 batches of 128. Kept by hand: a row is a
 * line. As everywhere, l2 spares biases and scales, and a border is black before the picture is normalised; a paper need not mean the same. */
/* clang-format off */
static const adze_recipe RECIPES[] = {
    {"resnet-cifar", "residual nets on CIFAR-10: rate cut after 32,000 and 48,000 of 64,000 steps", "He et al. 2015, section 4.2",
     "optimizer=momentum lr=0.1 momentum=0.9 l2=0.0001 batch=128 epochs=182 schedule=milestones milestones=91,136 gamma=0.1 "
     "val_count=5000 norm=center_feature augment=crop:pad=4,hflip"},
    {"stochastic-depth", "residual nets with blocks left out at random", "Huang et al. 2016, section 4",
     "optimizer=nesterov lr=0.1 momentum=0.9 l2=0.0001 batch=128 epochs=500 schedule=milestones milestones=250,375 gamma=0.1 "
     "val_count=5000 augment=crop:pad=4,hflip drop_path=linear:0.5"},
    {"wide-resnet-cifar", "wide residual nets, trained on all examples", "Zagoruyko and Komodakis 2016, section 3",
     "optimizer=nesterov lr=0.1 momentum=0.9 l2=0.0005 batch=128 epochs=200 schedule=milestones milestones=60,120,160 gamma=0.2 "
     "val_count=0 norm=zscore augment=crop:pad=4:border=reflect,hflip"},
};
/* clang-format on */

int adze_recipe_at(int i, adze_recipe *out) {
    if (i < 0 || i >= (int)ADZE_COUNT(RECIPES)) {
        return ADZE_EARG;
    }
    *out = RECIPES[i];
    return ADZE_OK;
}

/* Words key=value with blanks between. */
static int set_all(adze_ctx *ctx, const char *words, adze_train_opts *o) {
    for (size_t n; *words != 0; words += n + (words[n] == ' ')) {
        char key[ADZE_OPTION_TEXT + 1] = ""; /* a word without '=' has the value "" */
        n = strcspn(words, " ");
        snprintf(key, ADZE_OPTION_TEXT, "%.*s", (int)n, words);
        char *value = key + strcspn(key, "=");
        *value++ = 0;
        const adze_field *f = adze_field_find(adze_train_fields(), key);
        TRY(f != NULL ? adze_field_parse(ctx, f, o, value, key) : adze_fail(ctx, ADZE_EARG, "there is no option '%s'", key));
    }
    return ADZE_OK;
}

int adze_recipe_apply(adze_ctx *ctx, const char *name, adze_train_opts *o) {
    for (size_t i = 0; i < ADZE_COUNT(RECIPES); i++) {
        if (strcmp(RECIPES[i].name, name) == 0) {
            return set_all(ctx, RECIPES[i].options, o);
        }
    }
    const char *near = adze_suggest(name, &RECIPES[0].name, ADZE_COUNT(RECIPES), sizeof RECIPES[0]);
    return adze_fail(ctx, ADZE_EARG, "there is no recipe '%s'%s%s%s (`adze list recipes` names them; a file of one ends in .yaml)", name,
                     near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

static const char *const REMEMBERED[] = {"loss", "target", "label_smoothing", "huber_delta", "focal_gamma"};

void adze_train_remember(const adze_train_opts *o, adze_model *m) {
    m->training[0] = 0;
    for (size_t i = 0; i < ADZE_COUNT(REMEMBERED); i++) {
        char value[64];
        const size_t used = strlen(m->training);
        adze_field_print(adze_field_find(adze_train_fields(), REMEMBERED[i]), o, value, sizeof value);
        snprintf(m->training + used, sizeof m->training - used, "%s%s=%s", i ? " " : "", REMEMBERED[i], value);
    }
}

int adze_train_recall(adze_ctx *ctx, const adze_model *m, adze_train_opts *o) {
    TRY(adze_fields_default(adze_train_fields(), o));
    const int st = set_all(ctx, m->training, o);
    return st != ADZE_EARG ? st : adze_fail(ctx, ADZE_EFORMAT, "how model '%s' was trained: %s", adze_model_name(m), adze_errmsg(ctx));
}
