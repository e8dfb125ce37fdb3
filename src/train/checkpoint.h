/* Checkpoint files of one folder: step-00001234.safetensors, with `last` and `best` as links to two of them. */
#ifndef ADZE_SRC_CHECKPOINT_H
#define ADZE_SRC_CHECKPOINT_H

#include "train/options.h"

enum { ADZE_CKPT_PATH = 4096 };

typedef struct adze_ckpt {   /* what is saved beside the store's slots */
    int64_t step, best_step; /* best_step < 0: none yet */
    const char *state;       /* JSON: the tensor state/trainer */
    const adze_meta *meta;
    int nmeta;
} adze_ckpt;

int adze_ckpt_clean(adze_ctx *ctx, const char *dir); /* removes what a killed save left behind */
/* Durable or old: the new file is whole and synced before a link moves, the links before an old file goes. path: of the new file, ADZE_CKPT_PATH
 * bytes. */
int adze_ckpt_save(adze_ctx *ctx, const char *dir, adze_store *s, const adze_ckpt *c, char *path);
int adze_ckpt_links(adze_ctx *ctx, const char *dir, int64_t last, int64_t best);  /* best < 0: none yet */
int adze_ckpt_steps(adze_ctx *ctx, const char *dir, int64_t **steps, int64_t *n); /* newest first; adze_free */
int adze_ckpt_path(adze_ctx *ctx, const char *dir, int64_t step, char *path);
/* Every saved slot must be there with its type; the store is written only when all are. */
int adze_ckpt_restore(adze_ctx *ctx, const adze_safetensors *f, const char *file, adze_store *s);
int adze_ckpt_state(adze_ctx *ctx, const adze_safetensors *f, const char *file, const char **state, int64_t *n); /* borrowed from f */

#endif
