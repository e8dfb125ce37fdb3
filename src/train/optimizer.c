/* The table of optimisers. Those of the ops sgd, momentum and adam are one pass by themselves; the others are maps, which the compiler fuses. */
#include "train/pieces.h"
#include "train/second.h"

#include <math.h>
#include <stdio.h>

#define NO (-1.0)
#define WHEN(member) offsetof(adze_train_opts, member)

/* -- descent and momentum ------------------------------------------------------------------------------------------------------------------------ */

static void build_sgd(const adze_opt_param *p) {
    const adze_sgd_attrs a = {.weight_decay = p->l2};
    adze_sgd(p->g, p->w, (adze_val){0}, p->grad, p->lr, &a);
}

static void build_momentum(const adze_opt_param *p) {
    const adze_sgd_attrs a = {.weight_decay = p->l2, .momentum = p->o->momentum, .nesterov = p->o->optimizer == ADZE_NESTEROV};
    adze_sgd(p->g, p->w, p->slot[0], p->grad, p->lr, &a);
}

static adze_val velocity(const adze_opt_param *p) { /* rho v - lr g */
    const adze_val step = adze_mul(p->g, number(p, p->lr), penalised(p));
    return adze_sub(p->g, adze_scale(p->g, p->slot[0], p->o->momentum, 0), step);
}

static void build_heavy_ball(const adze_opt_param *p) {
    const adze_val v = velocity(p);
    keep(p, 0, v);
    adze_assign(p->g, p->w, adze_add(p->g, p->w, v));
}

static void build_nesterov_ahead(const adze_opt_param *p) {
    const double rho = p->o->momentum;
    const adze_val v = velocity(p), x = adze_sub(p->g, p->w, adze_scale(p->g, p->slot[0], rho, 0)), next = adze_add(p->g, x, v);
    keep(p, 0, v);
    adze_assign(p->g, p->w, adze_add(p->g, next, adze_scale(p->g, v, rho, 0)));
}

static void build_nesterov_shifted(const adze_opt_param *p) {
    const double rho = p->o->momentum;
    const adze_val v = velocity(p);
    const adze_val step = adze_sub(p->g, adze_scale(p->g, v, 1 + rho, 0), adze_scale(p->g, p->slot[0], rho, 0));
    keep(p, 0, v);
    adze_assign(p->g, p->w, adze_add(p->g, p->w, step));
}

/* -- a rate for each element --------------------------------------------------------------------------------------------------------------------- */

static void build_adagrad(const adze_opt_param *p) {
    const adze_val g = penalised(p), s = adze_add(p->g, p->slot[0], adze_square(p->g, g));
    keep(p, 0, s);
    descend(p, adze_div(p->g, g, adze_scale(p->g, adze_sqrt(p->g, s), 1, p->o->eps)));
}

static void build_adadelta(const adze_opt_param *p) {
    const double eps = p->o->eps;
    const adze_val g = penalised(p), s = mix(p, p->o->beta2, p->slot[0], adze_square(p->g, g));
    const adze_val up = adze_sqrt(p->g, adze_scale(p->g, p->slot[1], 1, eps)), down = adze_sqrt(p->g, adze_scale(p->g, s, 1, eps));
    const adze_val step = adze_mul(p->g, adze_div(p->g, up, down), g);
    keep(p, 0, s);
    keep(p, 1, mix(p, p->o->beta2, p->slot[1], adze_square(p->g, step)));
    descend(p, step);
}

static void build_rmsprop(const adze_opt_param *p) {
    const adze_val g = penalised(p), s = mix(p, p->o->beta2, p->slot[0], adze_square(p->g, g));
    adze_val variance = s;
    keep(p, 0, s);
    if (p->o->centered) {
        const adze_val mean = mix(p, p->o->beta2, p->slot[1], g);
        keep(p, 1, mean);
        variance = adze_relu(p->g, adze_sub(p->g, s, adze_square(p->g, mean))); /* rounding may take it below 0 */
    }
    adze_val step = adze_div(p->g, g, adze_scale(p->g, adze_sqrt(p->g, variance), 1, p->o->eps));
    if (p->o->momentum > 0) {
        step = adze_add(p->g, adze_scale(p->g, p->slot[2], p->o->momentum, 0), step);
        keep(p, 2, step);
    }
    descend(p, step);
}

static void build_rprop(const adze_opt_param *p) {
    enum { LEAST = 1, MOST = 50 }; /* of a step: in millionths, and whole */
    const double rate = adze_train_lr(p->o);
    const adze_val zero = constant(p, 0), g = penalised(p), sign = adze_mul(p->g, g, p->slot[1]);
    const adze_val turned = adze_lt(p->g, sign, zero), goes_on = adze_gt(p->g, sign, zero);
    adze_val f = adze_where(p->g, turned, constant(p, p->o->shrink), constant(p, 1));
    f = adze_mul(p->g, p->slot[0], adze_where(p->g, goes_on, constant(p, p->o->grow), f));
    f = adze_clip(p->g, f, LEAST * 1e-6 / rate, MOST / rate);
    const adze_val kept = adze_where(p->g, turned, adze_scale(p->g, g, 0, 0), g);
    keep(p, 0, f);
    keep(p, 1, kept);
    descend(p, adze_mul(p->g, adze_sign(p->g, kept), f));
}

static void build_delta_bar_delta(const adze_opt_param *p) {
    const adze_val zero = constant(p, 0), g = penalised(p), sign = adze_mul(p->g, g, p->slot[1]), f = p->slot[0];
    const adze_val more = adze_scale(p->g, f, 1, p->o->grow), less = adze_scale(p->g, f, p->o->shrink, 0);
    const adze_val next = adze_where(p->g, adze_gt(p->g, sign, zero), more, adze_where(p->g, adze_lt(p->g, sign, zero), less, f));
    keep(p, 0, next);
    keep(p, 1, mix(p, p->o->beta1, p->slot[1], g));
    descend(p, adze_mul(p->g, next, g));
}

/* -- adam and its kin ---------------------------------------------------------------------------------------------------------------------------- */

static void factors_adam(const adze_train_opts *o, double t, double *c) {
    c[0] = o->bias_correction ? t : 1e300; /* beta to this power is 0, so both divisors are 1 */
}

static void build_adam(const adze_opt_param *p) {
    const bool decoupled = p->o->optimizer == ADZE_ADAMW;
    const adze_adam_attrs a = {
        .beta1 = p->o->beta1, .beta2 = p->o->beta2, .eps = p->o->eps, .decoupled = decoupled, .weight_decay = decoupled ? p->decay : p->l2};
    adze_adam(p->g, p->w, p->slot[0], p->slot[1], decoupled ? penalised(p) : p->grad, p->lr, p->factor[0], &a);
}

static void factors_corrections(const adze_train_opts *o, double t, double *c) {
    c[0] = o->bias_correction ? 1 / (1 - pow(o->beta1, t)) : 1;
    c[1] = o->bias_correction ? 1 / (1 - pow(o->beta2, t)) : 1;
}

static void factors_soap(const adze_train_opts *o, double t, double *c) { /* the first step of which only gathers */
    factors_corrections(o, fmax(t - 1, 1), c);
}

static void build_amsgrad(const adze_opt_param *p) {
    const moments a = moments_of(p);
    const adze_val most = adze_max(p->g, p->slot[2], a.v);
    keep(p, 2, most);
    descend(p, adze_div(p->g, times(p, a.m, 0), divisor(p, most, 1)));
}

static void build_adamax(const adze_opt_param *p) {
    const adze_val g = penalised(p), m = mix(p, p->o->beta1, p->slot[0], g);
    const adze_val u = adze_max(p->g, adze_scale(p->g, p->slot[1], p->o->beta2, 0), adze_scale(p->g, adze_abs(p->g, g), 1, p->o->eps));
    keep(p, 0, m);
    keep(p, 1, u);
    descend(p, adze_div(p->g, times(p, m, 0), u));
}

/* log of the product of 1 - q^i / 2 for i from 1 to t: the logarithm's series, summed over i first, so that it costs the same for any t. */
static double log_product(double q, double t) {
    double sum = 0;
    for (int k = 1; k <= 60; k++) {
        const double r = k * log(q);
        sum -= pow(0.5, k) / k * exp(r) * expm1(r * t) / expm1(r);
    }
    return sum;
}

static void factors_nadam(const adze_train_opts *o, double t, double *c) {
    const double q = pow(0.96, 0.004), now = o->beta1 * (1 - pow(q, t) / 2), next = o->beta1 * (1 - pow(q, t + 1) / 2);
    c[0] = (1 - now) / (1 - pow(o->beta1, t) * exp(log_product(q, t)));
    c[1] = 1 / (1 - pow(o->beta2, t));
    c[2] = next / (1 - pow(o->beta1, t + 1) * exp(log_product(q, t + 1)));
}

static void build_nadam(const adze_opt_param *p) {
    const moments a = moments_of(p);
    descend(p, adze_div(p->g, adze_add(p->g, times(p, a.g, 0), times(p, a.m, 2)), divisor(p, a.v, 1)));
}

static void factors_radam(const adze_train_opts *o, double t, double *c) {
    const double b = pow(o->beta2, t), whole = 2 / (1 - o->beta2) - 1, rho = whole - 2 * t * b / (1 - b);
    const bool tame = rho > 5; /* the variance of the divisor is finite */
    c[0] = 1 / (1 - pow(o->beta1, t));
    c[1] = tame ? sqrt((rho - 4) * (rho - 2) * whole / ((whole - 4) * (whole - 2) * rho) * (1 - b)) : 0;
    c[2] = tame ? 0 : 1;
}

static void build_radam(const adze_opt_param *p) {
    const moments a = moments_of(p);
    const adze_val root = adze_scale(p->g, adze_sqrt(p->g, a.v), 1, p->o->eps);
    const adze_val scale = adze_add(p->g, adze_div(p->g, number(p, p->factor[1]), root), number(p, p->factor[2]));
    descend(p, adze_mul(p->g, times(p, a.m, 0), scale));
}

static void build_lion(const adze_opt_param *p) {
    const adze_val g = penalised(p);
    keep(p, 0, mix(p, p->o->beta2, p->slot[0], g));
    descend(p, adze_sign(p->g, mix(p, p->o->beta1, p->slot[0], g)));
}

/* -- a rate for each tensor ---------------------------------------------------------------------------------------------------------------------- */

static void build_lars(const adze_opt_param *p) {
    adze_val local = constant(p, p->o->trust);
    if (p->scaled) {
        const adze_val w = norm(p, p->w), g = norm(p, p->grad);
        const adze_val q = ratio(p, w, adze_add(p->g, g, adze_scale(p->g, w, p->l2, 0)), 1);
        local = adze_scale(p->g, q, p->o->trust, 0);
    }
    const adze_val rate = adze_mul(p->g, number(p, p->lr), local);
    const adze_val v = adze_add(p->g, adze_scale(p->g, p->slot[0], p->o->momentum, 0), adze_mul(p->g, rate, penalised(p)));
    keep(p, 0, v);
    adze_assign(p->g, p->w, adze_sub(p->g, p->w, v));
}

static void build_lamb(const adze_opt_param *p) {
    const moments a = moments_of(p);
    adze_val step = adze_div(p->g, times(p, a.m, 0), divisor(p, a.v, 1));
    if (p->decay > 0) {
        step = adze_add(p->g, step, adze_scale(p->g, p->w, p->decay, 0));
    }
    if (p->scaled) {
        step = adze_mul(p->g, step, ratio(p, norm(p, p->w), norm(p, step), 1));
    }
    adze_assign(p->g, p->w, adze_sub(p->g, p->w, adze_mul(p->g, number(p, p->lr), step)));
}

/* -- the table ----------------------------------------------------------------------------------------------------------------------------------- */

/* Kept by hand: the formatter would give every member a line. The order of usual settings: lr, momentum, beta1, beta2, eps, grow, shrink, trust. */
/* clang-format off */
static const adze_optimizer table[ADZE_NOPTIMIZERS] = {
    [ADZE_SGD] = {
        .formula = "w -= lr g",
        .paper = "Robbins and Monro, A stochastic approximation method, 1951",
        .cost = "4 operations a weight",
        .usual = {0.1, NO, NO, NO, NO, NO, NO, NO}, .build = build_sgd},
    [ADZE_MOMENTUM] = {
        .formula = "m = rho m + g; w -= lr m",
        .paper = "Polyak, Some methods of speeding up the convergence of iteration methods, 1964; rate outside the velocity",
        .cost = "6 operations a weight",
        .usual = {0.01, 0.9, NO, NO, NO, NO, NO, NO}, .slots = {{.role = "m"}}, .build = build_momentum},
    [ADZE_NESTEROV] = {
        .formula = "m = rho m + g; w -= lr (g + rho m)",
        .paper = "Sutskever, Martens, Dahl, Hinton, On the importance of initialization and momentum, 2013, eq. 3 and 4; weights ahead, rate outside the velocity",
        .cost = "8 operations a weight",
        .usual = {0.01, 0.9, NO, NO, NO, NO, NO, NO}, .slots = {{.role = "m"}}, .build = build_momentum},
    [ADZE_ADAM] = {
        .formula = "m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; w -= lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)",
        .paper = "Kingma and Ba, Adam: a method for stochastic optimization, 2015, algorithm 1",
        .cost = "14 operations a weight",
        .usual = {0.001, NO, 0.9, 0.999, 1e-08, NO, NO, NO}, .reads = ADZE_OPT_ADAPTIVE | ADZE_OPT_CORRECTS,
        .slots = {{.role = "m"}, {.role = "v"}}, .nfactors = 1, .factors = factors_adam, .build = build_adam},
    [ADZE_ADAMW] = {
        .formula = "as adam, and w -= lr weight_decay w",
        .paper = "Loshchilov and Hutter, Decoupled weight decay regularization, 2019, algorithm 2",
        .cost = "16 operations a weight",
        .usual = {0.001, NO, 0.9, 0.999, 1e-08, NO, NO, NO}, .reads = ADZE_OPT_ADAPTIVE | ADZE_OPT_DECOUPLES | ADZE_OPT_CORRECTS,
        .slots = {{.role = "m"}, {.role = "v"}}, .nfactors = 1, .factors = factors_adam, .build = build_adam},
    [ADZE_HEAVY_BALL] = {
        .formula = "v = rho v - lr g; w += v",
        .paper = "Sutskever, Martens, Dahl, Hinton, On the importance of initialization and momentum, 2013, eq. 1 and 2",
        .cost = "6 operations a weight",
        .usual = {0.01, 0.9, NO, NO, NO, NO, NO, NO}, .slots = {{.role = "v"}}, .build = build_heavy_ball},
    [ADZE_NESTEROV_AHEAD] = {
        .formula = "x = w - rho v; v = rho v - lr g; x += v; w = x + rho v: gradients are taken ahead",
        .paper = "Nesterov, A method of solving a convex programming problem with convergence rate O(1/k^2), 1983; Sutskever et al. 2013, eq. 3 and 4",
        .cost = "10 operations a weight",
        .usual = {0.01, 0.9, NO, NO, NO, NO, NO, NO}, .slots = {{.role = "v"}}, .build = build_nesterov_ahead},
    [ADZE_NESTEROV_SHIFTED] = {
        .formula = "u = rho v - lr g; w += (1 + rho) u - rho v; v = u",
        .paper = "Bengio, Boulanger-Lewandowski, Pascanu, Advances in optimizing recurrent networks, 2012, section 3.5",
        .cost = "9 operations a weight",
        .usual = {0.01, 0.9, NO, NO, NO, NO, NO, NO}, .slots = {{.role = "v"}}, .build = build_nesterov_shifted},
    [ADZE_ADAGRAD] = {
        .formula = "s += g^2; w -= lr g / (sqrt(s) + eps)",
        .paper = "Duchi, Hazan, Singer, Adaptive subgradient methods, 2011, figure 1, diagonal",
        .cost = "7 operations a weight",
        .usual = {0.01, NO, NO, NO, 1e-10, NO, NO, NO}, .reads = ADZE_OPT_ADAPTIVE, .slots = {{.role = "s"}}, .build = build_adagrad},
    [ADZE_ADADELTA] = {
        .formula = "s = b2 s + (1 - b2) g^2; d = sqrt(u + eps) / sqrt(s + eps) g; u = b2 u + (1 - b2) d^2; w -= lr d",
        .paper = "Zeiler, ADADELTA: an adaptive learning rate method, 2012, algorithm 1",
        .cost = "14 operations a weight",
        .usual = {1, NO, NO, 0.95, 1e-06, NO, NO, NO}, .reads = ADZE_OPT_ADAPTIVE, .slots = {{.role = "s"}, {.role = "u"}}, .build = build_adadelta},
    [ADZE_RMSPROP] = {
        .formula = "s = b2 s + (1 - b2) g^2; centered: a = b2 a + (1 - b2) g, else a = 0; m = rho m + g / (sqrt(s - a^2) + eps); w -= lr m",
        .paper = "Tieleman and Hinton, Lecture 6.5, 2012; centered: Graves, Generating sequences with recurrent neural networks, 2013, eq. 38 to 41",
        .cost = "9 operations a weight, centered or with momentum 13",
        .usual = {0.001, 0, NO, 0.9, 1e-08, NO, NO, NO}, .reads = ADZE_OPT_ADAPTIVE | ADZE_OPT_CENTERS,
        .slots = {{.role = "s"}, {.role = "a", .when = WHEN(centered)}, {.role = "m", .when = WHEN(momentum)}}, .build = build_rmsprop},
    [ADZE_AMSGRAD] = {
        .formula = "as adam with the largest v so far in place of v",
        .paper = "Reddi, Kale, Kumar, On the convergence of Adam and beyond, 2018, algorithm 2, which has no bias_correction",
        .cost = "15 operations a weight",
        .usual = {0.001, NO, 0.9, 0.999, 1e-08, NO, NO, NO}, .reads = ADZE_OPT_ADAPTIVE | ADZE_OPT_DECOUPLES | ADZE_OPT_CORRECTS,
        .slots = {{.role = "m"}, {.role = "v"}, {.role = "most"}}, .nfactors = 2, .factors = factors_corrections, .build = build_amsgrad},
    [ADZE_ADAMAX] = {
        .formula = "m = b1 m + (1 - b1) g; u = max(b2 u, |g| + eps); w -= lr m / ((1 - b1^t) u)",
        .paper = "Kingma and Ba, Adam: a method for stochastic optimization, 2015, algorithm 2",
        .cost = "10 operations a weight",
        .usual = {0.002, NO, 0.9, 0.999, 1e-08, NO, NO, NO}, .reads = ADZE_OPT_ADAPTIVE | ADZE_OPT_DECOUPLES | ADZE_OPT_CORRECTS,
        .slots = {{.role = "m"}, {.role = "u"}}, .nfactors = 1, .factors = factors_corrections, .build = build_adamax},
    [ADZE_NADAM] = {
        .formula = "m, v as adam; k(t) = b1 (1 - 0.96^(0.004 t) / 2), K(t) = k(1) .. k(t); w -= lr ((1 - k(t)) / (1 - K(t)) g + k(t+1) / (1 - K(t+1)) m) / (sqrt(v / (1 - b2^t)) + eps)",
        .paper = "Dozat, Incorporating Nesterov momentum into Adam, 2016, algorithm 2",
        .cost = "16 operations a weight",
        .usual = {0.002, NO, 0.9, 0.999, 1e-08, NO, NO, NO}, .reads = ADZE_OPT_ADAPTIVE | ADZE_OPT_DECOUPLES,
        .slots = {{.role = "m"}, {.role = "v"}}, .nfactors = 3, .factors = factors_nadam, .build = build_nadam},
    [ADZE_RADAM] = {
        .formula = "m, v as adam; q = 2 / (1 - b2) - 1, p = q - 2 t b2^t / (1 - b2^t); p > 5: w -= lr m / (1 - b1^t) sqrt((p - 4) (p - 2) q / ((q - 4) (q - 2) p)) sqrt(1 - b2^t) / (sqrt(v) + eps), else w -= lr m / (1 - b1^t)",
        .paper = "Liu, Jiang, He et al., On the variance of the adaptive learning rate and beyond, 2020, algorithm 2",
        .cost = "13 operations a weight",
        .usual = {0.001, NO, 0.9, 0.999, 1e-08, NO, NO, NO}, .reads = ADZE_OPT_ADAPTIVE | ADZE_OPT_DECOUPLES,
        .slots = {{.role = "m"}, {.role = "v"}}, .nfactors = 3, .factors = factors_radam, .build = build_radam},
    [ADZE_LION] = {
        .formula = "w -= lr (sign(b1 m + (1 - b1) g) + weight_decay w); m = b2 m + (1 - b2) g",
        .paper = "Chen, Liang, Huang et al., Symbolic discovery of optimization algorithms, 2023, algorithm 2",
        .cost = "10 operations a weight",
        .usual = {0.0001, NO, 0.9, 0.99, NO, NO, NO, NO}, .reads = ADZE_OPT_ADAPTIVE | ADZE_OPT_DECOUPLES,
        .slots = {{.role = "m"}}, .build = build_lion},
    [ADZE_LARS] = {
        .formula = "r = trust |w| / (|g| + l2 |w|), trust for biases and scales; m = rho m + lr r (g + l2 w); w -= m",
        .paper = "You, Gitman, Ginsburg, Large batch training of convolutional networks, 2017, algorithm 1",
        .cost = "7 operations a weight and two norms a tensor",
        .usual = {10, 0.9, NO, NO, NO, NO, NO, 0.001}, .slots = {{.role = "m"}}, .build = build_lars},
    [ADZE_LAMB] = {
        .formula = "d = adam's direction + weight_decay w; w -= lr |w| / |d| d, without the ratio for biases and scales",
        .paper = "You, Li, Reddi et al., Large batch optimization for deep learning, 2020, algorithm 2",
        .cost = "17 operations a weight and two norms a tensor",
        .usual = {0.002, NO, 0.9, 0.999, 1e-06, NO, NO, NO}, .reads = ADZE_OPT_ADAPTIVE | ADZE_OPT_DECOUPLES | ADZE_OPT_CORRECTS,
        .slots = {{.role = "m"}, {.role = "v"}}, .nfactors = 2, .factors = factors_corrections, .build = build_lamb},
    [ADZE_RPROP] = {
        .formula = "f = grow f where g has its last sign, shrink f where not, there g = 0 for this step; w -= lr f sign(g); whole batches only",
        .paper = "Riedmiller and Braun, A direct adaptive method for faster backpropagation learning, 1993, eq. 4 and 5; without backtracking: Igel and Huesken, 2003",
        .cost = "9 operations a weight",
        .usual = {0.01, NO, NO, NO, NO, 1.2, 0.5, NO}, .reads = ADZE_OPT_ADAPTIVE,
        .slots = {{.role = "f", .init = 1}, {.role = "last"}}, .build = build_rprop},
    [ADZE_SHAMPOO] = {
        .formula = "L += G G', R += G' G of a weight as a matrix G; m = rho m + (L + eps I)^(-1/4) G (R + eps I)^(-1/4); w -= lr m; vectors: L = g^2, power -1/2",
        .paper = "Gupta, Koren, Singer, Shampoo: preconditioned stochastic tensor optimization, 2018, algorithm 1",
        .cost = "of r x c: 2 r^2 + 2 c^2 numbers, 4 r c (r + c) operations a step, 11 (r^3 + c^3) every precond_every",
        .usual = {0.1, 0, NO, NO, 0.01, NO, NO, NO}, .reads = ADZE_OPT_ADAPTIVE | ADZE_OPT_DECOUPLES,
        .slots = {{.role = "m", .when = WHEN(momentum)}, {.role = NULL}, {.role = "l", .of = ADZE_OF_SIDE}, {.role = "r", .of = ADZE_OF_SIDE},
                  {.role = "lroot", .of = ADZE_OF_SIDE_FULL}, {.role = "rroot", .of = ADZE_OF_SIDE_FULL}},
        .observe = adze_matrix_observe, .build = adze_shampoo_build},
    [ADZE_SOAP] = {
        .formula = "adam in the eigenvectors U, V of L = b2 L + (1 - b2) G G', R likewise: w -= lr U N V', N = adam of U' G V, its mean taken of G; U = QR(L U) every precond_every",
        .paper = "Vyas, Morwani, Zhao et al., SOAP: improving and stabilizing Shampoo using Adam, 2024, algorithms 3 and 4",
        .cost = "of r x c: 2 r c + 2 r^2 + 2 c^2 numbers, 8 r c (r + c) operations a step, 5 (r^3 + c^3) every precond_every",
        .usual = {0.003, NO, 0.95, 0.95, 1e-08, NO, NO, NO}, .reads = ADZE_OPT_ADAPTIVE | ADZE_OPT_DECOUPLES | ADZE_OPT_CORRECTS,
        .slots = {{.role = "m"}, {.role = "v"}, {.role = "l", .of = ADZE_OF_SIDE_FULL}, {.role = "r", .of = ADZE_OF_SIDE_FULL},
                  {.role = "lbasis", .of = ADZE_OF_SIDE_FULL}, {.role = "rbasis", .of = ADZE_OF_SIDE_FULL}},
        .nfactors = 2, .factors = factors_soap, .observe = adze_matrix_observe, .build = adze_soap_build},
    [ADZE_MUON] = {
        .formula = "m = rho m + (1 - rho) G; w -= lr s O(rho m + (1 - rho) G), O: singular values made about 1; s: muon_scale; vectors and the last layer: adamw",
        .paper = "Jordan, Jin, Boza et al., Muon: an optimizer for hidden layers in neural networks, 2024; rms: Liu, Su et al. 2025",
        .cost = "of r x c, r <= c: r c numbers, 2 muon_steps r (2 r c + r^2) operations a step",
        .usual = {0.001, 0.95, 0.9, 0.95, 1e-07, NO, NO, NO}, .reads = ADZE_OPT_ADAPTIVE | ADZE_OPT_DECOUPLES | ADZE_OPT_CORRECTS,
        .slots = {{.role = "m"}, {.role = "v", .of = ADZE_OF_PLAIN}}, .nfactors = 2, .factors = factors_corrections, .build = adze_muon_build},
    [ADZE_NEWTON] = {
        .formula = "w -= a (H + t I)^-1 g; t: as much as makes it positive definite, a: strong Wolfe search",
        .paper = "Nocedal and Wright, Numerical Optimization, 2006, algorithm 3.3",
        .cost = "of n weights: n^2 numbers, n Hessian products and n^3 / 3 operations a step",
        .usual = {1, NO, NO, NO, NO, NO, NO, NO}, .reads = ADZE_OPT_ADAPTIVE, .second = &adze_second_quasi},
    [ADZE_BFGS] = {
        .formula = "w -= a B g; B = (I - r s y') B (I - r y s') + r s s', r = 1 / s'y; a: strong Wolfe search",
        .paper = "Broyden, Fletcher, Goldfarb, Shanno, 1970; Nocedal and Wright 2006, algorithm 6.1",
        .cost = "of n weights: n^2 numbers, 6 n^2 operations a step and its search",
        .usual = {1, NO, NO, NO, NO, NO, NO, NO}, .reads = ADZE_OPT_ADAPTIVE, .second = &adze_second_quasi},
    [ADZE_LBFGS] = {
        .formula = "as bfgs from the last lbfgs_m pairs s, y; overlap < 1: w -= lr B g and y from examples of one batch before and after",
        .paper = "Liu and Nocedal, On the limited memory BFGS method, 1989; batches: Berahas, Nocedal, Takac, A multi-batch L-BFGS method, 2016",
        .cost = "2 lbfgs_m numbers and 8 lbfgs_m operations a weight, and its search",
        .usual = {1, NO, NO, NO, NO, NO, NO, NO}, .reads = ADZE_OPT_ADAPTIVE, .second = &adze_second_quasi},
    [ADZE_HF] = {
        .formula = "w += lr a d, (G + damping I) d = -g by conjugate gradients; G: Gauss-Newton matrix of the last batch; a: 0.8 times itself until the loss falls",
        .paper = "Martens, Deep learning via Hessian-free optimization, 2010",
        .cost = "up to cg_steps products with the curvature a step, each about two gradients; 5 numbers a weight",
        .usual = {1, NO, NO, NO, NO, NO, NO, NO}, .reads = ADZE_OPT_ADAPTIVE | ADZE_OPT_DAMPS, .second = &adze_second_free},
    [ADZE_KFAC] = {
        .formula = "w += lr m; m = a d + b m, d = -(A + p c I)^-1 g (S + c / p I)^-1 of each layer; a, b: minimum of the quadratic model with the Fisher matrix",
        .paper = "Martens and Grosse, Optimizing neural networks with Kronecker-factored approximate curvature, 2015; convolutions: Grosse and Martens 2016",
        .cost = "of r x c: 3 r^2 + 3 c^2 numbers, 2 r c (r + c) operations a step, about 6 (r^3 + c^3) every kfac_invert_every",
        .usual = {1, NO, NO, NO, NO, NO, NO, NO}, .reads = ADZE_OPT_ADAPTIVE | ADZE_OPT_DAMPS, .second = &adze_second_kfac},
    [ADZE_DELTA_BAR_DELTA] = {
        .formula = "f += grow where g has the sign of d, f *= shrink where not; d = b1 d + (1 - b1) g; w -= lr f g",
        .paper = "Jacobs, Increased rates of convergence through learning rate adaptation, 1988",
        .cost = "13 operations a weight",
        .usual = {0.02, NO, 0.7, NO, NO, 0.05, 0.9, NO}, .slots = {{.role = "f", .init = 1}, {.role = "d"}}, .build = build_delta_bar_delta},
};
/* clang-format on */

const adze_optimizer *adze_optimizer_of(const adze_train_opts *o) {
    return &table[o->optimizer];
}

static double settled(double given, double usual) {
    return given >= 0 ? given : fmax(usual, 0);
}

adze_train_opts adze_optimizer_settle(const adze_train_opts *o) {
    const adze_optimizer *row = adze_optimizer_of(o);
    adze_train_opts s = *o;
    s.lr = o->lr > 0 ? o->lr : row->usual.lr;
    s.l2 = o->l2 >= 0 ? o->l2 : row->reads & ADZE_OPT_ADAPTIVE ? 0 : 0.0005;
    s.momentum = settled(o->momentum, row->usual.momentum);
    s.beta1 = settled(o->beta1, row->usual.beta1);
    s.beta2 = settled(o->beta2, row->usual.beta2);
    s.eps = settled(o->eps, row->usual.eps);
    s.grow = settled(o->grow, row->usual.grow);
    s.shrink = settled(o->shrink, row->usual.shrink);
    s.trust = settled(o->trust, row->usual.trust);
    return s;
}

double adze_train_lr(const adze_train_opts *o) {
    return adze_optimizer_settle(o).lr;
}

double adze_train_l2(const adze_train_opts *o) {
    return adze_optimizer_settle(o).l2;
}

bool adze_optimizer_slot(const adze_train_opts *o, int slot, const adze_opt_view *v, adze_type *type) {
    const adze_opt_slot *s = &adze_optimizer_of(o)->slots[slot];
    if (s->role == NULL || (s->when != 0 && !(s->when == WHEN(centered) ? o->centered : o->momentum > 0))) {
        return false;
    }
    if (s->of == ADZE_OF_PARAM || s->of == ADZE_OF_PLAIN) {
        return s->of == ADZE_OF_PARAM || !v->matrix;
    }
    const int side = slot % 2;
    const int64_t n = v->n[side];
    *type = adze_type_make(type->dtype, v->full[side] ? 2 : 1, (int64_t[]){n, n});
    return v->full[side] || (s->of == ADZE_OF_SIDE && n > 0);
}

void adze_optimizer_factors(const adze_train_opts *o, int64_t t, double *c) {
    const adze_optimizer *row = adze_optimizer_of(o);
    if (row->factors != NULL) {
        row->factors(o, (double)t, c);
    }
}

/* -- for people ---------------------------------------------------------------------------------------------------------------------------------- */

int adze_optimizer_known(int i, const char **name, const char **formula, char *out, size_t n) {
    if (i < 0 || i >= ADZE_NOPTIMIZERS) {
        return ADZE_EARG;
    }
    const adze_optimizer *row = &table[i];
    const struct {
        const char *name;
        double usual;
    } reads[] = {{"lr", row->usual.lr},
                 {"momentum", row->usual.momentum},
                 {"beta1", row->usual.beta1},
                 {"beta2", row->usual.beta2},
                 {"eps", row->usual.eps},
                 {"grow", row->usual.grow},
                 {"shrink", row->usual.shrink},
                 {"trust", row->usual.trust},
                 {"l2", row->reads & ADZE_OPT_ADAPTIVE ? 0 : 0.0005},
                 {"weight_decay", row->reads & ADZE_OPT_DECOUPLES ? 0 : NO},
                 {"bias_correction", row->reads & ADZE_OPT_CORRECTS ? 1 : NO},
                 {"centered", row->reads & ADZE_OPT_CENTERS ? 0 : NO},
                 {"damping", row->reads & ADZE_OPT_DAMPS ? i == ADZE_KFAC ? 0.1 : 1 : NO}};
    size_t at = 0;
    for (size_t k = 0; k < ADZE_COUNT(reads); k++) {
        if (reads[k].usual >= 0 && at < n) {
            at += (size_t)snprintf(out + at, n - at, "%s%s %.4g", at > 0 ? ", " : "", reads[k].name, reads[k].usual);
        }
    }
    for (int k = 0; k < ADZE_OPT_SLOTS; k++) {
        if (row->slots[k].role != NULL && at < n) {
            at += (size_t)snprintf(out + at, n - at, "%s %s", k > 0 ? "," : "; slots", row->slots[k].role);
        }
    }
    if (at < n) {
        snprintf(out + at, n - at, "%s%s (%s)", row->cost != NULL ? "; costs " : "", row->cost != NULL ? row->cost : "", row->paper);
    }
    *name = adze_field_find(adze_train_fields(), "optimizer")->names[i];
    *formula = row->formula;
    return ADZE_OK;
}
