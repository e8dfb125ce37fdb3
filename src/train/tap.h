/* A model opened for looking into: one plan on a copy of its weights that gives what lies inside, forward and backward. */
#ifndef ADZE_SRC_TAP_H
#define ADZE_SRC_TAP_H

#include "model/layer.h"
#include "train/findings.h"

enum {                         /* what a tap shows; `name` of adze_tap_read in quotes */
       ADZE_TAP_OUTS = 1,      /* "a": layers' outputs */
       ADZE_TAP_SUMS = 2,      /* "z": what goes into activations */
       ADZE_TAP_SLOPES = 4,    /* "s": derivative of the activation at each sum, where it is elementwise */
       ADZE_TAP_OUT_GRADS = 8, /* "ga": of the loss with respect to layers' outputs; layer -1: the input */
       ADZE_TAP_GRADS = 16,    /* "g": with respect to parameters */
       ADZE_TAP_STATES = 32,   /* "gh": with respect to the states of recurrent layers */
       ADZE_TAP_HESSIAN = 64,  /* "hv": the loss's Hessian times "v", parameter by parameter */
       ADZE_TAP_ROW = 128      /* "gx": of the outputs times the input "pick" with respect to the input */
};
enum { ADZE_TAP_STATES_MOST = 512 };
enum { ADZE_DIAG_TRAIN, ADZE_DIAG_EVAL, ADZE_DIAG_AUTO }; /* auto: as train, unless adze_diag_run has made it eval */
enum { ADZE_DIAG_F64, ADZE_DIAG_F32, ADZE_DIAG_BF16 };
enum { ADZE_DIAG_OWN, ADZE_DIAG_LINEAR };

typedef struct adze_tap {
    adze_ctx *ctx;
    const adze_diag_subject *of;
    const adze_model *m;
    const adze_diag_opts *o;
    adze_dtype dtype;
    int64_t batch;
    double xscale;
    adze_store *store; /* a copy: a tap changes nothing else */
    adze_graph *g;
    adze_plan *plan;
    adze_session *session;
    adze_val x, y, loss, *outs, *sums, *states, *params, *v;
    int *owner, *time; /* layer and step of each state */
    int *slot, *layer; /* of each parameter */
    int nparams, nstates;
    int64_t nweights; /* numbers of all parameters */
    double *read;     /* what the last adze_tap_read gave */
    int64_t cap_read;
} adze_tap;

/* Zero *t first; close it also after a failure. */
int adze_tap_open(adze_tap *t, adze_ctx *ctx, const adze_diag_subject *s, const adze_diag_opts *o, int64_t batch, int mode, uint32_t what);
void adze_tap_close(adze_tap *t);
int adze_tap_fill(adze_tap *t, int64_t first); /* the subject's examples first .. first + batch - 1 */
int adze_tap_run(adze_tap *t);
int adze_tap_loss(adze_tap *t, double *loss); /* runs */
int adze_tap_input(adze_tap *t, const char *name, adze_tensor *out);
/* A value of the last run in double: "y" and "gx" (i is not looked at), or one of the above of layer, state or parameter i. Valid until the next
 * call. */
int adze_tap_read(adze_tap *t, const char *name, int i, const double **v, int64_t *n);
bool adze_tap_has(const adze_tap *t, const char *name, int i); /* whether a layer shows its "a", "z" or "s" */

/* All parameters as one vector of nweights numbers. */
int adze_tap_weights(adze_tap *t, double *w);
int adze_tap_set_weights(adze_tap *t, const double *w);
int adze_tap_gradient(adze_tap *t, double *g);                /* runs */
int adze_tap_hessian(void *tap, const double *v, double *hv); /* runs; for adze_la_op.apply */

/* A probe that is one look: opens a tap that shows `what`, on o->batch examples in o->mode, gives `look` so many vectors of the model's weights in
 * one block of zeros (0: NULL), and closes it. */
typedef struct adze_tap_look {
    uint32_t what;
    int vectors;
    int (*look)(adze_tap *t, adze_findings *f, double *v);
} adze_tap_look;
int adze_tap_with(adze_ctx *ctx, const adze_diag_subject *s, const adze_diag_opts *o, adze_findings *f, adze_tap_look how);

double adze_dot(const double *a, const double *b, int64_t n);
double adze_norm_of(const double *v, int64_t n);

/* -- the probes: diag.c has the table -- */
typedef int (*adze_probe_fn)(adze_ctx *ctx, const adze_diag_subject *s, const adze_diag_opts *o, adze_findings *f);
int adze_probe_gradflow(adze_ctx *ctx, const adze_diag_subject *s, const adze_diag_opts *o, adze_findings *f);
int adze_probe_stats(adze_ctx *ctx, const adze_diag_subject *s, const adze_diag_opts *o, adze_findings *f);
int adze_probe_sparsity(adze_ctx *ctx, const adze_diag_subject *s, const adze_diag_opts *o, adze_findings *f);
int adze_probe_signs(adze_ctx *ctx, const adze_diag_subject *s, const adze_diag_opts *o, adze_findings *f);
int adze_probe_dead(adze_ctx *ctx, const adze_diag_subject *s, const adze_diag_opts *o, adze_findings *f);
int adze_probe_cond(adze_ctx *ctx, const adze_diag_subject *s, const adze_diag_opts *o, adze_findings *f);
int adze_probe_rank(adze_ctx *ctx, const adze_diag_subject *s, const adze_diag_opts *o, adze_findings *f);
int adze_probe_sharpness(adze_ctx *ctx, const adze_diag_subject *s, const adze_diag_opts *o, adze_findings *f);
int adze_probe_decrease(adze_ctx *ctx, const adze_diag_subject *s, const adze_diag_opts *o, adze_findings *f);
int adze_probe_index(adze_ctx *ctx, const adze_diag_subject *s, const adze_diag_opts *o, adze_findings *f);
int adze_probe_ics(adze_ctx *ctx, const adze_diag_subject *s, const adze_diag_opts *o, adze_findings *f);
int adze_probe_coupling(adze_ctx *ctx, const adze_diag_subject *s, const adze_diag_opts *o, adze_findings *f);
int adze_probe_linear(adze_ctx *ctx, const adze_diag_subject *s, const adze_diag_opts *o, adze_findings *f);
int adze_probe_ablation(adze_ctx *ctx, const adze_diag_subject *s, const adze_diag_opts *o, adze_findings *f);
int adze_probe_sensitivity(adze_ctx *ctx, const adze_diag_subject *s, const adze_diag_opts *o, adze_findings *f);
int adze_probe_effective_lr(adze_ctx *ctx, const adze_diag_subject *s, const adze_diag_opts *o, adze_findings *f);

/* Which units of each layer with an activation were active on any example: one byte a unit, layer after layer; a row for each such layer in f. */
typedef struct adze_alive {
    uint8_t *unit;
    int64_t n;
} adze_alive;
int adze_probe_alive(adze_ctx *ctx, const adze_diag_subject *s, const adze_diag_opts *o, adze_findings *f, adze_alive *alive);

#endif
