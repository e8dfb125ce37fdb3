/* Curvature of a model's loss on examples: Fisher matrices of small models, and what a step down the gradient is worth. */
#ifndef ADZE_CURVATURE_H
#define ADZE_CURVATURE_H

#include "linalg.h"
#include "train.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum adze_fisher_kind {
    ADZE_FISHER_GGN,       /* J' H J: generalised Gauss-Newton, H the loss's Hessian at the outputs (Schraudolph 2002) */
    ADZE_FISHER_EXACT,     /* E[grad grad'] over targets as the model itself foretells them (Amari 1998); equals ggn */
    ADZE_FISHER_SAMPLED,   /* the same from so many drawn targets of each example */
    ADZE_FISHER_EMPIRICAL, /* grad grad' at the data's own targets: another matrix (Kunstner, Hennig, Balles 2019) */
    ADZE_FISHER_KFAC,      /* Kronecker factors of each layer, from so many drawn targets (Martens and Grosse 2015) */
    ADZE_FISHER_KINDS
} adze_fisher_kind;
ADZE_API const char *adze_fisher_name(int kind); /* NULL past the end */

typedef struct adze_fisher_in {
    const adze_model *model;
    adze_store *store;        /* with the model's slots; they are copied, so that the store stays as it is */
    const adze_train_opts *o; /* loss, target; losses auto (but for rbf layers), softmax_xent, sigmoid_xent, mse */
    const adze_dataset *data;
    int64_t examples; /* the first so many of the data */
    int64_t samples;  /* of sampled and kfac: targets drawn for each example */
    uint64_t seed;
} adze_fisher_in;
ADZE_API int64_t adze_fisher_size(const adze_fisher_in *in); /* trainable numbers: rows of the matrix */
/* out (n, n) = the mean over the examples, parameters in the order of the store. As the model predicts: dropout off, statistics fixed.
 * ADZE_EARG for models of more than 4,000 parameters. */
ADZE_API int adze_fisher(adze_ctx *ctx, const adze_fisher_in *in, int kind, adze_la_mat out);

typedef struct adze_decrease { /* of the mean loss by the step -lr g */
    double loss, gg, ghg;      /* before; g'g; g'Hg */
    double predicted, actual;  /* -lr g'g + lr^2 g'Hg / 2; what it was */
    double first_order;        /* -lr g'g alone */
    double ratio;              /* actual / predicted */
    double critical_lr;        /* beyond this the quadratic rises: 2 g'g / g'Hg; inf where the curvature is not positive */
} adze_decrease;
/* in->samples is not read. */
ADZE_API int adze_decrease_along_gradient(adze_ctx *ctx, const adze_fisher_in *in, double lr, adze_decrease *out);

#ifdef __cplusplus
}
#endif
#endif
