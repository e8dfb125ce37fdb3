/* Recurrent layers in plain C: example by example, step by step, in double; states are rounded where they are stored. */
#include "op/rnn.h"

static double sigmoid(double x) {
    const double e = exp(-fabs(x));
    return x < 0 ? e / (1 + e) : 1 / (1 + e);
}

enum { ROWS = 12 }; /* rows of H doubles that both kernels use */

/* Sums over steps and examples need doubles of their own beside the rows. */
size_t adze_rnn_ref_scratch(const adze_sig *s) {
    const rnn_size z = rnn_size_of(adze_rnn_cell(s->op), s->attrs, s->in[RNN_X].dims, s->in[RNN_WH].dims);
    return ((size_t)ROWS * (size_t)z.h + (size_t)(z.i + z.h + 2) * (size_t)(z.gates * z.h)) * sizeof(double);
}

/* h_(t-1) of example n: in y, or h0 before the first step; likewise c. */
static double before(const adze_view *y, const adze_view *first, const rnn_size *z, int64_t n, int64_t t, int64_t k) {
    return t > 0 ? adze_at(y, (n * z->t + t - 1) * z->h + k) : adze_at(first, n * z->h + k);
}

typedef struct forward { /* one example at one step */
    const adze_step *s;
    rnn_size z;
    int64_t n, t;
    double *h, *a, *q; /* h_(t-1) (H), x wx + b (gates H), h wh (gates H) */
} forward;

static void forward_sums(const forward *f, int64_t from, int64_t to, const double *state) {
    const adze_view *in = f->s->in;
    const int64_t columns = f->z.gates * f->z.h, row = (f->n * f->z.t + f->t) * f->z.i;
    for (int64_t j = from; j < to; j++) {
        double a = adze_at(&in[RNN_B], j), q = 0;
        for (int64_t i = 0; i < f->z.i; i++) {
            a += adze_at(&in[RNN_X], row + i) * adze_at(&in[RNN_WX], i * columns + j);
        }
        for (int64_t k = 0; k < f->z.h; k++) {
            q += state[k] * adze_at(&in[RNN_WH], k * columns + j);
        }
        f->a[j] = a, f->q[j] = q;
    }
}

static void put_y(const forward *f, int64_t k, double v) {
    adze_put(&f->s->out[RNN_Y], (f->n * f->z.t + f->t) * f->z.h + k, v);
}

static void put_gates(const forward *f, int64_t k, const double *v) {
    for (int64_t g = 0; g < f->z.saved; g++) {
        adze_put(&f->s->out[RNN_GATES], ((f->n * f->z.t + f->t) * f->z.saved + g) * f->z.h + k, v[g]);
    }
}

static void forward_elman(const forward *f) {
    const bool relu = ((const adze_rnn_attrs *)f->s->attrs)->relu;
    for (int64_t k = 0; k < f->z.h; k++) {
        const double a = f->a[k] + f->q[k];
        put_y(f, k, !relu ? tanh(a) : a > 0 || a != a ? a : 0);
    }
}

static void forward_lstm(const forward *f) {
    const int64_t h = f->z.h;
    for (int64_t k = 0; k < h; k++) {
        double g[4];
        for (int j = 0; j < 4; j++) {
            const double a = f->a[j * h + k] + f->q[j * h + k];
            g[j] = j == 2 ? tanh(a) : sigmoid(a);
        }
        const double c = g[1] * before(&f->s->out[RNN_C], &f->s->in[RNN_C0], &f->z, f->n, f->t, k) + g[0] * g[2];
        put_gates(f, k, g);
        adze_put(&f->s->out[RNN_C], (f->n * f->z.t + f->t) * h + k, c);
        put_y(f, k, g[3] * tanh(c));
    }
}

static void forward_gru(const forward *f) {
    const bool after = ((const adze_rnn_attrs *)f->s->attrs)->reset_after;
    const int64_t h = f->z.h;
    if (!after) { /* n's sums come from r h, for which all of r is needed */
        double *reset = f->q + f->z.gates * h;
        for (int64_t k = 0; k < h; k++) {
            reset[k] = sigmoid(f->a[k] + f->q[k]) * f->h[k];
        }
        forward_sums(f, 2 * h, 3 * h, reset);
    }
    for (int64_t k = 0; k < h; k++) {
        const double r = sigmoid(f->a[k] + f->q[k]), z = sigmoid(f->a[h + k] + f->q[h + k]);
        const double q = f->q[2 * h + k] + (after ? adze_at(&f->s->in[RNN_BN], k) : 0), n = tanh(f->a[2 * h + k] + (after ? r * q : q));
        put_gates(f, k, (const double[]){r, z, n, q});
        put_y(f, k, (1 - z) * n + z * f->h[k]);
    }
}

void adze_rnn_ref(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const rnn_cell cell = adze_rnn_cell(s->op);
    const rnn_size z = rnn_size_of(cell, s->attrs, s->in[RNN_X].dims, s->in[RNN_WH].dims);
    if (z.h == 0) {
        return; /* every output is empty; N and T may be huge */
    }
    double *h = s->scratch;
    forward f = {.s = s, .z = z, .h = h, .a = h + z.h, .q = h + (1 + z.gates) * z.h};
    for (f.n = 0; f.n < z.n; f.n++) {
        for (f.t = 0; f.t < z.t; f.t++) {
            for (int64_t k = 0; k < z.h; k++) {
                h[k] = before(&s->out[RNN_Y], &s->in[RNN_H0], &z, f.n, f.t, k);
            }
            forward_sums(&f, 0, z.gates * z.h, h);
            (cell == RNN_ELMAN ? forward_elman : cell == RNN_LSTM ? forward_lstm : forward_gru)(&f);
        }
        for (int64_t k = 0; k < z.h; k++) {
            adze_put(&s->out[RNN_HT], f.n * z.h + k, before(&s->out[RNN_Y], &s->in[RNN_H0], &z, f.n, z.t, k));
            if (cell == RNN_LSTM) {
                adze_put(&s->out[RNN_CT], f.n * z.h + k, before(&s->out[RNN_C], &s->in[RNN_C0], &z, f.n, z.t, k));
            }
        }
    }
}

/* -- gradients ----------------------------------------------------------------------------------------------------------------------------------- */

typedef struct backward { /* one example at one step */
    const adze_step *s;
    rnn_size z;
    int64_t n, t;
    double *dh, *dc, *h;          /* cotangents of h_t and c_t, then of h_(t-1) and c_(t-1); h_(t-1) */
    double *left;                 /* what n's recurrent columns multiply: h, or r h */
    double *da, *dq;              /* cotangents of x wx + b and of h wh: (gates H) */
    double *dwx, *dwh, *db, *dbn; /* sums over all steps */
} backward;

static double gate(const backward *b, int64_t g, int64_t k) {
    return adze_at(&b->s->in[RNN_G_GATES], ((b->n * b->z.t + b->t) * b->z.saved + g) * b->z.h + k);
}

/* Fills da and dq and leaves in dh what reaches h_(t-1) beside the weights. */
static void backward_elman(backward *b) {
    const bool relu = ((const adze_rnn_attrs *)b->s->attrs)->relu;
    for (int64_t k = 0; k < b->z.h; k++) {
        const double y = adze_at(&b->s->in[RNN_G_Y], (b->n * b->z.t + b->t) * b->z.h + k);
        b->da[k] = b->dq[k] = !relu ? b->dh[k] * (1 - y * y) : y > 0 ? b->dh[k] : 0;
        b->dh[k] = 0;
    }
}

static void backward_lstm(backward *b) {
    const int64_t h = b->z.h;
    for (int64_t k = 0; k < h; k++) {
        const double i = gate(b, 0, k), f = gate(b, 1, k), g = gate(b, 2, k), o = gate(b, 3, k);
        const double c = tanh(adze_at(&b->s->in[RNN_G_C], (b->n * b->z.t + b->t) * h + k)), dh = b->dh[k], dc = b->dc[k] + dh * o * (1 - c * c);
        const double d[4] = {dc * g * i * (1 - i), dc * before(&b->s->in[RNN_G_C], &b->s->in[RNN_G_C0], &b->z, b->n, b->t, k) * f * (1 - f),
                             dc * i * (1 - g * g), dh * c * o * (1 - o)};
        for (int64_t j = 0; j < 4; j++) {
            b->da[j * h + k] = b->dq[j * h + k] = d[j];
        }
        b->dh[k] = 0;
        b->dc[k] = dc * f;
    }
}

static void backward_gru(backward *b) {
    const bool after = ((const adze_rnn_attrs *)b->s->attrs)->reset_after;
    const int64_t h = b->z.h, columns = 3 * h;
    for (int64_t k = 0; k < h; k++) {
        const double r = gate(b, 0, k), z = gate(b, 1, k), n = gate(b, 2, k), dh = b->dh[k], da = dh * (1 - z) * (1 - n * n);
        b->da[h + k] = b->dq[h + k] = dh * (b->h[k] - n) * z * (1 - z);
        b->da[2 * h + k] = da;
        b->dq[2 * h + k] = after ? da * r : da;
        b->left[k] = after ? b->h[k] : r * b->h[k];
        b->dh[k] = dh * z;
    }
    for (int64_t k = 0; k < h; k++) {
        const double r = gate(b, 0, k);
        double dr = 0;
        if (after) {
            dr = b->da[2 * h + k] * gate(b, 3, k);
        } else {
            double reset = 0; /* the cotangent of r h */
            for (int64_t j = 2 * h; j < columns; j++) {
                reset += adze_at(&b->s->in[RNN_WH], k * columns + j) * b->dq[j];
            }
            dr = reset * b->h[k];
            b->dh[k] += reset * r;
        }
        b->da[k] = b->dq[k] = dr * r * (1 - r);
    }
}

/* What da and dq give to the weights, to dx and to the state before. */
static void backward_sums(backward *b, const adze_view *dx) {
    const rnn_cell cell = adze_rnn_cell(b->s->op);
    const bool before_product = cell == RNN_GRU && !((const adze_rnn_attrs *)b->s->attrs)->reset_after;
    const int64_t h = b->z.h, columns = b->z.gates * h, row = (b->n * b->z.t + b->t) * b->z.i;
    for (int64_t i = 0; i < b->z.i; i++) {
        const double x = adze_at(&b->s->in[RNN_X], row + i);
        double sum = 0;
        for (int64_t j = 0; j < columns; j++) {
            b->dwx[i * columns + j] += x * b->da[j];
            sum += adze_at(&b->s->in[RNN_WX], i * columns + j) * b->da[j];
        }
        if (dx) {
            adze_put(dx, row + i, sum);
        }
    }
    for (int64_t k = 0; k < h; k++) {
        const int64_t direct = before_product ? 2 * h : columns; /* columns that multiply h itself */
        for (int64_t j = 0; j < columns; j++) {
            b->dwh[k * columns + j] += (j < direct ? b->h[k] : b->left[k]) * b->dq[j];
            b->dh[k] += j < direct ? adze_at(&b->s->in[RNN_WH], k * columns + j) * b->dq[j] : 0;
        }
    }
    for (int64_t j = 0; j < columns; j++) {
        b->db[j] += b->da[j];
        b->dbn[j] += b->dq[j];
    }
}

static void backward_example(backward *b, rnn_cell cell, const adze_view *dx) {
    const adze_view *in = b->s->in;
    const int64_t h = b->z.h;
    for (int64_t k = 0; k < h; k++) {
        b->dh[k] = adze_at(&in[RNN_G_DHT], b->n * h + k);
        b->dc[k] = cell == RNN_LSTM ? adze_at(&in[RNN_G_DCT], b->n * h + k) : 0;
    }
    for (b->t = b->z.t - 1; b->t >= 0; b->t--) {
        for (int64_t k = 0; k < h; k++) {
            b->dh[k] += adze_at(&in[RNN_G_DY], (b->n * b->z.t + b->t) * h + k);
            b->h[k] = before(&in[RNN_G_Y], &in[RNN_G_H0], &b->z, b->n, b->t, k);
        }
        (cell == RNN_ELMAN ? backward_elman : cell == RNN_LSTM ? backward_lstm : backward_gru)(b);
        backward_sums(b, dx);
    }
    for (int64_t k = 0; k < h; k++) {
        adze_put(&b->s->out[RNN_DH0], b->n * h + k, b->dh[k]);
        if (cell == RNN_LSTM) {
            adze_put(&b->s->out[RNN_DC0], b->n * h + k, b->dc[k]);
        }
    }
}

void adze_rnn_grad_ref(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const rnn_cell cell = adze_rnn_cell(s->op);
    const adze_rnn_attrs *a = s->attrs;
    const rnn_size z = rnn_size_of(cell, a, s->in[RNN_X].dims, s->in[RNN_WH].dims);
    const int64_t columns = z.gates * z.h;
    const adze_view *dx = a->dx ? &s->out[rnn_dx_output(cell, a)] : NULL;
    if (z.h == 0) {
        for (int64_t i = 0, n = dx ? adze_view_count(dx) : 0; i < n; i++) {
            adze_put(dx, i, 0);
        }
        return;
    }
    double *p = s->scratch;
    backward b = {.s = s, .z = z, .dh = p, .dc = p + z.h, .h = p + 2 * z.h, .left = p + 3 * z.h, .da = p + 4 * z.h, .dq = p + 8 * z.h};
    b.dwx = p + ROWS * z.h, b.dwh = b.dwx + z.i * columns, b.db = b.dwh + z.h * columns, b.dbn = b.db + columns;
    memset(b.dwx, 0, (size_t)((z.i + z.h + 2) * columns) * sizeof(double));
    for (b.n = 0; b.n < z.n; b.n++) {
        backward_example(&b, cell, dx);
    }
    for (int64_t j = 0; j < z.i * columns; j++) {
        adze_put(&s->out[RNN_DWX], j, b.dwx[j]);
    }
    for (int64_t j = 0; j < z.h * columns; j++) {
        adze_put(&s->out[RNN_DWH], j, b.dwh[j]);
    }
    for (int64_t j = 0; j < columns; j++) {
        adze_put(&s->out[RNN_DB], j, b.db[j]);
    }
    for (int64_t k = 0; k < z.h && cell == RNN_GRU && a->reset_after; k++) {
        adze_put(&s->out[RNN_DBN], k, b.dbn[2 * z.h + k]);
    }
}
