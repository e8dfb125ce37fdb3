/* How slots get their first values: from (seed, slot name, element) alone, so that other layers, threads and dtypes change nothing. */
#include "adze/linalg.h"
#include "model/layer.h"

#include <math.h>

const char *const adze_init_names[] = {"auto",          "zeros",          "constant",  "normal",     "uniform",    "lecun_normal", "lecun_uniform",
                                       "glorot_normal", "glorot_uniform", "he_normal", "he_uniform", "orthogonal", "lecun98",      NULL};
const char *const adze_fan_names[] = {"auto", "in", "out", "average", NULL};

enum { PARALLEL = 1 << 14 }; /* elements from which on threads share a tensor */
enum { FAN_AUTO, FAN_IN, FAN_OUT, FAN_AVERAGE };

adze_init adze_layer_init(adze_init given, int32_t activation) {
    if (given.kind == ADZE_INIT_AUTO) {
        bool ramp = activation == ADZE_ACT_RELU || activation == ADZE_ACT_LEAKY_RELU || activation == ADZE_ACT_SILU || activation == ADZE_ACT_GELU ||
                    activation == ADZE_ACT_ELU;
        given.kind = ramp ? ADZE_INIT_HE_NORMAL : ADZE_INIT_GLOROT_UNIFORM;
    }
    return given;
}

typedef struct law { /* what an element is drawn from */
    bool normal;
    double spread; /* deviation, or limit */
} law;

/* Deviation of the scaled families: LeCun 1/sqrt(fan), He sqrt(2/fan), Glorot 1/sqrt(average fan); a uniform law of that deviation has limit sqrt(3)
 * of it. lecun98: uniform within 2.4 / fan (LeCun et al. 1998, appendix A). */
static law make_law(const adze_init *i, double fan_in, double fan_out) {
    bool glorot = i->kind == ADZE_INIT_GLOROT_NORMAL || i->kind == ADZE_INIT_GLOROT_UNIFORM;
    int fan_kind = i->fan != FAN_AUTO ? i->fan : glorot ? FAN_AVERAGE : FAN_IN;
    double fan = fan_kind == FAN_IN ? fan_in : fan_kind == FAN_OUT ? fan_out : (fan_in + fan_out) / 2;
    fan = fan > 0 ? fan : 1;
    const double root3 = 1.7320508075688772;
    switch (i->kind) {
    case ADZE_INIT_NORMAL:
        return (law){true, i->gain * i->value};
    case ADZE_INIT_UNIFORM:
        return (law){false, i->gain * i->value};
    case ADZE_INIT_LECUN_NORMAL:
    case ADZE_INIT_GLOROT_NORMAL:
        return (law){true, i->gain / sqrt(fan)};
    case ADZE_INIT_LECUN_UNIFORM:
    case ADZE_INIT_GLOROT_UNIFORM:
        return (law){false, i->gain * root3 / sqrt(fan)};
    case ADZE_INIT_HE_NORMAL:
        return (law){true, i->gain * sqrt(2 / fan)};
    case ADZE_INIT_HE_UNIFORM:
        return (law){false, i->gain * root3 * sqrt(2 / fan)};
    default:
        return (law){false, i->gain * 2.4 / fan};
    }
}

static double draw(adze_rng *r, law l) {
    return l.normal ? l.spread * adze_rng_normal(r) : l.spread * (2 * adze_rng_uniform(r) - 1);
}

/* Saxe et al. 2014: normal numbers as a (rows, cols) matrix, the shorter side made orthonormal; the signs are those of Gram and Schmidt. */
static int orthogonal(adze_ctx *ctx, const adze_param *p, adze_tensor t, adze_rng *r) {
    int64_t count = adze_type_count(&p->type), cols = p->type.rank ? p->type.dims[p->type.rank - 1] : 1;
    if (count == 0) {
        return ADZE_OK;
    }
    const int64_t rows = count / cols, width = rows < cols ? rows : cols, height = count / width;
    double *room = adze_alloc(ctx, 2 * count + width, sizeof *room);
    if (!room) {
        return ADZE_ENOMEM;
    }
    adze_la_mat qr = adze_la_dense(room, height, width), q = adze_la_dense(room + count, height, width);
    double *tau = room + 2 * count;
    for (int64_t i = 0; i < count; i++) {
        qr.at[rows < cols ? i % height * width + i / height : i] = adze_rng_normal(r);
    }
    int status = adze_la_qr(ctx, qr, tau, NULL);
    status = status == ADZE_OK ? adze_la_qr_q(ctx, qr, tau, q) : status;
    for (int64_t i = 0; i < count && status == ADZE_OK; i++) {
        const int64_t row = rows < cols ? i % height : i / width, j = rows < cols ? i / height : i % width;
        adze_tensor_set(&t, i, copysign(p->init.gain, qr.at[j * width + j] * p->init.gain) * q.at[row * width + j]);
    }
    adze_free(ctx, room);
    return status;
}

/* Absent connections are 0, and a map's fan-in is the number of connections that it has. */
static void masked(const adze_param *p, adze_tensor t, adze_rng *r) {
    int64_t filters = p->type.dims[p->type.rank - 1], channels = p->type.dims[p->type.rank - 2];
    int64_t rows = filters ? adze_type_count(&p->type) / filters : 0;
    for (int64_t k = 0; k < filters; k++) {
        int64_t seen = 0;
        for (int64_t c = 0; c < channels; c++) {
            seen += p->mask[c * filters + k];
        }
        double share = (double)seen / (double)channels;
        law l = make_law(&p->init, (double)p->fan_in * share, (double)p->fan_out * share);
        for (int64_t i = 0; i < rows; i++) {
            double v = draw(r, l);
            adze_tensor_set(&t, i * filters + k, p->mask[i % channels * filters + k] ? v : 0);
        }
    }
}

/* -- slots without a structure: every element is a function of its index, so that threads share the work -- */

typedef struct filling {
    adze_tensor t; /* f32 or f64, dense: a slot of the store */
    law l;
    adze_rng rng; /* not yet used */
} filling;

static void fill_part(void *arg, int ith, int nth) {
    const filling *f = arg;
    int64_t from, to, per_block = f->l.normal ? 1 : 2; /* a block of Philox is two uniform numbers, a normal one takes both */
    adze_type type = adze_tensor_type(&f->t);
    adze_share(adze_type_count(&type), 2, ith, nth, &from, &to);
    adze_rng r = f->rng;
    uint64_t block = (uint64_t)(from / per_block);
    r.ctr[0] = (uint32_t)block;
    r.ctr[1] = (uint32_t)(block >> 32);
    float *narrow = adze_tensor_data(&f->t);
    double *wide = adze_tensor_data(&f->t);
    for (int64_t i = from; i < to; i++) {
        double v = draw(&r, f->l);
        if (f->t.dtype == ADZE_F64) {
            wide[i] = v;
        } else {
            narrow[i] = (float)v;
        }
    }
}

static int draw_tensor(adze_ctx *ctx, const adze_param *p, adze_tensor t, uint64_t seed) {
    adze_rng r = adze_rng_make(seed, adze_hash_str(p->slot));
    int64_t count = adze_type_count(&p->type);
    if (p->init.kind == ADZE_INIT_ZEROS || p->init.kind == ADZE_INIT_CONSTANT) {
        double v = p->init.kind == ADZE_INIT_ZEROS ? 0 : p->init.value;
        for (int64_t i = 0; i < count; i++) {
            bool absent = p->mask && !p->mask[i % (p->type.dims[p->type.rank - 2] * p->type.dims[p->type.rank - 1])];
            adze_tensor_set(&t, i, absent ? 0 : v);
        }
        return ADZE_OK;
    }
    if (p->mask) {
        masked(p, t, &r);
        return ADZE_OK;
    }
    if (p->init.kind == ADZE_INIT_ORTHOGONAL) {
        return orthogonal(ctx, p, t, &r);
    }
    filling f = {.t = t, .l = make_law(&p->init, (double)p->fan_in, (double)p->fan_out), .rng = r};
    adze_pool_run(ctx, fill_part, &f, count > PARALLEL ? adze_ctx_threads(ctx) : 1);
    return ADZE_OK;
}

int adze_init_tensor(adze_ctx *ctx, const adze_param *p, adze_tensor t, uint64_t seed) {
    TRY(draw_tensor(ctx, p, t, seed));
    for (int64_t i = p->shift_from; i < p->shift_to && p->shift != 0; i++) {
        adze_tensor_set(&t, i, adze_tensor_get(&t, i) + p->shift);
    }
    return ADZE_OK;
}
