/* Ensembles: Jensen's inequality, the three means against sums made by hand, ties, disagreement, models with preprocessing of their own. */
#include "trainbench.h"

#include "base/stats.h"

enum { MEMBERS = 3 };

typedef struct crew { /* three small nets, trained a little: other seeds, other norms, another shape */
    bench b[MEMBERS];
} crew;

static void crew_open(crew *c) {
    static const char *const nets[MEMBERS] = {plain_net, full_net, tiny_net};
    for (int i = 0; i < MEMBERS; i++) {
        setting s = usual(nets[i]);
        s.o.seed = (uint64_t)i + 1;
        s.o.epochs = 1;
        s.o.norm = i == 2 ? 1 + ADZE_NORM_MINMAX : 0;
        s.o.val_count = 0;
        c->b[i] = (bench){0};
        train(&c->b[i], &s, false);
    }
}

static void crew_close(crew *c) {
    for (int i = 0; i < MEMBERS; i++) {
        bench_close(&c->b[i]);
    }
}

/* A context's objects stay with it: members are saved and loaded into the first one's. */
static void load(crew *c, adze_ensemble_mean mean, const double *weights, adze_ensemble **e) {
    char dir[256], path[512];
    faulty_folder(dir, sizeof dir);
    must(&c->b[0], adze_ensemble_new(c->b[0].ctx, mean, e));
    for (int i = 0; i < MEMBERS; i++) {
        snprintf(path, sizeof path, "%s/%d.safetensors", dir, i);
        must(&c->b[i], adze_trainer_save_model(c->b[i].t, path));
        must(&c->b[0], adze_ensemble_load(*e, path, weights != NULL ? weights[i] : 1));
    }
    faulty_folder_drop(dir);
}

static void probabilities(crew *c, int i, adze_metrics *m) {
    bench *b = &c->b[i];
    must(b, adze_evaluate(b->ctx, b->model, adze_trainer_store(b->t), "", b->data, NULL, N, 37, m));
    for (int64_t k = 0; k < N; k++) {
        double *s = m->scores + k * CLASSES, sum = 0;
        for (int j = 0; j < CLASSES; j++) {
            sum += exp(s[j]);
        }
        for (int j = 0; j < CLASSES; j++) {
            s[j] = exp(s[j]) / sum;
        }
    }
}

static void the_three_means_equal_sums_made_by_hand_and_jensen_holds(void **state) {
    (void)state;
    static const double weights[MEMBERS] = {2, 1, 5};
    crew c;
    adze_metrics m[MEMBERS];
    crew_open(&c);
    for (int i = 0; i < MEMBERS; i++) {
        probabilities(&c, i, &m[i]);
    }
    for (int mean = ADZE_MEAN_PROB; mean <= ADZE_MEAN_VOTE; mean++) {
        adze_ensemble *e;
        adze_ensemble_report r;
        double nll = 0, brier = 0, members = 0;
        int64_t right = 0, differ = 0;
        load(&c, (adze_ensemble_mean)mean, weights, &e);
        must(&c.b[0], adze_ensemble_evaluate(e, c.b[0].data, 33, &r));
        for (int64_t k = 0; k < N; k++) {
            double p[CLASSES] = {0}, votes[CLASSES] = {0}, all = 0;
            int best[MEMBERS];
            for (int i = 0; i < MEMBERS; i++) {
                const double *q = m[i].scores + k * CLASSES;
                best[i] = 0;
                for (int j = 0; j < CLASSES; j++) {
                    p[j] += weights[i] / 8 * (mean == ADZE_MEAN_LOGIT ? log(q[j]) : q[j]);
                    best[i] = q[j] > q[best[i]] ? j : best[i];
                }
                votes[best[i]] += weights[i] / 8;
            }
            int top = 0;
            for (int j = 0; j < CLASSES; j++) {
                p[j] = mean == ADZE_MEAN_LOGIT ? exp(p[j]) : mean == ADZE_MEAN_VOTE ? votes[j] : p[j];
                all += p[j];
                top = p[j] > p[top] ? j : top; /* 2, 1 and 5 leave no tie */
            }
            for (int j = 0; j < CLASSES; j++) {
                const double off = p[j] / all - (j == labels[k]);
                brier += off * off / N;
            }
            nll -= log(p[labels[k]] / all) / N;
            right += top == labels[k];
            differ += best[0] != best[2];
        }
        for (int i = 0; i < MEMBERS; i++) {
            assert_true(fabs(r.members[i].nll - m[i].nll) < 1e-12 && fabs(r.members[i].error - (1 - m[i].acc)) < 1e-12);
            assert_true(r.members[i].weight == weights[i] / 8);
            members += weights[i] / 8 * m[i].nll;
        }
        assert_true(fabs(r.whole.error - (1 - (double)right / N)) < 1e-12);
        assert_true(fabs(r.whole.brier - brier) < 1e-12);
        assert_true(mean == ADZE_MEAN_VOTE ? r.whole.nll == nll || fabs(r.whole.nll - nll) < 1e-12 : fabs(r.whole.nll - nll) < 1e-12);
        assert_true(fabs(r.mean.nll - members) < 1e-12);
        assert_true(mean == ADZE_MEAN_VOTE || r.whole.nll < r.mean.nll);
        assert_true(r.disagreement[2] == (double)differ / N && r.disagreement[6] == r.disagreement[2] && r.disagreement[0] == 0);
        adze_ensemble_report_free(c.b[0].ctx, &r);
        adze_ensemble_free(e);
    }
    for (int i = 0; i < MEMBERS; i++) {
        adze_metrics_free(c.b[i].ctx, &m[i]);
    }
    crew_close(&c);
}

static void ece_and_report_agree_with_an_evaluation_of_the_same_model(void **state) {
    (void)state;
    crew c;
    adze_ensemble *e;
    adze_ensemble_report r;
    adze_metrics m;
    adze_report want;
    static const double one[MEMBERS] = {0, 1, 0}; /* the others are judged beside it */
    crew_open(&c);
    load(&c, ADZE_MEAN_PROB, one, &e);
    must(&c.b[0], adze_ensemble_evaluate(e, c.b[0].data, 64, &r));
    must(&c.b[1], adze_evaluate(c.b[1].ctx, c.b[1].model, adze_trainer_store(c.b[1].t), "", c.b[1].data, NULL, N, 64, &m));
    must(&c.b[1], adze_metrics_report(c.b[1].ctx, &m, &want));
    assert_true(fabs(r.whole.ece - want.ece) < 1e-12 && fabs(r.whole.brier - want.brier) < 1e-12 && fabs(r.whole.nll - m.nll) < 1e-12);
    assert_true(fabs(r.members[1].ece - want.ece) < 1e-12 && r.best == 1 && isnan(r.mean_disagreement));
    assert_true(r.members[0].nll > 0 && r.members[0].weight == 0);
    adze_report_free(c.b[1].ctx, &want);
    adze_metrics_free(c.b[1].ctx, &m);
    adze_ensemble_report_free(c.b[0].ctx, &r);
    adze_ensemble_free(e);
    crew_close(&c);
}

/* -- votes --------------------------------------------------------------------------------------------------------------------------------------- */

static const char biased[] =
    "{\"name\":\"b\",\"input\":[8,8,1],\"layers\":[{\"type\":\"flatten\",\"name\":\"f\"},{\"type\":\"dense\",\"name\":\"fc1\",\"units\":4}]}";

/* A model that answers the same to everything: its biases are its logits. */
static void constant_model(adze_ctx *ctx, const double *logits, adze_model **m, adze_store **s) {
    adze_tensor t;
    assert_int_equal(adze_model_from_json(ctx, biased, sizeof biased - 1, "b.json", m), ADZE_OK);
    assert_int_equal(adze_store_new(ctx, s), ADZE_OK);
    assert_int_equal(adze_model_init(*m, *s, ADZE_F64, 1), ADZE_OK);
    assert_int_equal(adze_store_tensor(*s, adze_store_find(*s, "fc1:w"), &t), ADZE_OK);
    for (int i = 0; i < 64 * CLASSES; i++) {
        adze_tensor_set(&t, i, 0);
    }
    assert_int_equal(adze_store_tensor(*s, adze_store_find(*s, "fc1:b"), &t), ADZE_OK);
    for (int i = 0; i < CLASSES; i++) {
        adze_tensor_set(&t, i, logits[i]);
    }
}

static void equal_votes_go_to_the_larger_mean_probability_then_to_the_first_class(void **state) {
    (void)state;
    static const struct {
        double logits[2][CLASSES];
        int64_t answer;
    } cases[] = {{{{0, 0, 9, 0}, {0, 3, 0, 0}}, 2},  /* one vote each for 2 and 1: 2 is surer */
                 {{{0, 0, 3, 0}, {0, 9, 0, 0}}, 1},  /* turned round */
                 {{{0, 0, 0, 5}, {0, 5, 0, 0}}, 1}}; /* equally sure: the lower number */
    adze_ctx *ctx;
    adze_dataset *d;
    assert_int_equal(adze_ctx_new(NULL, &ctx), ADZE_OK);
    static const int64_t all[] = {0, 1, 2, 3};
    assert_int_equal(adze_dataset_from_memory(ctx, adze_type_make(ADZE_U8, 3, (int64_t[]){SIDE, SIDE, 1}), pixels, all, 4, CLASSES, &d), ADZE_OK);
    for (size_t i = 0; i < ADZE_COUNT(cases); i++) {
        adze_ensemble *e;
        adze_ensemble_report r;
        adze_model *m[2];
        adze_store *s[2];
        assert_int_equal(adze_ensemble_new(ctx, ADZE_MEAN_VOTE, &e), ADZE_OK);
        for (int k = 0; k < 2; k++) {
            constant_model(ctx, cases[i].logits[k], &m[k], &s[k]);
            assert_int_equal(adze_ensemble_add(e, m[k], s[k], 0.1), ADZE_OK);
        }
        assert_int_equal(adze_ensemble_evaluate(e, d, 4, &r), ADZE_OK);
        for (int k = 0; k < 4; k++) {
            assert_int_equal(r.right[2 * 4 + k], k == cases[i].answer);
        }
        assert_true(isinf(r.whole.nll)); /* nobody voted for two of the classes */
        assert_true(r.mean_disagreement == 1);
        adze_ensemble_report_free(ctx, &r);
        adze_ensemble_free(e);
        for (int k = 0; k < 2; k++) {
            adze_store_free(s[k]);
            adze_model_free(m[k]);
        }
    }
    adze_dataset_close(d);
    adze_ctx_free(ctx);
}

/* A probability that a double cannot hold is still a finite likelihood; a member that is no number is never right, and spoils no one else's figures.
 */
static void extreme_scores_are_judged(void **state) {
    (void)state;
    adze_ctx *ctx;
    adze_dataset *d;
    adze_ensemble *e;
    adze_ensemble_report r;
    adze_model *m[3];
    adze_store *s[3];
    static const double logits[3][CLASSES] = {{0, 0, 0, 2000}, {0, 0, 0, 1900}, {0, NAN, 0, 0}};
    static const int64_t zero[] = {0, 0};
    assert_int_equal(adze_ctx_new(NULL, &ctx), ADZE_OK);
    assert_int_equal(adze_dataset_from_memory(ctx, adze_type_make(ADZE_U8, 3, (int64_t[]){SIDE, SIDE, 1}), pixels, zero, 2, CLASSES, &d), ADZE_OK);
    assert_int_equal(adze_ensemble_new(ctx, ADZE_MEAN_PROB, &e), ADZE_OK);
    for (int k = 0; k < 3; k++) {
        constant_model(ctx, logits[k], &m[k], &s[k]);
        assert_int_equal(adze_ensemble_add(e, m[k], s[k], k == 2 ? 0 : 1), ADZE_OK);
    }
    assert_int_equal(adze_ensemble_evaluate(e, d, 2, &r), ADZE_OK);
    assert_true(r.members[0].nll == 2000 && r.members[1].nll == 1900);
    assert_true(fabs(r.whole.nll - (1900 + log(2))) < 1e-9); /* -log((e^-2000 + e^-1900) / 2) */
    assert_true(r.members[2].error == 1 && isnan(r.members[2].nll) && r.best == 0 + (r.members[1].nll < r.members[0].nll));
    adze_ensemble_report_free(ctx, &r);
    adze_ensemble_free(e);
    for (int k = 0; k < 3; k++) {
        adze_store_free(s[k]);
        adze_model_free(m[k]);
    }
    adze_dataset_close(d);
    adze_ctx_free(ctx);
}

static void mistakes_are_told(void **state) {
    (void)state;
    bench b = {0};
    adze_ensemble *e;
    adze_ensemble_report r;
    adze_model *m, *two;
    adze_store *s;
    adze_versus v;
    static const char other[] =
        "{\"name\":\"o\",\"input\":[8,8,1],\"layers\":[{\"type\":\"flatten\",\"name\":\"f\"},{\"type\":\"dense\",\"name\":\"fc1\",\"units\":5}]}";
    setting st = usual(tiny_net);
    must(&b, bench_open(&b, &st));
    assert_int_equal(adze_ensemble_new(b.ctx, (adze_ensemble_mean)7, &e), ADZE_EARG);
    must(&b, adze_ensemble_new(b.ctx, ADZE_MEAN_PROB, &e));
    assert_int_equal(adze_ensemble_evaluate(e, b.data, 5, &r), ADZE_EARG);
    must_say(&b, "needs members");
    constant_model(b.ctx, (double[]){0, 1, 2, 3}, &m, &s);
    assert_int_equal(adze_ensemble_add(e, m, s, -1), ADZE_EARG);
    assert_int_equal(adze_ensemble_add(e, m, s, 0), ADZE_OK);
    assert_int_equal(adze_ensemble_evaluate(e, b.data, 5, &r), ADZE_EARG);
    must_say(&b, "weight above 0");
    must(&b, adze_model_from_json(b.ctx, other, sizeof other - 1, "o.json", &two));
    assert_int_equal(adze_ensemble_add(e, two, s, 1), ADZE_EARG);
    must_say(&b, "tells 5 classes apart");
    assert_int_equal(adze_ensemble_add(e, m, s, 1), ADZE_OK);
    must(&b, adze_ensemble_evaluate(e, b.data, 7, &r));
    must(&b, adze_ensemble_versus(b.ctx, &r, 0, &v)); /* against itself */
    assert_true(v.gain == 0 && v.lo == 0 && v.hi == 0 && v.p == 1);
    assert_int_equal(adze_ensemble_versus(b.ctx, &r, 2, &v), ADZE_EARG);
    adze_ensemble_report_free(b.ctx, &r);
    adze_ensemble_free(e);
    adze_model_free(two);
    adze_model_free(m);
    adze_store_free(s);
    bench_close(&b);
}

int main(void) {
    make_data();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_three_means_equal_sums_made_by_hand_and_jensen_holds),
        cmocka_unit_test(ece_and_report_agree_with_an_evaluation_of_the_same_model),
        cmocka_unit_test(equal_votes_go_to_the_larger_mean_probability_then_to_the_first_class),
        cmocka_unit_test(extreme_scores_are_judged),
        cmocka_unit_test(mistakes_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
