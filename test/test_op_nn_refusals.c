/* Every sentence with which products, convolutions, pools, softmax, normalisation and dropout refuse a node: exact, so that none is lost or garbled.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "adze/op.h"
#include "adze/ops.h"

#include <math.h>

typedef struct fixture {
    adze_ctx *ctx;
    adze_graph *g;
    int inputs;
} fixture;

static void fresh(fixture *f) {
    if (f->g) {
        adze_graph_free(f->g);
    }
    adze_err_clear(f->ctx);
    assert_int_equal(adze_graph_new(f->ctx, &f->g), ADZE_OK);
    adze_scope_push(f->g, "t");
}

static int setup(void **state) {
    static fixture f;
    f = (fixture){0};
    *state = &f;
    return adze_ctx_new(NULL, &f.ctx);
}

static int teardown(void **state) {
    fixture *f = *state;
    adze_graph_free(f->g);
    adze_ctx_free(f->ctx);
    return 0;
}

/* An input of this dtype and these dims; the list ends with -1. */
static adze_val input(fixture *f, adze_dtype d, ...) {
    int64_t dims[ADZE_MAX_RANK];
    int rank = 0;
    va_list ap;
    va_start(ap, d);
    for (int v = va_arg(ap, int); v >= 0; v = va_arg(ap, int)) {
        dims[rank++] = v;
    }
    va_end(ap);
    char name[32];
    snprintf(name, sizeof name, "x%d", f->inputs++);
    return adze_input(f->g, name, adze_type_make(d, rank, dims));
}
#define F32(...) input(f, ADZE_F32, __VA_ARGS__, -1)
#define F64(...) input(f, ADZE_F64, __VA_ARGS__, -1)
#define I32(...) input(f, ADZE_I32, __VA_ARGS__, -1)
#define LIST(...)                                                                                                                                    \
    {                                                                                                                                                \
        sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), {                                                                                        \
            __VA_ARGS__                                                                                                                              \
        }                                                                                                                                            \
    }
#define CONV(...) (&(adze_conv_attrs){__VA_ARGS__})
#define POOL(...) (&(adze_pool_attrs){__VA_ARGS__})

static void refused(fixture *f, adze_val v, int code, const char *sentence) {
    assert_int_equal(v.id, 0);
    assert_string_equal(adze_errmsg(f->ctx), sentence);
    assert_int_equal(adze_graph_status(f->g), code);
    fresh(f);
}

static void accepted(fixture *f, adze_val v) {
    assert_string_equal(adze_errmsg(f->ctx), "");
    assert_true(v.id > 0);
    fresh(f);
}

static void matmul_refuses(void **state) {
    fixture *f = *state;
    fresh(f);
    refused(f, adze_matmul(f->g, I32(2, 2), F32(2, 2), false, false), ADZE_ETYPE,
            "matmul 't': the left side is i32, but must be one of f64, f32, bf16, i8, u8");
    refused(f, adze_matmul(f->g, F32(2, 2), I32(2, 2), false, false), ADZE_ETYPE,
            "matmul 't': the right side is i32, but must be one of f64, f32, bf16, i8");
    refused(f, adze_matmul(f->g, F32(2, 2), F64(2, 2), false, false), ADZE_ETYPE, "matmul 't': input 0 is f32 and input 1 is f64; cast one of them");
    refused(f, adze_matmul(f->g, F32(2), F32(2, 2), false, false), ADZE_ESHAPE, "matmul 't': the left side is f32 (2), but must have 2 to 8 axes");
    refused(f, adze_matmul(f->g, F32(2, 2), F32(2), false, false), ADZE_ESHAPE, "matmul 't': the right side is f32 (2), but must have 2 to 8 axes");
    refused(f, adze_matmul(f->g, F32(2, 3), F32(4, 5), false, false), ADZE_ESHAPE,
            "matmul 't': the left side f32 (2, 3) has 3 columns, the right side f32 (4, 5) has 4 rows");
    refused(f, adze_matmul(f->g, F32(2, 3), F32(4, 5), true, true), ADZE_ESHAPE,
            "matmul 't': the left side f32 (2, 3) transposed has 2 columns, the right side f32 (4, 5) transposed has 5 rows");
    refused(f, adze_matmul(f->g, F32(2, 2, 3), F32(4, 3, 5), false, false), ADZE_ESHAPE,
            "matmul 't': the leading axes of f32 (2, 2, 3) and f32 (4, 3, 5) differ; they must be equal, or one side must have none");
    refused(f, adze_matmul(f->g, F32(2, 2, 3), F32(1, 2, 3, 5), false, false), ADZE_ESHAPE,
            "matmul 't': the leading axes of f32 (2, 2, 3) and f32 (1, 2, 3, 5) differ; they must be equal, or one side must have none");
    accepted(f, adze_matmul(f->g, F32(2, 2, 3), F32(3, 5), false, false));
}

static void conv_refuses(void **state) {
    fixture *f = *state;
    fresh(f);
    adze_scope_pop(f->g);
    adze_scope_push(f->g, "res2a");
    adze_scope_push(f->g, "c1");
    refused(f, adze_conv(f->g, F32(1, 8, 8, 64), F32(3, 3, 16, 4), CONV(.groups = 2)), ADZE_ESHAPE,
            "conv 'res2a/c1': the input has 64 channels, the weight expects 32 (groups 2)");
    refused(f, adze_conv(f->g, I32(1, 8, 2), F32(3, 2, 4), NULL), ADZE_ETYPE, "conv 't': the input is i32, but must be one of f64, f32, bf16");
    refused(f, adze_conv(f->g, F32(1, 8, 2), I32(3, 2, 4), NULL), ADZE_ETYPE, "conv 't': the weight is i32, but must be one of f64, f32, bf16");
    refused(f, adze_conv(f->g, F32(1, 8, 2), F64(3, 2, 4), NULL), ADZE_ETYPE, "conv 't': the input is f32, the weight is f64");
    refused(f, adze_conv(f->g, F32(8, 2), F32(3, 2, 4), NULL), ADZE_ESHAPE, "conv 't': the input is f32 (8, 2), but must have 3 to 5 axes");
    refused(f, adze_conv(f->g, F32(1, 8, 2), F32(1, 1, 1, 1, 2, 4), NULL), ADZE_ESHAPE,
            "conv 't': the weight is f32 (1, 1, 1, 1, 2, 4), but must have 3 to 5 axes");
    refused(f, adze_conv(f->g, F32(1, 8, 2), F32(3, 3, 2, 4), NULL), ADZE_ESHAPE, "conv 't': the input has rank 3, the weight has rank 4");
    refused(f, adze_conv(f->g, F32(1, 8, 8, 2), F32(3, 3, 2, 4), CONV(.stride = LIST(1))), ADZE_ESHAPE,
            "conv 't': stride has 1 entries, 2 spatial axes need 2");
    refused(f, adze_conv(f->g, F32(1, 8, 2), F32(3, 2, 4), CONV(.dilation = LIST(1, 1))), ADZE_ESHAPE,
            "conv 't': dilation has 2 entries, 1 spatial axis needs 1");
    refused(f, adze_conv(f->g, F32(1, 8, 2), F32(3, 2, 4), CONV(.pad_lo = LIST(1, 1))), ADZE_ESHAPE,
            "conv 't': pad_lo has 2 entries, 1 spatial axis needs 1");
    refused(f, adze_conv(f->g, F32(1, 8, 2), F32(3, 2, 4), CONV(.pad_hi = {-1, {0}})), ADZE_ESHAPE,
            "conv 't': pad_hi has -1 entries, 1 spatial axis needs 1");
    refused(f, adze_conv(f->g, F32(1, 8, 8, 2), F32(3, 3, 2, 4), CONV(.stride = LIST(1, 0))), ADZE_EARG,
            "conv 't': stride is 0 on spatial axis 1, it must be 1 to 2147483647");
    refused(f, adze_conv(f->g, F32(1, 8, 2), F32(3, 2, 4), CONV(.dilation = LIST(0))), ADZE_EARG,
            "conv 't': dilation is 0 on spatial axis 0, it must be 1 to 2147483647");
    refused(f, adze_conv(f->g, F32(1, 8, 2), F32(3, 2, 4), CONV(.pad_lo = LIST(-1))), ADZE_EARG,
            "conv 't': pad_lo is -1 on spatial axis 0, it must be 0 to 2147483647");
    refused(f, adze_conv(f->g, F32(1, 8, 2), F32(3, 2, 4), CONV(.pad_hi = LIST(INT64_MAX))), ADZE_EARG,
            "conv 't': pad_hi is 9223372036854775807 on spatial axis 0, it must be 0 to 2147483647");
    refused(f, adze_conv(f->g, F32(1, 8, 2), F32(3, 2, 4), CONV(.groups = -1)), ADZE_EARG, "conv 't': groups is -1, it must be 1 to 2147483647");
    refused(f, adze_conv(f->g, F32(1, 8, 4), F32(3, 2, 3), CONV(.groups = 2)), ADZE_ESHAPE, "conv 't': 2 groups do not divide the 3 output channels");
    refused(f, adze_conv(f->g, F32(1, 8, 2), F32(0, 2, 3), NULL), ADZE_ESHAPE,
            "conv 't': the kernel has size 0 on spatial axis 0, it must be at least 1");
    refused(f, adze_conv(f->g, F32(1, 8, 7, 2), F32(3, 5, 2, 3), CONV(.dilation = LIST(1, 2), .pad_lo = LIST(0, 1))), ADZE_ESHAPE,
            "conv 't': the kernel does not fit on spatial axis 1: it spans 9 (size 5, dilation 2), the input has 7 and padding 1 + 0");
    refused(f, adze_conv(f->g, adze_input(f->g, "big", adze_type_make(ADZE_F32, 3, (int64_t[]){0, (int64_t)1 << 31, 1})), F32(1, 1, 1), NULL),
            ADZE_ESHAPE, "conv 't': the input has 2147483648 positions on axis 1, at most 2147483647 are possible");
    accepted(f, adze_conv(f->g, F32(1, 8, 7, 2), F32(3, 5, 2, 3), CONV(.dilation = LIST(1, 2), .pad_lo = LIST(0, 1), .pad_hi = LIST(0, 1))));
    accepted(f, adze_conv(f->g, F32(1, 8, 2), F32(3, 2, 4), NULL));
}

static void conv_adjoints_refuse(void **state) {
    fixture *f = *state;
    fresh(f);
    refused(f, adze_conv_dx(f->g, F32(1, 3, 4), F32(2, 2, 4), NULL), ADZE_ESHAPE, "conv_dx 't': size has 0 entries, 1 spatial axis needs 1");
    refused(f, adze_conv_dx(f->g, F32(1, 3, 5), F32(2, 2, 4), CONV(.size = LIST(4))), ADZE_ESHAPE,
            "conv_dx 't': dy has 5 channels, the weight gives 4");
    refused(f, adze_conv_dx(f->g, F32(1, 3, 3), F32(2, 2, 3), CONV(.size = LIST(4), .groups = 2)), ADZE_ESHAPE,
            "conv_dx 't': 2 groups do not divide the 3 output channels");
    refused(f, adze_conv_dx(f->g, F32(1, 3, 4), F32(2, 2, 4), CONV(.size = LIST(5), .stride = LIST(2))), ADZE_ESHAPE,
            "conv_dx 't': dy has 3 positions on spatial axis 0, but a convolution with this input size gives 2");
    refused(f, adze_conv_dx(f->g, F32(1, 3, 4), F32(2, 2, 4), CONV(.size = LIST(1))), ADZE_ESHAPE,
            "conv_dx 't': the kernel does not fit on spatial axis 0: it spans 2 (size 2, dilation 1), the input has 1 and padding 0 + 0");
    refused(f, adze_conv_dx(f->g, F64(1, 3, 4), F32(2, 2, 4), CONV(.size = LIST(4))), ADZE_ETYPE, "conv_dx 't': dy is f64, the weight is f32");
    accepted(f, adze_conv_dx(f->g, F32(1, 3, 4), F32(2, 2, 4), CONV(.size = LIST(6), .stride = LIST(2))));
    accepted(f, adze_conv_dx(f->g, F32(1, 3, 4), F32(2, 2, 4), CONV(.size = LIST(7), .stride = LIST(2))));

    refused(f, adze_conv_dw(f->g, F32(1, 4, 2), F32(1, 3, 4), NULL), ADZE_ESHAPE, "conv_dw 't': size has 0 entries, 1 spatial axis needs 1");
    refused(f, adze_conv_dw(f->g, F32(1, 4, 2), F32(2, 3, 4), CONV(.size = LIST(2))), ADZE_ESHAPE, "conv_dw 't': the input has 1 examples, dy has 2");
    refused(f, adze_conv_dw(f->g, F32(1, 4, 3), F32(1, 3, 4), CONV(.size = LIST(2), .groups = 2)), ADZE_ESHAPE,
            "conv_dw 't': 2 groups do not divide the 3 input channels");
    refused(f, adze_conv_dw(f->g, F32(1, 4, 4), F32(1, 3, 3), CONV(.size = LIST(2), .groups = 2)), ADZE_ESHAPE,
            "conv_dw 't': 2 groups do not divide the 3 output channels");
    refused(f, adze_conv_dw(f->g, F32(1, 4, 2), F32(1, 3, 4), CONV(.size = LIST(3))), ADZE_ESHAPE,
            "conv_dw 't': dy has 3 positions on spatial axis 0, but a convolution with this kernel size gives 2");
    refused(f, adze_conv_dw(f->g, F32(1, 4, 2), F32(1, 3, 4), CONV(.size = LIST(0))), ADZE_EARG,
            "conv_dw 't': size is 0 on spatial axis 0, it must be 1 to 2147483647");
    accepted(f, adze_conv_dw(f->g, F32(1, 4, 2), F32(1, 3, 4), CONV(.size = LIST(2))));
}

static void pools_refuse(void **state) {
    fixture *f = *state;
    fresh(f);
    refused(f, adze_fractional_maxpool(f->g, F32(1, 4, 1), 3, 3, false, false), ADZE_ESHAPE,
            "fractional_maxpool 't': the input is f32 (1, 4, 1), but must have 4 axes");
    refused(f, adze_fractional_maxpool(f->g, F32(1, 4, 7, 1), 3, 3, false, false), ADZE_EARG,
            "fractional_maxpool 't': 3 steps of 1 or 2 pixels cannot add up to 7 on spatial axis 1");
    refused(f, adze_fractional_maxpool(f->g, F32(1, 4, 7, 1), 4, 4, true, true), ADZE_EARG,
            "fractional_maxpool 't': 4 steps of 1 or 2 pixels cannot add up to 3 on spatial axis 0");
    refused(f, adze_fractional_maxpool(f->g, F32(1, 32769, 7, 1), 20000, 4, true, false), ADZE_EARG,
            "fractional_maxpool 't': 20000 steps of 1 or 2 pixels cannot add up to 32769 on spatial axis 0, which may have 32768 at most");
    accepted(f, adze_fractional_maxpool(f->g, F32(1, 4, 7, 1), 3, 4, true, true));
    refused(f, adze_maxpool(f->g, F32(1, 4, 1), NULL, NULL), ADZE_ESHAPE, "maxpool 't': size has 0 entries, 1 spatial axis needs 1");
    refused(f, adze_maxpool(f->g, F32(4, 1), POOL(.size = LIST(2)), NULL), ADZE_ESHAPE,
            "maxpool 't': the input is f32 (4, 1), but must have 3 to 5 axes");
    refused(f, adze_avgpool(f->g, I32(1, 4, 1), POOL(.size = LIST(2))), ADZE_ETYPE, "avgpool 't': the input is i32, but must be one of f64, f32");
    refused(f, adze_avgpool(f->g, F32(1, 4, 1), POOL(.size = LIST(0))), ADZE_EARG,
            "avgpool 't': size is 0 on spatial axis 0, it must be 1 to 2147483647");
    refused(f, adze_avgpool(f->g, F32(1, 4, 1), POOL(.size = LIST(2), .stride = LIST(0))), ADZE_EARG,
            "avgpool 't': stride is 0 on spatial axis 0, it must be 1 to 2147483647");
    refused(f, adze_avgpool(f->g, F32(1, 4, 1), POOL(.size = LIST(2), .pad_lo = LIST(-1))), ADZE_EARG,
            "avgpool 't': pad_lo is -1 on spatial axis 0, it must be 0 to 2147483647");
    refused(f, adze_avgpool(f->g, F32(1, 4, 1), POOL(.size = LIST(2), .pad_hi = LIST(0, 0))), ADZE_ESHAPE,
            "avgpool 't': pad_hi has 2 entries, 1 spatial axis needs 1");
    refused(f, adze_maxpool(f->g, F32(1, 4, 4, 1), POOL(.size = LIST(3, 2), .pad_lo = LIST(2, 2)), NULL), ADZE_EARG,
            "maxpool 't': padding 2 + 0 on spatial axis 1 must be less than the window's size 2 on either side");
    refused(f, adze_maxpool(f->g, F32(1, 4, 1), POOL(.size = LIST(2), .pad_hi = LIST(2)), NULL), ADZE_EARG,
            "maxpool 't': padding 0 + 2 on spatial axis 0 must be less than the window's size 2 on either side");
    refused(f, adze_maxpool(f->g, F32(1, 4, 1), POOL(.size = LIST(6), .pad_hi = LIST(1)), NULL), ADZE_ESHAPE,
            "maxpool 't': the window of 6 does not fit on spatial axis 0: the input has 4 and padding 0 + 1");
    refused(f, adze_maxpool(f->g, F32(1, 0, 1), POOL(.size = LIST(2), .pad_lo = LIST(1), .pad_hi = LIST(1)), NULL), ADZE_ESHAPE,
            "maxpool 't': the window of 2 does not fit on spatial axis 0: the input has 0 and padding 1 + 1");
    refused(f, adze_maxpool(f->g, F32(0, 65536, 32768, 1), POOL(.size = LIST(1, 1)), NULL), ADZE_ESHAPE,
            "maxpool 't': an image has over 2147483647 positions: they do not fit the i32 index");
    refused(f, adze_maxpool_at(f->g, F32(1, 4, 1), F32(1, 2, 1), POOL(.size = LIST(2))), ADZE_ETYPE,
            "maxpool_at 't': the index is f32, but must be one of i32");
    refused(f, adze_maxpool_at(f->g, F32(1, 4, 1), I32(1, 3, 1), POOL(.size = LIST(2))), ADZE_ESHAPE,
            "maxpool_at 't': the index is i32 (1, 3, 1), the windows give f32 (1, 2, 1)");
    refused(f, adze_maxpool_dx(f->g, F32(1, 2, 1), I32(1, 2, 1), POOL(.size = LIST(2))), ADZE_ESHAPE,
            "maxpool_dx 't': in has 0 entries, 1 spatial axis needs 1");
    refused(f, adze_maxpool_dx(f->g, F32(1, 2, 1), I32(1, 2, 1), POOL(.size = LIST(2), .in = LIST(6))), ADZE_ESHAPE,
            "maxpool_dx 't': dy has 2 positions on spatial axis 0, but pooling an input of 6 gives 3");
    refused(f, adze_maxpool_dx(f->g, F32(1, 2, 1), I32(1, 3, 1), POOL(.size = LIST(2), .in = LIST(4))), ADZE_ESHAPE,
            "maxpool_dx 't': the index is i32 (1, 3, 1), dy is f32 (1, 2, 1)");
    refused(f, adze_maxpool_dx(f->g, F32(1, 2, 1), F32(1, 2, 1), POOL(.size = LIST(2), .in = LIST(4))), ADZE_ETYPE,
            "maxpool_dx 't': the index is f32, but must be one of i32");
    refused(f, adze_avgpool_dx(f->g, I32(1, 2, 1), POOL(.size = LIST(2), .in = LIST(4))), ADZE_ETYPE,
            "avgpool_dx 't': dy is i32, but must be one of f64, f32");
    refused(f, adze_avgpool_dx(f->g, F32(1, 2, 1), POOL(.size = LIST(2), .in = LIST(0))), ADZE_EARG,
            "avgpool_dx 't': in is 0 on spatial axis 0, it must be 1 to 2147483647");
    refused(f, adze_global_avgpool(f->g, F32(4)), ADZE_ESHAPE, "global_avgpool: the input has rank 1, it must be (N, S..., C)");
    refused(f, adze_global_maxpool(f->g, F32(4)), ADZE_ESHAPE, "global_maxpool: the input has rank 1, it must be (N, S..., C)");
    accepted(f, adze_avgpool_dx(f->g, F32(1, 2, 1), POOL(.size = LIST(2), .in = LIST(5))));
}

static void softmax_refuses(void **state) {
    fixture *f = *state;
    fresh(f);
    refused(f, adze_softmax(f->g, I32(2, 3), -1), ADZE_ETYPE, "softmax 't': the input is i32, but must be one of f64, f32");
    refused(f, adze_softmax(f->g, F32(2, 3), 2), ADZE_ESHAPE, "softmax 't': there is no axis 2 in a tensor of 2 axes");
    refused(f, adze_log_softmax(f->g, F32(2, 3), -3), ADZE_ESHAPE, "log_softmax 't': there is no axis -3 in a tensor of 2 axes");
    refused(f, adze_softmax_xent(f->g, I32(2, 3), I32(2)), ADZE_ETYPE, "softmax_xent 't': the input is i32, but must be one of f64, f32");
    refused(f, adze_softmax_xent(f->g, F32(2, 0), I32(2)), ADZE_ESHAPE,
            "softmax_xent 't': the last axis of the input holds the classes; it is empty");
    refused(f, adze_softmax_xent(f->g, F32(2, 3), F32(2)), ADZE_ETYPE, "softmax_xent 't': the label is f32, but must be one of i64, i32");
    refused(f, adze_softmax_xent(f->g, F32(2, 3), I32(3)), ADZE_ESHAPE,
            "softmax_xent 't': the label is i32 (3), it must be the input's shape f32 (2, 3) without its last axis");
    refused(f, adze_softmax_xent(f->g, F32(2, 3), I32(2, 1)), ADZE_ESHAPE,
            "softmax_xent 't': the label is i32 (2, 1), it must be the input's shape f32 (2, 3) without its last axis");
    refused(f, adze_apply_name(f->g, "softmax_xent_grad", (adze_val[]){F32(2, 3), I32(2), F32(3)}, 3, NULL, NULL), ADZE_ESHAPE,
            "softmax_xent_grad 't': the cotangent is f32 (3), it must be the input's shape f32 (2, 3) without its last axis");
    refused(f, adze_apply_name(f->g, "softmax_xent_grad", (adze_val[]){F32(2, 3), I32(2), F64(2)}, 3, NULL, NULL), ADZE_ETYPE,
            "softmax_xent_grad 't': input 0 is f32 and input 2 is f64; cast one of them");
    refused(f, adze_softmax_xent_prob(f->g, F32(2, 3), F32(2)), ADZE_ESHAPE,
            "softmax_xent_prob 't': the targets are f32 (2), they must have the input's shape f32 (2, 3)");
    refused(f, adze_softmax_xent_prob(f->g, F32(2, 3), F64(2, 3)), ADZE_ETYPE,
            "softmax_xent_prob 't': input 0 is f32 and input 1 is f64; cast one of them");
    refused(f, adze_sigmoid_xent(f->g, F32(2, 3), F32(2)), ADZE_ESHAPE,
            "sigmoid_xent 't': the targets are f32 (2), they must have the input's shape f32 (2, 3)");
    refused(f, adze_sigmoid_xent(f->g, I32(2), I32(2)), ADZE_ETYPE, "sigmoid_xent 't': the input is i32, but must be one of f64, f32");
    refused(f, adze_sigmoid_xent(f->g, F32(2), F64(2)), ADZE_ETYPE, "sigmoid_xent 't': input 0 is f32 and input 1 is f64; cast one of them");
}

static void norms_and_dropout_refuse(void **state) {
    fixture *f = *state;
    fresh(f);
    refused(f, adze_batchnorm(f->g, I32(2, 3), F32(3), F32(3), 1e-5, NULL, NULL), ADZE_ETYPE,
            "batchnorm 't': the input is i32, but must be one of f64, f32");
    refused(f, adze_batchnorm(f->g, F32(3), F32(3), F32(3), 1e-5, NULL, NULL), ADZE_ESHAPE,
            "batchnorm 't': the input is f32 (3), but must have 2 to 8 axes");
    refused(f, adze_batchnorm(f->g, F32(2, 3), F32(4), F32(3), 1e-5, NULL, NULL), ADZE_ESHAPE,
            "batchnorm 't': the scale is f32 (4), the input has 3 channels");
    refused(f, adze_batchnorm(f->g, F32(2, 3), F32(3), F32(3, 1), 1e-5, NULL, NULL), ADZE_ESHAPE,
            "batchnorm 't': the shift is f32 (3, 1), the input has 3 channels");
    refused(f, adze_batchnorm(f->g, F32(2, 3), F32(3), F64(3), 1e-5, NULL, NULL), ADZE_ETYPE,
            "batchnorm 't': input 0 is f32 and input 2 is f64; cast one of them");
    refused(f, adze_batchnorm(f->g, F32(2, 3), F32(3), F32(3), -1, NULL, NULL), ADZE_EARG, "batchnorm 't': eps is -1, it must be 0 or more");
    refused(f, adze_batchnorm(f->g, F32(2, 3), F32(3), F32(3), NAN, NULL, NULL), ADZE_EARG, "batchnorm 't': eps is nan, it must be 0 or more");
    refused(f, adze_batchnorm(f->g, F32(0, 3), F32(3), F32(3), 1e-5, NULL, NULL), ADZE_ESHAPE,
            "batchnorm 't': the input is f32 (0, 3): statistics need at least one value a channel");
    const adze_norm_attrs eps = {1e-5};
    refused(f, adze_apply_name(f->g, "batchnorm_grad", (adze_val[]){F32(2, 3), F32(3), F32(2), F32(3), F32(2, 3)}, 5, &eps, NULL), ADZE_ESHAPE,
            "batchnorm_grad 't': the mean is f32 (2), the input has 3 channels");
    refused(f, adze_apply_name(f->g, "batchnorm_grad", (adze_val[]){F32(2, 3), F32(3), F32(3), F32(2), F32(2, 3)}, 5, &eps, NULL), ADZE_ESHAPE,
            "batchnorm_grad 't': the variance is f32 (2), the input has 3 channels");
    refused(f, adze_apply_name(f->g, "batchnorm_grad", (adze_val[]){F32(2, 3), F32(3), F32(3), F32(3), F32(3, 2)}, 5, &eps, NULL), ADZE_ESHAPE,
            "batchnorm_grad 't': dy is f32 (3, 2), the input is f32 (2, 3)");
    refused(f, adze_batchnorm_eval(f->g, F32(2, 3), F32(3), F32(3), F32(1), F32(3), 1e-5), ADZE_ESHAPE,
            "batchnorm_eval: the mean is f32 (1), but the input is f32 (2, 3); it must hold one value a channel");
    refused(f, adze_batchnorm_eval(f->g, F32(2, 3), F32(3), F32(3), F32(3), F32(3), -1), ADZE_EARG,
            "batchnorm_eval: eps is -1, it must be 0 or more");
    refused(f, adze_layernorm(f->g, F32(2, 3), F32(2), F32(3), 1e-5), ADZE_ESHAPE, "layernorm 't': the scale is f32 (2), the input has 3 channels");
    refused(f, adze_layernorm(f->g, F32(2, 0), F32(0), F32(0), 1e-5), ADZE_ESHAPE,
            "layernorm 't': the last axis of the input is empty: statistics need at least one value");
    refused(f, adze_apply_name(f->g, "layernorm_grad", (adze_val[]){F32(2, 3), F32(3), F32(2)}, 3, &eps, NULL), ADZE_ESHAPE,
            "layernorm_grad 't': dy is f32 (2), the input is f32 (2, 3)");
    refused(f, adze_dropout(f->g, F32(2), 1), ADZE_EARG, "dropout 't': p is 1, it must be at least 0 and less than 1");
    refused(f, adze_dropout(f->g, F32(2), -0.5), ADZE_EARG, "dropout 't': p is -0.5, it must be at least 0 and less than 1");
    refused(f, adze_dropout(f->g, F32(2), NAN), ADZE_EARG, "dropout 't': p is nan, it must be at least 0 and less than 1");
    refused(f, adze_dropout(f->g, I32(2), 0.5), ADZE_ETYPE, "dropout 't': the input is i32, but must be one of f64, f32");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(matmul_refuses, setup, teardown),
        cmocka_unit_test_setup_teardown(conv_refuses, setup, teardown),
        cmocka_unit_test_setup_teardown(conv_adjoints_refuse, setup, teardown),
        cmocka_unit_test_setup_teardown(pools_refuse, setup, teardown),
        cmocka_unit_test_setup_teardown(softmax_refuses, setup, teardown),
        cmocka_unit_test_setup_teardown(norms_and_dropout_refuse, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
