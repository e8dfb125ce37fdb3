/* Newton, BFGS and L-BFGS in the trainer: the minimisers of adze/minimize.h on the examples of one update, whose pictures are kept for the line
 * search; and L-BFGS on small batches, where both gradients of a pair come from the same examples (Berahas, Nocedal, Takac 2016), or, to show why, do
 * not. */
#include "base/minimize.h"
#include "train/second.h"

#include <math.h>

enum { FULL, REST };                      /* plans: Hessian products on the two sizes of batches */
enum { MATRIX_MOST = 5000, TRIALS = 20 }; /* parameters of newton and bfgs; evaluations of a line search */

typedef struct quasi {
    adze_second head;
    adze_min_fn fn;
    adze_minimizer min;
    double *x;               /* the parameters; then 3 vectors of room */
    int64_t batch, examples; /* of a whole batch; of this update so far */
    int64_t beside;          /* overlap: examples whose gradient is taken twice; 0: none */
    uint64_t step;
    adze_tensor pictures, labels; /* of this update */
} quasi;

static const char *name_of(const adze_steps *s) {
    return adze_field_find(adze_train_fields(), "optimizer")->names[s->o->optimizer];
}

/* -- the function: mean loss and L2 penalty of the update's examples ----------------------------------------------------------------------------- */

/* The n examples from `from` on go into a session's inputs. */
static int show(const quasi *q, adze_tensor x, adze_tensor label, int64_t from, int64_t n) {
    adze_tensor part;
    adze_ctx *ctx = q->head.steps->ctx;
    TRY(adze_tensor_slice(ctx, q->pictures, 0, from, from + n, &part));
    TRY(adze_tensor_copy(ctx, x, part));
    TRY(adze_tensor_slice(ctx, q->labels, 0, from, from + n, &part));
    return adze_tensor_copy(ctx, label, part);
}

static int run_batch(quasi *q, int64_t from, int64_t n, double *loss) {
    adze_steps *s = q->head.steps;
    adze_grad_plan *g;
    TRY(adze_steps_grad(s, n, from > 0, &g));
    TRY(show(q, g->x, g->label, from, n));
    adze_tensor_set(&g->weight, 0, 1.0 / (double)q->examples);
    adze_session_random(g->session, s->o->seed, q->step, from);
    TRY(adze_session_run(g->session));
    for (int64_t i = 0; i < n; i++) {
        *loss += adze_tensor_get(&g->loss, i);
    }
    return ADZE_OK;
}

static int value(void *user, const double *x, double *f, double *g) {
    quasi *q = user;
    adze_steps *s = q->head.steps;
    double loss = 0;
    TRY(adze_flat_put(s, NULL, x));
    for (int64_t from = 0; from < q->examples; from += q->batch) {
        const int64_t left = q->examples - from;
        TRY(run_batch(q, from, left < q->batch ? left : q->batch, &loss));
    }
    *f = loss / (double)q->examples + adze_flat_penalty(s, x);
    return adze_flat_get(s, "g", g);
}

/* Column j is the Hessian's product with the j-th unit vector. */
static int column(quasi *q, int64_t j, double *unit, double *part, adze_la_mat h) {
    adze_steps *s = q->head.steps;
    unit[j] = 1;
    TRY(adze_flat_put(s, "d", unit));
    for (int64_t i = 0; i < h.rows; i++) {
        h.at[i * h.ld + j] = 0;
    }
    for (int64_t from = 0; from < q->examples; from += q->batch) {
        const int64_t left = q->examples - from, n = left < q->batch ? left : q->batch;
        adze_session *run = q->head.session[n == q->batch ? FULL : REST];
        adze_tensor x, label;
        TRY(adze_session_input(run, "x", &x));
        TRY(adze_session_input(run, "label", &label));
        TRY(show(q, x, label, from, n));
        adze_session_random(run, s->o->seed, q->step, from);
        TRY(adze_session_run(run));
        TRY(adze_flat_get(s, "h", part));
        for (int64_t i = 0; i < h.rows; i++) {
            h.at[i * h.ld + j] += part[i] * (double)n / (double)q->examples;
        }
    }
    memset(part, 0, (size_t)h.rows * sizeof *part);
    adze_flat_decay(s, unit, part);
    h.at[j * h.ld + j] += part[j];
    unit[j] = 0;
    return ADZE_OK;
}

static int hessian(void *user, const double *x, adze_la_mat h) {
    quasi *q = user;
    double *unit = q->x + h.rows, *part = unit + h.rows;
    TRY(adze_flat_put(q->head.steps, NULL, x));
    memset(unit, 0, (size_t)h.rows * sizeof *unit);
    for (int64_t j = 0; j < h.rows; j++) {
        TRY(column(q, j, unit, part, h));
    }
    return ADZE_OK;
}

/* -- opening ------------------------------------------------------------------------------------------------------------------------------------- */

static int slots(adze_second *base) {
    quasi *q = (quasi *)base;
    adze_steps *s = base->steps;
    const adze_train_opts *o = s->o;
    const int64_t n = adze_flat_count(s);
    static const int methods[] = {[ADZE_NEWTON] = ADZE_MIN_NEWTON, [ADZE_BFGS] = ADZE_MIN_BFGS, [ADZE_LBFGS] = ADZE_MIN_LBFGS};
    if (o->optimizer != ADZE_LBFGS && n > MATRIX_MOST) {
        return adze_fail(s->ctx, ADZE_EARG,
                         "optimizer %s keeps a matrix of parameters by parameters: at most %d, not %lld; lbfgs, hf and kfac take more", name_of(s),
                         MATRIX_MOST, (long long)n);
    }
    const adze_min_opts mo = {.size = sizeof mo, .method = methods[o->optimizer], .m = o->lbfgs_m, .scale = ADZE_MIN_SCALE_USUAL, .gtol = -1};
    const int64_t room = adze_min_room(&mo, n), dims[] = {room + n}; /* and the last step */
    if (room < 0) {
        return adze_fail(s->ctx, ADZE_ENOMEM, "optimizer %s: what it remembers of %lld parameters is more than can be addressed", name_of(s),
                         (long long)n);
    }
    TRY(adze_store_add(s->store, "state/second", adze_type_make(ADZE_F64, 1, dims), ADZE_SLOT_STATE, NULL));
    if (o->optimizer == ADZE_NEWTON) {
        TRY(adze_curvature_product_slots(s));
    }
    q->x = adze_alloc(s->ctx, n, 8 * sizeof *q->x);
    q->fn = (adze_min_fn){.n = n, .value = value, .hessian = hessian, .user = q};
    q->min = (adze_minimizer){.ctx = s->ctx, .fn = &q->fn, .o = adze_min_settle(&mo), .x = q->x, .work = q->x + 4 * n, .most_trials = TRIALS};
    return q->x != NULL ? ADZE_OK : adze_fail(s->ctx, ADZE_ENOMEM, "optimizer %s: no memory for %lld parameters", name_of(s), (long long)n);
}

static int product_plan(quasi *q, int which, int64_t batch) {
    adze_graph *g = NULL;
    TRY(adze_graph_new(q->head.steps->ctx, &g));
    int st = adze_curvature_product(q->head.steps, g, batch, false);
    st = st == ADZE_OK ? adze_compile(g, NULL, &q->head.plan[which]) : st;
    adze_graph_free(g);
    return st;
}

static int plans(adze_second *base, int64_t batch, int64_t most, int64_t rest) {
    quasi *q = (quasi *)base;
    adze_steps *s = base->steps;
    q->batch = batch;
    if (!adze_optimizer_searches(s->o)) {
        q->beside = (int64_t)ceil((double)batch * s->o->overlap);
        return q->beside > 0 ? adze_steps_plan(s, q->beside, false) : ADZE_OK;
    }
    adze_type x = adze_model_input_type(s->model, most, s->dtype);
    TRY(adze_memory_check(s->ctx, adze_type_bytes(&x)));
    TRY(adze_tensor_new(s->ctx, x, &q->pictures));
    TRY(adze_tensor_new(s->ctx, adze_type_make(ADZE_I64, 1, &most), &q->labels));
    if (s->o->optimizer == ADZE_NEWTON) {
        TRY(product_plan(q, FULL, batch));
        return rest > 0 && rest != batch ? product_plan(q, REST, rest) : ADZE_OK;
    }
    return ADZE_OK;
}

static void close(adze_second *base) {
    quasi *q = (quasi *)base;
    adze_tensor_free(&q->pictures);
    adze_tensor_free(&q->labels);
    adze_free(base->steps->ctx, q->x);
}

/* -- a step -------------------------------------------------------------------------------------------------------------------------------------- */

static int see(adze_second *base, const adze_grad_plan *g, int64_t n, int64_t from) {
    quasi *q = (quasi *)base;
    adze_tensor part;
    q->examples = from + n;
    if (!adze_optimizer_searches(base->steps->o)) {
        return ADZE_OK;
    }
    TRY(adze_tensor_slice(base->steps->ctx, q->pictures, 0, from, from + n, &part));
    TRY(adze_tensor_copy(base->steps->ctx, part, g->x));
    TRY(adze_tensor_slice(base->steps->ctx, q->labels, 0, from, from + n, &part));
    return adze_tensor_copy(base->steps->ctx, part, g->label);
}

static int searched(quasi *q) {
    bool moved = true;
    for (int64_t i = 0; i < q->head.steps->o->inner && moved; i++) {
        TRY(adze_min_step(&q->min, &moved));
    }
    if (!moved) { /* what was learnt leads nowhere on these examples */
        adze_min_forget(&q->min);
    }
    return adze_flat_put(q->head.steps, NULL, q->x);
}

/* The gradient of the last `beside` examples of the last batch, at the weights as they are. */
static int gradient_beside(quasi *q, const adze_second_step *u, double *g) {
    adze_steps *s = q->head.steps;
    adze_grad_plan *p;
    adze_tensor x, label;
    const int64_t from = u->last_count - q->beside;
    TRY(adze_steps_grad(s, q->beside, false, &p));
    TRY(adze_tensor_slice(s->ctx, u->last->x, 0, from, u->last_count, &x));
    TRY(adze_tensor_slice(s->ctx, u->last->label, 0, from, u->last_count, &label));
    TRY(adze_tensor_copy(s->ctx, p->x, x));
    TRY(adze_tensor_copy(s->ctx, p->label, label));
    adze_tensor_set(&p->weight, 0, 1.0 / (double)q->beside);
    adze_session_random(p->session, s->o->seed, q->step, u->examples - q->beside);
    TRY(adze_session_run(p->session));
    return adze_flat_get(s, "g", g);
}

static void subtract(double *y, const double *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        y[i] -= x[i];
    }
}

/* A step of the given length. old: the gradient of the step before, last: that step. */
static int stepped(quasi *q, const adze_second_step *u, double f, const double *g, double *last) {
    const int64_t n = q->fn.n;
    double *d = q->x + 2 * n, *y = q->x + 3 * n, *before = q->min.work;
    const bool twice = q->beside > 0 && u->last_count >= q->beside;
    if (u->step > 1 && q->beside == 0) { /* two batches: the pair measures their difference too */
        memcpy(y, g, (size_t)n * sizeof *y);
        subtract(y, adze_min_gradient(&q->min), n);
        (void)adze_min_learn(&q->min, last, y);
    }
    adze_min_set(&q->min, f, g);
    TRY(adze_min_direction(&q->min, d));
    if (twice) {
        TRY(gradient_beside(q, u, before));
    }
    const double length = u->lr * (u->step == 1 ? adze_min_first(&q->min, d) : 1);
    for (int64_t i = 0; i < n; i++) {
        last[i] = length * d[i];
        q->x[i] += last[i];
    }
    TRY(adze_flat_put(q->head.steps, NULL, q->x));
    if (twice) {
        TRY(gradient_beside(q, u, y));
        subtract(y, before, n);
        (void)adze_min_learn(&q->min, last, y);
    }
    return ADZE_OK;
}

static int step(adze_second *base, const adze_second_step *u) {
    quasi *q = (quasi *)base;
    adze_steps *s = base->steps;
    adze_tensor t;
    const int64_t n = q->fn.n;
    double *g = q->x + n;
    TRY(adze_store_tensor(s->store, adze_store_find(s->store, "state/second"), &t));
    q->min.at = adze_tensor_data(&t);
    q->step = (uint64_t)u->step - 1;
    TRY(adze_flat_get(s, NULL, q->x));
    TRY(adze_flat_get(s, "g", g));
    const double f = u->loss + adze_flat_penalty(s, q->x);
    if (adze_optimizer_searches(s->o)) {
        adze_min_set(&q->min, f, g);
        return searched(q);
    }
    const adze_type type = adze_tensor_type(&t);
    return stepped(q, u, f, g, q->min.at + adze_type_count(&type) - n);
}

const adze_second_kind adze_second_quasi = {.size = sizeof(quasi), .slots = slots, .plans = plans, .step = step, .see = see, .close = close};
