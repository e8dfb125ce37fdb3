/* First atoms of omp layers from the data: some of what the layer takes in, or the centres of its groups (Coates and Ng 2011), layer by layer from
 * the input on. All of it is brought to length 1 before, as only directions count. */
#include "train/trainer.h"

#include "adze/linalg.h"
#include "model/layer.h"

#include <math.h>
#include <stdio.h>

enum { BATCH = 2048, POINTS = 10000, ROUNDS = 20 };

/* What the layer takes in for the first examples. */
static int inputs_of(adze_trainer *t, int layer, adze_tensor *out) {
    adze_tensor x = {0};
    adze_graph *g = NULL;
    adze_val y, *outs = adze_alloc(t->ctx, t->model->nlayers, sizeof *outs);
    adze_taps taps = {.outs = outs};
    const int from = t->model->layers[layer].from[0];
    int st = outs ? adze_graph_new(t->ctx, &g) : ADZE_ENOMEM;
    if (st == ADZE_OK) {
        st = adze_tensor_new(t->ctx, adze_model_input_type(t->model, t->ntrain < BATCH ? t->ntrain : BATCH, adze_train_dtype(&t->o)), &x);
    }
    if (st == ADZE_OK) {
        const adze_val in = adze_input(g, "x", adze_tensor_type(&x));
        st = adze_model_build_taps(t->model, g, in, &(adze_build_opts){.size = sizeof(adze_build_opts)}, &y, &taps);
        st = st == ADZE_OK ? adze_trainer_first_batch(t, x) : st;
        st = st == ADZE_OK ? adze_eval(g, from < 0 ? in : outs[from], &(adze_named){"x", x}, 1, t->store, NULL, out) : st;
    }
    adze_graph_free(g);
    adze_tensor_free(&x);
    adze_free(t->ctx, outs);
    return st;
}

/* Rows of x that are not 0, of length 1 and in random order: at most m.rows of them, whose number is returned. */
static int64_t directions(const adze_trainer *t, const adze_tensor *x, int64_t *order, adze_la_mat m) {
    const adze_type type = adze_tensor_type(x);
    const int64_t rows = adze_type_count(&type) / m.cols;
    adze_rng r = adze_rng_make(t->o.seed, adze_hash_str("dictionary"));
    int64_t n = 0;
    for (int64_t i = 0; i < rows; i++) {
        order[i] = i;
    }
    adze_rng_permute(&r, order, rows);
    for (int64_t i = 0; i < rows && n < m.rows; i++) {
        double *to = m.at + n * m.ld, square = 0;
        for (int64_t j = 0; j < m.cols; j++) {
            to[j] = adze_tensor_get(x, order[i] * m.cols + j);
            square += to[j] * to[j];
        }
        for (int64_t j = 0; j < m.cols && square > 0; j++) {
            to[j] /= sqrt(square);
        }
        n += square > 0;
    }
    return n;
}

/* at: room for order, labels, points and centres. */
static int make_atoms(const adze_trainer *t, int layer, const adze_tensor *x, adze_tensor v, double *at, int64_t rows) {
    const adze_layer *l = &t->model->layers[layer];
    const int64_t n = v.dims[0], atoms = v.dims[1];
    adze_la_mat points = adze_la_dense(at + rows + POINTS, rows < POINTS ? rows : POINTS, n);
    adze_la_mat first = points;
    points.rows = directions(t, x, (int64_t *)at, points);
    if (points.rows < atoms) {
        return adze_fail(t->ctx, ADZE_EARG, "layer '%s': %lld examples give %lld inputs that are not 0, too few for %lld atoms; use start: init",
                         l->path, (long long)(t->ntrain < BATCH ? t->ntrain : BATCH), (long long)points.rows, (long long)atoms);
    }
    if (adze_omp_start(l) == ADZE_OMP_KMEANS) {
        adze_la_clusters q = {.centres = adze_la_dense(points.at + points.rows * n, atoms, n), .labels = (int64_t *)(at + rows), .at_most = ROUNDS};
        q.seed = t->o.seed;
        TRY(adze_la_kmeans(t->ctx, points, &q));
        first = q.centres;
    }
    for (int64_t i = 0; i < n * atoms; i++) {
        adze_tensor_set(&v, i, first.at[i % atoms * n + i / atoms]);
    }
    return ADZE_OK;
}

static int start(adze_trainer *t, int layer) {
    char slot[ADZE_LAYER_NAME + 4];
    adze_tensor v, x = {0};
    snprintf(slot, sizeof slot, "%s:v", t->model->layers[layer].path);
    TRY(adze_store_tensor(t->store, adze_store_find(t->store, slot), &v));
    TRY(inputs_of(t, layer, &x));
    const adze_type type = adze_tensor_type(&x);
    const int64_t rows = adze_type_count(&type) / v.dims[0], points = rows < POINTS ? rows : POINTS;
    double *at = adze_alloc(t->ctx, rows + POINTS + (points + v.dims[1]) * v.dims[0], sizeof *at);
    const int st = at ? make_atoms(t, layer, &x, v, at, rows) : ADZE_ENOMEM;
    adze_free(t->ctx, at);
    adze_tensor_free(&x);
    return st;
}

int adze_trainer_dictionaries(adze_trainer *t) {
    for (int i = 0; i < t->model->nlayers; i++) {
        if (adze_omp_start(&t->model->layers[i]) != ADZE_OMP_INIT) {
            TRY(start(t, i));
        }
    }
    return ADZE_OK;
}
