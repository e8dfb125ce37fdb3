/* The table of demonstrations, their options, and the surfaces that are worth a picture: valley, saddle, cliff. */
#include "train/demo.h"

#include <math.h>
#include <stdio.h>

#define AT(member) offsetof(adze_demo_opts, member)
static const adze_field fields[] = {
    {"optimizers", ADZE_F_STR, 0, AT(optimizers), sizeof(((adze_demo_opts *)0)->optimizers), "", 0, 0, NULL,
     "names between commas, settings after colons: sgd,adam:beta2=0.9; empty: the demonstration's own choice"},
    {"steps", ADZE_F_I64, 0, AT(steps), 0, "0", 0, 1e9, NULL, "at most; 0: the demonstration's own"},
    {"rotate", ADZE_F_F64, 0, AT(rotate), 0, "45", -360, 360, NULL, "valley, ridge: degrees by which it is turned"},
    {"kappa", ADZE_F_F64, 0, AT(kappa), 0, "20", 1, 1e12, NULL, "valley, ridge: condition number"},
    {"rho", ADZE_F_F64, 0, AT(rho), 0, "0.9", 0, 10, NULL, "plateau: momentum; recurrence: spectral radius"},
    {"lr", ADZE_F_F64, 0, AT(lr), 0, "0", 0, 1e300, NULL, "rate; 0: the demonstration's own (valley: the best of three a decade)"},
    {"tolerance", ADZE_F_F64, 0, AT(tolerance), 0, "1e-6", 0, 1e6, NULL, "valley: how near to the minimum"},
    {"clip", ADZE_F_F64, 0, AT(clip), 0, "0", 0, 1e300, NULL,
     "cliff, clip, order: largest norm of a gradient; 0: the demonstration's own (0.1, 0.1, 1)"},
    {"length", ADZE_F_I64, 0, AT(length), 0, "20", 10, 1000, NULL, "order: symbols of a sequence"},
    {"seed", ADZE_F_U64, 0, AT(seed), 0, "1", 0, 0, NULL, "of random data"},
    {0}};

const adze_field *adze_demo_fields(void) {
    return fields;
}

/* Kept by hand: a row is a line. */
/* clang-format off */
static const struct {
    const char *name;
    int (*run)(const adze_demo *d);
    const char *what, *paper;
} DEMOS[] = {
    {"valley", adze_demo_valley, "optimisers in an ill-conditioned bowl, along the axes and turned: who depends on the axes", "Kingma and Ba 2015; Gupta, Koren and Singer 2018"},
    {"saddle", adze_demo_saddle, "steps to leave a saddle point from ever nearer to its ridge", "Dauphin et al. 2014"},
    {"cliff", adze_demo_cliff, "the wall in the loss of a one-unit recurrent net, with and without clipping", "Pascanu, Mikolov and Bengio 2013, figure 6"},
    {"rates", adze_demo_rates, "descent and heavy ball on quadratics beside (k - 1) / (k + 1) and (sqrt k - 1) / (sqrt k + 1)", "Polyak 1964; Nocedal and Wright 2006"},
    {"plateau", adze_demo_plateau, "a constant gradient: momentum goes 1 / (1 - rho) times as far a step", "Polyak 1964"},
    {"double-well", adze_demo_double_well, "the momentum from which on a ball leaves the shallower of two wells, beside that of the equation of motion", "Qian 1999"},
    {"oscillator", adze_demo_oscillator, "heavy ball beside the damped oscillator m x'' + mu x' + k x = 0", "Qian 1999"},
    {"early-stopping", adze_demo_early_stopping, "a descent that stops early beside weight decay with alpha = 1 / (steps rate)", "Bishop 1995; Goodfellow, Bengio and Courville 2016, section 7.8"},
    {"ridge", adze_demo_ridge, "what L2 leaves of directions of little and of much curvature beside k / (k + alpha), and a prior of the bowl's own shape", "Goodfellow, Bengio and Courville 2016, section 7.1.1"},
    {"wilson", adze_demo_wilson, "separable data on which descent generalises and adaptive methods do not", "Wilson et al. 2017, section 3.3"},
    {"reddi", adze_demo_reddi, "a line on which Adam goes the wrong way and AMSGrad does not", "Reddi, Kale and Kumar 2018, section 3"},
    {"wishart", adze_demo_wishart, "the condition number of random data beside ((1 + sqrt c) / (1 - sqrt c))^2", "Marchenko and Pastur 1967"},
    {"duplicate", adze_demo_duplicate, "copies of the data change no gradient of the mean loss", "LeCun, Bottou, Orr and Mueller 1998, section 4.1"},
    {"recurrence", adze_demo_recurrence, "gradients through time shrink or grow as rho^k in a linear net, faster with tanh", "Bengio, Simard and Frasconi 1994; Pascanu, Mikolov and Bengio 2013"},
    {"order", adze_demo_order, "a net of 50 tanh units learns the order of two symbols among distractors, with gradients clipped and not", "Hochreiter and Schmidhuber 1997, task 6a; Pascanu, Mikolov and Bengio 2013, section 4.1"},
    {"clip", adze_demo_clip, "what clipping by value and by norm do to a gradient's direction", "Mikolov 2012; Pascanu, Mikolov and Bengio 2013"},
};
/* clang-format on */

int adze_demo_at(int i, adze_about *out) {
    if (i < 0 || i >= (int)ADZE_COUNT(DEMOS)) {
        return ADZE_EARG;
    }
    *out = (adze_about){.name = DEMOS[i].name, .formula = DEMOS[i].what, .paper = DEMOS[i].paper};
    return ADZE_OK;
}

int adze_demo_run(adze_ctx *ctx, const char *name, const adze_demo_opts *o, adze_findings *out) {
    adze_train_opts t;
    const adze_demo d = {ctx, o, &t, out};
    *out = (adze_findings){.ctx = ctx};
    TRY(adze_fields_default(adze_train_fields(), &t));
    t.lr = o->lr;
    for (size_t i = 0; i < ADZE_COUNT(DEMOS); i++) {
        if (strcmp(DEMOS[i].name, name) == 0) {
            TRY(DEMOS[i].run(&d));
            return adze_found_status(out);
        }
    }
    const char *near = adze_suggest(name, &DEMOS[0].name, ADZE_COUNT(DEMOS), sizeof DEMOS[0]);
    return adze_fail(ctx, ADZE_EARG, "there is no demonstration '%s'%s%s%s (`adze list demos` names them)", name, near ? "; did you mean '" : "",
                     near ? near : "", near ? "'?" : "");
}

/* -- what they share ----------------------------------------------------------------------------------------------------------------------------- */

int64_t adze_demo_steps(const adze_demo *d, int64_t usual) {
    return d->o->steps > 0 ? d->o->steps : usual;
}

double adze_demo_clip_at(const adze_demo *d, double usual) {
    return d->o->clip > 0 ? d->o->clip : usual;
}

int adze_demo_runners(const adze_demo *d, const char *usual, adze_runner *list, int *n) {
    const bool own = d->o->optimizers[0] == 0;
    TRY(adze_runners(d->ctx, own ? usual : d->o->optimizers, d->t, list, n));
    for (int i = 0; i < *n && own; i++) {
        list[i].name[strcspn(list[i].name, ":")] = 0;
    }
    return ADZE_OK;
}

adze_runner adze_demo_runner(const adze_demo *d, int optimizer, double lr, double momentum) {
    adze_runner r = {.o = *d->t};
    r.o.optimizer = optimizer;
    r.o.lr = lr;
    r.o.momentum = momentum;
    return r;
}

void adze_demo_key(const adze_demo *d, const char *who, const char *what, double v) {
    char key[ADZE_FINDING_NAME];
    snprintf(key, sizeof key, "%.40s_%.20s", who, what);
    adze_found(d->f, key, v);
}

int adze_demo_surface(const adze_demo *d, const adze_surface *s, double x0, double x1, double y0, double y1) {
    enum { SIDE = 121 };
    const adze_runner r = adze_demo_runner(d, ADZE_DEMO_SGD, 1, 0);
    const double box[4] = {x0, x1, y0, y1};
    adze_descent k = {.ctx = NULL};
    memcpy(d->f->box, box, sizeof box);
    d->f->surface = adze_alloc(d->ctx, SIDE * SIDE, sizeof *d->f->surface);
    int st = d->f->surface != NULL ? adze_descent_open(&k, d->ctx, s, &r.o) : ADZE_ENOMEM;
    d->f->side = SIDE;
    for (int i = 0; i < SIDE * SIDE && st == ADZE_OK; i++) {
        const double w[2] = {x0 + (x1 - x0) * (i % SIDE) / (SIDE - 1), y0 + (y1 - y0) * (i / SIDE) / (SIDE - 1)};
        st = adze_descent_at(&k, w, &d->f->surface[i], NULL);
    }
    adze_descent_close(&k);
    return st;
}

static int walk(const adze_demo *d, adze_walk *w, adze_descent *k) {
    TRY(adze_descent_open(k, d->ctx, w->s, &w->r->o));
    TRY(adze_descent_start(k, w->from));
    const size_t bytes = (size_t)w->s->n * sizeof(double);
    const double *at = adze_tensor_data(&k->w);
    for (int64_t i = 0; w->steps < 0; i++) {
        double x = at[0], y = w->s->n > 1 ? at[1] : 0;
        if (w->track != NULL) {
            adze_found_point(d->f, w->track, x, y);
        }
        if (w->log != NULL) {
            memcpy(w->log + i * w->s->n, at, bytes);
        }
        w->left = hypot(x, y);
        w->last = isfinite(w->left) ? i : w->last;
        if (w->done != NULL && w->done(k, w->user)) {
            w->steps = i;
        } else if (i == w->most || !isfinite(x) || !isfinite(y)) {
            break;
        } else {
            const int st = adze_descent_step(k, NULL);
            if (st == ADZE_ENAN) { /* it has diverged: it did not arrive, and the others go on */
                adze_err_clear(d->ctx);
                break;
            }
            TRY(st);
            w->longest = fmax(w->longest, hypot(at[0] - x, (w->s->n > 1 ? at[1] : 0) - y));
        }
    }
    return ADZE_OK;
}

int adze_demo_walk(const adze_demo *d, adze_walk *w) {
    adze_descent k = {.ctx = NULL};
    w->steps = -1, w->last = 0, w->longest = w->left = 0;
    const int st = walk(d, w, &k);
    adze_descent_close(&k);
    return st;
}

/* -- valley: (x^2 + kappa y^2) / 2, turned ------------------------------------------------------------------------------------------------------- */

typedef struct valley {
    double kappa, c, s; /* cosine and sine of the turn */
} valley;

static adze_val part(adze_graph *g, adze_val w, int64_t i) {
    return adze_reshape(g, adze_slice(g, w, &i, (int64_t[]){i + 1}, (int64_t[]){1}), NULL, 0);
}

static adze_val valley_loss(adze_graph *g, adze_val w, const void *user) {
    const valley *v = user;
    const adze_val x = part(g, w, 0), y = part(g, w, 1);
    const adze_val along = adze_add(g, adze_scale(g, x, v->c, 0), adze_scale(g, y, v->s, 0));
    const adze_val across = adze_sub(g, adze_scale(g, y, v->c, 0), adze_scale(g, x, v->s, 0));
    return adze_scale(g, adze_add(g, adze_square(g, along), adze_scale(g, adze_square(g, across), v->kappa, 0)), 0.5, 0);
}

static bool near_origin(const adze_descent *k, const void *tolerance) {
    return hypot(adze_descent_get(k, 0), adze_descent_get(k, 1)) <= *(const double *)tolerance;
}

/* Where none was given: the rate, of three a decade, that takes the fewest steps on the surface, or comes nearest when none arrives. */
static int tune(const adze_demo *d, adze_walk w, adze_runner *r) {
    const bool given = r->o.lr > 0;
    double best = r->o.lr, nearest = INFINITY;
    w.track = NULL, w.log = NULL;
    for (int k = -15; k <= 0 && !given; k++) {
        r->o.lr = pow(10, k / 3.0);
        w.r = r;
        TRY(adze_demo_walk(d, &w));
        if (w.steps >= 0) {
            w.most = w.steps - 1 > 0 ? w.steps - 1 : 0; /* only a better one is of interest */
        }
        if (w.steps >= 0 || w.left < nearest) {
            best = r->o.lr;
            nearest = w.steps >= 0 ? 0 : w.left;
        }
    }
    r->o.lr = best;
    return ADZE_OK;
}

/* One optimiser: the same rate along the axes and turned; how far the two ways differ once one is turned back;
 * and the steps at the rate that is best turned. */
static int compare_turns(const adze_demo *d, const valley *turned, const adze_surface *axes, const adze_surface *other, adze_runner *r,
                         double *logs) {
    const int64_t most = adze_demo_steps(d, 5000);
    const double from[2] = {-1, 0.3}, start[2] = {turned->c * from[0] - turned->s * from[1], turned->s * from[0] + turned->c * from[1]};
    double apart = 0, *second = logs + 2 * (most + 1);
    adze_runner own = *r;
    adze_walk a = {.s = axes, .r = r, .from = from, .most = most, .done = near_origin, .user = &d->o->tolerance};
    TRY(tune(d, a, r));
    a.log = logs;
    TRY(adze_demo_walk(d, &a));
    adze_walk b = a;
    b.s = other, b.from = start, b.log = second;
    b.track = adze_found_track(d->f, "%s", r->name);
    TRY(adze_demo_walk(d, &b));
    const int64_t both = a.last < b.last ? a.last : b.last;
    for (int64_t i = 0; i <= both; i++) {
        const double x = turned->c * second[2 * i] + turned->s * second[2 * i + 1], y = turned->c * second[2 * i + 1] - turned->s * second[2 * i];
        apart = fmax(apart, hypot(x - logs[2 * i], y - logs[2 * i + 1]));
    }
    double *cell = adze_found_row(d->f, "%s", r->name);
    cell[0] = r->o.lr > 0 ? r->o.lr : adze_train_lr(&r->o), cell[1] = a.steps >= 0 ? (double)a.steps : (double)NAN,
    cell[2] = b.steps >= 0 ? (double)b.steps : (double)NAN, cell[3] = apart;
    adze_demo_key(d, r->name, "steps", cell[1]);
    adze_demo_key(d, r->name, "steps_rotated", cell[2]);
    adze_demo_key(d, r->name, "difference", apart);
    b.track = NULL, b.log = NULL;
    TRY(tune(d, b, &own));
    b.r = &own;
    TRY(adze_demo_walk(d, &b));
    cell[4] = b.steps >= 0 ? (double)b.steps : (double)NAN;
    adze_demo_key(d, r->name, "steps_rotated_tuned", cell[4]);
    return ADZE_OK;
}

int adze_demo_valley(const adze_demo *d) {
    const double angle = d->o->rotate * acos(-1) / 180;
    const valley straight = {d->o->kappa, 1, 0}, turned = {d->o->kappa, cos(angle), sin(angle)};
    const adze_surface axes = {2, valley_loss, &straight}, other = {2, valley_loss, &turned};
    adze_runner *list = adze_alloc(d->ctx, ADZE_RUNNERS, sizeof *list);
    double *logs = adze_alloc(d->ctx, 4 * (adze_demo_steps(d, 5000) + 1), sizeof *logs);
    int n = 0, st = list && logs ? adze_demo_runners(d, "sgd,momentum,adagrad,rmsprop,adam", list, &n) : ADZE_ENOMEM;
    ADZE_COLUMNS(d->f, "rate", "steps", "steps turned", "difference", "at the best rate turned");
    adze_found(d->f, "kappa", d->o->kappa);
    snprintf(d->f->title, sizeof d->f->title, "A valley of condition %g, turned by %g degrees", d->o->kappa, d->o->rotate);
    for (int i = 0; i < n && st == ADZE_OK; i++) {
        st = compare_turns(d, &turned, &axes, &other, &list[i], logs);
    }
    st = st == ADZE_OK ? adze_demo_surface(d, &other, -1.5, 1.5, -1.5, 1.5) : st;
    adze_free(d->ctx, list);
    adze_free(d->ctx, logs);
    return st;
}

/* -- saddle: (x^2 - y^2) / 2 --------------------------------------------------------------------------------------------------------------------- */

static adze_val saddle_loss(adze_graph *g, adze_val w, const void *user) {
    (void)user;
    return adze_scale(g, adze_sub(g, adze_square(g, part(g, w, 0)), adze_square(g, part(g, w, 1))), 0.5, 0);
}

static bool off_the_ridge(const adze_descent *k, const void *user) {
    (void)user;
    return fabs(adze_descent_get(k, 1)) >= 1;
}

int adze_demo_saddle(const adze_demo *d) {
    static const double nearness[] = {1e-2, 1e-4, 1e-6, 1e-8};
    const adze_surface s = {2, saddle_loss, NULL};
    adze_runner *list = adze_alloc(d->ctx, ADZE_RUNNERS, sizeof *list);
    int n = 0, st = list ? adze_demo_runners(d, "sgd,momentum,nesterov,adam", list, &n) : ADZE_ENOMEM;
    ADZE_COLUMNS(d->f, "1e-2", "1e-4", "1e-6", "1e-8", "rate");
    for (int i = 0; i < n && st == ADZE_OK; i++) {
        double *cell = adze_found_row(d->f, "%s", list[i].name);
        list[i].o.lr = cell[4] = list[i].o.lr > 0 ? list[i].o.lr : 0.05;
        for (int k = 0; k < 4 && st == ADZE_OK; k++) {
            const double from[2] = {1, nearness[k]};
            adze_walk w = {.s = &s, .r = &list[i], .from = from, .most = adze_demo_steps(d, 20000), .done = off_the_ridge};
            w.track = k == 1 ? adze_found_track(d->f, "%s", list[i].name) : NULL;
            st = adze_demo_walk(d, &w);
            cell[k] = w.steps >= 0 ? (double)w.steps : (double)NAN;
        }
        adze_demo_key(d, list[i].name, "steps", cell[2]);
        adze_demo_key(d, list[i].name, "per_decade", (cell[3] - cell[0]) / 6);
        if (list[i].o.optimizer == ADZE_DEMO_SGD) {
            adze_found(d->f, "sgd_predicted", ceil(log(1e6) / log1p(cell[4])));
            adze_found(d->f, "sgd_predicted_per_decade", log(10) / log1p(cell[4]));
        }
    }
    snprintf(d->f->title, sizeof d->f->title, "Leaving a saddle from 0.0001 beside its ridge");
    st = st == ADZE_OK ? adze_demo_surface(d, &s, -1.5, 1.5, -1.5, 1.5) : st;
    adze_free(d->ctx, list);
    return st;
}

/* -- cliff: h = w sigmoid(h) + b fifty times, loss (sigmoid(h) - 0.7)^2 -------------------------------------------------------------------------- */

static adze_val cliff_loss(adze_graph *g, adze_val w, const void *user) {
    adze_val h = adze_scalar(g, ADZE_F64, 0.5);
    (void)user;
    for (int i = 0; i < 50; i++) {
        h = adze_add(g, adze_mul(g, part(g, w, 0), adze_sigmoid(g, h)), part(g, w, 1));
    }
    return adze_square(g, adze_scale(g, adze_sigmoid(g, h), 1, -0.7));
}

static const double CLIFF_BOX[4] = {3, 8, -4, -1};

static bool in_the_basin(const adze_descent *k, const void *user) {
    (void)user;
    const double x = adze_descent_get(k, 0), y = adze_descent_get(k, 1);
    return !(x > CLIFF_BOX[0] && x < CLIFF_BOX[1] && y > CLIFF_BOX[2] && y < CLIFF_BOX[3]); /* thrown out: no use to go on */
}

/* Over rates: where the walk ends and its longest step, without clipping and with. */
static int cliff_sweep(const adze_demo *d, const adze_surface *s, const double *from, double lr, adze_descent *judge) {
    double *cell = adze_found_row(d->f, "rate %g", lr);
    for (int clip = 0; clip < 2; clip++) {
        adze_runner r = adze_demo_runner(d, ADZE_DEMO_SGD, lr, 0);
        const int64_t most = adze_demo_steps(d, 300);
        double *log = adze_alloc(d->ctx, 2 * (most + 1), sizeof *log), loss = (double)NAN;
        r.o.clip_norm = clip ? adze_demo_clip_at(d, ADZE_DEMO_CLIP) : 0;
        adze_walk w = {.s = s, .r = &r, .from = from, .most = most, .done = in_the_basin, .log = log};
        int st = log != NULL ? adze_demo_walk(d, &w) : ADZE_ENOMEM;
        st = st == ADZE_OK && w.steps < 0 ? adze_descent_at(judge, log + 2 * most, &loss, NULL) : st;
        adze_free(d->ctx, log);
        TRY(st);
        cell[2 * clip] = w.longest, cell[2 * clip + 1] = loss;
    }
    return ADZE_OK;
}

/* The steepest gradient met while the wall at this weight is closed in on by halves. */
static int steepest_at_wall(adze_descent *k, double weight, double *steepest) {
    double lo = CLIFF_BOX[2], hi = CLIFF_BOX[3], loss, g[2];
    *steepest = 0;
    for (int i = 0; i < 40; i++) {
        const double w[2] = {weight, (lo + hi) / 2};
        TRY(adze_descent_at(k, w, &loss, g));
        *steepest = fmax(*steepest, hypot(g[0], g[1]));
        *(loss > 0.2 ? &lo : &hi) = w[1];
    }
    return ADZE_OK;
}

int adze_demo_cliff(const adze_demo *d) {
    static const double rates[] = {0.003, 0.01, 0.03, 0.1, 0.3, 1};
    const adze_surface s = {2, cliff_loss, NULL};
    const adze_runner plain = adze_demo_runner(d, ADZE_DEMO_SGD, d->t->lr > 0 ? d->t->lr : 0.3, 0);
    const double from[2] = {6.8, -3.6};
    double steepest = 0, won[2] = {0}, longest[2] = {0};
    adze_descent judge = {.ctx = NULL};
    ADZE_COLUMNS(d->f, "longest step", "loss", "longest clipped", "loss clipped");
    int st = adze_descent_open(&judge, d->ctx, &s, &plain.o);
    for (size_t i = 0; i < ADZE_COUNT(rates) && st == ADZE_OK; i++) {
        st = cliff_sweep(d, &s, from, rates[i], &judge);
        for (int clip = 0; clip < 2 && st == ADZE_OK; clip++) {
            const double *cell = d->f->cells + (d->f->nrows - 1) * 4 + 2 * clip;
            won[clip] += cell[1] < 1e-2, longest[clip] = fmax(longest[clip], cell[0]);
        }
    }
    st = st == ADZE_OK ? steepest_at_wall(&judge, from[0], &steepest) : st;
    adze_descent_close(&judge);
    for (int clip = 0; clip < 2 && st == ADZE_OK; clip++) {
        adze_runner r = plain;
        r.o.clip_norm = clip ? adze_demo_clip_at(d, ADZE_DEMO_CLIP) : 0;
        adze_walk w = {.s = &s, .r = &r, .from = from, .most = adze_demo_steps(d, 300), .done = in_the_basin};
        w.track = adze_found_track(d->f, clip ? "clipped" : "not clipped");
        st = adze_demo_walk(d, &w);
        adze_found(d->f, clip ? "jump_clipped" : "jump_unclipped", w.longest);
    }
    adze_found(d->f, "gradient_at_wall", steepest);
    adze_found(d->f, "jump_at_wall", steepest * plain.o.lr);
    adze_found(d->f, "longest_unclipped", longest[0]);
    adze_found(d->f, "longest_clipped", longest[1]);
    adze_found(d->f, "rates_that_work_unclipped", won[0]);
    adze_found(d->f, "rates_that_work_clipped", won[1]);
    adze_found_picture(d->f, "weight", "bias", "A recurrent unit over 50 steps: weight and bias");
    return st == ADZE_OK ? adze_demo_surface(d, &s, CLIFF_BOX[0], CLIFF_BOX[1], CLIFF_BOX[2], CLIFF_BOX[3]) : st;
}
