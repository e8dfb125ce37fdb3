/* What the parts of `adze bench` share: a work is a compiled plan to time; its problem string names it and opens it again (cmd_bench.c). */
#ifndef ADZE_SRC_CLI_BENCH_H
#define ADZE_SRC_CLI_BENCH_H

#include "cli/probe.h"

enum { BENCH_TEXT = 192 };

typedef struct bench_opts {
    int64_t batch, runs, memory;
    double seconds;
    int32_t precision;
    bool paced, list;
} bench_opts;

typedef struct bench_work {
    char problem[BENCH_TEXT]; /* as it can be typed again */
    adze_model *model;        /* of whole networks */
    adze_graph *g;
    adze_compile_opts opts;
    adze_store *store;
    adze_plan *plan;
    adze_session *session;
    adze_plan_info info;
    double flops, bytes; /* of one run: the fewest that the work needs */
    double items;        /* examples of one run; 0: not counted */
    probe_math math;     /* which peak it is held against */
    probe_room room;     /* as large as the memory that it touches */
} bench_work;

typedef struct bench_list { /* problems, expanded from names */
    char (*at)[BENCH_TEXT];
    int n;
} bench_list;

typedef struct bench_kind {
    const char *name, *brief;
    int (*expand)(cli *c, const char *word, const bench_opts *o, bench_list *l);   /* NULL: a word is one problem */
    int (*build)(cli *c, const char *problem, const bench_opts *o, bench_work *w); /* graph, store, math; flops and bytes unless 0 */
    int (*fill)(cli *c, bench_work *w);                                            /* the session's inputs; never zeros */
} bench_kind;

extern const bench_kind BENCH_GEMM, BENCH_CONV, BENCH_LAYER, BENCH_MODEL, BENCH_TRAIN;
int cli_bench_peak(cli *c);    /* cmd_bench_peak.c */
int cli_bench_hessian(cli *c); /* cmd_bench_hessian.c */

int bench_list_add(cli *c, bench_list *l, const char *problem);
/* The convolutions of a named net (cmd_bench_nets.c): one problem for each and for each of the passes "fwd", "dx", "dw" that training needs; `tail`
 * (",dir=dx,dtype=bf16") is appended, and with a dir of its own only that pass is listed. Adds nothing when there is no such net. */
int bench_net_convs(cli *c, const char *net, int64_t batch, const char *tail, bench_list *l);

/* Compact problem strings (cmd_bench_text.c): letters and a number, again and again ("mb128ic16"); then ",word" or ",name=value". */
typedef struct bench_key {
    const char *name;
    int64_t *value;
    bool *flag; /* a key without a number, or NULL */
} bench_key;
/* Reads keys up to the first comma or the end; *rest is what follows it, "" at the end. */
int bench_keys(cli *c, const char *text, const bench_key *keys, int n, const char **rest);
/* The next of ",a,b=c": name and value (value "" without '='); false at the end. */
bool bench_option(const char **rest, char *name, size_t n, char *value, size_t m);
int bench_dtype(cli *c, const char *text, adze_dtype *d);
probe_math bench_math(adze_dtype d);

int bench_fill_random(cli *c, adze_tensor *t, uint64_t stream); /* uniform in -1 .. 1 */

#endif
