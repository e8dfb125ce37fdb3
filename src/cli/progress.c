/* Progress on stderr: one redrawn line on a terminal, one plain line per epoch in a log, JSON lines or nothing on request. */
#include "cli/progress.h"

#include <math.h>
#include <stdlib.h>

enum { BAR_WIDTH = 24 };
static const double REDRAW_SECONDS = 0.1;

void cli_progress_start(cli_progress *p, cli *c, int64_t epochs) {
    *p = (cli_progress){.epochs = epochs, .mode = c->global.progress};
    if (c->global.quiet) {
        p->mode = CLI_PROGRESS_NONE;
    } else if (p->mode == CLI_PROGRESS_AUTO) {
        p->mode = cli_is_tty(stderr) ? CLI_PROGRESS_BAR : CLI_PROGRESS_PLAIN;
    }
    p->color = p->mode == CLI_PROGRESS_BAR && !getenv("NO_COLOR");
    p->epoch_start = adze_now();
}

/* Losses below 1e-3 in exponent form, as people expect. */
static const char *number(char *out, size_t n, double v) {
    snprintf(out, n, v != 0 && fabs(v) < 1e-3 ? "%.4e" : "%.4f", v);
    return out;
}

static void clear_line(const cli_progress *p) {
    if (p->mode == CLI_PROGRESS_BAR) {
        fputs("\r\033[K", stderr);
    }
}

void cli_progress_end(cli_progress *p) {
    clear_line(p);
    fflush(stderr);
}

void cli_progress_step(cli_progress *p, int64_t epoch, int64_t step, int64_t steps, int64_t batch, double loss, double lr) {
    double now = adze_now();
    if (epoch != p->epoch) { /* a resumed epoch starts in its middle */
        p->epoch = epoch;
        p->epoch_start = now;
        p->smooth_loss = loss;
        p->first_step = step;
    }
    p->smooth_loss += 0.05 * (loss - p->smooth_loss);
    if (p->mode != CLI_PROGRESS_BAR || (now - p->drawn < REDRAW_SECONDS && step < steps)) {
        return;
    }
    p->drawn = now;
    double done = (double)(step - p->first_step), rate = done > 0 ? done / (now - p->epoch_start) : 0;
    double left = rate > 0 ? (double)(steps - step) / rate : 0;
    char line[512], text[32], bar[BAR_WIDTH * 3 + 1] = "";
    for (int i = 0; i < BAR_WIDTH; i++) {
        strcat(bar, i * steps < step * BAR_WIDTH ? "━" : "─");
    }
    int n = snprintf(line, sizeof(line), "epoch %2lld/%lld %s %3.0f%% %lld:%02lld", (long long)epoch, (long long)p->epochs, bar,
                     100.0 * (double)step / (double)steps, (long long)left / 60, (long long)left % 60);
    /* Each part is shown if the terminal is wide enough; the bar's glyphs take three bytes and one column. */
    char parts[3][48];
    snprintf(parts[0], sizeof(parts[0]), "  loss %s", number(text, sizeof(text), p->smooth_loss));
    snprintf(parts[1], sizeof(parts[1]), "  %.0f img/s", rate * (double)batch);
    snprintf(parts[2], sizeof(parts[2]), "  lr %.1e", lr);
    int columns = n - 2 * BAR_WIDTH, width = cli_width();
    for (int i = 0; i < 3; i++) {
        int len = (int)strlen(parts[i]);
        if (columns + len >= width) {
            break;
        }
        memcpy(line + n, parts[i], (size_t)len + 1);
        n += len;
        columns += len;
    }
    clear_line(p);
    fputs(line, stderr);
    fflush(stderr);
}

/* "  val 0.2552/0.9192 *best" or "val_loss=0.2552 val_acc=0.9192"; nothing when no examples are held out. */
static const char *validation(char *out, size_t n, const cli_progress *p, const adze_epoch_stats *s) {
    char text[32];
    out[0] = 0;
    if (isfinite(s->error)) {
        char other[32];
        snprintf(out, n, " error=%s val_error=%s", number(text, sizeof(text), s->error), number(other, sizeof(other), s->val_error));
        return out;
    }
    if (isfinite(s->val_acc)) {
        bool bar = p->mode == CLI_PROGRESS_BAR;
        snprintf(out, n, bar ? "  val %s/%.4f%s" : " val_loss=%s val_acc=%.4f", number(text, sizeof(text), s->val_loss), s->val_acc,
                 bar && s->best ? " *best" : "");
    }
    return out;
}

void cli_progress_epoch(cli_progress *p, const adze_epoch_stats *s) {
    char a[32], b[96], d[32], e[32], f[32], g[32];
    if (p->mode == CLI_PROGRESS_BAR) {
        clear_line(p);
        const char *on = p->color && s->best ? "\033[1m" : "", *off = p->color && s->best ? "\033[0m" : "";
        fprintf(stderr, "%s%3lld  train %s/%.4f%s%s  %.1f s  wait %.0f%%\n", on, (long long)s->epoch + 1, number(a, sizeof(a), s->loss), s->acc,
                validation(b, sizeof(b), p, s), off, s->seconds, 100 * s->wait_share);
    } else if (p->mode == CLI_PROGRESS_PLAIN) {
        fprintf(stderr, "epoch=%lld step=%lld loss=%s acc=%.4f%s lr=%.3g time=%.1fs img_s=%.0f wait=%.0f%%%s\n", (long long)s->epoch + 1,
                (long long)s->step, number(a, sizeof(a), s->loss), s->acc, validation(b, sizeof(b), p, s), s->lr, s->seconds, s->items_per_s,
                100 * s->wait_share, s->best && isfinite(s->val_acc) ? " best" : "");
    } else if (p->mode == CLI_PROGRESS_JSON) {
        fprintf(
            stderr,
            "{\"schema\":1,\"epoch\":%lld,\"step\":%lld,\"loss\":%s,\"acc\":%.6f,\"val_loss\":%s,\"val_acc\":%s,\"error\":%s,\"val_error\":%s,\"lr\":%.9g}\n",
            (long long)s->epoch + 1, (long long)s->step, cli_json_number(a, sizeof(a), s->loss), s->acc, cli_json_number(d, sizeof(d), s->val_loss),
            cli_json_number(e, sizeof(e), s->val_acc), cli_json_number(f, sizeof(f), s->error), cli_json_number(g, sizeof(g), s->val_error), s->lr);
    }
}

void cli_progress_say(cli_progress *p, const char *fmt, ...) {
    if (p->mode == CLI_PROGRESS_NONE || p->mode == CLI_PROGRESS_JSON) {
        return;
    }
    clear_line(p);
    va_list ap;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
}
