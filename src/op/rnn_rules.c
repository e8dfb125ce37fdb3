/* Recurrent layers unrolled into other ops, and their fast derivative: one fused gradient op. */
#include "op/rnn.h"

/* -- lists of steps ------------------------------------------------------------------------------------------------------------------------------ */

typedef struct series { /* values (N, C) of some steps, pushed first to last or, with `back`, last to first */
    adze_graph *g;
    bool back;
    int n;
    adze_val v[ADZE_MAX_IN];
} series;

static adze_val joined(series *s) {
    const adze_val *first = s->back ? s->v + ADZE_MAX_IN - s->n : s->v, v = s->n == 1 ? *first : adze_concat(s->g, first, s->n, 1);
    s->v[s->back ? ADZE_MAX_IN - 1 : 0] = v;
    s->n = 1;
    return v;
}

static void push(series *s, adze_val v) {
    const adze_type t = adze_val_type(s->g, v);
    if (s->n == ADZE_MAX_IN) { /* a concat takes no more */
        joined(s);
    }
    const int at = s->back ? ADZE_MAX_IN - 1 - s->n : s->n;
    s->v[at] = adze_reshape(s->g, v, (int64_t[]){t.dims[0], 1, t.dims[1]}, 3);
    s->n++;
}

/* (N, T, C); without a step (N, 0, C) */
static adze_val finish(series *s, adze_type like, int64_t columns) {
    like.dims[2] = columns;
    return s->n ? joined(s) : adze_full(s->g, like, 0);
}

/* -- shorthands ---------------------------------------------------------------------------------------------------------------------------------- */

static adze_val mul(adze_graph *g, adze_val a, adze_val b) {
    return adze_mul(g, a, b);
}

static adze_val mul3(adze_graph *g, adze_val a, adze_val b, adze_val c) {
    return mul(g, mul(g, a, b), c);
}

static adze_val one_minus(adze_graph *g, adze_val a) {
    return adze_scale(g, a, -1, 1);
}

static adze_val one_minus_square(adze_graph *g, adze_val a) {
    return one_minus(g, adze_square(g, a));
}

static adze_val slope(adze_graph *g, adze_val s) { /* of the sigmoid, from its value */
    return mul(g, s, one_minus(g, s));
}

static adze_val dot(adze_graph *g, adze_val a, adze_val b) {
    return adze_matmul(g, a, b, false, false);
}

/* Columns [from, to) of the last axis. */
static adze_val columns(adze_graph *g, adze_val v, int64_t from, int64_t to) {
    const adze_type t = adze_val_type(g, v);
    const int last = t.rank - 1;
    int64_t lo[ADZE_MAX_RANK] = {0}, hi[ADZE_MAX_RANK], step[ADZE_MAX_RANK];
    for (int i = 0; i < t.rank; i++) {
        hi[i] = t.dims[i], step[i] = 1;
    }
    lo[last] = from, hi[last] = to;
    return adze_slice(g, v, lo, hi, step);
}

/* Steps [from, to) of (N, T, C). */
static adze_val steps(adze_graph *g, adze_val v, int64_t from, int64_t to) {
    const adze_type t = adze_val_type(g, v);
    return adze_slice(g, v, (int64_t[]){0, from, 0}, (int64_t[]){t.dims[0], to, t.dims[2]}, (int64_t[]){1, 1, 1});
}

static adze_val step(adze_graph *g, adze_val v, int64_t t) {
    const adze_type type = adze_val_type(g, v);
    return adze_reshape(g, steps(g, v, t, t + 1), (int64_t[]){type.dims[0], type.dims[2]}, 2);
}

static void blocks(adze_graph *g, adze_val v, int64_t n, int64_t h, adze_val *out) {
    for (int64_t i = 0; i < n; i++) {
        out[i] = columns(g, v, i * h, (i + 1) * h);
    }
}

/* -- forward ------------------------------------------------------------------------------------------------------------------------------------- */

typedef struct unrolled {
    adze_graph *g;
    const adze_rnn_attrs *attrs;
    rnn_size z;
    const adze_val *x; /* the op's inputs */
    adze_val h, c;
    series gates;
} unrolled;

static void step_elman(unrolled *u, adze_val a) {
    const adze_val sum = adze_add(u->g, a, dot(u->g, u->h, u->x[RNN_WH]));
    u->h = u->attrs->relu ? adze_relu(u->g, sum) : adze_tanh(u->g, sum);
}

static void step_lstm(unrolled *u, adze_val a) {
    adze_graph *g = u->g;
    adze_val v[4];
    blocks(g, adze_add(g, a, dot(g, u->h, u->x[RNN_WH])), 4, u->z.h, v);
    for (int i = 0; i < 4; i++) {
        v[i] = i == 2 ? adze_tanh(g, v[i]) : adze_sigmoid(g, v[i]);
    }
    u->c = adze_add(g, mul(g, v[1], u->c), mul(g, v[0], v[2]));
    u->h = mul(g, v[3], adze_tanh(g, u->c));
    push(&u->gates, adze_concat(g, v, 4, 1));
}

static void step_gru(unrolled *u, adze_val a) {
    adze_graph *g = u->g;
    const int64_t h = u->z.h;
    const bool after = u->attrs->reset_after;
    adze_val ax[3], q[3], v[4]; /* r, z, n, h wh + bn */
    blocks(g, a, 3, h, ax);
    blocks(g, dot(g, u->h, after ? u->x[RNN_WH] : columns(g, u->x[RNN_WH], 0, 2 * h)), after ? 3 : 2, h, q);
    v[0] = adze_sigmoid(g, adze_add(g, ax[0], q[0]));
    v[1] = adze_sigmoid(g, adze_add(g, ax[1], q[1]));
    if (after) {
        v[3] = adze_add(g, q[2], u->x[RNN_BN]);
        v[2] = adze_tanh(g, adze_add(g, ax[2], mul(g, v[0], v[3])));
    } else {
        v[2] = adze_tanh(g, adze_add(g, ax[2], dot(g, mul(g, v[0], u->h), columns(g, u->x[RNN_WH], 2 * h, 3 * h))));
    }
    u->h = adze_add(g, v[2], mul(g, v[1], adze_sub(g, u->h, v[2])));
    push(&u->gates, adze_concat(g, v, (int)u->z.saved, 1));
}

static rnn_size size_of(const adze_adj *a) {
    const adze_type x = adze_val_type(a->g, a->x[RNN_X]), wh = adze_val_type(a->g, a->x[RNN_WH]);
    return rnn_size_of(adze_rnn_cell(a->op), a->attrs, x.dims, wh.dims);
}

void adze_rnn_expand(adze_adj *a) {
    adze_graph *g = a->g;
    const rnn_cell cell = adze_rnn_cell(a->op);
    const adze_type like = adze_val_type(g, a->x[RNN_X]);
    unrolled u = {.g = g, .attrs = a->attrs, .z = size_of(a), .x = a->x, .h = a->x[RNN_H0], .gates = {.g = g}};
    u.c = cell == RNN_LSTM ? a->x[RNN_C0] : (adze_val){0};
    const adze_val all = adze_add(g, dot(g, a->x[RNN_X], a->x[RNN_WX]), a->x[RNN_B]);
    series y = {.g = g}, c = {.g = g};
    for (int64_t t = 0; t < u.z.t && adze_graph_status(g) == ADZE_OK; t++) {
        (cell == RNN_ELMAN ? step_elman : cell == RNN_LSTM ? step_lstm : step_gru)(&u, step(g, all, t));
        push(&y, u.h);
        if (cell == RNN_LSTM) {
            push(&c, u.c);
        }
    }
    a->r[RNN_Y] = finish(&y, like, u.z.h);
    a->r[RNN_HT] = u.h;
    if (cell != RNN_ELMAN) {
        a->r[RNN_GATES] = finish(&u.gates, like, u.z.saved * u.z.h);
    }
    if (cell == RNN_LSTM) {
        a->r[RNN_C] = finish(&c, like, u.z.h);
        a->r[RNN_CT] = u.c;
    }
}

/* -- gradient ------------------------------------------------------------------------------------------------------------------------------------ */

typedef struct reverse {
    adze_graph *g;
    const adze_rnn_attrs *attrs;
    rnn_size z;
    const adze_val *x;
    adze_val dh, dc, h, v[4]; /* cotangents; h_(t-1); the gates of this step */
    adze_val da, dq;          /* cotangents of x wx + b and of h wh */
} reverse;

static adze_val back(const reverse *r, adze_val d, int64_t from, int64_t to) { /* d wh' for some columns of wh */
    return adze_matmul(r->g, d, columns(r->g, r->x[RNN_WH], from, to), false, true);
}

static void reverse_elman(reverse *r, adze_val y) {
    r->da = r->dq = r->attrs->relu ? adze_relu_grad(r->g, r->dh, y) : mul(r->g, r->dh, one_minus_square(r->g, y));
    r->dh = back(r, r->dq, 0, r->z.h);
}

static void reverse_lstm(reverse *r, adze_val c, adze_val c_before) {
    adze_graph *g = r->g;
    const adze_val i = r->v[0], f = r->v[1], n = r->v[2], o = r->v[3], s = adze_tanh(g, c);
    const adze_val dc = adze_add(g, r->dc, mul3(g, r->dh, o, one_minus_square(g, s)));
    const adze_val d[4] = {mul3(g, dc, n, slope(g, i)), mul3(g, dc, c_before, slope(g, f)), mul3(g, dc, i, one_minus_square(g, n)),
                           mul3(g, r->dh, s, slope(g, o))};
    r->da = r->dq = adze_concat(g, d, 4, 1);
    r->dc = mul(g, dc, f);
    r->dh = back(r, r->dq, 0, 4 * r->z.h);
}

static void reverse_gru(reverse *r) {
    adze_graph *g = r->g;
    const int64_t h = r->z.h;
    const adze_val reset = r->v[0], z = r->v[1], n = r->v[2];
    const adze_val da = mul3(g, r->dh, one_minus(g, z), one_minus_square(g, n)), dz = mul3(g, r->dh, adze_sub(g, r->h, n), slope(g, z));
    const adze_val rest = mul(g, r->dh, z);
    if (r->attrs->reset_after) {
        const adze_val dr = mul3(g, da, r->v[3], slope(g, reset));
        r->da = adze_concat(g, (adze_val[]){dr, dz, da}, 3, 1);
        r->dq = adze_concat(g, (adze_val[]){dr, dz, mul(g, da, reset)}, 3, 1);
        r->dh = adze_add(g, rest, back(r, r->dq, 0, 3 * h));
    } else {
        const adze_val inner = back(r, da, 2 * h, 3 * h), dr = mul3(g, inner, r->h, slope(g, reset));
        r->da = r->dq = adze_concat(g, (adze_val[]){dr, dz, da}, 3, 1);
        r->dh = adze_add(g, adze_add(g, rest, mul(g, inner, reset)), back(r, columns(g, r->dq, 0, 2 * h), 0, 2 * h));
    }
}

/* (N, T, C) -> (N T, C) */
static adze_val rows(adze_graph *g, adze_val v) {
    const adze_type t = adze_val_type(g, v);
    return adze_reshape(g, v, (int64_t[]){t.dims[0] * t.dims[1], t.dims[2]}, 2);
}

/* All h_(t-1) or c_(t-1): the first state, then all but the last. */
static adze_val shifted(adze_graph *g, adze_val y, adze_val first) {
    const adze_type t = adze_val_type(g, y);
    if (t.rank != 3 || t.dims[1] == 0) {
        return y;
    }
    const adze_val head = adze_reshape(g, first, (int64_t[]){t.dims[0], 1, t.dims[2]}, 3);
    return t.dims[1] == 1 ? head : adze_concat(g, (adze_val[]){head, steps(g, y, 0, t.dims[1] - 1)}, 2, 1);
}

static adze_val outer(adze_graph *g, adze_val a, adze_val b) { /* sum over rows a' b */
    return adze_matmul(g, rows(g, a), rows(g, b), true, false);
}

static adze_val over_rows(adze_graph *g, adze_val v) {
    return adze_sum(g, v, (int[]){0, 1}, 2, false);
}

static void gradients(adze_adj *a, const reverse *r, adze_val h, adze_val da, adze_val dq) {
    adze_graph *g = a->g;
    const rnn_cell cell = adze_rnn_cell(a->op);
    const int64_t two = 2 * r->z.h, three = 3 * r->z.h;
    a->r[RNN_DWX] = outer(g, a->x[RNN_X], da);
    a->r[RNN_DWH] = outer(g, h, dq);
    if (cell == RNN_GRU && !r->attrs->reset_after) {
        const adze_val reset = columns(g, a->x[RNN_G_GATES], 0, r->z.h);
        const adze_val part[2] = {columns(g, a->r[RNN_DWH], 0, two), outer(g, mul(g, reset, h), columns(g, dq, two, three))};
        a->r[RNN_DWH] = adze_concat(g, part, 2, 1);
    }
    a->r[RNN_DB] = over_rows(g, da);
    a->r[RNN_DH0] = r->dh;
    if (cell == RNN_LSTM) {
        a->r[RNN_DC0] = r->dc;
    } else if (cell == RNN_GRU && r->attrs->reset_after) {
        a->r[RNN_DBN] = over_rows(g, columns(g, dq, two, three));
    }
    if (r->attrs->dx) {
        a->r[rnn_dx_output(cell, r->attrs)] = adze_matmul(g, da, a->x[RNN_WX], false, true);
    }
}

void adze_rnn_grad_expand(adze_adj *a) {
    adze_graph *g = a->g;
    const rnn_cell cell = adze_rnn_cell(a->op);
    const adze_type like = adze_val_type(g, a->x[RNN_X]);
    reverse r = {.g = g, .attrs = a->attrs, .z = size_of(a), .x = a->x, .dh = a->x[RNN_G_DHT]};
    const adze_val h = shifted(g, a->x[RNN_G_Y], a->x[RNN_G_H0]);
    adze_val c = {0};
    if (cell == RNN_LSTM) {
        r.dc = a->x[RNN_G_DCT];
        c = shifted(g, a->x[RNN_G_C], a->x[RNN_G_C0]);
    }
    series da = {.g = g, .back = true}, dq = {.g = g, .back = true};
    for (int64_t t = r.z.t - 1; t >= 0 && adze_graph_status(g) == ADZE_OK; t--) {
        r.dh = adze_add(g, r.dh, step(g, a->x[RNN_G_DY], t));
        r.h = step(g, h, t);
        if (cell != RNN_ELMAN) {
            blocks(g, step(g, a->x[RNN_G_GATES], t), r.z.saved, r.z.h, r.v);
        }
        if (cell == RNN_ELMAN) {
            reverse_elman(&r, step(g, a->x[RNN_G_Y], t));
        } else if (cell == RNN_LSTM) {
            reverse_lstm(&r, step(g, a->x[RNN_G_C], t), step(g, c, t));
        } else {
            reverse_gru(&r);
        }
        push(&da, r.da);
        push(&dq, r.dq);
    }
    const int64_t width = r.z.gates * r.z.h;
    gradients(a, &r, h, finish(&da, like, width), finish(&dq, like, width));
}

/* -- vjp ----------------------------------------------------------------------------------------------------------------------------------------- */

/* A cotangent of what is saved for the backward pass (gates, cell states), which no network asks for: through the unrolled steps. They start from
 * copies of the inputs, so that nothing that the inputs depend on takes part. */
static void vjp_unrolled(adze_adj *a) {
    adze_graph *g = a->g;
    adze_val x[RNN_C0 + 1], y[RNN_CT + 1] = {{0}}, wanted[RNN_C0 + 1], d[RNN_C0 + 1], from[RNN_CT + 1], seed[RNN_CT + 1];
    int n = 0, m = 0;
    for (int i = 0; i < a->nin; i++) {
        x[i] = adze_copy(g, a->x[i]);
        if (a->need[i]) {
            wanted[n++] = x[i];
        }
    }
    adze_adj e = *a;
    e.x = x;
    e.r = y;
    adze_rnn_expand(&e);
    for (int k = 0; k < a->nout; k++) {
        if (a->t[k].id) {
            from[m] = y[k];
            seed[m++] = a->t[k];
        }
    }
    if (adze_vjp(g, from, seed, m, wanted, n, d, 0) == ADZE_OK) {
        for (int i = 0, k = 0; i < a->nin; i++) {
            a->r[i] = a->need[i] ? d[k++] : (adze_val){0};
        }
    }
}

static adze_val given(adze_adj *a, int k) { /* the cotangent of output k, zeros where there is none */
    return a->t[k].id ? a->t[k] : adze_zeros_like(a->g, a->y[k]);
}

void adze_rnn_vjp(adze_adj *a) {
    const rnn_cell cell = adze_rnn_cell(a->op);
    if (cell != RNN_ELMAN && (a->t[RNN_GATES].id || (cell == RNN_LSTM && a->t[RNN_C].id))) {
        vjp_unrolled(a);
        return;
    }
    const adze_op *op = cell == RNN_ELMAN ? &adze_op_rnn_grad : cell == RNN_LSTM ? &adze_op_lstm_grad : &adze_op_gru_grad;
    adze_rnn_attrs attrs = a->attrs ? *(const adze_rnn_attrs *)a->attrs : (adze_rnn_attrs){0};
    attrs.dx = a->need[RNN_X];
    adze_val in[RNN_G_DCT + 1] = {a->x[RNN_X], a->x[RNN_WX], a->x[RNN_WH], a->x[RNN_H0], a->y[RNN_Y], given(a, RNN_Y), given(a, RNN_HT)};
    adze_val d[RNN_DC0 + 2] = {{0}};
    int n = RNN_G_DHT + 1;
    if (cell != RNN_ELMAN) {
        in[n++] = a->y[RNN_GATES];
    }
    if (cell == RNN_LSTM) {
        in[n++] = a->y[RNN_C], in[n++] = a->x[RNN_C0], in[n++] = given(a, RNN_CT);
    }
    adze_apply(a->g, op, in, n, &attrs, d);
    a->r[RNN_WX] = d[RNN_DWX], a->r[RNN_WH] = d[RNN_DWH], a->r[RNN_B] = d[RNN_DB], a->r[RNN_H0] = d[RNN_DH0];
    if (a->nin > RNN_C0) { /* c0, or the bias inside the reset gate */
        a->r[RNN_C0] = d[RNN_DC0];
    }
    a->r[RNN_X] = attrs.dx ? d[rnn_dx_output(cell, &attrs)] : (adze_val){0};
}
