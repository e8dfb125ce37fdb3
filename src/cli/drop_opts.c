/* Dropout and DropConnect in use, as eval and predict have them. */
#include "cli/drop_opts.h"

const adze_field CLI_DROP_FIELDS[] = {
    {"dropout", ADZE_F_STR, 0, offsetof(drop_opts, dropout), sizeof(((drop_opts *)0)->dropout), "weight-scale", 0, 0, NULL,
     "weight-scale: all units, scaled; mc:K: mean probabilities of K networks drawn at random; geo:K: their geometric mean (K: 50)"},
    {"dropconnect", ADZE_F_STR, 0, offsetof(drop_opts, dropconnect), sizeof(((drop_opts *)0)->dropconnect), "mean", 0, 0, NULL,
     "mean: the mean weights; gauss:K: sums drawn K times from normal distributions of the same mean and variance"},
    {"draw_seed", ADZE_F_U64, 0, offsetof(drop_opts, seed), 0, "1", 0, 0, NULL, "seed of these draws"},
    {0}};

int cli_drop_opts(cli *c, const drop_opts *d, int64_t batch, adze_eval_opts *o) {
    *o = (adze_eval_opts){.size = sizeof(*o), .batch = batch, .seed = d->seed};
    return adze_eval_parse(c->ctx, d->dropout, d->dropconnect, o);
}
