/* AlexNet with one tower, as Krizhevsky simplified it (2014, arXiv 1404.5997). */
#include "model/layer.h"

static void conv(adze_zoo *z, const char *name, const char *filters, const char *kernel, const char *stride, const char *pad) {
    adze_zoo_layer(z, "conv", name, "filters", filters, "kernel", kernel, "stride", stride, "pad", pad, "activation", "relu", (char *)NULL);
}

static void pool(adze_zoo *z, const char *name) {
    adze_zoo_layer(z, "maxpool", name, "size", "3", "stride", "2", (char *)NULL);
}

static void alexnet(adze_zoo *z) {
    adze_zoo_imagenet(z);
    conv(z, "conv1", "64", "11", "4", "2");
    pool(z, "pool1");
    conv(z, "conv2", "192", "5", "1", "2");
    pool(z, "pool2");
    conv(z, "conv3", "384", "3", "1", "1");
    conv(z, "conv4", "256", "3", "1", "1");
    conv(z, "conv5", "256", "3", "1", "1");
    pool(z, "pool5");
    adze_zoo_layer(z, "flatten", "flat", (char *)NULL);
    adze_zoo_layer(z, "dropout", "drop6", (char *)NULL);
    adze_zoo_layer(z, "dense", "fc6", "units", "4096", "activation", "relu", (char *)NULL);
    adze_zoo_layer(z, "dropout", "drop7", (char *)NULL);
    adze_zoo_layer(z, "dense", "fc7", "units", "4096", "activation", "relu", (char *)NULL);
    adze_zoo_layer(z, "dense", "fc8", "units", "1000", (char *)NULL);
}

const adze_zoo_net adze_zoo_alexnet[] = {
    {"alexnet", "5 convolutions, 3 dense layers, one tower, 224 x 224 images: 61,100,840 parameters (Krizhevsky 2014)", alexnet, NULL, NULL},
    {0},
};
