/* The update plan of a training step: gradients are clipped, then the optimiser's row writes the rest, parameter by parameter. Beside it the small
 * plans of what wraps an optimiser: Lookahead (Zhang, Lucas, Hinton, Ba, 2019) and SAM (Foret, Kleiner, Mobahi, Neyshabur, 2021). */
#include "train/penalty.h"

#include <math.h>
#include <stdio.h>

enum { SLOT_NAME = 192 };

/* -- slots --------------------------------------------------------------------------------------------------------------------------------------- */

static int slot_name(const adze_steps *s, int param, const char *role, char *out, size_t n) {
    const char *name = adze_store_name(s->store, param);
    int len = snprintf(out, n, "%s:%s", name, role);
    return len > 0 && (size_t)len < n ? ADZE_OK : adze_fail(s->ctx, ADZE_EARG, "the parameter name '%s' is too long", name);
}

static int add_typed(adze_steps *s, int param, const char *role, adze_type type, uint32_t flags, int *slot) {
    char name[SLOT_NAME];
    TRY(slot_name(s, param, role, name, sizeof name));
    return adze_store_add(s->store, name, type, flags, slot);
}

static int add_role(adze_steps *s, int param, const char *role, uint32_t flags, int *slot) {
    return add_typed(s, param, role, adze_store_type(s->store, param), flags, slot);
}

/* What a rule of matrices makes of a parameter: Muon leaves the last layer to AdamW, as its author does. */
static adze_opt_view view_of(const adze_steps *s, int param) {
    const adze_type type = adze_store_type(s->store, param);
    return adze_optimizer_view(&s->rule, &type, type.rank > 1 && !(s->rule.optimizer == ADZE_MUON && adze_in_last_layer(s, param)));
}

int64_t adze_update_memory(const adze_steps *s) {
    int64_t most = 0;
    for (int i = 0; i < s->nparams; i++) {
        const adze_opt_view view = view_of(s, s->params[i]);
        const int64_t bytes = adze_matrix_memory(&s->rule, &view);
        most = bytes > most ? bytes : most;
    }
    return most;
}

static int add_filled(adze_steps *s, int param, int k) {
    int slot;
    adze_tensor t;
    adze_type type = adze_store_type(s->store, param);
    const adze_opt_view view = view_of(s, param);
    const adze_opt_slot *row = &adze_optimizer_of(&s->rule)->slots[k];
    if (!adze_optimizer_slot(&s->rule, k, &view, &type)) {
        return ADZE_OK;
    }
    TRY(add_typed(s, param, row->role, type, ADZE_SLOT_STATE, &slot));
    if (row->init == 0) {
        return ADZE_OK;
    }
    TRY(adze_store_tensor(s->store, slot, &t));
    for (int64_t i = 0; i < adze_type_count(&type); i++) {
        adze_tensor_set(&t, i, row->init);
    }
    return ADZE_OK;
}

/* A copy of the weights: they are initialised already. */
static int add_slow(adze_steps *s, int param) {
    int slot;
    adze_tensor w, slow;
    TRY(add_role(s, param, "slow", ADZE_SLOT_STATE, &slot));
    TRY(adze_store_tensor(s->store, param, &w));
    TRY(adze_store_tensor(s->store, slot, &slow));
    const adze_type type = adze_tensor_type(&w);
    memcpy(adze_tensor_data(&slow), adze_tensor_data(&w), (size_t)adze_type_bytes(&type));
    return ADZE_OK;
}

int adze_update_slots(adze_steps *s) {
    int slot;
    s->rule = adze_optimizer_settle(s->o);
    for (int k = 0; k < ADZE_OPT_SLOTS; k++) {
        for (int i = 0; i < s->nparams; i++) {
            TRY(add_filled(s, s->params[i], k));
        }
    }
    for (int i = 0; i < s->nparams && s->o->lookahead_k > 0; i++) {
        TRY(add_slow(s, s->params[i]));
    }
    for (int i = 0; i < s->nparams && s->o->sam > 0; i++) {
        TRY(add_role(s, s->params[i], "home", ADZE_SLOT_TEMP, &slot));
    }
    for (int i = 0; i < s->nparams; i++) {
        TRY(add_role(s, s->params[i], "g", ADZE_SLOT_TEMP, &s->grads[i]));
    }
    return s->o->average != ADZE_AVERAGE_NONE ? adze_average_slots(s) : ADZE_OK;
}

static adze_val slot_val(adze_steps *s, adze_graph *g, int slot) {
    return adze_slot(g, adze_store_name(s->store, slot), adze_store_type(s->store, slot));
}

static adze_val role_val(adze_steps *s, adze_graph *g, int param, const char *role) {
    char name[SLOT_NAME];
    if (slot_name(s, param, role, name, sizeof name) != ADZE_OK) {
        return (adze_val){0};
    }
    return slot_val(s, g, adze_store_find(s->store, name));
}

/* -- clipping ------------------------------------------------------------------------------------------------------------------------------------ */

adze_val adze_unit_norm(adze_graph *g, adze_val x) {
    static const int all[ADZE_MAX_RANK] = {0, 1, 2, 3, 4, 5, 6, 7};
    const int rank = adze_val_type(g, x).rank;
    return adze_sqrt(g, adze_sum(g, adze_square(g, x), all, rank > 1 ? rank - 1 : rank, rank > 1));
}

adze_val adze_shrink_to(adze_graph *g, adze_val x, adze_val norm, adze_val most) {
    const adze_val one = adze_scale(g, norm, 0, 1);
    return adze_mul(g, x, adze_where(g, adze_gt(g, norm, most), adze_div(g, most, norm), one));
}

/* Of those that have weights: a norm may follow. Adaptive clipping leaves it alone (Brock, De, Smith, Simonyan, 2021, eq. 3). */
bool adze_in_last_layer(const adze_steps *s, int param) {
    int i = s->nparams - 1;
    while (i > 0 && adze_store_type(s->store, s->params[i]).rank < 2) {
        i--;
    }
    const char *last = adze_store_name(s->store, s->params[i]), *end = strrchr(last, ':');
    const size_t n = end != NULL ? (size_t)(end - last) + 1 : strlen(last);
    return strncmp(last, adze_store_name(s->store, param), n) == 0;
}

static adze_val clipped(const adze_steps *s, adze_graph *g, int param, adze_val w, adze_val grad, adze_val clip) {
    const adze_train_opts *o = s->o;
    if (o->clip_value > 0) {
        grad = adze_clip(g, grad, -o->clip_value, o->clip_value);
    }
    if (o->clip_tensor > 0) {
        const adze_val norm = adze_sqrt(g, adze_sum(g, adze_square(g, grad), NULL, 0, false));
        grad = adze_shrink_to(g, grad, norm, adze_scale(g, norm, 0, o->clip_tensor));
    }
    if (o->clip_agc > 0 && !adze_in_last_layer(s, param)) {
        const adze_val most = adze_clip(g, adze_unit_norm(g, w), 1e-3, INFINITY);
        grad = adze_shrink_to(g, grad, adze_unit_norm(g, grad), adze_scale(g, most, o->clip_agc, 0));
    }
    return adze_clips_whole(o) ? adze_mul(g, grad, clip) : grad;
}

/* -- the plans ----------------------------------------------------------------------------------------------------------------------------------- */

static const char *const factor_names[ADZE_OPT_FACTORS] = {"c0", "c1", "c2"};

static void build_param(adze_steps *s, adze_graph *g, int i, adze_opt_param p, adze_val clip, void (*write)(const adze_opt_param *p)) {
    const int param = s->params[i];
    const char *name = adze_store_name(s->store, param);
    p.scaled = (adze_store_flags(s->store, param) & ADZE_SLOT_DECAY) != 0;
    double rate, decay;
    adze_groups_find(s->o->groups, name, p.scaled, &rate, &decay);
    p.w = slot_val(s, g, param);
    p.grad = adze_penalty_subgrad(s, g, p.w, clipped(s, g, param, p.w, slot_val(s, g, s->grads[i]), clip), decay);
    p.l2 = s->rule.l2 * decay;
    p.decay = s->rule.weight_decay * decay;
    p.lr = rate != 1 && p.lr.id != 0 ? adze_scale(g, p.lr, rate, 0) : p.lr;
    p.view = view_of(s, param);
    for (int k = 0; k < ADZE_OPT_SLOTS; k++) {
        adze_type type = adze_store_type(s->store, param);
        if (adze_optimizer_slot(&s->rule, k, &p.view, &type)) {
            p.slot[k] = role_val(s, g, param, adze_optimizer_of(&s->rule)->slots[k].role);
        }
    }
    write(&p);
}

static void build_params(adze_steps *s, adze_graph *g, adze_opt_param p, void (*write)(const adze_opt_param *p)) {
    const adze_val clip = adze_clips_whole(s->o) ? adze_input(g, "clip", adze_scalar_type(s->dtype)) : (adze_val){0};
    for (int i = 0; i < s->nparams; i++) {
        build_param(s, g, i, p, clip, write);
    }
}

static void build_step(adze_steps *s, adze_graph *g) {
    const adze_type number = adze_scalar_type(ADZE_F64);
    adze_opt_param p = {.g = g, .o = &s->rule, .lr = adze_input(g, "lr", number)};
    for (int k = 0; k < adze_optimizer_of(&s->rule)->nfactors; k++) {
        p.factor[k] = adze_input(g, factor_names[k], number);
    }
    build_params(s, g, p, adze_optimizer_of(&s->rule)->build);
}

static void build_observe(adze_steps *s, adze_graph *g) {
    build_params(s, g, (adze_opt_param){.g = g, .o = &s->rule}, adze_optimizer_of(&s->rule)->observe);
}

static void build_slow(adze_steps *s, adze_graph *g) { /* slow += alpha (w - slow); w = slow */
    for (int i = 0; i < s->nparams; i++) {
        const adze_val w = slot_val(s, g, s->params[i]), slow = role_val(s, g, s->params[i], "slow");
        const adze_val next = adze_add(g, slow, adze_scale(g, adze_sub(g, w, slow), s->o->lookahead_alpha, 0));
        adze_assign(g, slow, next);
        adze_assign(g, w, next);
    }
}

static void build_climb(adze_steps *s, adze_graph *g) { /* home = w; w += climb g */
    const adze_val climb = adze_input(g, "climb", adze_scalar_type(s->dtype));
    for (int i = 0; i < s->nparams; i++) {
        const adze_val w = slot_val(s, g, s->params[i]), grad = slot_val(s, g, s->grads[i]);
        adze_assign(g, role_val(s, g, s->params[i], "home"), w);
        adze_assign(g, w, adze_add(g, w, adze_mul(g, climb, grad)));
    }
}

static void build_return(adze_steps *s, adze_graph *g) {
    for (int i = 0; i < s->nparams; i++) {
        adze_assign(g, slot_val(s, g, s->params[i]), role_val(s, g, s->params[i], "home"));
    }
}

static int compile(adze_steps *s, int which, void (*build)(adze_steps *s, adze_graph *g)) {
    adze_graph *g = NULL;
    TRY(adze_graph_new(s->ctx, &g));
    build(s, g);
    int st = adze_graph_status(g);
    if (st == ADZE_OK) {
        st = adze_compile(g, NULL, &s->update[which].plan);
    }
    adze_graph_free(g);
    return st;
}

/* A pattern that fits no parameter is a slip of the keyboard. */
static int check_groups(adze_steps *s) {
    const char **names = adze_alloc(s->ctx, s->nparams, sizeof *names);
    TRY(ADZE_GOT(names));
    for (int i = 0; i < s->nparams; i++) {
        names[i] = adze_store_name(s->store, s->params[i]);
    }
    const int st = adze_groups_check(s->ctx, s->o->groups, names, s->nparams);
    adze_free(s->ctx, names);
    return st;
}

static int compile_first_order(adze_steps *s) {
    TRY(compile(s, ADZE_UPDATE_STEP, build_step));
    if (adze_optimizer_of(&s->rule)->observe != NULL) {
        TRY(compile(s, ADZE_UPDATE_OBSERVE, build_observe));
    }
    bool limits;
    TRY(adze_penalty_limits(s, &limits));
    if (limits) {
        TRY(compile(s, ADZE_UPDATE_LIMIT, adze_penalty_build_limits));
    }
    if (s->o->lookahead_k > 0) {
        TRY(compile(s, ADZE_UPDATE_SLOW, build_slow));
    }
    if (s->o->sam > 0) {
        TRY(compile(s, ADZE_UPDATE_CLIMB, build_climb));
        TRY(compile(s, ADZE_UPDATE_RETURN, build_return));
    }
    return ADZE_OK;
}

int adze_update_compile(adze_steps *s) {
    TRY(check_groups(s));
    TRY(s->second == NULL ? compile_first_order(s) : ADZE_OK);
    return s->o->average != ADZE_AVERAGE_NONE ? compile(s, ADZE_UPDATE_AVERAGE, adze_average_build) : ADZE_OK;
}

int adze_update_bind(adze_steps *s) {
    for (int i = 0; i < ADZE_UPDATES; i++) {
        if (s->update[i].plan != NULL) {
            TRY(adze_session_new_in(s->ctx, s->update[i].plan, s->store, "", s->arena, &s->update[i].session));
        }
    }
    if (s->o->average != ADZE_AVERAGE_NONE) {
        TRY(adze_session_input(s->update[ADZE_UPDATE_AVERAGE].session, "share", &s->share));
    }
    if (s->second != NULL) {
        return ADZE_OK;
    }
    adze_session *step = s->update[ADZE_UPDATE_STEP].session;
    TRY(adze_session_input(step, "lr", &s->lr));
    if (s->update[ADZE_UPDATE_LIMIT].plan != NULL) {
        TRY(adze_session_input(s->update[ADZE_UPDATE_LIMIT].session, "lr", &s->limit_lr));
    }
    for (int k = 0; k < adze_optimizer_of(&s->rule)->nfactors; k++) {
        TRY(adze_session_input(step, factor_names[k], &s->factor[k]));
    }
    if (s->o->sam > 0) {
        TRY(adze_session_input(s->update[ADZE_UPDATE_CLIMB].session, "climb", &s->climb));
    }
    if (adze_clips_whole(s->o) && s->update[ADZE_UPDATE_OBSERVE].plan != NULL) {
        TRY(adze_session_input(s->update[ADZE_UPDATE_OBSERVE].session, "clip", &s->observe_clip));
    }
    return adze_clips_whole(s->o) ? adze_session_input(step, "clip", &s->clip) : ADZE_OK;
}

void adze_update_close(adze_steps *s) {
    for (int i = 0; i < ADZE_UPDATES; i++) {
        adze_session_free(s->update[i].session);
        adze_plan_free(s->update[i].plan);
    }
}

/* What comes before the step of a rule that gathers. */
static int gather(const adze_steps *s, int64_t t, double clip, bool *moves) {
    const adze_matrix m = {s->ctx, s->store, &s->rule, s->update[ADZE_UPDATE_OBSERVE].session, s->params, s->nparams};
    *moves = true;
    if (m.observe == NULL) {
        return ADZE_OK;
    }
    if (adze_clips_whole(s->o)) {
        adze_tensor_set(&s->observe_clip, 0, clip);
    }
    return adze_matrix_gather(&m, t, moves);
}

int adze_steps_update(adze_steps *s, double lr, int64_t t, double clip) {
    double c[ADZE_OPT_FACTORS] = {0};
    bool moves;
    TRY(gather(s, t, clip, &moves));
    if (!moves) {
        return ADZE_OK;
    }
    adze_optimizer_factors(&s->rule, t, c);
    adze_tensor_set(&s->lr, 0, lr);
    for (int k = 0; k < adze_optimizer_of(&s->rule)->nfactors; k++) {
        adze_tensor_set(&s->factor[k], 0, c[k]);
    }
    if (adze_clips_whole(s->o)) {
        adze_tensor_set(&s->clip, 0, clip);
    }
    TRY(adze_session_run(s->update[ADZE_UPDATE_STEP].session));
    if (s->update[ADZE_UPDATE_LIMIT].plan != NULL) {
        adze_tensor_set(&s->limit_lr, 0, lr);
        TRY(adze_session_run(s->update[ADZE_UPDATE_LIMIT].session));
    }
    return s->o->lookahead_k > 0 && t % s->o->lookahead_k == 0 ? adze_session_run(s->update[ADZE_UPDATE_SLOW].session) : ADZE_OK;
}

int adze_steps_climb(adze_steps *s, double norm) {
    adze_tensor_set(&s->climb, 0, norm > 0 ? s->o->sam / norm : 0);
    return adze_session_run(s->update[ADZE_UPDATE_CLIMB].session);
}

int adze_steps_return(adze_steps *s) {
    return adze_session_run(s->update[ADZE_UPDATE_RETURN].session);
}
