/* LeNet-5 as published in 1998, and the one that Caffe made common. */
#include "model/layer.h"

/* Table I of the paper: the maps of S2 that each of the 16 maps of C3 sees. */
static const char C3_TABLE[] = "0 1 2, 1 2 3, 2 3 4, 3 4 5, 0 4 5, 0 1 5, 0 1 2 3, 1 2 3 4, 2 3 4 5, 0 3 4 5, 0 1 4 5, 0 1 2 5, 0 1 3 4, 1 2 4 5, "
                               "0 2 3 5, 0 1 2 3 4 5";

static void squashed(adze_zoo *z, const char *type, const char *name, const char *key, const char *value) {
    adze_zoo_layer(z, type, name, key, value, "activation", "lecun_tanh", "init", "lecun98", (char *)NULL);
}

static void lenet5(adze_zoo *z) {
    adze_zoo_set(z, z->root, "input", "[32, 32, 1]");
    /* Background -0.1 and ink 1.175: (p / 255 - 0.1 / 1.275) / (1 / 1.275). */
    adze_tree *pre = adze_zoo_set(z, z->root, "preprocess", NULL);
    adze_zoo_set(z, pre, "pad", "2");
    adze_zoo_set(z, pre, "fixed", "true");
    adze_zoo_set(z, pre, "mean", "[0.0784313725490196]");
    adze_zoo_set(z, pre, "sd", "[0.7843137254901961]");
    z->layers = adze_zoo_set(z, z->root, "layers", "[]");
    adze_zoo_layer(z, "conv", "c1", "filters", "6", "kernel", "5", "activation", "lecun_tanh", "init", "lecun98", (char *)NULL);
    squashed(z, "subsample", "s2", "size", "2");
    adze_zoo_layer(z, "conv", "c3", "filters", "16", "kernel", "5", "table", C3_TABLE, "activation", "lecun_tanh", "init", "lecun98", (char *)NULL);
    squashed(z, "subsample", "s4", "size", "2");
    adze_zoo_layer(z, "conv", "c5", "filters", "120", "kernel", "5", "activation", "lecun_tanh", "init", "lecun98", (char *)NULL);
    adze_zoo_layer(z, "flatten", "flat", (char *)NULL);
    squashed(z, "dense", "f6", "units", "84");
    adze_zoo_layer(z, "rbf", "out", (char *)NULL);
}

static void lenet5_caffe(adze_zoo *z) {
    adze_zoo_set(z, z->root, "input", "[28, 28, 1]");
    z->layers = adze_zoo_set(z, z->root, "layers", "[]");
    adze_zoo_layer(z, "conv", "conv1", "filters", "20", "kernel", "5", (char *)NULL);
    adze_zoo_layer(z, "maxpool", "pool1", "size", "2", (char *)NULL);
    adze_zoo_layer(z, "conv", "conv2", "filters", "50", "kernel", "5", (char *)NULL);
    adze_zoo_layer(z, "maxpool", "pool2", "size", "2", (char *)NULL);
    adze_zoo_layer(z, "flatten", "flat", (char *)NULL);
    adze_zoo_layer(z, "dense", "ip1", "units", "500", "activation", "relu", (char *)NULL);
    adze_zoo_layer(z, "dense", "ip2", "units", "10", (char *)NULL);
}

const adze_zoo_net adze_zoo_lenet[] = {
    {"lenet5", "32 x 32 input, connection table, trainable sub-sampling, RBF output: 60,000 parameters (LeCun et al. 1998)", lenet5, NULL, NULL},
    {"lenet5-caffe", "conv 20, pool, conv 50, pool, 500, 10 with ReLU: 431,080 parameters (Jia et al. 2014, Caffe's MNIST example)", lenet5_caffe,
     NULL, NULL},
    {0},
};
