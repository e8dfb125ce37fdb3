/* The canvas: lines and text as SVG, or as pixels with lines smoothed by their distance to each pixel's centre. */
#include "io/canvas.h"

#include "adze/io.h"

#include <math.h>

int adze_canvas_open(adze_canvas *c, adze_ctx *ctx, double width, double height, bool svg) {
    *c = (adze_canvas){.ctx = ctx, .width = width, .height = height, .svg = svg, .text = {.ctx = ctx}};
    if (svg) {
        int w = (int)width, h = (int)height;
        adze_text_add(&c->text,
                      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
                      "viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" font-size=\"11\">\n"
                      "<rect width=\"%d\" height=\"%d\" fill=\"#ffffff\"/>\n",
                      w, h, w, h, w, h);
        return ADZE_OK;
    }
    const int64_t dims[3] = {(int64_t)height * ADZE_RASTER_ZOOM, (int64_t)width * ADZE_RASTER_ZOOM, 3};
    TRY(adze_tensor_new(ctx, adze_type_make(ADZE_U8, 3, dims), &c->image));
    memset(adze_tensor_data(&c->image), 255, (size_t)(dims[0] * dims[1] * dims[2]));
    return ADZE_OK;
}

void adze_canvas_close(adze_canvas *c) {
    adze_text_drop(&c->text);
    adze_tensor_free(&c->image);
}

/* Hundredths of a unit, without the locale's decimal comma. */
static void svg_number(adze_text *t, const char *name, double v) {
    long long h = llround(v * 100), a = h < 0 ? -h : h;
    adze_text_add(t, " %s=\"%s%lld.%02lld\"", name, h < 0 ? "-" : "", a / 100, a % 100);
}

static void svg_escaped(adze_text *t, const char *s) {
    for (; *s != 0; s++) {
        const char *e = *s == '<' ? "&lt;" : *s == '>' ? "&gt;" : *s == '&' ? "&amp;" : *s == '"' ? "&quot;" : NULL;
        if (e != NULL) {
            adze_text_add(t, "%s", e);
        } else {
            adze_text_put(t, (unsigned char)*s < ' ' ? "?" : s, 1);
        }
    }
}

static void blend(adze_canvas *c, int64_t x, int64_t y, uint32_t rgb, double cover) {
    if (x < 0 || y < 0 || x >= c->image.dims[1] || y >= c->image.dims[0] || cover <= 0) {
        return;
    }
    uint8_t *p = (uint8_t *)adze_tensor_data(&c->image) + (y * c->image.dims[1] + x) * 3;
    double a = cover < 1 ? cover : 1;
    for (int i = 0; i < 3; i++) {
        double ink = (double)(rgb >> (16 - 8 * i) & 255u);
        p[i] = (uint8_t)lround(p[i] + (ink - p[i]) * a);
    }
}

static double segment_distance(double px, double py, double x0, double y0, double dx, double dy) {
    double len2 = dx * dx + dy * dy, t = len2 > 0 ? ((px - x0) * dx + (py - y0) * dy) / len2 : 0;
    t = t < 0 ? 0 : t > 1 ? 1 : t;
    return hypot(px - x0 - t * dx, py - y0 - t * dy);
}

static void raster_line(adze_canvas *c, double x0, double y0, double x1, double y1, uint32_t rgb, double width) {
    double reach = width / 2 + 1;
    int64_t from_x = (int64_t)floor(fmin(x0, x1) - reach), to_x = (int64_t)ceil(fmax(x0, x1) + reach);
    int64_t from_y = (int64_t)floor(fmin(y0, y1) - reach), to_y = (int64_t)ceil(fmax(y0, y1) + reach);
    for (int64_t y = from_y; y <= to_y; y++) {
        for (int64_t x = from_x; x <= to_x; x++) {
            double d = segment_distance((double)x + 0.5, (double)y + 0.5, x0, y0, x1 - x0, y1 - y0);
            blend(c, x, y, rgb, width / 2 + 0.5 - d);
        }
    }
}

void adze_canvas_line(adze_canvas *c, double x0, double y0, double x1, double y1, uint32_t rgb, double width) {
    if (!c->svg) {
        const double z = ADZE_RASTER_ZOOM;
        raster_line(c, x0 * z, y0 * z, x1 * z, y1 * z, rgb, width * z);
        return;
    }
    adze_text_add(&c->text, "<line");
    svg_number(&c->text, "x1", x0);
    svg_number(&c->text, "y1", y0);
    svg_number(&c->text, "x2", x1);
    svg_number(&c->text, "y2", y1);
    svg_number(&c->text, "stroke-width", width);
    adze_text_add(&c->text, " stroke=\"#%06x\" stroke-linecap=\"round\"/>\n", (unsigned)rgb);
}

static void raster_text(adze_canvas *c, double x, double y, adze_anchor anchor, uint32_t rgb, const char *s) {
    const double shift[] = {0, 0.5, 1};
    double width = (double)(strlen(s) * ADZE_GLYPH_STEP) - 1;
    int64_t left = llround((x - width * shift[anchor]) * ADZE_RASTER_ZOOM), top = llround((y - ADZE_GLYPH_H) * ADZE_RASTER_ZOOM);
    for (; *s != 0; s++, left += ADZE_GLYPH_STEP * ADZE_RASTER_ZOOM) {
        const uint8_t *rows = adze_glyph(*s);
        for (int i = 0; i < ADZE_GLYPH_H * ADZE_RASTER_ZOOM; i++) {
            for (int k = 0; k < ADZE_GLYPH_W * ADZE_RASTER_ZOOM; k++) {
                int bit = rows[i / ADZE_RASTER_ZOOM] >> (ADZE_GLYPH_W - 1 - k / ADZE_RASTER_ZOOM) & 1;
                blend(c, left + k, top + i, rgb, bit);
            }
        }
    }
}

void adze_canvas_text(adze_canvas *c, double x, double y, adze_anchor anchor, uint32_t rgb, const char *s) {
    static const char *const names[] = {"start", "middle", "end"};
    if (!c->svg) {
        raster_text(c, x, y, anchor, rgb, s);
        return;
    }
    adze_text_add(&c->text, "<text");
    svg_number(&c->text, "x", x);
    svg_number(&c->text, "y", y);
    adze_text_add(&c->text, " fill=\"#%06x\" text-anchor=\"%s\">", (unsigned)rgb, names[anchor]);
    svg_escaped(&c->text, s);
    adze_text_add(&c->text, "</text>\n");
}

int adze_canvas_save(adze_canvas *c, const char *path) {
    if (!c->svg) {
        return adze_png_write(c->ctx, path, c->image);
    }
    char *s = NULL;
    adze_text_add(&c->text, "</svg>\n");
    TRY(adze_text_finish(&c->text, &s));
    const adze_piece piece = {s, (int64_t)strlen(s)};
    int st = adze_replace_file(c->ctx, path, &piece, 1);
    adze_free(c->ctx, s);
    return st;
}
