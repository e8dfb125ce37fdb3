/* PNG in and out through libpng, with limits on sides and bytes, the context's memory, and no message or exit of libpng's own. */
#include "adze/io.h"
#include "base/base.h"

#include <png.h>
#include <setjmp.h>
#include <stdio.h>

enum {
    MAX_SIDE = 16384,       /* pixels */
    MAX_DECODED = 64 << 20, /* bytes: a few packed KB may claim far more */
    MAX_CHUNK = 8 << 20,    /* bytes of one ancillary chunk */
    MAX_CHUNKS = 64,        /* ancillary chunks kept */
    MAX_FILE = 256 << 20,   /* bytes read from disk */
    GREY = 1,
    RGB = 3
};

typedef struct png_job { /* everything that must survive a longjmp lives here, not in locals */
    adze_ctx *ctx;
    const char *file;
    const uint8_t *in;
    size_t n, at;
    adze_text out; /* writing: the file's bytes */
    png_structp png;
    png_infop info;
    png_bytep *rows;
    adze_tensor image;
    char message[128];
} png_job;

static void png_on_error(png_structp png, png_const_charp message) {
    png_job *j = png_get_error_ptr(png);
    snprintf(j->message, sizeof j->message, "%s", message);
    longjmp(png_jmpbuf(png), 1);
}

static void png_on_warning(png_structp png, png_const_charp message) {
    (void)png;
    (void)message;
}

static png_voidp png_alloc(png_structp png, png_alloc_size_t n) {
    png_job *j = png_get_mem_ptr(png);
    return n > INT64_MAX ? NULL : adze_alloc_raw(j->ctx, (int64_t)n);
}

static void png_release(png_structp png, png_voidp p) {
    png_job *j = png_get_mem_ptr(png);
    adze_free(j->ctx, p);
}

static void png_on_read(png_structp png, png_bytep to, png_size_t n) {
    png_job *j = png_get_io_ptr(png);
    if (n > j->n - j->at) {
        png_error(png, "the file is cut short");
    }
    memcpy(to, j->in + j->at, n);
    j->at += n;
}

static void png_on_write(png_structp png, png_bytep from, png_size_t n) {
    png_job *j = png_get_io_ptr(png);
    adze_text_put(&j->out, (const char *)from, n);
    if (j->out.failed) {
        png_error(png, "no memory");
    }
}

static void png_on_flush(png_structp png) {
    (void)png;
}

/* -- reading ------------------------------------------------------------------------------------------------------------------------------------- */

static void png_make_plain(png_job *j) {
    png_set_scale_16(j->png);
    png_set_expand(j->png); /* palettes to RGB, few bits to 8 */
    png_set_strip_alpha(j->png);
    png_set_interlace_handling(j->png);
    png_read_update_info(j->png, j->info);
}

static int png_make_image(png_job *j) {
    int64_t h = png_get_image_height(j->png, j->info), w = png_get_image_width(j->png, j->info), c = png_get_channels(j->png, j->info);
    if (png_get_bit_depth(j->png, j->info) != 8 || (c != GREY && c != RGB) || h * w > MAX_DECODED / c) { /* sides are at most MAX_SIDE: no overflow */
        return adze_fail(j->ctx, ADZE_EFORMAT, "'%s': an image of %lld x %lld pixels and %lld channels is more than the %d MiB that are decoded",
                         j->file, (long long)w, (long long)h, (long long)c, MAX_DECODED >> 20);
    }
    const int64_t dims[3] = {h, w, c};
    TRY(adze_tensor_new(j->ctx, adze_type_make(ADZE_U8, 3, dims), &j->image));
    j->rows = adze_alloc(j->ctx, h, sizeof *j->rows);
    if (j->rows == NULL) {
        return ADZE_ENOMEM;
    }
    uint8_t *p = adze_tensor_data(&j->image);
    for (int64_t y = 0; y < h; y++) {
        j->rows[y] = p + y * w * c;
    }
    return ADZE_OK;
}

static int png_fail(png_job *j, bool reading) {
    if (strstr(j->message, "emory") != NULL) {
        return adze_fail(j->ctx, ADZE_ENOMEM, "no memory to %s '%s'", reading ? "read" : "write", j->file);
    }
    return adze_fail(j->ctx, ADZE_EFORMAT, "'%s' %s at byte %zu: %s", j->file, reading ? "is damaged or no PNG file" : "cannot be written", j->at,
                     j->message);
}

static int png_decode(png_job *j) {
    if (setjmp(png_jmpbuf(j->png))) {
        return png_fail(j, true);
    }
    png_set_user_limits(j->png, MAX_SIDE, MAX_SIDE);
    png_set_chunk_malloc_max(j->png, MAX_CHUNK);
    png_set_chunk_cache_max(j->png, MAX_CHUNKS);
    png_set_crc_action(j->png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
    png_set_read_fn(j->png, j, png_on_read);
    png_read_info(j->png, j->info);
    png_make_plain(j);
    TRY(png_make_image(j));
    png_read_image(j->png, j->rows);
    png_read_end(j->png, NULL);
    return ADZE_OK;
}

int adze_png_parse(adze_ctx *ctx, const void *bytes, size_t n, const char *file, adze_tensor *out) {
    png_job j = {.ctx = ctx, .file = file, .in = bytes, .n = n};
    memset(out, 0, sizeof *out);
    j.png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, &j, png_on_error, png_on_warning, &j, png_alloc, png_release);
    j.info = j.png != NULL ? png_create_info_struct(j.png) : NULL;
    int st = j.info != NULL ? png_decode(&j) : adze_fail(ctx, ADZE_ENOMEM, "no memory to read '%s'", file);
    png_destroy_read_struct(&j.png, &j.info, NULL);
    adze_free(ctx, j.rows);
    if (st != ADZE_OK) {
        adze_tensor_free(&j.image);
        return st;
    }
    *out = j.image;
    return ADZE_OK;
}

int adze_png_read(adze_ctx *ctx, const char *path, adze_tensor *out) {
    void *bytes = NULL;
    int64_t n = 0;
    memset(out, 0, sizeof *out);
    TRY(adze_read_file(ctx, path, MAX_FILE, &bytes, &n));
    int st = adze_png_parse(ctx, bytes, (size_t)n, path, out);
    adze_free(ctx, bytes);
    return st;
}

/* -- writing ------------------------------------------------------------------------------------------------------------------------------------- */

static int png_encode(png_job *j) {
    if (setjmp(png_jmpbuf(j->png))) {
        return png_fail(j, false);
    }
    int64_t h = j->image.dims[0], w = j->image.dims[1], c = j->image.rank == 3 ? j->image.dims[2] : GREY;
    const uint8_t *p = adze_tensor_data(&j->image);
    png_set_write_fn(j->png, j, png_on_write, png_on_flush);
    png_set_IHDR(j->png, j->info, (png_uint_32)w, (png_uint_32)h, 8, c == GREY ? PNG_COLOR_TYPE_GRAY : PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(j->png, j->info);
    for (int64_t y = 0; y < h; y++) {
        png_write_row(j->png, p + y * w * c);
    }
    png_write_end(j->png, NULL);
    return ADZE_OK;
}

static int png_check_image(adze_ctx *ctx, const adze_tensor *t) {
    bool ok = t->dtype == ADZE_U8 && (t->rank == 2 || (t->rank == 3 && (t->dims[2] == GREY || t->dims[2] == RGB))) && adze_tensor_contiguous(t);
    ok = ok && t->dims[0] >= 1 && t->dims[0] <= MAX_SIDE && t->dims[1] >= 1 && t->dims[1] <= MAX_SIDE;
    char shape[96];
    adze_type type = adze_tensor_type(t);
    return ok ? ADZE_OK
              : adze_fail(ctx, ADZE_ESHAPE, "a PNG image is u8 (H, W), (H, W, 1) or (H, W, 3) with sides of 1 to %d, not %s", MAX_SIDE,
                          adze_type_print(&type, shape, sizeof shape));
}

int adze_png_write(adze_ctx *ctx, const char *path, adze_tensor image) {
    TRY(png_check_image(ctx, &image));
    png_job j = {.ctx = ctx, .file = path, .out = {.ctx = ctx}, .image = image};
    j.png = png_create_write_struct_2(PNG_LIBPNG_VER_STRING, &j, png_on_error, png_on_warning, &j, png_alloc, png_release);
    j.info = j.png != NULL ? png_create_info_struct(j.png) : NULL;
    int st = j.info != NULL ? png_encode(&j) : adze_fail(ctx, ADZE_ENOMEM, "no memory to write '%s'", path);
    png_destroy_write_struct(&j.png, &j.info);
    if (st == ADZE_OK) {
        const adze_piece piece = {j.out.s, j.out.len};
        st = adze_replace_file(ctx, path, &piece, 1);
    }
    adze_text_drop(&j.out);
    return st;
}

/* -- contact sheets ------------------------------------------------------------------------------------------------------------------------------ */

static void sheet_paint(adze_tensor *sheet, const adze_type *example, const uint8_t *x, int64_t top, int64_t left, int zoom) {
    uint8_t *p = adze_tensor_data(sheet);
    int64_t c = sheet->dims[2], w = example->dims[1];
    for (int64_t y = 0; y < example->dims[0] * zoom; y++) {
        for (int64_t col = 0; col < w * zoom; col++) {
            memcpy(p + ((top + y) * sheet->dims[1] + left + col) * c, x + (y / zoom * w + col / zoom) * c, (size_t)c);
        }
    }
}

static int sheet_fill(adze_ctx *ctx, const adze_dataset *d, const int64_t *ids, int64_t n, int cols, int zoom, adze_tensor *sheet) {
    int64_t h = d->example.dims[0] * zoom + 1, w = d->example.dims[1] * zoom + 1, label;
    uint8_t *x = adze_alloc(ctx, adze_type_bytes(&d->example), 1);
    if (x == NULL) {
        return ADZE_ENOMEM;
    }
    memset(adze_tensor_data(sheet), 255, (size_t)(sheet->dims[0] * sheet->dims[1] * sheet->dims[2]));
    int st = ADZE_OK;
    for (int64_t i = 0; i < n && st == ADZE_OK; i++) {
        int64_t id = ids != NULL ? ids[i] : i;
        if (id < 0) {
            continue;
        }
        st = d->read(d, id, x, &label);
        if (st == ADZE_OK) {
            sheet_paint(sheet, &d->example, x, i / cols * h + 1, i % cols * w + 1, zoom);
        } else {
            st = adze_fail(ctx, st, "example %lld of data set '%s' cannot be read", (long long)id, d->name);
        }
    }
    adze_free(ctx, x);
    return st;
}

int adze_contact_sheet(adze_ctx *ctx, const adze_dataset *d, const int64_t *ids, int64_t n, int cols, int zoom, adze_tensor *out) {
    const adze_type *t = &d->example;
    memset(out, 0, sizeof *out);
    if (t->dtype != ADZE_U8 || t->rank != 3 || (t->dims[2] != GREY && t->dims[2] != RGB)) {
        return adze_fail(ctx, ADZE_ENOSUP, "a contact sheet shows grey or RGB images; data set '%s' has none", d->name);
    }
    if (n < 1 || cols < 1 || zoom < 1 || zoom > 64 || cols > MAX_SIDE || t->dims[0] > MAX_SIDE || t->dims[1] > MAX_SIDE) {
        return adze_fail(ctx, ADZE_EARG, "a contact sheet needs at least one image, one column and a zoom of 1 to 64");
    }
    int64_t rows = (n - 1) / cols + 1, used = n < cols ? n : cols;
    if (rows > MAX_SIDE / (t->dims[0] * zoom + 1) || used > MAX_SIDE / (t->dims[1] * zoom + 1)) {
        return adze_fail(ctx, ADZE_EARG, "a contact sheet of %lld images in %d columns is larger than %d pixels", (long long)n, cols, MAX_SIDE);
    }
    const int64_t dims[3] = {rows * (t->dims[0] * zoom + 1) + 1, used * (t->dims[1] * zoom + 1) + 1, t->dims[2]};
    TRY(adze_tensor_new(ctx, adze_type_make(ADZE_U8, 3, dims), out));
    int st = sheet_fill(ctx, d, ids, n, cols, zoom, out);
    if (st != ADZE_OK) {
        adze_tensor_free(out);
    }
    return st;
}
