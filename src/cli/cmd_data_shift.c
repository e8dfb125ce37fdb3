/* adze data shift: do the training and the test part, or two data sets, come from one distribution? */
#include "cli/data_opts.h"

#include "adze/linalg.h"

#include <math.h>

typedef struct side { /* examples drawn from a part, as rows of numbers from 0 to 1 */
    adze_dataset *data;
    adze_la_mat x;
} side;

static int open_side(cli *c, const char *name, const char *part, const data_opts *o, side *s) {
    TRY(adze_dataset_open(c->ctx, name, part, &s->data));
    const adze_dataset *d = s->data;
    const int64_t size = adze_type_count(&d->example), n = o->examples < d->count ? o->examples : d->count;
    int64_t *ids = adze_alloc(c->ctx, d->count, sizeof(*ids)), label;
    uint8_t *pixels = adze_alloc(c->ctx, size, 1);
    s->x = adze_la_dense(adze_alloc(c->ctx, n * size, sizeof(double)), n, size);
    int status = ids && pixels && s->x.at ? adze_split_ids(c->ctx, d->count, 0, o->seed, ids) : ADZE_ENOMEM;
    for (int64_t i = 0; i < n && status == ADZE_OK; i++) {
        status = d->read(d, ids[i], pixels, &label);
        for (int64_t k = 0; k < size && status == ADZE_OK; k++) {
            s->x.at[i * size + k] = pixels[k] / 255.0;
        }
    }
    adze_free(c->ctx, ids);
    adze_free(c->ctx, pixels);
    return status;
}

static void close_side(cli *c, side *s) {
    adze_free(c->ctx, s->x.at);
    adze_dataset_close(s->data);
}

typedef struct found {
    double most, least_p; /* of all features: the largest distance and the smallest p */
    int64_t feature, below;
    adze_shift_mmd mmd;
    bool shift;
} found;

static const double LEVEL = 0.05; /* of each test; those of the features share it (Bonferroni) */

static int by_feature(cli *c, const side *a, const side *b, found *f) {
    const int64_t features = a->x.cols;
    double *va = adze_alloc(c->ctx, a->x.rows, sizeof(*va)), *vb = adze_alloc(c->ctx, b->x.rows, sizeof(*vb));
    f->least_p = 1;
    for (int64_t k = 0; k < features && va && vb; k++) {
        double p;
        for (int64_t i = 0; i < a->x.rows; i++) {
            va[i] = a->x.at[i * features + k];
        }
        for (int64_t i = 0; i < b->x.rows; i++) {
            vb[i] = b->x.at[i * features + k];
        }
        const double d = adze_ks(va, a->x.rows, vb, b->x.rows, &p);
        f->below += p * (double)features < LEVEL;
        f->least_p = fmin(f->least_p, p);
        if (d > f->most) {
            f->most = d;
            f->feature = k;
        }
    }
    const bool done = va && vb;
    adze_free(c->ctx, va);
    adze_free(c->ctx, vb);
    return done ? ADZE_OK : ADZE_ENOMEM;
}

static int print(cli *c, const side *a, const side *b, const data_opts *o, const found *f) {
    adze_text t = {.ctx = c->ctx};
    const char *verdict = f->shift ? f->below == 0       ? "the distributions differ as a whole, though in no single feature"
                                     : f->mmd.p >= LEVEL ? "the distributions differ in single features, though not as a whole"
                                                         : "the distributions differ"
                                   : "no difference was found";
    if (c->global.json) {
        adze_text_add(&t, "{\"schema\":1,\"data\":");
        adze_json_string(&t, a->data->name);
        adze_text_add(&t, ",\"part\":\"%s\",\"against\":", o->part);
        adze_json_string(&t, b->data->name);
        adze_text_add(&t,
                      ",\"against_part\":\"%s\",\"examples\":[%lld,%lld],\"features\":%lld,\"ks_max\":%.17g,\"ks_feature\":%lld,\"ks_p_min\":%.17g,",
                      o->against_part, (long long)a->x.rows, (long long)b->x.rows, (long long)a->x.cols, f->most, (long long)f->feature, f->least_p);
        adze_text_add(&t, "\"ks_features_below\":%lld,\"mmd2\":%.17g,\"mmd_p\":%.17g,\"kernel_width\":%.17g,\"shift\":%s,\"verdict\":",
                      (long long)f->below, f->mmd.mmd2, f->mmd.p, f->mmd.width, f->shift ? "true" : "false");
        adze_json_string(&t, verdict);
        adze_text_add(&t, "}\n");
        return cli_print_text(c, &t);
    }
    adze_text_add(&t, "%s %s against %s %s: %lld and %lld examples of %lld features\n", a->data->name, o->part, b->data->name, o->against_part,
                  (long long)a->x.rows, (long long)b->x.rows, (long long)a->x.cols);
    adze_text_add(&t, "  features   largest distance %.4f (feature %lld), smallest p %.3g; %lld differ at %.2f with Bonferroni's correction\n",
                  f->most, (long long)f->feature, f->least_p, (long long)f->below, LEVEL);
    adze_text_add(&t, "  together   squared discrepancy %.3g (kernel of width %.3g), p %.3g by %lld permutations\n%s\n", f->mmd.mmd2, f->mmd.width,
                  f->mmd.p, (long long)o->permutations, verdict);
    return cli_print_text(c, &t);
}

int cli_data_shift(cli *c, const char *name, const data_opts *o) {
    side a = {0}, b = {0};
    found f = {.mmd = {.seed = o->seed, .permutations = o->permutations}};
    data_opts other = *o;
    other.seed = o->seed + 1; /* a part compared with itself is two draws of it */
    int status = open_side(c, name, o->part, o, &a);
    status = status == ADZE_OK ? open_side(c, o->against[0] ? o->against : name, o->against_part, &other, &b) : status;
    if (status == ADZE_OK && a.x.cols != b.x.cols) {
        status = adze_fail(c->ctx, ADZE_ESHAPE, "examples of '%s' have %lld numbers, those of '%s' %lld: they cannot be compared", a.data->name,
                           (long long)a.x.cols, b.data->name, (long long)b.x.cols);
    }
    status = status == ADZE_OK ? by_feature(c, &a, &b, &f) : status;
    status = status == ADZE_OK ? adze_mmd(c->ctx, a.x, b.x, &f.mmd) : status;
    f.shift = f.below > 0 || f.mmd.p < LEVEL;
    status = status == ADZE_OK ? print(c, &a, &b, o, &f) : status;
    close_side(c, &a);
    close_side(c, &b);
    return status;
}
