/* adze bench model and train: a whole network's answer, or its training step, on random pictures. */
#include "cli/bench.h"
#include "cli/trainstep.h"

enum { F32, BF16, F64 }; /* the choices of --precision */

static int build(cli *c, const char *problem, const bench_opts *o, bench_work *w, int what) {
    adze_store *trained = NULL;
    const adze_dtype d = o->precision == F64 ? ADZE_F64 : ADZE_F32;
    w->opts.precision = o->precision == BF16 ? ADZE_BF16 : ADZE_NONE;
    w->opts.memory = o->memory << 20;
    w->opts.keep_packed = what == CLI_STEP_FORWARD;
    TRY(cli_load_model(c, problem, &w->model, &trained));
    if (trained) {
        adze_store_free(w->store);
        w->store = trained;
    } else {
        TRY(adze_model_init(w->model, w->store, d, 0));
    }
    cli_step st;
    TRY(cli_step_build(c, w->model, w->store, o->batch, d, what, &st));
    w->g = st.g;
    st.g = NULL;
    cli_step_free(c, &st);
    w->math = bench_math(o->precision == BF16 ? ADZE_BF16 : d);
    w->items = (double)o->batch;
    return ADZE_OK;
}

static int build_model(cli *c, const char *problem, const bench_opts *o, bench_work *w) {
    return build(c, problem, o, w, CLI_STEP_FORWARD);
}

static int build_train(cli *c, const char *problem, const bench_opts *o, bench_work *w) {
    return build(c, problem, o, w, CLI_STEP_UPDATE);
}

/* The bytes that no schedule can spare: input read once, weights read once and, in training, written once; activations may stay in caches. */
static int fill(cli *c, bench_work *w) {
    const adze_plan_info info = adze_plan_describe(w->plan);
    adze_tensor lr;
    w->bytes = (double)(info.input_bytes + info.slot_bytes);
    TRY(cli_step_fill(w->session, w->model, 0));
    if (adze_session_input(w->session, "lr", &lr) == ADZE_OK) {
        w->bytes += (double)info.slot_bytes;
        adze_tensor_set(&lr, 0, 1e-4); /* small, so that random data do not make the numbers blow up */
    }
    adze_err_clear(c->ctx);
    return ADZE_OK;
}

const bench_kind BENCH_MODEL = {"model", "a network: a name of the zoo or a model file", NULL, build_model, fill};
const bench_kind BENCH_TRAIN = {"train", "a network: a name of the zoo or a model file", NULL, build_train, fill};
