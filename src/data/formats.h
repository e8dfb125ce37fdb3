/* What the data room shares inside the library: decoders that libadze-io registers, and the parts a data set is made from. */
#ifndef ADZE_SRC_FORMATS_H
#define ADZE_SRC_FORMATS_H

#include "adze/data.h"
#include "base/base.h"

/* Decoders that need a library of their own. The core knows only this table; adze_io_register puts one into the context. */
typedef struct adze_formats {
    /* Decodes gzip members into out, at most cap bytes. prefix: stop quietly when out is full; else more data than cap is ADZE_EFORMAT. */
    int (*gunzip)(adze_ctx *ctx, const void *in, int64_t n, void *out, int64_t cap, bool prefix, const char *file, int64_t *out_n);
} adze_formats;

enum {
    ADZE_IDX_HEADER_MAX = 20,      /* magic and four dims */
    ADZE_DEFLATE_MAX_RATIO = 1032, /* deflate cannot pack better: a longer claim is a lie */
};

/* The bytes of an IDX header (4 + 4 rank) and of the whole file it describes; checks magic, dtype, rank and dims. have: bytes present, at least 4. */
int adze_idx_header(adze_ctx *ctx, const void *bytes, size_t have, const char *file, adze_type *type, int64_t *header, int64_t *total);

/* Reads a whole IDX file, gunzipped when its name ends in .gz. *bytes is the caller's (adze_free); *data points into it. */
int adze_idx_read(adze_ctx *ctx, const char *path, void **bytes, adze_type *type, const uint8_t **data);

/* Reads a text file, gunzipped when its name ends in .gz, of at most max bytes; text[n] is 0. */
int adze_text_file_read(adze_ctx *ctx, const char *path, int64_t max, char **text, int64_t *n);

/* A data set that owns its pixels (count x example) and labels: takes both, also on failure. */
int adze_dataset_take(adze_ctx *ctx, const char *name, adze_type example, void *owned, const uint8_t *pixels, int64_t *labels, int64_t count,
                      int classes, const char *const *class_names, adze_dataset **out);

/* The sets in UCI's optdigits format: 64 numbers 0..16 and a class on each line, stretched to 0..255. */
int adze_optdigits_open(adze_ctx *ctx, const char *path, const char *name, adze_dataset **out);

/* CIFAR-10's binary form: data_batch_1.bin to data_batch_5.bin, or test_batch.bin. */
int adze_cifar_open(adze_ctx *ctx, const char *dir, const char *name, bool train, adze_dataset **out);

/* Preprocessing per channel as a table: value of pixel v in channel c is lut[c * 256 + v]; filled for `channels` channels. The same bits as
 * adze_preprocess_apply. */
void adze_preprocess_table(const adze_preprocess *p, int64_t channels, double *lut);
/* x (H, W, C), bordered by p->pad, into out of dtype d: 8-bit pixels by the table where there is one (lut, else NULL), and floats of the same scale
 * by the same formula. A border is pixel 0; with a norm per feature, whose numbers belong to places of the picture, it is the result 0. Norm zca:
 * what stands before the matrix. */
void adze_preprocess_image(const adze_preprocess *p, const double *lut, const adze_type *example, const uint8_t *x, adze_dtype d, void *out);
void adze_preprocess_floats(const adze_preprocess *p, const adze_type *example, const float *x, adze_dtype d, void *out);
/* Covariance of the channels (at most `most`) over all pixels of the examples, white = 1, into cov (most x most). ids NULL: the first n. */
int adze_pixel_covariance(adze_ctx *ctx, const adze_dataset *d, const int64_t *ids, int64_t n, double *cov, int64_t most);

#endif
