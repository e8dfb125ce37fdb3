/* Dictionaries of the layer omp that start from the data: they are made of it, describe it better than random ones, and are the same for any number
 * of threads. */
#include "trainbench.h"

#include "train/trainer.h"

static const char FORM[] = "{\"name\":\"net\",\"input\":[8,8,1],\"layers\":[{\"type\":\"flatten\",\"name\":\"f\"},{\"type\":\"omp\",\"name\":\"o\","
                           "\"atoms\":%d,\"k\":2,\"start\":\"%s\",\"learn\":%s},{\"type\":\"dense\",\"name\":\"fc\",\"units\":4}]}";

static setting net_of(int atoms, const char *start, const char *learn, char text[512]) {
    snprintf(text, 512, FORM, atoms, start, learn);
    return usual(text);
}

/* x (160, 64): the training examples as the layer sees them, at length 1. */
static void look(const bench *b, adze_tensor *x) {
    must(b, adze_tensor_new(b->ctx, adze_type_make(ADZE_F64, 2, (int64_t[]){160, SIDE * SIDE}), x));
    for (int64_t i = 0; i < 160; i++) {
        double *to = (double *)adze_tensor_data(x) + i * SIDE * SIDE, square = 0;
        must(b, adze_preprocess_apply(adze_model_preprocess(b->model), &b->data->example, b->data->peek(b->data, b->t->ids[i]), ADZE_F64, to));
        for (int k = 0; k < SIDE * SIDE; k++) {
            square += to[k] * to[k];
        }
        for (int k = 0; k < SIDE * SIDE; k++) {
            to[k] /= sqrt(square);
        }
    }
}

/* The mean squared cosine of an example with the atom that is most like it; *twins: atoms that are an example. */
static double likeness(const bench *b, int atoms, int *twins) {
    adze_tensor x, v;
    double sum = 0, closest[64] = {0};
    look(b, &x);
    must(b, adze_store_tensor(adze_trainer_store(b->t), adze_store_find(adze_trainer_store(b->t), "o:v"), &v));
    for (int64_t i = 0; i < 160; i++) {
        double most = 0;
        for (int64_t j = 0; j < atoms; j++) {
            double along = 0, square = 0;
            for (int64_t k = 0; k < SIDE * SIDE; k++) {
                const double a = adze_tensor_get(&v, k * atoms + j);
                along += adze_tensor_get(&x, i * SIDE * SIDE + k) * a;
                square += a * a;
            }
            most = fmax(most, along * along / square);
            closest[j] = fmax(closest[j], along / sqrt(square));
        }
        sum += most / 160;
    }
    *twins = 0;
    for (int j = 0; j < atoms; j++) {
        *twins += closest[j] > 1 - 1e-6;
    }
    adze_tensor_free(&x);
    return sum;
}

static void first_atoms_come_from_the_data(void **state) {
    (void)state;
    static const char *const starts[] = {"init", "examples", "k_means"};
    double like[3];
    int twins[3];
    for (int i = 0; i < 3; i++) {
        char text[512];
        setting s = net_of(8, starts[i], "false", text);
        bench b = {0}, again = {0};
        must(&b, bench_open(&b, &s));
        like[i] = likeness(&b, 8, &twins[i]);
        bench_close(&b);
        train(&b, &s, false);
        double after = likeness(&b, 8, &twins[i]);
        assert_true(after == like[i]); /* frozen */
        s.threads = 3;
        train(&again, &s, false);
        same_hash(&b, &again, "the number of threads");
        bench_close(&b);
        bench_close(&again);
    }
    assert_true(twins[0] == 0 && twins[1] == 8 && twins[2] < 8);
    if (!(like[0] < 0.5 * like[1] && like[1] < 0.95 * like[2])) {
        fail_msg("likeness: %g random, %g examples, %g centres", like[0], like[1], like[2]);
    }
}

static void learnt_atoms_move_and_averages_keep_frozen_ones(void **state) {
    (void)state;
    for (int learn = 0; learn < 2; learn++) {
        char text[512];
        setting s = net_of(8, "k_means", learn ? "true" : "false", text);
        bench b = {0};
        adze_tensor v, avg;
        int twins;
        s.o.average = ADZE_AVERAGE_EMA;
        must(&b, bench_open(&b, &s));
        const double before = likeness(&b, 8, &twins);
        bench_close(&b);
        train(&b, &s, false);
        adze_store *store = adze_trainer_store(b.t);
        assert_true((likeness(&b, 8, &twins) != before) == (learn == 1));
        must(&b, adze_store_tensor(store, adze_store_find(store, "o:v"), &v));
        must(&b, adze_store_tensor(store, adze_store_find(store, "avg/o:v"), &avg));
        for (int64_t i = 0; i < SIDE * SIDE * 8 && !learn; i++) {
            assert_true(adze_tensor_get(&v, i) == adze_tensor_get(&avg, i));
        }
        bench_close(&b);
    }
}

static void too_few_inputs_are_told(void **state) {
    (void)state;
    char text[512];
    setting s = net_of(161, "examples", "true", text);
    bench b = {0};
    assert_int_equal(bench_open(&b, &s), ADZE_EARG);
    must_say(&b, "layer 'o': 160 examples give 160 inputs that are not 0, too few for 161 atoms; use start: init");
    bench_close(&b);
}

static void every_refused_allocation_is_survived(void **state) {
    (void)state;
    faulty_mem mem;
    faulty_mem_init(&mem);
    char text[512];
    setting s = net_of(4, "k_means", "true", text);
    s.mem = &mem.table;
    s.threads = 1;
    int status = ADZE_ENOMEM;
    for (long n = 1; status != ADZE_OK; n++) {
        bench b = {0};
        faulty_mem_arm(&mem, n, false);
        status = bench_open(&b, &s);
        assert_true(status == ADZE_OK || status == ADZE_ENOMEM);
        bench_close(&b);
        assert_true(n < 20000);
    }
    assert_true(faulty_mem_clean(&mem));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_atoms_come_from_the_data),
        cmocka_unit_test(learnt_atoms_move_and_averages_keep_frozen_ones),
        cmocka_unit_test(too_few_inputs_are_told),
        cmocka_unit_test(every_refused_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, prepare, NULL);
}
