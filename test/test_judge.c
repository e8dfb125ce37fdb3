/* What is said of a trained model rests on how it was trained: its file remembers the loss and the target, and a judge reads the outputs by them. */
#include "model/layer.h"
#include "trainbench.h"

#include "train/evaluate.h"
#include "train/trainer.h"

enum { PIXELS = SIDE * SIDE };

#define FLAT "{\"name\":\"net\",\"task\":\"regress\",\"input\":[8,8,1],\"layers\":[{\"type\":\"flatten\",\"name\":\"f\"},"
static const char linear_net[] = FLAT "{\"type\":\"dense\",\"name\":\"d\",\"units\":64}]}";
static const char spread_net[] = FLAT "{\"type\":\"dense\",\"name\":\"d\",\"units\":128}]}";
static const char untold_net[] = "{\"name\":\"untold\",\"input\":[8,8,1],\"layers\":[{\"type\":\"flatten\",\"name\":\"f\"},"
                                 "{\"type\":\"dense\",\"name\":\"d\",\"units\":64}]}"; /* without 'task' */
static const char small_auto_net[] = FLAT "{\"type\":\"dropout\",\"name\":\"o\",\"p\":0.2},{\"type\":\"dense\",\"name\":\"a\",\"units\":3},"
                                          "{\"type\":\"dense\",\"name\":\"d\",\"units\":64}]}";

static setting rebuilding(const char *net, int loss) {
    setting s = usual(net);
    s.o.target = ADZE_TARGET_INPUT;
    s.o.loss = loss;
    s.o.norm = loss == ADZE_LOSS_SIGMOID_XENT || loss == ADZE_LOSS_POISSON ? 1 + ADZE_NORM_MINMAX : 0;
    s.o.optimizer = 3; /* adam */
    s.o.lr = 0.005;
    return s;
}

static void judge(const bench *b, const adze_model *m, adze_store *s, adze_metrics *out) {
    const adze_eval_opts how = {.size = sizeof how, .batch = 37};
    must(b, adze_evaluate_with(b->ctx, m, s, &how, b->data, NULL, 0, out));
}

static void slot(const bench *b, const char *name, adze_tensor *out) {
    adze_store *s = adze_trainer_store(b->t);
    must(b, adze_store_tensor(s, adze_store_find(s, name), out));
}

/* Example i and what y = x w + b, read by the loss, says of it. */
static void rebuild(const bench *b, int loss, int64_t i, double *x, double *guess) {
    float in[PIXELS];
    adze_tensor w, bias;
    slot(b, "d:w", &w);
    slot(b, "d:b", &bias);
    must(b, adze_preprocess_apply(adze_model_preprocess(b->model), &b->data->example, b->data->peek(b->data, i), ADZE_F32, in));
    for (int64_t k = 0; k < PIXELS; k++) {
        x[k] = (double)in[k];
        guess[k] = adze_tensor_get(&bias, k);
        for (int64_t p = 0; p < PIXELS; p++) {
            guess[k] += (double)in[p] * adze_tensor_get(&w, p * w.dims[1] + k);
        }
        guess[k] = loss == ADZE_LOSS_SIGMOID_XENT ? 1 / (1 + exp(-guess[k])) : loss == ADZE_LOSS_POISSON ? exp(guess[k]) : guess[k];
    }
}

static double apart(double a, double b) {
    return fabs(a - b) / fmax(fabs(b), 1e-3);
}

static void a_reconstruction_is_judged_by_its_numbers(void **state) {
    (void)state;
    static const int losses[] = {ADZE_LOSS_AUTO, ADZE_LOSS_MAE, ADZE_LOSS_SIGMOID_XENT, ADZE_LOSS_POISSON, ADZE_LOSS_GAUSSIAN};
    static double x[N * PIXELS], guess[N * PIXELS];
    for (size_t l = 0; l < ADZE_COUNT(losses); l++) {
        bench b = {0};
        adze_metrics m;
        adze_report r;
        double squares = 0, off = 0, spread = 0;
        setting s = rebuilding(losses[l] == ADZE_LOSS_GAUSSIAN ? spread_net : linear_net, losses[l]);
        train(&b, &s, false);
        for (int64_t i = 0; i < N; i++) {
            rebuild(&b, losses[l], i, x + i * PIXELS, guess + i * PIXELS);
        }
        for (int64_t k = 0; k < PIXELS; k++) { /* about the mean of this number */
            double mean = 0;
            for (int64_t i = 0; i < N; i++) {
                mean += x[i * PIXELS + k] / N;
            }
            for (int64_t i = 0; i < N; i++) {
                const double e = guess[i * PIXELS + k] - x[i * PIXELS + k];
                spread += (x[i * PIXELS + k] - mean) * (x[i * PIXELS + k] - mean);
                squares += e * e;
                off += fabs(e);
            }
        }
        judge(&b, b.model, adze_trainer_store(b.t), &m);
        assert_true(m.count == N && m.values == PIXELS && m.classes == 0 && m.scores == NULL);
        assert_true(apart(m.fit.rmse, sqrt(squares / (N * PIXELS))) < 1e-5);
        assert_true(apart(m.fit.mae, off / (N * PIXELS)) < 1e-5);
        assert_true(apart(m.fit.r2, 1 - squares / spread) < 1e-5);
        assert_true(apart(m.error, squares / N) < 1e-5);
        assert_true(isnan(m.acc) && isnan(m.nll) && isnan(m.top5) && isnan(m.fit.spearman));
        if (losses[l] == ADZE_LOSS_AUTO) {
            assert_true(apart(m.loss, squares / (N * PIXELS)) < 1e-5); /* mse */
        }
        assert_int_equal(adze_metrics_report(b.ctx, &m, &r), ADZE_EARG); /* nothing of classes */
        adze_metrics_free(b.ctx, &m);
        bench_close(&b);
    }
}

/* The loss that eval measures is the one that validation measured. */
static void a_judge_measures_the_loss_of_the_training(void **state) {
    (void)state;
    static const int losses[] = {ADZE_LOSS_AUTO, ADZE_LOSS_HUBER, ADZE_LOSS_FOCAL, ADZE_LOSS_MSE, ADZE_LOSS_SIGMOID_XENT, ADZE_LOSS_HINGE};
    for (size_t l = 0; l < ADZE_COUNT(losses); l++) {
        bench b = {0};
        adze_metrics m;
        const adze_epoch_stats *h;
        setting s = usual(tiny_net);
        s.o.loss = losses[l];
        s.o.huber_delta = 0.3;
        s.o.focal_gamma = 1.7;
        s.o.label_smoothing = losses[l] == ADZE_LOSS_AUTO ? 0.1 : 0;
        train(&b, &s, false);
        const int64_t n = adze_trainer_history(b.t, &h);
        must(&b, adze_evaluate(b.ctx, b.model, adze_trainer_store(b.t), "", b.data, b.t->ids + b.t->ntrain, b.t->nval, 40, &m));
        assert_true(fabs(m.loss - h[n - 1].val_loss) < 1e-12);
        adze_metrics_free(b.ctx, &m);
        bench_close(&b);
    }
}

static void files_remember_how_they_were_trained(void **state) {
    (void)state;
    char dir[256], path[512];
    faulty_folder(dir, sizeof dir);
    setting s = rebuilding(untold_net, ADZE_LOSS_AUTO);
    s.dir = dir;
    s.o.val_count = 0;
    bench b = {0};
    adze_metrics want, m;
    train(&b, &s, false);
    judge(&b, b.model, adze_trainer_store(b.t), &want);
    static const char *const files[] = {"model.safetensors", "last", "best", "folded"};
    for (size_t f = 0; f < ADZE_COUNT(files); f++) {
        adze_model *model, *folded = NULL;
        adze_store *store, *its = NULL;
        snprintf(path, sizeof path, "%s/%s", dir, f == 3 ? files[0] : files[f]);
        if (f == 0) {
            must(&b, adze_trainer_save_model(b.t, path));
        }
        must(&b, adze_model_load(b.ctx, path, &model, &store));
        if (f == 3) {
            must(&b, adze_model_fold(model, store, &folded, &its));
        }
        judge(&b, folded ? folded : model, its ? its : store, &m);
        assert_true(m.loss == want.loss && m.fit.r2 == want.fit.r2 && m.classes == 0);
        assert_string_equal(adze_model_data(model), b.data->name);
        adze_metrics_free(b.ctx, &m);
        adze_store_free(its);
        adze_model_free(folded);
        adze_store_free(store);
        adze_model_free(model);
    }
    adze_metrics_free(b.ctx, &want);
    bench_close(&b);
    faulty_folder_drop(dir);
}

/* An older file says nothing of its training: its classes are judged by their softmax. What it does say must be readable. */
static void an_older_file_means_what_it_meant(void **state) {
    (void)state;
    static const char *const bad[] = {"loss=nonsense", "loss", "lss=mse", "loss=mse  target=input", "target=", "=", "huber_delta=-1 loss=huber",
                                      "loss=mse ="};
    bench b = {0};
    adze_metrics m;
    setting s = usual(tiny_net);
    s.o.loss = ADZE_LOSS_MSE;
    train(&b, &s, false);
    judge(&b, b.model, adze_trainer_store(b.t), &m);
    const double loss = m.loss;
    adze_metrics_free(b.ctx, &m);
    b.model->training[0] = 0;
    judge(&b, b.model, adze_trainer_store(b.t), &m);
    assert_true(m.classes == CLASSES && fabs(m.loss - m.nll) < 1e-5 && m.acc > 0.5);
    adze_metrics_free(b.ctx, &m);
    for (size_t i = 0; i < ADZE_COUNT(bad); i++) {
        strcpy(b.model->training, bad[i]);
        const adze_eval_opts how = {.size = sizeof how};
        assert_int_equal(adze_evaluate_with(b.ctx, b.model, adze_trainer_store(b.t), &how, b.data, NULL, 0, &m), ADZE_EFORMAT);
        must_say(&b, "how model 'tiny' was trained");
    }
    adze_train_opts o;
    adze_fields_default(adze_train_fields(), &o);
    o.loss = ADZE_LOSS_MSE;
    const adze_eval_opts told = {.size = sizeof told, .train = &o}; /* then the file is not asked */
    must(&b, adze_evaluate_with(b.ctx, b.model, adze_trainer_store(b.t), &told, b.data, NULL, 0, &m));
    assert_true(m.loss == loss);
    adze_metrics_free(b.ctx, &m);
    bench_close(&b);
}

/* No training's options are too long to be remembered, and they come back as they were. */
static void what_is_remembered_comes_back(void **state) {
    (void)state;
    bench b = {0};
    setting s = usual(tiny_net);
    must(&b, bench_open(&b, &s));
    adze_train_opts o, back;
    adze_fields_default(adze_train_fields(), &o);
    o.loss = ADZE_LOSS_SQUARED_HINGE_OVR;
    o.target = ADZE_TARGET_INPUT;
    o.label_smoothing = 0.1 / 3e-7 * 1e-9;
    o.huber_delta = -1.2345678901234567e-299 * -1;
    o.focal_gamma = 100.0 / 3;
    adze_train_remember(&o, b.model);
    must(&b, adze_train_recall(b.ctx, b.model, &back));
    assert_true(back.loss == o.loss && back.target == o.target && back.label_smoothing == o.label_smoothing && back.huber_delta == o.huber_delta &&
                back.focal_gamma == o.focal_gamma);
    bench_close(&b);
}

static void what_a_reconstruction_has_not_is_refused(void **state) {
    (void)state;
    bench b = {0};
    adze_metrics m;
    adze_ensemble *e;
    adze_ensemble_report r;
    setting s = rebuilding(small_auto_net, ADZE_LOSS_AUTO);
    train(&b, &s, false);
    const adze_eval_opts passes = {.size = sizeof passes, .passes = 3}, crops = {.size = sizeof crops, .crops = 1},
                         drops = {.size = sizeof drops, .dropout = ADZE_DROPOUT_MC, .passes = 2};
    const adze_eval_opts *const tried[] = {&passes, &crops, &drops};
    for (size_t i = 0; i < ADZE_COUNT(tried); i++) {
        assert_int_equal(adze_evaluate_with(b.ctx, b.model, adze_trainer_store(b.t), tried[i], b.data, NULL, 0, &m), ADZE_EARG);
        must_say(&b, "gives its input back");
    }
    bench_close(&b);
    s = rebuilding(untold_net, ADZE_LOSS_AUTO);
    train(&b, &s, false);
    must(&b, adze_ensemble_new(b.ctx, ADZE_MEAN_PROB, &e));
    must(&b, adze_ensemble_add(e, b.model, adze_trainer_store(b.t), 1));
    assert_int_equal(adze_ensemble_evaluate(e, b.data, 50, &r), ADZE_EARG);
    must_say(&b, "tells no classes apart");
    adze_ensemble_free(e);
    bench_close(&b);
}

/* What y = x w + b of tiny_net says of example i. */
static void outputs(const bench *b, int64_t i, double *y) {
    float in[PIXELS];
    adze_tensor w, bias;
    slot(b, "fc1:w", &w);
    slot(b, "fc1:b", &bias);
    must(b, adze_preprocess_apply(adze_model_preprocess(b->model), &b->data->example, b->data->peek(b->data, i), ADZE_F32, in));
    for (int64_t k = 0; k < CLASSES; k++) {
        y[k] = adze_tensor_get(&bias, k);
        for (int64_t p = 0; p < PIXELS; p++) {
            y[k] += (double)in[p] * adze_tensor_get(&w, p * CLASSES + k);
        }
    }
}

enum { SOFTMAX, SIGMOIDS, NUMBERS };

static void class_figures_are_of_what_the_loss_reads(void **state) {
    (void)state;
    static const int reads[] = {[ADZE_LOSS_AUTO] = SOFTMAX,
                                [ADZE_LOSS_SOFTMAX_XENT] = SOFTMAX,
                                [ADZE_LOSS_MSE] = NUMBERS,
                                [ADZE_LOSS_HUBER] = NUMBERS,
                                [ADZE_LOSS_MAE] = NUMBERS,
                                [ADZE_LOSS_SIGMOID_XENT] = SIGMOIDS,
                                [ADZE_LOSS_HINGE] = NUMBERS,
                                [ADZE_LOSS_SQUARED_HINGE] = NUMBERS,
                                [ADZE_LOSS_HINGE_OVR] = NUMBERS,
                                [ADZE_LOSS_SMOOTH_HINGE] = NUMBERS,
                                [ADZE_LOSS_SQUARED_HINGE_OVR] = NUMBERS,
                                [ADZE_LOSS_KL] = SOFTMAX,
                                [ADZE_LOSS_POISSON] = NUMBERS,
                                [ADZE_LOSS_FOCAL] = SOFTMAX,
                                [ADZE_LOSS_NLL] = NUMBERS};
    for (int loss = 0; loss < (int)ADZE_COUNT(reads); loss++) {
        if (loss == ADZE_LOSS_GAUSSIAN) {
            continue; /* needs numbers as targets */
        }
        bench b = {0};
        adze_metrics m;
        adze_report r;
        setting s = usual(tiny_net);
        s.o.loss = loss;
        s.o.epochs = 1;
        train(&b, &s, false);
        judge(&b, b.model, adze_trainer_store(b.t), &m);
        must(&b, adze_metrics_report(b.ctx, &m, &r));
        double nll = 0, brier = 0;
        int64_t right = 0;
        for (int64_t i = 0; i < N; i++) {
            double y[CLASSES], sum = 0;
            outputs(&b, i, y);
            int64_t best = 0;
            for (int64_t k = 0; k < CLASSES; k++) {
                best = y[k] > y[best] ? k : best;
            }
            right += best == labels[i];
            for (int64_t k = 0; k < CLASSES; k++) {
                y[k] = reads[loss] == SIGMOIDS ? 1 / (1 + exp(-y[k])) : exp(y[k]);
                sum += y[k];
            }
            nll -= log(y[labels[i]] / sum) / N;
            for (int64_t k = 0; k < CLASSES; k++) {
                const double e = y[k] / sum - (k == labels[i]);
                brier += e * e / N;
            }
        }
        assert_true(m.acc == (double)right / N && r.micro.recall == m.acc && r.matthews > -1 && r.macro.auc > 0 && m.top5 == 1);
        assert_int_equal(m.numbers, reads[loss] == NUMBERS);
        if (m.numbers) {
            assert_true(isnan(m.nll) && isnan(r.perplexity) && isnan(r.bits) && isnan(r.ece) && isnan(r.mce) && isnan(r.brier));
            assert_true(isnan(r.ordinal.mae) && isnan(r.ordinal.rmse) && isnan(r.ordinal.r2) && isnan(r.ordinal.spearman));
        } else {
            assert_true(fabs(m.nll - nll) < 1e-5 && fabs(r.brier - brier) < 1e-5 && fabs(r.perplexity - exp(nll)) < 1e-4 && r.ece < 1);
        }
        adze_report_free(b.ctx, &r);
        adze_metrics_free(b.ctx, &m);
        bench_close(&b);
    }
}

/* A softmax in the model makes probabilities for any loss. */
static void a_softmax_layer_is_one_for_every_loss(void **state) {
    (void)state;
    static const char net[] = FLAT "{\"type\":\"dense\",\"name\":\"d\",\"units\":4},{\"type\":\"softmax\",\"name\":\"s\"}]}";
    bench b = {0};
    adze_metrics m;
    setting s = usual(net);
    s.o.loss = ADZE_LOSS_MSE;
    train(&b, &s, false);
    judge(&b, b.model, adze_trainer_store(b.t), &m);
    assert_true(m.probabilities && !m.numbers && m.nll > 0 && m.nll < 2 && m.loss < 0.25);
    adze_metrics_free(b.ctx, &m);
    bench_close(&b);
}

/* Sigmoids far out neither vanish nor turn into something that is no number. */
static void sigmoids_far_out_stay_numbers(void **state) {
    (void)state;
    bench b = {0};
    adze_metrics m;
    adze_tensor bias;
    setting s = usual(tiny_net);
    s.o.loss = ADZE_LOSS_SIGMOID_XENT;
    train(&b, &s, false);
    slot(&b, "fc1:b", &bias);
    for (int sign = -1; sign < 2; sign += 2) {
        for (int64_t k = 0; k < CLASSES; k++) {
            adze_tensor_set(&bias, k, sign * 1e4);
        }
        adze_store_touch(adze_trainer_store(b.t));
        judge(&b, b.model, adze_trainer_store(b.t), &m);
        assert_true(isfinite(m.nll) && m.nll > 0 && m.nll < 20);
        adze_metrics_free(b.ctx, &m);
    }
    bench_close(&b);
}

/* Passes average outputs where nothing makes probabilities of them, and normalised sigmoids where those do; predict and ensembles say the same. */
static void means_are_of_what_the_loss_reads(void **state) {
    (void)state;
    bench b = {0};
    adze_metrics one, m;
    setting s = usual(drop_net);
    s.o.loss = ADZE_LOSS_MSE;
    train(&b, &s, false);
    adze_store *store = adze_trainer_store(b.t);
    const adze_eval_opts mc = {.size = sizeof mc, .dropout = ADZE_DROPOUT_MC, .passes = 3},
                         geo = {.size = sizeof geo, .dropout = ADZE_DROPOUT_GEO, .passes = 3};
    must(&b, adze_evaluate_with(b.ctx, b.model, store, &mc, b.data, NULL, 0, &one));
    must(&b, adze_evaluate_with(b.ctx, b.model, store, &geo, b.data, NULL, 0, &m));
    assert_memory_equal(one.scores, m.scores, N * CLASSES * sizeof *m.scores);
    adze_metrics_free(b.ctx, &m);
    judge(&b, b.model, store, &m);
    double apart = 0, size = 0;
    for (int64_t i = 0; i < N * CLASSES; i++) {
        apart += fabs(one.scores[i] - m.scores[i]);
        size += fabs(m.scores[i]);
    }
    adze_tensor x, probs;
    must(&b, adze_tensor_new(b.ctx, adze_model_input_type(b.model, 1, ADZE_F32), &x));
    must(&b, adze_preprocess_apply(adze_model_preprocess(b.model), &b.data->example, b.data->peek(b.data, 0), ADZE_F32, adze_tensor_data(&x)));
    must(&b, adze_predict(b.ctx, b.model, store, x, &probs));
    assert_true(fabs(adze_tensor_get(&probs, 1) - m.scores[1]) < 1e-6); /* the output as it is */
    adze_tensor_free(&x);
    adze_tensor_free(&probs);
    assert_true(one.numbers && !one.probabilities && isnan(one.nll) && apart > 0 && apart < size); /* outputs, not exponentials of them */
    adze_metrics_free(b.ctx, &one);
    adze_metrics_free(b.ctx, &m);
    bench_close(&b);

    s.o.loss = ADZE_LOSS_SIGMOID_XENT;
    train(&b, &s, false);
    store = adze_trainer_store(b.t);
    must(&b, adze_evaluate_with(b.ctx, b.model, store, &mc, b.data, NULL, 0, &m));
    assert_true(m.probabilities && fabs(m.scores[0] + m.scores[1] + m.scores[2] + m.scores[3] - 1) < 1e-12);
    adze_metrics_free(b.ctx, &m);
    judge(&b, b.model, store, &m);
    adze_ensemble *e;
    adze_ensemble_report r;
    must(&b, adze_ensemble_new(b.ctx, ADZE_MEAN_PROB, &e));
    must(&b, adze_ensemble_add(e, b.model, store, 1));
    must(&b, adze_ensemble_evaluate(e, b.data, 50, &r));
    assert_true(fabs(r.whole.nll - m.nll) < 1e-9 && fabs(1 - r.whole.error - m.acc) < 1e-12);
    adze_ensemble_report_free(b.ctx, &r);
    adze_ensemble_free(e);
    float *in;
    must(&b, adze_tensor_new(b.ctx, adze_model_input_type(b.model, 1, ADZE_F32), &x));
    in = adze_tensor_data(&x);
    must(&b, adze_preprocess_apply(adze_model_preprocess(b.model), &b.data->example, b.data->peek(b.data, 0), ADZE_F32, in));
    must(&b, adze_predict(b.ctx, b.model, store, x, &probs));
    const double all = exp(m.scores[0]) + exp(m.scores[1]) + exp(m.scores[2]) + exp(m.scores[3]);
    assert_true(fabs(adze_tensor_get(&probs, 2) - exp(m.scores[2]) / all) < 1e-6);
    adze_tensor_free(&x);
    adze_tensor_free(&probs);
    adze_metrics_free(b.ctx, &m);
    bench_close(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reconstruction_is_judged_by_its_numbers),
        cmocka_unit_test(a_judge_measures_the_loss_of_the_training),
        cmocka_unit_test(files_remember_how_they_were_trained),
        cmocka_unit_test(an_older_file_means_what_it_meant),
        cmocka_unit_test(what_is_remembered_comes_back),
        cmocka_unit_test(what_a_reconstruction_has_not_is_refused),
        cmocka_unit_test(class_figures_are_of_what_the_loss_reads),
        cmocka_unit_test(a_softmax_layer_is_one_for_every_loss),
        cmocka_unit_test(sigmoids_far_out_stay_numbers),
        cmocka_unit_test(means_are_of_what_the_loss_reads),
    };
    make_data();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
