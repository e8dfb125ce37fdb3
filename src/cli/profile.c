/* What the steps of plans cost: mean times as a table, single runs as a Chrome trace. */
#include "cli/profile.h"

#include "adze/op.h"
#include "base/tree.h"
#include "graph/plan_internal.h"

#include <stdlib.h>

int cli_profile_watch(cli_profile *p, const char *name, const adze_plan *plan, adze_session *s) {
    if (p->nparts == (int)ADZE_COUNT(p->parts)) {
        return adze_fail(p->c->ctx, ADZE_EBUG, "no room for another profile");
    }
    p->events.ctx = p->c->ctx;
    cli_profile_part *part = &p->parts[p->nparts++];
    *part = (cli_profile_part){.name = name, .plan = plan, .session = s, .nsteps = adze_plan_describe(plan).nsteps};
    part->sum = adze_alloc(p->c->ctx, part->nsteps, sizeof(*part->sum));
    part->last = adze_alloc(p->c->ctx, part->nsteps, sizeof(*part->last));
    adze_session_profile(s, true);
    return part->sum && part->last ? ADZE_OK : ADZE_ENOMEM;
}

static const char *kernel_name(const adze_pstep *s) {
    return s->kernel ? s->kernel->name : "ref";
}

static void add_event(adze_text *t, const char *name, const char *group, int thread, double from, double seconds) {
    adze_text_add(t, "%s{\"ph\":\"X\",\"pid\":1,\"tid\":%d,\"ts\":%.3f,\"dur\":%.3f,\"cat\":\"%s\",\"name\":", t->len > 0 ? ",\n" : "", thread,
                  1e6 * from, 1e6 * seconds, group);
    adze_json_string(t, name);
}

/* Steps follow each other in the plan's order; the slices of a group, which take turns, are drawn as one stretch each. */
int cli_profile_take(cli_profile *p, double from, double to) {
    p->begin = p->runs == 0 ? from : p->begin;
    char name[32];
    snprintf(name, sizeof(name), "run %lld", (long long)++p->runs);
    add_event(&p->events, name, "run", 0, from - p->begin, to - from);
    adze_text_add(&p->events, "}");
    double at = from - p->begin;
    for (int k = 0; k < p->nparts; k++) {
        cli_profile_part *part = &p->parts[k];
        TRY(adze_session_times(part->session, part->last, part->nsteps));
        for (int64_t i = 0; i < part->nsteps; i++) {
            const adze_pstep *s = &part->plan->steps[i];
            part->sum[i] += part->last[i];
            add_event(&p->events, s->name[0] ? s->name : s->op->name, part->name, 1, at, part->last[i]);
            adze_text_add(&p->events, ",\"args\":{\"step\":%lld,\"op\":\"%s\",\"kernel\":\"%s\",\"gflop\":%.6g,\"mbyte\":%.6g}}", (long long)i,
                          s->op->name, kernel_name(s), s->flops * 1e-9, s->bytes * 1e-6);
            at += part->last[i];
        }
    }
    return ADZE_OK;
}

typedef struct row {
    const cli_profile_part *part;
    int64_t step;
    double seconds;
} row;

static int longest_first(const void *a, const void *b) {
    const row *x = a, *y = b;
    return x->seconds < y->seconds ? 1 : x->seconds > y->seconds ? -1 : x->step < y->step ? -1 : x->step > y->step;
}

static void add_row(adze_text *t, const row *r, double sum) {
    enum { NAME = 22 };
    const adze_pstep *s = &r->part->plan->steps[r->step];
    const size_t len = strlen(s->name);
    char gflops[16] = "-";
    if (s->flops > 0 && r->seconds > 0) {
        snprintf(gflops, sizeof(gflops), "%.1f", s->flops / r->seconds * 1e-9);
    }
    adze_text_add(t, "%5lld %10.1f %5.1f%% %8s  %-14.14s %-9.9s %s\n", (long long)r->step, 1e6 * r->seconds, sum > 0 ? 100 * r->seconds / sum : 0,
                  gflops, s->op->name, kernel_name(s), len > NAME ? s->name + len - NAME : s->name);
}

int cli_profile_table(const cli_profile *p, bool sorted, int64_t most, adze_text *t) {
    int64_t n = 0, all = 0;
    double sum = 0;
    for (int k = 0; k < p->nparts; k++) {
        all += p->parts[k].nsteps;
    }
    row *rows = adze_alloc(p->c->ctx, all, sizeof(*rows));
    if (!rows) {
        return ADZE_ENOMEM;
    }
    for (int k = 0; k < p->nparts; k++) {
        for (int64_t i = 0; i < p->parts[k].nsteps; i++) {
            rows[n++] = (row){&p->parts[k], i, p->runs > 0 ? p->parts[k].sum[i] / (double)p->runs : 0};
            sum += rows[n - 1].seconds;
        }
    }
    if (sorted && n > 0) {
        qsort(rows, (size_t)n, sizeof(*rows), longest_first);
    }
    adze_text_add(t, "%5s %10s %6s %8s  %-14s %-9s %s\n", "step", "us", "share", "GFLOP/s", "op", "kernel", "name");
    const int64_t shown = most > 0 && most < n ? most : n;
    double rest = 0;
    for (int64_t i = 0; i < n; i++) {
        if (i < shown) {
            add_row(t, &rows[i], sum);
        } else {
            rest += rows[i].seconds;
        }
    }
    if (shown < n) {
        adze_text_add(t, "%5s %10.1f %5.1f%% %8s  %lld more steps\n", "", 1e6 * rest, sum > 0 ? 100 * rest / sum : 0, "", (long long)(n - shown));
    }
    adze_text_add(t, "%5s %10.1f %5.1f%% %8s  mean of %lld runs\n", "sum", 1e6 * sum, 100.0, "", (long long)p->runs);
    adze_free(p->c->ctx, rows);
    return ADZE_OK;
}

int cli_profile_save(cli_profile *p, const char *path) {
    adze_text t = {.ctx = p->c->ctx};
    adze_text_add(&t, "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n");
    if (p->events.s) {
        adze_text_put(&t, p->events.s, (size_t)p->events.len);
    }
    adze_text_add(&t, "\n]}\n");
    t.failed = t.failed || p->events.failed;
    char *s = NULL;
    TRY(adze_text_finish(&t, &s));
    const adze_piece piece = {s, (int64_t)strlen(s)};
    const int status = adze_replace_file(p->c->ctx, path, &piece, 1);
    adze_free(p->c->ctx, s);
    return status;
}

void cli_profile_free(cli_profile *p) {
    for (int k = 0; k < p->nparts; k++) {
        adze_session_profile(p->parts[k].session, false);
        adze_free(p->c->ctx, p->parts[k].sum);
        adze_free(p->c->ctx, p->parts[k].last);
    }
    adze_text_drop(&p->events);
    *p = (cli_profile){.c = p->c};
}
