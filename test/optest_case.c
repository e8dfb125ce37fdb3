/* Random legal cases of an op: attributes and shapes from its sample, elements from the declared domains. */
#include "optest.h"

#include "core/dtype.h"

#include <math.h>
#include <stdlib.h>

double *ot_alloc(int64_t n) {
    double *p = calloc((size_t)(n > 0 ? n : 1), sizeof *p);
    if (!p) {
        abort(); /* a test program may */
    }
    return p;
}

double *ot_random(adze_rng *r, int64_t n) {
    double *p = ot_alloc(n);
    for (int64_t i = 0; i < n; i++) {
        p[i] = 2 * adze_rng_uniform(r) - 1;
    }
    return p;
}

double ot_dot(const double *a, const double *b, int64_t n) {
    double s = 0;
    for (int64_t i = 0; i < n; i++) {
        s += a[i] * b[i];
    }
    return s;
}

double ot_norm(const double *a, int64_t n) {
    return sqrt(ot_dot(a, a, n));
}

double ot_distance(const double *a, const double *b, int64_t n) {
    double s = 0;
    for (int64_t i = 0; i < n; i++) {
        bool same = a[i] == b[i] || (isnan(a[i]) && isnan(b[i]));
        s += same ? 0 : (a[i] - b[i]) * (a[i] - b[i]);
    }
    return sqrt(s);
}

double ot_round_to(adze_dtype d, double v) {
    if (d == ADZE_F32) {
        return (double)(float)v;
    }
    if (d == ADZE_BF16 || d == ADZE_F16) {
        uint16_t narrow;
        adze_dtype_store(d, &narrow, 1, 1, &v);
        adze_dtype_load(d, &narrow, 1, 1, &v);
        return v;
    }
    return d == ADZE_F64 ? v : d == ADZE_BOOL ? (double)(v != 0) : nearbyint(v);
}

static double draw(adze_rng *r, const adze_domain *d, double lo, double hi) {
    double v = 0;
    for (int tries = 0; tries < 10000; tries++) {
        v = lo + (hi - lo) * adze_rng_uniform(r);
        double away = v - d->kink;
        if (d->grid > 0) {
            away -= d->grid * nearbyint(away / d->grid);
        }
        if (d->gap <= 0 || fabs(away) > d->gap) {
            break;
        }
    }
    return v;
}

/* A shuffled grid, with no point near 0 when it is centred there. */
static void fill_distinct(adze_rng *r, const adze_domain *d, double lo, double hi, int64_t n, double *out) {
    int64_t *order = malloc((size_t)(n + 1) * sizeof *order);
    if (!order) {
        abort();
    }
    for (int64_t i = 0; i < n; i++) {
        order[i] = i;
    }
    adze_rng_permute(r, order, n);
    double spacing = fmax(d->gap, (hi - lo) / (double)(n > 0 ? n : 1)), middle = (lo + hi) / 2;
    for (int64_t i = 0; i < n; i++) {
        out[i] = middle + spacing * ((double)order[i] - (double)n / 2 + 0.5);
    }
    free(order);
}

void ot_fill(adze_rng *r, adze_type type, const adze_domain *d, double *out) {
    int64_t n = adze_type_count(&type);
    bool whole = d->lo == 0 && d->hi == 0;
    if (type.dtype == ADZE_BOOL) {
        for (int64_t i = 0; i < n; i++) {
            out[i] = (double)adze_rng_below(r, 2);
        }
        return;
    }
    if (!adze_dtype_is_float(type.dtype)) {
        bool is_unsigned = type.dtype == ADZE_U8;
        int64_t lo = whole ? (is_unsigned ? 0 : -2) : (int64_t)d->lo, hi = whole ? 3 : (int64_t)d->hi;
        for (int64_t i = 0; i < n; i++) {
            out[i] = (double)(hi > lo ? adze_rng_range(r, lo, hi - 1) : lo);
        }
        return;
    }
    double lo = whole ? -2 : d->lo, hi = whole ? 2 : d->hi;
    if (d->distinct) {
        fill_distinct(r, d, lo, hi, n, out);
    }
    for (int64_t i = 0; i < n; i++) {
        out[i] = ot_round_to(type.dtype, d->distinct ? out[i] : draw(r, d, lo, hi));
    }
}

bool ot_is_slot(const ot_case *c, int i) {
    return (c->op->flags & ADZE_OP_UPDATE) && i < c->nout;
}

bool ot_is_source(const adze_op *op) {
    bool leaf = op->nin_max == 0 && !op->ref;
    return leaf || (op->flags & ADZE_OP_REGION);
}

bool ot_differentiable(const ot_case *c, int i) {
    return c->c.in[i].dtype == c->c.dtype && !c->c.dom[i].constant;
}

adze_sig ot_case_sig(ot *t, ot_case *c) {
    return (adze_sig){.ctx = t->ctx,
                      .op = c->op,
                      .name = "case",
                      .attrs = c->op->attrs ? c->attrs.bytes : NULL,
                      .nin = c->c.nin,
                      .nout = c->nout,
                      .in = c->c.in,
                      .out = c->out};
}

bool ot_case_make(ot *t, ot_case *c, const adze_op *op, uint64_t seed, adze_dtype dtype) {
    memset(c, 0, sizeof *c);
    c->op = op;
    c->seed = seed;
    adze_rng r = adze_rng_make(seed, adze_hash_str(op->name));
    c->rng = adze_rng_make(seed, adze_hash_str(op->name) + 1);
    c->c.dtype = dtype;
    c->c.awkward = seed % 3 == 0;
    c->c.any_dtype = t->dtype == ADZE_NONE && seed % 8 < 2;
    c->c.attrs = c->attrs.bytes;
    if (op->attrs_size > sizeof c->attrs.bytes || (op->attrs && adze_fields_default(op->attrs, c->attrs.bytes) != ADZE_OK)) {
        return ot_check(t, c, false, "the attributes have no defaults");
    }
    op->sample(&r, &c->c);
    if (c->c.nin < op->nin_min || c->c.nin > op->nin_max) {
        return ot_check(t, c, false, "sample gives %d inputs, the record allows %d to %d", c->c.nin, op->nin_min, op->nin_max);
    }
    adze_sig s = ot_case_sig(t, c);
    c->nout = s.nout = op->nout ? op->nout : op->count_out ? op->count_out(&s) : 0;
    if (c->nout < 1 || c->nout > ADZE_MAX_OUT) {
        return ot_check(t, c, false, "the op has %d outputs", c->nout);
    }
    adze_err_clear(t->ctx);
    if (!ot_check(t, c, op->infer(&s) == ADZE_OK, "infer refuses what sample made: %s", adze_errmsg(t->ctx))) {
        return false;
    }
    for (int i = 0; i < c->c.nin; i++) {
        c->x[i] = ot_alloc(adze_type_count(&c->c.in[i]));
        ot_fill(&r, c->c.in[i], &c->c.dom[i], c->x[i]);
    }
    return true;
}

void ot_case_free(ot_case *c) {
    for (int i = 0; i < ADZE_MAX_IN; i++) {
        free(c->x[i]);
        c->x[i] = NULL;
    }
}
