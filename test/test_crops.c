/* Crops of pictures: their places are torchvision's, and a network judged on them has the mean of the probabilities made by hand. */
#include "adze/train.h"
#include "base/base.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { H = 9, W = 8, C = 2, COUNT = 13, CLASSES = 3, ROOM = 40 * 40 * C };

static uint8_t pixels[COUNT * H * W * C];
static int64_t labels[COUNT];

typedef struct net {
    adze_ctx *ctx;
    adze_model *model;
    adze_store *store;
    adze_dataset *data;
} net;

static void ok(const net *n, int st) {
    if (st != ADZE_OK) {
        fail_msg("%s: %s", adze_status_name(st), adze_errmsg(n->ctx));
    }
}

static adze_type type_of(int64_t h, int64_t w) {
    return adze_type_make(ADZE_U8, 3, (int64_t[]){h, w, C});
}

static net up(const char *json) {
    net n = {0};
    adze_rng r = adze_rng_make(3, 4);
    for (int i = 0; i < COUNT * H * W * C; i++) {
        pixels[i] = (uint8_t)(1 + adze_rng_below(&r, 255));
        labels[i / (H * W * C)] = i / (H * W * C) % CLASSES;
    }
    ok(&n, adze_ctx_new(NULL, &n.ctx));
    ok(&n, adze_model_from_json(n.ctx, json, strlen(json), "n.json", &n.model));
    ok(&n, adze_store_new(n.ctx, &n.store));
    ok(&n, adze_model_init(n.model, n.store, ADZE_F64, 3));
    ok(&n, adze_dataset_from_memory(n.ctx, type_of(H, W), pixels, labels, COUNT, CLASSES, &n.data));
    return n;
}

static void down(net *n) {
    assert_int_equal(n->data->count, COUNT);
    adze_dataset_close(n->data);
    adze_store_free(n->store);
    adze_model_free(n->model);
    adze_ctx_free(n->ctx);
}

/* Pads, mirrors, then slices, one after the other, as torchvision's Pad, hflip and crop do. */
static void cut(int i, int pad, bool mirror, int top, int left, int h, int w, uint8_t *out) {
    static uint8_t wide[ROOM], turned[ROOM];
    const int ph = H + 2 * pad, pw = W + 2 * pad;
    memset(wide, 0, sizeof wide);
    for (int y = 0; y < H; y++) {
        memcpy(wide + ((y + pad) * pw + pad) * C, pixels + ((i * H + y) * W) * C, W * C);
    }
    for (int k = 0; k < ph * pw; k++) {
        memcpy(turned + k * C, wide + (mirror ? k / pw * pw + pw - 1 - k % pw : k) * C, C);
    }
    for (int y = 0; y < h; y++) {
        memcpy(out + y * w * C, turned + ((top + y) * pw + left) * C, (size_t)(w * C));
    }
}

/* Crop k of `crops`; Python's round() takes halves to the even number. */
static void crop_by_hand(int i, int crops, int k, int pad, int h, int w, uint8_t *out) {
    const int down = H + 2 * pad - h, right = W + 2 * pad - w, middle[2] = {(int)nearbyint(down / 2.0), (int)nearbyint(right / 2.0)};
    const int place[5][2] = {{0, 0}, {0, right}, {down, 0}, {down, right}, {middle[0], middle[1]}};
    const int at = crops < 5 ? 4 : k % 5;
    cut(i, pad, crops == 10 ? k > 4 : crops == 2 && k == 1, place[at][0], place[at][1], h, w, out);
}

static const int many[] = {1, 2, 5, 10};

static void crops_lie_where_torchvision_cuts_them(void **state) {
    (void)state;
    static const int shapes[][3] = {{4, 3, 0}, {9, 7, 0}, {6, 4, 0}, {3, 6, 1}, {9, 8, 2}, {10, 9, 3}, {1, 1, 0}};
    net n = up("{\"name\":\"n\",\"input\":[1,1,2],\"layers\":[{\"type\":\"flatten\"},{\"type\":\"dense\",\"units\":3}]}");
    for (size_t s = 0; s < ADZE_COUNT(shapes); s++) {
        const int h = shapes[s][0], w = shapes[s][1], pad = shapes[s][2];
        for (size_t m = 0; m < ADZE_COUNT(many); m++) {
            adze_dataset *d;
            uint8_t got[ROOM], want[ROOM];
            ok(&n, adze_dataset_crops(n.ctx, n.data, h, w, many[m], pad, &d));
            assert_int_equal(d->count, COUNT * many[m]);
            for (int i = 0; i < d->count; i++) {
                int64_t label;
                ok(&n, d->read(d, i, got, &label));
                crop_by_hand(i / many[m], many[m], i % many[m], pad, h, w, want);
                assert_memory_equal(got, want, (size_t)(h * w * C));
                assert_int_equal(label, labels[i / many[m]]);
            }
            adze_dataset_close(d);
        }
    }
    down(&n);
}

static const char net_json[] =
    "{\"name\":\"n\",\"input\":[7,6,2],\"preprocess\":{\"mean\":[0.4,0.5],\"sd\":[0.25,0.3],\"fixed\":true,\"pad\":1},\"layers\":["
    "{\"type\":\"conv\",\"filters\":3,\"kernel\":3,\"activation\":\"tanh\"},{\"type\":\"flatten\"},"
    "{\"type\":\"dropout\",\"p\":0.4},{\"type\":\"dense\",\"units\":3}]}";

static void to_probabilities(double *p) {
    double sum = 0;
    for (int c = 0; c < CLASSES; c++) {
        p[c] = exp(p[c]);
        sum += p[c];
    }
    for (int c = 0; c < CLASSES; c++) {
        p[c] /= sum;
    }
}

/* The model reads 5 x 4 pixels and a border of its own: every crop is a data set, judged for itself. */
static void mean_by_hand(const net *n, int crops, int pad, double mean[COUNT][CLASSES], double *loss) {
    static uint8_t cropped[COUNT * 5 * 4 * C];
    memset(mean, 0, sizeof(double) * COUNT * CLASSES);
    *loss = 0;
    for (int k = 0; k < crops; k++) {
        adze_dataset *d;
        adze_metrics m;
        const adze_eval_opts o = {.size = sizeof o};
        for (int i = 0; i < COUNT; i++) {
            crop_by_hand(i, crops, k, pad, 5, 4, cropped + i * 5 * 4 * C);
        }
        ok(n, adze_dataset_from_memory(n->ctx, type_of(5, 4), cropped, labels, COUNT, CLASSES, &d));
        ok(n, adze_evaluate_with(n->ctx, n->model, n->store, &o, d, NULL, 0, &m));
        *loss += m.loss / crops;
        for (int i = 0; i < COUNT; i++) {
            to_probabilities(m.scores + i * CLASSES);
            for (int c = 0; c < CLASSES; c++) {
                mean[i][c] += m.scores[i * CLASSES + c] / crops;
            }
        }
        adze_metrics_free(n->ctx, &m);
        adze_dataset_close(d);
    }
}

static void an_evaluation_on_crops_is_the_mean_by_hand(void **state) {
    (void)state;
    static const int64_t batches[] = {0, 1, 10, 25};
    net n = up(net_json);
    double mean[COUNT][CLASSES];
    for (size_t k = 0; k < ADZE_COUNT(many) * 2; k++) {
        const int crops = many[k / 2], pad = k % 2 ? 2 : 0;
        double loss, nll = 0, right = 0;
        mean_by_hand(&n, crops, pad, mean, &loss);
        for (int i = 0; i < COUNT; i++) {
            const double *p = mean[i];
            nll -= log(p[labels[i]]) / COUNT;
            right += p[labels[i]] >= p[0] && p[labels[i]] >= p[1] && p[labels[i]] >= p[2];
        }
        for (size_t b = 0; b < ADZE_COUNT(batches); b++) {
            adze_metrics m;
            const adze_eval_opts o = {.size = sizeof o, .batch = batches[b], .crops = crops, .crop_pad = pad};
            ok(&n, adze_evaluate_with(n.ctx, n.model, n.store, &o, n.data, NULL, 0, &m));
            assert_int_equal(m.count, COUNT);
            assert_true(fabs(m.nll - nll) < 1e-12 && fabs(m.loss - loss) < 1e-12 && fabs(m.acc - right / COUNT) < 1e-12);
            for (int i = 0; i < COUNT * CLASSES; i++) {
                assert_int_equal(m.labels[i / CLASSES], labels[i / CLASSES]);
                assert_true(crops == 1 || fabs(m.scores[i] - mean[i / CLASSES][i % CLASSES]) < 1e-12);
            }
            assert_int_equal(m.probabilities, crops > 1);
            adze_metrics_free(n.ctx, &m);
        }
    }
    down(&n);
}

/* Some examples in an order of their own, and networks drawn by dropout on each crop: no figure depends on the batch. */
static void crops_go_with_passes_and_any_examples(void **state) {
    (void)state;
    static const int64_t ids[] = {7, 2, 2, 12, 0};
    enum { SOME = 5 };
    net n = up(net_json);
    adze_metrics whole, few, plain;
    adze_eval_opts o = {.size = sizeof o, .crops = 10, .seed = 3};
    ok(&n, adze_evaluate_with(n.ctx, n.model, n.store, &o, n.data, ids, SOME, &plain));
    ok(&n, adze_eval_parse(n.ctx, "mc:4", NULL, &o));
    ok(&n, adze_evaluate_with(n.ctx, n.model, n.store, &o, n.data, ids, SOME, &whole));
    o.batch = 20;
    ok(&n, adze_evaluate_with(n.ctx, n.model, n.store, &o, n.data, ids, SOME, &few));
    assert_int_equal(whole.count, SOME);
    for (int i = 0; i < SOME; i++) {
        const double *p = whole.scores + i * CLASSES;
        assert_int_equal(whole.labels[i], labels[ids[i]]);
        assert_true(fabs(p[0] + p[1] + p[2] - 1) < 1e-12 && fabs(p[0] - plain.scores[i * CLASSES]) > 1e-6);
    }
    assert_memory_equal(plain.scores + CLASSES, plain.scores + 2 * CLASSES, CLASSES * sizeof(double)); /* the same picture */
    assert_memory_equal(whole.scores, few.scores, SOME * CLASSES * sizeof(double));
    adze_metrics_free(n.ctx, &few);
    assert_int_equal(adze_evaluate_with(n.ctx, n.model, n.store, &o, n.data, (int64_t[]){COUNT}, 1, &few), ADZE_EARG);
    adze_metrics_free(n.ctx, &whole);
    adze_metrics_free(n.ctx, &plain);
    down(&n);
}

static void what_cannot_be_is_refused(void **state) {
    (void)state;
    static const struct {
        int64_t crops, pad;
        const char *says;
    } table[] = {{3, 0, "crops are 1 (the centre)"},
                 {20, 0, "crops are 1"},
                 {10, -1, "in a border of 0 to 1024"},
                 {0, 2, "a border is for 1, 2, 5 or 10"},
                 {-1, 0, "a border is for 1, 2, 5 or 10"}};
    net n = up(net_json);
    adze_metrics m;
    adze_dataset *d;
    adze_tensor x = {0}, p;
    for (size_t i = 0; i < ADZE_COUNT(table); i++) {
        const adze_eval_opts o = {.size = sizeof o, .crops = table[i].crops, .crop_pad = table[i].pad};
        assert_int_equal(adze_evaluate_with(n.ctx, n.model, n.store, &o, n.data, NULL, 0, &m), ADZE_EARG);
        assert_non_null(strstr(adze_errmsg(n.ctx), table[i].says));
    }
    assert_int_equal(adze_dataset_crops(n.ctx, n.data, H + 3, W, 10, 1, &d), ADZE_ESHAPE);
    assert_non_null(strstr(adze_errmsg(n.ctx), "do not fit"));
    assert_int_equal(adze_dataset_crops(n.ctx, n.data, H + 2, W + 2, 5, 1, &d), ADZE_EARG);
    assert_non_null(strstr(adze_errmsg(n.ctx), "all of them alike"));
    ok(&n, adze_dataset_crops(n.ctx, n.data, H, W, 2, 0, &d)); /* mirrored they differ */
    adze_dataset_close(d);
    adze_eval_opts geo = {.size = sizeof geo, .crops = 10};
    ok(&n, adze_eval_parse(n.ctx, "geo:3", NULL, &geo));
    assert_int_equal(adze_evaluate_with(n.ctx, n.model, n.store, &geo, n.data, NULL, 0, &m), ADZE_EARG);
    assert_non_null(strstr(adze_errmsg(n.ctx), "dropout geo"));
    const adze_eval_opts o = {.size = sizeof o, .crops = 10};
    assert_int_equal(adze_predict_with(n.ctx, n.model, n.store, &o, x, &p), ADZE_EARG);
    assert_non_null(strstr(adze_errmsg(n.ctx), "not from prepared examples"));
    down(&n);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crops_lie_where_torchvision_cuts_them),
        cmocka_unit_test(an_evaluation_on_crops_is_the_mean_by_hand),
        cmocka_unit_test(crops_go_with_passes_and_any_examples),
        cmocka_unit_test(what_cannot_be_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
