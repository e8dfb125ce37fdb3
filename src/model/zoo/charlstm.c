/* A character model: one LSTM and scores for the next of 65 characters at every step. */
#include "model/layer.h"

static void charlstm(adze_zoo *z) {
    adze_zoo_set(z, z->root, "input", "[64, 128]");
    z->layers = adze_zoo_set(z, z->root, "layers", "[]");
    adze_zoo_layer(z, "lstm", "lstm", "units", "256", (char *)NULL);
    adze_zoo_layer(z, "dense", "out", "units", "65", (char *)NULL);
}

const adze_zoo_net adze_zoo_charlstm[] = {
    {"charlstm", "128 numbers a step, 64 steps, LSTM 256, 65 characters at every step: 410,945 parameters", charlstm, NULL, NULL},
    {0},
};
