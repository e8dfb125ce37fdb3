/* Deep autoencoders of 28 x 28 images: 784-1000-500-250-30 and back, whose outputs are numbers before a sigmoid. */
#include "model/layer.h"

#include <stdio.h>

static void layers(adze_zoo *z, const char *activation) {
    static const char *const down[] = {"1000", "500", "250"};
    static const char *const names[] = {"enc1", "enc2", "enc3", "dec1", "dec2", "dec3"};
    adze_zoo_set(z, z->root, "task", "regress");
    adze_zoo_set(z, z->root, "input", "[28, 28, 1]");
    adze_tree *pre = adze_zoo_set(z, z->root, "preprocess", NULL);
    adze_zoo_set(z, pre, "norm", "none");
    z->layers = adze_zoo_set(z, z->root, "layers", "[]");
    adze_zoo_layer(z, "flatten", "flat", (char *)NULL);
    for (int i = 0; i < 3; i++) {
        adze_zoo_layer(z, "dense", names[i], "units", down[i], "activation", activation, (char *)NULL);
    }
    adze_zoo_layer(z, "dense", "code", "units", "30", (char *)NULL);
    for (int i = 0; i < 3; i++) {
        adze_zoo_layer(z, "dense", names[3 + i], "units", down[2 - i], "activation", activation, (char *)NULL);
    }
    adze_zoo_layer(z, "dense", "out", "units", "784", (char *)NULL);
}

static void of_tanh(adze_zoo *z) {
    layers(z, "tanh");
}

static void of_sigmoid(adze_zoo *z) {
    layers(z, "sigmoid");
}

const adze_zoo_net adze_zoo_autoencoder[] = {
    {"autoencoder", "784-1000-500-250-30 and back, tanh, linear code: 2,837,314 parameters (Hinton and Salakhutdinov 2006, with tanh)", of_tanh, NULL,
     NULL},
    {"autoencoder-sigmoid", "the same with sigmoids: 2,837,314 parameters (Hinton and Salakhutdinov 2006)", of_sigmoid, NULL, NULL},
    {0},
};
