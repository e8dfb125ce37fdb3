/* K-FAC's graphs: which weights have Kronecker factors, the factors of a batch, the preconditioned gradient. */
#ifndef ADZE_SRC_KFAC_GRAPH_H
#define ADZE_SRC_KFAC_GRAPH_H

#include "train/second.h"

typedef struct adze_kfac_layer { /* weights w and biases b as one matrix (rows, cols): what comes in, and 1; what goes out */
    int w, b;                    /* parameters; b -1: none */
    int64_t rows, cols, places;  /* places: positions of a convolution that share the weights; 1 of a dense layer */
    adze_val x, s;               /* of the graph searched last: input and sums */
    const void *conv;            /* attributes of the convolution in that graph; NULL: dense */
} adze_kfac_layer;

typedef struct adze_kfac_net {
    adze_kfac_layer *layers; /* nparams */
    int nlayers;
    int *outside; /* parameters without factors */
    int noutside;
} adze_kfac_net;

int adze_kfac_open(const adze_steps *s, adze_kfac_net *n);
void adze_kfac_close(const adze_steps *s, adze_kfac_net *n);
/* Finds the layers in a model's graph. */
int adze_kfac_find(const adze_steps *s, adze_graph *g, adze_kfac_net *n);
int adze_kfac_slots(const adze_steps *s, const adze_kfac_net *n);
/* Slots "w:a" and "w:s" become keep * old + (1 - keep) * those of the batch; "v" of the outside likewise. Input "keep". */
int adze_kfac_factors(const adze_steps *s, adze_graph *g, adze_kfac_net *n, int64_t batch, bool train);
/* Slots "w:d" become minus the preconditioned gradient. Input "shift" for the outside. Output "dots": see ADZE_KFAC_DOTS. */
int adze_kfac_direction(const adze_steps *s, adze_graph *g, const adze_kfac_net *n);
enum {
    KFAC_GD,
    KFAC_GM,
    KFAC_DD,
    KFAC_DM,
    KFAC_MM,
    KFAC_WD,
    KFAC_WM,
    KFAC_ED,
    KFAC_EDM,
    KFAC_EM,
    ADZE_KFAC_DOTS
}; /* products of g, d, m; W, E: with the L2 factor */

#endif
