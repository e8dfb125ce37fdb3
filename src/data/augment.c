/* The table of augmentations, the text that names some of them, and the walk over a picture. */
#include "data/augment.h"

#include "adze/linalg.h"

#include "data/formats.h"

#include <math.h>
#include <stdio.h>

/* -- the table --------------------------------------------------------------------------------------------------------------------------------- */

static const char *const borders[] = {"zero", "reflect", "edge", NULL};
static const char *const fills[] = {"zero", "mean", "noise", NULL};

#define AT(member) offsetof(adze_aug_params, member)
#define HOW_OFTEN(def)                                                                                                                               \
    { "p", ADZE_F_F64, 0, AT(p), 0, def, 0, 1, NULL, "how likely it acts on an example" }
#define BORDER                                                                                                                                       \
    { "border", ADZE_F_ENUM, 0, AT(border), 0, "zero", 0, 0, borders, "what lies beyond the picture: black, its mirror image, its edge" }
#define FILL(def)                                                                                                                                    \
    { "fill", ADZE_F_ENUM, 0, AT(fill), 0, def, 0, 0, fills, "black, the picture's mean, or uniform noise" }
#define REAL(name, def, lo, hi, help)                                                                                                                \
    { #name, ADZE_F_F64, 0, AT(name), 0, def, lo, hi, NULL, help }

static const adze_field half_fields[] = {HOW_OFTEN("0.5"), {0}};
static const adze_field crop_fields[] = {
    {"pad", ADZE_F_I64, 0, AT(pad), 0, "4", 0, 1024, NULL, "pixels of border on every side before the crop"}, BORDER, HOW_OFTEN("1"), {0}};
static const adze_field resized_crop_fields[] = {REAL(area_min, "0.08", 1e-6, 1, "smallest part of the picture's area"),
                                                 REAL(area_max, "1", 1e-6, 1, "largest part of the picture's area"),
                                                 REAL(ratio_min, "0.75", 0.01, 100, "smallest width over height"),
                                                 REAL(ratio_max, "1.3333333333333333", 0.01, 100, "largest width over height"),
                                                 HOW_OFTEN("1"),
                                                 {0}};
static const adze_field scale_fields[] = {
    REAL(zoom_min, "0.8", 0.01, 100, "smallest factor"), REAL(zoom_max, "1.25", 0.01, 100, "largest factor"), BORDER, HOW_OFTEN("1"), {0}};
static const adze_field amount_fields[] = {REAL(amount, "0.2", 0, 1, "the factor lies between 1 - amount and 1 + amount"), HOW_OFTEN("1"), {0}};
static const adze_field hue_fields[] = {REAL(amount, "0.05", 0, 0.5, "largest angle, in turns"), HOW_OFTEN("1"), {0}};
static const adze_field jitter_fields[] = {REAL(brightness, "0.2", 0, 1, "as amount of brightness"),
                                           REAL(contrast, "0.2", 0, 1, "as amount of contrast"),
                                           REAL(saturation, "0", 0, 1, "as amount of saturation"),
                                           REAL(hue, "0", 0, 0.5, "as amount of hue"),
                                           HOW_OFTEN("1"),
                                           {0}};
static const adze_field pca_fields[] = {REAL(sigma, "0.1", 0, 10, "deviation of the factor on each eigenvalue"), HOW_OFTEN("1"), {0}};
static const adze_field affine_fields[] = {REAL(degrees, "10", 0, 180, "largest rotation, in degrees"),
                                           REAL(translate, "0.1", 0, 1, "largest move, as a part of height and width"),
                                           REAL(shear, "0", 0, 80, "largest angle of shear, in degrees"),
                                           REAL(stretch, "0", 0, 10, "width times f and height divided by f, f up to 1 + stretch or its inverse"),
                                           REAL(zoom_min, "1", 0.01, 100, "smallest factor"),
                                           REAL(zoom_max, "1", 0.01, 100, "largest factor"),
                                           BORDER,
                                           HOW_OFTEN("1"),
                                           {0}};
static const adze_field elastic_fields[] = {REAL(sigma, "4", 0, 32, "width of the Gaussian that smooths the field, in pixels"),
                                            REAL(alpha, "34", 0, 10000, "factor on the smoothed field, in pixels"),
                                            BORDER,
                                            HOW_OFTEN("1"),
                                            {0}};
static const adze_field lens_fields[] = {
    REAL(k1, "0.2", 0, 2, "largest factor on r^2; r is 1 in the corner"), REAL(k2, "0", 0, 2, "largest factor on r^4"), BORDER, HOW_OFTEN("1"), {0}};
static const adze_field noise_fields[] = {REAL(sigma, "0.05", 0, 10, "deviation, as a part of white"), HOW_OFTEN("1"), {0}};
static const adze_field erase_fields[] = {REAL(area_min, "0.02", 0, 1, "smallest part of the picture's area"),
                                          REAL(area_max, "0.33", 0, 1, "largest part of the picture's area"),
                                          REAL(ratio_min, "0.3", 0.01, 100, "smallest width over height"),
                                          REAL(ratio_max, "3.3", 0.01, 100, "largest width over height"),
                                          FILL("noise"),
                                          HOW_OFTEN("0.5"),
                                          {0}};
static const adze_field cutout_fields[] = {
    {"size", ADZE_F_I64, 0, AT(size), 0, "8", 0, 4096, NULL, "side of the square in pixels; its middle lies anywhere in the picture"},
    FILL("zero"),
    HOW_OFTEN("1"),
    {0}};
static const adze_field mixup_fields[] = {REAL(alpha, "0.2", 0, 100, "the shares are drawn from Beta(alpha, alpha)"), HOW_OFTEN("1"), {0}};
static const adze_field cutmix_fields[] = {REAL(alpha, "1", 0, 100, "the shares are drawn from Beta(alpha, alpha)"), HOW_OFTEN("1"), {0}};
static const adze_field solarize_fields[] = {REAL(amount, "0.5", 0, 1, "part of the levels, from white down"), HOW_OFTEN("0.5"), {0}};
static const adze_field posterize_fields[] = {
    {"bits", ADZE_F_I64, 0, AT(bits), 0, "4", 1, 8, NULL, "bits that are kept, of 8"}, HOW_OFTEN("0.5"), {0}};
static const adze_field rand_fields[] = {
    {"n", ADZE_F_I64, 0, AT(n), 0, "2", 0, 16, NULL, "operations drawn for each picture, one may be drawn again"},
    REAL(m, "9", 0, ADZE_AUG_RAND_MOST, "their strength; 30 is the largest, 10 in the paper's count"),
    BORDER,
    HOW_OFTEN("1"),
    {0}};
#undef AT
#undef HOW_OFTEN
#undef BORDER
#undef FILL
#undef REAL

static const char *range_fault(const adze_aug_params *v, int64_t channels) {
    (void)channels;
    return v->area_min > v->area_max     ? "area_min is larger than area_max"
           : v->ratio_min > v->ratio_max ? "ratio_min is larger than ratio_max"
           : v->zoom_min > v->zoom_max   ? "zoom_min is larger than zoom_max"
                                         : NULL;
}

static const char *colour_fault(const adze_aug_params *v, int64_t channels) {
    (void)v;
    return channels != ADZE_AUG_CHANNELS ? "the pictures have no red, green and blue" : NULL;
}

static const char *pca_fault(const adze_aug_params *v, int64_t channels) {
    (void)v;
    return channels > ADZE_AUG_CHANNELS ? "the pictures have more than 3 channels" : NULL;
}

static const char *jitter_fault(const adze_aug_params *v, int64_t channels) {
    return v->saturation > 0 || v->hue > 0 ? colour_fault(v, channels) : NULL;
}

#define KRIZHEVSKY "Krizhevsky, Sutskever, Hinton 2012"
#define AUTOAUGMENT "Cubuk et al. 2018"
static const adze_aug_kind kinds[] = {
    {"hflip", "left and right exchanged", KRIZHEVSKY, "a copy", half_fields, adze_aug_hflip, NULL, NULL, NULL},
    {"vflip", "top and bottom exchanged", KRIZHEVSKY, "a copy", half_fields, adze_aug_vflip, NULL, NULL, NULL},
    {"crop", "a crop of the picture's size out of the bordered picture: a shift by whole pixels", KRIZHEVSKY, "a copy", crop_fields, adze_aug_crop,
     NULL, NULL, NULL},
    {"resized_crop", "a box of random area and shape, stretched over the whole picture", "Szegedy et al. 2015",
     "4 reads and 9 operations a pixel and channel", resized_crop_fields, adze_aug_resized_crop, NULL, adze_aug_map_room, range_fault},
    {"scale", "larger or smaller about the middle", "Simonyan, Zisserman 2015", "4 reads and 9 operations a pixel and channel", scale_fields,
     adze_aug_affine, NULL, adze_aug_map_room, range_fault},
    {"brightness", "all values times a factor", "Howard 2013", "a multiplication a pixel and channel", amount_fields, adze_aug_brightness, NULL, NULL,
     NULL},
    {"contrast", "distances from the picture's mean grey times a factor", "Howard 2013", "5 operations a pixel and channel", amount_fields,
     adze_aug_contrast, NULL, NULL, NULL},
    {"saturation", "distances from each pixel's grey times a factor", "Howard 2013", "5 operations a pixel and channel", amount_fields,
     adze_aug_saturation, NULL, NULL, colour_fault},
    {"hue", "colours turned about the axis of greys", "Howard 2013", "6 operations a pixel and channel", hue_fields, adze_aug_hue, NULL, NULL,
     colour_fault},
    {"jitter", "brightness, contrast, saturation and hue, in a random order", "Howard 2013", "those of its four", jitter_fields, adze_aug_jitter,
     NULL, NULL, jitter_fault},
    {"pca", "one colour added to the picture, along the principal components of the training pixels", KRIZHEVSKY, "an addition a pixel and channel",
     pca_fields, adze_aug_pca, NULL, NULL, pca_fault},
    {"affine", "stretched, zoomed, sheared, rotated about the middle and moved", "LeCun et al. 1998; Simard, Steinkraus, Platt 2003",
     "4 reads and 9 operations a pixel and channel, 8 more a pixel", affine_fields, adze_aug_affine, NULL, adze_aug_map_room, range_fault},
    {"elastic", "every pixel moved by a smooth random field", "Simard, Steinkraus, Platt 2003",
     "2 random numbers and 4 passes of its blur a pixel, then as affine", elastic_fields, adze_aug_elastic, NULL, adze_aug_elastic_room, NULL},
    {"lens", "radial distortion of a lens: barrel or pincushion", "Brown 1966", "4 reads and 9 operations a pixel and channel, 12 more a pixel",
     lens_fields, adze_aug_lens, NULL, adze_aug_map_room, NULL},
    {"noise", "Gaussian noise added to every value", "Bishop 1995", "a normal random number a pixel and channel", noise_fields, adze_aug_noise, NULL,
     NULL, NULL},
    {"erase", "a box of random area and shape is overwritten", "Zhong et al. 2017", "a random number for each that is overwritten", erase_fields,
     adze_aug_erase, NULL, NULL, range_fault},
    {"cutout", "a square is overwritten, also across the edge", "DeVries, Taylor 2017", "a write for each that is overwritten", cutout_fields,
     adze_aug_cutout, NULL, NULL, NULL},
    {"autocontrast", "each channel stretched until it reaches from black to white", AUTOAUGMENT, "2 passes, 2 operations a pixel and channel",
     half_fields, adze_aug_autocontrast, NULL, NULL, NULL},
    {"equalize", "each channel's levels spread so that equal steps hold equally many pixels", AUTOAUGMENT, "2 passes and a histogram", half_fields,
     adze_aug_equalize, NULL, NULL, NULL},
    {"solarize", "the brightest values become their negative", AUTOAUGMENT, "2 operations a pixel and channel", solarize_fields, adze_aug_solarize,
     NULL, NULL, NULL},
    {"posterize", "values cut off to a few bits", AUTOAUGMENT, "3 operations a pixel and channel", posterize_fields, adze_aug_posterize, NULL, NULL,
     NULL},
    {"sharpness", "distances from the blurred picture times a factor", AUTOAUGMENT, "13 operations a pixel and channel", amount_fields,
     adze_aug_sharpness, NULL, NULL, NULL},
    {"randaugment", "a few operations drawn from 14 that turn, move, shear, recolour or sharpen, all of one strength", "Cubuk, Zoph, Shlens, Le 2019",
     "those of n operations", rand_fields, adze_aug_randaugment, NULL, adze_aug_map_room, NULL},
    {"mixup", "averaged with another example of the batch, and the losses of both labels likewise", "Zhang et al. 2018",
     "3 operations a pixel and channel and a second loss", mixup_fields, NULL, adze_aug_mixup, NULL, NULL},
    {"cutmix", "a box comes from another example of the batch; the losses of both labels are weighted by area", "Yun et al. 2019",
     "a copy of the box and a second loss", cutmix_fields, NULL, adze_aug_cutmix, NULL, NULL},
};

#undef KRIZHEVSKY
#undef AUTOAUGMENT

int adze_augmentation_at(int i, adze_augmentation *out) {
    if (i < 0 || i >= (int)ADZE_COUNT(kinds)) {
        return ADZE_EARG;
    }
    *out = (adze_augmentation){kinds[i].name, kinds[i].doc, kinds[i].paper, kinds[i].cost, kinds[i].fields};
    return ADZE_OK;
}

/* -- the text ---------------------------------------------------------------------------------------------------------------------------------- */

enum { WORD = 64, PLACE = 160 };

typedef struct reader { /* "hflip,crop:pad=4:border=edge": entries between commas, parameters after colons */
    adze_ctx *ctx;
    const char *where, *text, *at;
    char word[WORD], place[PLACE];
} reader;

/* Takes what stands before one of `ends`, without the spaces around it; place says where it begins, counted from 1. */
static int read_word(reader *r, const char *ends) {
    while (*r->at == ' ') {
        r->at++;
    }
    size_t n = strcspn(r->at, ends), used = n;
    while (used > 0 && r->at[used - 1] == ' ') {
        used--;
    }
    snprintf(r->place, sizeof r->place, "%.*s, character %lld", PLACE / 2, r->where, (long long)(r->at - r->text + 1));
    if (used == 0) {
        return adze_fail(r->ctx, ADZE_EARG, "%s: a word is missing; write entries as in 'hflip,crop:pad=4:border=edge'", r->place);
    }
    if (used >= sizeof r->word) {
        return adze_fail(r->ctx, ADZE_EARG, "%s: '%.*s...' is too long", r->place, WORD / 2, r->at);
    }
    memcpy(r->word, r->at, used);
    r->word[used] = 0;
    r->at += n;
    return ADZE_OK;
}

static int read_kind(reader *r, const adze_aug_kind **kind) {
    TRY(read_word(r, ",:="));
    for (size_t i = 0; i < ADZE_COUNT(kinds); i++) {
        if (strcmp(kinds[i].name, r->word) == 0) {
            *kind = &kinds[i];
            return ADZE_OK;
        }
    }
    const char *near = adze_suggest(r->word, &kinds[0].name, ADZE_COUNT(kinds), sizeof kinds[0]);
    return adze_fail(r->ctx, ADZE_EARG, "%s: '%s' is no augmentation%s%s%s; `adze list augmentations` names them", r->place, r->word,
                     near != NULL ? "; did you mean '" : "", near != NULL ? near : "", near != NULL ? "'?" : "");
}

static int read_param(reader *r, const adze_aug_kind *kind, adze_aug_params *v, uint64_t *given) {
    TRY(read_word(r, ",:="));
    const adze_field *f = adze_field_find(kind->fields, r->word);
    if (f == NULL) {
        size_t n = 0;
        while (kind->fields[n].name != NULL) {
            n++;
        }
        const char *near = adze_suggest(r->word, &kind->fields[0].name, n, sizeof kind->fields[0]);
        return adze_fail(r->ctx, ADZE_EARG, "%s: %s has no parameter '%s'; %s '%s'%s", r->place, kind->name, r->word,
                         near != NULL ? "did you mean" : "its first is", near != NULL ? near : kind->fields[0].name, near != NULL ? "?" : "");
    }
    const uint64_t bit = UINT64_C(1) << (f - kind->fields);
    if (*given & bit) {
        return adze_fail(r->ctx, ADZE_EARG, "%s: %s has '%s' twice", r->place, kind->name, f->name);
    }
    *given |= bit;
    if (*r->at != '=') {
        return adze_fail(r->ctx, ADZE_EARG, "%s: '%s' of %s has no value; write %s=%s", r->place, f->name, kind->name, f->name, f->def);
    }
    r->at++;
    TRY(read_word(r, ",:"));
    return adze_field_parse(r->ctx, f, v, r->word, r->place);
}

static int read_entry(reader *r, adze_augment *a) {
    if (a->n == ADZE_AUG_MOST) {
        return adze_fail(r->ctx, ADZE_EARG, "%s: more than %d augmentations", r->where, ADZE_AUG_MOST);
    }
    struct adze_aug_entry *e = &a->entry[a->n];
    TRY(read_kind(r, &e->kind));
    char place[PLACE];
    memcpy(place, r->place, sizeof place);
    uint64_t given = 0;
    if (adze_fields_default(e->kind->fields, &e->v) != ADZE_OK) {
        return adze_fail(r->ctx, ADZE_EBUG, "the defaults of %s are out of range", e->kind->name);
    }
    while (*r->at == ':') {
        r->at++;
        TRY(read_param(r, e->kind, &e->v, &given));
    }
    if (*r->at == '=') {
        return adze_fail(r->ctx, ADZE_EARG, "%s: parameters come after a colon, as in '%s:%s=%s'", place, e->kind->name, e->kind->fields[0].name,
                         e->kind->fields[0].def);
    }
    const char *fault = e->kind->fault != NULL ? e->kind->fault(&e->v, ADZE_AUG_CHANNELS) : NULL;
    if (fault != NULL) {
        return adze_fail(r->ctx, ADZE_EARG, "%s: %s: %s", place, e->kind->name, fault);
    }
    uint64_t same = 0;
    for (int i = 0; i < a->n; i++) {
        same += a->entry[i].kind == e->kind;
    }
    e->stream = adze_hash_str(e->kind->name) + same;
    a->mixes = a->mixes || e->kind->mix != NULL;
    a->n++;
    return ADZE_OK;
}

int adze_augment_parse(adze_ctx *ctx, const char *text, const char *where, adze_augment *a) {
    memset(a, 0, sizeof *a);
    reader r = {.ctx = ctx, .where = where, .text = text, .at = text};
    if (text[strspn(text, " ")] == 0) {
        return ADZE_OK;
    }
    TRY(read_entry(&r, a));
    while (*r.at == ',') {
        r.at++;
        TRY(read_entry(&r, a));
    }
    return ADZE_OK;
}

int adze_augmentation_check(adze_ctx *ctx, const char *text, const char *where) {
    adze_augment a;
    return adze_augment_parse(ctx, text, where, &a);
}

/* -- against the examples ---------------------------------------------------------------------------------------------------------------------- */

static bool acts(const adze_augment *a, const char *name) {
    for (int i = 0; i < a->n; i++) {
        if (strcmp(a->entry[i].kind->name, name) == 0 && a->entry[i].v.p > 0) {
            return true;
        }
    }
    return false;
}

/* An augmentation must keep what the label says (Simard et al. 2003): a mirrored 2 is no 2. */
static void warn_of_labels(adze_ctx *ctx, const adze_augment *a, const adze_dataset *d) {
    static const char *const flips[] = {"hflip", "vflip"};
    for (size_t i = 0; i < ADZE_COUNT(flips); i++) {
        if ((strcmp(d->name, "mnist") == 0 || strcmp(d->name, "optdigits") == 0) && acts(a, flips[i])) {
            adze_note(ctx, ADZE_WARN, "augmentation %s: most digits of '%s' are no longer what their label says when mirrored", flips[i], d->name);
        }
    }
}

/* The directions in which colours vary, each times its eigenvalue. */
static int fit_colours(adze_ctx *ctx, adze_augment *a, const adze_dataset *d, const int64_t *ids, int64_t n) {
    enum { C = ADZE_AUG_CHANNELS };
    double cov[C * C] = {0}, values[C];
    TRY(adze_pixel_covariance(ctx, d, ids, n, cov, C));
    TRY(adze_la_eigen(ctx, adze_la_dense(cov, C, C), values, adze_la_dense(&a->basis[0][0], C, C)));
    for (int r = 0; r < C; r++) {
        for (int k = 0; k < C; k++) {
            a->basis[r][k] *= values[k];
        }
    }
    return ADZE_OK;
}

int adze_augment_fit(adze_ctx *ctx, adze_augment *a, const adze_dataset *d, const int64_t *ids, int64_t n, uint64_t seed) {
    const adze_type *t = &d->example;
    uint64_t stream = adze_hash_str("data/augment");
    a->seed = adze_hash64(&stream, sizeof stream, seed);
    if (a->n == 0) {
        return ADZE_OK;
    }
    if (t->rank != 3 || t->dims[2] > ADZE_AUG_MOST_CHANNELS || adze_type_count(t) < 1) {
        return adze_fail(ctx, ADZE_ENOSUP, "augmentations change pictures of at most %d channels; the examples of '%s' are none",
                         ADZE_AUG_MOST_CHANNELS, d->name);
    }
    for (int i = 0; i < a->n; i++) {
        const struct adze_aug_entry *e = &a->entry[i];
        const char *fault = e->kind->fault != NULL ? e->kind->fault(&e->v, t->dims[2]) : NULL;
        if (fault != NULL) {
            return adze_fail(ctx, ADZE_EARG, "augmentation %s of data set '%s': %s", e->kind->name, d->name, fault);
        }
    }
    warn_of_labels(ctx, a, d);
    return acts(a, "pca") ? fit_colours(ctx, a, d, ids, n) : ADZE_OK;
}

/* -- a picture --------------------------------------------------------------------------------------------------------------------------------- */

double adze_aug_between(adze_rng *r, double lo, double hi) {
    const double u = adze_rng_uniform(r);
    return lo == hi ? lo : lo + (hi - lo) * u;
}

double adze_aug_log_between(adze_rng *r, double lo, double hi) {
    const double u = adze_rng_uniform(r);
    return lo == hi ? lo : lo * pow(hi / lo, u);
}

int64_t adze_augment_room(const adze_augment *a, const adze_type *example) {
    const int64_t h = example->dims[0], w = example->dims[1], n = adze_type_count(example);
    int64_t spare = 0;
    for (int i = 0; i < a->n; i++) {
        const struct adze_aug_entry *e = &a->entry[i];
        const int64_t more = e->kind->spare != NULL ? e->kind->spare(&e->v, h, w) : 0;
        spare = more > spare ? more : spare;
    }
    return a->n > 0 ? 2 * n + spare : 0;
}

static adze_rng entry_rng(const adze_augment *a, const struct adze_aug_entry *e, int64_t epoch, int64_t id) {
    const uint64_t place[3] = {e->stream, (uint64_t)epoch, (uint64_t)id};
    return adze_rng_make(a->seed, adze_hash64(place, sizeof place, 0));
}

float *adze_augment_run(const adze_augment *a, const adze_type *example, double white, int64_t epoch, int64_t id, float *buffer) {
    const int64_t n = adze_type_count(example);
    adze_aug_job j = {.h = example->dims[0], .w = example->dims[1], .c = example->dims[2], .white = white};
    j.x = buffer;
    j.out = buffer + n;
    j.spare = buffer + 2 * n;
    memcpy(j.basis, a->basis, sizeof j.basis);
    for (int i = 0; i < a->n; i++) {
        const struct adze_aug_entry *e = &a->entry[i];
        j.v = &e->v;
        j.rng = entry_rng(a, e, epoch, id);
        if (e->kind->run != NULL && adze_rng_uniform(&j.rng) < e->v.p && e->kind->run(&j)) {
            float *held = j.x;
            j.x = j.out;
            j.out = held;
        }
    }
    return j.x;
}

/* With several mixing entries each example draws which of them is its own. */
adze_mix adze_augment_mix(const adze_augment *a, const adze_type *example, int64_t epoch, int64_t id) {
    uint64_t seen = 0;
    const struct adze_aug_entry *own = NULL;
    for (int i = 0; i < a->n; i++) {
        const struct adze_aug_entry *e = &a->entry[i];
        if (e->kind->mix != NULL) {
            adze_rng r = entry_rng(a, e, epoch, id);
            r.ctr[1] = UINT32_MAX; /* apart from the entry's own draws */
            own = adze_rng_below(&r, ++seen) == 0 ? e : own;
        }
    }
    if (own != NULL) {
        adze_rng r = entry_rng(a, own, epoch, id);
        if (adze_rng_uniform(&r) < own->v.p) {
            return own->kind->mix(&own->v, &r, example->dims[0], example->dims[1]);
        }
    }
    return (adze_mix){.share = 1};
}
