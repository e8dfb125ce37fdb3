/* The zoo's networks: sizes as published, and files that say no more than they must. */
#include "adze.h"
#include "base/base.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct size {
    const char *name;
    int64_t params, side;
    int classes;
    double macs; /* millions, of convolutions and dense layers; 0: not published */
} SIZES[] = {
    {"lenet5", 60000, 32, 10, 0},
    {"lenet5-caffe", 431080, 28, 10, 0},
    {"mlp", 266610, 28, 10, 0},
    {"lenet-300-100", 266610, 28, 10, 0},
    {"resnet20", 269722, 32, 10, 0},
    {"resnet56", 853018, 32, 10, 0},
    {"resnet50", 25557032, 224, 1000, 4089},
    {"alexnet", 61100840, 224, 1000, 714},
    {"vgg16", 138357544, 224, 1000, 15470},
    {"squeezenet1.0", 1248424, 224, 1000, 819},
};

static void every_net_has_its_published_size(void **state) {
    (void)state;
    adze_ctx *ctx;
    assert_int_equal(adze_ctx_new(NULL, &ctx), ADZE_OK);
    for (size_t i = 0; i < ADZE_COUNT(SIZES); i++) {
        const struct size *s = &SIZES[i];
        adze_model *m;
        adze_layer_row rows[256];
        assert_int_equal(adze_model_from_zoo(ctx, s->name, &m), ADZE_OK);
        assert_int_equal(adze_model_params(m), s->params);
        assert_int_equal(adze_model_classes(m), s->classes);
        assert_int_equal(adze_model_input_type(m, 1, ADZE_F32).dims[1], s->side);
        int n = adze_model_summary(m, rows, 256);
        assert_in_range(n, 1, 256);
        double macs = 0;
        for (int k = 0; k < n; k++) {
            bool product = strcmp(rows[k].type, "conv") == 0 || strcmp(rows[k].type, "dense") == 0;
            macs += product ? rows[k].macs * 1e-6 : 0;
        }
        if (s->macs > 0) {
            assert_true(macs > s->macs - 1 && macs < s->macs + 1);
        }
        adze_model_free(m);
    }
    adze_ctx_free(ctx);
}

/* A person can read ResNet-20 on one screen. */
static void resnet20_fits_on_a_screen(void **state) {
    (void)state;
    adze_ctx *ctx;
    adze_model *m;
    char *yaml;
    assert_int_equal(adze_ctx_new(NULL, &ctx), ADZE_OK);
    assert_int_equal(adze_model_from_zoo(ctx, "resnet20", &m), ADZE_OK);
    assert_int_equal(adze_model_to_yaml(m, &yaml), ADZE_OK);
    int lines = 0;
    for (const char *c = yaml; *c; c++) {
        lines += *c == '\n';
    }
    assert_in_range(lines, 40, 52);
    assert_non_null(strstr(yaml, "      - {type: conv, name: c1, filters: 16, kernel: 3, pad: 1, bias: false, init: he_normal}\n"));
    assert_non_null(strstr(yaml, "      - {type: add, name: sum, from: [b2, skip], activation: relu}\n"));
    adze_text_free(ctx, yaml);
    adze_model_free(m);
    adze_ctx_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_net_has_its_published_size),
        cmocka_unit_test(resnet20_fits_on_a_screen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
