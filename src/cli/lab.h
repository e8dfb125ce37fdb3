/* Experiments: a claim, the commands that try it, the rule of its verdict and a control that must come out the other way (cmd_lab.c). */
#ifndef ADZE_SRC_CLI_LAB_H
#define ADZE_SRC_CLI_LAB_H

#include "cli/cli.h"
#include "cli/lab_expr.h"

enum { LAB_ARMS = 12, LAB_LINES = 8, LAB_MEASURES = 10, LAB_RULES = 6, LAB_SEEDS = 64, LAB_ROWS = 16, LAB_DATA = 4, LAB_PATH = 1024 };

typedef struct lab_opts { /* of the command */
    char dir[512], work[512], rows[64], out[512];
    bool quick, all, check;
    int64_t seeds;
    uint64_t seed;
} lab_opts;

typedef enum lab_verdict { LAB_CONDITIONAL, LAB_CONFIRMED, LAB_REFUTED, LAB_INVALID } lab_verdict;
extern const char *const LAB_VERDICT_NAMES[]; /* NULL ends */

/* -- a file (lab_file.c); texts lie in its document -------------------------------------------------------------------------------------------- */

typedef struct lab_curve { /* the first measure's column, epoch by epoch */
    double *v;
    int n;
} lab_curve;
typedef struct lab_arm {
    const char *name, *lines[LAB_LINES]; /* command lines after `adze`, run in turn */
    int nlines;
    double value[LAB_MEASURES][LAB_SEEDS], seconds; /* what running it gave */
    lab_curve curve[LAB_SEEDS];
} lab_arm;
typedef struct lab_measure {
    const char *name, *text; /* "" is the one that an arm's bare name stands for */
} lab_measure;
typedef struct lab_rule {
    char value[256], confirmed[80], refuted[80]; /* refuted "": wherever the claim is not confirmed */
    lab_region yes, no;
    double mean, lo, hi; /* what the runs gave: where the value lies with 95 % confidence */
    double at[LAB_SEEDS];
    lab_verdict verdict;
} lab_rule;
typedef struct lab_part { /* the claim's own side, or its control's */
    lab_arm arm[LAB_ARMS];
    lab_measure measure[LAB_MEASURES];
    lab_rule rule[LAB_RULES];
    int narms, nmeasures, nrules;
    lab_verdict verdict;
} lab_part;

typedef struct lab_exp {
    adze_doc *doc;
    adze_arena arena; /* of curves */
    char name[64], claim[600], notes[200], note[3000];
    struct {
        char cite[300], where[120], figure[200], unit[120], ours[256];
    } paper;
    const char *rows[LAB_ROWS], *data[LAB_DATA];
    int nrows, ndata, nseeds;
    uint64_t seeds[LAB_SEEDS], data_hash[LAB_DATA][2];
    double minutes;
    bool quick;
    int64_t revision; /* raised by hand where the program changed what the experiment measures */
    lab_part main, control;
    int32_t must;        /* a lab_verdict, or LAB_NOT_CONFIRMED */
    char rule_hash[20];  /* of claim, data, arms, the files they name, measures, rules, control and revision as they stand in the file */
    lab_rule ours;       /* paper.ours, or the first rule's value */
    lab_verdict verdict; /* of the whole */
    double seconds;      /* that the runs took, those found finished included */
} lab_exp;
enum { LAB_NOT_CONFIRMED = LAB_INVALID };

int lab_read(cli *c, const char *dir, const char *name, lab_exp **out); /* strict: every misspelling is a fault with its line */
void lab_free(cli *c, lab_exp *e);
/* Hashes of the model files (.yaml, .json) that a command line names, so far as they are there, are added to t. */
int lab_hash_files(adze_ctx *ctx, const char *dir, const char *line, adze_text *t);
void lab_hash_revision(const lab_exp *e, adze_text *t); /* nothing for the first */

typedef struct lab_names { /* of all experiments in a folder, sorted */
    char (*name)[64];
    int n;
} lab_names;
int lab_list(cli *c, const char *dir, lab_names *out);

/* -- measures and verdicts (lab_judge.c) ------------------------------------------------------------------------------------------------------- */

/* A number out of a JSON document: keys, list positions and names of list members between dots. true is 1. */
int lab_json_number(adze_ctx *ctx, const adze_tree *t, const char *path, double *out);
/* "last val_error", "best val_acc", "first epoch val_error <= 2.5", "mean epoch_seconds" of the lines of a metrics.csv; *known: it was of this form.
 */
int lab_csv_number(adze_ctx *ctx, const char *csv, const char *measure, bool *known, double *out);
int lab_csv_curve(adze_arena *a, const char *csv, const char *measure, lab_curve *out);
/* What a training that diverged counts as: the worst error, loss or accuracy, never reached; NaN for anything else. */
double lab_diverged(const char *measure);
int lab_judge_rule(adze_ctx *ctx, const lab_part *own, const lab_part *more, int nseeds, lab_rule *r);
int lab_judge(adze_ctx *ctx, lab_exp *e);

/* -- runs, records, pages ---------------------------------------------------------------------------------------------------------------------- */

int lab_run_arms(cli *c, const lab_opts *o, lab_exp *e);                                        /* lab_run.c */
int lab_capture(cli *c, const char *const *words, const char *out, const char *log, int *code); /* the command itself, started anew */
int lab_record_path(const lab_opts *o, const char *name, const char *ending, char *out, size_t n);
int lab_record_write(cli *c, const lab_opts *o, const lab_exp *e);                                      /* lab_record.c: NAME.json and NAME.png */
int lab_record_read(cli *c, const lab_opts *o, const char *name, adze_arena *a, const adze_tree **out); /* *out NULL: there is none */
const char *lab_text_of(const adze_tree *t, const char *key);                                           /* "" where there is none */
bool lab_stale(const lab_exp *e, const adze_tree *record); /* of another file than e's, so far as it counts */
/* The control came out as the claim's own side did, and not by rules of its own: nothing was shown. */
bool lab_alike(const lab_exp *e, const char *verdict, const char *control);
void lab_record_json(const lab_exp *e, cli *c, adze_text *t);
int lab_draw(cli *c, const lab_opts *o, const lab_exp *e); /* lab_draw.c */
void lab_number(adze_text *t, double v);                   /* shortest; words where JSON has no number */
int lab_report(cli *c, const lab_opts *o);                 /* lab_report.c */
int lab_coverage(cli *c, const lab_opts *o);               /* lab_coverage.c */

#endif
