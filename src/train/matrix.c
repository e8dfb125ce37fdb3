/* Optimisers that see a parameter as a matrix, all axes but the last by the last: Shampoo, SOAP and Muon. What the first two gather of gradients has
 * a graph of its own, from which the host makes roots and bases every few steps. */
#include "adze/linalg.h"
#include "train/pieces.h"

#include <math.h>
#include <stdio.h>

/* -- the matrix that a parameter is -------------------------------------------------------------------------------------------------------------- */

adze_opt_view adze_optimizer_view(const adze_train_opts *o, const adze_type *type, bool matrix) {
    const int64_t count = adze_type_count(type), last = type->rank > 1 ? type->dims[type->rank - 1] : 0;
    adze_opt_view v = {.n = {last > 0 ? count / last : count, last}, .matrix = matrix};
    for (int side = 0; side < 2; side++) {
        v.full[side] = matrix && v.n[side] > 0 && v.n[side] <= o->precond_most;
    }
    return v;
}

static adze_val as_matrix(const adze_opt_param *p, adze_val x) {
    const int64_t *n = p->view.n;
    return adze_reshape(p->g, x, (int64_t[]){n[0], n[1] > 0 ? n[1] : 1}, 2);
}

static adze_val as_before(const adze_opt_param *p, adze_val x) {
    const adze_type t = adze_val_type(p->g, p->w);
    return adze_reshape(p->g, x, t.dims, t.rank);
}

/* -- what is gathered ---------------------------------------------------------------------------------------------------------------------------- */

/* g g' and g' g, or their diagonals where a side is too long: summed up by Shampoo, averaged by SOAP. */
void adze_matrix_observe(const adze_opt_param *p) {
    const adze_val g = as_matrix(p, penalised(p));
    for (int side = 0; side < 2; side++) {
        const adze_val old = p->slot[ADZE_SIDES + side];
        if (old.id == 0) {
            continue;
        }
        const int other = 1 - side;
        const adze_val now =
            p->view.full[side] ? adze_matmul(p->g, g, g, side == 1, side == 0) : adze_sum(p->g, adze_square(p->g, g), &other, 1, false);
        keep(p, ADZE_SIDES + side, p->o->optimizer == ADZE_SOAP ? mix(p, p->o->beta2, old, now) : adze_add(p->g, old, now));
    }
}

typedef struct squares { /* room for one side */
    adze_ctx *ctx;
    adze_la_mat a, v, out;
    double *numbers;
} squares;

/* out = (a + eps I)^-power. Rounding may take eigenvalues of a below 0. */
static int root_of(squares *k, double eps, double power) {
    const int64_t n = k->a.rows;
    TRY(adze_la_eigen(k->ctx, k->a, k->numbers, k->v));
    for (int64_t j = 0; j < n; j++) {
        const double value = fmax(k->numbers[j], 0) + eps, scale = value > 0 ? pow(value, -power) : 0;
        for (int64_t i = 0; i < n; i++) {
            k->a.at[i * n + j] = k->v.at[i * n + j] * scale;
        }
    }
    return adze_la_matmul(k->ctx, k->a, false, k->v, true, k->out);
}

/* out = the eigenvectors of a, that of the largest eigenvalue first: powers of a keep them in this order. */
static int basis_of(squares *k) {
    const int64_t n = k->a.rows;
    TRY(adze_la_eigen(k->ctx, k->a, k->numbers, k->v));
    for (int64_t i = 0; i < n * n; i++) {
        k->out.at[i] = k->v.at[i / n * n + n - 1 - i % n];
    }
    return ADZE_OK;
}

/* out = Q of the QR factors of a out (SOAP, algorithm 4) */
static int turn_basis(squares *k) {
    TRY(adze_la_matmul(k->ctx, k->a, false, k->out, false, k->v));
    TRY(adze_la_qr(k->ctx, k->v, k->numbers, NULL));
    return adze_la_qr_q(k->ctx, k->v, k->numbers, k->out);
}

enum { ROOT, BASIS, TURN };

static int renew(const adze_matrix *m, squares *k, const adze_tensor *from, const adze_tensor *to, int how, double power) {
    const int64_t n = from->dims[0];
    k->numbers = k->a.at + 3 * n * n;
    k->a = adze_la_dense(k->a.at, n, n);
    k->v = adze_la_dense(k->a.at + n * n, n, n);
    k->out = adze_la_dense(k->v.at + n * n, n, n);
    for (int64_t i = 0; i < n * n; i++) {
        k->a.at[i] = adze_tensor_get(from, i);
        k->out.at[i] = adze_tensor_get(to, i);
    }
    const int st = how == ROOT ? root_of(k, m->o->eps, power) : how == BASIS ? basis_of(k) : turn_basis(k);
    for (int64_t i = 0; i < n * n && st == ADZE_OK; i++) {
        adze_tensor_set(to, i, k->out.at[i]);
    }
    return st;
}

/* The slot of one of the sides of a parameter, or -1. */
static int find_slot(const adze_matrix *m, int param, int slot) {
    char name[256];
    const int n = snprintf(name, sizeof name, "%s:%s", adze_store_name(m->store, param), adze_optimizer_of(m->o)->slots[slot].role);
    return n > 0 && (size_t)n < sizeof name ? adze_store_find(m->store, name) : -1;
}

static int renew_all(const adze_matrix *m, int how) {
    for (int i = 0; i < 2 * m->nparams; i++) {
        const int param = m->params[i / 2], from = find_slot(m, param, ADZE_SIDES + i % 2), to = find_slot(m, param, ADZE_BASES + i % 2);
        if (to < 0) {
            continue;
        }
        adze_tensor a, b;
        TRY(adze_store_tensor(m->store, from, &a));
        TRY(adze_store_tensor(m->store, to, &b));
        squares k = {.ctx = m->ctx, .a.at = adze_alloc(m->ctx, a.dims[0], (size_t)(3 * a.dims[0] + 1) * sizeof(double))};
        const double power = adze_store_type(m->store, param).rank > 1 ? 0.25 : 0.5;
        const int st = k.a.at != NULL ? renew(m, &k, &a, &b, how, power) : ADZE_ENOMEM;
        adze_free(m->ctx, k.a.at);
        if (st == ADZE_EARG) {
            return adze_fail(m->ctx, ADZE_ENAN, "what the optimizer gathers of the gradients of '%s' is not finite",
                             adze_store_name(m->store, param));
        }
        TRY(st);
    }
    return ADZE_OK;
}

/* The room of the largest side: three squares and a row here, in adze_la_eigen three more, 34 rows and 32 rotations a row. */
int64_t adze_matrix_memory(const adze_train_opts *o, const adze_opt_view *v) {
    int64_t most = 0;
    for (int side = 0; side < 2 && adze_optimizer_of(o)->observe != NULL; side++) {
        const int64_t n = v->full[side] ? v->n[side] : 0;
        most = n > most ? n : most;
    }
    return most * (6 * most + 140) * (int64_t)sizeof(double);
}

int adze_matrix_gather(const adze_matrix *m, int64_t t, bool *moves) {
    const int64_t every = m->o->precond_every;
    *moves = true;
    if (m->o->optimizer == ADZE_SHAMPOO) {
        TRY(adze_session_run(m->observe));
        return t % every == 0 || (t < every && (t & (t - 1)) == 0) ? renew_all(m, ROOT) : ADZE_OK;
    }
    if (t > 2 && (t - 2) % every == 0) {
        TRY(renew_all(m, TURN));
    }
    TRY(adze_session_run(m->observe));
    *moves = t > 1;
    return t == 1 ? renew_all(m, BASIS) : ADZE_OK;
}

/* -- Shampoo and SOAP ---------------------------------------------------------------------------------------------------------------------------- */

/* x (rows, columns) times the basis of each side that has one, or times its transpose on the way back. */
static adze_val turned(const adze_opt_param *p, adze_val x, bool back) {
    x = as_matrix(p, x);
    x = p->view.full[0] ? adze_matmul(p->g, p->slot[ADZE_BASES], x, !back, false) : x;
    x = p->view.full[1] ? adze_matmul(p->g, x, p->slot[ADZE_BASES + 1], false, back) : x;
    return as_before(p, x);
}

void adze_shampoo_build(const adze_opt_param *p) {
    adze_val step = turned(p, penalised(p), true); /* roots are symmetric */
    for (int side = 0; side < 2; side++) {
        const adze_val sum = p->slot[ADZE_SIDES + side];
        if (sum.id != 0 && !p->view.full[side]) {
            const int64_t n = p->view.n[side], dims[2] = {side == 0 ? n : 1, side == 0 ? 1 : n};
            adze_val root = adze_sqrt(p->g, adze_scale(p->g, adze_reshape(p->g, sum, dims, 2), 1, p->o->eps));
            root = p->view.n[1] > 0 ? adze_sqrt(p->g, root) : root;
            step = as_before(p, adze_div(p->g, as_matrix(p, step), root));
        }
    }
    if (p->o->momentum > 0) {
        step = adze_add(p->g, adze_scale(p->g, p->slot[0], p->o->momentum, 0), step);
        keep(p, 0, step);
    }
    descend(p, step);
}

void adze_soap_build(const adze_opt_param *p) {
    const adze_val g = penalised(p), m = mix(p, p->o->beta1, p->slot[0], g);
    const adze_val v = mix(p, p->o->beta2, p->slot[1], adze_square(p->g, turned(p, g, false)));
    keep(p, 0, m);
    keep(p, 1, v);
    descend(p, turned(p, adze_div(p->g, times(p, turned(p, m, false), 0), divisor(p, v, 1)), true));
}

/* -- Muon ---------------------------------------------------------------------------------------------------------------------------------------- */

/* Singular values near 1 in place of those of x, the vectors kept: five times (muon_steps) s becomes 3.4445 s - 4.775 s^3 + 2.0315 s^5. */
static adze_val orthogonal(const adze_opt_param *p, adze_val x) {
    const bool wide = p->view.n[0] <= p->view.n[1];
    x = adze_div(p->g, x, adze_max(p->g, norm(p, x), constant(p, p->o->eps)));
    for (int64_t i = 0; i < p->o->muon_steps; i++) {
        const adze_val a = adze_matmul(p->g, x, x, !wide, wide), aa = adze_matmul(p->g, a, a, false, false);
        const adze_val b = adze_add(p->g, adze_scale(p->g, a, -4.7750, 0), adze_scale(p->g, aa, 2.0315, 0));
        const adze_val bx = wide ? adze_matmul(p->g, b, x, false, false) : adze_matmul(p->g, x, b, false, false);
        x = adze_add(p->g, adze_scale(p->g, x, 3.4445, 0), bx);
    }
    return x;
}

/* Its author leaves vectors, embeddings and the last layer to AdamW; there are no embeddings here. */
void adze_muon_build(const adze_opt_param *p) {
    if (!p->view.matrix) {
        const moments a = moments_of(p);
        descend(p, adze_div(p->g, times(p, a.m, 0), divisor(p, a.v, 1)));
        return;
    }
    const double rows = (double)p->view.n[0], cols = fmax((double)p->view.n[1], 1);
    const double scale = p->o->muon_scale == ADZE_MUON_RMS ? 0.2 * sqrt(fmax(rows, cols)) : sqrt(fmax(1, cols / rows));
    const adze_val g = penalised(p), m = mix(p, p->o->momentum, p->slot[0], g);
    keep(p, 0, m);
    const adze_val ahead = mix(p, p->o->momentum, m, g); /* Nesterov's */
    descend(p, adze_scale(p->g, as_before(p, orthogonal(p, as_matrix(p, ahead))), scale, 0));
}
