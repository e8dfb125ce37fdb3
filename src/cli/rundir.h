/* The folder of one run: config, environment, log, metrics, checkpoints, curves, result (rundir.c). */
#ifndef ADZE_SRC_CLI_RUNDIR_H
#define ADZE_SRC_CLI_RUNDIR_H

#include "cli/cli.h"

typedef struct cli_run_opts { /* with adze_train_opts, all that a resume needs; written to config.yaml */
    char model[512], data[512];
    char isa[16], mem_limit[32];
    bool reproducible;
    char diag[128]; /* probes that look on, and the steps between two looks */
    int64_t diag_every;
} cli_run_opts;
extern const adze_field CLI_RUN_FIELDS[];

typedef struct cli_rundir {
    cli *c;
    char path[768];
    adze_epoch_stats *history; /* epochs from 0 as in the library; files and people count from 1 */
    int64_t n, cap;
    int lock; /* the folder, held so that no second process trains in it; 0: not */
} cli_rundir;

int cli_rundir_create(cli_rundir *r, cli *c, const char *out, const char *model_name); /* runs/NAME-001, -002, ...; `out` names it instead */
int cli_rundir_open(cli_rundir *r, cli *c, const char *path);                          /* an existing one, to resume; reads metrics.csv */
void cli_rundir_close(cli_rundir *r);
int cli_rundir_file(const cli_rundir *r, const char *name, char *out, size_t n);
int cli_rundir_write(const cli_rundir *r, const char *name, const char *text);
int cli_rundir_config_save(const cli_rundir *r, const cli_run_opts *ro, const adze_train_opts *o);
int cli_rundir_config_load(const cli_rundir *r, cli_run_opts *ro, adze_train_opts *o);
/* Options of a training from a YAML file of `key: value`; ro NULL: of a recipe, which holds no more. What the file does not name stays. */
int cli_options_read(cli *c, const char *path, cli_run_opts *ro, adze_train_opts *o);
/* recipe.c: options of the command line, those that a[table] says were given, win over o; a recipe (a name, a file, or "") stands behind them. */
#define CLI_RECIPE_HELP "options that stand behind those given here: a name of `adze list recipes`, or a YAML file of option: value"
int cli_put_given(cli *c, const cli_args *a, int table, const adze_train_opts *given, adze_train_opts *o);
int cli_recipe_apply(cli *c, const cli_args *a, int table, const char *recipe, adze_train_opts *o);
int cli_rundir_env(const cli_rundir *r, const adze_dataset *d);
int cli_rundir_epoch(cli_rundir *r, const adze_epoch_stats *s); /* metrics.csv, metrics.jsonl, log.txt, plots */
/* After a resume the checkpoint's history is the truth: epochs that the kill left out of the metrics files, torn lines and repeats are mended. */
int cli_rundir_restore(cli_rundir *r, const adze_epoch_stats *stats, int64_t n);

#endif
