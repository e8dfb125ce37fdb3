/* Probes that look at a training while it runs. */
#include "cli/watch.h"

#include "cli/findings.h"

enum { EXAMPLES = 1024 };

int cli_watch_check(cli *c, const cli_watch *w) {
    const adze_diag_subject nobody = {.model = NULL};
    adze_diag_watch *trial = NULL;
    adze_diag_opts o;
    TRY(adze_fields_default(adze_diag_fields(), &o));
    const int status = adze_diag_watch_new(c->ctx, w->what, &nobody, &o, &trial);
    adze_diag_watch_free(trial);
    return status;
}

static int look(cli_watch *w, int64_t step, const cli_rundir *run, cli_progress *p) {
    char *lines, *warning, path[1024];
    TRY(cli_rundir_file(run, "diag.jsonl", path, sizeof(path)));
    TRY(adze_diag_watch_look(w->w, step, &lines, &warning));
    const int status = adze_append_file(w->c->ctx, path, lines);
    for (char *line = warning, *end; line && (end = strchr(line, '\n')); line = end + 1) {
        *end = 0;
        cli_progress_say(p, "diag   %s", line);
    }
    adze_text_free(w->c->ctx, lines);
    adze_text_free(w->c->ctx, warning);
    return status;
}

/* What earlier looks at this run told is known again, and those after its checkpoint are forgotten: they come a second time. */
static int go_on(cli_watch *w, int64_t step, const cli_rundir *run, bool *looked) {
    char path[1024], *kept;
    void *lines;
    int64_t n;
    TRY(cli_rundir_file(run, "diag.jsonl", path, sizeof(path)));
    *looked = false;
    if (!adze_path_exists(w->c->ctx, path)) {
        return ADZE_OK;
    }
    TRY(adze_read_file(w->c->ctx, path, (int64_t)1 << 32, &lines, &n));
    int status = adze_diag_watch_resume(w->w, lines, step, &kept, looked);
    if (status == ADZE_OK) {
        *looked = *looked || (kept[0] && step % w->every != 0);
        status = cli_rundir_write(run, "diag.jsonl", kept);
        adze_text_free(w->c->ctx, kept);
    }
    adze_free(w->c->ctx, lines);
    return status;
}

int cli_watch_start(cli_watch *w, cli *c, adze_trainer *t, const cli_rundir *run, cli_progress *p) {
    const int64_t n = t->ntrain < EXAMPLES ? t->ntrain : EXAMPLES;
    if (!w->what[0]) {
        return ADZE_OK;
    }
    w->c = c;
    TRY(adze_fields_default(adze_diag_fields(), &w->o));
    w->o.dtype = adze_train_dtype(&t->o) == ADZE_F64 ? 0 : 1;
    w->o.batch = n < w->o.batch ? n : w->o.batch;
    TRY(cli_examples(c, t->model, t->data, t->ids, n, adze_train_dtype(&t->o), &w->x, &w->labels));
    const adze_diag_subject s = {.model = t->model, .store = t->store, .x = w->x, .labels = w->labels};
    TRY(adze_diag_watch_new(c->ctx, w->what, &s, &w->o, &w->w));
    bool looked;
    TRY(go_on(w, adze_trainer_step(t), run, &looked));
    return looked ? ADZE_OK : look(w, adze_trainer_step(t), run, p);
}

int cli_watch_step(cli_watch *w, int64_t step, const cli_rundir *run, cli_progress *p) {
    return w->w && step % w->every == 0 ? look(w, step, run, p) : ADZE_OK;
}

void cli_watch_free(cli_watch *w) {
    adze_diag_watch_free(w->w);
    adze_tensor_free(&w->x);
    adze_tensor_free(&w->labels);
}
