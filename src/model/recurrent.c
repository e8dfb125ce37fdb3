/* Recurrent layers: Elman's network, LSTM and GRU over the steps of a sequence, several of them one on the other if asked for. */
#include "adze/op.h"
#include "model/layer.h"

#include <math.h>
#include <stdio.h>

typedef struct recurrent {
    int64_t units, layers;
    bool return_sequences, reset_after;
    int32_t activation;
    double forget_bias;
    adze_init init;
} recurrent;

static const char *const CELL_ACTIVATIONS[] = {"tanh", "relu", NULL};

#define COMMON_FIELDS                                                                                                                                \
    {"units", ADZE_F_I64, ADZE_FIELD_REQUIRED, offsetof(recurrent, units), 0, NULL, 1, 1000000, NULL, "numbers of the state"},                       \
        {"layers", ADZE_F_I64, 0, offsetof(recurrent, layers), 0, "1", 1, 100, NULL, "how many, each fed by the one below"},                         \
        {"return_sequences", ADZE_F_BOOL, 0, offsetof(recurrent, return_sequences), 0, "true", 0, 0, NULL, "give every step; false: the last one"},  \
        ADZE_INIT_FIELDS(recurrent, "auto")

static const adze_field RNN_FIELDS[] = {
    COMMON_FIELDS, {"activation", ADZE_F_ENUM, 0, offsetof(recurrent, activation), 0, "tanh", 0, 0, CELL_ACTIVATIONS, "function of the sums"}, {0}};
static const adze_field LSTM_FIELDS[] = {
    COMMON_FIELDS,
    {"forget_bias", ADZE_F_F64, 0, offsetof(recurrent, forget_bias), 0, "0", -100, 100, NULL, "added to the forget gate's biases at the start"},
    {0}};
static const adze_field GRU_FIELDS[] = {COMMON_FIELDS,
                                        {"reset_after", ADZE_F_BOOL, 0, offsetof(recurrent, reset_after), 0, "true", 0, 0, NULL,
                                         "the reset gate acts on the product with the weights; false: on the state before it"},
                                        {0}};

typedef struct cell { /* one layer's parameters are being asked for */
    adze_builder *b;
    const recurrent *f;
    int64_t layer; /* 0: the lowest */
} cell;

/* A parameter "wx", or "wx1" in the layer above the lowest. By default everything starts uniform within 1 / sqrt(units). */
static adze_val parameter(const cell *c, const char *role, adze_type type, adze_init init, int64_t shift_from, double shift) {
    char name[16];
    snprintf(name, sizeof name, c->layer ? "%s%lld" : "%s", role, (long long)c->layer);
    const bool weights = type.rank == 2;
    adze_param_desc d = {.role = name, .type = type, .init = init, .flags = ADZE_SLOT_TRAINABLE | (weights ? ADZE_SLOT_DECAY : 0)};
    d.fan_in = weights ? type.dims[0] : 1, d.fan_out = weights ? c->f->units : 1;
    d.shift = shift, d.shift_from = shift_from, d.shift_to = shift_from + c->f->units;
    if (init.kind == ADZE_INIT_AUTO || !weights) {
        d.init = (adze_init){.kind = ADZE_INIT_UNIFORM, .gain = 1, .value = 1 / sqrt((double)c->f->units)};
    }
    return adze_layer_param(c->b, &d);
}

static adze_rnn_in inputs(const cell *c, adze_val x, int64_t gates) {
    const int64_t in = adze_val_type(c->b->g, x).dims[2], units = c->f->units, columns = gates * units;
    adze_rnn_in a = {.x = x};
    a.wx = parameter(c, "wx", adze_type_make(c->b->dtype, 2, (int64_t[]){in, columns}), c->f->init, 0, 0);
    a.wh = parameter(c, "wh", adze_type_make(c->b->dtype, 2, (int64_t[]){units, columns}), c->f->init, 0, 0);
    a.b = parameter(c, "b", adze_type_make(c->b->dtype, 1, &columns), c->f->init, units, gates == 4 ? c->f->forget_bias : 0);
    return a;
}

typedef adze_val (*cell_build)(const cell *c, adze_val x, adze_val *last);

static adze_val stack(adze_builder *b, const recurrent *f, int64_t gates, cell_build build) {
    const adze_type t = adze_layer_in(b, 0);
    adze_val y = b->x[0], last = {0};
    if (t.rank != 3) {
        return adze_layer_fail(b, ADZE_ESHAPE, "the input is %s; it takes (steps, numbers) for each example", ADZE_SHOWN(&t));
    }
    for (int64_t i = 0; i < f->layers; i++) {
        adze_layer_macs(b, (double)t.dims[1] * (double)(adze_val_type(b->g, y).dims[2] + f->units) * (double)(gates * f->units));
        y = build(&(cell){b, f, i}, y, &last);
    }
    return f->return_sequences ? y : last;
}

typedef adze_val (*recurrence)(const cell *c, const adze_rnn_in *in, adze_val *h, adze_val *state);

/* The whole sequence in one op. Where somebody wants to see the states, an op for each step: a gradient with respect to a state is whole then. */
static adze_val over_time(const cell *c, adze_rnn_in in, recurrence run, adze_val *last) {
    adze_graph *g = c->b->g;
    adze_taps *taps = c->b->taps;
    if (!taps || !taps->states) {
        return run(c, &in, last, NULL);
    }
    const adze_val x = in.x;
    const adze_type t = adze_val_type(g, x);
    const int64_t row[3] = {t.dims[0], 1, c->f->units}, one[3] = {1, 1, 1};
    adze_val *ys = adze_alloc(c->b->m->ctx, t.dims[1], sizeof *ys);
    if (!ys) {
        c->b->failed = ADZE_ENOMEM;
        return x;
    }
    for (int64_t i = 0; i < t.dims[1]; i++) {
        in.x = adze_slice(g, x, (int64_t[]){0, i, 0}, (int64_t[]){t.dims[0], i + 1, t.dims[2]}, one);
        run(c, &in, &in.h0, &in.c0);
        if (taps->nstates < taps->max_states) {
            taps->owner[taps->nstates] = c->b->layer;
            taps->time[taps->nstates] = (int)i + 1;
            taps->states[taps->nstates++] = in.h0;
        }
        ys[i] = adze_reshape(g, in.h0, row, 3);
    }
    for (int64_t n = t.dims[1], to = 0; n > 1; n = to) { /* as many at once as a node takes: a copy of all for each level, not for each step */
        to = 0;
        for (int64_t from = 0; from < n; from += ADZE_MAX_IN) {
            ys[to++] = adze_concat(g, ys + from, (int)(n - from < ADZE_MAX_IN ? n - from : ADZE_MAX_IN), 1);
        }
    }
    const adze_val y = ys[0];
    adze_free(c->b->m->ctx, ys);
    *last = in.h0;
    return y;
}

static adze_val run_rnn(const cell *c, const adze_rnn_in *in, adze_val *h, adze_val *state) {
    (void)state;
    return adze_rnn(c->b->g, in, c->f->activation == 1, h);
}

static adze_val run_lstm(const cell *c, const adze_rnn_in *in, adze_val *h, adze_val *state) {
    return adze_lstm(c->b->g, in, h, state);
}

static adze_val run_gru(const cell *c, const adze_rnn_in *in, adze_val *h, adze_val *state) {
    (void)state;
    return adze_gru(c->b->g, in, h);
}

static adze_val rnn_cell(const cell *c, adze_val x, adze_val *last) {
    return over_time(c, inputs(c, x, 1), run_rnn, last);
}

static adze_val lstm_cell(const cell *c, adze_val x, adze_val *last) {
    return over_time(c, inputs(c, x, 4), run_lstm, last);
}

static adze_val gru_cell(const cell *c, adze_val x, adze_val *last) {
    adze_rnn_in in = inputs(c, x, 3);
    if (c->f->reset_after) {
        in.bn = parameter(c, "bn", adze_type_make(c->b->dtype, 1, &c->f->units), c->f->init, 0, 0);
    }
    return over_time(c, in, run_gru, last);
}

static const char *check(const void *fields, char *buf, size_t n) {
    const recurrent *f = fields;
    return adze_init_check(&f->init, buf, n);
}

static adze_val rnn_build(adze_builder *b, const void *fields) {
    return stack(b, fields, 1, rnn_cell);
}

static adze_val lstm_build(adze_builder *b, const void *fields) {
    return stack(b, fields, 4, lstm_cell);
}

static adze_val gru_build(adze_builder *b, const void *fields) {
    return stack(b, fields, 3, gru_cell);
}

const adze_layer_kind adze_layer_rnn = {
    .name = "rnn",
    .doc = "Elman's network: h_t = fn(x_t wx + b + h_(t-1) wh): x (N, T, C) -> (N, T, units), or the last step (N, units)",
    .cost = "C + units multiply-adds an output and step; (C + units + 1) units parameters a layer",
    ADZE_LAYER_FIELDS(RNN_FIELDS, recurrent),
    ADZE_LAYER_FROM(1, 1),
    .check = check,
    .build = rnn_build,
};

const adze_layer_kind adze_layer_lstm = {
    .name = "lstm",
    .doc = "long short-term memory, gates in the order i, f, g, o: x (N, T, C) -> (N, T, units), or the last step (N, units)",
    .cost = "4 (C + units) multiply-adds an output and step; 4 (C + units + 1) units parameters a layer",
    ADZE_LAYER_FIELDS(LSTM_FIELDS, recurrent),
    ADZE_LAYER_FROM(1, 1),
    .check = check,
    .build = lstm_build,
};

const adze_layer_kind adze_layer_gru = {
    .name = "gru",
    .doc = "gated recurrent unit, gates in the order r, z, n: x (N, T, C) -> (N, T, units), or the last step (N, units)",
    .cost = "3 (C + units) multiply-adds an output and step; 3 (C + units + 1) units parameters a layer, with reset_after units more",
    ADZE_LAYER_FIELDS(GRU_FIELDS, recurrent),
    ADZE_LAYER_FROM(1, 1),
    .check = check,
    .build = gru_build,
};
