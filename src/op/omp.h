/* Orthogonal matching pursuit as steps of a plan: what the reference and the cpu's kernels share, compiled for each instruction set. No product is
 * fused with a sum, so that all of them give the bits of adze_la_omp and choose the same atoms. */
#ifndef ADZE_SRC_OMP_H
#define ADZE_SRC_OMP_H

#include "base/linalg.h"
#include "op/rules.h"

static inline int64_t adze_omp_rows(const int64_t *dims, int rank) {
    return adze_dims_count(dims, 0, rank - 1);
}

/* -- omp: the phases d as doubles, products of atoms, examples; the first two make the scratch -- */

static inline size_t adze_omp_scratch(const adze_sig *s) {
    const int64_t *d = s->in[1].dims;
    return (size_t)((d[0] + 1 + d[1]) * d[1]) * sizeof(double);
}

static inline size_t adze_omp_local(const adze_sig *s) {
    const int64_t *d = s->in[1].dims;
    return (size_t)(la_pursuit_doubles(d[1], ((const adze_omp_attrs *)s->attrs)->k) + d[0] + d[1]) * sizeof(double);
}

static inline void adze_omp_widen(const adze_step *s, int ith, int nth) {
    const adze_view *d = &s->in[1];
    int64_t from, to;
    adze_share(d->dims[0] * d->dims[1], 64, ith, nth, &from, &to);
    for (double *wide = s->scratch; from < to; from++) {
        wide[from] = adze_load_f(d->data, d->dtype, from);
    }
}

/* out[j] = the sum of x[t * step] d[t][j], t ascending; strips stay in registers. */
static inline void adze_omp_products(const double *x, int64_t step, int64_t n, const double *d, int64_t atoms, double *out) {
    typedef double lanes __attribute__((vector_size(64)));
    enum { LANES = 8, VECS = 4 };
    int64_t j = 0;
    for (; j + VECS * LANES <= atoms; j += VECS * LANES) {
        lanes sum[VECS] = {{0}};
        for (int64_t t = 0; t < n; t++) {
            for (int k = 0; k < VECS; k++) {
                lanes row;
                memcpy(&row, d + t * atoms + j + k * LANES, sizeof row);
                sum[k] += x[t * step] * row;
            }
        }
        for (int k = 0; k < VECS; k++) {
            memcpy(out + j + k * LANES, &sum[k], sizeof sum[k]);
        }
    }
    memset(out + j, 0, (size_t)(atoms - j) * sizeof *out);
    for (int64_t t = 0; t < n; t++) {
        la_axpy(out + j, x[t * step], d + t * atoms + j, atoms - j);
    }
}

static inline void adze_omp_gram(const adze_step *s, int ith, int nth) {
    const int64_t n = s->in[1].dims[0], atoms = s->in[1].dims[1];
    const double *d = s->scratch;
    int64_t from, to;
    adze_share(atoms, 1, ith, nth, &from, &to);
    for (int64_t i = from; i < to; i++) {
        double *row = (double *)s->scratch + (n + 1 + i) * atoms;
        adze_omp_products(d + i, atoms, n, d, atoms, row);
        ((double *)s->scratch)[n * atoms + i] = row[i];
    }
}

/* Products of a row with all atoms; false when one of them is no number. */
static inline bool adze_omp_correlate(const double *x, int64_t n, const double *d, int64_t atoms, double *start) {
    bool finite = true;
    adze_omp_products(x, 1, n, d, atoms, start);
    for (int64_t j = 0; j < atoms; j++) {
        finite = finite && isfinite(start[j]);
    }
    return finite;
}

static inline void adze_omp_pursue(const adze_step *s, int ith, int nth) {
    const adze_omp_attrs *a = s->attrs;
    const adze_view *x = &s->in[0], *y = &s->out[0];
    const int64_t n = s->in[1].dims[0], atoms = s->in[1].dims[1];
    double *const d = s->scratch, *const wide = (double *)(s->local + (size_t)ith * s->local_stride), *const start = wide + n;
    const la_pursuit q = {adze_la_dense(d + (n + 1) * atoms, atoms, atoms), d + n * atoms, a->k, a->tol};
    la_place p = la_pursuit_place(start + atoms, atoms, a->k);
    int64_t from, to;
    adze_share(adze_omp_rows(x->dims, x->rank), 1, ith, nth, &from, &to);
    for (int64_t row = from; row < to; row++) {
        for (int64_t i = 0; i < n; i++) {
            wide[i] = adze_load_f(x->data, x->dtype, row * n + i);
        }
        const bool finite = adze_omp_correlate(wide, n, d, atoms, start);
        const int64_t count = finite ? la_pursue(&q, &p, start, la_dot(wide, wide, n)) : 0;
        for (int64_t j = 0; j < atoms; j++) { /* a NaN must not look like a code of zeros */
            adze_store_f(y->data, y->dtype, row * atoms + j, finite ? 0 : (double)NAN);
        }
        for (int64_t j = 0; j < a->k; j++) {
            ((int32_t *)s->out[1].data)[row * a->k + j] = j < count ? (int32_t)p.chosen[j] : -1;
            if (j < count) {
                adze_store_f(y->data, y->dtype, row * atoms + p.chosen[j], p.c[j]);
            }
        }
    }
}

/* -- omp_solve -- */

static inline size_t adze_omp_solve_local(const adze_sig *s) {
    const int64_t n = s->in[1].dims[0], k = s->in[2].dims[s->in[2].rank - 1];
    return (size_t)(la_pursuit_doubles(k, k) + (n + k + 2) * k) * sizeof(double);
}

typedef struct adze_omp_equations {
    la_pursuit q;
    la_place p;
    double *atoms, *side; /* (n, k); (k) */
    int64_t *of;          /* (k): which atom of the dictionary */
    int64_t n, count;
} adze_omp_equations;

/* One more atom and its products with those before; left out when it depends on them. */
static inline void adze_omp_enter(adze_omp_equations *e, const adze_view *d, int64_t id, double side) {
    const int64_t k = e->q.k;
    double *gram = la_row(e->q.gram, e->count);
    memset(gram, 0, (size_t)k * sizeof *gram);
    for (int64_t t = 0; t < e->n; t++) {
        double *row = e->atoms + t * k;
        row[e->count] = adze_load_f(d->data, d->dtype, t * d->dims[1] + id);
        la_axpy(gram, row[e->count], row, e->count + 1);
    }
    for (int64_t i = 0; i < e->count; i++) {
        la_row(e->q.gram, i)[e->count] = gram[i];
    }
    e->side[e->count] = side;
    e->of[e->count] = id;
    e->q.gram.rows = e->count + 1;
    e->count += la_pursuit_add(&e->q, &e->p, e->side, e->count, e->count);
}

static inline void adze_omp_solve_rows(const adze_step *s, int ith, int nth) {
    const adze_view *b = &s->in[0], *d = &s->in[1], *ids = &s->in[2], *y = &s->out[0];
    const int64_t n = d->dims[0], atoms = d->dims[1], k = ids->dims[ids->rank - 1];
    double *const room = (double *)(s->local + (size_t)ith * s->local_stride);
    int64_t from, to;
    adze_share(adze_omp_rows(b->dims, b->rank), 1, ith, nth, &from, &to);
    for (int64_t row = from; row < to; row++) {
        adze_omp_equations e = {.q = {.gram = adze_la_dense(room, 0, k), .k = k}, .atoms = room + k * k, .n = n};
        e.side = e.atoms + n * k;
        e.of = (int64_t *)(e.side + k);
        e.p = la_pursuit_place(e.side + 2 * k, k, k);
        for (int64_t j = 0; j < k; j++) {
            const int64_t id = adze_load_i(ids->data, ids->dtype, row * k + j);
            if (id >= 0 && id < atoms) {
                adze_omp_enter(&e, d, id, adze_load_f(b->data, b->dtype, row * atoms + id));
            }
        }
        for (int64_t j = 0; j < atoms; j++) {
            adze_store_f(y->data, y->dtype, row * atoms + j, 0);
        }
        for (int64_t j = 0; j < e.count; j++) {
            adze_store_f(y->data, y->dtype, row * atoms + e.of[j], e.p.c[j]);
        }
    }
}

#endif
