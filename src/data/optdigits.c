/* UCI's optical digits (Alpaydin and Kaynak, 1998): 8x8 images of 17 grey levels, one example a line, 64 numbers 0..16 and the class.
 *
 * The levels are stretched to 0..255, so that a net trained on them also reads ordinary 8-bit images. */
#include "data/formats.h"

enum { SIDE = 8, PIXELS = SIDE * SIDE, LEVELS = 16, CLASSES = 10, MAX_TEXT = 16 << 20 };

typedef struct digits_reader {
    adze_ctx *ctx;
    const char *path, *at;
    int64_t line;
} digits_reader;

/* The next number 0..max, and the separator after it. */
static int digits_number(digits_reader *r, int max, bool last, uint8_t *out) {
    int v = 0, digits = 0;
    while (*r->at >= '0' && *r->at <= '9' && digits < 3) {
        v = 10 * v + (*r->at++ - '0');
        digits++;
    }
    if (digits == 0 || v > max) {
        return adze_fail(r->ctx, ADZE_EFORMAT, "'%s' line %lld: expected a number from 0 to %d", r->path, (long long)r->line, max);
    }
    if (last) {
        r->at += *r->at == '\r' ? 1 : 0;
        if (*r->at != '\n' && *r->at != 0) {
            return adze_fail(r->ctx, ADZE_EFORMAT, "'%s' line %lld: expected %d numbers and the end of the line", r->path, (long long)r->line,
                             PIXELS + 1);
        }
        r->at += *r->at == '\n' ? 1 : 0;
    } else if (*r->at++ != ',') {
        return adze_fail(r->ctx, ADZE_EFORMAT, "'%s' line %lld: expected a comma and %d numbers", r->path, (long long)r->line, PIXELS + 1);
    }
    *out = (uint8_t)v;
    return ADZE_OK;
}

static int digits_line(digits_reader *r, uint8_t *pixels, int64_t *label) {
    for (int i = 0; i < PIXELS; i++) {
        uint8_t v;
        TRY(digits_number(r, LEVELS, false, &v));
        pixels[i] = (uint8_t)((v * 255 + LEVELS / 2) / LEVELS);
    }
    uint8_t c;
    TRY(digits_number(r, CLASSES - 1, true, &c));
    *label = c;
    return ADZE_OK;
}

static int digits_parse(adze_ctx *ctx, const char *path, const char *text, int64_t n, uint8_t *pixels, int64_t *labels, int64_t count) {
    digits_reader r = {.ctx = ctx, .path = path, .at = text};
    for (int64_t i = 0; i < count; i++) {
        r.line = i + 1;
        TRY(digits_line(&r, pixels + i * PIXELS, labels + i));
    }
    if (r.at != text + n) {
        return adze_fail(ctx, ADZE_EFORMAT, "'%s' has text after line %lld", path, (long long)count);
    }
    return ADZE_OK;
}

int adze_optdigits_open(adze_ctx *ctx, const char *path, const char *name, adze_dataset **out) {
    char *text = NULL;
    int64_t n = 0, count = 0;
    TRY(adze_text_file_read(ctx, path, MAX_TEXT, &text, &n));
    for (int64_t i = 0; i < n; i++) {
        count += text[i] == '\n' || (i + 1 == n && text[i] != '\n');
    }
    uint8_t *pixels = adze_alloc(ctx, count, PIXELS);
    int64_t *labels = adze_alloc(ctx, count, sizeof(int64_t));
    int st = pixels == NULL || labels == NULL ? ADZE_ENOMEM : digits_parse(ctx, path, text, n, pixels, labels, count);
    adze_free(ctx, text);
    if (st != ADZE_OK) {
        adze_free(ctx, pixels);
        adze_free(ctx, labels);
        return st;
    }
    const int64_t dims[3] = {SIDE, SIDE, 1};
    return adze_dataset_take(ctx, name, adze_type_make(ADZE_U8, 3, dims), pixels, pixels, labels, count, CLASSES, NULL, out);
}
