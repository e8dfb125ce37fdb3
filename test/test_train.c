/* Training: it learns; threads, workers and splitting a batch change no bit; divergence, bad data and lack of memory change nothing and say why. */
#include "train/trainer.h"
#include "trainbench.h"

/* -- learning ------------------------------------------------------------------------------------------------------------------------------------ */

static void every_optimizer_loss_and_dtype_learns(void **state) {
    (void)state;
    for (int optimizer = ADZE_SGD; optimizer <= ADZE_ADAMW; optimizer++) {
        for (int loss = ADZE_LOSS_AUTO; loss <= ADZE_LOSS_FOCAL; loss++) {
            if (loss == ADZE_LOSS_NLL || loss == ADZE_LOSS_GAUSSIAN) {
                continue; /* the one needs outputs that are logarithms of probabilities, the other targets that are numbers */
            }
            setting s = usual(plain_net);
            const bool sums = adze_loss_links(loss) && loss != ADZE_LOSS_SIGMOID_XENT; /* larger than a mean over the classes, the hinges too */
            const bool hinge = loss == ADZE_LOSS_HINGE, squared = loss == ADZE_LOSS_SQUARED_HINGE;
            s.o.epochs = sums ? 8 : 16;
            s.o.optimizer = optimizer;
            s.o.loss = loss;
            s.o.dtype = (optimizer + loss) % 2;
            s.o.label_smoothing = loss == ADZE_LOSS_SOFTMAX_XENT ? 0.1 : 0;
            s.o.lr = optimizer >= ADZE_ADAM ? 0.005 : squared ? 0.02 : sums || hinge ? 0.05 : 0.2;
            s.o.lr *= !sums && (optimizer == ADZE_MOMENTUM || optimizer == ADZE_NESTEROV) ? 0.3 : 1;
            bench b = {0};
            train(&b, &s, false);
            const adze_epoch_stats *h;
            int64_t n = adze_trainer_history(b.t, &h);
            assert_int_equal(n, s.o.epochs);
            if (h[n - 1].val_acc < 0.9 || h[n - 1].loss >= h[0].loss) {
                fail_msg("optimizer %d, loss %d: validation accuracy %g, training loss %g after %g", optimizer, loss, h[n - 1].val_acc, h[n - 1].loss,
                         h[0].loss);
            }
            bench_close(&b);
        }
    }
}

static void schedules_follow_their_formulas(void **state) {
    (void)state;
    adze_train_opts o;
    adze_fields_default(adze_train_fields(), &o);
    o.lr = 0.8;
    o.gamma = 0.5;
    o.step_epochs = 2;
    static const double want[][3] = {
        {0.8, 0.8, 0.8}, {0.8, 0.4, 0.2}, {0.8, 0.2, 0.05}, {0.8, 0.4, 0.8 / 3}, {0.8, 0.4, 0.0}}; /* epochs 0, 2, 4 of 4 */
    for (int k = ADZE_CONSTANT; k <= ADZE_COSINE; k++) {
        o.schedule = k;
        for (int i = 0; i < 3; i++) {
            double lr = adze_schedule_lr(&o, 20 * i, 10, 40);
            if (fabs(lr - want[k][i]) > 1e-12) {
                fail_msg("schedule %d at epoch %d: %g, not %g", k, 2 * i, lr, want[k][i]);
            }
        }
    }
    o.warmup_epochs = 1;
    assert_true(fabs(adze_schedule_lr(&o, 0, 10, 40) - 0.08) < 1e-12 && fabs(adze_schedule_lr(&o, 9, 10, 40) - 0.8) < 1e-12);
    o.min_lr = 0.3;
    assert_true(fabs(adze_schedule_lr(&o, 40, 10, 40) - 0.3) < 1e-12);
}

/* An option that the others leave without use gets a remark; as many as the table has, each beside the choice that would read it, none. */
static void idle_options_are_remarked_upon(void **state) {
    (void)state;
    static const struct {
        const char *option, *value, *choice, *idle, *read;
    } cases[] = {{"momentum", "0.5", "optimizer", "sgd", "momentum"},
                 {"beta1", "0.5", "optimizer", "adagrad", "adam"},
                 {"beta2", "0.5", "optimizer", "momentum", "rmsprop"},
                 {"eps", "0.5", "optimizer", "sgd", "adagrad"},
                 {"bias_correction", "false", "optimizer", "lion", "adamw"},
                 {"centered", "true", "optimizer", "adam", "rmsprop"},
                 {"trust", "0.5", "optimizer", "lamb", "lars"},
                 {"muon_steps", "4", "optimizer", "soap", "muon"},
                 {"kfac_momentum", "false", "optimizer", "hf", "kfac"},
                 {"inner", "2", "optimizer", "kfac", "lbfgs"},
                 {"lookahead_alpha", "0.8", "lookahead_k", "0", "5"},
                 {"swa_lr", "0.01", "average", "ema", "swa"},
                 {"average_batches", "7", "average", "none", "polyak"},
                 {"gamma", "0.5", "schedule", "cosine", "step"},
                 {"milestones", "1,2", "schedule", "step", "milestones"},
                 {"lr", "0.5", "optimizer", "bfgs", "sgd"},
                 {"warmup_epochs", "1", "optimizer", "newton", "adam"},
                 {"huber_delta", "2", "loss", "mse", "huber"}};
    for (size_t i = 0; i < ADZE_COUNT(cases); i++) {
        for (int read = 0; read < 2; read++) {
            setting s = usual(tiny_net);
            bench b = {0};
            char want[96];
            const char *choice = read ? cases[i].read : cases[i].idle;
            const adze_field *fields = adze_train_fields();
            s.o.epochs = 4;
            assert_int_equal(adze_field_parse(NULL, adze_field_find(fields, cases[i].option), &s.o, cases[i].value, "test"), ADZE_OK);
            assert_int_equal(adze_field_parse(NULL, adze_field_find(fields, cases[i].choice), &s.o, choice, "test"), ADZE_OK);
            must(&b, bench_open(&b, &s));
            snprintf(want, sizeof want, "option %s does nothing with %s %s", cases[i].option, cases[i].choice, choice);
            if ((strstr(b.notes, want) != NULL) == read) {
                fail_msg("'%s' expected%s in: %s", want, read ? " not" : "", b.notes);
            }
            bench_close(&b);
        }
    }
    setting plain = usual(tiny_net);
    bench b = {0};
    must(&b, bench_open(&b, &plain));
    assert_null(strstr(b.notes, "does nothing"));
    bench_close(&b);
    plain.o.epochs = 4;
    for (int k = 0; k < 2; k++) { /* a rate that never arrives is one, too */
        plain.o.warmup_epochs = k ? 4 : 3;
        must(&b, bench_open(&b, &plain));
        assert_true((strstr(b.notes, "never arrives") != NULL) == k);
        bench_close(&b);
    }
}

static void wrong_options_are_refused_with_their_range(void **state) {
    (void)state;
    setting s = usual(tiny_net);
    bench b = {0};
    s.o.batch = 0;
    assert_int_equal(bench_open(&b, &s), ADZE_EARG);
    must_say(&b, "batch");
    bench_close(&b);
    s = usual(tiny_net);
    s.o.optimizer = 99;
    assert_int_equal(bench_open(&b, &s), ADZE_EARG);
    must_say(&b, "optimizer");
    bench_close(&b);
    s = usual(tiny_net);
    s.o.weight_decay = 0.1;
    assert_int_equal(bench_open(&b, &s), ADZE_EARG);
    must_say(&b, "use l2");
    bench_close(&b);
    s = usual(tiny_net);
    s.o.val_count = N;
    assert_int_equal(bench_open(&b, &s), ADZE_EARG);
    must_say(&b, "val_count");
    bench_close(&b);
    s = usual(tiny_net);
    s.o.loss = ADZE_LOSS_GAUSSIAN;
    assert_int_equal(bench_open(&b, &s), ADZE_ENOSUP);
    must_say(&b, "adze_loss_build");
    bench_close(&b);
    s = usual(tiny_net);
    s.o.loss = ADZE_LOSS_HINGE;
    s.o.label_smoothing = 0.1;
    assert_int_equal(bench_open(&b, &s), ADZE_EARG);
    must_say(&b, "not to hinge");
    bench_close(&b);
    s = usual(tiny_net);
    s.o.pad = 1;
    assert_int_equal(bench_open(&b, &s), ADZE_ESHAPE);
    bench_close(&b);
}

/* -- the bits */

static void threads_and_workers_change_no_bit(void **state) {
    (void)state;
    setting s = everything();
    bench want = {0}, b = {0};
    s.threads = 1;
    s.o.workers = 0;
    train(&want, &s, false);
    static const int threads[] = {2, 3, 8};
    for (size_t i = 0; i < ADZE_COUNT(threads); i++) {
        s.threads = threads[i];
        s.o.workers = threads[i];
        train(&b, &s, false);
        same_hash(&want, &b, "the number of threads or workers");
        assert_memory_equal(b.losses, want.losses, sizeof b.losses);
        bench_close(&b);
    }
    s.o.seed++;
    train(&b, &s, false);
    assert_memory_not_equal(b.hash, want.hash, sizeof b.hash);
    bench_close(&b);
    bench_close(&want);
}

static void accumulate_and_compare(const char *net) {
    setting s = usual(net);
    bench large = {0}, small = {0};
    s.o.dtype = 1;
    s.o.batch = 64;
    s.o.shift = 1;
    train(&large, &s, false);
    s.o.batch = 16;
    s.o.accumulate = 4;
    train(&small, &s, false);
    assert_int_equal(small.nlosses, large.nlosses);
    for (int64_t i = 0; i < large.nlosses; i++) {
        assert_true(fabs(small.losses[i] - large.losses[i]) < 1e-12);
    }
    int slot = adze_store_find(adze_trainer_store(large.t), "fc1:w");
    adze_tensor a, b;
    must(&large, adze_store_tensor(adze_trainer_store(large.t), slot, &a));
    must(&small, adze_store_tensor(adze_trainer_store(small.t), slot, &b));
    for (int64_t i = 0; i < a.dims[0] * a.dims[1]; i++) {
        assert_true(fabs(adze_tensor_get(&a, i) - adze_tensor_get(&b, i)) < 1e-12);
    }
    bench_close(&large);
    bench_close(&small);
}

/* To rounding: not every kernel sums a batch in leaves. The masks of dropout are the same, for they go by the example's place in the whole update. */
static void accumulated_batches_agree_with_the_large_batch(void **state) {
    (void)state;
    accumulate_and_compare(plain_net);
    accumulate_and_compare(drop_net);
}

typedef struct clips {
    double norm, value, share;
} clips;

/* The change of all trainable weights by one step of plain descent: its norm and its largest element, divided by the learning rate. */
static void one_step(clips c, double *norm, double *most) {
    setting s = usual(tiny_net);
    bench before = {0}, b = {.stop_at = 1};
    s.o.optimizer = ADZE_SGD;
    s.o.dtype = 1;
    s.o.lr = 0.5;
    s.o.l2 = 0;
    s.o.clip_norm = c.norm;
    s.o.clip_value = c.value;
    s.o.clip_auto = c.share;
    must(&before, bench_open(&before, &s));
    must(&b, bench_open(&b, &s));
    assert_int_equal(adze_trainer_run(b.t, NULL), ADZE_ESTOPPED);
    double sum = 0;
    *most = 0;
    for (int i = 0; i < adze_store_count(adze_trainer_store(b.t)); i++) {
        adze_tensor x, y;
        if ((adze_store_flags(adze_trainer_store(b.t), i) & ADZE_SLOT_TRAINABLE) == 0) {
            continue;
        }
        must(&b, adze_store_tensor(adze_trainer_store(before.t), i, &x));
        must(&b, adze_store_tensor(adze_trainer_store(b.t), i, &y));
        adze_type t = adze_tensor_type(&x);
        for (int64_t k = 0; k < adze_type_count(&t); k++) {
            double d = fabs(adze_tensor_get(&x, k) - adze_tensor_get(&y, k)) / s.o.lr;
            sum += d * d;
            *most = d > *most ? d : *most;
        }
    }
    *norm = sqrt(sum);
    bench_close(&before);
    bench_close(&b);
}

static void clipping_bounds_the_norm_or_every_element(void **state) {
    (void)state;
    double norm, most, raw, raw_most;
    one_step((clips){0}, &raw, &raw_most);
    one_step((clips){.norm = raw / 4}, &norm, &most);
    assert_true(fabs(norm - raw / 4) < 1e-9 && fabs(most - raw_most / 4) < 1e-9);
    one_step((clips){.norm = raw * 2}, &norm, &most);
    assert_true(fabs(norm - raw) < 1e-9);
    one_step((clips){.value = raw_most / 3}, &norm, &most);
    assert_true(fabs(most - raw_most / 3) < 1e-9 && norm < raw && norm > raw / 3);
}

/* A factor far above 1 changes no bit; one below bounds the steps, from a checkpoint on as without a break; and the norm's share is exact. */
static void clipping_by_the_usual_norm(void **state) {
    (void)state;
    bench free_run = {0}, loose = {0}, tight = {0}, two = {0};
    char dir[256];
    setting s = usual(tiny_net);
    train(&free_run, &s, false);
    s.o.clip_auto = 50;
    train(&loose, &s, false);
    same_hash(&free_run, &loose, "a clip that never acts");
    s.o.clip_auto = 0.5;
    train(&tight, &s, false);
    assert_memory_not_equal(tight.hash, free_run.hash, sizeof tight.hash);
    train_in_two(&two, &s, dir, sizeof dir, 7);
    same_hash(&tight, &two, "a break under clip_auto");
    double norm, most, raw, raw_most;
    one_step((clips){0}, &raw, &raw_most);
    one_step((clips){.share = 0.25}, &norm, &most);
    assert_true(fabs(norm - raw / 4) < 1e-9 && fabs(most - raw_most / 4) < 1e-9);
    bench_close(&free_run);
    bench_close(&loose);
    bench_close(&tight);
    bench_close(&two);
    faulty_folder_drop(dir);
}

/* -- what goes wrong -- */

/* Under any memory limit a training with roots of 600 x 600 does not begin, or goes on: their room is counted beforehand. */
static void roots_are_counted_in_the_memory_limit(void **state) {
    (void)state;
    static const char wide[] = "{\"name\":\"wide\",\"input\":[8,8,1],\"layers\":[{\"type\":\"flatten\",\"name\":\"f\"},"
                               "{\"type\":\"dense\",\"name\":\"a\",\"units\":600},{\"type\":\"dense\",\"name\":\"b\",\"units\":4}]}";
    setting s = usual(wide);
    s.o.optimizer = ADZE_SHAMPOO;
    s.o.precond_most = 1024;
    s.count = 56, s.o.epochs = 1;
    int refused = 0, done = 0;
    for (int mb = 8; mb <= 80; mb += 8) {
        bench b = {0};
        s.mem_limit = (size_t)mb << 20;
        const int st = bench_open(&b, &s);
        if (st != ADZE_OK) {
            assert_int_equal(st, ADZE_ENOMEM);
            refused++;
        } else {
            must(&b, adze_trainer_run(b.t, NULL));
            done++;
        }
        bench_close(&b);
    }
    assert_true(refused > 0 && done > 0);
}

/* What was gathered may be more than a number holds while no gradient is: the sentence names step and parameter. */
static int spoil_sums(void *user, adze_trainer *t, int64_t step, int64_t steps_per_epoch, double loss, double lr) {
    adze_tensor sums;
    (void)user, (void)step, (void)steps_per_epoch, (void)loss, (void)lr;
    assert_int_equal(adze_store_tensor(adze_trainer_store(t), adze_store_find(adze_trainer_store(t), "fc1:w:l"), &sums), ADZE_OK);
    adze_tensor_set(&sums, 0, INFINITY);
    return 0;
}

static void gathered_sums_that_overflow_are_told(void **state) {
    (void)state;
    setting s = usual(tiny_net);
    bench b = {0};
    s.o.optimizer = ADZE_SHAMPOO;
    must(&b, bench_open(&b, &s));
    b.t->cb.step_end = spoil_sums;
    assert_int_equal(adze_trainer_run(b.t, NULL), ADZE_ENAN);
    must_say(&b, "diverged at epoch 1, step 2: what the optimizer gathers of the gradients of 'fc1:w' is not finite; a smaller lr");
    bench_close(&b);
}

static void divergence_names_the_tensor_and_keeps_the_last_good_state(void **state) {
    (void)state;
    char dir[256];
    setting s = usual(full_net);
    bench b = {.hash_steps = true};
    adze_stop why;
    uint64_t hash[2];
    faulty_folder(dir, sizeof dir);
    s.dir = dir;
    s.o.lr = 1e30;
    s.o.save_every = 1;
    s.o.optimizer = ADZE_SGD;
    must(&b, bench_open(&b, &s));
    int st = adze_trainer_run(b.t, &why);
    assert_int_equal(st, ADZE_ENAN);
    assert_int_equal(why, ADZE_STOP_NAN);
    must_say(&b, "diverged at epoch 1, step");
    must_say(&b, "first bad tensor");
    must_say(&b, "'");
    must(&b, adze_store_hash(adze_trainer_store(b.t), hash));
    assert_memory_equal(hash, b.hash, sizeof hash); /* batch statistics of the failed step included */
    bench_close(&b);
    b = (bench){0};
    must(&b, bench_open(&b, &s));
    must(&b, adze_trainer_resume(b.t)); /* the checkpoint is the last good one */
    must(&b, adze_store_hash(adze_trainer_store(b.t), b.hash));
    assert_memory_equal(hash, b.hash, sizeof hash);
    bench_close(&b);
    faulty_folder_drop(dir);
}

static int (*good_read)(const adze_dataset *, int64_t, void *, int64_t *);
static int64_t bad_example;

static int bad_read(const adze_dataset *d, int64_t i, void *x, int64_t *label) {
    return i == bad_example ? ADZE_EIO : good_read(d, i, x, label);
}

static void a_bad_example_stops_the_step_before_anything_changes(void **state) {
    (void)state;
    setting s = usual(full_net);
    bench b = {.hash_steps = true};
    adze_stop why;
    uint64_t hash[2];
    s.o.accumulate = 3;
    s.o.workers = 0; /* the data set is changed below, which no worker thread may watch */
    must(&b, bench_open(&b, &s));
    must(&b, adze_store_hash(adze_trainer_store(b.t), b.hash));
    int64_t ids[N];
    must(&b, adze_split_ids(b.ctx, N, 40, s.o.seed, ids));
    good_read = b.data->read;
    bad_example = ids[7];
    b.data->read = bad_read;
    assert_int_equal(adze_trainer_run(b.t, &why), ADZE_EIO);
    assert_int_equal(why, ADZE_STOP_ERROR);
    char name[32];
    snprintf(name, sizeof name, "example %lld", (long long)bad_example);
    must_say(&b, name);
    must(&b, adze_store_hash(adze_trainer_store(b.t), hash));
    assert_memory_equal(hash, b.hash, sizeof hash);
    bench_close(&b);
}

static void any_failing_allocation_ends_in_a_status_without_a_leak(void **state) {
    (void)state;
    faulty_mem mem;
    faulty_mem_init(&mem);
    setting s = usual(tiny_net);
    s.mem = &mem.table;
    s.threads = 1;
    s.count = TINY_N;
    s.o.epochs = 1;
    s.o.val_count = 8;
    long n = 1, tries = 0;
    int st = ADZE_ENOMEM;
    while (st != ADZE_OK) {
        char dir[256];
        faulty_folder(dir, sizeof dir);
        s.dir = dir;
        bench b = {0};
        faulty_mem_arm(&mem, n, tries % 2);
        st = bench_open(&b, &s);
        st = st == ADZE_OK ? adze_trainer_run(b.t, NULL) : st;
        bool hit = mem.calls >= n;
        faulty_mem_arm(&mem, 0, false);
        if (st != ADZE_OK && st != ADZE_ENOMEM) {
            fail_msg("allocation %ld: %s: %s", n, adze_status_name(st), adze_errmsg(b.ctx));
        }
        bench_close(&b);
        if (!faulty_mem_clean(&mem)) {
            fail_msg("allocation %ld refused: %ld blocks leaked, %ld freed wrongly", n, (long)mem.blocks, (long)mem.wrong_frees);
        }
        faulty_folder_drop(dir);
        st = hit ? ADZE_ENOMEM : st; /* a refusal may be survived: fewer workers, no note */
        n += 1 + n / 100;
        tries++;
    }
    assert_true(tries > 100);
}

static void early_stopping_ends_with_its_reason_also_after_a_resume(void **state) {
    (void)state;
    char dir[256];
    setting s = usual(tiny_net);
    bench b = {0};
    adze_stop why;
    faulty_folder(dir, sizeof dir);
    s.dir = dir;
    s.o.epochs = 50;
    s.o.patience = 3;
    s.o.lr = 1e-12;
    s.o.monitor = ADZE_MONITOR_VAL_ACC;
    must(&b, bench_open(&b, &s));
    must(&b, adze_trainer_run(b.t, &why));
    assert_int_equal(why, ADZE_STOP_PATIENCE);
    const adze_epoch_stats *h;
    assert_int_equal(adze_trainer_history(b.t, &h), 4);
    assert_true(h[0].best && !h[1].best && !h[2].best && !h[3].best);
    assert_non_null(strstr(adze_stop_name(why), "patience"));
    bench_close(&b);
    must(&b, bench_open(&b, &s));
    must(&b, adze_trainer_resume(b.t));
    must(&b, adze_trainer_run(b.t, &why));
    assert_int_equal(why, ADZE_STOP_PATIENCE);
    assert_int_equal(b.nlosses, 0);
    bench_close(&b);
    s.o.val_count = 0;
    s.dir = NULL;
    assert_int_equal(bench_open(&b, &s), ADZE_EARG);
    must_say(&b, "patience");
    bench_close(&b);
    faulty_folder_drop(dir);
}

/* -- evaluation
 * --------------------------------------------------------------------------------------------------------------------------------------------- */

static void evaluation_does_not_depend_on_the_batch_and_agrees_with_prediction(void **state) {
    (void)state;
    setting s = usual(full_net);
    bench b = {0};
    s.o.epochs = 1;
    train(&b, &s, false);
    adze_metrics want, got;
    must(&b, adze_evaluate(b.ctx, b.model, adze_trainer_store(b.t), "", b.data, NULL, 0, N, &want));
    assert_int_equal(want.count, N);
    for (int64_t batch = 1; batch < 300; batch = 3 * batch + 4) {
        must(&b, adze_evaluate(b.ctx, b.model, adze_trainer_store(b.t), "", b.data, NULL, N, batch, &got));
        assert_true(got.loss == want.loss && got.nll == want.nll && got.acc == want.acc && got.top5 == want.top5);
        assert_memory_equal(got.confusion, want.confusion, CLASSES * CLASSES * sizeof *got.confusion);
        adze_metrics_free(b.ctx, &got);
    }
    assert_true(fabs(want.loss - want.nll) < 1e-5); /* the model's loss is cross-entropy */
    assert_true(want.top5 == 1);                    /* of four classes */
    adze_tensor x, probs;
    must(&b, adze_tensor_new(b.ctx, adze_model_input_type(b.model, N, ADZE_F32), &x));
    for (int64_t i = 0; i < N; i++) {
        float *at = (float *)adze_tensor_data(&x) + i * 100;
        must(&b, adze_preprocess_apply(adze_model_preprocess(b.model), &b.data->example, b.data->peek(b.data, i), ADZE_F32, at));
    }
    must(&b, adze_predict(b.ctx, b.model, adze_trainer_store(b.t), x, &probs));
    int64_t confusion[CLASSES * CLASSES] = {0};
    double nll = 0;
    for (int64_t i = 0; i < N; i++) {
        double sum = 0, top = -1;
        int best = 0;
        for (int c = 0; c < CLASSES; c++) {
            double p = adze_tensor_get(&probs, i * CLASSES + c);
            sum += p;
            best = p > top ? c : best;
            top = p > top ? p : top;
        }
        assert_true(fabs(sum - 1) < 1e-6);
        nll -= log(adze_tensor_get(&probs, i * CLASSES + labels[i]));
        confusion[labels[i] * CLASSES + best]++;
    }
    assert_memory_equal(confusion, want.confusion, sizeof confusion);
    assert_true(fabs(nll / N - want.nll) < 1e-5);
    adze_report r;
    must(&b, adze_metrics_report(b.ctx, &want, &r));
    assert_true(fabs(r.micro.recall - want.acc) < 1e-15 && fabs(r.perplexity - exp(want.nll)) < 1e-12);
    assert_true(adze_metrics_top(&want, 1) == want.acc && r.ece >= 0 && r.ece <= r.mce);
    adze_report_free(b.ctx, &r);
    adze_metrics_free(b.ctx, &want);
    adze_tensor_free(&x);
    adze_tensor_free(&probs);
    bench_close(&b);
}

static void checkpoints_are_models_too(void **state) {
    (void)state;
    char dir[256], path[300];
    setting s = usual(full_net);
    bench b = {0};
    faulty_folder(dir, sizeof dir);
    s.dir = dir;
    train(&b, &s, false);
    snprintf(path, sizeof path, "%s/last", dir);
    adze_model *m;
    adze_store *store;
    must(&b, adze_model_load(b.ctx, path, &m, &store));
    adze_metrics one, two;
    must(&b, adze_evaluate(b.ctx, b.model, adze_trainer_store(b.t), "", b.data, NULL, 0, 64, &one));
    must(&b, adze_evaluate(b.ctx, m, store, "", b.data, NULL, 0, 64, &two));
    assert_true(one.loss == two.loss && one.acc == two.acc);
    adze_metrics_free(b.ctx, &one);
    adze_metrics_free(b.ctx, &two);
    adze_store_free(store);
    adze_model_free(m);
    assert_true(adze_trainer_memory(b.t) > 0);
    bench_close(&b);
    faulty_folder_drop(dir);
}

int main(void) {
    make_data();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_optimizer_loss_and_dtype_learns),
        cmocka_unit_test(schedules_follow_their_formulas),
        cmocka_unit_test(idle_options_are_remarked_upon),
        cmocka_unit_test(wrong_options_are_refused_with_their_range),
        cmocka_unit_test(threads_and_workers_change_no_bit),
        cmocka_unit_test(accumulated_batches_agree_with_the_large_batch),
        cmocka_unit_test(clipping_bounds_the_norm_or_every_element),
        cmocka_unit_test(clipping_by_the_usual_norm),
        cmocka_unit_test(early_stopping_ends_with_its_reason_also_after_a_resume),
        cmocka_unit_test(roots_are_counted_in_the_memory_limit),
        cmocka_unit_test(gathered_sums_that_overflow_are_told),
        cmocka_unit_test(divergence_names_the_tensor_and_keeps_the_last_good_state),
        cmocka_unit_test(a_bad_example_stops_the_step_before_anything_changes),
        cmocka_unit_test(any_failing_allocation_ends_in_a_status_without_a_leak),
        cmocka_unit_test(evaluation_does_not_depend_on_the_batch_and_agrees_with_prediction),
        cmocka_unit_test(checkpoints_are_models_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
