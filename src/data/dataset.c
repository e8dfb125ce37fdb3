/* Opening data sets: by name, looked for in the usual folders, or by the path of a folder that holds their files. */
#include "data/formats.h"

#include <stdio.h>
#include <stdlib.h>

enum { PATH_MAX_BYTES = 1024 };

typedef enum known_format { KNOWN_IDX, KNOWN_OPTDIGITS, KNOWN_CIFAR } known_format;

typedef struct known_set { /* a row: what a name stands for */
    const char *name, *doc;
    known_format format;
    int classes;
    const char *const *class_names;
} known_set;

static const char *const fashion_classes[] = {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
                                              "Sandal",      "Shirt",   "Sneaker",  "Bag",   "Ankle boot"};

static const known_set known_sets[] = {
    {"fashion-mnist", "60,000 + 10,000 grey images of clothes, 28x28, 10 classes (Xiao et al., 2017); Debian: dataset-fashion-mnist", KNOWN_IDX, 10,
     fashion_classes},
    {"mnist", "60,000 + 10,000 handwritten digits, 28x28, 10 classes (LeCun et al., 1998)", KNOWN_IDX, 10, NULL},
    {"optdigits", "3,823 + 1,797 handwritten digits, 8x8, 10 classes (UCI; Alpaydin and Kaynak, 1998)", KNOWN_OPTDIGITS, 10, NULL},
    {"cifar10", "50,000 + 10,000 colour images of things and animals, 32x32, 10 classes (Krizhevsky, 2009), in the binary form", KNOWN_CIFAR, 10,
     NULL},
};

int adze_dataset_known(int i, const char **name, const char **doc) {
    if (i < 0 || i >= (int)ADZE_COUNT(known_sets)) {
        return ADZE_EARG;
    }
    *name = known_sets[i].name;
    *doc = known_sets[i].doc;
    return ADZE_OK;
}

static const known_set *known_find(const char *name) {
    for (size_t i = 0; i < ADZE_COUNT(known_sets); i++) {
        if (strcmp(known_sets[i].name, name) == 0) {
            return &known_sets[i];
        }
    }
    return NULL;
}

/* The first of the names (NULL-terminated) that is in the folder, plain or packed; false: none. */
static bool find_file(adze_ctx *ctx, const char *dir, const char *const *names, char *path, size_t n) {
    char with_gz[64];
    for (; *names != NULL; names++) {
        snprintf(with_gz, sizeof with_gz, "%s.gz", *names);
        if (adze_path_join(path, n, dir, *names) == ADZE_OK && adze_path_exists(ctx, path)) {
            return true;
        }
        if (adze_path_join(path, n, dir, with_gz) == ADZE_OK && adze_path_exists(ctx, path)) {
            return true;
        }
    }
    return false;
}

static const char *const train_images[] = {"train-images-idx3-ubyte", "train-images.idx3-ubyte", "train-images-idx4-ubyte", NULL};
static const char *const train_labels[] = {"train-labels-idx1-ubyte", "train-labels.idx1-ubyte", NULL};
static const char *const test_images[] = {"t10k-images-idx3-ubyte", "t10k-images.idx3-ubyte", "t10k-images-idx4-ubyte", NULL};
static const char *const test_labels[] = {"t10k-labels-idx1-ubyte", "t10k-labels.idx1-ubyte", NULL};
static const char *const train_digits[] = {"optdigits.tra", NULL};
static const char *const test_digits[] = {"optdigits.tes", NULL};
static const char *const train_cifar[] = {"data_batch_1.bin", NULL};
static const char *const test_cifar[] = {"test_batch.bin", NULL};

static const char *const *image_names(known_format format, bool train) {
    if (format == KNOWN_CIFAR) {
        return train ? train_cifar : test_cifar;
    }
    if (format == KNOWN_OPTDIGITS) {
        return train ? train_digits : test_digits;
    }
    return train ? train_images : test_images;
}

/* -- where to look --------------------------------------------------------------------------------------------------------------------------- */

typedef struct lookup { /* a search in progress; `tried` lists the folders for the message */
    adze_ctx *ctx;
    const known_set *set;
    bool train;
    char *found; /* the folder */
    adze_text tried;
} lookup;

static bool look_in(lookup *l, const char *root, size_t root_len) {
    char base[PATH_MAX_BYTES], dir[PATH_MAX_BYTES], path[PATH_MAX_BYTES];
    if (root_len == 0 || root_len >= sizeof base) {
        return false;
    }
    memcpy(base, root, root_len);
    base[root_len] = 0;
    if (adze_path_join(dir, sizeof dir, base, l->set->name) != ADZE_OK) {
        return false;
    }
    adze_text_add(&l->tried, "%s%s", l->tried.len > 0 ? ", " : "", dir);
    if (!find_file(l->ctx, dir, image_names(l->set->format, l->train), path, sizeof path)) {
        return false;
    }
    memcpy(l->found, dir, strlen(dir) + 1);
    return true;
}

static bool look_in_list(lookup *l, const char *list) {
    while (list != NULL && *list != 0) {
        size_t n = strcspn(list, ":");
        if (look_in(l, list, n)) {
            return true;
        }
        list += n + (list[n] == ':');
    }
    return false;
}

static bool look_under(lookup *l, const char *root, const char *sub) {
    char dir[PATH_MAX_BYTES];
    return root != NULL && *root != 0 && adze_path_join(dir, sizeof dir, root, sub) == ADZE_OK && look_in(l, dir, strlen(dir));
}

static bool look_everywhere(lookup *l) {
    return look_in_list(l, getenv("ADZE_DATA")) || look_under(l, getenv("XDG_DATA_HOME"), "adze") ||
           look_under(l, getenv("HOME"), ".local/share/adze") || look_in_list(l, "/usr/local/share/datasets:/usr/share/datasets");
}

static int find_known(adze_ctx *ctx, const known_set *set, bool train, char *dir) {
    lookup l = {.ctx = ctx, .set = set, .train = train, .found = dir, .tried = {.ctx = ctx}};
    if (look_everywhere(&l)) {
        adze_text_drop(&l.tried);
        return ADZE_OK;
    }
    char *tried = NULL;
    TRY(adze_text_finish(&l.tried, &tried));
    int st = adze_fail(ctx, ADZE_EARG, "data set '%s' is in none of: %s; put its files there, or set ADZE_DATA to the folder that holds '%s'",
                       set->name, tried, set->name);
    adze_free(ctx, tried);
    return st;
}

/* -- IDX folders ------------------------------------------------------------------------------------------------------------------------------ */

static int read_labels(adze_ctx *ctx, const char *path, int64_t **labels, int64_t *count, int *classes) {
    void *bytes = NULL;
    const uint8_t *data = NULL;
    adze_type type;
    TRY(adze_idx_read(ctx, path, &bytes, &type, &data));
    if (type.rank != 1) {
        adze_free(ctx, bytes);
        return adze_fail(ctx, ADZE_EFORMAT, "'%s' should hold labels (rank 1), but its rank is %d", path, type.rank);
    }
    *count = type.dims[0];
    *labels = adze_alloc(ctx, *count, sizeof(int64_t));
    if (*labels == NULL) {
        adze_free(ctx, bytes);
        return ADZE_ENOMEM;
    }
    *classes = 0;
    for (int64_t i = 0; i < *count; i++) {
        (*labels)[i] = data[i];
        *classes = data[i] >= *classes ? data[i] + 1 : *classes;
    }
    adze_free(ctx, bytes);
    return ADZE_OK;
}

/* A test part may lack a class that the training part has: the training labels count for both. */
static int count_classes(adze_ctx *ctx, const char *dir, int *classes) {
    char path[PATH_MAX_BYTES];
    if (!find_file(ctx, dir, train_labels, path, sizeof path)) {
        return ADZE_OK;
    }
    int64_t *labels = NULL, count;
    int n = 0;
    TRY(read_labels(ctx, path, &labels, &count, &n));
    adze_free(ctx, labels);
    *classes = n > *classes ? n : *classes;
    return ADZE_OK;
}

/* Images as (H, W, C): rank 3 has one channel. */
static int image_type(adze_ctx *ctx, const char *path, const adze_type *t, int64_t labels, adze_type *example) {
    if (t->rank != 3 && t->rank != 4) {
        return adze_fail(ctx, ADZE_EFORMAT, "'%s' should hold images (rank 3 or 4), but its rank is %d", path, t->rank);
    }
    if (t->dims[0] != labels) {
        return adze_fail(ctx, ADZE_EFORMAT, "'%s' holds %lld images, but there are %lld labels", path, (long long)t->dims[0], (long long)labels);
    }
    const int64_t dims[3] = {t->dims[1], t->dims[2], t->rank == 4 ? t->dims[3] : 1};
    *example = adze_type_make(ADZE_U8, 3, dims);
    return ADZE_OK;
}

static int open_idx_images(adze_ctx *ctx, const char *path, const char *name, int64_t *labels, int64_t count, int classes,
                           const char *const *class_names, adze_dataset **out) {
    void *bytes = NULL;
    const uint8_t *data = NULL;
    adze_type type, example;
    int st = adze_idx_read(ctx, path, &bytes, &type, &data);
    if (st == ADZE_OK) {
        st = image_type(ctx, path, &type, count, &example);
    }
    if (st != ADZE_OK) {
        adze_free(ctx, bytes);
        adze_free(ctx, labels);
        return st;
    }
    return adze_dataset_take(ctx, name, example, bytes, data, labels, count, classes, class_names, out);
}

static int open_idx(adze_ctx *ctx, const char *dir, const char *name, bool train, const known_set *set, adze_dataset **out) {
    char path[PATH_MAX_BYTES];
    if (!find_file(ctx, dir, train ? train_labels : test_labels, path, sizeof path)) {
        return adze_fail(ctx, ADZE_EARG, "'%s' has no file '%s' or '%s.gz'", dir, train ? train_labels[0] : test_labels[0],
                         train ? train_labels[0] : test_labels[0]);
    }
    int64_t *labels = NULL, count = 0;
    int classes = 0;
    TRY(read_labels(ctx, path, &labels, &count, &classes));
    int st = ADZE_OK;
    if (set != NULL) {
        classes = set->classes;
    } else if (!train) {
        st = count_classes(ctx, dir, &classes);
    }
    if (st == ADZE_OK && !find_file(ctx, dir, image_names(KNOWN_IDX, train), path, sizeof path)) {
        st = adze_fail(ctx, ADZE_EARG, "'%s' has no file '%s' or '%s.gz'", dir, image_names(KNOWN_IDX, train)[0], image_names(KNOWN_IDX, train)[0]);
    }
    if (st != ADZE_OK) {
        adze_free(ctx, labels);
        return st;
    }
    return open_idx_images(ctx, path, name, labels, count, classes, set != NULL ? set->class_names : NULL, out);
}

static int open_digits(adze_ctx *ctx, const char *dir, const char *name, bool train, adze_dataset **out) {
    char path[PATH_MAX_BYTES];
    const char *const *names = image_names(KNOWN_OPTDIGITS, train);
    if (!find_file(ctx, dir, names, path, sizeof path)) {
        return adze_fail(ctx, ADZE_EARG, "'%s' has no file '%s' or '%s.gz'", dir, names[0], names[0]);
    }
    return adze_optdigits_open(ctx, path, name, out);
}

static int open_folder(adze_ctx *ctx, const char *dir, bool train, adze_dataset **out) {
    char path[PATH_MAX_BYTES];
    const char *slash = strrchr(dir, '/');
    const char *name = slash != NULL && slash[1] != 0 ? slash + 1 : dir;
    if (find_file(ctx, dir, image_names(KNOWN_OPTDIGITS, train), path, sizeof path)) {
        return adze_optdigits_open(ctx, path, name, out);
    }
    if (find_file(ctx, dir, image_names(KNOWN_CIFAR, train), path, sizeof path)) {
        return adze_cifar_open(ctx, dir, name, train, out);
    }
    return open_idx(ctx, dir, name, train, known_find(name), out);
}

static int open_unknown(adze_ctx *ctx, const char *name) {
    const char *near = adze_suggest(name, &known_sets[0].name, ADZE_COUNT(known_sets), sizeof known_sets[0]);
    return adze_fail(ctx, ADZE_EARG, "there is no data set or folder '%s'%s%s%s", name,
                     near != NULL ? "; did you mean '" : "; known names: ", near != NULL ? near : "fashion-mnist, mnist, optdigits, cifar10",
                     near != NULL ? "'?" : "");
}

int adze_dataset_open(adze_ctx *ctx, const char *name_or_path, const char *part, adze_dataset **out) {
    *out = NULL;
    bool train = strcmp(part, "train") == 0;
    if (!train && strcmp(part, "test") != 0) {
        return adze_fail(ctx, ADZE_EARG, "a data set has the parts 'train' and 'test', not '%s'", part);
    }
    const known_set *set = known_find(name_or_path);
    if (set == NULL) {
        return adze_path_exists(ctx, name_or_path) ? open_folder(ctx, name_or_path, train, out) : open_unknown(ctx, name_or_path);
    }
    char dir[PATH_MAX_BYTES];
    TRY(find_known(ctx, set, train, dir));
    if (set->format == KNOWN_CIFAR) {
        return adze_cifar_open(ctx, dir, set->name, train, out);
    }
    return set->format == KNOWN_OPTDIGITS ? open_digits(ctx, dir, set->name, train, out) : open_idx(ctx, dir, set->name, train, set, out);
}

void adze_dataset_close(adze_dataset *d) {
    if (d != NULL) {
        d->close(d);
    }
}
