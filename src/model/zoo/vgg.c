/* VGG-16: nothing but 3x3 convolutions, pooling and three dense layers (Simonyan, Zisserman 2014, arXiv 1409.1556, column D). */
#include "model/layer.h"

static void block(adze_zoo *z, const char *name, const char *pool, const char *convs, const char *filters) {
    adze_tree *outer = adze_zoo_repeat(z, name, convs);
    adze_zoo_layer(z, "conv", "conv", "filters", filters, "kernel", "3", "pad", "1", "activation", "relu", (char *)NULL);
    z->layers = outer;
    adze_zoo_layer(z, "maxpool", pool, "size", "2", (char *)NULL);
}

static void vgg16(adze_zoo *z) {
    adze_zoo_imagenet(z);
    block(z, "block1", "pool1", "2", "64");
    block(z, "block2", "pool2", "2", "128");
    block(z, "block3", "pool3", "3", "256");
    block(z, "block4", "pool4", "3", "512");
    block(z, "block5", "pool5", "3", "512");
    adze_zoo_layer(z, "flatten", "flat", (char *)NULL);
    adze_zoo_layer(z, "dense", "fc6", "units", "4096", "activation", "relu", (char *)NULL);
    adze_zoo_layer(z, "dropout", "drop6", (char *)NULL);
    adze_zoo_layer(z, "dense", "fc7", "units", "4096", "activation", "relu", (char *)NULL);
    adze_zoo_layer(z, "dropout", "drop7", (char *)NULL);
    adze_zoo_layer(z, "dense", "fc8", "units", "1000", (char *)NULL);
}

const adze_zoo_net adze_zoo_vgg[] = {
    {"vgg16", "13 convolutions of 3x3, 3 dense layers, 224 x 224 images: 138,357,544 parameters (Simonyan, Zisserman 2014)", vgg16, NULL, NULL},
    {0},
};
