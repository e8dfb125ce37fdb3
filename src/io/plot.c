/* Plots of trainings: axes with round ticks, lines, a legend; drawn on a canvas, so that SVG and PNG look alike. */
#include "adze/io.h"
#include "io/canvas.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_CHARTS = 16, MAX_TICKS = 8, MAX_DECIMALS = 6 };

static const double PLOT_W = 640, PLOT_H = 320, SURFACE_H = 560, LEFT = 60, RIGHT = 20, TOP = 48, BOTTOM = 40;
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
    double top, height;
    axis x, y;
    const double *box; /* lines end at its edge; NULL: everywhere */
} frame;

static double frame_x(const frame *f, double v) {
    return LEFT + (v - f->x.lo) / (f->x.hi - f->x.lo) * (PLOT_W - LEFT - RIGHT);
}

static double frame_y(const frame *f, double v) {
    return f->top + f->height - BOTTOM - (v - f->y.lo) / (f->y.hi - f->y.lo) * (f->height - TOP - BOTTOM);
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
    if (f->box != NULL) {
        x0 = c->box[0], x1 = c->box[1], y0 = c->box[2], y1 = c->box[3];
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

static bool inside(const frame *f, double x, double y) {
    return f->box == NULL || (x >= f->box[0] && x <= f->box[1] && y >= f->box[2] && y <= f->box[3]);
}

/* The part of a segment that lies in the box (Liang and Barsky 1984); false: none. */
static bool clip_segment(const double *box, double p[4]) {
    const double dx = p[2] - p[0], dy = p[3] - p[1], by[4] = {-dx, dx, -dy, dy};
    const double room[4] = {p[0] - box[0], box[1] - p[0], p[1] - box[2], box[3] - p[1]};
    double from = 0, to = 1;
    for (int i = 0; i < 4; i++) {
        if (by[i] < 0) {
            from = fmax(from, room[i] / by[i]);
        } else if (by[i] > 0) {
            to = fmin(to, room[i] / by[i]);
        } else if (room[i] < 0) {
            return false;
        }
    }
    p[2] = p[0] + to * dx, p[3] = p[1] + to * dy;
    p[0] += from * dx, p[1] += from * dy;
    return from < to;
}

static void draw_line(adze_canvas *c, const frame *f, const adze_line *l, uint32_t rgb) {
    int64_t last = -1;
    for (int64_t i = 0; i < l->n; i++) {
        if (!point_ok(l, i)) {
            continue;
        }
        if (last >= 0) {
            double p[4] = {l->x[last], l->y[last], l->x[i], l->y[i]};
            if (f->box == NULL || clip_segment(f->box, p)) {
                adze_canvas_line(c, frame_x(f, p[0]), frame_y(f, p[1]), frame_x(f, p[2]), frame_y(f, p[3]), rgb, 1.5);
            }
        }
        if (inside(f, l->x[i], l->y[i])) { /* a round dot */
            adze_canvas_line(c, frame_x(f, l->x[i]), frame_y(f, l->y[i]), frame_x(f, l->x[i]), frame_y(f, l->y[i]), rgb, f->box ? 2.6 : 4);
        }
        last = i;
    }
}

/* -- contour lines: in each cell of the grid, between the points where its edges cross a level (marching squares) -------------------------------- */

static void contour_cell(adze_canvas *c, const frame *f, const adze_chart *s, int64_t i, int64_t k, double level, uint32_t rgb) {
    static const int corners[5][2] = {{0, 0}, {1, 0}, {1, 1}, {0, 1}, {0, 0}};
    const double dx = (s->box[1] - s->box[0]) / (double)(s->side - 1), dy = (s->box[3] - s->box[2]) / (double)(s->side - 1);
    double x[4], y[4];
    int n = 0;
    for (int e = 0; e < 4; e++) {
        const int *a = corners[e], *b = corners[e + 1];
        const double va = s->surface[(k + a[1]) * s->side + i + a[0]], vb = s->surface[(k + b[1]) * s->side + i + b[0]];
        if ((va < level) != (vb < level)) {
            const double t = (level - va) / (vb - va);
            x[n] = s->box[0] + dx * ((double)i + a[0] + t * (b[0] - a[0]));
            y[n++] = s->box[2] + dy * ((double)k + a[1] + t * (b[1] - a[1]));
        }
    }
    for (int e = 0; e + 1 < n; e += 2) {
        adze_canvas_line(c, frame_x(f, x[e]), frame_y(f, y[e]), frame_x(f, x[e + 1]), frame_y(f, y[e + 1]), rgb, 0.8);
    }
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int draw_contours(adze_canvas *c, const frame *f, const adze_chart *s) {
    enum { LEVELS = 16 };
    const int64_t n = s->side * s->side;
    double *sorted = adze_alloc(c->ctx, n, sizeof *sorted);
    if (sorted == NULL) {
        return ADZE_ENOMEM;
    }
    memcpy(sorted, s->surface, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, ascending);
    for (int l = 1; l < LEVELS; l++) {
        const uint32_t shade = (uint32_t)(0x90 + 3 * l), rgb = shade << 16 | shade << 8 | (shade + 0x10); /* lower: darker */
        for (int64_t i = 0; i < (s->side - 1) * (s->side - 1); i++) {
            contour_cell(c, f, s, i % (s->side - 1), i / (s->side - 1), sorted[n * l / LEVELS], rgb);
        }
    }
    adze_free(c->ctx, sorted);
    return ADZE_OK;
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
    double height = 0;
    int st = ADZE_OK;
    for (int i = 0; i < n; i++) {
        height += charts[i].side > 0 ? SURFACE_H : PLOT_H;
    }
    TRY(adze_canvas_open(&c, ctx, PLOT_W, height, svg));
    frame f = {.top = 0};
    for (int i = 0; i < n && st == ADZE_OK; i++, f.top += f.height) {
        f.height = charts[i].side > 0 ? SURFACE_H : PLOT_H;
        f.box = charts[i].side > 0 ? charts[i].box : NULL;
        if (!frame_fit(&f, &charts[i])) {
            adze_canvas_text(&c, PLOT_W / 2, f.top + f.height / 2, ADZE_ANCHOR_MIDDLE, INK, "no data yet");
        }
        for (int k = 0; charts[i].low != NULL && k < charts[i].nlines; k++) {
            draw_band(&c, &f, &charts[i].low[k], &charts[i].high[k], palette[(size_t)k % ADZE_COUNT(palette)]);
        }
        draw_axes(&c, &f, &charts[i]);
        st = charts[i].side > 0 ? draw_contours(&c, &f, &charts[i]) : ADZE_OK;
        for (int k = 0; k < charts[i].nlines; k++) {
            draw_line(&c, &f, &charts[i].lines[k], palette[(size_t)k % ADZE_COUNT(palette)]);
        }
        if (charts[i].x_names == NULL) {
            draw_legend(&c, &f, &charts[i]);
        }
    }
    st = st == ADZE_OK ? adze_canvas_save(&c, path) : st;
    adze_canvas_close(&c);
    return st;
}

int adze_findings_plot(adze_ctx *ctx, const char *path, const adze_findings *f) {
    adze_line lines[ADZE_COUNT(palette)];
    if (f->ntracks < 1 || f->ntracks > (int)ADZE_COUNT(palette)) {
        return adze_fail(ctx, ADZE_EARG, "%d curves cannot be drawn: 1 to %zu can be told apart", f->ntracks, ADZE_COUNT(palette));
    }
    for (int i = 0; i < f->ntracks; i++) {
        lines[i] = (adze_line){f->tracks[i].name, f->tracks[i].x, f->tracks[i].y, f->tracks[i].n};
    }
    adze_chart c = {.title = f->title, .x_label = f->x_label ? f->x_label : "", .y_label = f->y_label ? f->y_label : ""};
    c.lines = lines, c.nlines = f->ntracks, c.side = f->side, c.surface = f->surface;
    memcpy(c.box, f->box, sizeof c.box);
    return adze_chart_write(ctx, path, &c, 1);
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
