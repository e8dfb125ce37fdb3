/* Augmentation inside the library: a text becomes a list of entries, and the list changes one picture after another.
 *
 * Every draw is a function of (seed, entry, epoch, example), so neither threads nor a resume change a picture. Pictures are f32 (H, W, C), C = 1 to
 * 16; `white` is the value of a full channel: 255 for 8-bit pictures, 1 for float pictures. */
#ifndef ADZE_SRC_AUGMENT_H
#define ADZE_SRC_AUGMENT_H

#include "adze/data.h"
#include "base/base.h"

enum { ADZE_AUG_MOST = 16, ADZE_AUG_CHANNELS = 3 /* of colours */, ADZE_AUG_MOST_CHANNELS = 16 };
enum { ADZE_BORDER_ZERO, ADZE_BORDER_REFLECT, ADZE_BORDER_EDGE };
enum { ADZE_FILL_ZERO, ADZE_FILL_MEAN, ADZE_FILL_NOISE };

typedef struct adze_aug_params { /* of all entries; each entry's table of fields names those that it has */
    double p;                    /* how likely the entry acts on an example */
    double amount, brightness, contrast, saturation, hue, sigma, alpha, k1, k2;
    double degrees, translate, shear, stretch, zoom_min, zoom_max, area_min, area_max, ratio_min, ratio_max;
    int64_t pad, size, bits, n;
    double m;
    int32_t border, fill;
} adze_aug_params;

typedef struct adze_aug_job { /* one entry at work on one picture */
    const adze_aug_params *v;
    adze_rng rng;
    int64_t h, w, c;
    double white;
    float *x, *out, *spare;                             /* the picture; room for the next; room for the entry's `spare` floats */
    double basis[ADZE_AUG_CHANNELS][ADZE_AUG_CHANNELS]; /* pca: the k-th direction times its eigenvalue is column k */
} adze_aug_job;

typedef struct adze_mix { /* what a mixing entry decides for an example: label keeps `share`; the box comes from the other picture */
    double share;
    bool box; /* false: the pictures are averaged with weights share and 1 - share */
    int64_t top, left, height, width;
} adze_mix;

typedef struct adze_aug_kind { /* a row of the table */
    const char *name, *doc, *paper, *cost;
    const adze_field *fields;
    bool (*run)(adze_aug_job *j);                                                 /* true: the result lies in out. NULL: it mixes examples */
    adze_mix (*mix)(const adze_aug_params *v, adze_rng *r, int64_t h, int64_t w); /* NULL: it changes one picture */
    int64_t (*spare)(const adze_aug_params *v, int64_t h, int64_t w);             /* floats that run wants; NULL: none */
    const char *(*fault)(const adze_aug_params *v, int64_t channels);             /* what is wrong with the parameters, or NULL */
} adze_aug_kind;

typedef struct adze_augment { /* a parsed text; plain data */
    int n;
    bool mixes;
    uint64_t seed;
    double basis[ADZE_AUG_CHANNELS][ADZE_AUG_CHANNELS];
    struct adze_aug_entry {
        const adze_aug_kind *kind;
        adze_aug_params v;
        uint64_t stream; /* from its name and how many of that name stand before it: other entries may come and go */
    } entry[ADZE_AUG_MOST];
} adze_augment;

/* where: begins the message ("option augment"). ctx may be NULL. */
int adze_augment_parse(adze_ctx *ctx, const char *text, const char *where, adze_augment *a);
/* Checks the list against the examples, warns where a label would not survive, and fits what depends on the training examples. */
int adze_augment_fit(adze_ctx *ctx, adze_augment *a, const adze_dataset *d, const int64_t *ids, int64_t n, uint64_t seed);
int64_t adze_augment_room(const adze_augment *a, const adze_type *example); /* floats of the buffer for run */
/* The first H W C floats of buffer hold the picture; returns where the result is, somewhere in buffer. */
float *adze_augment_run(const adze_augment *a, const adze_type *example, double white, int64_t epoch, int64_t id, float *buffer);
/* How an example is mixed with the next one of its batch; share 1: not at all. */
adze_mix adze_augment_mix(const adze_augment *a, const adze_type *example, int64_t epoch, int64_t id);

/* -- what the files of entries share ----------------------------------------------------------------------------------------------------------- */

double adze_aug_between(adze_rng *r, double lo, double hi);     /* uniform */
double adze_aug_log_between(adze_rng *r, double lo, double hi); /* uniform in the logarithm; 0 < lo <= hi */
/* out (H, W, C) = x at (map[2 i], map[2 i + 1]) = (y, x), bilinear; beyond the picture lies what border says. */
void adze_aug_sample(const adze_aug_job *j, const float *map, int32_t border);
/* What lies at d from the picture's middle comes from to (d - move), likewise from the middle; to: yy, yx, xy, xx; move: y, x, in pixels. */
void adze_aug_linear(adze_aug_job *j, const double to[4], const double move[2]);

bool adze_aug_hflip(adze_aug_job *j);
bool adze_aug_vflip(adze_aug_job *j);
bool adze_aug_crop(adze_aug_job *j);
bool adze_aug_resized_crop(adze_aug_job *j);
bool adze_aug_affine(adze_aug_job *j);
bool adze_aug_elastic(adze_aug_job *j);
bool adze_aug_lens(adze_aug_job *j);
int64_t adze_aug_map_room(const adze_aug_params *v, int64_t h, int64_t w);
int64_t adze_aug_elastic_room(const adze_aug_params *v, int64_t h, int64_t w);

bool adze_aug_set_brightness(adze_aug_job *j, double factor); /* 1 leaves every bit */
bool adze_aug_set_contrast(adze_aug_job *j, double factor);
bool adze_aug_set_saturation(adze_aug_job *j, double factor);
bool adze_aug_brightness(adze_aug_job *j);
bool adze_aug_contrast(adze_aug_job *j);
bool adze_aug_saturation(adze_aug_job *j);
bool adze_aug_hue(adze_aug_job *j);
bool adze_aug_jitter(adze_aug_job *j);
bool adze_aug_pca(adze_aug_job *j);
bool adze_aug_noise(adze_aug_job *j);
bool adze_aug_erase(adze_aug_job *j);
bool adze_aug_cutout(adze_aug_job *j);

enum { ADZE_AUG_RAND_OPS = 14, ADZE_AUG_RAND_MOST = 30 /* the largest strength */ };
/* One operation of RandAugment's list, 0 to 13, on j->x; strength -1 to 1, negative only where an operation has two directions. */
void adze_aug_rand_apply(adze_aug_job *j, int op, double strength);
bool adze_aug_autocontrast(adze_aug_job *j);
bool adze_aug_equalize(adze_aug_job *j);
bool adze_aug_solarize(adze_aug_job *j);
bool adze_aug_posterize(adze_aug_job *j);
bool adze_aug_sharpness(adze_aug_job *j);
bool adze_aug_randaugment(adze_aug_job *j);

adze_mix adze_aug_mixup(const adze_aug_params *v, adze_rng *r, int64_t h, int64_t w);
adze_mix adze_aug_cutmix(const adze_aug_params *v, adze_rng *r, int64_t h, int64_t w);

#endif
