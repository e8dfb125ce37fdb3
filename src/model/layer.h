/* What the files of this room share: the record of a layer type, the layers of a model, and what a layer's build function may call. */
#ifndef ADZE_SRC_LAYER_H
#define ADZE_SRC_LAYER_H

#include "adze/model.h"
#include "adze/ops.h"
#include "base/base.h"
#include "core/type.h"
#include "base/tree.h"

enum {
    ADZE_MODEL_VERSION = 1,
    ADZE_MODEL_MAX_BYTES = 1 << 20,  /* of a model file's text */
    ADZE_MODEL_MAX_LAYERS = 10000,   /* after repeats are unrolled */
    ADZE_MODEL_MAX_TABLES = 1 << 22, /* cells of all connection tables together */
    ADZE_MAX_FAULTS = 100,           /* of a file that are told */
    ADZE_LAYER_MAX_FROM = 16,
    ADZE_ZOO_MAX_OPTIONS = 32,
    ADZE_LAYER_NAME = 64 /* bytes of a layer's path, the final 0 included */
};
#define ADZE_MODEL_MAX_PARAMS 2000000000 /* trainable numbers of one model, and numbers of one layer's output for one example */

typedef enum adze_init_kind {
    ADZE_INIT_AUTO, /* the layer decides: he_normal before a relu-like activation, glorot_uniform else */
    ADZE_INIT_ZEROS,
    ADZE_INIT_CONSTANT,
    ADZE_INIT_NORMAL,
    ADZE_INIT_UNIFORM,
    ADZE_INIT_LECUN_NORMAL,
    ADZE_INIT_LECUN_UNIFORM,
    ADZE_INIT_GLOROT_NORMAL,
    ADZE_INIT_GLOROT_UNIFORM,
    ADZE_INIT_HE_NORMAL,
    ADZE_INIT_HE_UNIFORM,
    ADZE_INIT_ORTHOGONAL,
    ADZE_INIT_DELTA_ORTHOGONAL,
    ADZE_INIT_LOOKS_LINEAR,
    ADZE_INIT_IDENTITY,
    ADZE_INIT_SPARSE,
    ADZE_INIT_LECUN98
} adze_init_kind;

typedef struct adze_init { /* how a slot gets its first values */
    int32_t kind, fan;     /* fan: 0 the kind's own, 1 in, 2 out, 3 average */
    double gain;           /* multiplies the deviation or the limit */
    double value;          /* constant: the value; normal: the deviation; uniform: the limit; sparse: connections of a unit */
} adze_init;

extern const char *const adze_init_names[], *const adze_fan_names[], *const adze_activation_names[], *const adze_norm_names[];

#define ADZE_FITTED_SLOT "preprocess:feature" /* in files: (2, features) means and deviations, f64; zca: (1 + features, features) */
static inline bool adze_norm_per_feature(const adze_preprocess *p) {
    return (p->norm >= ADZE_NORM_ZSCORE_FEATURE && p->norm <= ADZE_NORM_MINMAX_FEATURE) || p->norm == ADZE_NORM_ZCA;
}
static inline adze_type adze_fitted_type(const adze_preprocess *p, int64_t n) { /* of the tensor, for n features */
    return adze_type_make(ADZE_F64, 2, (int64_t[]){p->norm == ADZE_NORM_ZCA ? 1 + n : 2, n});
}
static inline bool adze_norm_per_channel(const adze_preprocess *p) {
    return p->norm < ADZE_NORM_ZSCORE_FEATURE;
}

#define ADZE_WEIGHT_NORM_FIELD(S)                                                                                                                    \
    { "weight_norm", ADZE_F_BOOL, 0, offsetof(S, weight_norm), 0, "false", 0, 0, NULL, "weights are g v / |v| by output; v starts as 'init' says" }
#define ADZE_INIT_FIELDS(S, def_kind)                                                                                                                \
    {"init", ADZE_F_ENUM, 0, offsetof(S, init.kind), 0, def_kind, 0, 0, adze_init_names, "how the weights start"},                                   \
        {"init_fan", ADZE_F_ENUM, 0, offsetof(S, init.fan), 0, "auto", 0, 0, adze_fan_names, "fan that scales them; auto: in, glorot: average"},     \
        {"init_gain", ADZE_F_F64, 0, offsetof(S, init.gain), 0, "1", -1e6, 1e6, NULL, "factor on the deviation or limit"}, {                         \
        "init_value", ADZE_F_F64, 0, offsetof(S, init.value), 0, "0", -1e6, 1e6, NULL,                                                               \
            "constant's value, normal's deviation, uniform's limit, sparse's connections of a unit (0: 15)"                                          \
    }

typedef enum adze_activation {
    ADZE_ACT_NONE,
    ADZE_ACT_RELU,
    ADZE_ACT_LEAKY_RELU,
    ADZE_ACT_PRELU,
    ADZE_ACT_RELU6,
    ADZE_ACT_ELU,
    ADZE_ACT_SELU,
    ADZE_ACT_GELU,
    ADZE_ACT_GELU_TANH,
    ADZE_ACT_SILU,
    ADZE_ACT_HARD_SWISH,
    ADZE_ACT_SOFTPLUS,
    ADZE_ACT_SIGMOID,
    ADZE_ACT_HARD_SIGMOID,
    ADZE_ACT_TANH,
    ADZE_ACT_HARD_TANH,
    ADZE_ACT_LECUN_TANH,
    ADZE_ACT_CRELU,
    ADZE_ACT_MAXOUT,
    ADZE_ACT_K_WINNERS
} adze_activation;

typedef struct adze_act { /* an activation with its parameters, a layer's member `act` */
    int32_t fn;
    bool slope_shared;
    double slope, slope_init, alpha;
    int64_t pieces, winners;
} adze_act;

#define ADZE_ACT_PARAMS(S)                                                                                                                           \
    {"slope", ADZE_F_F64, 0, offsetof(S, act.slope), 0, "0.01", -1e6, 1e6, NULL, "leaky_relu: slope below 0"},                                       \
        {"slope_init", ADZE_F_F64, 0, offsetof(S, act.slope_init), 0, "0.25", -1e6, 1e6, NULL, "prelu: where the slopes below 0 start"},             \
        {"slope_shared", ADZE_F_BOOL, 0, offsetof(S, act.slope_shared), 0, "false", 0, 0, NULL, "prelu: one slope instead of one per channel"},      \
        {"alpha", ADZE_F_F64, 0, offsetof(S, act.alpha), 0, "1", 0, 1e6, NULL, "elu: goes down to minus this"},                                      \
        {"pieces", ADZE_F_I64, 0, offsetof(S, act.pieces), 0, "2", 1, 1000, NULL, "maxout: channels of which the largest is taken"}, {               \
        "winners", ADZE_F_I64, 0, offsetof(S, act.winners), 0, "0", 0, 1e9, NULL, "k_winners: numbers of an example that stay"                       \
    }
#define ADZE_ACT_FIELDS(S)                                                                                                                           \
    {"activation", ADZE_F_ENUM, 0, offsetof(S, act.fn), 0, "none", 0, 0, adze_activation_names, "function of the result"}, ADZE_ACT_PARAMS(S)

typedef struct adze_layer_kind adze_layer_kind;
typedef struct adze_builder adze_builder;

/* Of adze_layer_kind: the table of its fields and their struct; from so many inputs to so many. */
#define ADZE_LAYER_FIELDS(table, T) .fields = (table), .size = sizeof(T)
#define ADZE_LAYER_FROM(least, most) .from_min = (least), .from_max = (most)

struct adze_layer_kind {           /* a layer type: all that is known about it */
    const char *name, *doc, *cost; /* cost: forward, of one example; C: channels of the input */
    const adze_field *fields;
    size_t size;            /* bytes of the fields' struct */
    int from_min, from_max; /* how many inputs */
    bool keeps_mirror;      /* linear, and channels stay in their order: see adze_builder.mirror */
    /* What the field table cannot say; NULL when all is right, else a sentence in buf or a constant one. */
    const char *(*check)(const void *fields, char *buf, size_t n);
    adze_val (*build)(adze_builder *b, const void *fields);
};

const adze_layer_kind *adze_layer_kind_at(int i); /* NULL past the end */
const adze_layer_kind *adze_layer_kind_find(const char *name);

extern const adze_layer_kind adze_layer_dense, adze_layer_rbf, adze_layer_conv, adze_layer_maxpool, adze_layer_avgpool, adze_layer_global_avgpool,
    adze_layer_global_maxpool, adze_layer_subsample, adze_layer_activation, adze_layer_softmax, adze_layer_batchnorm, adze_layer_layernorm,
    adze_layer_dropout, adze_layer_flatten, adze_layer_reshape, adze_layer_add, adze_layer_concat, adze_layer_shortcut, adze_layer_rnn,
    adze_layer_lstm, adze_layer_gru, adze_layer_groupnorm, adze_layer_instancenorm, adze_layer_rmsnorm, adze_layer_lrn, adze_layer_fractional_maxpool,
    adze_layer_omp;

/* A layer as the file says it: a type with its fields, or a repeated list (kind NULL). Kept to print the file again. */
typedef struct adze_spec adze_spec;
struct adze_spec {
    const adze_layer_kind *kind; /* NULL: a repeat */
    char name[ADZE_LAYER_NAME];
    void *fields;
    int nfrom;
    const char *from[ADZE_LAYER_MAX_FROM]; /* as written; none: the previous layer */
    int64_t times;                         /* a repeat's count */
    adze_spec *child, *next;
    const adze_tree *tree; /* only while a file is being read */
};

typedef struct adze_layer { /* after repeats are unrolled */
    const adze_spec *spec;
    char path[ADZE_LAYER_NAME];
    int nfrom;
    int from[ADZE_LAYER_MAX_FROM]; /* layer numbers; -1: the model's input */
    int line, col;
    adze_type out; /* for a batch of 1 */
    int64_t params, fixed, mirror;
    double macs;
    double survival;  /* of a block's last layer: share of training steps in which its branch runs; 1: always (depth.c) */
    int branch_input; /* which input of that layer is the branch's */
    int branch;       /* the last layer of the block whose branch this layer belongs to; -1: none */
} adze_layer;

typedef struct adze_param { /* a slot of the model, as found by building it once */
    const char *slot;       /* "c1:w" */
    adze_type type;         /* dtype F32; the store's own dtype is chosen at init */
    uint32_t flags;
    adze_init init;
    int64_t fan_in, fan_out;
    const uint8_t *mask; /* (C, K), last two axes: 0 where a connection is absent; NULL: none */
    double shift;        /* added to elements [shift_from, shift_to) */
    int64_t shift_from, shift_to;
    int64_t mirror_in; /* looks_linear: period of the input channels, see adze_builder.mirror; 0: none */
    bool mirror_out;   /* and whether the outputs shall be such a period */
    bool norms;        /* starts as the lengths of the columns of the parameter before it */
} adze_param;

struct adze_model {
    adze_ctx *ctx;
    adze_arena arena;
    char name[64], data[64]; /* data: the set that it was trained on; "": not known */
    char training[192];      /* what its loss was, as options of a training: "loss=mse target=input .."; "": not known */
    int32_t task;            /* 0: classify, 1: regress */
    adze_ints input;
    char drop_path[32]; /* rule for all blocks; "": none */
    int depths;         /* blocks that may be skipped */
    adze_preprocess pre;
    bool pre_given; /* by the file or a caller: printed */
    int nclass_names;
    char **class_names;
    char (*class_numbers)[12]; /* "3": what a class is called when it has no name */
    adze_spec *specs;
    adze_layer *layers;
    int nlayers, cap_layers;
    adze_param *params;
    int nparams, cap_params;
    int classes;
    int64_t table_cells;
};

typedef struct adze_taps { /* what somebody wants to see of a build; any may be NULL */
    adze_val *sums, *outs; /* by layer: what goes into its activation ({0} where there is none), and its output */
    adze_val *states;      /* of recurrent layers, step by step, */
    int *owner,
        *time; /* and the layer and the step, from 1, of each; recurrent layers are then built so that gradients with respect to states are whole */
    int nstates, max_states; /* further ones are not noted */
    bool all_branches;       /* of stochastic depth: each runs in training too, outside of any guard, so that all can be seen */
} adze_taps;

struct adze_builder {
    const adze_model *m;
    adze_model *probe; /* the model whose facts are being gathered by a first build; NULL afterwards */
    int layer;
    adze_graph *g;
    bool train, statistics, drops; /* drops: masks of dropout and DropConnect are drawn */
    bool guards;                   /* branches of stochastic depth may be skipped */
    int64_t samples;               /* DropConnect in use: draws of its sums; 0: their mean */
    adze_dtype dtype;
    int nx;
    adze_val x[ADZE_LAYER_MAX_FROM];
    adze_taps *taps; /* NULL: nobody asks */
    /* Of the layer's input and output: channels of a period whose second half is relu(-z) where the first is relu(z); 0: none. */
    int64_t mirror_in, mirror;
    int failed; /* a status when a layer refused before any node could */
    char message[640];
};

/* -- what a build function may call; all are sticky like the graph's builders -- */

typedef struct adze_param_desc {
    const char *role; /* "w" */
    adze_type type;
    uint32_t flags;
    adze_init init;
    int64_t fan_in, fan_out;
    const uint8_t *mask; /* copied when the model is probed */
    int64_t absent;      /* masked elements */
    double shift;        /* added to elements [shift_from, shift_to) at the start */
    int64_t shift_from, shift_to;
    int64_t mirror_in; /* see adze_param */
    bool mirror_out, norms;
} adze_param_desc;
adze_val adze_layer_param(adze_builder *b, const adze_param_desc *d);
/* The weights d; normalised: g v / |v| by unit, the last axis (Salimans and Kingma 2016), with slots "v" and "g" instead of "w". */
adze_val adze_layer_weight(adze_builder *b, const adze_param_desc *d, bool normalised);
adze_val adze_layer_vector(adze_builder *b, const char *role, int64_t n, double value, uint32_t flags); /* (n), all starting at value */
bool adze_layer_has_map(adze_builder *b); /* input 0 is (N, S..., C) with a spatial axis; false: the layer has failed, with a sentence */
adze_val adze_layer_fail(adze_builder *b, int code, const char *fmt, ...) ADZE_PRINTF(3, 4); /* "layer 'c1': ..." */
void adze_layer_fixed(adze_builder *b, int64_t numbers);
void adze_layer_macs(adze_builder *b, double macs);
adze_type adze_layer_in(const adze_builder *b, int i); /* type of input i */
adze_val adze_layer_activate(adze_builder *b, adze_val x, const adze_act *a);
adze_init adze_layer_init(adze_init given, const adze_act *a);             /* AUTO made definite */
int32_t adze_activation_init(const adze_act *a);                           /* what AUTO stands for before it */
int64_t adze_activation_sums(const adze_act *a, int64_t outputs);          /* how many sums dense and conv compute for so many outputs */
const char *adze_activation_check(const adze_act *a, char *buf, size_t n); /* like adze_layer_kind.check */

/* -- omp.c: where the first atoms come from; those of the data are the trainer's (train/dictionary.c) -- */
enum { ADZE_OMP_INIT, ADZE_OMP_EXAMPLES, ADZE_OMP_KMEANS };
int32_t adze_omp_start(const adze_layer *l); /* ADZE_OMP_INIT of layers of other types too */

/* looks_linear: what the weights find in their input and prepare for the activation; width: outputs of a group. */
void adze_layer_mirror(adze_builder *b, adze_param_desc *d, const adze_act *a, int64_t width);

/* -- drop.c: DropConnect (Wan et al. 2013), here with weights divided by 1 - p in training, so that their mean is what is stored -- */
enum { ADZE_DROPCONNECT_BATCH, ADZE_DROPCONNECT_EXAMPLE };
typedef struct adze_dropconnect { /* of a layer */
    double p;
    int32_t mask; /* one for a batch, or one for each example as in the paper: (N, C, units) numbers more */
} adze_dropconnect;
extern const char *const adze_dropconnect_masks[];
adze_val adze_dropconnect_weight(adze_builder *b, adze_val w, const adze_dropconnect *d); /* masked for the batch while masks are drawn */
adze_val adze_dropconnect_matmul(adze_builder *b, adze_val x, adze_val w, const adze_dropconnect *d);
/* The variance of x (M * w) / (1 - p) over all masks M: p / (1 - p) x^2 w^2. */
adze_val adze_dropconnect_variance(adze_graph *g, adze_val x, adze_val w, double p);
/* The mean of the activation of b->samples draws from normal distributions: the paper's inference. */
adze_val adze_dropconnect_samples(adze_builder *b, adze_val mean, adze_val var, const adze_act *a);

/* -- init.c -- */
const char *adze_init_check(const adze_init *i, char *buf, size_t n); /* like adze_layer_kind.check */
bool adze_init_elementwise(const adze_init *i);                       /* elements are drawn one by one, so that some may be absent */
int adze_init_tensor(adze_ctx *ctx, const adze_param *p, adze_tensor t, uint64_t seed);

/* -- build.c -- */
/* adze_model_build that also says what lies inside. */
int adze_model_build_taps(const adze_model *m, adze_graph *g, adze_val x, const adze_build_opts *opts, adze_val *y, adze_taps *taps);
int adze_model_probe(adze_model *m, int *layer); /* builds once for a batch of 1, gathers parameters and shapes; *layer: where it failed */

/* -- parse.c -- */
typedef struct adze_faults { /* collects every fault of a file */
    adze_ctx *ctx;
    const char *file;
    adze_text text;
    int count;
} adze_faults;
void adze_fault(adze_faults *f, const adze_tree *at, const char *fmt, ...) ADZE_PRINTF(3, 4); /* a sentence with its place */
int adze_faults_finish(adze_faults *f);                                                       /* ADZE_OK, or all of them as the message */
adze_spec *adze_specs_read(adze_model *m, adze_faults *f, const adze_tree *list);             /* the layers as written */

/* -- unroll.c -- */
int adze_model_unroll(adze_model *m, adze_faults *faults); /* repeats unrolled, branches resolved: fills m->layers */

/* -- depth.c -- */
int adze_model_find_branches(adze_model *m, int *layer);           /* sets survival, branch_input and branch of all layers; *layer: where it failed */
void adze_layer_region(const adze_layer *l, char *out, size_t n);  /* the guard of the branch that ends in this layer */
int adze_model_all_branches(const adze_model *m, adze_session *s); /* like adze_model_draw_depth, but every branch runs */

/* -- read.c -- */
int adze_preprocess_from_tree(adze_faults *f, const adze_tree *t, adze_preprocess *p);
int adze_class_names_from_tree(adze_model *m, adze_faults *f, const adze_tree *t);
extern const adze_field adze_preprocess_fields[], adze_model_fields[];

/* -- print.c -- */
enum { ADZE_PRINT_ALL = 0, ADZE_PRINT_NET = 1 /* without preprocessing and class names */ };
int adze_model_print(const adze_model *m, int what, char **text);
void adze_preprocess_print(const adze_preprocess *p, bool yaml, adze_text *t);
void adze_class_names_print(const adze_model *m, bool yaml, adze_text *t);

/* -- zoo/zoo.c: a network as the tree that its file would become -- */
typedef struct adze_zoo {
    adze_ctx *ctx;
    adze_arena arena;
    adze_tree *root, *layers;
    bool failed;
    const struct adze_zoo_net *net;
    const char *key[ADZE_ZOO_MAX_OPTIONS], *value[ADZE_ZOO_MAX_OPTIONS]; /* as given after the net's name */
    int ngiven;
    char message[200]; /* what is wrong with them */
} adze_zoo;
typedef struct adze_zoo_option {    /* what may be chosen of a net: mlp:units=1024x3 */
    const char *name, *value, *doc; /* value: unless given */
} adze_zoo_option;
typedef struct adze_zoo_net {
    const char *name, *doc;
    void (*build)(adze_zoo *z);
    const adze_zoo_option *options; /* end in a NULL name; NULL: none */
    const adze_layer_kind *hidden;  /* fields of this layer are options too, for the layers that adze_zoo_hidden makes */
} adze_zoo_net;
/* zoo/options.c: "mlp:units=300-100,activation=tanh" */
int adze_zoo_parse(adze_zoo *z, const char *text);                          /* text: what follows the colon */
const char *adze_zoo_option_of(adze_zoo *z, const char *name);              /* the value in force */
void adze_zoo_input(adze_zoo *z);                                           /* the model's input by the option of that name, "28x28x1" */
int adze_zoo_sizes(adze_zoo *z, const char *name, int64_t *sizes, int max); /* "1024x3-100": how many; 0 and a message when it is no such list */
void adze_zoo_pass(adze_zoo *z, const char *name); /* sets a field of the last layer to what the option of that name says, if it was given */
/* A hidden layer with the options that are given of its fields, then normalisation, activation and dropout as options say. */
void adze_zoo_hidden(adze_zoo *z, const char *name, const char *size_key, int64_t size, const char *norm, const char *dropout);
adze_tree *adze_zoo_set(adze_zoo *z, adze_tree *map, const char *key, const char *value); /* "[1, 2]" becomes a list; NULL: a map */
/* Appends a layer: its type, its name, then keys and values in turn, ended by NULL. */
void adze_zoo_layer(adze_zoo *z, const char *type, const char *name, ...);
/* Appends a repeat, into which the next layers go; returns the list that z->layers was, to be put back after the last of them. */
adze_tree *adze_zoo_repeat(adze_zoo *z, const char *name, const char *times);
void adze_zoo_imagenet(adze_zoo *z); /* input of 224 x 224 x 3, the usual means and deviations, and the list of layers */
extern const adze_zoo_net adze_zoo_mlp[], adze_zoo_lenet[], adze_zoo_resnet[], adze_zoo_charlstm[], adze_zoo_alexnet[], adze_zoo_vgg[],
    adze_zoo_squeezenet[], adze_zoo_autoencoder[]; /* each ends in a NULL name */

#endif
