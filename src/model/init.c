/* How slots get their first values: from (seed, slot name, element) alone, so that other layers, threads and dtypes change nothing. */
#include "adze/linalg.h"
#include "model/layer.h"
#include "op/rules.h"

#include <math.h>
#include <stdio.h>

const char *const adze_init_names[] = {
    "auto",      "zeros",      "constant",   "normal",           "uniform",      "lecun_normal", "lecun_uniform", "glorot_normal", "glorot_uniform",
    "he_normal", "he_uniform", "orthogonal", "delta_orthogonal", "looks_linear", "identity",     "sparse",        "lecun98",       NULL};
const char *const adze_fan_names[] = {"auto", "in", "out", "average", NULL};

enum { PARALLEL = 1 << 14 /* elements from which on threads share a tensor */, CONNECTIONS = 15 /* of a unit of sparse weights */ };
enum { FAN_AUTO, FAN_IN, FAN_OUT, FAN_AVERAGE };

adze_init adze_layer_init(adze_init given, const adze_act *a) {
    if (given.kind == ADZE_INIT_AUTO) {
        given.kind = adze_activation_init(a);
    }
    return given;
}

#define NORMAL_COST "a random number, a logarithm and a root a weight"
#define UNIFORM_COST "a random number a weight"

/* For people; fan: fan_in unless init_fan says otherwise. A uniform law U(a) lies within -a and a and has deviation a / sqrt 3. */
static const adze_about ABOUT[] = {
    [ADZE_INIT_AUTO] = {.formula = "by the activation: he_normal before relu and its kin, lecun_normal before selu, else glorot_uniform; recurrent: "
                                   "U(1 / sqrt units)",
                        .cost = "as what it chooses"},
    [ADZE_INIT_ZEROS] = {.formula = "0: every unit of a layer stays like its neighbours",
                         .cost = "a write",
                         .paper = "Rumelhart, Hinton and Williams 1986"},
    [ADZE_INIT_CONSTANT] = {.formula = "init_value", .cost = "a write"},
    [ADZE_INIT_NORMAL] = {.formula = "N(0, s^2), s = init_gain init_value", .cost = NORMAL_COST},
    [ADZE_INIT_UNIFORM] = {.formula = "U(a), a = init_gain init_value", .cost = UNIFORM_COST},
    [ADZE_INIT_LECUN_NORMAL] = {.formula = "N(0, 1 / fan_in)", .cost = NORMAL_COST, .paper = "LeCun, Bottou, Orr and Mueller 1998, eq. 16"},
    [ADZE_INIT_LECUN_UNIFORM] = {.formula = "U(sqrt(3 / fan_in))", .cost = UNIFORM_COST, .paper = "LeCun, Bottou, Orr and Mueller 1998, eq. 16"},
    [ADZE_INIT_GLOROT_NORMAL] = {.formula = "N(0, 2 / (fan_in + fan_out))", .cost = NORMAL_COST, .paper = "Glorot and Bengio 2010, eq. 12"},
    [ADZE_INIT_GLOROT_UNIFORM] = {.formula = "U(sqrt(6 / (fan_in + fan_out)))", .cost = UNIFORM_COST, .paper = "Glorot and Bengio 2010, eq. 16"},
    [ADZE_INIT_HE_NORMAL] = {.formula = "N(0, 2 / fan_in); init_fan: out is the backward form",
                             .cost = NORMAL_COST,
                             .paper = "He, Zhang, Ren and Sun 2015, eq. 10 and 14"},
    [ADZE_INIT_HE_UNIFORM] = {.formula = "U(sqrt(6 / fan_in))", .cost = UNIFORM_COST, .paper = "He, Zhang, Ren and Sun 2015, eq. 10"},
    [ADZE_INIT_ORTHOGONAL] = {.formula = "the shorter side of the (fan_in, outputs) matrix orthonormal",
                              .cost = "2 r c^2 operations for the QR of r x c, r >= c",
                              .paper = "Saxe, McClelland and Ganguli 2014"},
    [ADZE_INIT_DELTA_ORTHOGONAL] = {.formula = "orthogonal at the window's centre, else 0",
                                    .cost = "2 r c^2 operations for the QR of r x c, r >= c, at the centre",
                                    .paper = "Xiao et al. 2018"},
    [ADZE_INIT_LOOKS_LINEAR] = {.formula =
                                    "delta_orthogonal A, mirrored: [A; -A] behind crelu, [A, -A] before relu, so that the net is linear at first",
                                .cost = "as delta_orthogonal, of half the size",
                                .paper = "Balduzzi et al. 2017, section 4"},
    [ADZE_INIT_IDENTITY] = {.formula = "1 from channel i to channel i at the window's centre, else 0",
                            .cost = "a write",
                            .paper = "Le, Jaitly and Hinton 2015"},
    [ADZE_INIT_SPARSE] = {.formula = "N(0, 1) for 15 (init_value) random connections of each unit, else 0",
                          .cost = "a random number for each connection, a draw of places for each unit",
                          .paper = "Martens 2010"},
    [ADZE_INIT_LECUN98] = {.formula = "U(2.4 / fan_in)", .cost = UNIFORM_COST, .paper = "LeCun, Bottou, Bengio and Haffner 1998, appendix A"},
};
_Static_assert(ADZE_COUNT(ABOUT) + 1 == ADZE_COUNT(adze_init_names), "every initialiser has a name and a row");

bool adze_init_about(int i, adze_about *out) {
    if (i < 0 || i >= (int)ADZE_COUNT(ABOUT)) {
        return false;
    }
    *out = ABOUT[i];
    out->name = adze_init_names[i];
    return true;
}

const char *adze_init_check(const adze_init *i, char *buf, size_t n) {
    const bool law = i->kind == ADZE_INIT_NORMAL || i->kind == ADZE_INIT_UNIFORM;
    if (law && i->value == 0) {
        snprintf(buf, n, "'init: %s' needs its %s, such as init_value: 0.01", adze_init_names[i->kind],
                 i->kind == ADZE_INIT_NORMAL ? "deviation" : "limit");
        return buf;
    }
    if (!law && i->kind != ADZE_INIT_CONSTANT && i->kind != ADZE_INIT_SPARSE && i->value != 0) {
        snprintf(buf, n, "'init: %s' takes no 'init_value'; init_gain scales it", adze_init_names[i->kind]);
        return buf;
    }
    return i->kind == ADZE_INIT_SPARSE && (i->value < 0 || i->value != floor(i->value))
               ? "'init_value' of 'init: sparse' is the number of a unit's connections, such as 15"
               : NULL;
}

bool adze_init_elementwise(const adze_init *i) {
    return i->kind < ADZE_INIT_ORTHOGONAL || i->kind == ADZE_INIT_LECUN98;
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
static int orthogonal_matrix(adze_ctx *ctx, adze_rng *r, int64_t rows, int64_t cols, double *m) {
    const int64_t count = rows * cols, width = rows < cols ? rows : cols, height = rows < cols ? cols : rows;
    double *room = adze_alloc(ctx, 2 * count + width, sizeof *room);
    TRY(ADZE_GOT(room));
    adze_la_mat qr = adze_la_dense(room, height, width), q = adze_la_dense(room + count, height, width);
    double *tau = room + 2 * count;
    for (int64_t i = 0; i < count; i++) {
        qr.at[rows < cols ? i % height * width + i / height : i] = adze_rng_normal(r);
    }
    int status = adze_la_qr(ctx, qr, tau, NULL);
    status = status == ADZE_OK ? adze_la_qr_q(ctx, qr, tau, q) : status;
    for (int64_t i = 0; i < count && status == ADZE_OK; i++) {
        const int64_t row = rows < cols ? i % height : i / width, j = rows < cols ? i / height : i % width;
        m[i] = copysign(1, qr.at[j * width + j]) * q.at[row * width + j];
    }
    adze_free(ctx, room);
    return status;
}

typedef struct kernel { /* weights as a window of (channels, width) matrices, side by side for the groups of a convolution or the gates of a cell */
    int64_t points, centre, channels, width, outputs;
} kernel;

static kernel kernel_of(const adze_param *p) {
    const int rank = p->type.rank;
    const int64_t *dims = p->type.dims;
    kernel k = {.points = 1, .channels = rank > 1 ? dims[rank - 2] : 1, .outputs = rank > 0 ? dims[rank - 1] : 1};
    for (int i = 0; i < rank - 2; i++) {
        k.points *= dims[i];
        k.centre = k.centre * dims[i] + (dims[i] - 1) / 2;
    }
    k.width = p->fan_out / k.points;
    k.width = k.width > 0 && k.outputs % k.width == 0 ? k.width : k.outputs;
    return k;
}

/* Matrices at the window's centre. Mirrored: channel c and c + period / 2 have opposite signs, and so have the two halves of the outputs. */
static int centred(adze_ctx *ctx, const adze_param *p, adze_tensor t, adze_rng *r, double *m) {
    const kernel k = kernel_of(p);
    const int64_t in = p->mirror_in, rows = in ? k.channels / 2 : k.channels, cols = p->mirror_out ? k.width / 2 : k.width;
    for (int64_t first = 0; first < k.outputs; first += k.width) {
        for (int64_t i = 0; i < rows * cols; i++) {
            m[i] = i / cols == i % cols;
        }
        if (p->init.kind != ADZE_INIT_IDENTITY) {
            TRY(orthogonal_matrix(ctx, r, rows, cols, m));
        }
        for (int64_t c = 0; c < k.channels; c++) {
            const int64_t row = in ? c / in * (in / 2) + c % (in / 2) : c;
            const double sign = in && c % in >= in / 2 ? -p->init.gain : p->init.gain;
            for (int64_t o = 0; o < k.width; o++) {
                const double v = m[row * cols + o % cols];
                adze_tensor_set(&t, (k.centre * k.channels + c) * k.outputs + first + o, o < cols ? sign * v : -sign * v);
            }
        }
    }
    return ADZE_OK;
}

/* Laws that look at more than one element; the tensor is all zeros. */
static int structured(adze_ctx *ctx, const adze_param *p, adze_tensor t, adze_rng *r) {
    const int64_t count = adze_type_count(&p->type), cols = p->type.rank ? p->type.dims[p->type.rank - 1] : 1;
    if (count == 0) {
        return ADZE_OK;
    }
    double *m = adze_alloc(ctx, count, sizeof *m);
    TRY(ADZE_GOT(m));
    int status;
    if (p->init.kind == ADZE_INIT_ORTHOGONAL) {
        status = orthogonal_matrix(ctx, r, count / cols, cols, m);
        for (int64_t i = 0; i < count && status == ADZE_OK; i++) {
            adze_tensor_set(&t, i, p->init.gain * m[i]);
        }
    } else {
        status = centred(ctx, p, t, r, m);
    }
    adze_free(ctx, m);
    return status;
}

/* Martens 2010: as many random rows of each column as asked for, each with the same probability (Floyd's selection). */
static void sparse(const adze_param *p, adze_tensor t, adze_rng *r) {
    const int64_t cols = p->type.rank ? p->type.dims[p->type.rank - 1] : 1, rows = cols ? adze_type_count(&p->type) / cols : 0;
    const int64_t want = p->init.value > 0 ? (int64_t)p->init.value : CONNECTIONS;
    for (int64_t k = 0; k < cols; k++) {
        for (int64_t j = want < rows ? rows - want : 0; j < rows; j++) {
            int64_t i = (int64_t)adze_rng_below(r, (uint64_t)j + 1);
            i = adze_tensor_get(&t, i * cols + k) != 0 ? j : i;
            adze_tensor_set(&t, i * cols + k, p->init.gain * adze_rng_normal(r));
        }
    }
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
    void *data = adze_tensor_data(&f->t);
    for (int64_t i = from; i < to; i++) {
        adze_store_f(data, f->t.dtype, i, draw(&r, f->l));
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
    if (!adze_init_elementwise(&p->init)) {
        for (int64_t i = 0; i < count; i++) {
            adze_tensor_set(&t, i, 0);
        }
        if (p->init.kind != ADZE_INIT_SPARSE) {
            return structured(ctx, p, t, &r);
        }
        sparse(p, t, &r);
        return ADZE_OK;
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
