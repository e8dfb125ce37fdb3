/* What the commands share: the table of commands, arguments driven by field tables, output as text or JSON, the progress line. */
#ifndef ADZE_SRC_CLI_H
#define ADZE_SRC_CLI_H

#include "adze.h"
#include "adze/io.h"
#include "base/base.h"
#include "base/tree.h"

#include <stdio.h>

typedef struct cli_global { /* options that every command takes */
    bool json, help, quiet, verbose, reproducible, pin;
    int64_t threads;
    int32_t progress;
    char isa[16];
    char mem_limit[32];
} cli_global;
enum { CLI_PROGRESS_AUTO, CLI_PROGRESS_BAR, CLI_PROGRESS_PLAIN, CLI_PROGRESS_JSON, CLI_PROGRESS_NONE };

typedef struct cli {
    adze_ctx *ctx;
    cli_global global;
    const struct cli_cmd *cmd;
    bool silent; /* run by another command: the result is files only */
    bool told;   /* what comes has been said already */
} cli;

enum { CLI_MAX_TABLES = 3, CLI_MAX_FIELDS = 256 };
typedef struct cli_table { /* a struct of options with the table that describes it */
    const adze_field *fields;
    void *obj;
    const char *title; /* heading in the help; NULL: "options" */
} cli_table;

typedef struct cli_args { /* what a command line is parsed into */
    cli_table tables[CLI_MAX_TABLES];
    int ntables;
    const char **words; /* what is left: positional arguments */
    int nwords;
    uint64_t given[CLI_MAX_TABLES][CLI_MAX_FIELDS / 64]; /* bit i: field i of the table was set */
} cli_args;

typedef struct cli_cmd {
    const char *name, *brief;    /* one line for `adze help` */
    const char *usage;           /* "train MODEL [options]" */
    const char *examples;        /* three lines to copy */
    int (*tables)(cli_table *t); /* describes the command's own options; obj NULL when only help is wanted. NULL: none */
    int (*run)(cli *c, int argc, const char **argv);
} cli_cmd;

extern const cli_cmd CLI_TRAIN, CLI_EVAL, CLI_PREDICT, CLI_INFO, CLI_INSPECT, CLI_GRAPH, CLI_LIST, CLI_ZOO, CLI_DATA, CLI_DOCTOR, CLI_BENCH,
    CLI_CHECK, CLI_SCHEDULE, CLI_COMPARE, CLI_LAB, CLI_ENSEMBLE, CLI_FOLD, CLI_DIAG, CLI_DEMO, CLI_OMP, CLI_FISHER;
extern const cli_cmd *const CLI_COMMANDS[]; /* NULL ends; main.c */

/* args.c: flags (--name value, --name=value, --no-name, name=value) by the tables; unknown ones are refused with a suggestion. The caller's tables
 * get their defaults first. max_words < 0: any number. */
int cli_parse(cli *c, cli_args *a, int argc, const char **argv, int min_words, int max_words);
void cli_args_free(cli *c, cli_args *a);
bool cli_given(const cli_args *a, int table, const char *name);
const char *cli_flag(const char *word, char *name, size_t n);        /* the option's name in its table's spelling; its value after '=', else NULL */
int cli_parse_bytes(const char *text, int64_t *bytes);               /* "4G", "512MiB" */
int cli_usage_error(cli *c, const char *fmt, ...) ADZE_PRINTF(2, 3); /* ADZE_EARG with "see adze help CMD" */
void cli_help(const cli_cmd *cmd, FILE *to);

/* out.c: results go to stdout, everything else to stderr. */
bool cli_is_tty(FILE *f);
int cli_width(void);                                              /* columns of the terminal, 80 when unknown */
const char *cli_count(char *out, size_t n, double v);             /* 431080 -> "431 K" */
const char *cli_bytes(char *out, size_t n, double bytes);         /* "1.64 MiB" */
int cli_print_text(cli *c, adze_text *t);                         /* writes and frees; ADZE_EIO when stdout fails */
int cli_finish_output(cli *c);                                    /* flush of stdout, checked */
enum { CLI_COLUMNS = 80 };                                        /* no line of text is wider, where it can be broken */
void cli_wrap(adze_text *t, int *at, int left, const char *text); /* words from column *at on; further lines begin at column `left` */
void cli_fold(adze_text *t, const char *text);                    /* breaks lines that are too long at their blanks */
const char *cli_json_number(char *out, size_t n, double v);       /* null when it is not finite: JSON has no NaN */
void cli_json_type(adze_text *t, const adze_type *type);          /* [32, 28, 28, 1] */

/* load.c: a model by zoo name, model file (.yaml, .json) or trained file (.safetensors, then *store is filled; else NULL). */
int cli_load_model(cli *c, const char *name, adze_model **m, adze_store **s);
/* The data set to judge a trained model on: what --data says, else the one that the file was trained on. */
int cli_data_of(cli *c, const char *given, const char *file, char *out, size_t n);
/* The same, but the model must have weights. */
int cli_load_trained(cli *c, const char *name, adze_model **m, adze_store **s);

#endif
