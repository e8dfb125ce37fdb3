/* Fully connected networks for 28 x 28 images. */
#include "model/layer.h"

static void image(adze_zoo *z) {
    adze_zoo_set(z, z->root, "input", "[28, 28, 1]");
    z->layers = adze_zoo_set(z, z->root, "layers", "[]");
    adze_zoo_layer(z, "flatten", "flat", (char *)NULL);
}

static void mlp(adze_zoo *z) {
    image(z);
    adze_zoo_layer(z, "dense", "fc1", "units", "300", "activation", "relu", (char *)NULL);
    adze_zoo_layer(z, "dense", "fc2", "units", "100", "activation", "relu", (char *)NULL);
    adze_zoo_layer(z, "dense", "fc3", "units", "10", (char *)NULL);
}

static void lenet_300_100(adze_zoo *z) {
    image(z);
    adze_zoo_layer(z, "dense", "fc1", "units", "300", "activation", "tanh", (char *)NULL);
    adze_zoo_layer(z, "dense", "fc2", "units", "100", "activation", "tanh", (char *)NULL);
    adze_zoo_layer(z, "dense", "fc3", "units", "10", (char *)NULL);
}

const adze_zoo_net adze_zoo_mlp[] = {
    {"mlp", "784-300-100-10, ReLU, He: 266,610 parameters", mlp},
    {"lenet-300-100", "784-300-100-10, tanh, Glorot: 266,610 parameters (LeCun, Bottou, Bengio, Haffner 1998)", lenet_300_100},
    {0},
};
