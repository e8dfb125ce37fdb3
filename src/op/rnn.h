/* What recurrent ops, their reference kernels and the processor's kernels share: the order of inputs and outputs, and sizes. */
#ifndef ADZE_OP_RNN_H
#define ADZE_OP_RNN_H

#include "op/element.h"

typedef enum rnn_cell { RNN_ELMAN, RNN_LSTM, RNN_GRU } rnn_cell;

enum { /* inputs; the last of the forward op is c0 (lstm) or the bias inside the reset gate (gru with reset_after) */
       RNN_X,
       RNN_WX,
       RNN_WH,
       RNN_B,
       RNN_H0,
       RNN_C0,
       RNN_BN = RNN_C0
};
enum { /* outputs */
       RNN_Y,
       RNN_HT,
       RNN_GATES,
       RNN_C,
       RNN_CT
};
enum { /* inputs of the gradient: x, wx, wh as above */
       RNN_G_H0 = 3,
       RNN_G_Y,
       RNN_G_DY,
       RNN_G_DHT,
       RNN_G_GATES,
       RNN_G_C,
       RNN_G_C0,
       RNN_G_DCT
};
enum { /* outputs of the gradient; dc0 (lstm) or dbn (gru with reset_after) follows where there is one, then dx where it is asked for */
       RNN_DWX,
       RNN_DWH,
       RNN_DB,
       RNN_DH0,
       RNN_DC0,
       RNN_DBN = RNN_DC0
};

typedef struct rnn_size {
    int64_t n, t, i, h;
    int64_t gates, saved; /* blocks of H columns: of the weights, and of the output `gates` */
} rnn_size;

static inline int64_t rnn_gates(rnn_cell cell) {
    return cell == RNN_ELMAN ? 1 : cell == RNN_LSTM ? 4 : 3;
}

static inline int64_t rnn_saved(rnn_cell cell, const adze_rnn_attrs *a) {
    return cell == RNN_ELMAN ? 0 : cell == RNN_LSTM || a->reset_after ? 4 : 3;
}

/* x: dims of (N, T, I); wh: of (H, gates H). a: NULL for lstm without dx */
static inline rnn_size rnn_size_of(rnn_cell cell, const adze_rnn_attrs *a, const int64_t *x, const int64_t *wh) {
    return (rnn_size){.n = x[0], .t = x[1], .i = x[2], .h = wh[0], .gates = rnn_gates(cell), .saved = rnn_saved(cell, a)};
}

/* Which output of the gradient is dx. */
static inline int rnn_dx_output(rnn_cell cell, const adze_rnn_attrs *a) {
    return cell == RNN_LSTM || (cell == RNN_GRU && a->reset_after) ? RNN_DC0 + 1 : RNN_DH0 + 1;
}

rnn_cell adze_rnn_cell(const adze_op *op);
void adze_rnn_ref(const adze_step *s, int ith, int nth);
void adze_rnn_grad_ref(const adze_step *s, int ith, int nth);
size_t adze_rnn_ref_scratch(const adze_sig *s);
void adze_rnn_expand(adze_adj *a);
void adze_rnn_grad_expand(adze_adj *a);
void adze_rnn_vjp(adze_adj *a);

extern const adze_op adze_op_rnn, adze_op_lstm, adze_op_gru, adze_op_rnn_grad, adze_op_lstm_grad, adze_op_gru_grad;

#endif
