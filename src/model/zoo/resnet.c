/* Residual networks (He, Zhang, Ren, Sun 2015, arXiv 1512.03385): the small ones for 32 x 32 images, and ResNet-50. */
#include "model/layer.h"

static const adze_zoo_option DEPTH[] = {{"drop_path", "1", "stochastic depth: the share of steps in which a block runs, linear:0.5 or 0.8"},
                                        {NULL, NULL, NULL}};

static const adze_zoo_option CIFAR[] = {{"drop_path", "1", "stochastic depth: the share of steps in which a block runs, linear:0.5 or 0.8"},
                                        {"input", "32x32x3", "shape of an example"},
                                        {NULL, NULL, NULL}};

static void set_depth(adze_zoo *z) {
    const char *rule = adze_zoo_option_of(z, "drop_path");
    if (strcmp(rule, "1") != 0) {
        adze_zoo_set(z, z->root, "drop_path", rule);
    }
}

static void conv_bn(adze_zoo *z, const char *conv, const char *bn, const char *filters, const char *kernel, const char *stride, const char *act) {
    const char *pad = kernel[0] == '7' ? "3" : kernel[0] == '3' ? "1" : "0";
    adze_zoo_layer(z, "conv", conv, "filters", filters, "kernel", kernel, "stride", stride, "pad", pad, "bias", "false", "init", "he_normal",
                   (char *)NULL);
    adze_zoo_layer(z, "batchnorm", bn, "activation", act, (char *)NULL);
}

static void sum(adze_zoo *z, const char *from) {
    adze_zoo_layer(z, "add", "sum", "from", from, "activation", "relu", (char *)NULL);
}

/* `times` blocks of two 3x3 convolutions; with a stride of 2 the shortcut drops pixels and adds channels of zeros. */
static void basic(adze_zoo *z, const char *name, const char *times, const char *filters, const char *stride) {
    bool shrinks = stride[0] != '1';
    adze_tree *outer = adze_zoo_repeat(z, name, times);
    conv_bn(z, "c1", "b1", filters, "3", stride, "relu");
    conv_bn(z, "c2", "b2", filters, "3", "1", "none");
    if (shrinks) {
        adze_zoo_layer(z, "shortcut", "skip", "from", "input", "filters", filters, "stride", stride, (char *)NULL);
    }
    sum(z, shrinks ? "[b2, skip]" : "[b2, input]");
    z->layers = outer;
}

static void cifar(adze_zoo *z, const char *blocks, const char *blocks_less_one) {
    adze_zoo_input(z);
    set_depth(z);
    z->layers = adze_zoo_set(z, z->root, "layers", "[]");
    conv_bn(z, "conv1", "bn1", "16", "3", "1", "relu");
    basic(z, "stage1", blocks, "16", "1");
    basic(z, "down2", "1", "32", "2");
    basic(z, "stage2", blocks_less_one, "32", "1");
    basic(z, "down3", "1", "64", "2");
    basic(z, "stage3", blocks_less_one, "64", "1");
    adze_zoo_layer(z, "global_avgpool", "pool", (char *)NULL);
    adze_zoo_layer(z, "dense", "fc", "units", "10", (char *)NULL);
}

static void resnet20(adze_zoo *z) {
    cifar(z, "3", "2");
}

static void resnet56(adze_zoo *z) {
    cifar(z, "9", "8");
}

static void resnet110(adze_zoo *z) {
    cifar(z, "18", "17");
}

/* `times` blocks of 1x1, 3x3, 1x1; where the shape changes, the shortcut is a 1x1 convolution. The stride stands in the 3x3, as is common now. */
static void bottleneck(adze_zoo *z, const char *name, const char *times, const char *narrow, const char *wide, const char *stride) {
    adze_tree *outer = adze_zoo_repeat(z, name, times);
    conv_bn(z, "c1", "b1", narrow, "1", "1", "relu");
    conv_bn(z, "c2", "b2", narrow, "3", stride ? stride : "1", "relu");
    conv_bn(z, "c3", "b3", wide, "1", "1", "none");
    if (stride) {
        adze_zoo_layer(z, "conv", "c4", "from", "input", "filters", wide, "kernel", "1", "stride", stride, "bias", "false", "init", "he_normal",
                       (char *)NULL);
        adze_zoo_layer(z, "batchnorm", "b4", (char *)NULL);
    }
    sum(z, stride ? "[b3, b4]" : "[b3, input]");
    z->layers = outer;
}

static void resnet50(adze_zoo *z) {
    set_depth(z);
    adze_zoo_imagenet(z);
    conv_bn(z, "conv1", "bn1", "64", "7", "2", "relu");
    adze_zoo_layer(z, "maxpool", "pool1", "size", "3", "stride", "2", "pad", "1", (char *)NULL);
    bottleneck(z, "res2a", "1", "64", "256", "1");
    bottleneck(z, "res2", "2", "64", "256", NULL);
    bottleneck(z, "res3a", "1", "128", "512", "2");
    bottleneck(z, "res3", "3", "128", "512", NULL);
    bottleneck(z, "res4a", "1", "256", "1024", "2");
    bottleneck(z, "res4", "5", "256", "1024", NULL);
    bottleneck(z, "res5a", "1", "512", "2048", "2");
    bottleneck(z, "res5", "2", "512", "2048", NULL);
    adze_zoo_layer(z, "global_avgpool", "pool", (char *)NULL);
    adze_zoo_layer(z, "dense", "fc", "units", "1000", (char *)NULL);
}

const adze_zoo_net adze_zoo_resnet[] = {
    {"resnet20", "20 layers for 32 x 32 images, shortcuts without parameters: 269,722 parameters (He et al. 2015)", resnet20, CIFAR, NULL},
    {"resnet56", "56 layers for 32 x 32 images, shortcuts without parameters: 853,018 parameters (He et al. 2015)", resnet56, CIFAR, NULL},
    {"resnet110", "110 layers for 32 x 32 images, shortcuts without parameters: 1,727,962 parameters (He et al. 2015)", resnet110, CIFAR, NULL},
    {"resnet50", "bottleneck blocks for 224 x 224 images: 25,557,032 parameters (He et al. 2015, stride in the 3x3)", resnet50, DEPTH, NULL},
    {0},
};
