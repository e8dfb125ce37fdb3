/* ZCA whitening: the rotation back from principal components of equal variance (Bell and Sejnowski 1997; Krizhevsky 2009, appendix A). Its fit, and
 * its product with each batch.
 *
 * Pixels are whole numbers: less 128 they and the sums of 1024 of their products are exact in f32, so the covariance is exact whatever multiplies. */
#include "data/whiten.h"

#include "adze/linalg.h"
#include "adze/ops.h"

enum { EXACT = 1024, MIDDLE = 128, LEVELS = 256 };

/* -- fitting ------------------------------------------------------------------------------------------------------------------------------------- */

typedef struct covariance {
    adze_ctx *ctx;
    const adze_dataset *data;
    int64_t d, n;
    const int64_t *ids;
    double *sums, *products; /* (d), (d, d): of pixels less the middle */
    uint8_t *pixels;         /* one example */
    adze_plan *plan;
    adze_session *session;
    adze_tensor x, xx;
} covariance;

static int open_products(covariance *c) {
    adze_graph *g = NULL;
    const int64_t dims[2] = {EXACT, c->d};
    TRY(adze_graph_new(c->ctx, &g));
    const adze_val x = adze_input(g, "x", adze_type_make(ADZE_F32, 2, dims));
    adze_output(g, "xx", adze_matmul(g, x, x, true, false));
    int st = adze_graph_status(g);
    st = st == ADZE_OK ? adze_compile(g, NULL, &c->plan) : st;
    adze_graph_free(g);
    TRY(st);
    TRY(adze_session_new(c->ctx, c->plan, NULL, "", &c->session));
    TRY(adze_session_input(c->session, "x", &c->x));
    return adze_session_output(c->session, "xx", &c->xx);
}

/* Up to EXACT examples; rows behind the last are 0. */
static int add_examples(covariance *c, int64_t from) {
    float *x = adze_tensor_data(&c->x);
    const int64_t count = c->n - from < EXACT ? c->n - from : EXACT;
    memset(x, 0, (size_t)(EXACT * c->d) * sizeof *x);
    for (int64_t i = 0; i < count; i++) {
        const int64_t id = c->ids != NULL ? c->ids[from + i] : from + i;
        int64_t label;
        const int st = c->data->read(c->data, id, c->pixels, &label);
        if (st != ADZE_OK) {
            return adze_fail(c->ctx, st, "example %lld of data set '%s' cannot be read", (long long)id, c->data->name);
        }
        for (int64_t k = 0; k < c->d; k++) {
            const int v = c->pixels[k] - MIDDLE;
            x[i * c->d + k] = (float)v;
            c->sums[k] += v;
        }
    }
    TRY(adze_session_run(c->session));
    const float *xx = adze_tensor_data(&c->xx);
    for (int64_t k = 0; k < c->d * c->d; k++) {
        c->products[k] += (double)xx[k];
    }
    return ADZE_OK;
}

/* The sums become the mean and the covariance, in units of p->scale. */
static void finish(const covariance *c, double scale, double *mean) {
    const double n = (double)c->n;
    for (int64_t i = 0; i < c->d; i++) {
        for (int64_t j = 0; j < c->d; j++) {
            c->products[i * c->d + j] = (c->products[i * c->d + j] - c->sums[i] / n * c->sums[j]) / n * scale * scale;
        }
        mean[i] = (c->sums[i] / n + MIDDLE) * scale;
    }
}

static int fit_in(covariance *c, const adze_preprocess *p, double *made) {
    c->sums = adze_alloc(c->ctx, c->d, sizeof *c->sums);
    c->products = adze_alloc(c->ctx, c->d * c->d, sizeof *c->products);
    c->pixels = adze_alloc(c->ctx, c->d, 1);
    TRY(ADZE_GOT(c->sums && c->products && c->pixels));
    TRY(open_products(c));
    for (int64_t from = 0; from < c->n; from += EXACT) {
        TRY(add_examples(c, from));
    }
    finish(c, p->scale, made);
    const adze_la_mat cov = adze_la_dense(c->products, c->d, c->d), w = adze_la_dense(made + c->d, c->d, c->d);
    const int st = adze_la_power(c->ctx, cov, p->eps, -0.5, w);
    return st == ADZE_EARG ? adze_fail(c->ctx, ADZE_EARG, "norm zca: some direction of the examples has no variance, so eps %g is too small", p->eps)
                           : st;
}

int adze_whiten_fit(adze_ctx *ctx, const adze_dataset *d, const int64_t *ids, int64_t n, adze_preprocess *p) {
    covariance c = {.ctx = ctx, .data = d, .d = adze_type_count(&d->example), .n = n, .ids = ids};
    if (c.d > ADZE_WHITEN_MOST) {
        return adze_fail(ctx, ADZE_ENOSUP, "norm zca takes examples of at most %d numbers, those of '%s' have %lld", ADZE_WHITEN_MOST, d->name,
                         (long long)c.d);
    }
    double *made = adze_alloc(ctx, (1 + c.d) * c.d, sizeof *made);
    const int st = made != NULL ? fit_in(&c, p, made) : ADZE_ENOMEM;
    adze_session_free(c.session);
    adze_plan_free(c.plan);
    adze_free(ctx, c.sums);
    adze_free(ctx, c.products);
    adze_free(ctx, c.pixels);
    if (st != ADZE_OK) {
        adze_free(ctx, made);
        return st;
    }
    p->feature = made;
    p->nfeature = c.d;
    return ADZE_OK;
}

/* -- using --------------------------------------------------------------------------------------------------------------------------------------- */

struct adze_whitener {
    adze_ctx *ctx;
    adze_store *store;
    adze_plan *plan;
    adze_session *session;
    adze_tensor x, y;
    adze_type example;
    int64_t pad;
};

static int open_whitener(adze_whitener *w, const adze_preprocess *p, int64_t batch, adze_dtype d) {
    const int64_t n = p->nfeature;
    adze_graph *g = NULL;
    adze_tensor t;
    int slot;
    TRY(adze_store_new(w->ctx, &w->store));
    TRY(adze_store_add(w->store, "w", adze_type_make(d, 2, (int64_t[]){n, n}), ADZE_SLOT_STATE, &slot));
    TRY(adze_store_tensor(w->store, slot, &t));
    for (int64_t i = 0; i < n * n; i++) {
        adze_tensor_set(&t, i, p->feature[n + i]);
    }
    TRY(adze_graph_new(w->ctx, &g));
    const adze_val x = adze_input(g, "x", adze_type_make(d, 2, (int64_t[]){batch, n}));
    adze_output(g, "y", adze_matmul(g, x, adze_slot(g, "w", adze_store_type(w->store, slot)), false, false));
    int st = adze_graph_status(g);
    const adze_compile_opts opts = {.size = sizeof opts, .keep_packed = true};
    st = st == ADZE_OK ? adze_compile(g, &opts, &w->plan) : st;
    adze_graph_free(g);
    TRY(st);
    TRY(adze_session_new(w->ctx, w->plan, w->store, "", &w->session));
    TRY(adze_session_input(w->session, "x", &w->x));
    return adze_session_output(w->session, "y", &w->y);
}

int adze_whitener_new(adze_ctx *ctx, const adze_preprocess *p, const adze_type *example, int64_t batch, adze_dtype d, adze_whitener **out) {
    *out = adze_alloc(ctx, 1, sizeof **out);
    TRY(ADZE_GOT(*out));
    **out = (adze_whitener){.ctx = ctx, .example = *example, .pad = p->pad};
    const int st = open_whitener(*out, p, batch, d);
    if (st != ADZE_OK) {
        adze_whitener_free(*out);
        *out = NULL;
    }
    return st;
}

void adze_whitener_free(adze_whitener *w) {
    if (w != NULL) {
        adze_session_free(w->session);
        adze_plan_free(w->plan);
        adze_store_free(w->store);
        adze_free(w->ctx, w);
    }
}

/* Between the rows of n pictures with their border and those without, all of one type. */
static void move_rows(const adze_whitener *w, char *bordered, char *plain, int64_t n, bool out) {
    const adze_type *t = &w->example;
    const bool image = t->rank >= 2;
    const int64_t size = (int64_t)adze_dtype_size(w->x.dtype), c = t->dims[t->rank - 1], width = image ? t->dims[t->rank - 2] : 1;
    const int64_t height = t->rank >= 3 ? t->dims[0] : 1, line = (width + 2 * w->pad) * c * size, row = width * c * size;
    for (int64_t i = 0; i < n; i++, bordered += (height + 2 * w->pad) * line) {
        for (int64_t y = 0; y < height; y++, plain += row) {
            char *at = bordered + (w->pad + y) * line + w->pad * c * size;
            memcpy(out ? at : plain, out ? plain : at, (size_t)row);
        }
    }
}

int adze_whitener_run(adze_whitener *w, void *x, int64_t n) {
    move_rows(w, x, adze_tensor_data(&w->x), n, false);
    TRY(adze_session_run(w->session));
    move_rows(w, x, adze_tensor_data(&w->y), n, true);
    return ADZE_OK;
}

void adze_whiten_one(const adze_preprocess *p, const adze_type *example, adze_dtype d, void *x) {
    const adze_whitener w = {.example = *example, .pad = p->pad, .x.dtype = d};
    const int64_t n = p->nfeature;
    double plain[ADZE_WHITEN_MOST], white[ADZE_WHITEN_MOST];
    float narrow[ADZE_WHITEN_MOST];
    char *at = d == ADZE_F64 ? (char *)plain : (char *)narrow;
    move_rows(&w, x, at, 1, false);
    for (int64_t j = 0; j < n; j++) {
        white[j] = 0;
        plain[j] = d == ADZE_F64 ? plain[j] : (double)narrow[j];
    }
    for (int64_t k = 0; k < n; k++) {
        for (int64_t j = 0; j < n; j++) {
            white[j] += plain[k] * p->feature[n + k * n + j];
        }
    }
    for (int64_t j = 0; j < n; j++) {
        narrow[j] = (float)white[j];
    }
    move_rows(&w, x, d == ADZE_F64 ? (char *)white : (char *)narrow, 1, true);
}
