/* The picture of an experiment: each arm's curve over the epochs with a band over the seeds; without epochs, its mean and interval. */
#include "cli/lab.h"

#include "base/stats.h"

#include <math.h>

typedef struct drawing {
    adze_line line[LAB_ARMS], low[LAB_ARMS], high[LAB_ARMS];
    const char *name[LAB_ARMS];
    char title[160], y[80];
} drawing;

/* The number of epochs that every arm and seed has; 0: there are no curves. */
static int common_epochs(const lab_exp *e) {
    int n = 0;
    for (int a = 0; a < e->main.narms; a++) {
        int longest = 0;
        for (int s = 0; s < e->nseeds; s++) {
            longest = e->main.arm[a].curve[s].n > longest ? e->main.arm[a].curve[s].n : longest;
        }
        if (longest < 2) {
            return 0;
        }
        n = longest > n ? longest : n;
    }
    return n;
}

/* A seed that ended early is left out of the epochs that it has not. */
static void curve(const lab_exp *e, int a, int epochs, double *room, drawing *d) {
    double *x = room, *mean = x + epochs, *lo = mean + epochs, *hi = lo + epochs, v[LAB_SEEDS];
    for (int i = 0; i < epochs; i++) {
        int n = 0;
        for (int s = 0; s < e->nseeds; s++) {
            const lab_curve *c = &e->main.arm[a].curve[s];
            if (i < c->n && isfinite(c->v[i])) {
                v[n++] = c->v[i];
            }
        }
        const adze_interval in = adze_t_interval(v, n);
        x[i] = i + 1;
        mean[i] = adze_stats_mean(v, n);
        lo[i] = in.lo;
        hi[i] = in.hi;
    }
    d->line[a] = (adze_line){.name = e->main.arm[a].name, .x = x, .y = mean, .n = epochs};
    d->low[a] = (adze_line){.name = "", .x = x, .y = lo, .n = epochs};
    d->high[a] = (adze_line){.name = "", .x = x, .y = hi, .n = epochs};
}

static void dots(const lab_exp *e, int a, double *room, drawing *d) {
    const double *v = e->main.arm[a].value[0];
    const adze_interval in = adze_t_interval(v, e->nseeds);
    const double at[3] = {in.lo, adze_stats_mean(v, e->nseeds), in.hi};
    for (int i = 0; i < 3; i++) {
        room[i] = a + 1;
        room[3 + i] = at[i];
    }
    d->line[a] = (adze_line){.name = "", .x = room, .y = room + 3, .n = 3};
    d->name[a] = e->main.arm[a].name;
}

int lab_draw(cli *c, const lab_opts *o, const lab_exp *e) {
    const int epochs = common_epochs(e), arms = e->main.narms, size = epochs ? 4 * epochs : 6;
    char path[LAB_PATH];
    double *room = adze_alloc(c->ctx, (int64_t)arms * size, sizeof(*room));
    drawing *d = adze_alloc(c->ctx, 1, sizeof(*d));
    int status = room && d ? lab_record_path(o, e->name, ".png", path, sizeof(path)) : ADZE_ENOMEM;
    if (status == ADZE_OK) {
        for (int a = 0; a < arms; a++) {
            if (epochs) {
                curve(e, a, epochs, room + a * size, d);
            } else {
                dots(e, a, room + a * size, d);
            }
        }
        snprintf(d->title, sizeof(d->title), "%s%s", e->name, e->nseeds > 1 ? ": mean and 95 % interval over seeds" : "");
        snprintf(d->y, sizeof(d->y), "%.30s", e->main.measure[0].text);
        char *word = strchr(d->y, ' ');
        word = word && strncmp(d->y, "first", 5) == 0 ? strchr(word + 1, ' ') : word;
        if (word && epochs) { /* the column alone, without "last" before it and "<= 5" behind */
            word[1 + strcspn(word + 1, " ")] = 0;
        }
        const adze_chart chart = {.title = d->title,
                                  .x_label = epochs ? "epoch" : "arm",
                                  .y_label = epochs && word ? word + 1 : d->y,
                                  .lines = d->line,
                                  .nlines = arms,
                                  .x_names = epochs ? NULL : d->name,
                                  .nx_names = epochs ? 0 : arms,
                                  .low = epochs && e->nseeds > 1 ? d->low : NULL,
                                  .high = d->high};
        status = adze_chart_write(c->ctx, path, &chart, 1);
    }
    adze_free(c->ctx, room);
    adze_free(c->ctx, d);
    return status;
}
