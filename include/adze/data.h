/* Data: sources of examples, their splits, and the loader that writes batches ahead of time. */
#ifndef ADZE_DATA_H
#define ADZE_DATA_H

#include "linalg.h"
#include "model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A source of labelled examples: random access, thread-safe reads. A new format fills in this table. */
typedef struct adze_dataset adze_dataset;
struct adze_dataset {
    char name[64];
    int64_t count;
    adze_type example; /* type of one example as stored: u8 (H, W, C) */
    int classes;
    const char *const *class_names;                                         /* classes of them, or NULL */
    uint64_t fingerprint[2];                                                /* XXH3-128 of the decoded data */
    int (*read)(const adze_dataset *d, int64_t i, void *x, int64_t *label); /* copies example i; 0 or ADZE_E* */
    const uint8_t *(*peek)(const adze_dataset *d, int64_t i);               /* address of example i when it lies in memory, else NULL; may be NULL */
    void (*close)(adze_dataset *d);
    adze_ctx *ctx;
    void *impl;
};

/* A named set ("fashion-mnist", "mnist", "optdigits", "cifar10") looked for in $ADZE_DATA (a path list), $XDG_DATA_HOME/adze, /usr/share/datasets and
 * friends; or a folder with the files of one of these forms. part: "train" or "test". Formats are registered (adze_io_register adds gzip). */
ADZE_API int adze_dataset_open(adze_ctx *ctx, const char *name_or_path, const char *part, adze_dataset **out);
ADZE_API int adze_dataset_from_memory(adze_ctx *ctx, adze_type example, const void *x, const int64_t *labels, int64_t count, int classes,
                                      adze_dataset **out); /* borrows */
/* Crops (h, w, C) of the pictures of d, which lie in memory and outlive the view: example i crops + k is crop k of picture i, with its label. crops:
 * 1 the centre, 2 and its mirror image, 5 the corners (top left, top right, bottom left, bottom right) and the centre, 10 those and then those of the
 * mirrored picture: the order and the places of torchvision's TenCrop. pad: black pixels around the picture before the crop. Krizhevsky et al. 2012,
 * section 4.1. ADZE_EARG also where every crop would be the whole picture. */
ADZE_API int adze_dataset_crops(adze_ctx *ctx, const adze_dataset *d, int64_t h, int64_t w, int64_t crops, int64_t pad, adze_dataset **out);
ADZE_API void adze_dataset_close(adze_dataset *d);
ADZE_API int adze_dataset_known(int i, const char **name, const char **doc); /* i from 0; ADZE_EARG past the end */

/* Parses one IDX file from memory (LeCun's format; u8 data, rank 1 to 4). Every header field is checked against n. data points into bytes. */
ADZE_API int adze_idx_parse(adze_ctx *ctx, const void *bytes, size_t n, const char *file, adze_type *type, const void **data);

/* A random split by seed: writes the shuffled example ids of both parts; ids has room for count. */
ADZE_API int adze_split_ids(adze_ctx *ctx, int64_t count, int64_t nval, uint64_t seed, int64_t *ids); /* the last nval are the validation part */
/* Fits p->norm, keeps p->pad. A norm per feature makes a new p->feature: adze_model_set_preprocess takes it, or adze_preprocess_drop frees it. */
ADZE_API int adze_preprocess_fit(adze_ctx *ctx, const adze_dataset *d, const int64_t *ids, int64_t n, adze_preprocess *p);
ADZE_API void adze_preprocess_drop(adze_ctx *ctx, adze_preprocess *p);
ADZE_API int adze_preprocess_apply(const adze_preprocess *p, const adze_type *example, const uint8_t *x, adze_dtype d, void *out);

/* The table of augmentations: `adze list augmentations` prints it. A text is entries between commas, each with its parameters after colons:
 * "hflip,crop:pad=4:border=reflect". */
typedef struct adze_augmentation {
    const char *name, *doc, *paper, *cost;
    const adze_field *fields;
} adze_augmentation;
ADZE_API int adze_augmentation_at(int i, adze_augmentation *out);                         /* i from 0; ADZE_EARG past the end */
ADZE_API int adze_augmentation_check(adze_ctx *ctx, const char *text, const char *where); /* where begins the message: "--augment" */

/* Do two samples come from one distribution? One feature: the largest distance of the two empirical distribution functions; *p (may be NULL) is the
 * chance of one as large (Kolmogorov's limit). Both samples are sorted. */
ADZE_API double adze_ks(double *a, int64_t n, double *b, int64_t m, double *p);
typedef struct adze_shift_mmd {
    uint64_t seed;
    int64_t permutations; /* that p is estimated from; it is at least 1 / (permutations + 1) */
    double width;         /* written: of the Gaussian kernel, by the median of the squared distances */
    double mmd2, p;       /* written: the unbiased square of the maximum mean discrepancy; the chance of one as large */
} adze_shift_mmd;
ADZE_API int adze_mmd(adze_ctx *ctx, adze_la_mat a, adze_la_mat b, adze_shift_mmd *r); /* rows are examples: (n, d), (m, d) */
/* weight (n) of the examples a (n, d), mean 1, with which they stand for the sample b (m, d): the odds of a logistic regression on features and their
 * squares, which is the ratio of the densities where both are Gaussian with independent features. Bickel, Brueckner, Scheffer, JMLR 10, 2009. */
ADZE_API int adze_importance(adze_ctx *ctx, adze_la_mat a, adze_la_mat b, double *weight);

typedef struct adze_loader adze_loader;
typedef struct adze_loader_opts {
    size_t size;
    int64_t batch;
    bool shuffle; /* a new permutation each epoch, from (seed, epoch) */
    uint64_t seed;
    adze_dtype dtype;    /* of x: F32 or F64 */
    int workers;         /* threads that decode ahead; 0: none, batches are made when asked for. Results never depend on it */
    int ahead;           /* batches made ahead; default 2 */
    const char *augment; /* what is done to each picture, "hflip,crop:pad=4"; NULL: nothing. Results depend on (seed, epoch, example) alone */
} adze_loader_opts;
ADZE_API int adze_loader_new(adze_ctx *ctx, const adze_dataset *d, const int64_t *ids, int64_t n, const adze_preprocess *p, const adze_loader_opts *o,
                             adze_loader **out);
ADZE_API void adze_loader_free(adze_loader *l);
ADZE_API int64_t adze_loader_batches(const adze_loader *l);                  /* in an epoch, the last may be smaller */
ADZE_API int adze_loader_seek(adze_loader *l, int64_t epoch, int64_t batch); /* the next batch to come */
/* The next batch: copies into x (B, ...) and label (B, i64); *n examples (0: the epoch is over), rows beyond n are left alone. */
ADZE_API int adze_loader_next(adze_loader *l, adze_tensor x, adze_tensor label, int64_t *n);
/* The same where the augmentation mixes examples: the loss of row i is share[i] that of label[i] and 1 - share[i] that of other[i]; share >= 1/2 but
 * for rounding. other: i64 (B), share: (B) of x's dtype; without mixing they are label and 1. */
ADZE_API int adze_loader_next_mixed(adze_loader *l, adze_tensor x, adze_tensor label, adze_tensor other, adze_tensor share, int64_t *n);
ADZE_API double adze_loader_wait(const adze_loader *l); /* seconds that callers waited for data so far */

#ifdef __cplusplus
}
#endif
#endif
