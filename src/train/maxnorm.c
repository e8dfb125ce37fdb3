/* The multipliers of the bounds on the saved weights of units, by the gradient of the whole training set. */
#include "model/layer.h"
#include "train/penalty.h"
#include "train/second.h"
#include "train/trainer.h"

#include <math.h>

typedef struct report {
    adze_trainer *t;
    double **sum; /* by parameter: the gradient; NULL where there is no bound */
    adze_maxnorm_unit *units;
    int64_t n;
} report;

static int64_t units_of(const adze_type *t) {
    return t->dims[t->rank - 1];
}

static int add_gradients(report *r) {
    const adze_steps *s = &r->t->steps;
    for (int i = 0; i < s->nparams; i++) {
        adze_tensor g;
        TRY(adze_store_tensor(s->store, s->grads[i], &g));
        const adze_type type = adze_tensor_type(&g);
        for (int64_t k = 0; r->sum[i] && k < adze_type_count(&type); k++) {
            r->sum[i][k] += adze_tensor_get(&g, k);
        }
    }
    return ADZE_OK;
}

/* The training examples ids[from .. to), as many at once as divide them. */
static int add_examples(report *r, int64_t from, int64_t to, int64_t batch) {
    adze_trainer *t = r->t;
    const adze_loader_opts lo = {.size = sizeof lo, .batch = batch, .dtype = adze_train_dtype(&t->o)};
    adze_loader *l = NULL;
    adze_grad_plan g = {.plan = NULL};
    int64_t n;
    int st = adze_steps_grad_in_use(&t->steps, batch, &g);
    st = st == ADZE_OK ? adze_loader_new(t->ctx, t->data, t->ids + from, to - from, adze_model_preprocess(t->model), &lo, &l) : st;
    for (; from < to && st == ADZE_OK; from += batch) {
        adze_tensor_set(&g.weight, 0, 1.0 / (double)t->ntrain);
        st = adze_loader_next(l, g.x, g.label, &n);
        st = st == ADZE_OK ? adze_session_run(g.session) : st;
        st = st == ADZE_OK ? add_gradients(r) : st;
    }
    adze_loader_free(l);
    adze_session_free(g.session);
    adze_plan_free(g.plan);
    return st;
}

typedef struct bounded { /* a parameter: the gradient of its loss, and its penalties */
    const double *g;
    adze_tensor w;
    double l2, l1, limit;
} bounded;

static double slope(const bounded *p, int64_t k) { /* of the whole objective */
    const double w = adze_tensor_get(&p->w, k);
    return p->g[k] + p->l2 * w + p->l1 * (double)((w > 0) - (w < 0));
}

static adze_maxnorm_unit judge(const bounded *p, int64_t j) {
    static const double touching = 1e-6; /* what rounding takes off a scaled norm */
    const adze_type type = adze_tensor_type(&p->w);
    const int64_t units = units_of(&type), count = adze_type_count(&type);
    double square = 0, along = 0, rest = 0;
    for (int64_t k = j; k < count; k += units) {
        const double w = adze_tensor_get(&p->w, k);
        square += w * w;
        along += slope(p, k) * w;
    }
    const double limit = p->limit, mu = sqrt(square) >= limit * (1 - touching) ? -along / (2 * limit * limit) : 0;
    for (int64_t k = j; k < count; k += units) {
        const double left = slope(p, k) + 2 * mu * adze_tensor_get(&p->w, k);
        rest += left * left;
    }
    return (adze_maxnorm_unit){.unit = j, .limit = limit, .norm = sqrt(square), .mu = mu, .residual = sqrt(rest)};
}

static int judge_all(report *r) {
    const adze_steps *s = &r->t->steps;
    for (int i = 0; i < s->nparams; i++) {
        const int param = s->params[i];
        bounded p = {.g = r->sum[i], .limit = adze_penalty_bound(s, param)};
        double rate, decay;
        if (!r->sum[i]) {
            continue;
        }
        TRY(adze_store_tensor(s->store, param, &p.w));
        adze_groups_find(s->o->groups, adze_store_name(s->store, param), (adze_store_flags(s->store, param) & ADZE_SLOT_DECAY) != 0, &rate, &decay);
        p.l2 = s->rule.l2 * decay;
        p.l1 = s->o->l1 * decay;
        const adze_type type = adze_tensor_type(&p.w);
        for (int64_t j = 0; j < units_of(&type); j++) {
            r->units[r->n] = judge(&p, j);
            r->units[r->n++].param = adze_store_name(s->store, param);
        }
    }
    return ADZE_OK;
}

/* The trainer goes on as if nobody had asked: weights and statistics are put back. */
static int look(report *r) {
    const int64_t n = r->t->ntrain, batch = r->t->o.batch < n ? r->t->o.batch : n, whole = n / batch * batch;
    adze_steps *s = &r->t->steps;
    double *weights = adze_alloc(s->ctx, adze_flat_count(s), sizeof *weights);
    int st = weights != NULL ? adze_flat_get(s, NULL, weights) : ADZE_ENOMEM;
    if (st == ADZE_OK && (st = adze_steps_keep(s)) == ADZE_OK) {
        st = adze_trainer_take_saved(r->t);
        st = st == ADZE_OK ? add_examples(r, 0, whole, batch) : st;
        st = st == ADZE_OK && whole < n ? add_examples(r, whole, n, n - whole) : st;
        st = st == ADZE_OK ? judge_all(r) : st;
        (void)adze_flat_put(s, NULL, weights);
        (void)adze_steps_restore(s);
    }
    adze_free(s->ctx, weights);
    return st;
}

static int make_room(report *r) {
    const adze_steps *s = &r->t->steps;
    int64_t n = 0;
    for (int i = 0; i < s->nparams; i++) {
        const adze_type type = adze_store_type(s->store, s->params[i]);
        if (adze_penalty_bound(s, s->params[i]) > 0) {
            n += units_of(&type);
            r->sum[i] = adze_alloc(s->ctx, adze_type_count(&type), sizeof **r->sum);
            TRY(ADZE_GOT(r->sum[i]));
        }
    }
    if (n == 0) {
        return adze_fail(s->ctx, ADZE_EARG, "a training without maxnorm has no multipliers to report");
    }
    r->units = adze_alloc(s->ctx, n, sizeof *r->units);
    return ADZE_GOT(r->units);
}

int adze_trainer_maxnorm(adze_trainer *t, adze_maxnorm_unit **units, int64_t *n) {
    report r = {.t = t, .sum = adze_alloc(t->ctx, t->steps.nparams, sizeof *r.sum)};
    int st = r.sum ? make_room(&r) : ADZE_ENOMEM;
    st = st == ADZE_OK ? look(&r) : st;
    for (int i = 0; r.sum && i < t->steps.nparams; i++) {
        adze_free(t->ctx, r.sum[i]);
    }
    adze_free(t->ctx, r.sum);
    if (st != ADZE_OK) {
        adze_free(t->ctx, r.units);
        r.units = NULL;
    }
    *units = r.units;
    *n = st == ADZE_OK ? r.n : 0;
    return st;
}

void adze_maxnorm_free(adze_trainer *t, adze_maxnorm_unit *units) {
    adze_free(t->ctx, units);
}
