/* Preprocessing by name, from the fit to the file that predicts; and first weights scaled on data (LSUV). */
#include "trainbench.h"

#include "adze/ops.h"
#include "model/layer.h"
#include "train/trainer.h"

enum { PIXELS = SIDE * SIDE, FITTED = 30 };

/* All numbers of the examples on which p was fitted, after it: (FITTED, PIXELS). */
static void apply_all(const bench *b, const adze_preprocess *p, const int64_t *ids, double out[FITTED][PIXELS]) {
    for (int i = 0; i < FITTED; i++) {
        must(b, adze_preprocess_apply(p, &b->data->example, b->data->peek(b->data, ids[i]), ADZE_F64, out[i]));
    }
}

typedef struct stats {
    double mean, sd, lo, hi;
} stats;

static stats stats_of(const double *x, int n, int step) {
    stats s = {0, 0, x[0], x[0]};
    for (int i = 0; i < n; i++) {
        const double v = x[i * step];
        s.mean += v / n;
        s.sd += v * v / n;
        s.lo = fmin(s.lo, v);
        s.hi = fmax(s.hi, v);
    }
    s.sd = sqrt(fmax(s.sd - s.mean * s.mean, 0));
    return s;
}

static bool holds(int norm, stats s) {
    switch (norm) {
    case ADZE_NORM_NONE:
        return s.lo >= 0 && s.hi <= 1 && s.mean > 0.1;
    case ADZE_NORM_CENTER:
    case ADZE_NORM_CENTER_FEATURE:
        return fabs(s.mean) < 1e-12 && s.sd < 0.4;
    case ADZE_NORM_MINMAX:
    case ADZE_NORM_MINMAX_FEATURE:
        return s.lo == 0 && fabs(s.hi - 1) < 1e-15;
    default:
        return fabs(s.mean) < 1e-12 && fabs(s.sd - 1) < 1e-12;
    }
}

static void each_norm_does_what_it_says_on_what_it_was_fitted_to(void **state) {
    (void)state;
    setting s = usual(tiny_net);
    bench b = {0};
    adze_about about;
    double x[FITTED][PIXELS];
    int64_t ids[FITTED];
    must(&b, bench_open(&b, &s));
    for (int i = 0; i < FITTED; i++) {
        ids[i] = 3 * i + 1;
    }
    for (int norm = 0; adze_norm_about(norm, &about); norm++) {
        adze_preprocess p = {.norm = norm, .eps = 0.1};
        assert_true(strlen(about.formula) > 0);
        must(&b, adze_preprocess_fit(b.ctx, b.data, ids, FITTED, &p));
        assert_int_equal(p.feature != NULL, adze_norm_per_feature(&p));
        apply_all(&b, &p, ids, x);
        if (norm == ADZE_NORM_ZCA) { /* test_whiten looks closer */
            assert_true(fabs(stats_of(x[0], FITTED * PIXELS, 1).mean) < 1e-12);
        } else if (norm == ADZE_NORM_GCN) {
            for (int i = 0; i < FITTED; i++) {
                assert_true(holds(norm, stats_of(x[i], PIXELS, 1)));
            }
        } else if (adze_norm_per_feature(&p)) {
            for (int k = 0; k < PIXELS; k++) {
                assert_true(holds(norm, stats_of(&x[0][k], FITTED, PIXELS)));
            }
        } else {
            assert_true(holds(norm, stats_of(x[0], FITTED * PIXELS, 1)));
        }
        adze_preprocess_drop(b.ctx, &p);
    }
    bench_close(&b);
}

static void what_never_changes_stays_zero(void **state) {
    (void)state;
    uint8_t same[FITTED * 4];
    int64_t label[FITTED] = {0}, ids[FITTED];
    memset(same, 7, sizeof same);
    setting s = usual(tiny_net);
    bench b = {0};
    adze_dataset *d;
    must(&b, bench_open(&b, &s));
    must(&b, adze_dataset_from_memory(b.ctx, adze_type_make(ADZE_U8, 3, (int64_t[]){2, 2, 1}), same, label, FITTED, 2, &d));
    for (int i = 0; i < FITTED; i++) {
        ids[i] = i;
    }
    for (int norm = 0; norm <= ADZE_NORM_ZCA; norm++) {
        adze_preprocess p = {.norm = norm, .pad = 1, .eps = 0.1};
        double x[16];
        must(&b, adze_preprocess_fit(b.ctx, d, ids, FITTED, &p));
        must(&b, adze_preprocess_apply(&p, &d->example, same, ADZE_F64, x));
        for (int i = 0; i < 16; i++) {
            assert_true(isfinite(x[i]));
        }
        assert_true(norm == ADZE_NORM_NONE ? x[5] == 7 / 255.0 : fabs(x[5]) < 1e-12);
        assert_true(!adze_norm_per_feature(&p) || x[0] == 0); /* the border */
        adze_preprocess_drop(b.ctx, &p);
    }
    adze_dataset_close(d);
    bench_close(&b);
}

/* The first picture of a loader of `text`, with a border of one pixel. */
static void loaded(const bench *b, adze_dataset *d, const adze_preprocess *p, const char *text, double *x) {
    const adze_loader_opts o = {.size = sizeof o, .batch = 1, .dtype = ADZE_F64, .augment = text};
    const int64_t dims[] = {1, SIDE + 2, SIDE + 2, 1};
    adze_loader *l;
    adze_tensor tx, label;
    int64_t n, id = 3;
    must(b, adze_loader_new(b->ctx, d, &id, 1, p, &o, &l));
    must(b, adze_tensor_wrap(b->ctx, adze_type_make(ADZE_F64, 4, dims), x, &tx));
    must(b, adze_tensor_new(b->ctx, adze_type_make(ADZE_I64, 1, dims), &label));
    must(b, adze_loader_next(l, tx, label, &n));
    assert_int_equal(n, 1);
    adze_tensor_free(&tx);
    adze_tensor_free(&label);
    adze_loader_free(l);
}

/* Every norm takes an augmented picture as it takes the same picture in 8 bits: borders are alike, a feature's numbers belong to its place. */
static void augmentation_comes_before_the_norm(void **state) {
    (void)state;
    enum { PADDED = (SIDE + 2) * (SIDE + 2) };
    static const char *const texts[] = {"hflip:p=0", "hflip:p=1", "vflip:p=1"};
    setting s = usual(tiny_net);
    bench b = {0};
    int64_t ids[FITTED];
    must(&b, bench_open(&b, &s));
    for (int i = 0; i < FITTED; i++) {
        ids[i] = 3 * i + 1;
    }
    for (int norm = 0; norm <= ADZE_NORM_ZCA; norm++) {
        adze_preprocess p = {.norm = norm, .pad = 1, .eps = 0.1};
        double x[PADDED], want[PADDED];
        must(&b, adze_preprocess_fit(b.ctx, b.data, ids, FITTED, &p));
        loaded(&b, b.data, &p, NULL, x);
        must(&b, adze_preprocess_apply(&p, &b.data->example, b.data->peek(b.data, 3), ADZE_F64, want));
        for (int i = 0; i < PADDED; i++) { /* the loader multiplies whole batches, in another order */
            assert_true(norm == ADZE_NORM_ZCA ? fabs(x[i] - want[i]) < 1e-12 : x[i] == want[i]);
        }
        for (int k = 0; k < 3; k++) {
            uint8_t moved[PIXELS];
            const uint8_t *px = b.data->peek(b.data, 3);
            for (int i = 0; i < PIXELS; i++) {
                const int row = i / SIDE, col = i % SIDE;
                moved[i] = px[(k == 2 ? SIDE - 1 - row : row) * SIDE + (k == 1 ? SIDE - 1 - col : col)];
            }
            must(&b, adze_preprocess_apply(&p, &b.data->example, moved, ADZE_F64, want));
            loaded(&b, b.data, &p, texts[k], x);
            for (int i = 0; i < PADDED; i++) { /* these two add up in another order */
                assert_true(norm >= ADZE_NORM_GCN ? fabs(x[i] - want[i]) < 1e-12 : x[i] == want[i]);
            }
        }
        adze_preprocess_drop(b.ctx, &p);
    }
    bench_close(&b);
}

/* --norm, the checkpoint, the resume and the model file agree to the bit. */
static void what_was_fitted_travels_with_the_model(void **state) {
    (void)state;
    for (int norm = 0; norm <= ADZE_NORM_ZCA; norm++) {
        char dir[256], path[300];
        faulty_folder(dir, sizeof dir);
        setting s = usual(plain_net);
        s.dir = dir;
        s.o.norm = norm + 1;
        s.o.shift = 1;
        s.o.schedule = ADZE_CONSTANT;
        s.o.epochs = 1;
        bench whole = {0}, first = {0}, rest = {0};
        train(&first, &s, false);
        bench_close(&first);
        s.dir = NULL;
        s.o.epochs = 2;
        train(&whole, &s, false);
        s.dir = dir;
        train(&rest, &s, true);
        same_hash(&whole, &rest, "a resume");
        snprintf(path, sizeof path, "%s/m.safetensors", dir);
        must(&rest, adze_model_save(rest.model, adze_trainer_store(rest.t), "", path));
        for (int k = 0; k < 2; k++) { /* the model file, and the checkpoint */
            adze_model *m;
            adze_store *store;
            snprintf(path, sizeof path, k ? "%s/last" : "%s/m.safetensors", dir);
            must(&rest, adze_model_load(rest.ctx, path, &m, &store));
            const adze_preprocess *p = adze_model_preprocess(m), *q = adze_model_preprocess(rest.model);
            double x[PIXELS], y[PIXELS];
            assert_int_equal(p->norm, norm);
            must(&rest, adze_preprocess_apply(p, &rest.data->example, pixels, ADZE_F64, x));
            must(&rest, adze_preprocess_apply(q, &rest.data->example, pixels, ADZE_F64, y));
            assert_memory_equal(x, y, sizeof x);
            adze_metrics one, two;
            must(&rest, adze_evaluate(rest.ctx, rest.model, adze_trainer_store(rest.t), "", rest.data, NULL, 0, 64, &one));
            must(&rest, adze_evaluate(rest.ctx, m, store, "", rest.data, NULL, 0, 64, &two));
            assert_true(one.loss == two.loss && one.acc == two.acc);
            adze_metrics_free(rest.ctx, &one);
            adze_metrics_free(rest.ctx, &two);
            adze_store_free(store);
            adze_model_free(m);
        }
        bench_close(&rest);
        bench_close(&whole);
        faulty_folder_drop(dir);
    }
}

static void preprocessing_that_cannot_be_is_refused(void **state) {
    (void)state;
    static const char fixed[] = "{\"name\":\"n\",\"input\":[8,8,1],\"preprocess\":{\"fixed\":true,\"mean\":[0.5],\"sd\":[2]},\"layers\":["
                                "{\"type\":\"flatten\",\"name\":\"f\"},{\"type\":\"dense\",\"name\":\"d\",\"units\":4}]}";
    static const char *const pre[][2] = {
        {"{\"norm\":\"zscor\"}", "did you mean 'zscore'?"},
        {"{\"norm\":\"gcn\",\"mean\":[0.5]}", "are for norms per channel, not for gcn"},
        {"{\"norm\":\"zscore_feature\",\"fixed\":true}", "are for norms per channel, not for zscore_feature"},
    };
    setting s = usual(fixed);
    bench b = {0};
    s.o.norm = 1 + ADZE_NORM_GCN;
    assert_int_equal(bench_open(&b, &s), ADZE_EARG);
    must_say(&b, "option norm: the preprocessing of model 'n' is fixed");
    for (size_t i = 0; i < ADZE_COUNT(pre); i++) {
        char text[512];
        adze_model *m;
        snprintf(text, sizeof text, "{\"name\":\"n\",\"input\":[4],\"preprocess\":%s,\"layers\":[{\"type\":\"dense\",\"name\":\"d\",\"units\":4}]}",
                 pre[i][0]);
        assert_int_equal(adze_model_from_json(b.ctx, text, strlen(text), "n.json", &m), ADZE_EARG);
        must_say(&b, pre[i][1]);
    }
    adze_loader *l;
    const adze_loader_opts o = {.size = sizeof o, .batch = 2, .dtype = ADZE_F32};
    assert_int_equal(adze_loader_new(b.ctx, b.data, NULL, 4, &(adze_preprocess){.norm = ADZE_NORM_ZSCORE_FEATURE}, &o, &l), ADZE_EARG);
    must_say(&b, "the preprocessing zscore_feature is fitted to 0 numbers");
    bench_close(&b);
}

/* A model file whose fitted numbers are missing, of another shape, or no deviations. */
static void files_without_what_was_fitted_are_refused(void **state) {
    (void)state;
    char dir[256], path[300];
    faulty_folder(dir, sizeof dir);
    snprintf(path, sizeof path, "%s/m.safetensors", dir);
    setting s = usual(tiny_net);
    bench b = {0};
    s.o.norm = 1 + ADZE_NORM_ZSCORE_FEATURE;
    must(&b, bench_open(&b, &s));
    adze_preprocess *p = &b.model->pre;
    static const char *const why[] = {"has no tensor 'preprocess:feature'", "its model's input needs f64 (2, 64)",
                                      "is 0, which is no mean or deviation"};
    for (int k = 0; k < 3; k++) {
        double *kept = p->feature, first = kept[PIXELS];
        p->feature = k == 0 ? NULL : kept;
        p->nfeature = k == 1 ? PIXELS - 1 : PIXELS;
        kept[PIXELS] = k == 2 ? 0 : first;
        must(&b, adze_model_save(b.model, adze_trainer_store(b.t), "", path));
        p->feature = kept;
        p->nfeature = PIXELS;
        kept[PIXELS] = first;
        adze_model *m;
        assert_int_equal(adze_model_load(b.ctx, path, &m, NULL), ADZE_EFORMAT);
        must_say(&b, why[k]);
    }
    bench_close(&b);
    faulty_folder_drop(dir);
}

/* -- LSUV ---------------------------------------------------------------------------------------------------------------------------------------- */

static double variance(const bench *b, adze_trainer *t, int layer) {
    adze_graph *g;
    adze_val y, sums[8] = {{0}};
    must(b, adze_graph_new(b->ctx, &g));
    adze_type in = adze_model_input_type(t->model, 160, ADZE_F32);
    must(b, adze_model_build_taps(t->model, g, adze_input(g, "x", in), NULL, &y, &(adze_taps){.sums = sums}));
    adze_named x = {.name = "x"};
    must(b, adze_tensor_new(b->ctx, in, &x.t));
    for (int i = 0; i < 160; i++) {
        must(b, adze_preprocess_apply(adze_model_preprocess(t->model), &b->data->example, b->data->peek(b->data, t->ids[i]), ADZE_F32,
                                      (float *)adze_tensor_data(&x.t) + (ptrdiff_t)i * PIXELS));
    }
    adze_val mean = adze_mean(g, sums[layer], NULL, 0, false);
    adze_tensor v;
    must(b, adze_eval(g, adze_mean(g, adze_square(g, adze_sub(g, sums[layer], mean)), NULL, 0, false), &x, 1, t->store, "cpu", &v));
    const double var = adze_tensor_get(&v, 0);
    adze_tensor_free(&v);
    adze_tensor_free(&x.t);
    adze_graph_free(g);
    return var;
}

/* Mishkin and Matas 2016, algorithm 1: every layer's sums have variance 1 to a tenth, whatever the first weights were. */
static void lsuv_gives_every_layer_unit_variance(void **state) {
    (void)state;
    static const char given[] =
        "{\"name\":\"given\",\"input\":[8,8,1],\"layers\":[{\"type\":\"conv\",\"name\":\"c1\",\"filters\":8,\"kernel\":3,\"init\":\"normal\","
        "\"init_value\":5,\"activation\":\"relu\"},{\"type\":\"flatten\",\"name\":\"f\"},{\"type\":\"dense\",\"name\":\"fc2\",\"units\":4,"
        "\"init\":\"normal\",\"init_value\":0.0001}]}";
    static const char lengths[] = /* weights by direction and length: the length is fitted */
        "{\"name\":\"lengths\",\"input\":[8,8,1],\"layers\":[{\"type\":\"conv\",\"name\":\"c1\",\"filters\":8,\"kernel\":3,\"weight_norm\":true,"
        "\"init\":\"normal\",\"init_value\":5,\"activation\":\"relu\"},{\"type\":\"flatten\",\"name\":\"f\"},{\"type\":\"dense\",\"name\":\"fc2\","
        "\"units\":4,\"weight_norm\":true}]}";
    static const char zeros[] = "{\"name\":\"zeros\",\"input\":[8,8,1],\"layers\":[{\"type\":\"flatten\",\"name\":\"f\"},"
                                "{\"type\":\"dense\",\"name\":\"fc\",\"units\":4,\"init\":\"zeros\"}]}";
    static const char *const nets[] = {plain_net, given, lengths};
    for (int k = 0; k < 3; k++) {
        setting s = usual(nets[k]);
        bench plain = {0}, b = {0}, again = {0};
        must(&plain, bench_open(&plain, &s));
        s.o.lsuv = true;
        must(&b, bench_open(&b, &s));
        bool was_off = false;
        for (int i = 0; i < b.model->nlayers; i++) {
            if (b.model->layers[i].params > 0) {
                const double var = variance(&b, b.t, i);
                was_off = was_off || fabs(variance(&plain, plain.t, i) - 1) > 0.1;
                if (!(fabs(var - 1) < 0.101)) {
                    fail_msg("%s: the sums of layer %d have variance %g", nets[k], i, var);
                }
            }
        }
        assert_true(was_off);
        bench_close(&plain);
        bench_close(&b);
        train(&b, &s, false);
        s.threads = 3;
        train(&again, &s, false);
        same_hash(&b, &again, "the number of threads");
        bench_close(&b);
        bench_close(&again);
    }
    setting s = usual(zeros);
    bench b = {0};
    s.o.lsuv = true;
    assert_int_equal(bench_open(&b, &s), ADZE_EARG);
    must_say(&b, "option lsuv: the sums of layer 'fc' have variance 0");
    bench_close(&b);
}

/* Rumelhart et al. 1986: units that start alike stay alike, so that a hidden layer of zeros learns nothing but the bias of its outputs. */
static void zeros_never_break_the_symmetry(void **state) {
    (void)state;
    for (int relu = 0; relu < 2; relu++) {
        char net[512];
        snprintf(
            net, sizeof net,
            "{\"name\":\"z\",\"input\":[8,8,1],\"layers\":[{\"type\":\"flatten\",\"name\":\"f\"},{\"type\":\"dense\",\"name\":\"h\",\"units\":16,"
            "\"activation\":\"%s\",\"init\":\"zeros\"},{\"type\":\"dense\",\"name\":\"o\",\"units\":4,\"init\":\"%s\",\"init_value\":%s}]}",
            relu ? "relu" : "tanh", relu ? "zeros" : "constant", relu ? "0" : "0.1");
        setting s = usual(net);
        bench b = {0};
        train(&b, &s, false);
        adze_tensor w;
        adze_store *store = adze_trainer_store(b.t);
        must(&b, adze_store_tensor(store, adze_store_find(store, "h:w"), &w));
        for (int i = 0; i < PIXELS * 16; i++) { /* unit k is like unit 0 to the bit; behind relu not even the first step changes anything */
            assert_true(adze_tensor_get(&w, i) == (relu ? 0 : adze_tensor_get(&w, i / 16 * 16)));
        }
        bench_close(&b);
    }
}

int main(void) {
    make_data();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_norm_does_what_it_says_on_what_it_was_fitted_to),
        cmocka_unit_test(what_never_changes_stays_zero),
        cmocka_unit_test(augmentation_comes_before_the_norm),
        cmocka_unit_test(what_was_fitted_travels_with_the_model),
        cmocka_unit_test(preprocessing_that_cannot_be_is_refused),
        cmocka_unit_test(files_without_what_was_fitted_are_refused),
        cmocka_unit_test(lsuv_gives_every_layer_unit_variance),
        cmocka_unit_test(zeros_never_break_the_symmetry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
