/* Options that nothing reads: given beside a choice that has no use for them, they get a remark instead of silence. */
#include "train/optimizer.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *options, *choice, *values; /* the options count where the choice is one of the values; "*": where it is not 0 */
} readers[] = {
    {"centered", "optimizer", "rmsprop"},
    {"grow shrink", "optimizer", "rprop delta_bar_delta"},
    {"trust", "optimizer", "lars"},
    {"precond_every precond_most", "optimizer", "shampoo soap"},
    {"muon_steps muon_scale", "optimizer", "muon"},
    {"damping", "optimizer", "hf kfac"},
    {"lbfgs_m overlap", "optimizer", "lbfgs"},
    {"inner", "optimizer", "newton bfgs lbfgs"},
    {"cg_steps cg_decay", "optimizer", "hf"},
    {"kfac_stats kfac_products kfac_keep kfac_invert_every kfac_gamma_every kfac_lambda_every kfac_momentum", "optimizer", "kfac"},
    {"lookahead_alpha", "lookahead_k", "*"},
    {"average_start", "average", "polyak ema"},
    {"ema_decay", "average", "ema"},
    {"swa_start swa_lr swa_cycle", "average", "swa"},
    {"average_batches", "average", "polyak ema swa"},
    {"gamma", "schedule", "step exponential inverse milestones plateau"},
    {"step_epochs", "schedule", "step"},
    {"milestones", "schedule", "milestones"},
    {"power", "schedule", "polynomial"},
    {"cycle_epochs cycle_factor", "schedule", "restarts"},
    {"rise_share start_div", "schedule", "one_cycle"},
    {"plateau_patience", "schedule", "plateau"},
    {"huber_delta", "loss", "huber"},
    {"focal_gamma", "loss", "focal"},
    {"zca_eps", "norm", "zca auto"},
};

static bool has_word(const char *words, const char *word) {
    const size_t n = strlen(word);
    for (const char *at = strstr(words, word); at != NULL; at = strstr(at + 1, word)) {
        if ((at == words || at[-1] == ' ') && (at[n] == ' ' || at[n] == 0)) {
            return true;
        }
    }
    return false;
}

/* Does the rule have a usual value of this option? Others do not know it. */
static bool rule_reads(const adze_train_opts *o, const char *option) {
    const adze_optimizer *row = adze_optimizer_of(o);
    const struct {
        const char *name;
        bool known;
    } of_rules[] = {{"momentum", row->usual.momentum >= 0},
                    {"beta1", row->usual.beta1 >= 0},
                    {"beta2", row->usual.beta2 >= 0},
                    {"eps", row->usual.eps >= 0},
                    {"bias_correction", (row->reads & ADZE_OPT_CORRECTS) != 0}};
    for (size_t i = 0; i < ADZE_COUNT(of_rules); i++) {
        if (strcmp(of_rules[i].name, option) == 0) {
            return of_rules[i].known;
        }
    }
    return true;
}

bool adze_optimizer_searches(const adze_train_opts *o) {
    return o->optimizer == ADZE_NEWTON || o->optimizer == ADZE_BFGS || (o->optimizer == ADZE_LBFGS && o->overlap >= 1);
}

/* The choice that leaves the option without use, as "optimizer sgd"; NULL: it is read. */
static const char *idle_with(const adze_train_opts *o, const char *option, char *text, size_t n) {
    const bool rate = has_word("lr min_lr schedule warmup_epochs", option), searches = adze_optimizer_searches(o);
    const char *choice = rule_reads(o, option) && !(rate && searches) ? NULL : "optimizer", *values = "";
    choice = strcmp(option, "inner") == 0 && o->optimizer == ADZE_LBFGS && !searches ? "overlap" : choice;
    for (size_t i = 0; i < ADZE_COUNT(readers) && choice == NULL; i++) {
        if (has_word(readers[i].options, option)) {
            choice = readers[i].choice;
            values = readers[i].values;
        }
    }
    char value[ADZE_OPTION_TEXT];
    if (choice == NULL || adze_field_print(adze_field_find(adze_train_fields(), choice), o, value, sizeof value) < 0) {
        return NULL;
    }
    snprintf(text, n, "%s %s", choice, value);
    return has_word(values, value) || (strcmp(values, "*") == 0 && strcmp(value, "0") != 0) ? NULL : text;
}

void adze_idle_remarks(adze_ctx *ctx, const adze_train_opts *o) {
    adze_train_opts usual;
    adze_fields_default(adze_train_fields(), &usual);
    for (const adze_field *f = adze_train_fields(); f->name != NULL; f++) {
        char given[ADZE_OPTION_TEXT], plain[ADZE_OPTION_TEXT], with[ADZE_OPTION_TEXT + 64];
        const bool same =
            adze_field_print(f, o, given, sizeof given) >= 0 && adze_field_print(f, &usual, plain, sizeof plain) >= 0 && strcmp(given, plain) == 0;
        const char *idle = same ? NULL : idle_with(o, f->name, with, sizeof with);
        if (idle != NULL) {
            adze_note(ctx, ADZE_WARN, "option %s does nothing with %s", f->name, idle);
        }
    }
}
