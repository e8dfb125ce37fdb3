/* A canvas: the few drawing calls that plots need, with an SVG writer and a small rasteriser behind them. */
#ifndef ADZE_SRC_CANVAS_H
#define ADZE_SRC_CANVAS_H

#include "adze/core.h"
#include "base/base.h"

typedef enum adze_anchor { ADZE_ANCHOR_START, ADZE_ANCHOR_MIDDLE, ADZE_ANCHOR_END } adze_anchor;

typedef struct adze_canvas {
    adze_ctx *ctx;
    double width, height; /* in units; a pixel of the raster is 1 / ADZE_RASTER_ZOOM of one */
    bool svg;
    adze_text text;    /* SVG */
    adze_tensor image; /* raster: u8 (H, W, 3) */
} adze_canvas;

enum { ADZE_RASTER_ZOOM = 2, ADZE_GLYPH_W = 5, ADZE_GLYPH_H = 7, ADZE_GLYPH_STEP = 6 /* units from letter to letter */ };

int adze_canvas_open(adze_canvas *c, adze_ctx *ctx, double width, double height, bool svg); /* white */
void adze_canvas_close(adze_canvas *c);
void adze_canvas_line(adze_canvas *c, double x0, double y0, double x1, double y1, uint32_t rgb, double width);
void adze_canvas_text(adze_canvas *c, double x, double y, adze_anchor anchor, uint32_t rgb, const char *s); /* y: base line */
int adze_canvas_save(adze_canvas *c, const char *path);

/* Seven rows of five pixels, bit 4 on the left; characters outside ASCII's printable part look like '?'. */
const uint8_t *adze_glyph(char ch);

#endif
