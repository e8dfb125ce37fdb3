/* adze predict: what a trained model says of pictures; needs nothing but the model file. */
#include "cli/drop_opts.h"
#include "train/evaluate.h"

#include <math.h>

typedef struct predict_opts {
    int64_t top;
    bool invert;
} predict_opts;
static const adze_field FIELDS[] = {
    {"top", ADZE_F_I64, 0, offsetof(predict_opts, top), 0, "3", 1, 1000, NULL, "classes to print for each picture"},
    {"invert", ADZE_F_BOOL, 0, offsetof(predict_opts, invert), 0, NULL, 0, 0, NULL, "the picture is dark on light, the training set light on dark"},
    {0}};

static int tables(cli_table *t) {
    t[0] = (cli_table){FIELDS, NULL, NULL};
    t[1] = (cli_table){CLI_DROP_FIELDS, NULL, "what training dropped"};
    return 2;
}

/* Grey from colour (Rec. 601 luma) or colour from grey, so that any PNG suits any model. */
static void convert(const uint8_t *from, int64_t have, uint8_t *to, int64_t want, int64_t pixels) {
    for (int64_t i = 0; i < pixels; i++) {
        const uint8_t *p = from + i * have;
        for (int64_t k = 0; k < want; k++) {
            if (have == want) {
                to[i * want + k] = p[k];
            } else {
                to[i * want + k] = have == 1 ? p[0] : (uint8_t)((299 * p[0] + 587 * p[1] + 114 * p[2] + 500) / 1000);
            }
        }
    }
}

/* The pixels of a PNG in the model's shape before padding. */
static int read_picture(cli *c, const adze_model *m, const char *path, bool invert, adze_type *example, uint8_t **pixels) {
    const adze_preprocess *p = adze_model_preprocess(m);
    adze_type in = adze_model_input_type(m, 1, ADZE_F32);
    if (in.rank != 4) {
        return adze_fail(c->ctx, ADZE_ENOSUP, "model '%s' does not take pictures", adze_model_name(m));
    }
    int64_t h = in.dims[1] - 2 * p->pad, w = in.dims[2] - 2 * p->pad, channels = in.dims[3];
    adze_tensor image;
    TRY(adze_png_read(c->ctx, path, &image));
    int status = ADZE_OK;
    if (image.dims[0] != h || image.dims[1] != w) {
        status = adze_fail(c->ctx, ADZE_EFORMAT, "'%s' has %lldx%lld pixels, the model '%s' takes %lldx%lld: rescale it first", path,
                           (long long)image.dims[1], (long long)image.dims[0], adze_model_name(m), (long long)w, (long long)h);
    } else {
        *pixels = adze_alloc(c->ctx, h * w * channels, 1);
        status = *pixels ? ADZE_OK : ADZE_ENOMEM;
    }
    if (status == ADZE_OK) {
        convert(adze_tensor_data(&image), image.dims[2], *pixels, channels, h * w);
        for (int64_t i = 0; invert && i < w * h * channels; i++) {
            (*pixels)[i] = (uint8_t)(255 - (*pixels)[i]);
        }
    }
    adze_tensor_free(&image);
    *example = adze_type_make(ADZE_U8, 3, (int64_t[]){h, w, channels});
    return status;
}

static void print_answer(cli *c, const adze_model *m, const char *path, const adze_tensor *probs, int64_t top, bool numbers, adze_text *t) {
    int classes = (int)probs->dims[1];
    adze_text_add(t, c->global.json ? "{\"schema\":1,\"file\":" : "%s", path);
    if (c->global.json) {
        adze_json_string(t, path);
        adze_text_add(t, ",\"top\":[");
    }
    int64_t shown = 0;
    for (double above = INFINITY, last = -1; shown < top && shown < classes; shown++) {
        int best = -1; /* the largest not above the last; equal ones in order of class */
        for (int k = 0; k < classes; k++) {
            double v = adze_tensor_get(probs, k);
            if ((v < above || (v == above && k > last)) && (best < 0 || v > adze_tensor_get(probs, best))) {
                best = k;
            }
        }
        if (best < 0) {
            break;
        }
        above = adze_tensor_get(probs, best);
        last = best;
        if (c->global.json) {
            adze_text_add(t, "%s{\"class\":", shown ? "," : "");
            adze_json_string(t, adze_model_class_name(m, best));
            adze_text_add(t, ",\"%s\":%.6f}", numbers ? "output" : "p", above);
        } else {
            adze_text_add(t, "%s %s %.4f", shown ? "," : ":", adze_model_class_name(m, best), above);
        }
    }
    adze_text_add(t, c->global.json ? "]}\n" : "\n");
}

/* Pictures wait here until there are enough for a batch; the plan of a batch stays for the next one of its size. */
enum { BATCH = 64 };
typedef struct queue {
    cli *c;
    const adze_model *m;
    adze_store *s;
    const predict_opts *o;
    adze_eval_opts how;
    adze_evaluator e;
    adze_tensor x; /* (BATCH, ..) */
    const char *paths[BATCH];
    int64_t n;
    int first; /* failure, which is the command's */
} queue;

static int answer(queue *q) {
    adze_tensor x, probs = {0}, row;
    const int64_t n = q->n;
    q->n = 0;
    if (n == 0) {
        return ADZE_OK;
    }
    if (q->e.batch != n) {
        adze_evaluator_close(&q->e);
        TRY(adze_evaluator_open_with(&q->e, q->c->ctx, q->m, q->s, n, &q->how));
        if (q->e.rebuilds) {
            return adze_fail(q->c->ctx, ADZE_EARG, "model '%s' was trained to give its input back: there is no class to predict",
                             adze_model_name(q->m));
        }
    }
    TRY(adze_tensor_slice(q->c->ctx, q->x, 0, 0, n, &x));
    TRY(adze_evaluator_predict(&q->e, &x, &probs));
    adze_text t = {.ctx = q->c->ctx};
    int status = ADZE_OK;
    for (int64_t i = 0; i < n && status == ADZE_OK; i++) {
        status = adze_tensor_slice(q->c->ctx, probs, 0, i, i + 1, &row);
        if (status == ADZE_OK) {
            print_answer(q->c, q->m, q->paths[i], &row, q->o->top, q->e.numbers, &t);
        }
    }
    adze_tensor_free(&probs);
    return status == ADZE_OK ? cli_print_text(q->c, &t) : status;
}

static int read_next(queue *q, const char *path) {
    adze_type example;
    uint8_t *pixels = NULL;
    adze_tensor x;
    int status = read_picture(q->c, q->m, path, q->o->invert, &example, &pixels);
    if (status == ADZE_OK && q->x.dtype == ADZE_NONE) {
        status = adze_tensor_new(q->c->ctx, adze_model_input_type(q->m, BATCH, ADZE_F32), &q->x);
    }
    status = status == ADZE_OK ? adze_tensor_slice(q->c->ctx, q->x, 0, q->n, q->n + 1, &x) : status;
    if (status == ADZE_OK) {
        status = adze_preprocess_apply(adze_model_preprocess(q->m), &example, pixels, ADZE_F32, adze_tensor_data(&x));
    }
    adze_free(q->c->ctx, pixels);
    return status;
}

/* A picture that fails is told when its turn comes and the others are still answered. */
static int add(queue *q, const char *path) {
    int status = read_next(q, path);
    if (status == ADZE_OK) {
        q->paths[q->n++] = path;
        return q->n == BATCH ? answer(q) : ADZE_OK;
    }
    if (status == ADZE_ENOMEM) {
        return status; /* the next would fail alike */
    }
    char message[1024];
    snprintf(message, sizeof(message), "%s", adze_errmsg(q->c->ctx));
    TRY(answer(q));
    fprintf(stderr, "adze: %s\n", message);
    q->first = q->first == ADZE_OK ? status : q->first;
    return ADZE_OK;
}

/* "-" reads file names from standard input, a line each; each is answered before the next is read, for whoever writes them may wait. */
static int add_list(queue *q) {
    char line[4096];
    TRY(answer(q));
    while (fgets(line, sizeof(line), stdin)) {
        line[strcspn(line, "\r\n")] = 0;
        if (line[0]) {
            TRY(add(q, line));
            TRY(answer(q));
        }
    }
    return ADZE_OK;
}

static int predict(cli *c, const cli_args *a, const predict_opts *o, const drop_opts *drop) {
    adze_model *m;
    queue q = {.c = c, .o = o};
    TRY(cli_drop_opts(c, drop, BATCH, &q.how));
    TRY(cli_load_trained(c, a->words[0], &m, &q.s));
    q.m = m;
    int status = ADZE_OK;
    for (int i = 1; i < a->nwords && status == ADZE_OK; i++) {
        status = strcmp(a->words[i], "-") == 0 ? add_list(&q) : add(&q, a->words[i]);
    }
    status = status == ADZE_OK ? answer(&q) : status;
    if (status == ADZE_OK && q.first != ADZE_OK) {
        status = adze_fail(c->ctx, q.first, "not every picture could be read (above)");
    }
    adze_evaluator_close(&q.e);
    adze_tensor_free(&q.x);
    adze_store_free(q.s);
    adze_model_free(m);
    return status;
}

static int run(cli *c, int argc, const char **argv) {
    predict_opts o;
    drop_opts drop;
    cli_args a = {.tables = {{FIELDS, &o, NULL}, {CLI_DROP_FIELDS, &drop, NULL}}, .ntables = 2};
    int status = cli_parse(c, &a, argc, argv, 2, -1);
    if (status == ADZE_OK && c->global.help) {
        cli_help(c->cmd, stdout);
    } else if (status == ADZE_OK) {
        status = predict(c, &a, &o, &drop);
    }
    cli_args_free(c, &a);
    return status;
}

const cli_cmd CLI_PREDICT = {
    "predict",
    "what a trained model says of PNG pictures",
    "predict MODEL.safetensors PICTURE... [options]",
    "  adze predict m.safetensors shirt.png\n  adze predict m.safetensors *.png --top 1 --json\n  ls *.png | adze predict m.safetensors -\n",
    tables,
    run};
