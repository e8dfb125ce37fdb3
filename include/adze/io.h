/* libadze-io: the foreign formats that need a library of their own (libfyaml, libpng, zlib). libadze itself does without them. */
#ifndef ADZE_IO_H
#define ADZE_IO_H

#include "diag.h"

#ifdef __cplusplus
extern "C" {
#endif

/* -- YAML and model files (libfyaml) ----------------------------------------------------------------------------------------------------------- */

/* A parsed file: the tree and its memory. */
typedef struct adze_doc adze_doc;

/* Reads one YAML document of at most 1 MiB and depth 32. Plain scalars stay untyped text (field tables type them), quoted ones are strings. Anchors,
 * aliases, tags, merge keys, duplicate keys, directives and second documents are refused: ADZE_EFORMAT, "net.yaml:3:7: ...". text need not end in 0.
 */
ADZE_API int adze_yaml_parse(adze_ctx *ctx, const char *text, size_t n, const char *file, adze_doc **out);
ADZE_API const adze_tree *adze_doc_root(const adze_doc *d);
ADZE_API void adze_doc_free(adze_doc *d);

/* A model from its file, by the name's ending: .yaml and .yml (YAML), .json, .safetensors (the trained model; its weights are left alone). */
ADZE_API int adze_model_from_file(adze_ctx *ctx, const char *path, adze_model **out);

/* -- data, images, plots (zlib, libpng) --------------------------------------------------------------------------------------------------------- */

/* Registers the decoders with a context: afterwards adze_dataset_open reads .gz files. */
ADZE_API int adze_io_register(adze_ctx *ctx);

/* PNG -> u8 (H, W, C), C = 1 for grey files and 3 for all others; alpha is dropped, 16 bits become 8, palettes are looked up. At most 16384
 * pixels a side and 64 MiB decoded; a file that breaks a rule is ADZE_EFORMAT, never a crash. out: a new tensor. */
ADZE_API int adze_png_read(adze_ctx *ctx, const char *path, adze_tensor *out);
ADZE_API int adze_png_parse(adze_ctx *ctx, const void *bytes, size_t n, const char *file, adze_tensor *out);
/* u8 (H, W), (H, W, 1) or (H, W, 3) -> PNG, replaced durably. */
ADZE_API int adze_png_write(adze_ctx *ctx, const char *path, adze_tensor image);

/* Examples side by side in rows of `cols`, each pixel `zoom` wide, a white line between them: u8 (H, W, C), a new tensor. ids NULL: the first n;
 * a negative id leaves its place white. */
ADZE_API int adze_contact_sheet(adze_ctx *ctx, const adze_dataset *d, const int64_t *ids, int64_t n, int cols, int zoom, adze_tensor *out);

/* A chart: lines over one x axis. Values that are not finite are left out. */
typedef struct adze_line {
    const char *name;
    const double *x, *y;
    int64_t n;
} adze_line;
typedef struct adze_chart {
    const char *title, *x_label, *y_label;
    const adze_line *lines;
    const adze_line *low, *high; /* a band around each line, as many as there are lines and as long; NULL: none */
    int nlines;
    const char *const *x_names; /* of x = 1, 2, ..: they take the place of numbers and of the lines' names; NULL: numbers */
    int nx_names;
    int64_t side;          /* contour lines under the lines: side x side values over the box, row 0 at the smallest y; 0: none */
    const double *surface; /* lines lie at equal shares of its values, so that steep walls and flat floors both show */
    double box[4];         /* x from, x to, y from, y to; lines end at its edge */
} adze_chart;
/* Draws charts below each other; path ends in .svg or .png. */
ADZE_API int adze_chart_write(adze_ctx *ctx, const char *path, const adze_chart *charts, int n);
/* The tracks of findings, over their surface if they have one; ADZE_EARG when there are none, or too many to be told apart. */
ADZE_API int adze_findings_plot(adze_ctx *ctx, const char *path, const adze_findings *f);
/* Loss and accuracy against the epoch, training and validation. */
ADZE_API int adze_history_plot(adze_ctx *ctx, const char *path, const adze_epoch_stats *stats, int64_t n);

#ifdef __cplusplus
}
#endif
#endif
