/* Plots of trainings: axes with round ticks, lines, a legend; drawn on a canvas, so that SVG and PNG look alike. */
#include "adze/io.h"
#include "io/canvas.h"

#include <math.h>
#include <stdio.h>

enum { MAX_CHARTS = 16, MAX_TICKS = 8, MAX_DECIMALS = 6 };

static const double PLOT_W = 640, PLOT_H = 320, LEFT = 60, RIGHT = 20, TOP = 48, BOTTOM = 40;
static const uint32_t INK = 0x222222, GRID = 0xdddddd;
static const uint32_t palette[] = {0x0072b2, 0xd55e00, 0x009e73, 0xcc79a7, 0xe69f00, 0x56b4e9}; /* Okabe and Ito: told apart by all eyes */

typedef struct axis {
    double lo, hi, step;
    int decimals; /* of tick labels; -1: shortest form */
} axis;

/* The axis that covers [lo, hi] with at most MAX_TICKS steps of 1, 2 or 5 times a power of ten. */
static axis axis_make(double lo, double hi) {
    if (!(hi > lo)) {
        double d = fabs(lo) > 0 ? fabs(lo) * 0.1 : 1;
        lo -= d;
        hi += d;
    }
    double raw = (hi - lo) / MAX_TICKS, e = floor(log10(raw)), base = pow(10, e), m = raw / base;
    double mult = m <= 1 ? 1 : m <= 2 ? 2 : m <= 5 ? 5 : 10;
    axis a = {.step = mult * base};
    a.lo = floor(lo / a.step + 1e-9) * a.step;
    a.hi = ceil(hi / a.step - 1e-9) * a.step;
    int exponent = (int)e + (mult >= 10);
    a.decimals = fabs(a.hi) >= 1e7 || fabs(a.lo) >= 1e7 || exponent < -MAX_DECIMALS ? -1 : exponent < 0 ? -exponent : 0;
    return a;
}

/* Three digits and an exponent, without the locale's comma. */
static void scientific(double v, char *out, size_t n) {
    int e = v == 0 ? 0 : (int)floor(log10(fabs(v)) + 1e-9);
    long long m = llround(fabs(v) / pow(10, e) * 100);
    int digits = m % 100 == 0 ? 0 : m % 10 == 0 ? 1 : 2;
    long long tail = digits == 1 ? m / 10 % 10 : m % 100;
    if (digits == 0) {
        snprintf(out, n, "%s%llde%d", v < 0 ? "-" : "", m / 100, e);
    } else {
        snprintf(out, n, "%s%lld.%0*llde%d", v < 0 ? "-" : "", m / 100, digits, tail, e);
    }
}

static void tick_label(const axis *a, double v, char *out, size_t n) {
    if (a->decimals < 0 || a->decimals > MAX_DECIMALS) {
        scientific(v, out, n);
        return;
    }
    long long scale = 1;
    for (int i = 0; i < a->decimals; i++) {
        scale *= 10;
    }
    long long k = llround(v * (double)scale), b = k < 0 ? -k : k;
    if (a->decimals == 0) {
        snprintf(out, n, "%lld", k);
    } else {
        snprintf(out, n, "%s%lld.%0*lld", k < 0 ? "-" : "", b / scale, a->decimals, b % scale);
    }
}

typedef struct frame { /* where a chart lies, and its axes */
    double top;
    axis x, y;
} frame;

static double frame_x(const frame *f, double v) {
    return LEFT + (v - f->x.lo) / (f->x.hi - f->x.lo) * (PLOT_W - LEFT - RIGHT);
}

static double frame_y(const frame *f, double v) {
    return f->top + PLOT_H - BOTTOM - (v - f->y.lo) / (f->y.hi - f->y.lo) * (PLOT_H - TOP - BOTTOM);
}

static bool point_ok(const adze_line *l, int64_t i) {
    return isfinite(l->x[i]) && isfinite(l->y[i]);
}

static bool frame_fit(frame *f, const adze_chart *c) {
    double x0 = INFINITY, x1 = -INFINITY, y0 = INFINITY, y1 = -INFINITY;
    const adze_line *const parts[] = {c->lines, c->low, c->high};
    for (int k = 0; k < c->nlines * (c->low != NULL ? 3 : 1); k++) {
        const adze_line *l = &parts[k / c->nlines][k % c->nlines];
        for (int64_t i = 0; i < l->n; i++) {
            if (point_ok(l, i)) {
                x0 = fmin(x0, l->x[i]);
                x1 = fmax(x1, l->x[i]);
                y0 = fmin(y0, l->y[i]);
                y1 = fmax(y1, l->y[i]);
            }
        }
    }
    bool any = x0 <= x1;
    f->x = any ? axis_make(x0, x1) : axis_make(0, 1);
    f->y = any ? axis_make(y0, y1) : axis_make(0, 1);
    if (c->x_names != NULL) {
        f->x = (axis){.lo = 0.5, .hi = c->nx_names + 0.5, .step = 1};
    }
    return any;
}

static void draw_axes(adze_canvas *c, const frame *f, const adze_chart *chart) {
    char label[64];
    double left = frame_x(f, f->x.lo), right = frame_x(f, f->x.hi), bottom = frame_y(f, f->y.lo), top = frame_y(f, f->y.hi);
    int nx = (int)llround((f->x.hi - f->x.lo) / f->x.step), ny = (int)llround((f->y.hi - f->y.lo) / f->y.step);
    for (int i = 0; i < chart->nx_names; i++) { /* as much of a name as its place holds */
        snprintf(label, sizeof label, "%.*s", (int)((right - left) / chart->nx_names / ADZE_GLYPH_STEP) - 1, chart->x_names[i]);
        adze_canvas_text(c, frame_x(f, i + 1), bottom + 14, ADZE_ANCHOR_MIDDLE, INK, label);
    }
    for (int i = 0; i <= nx && chart->x_names == NULL; i++) {
        double v = f->x.lo + i * f->x.step, at = frame_x(f, v);
        adze_canvas_line(c, at, bottom, at, top, GRID, 0.5);
        tick_label(&f->x, v, label, sizeof label);
        adze_canvas_text(c, at, bottom + 14, ADZE_ANCHOR_MIDDLE, INK, label);
    }
    for (int i = 0; i <= ny; i++) {
        double v = f->y.lo + i * f->y.step, at = frame_y(f, v);
        adze_canvas_line(c, left, at, right, at, GRID, 0.5);
        tick_label(&f->y, v, label, sizeof label);
        adze_canvas_text(c, left - 6, at + 4, ADZE_ANCHOR_END, INK, label);
    }
    adze_canvas_line(c, left, bottom, right, bottom, INK, 1);
    adze_canvas_line(c, left, bottom, left, top, INK, 1);
    adze_canvas_text(c, (left + right) / 2, bottom + 30, ADZE_ANCHOR_MIDDLE, INK, chart->x_label);
    adze_canvas_text(c, left, top - 8, ADZE_ANCHOR_MIDDLE, INK, chart->y_label);
    adze_canvas_text(c, (left + right) / 2, f->top + 18, ADZE_ANCHOR_MIDDLE, INK, chart->title);
}

static void draw_line(adze_canvas *c, const frame *f, const adze_line *l, uint32_t rgb) {
    int64_t last = -1;
    for (int64_t i = 0; i < l->n; i++) {
        if (!point_ok(l, i)) {
            continue;
        }
        double x = frame_x(f, l->x[i]), y = frame_y(f, l->y[i]);
        if (last >= 0) {
            adze_canvas_line(c, frame_x(f, l->x[last]), frame_y(f, l->y[last]), x, y, rgb, 1.5);
        }
        adze_canvas_line(c, x, y, x, y, rgb, 4); /* a round dot */
        last = i;
    }
}

static void draw_legend(adze_canvas *c, const frame *f, const adze_chart *chart) {
    const double mark = 16, gap = 14;
    double x = frame_x(f, f->x.hi), y = frame_y(f, f->y.hi) - 8;
    for (int k = chart->nlines - 1; k >= 0; k--) {
        double width = (double)strlen(chart->lines[k].name) * ADZE_GLYPH_STEP;
        adze_canvas_text(c, x - width, y, ADZE_ANCHOR_START, INK, chart->lines[k].name);
        adze_canvas_line(c, x - width - 6 - mark, y - 4, x - width - 6, y - 4, palette[(size_t)k % ADZE_COUNT(palette)], 2);
        x -= width + 6 + mark + gap;
    }
}

/* Filled by upright strokes in the line's colour, four fifths of it white. */
static void draw_band(adze_canvas *c, const frame *f, const adze_line *low, const adze_line *high, uint32_t rgb) {
    const uint32_t r = rgb >> 16, g = rgb >> 8 & 0xff, b = rgb & 0xff, pale = ((r / 5 + 204) << 16) + ((g / 5 + 204) << 8) + b / 5 + 204;
    for (int64_t i = 0; i + 1 < low->n; i++) {
        if (!point_ok(low, i) || !point_ok(high, i) || !point_ok(low, i + 1) || !point_ok(high, i + 1)) {
            continue;
        }
        const double from = frame_x(f, low->x[i]), to = frame_x(f, low->x[i + 1]);
        for (double x = from; x <= to; x += 0.5) {
            const double share = to > from ? (x - from) / (to - from) : 0;
            adze_canvas_line(c, x, frame_y(f, low->y[i] + share * (low->y[i + 1] - low->y[i])), x,
                             frame_y(f, high->y[i] + share * (high->y[i + 1] - high->y[i])), pale, 1);
        }
    }
}

static bool path_ends(const char *path, const char *end) {
    size_t n = strlen(path), m = strlen(end);
    return n > m && strcmp(path + n - m, end) == 0;
}

int adze_chart_write(adze_ctx *ctx, const char *path, const adze_chart *charts, int n) {
    bool svg = path_ends(path, ".svg");
    if (!svg && !path_ends(path, ".png")) {
        return adze_fail(ctx, ADZE_EARG, "'%s': a plot's name ends in .svg or .png", path);
    }
    if (n < 1 || n > MAX_CHARTS) {
        return adze_fail(ctx, ADZE_EARG, "a plot holds 1 to %d charts, not %d", MAX_CHARTS, n);
    }
    adze_canvas c;
    TRY(adze_canvas_open(&c, ctx, PLOT_W, PLOT_H * n, svg));
    for (int i = 0; i < n; i++) {
        frame f = {.top = PLOT_H * i};
        if (!frame_fit(&f, &charts[i])) {
            adze_canvas_text(&c, PLOT_W / 2, f.top + PLOT_H / 2, ADZE_ANCHOR_MIDDLE, INK, "no data yet");
        }
        for (int k = 0; charts[i].low != NULL && k < charts[i].nlines; k++) {
            draw_band(&c, &f, &charts[i].low[k], &charts[i].high[k], palette[(size_t)k % ADZE_COUNT(palette)]);
        }
        draw_axes(&c, &f, &charts[i]);
        for (int k = 0; k < charts[i].nlines; k++) {
            draw_line(&c, &f, &charts[i].lines[k], palette[(size_t)k % ADZE_COUNT(palette)]);
        }
        if (charts[i].x_names == NULL) {
            draw_legend(&c, &f, &charts[i]);
        }
    }
    int st = adze_canvas_save(&c, path);
    adze_canvas_close(&c);
    return st;
}

int adze_history_plot(adze_ctx *ctx, const char *path, const adze_epoch_stats *stats, int64_t n) {
    enum { EPOCH, LOSS, VAL_LOSS, ACC, VAL_ACC, COLUMNS };
    double *v = adze_alloc(ctx, n, COLUMNS * sizeof *v);
    if (v == NULL) {
        return ADZE_ENOMEM;
    }
    for (int64_t i = 0; i < n; i++) {
        v[EPOCH * n + i] = (double)(stats[i].epoch + 1);
        v[LOSS * n + i] = stats[i].loss;
        v[VAL_LOSS * n + i] = stats[i].val_loss;
        v[ACC * n + i] = 100 * stats[i].acc;
        v[VAL_ACC * n + i] = 100 * stats[i].val_acc;
    }
    const adze_line loss[] = {{"training", v, v + LOSS * n, n}, {"validation", v, v + VAL_LOSS * n, n}};
    const adze_line acc[] = {{"training", v, v + ACC * n, n}, {"validation", v, v + VAL_ACC * n, n}};
    const adze_chart charts[] = {{.title = "Loss", .x_label = "epoch", .y_label = "loss", .lines = loss, .nlines = 2},
                                 {.title = "Accuracy", .x_label = "epoch", .y_label = "%", .lines = acc, .nlines = 2}};
    int st = adze_chart_write(ctx, path, charts, 2);
    adze_free(ctx, v);
    return st;
}
