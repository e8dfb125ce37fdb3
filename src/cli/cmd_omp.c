/* adze omp: patches of pictures as sums of few atoms. Dictionaries are patches taken as they come, centres of k-means on normalised patches (Coates
 * and Ng 2011), and what rounds of pursuit and least squares make of these; the figure is what is left of patches that no dictionary has seen. */
#include "cli/cli.h"

#include "adze/linalg.h"

#include <math.h>

typedef struct omp_opts {
    char data[512];
    int64_t patch, atoms, k, patches, rounds;
    uint64_t seed;
} omp_opts;

static const adze_field FIELDS[] = {
    {"data", ADZE_F_STR, 0, offsetof(omp_opts, data), sizeof(((omp_opts *)0)->data), "fashion-mnist", 0, 0, NULL, "data set: a name or a folder"},
    {"patch", ADZE_F_I64, 0, offsetof(omp_opts, patch), 0, "6", 2, 32, NULL, "pixels of a patch on each side"},
    {"atoms", ADZE_F_I64, 0, offsetof(omp_opts, atoms), 0, "100", 2, 4096, NULL, "of the dictionary"},
    {"k", ADZE_F_I64, 0, offsetof(omp_opts, k), 0, "5", 1, 64, NULL, "atoms of one patch, at most"},
    {"patches", ADZE_F_I64, 0, offsetof(omp_opts, patches), 0, "4000", 10, 1e6, NULL, "to learn from, and as many to judge by"},
    {"rounds", ADZE_F_I64, 0, offsetof(omp_opts, rounds), 0, "10", 0, 1000, NULL, "of pursuit and least squares, for the third dictionary"},
    {"seed", ADZE_F_U64, 0, offsetof(omp_opts, seed), 0, "1", 0, 0, NULL, "of the patches and of k-means"},
    {0}};

enum { DICTIONARIES = 3 };

static int tables(cli_table *t) {
    t[0] = (cli_table){FIELDS, NULL, NULL};
    return 1;
}

/* Mean 0 and length 1; a flat patch has no length and is not taken. */
static bool normalise(double *x, int64_t n) {
    double mean = 0, square = 0;
    for (int64_t i = 0; i < n; i++) {
        mean += x[i] / (double)n;
    }
    for (int64_t i = 0; i < n; i++) {
        x[i] -= mean;
        square += x[i] * x[i];
    }
    for (int64_t i = 0; i < n; i++) {
        x[i] /= square > 0 ? sqrt(square) : 1;
    }
    return square > 1e-3;
}

/* Patches from anywhere in the pictures of the set. */
static int draw_patches(cli *c, const adze_dataset *d, const omp_opts *o, const char *stream, adze_la_mat x) {
    const adze_type *e = &d->example;
    const int64_t h = e->dims[0], w = e->dims[1], ch = e->rank > 2 ? e->dims[2] : 1;
    uint8_t *pixels = adze_alloc(c->ctx, adze_type_bytes(e), 1);
    adze_rng r = adze_rng_make(o->seed, adze_hash_str(stream));
    int status = pixels ? ADZE_OK : ADZE_ENOMEM;
    int64_t tries = 0;
    for (int64_t i = 0; i < x.rows && status == ADZE_OK; tries++) {
        int64_t label;
        double *to = x.at + i * x.ld;
        status = d->read(d, (int64_t)adze_rng_below(&r, (uint32_t)d->count), pixels, &label);
        const int64_t top = (int64_t)adze_rng_below(&r, (uint32_t)(h - o->patch + 1)),
                      left = (int64_t)adze_rng_below(&r, (uint32_t)(w - o->patch + 1));
        for (int64_t k = 0; k < x.cols; k++) {
            const int64_t y = top + k / (o->patch * ch), at = k % (o->patch * ch);
            to[k] = pixels[(y * w + left) * ch + at] / 255.0;
        }
        i += normalise(to, x.cols);
        if (tries > 100 * x.rows) {
            status = adze_fail(c->ctx, ADZE_EARG, "the pictures of '%s' are nearly blank: too few patches have any contrast", d->name);
        }
    }
    adze_free(c->ctx, pixels);
    return status;
}

/* Atoms (m, atoms), one in each column: the first patches, or the centres of all. */
static int make_atoms(cli *c, const omp_opts *o, adze_la_mat x, bool learn, adze_la_mat d) {
    double *centres = adze_alloc(c->ctx, o->atoms * x.cols, sizeof(*centres));
    int64_t *labels = adze_alloc(c->ctx, x.rows, sizeof(*labels));
    adze_la_clusters q = {.centres = adze_la_dense(centres, o->atoms, x.cols), .labels = labels, .seed = o->seed, .at_most = 30};
    int status = centres && labels ? ADZE_OK : ADZE_ENOMEM;
    if (status == ADZE_OK && learn) {
        status = adze_la_kmeans(c->ctx, x, &q);
    } else if (status == ADZE_OK) {
        memcpy(centres, x.at, (size_t)(o->atoms * x.cols) * sizeof(*centres));
    }
    for (int64_t j = 0; j < o->atoms && status == ADZE_OK; j++) {
        normalise(centres + j * x.cols, x.cols);
        for (int64_t i = 0; i < x.cols; i++) {
            d.at[i * d.ld + j] = centres[j * x.cols + i];
        }
    }
    adze_free(c->ctx, centres);
    adze_free(c->ctx, labels);
    return status;
}

/* Sums over the codes: gram (atoms, atoms) of code by code, right (atoms, m) of code by patch. */
static void add_codes(const omp_opts *o, const int64_t *atoms, const double *coef, adze_la_mat x, adze_la_mat gram, adze_la_mat right) {
    memset(gram.at, 0, (size_t)(gram.rows * gram.cols) * sizeof(double));
    memset(right.at, 0, (size_t)(right.rows * right.cols) * sizeof(double));
    for (int64_t i = 0; i < x.rows * o->k; i++) {
        const int64_t first = i / o->k * o->k;
        for (int64_t q = first; atoms[i] >= 0 && q < first + o->k && atoms[q] >= 0; q++) {
            gram.at[atoms[i] * gram.ld + atoms[q]] += coef[i] * coef[q];
        }
        for (int64_t p = 0; atoms[i] >= 0 && p < x.cols; p++) {
            right.at[atoms[i] * right.ld + p] += coef[i] * x.at[i / o->k * x.ld + p];
        }
    }
    for (int64_t j = 0; j < gram.rows; j++) { /* an atom that nothing needs becomes a patch; what hardly differs stays apart */
        double *at = gram.at + j * gram.ld + j;
        for (int64_t p = 0; p < x.cols && *at == 0; p++) {
            right.at[j * right.ld + p] = x.at[j * x.ld + p];
        }
        *at = *at > 0 ? *at * (1 + 1e-6) : 1;
    }
}

/* Codes for the dictionary, then the dictionary that leaves least with these codes (Engan, Aase, Husoy 1999), in turns. */
static int refine(cli *c, const omp_opts *o, adze_la_mat x, adze_la_mat d) {
    const int64_t n = o->atoms, m = x.cols;
    int64_t *atoms = adze_alloc(c->ctx, x.rows * o->k, sizeof(*atoms));
    double *room = adze_alloc(c->ctx, x.rows * o->k + n * n + n * m, sizeof(*room));
    int status = atoms && room ? ADZE_OK : ADZE_ENOMEM;
    for (int64_t round = 0; round < o->rounds && status == ADZE_OK; round++) {
        const adze_la_mat coef = adze_la_dense(room, x.rows, o->k), gram = adze_la_dense(room + x.rows * o->k, n, n),
                          right = adze_la_dense(gram.at + n * n, n, m);
        status = adze_la_omp(c->ctx, d, x, o->k, 0, atoms, coef);
        if (status == ADZE_OK) {
            add_codes(o, atoms, coef.at, x, gram, right);
            status = adze_la_cholesky(c->ctx, gram);
        }
        status = status == ADZE_OK ? adze_la_cholesky_solve(c->ctx, gram, right) : status;
        for (int64_t j = 0; j < n && status == ADZE_OK; j++) {
            normalise(right.at + j * m, m);
            for (int64_t i = 0; i < m; i++) {
                d.at[i * d.ld + j] = right.at[j * m + i];
            }
        }
    }
    adze_free(c->ctx, atoms);
    adze_free(c->ctx, room);
    return status;
}

/* What is left of v, and of the atoms chosen later, once atom j has been taken out of them. */
static void take_out(double *q, int64_t m, int64_t j, int64_t n, double *v) {
    const double *a = q + j * m;
    double square = 0;
    for (int64_t p = 0; p < m; p++) {
        square += a[p] * a[p];
    }
    for (int64_t i = j + 1; i <= n && square > 0; i++) {
        double *x = i < n ? q + i * m : v, along = 0;
        for (int64_t p = 0; p < m; p++) {
            along += a[p] * x[p];
        }
        for (int64_t p = 0; p < m; p++) {
            x[p] -= along / square * a[p];
        }
    }
}

/* left[j]: the mean share of a patch's square that j + 1 atoms leave. The first of many are those of a shorter pursuit: one is enough. */
static int judge(cli *c, const omp_opts *o, adze_la_mat d, adze_la_mat x, double *left) {
    int64_t *atoms = adze_alloc(c->ctx, x.rows * o->k, sizeof(*atoms));
    double *coef = adze_alloc(c->ctx, x.rows * o->k, sizeof(*coef)), *room = adze_alloc(c->ctx, (o->k + 1) * x.cols, sizeof(*room));
    int status = atoms && coef && room ? adze_la_omp(c->ctx, d, x, o->k, 0, atoms, adze_la_dense(coef, x.rows, o->k)) : ADZE_ENOMEM;
    for (int64_t j = 0; j < o->k; j++) {
        left[j] = 0;
    }
    for (int64_t i = 0; i < x.rows && status == ADZE_OK; i++) {
        double *v = room + o->k * x.cols;
        int64_t n = 0;
        memcpy(v, x.at + i * x.ld, (size_t)x.cols * sizeof(*v));
        for (; n < o->k && atoms[i * o->k + n] >= 0; n++) {
            for (int64_t p = 0; p < x.cols; p++) {
                room[n * x.cols + p] = d.at[p * d.ld + atoms[i * o->k + n]];
            }
        }
        for (int64_t j = 0; j < o->k; j++) {
            if (j < n) {
                take_out(room, x.cols, j, n, v);
            }
            for (int64_t p = 0; p < x.cols; p++) {
                left[j] += v[p] * v[p] / (double)x.rows;
            }
        }
    }
    adze_free(c->ctx, atoms);
    adze_free(c->ctx, coef);
    adze_free(c->ctx, room);
    return status;
}

static int print(cli *c, const omp_opts *o, const adze_dataset *d, int64_t numbers, double *const left[DICTIONARIES]) {
    static const char *const names[DICTIONARIES] = {"random_patches", "k_means", "pursuit"};
    adze_text t = {.ctx = c->ctx};
    adze_text_add(&t, c->global.json ? "{\"schema\":1,\"data\":" : "%s: ", d->name);
    if (c->global.json) {
        adze_json_string(&t, d->name);
        adze_text_add(&t, ",\"patch_numbers\":%lld,\"atoms\":%lld,\"patches\":%lld,\"rounds\":%lld,\"left\":{", (long long)numbers,
                      (long long)o->atoms, (long long)o->patches, (long long)o->rounds);
        for (int k = 0; k < DICTIONARIES; k++) {
            adze_text_add(&t, "%s\"%s\":[", k ? "," : "", names[k]);
            for (int64_t j = 0; j < o->k; j++) {
                adze_text_add(&t, "%s%.17g", j ? "," : "", left[k][j]);
            }
            adze_text_add(&t, "]");
        }
        adze_text_add(&t, "}}\n");
        return cli_print_text(c, &t);
    }
    adze_text_add(&t, "patches of %lld numbers, %lld atoms; mean share of a patch that is left\n  atoms  random patches  k-means  pursuit\n",
                  (long long)numbers, (long long)o->atoms);
    for (int64_t j = 0; j < o->k; j++) {
        adze_text_add(&t, "  %5lld  %12.2f %%  %5.2f %%  %5.2f %%\n", (long long)j + 1, 100 * left[0][j], 100 * left[1][j], 100 * left[2][j]);
    }
    return cli_print_text(c, &t);
}

static int pursue(cli *c, const omp_opts *o, const adze_dataset *d) {
    const adze_type *e = &d->example;
    if (e->rank < 2 || e->dims[0] < o->patch || e->dims[1] < o->patch) {
        return adze_fail(c->ctx, ADZE_EARG, "--patch %lld: the examples of '%s' are no pictures of that size", (long long)o->patch, d->name);
    }
    if (o->atoms > o->patches || o->k > o->atoms) {
        return cli_usage_error(c, "--k cannot exceed --atoms, nor --atoms exceed --patches");
    }
    const int64_t m = o->patch * o->patch * (e->rank > 2 ? e->dims[2] : 1);
    double *room = adze_alloc(c->ctx, 2 * o->patches * m + m * o->atoms + DICTIONARIES * o->k, sizeof(*room));
    if (!room) {
        return ADZE_ENOMEM;
    }
    const adze_la_mat x = adze_la_dense(room, o->patches, m), unseen = adze_la_dense(room + o->patches * m, o->patches, m);
    const adze_la_mat atoms = adze_la_dense(room + 2 * o->patches * m, m, o->atoms);
    double *const end = atoms.at + m * o->atoms, *const left[DICTIONARIES] = {end, end + o->k, end + 2 * o->k};
    int status = draw_patches(c, d, o, "omp/learn", x);
    status = status == ADZE_OK ? draw_patches(c, d, o, "omp/judge", unseen) : status;
    for (int k = 0; k < DICTIONARIES && status == ADZE_OK; k++) {
        status = k < 2 ? make_atoms(c, o, x, k == 1, atoms) : refine(c, o, x, atoms);
        status = status == ADZE_OK ? judge(c, o, atoms, unseen, left[k]) : status;
    }
    status = status == ADZE_OK ? print(c, o, d, m, left) : status;
    adze_free(c->ctx, room);
    return status;
}

static int run(cli *c, int argc, const char **argv) {
    omp_opts o;
    cli_args a = {.tables = {{FIELDS, &o, NULL}}, .ntables = 1};
    adze_dataset *d = NULL;
    int status = cli_parse(c, &a, argc, argv, 0, 0);
    if (status == ADZE_OK && c->global.help) {
        cli_help(c->cmd, stdout);
        status = cli_finish_output(c);
    } else if (status == ADZE_OK) {
        status = adze_dataset_open(c->ctx, o.data, "train", &d);
        status = status == ADZE_OK ? pursue(c, &o, d) : status;
    }
    adze_dataset_close(d);
    cli_args_free(c, &a);
    return status;
}

const cli_cmd CLI_OMP = {"omp",           "patches of pictures as sums of few atoms, by orthogonal matching pursuit",
                         "omp [options]", "  adze omp --data cifar10 --atoms 400 --k 10\n  adze omp --patch 8 --json\n",
                         tables,          run};
