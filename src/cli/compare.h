/* A comparison: settings times seeds, one figure each, and what may be said about them (compare.c). */
#ifndef ADZE_SRC_CLI_COMPARE_H
#define ADZE_SRC_CLI_COMPARE_H

#include "cli/cli.h"

enum { CMP_KEYS = 8, CMP_SETTINGS = 64, CMP_LABEL = 256 };
enum { CMP_TEST_ACC, CMP_VAL_ACC, CMP_VAL_LOSS, CMP_EPOCHS_TO, CMP_GAP, CMP_SECONDS, CMP_ERROR, CMP_METRICS };
extern const char *const CMP_METRIC_NAMES[]; /* NULL ends */

typedef struct cmp_run {
    double value[CMP_METRICS]; /* NaN: not known, not reached, diverged */
    uint8_t *right;            /* of each test example, 1 or 0 */
    int64_t n;
    bool known; /* it came to an end and was judged */
} cmp_run;

typedef struct cmp_setting {
    char label[CMP_LABEL];       /* "lr=0.1 batch=64" */
    const char *value[CMP_KEYS]; /* of each varied key */
    char *yaml;                  /* the model as it is now; adze_text_free */
} cmp_setting;

typedef struct cmp {
    cli *c;
    char out[512];
    cmp_setting *settings;
    int nsettings;
    int64_t nseeds;
    uint64_t seed; /* the first */
    cmp_run *runs; /* of setting s and seed k: runs[s * nseeds + k] */
    int metric;
    double target; /* of epochs_to */
    bool answers;  /* a setting has classes to answer with: McNemar's test */
} cmp;

int cmp_report(cmp *k); /* prints the result; runs.csv, compare.json and compare.svg, .png go into the folder */

#endif
