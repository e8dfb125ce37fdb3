/* Arithmetic with names, and scripts of it: what verdicts of experiments are written in, and the notes' own formulas run as they stand (lab_expr.c).
 */
#ifndef ADZE_SRC_CLI_LAB_EXPR_H
#define ADZE_SRC_CLI_LAB_EXPR_H

#include "base/base.h"

enum { LAB_VARS = 64, LAB_NAME = 48 };

typedef struct lab_vars { /* the names that an expression may use, in the order of their first assignment */
    char name[LAB_VARS][LAB_NAME];
    double value[LAB_VARS];
    int n;
    adze_rng rng; /* of normal() and uniform() */
} lab_vars;

int lab_set(adze_ctx *ctx, lab_vars *v, const char *name, size_t len, double value);

/* + - * / ^, comparisons (1 or 0), parentheses, numbers, pi, inf, nan, names of v, and sqrt exp log log10 abs tanh erf floor min max normal uniform.
 */
int lab_eval(adze_ctx *ctx, const char *text, lab_vars *v, double *out);

/* Assignments (= += -= *= /=) between semicolons and `repeat N { ... }`, in which t counts from 1. */
int lab_script(adze_ctx *ctx, const char *text, lab_vars *v);

/* "> 1", ">= 1", "< 1", "<= 1", "0.2 .. 0.3", "outside 0.2 .. 0.3": where a claim holds, or where it is wrong. */
typedef struct lab_region {
    double lo, hi;
    bool open_lo, open_hi, outside;
} lab_region;
int lab_region_parse(adze_ctx *ctx, const char *text, lab_region *out);
bool lab_region_holds(const lab_region *r, double lo, double hi); /* the whole interval lies in it; false with NaN */

#endif
