/* The trainer's progress, history and options as JSON, through field tables. */
#include "train/trainer.h"

#include <math.h>

#define AT(member) offsetof(adze_progress, member)
static const adze_field progress_fields[] = {
    {"epoch", ADZE_F_I64, 0, AT(epoch), 0, "0", 0, 1e15, NULL, "epochs done"},
    {"batch", ADZE_F_I64, 0, AT(batch), 0, "0", 0, 1e15, NULL, "batches done in this epoch"},
    {"step", ADZE_F_I64, 0, AT(step), 0, "0", 0, 1e15, NULL, "updates done"},
    {"seen", ADZE_F_I64, 0, AT(seen), 0, "0", 0, 1e15, NULL, "examples seen in this epoch"},
    {"right", ADZE_F_I64, 0, AT(right), 0, "0", 0, 1e15, NULL, "of those, classified rightly"},
    {"loss_sum", ADZE_F_F64, 0, AT(loss_sum), 0, "0", 0, 0, NULL, "of those, summed losses"},
    {"error_sum", ADZE_F_F64, 0, AT(error_sum), 0, "0", 0, 0, NULL, "of those, summed errors of reconstructions"},
    {"best", ADZE_F_F64, 0, AT(best), 0, "0", 0, 0, NULL, "monitored value of the best epoch"},
    {"best_epoch", ADZE_F_I64, 0, AT(best_epoch), 0, "-1", -1, 1e15, NULL, "the best epoch; -1: none yet"},
    {"best_step", ADZE_F_I64, 0, AT(best_step), 0, "-1", -1, 1e15, NULL, "the best epoch's last step"},
    {"usual_norm", ADZE_F_F64, 0, AT(usual_norm), 0, "0", 0, 0, NULL, "running mean of the gradient's norm, for clip_auto"},
    {"waited", ADZE_F_I64, 0, AT(waited), 0, "0", 0, 1e15, NULL, "epochs without improvement"},
    {"patience_over", ADZE_F_BOOL, 0, AT(patience_over), 0, "false", 0, 0, NULL, "stopped early"},
    {"averaged", ADZE_F_I64, 0, AT(averaged), 0, "0", 0, 1e15, NULL, "weights in the average"},
    {"cuts", ADZE_F_I64, 0, AT(cuts), 0, "0", 0, 1e15, NULL, "cuts of the rate by the schedule plateau"},
    {"flat", ADZE_F_I64, 0, AT(flat), 0, "0", 0, 1e15, NULL, "epochs without improvement since the last cut"},
    {0},
};
#undef AT

/* Times are left out on purpose: a resumed training and an uninterrupted one write the same bytes. */
#define AT(member) offsetof(adze_epoch_stats, member)
static const adze_field history_fields[] = {
    {"epoch", ADZE_F_I64, 0, AT(epoch), 0, "0", 0, 1e15, NULL, "epoch, from 0"},
    {"step", ADZE_F_I64, 0, AT(step), 0, "0", 0, 1e15, NULL, "updates done at its end"},
    {"examples", ADZE_F_I64, 0, AT(examples), 0, "0", 0, 1e15, NULL, "training examples seen"},
    {"loss", ADZE_F_F64, 0, AT(loss), 0, "0", 0, 0, NULL, "mean training loss"},
    {"acc", ADZE_F_F64, 0, AT(acc), 0, "0", 0, 0, NULL, "training accuracy"},
    {"val_loss", ADZE_F_F64, 0, AT(val_loss), 0, "0", 0, 0, NULL, "mean validation loss"},
    {"val_acc", ADZE_F_F64, 0, AT(val_acc), 0, "0", 0, 0, NULL, "validation accuracy"},
    {"error", ADZE_F_F64, 0, AT(error), 0, "nan", 0, 0, NULL, "squared error of training reconstructions"},
    {"val_error", ADZE_F_F64, 0, AT(val_error), 0, "nan", 0, 0, NULL, "squared error of validation reconstructions"},
    {"lr", ADZE_F_F64, 0, AT(lr), 0, "0", 0, 0, NULL, "learning rate of its last step"},
    {"best", ADZE_F_BOOL, 0, AT(best), 0, "false", 0, 0, NULL, "best so far"},
    {0},
};
#undef AT

int adze_progress_print(const adze_trainer *t, char **json) {
    adze_text out = {.ctx = t->ctx};
    adze_text_add(&out, "{\"progress\":");
    adze_fields_json(progress_fields, &t->p, &out);
    adze_text_add(&out, ",\"history\":[");
    for (int64_t i = 0; i < t->nhistory; i++) {
        adze_text_add(&out, i > 0 ? ",\n" : "\n");
        adze_fields_json(history_fields, &t->history[i], &out);
    }
    adze_text_add(&out, "]}");
    return adze_text_finish(&out, json);
}

/* Faults of the file become one message. */
static int finish_faults(adze_ctx *ctx, adze_text *faults, int count) {
    if (count == 0 && !faults->failed) {
        adze_text_drop(faults);
        return ADZE_OK;
    }
    char *text = NULL;
    TRY(adze_text_finish(faults, &text));
    int st = adze_fail(ctx, ADZE_EFORMAT, "%s", text);
    adze_free(ctx, text);
    return st;
}

static int parse_history(adze_ctx *ctx, const adze_tree *list, const char *file, adze_text *faults, adze_epoch_stats **history, int64_t *n) {
    static const char *const skip[] = {NULL};
    int64_t count = list != NULL && list->kind == ADZE_T_LIST ? adze_tree_len(list) : 0;
    adze_epoch_stats *h = adze_alloc(ctx, count, sizeof *h);
    TRY(ADZE_GOT(h));
    int bad = 0;
    int64_t i = 0;
    for (const adze_tree *e = count > 0 ? list->child : NULL; e != NULL; e = e->next) {
        bad += adze_fields_default(history_fields, &h[i]) != ADZE_OK;
        bad += adze_tree_fields(ctx, e, history_fields, &h[i++], file, "the history", skip, faults);
    }
    int st = finish_faults(ctx, faults, bad);
    if (st != ADZE_OK) {
        adze_free(ctx, h);
        return st;
    }
    *history = h;
    *n = count;
    return ADZE_OK;
}

static int parse_progress(adze_ctx *ctx, adze_arena *a, const char *json, int64_t n, const char *file, adze_progress *p, adze_epoch_stats **history,
                          int64_t *nhistory) {
    static const char *const skip[] = {NULL};
    adze_tree *root = NULL;
    TRY(adze_json_parse(a, json, (size_t)n, file, &root));
    const adze_tree *map = root->kind == ADZE_T_MAP ? adze_tree_get(root, "progress") : NULL;
    if (map == NULL || map->kind != ADZE_T_MAP) {
        return adze_fail(ctx, ADZE_EFORMAT, "'%s': the trainer's state has no 'progress'", file);
    }
    adze_text faults = {.ctx = ctx};
    TRY(adze_fields_default(progress_fields, p));
    int bad = adze_tree_fields(ctx, map, progress_fields, p, file, "the progress", skip, &faults);
    TRY(finish_faults(ctx, &faults, bad));
    faults = (adze_text){.ctx = ctx};
    return parse_history(ctx, adze_tree_get(root, "history"), file, &faults, history, nhistory);
}

int adze_progress_parse(adze_ctx *ctx, const char *json, int64_t n, const char *file, adze_progress *p, adze_epoch_stats **history,
                        int64_t *nhistory) {
    adze_arena arena = {.ctx = ctx};
    int st = parse_progress(ctx, &arena, json, n, file, p, history, nhistory);
    adze_arena_free(&arena);
    return st;
}

int adze_options_print(adze_ctx *ctx, const adze_train_opts *o, char **json) {
    adze_text out = {.ctx = ctx};
    adze_fields_json(adze_train_fields(), o, &out);
    return adze_text_finish(&out, json);
}

/* What may change between a run and its resume without changing what was already computed. */
static bool may_differ(const adze_field *f, const adze_train_opts *then, const adze_train_opts *now) {
    static const char *const free_names[] = {"workers", "save_every"};
    for (size_t i = 0; i < ADZE_COUNT(free_names); i++) {
        if (strcmp(f->name, free_names[i]) == 0) {
            return true;
        }
    }
    /* Where an average begins at three quarters of the epochs, or snapshots share them, more of them would move what was already done. */
    const bool shares = now->snapshots > 0 || (now->average == ADZE_AVERAGE_SWA && now->swa_start < 0);
    return strcmp(f->name, "epochs") == 0 && now->epochs >= then->epochs && !shares;
}

static int compare_options(adze_ctx *ctx, const char *file, const adze_train_opts *then, const adze_train_opts *now) {
    for (const adze_field *f = adze_train_fields(); f->name != NULL; f++) {
        char a[ADZE_OPTION_TEXT] = "", b[ADZE_OPTION_TEXT] = "";
        if (adze_field_print(f, then, a, sizeof a) < 0 || adze_field_print(f, now, b, sizeof b) < 0) {
            return adze_fail(ctx, ADZE_EBUG, "option %s cannot be printed", f->name);
        }
        if (strcmp(a, b) != 0 && !may_differ(f, then, now)) {
            return adze_fail(ctx, ADZE_EARG,
                             "cannot resume from '%s': option %s was %s and is now %s; give the old value%s, or train anew in another folder", file,
                             f->name, a, b, strcmp(f->name, "epochs") == 0 ? " or a larger one" : "");
        }
    }
    return ADZE_OK;
}

int adze_options_match(adze_ctx *ctx, const char *json, const char *file, const adze_train_opts *ours) {
    static const char *const skip[] = {NULL};
    adze_arena arena = {.ctx = ctx};
    adze_text faults = {.ctx = ctx};
    adze_tree *map = NULL;
    adze_train_opts then;
    int st = adze_fields_default(adze_train_fields(), &then);
    if (st == ADZE_OK) {
        st = adze_json_parse(&arena, json, strlen(json), file, &map);
    }
    if (st == ADZE_OK) {
        int bad = adze_tree_fields(ctx, map, adze_train_fields(), &then, file, "the options", skip, &faults);
        st = finish_faults(ctx, &faults, bad);
    }
    adze_arena_free(&arena);
    return st == ADZE_OK ? compare_options(ctx, file, &then, ours) : st;
}
