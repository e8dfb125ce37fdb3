/* Norm zca: what it makes of the covariance, one example as batches of any size, a border, bits, refusals. */
#include "trainbench.h"

#include "adze/linalg.h"
#include "data/formats.h"
#include "model/layer.h"

enum { PIXELS = SIDE * SIDE };

/* Smallest and largest eigenvalue of the covariance of x (N, PIXELS). */
static void spectrum(const bench *b, const double *x, double *least, double *most) {
    static double cov[PIXELS * PIXELS], values[PIXELS];
    double mean[PIXELS] = {0};
    for (int i = 0; i < N * PIXELS; i++) {
        mean[i % PIXELS] += x[i] / N;
    }
    memset(cov, 0, sizeof cov);
    for (int i = 0; i < N; i++) {
        for (int k = 0; k < PIXELS * PIXELS; k++) {
            cov[k] += (x[i * PIXELS + k / PIXELS] - mean[k / PIXELS]) * (x[i * PIXELS + k % PIXELS] - mean[k % PIXELS]) / N;
        }
    }
    must(b, adze_la_eigen(b->ctx, adze_la_dense(cov, PIXELS, PIXELS), values, (adze_la_mat){0}));
    *least = values[0];
    *most = values[PIXELS - 1];
}

static void apply(const bench *b, const adze_preprocess *p, double *x) {
    for (int i = 0; i < N; i++) {
        must(b, adze_preprocess_apply(p, &b->data->example, b->data->peek(b->data, i), ADZE_F64, x + (ptrdiff_t)i * PIXELS));
    }
}

/* On well-conditioned examples: the covariance becomes the identity, its condition number 1; with eps, variances v become v / (v + eps). */
static void the_covariance_becomes_the_identity(void **state) {
    (void)state;
    static double x[N * PIXELS];
    bench b = {0};
    setting s = usual(tiny_net);
    double least, most, plain_least, plain_most;
    must(&b, bench_open(&b, &s));
    adze_preprocess p = {.norm = ADZE_NORM_CENTER};
    must(&b, adze_preprocess_fit(b.ctx, b.data, NULL, N, &p));
    apply(&b, &p, x);
    spectrum(&b, x, &plain_least, &plain_most);
    assert_true(plain_most / plain_least > 50);
    static const double eps[] = {0, 0.01};
    for (int k = 0; k < 2; k++) {
        adze_preprocess zca = {.norm = ADZE_NORM_ZCA, .eps = eps[k]};
        must(&b, adze_preprocess_fit(b.ctx, b.data, NULL, N, &zca));
        apply(&b, &zca, x);
        spectrum(&b, x, &least, &most);
        assert_true(fabs(least - plain_least / (plain_least + eps[k])) <= 1e-6);
        assert_true(fabs(most - plain_most / (plain_most + eps[k])) <= 1e-6);
        for (int i = 0; i < PIXELS * PIXELS; i++) { /* no rotation: the matrix is symmetric */
            assert_true(zca.feature[PIXELS + i] == zca.feature[PIXELS + i % PIXELS * PIXELS + i / PIXELS]);
        }
        adze_preprocess_drop(b.ctx, &zca);
    }
    bench_close(&b);
}

/* Batches of 7 in f32 and f64, a border around each picture, mixed or not: the numbers of adze_preprocess_apply. */
static void batches_are_whitened_as_single_examples_are(void **state) {
    (void)state;
    enum { BATCH = 7, PADDED = (SIDE + 4) * (SIDE + 4) };
    bench b = {0};
    setting s = usual(tiny_net);
    must(&b, bench_open(&b, &s));
    adze_preprocess p = {.norm = ADZE_NORM_ZCA, .eps = 0.001, .pad = 2};
    must(&b, adze_preprocess_fit(b.ctx, b.data, NULL, N, &p));
    for (int k = 0; k < 2; k++) {
        const adze_loader_opts o = {.size = sizeof o, .batch = BATCH, .dtype = k ? ADZE_F64 : ADZE_F32, .workers = k};
        adze_loader *l;
        adze_tensor x, label;
        must(&b, adze_loader_new(b.ctx, b.data, NULL, N, &p, &o, &l));
        must(&b, adze_tensor_new(b.ctx, adze_type_make(o.dtype, 4, (int64_t[]){BATCH, SIDE + 4, SIDE + 4, 1}), &x));
        must(&b, adze_tensor_new(b.ctx, adze_type_make(ADZE_I64, 1, (int64_t[]){BATCH}), &label));
        for (int64_t at = 0, n; at < N; at += n) {
            must(&b, adze_loader_next(l, x, label, &n));
            assert_int_equal(n, N - at < BATCH ? N - at : BATCH);
            for (int64_t i = 0; i < n; i++) {
                double want[PADDED];
                must(&b, adze_preprocess_apply(&p, &b.data->example, b.data->peek(b.data, at + i), ADZE_F64, want));
                for (int64_t j = 0; j < PADDED; j++) {
                    const double got = adze_tensor_get(&x, i * PADDED + j);
                    const bool inside = j / (SIDE + 4) >= 2 && j / (SIDE + 4) < SIDE + 2 && j % (SIDE + 4) >= 2 && j % (SIDE + 4) < SIDE + 2;
                    assert_true(fabs(got - want[j]) <= (k ? 1e-12 : 1e-5));
                    assert_true(inside || got == 0);
                }
            }
        }
        adze_tensor_free(&x);
        adze_tensor_free(&label);
        adze_loader_free(l);
    }
    adze_preprocess_drop(b.ctx, &p);
    bench_close(&b);
}

static void threads_change_no_bit(void **state) {
    (void)state;
    bench one = {0}, many = {0};
    setting s = everything();
    s.o.norm = 1 + ADZE_NORM_ZCA;
    s.threads = 1;
    train(&one, &s, false);
    s.threads = 3;
    s.o.workers = 2;
    train(&many, &s, false);
    same_hash(&one, &many, "the number of threads");
    bench_close(&one);
    bench_close(&many);
}

static void what_cannot_be_whitened_is_refused(void **state) {
    (void)state;
    static uint8_t large[2 * 65 * 64];
    bench b = {0};
    setting s = usual(tiny_net);
    s.o.limit_train = 40; /* fewer examples than pixels */
    s.o.norm = 1 + ADZE_NORM_ZCA;
    s.o.zca_eps = 0;
    assert_int_equal(bench_open(&b, &s), ADZE_EARG);
    must_say(&b, "so eps 0 is too small");
    adze_preprocess p = {.norm = ADZE_NORM_ZCA, .eps = 1};
    adze_dataset *d;
    must(&b, adze_dataset_from_memory(b.ctx, adze_type_make(ADZE_U8, 3, (int64_t[]){65, 64, 1}), large, labels, 2, 4, &d));
    assert_int_equal(adze_preprocess_fit(b.ctx, d, NULL, 2, &p), ADZE_ENOSUP);
    must_say(&b, "at most 4096 numbers");
    adze_dataset_close(d);
    bench_close(&b);
}

/* What a fold copies beside the network: the whole matrix, and the data's name. */
static void a_folded_model_keeps_the_matrix(void **state) {
    (void)state;
    bench b = {0};
    setting s = usual(tiny_net);
    adze_model *folded;
    adze_store *store;
    s.o.norm = 1 + ADZE_NORM_ZCA;
    s.o.epochs = 1;
    train(&b, &s, false);
    strcpy(b.model->data, "mine");
    must(&b, adze_model_fold(b.model, adze_trainer_store(b.t), &folded, &store));
    const adze_preprocess *p = adze_model_preprocess(b.model), *q = adze_model_preprocess(folded);
    assert_int_equal(q->nfeature, PIXELS);
    assert_memory_equal(p->feature, q->feature, sizeof *p->feature * (1 + PIXELS) * PIXELS);
    assert_string_equal(adze_model_data(folded), "mine");
    adze_store_free(store);
    adze_model_free(folded);
    bench_close(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_covariance_becomes_the_identity),
        cmocka_unit_test(batches_are_whitened_as_single_examples_are),
        cmocka_unit_test(threads_change_no_bit),
        cmocka_unit_test(what_cannot_be_whitened_is_refused),
        cmocka_unit_test(a_folded_model_keeps_the_matrix),
    };
    return cmocka_run_group_tests(tests, prepare, NULL);
}
