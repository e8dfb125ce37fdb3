/* Recurrent layers over whole sequences, batch first: Elman's network, LSTM and GRU, each one op, and the gradient of each. Records, legality, costs,
 * samples and builders; the formulas are in rnn_ref.c (plain C) and rnn_rules.c (other ops). */
#include "op/rnn.h"
#include "op/record.h"

static const adze_field RNN_FIELDS[] = {ADZE_ATTR(adze_rnn_attrs, relu, ADZE_F_BOOL, "relu instead of tanh"), ADZE_ATTR_END};
static const adze_field RNN_GRAD_FIELDS[] = {ADZE_ATTR(adze_rnn_attrs, relu, ADZE_F_BOOL, "relu instead of tanh"),
                                             ADZE_ATTR(adze_rnn_attrs, dx, ADZE_F_BOOL, "dx is the last output"), ADZE_ATTR_END};
static const adze_field LSTM_GRAD_FIELDS[] = {ADZE_ATTR(adze_rnn_attrs, dx, ADZE_F_BOOL, "dx is the last output"), ADZE_ATTR_END};
static const adze_field GRU_FIELDS[] = {ADZE_ATTR_DEF(adze_rnn_attrs, reset_after, ADZE_F_BOOL, "true", "the reset gate acts after the product"),
                                        ADZE_ATTR_END};
static const adze_field GRU_GRAD_FIELDS[] = {ADZE_ATTR_DEF(adze_rnn_attrs, reset_after, ADZE_F_BOOL, "true", "the reset gate acts after the product"),
                                             ADZE_ATTR(adze_rnn_attrs, dx, ADZE_F_BOOL, "dx is the last output"), ADZE_ATTR_END};

rnn_cell adze_rnn_cell(const adze_op *op) {
    return op == &adze_op_rnn || op == &adze_op_rnn_grad ? RNN_ELMAN : op == &adze_op_lstm || op == &adze_op_lstm_grad ? RNN_LSTM : RNN_GRU;
}

static bool reset_after(rnn_cell cell, const void *attrs) {
    return cell == RNN_GRU && ((const adze_rnn_attrs *)attrs)->reset_after;
}

/* -- legality ------------------------------------------------------------------------------------------------------------------------------------ */

/* x, the weights, y and their cotangents may be bf16: then all else is f32. */
static adze_dtype wide(const adze_sig *s) {
    return s->in[0].dtype == ADZE_BF16 ? ADZE_F32 : s->in[0].dtype;
}

static int check_dims(adze_sig *s, int i, adze_dtype d, const char *what, int rank, const int64_t *dims) {
    if (d == s->in[0].dtype) {
        TRY(adze_check_same_dtype(s, 0, i));
    }
    const adze_type want = adze_type_make(d, rank, dims);
    if (!adze_type_equal(&want, &s->in[i])) {
        return adze_op_fail(s, s->in[i].dtype == d ? ADZE_ESHAPE : ADZE_ETYPE, "%s is %s, it must be %s", what, ADZE_SHOWN(&s->in[i]),
                            ADZE_SHOWN(&want));
    }
    return ADZE_OK;
}

/* Inputs 0 to 2: x (N, T, I), wx (I, G H), wh (H, G H) */
static int check_weights(adze_sig *s, rnn_cell cell, rnn_size *z) {
    TRY(adze_check_dtype(s, RNN_X, "the input", ADZE_SET_BF));
    TRY(adze_check_rank(s, RNN_X, "the input", 3, 3));
    TRY(adze_check_same_dtype(s, 0, RNN_WH));
    TRY(adze_check_rank(s, RNN_WH, "the recurrent weights", 2, 2));
    *z = rnn_size_of(cell, s->attrs, s->in[RNN_X].dims, s->in[RNN_WH].dims);
    if (z->h < 0 || z->h > INT64_MAX / 16 || z->i < 0 || z->i > INT64_MAX / 16) {
        return adze_op_fail(s, ADZE_ESHAPE, "the state has %lld numbers and the input %lld: that is no size", (long long)z->h, (long long)z->i);
    }
    TRY(check_dims(s, RNN_WH, s->in[0].dtype, "the recurrent weights", 2, (int64_t[]){z->h, z->gates * z->h}));
    return check_dims(s, RNN_WX, s->in[0].dtype, "the input weights", 2, (int64_t[]){z->i, z->gates * z->h});
}

static int infer_forward(adze_sig *s) {
    const rnn_cell cell = adze_rnn_cell(s->op);
    rnn_size z;
    const int want = cell == RNN_LSTM || reset_after(cell, s->attrs) ? RNN_C0 + 1 : RNN_C0;
    if (s->nin != want) {
        return adze_op_fail(s, ADZE_EARG, "%d inputs, it takes %d", s->nin, want);
    }
    TRY(check_weights(s, cell, &z));
    const int64_t state[2] = {z.n, z.h}, y[3] = {z.n, z.t, z.h}, gates[3] = {z.n, z.t, z.saved * z.h};
    TRY(check_dims(s, RNN_B, wide(s), "the bias", 1, (int64_t[]){z.gates * z.h}));
    TRY(check_dims(s, RNN_H0, wide(s), "the first state", 2, state));
    TRY(adze_set_out(s, RNN_Y, s->in[0].dtype, 3, y));
    TRY(adze_set_out(s, RNN_HT, wide(s), 2, state));
    if (cell == RNN_ELMAN) {
        return ADZE_OK;
    }
    TRY(adze_set_out(s, RNN_GATES, wide(s), 3, gates));
    if (cell == RNN_LSTM) {
        TRY(check_dims(s, RNN_C0, wide(s), "the first cell state", 2, state));
        TRY(adze_set_out(s, RNN_C, wide(s), 3, y));
        return adze_set_out(s, RNN_CT, wide(s), 2, state);
    }
    return reset_after(cell, s->attrs) ? check_dims(s, RNN_BN, wide(s), "the bias inside the reset gate", 1, &z.h) : ADZE_OK;
}

static int infer_grad(adze_sig *s) {
    const rnn_cell cell = adze_rnn_cell(s->op);
    rnn_size z;
    TRY(check_weights(s, cell, &z));
    const int64_t state[2] = {z.n, z.h}, y[3] = {z.n, z.t, z.h}, gates[3] = {z.n, z.t, z.saved * z.h}, columns = z.gates * z.h;
    TRY(check_dims(s, RNN_G_H0, wide(s), "the first state", 2, state));
    TRY(check_dims(s, RNN_G_Y, s->in[0].dtype, "y", 3, y));
    TRY(check_dims(s, RNN_G_DY, s->in[0].dtype, "dy", 3, y));
    TRY(check_dims(s, RNN_G_DHT, wide(s), "the cotangent of the last state", 2, state));
    if (cell != RNN_ELMAN) {
        TRY(check_dims(s, RNN_G_GATES, wide(s), "the gates", 3, gates));
    }
    if (cell == RNN_LSTM) {
        TRY(check_dims(s, RNN_G_C, wide(s), "the cell states", 3, y));
        TRY(check_dims(s, RNN_G_C0, wide(s), "the first cell state", 2, state));
        TRY(check_dims(s, RNN_G_DCT, wide(s), "the cotangent of the last cell state", 2, state));
        TRY(adze_set_out(s, RNN_DC0, wide(s), 2, state));
    } else if (reset_after(cell, s->attrs)) {
        TRY(adze_set_out(s, RNN_DBN, wide(s), 1, &z.h));
    }
    TRY(adze_set_out(s, RNN_DWX, wide(s), 2, s->in[RNN_WX].dims));
    TRY(adze_set_out(s, RNN_DWH, wide(s), 2, s->in[RNN_WH].dims));
    TRY(adze_set_out(s, RNN_DB, wide(s), 1, &columns));
    TRY(adze_set_out(s, RNN_DH0, wide(s), 2, state));
    const bool dx = ((const adze_rnn_attrs *)s->attrs)->dx;
    return dx ? adze_set_out(s, rnn_dx_output(cell, s->attrs), s->in[0].dtype, 3, s->in[RNN_X].dims) : ADZE_OK;
}

static int count_out_grad(const adze_sig *s) {
    return rnn_dx_output(adze_rnn_cell(s->op), s->attrs) + (((const adze_rnn_attrs *)s->attrs)->dx ? 1 : 0);
}

/* Two operations for every weight in use at every step of every example, and about ten for every gate. */
static double flops_of(const adze_sig *s, double passes_x, double passes_h) {
    const rnn_size z = rnn_size_of(adze_rnn_cell(s->op), s->attrs, s->in[RNN_X].dims, s->in[RNN_WH].dims);
    return (double)z.n * (double)z.t * (double)z.gates * (double)z.h * (2 * passes_x * (double)z.i + 2 * passes_h * (double)z.h + 10);
}

static adze_cost cost_forward(const adze_sig *s) {
    return adze_cost_of(s, flops_of(s, 1, 1));
}

static adze_cost cost_grad(const adze_sig *s) {
    return adze_cost_of(s, flops_of(s, ((const adze_rnn_attrs *)s->attrs)->dx ? 2 : 1, 2));
}

/* -- random test cases --------------------------------------------------------------------------------------------------------------------------- */

/* Sizes with few multiply-adds, and weights that neither saturate the gates nor let the state blow up. */
static rnn_size sample_weights(adze_rng *r, adze_case *c, rnn_cell cell) {
    int64_t dims[4]; /* n, i, h, t */
    for (int k = 0; k < 3; k++) {
        dims[k] = adze_sample_size(r, c, 0);
    }
    dims[3] = c->awkward && adze_sample_coin(r, 8) ? 0 : adze_rng_range(r, 1, c->awkward ? 5 : 3);
    const int64_t gates = rnn_gates(cell);
    for (int k = 0; dims[0] * dims[3] * (dims[1] + dims[2]) * gates * dims[2] > 16000; k = (k + 1) % 4) {
        dims[k] = (dims[k] + 1) / 2;
    }
    const rnn_size z = rnn_size_of(cell, c->attrs, (int64_t[]){dims[0], dims[3], dims[1]}, dims + 2);
    c->in[RNN_X] = adze_type_make(c->dtype, 3, (int64_t[]){z.n, z.t, z.i});
    c->in[RNN_WX] = adze_type_make(c->dtype, 2, (int64_t[]){z.i, gates * z.h});
    c->in[RNN_WH] = adze_type_make(c->dtype, 2, (int64_t[]){z.h, gates * z.h});
    const double weight = 1.5 / sqrt(1 + (double)(z.i + z.h));
    c->dom[RNN_WX] = c->dom[RNN_WH] = adze_dom_range(-weight, weight);
    return z;
}

static void sample_forward(adze_rng *r, adze_case *c, rnn_cell cell) {
    const rnn_size z = sample_weights(r, c, cell);
    c->nin = cell == RNN_LSTM || reset_after(cell, c->attrs) ? RNN_C0 + 1 : RNN_C0;
    c->in[RNN_B] = adze_type_make(c->dtype, 1, (int64_t[]){z.gates * z.h});
    c->in[RNN_H0] = adze_type_make(c->dtype, 2, (int64_t[]){z.n, z.h});
    c->in[RNN_C0] = cell == RNN_LSTM ? c->in[RNN_H0] : adze_type_make(c->dtype, 1, &z.h);
}

static void sample_grad(adze_rng *r, adze_case *c, rnn_cell cell) {
    const rnn_size z = sample_weights(r, c, cell);
    const adze_type state = adze_type_make(c->dtype, 2, (int64_t[]){z.n, z.h}), y = adze_type_make(c->dtype, 3, (int64_t[]){z.n, z.t, z.h});
    c->nin = cell == RNN_LSTM ? RNN_G_DCT + 1 : cell == RNN_GRU ? RNN_G_GATES + 1 : RNN_G_DHT + 1;
    c->in[RNN_G_H0] = c->in[RNN_G_DHT] = c->in[RNN_G_C0] = c->in[RNN_G_DCT] = state;
    c->in[RNN_G_Y] = c->in[RNN_G_DY] = c->in[RNN_G_C] = y;
    c->in[RNN_G_GATES] = adze_type_make(c->dtype, 3, (int64_t[]){z.n, z.t, z.saved * z.h});
    c->dom[RNN_G_GATES] = adze_dom_range(-1, 1);
    ((adze_rnn_attrs *)c->attrs)->dx = adze_sample_coin(r, 2);
}

/* relu: half of the biases are far above zero and half far below, and nothing else is large, so that no sum comes near the kink. */
static void sample_rnn(adze_rng *r, adze_case *c) {
    adze_rnn_attrs *a = c->attrs;
    a->relu = adze_sample_coin(r, 2);
    sample_forward(r, c, RNN_ELMAN);
    if (a->relu) {
        const double weight = 0.2 / (1 + (double)c->in[RNN_X].dims[2] + (double)c->in[RNN_H0].dims[1]);
        c->dom[RNN_WX] = c->dom[RNN_WH] = adze_dom_range(-weight, weight);
        c->dom[RNN_B] = (adze_domain){.lo = -4, .hi = 4, .gap = 2.5};
    }
}

static void sample_rnn_grad(adze_rng *r, adze_case *c) {
    adze_rnn_attrs *a = c->attrs;
    a->relu = adze_sample_coin(r, 2);
    sample_grad(r, c, RNN_ELMAN);
    c->dom[RNN_G_Y] = a->relu ? adze_dom_kink(0, 0, 0.1) : adze_dom_range(-1, 1);
}

static void sample_lstm(adze_rng *r, adze_case *c) {
    sample_forward(r, c, RNN_LSTM);
}

static void sample_lstm_grad(adze_rng *r, adze_case *c) {
    sample_grad(r, c, RNN_LSTM);
}

static void sample_gru(adze_rng *r, adze_case *c) {
    ((adze_rnn_attrs *)c->attrs)->reset_after = !adze_sample_coin(r, 3);
    sample_forward(r, c, RNN_GRU);
}

static void sample_gru_grad(adze_rng *r, adze_case *c) {
    ((adze_rnn_attrs *)c->attrs)->reset_after = !adze_sample_coin(r, 3);
    sample_grad(r, c, RNN_GRU);
}

/* -- records ------------------------------------------------------------------------------------------------------------------------------------- */

const adze_op adze_op_rnn = {
    .name = "rnn",
    ADZE_ARITY(RNN_C0, RNN_HT + 1),
    ADZE_ATTRS(RNN_FIELDS, adze_rnn_attrs),
    .doc = "Elman's network: h_t = tanh(x_t wx + b + h_(t-1) wh), or relu. x (N, T, I), wx (I, H), wh (H, H), b (H), h0 (N, H)\n"
           "-> y (N, T, H), the last state (N, H).",
    .infer = infer_forward,
    .vjp = adze_rnn_vjp,
    .expand = adze_rnn_expand,
    .cost = cost_forward,
    .ref = adze_rnn_ref,
    .ref_scratch = adze_rnn_ref_scratch,
    .sample = sample_rnn,
};

const adze_op adze_op_rnn_grad = {
    .name = "rnn_grad",
    ADZE_ARITY(RNN_G_DHT + 1, 0),
    ADZE_ATTRS(RNN_GRAD_FIELDS, adze_rnn_attrs),
    .doc = "The gradient of rnn: x, wx, wh, h0, y, dy and the cotangent of the last state -> dwx, dwh, db, dh0 and, with dx, dx.\n"
           "With dh the cotangent of h_t, da = dh (1 - y^2), or dh where y > 0; dx_t = da wx', the next dh = da wh' + dy_(t-1).",
    .infer = infer_grad,
    .count_out = count_out_grad,
    .expand = adze_rnn_grad_expand,
    .cost = cost_grad,
    .ref = adze_rnn_grad_ref,
    .ref_scratch = adze_rnn_ref_scratch,
    .sample = sample_rnn_grad,
};

const adze_op adze_op_lstm = {
    .name = "lstm",
    ADZE_ARITY(RNN_C0 + 1, RNN_CT + 1),
    .doc = "i, f, g, o = x_t wx + b + h_(t-1) wh; c_t = sigmoid(f) c_(t-1) + sigmoid(i) tanh(g); h_t = sigmoid(o) tanh(c_t).\n"
           "x (N, T, I), wx (I, 4 H), wh (H, 4 H), b (4 H), h0, c0 (N, H) -> y (N, T, H), the last h (N, H), the gates after their functions\n"
           "(N, T, 4 H), all c (N, T, H), the last c (N, H). Where x, wx and wh are bf16, so is y; all else is f32, as in rnn and gru.",
    .infer = infer_forward,
    .vjp = adze_rnn_vjp,
    .expand = adze_rnn_expand,
    .cost = cost_forward,
    .ref = adze_rnn_ref,
    .ref_scratch = adze_rnn_ref_scratch,
    .sample = sample_lstm,
};

const adze_op adze_op_lstm_grad = {
    .name = "lstm_grad",
    ADZE_ARITY(RNN_G_DCT + 1, 0),
    ADZE_ATTRS(LSTM_GRAD_FIELDS, adze_rnn_attrs),
    .doc = "The gradient of lstm: x, wx, wh, h0, y, dy, the cotangent of the last h, gates, c, c0, the cotangent of the last c\n"
           "-> dwx, dwh, db, dh0, dc0 and, with dx, dx. dc += dh o (1 - tanh(c)^2); di = dc g i (1 - i), df = dc c_(t-1) f (1 - f),\n"
           "dg = dc i (1 - g^2), do = dh tanh(c) o (1 - o); the next dc = dc f.",
    .infer = infer_grad,
    .count_out = count_out_grad,
    .expand = adze_rnn_grad_expand,
    .cost = cost_grad,
    .ref = adze_rnn_grad_ref,
    .ref_scratch = adze_rnn_ref_scratch,
    .sample = sample_lstm_grad,
};

const adze_op adze_op_gru = {
    .name = "gru",
    .nin_min = RNN_C0,
    .nin_max = RNN_C0 + 1,
    .nout = RNN_GATES + 1,
    ADZE_ATTRS(GRU_FIELDS, adze_rnn_attrs),
    .doc = "r, z = sigmoid(x_t wx + b + h_(t-1) wh), n = tanh(x_t wx + b + r (h_(t-1) wh + bn)), or with reset_after false\n"
           "tanh(x_t wx + b + (r h_(t-1)) wh); h_t = (1 - z) n + z h_(t-1). x (N, T, I), wx (I, 3 H), wh (H, 3 H), b (3 H), h0 (N, H), bn (H)\n"
           "-> y (N, T, H), the last h (N, H), r, z, n and, with reset_after, h wh + bn (N, T, 4 H or 3 H).",
    .infer = infer_forward,
    .vjp = adze_rnn_vjp,
    .expand = adze_rnn_expand,
    .cost = cost_forward,
    .ref = adze_rnn_ref,
    .ref_scratch = adze_rnn_ref_scratch,
    .sample = sample_gru,
};

const adze_op adze_op_gru_grad = {
    .name = "gru_grad",
    ADZE_ARITY(RNN_G_GATES + 1, 0),
    ADZE_ATTRS(GRU_GRAD_FIELDS, adze_rnn_attrs),
    .doc = "The gradient of gru: x, wx, wh, h0, y, dy, the cotangent of the last state, gates -> dwx, dwh, db, dh0, with reset_after dbn,\n"
           "and, with dx, dx. da = dh (1 - z) (1 - n^2), dz = dh (h_(t-1) - n) z (1 - z), dr = da (h wh + bn) r (1 - r); "
           "the next dh begins as dh z.",
    .infer = infer_grad,
    .count_out = count_out_grad,
    .expand = adze_rnn_grad_expand,
    .cost = cost_grad,
    .ref = adze_rnn_grad_ref,
    .ref_scratch = adze_rnn_ref_scratch,
    .sample = sample_gru_grad,
};

/* -- builders ------------------------------------------------------------------------------------------------------------------------------------ */

/* Zeros (N, H) for a state that is not given. */
static adze_val first_state(adze_graph *g, const adze_rnn_in *in, adze_val given) {
    const adze_type x = adze_val_type(g, in->x), wh = adze_val_type(g, in->wh);
    const bool known = x.rank == 3 && wh.rank == 2; /* else infer will say so */
    return given.id || !known ? given
                              : adze_full(g, adze_type_make(x.dtype == ADZE_BF16 ? ADZE_F32 : x.dtype, 2, (int64_t[]){x.dims[0], wh.dims[0]}), 0);
}

static adze_val apply(adze_graph *g, const adze_op *op, const adze_rnn_in *in, adze_val last, const adze_rnn_attrs *a, adze_val *out) {
    const adze_val x[] = {in->x, in->wx, in->wh, in->b, first_state(g, in, in->h0), last};
    adze_apply(g, op, x, last.id ? RNN_C0 + 1 : RNN_C0, a, out);
    return out[RNN_Y];
}

adze_val adze_rnn(adze_graph *g, const adze_rnn_in *in, bool relu, adze_val *h) {
    adze_val out[RNN_HT + 1] = {{0}};
    apply(g, &adze_op_rnn, in, (adze_val){0}, &(adze_rnn_attrs){.relu = relu}, out);
    adze_give(h, out[RNN_HT]);
    return out[RNN_Y];
}

adze_val adze_lstm(adze_graph *g, const adze_rnn_in *in, adze_val *h, adze_val *c) {
    adze_val out[RNN_CT + 1] = {{0}};
    apply(g, &adze_op_lstm, in, first_state(g, in, in->c0), NULL, out);
    adze_give(h, out[RNN_HT]);
    adze_give(c, out[RNN_CT]);
    return out[RNN_Y];
}

adze_val adze_gru(adze_graph *g, const adze_rnn_in *in, adze_val *h) {
    adze_val out[RNN_GATES + 1] = {{0}};
    apply(g, &adze_op_gru, in, in->bn, &(adze_rnn_attrs){.reset_after = in->bn.id != 0}, out);
    adze_give(h, out[RNN_HT]);
    return out[RNN_Y];
}
