/* A model read from its file's tree or JSON text, and the parts of the file that are no layers: input, preprocessing, class names. */
#include "model/layer.h"

#include <math.h>
#include <stdio.h>

enum { MAX_CLASSES = 1000000, MAX_PREPROCESS_CHANNELS = 16 };

const char *const adze_norm_names[] = {"zscore",         "none",           "center", "minmax", "zscore_feature",
                                       "center_feature", "minmax_feature", "gcn",    "zca",    NULL};

/* x: the pixel times `scale`, 1 / 255 */
static const adze_about NORMS[] = {
    [ADZE_NORM_ZSCORE] = {.formula = "(x - mean) / deviation of its channel", .paper = "LeCun, Bottou, Orr and Mueller 1998, section 4.3"},
    [ADZE_NORM_NONE] = {.formula = "x"},
    [ADZE_NORM_CENTER] = {.formula = "x - mean of its channel", .paper = "LeCun, Bottou, Orr and Mueller 1998, section 4.3"},
    [ADZE_NORM_MINMAX] = {.formula = "(x - smallest) / (largest - smallest) of its channel: 0 to 1"},
    [ADZE_NORM_ZSCORE_FEATURE] = {.formula = "zscore with a mean and a deviation for each pixel and channel; the border is 0"},
    [ADZE_NORM_CENTER_FEATURE] = {.formula = "center with a mean for each pixel and channel (the mean picture)", .paper = "Krizhevsky et al. 2012"},
    [ADZE_NORM_MINMAX_FEATURE] = {.formula = "minmax with a range for each pixel and channel"},
    [ADZE_NORM_GCN] = {.formula = "global contrast: (x - mean) / deviation of its own example; nothing is fitted",
                       .paper = "Coates, Ng and Lee 2011; Goodfellow et al. 2013"},
    [ADZE_NORM_ZCA] = {.formula = "(x - mean) (C + eps I)^(-1/2), C the covariance of all pixels and channels; the border is 0",
                       .paper = "Bell and Sejnowski 1997; Krizhevsky 2009, appendix A"},
};
_Static_assert(ADZE_COUNT(NORMS) + 1 == ADZE_COUNT(adze_norm_names), "every preprocessing has a name and a row");

bool adze_norm_about(int i, adze_about *out) {
    if (i < 0 || i >= (int)ADZE_COUNT(NORMS)) {
        return false;
    }
    *out = NORMS[i];
    out->name = adze_norm_names[i];
    return true;
}

static const char *const TASKS[] = {"classify", "regress", NULL};

typedef struct head {
    int64_t version;
    char name[64];
    int32_t task;
    adze_ints input;
    char drop_path[sizeof(((adze_model *)0)->drop_path)];
} head;

const adze_field adze_model_fields[] = {
    {"adze", ADZE_F_I64, 0, offsetof(head, version), 0, "1", ADZE_MODEL_VERSION, ADZE_MODEL_VERSION, NULL, "version of the file format"},
    {"name", ADZE_F_STR, ADZE_FIELD_REQUIRED, offsetof(head, name), 64, NULL, 0, 0, NULL, "what the network is called"},
    {"task", ADZE_F_ENUM, 0, offsetof(head, task), 0, "classify", 0, 0, TASKS, "classify: the last layer has one number per class; regress: any"},
    {"input", ADZE_F_INTS, ADZE_FIELD_REQUIRED, offsetof(head, input), 0, NULL, 1, 65536, NULL, "shape of one example: [height, width, channels]"},
    {"drop_path", ADZE_F_STR, 0, offsetof(head, drop_path), sizeof(((head *)0)->drop_path), "", 0, 0, NULL,
     "stochastic depth of all blocks: linear:0.5 (falling from 1 to this at the last one) or 0.8 (all alike); each `add` may have its own"},
    {0},
};

const adze_field adze_preprocess_fields[] = {
    {"scale", ADZE_F_F64, 0, offsetof(adze_preprocess, scale), 0, "0.00392156862745098", 1e-30, 1e30, NULL, "factor on the pixel, first"},
    {"norm", ADZE_F_ENUM, 0, offsetof(adze_preprocess, norm), 0, "zscore", 0, 0, adze_norm_names, "what is subtracted and divided by"},
    {"pad", ADZE_F_I64, 0, offsetof(adze_preprocess, pad), 0, "0", 0, 4096, NULL, "pixels of border added on every side"},
    {"eps", ADZE_F_F64, 0, offsetof(adze_preprocess, eps), 0, "0.01", 0, 1e6, NULL, "zca: added to the variance in every direction"},
    {"fixed", ADZE_F_BOOL, 0, offsetof(adze_preprocess, fixed), 0, "false", 0, 0, NULL, "mean and sd stay as given instead of being fitted"},
    {0},
};

/* A list of one finite number per channel; what is missing leaves the defaults. Returns how many. */
static int read_channels(adze_faults *f, const adze_tree *t, const char *key, double lo, double *out) {
    const adze_tree *list = adze_tree_get(t, key);
    int n = 0;
    if (!list) {
        return 0;
    }
    if (list->kind != ADZE_T_LIST || !list->child) {
        adze_fault(f, list, "'%s' of preprocess is a list of one number per channel", key);
        return 0;
    }
    for (const adze_tree *e = list->child; e; e = e->next, n++) {
        if (n == MAX_PREPROCESS_CHANNELS) {
            adze_fault(f, e, "'%s' of preprocess has more than %d numbers", key, MAX_PREPROCESS_CHANNELS);
            break;
        }
        if (e->kind != ADZE_T_SCALAR || !adze_parse_f64(e->text, &out[n]) || !isfinite(out[n]) || out[n] < lo) {
            adze_fault(f, e, "'%s' of preprocess must be %s, not '%.40s'", key, lo > 0 ? "positive numbers" : "numbers", e->text ? e->text : "");
            out[n] = 1;
        }
    }
    return n;
}

int adze_preprocess_from_tree(adze_faults *f, const adze_tree *t, adze_preprocess *p) {
    int channels = p->channels;
    for (int i = 0; i < MAX_PREPROCESS_CHANNELS; i++) {
        p->mean[i] = 0;
        p->sd[i] = 1;
    }
    adze_fields_default(adze_preprocess_fields, p);
    if (!t) {
        return ADZE_OK;
    }
    if (t->kind != ADZE_T_MAP) {
        adze_fault(f, t, "'preprocess' is a map such as {pad: 2}");
        return ADZE_EARG;
    }
    int before = f->count;
    const char *const skip[] = {"mean", "sd", NULL};
    f->count += adze_tree_fields(f->ctx, t, adze_preprocess_fields, p, f->file, "'preprocess'", skip, &f->text);
    int nmean = read_channels(f, t, "mean", -INFINITY, p->mean), nsd = read_channels(f, t, "sd", 1e-30, p->sd);
    if (f->count == before && !adze_norm_per_channel(p) && (nmean || nsd || p->fixed)) {
        adze_fault(f, t, "'mean', 'sd' and 'fixed' of preprocess are for norms per channel, not for %s; leave them out", adze_norm_names[p->norm]);
    } else if (f->count == before && ((nmean && nmean != channels) || (nsd && nsd != channels))) {
        adze_fault(f, t, "preprocess has %d means and %d deviations, the input has %d channels", nmean, nsd, channels);
    }
    return f->count == before ? ADZE_OK : ADZE_EARG;
}

int adze_class_names_from_tree(adze_model *m, adze_faults *f, const adze_tree *t) {
    if (!t) {
        return ADZE_OK;
    }
    int n = adze_tree_len(t);
    if (t->kind != ADZE_T_LIST || n < 1 || n > MAX_CLASSES) {
        adze_fault(f, t, "'class_names' is a list of names, one per class");
        return ADZE_EARG;
    }
    int64_t bytes = (int64_t)n * (int64_t)sizeof(char *);
    m->class_names = adze_arena_alloc(&m->arena, (size_t)bytes);
    TRY(ADZE_GOT(m->class_names));
    for (const adze_tree *e = t->child; e; e = e->next) {
        if (e->kind != ADZE_T_SCALAR && e->kind != ADZE_T_STRING) {
            adze_fault(f, e, "a class name is a text");
            return ADZE_EARG;
        }
        m->class_names[m->nclass_names] = adze_arena_strdup(&m->arena, e->text);
        TRY(ADZE_GOT(m->class_names[m->nclass_names++]));
    }
    return ADZE_OK;
}

static void read_head(adze_model *m, adze_faults *f, const adze_tree *t) {
    head h = {0};
    const char *const skip[] = {"preprocess", "class_names", "layers", NULL};
    adze_fields_default(adze_model_fields, &h);
    int before = f->count;
    f->count += adze_tree_fields(m->ctx, t, adze_model_fields, &h, f->file, "the model", skip, &f->text);
    if (f->count == before && (h.input.n < 1 || h.input.n > ADZE_MAX_RANK - 1)) {
        adze_fault(f, adze_tree_get(t, "input"), "'input' takes 1 to %d sizes, such as [28, 28, 1]", ADZE_MAX_RANK - 1);
        h.input.n = 0;
    }
    snprintf(m->name, sizeof m->name, "%s", h.name);
    m->task = h.task;
    m->input = h.input;
    memcpy(m->drop_path, h.drop_path, sizeof m->drop_path);
    int64_t channels = h.input.n > 0 ? h.input.v[h.input.n - 1] : 1;
    m->pre.channels = channels <= MAX_PREPROCESS_CHANNELS ? (int)channels : 1; /* with more channels one mean and one deviation serve all */
}

/* After the layers have been built once: what the last one must be. */
static void check_task(adze_model *m, adze_faults *f, const adze_tree *layers) {
    const adze_layer *last = &m->layers[m->nlayers - 1];
    if (m->task != 0) {
        return;
    }
    const int64_t classes = last->out.dims[last->out.rank - 1]; /* of each example, or of each step of a sequence */
    if (last->out.rank < 2 || last->out.rank > 3 || classes < 2 || classes > MAX_CLASSES) {
        adze_type one = last->out;
        adze_fault(f, layers, "a classifier ends in one number for each of at least two classes, but layer '%s' gives %s; or write 'task: regress'",
                   last->path, ADZE_SHOWN(&one));
        return;
    }
    if (last->spec->kind == &adze_layer_softmax) {
        adze_fault(f, last->spec->tree, "a classifier's last layer is no softmax: the loss and the prediction apply it; take it out");
        return;
    }
    m->classes = (int)classes;
    m->class_numbers = adze_arena_alloc(&m->arena, (size_t)m->classes * sizeof *m->class_numbers);
    for (int i = 0; m->class_numbers && i < m->classes; i++) {
        snprintf(m->class_numbers[i], sizeof *m->class_numbers, "%d", i);
    }
    if (m->nclass_names && m->nclass_names != m->classes) {
        adze_fault(f, layers, "there are %d class names, but layer '%s' has %d outputs", m->nclass_names, last->path, m->classes);
    }
}

/* What is accepted can be saved and read again: its canonical form keeps to the limit, too. */
static int check_length(const adze_model *m, adze_faults *f, const adze_tree *t) {
    char *json;
    TRY(adze_model_to_json(m, &json));
    size_t n = strlen(json);
    adze_free(m->ctx, json);
    if (n > ADZE_MODEL_MAX_BYTES) {
        adze_fault(f, t, "written out with all names the model has %zu bytes, at most %d are allowed; use repeat", n, ADZE_MODEL_MAX_BYTES);
    }
    return ADZE_OK;
}

static void forget_tree(adze_spec *s) {
    for (; s; s = s->next) {
        s->tree = NULL;
        forget_tree(s->child);
    }
}

/* Reads all of it; faults are collected, other failures returned. */
static int read_model(adze_model *m, adze_faults *f, const adze_tree *t) {
    if (t->kind != ADZE_T_MAP) {
        adze_fault(f, t, "a model file is a map with the keys name, input and layers");
        return ADZE_OK;
    }
    read_head(m, f, t);
    adze_preprocess_from_tree(f, adze_tree_get(t, "preprocess"), &m->pre);
    m->pre_given = adze_tree_get(t, "preprocess") != NULL;
    if (adze_class_names_from_tree(m, f, adze_tree_get(t, "class_names")) == ADZE_ENOMEM) {
        return ADZE_ENOMEM;
    }
    const adze_tree *layers = adze_tree_get(t, "layers");
    if (!layers || layers->kind != ADZE_T_LIST || !layers->child) {
        adze_fault(f, layers ? layers : t, "the model needs 'layers', a list of at least one layer");
        return ADZE_OK;
    }
    m->specs = adze_specs_read(m, f, layers);
    TRY(ADZE_GOT(!f->text.failed));
    TRY(adze_model_unroll(m, f));
    if (f->count) {
        return ADZE_OK; /* shapes of a broken file mean nothing */
    }
    int bad = 0, status = adze_model_find_branches(m, &bad);
    status = status == ADZE_OK ? adze_model_probe(m, &bad) : status;
    if (status == ADZE_ENOMEM) {
        return status;
    }
    if (status != ADZE_OK) {
        adze_tree at = {.line = m->layers[bad].line, .col = m->layers[bad].col};
        adze_fault(f, &at, "%s", adze_errmsg(m->ctx));
        return ADZE_OK;
    }
    check_task(m, f, layers);
    TRY(check_length(m, f, t));
    return m->classes && !m->class_numbers ? ADZE_ENOMEM : ADZE_OK;
}

int adze_model_from_tree(adze_ctx *ctx, const adze_tree *t, const char *file, adze_model **out) {
    *out = NULL;
    adze_model *m = adze_alloc(ctx, 1, sizeof *m);
    TRY(ADZE_GOT(m));
    m->ctx = m->arena.ctx = ctx;
    adze_faults f = {.ctx = ctx, .file = file ? file : "model", .text = {.ctx = ctx}};
    int status = read_model(m, &f, t);
    if (status == ADZE_OK) {
        status = adze_faults_finish(&f);
    }
    adze_text_drop(&f.text);
    forget_tree(m->specs);
    if (status != ADZE_OK) {
        adze_model_free(m);
        return status;
    }
    *out = m;
    return ADZE_OK;
}

int adze_model_from_json(adze_ctx *ctx, const char *text, size_t n, const char *file, adze_model **out) {
    *out = NULL;
    if (n > ADZE_MODEL_MAX_BYTES) {
        return adze_fail(ctx, ADZE_EFORMAT, "%s: the model has %zu bytes, at most %d are allowed", file, n, ADZE_MODEL_MAX_BYTES);
    }
    adze_arena arena = {.ctx = ctx};
    adze_tree *t;
    int status = adze_json_parse(&arena, text, n, file, &t);
    if (status == ADZE_OK) {
        status = adze_model_from_tree(ctx, t, file, out);
    }
    adze_arena_free(&arena);
    return status;
}

void adze_model_free(adze_model *m) {
    if (m) {
        adze_free(m->ctx, m->layers);
        adze_free(m->ctx, m->pre.feature);
        adze_free(m->ctx, m->params);
        adze_arena_free(&m->arena);
        adze_free(m->ctx, m);
    }
}

/* -- small facts -- */

const char *adze_model_data(const adze_model *m) {
    return m->data;
}

const char *adze_model_name(const adze_model *m) {
    return m->name;
}

adze_type adze_model_input_type(const adze_model *m, int64_t batch, adze_dtype d) {
    adze_type t = {.dtype = d, .rank = (int32_t)m->input.n + 1};
    t.dims[0] = batch;
    for (int i = 0; i < (int)m->input.n; i++) {
        t.dims[i + 1] = m->input.v[i];
    }
    return t;
}

adze_type adze_model_label_type(const adze_model *m, int64_t batch) {
    adze_type t = m->layers[m->nlayers - 1].out;
    t.dtype = ADZE_I64;
    t.rank--;
    t.dims[0] = batch;
    return t;
}

int adze_model_classes(const adze_model *m) {
    return m->classes;
}

const char *adze_model_class_name(const adze_model *m, int i) {
    if (i < 0 || i >= m->classes) {
        return "";
    }
    return m->nclass_names ? m->class_names[i] : m->class_numbers[i];
}

int adze_model_set_class_names(adze_model *m, const char *const *names, int n) {
    if (n != m->classes) {
        return adze_fail(m->ctx, ADZE_EARG, "model '%s' has %d classes, %d names were given", m->name, m->classes, n);
    }
    char **copy = adze_arena_alloc(&m->arena, (size_t)n * sizeof *copy);
    for (int i = 0; copy && i < n; i++) {
        copy[i] = adze_arena_strdup(&m->arena, names[i]);
        TRY(ADZE_GOT(copy[i]));
    }
    TRY(ADZE_GOT(copy));
    m->class_names = copy;
    m->nclass_names = n;
    return ADZE_OK;
}

const adze_preprocess *adze_model_preprocess(const adze_model *m) {
    return &m->pre;
}

void adze_model_set_preprocess(adze_model *m, const adze_preprocess *p) {
    if (m->pre.feature != p->feature) {
        adze_free(m->ctx, m->pre.feature);
    }
    m->pre = *p;
    m->pre_given = true;
}
