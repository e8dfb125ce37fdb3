/* Values of gather and its kin, topk, random numbers and updates: by hand, in f64 and f32, on both devices; and bounds of clip that meet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "adze/op.h"
#include "adze/ops.h"
#include "op/random.h"

#include <math.h>
#include <string.h>

enum { MOST = 4096 };

typedef struct fixture {
    adze_ctx *ctx;
    adze_graph *g;
    adze_dtype d;
    const char *device;
} fixture;

static void begin(fixture *f, adze_dtype d, const char *device) {
    *f = (fixture){.d = d, .device = device};
    assert_int_equal(adze_ctx_new(NULL, &f->ctx), ADZE_OK);
    assert_int_equal(adze_graph_new(f->ctx, &f->g), ADZE_OK);
}

static void end(fixture *f) {
    adze_graph_free(f->g);
    adze_ctx_free(f->ctx);
}

typedef void (*body)(fixture *f);

static void everywhere(body run) {
    static const struct {
        adze_dtype d;
        const char *device;
    } PLACES[] = {{ADZE_F64, "ref"}, {ADZE_F32, "ref"}, {ADZE_F64, "cpu"}, {ADZE_F32, "cpu"}};
    for (size_t i = 0; i < sizeof PLACES / sizeof PLACES[0]; i++) {
        fixture f;
        begin(&f, PLACES[i].d, PLACES[i].device);
        run(&f);
        end(&f);
    }
}

#define DIMS(...)                                                                                                                                    \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]) {                                                                         \
        __VA_ARGS__                                                                                                                                  \
    }
#define LIST(...) ((const double[]){__VA_ARGS__})
#define IDS(...) ((const int64_t[]){__VA_ARGS__})

static adze_val value(fixture *f, const double *v, int rank, const int64_t *dims) {
    const adze_type t = adze_type_make(f->d, rank, dims);
    const int64_t n = adze_type_count(&t);
    float narrow[MOST];
    assert_true(n <= MOST);
    for (int64_t i = 0; i < n; i++) {
        narrow[i] = (float)v[i];
    }
    return adze_const(f->g, t, f->d == ADZE_F64 ? (const void *)v : narrow);
}

static adze_val ids_of(fixture *f, adze_dtype d, const int64_t *v, int rank, const int64_t *dims) {
    const adze_type t = adze_type_make(d, rank, dims);
    const int64_t n = adze_type_count(&t);
    int32_t narrow[MOST];
    assert_true(n <= MOST);
    for (int64_t i = 0; i < n; i++) {
        narrow[i] = (int32_t)v[i];
    }
    return adze_const(f->g, t, d == ADZE_I64 ? (const void *)v : narrow);
}

static void expect(fixture *f, adze_val v, int64_t n, const double *want) {
    adze_tensor t = {0};
    const int status = adze_eval(f->g, v, NULL, 0, NULL, f->device, &t);
    assert_string_equal(adze_errmsg(f->ctx), "");
    assert_int_equal(status, ADZE_OK);
    const adze_type type = adze_tensor_type(&t);
    assert_int_equal(adze_type_count(&type), n);
    for (int64_t i = 0; i < n; i++) {
        const double got = adze_tensor_get(&t, i);
        if (isnan(want[i]) ? !isnan(got) : got != want[i]) {
            fail_msg("element %lld is %.17g, not %.17g (%s on %s)", (long long)i, got, want[i], adze_dtype_name(f->d), f->device);
        }
    }
    adze_tensor_free(&t);
}
#define EXPECT(f, v, ...) expect(f, v, (int64_t)(sizeof((double[]){__VA_ARGS__}) / sizeof(double)), LIST(__VA_ARGS__))

static void refused(fixture *f, adze_val v, int code, const char *part) {
    assert_int_equal(v.id, 0);
    assert_int_equal(adze_graph_status(f->g), code);
    if (!strstr(adze_errmsg(f->ctx), part)) {
        fail_msg("'%s' does not say '%s'", adze_errmsg(f->ctx), part);
    }
}

static void run_clip(fixture *f) { /* bounds may meet, but not cross */
    const adze_val x = value(f, LIST(-1, 0.5, 3), DIMS(3));
    EXPECT(f, adze_clip(f->g, x, 1, 1), 1, 1, 1);
    EXPECT(f, adze_clip(f->g, x, -1, 0.5), -1, 0.5, 0.5);
    refused(f, adze_clip(f->g, x, 1, 0.5), ADZE_EARG, "not in order");
}

static void run_iota(fixture *f) {
    EXPECT(f, adze_iota(f->g, adze_type_make(f->d, DIMS(2, 3)), 0), 0, 0, 0, 1, 1, 1);
    EXPECT(f, adze_iota(f->g, adze_type_make(f->d, DIMS(2, 3)), 1), 0, 1, 2, 0, 1, 2);
    EXPECT(f, adze_iota(f->g, adze_type_make(f->d, DIMS(2, 2, 2)), -2), 0, 0, 1, 1, 0, 0, 1, 1);
}

static void iota_counts_along_its_axis(void **state) {
    (void)state;
    everywhere(run_iota);
}

static void clip_takes_bounds_that_meet(void **state) {
    (void)state;
    everywhere(run_clip);
}

/* -- gather and its kin -------------------------------------------------------------------------------------------------------------------------- */

static const double SIX[] = {1, 2, 3, 4, 5, 6}; /* (2, 3) or (3, 2) */

static void run_gather(fixture *f) {
    static const adze_dtype kinds[] = {ADZE_I32, ADZE_I64};
    for (int k = 0; k < 2; k++) {
        const adze_val ids = ids_of(f, kinds[k], IDS(2, -1, 0, 3), DIMS(2, 2)), x = value(f, SIX, DIMS(3, 2));
        const adze_val y = adze_gather(f->g, x, ids, 0); /* (2, 2, 2) */
        EXPECT(f, y, 5, 6, 0, 0, 1, 2, 0, 0);
        EXPECT(f, adze_gather(f->g, value(f, SIX, DIMS(2, 3)), ids, -1), 3, 0, 1, 0, 6, 0, 4, 0);
        const adze_val one = ids_of(f, kinds[k], IDS(1), 0, NULL);
        EXPECT(f, adze_gather(f->g, x, one, 1), 2, 4, 6); /* a rank-0 id takes the axis away */
    }
    const adze_val far = ids_of(f, ADZE_I64, IDS(INT64_MAX, INT64_MIN), DIMS(2));
    EXPECT(f, adze_gather(f->g, value(f, SIX, DIMS(6)), far, 0), 0, 0);
    EXPECT(f, adze_gather(f->g, value(f, SIX, DIMS(0)), ids_of(f, ADZE_I32, IDS(0, 0), DIMS(2)), 0), 0, 0); /* nothing to read from */
}

static void gather_reads_zero_where_an_id_is_out_of_range(void **state) {
    (void)state;
    everywhere(run_gather);
}

static void run_scatter(fixture *f) {
    const adze_val y = value(f, SIX, DIMS(3, 2)), ids = ids_of(f, ADZE_I32, IDS(1, -1, 1), DIMS(3));
    EXPECT(f, adze_scatter_add(f->g, y, ids, 0, 2), 0, 0, 1 + 5, 2 + 6);
    EXPECT(f, adze_scatter_add(f->g, value(f, SIX, DIMS(2, 3)), ids, -1, 3), 0, 1 + 3, 0, 0, 4 + 6, 0);
    EXPECT(f, adze_scatter_add(f->g, y, ids_of(f, ADZE_I64, IDS(0, 1, 2, 3, 1, INT64_MIN), DIMS(3, 2)), 0, 3), 1, 2 + 5, 3);
    EXPECT(f, adze_scatter_add(f->g, value(f, SIX, DIMS(2)), ids_of(f, ADZE_I32, IDS(2), 0, NULL), 0, 3), 0, 0, 0, 0, 1, 2); /* a new axis */
    const adze_val whole = ids_of(f, ADZE_I32, IDS(INT32_MAX, 1, 7), DIMS(3));
    EXPECT(f, adze_scatter_add(f->g, whole, ids_of(f, ADZE_I32, IDS(0, 0, 1), DIMS(3)), 0, 2), INT32_MIN, 7); /* wraps */
    if (f->d == ADZE_F64) { /* the lowest position first: (2^53 + 1) + 1 is 2^53, (1 + 1) + 2^53 is not */
        const adze_val same = ids_of(f, ADZE_I32, IDS(0, 0, 0), DIMS(3));
        EXPECT(f, adze_scatter_add(f->g, value(f, LIST(0x1p53, 1, 1), DIMS(3)), same, 0, 1), 0x1p53);
        EXPECT(f, adze_scatter_add(f->g, value(f, LIST(1, 1, 0x1p53), DIMS(3)), same, 0, 1), 0x1p53 + 2);
    }
}

static void scatter_add_adds_in_order_and_drops_what_has_no_place(void **state) {
    (void)state;
    everywhere(run_scatter);
}

static void run_along(fixture *f) {
    const adze_val x = value(f, SIX, DIMS(2, 3)), ids = ids_of(f, ADZE_I32, IDS(2, 0, -1, 1), DIMS(2, 2));
    EXPECT(f, adze_take_along(f->g, x, ids, 1), 3, 1, 0, 5);
    EXPECT(f, adze_take_along(f->g, x, ids_of(f, ADZE_I64, IDS(1, 0, 2), DIMS(1, 3)), -2), 4, 2, 0);
    EXPECT(f, adze_scatter_along(f->g, value(f, SIX, DIMS(2, 2)), ids, 1, 3), 2, 0, 1, 0, 4, 0);
    EXPECT(f, adze_scatter_along(f->g, value(f, SIX, DIMS(2, 2)), ids_of(f, ADZE_I64, IDS(1, 0, 1, 5), DIMS(2, 2)), 0, 2), 0, 2, 1 + 3, 0);
}

static void along_an_axis_every_lane_has_its_own_ids(void **state) {
    (void)state;
    everywhere(run_along);
}

static void run_one_hot(fixture *f) {
    const adze_val ids = ids_of(f, ADZE_I32, IDS(1, -1, 2, 3), DIMS(4));
    EXPECT(f, adze_one_hot(f->g, ids, 3, f->d, 2, -0.5), -0.5, 2, -0.5, -0.5, -0.5, -0.5, -0.5, -0.5, 2, -0.5, -0.5, -0.5);
    EXPECT(f, adze_one_hot(f->g, ids, 2, ADZE_BOOL, 1, 0), 0, 1, 0, 0, 0, 0, 0, 0);
    EXPECT(f, adze_one_hot(f->g, ids_of(f, ADZE_I64, IDS(1), 0, NULL), 2, ADZE_I32, 7, -7), -7, 7);
}

static void one_hot_rows_without_a_class_are_off(void **state) {
    (void)state;
    everywhere(run_one_hot);
}

static void run_topk(fixture *f) {
    const double nan = (double)NAN, inf = (double)INFINITY;
    const adze_val x = value(f, LIST(3, nan, 5, -inf, 5, nan, 0, -0.0), DIMS(8));
    adze_val ids, y = adze_topk(f->g, x, 0, 8, false, &ids);
    EXPECT(f, y, nan, nan, 5, 5, 3, 0, 0, -inf);
    EXPECT(f, ids, 1, 5, 2, 4, 0, 6, 7, 3);
    y = adze_topk(f->g, x, -1, 8, true, &ids);
    EXPECT(f, y, -inf, 0, 0, 3, 5, 5, nan, nan);
    EXPECT(f, ids, 3, 6, 7, 0, 2, 4, 1, 5);
    y = adze_topk(f->g, x, 0, 3, false, &ids);
    EXPECT(f, y, nan, nan, 5);
    EXPECT(f, ids, 1, 5, 2);
    y = adze_topk(f->g, value(f, LIST(1, 9, 4, 2, 7, 8), DIMS(3, 2)), 0, 2, false, &ids); /* down the columns */
    EXPECT(f, y, 7, 9, 4, 8);
    EXPECT(f, ids, 2, 0, 1, 2);
    const adze_val seed = value(f, LIST(10, 20, 30), DIMS(3));
    const adze_val lane = value(f, LIST(2, 5, 5, 1), DIMS(4)), top = adze_topk(f->g, lane, 0, 3, false, NULL);
    adze_val g;
    assert_int_equal(adze_vjp(f->g, &top, &seed, 1, &lane, 1, &g, 0), ADZE_OK);
    EXPECT(f, g, 30, 10, 20, 0);
    y = adze_topk(f->g, ids_of(f, ADZE_I32, IDS(INT32_MIN, 4, INT32_MAX, 4), DIMS(4)), 0, 3, false, &ids);
    EXPECT(f, y, INT32_MAX, 4, 4);
    EXPECT(f, ids, 2, 1, 3);
    refused(f, adze_topk(f->g, lane, 0, 5, false, &ids), ADZE_ESHAPE, "k is 5");
    assert_int_equal(ids.id, 0);
}

static void topk_is_a_total_order_with_nan_above_all_and_ties_by_index(void **state) {
    (void)state;
    everywhere(run_topk);
}

/* -- random numbers ------------------------------------------------------------------------------------------------------------------------------ */

typedef enum kind { UNIFORM, NORMAL, BERNOULLI, KINDS } kind;

static const adze_op *op_of(kind k) {
    static const char *const names[] = {"uniform", "normal", "bernoulli"};
    return adze_op_find(names[k]);
}

/* Draws of one op for a given run, by a plan. */
static void draw(adze_dtype d, const char *device, kind k, adze_run run, uint64_t stream, double a, double b, int rank, const int64_t *dims,
                 double *out) {
    fixture f;
    begin(&f, d, device);
    adze_random_attrs p = {.dims = {.n = rank}, .dtype = (int32_t)d, .stream = stream, .a = a, .b = b};
    for (int i = 0; i < rank; i++) {
        p.dims.v[i] = dims[i];
    }
    adze_plan *plan = NULL;
    adze_session *session = NULL;
    adze_tensor t;
    const adze_compile_opts o = {.size = sizeof o, .device = device};
    assert_int_equal(adze_output(f.g, "y", adze_apply(f.g, op_of(k), NULL, 0, &p, NULL)), ADZE_OK);
    assert_int_equal(adze_compile(f.g, &o, &plan), ADZE_OK);
    assert_int_equal(adze_session_new(f.ctx, plan, NULL, "", &session), ADZE_OK);
    adze_session_random(session, run.seed, run.step, run.first_example);
    assert_int_equal(adze_session_run(session), ADZE_OK);
    assert_int_equal(adze_session_output(session, "y", &t), ADZE_OK);
    const adze_type type = adze_tensor_type(&t);
    const int64_t n = adze_type_count(&type);
    assert_true(n <= MOST);
    for (int64_t i = 0; i < n; i++) {
        out[i] = adze_tensor_get(&t, i);
    }
    adze_session_free(session);
    adze_plan_free(plan);
    end(&f);
}

static void draws_are_the_same_numbers_in_f32_and_f64_and_on_both_devices(void **state) {
    (void)state;
    const adze_run run = {.seed = 5, .step = 9, .first_example = 2};
    for (kind k = UNIFORM; k < KINDS; k++) {
        double wide[4 * 7], narrow[4 * 7], cpu[4 * 7];
        const double a = k == BERNOULLI ? 0.4 : -0.3;
        draw(ADZE_F64, "ref", k, run, 11, a, 1.7, DIMS(4, 7), wide);
        draw(ADZE_F32, "ref", k, run, 11, a, 1.7, DIMS(4, 7), narrow);
        draw(ADZE_F32, "cpu", k, run, 11, a, 1.7, DIMS(4, 7), cpu);
        int distinct = 0;
        for (int i = 0; i < 4 * 7; i++) {
            assert_true(narrow[i] == (double)(float)wide[i]);
            assert_true(cpu[i] == narrow[i]);
            distinct += i > 0 && wide[i] != wide[0];
        }
        assert_true(distinct > 0);
    }
}

static void draws_do_not_depend_on_how_a_batch_is_cut(void **state) {
    (void)state;
    for (kind k = UNIFORM; k < KINDS; k++) {
        double whole[6 * 5], part[6 * 5];
        draw(ADZE_F64, "ref", k, (adze_run){1, 2, 100}, 3, 0.5, 2, DIMS(6, 5), whole);
        for (int64_t cut = 1; cut < 6; cut++) {
            draw(ADZE_F64, "ref", k, (adze_run){1, 2, 100}, 3, 0.5, 2, DIMS(cut, 5), part);
            draw(ADZE_F64, "ref", k, (adze_run){1, 2, 100 + cut}, 3, 0.5, 2, DIMS(6 - cut, 5), part + cut * 5);
            assert_memory_equal(whole, part, sizeof whole);
        }
    }
}

static void draws_change_with_seed_step_stream_and_example(void **state) {
    (void)state;
    double base[8], other[8];
    draw(ADZE_F64, "ref", UNIFORM, (adze_run){1, 2, 3}, 4, 0, 1, DIMS(1, 8), base);
    const struct {
        adze_run run;
        uint64_t stream;
    } others[] = {{{9, 2, 3}, 4}, {{1, 9, 3}, 4}, {{1, 2, 9}, 4}, {{1, 2, 3}, 9}, {{2, 1, 3}, 4}, {{1, 4, 3}, 2}};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        draw(ADZE_F64, "ref", UNIFORM, others[i].run, others[i].stream, 0, 1, DIMS(1, 8), other);
        for (int e = 0; e < 8; e++) {
            assert_true(base[e] != other[e]);
        }
    }
    double here, there; /* rank 0 belongs to no example */
    draw(ADZE_F64, "ref", UNIFORM, (adze_run){1, 2, 3}, 4, 0, 1, 0, NULL, &here);
    draw(ADZE_F64, "ref", UNIFORM, (adze_run){1, 2, 77}, 4, 0, 1, 0, NULL, &there);
    assert_true(here == there);
}

/* The definition, written out: Philox of (example, element / 4), 24 bits of word element & 3; Box-Muller on pairs of words. */
static void draws_are_philox_words(void **state) {
    (void)state;
    const adze_run run = {.seed = 21, .step = 22, .first_example = ((int64_t)1 << 33) + 1};
    double u[2 * 9], z[2 * 9], one[2 * 9];
    draw(ADZE_F64, "ref", UNIFORM, run, 23, 0, 1, DIMS(2, 9), u);
    draw(ADZE_F64, "ref", NORMAL, run, 23, 0, 1, DIMS(2, 9), z);
    draw(ADZE_F64, "ref", BERNOULLI, run, 23, 0.25, 0, DIMS(2, 9), one);
    uint32_t key[2];
    adze_random_key(&run, 23, key);
    for (uint32_t i = 0; i < 18; i++) {
        const uint32_t ctr[4] = {1 + i / 9, 2, i % 9 / 4, 0}, e = i % 9 % 4;
        uint32_t w[4];
        adze_philox(key, ctr, w);
        const double want = (double)(w[e] >> 8) / 16777216;
        assert_true(u[i] == want);
        assert_true(one[i] == (want < 0.25 ? 1 : 0));
        const double radius = sqrt(-2 * log(((double)w[e & 2] + 1) / 4294967296.0)),
                     angle = 2 * 3.14159265358979323846 * (double)w[(e & 2) + 1] / 4294967296.0;
        assert_true(fabs(z[i] - radius * (e & 1 ? sin(angle) : cos(angle))) <= 1e-12);
    }
}

static void draws_have_their_moments(void **state) {
    (void)state;
    enum { N = 4000 };
    static const struct {
        kind k;
        double a, b, mean, variance;
    } cases[] = {{UNIFORM, -1, 3, 1, 16.0 / 12}, {NORMAL, 0.5, 2, 0.5, 4}, {BERNOULLI, 0.3, 0, 0.3, 0.21}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        double y[N], sum = 0, square = 0;
        draw(ADZE_F64, "ref", cases[i].k, (adze_run){7, 0, 0}, 1, cases[i].a, cases[i].b, DIMS(40, N / 40), y);
        for (int e = 0; e < N; e++) {
            sum += y[e] / N;
            square += (y[e] - cases[i].mean) * (y[e] - cases[i].mean) / N;
        }
        assert_true(fabs(sum - cases[i].mean) < 4 * sqrt(cases[i].variance / N)); /* four standard errors */
        assert_true(fabs(square / cases[i].variance - 1) < 0.1);
    }
}

static void two_draws_of_one_graph_differ(void **state) {
    (void)state;
    fixture f;
    begin(&f, ADZE_F64, "ref");
    const adze_type t = adze_type_make(ADZE_F64, DIMS(5));
    const adze_val a = adze_uniform(f.g, t, 0, 1), b = adze_uniform(f.g, t, 0, 1);
    const adze_val same = adze_reduce_max(f.g, adze_cast(f.g, adze_eq(f.g, a, b), ADZE_F64), NULL, 0, false);
    EXPECT(&f, same, 0);
    refused(&f, adze_bernoulli(f.g, t, 1.5), ADZE_EARG, "the probability");
    end(&f);
    begin(&f, ADZE_F64, "ref");
    refused(&f, adze_normal(f.g, adze_type_make(ADZE_I32, DIMS(5)), 0, 1), ADZE_ETYPE, "i32");
    end(&f);
}

/* -- updates ------------------------------------------------------------------------------------------------------------------------------------- */

enum { N = 3, SLOTS = 3, RUNS = 2 };

typedef adze_val (*rule)(fixture *f, const adze_val *slot, adze_val grad, adze_val lr, adze_val t);

typedef struct trainer {
    fixture f;
    adze_plan *plan;
    adze_store *store;
    adze_session *session;
} trainer;

static adze_tensor of_slot(trainer *t, int i) {
    const char name[] = {'s', (char)('0' + i), '\0'};
    adze_tensor v = {0};
    const int at = adze_store_find(t->store, name);
    if (at >= 0) {
        assert_int_equal(adze_store_tensor(t->store, at, &v), ADZE_OK);
    }
    return v;
}

static void set(trainer *t, const char *name, const double *v, int n) {
    adze_tensor x;
    if (adze_session_input(t->session, name, &x) != ADZE_OK) {
        return; /* the rule has no such input */
    }
    for (int i = 0; i < n; i++) {
        adze_tensor_set(&x, i, v[i]);
    }
}

static const double START[SLOTS][N] = {{1, -2, 0.5}, {0.25, 0, -1}, {0.5, 0.125, 2}};
static const double GRAD[RUNS][N] = {{0.5, -1, 2}, {-0.25, 3, 1}};
static const double RATE[RUNS] = {0.125, 0.5};

/* Two runs of the rule; want[run][slot][element], for the slots that the rule has. */
static void check_rule(adze_dtype d, const char *device, rule make, double (*want)[SLOTS][N], double tol) {
    trainer t = {0};
    begin(&t.f, d, device);
    const adze_type type = adze_type_make(d, DIMS(N));
    adze_val slot[SLOTS];
    for (int i = 0; i < SLOTS; i++) {
        slot[i] = adze_slot(t.f.g, (const char[]){'s', (char)('0' + i), '\0'}, type);
    }
    const adze_val grad = adze_input(t.f.g, "grad", type), lr = adze_input(t.f.g, "lr", adze_scalar_type(ADZE_F64));
    make(&t.f, slot, grad, lr, adze_input(t.f.g, "t", adze_scalar_type(ADZE_F64)));
    const adze_compile_opts o = {.size = sizeof o, .device = device};
    const int status = adze_compile(t.f.g, &o, &t.plan);
    assert_string_equal(adze_errmsg(t.f.ctx), "");
    assert_int_equal(status, ADZE_OK);
    assert_int_equal(adze_store_new(t.f.ctx, &t.store), ADZE_OK);
    assert_int_equal(adze_session_new(t.f.ctx, t.plan, t.store, "", &t.session), ADZE_OK);
    for (int i = 0; i < SLOTS; i++) {
        const adze_tensor v = of_slot(&t, i);
        for (int e = 0; e < N && v.buf; e++) {
            adze_tensor_set(&v, e, START[i][e]);
        }
    }
    for (int run = 0; run < RUNS; run++) {
        const double number = run + 1;
        set(&t, "grad", GRAD[run], N);
        set(&t, "lr", &RATE[run], 1);
        set(&t, "t", &number, 1);
        assert_int_equal(adze_session_run(t.session), ADZE_OK);
        for (int i = 0; i < SLOTS; i++) {
            const adze_tensor v = of_slot(&t, i);
            for (int e = 0; e < N && v.buf; e++) {
                const double got = adze_tensor_get(&v, e), w = want[run][i][e];
                if (!(fabs(got - w) <= tol * (1 + fabs(w)))) {
                    fail_msg("run %d slot %d element %d is %.17g, not %.17g (%s on %s)", run, i, e, got, w, adze_dtype_name(d), device);
                }
            }
        }
    }
    adze_session_free(t.session);
    adze_plan_free(t.plan);
    adze_store_free(t.store);
    end(&t.f);
}

static void check_everywhere(rule make, double (*want)[SLOTS][N]) {
    check_rule(ADZE_F64, "ref", make, want, 1e-14);
    check_rule(ADZE_F32, "ref", make, want, 2e-7);
    check_rule(ADZE_F64, "cpu", make, want, 1e-14);
    check_rule(ADZE_F32, "cpu", make, want, 1e-6);
}

static const adze_sgd_attrs MOMENTUM = {.momentum = 0.75, .dampening = 0.25, .weight_decay = 0.125};
static const adze_sgd_attrs NESTEROV = {.momentum = 0.75, .nesterov = true};
static const adze_sgd_attrs DECAY = {.weight_decay = 0.5};
static const adze_adam_attrs ADAM_L2 = {.beta1 = 0.5, .beta2 = 0.75, .eps = 0.25, .weight_decay = 0.5};
static const adze_adam_attrs ADAM_W = {.beta1 = 0.5, .beta2 = 0.75, .eps = 0.25, .weight_decay = 0.5, .decoupled = true};

static adze_val make_sgd(fixture *f, const adze_val *s, adze_val grad, adze_val lr, adze_val t) {
    (void)t;
    return adze_sgd(f->g, s[0], (adze_val){0}, grad, lr, &DECAY);
}

static adze_val make_plain(fixture *f, const adze_val *s, adze_val grad, adze_val lr, adze_val t) {
    (void)t;
    return adze_sgd(f->g, s[0], (adze_val){0}, grad, lr, NULL);
}

static adze_val make_momentum(fixture *f, const adze_val *s, adze_val grad, adze_val lr, adze_val t) {
    (void)t;
    return adze_sgd(f->g, s[0], s[1], grad, lr, &MOMENTUM);
}

static adze_val make_nesterov(fixture *f, const adze_val *s, adze_val grad, adze_val lr, adze_val t) {
    (void)t;
    return adze_sgd(f->g, s[0], s[1], grad, lr, &NESTEROV);
}

static adze_val make_adam(fixture *f, const adze_val *s, adze_val grad, adze_val lr, adze_val t) {
    return adze_adam(f->g, s[0], s[1], s[2], grad, lr, t, &ADAM_L2);
}

static adze_val make_adamw(fixture *f, const adze_val *s, adze_val grad, adze_val lr, adze_val t) {
    return adze_adam(f->g, s[0], s[1], s[2], grad, lr, t, &ADAM_W);
}

static adze_val make_ema(fixture *f, const adze_val *s, adze_val grad, adze_val lr, adze_val t) {
    (void)lr, (void)t;
    return adze_ema(f->g, s[0], grad, 0.75);
}

static adze_val make_accumulate(fixture *f, const adze_val *s, adze_val grad, adze_val lr, adze_val t) {
    (void)lr, (void)t;
    return adze_accumulate(f->g, s[0], grad);
}

static void sgd_takes_the_steps_of_its_formula(void **state) {
    (void)state;
    /* exact in binary; w - lr (g + w / 2): 1 - (0.5 + 0.5) / 8 = 0.875; 0.875 - (-0.25 + 0.4375) / 2 = 0.78125; and so on */
    double decayed[RUNS][SLOTS][N] = {{{0.875, -1.75, 0.21875}}, {{0.78125, -2.8125, -0.3359375}}};
    double plain[RUNS][SLOTS][N] = {{{0.9375, -1.875, 0.25}}, {{1.0625, -3.375, -0.25}}};
    check_everywhere(make_sgd, decayed);
    check_everywhere(make_plain, plain);
}

static void momentum_takes_the_steps_of_its_formula(void **state) {
    (void)state;
    /* element 0: g = 0.5 + 1 / 8 = 0.625, m = 0.75 * 0.25 + 0.75 * 0.625 = 0.65625, w = 1 - m / 8 = 0.91796875;
     * then g = -0.25 + w / 8 = -0.13525390625, m = 0.75 * 0.65625 + 0.75 g = 0.3907470703125, w -= m / 2 */
    double want[RUNS][SLOTS][N] = {{{0.91796875, -1.8828125, 0.400390625}, {0.65625, -0.9375, 0.796875}},
                                   {{0.72259521484375, -2.5679931640625, -0.292205810546875}, {0.3907470703125, 1.370361328125, 1.38519287109375}}};
    check_everywhere(make_momentum, want);
    /* element 0: m = 0.1875 + 0.5 = 0.6875, w = 1 - (0.5 + 0.75 m) / 8; then m = 0.515625 - 0.25 = 0.265625, w -= (-0.25 + 0.75 m) / 2 */
    double ahead[RUNS][SLOTS][N] = {{{0.873046875, -1.78125, 0.1328125}, {0.6875, -1, 1.25}},
                                    {{0.8984375, -4.125, -1.09375}, {0.265625, 2.25, 1.9375}}};
    check_everywhere(make_nesterov, ahead);
}

/* The formula of ops.h, once more and one element at a time. */
static void adam_by_formula(const adze_adam_attrs *a, double want[RUNS][SLOTS][N]) {
    for (int e = 0; e < N; e++) {
        double w = START[0][e], m = START[1][e], v = START[2][e], power1 = 1, power2 = 1;
        for (int run = 0; run < RUNS; run++) {
            double g = GRAD[run][e];
            if (a->decoupled) {
                w = (1 - RATE[run] * a->weight_decay) * w;
            } else {
                g += a->weight_decay * w;
            }
            power1 *= a->beta1;
            power2 *= a->beta2;
            m += (1 - a->beta1) * (g - m);
            v += (1 - a->beta2) * (g * g - v);
            w -= RATE[run] * m / (1 - power1) / (a->eps + sqrt(v / (1 - power2)));
            want[run][0][e] = w, want[run][1][e] = m, want[run][2][e] = v;
        }
    }
}

static void adam_takes_the_steps_of_its_formula(void **state) {
    (void)state;
    double l2[RUNS][SLOTS][N], apart[RUNS][SLOTS][N];
    adam_by_formula(&ADAM_L2, l2);
    adam_by_formula(&ADAM_W, apart);
    /* by hand: g = 0.5 + 0.5 = 1; m = 0.625; v = 0.375 + 0.25 = 0.625; w = 1 - (0.625 / 0.5) / 8 / (sqrt(0.625 / 0.25) + 0.25) */
    assert_true(fabs(l2[0][0][0] - (1 - 0.15625 / (sqrt(2.5) + 0.25))) < 1e-15);
    assert_true(fabs(apart[0][1][0] - 0.375) < 1e-15);
    check_everywhere(make_adam, l2);
    check_everywhere(make_adamw, apart);
}

static void ema_and_accumulate_take_the_steps_of_their_formulas(void **state) {
    (void)state;
    double mean[RUNS][SLOTS][N] = {{{0.875, -1.75, 0.875}}, {{0.59375, -0.5625, 0.90625}}};
    double sum[RUNS][SLOTS][N] = {{{1.5, -3, 2.5}}, {{1.25, 0, 3.5}}};
    check_everywhere(make_ema, mean);
    check_everywhere(make_accumulate, sum);
}

static void updates_refuse_what_does_not_fit(void **state) {
    (void)state;
    static const struct {
        adze_dtype grad, lr;
        int64_t n;
        double momentum, decay;
        int code;
        const char *part;
    } cases[] = {
        {ADZE_F32, ADZE_F64, 3, 0.5, 0, ADZE_EARG, "no slot"},
        {ADZE_F32, ADZE_F64, 3, 0, -1, ADZE_EARG, "weight decay"},
        {ADZE_F64, ADZE_F64, 3, 0, 0, ADZE_ETYPE, "cast one of them"},
        {ADZE_F32, ADZE_F64, 4, 0, 0, ADZE_ESHAPE, "input 1 is f32 (4)"},
        {ADZE_F32, ADZE_F32, 3, 0, 0, ADZE_ETYPE, "f32"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fixture f;
        begin(&f, ADZE_F32, "ref");
        const adze_sgd_attrs a = {.momentum = cases[i].momentum, .weight_decay = cases[i].decay};
        const adze_val w = adze_slot(f.g, "w", adze_type_make(ADZE_F32, DIMS(3)));
        const adze_val grad = adze_input(f.g, "g", adze_type_make(cases[i].grad, 1, &cases[i].n));
        const adze_val lr = adze_input(f.g, "lr", adze_scalar_type(cases[i].lr));
        refused(&f, adze_sgd(f.g, w, (adze_val){0}, grad, lr, &a), cases[i].code, cases[i].part);
        end(&f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clip_takes_bounds_that_meet),
        cmocka_unit_test(iota_counts_along_its_axis),
        cmocka_unit_test(gather_reads_zero_where_an_id_is_out_of_range),
        cmocka_unit_test(scatter_add_adds_in_order_and_drops_what_has_no_place),
        cmocka_unit_test(along_an_axis_every_lane_has_its_own_ids),
        cmocka_unit_test(one_hot_rows_without_a_class_are_off),
        cmocka_unit_test(topk_is_a_total_order_with_nan_above_all_and_ties_by_index),
        cmocka_unit_test(draws_are_the_same_numbers_in_f32_and_f64_and_on_both_devices),
        cmocka_unit_test(draws_do_not_depend_on_how_a_batch_is_cut),
        cmocka_unit_test(draws_change_with_seed_step_stream_and_example),
        cmocka_unit_test(draws_are_philox_words),
        cmocka_unit_test(draws_have_their_moments),
        cmocka_unit_test(two_draws_of_one_graph_differ),
        cmocka_unit_test(sgd_takes_the_steps_of_its_formula),
        cmocka_unit_test(momentum_takes_the_steps_of_its_formula),
        cmocka_unit_test(adam_takes_the_steps_of_its_formula),
        cmocka_unit_test(ema_and_accumulate_take_the_steps_of_their_formulas),
        cmocka_unit_test(updates_refuse_what_does_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
