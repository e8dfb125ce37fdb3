/* Looking into networks and optimisers: probes of a model on data, and demonstrations on problems whose answer is known. Both give findings: numbers
 * by name, a table, curves. Nothing that is looked at is changed. */
#ifndef ADZE_DIAG_H
#define ADZE_DIAG_H

#include "train.h"

#ifdef __cplusplus
extern "C" {
#endif

/* -- findings --------------------------------------------------------------------------------------------------------------------------------- */

enum { ADZE_FINDING_NAME = 64, ADZE_FINDING_COLUMNS = 16 };

typedef struct adze_track { /* a curve, or a way on a surface */
    char name[ADZE_FINDING_NAME];
    double *x, *y;
    int64_t n, cap;
} adze_track;

typedef struct adze_findings { /* zero-initialise; adze_findings_free afterwards, also after a failure */
    adze_ctx *ctx;
    char title[128], verdict[256];   /* verdict: a sentence; "" when there is nothing to judge */
    const char *x_label, *y_label;   /* of the tracks; constant */
    char (*keys)[ADZE_FINDING_NAME]; /* in snake case */
    double *values;                  /* of the keys; NaN: there is none */
    int nkeys, cap_keys;
    const char *columns[ADZE_FINDING_COLUMNS]; /* constant */
    int ncolumns, nrows, cap_rows;
    char (*rows)[ADZE_FINDING_NAME];
    double *cells; /* nrows x ncolumns */
    adze_track *tracks;
    int ntracks, cap_tracks;
    int64_t side;                       /* a surface under the tracks: side x side values, row 0 at the smallest y; 0: none */
    double *surface;                    /* drawn by the ranks of its values */
    double box[4];                      /* x from, x to, y from, y to */
    double spare[ADZE_FINDING_COLUMNS]; /* where cells go once memory has run out */
    bool failed;
} adze_findings;

ADZE_API void adze_findings_free(adze_findings *f);
ADZE_API double adze_findings_value(const adze_findings *f, const char *key);                    /* NaN when there is no such key */
ADZE_API double adze_findings_cell(const adze_findings *f, const char *row, const char *column); /* NaN likewise */
/* One object: the keys, then "verdict", "rows" (objects: "name" and the columns in snake case), "tracks". Numbers unrounded, null where not finite.
 */
ADZE_API int adze_findings_json(const adze_findings *f, char **text); /* adze_text_free */

/* -- probes ----------------------------------------------------------------------------------------------------------------------------------- */

typedef struct adze_diag_opts { /* adze_diag_fields has defaults and ranges */
    int64_t batch;              /* examples at once: a probe looks at the subject's first, or, batch by batch, at all */
    int64_t steps;              /* of Lanczos, of an ascent, of an optimiser */
    uint64_t seed;
    int32_t mode, dtype, loss;       /* train, eval, auto; f64, f32, bf16; own, linear */
    double xscale, lr, rescale, eps; /* factor on the inputs; of probes that step; sharpness: Dinh's factor, size of Keskar's box */
    double target;                   /* fit: accuracy below which training has not fitted */
    char optimizers[256];            /* effective-lr: names between commas; "": all */
} adze_diag_opts;
ADZE_API const adze_field *adze_diag_fields(void);

typedef struct adze_diag_subject { /* borrowed; never written */
    const adze_model *model;
    adze_store *store;     /* the model's slots, f32 or f64 */
    adze_tensor x, labels; /* preprocessed examples (N, ...) and what adze_model_label_type says, N >= batch; labels zeroed for no classifier */
    bool trained;          /* and finished: mode auto then looks at what it gives in use */
} adze_diag_subject;

enum {                          /* what a probe is */
       ADZE_PROBE_MODEL = 1,    /* of a model: adze_diag_run wants a subject */
       ADZE_PROBE_BY_BATCH = 2, /* of all the subject's examples, batch by batch; others look at the first batch */
       ADZE_PROBE_IN_USE = 4    /* of what a model gives: with mode auto, a trained one is looked at as in use */
};
/* Row i of the table of probes. ADZE_EARG past the end. */
ADZE_API int adze_diag_at(int i, adze_about *out, unsigned *is);
/* Runs the probe of that name. ADZE_EARG: unknown name (the nearest is suggested), or the model has nothing to probe; ADZE_ENOSUP: bf16 where second
 * derivatives are taken. */
ADZE_API int adze_diag_run(adze_ctx *ctx, const char *what, const adze_diag_subject *s, const adze_diag_opts *o, adze_findings *out);
/* Over- or underfitting, and bad first weights, from the epochs of a training. */
ADZE_API int adze_diag_fit(adze_ctx *ctx, const adze_epoch_stats *stats, int64_t n, const adze_diag_opts *o, adze_findings *out);

/* Probes again and again while a model is trained, with what only time shows: the step at which a unit died, how far percentiles have moved. */
typedef struct adze_diag_watch adze_diag_watch;
ADZE_API int adze_diag_watch_new(adze_ctx *ctx, const char *what, const adze_diag_subject *s, const adze_diag_opts *o, adze_diag_watch **out);
ADZE_API void adze_diag_watch_free(adze_diag_watch *w);
/* Looks now: one JSON line for each probe of `what` (names between commas) goes to *lines, a sentence to *warning when something is wrong that was
 * not at the last look (else NULL). Both: adze_text_free. */
ADZE_API int adze_diag_watch_look(adze_diag_watch *w, int64_t step, char **lines, char **warning);
/* Goes on where another watch ended, by the lines that it gave: what it remembered at `step`. *kept (adze_text_free): those lines without later, torn
 * and half-told looks; *looked: whether this step's is among them. */
ADZE_API int adze_diag_watch_resume(adze_diag_watch *w, const char *lines, int64_t step, char **kept, bool *looked);

/* -- demonstrations --------------------------------------------------------------------------------------------------------------------------- */

typedef struct adze_demo_opts {
    char optimizers[256];   /* names between commas; "": the demonstration's own choice */
    int64_t steps;          /* at most; 0: the demonstration's own */
    double rotate;          /* valley: degrees */
    double kappa, rho, lr;  /* condition number; momentum or spectral radius; rate, 0: the demonstration's own */
    double tolerance, clip; /* of the value; norm of a clipped gradient, 0: the demonstration's own */
    int64_t length;         /* order: symbols of a sequence */
    uint64_t seed;
} adze_demo_opts;
ADZE_API const adze_field *adze_demo_fields(void);
ADZE_API int adze_demo_at(int i, adze_about *out); /* ADZE_EARG past the end */
/* Runs the demonstration of that name with the optimisers that trainings use. */
ADZE_API int adze_demo_run(adze_ctx *ctx, const char *name, const adze_demo_opts *o, adze_findings *out);

#ifdef __cplusplus
}
#endif
#endif
