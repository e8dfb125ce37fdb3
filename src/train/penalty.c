/* Penalties and bounds: l1 by soft thresholds (Daubechies, Defrise, De Mol, 2004; Duchi, Singer, 2009) or subgradients, priors as the l2 and l1 that
 * they stand for, the norm of each unit's incoming weights (Hinton, Srivastava, Krizhevsky et al., 2012), and sparse activations: l1 (Glorot, Bordes,
 * Bengio, 2011) and the divergence from a small mean (Lee, Ekanadham, Ng, 2008; Nair, Hinton, 2009). */
#include "train/penalty.h"

#include "model/layer.h"

#include <math.h>

/* -- the prior ----------------------------------------------------------------------------------------------------------------------------------- */

typedef struct prior {
    bool gauss;
    double scale;
} prior;

static int parse_prior(adze_ctx *ctx, const char *text, prior *out) {
    const bool gauss = strncmp(text, "gauss:", 6) == 0, laplace = strncmp(text, "laplace:", 8) == 0;
    out->gauss = gauss;
    if ((!gauss && !laplace) || !adze_parse_f64(text + (gauss ? 6 : 8), &out->scale) || !(out->scale >= 1e-6 && out->scale <= 1e6)) {
        return adze_fail(ctx, ADZE_EARG, "option prior: '%s' is neither gauss:S nor laplace:B with a number from 1e-6 to 1e6", text);
    }
    return ADZE_OK;
}

int adze_train_prior(adze_ctx *ctx, const adze_train_opts *o, int64_t n, adze_train_opts *out) {
    prior p;
    *out = *o;
    if (o->prior[0] == 0) {
        return ADZE_OK;
    }
    TRY(parse_prior(ctx, o->prior, &p));
    out->prior[0] = 0;
    out->l2 = p.gauss ? 1 / (p.scale * p.scale * (double)n) : 0;
    out->l1 = p.gauss ? 0 : 1 / (p.scale * (double)n);
    return ADZE_OK;
}

/* -- lists of layers ----------------------------------------------------------------------------------------------------------------------------- */

typedef struct activity { /* LAYER=A or LAYER=A:RHO */
    const char *pattern;
    size_t n;
    double a, rho;
} activity;

static bool parse_activity(const char *at, size_t n, bool kl, activity *out) {
    char value[64];
    const char *eq = memchr(at, '=', n);
    const size_t key = eq != NULL ? (size_t)(eq - at) : 0, len = eq != NULL ? n - key - 1 : 0;
    if (key == 0 || len == 0 || len >= sizeof value) {
        return false;
    }
    memcpy(value, eq + 1, len);
    value[len] = 0;
    *out = (activity){.pattern = at, .n = key};
    char *colon = strchr(value, ':');
    if ((colon != NULL) != kl) {
        return false;
    }
    if (kl) {
        *colon = 0;
        if (!adze_parse_f64(colon + 1, &out->rho) || !(out->rho > 0 && out->rho < 1)) {
            return false;
        }
    }
    return adze_parse_f64(value, &out->a) && out->a >= 0 && out->a <= 1e6;
}

/* The entry that begins at *at, which moves behind it; false at the end. */
static bool next_activity(const char **at, bool kl, activity *out, bool *ok) {
    if (**at == 0) {
        return false;
    }
    const size_t n = strcspn(*at, ",");
    *ok = parse_activity(*at, n, kl, out);
    *at += (*at)[n] != 0 ? n + 1 : n;
    return true;
}

static int check_list(adze_ctx *ctx, const char *list, bool kl) {
    activity a;
    bool ok;
    for (const char *at = list, *from = list; next_activity(&at, kl, &a, &ok); from = at) {
        if (!ok) {
            return adze_fail(ctx, ADZE_EARG, "option activity_%s: '%.*s' is not of the form %s", kl ? "kl" : "l1", (int)strcspn(from, ","), from,
                             kl ? "LAYER=A:RHO with A from 0 to 1e6 and RHO between 0 and 1" : "LAYER=A with A from 0 to 1e6");
        }
    }
    return ADZE_OK;
}

/* A rate for each element or each tensor. */
static bool has_own_rates(const adze_train_opts *o) {
    const adze_optimizer *row = adze_optimizer_of(o);
    return row->second == NULL && ((row->reads & ADZE_OPT_ADAPTIVE) != 0 || row->usual.trust >= 0 || row->usual.grow >= 0);
}

int adze_penalty_check(adze_ctx *ctx, const adze_train_opts *o) {
    const bool laplace = strncmp(o->prior, "laplace", 7) == 0;
    prior p;
    if (o->prior[0] != 0) {
        TRY(parse_prior(ctx, o->prior, &p));
        if (o->l2 >= 0 || o->l1 > 0) {
            return adze_fail(ctx, ADZE_EARG, "option prior sets l2 and l1 itself: leave those two out");
        }
        if (o->weight_decay > 0) {
            return adze_fail(ctx, ADZE_EARG,
                             "option prior: with weight_decay the weights are no longer the most likely ones; leave one of the two out");
        }
    }
    const bool prox = (o->l1 > 0 || laplace) && o->l1_mode == ADZE_L1_PROX;
    if (prox && (o->lookahead_k > 0 || o->average != ADZE_AVERAGE_NONE)) {
        return adze_fail(ctx, ADZE_EARG, "option l1_mode prox makes zeros, which averages of weights undo: take l1_mode subgrad with %s",
                         o->lookahead_k > 0 ? "lookahead_k" : "average");
    }
    if (prox && laplace && has_own_rates(o)) {
        return adze_fail(
            ctx, ADZE_EARG,
            "option prior laplace: beside rates of each weight or tensor the thresholds of l1_mode prox are no such prior; take subgrad");
    }
    TRY(check_list(ctx, o->activity_l1, false));
    return check_list(ctx, o->activity_kl, true);
}

/* -- weights ------------------------------------------------------------------------------------------------------------------------------------- */

/* Factors of a parameter's rate and of its penalties. */
static void factors(const adze_steps *s, int param, double *rate, double *decay) {
    const bool decays = (adze_store_flags(s->store, param) & ADZE_SLOT_DECAY) != 0;
    adze_groups_find(s->o->groups, adze_store_name(s->store, param), decays, rate, decay);
}

adze_val adze_penalty_subgrad(const adze_steps *s, adze_graph *g, adze_val w, adze_val grad, double decay) {
    const double l1 = s->o->l1_mode == ADZE_L1_SUBGRAD ? s->o->l1 * decay : 0;
    return l1 > 0 ? adze_add(g, grad, adze_scale(g, adze_sign(g, w), l1, 0)) : grad;
}

/* Whether units have norms here: weights, and of normalised ones g, which is |w|, in place of v, whose length means nothing. */
static bool has_norms(const adze_steps *s, int param) {
    const char *role = strrchr(adze_store_name(s->store, param), ':');
    const bool lengths = role != NULL && strcmp(role, ":g") == 0;
    return (adze_store_type(s->store, param).rank >= 2 || lengths) && (adze_store_flags(s->store, param) & ADZE_SLOT_DECAY) != 0;
}

double adze_penalty_bound(const adze_steps *s, int param) {
    double bound = adze_in_last_layer(s, param) ? 0 : s->o->maxnorm;
    adze_groups_maxnorm(s->o->groups, adze_store_name(s->store, param), &bound);
    return has_norms(s, param) ? bound : 0;
}

/* A group that bounds no weights says nothing; one that fits biases too means the weights. */
static int check_bounds(const adze_steps *s) {
    for (int i = 0; i < s->nparams; i++) {
        double bound = 0;
        const char *name = adze_store_name(s->store, s->params[i]), *of = adze_groups_maxnorm(s->o->groups, name, &bound);
        bool used = of == NULL || bound == 0;
        for (int k = 0; k < s->nparams && !used; k++) {
            used = has_norms(s, s->params[k]) && adze_groups_maxnorm(s->o->groups, adze_store_name(s->store, s->params[k]), &bound) == of;
        }
        if (!used) {
            return adze_fail(s->ctx, ADZE_EARG, "option groups: maxnorm bounds the weights of units, and '%s' holds none", name);
        }
    }
    return ADZE_OK;
}

/* Of lr and l1: the threshold after an update. Momentum lets a constant gradient move a weight by lr / (1 - momentum) each step, so the threshold has
 * that factor too: where both balance, the gradient is l1, as the penalty says. A rate of its own for each element has no such rule: there the
 * threshold is lr l1, decoupled from the gradient like weight_decay. */
static double threshold(const adze_steps *s, int param) {
    const bool plain = !has_own_rates(&s->rule) && adze_optimizer_of(&s->rule)->usual.momentum >= 0 && s->rule.momentum < 1;
    double rate, decay;
    factors(s, param, &rate, &decay);
    return s->o->l1_mode == ADZE_L1_PROX ? s->o->l1 * decay * rate / (plain ? 1 - s->rule.momentum : 1) : 0;
}

int adze_penalty_limits(const adze_steps *s, bool *any) {
    bool bounds = false, thresholds = false;
    TRY(check_bounds(s));
    for (int i = 0; i < s->nparams; i++) {
        bounds = bounds || adze_penalty_bound(s, s->params[i]) > 0;
        thresholds = thresholds || threshold(s, s->params[i]) > 0;
    }
    *any = bounds || thresholds;
    if (s->o->maxnorm > 0 && !bounds) {
        return adze_fail(s->ctx, ADZE_EARG, "option maxnorm bounds nothing: model '%s' has weights in its output layer alone, which groups can name",
                         adze_model_name(s->model));
    }
    return ADZE_OK;
}

void adze_penalty_build_limits(adze_steps *s, adze_graph *g) {
    const adze_val lr = adze_input(g, "lr", adze_scalar_type(ADZE_F64));
    for (int i = 0; i < s->nparams; i++) {
        const int param = s->params[i];
        const double l1 = threshold(s, param), bound = adze_penalty_bound(s, param);
        const adze_val w = adze_slot(g, adze_store_name(s->store, param), adze_store_type(s->store, param));
        adze_val next = w;
        if (l1 > 0) { /* w less what lies between -t and t: exactly 0 there */
            const adze_val far = adze_scale(g, lr, l1, 0), t = s->dtype == ADZE_F64 ? far : adze_cast(g, far, s->dtype);
            next = adze_sub(g, w, adze_max(g, adze_min(g, w, t), adze_neg(g, t)));
        }
        if (bound > 0) {
            const adze_val norm = adze_val_type(g, w).rank > 1 ? adze_unit_norm(g, next) : adze_abs(g, next);
            next = adze_shrink_to(g, next, norm, adze_scale(g, norm, 0, bound));
        }
        if (l1 > 0 || bound > 0) {
            adze_assign(g, w, next);
        }
    }
}

/* -- activations --------------------------------------------------------------------------------------------------------------------------------- */

static adze_val add_l1(adze_graph *g, adze_val h, const activity *a, adze_val loss) {
    static const int rest[ADZE_MAX_RANK] = {1, 2, 3, 4, 5, 6, 7};
    const adze_val sum = adze_sum(g, adze_abs(g, h), rest, adze_val_type(g, h).rank - 1, false);
    return adze_add(g, loss, adze_scale(g, sum, a->a, 0));
}

/* rho log(rho / r) + (1 - rho) log((1 - rho) / (1 - r)), over units; r: a unit's mean over the batch (and over pixels or steps). The same for every
 * example of the batch, so that a sum over batches weights each by its examples. */
static adze_val add_kl(adze_graph *g, adze_val h, const activity *a, adze_val loss) {
    static const int before[ADZE_MAX_RANK] = {0, 1, 2, 3, 4, 5, 6, 7};
    static const double least = 1e-6; /* a unit that is always 0 or 1 stays finite */
    const double rho = a->rho, entropy = rho * log(rho) + (1 - rho) * log1p(-rho);
    const adze_type t = adze_val_type(g, h);
    const adze_val r = adze_clip(g, adze_mean(g, h, before, t.rank - 1, false), least, 1 - least);
    const adze_val off = adze_log(g, adze_scale(g, r, -1, 1));
    const adze_val cross = adze_add(g, adze_scale(g, adze_log(g, r), -rho, 0), adze_scale(g, off, rho - 1, 0));
    return adze_add(g, loss, adze_scale(g, adze_sum(g, cross, NULL, 0, false), a->a, a->a * entropy * (double)t.dims[t.rank - 1]));
}

/* Whether a layer's numbers lie between 0 and 1. */
static bool is_share(const adze_layer *l) {
    const adze_layer_kind *kind = l->spec->kind;
    for (const adze_field *f = kind->fields; f->name != NULL; f++) {
        if (f->kind == ADZE_F_ENUM && f->names == adze_activation_names) {
            const int32_t fn = *(const int32_t *)((const char *)l->spec->fields + f->offset);
            return fn == ADZE_ACT_SIGMOID || fn == ADZE_ACT_HARD_SIGMOID;
        }
    }
    return kind == &adze_layer_softmax;
}

static int add_list(const adze_steps *s, adze_graph *g, const char *list, bool kl, adze_val *loss) {
    activity a;
    bool ok;
    for (const char *at = list; next_activity(&at, kl, &a, &ok);) {
        bool used = false;
        for (int i = 0; i < s->model->nlayers; i++) {
            const adze_layer *l = &s->model->layers[i];
            if (!adze_name_fits(a.pattern, a.n, l->path)) {
                continue;
            }
            if (kl && !is_share(l)) {
                return adze_fail(s->ctx, ADZE_EARG, "option activity_kl: layer '%s' must give numbers from 0 to 1, by sigmoid or hard_sigmoid",
                                 l->path);
            }
            if (l->branch >= 0) {
                return adze_fail(s->ctx, ADZE_EARG, "option activity_%s: layer '%s' lies in a branch that drop_path skips in some steps",
                                 kl ? "kl" : "l1", l->path);
            }
            used = true;
            *loss = kl ? add_kl(g, s->outs[i], &a, *loss) : add_l1(g, s->outs[i], &a, *loss);
        }
        if (!used) {
            return adze_fail(s->ctx, ADZE_EARG, "option activity_%s: no layer of model '%s' has a name like '%.*s'; '%s' is one", kl ? "kl" : "l1",
                             adze_model_name(s->model), (int)a.n, a.pattern, s->model->layers[0].path);
        }
    }
    return adze_graph_status(g);
}

int adze_penalty_activity(const adze_steps *s, adze_graph *g, adze_val *loss) {
    TRY(add_list(s, g, s->o->activity_l1, false, loss));
    return add_list(s, g, s->o->activity_kl, true, loss);
}
