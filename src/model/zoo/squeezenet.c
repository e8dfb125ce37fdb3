/* SqueezeNet 1.0: AlexNet's accuracy with fifty times fewer parameters (Iandola et al. 2016, arXiv 1602.07360). */
#include "model/layer.h"

/* Squeeze to few channels by 1x1, expand by 1x1 and 3x3 side by side. */
static void fire(adze_zoo *z, const char *name, const char *squeeze, const char *expand) {
    adze_tree *outer = adze_zoo_repeat(z, name, "1");
    adze_zoo_layer(z, "conv", "squeeze", "filters", squeeze, "kernel", "1", "activation", "relu", (char *)NULL);
    adze_zoo_layer(z, "conv", "e1", "filters", expand, "kernel", "1", "activation", "relu", (char *)NULL);
    adze_zoo_layer(z, "conv", "e3", "from", "squeeze", "filters", expand, "kernel", "3", "pad", "1", "activation", "relu", (char *)NULL);
    adze_zoo_layer(z, "concat", "both", "from", "[e1, e3]", (char *)NULL);
    z->layers = outer;
}

static void pool(adze_zoo *z, const char *name) {
    adze_zoo_layer(z, "maxpool", name, "size", "3", "stride", "2", "ceil", "true", (char *)NULL);
}

static void squeezenet(adze_zoo *z) {
    adze_zoo_imagenet(z);
    adze_zoo_layer(z, "conv", "conv1", "filters", "96", "kernel", "7", "stride", "2", "activation", "relu", (char *)NULL);
    pool(z, "pool1");
    fire(z, "fire2", "16", "64");
    fire(z, "fire3", "16", "64");
    fire(z, "fire4", "32", "128");
    pool(z, "pool4");
    fire(z, "fire5", "32", "128");
    fire(z, "fire6", "48", "192");
    fire(z, "fire7", "48", "192");
    fire(z, "fire8", "64", "256");
    pool(z, "pool8");
    fire(z, "fire9", "64", "256");
    adze_zoo_layer(z, "dropout", "drop9", (char *)NULL);
    adze_zoo_layer(z, "conv", "conv10", "filters", "1000", "kernel", "1", "activation", "relu", "init", "normal", "init_value", "0.01", (char *)NULL);
    adze_zoo_layer(z, "global_avgpool", "pool10", (char *)NULL);
}

const adze_zoo_net adze_zoo_squeezenet[] = {
    {"squeezenet1.0", "fire modules, no dense layer, 224 x 224 images: 1,248,424 parameters (Iandola et al. 2016)", squeezenet, NULL, NULL},
    {0},
};
