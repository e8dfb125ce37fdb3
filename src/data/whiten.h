/* ZCA whitening, for preprocess.c and the loader. */
#ifndef ADZE_SRC_WHITEN_H
#define ADZE_SRC_WHITEN_H

#include "data/formats.h"

enum { ADZE_WHITEN_MOST = 4096 }; /* numbers of an example: the matrix has as many rows and columns */

/* p->feature: the mean, then the symmetric (C + p->eps I)^(-1/2), C the covariance (divided by n) of the pixels times p->scale. */
int adze_whiten_fit(adze_ctx *ctx, const adze_dataset *d, const int64_t *ids, int64_t n, adze_preprocess *p);

/* The product for up to `batch` centred examples, each with its border, in place. */
typedef struct adze_whitener adze_whitener;
int adze_whitener_new(adze_ctx *ctx, const adze_preprocess *p, const adze_type *example, int64_t batch, adze_dtype d, adze_whitener **out);
void adze_whitener_free(adze_whitener *w);
int adze_whitener_run(adze_whitener *w, void *x, int64_t n);
void adze_whiten_one(const adze_preprocess *p, const adze_type *example, adze_dtype d, void *x); /* one example, plainly */

#endif
