/* Fully connected networks, and a small convolutional one whose parts may be chosen. */
#include "model/layer.h"

#include <stdio.h>

enum { MAX_HIDDEN = 1000 };

static void begin(adze_zoo *z, const char *input) {
    adze_zoo_set(z, z->root, "input", input);
    z->layers = adze_zoo_set(z, z->root, "layers", "[]");
}

static int hidden(adze_zoo *z, const char *prefix, const char *sizes, const char *key, const char *dropout, const char *between) {
    int64_t *size = adze_arena_alloc(&z->arena, MAX_HIDDEN * sizeof *size);
    if (!size) {
        z->failed = true;
        return 0;
    }
    const int n = adze_zoo_sizes(z, sizes, size, MAX_HIDDEN);
    for (int i = 0; i < n; i++) {
        char name[32];
        snprintf(name, sizeof name, "%s%d", prefix, i + 1);
        adze_zoo_hidden(z, name, key, size[i], adze_zoo_option_of(z, "norm"), dropout);
        if (between) {
            snprintf(name, sizeof name, "pool%d", i + 1);
            adze_zoo_layer(z, between, adze_arena_dup(&z->arena, name, strlen(name) + 1), "size", "2", "stride", "2", (char *)NULL);
        }
    }
    return n;
}

static void mlp(adze_zoo *z) {
    adze_zoo_input(z);
    z->layers = adze_zoo_set(z, z->root, "layers", "[]");
    adze_zoo_layer(z, "flatten", "flat", (char *)NULL);
    if (strcmp(adze_zoo_option_of(z, "input_dropout"), "0") != 0) {
        adze_zoo_layer(z, "dropout", "in_dropout", "p", adze_zoo_option_of(z, "input_dropout"), (char *)NULL);
    }
    char last[32];
    snprintf(last, sizeof last, "fc%d", hidden(z, "fc", "units", "units", adze_zoo_option_of(z, "dropout"), NULL) + 1);
    adze_zoo_layer(z, "dense", adze_arena_dup(&z->arena, last, strlen(last) + 1), "units", adze_zoo_option_of(z, "classes"), "init",
                   adze_zoo_option_of(z, "out_init"), (char *)NULL);
}

static const adze_zoo_option MLP_OPTIONS[] = {
    {"units", "300-100", "sizes of the hidden layers: 300-100, 1024x3, 0 for none"},
    {"norm", "none", "normalisation between sums and activation: batchnorm, layernorm, ..."},
    {"dropout", "0", "share of each hidden layer's outputs that is dropped in training"},
    {"input_dropout", "0", "share of the inputs that is dropped in training"},
    {"classes", "10", "outputs"},
    {"out_init", "auto", "how the last layer's weights start"},
    {"input", "28x28x1", "shape of an example"},
    {0},
};

static void lenet_300_100(adze_zoo *z) {
    begin(z, "[28, 28, 1]");
    adze_zoo_layer(z, "flatten", "flat", (char *)NULL);
    adze_zoo_layer(z, "dense", "fc1", "units", "300", "activation", "tanh", (char *)NULL);
    adze_zoo_layer(z, "dense", "fc2", "units", "100", "activation", "tanh", (char *)NULL);
    adze_zoo_layer(z, "dense", "fc3", "units", "10", (char *)NULL);
}

static void convnet(adze_zoo *z) {
    adze_zoo_input(z);
    z->layers = adze_zoo_set(z, z->root, "layers", "[]");
    hidden(z, "conv", "filters", "filters", "0", strcmp(adze_zoo_option_of(z, "pool"), "none") != 0 ? adze_zoo_option_of(z, "pool") : NULL);
    adze_zoo_layer(z, "flatten", "flat", (char *)NULL);
    if (strcmp(adze_zoo_option_of(z, "dense"), "0") != 0) {
        adze_zoo_layer(z, "dense", "fc", "units", adze_zoo_option_of(z, "dense"), "activation", "relu", (char *)NULL);
        adze_zoo_pass(z, "activation");
    }
    if (strcmp(adze_zoo_option_of(z, "dropout"), "0") != 0) {
        adze_zoo_layer(z, "dropout", "drop", "p", adze_zoo_option_of(z, "dropout"), (char *)NULL);
    }
    adze_zoo_layer(z, "dense", "out", "units", adze_zoo_option_of(z, "classes"), (char *)NULL);
}

static const adze_zoo_option CONVNET_OPTIONS[] = {
    {"filters", "16-32-64", "filters of the 3x3 convolutions, each followed by a pooling: 16-32, 32x3"},
    {"norm", "none", "normalisation between sums and activation: batchnorm, groupnorm, ..."},
    {"pool", "maxpool", "pooling of 2x2 after each convolution: maxpool, avgpool, none"},
    {"dense", "128", "units of the dense layer before the last; 0: none"},
    {"dropout", "0", "share of the last layer's inputs that is dropped in training"},
    {"classes", "10", "outputs"},
    {"input", "28x28x1", "shape of an example"},
    {0},
};

const adze_zoo_net adze_zoo_mlp[] = {
    {"mlp", "784-300-100-10, ReLU, He: 266,610 parameters", mlp, MLP_OPTIONS, &adze_layer_dense},
    {"lenet-300-100", "784-300-100-10, tanh, Glorot: 266,610 parameters (LeCun, Bottou, Bengio, Haffner 1998)", lenet_300_100, NULL, NULL},
    {"convnet", "3x3 convolutions of 16, 32, 64 with pooling, 128, 10, ReLU: 98,442 parameters", convnet, CONVNET_OPTIONS, &adze_layer_conv},
    {0},
};
