/* Fashion-MNIST through the C API: the whole way from the data set to a judged, saved and reloaded network. Trains the small `mlp` for two epochs. */
#include <adze.h>
#include <adze/io.h>
#include <stdio.h>

static int on_epoch(void *user, adze_trainer *t, const adze_epoch_stats *s) {
    (void)user, (void)t;
    printf("epoch %lld: train loss %.4f, validation accuracy %.4f\n", (long long)s->epoch + 1, s->loss, s->val_acc);
    return 0;
}

static int train(adze_ctx *ctx, adze_model *model, const adze_dataset *data, const char *file) {
    adze_train_opts o;
    adze_fields_default(adze_train_fields(), &o); /* the same defaults as `adze train` */
    o.epochs = 2;
    o.val_count = 5000;
    adze_trainer *trainer = NULL;
    adze_callbacks cb = {.epoch_end = on_epoch};
    adze_stop why;
    int status = adze_trainer_new(ctx, model, data, &o, NULL, &cb, &trainer);
    if (status == ADZE_OK) {
        status = adze_trainer_run(trainer, &why);
    }
    if (status == ADZE_OK) {
        status = adze_model_save(model, adze_trainer_store(trainer), "", file);
    }
    adze_trainer_free(trainer);
    return status;
}

static int judge(adze_ctx *ctx, const char *file, double *accuracy) {
    adze_model *model = NULL;
    adze_store *store = NULL;
    adze_dataset *test = NULL;
    adze_metrics m = {0};
    int status = adze_model_load(ctx, file, &model, &store);
    if (status == ADZE_OK) {
        status = adze_dataset_open(ctx, "fashion-mnist", "test", &test);
    }
    if (status == ADZE_OK) {
        status = adze_evaluate(ctx, model, store, "", test, NULL, test->count, 250, &m);
    }
    *accuracy = m.acc;
    adze_metrics_free(ctx, &m);
    adze_dataset_close(test);
    adze_store_free(store);
    adze_model_free(model);
    return status;
}

int main(void) {
    adze_ctx *ctx = NULL;
    adze_model *model = NULL;
    adze_dataset *data = NULL;
    double accuracy = 0;
    const char *file = "fashion-mlp.safetensors";
    int status = adze_ctx_new(NULL, &ctx);
    if (status != ADZE_OK) {
        return 1;
    }
    status = adze_io_register(ctx); /* gzip: the data set comes compressed */
    if (status == ADZE_OK) {
        status = adze_model_from_zoo(ctx, "mlp", &model);
    }
    if (status == ADZE_OK) {
        status = adze_dataset_open(ctx, "fashion-mnist", "train", &data);
    }
    if (status == ADZE_OK) {
        status = train(ctx, model, data, file);
    }
    if (status == ADZE_OK) {
        status = judge(ctx, file, &accuracy);
    }
    if (status == ADZE_OK) {
        printf("test accuracy %.2f %%\n", 100 * accuracy);
    } else {
        fprintf(stderr, "%s\n", adze_errmsg(ctx));
    }
    adze_dataset_close(data);
    adze_model_free(model);
    adze_ctx_free(ctx);
    return status == ADZE_OK && accuracy > 0.8 ? 0 : 1;
}
