/* Models: a list of named layers with fields, checked against tables; the graphs built from it; its file.
 *
 * A model has one canonical form, JSON; people write the same tree as YAML (libadze-io reads it). A trained model is one safetensors file: weights,
 * model (metadata key "adze.model"), preprocessing and class names. */
#ifndef ADZE_MODEL_H
#define ADZE_MODEL_H

#include "graph.h"
#include "tree.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct adze_model adze_model;

typedef struct adze_about { /* a row of a table, for people */
    const char *name, *formula;
    const char *derivative; /* of an activation, else NULL */
    const char *paper;
    const char *cost; /* of an activation, per element; else NULL */
} adze_about;

/* -- making models ------------------------------------------------------------------------------------------------------------------------------- */

ADZE_API int adze_model_from_zoo(adze_ctx *ctx, const char *name, adze_model **out); /* "lenet5-caffe", "mlp:units=1024x3,activation=tanh" */
ADZE_API int adze_model_from_json(adze_ctx *ctx, const char *text, size_t n, const char *file, adze_model **out);
/* Checks the whole tree; the message lists every fault, a line each: "net.yaml:14:3: unknown key 'unit' in layer 'fc1'; did you mean 'units'?" */
ADZE_API int adze_model_from_tree(adze_ctx *ctx, const adze_tree *t, const char *file, adze_model **out);
ADZE_API void adze_model_free(adze_model *m);
ADZE_API int adze_model_to_json(const adze_model *m, char **text); /* canonical; adze_text_free */
ADZE_API int adze_model_to_yaml(const adze_model *m, char **text); /* what a person would write */
ADZE_API const char *adze_model_name(const adze_model *m);
ADZE_API const char *
adze_model_data(const adze_model *m); /* name of the data set that it was trained on, kept in its file; "" when it is not known */
ADZE_API adze_type adze_model_input_type(const adze_model *m, int64_t batch, adze_dtype d); /* (batch, H, W, C) */
ADZE_API adze_type adze_model_label_type(const adze_model *m,
                                         int64_t batch);                /* of a classifier: i64 (batch), or (batch, T) for scores at every step */
ADZE_API int adze_model_classes(const adze_model *m);                   /* 0 when it is no classifier */
ADZE_API const char *adze_model_class_name(const adze_model *m, int i); /* "3" when none were given */
ADZE_API int adze_model_set_class_names(adze_model *m, const char *const *names, int n);

typedef enum adze_norm { /* what mean and sd are; the first four per channel */
                         ADZE_NORM_ZSCORE,
                         ADZE_NORM_NONE,
                         ADZE_NORM_CENTER,
                         ADZE_NORM_MINMAX,
                         ADZE_NORM_ZSCORE_FEATURE, /* per pixel and channel: `feature` */
                         ADZE_NORM_CENTER_FEATURE,
                         ADZE_NORM_MINMAX_FEATURE,
                         ADZE_NORM_GCN, /* each example's own */
                         ADZE_NORM_ZCA  /* `feature`: means and a matrix */
} adze_norm;

typedef struct adze_preprocess { /* x = (pixel * scale - mean[c]) / sd[c], fitted on the training part only */
    double scale;
    int channels;
    double mean[16], sd[16];
    int64_t pad;  /* pixels of border added on every side before (28 -> 32 for lenet5) */
    bool fixed;   /* mean and sd come from the model file: training does not fit them */
    int32_t norm; /* adze_norm */
    int64_t nfeature;
    double *feature; /* nfeature means, then as many deviations (zca: then a row of the matrix for each, x = (pixel * scale - mean) matrix); NULL: not
                        fitted. Belongs to the model once it is set */
    double eps;      /* zca: added to the variance in every direction */
} adze_preprocess;
ADZE_API bool adze_norm_about(int i, adze_about *out);
ADZE_API const adze_preprocess *adze_model_preprocess(const adze_model *m);
ADZE_API void adze_model_set_preprocess(adze_model *m, const adze_preprocess *p);

ADZE_API int adze_zoo_count(void);
ADZE_API const char *adze_zoo_name(int i);
ADZE_API const char *adze_zoo_doc(int i); /* one line: the net and its paper */
/* What may be written after the net's name, "mlp:units=300-100,norm=none,..." with the values in force unless given; "" when there is nothing. */
ADZE_API int adze_zoo_usage(int i, char *out, size_t n);

/* -- using models
 * ------------------------------------------------------------------------------------------------------------------------------------ */

typedef struct adze_build_opts {
    size_t size;
    bool train;       /* dropout active, batch statistics used and the running ones updated */
    adze_dtype dtype; /* F32 or F64 */
    bool drops;       /* masks of dropout and DropConnect are drawn also in use (train: always): by the session's (seed, step) */
    int64_t samples;  /* DropConnect in use: its sums are so many draws from normal distributions, whose activations are averaged; 0: mean weights */
    bool statistics;  /* batchnorm uses the batch's statistics and stores them as the running ones; all else as in use */
} adze_build_opts;
/* Appends the model to a graph: x (N, ...) -> its last layer's output (N, classes). Slots are named "layer:w". A classifier's outputs are scores: the
 * largest is the best class and softmax makes them probabilities, also for rbf, whose outputs are minus the squared distances. */
ADZE_API int adze_model_build(const adze_model *m, adze_graph *g, adze_val x, const adze_build_opts *opts, adze_val *y);
/* The loss that the model's last layer asks for (softmax cross-entropy on logits; for RBF outputs LeCun's 1998 criterion), per example: (N). */
ADZE_API int adze_model_loss(const adze_model *m, adze_graph *g, adze_val y, adze_val label, adze_val *loss);
/* Stochastic depth (Huang et al. 2016). rule: "linear:P", block l of L runs in a share 1 - l/L (1 - P) of the training steps; "P", all blocks in this
 * share; "": all always. Blocks are layers `add` of two inputs; those whose own drop_path is not 1 keep it. In use each branch is scaled by its
 * share. ADZE_EARG when a block's branch cannot be told apart. */
ADZE_API int adze_model_set_drop_path(adze_model *m, const char *rule);
/* Draws which blocks of a training graph run next, by (seed, step) alone; at first, all do. */
ADZE_API int adze_model_draw_depth(const adze_model *m, adze_session *s, uint64_t seed, uint64_t step);
/* Adds all parameter and state slots to the store and initialises them: the same bits for the same seed. */
ADZE_API int adze_model_init(const adze_model *m, adze_store *s, adze_dtype d, uint64_t seed);

/* The same function with fewer numbers and steps, for use: each batchnorm whose input is a conv or dense layer's plain result, which nobody else
 * reads, goes into that layer's weights and bias (Ioffe and Szegedy 2015, section 3.1), and weight_norm's v and g become w. s: the model's slots,
 * without prefix. Both results are new, in s's dtype. */
ADZE_API int adze_model_fold(const adze_model *m, adze_store *s, adze_model **out, adze_store **folded);

typedef struct adze_layer_row { /* the summary table, one row a layer */
    char name[64], type[32];
    adze_type out;         /* for one example */
    int64_t params, fixed; /* trainable; not counted as parameters (code vectors, running statistics) */
    double macs;           /* multiply-accumulates of one example */
    int64_t act_bytes;     /* output, one example, f32 */
} adze_layer_row;
ADZE_API int adze_model_summary(const adze_model *m, adze_layer_row *rows, int n); /* number of layers, or < 0; rows may be NULL */
ADZE_API int64_t adze_model_params(const adze_model *m);

/* What is likely a mistake in the model, one sentence a line with what to do ("" when nothing is): weights that start equal, glorot before many
 * relus, inputs of large scale, batch normalisation of single examples (batch: as it will be trained with), biases that it takes away. */
ADZE_API int adze_model_remarks(const adze_model *m, int64_t batch, char **text); /* adze_text_free */

ADZE_API int adze_layer_count(void); /* the table of layer types */
ADZE_API const char *adze_layer_name(int i);
ADZE_API const char *adze_layer_doc(int i);
ADZE_API const char *adze_layer_cost(int i); /* operations of an output and number of parameters, as a formula in the fields' names */
ADZE_API const adze_field *adze_layer_fields(int i);

ADZE_API bool adze_activation_about(int i, adze_about *out); /* false past the end */
ADZE_API bool adze_init_about(int i, adze_about *out);

/* -- files
 * ---------------------------------------------------------------------------------------------------------------------------------------------- */

ADZE_API int adze_model_save(const adze_model *m, adze_store *s, const char *prefix,
                             const char *path); /* durable: temporary file, sync, rename, sync */
ADZE_API int adze_model_load(adze_ctx *ctx, const char *path, adze_model **m, adze_store **s);
/* The same with the weights that lie under `prefix` in the file ("avg/" in checkpoints of a training with an average); the store's names are plain.
 */
ADZE_API int adze_model_load_under(adze_ctx *ctx, const char *path, const char *prefix, adze_model **m, adze_store **s);

/* safetensors: named tensors and string metadata; every rule of the format is checked before memory is asked for. */
typedef struct adze_meta {
    const char *key, *value;
} adze_meta;
ADZE_API int adze_safetensors_save(adze_ctx *ctx, const char *path, const adze_named *t, int n, const adze_meta *meta, int nmeta);
typedef struct adze_safetensors adze_safetensors;
ADZE_API int adze_safetensors_open(adze_ctx *ctx, const char *path, adze_safetensors **out);
ADZE_API int adze_safetensors_parse(adze_ctx *ctx, const void *bytes, size_t n, const char *file, adze_safetensors **out); /* copies what it keeps */
ADZE_API void adze_safetensors_close(adze_safetensors *f);
ADZE_API int adze_safetensors_count(const adze_safetensors *f);
ADZE_API const char *adze_safetensors_name(const adze_safetensors *f, int i);
ADZE_API int adze_safetensors_tensor(const adze_safetensors *f, int i, adze_tensor *out); /* borrowed view; hash checked on first use when recorded */
ADZE_API int adze_safetensors_find(const adze_safetensors *f, const char *name);          /* index or -1 */
ADZE_API const char *adze_safetensors_meta(const adze_safetensors *f, const char *key);   /* NULL when absent */

#ifdef __cplusplus
}
#endif
#endif
