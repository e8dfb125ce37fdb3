/* Arithmetic with names, by recursive descent; scripts of assignments and loops; regions of the number line. */
#include "cli/lab_expr.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>

enum { MAX_DEPTH = 32, MAX_STATEMENTS = 20000000 };

typedef struct reader {
    adze_ctx *ctx;
    const char *at;
    lab_vars *v;
    int depth;
    int64_t statements;
} reader;

static int expression(reader *r, double *out);

static int refuse(reader *r, const char *what) {
    return adze_fail(r->ctx, ADZE_EARG, "%s at '%.30s'", what, *r->at ? r->at : "the end");
}

static void blanks(reader *r) {
    while (isspace((unsigned char)*r->at)) {
        r->at++;
    }
}

/* Takes the sign and the blanks before it; false: something else stands there. */
static bool take(reader *r, const char *sign) {
    blanks(r);
    const size_t n = strlen(sign);
    if (strncmp(r->at, sign, n) != 0) {
        return false;
    }
    r->at += n;
    return true;
}

/* Letters, digits, '_', and '.' between them; 0: no name. */
static size_t name_length(const char *s) {
    size_t n = 0;
    if (isalpha((unsigned char)s[0]) || s[0] == '_') {
        while (isalnum((unsigned char)s[n]) || s[n] == '_' || (s[n] == '.' && s[n + 1] != '.')) {
            n++;
        }
    }
    return n;
}

static double *find(lab_vars *v, const char *name, size_t len) {
    for (int i = 0; i < v->n; i++) {
        if (strncmp(v->name[i], name, len) == 0 && v->name[i][len] == 0) {
            return &v->value[i];
        }
    }
    return NULL;
}

int lab_set(adze_ctx *ctx, lab_vars *v, const char *name, size_t len, double value) {
    double *old = len < LAB_NAME ? find(v, name, len) : NULL;
    if (old) {
        *old = value;
        return ADZE_OK;
    }
    if (len >= LAB_NAME || v->n == LAB_VARS) {
        return adze_fail(ctx, ADZE_EARG, "'%.*s': at most %d names of %d letters", (int)(len < 60 ? len : 60), name, LAB_VARS, LAB_NAME - 1);
    }
    memcpy(v->name[v->n], name, len);
    v->name[v->n][len] = 0;
    v->value[v->n++] = value;
    return ADZE_OK;
}

/* -- values -------------------------------------------------------------------------------------------------------------------------------------- */

static double lesser(double a, double b) {
    return fmin(a, b);
}
static double greater(double a, double b) {
    return fmax(a, b);
}

static const struct {
    const char *name;
    double (*one)(double);
    double (*two)(double, double);
    double (*draw)(adze_rng *);
} FUNCTIONS[] = {{.name = "sqrt", .one = sqrt},
                 {.name = "exp", .one = exp},
                 {.name = "log", .one = log},
                 {.name = "log10", .one = log10},
                 {.name = "abs", .one = fabs},
                 {.name = "tanh", .one = tanh},
                 {.name = "erf", .one = erf},
                 {.name = "floor", .one = floor},
                 {.name = "min", .two = lesser},
                 {.name = "max", .two = greater},
                 {.name = "normal", .draw = adze_rng_normal},
                 {.name = "uniform", .draw = adze_rng_uniform}};

static int call(reader *r, size_t which, double *out) {
    double a = 0, b = 0;
    if (!FUNCTIONS[which].draw) {
        TRY(expression(r, &a));
    }
    if (FUNCTIONS[which].two) {
        if (!take(r, ",")) {
            return refuse(r, "a comma is missing");
        }
        TRY(expression(r, &b));
    }
    if (!take(r, ")")) {
        return refuse(r, "a ')' is missing");
    }
    *out = FUNCTIONS[which].one ? FUNCTIONS[which].one(a) : FUNCTIONS[which].two ? FUNCTIONS[which].two(a, b) : FUNCTIONS[which].draw(&r->v->rng);
    return ADZE_OK;
}

static int named(reader *r, size_t len, double *out) {
    const char *name = r->at;
    const double *v = find(r->v, name, len);
    r->at += len;
    if (v) {
        *out = *v;
        return ADZE_OK;
    }
    for (size_t i = 0; i < ADZE_COUNT(FUNCTIONS); i++) {
        if (strlen(FUNCTIONS[i].name) == len && strncmp(FUNCTIONS[i].name, name, len) == 0) {
            return take(r, "(") ? call(r, i, out) : refuse(r, "a '(' is missing");
        }
    }
    const struct {
        const char *name;
        double value;
    } constants[] = {{"pi", 3.14159265358979323846}, {"inf", INFINITY}, {"nan", NAN}};
    for (size_t i = 0; i < ADZE_COUNT(constants); i++) {
        if (strlen(constants[i].name) == len && strncmp(constants[i].name, name, len) == 0) {
            *out = constants[i].value;
            return ADZE_OK;
        }
    }
    const char *names[LAB_VARS];
    char word[LAB_NAME];
    for (int i = 0; i < r->v->n; i++) {
        names[i] = r->v->name[i];
    }
    snprintf(word, sizeof(word), "%.*s", (int)(len < LAB_NAME ? len : LAB_NAME - 1), name);
    const char *near = adze_suggest(word, names, (size_t)r->v->n, sizeof(names[0]));
    return near ? adze_fail(r->ctx, ADZE_EARG, "nothing is called '%s'; did you mean '%s'?", word, near)
                : adze_fail(r->ctx, ADZE_EARG, "nothing is called '%s'", word);
}

static int atom(reader *r, double *out) {
    blanks(r);
    const size_t len = name_length(r->at);
    if (len > 0) {
        return named(r, len, out);
    }
    if (take(r, "(")) {
        TRY(expression(r, out));
        return take(r, ")") ? ADZE_OK : refuse(r, "a ')' is missing");
    }
    char number[64];
    size_t n = 0;
    while (n + 1 < sizeof(number) &&
           (isdigit((unsigned char)r->at[n]) || (r->at[n] == '.' && r->at[n + 1] != '.') || (n > 0 && (r->at[n] == 'e' || r->at[n] == 'E')) ||
            (n > 0 && (r->at[n] == '-' || r->at[n] == '+') && (r->at[n - 1] == 'e' || r->at[n - 1] == 'E')))) {
        number[n] = r->at[n];
        n++;
    }
    number[n] = 0;
    if (!adze_parse_f64(number, out)) {
        return refuse(r, "a number or a name is missing");
    }
    r->at += n;
    return ADZE_OK;
}

/* -x^2 is -(x^2), x^-2 is x^(-2), and x^y^z is x^(y^z). */
static int power(reader *r, double *out) {
    int sign = 1;
    for (;;) {
        if (take(r, "-")) {
            sign = -sign;
        } else if (!take(r, "+")) {
            break;
        }
    }
    TRY(atom(r, out));
    if (take(r, "^")) {
        double to;
        if (r->depth == MAX_DEPTH) {
            return refuse(r, "powers are nested too deeply");
        }
        r->depth++;
        TRY(power(r, &to));
        r->depth--;
        *out = pow(*out, to);
    }
    *out *= sign;
    return ADZE_OK;
}

/* True when the sign stands there and is no assignment ("-="). */
static bool binary(reader *r, char sign) {
    blanks(r);
    if (r->at[0] != sign || r->at[1] == '=') {
        return false;
    }
    r->at++;
    return true;
}

static int product(reader *r, double *out) {
    TRY(power(r, out));
    for (;;) {
        const bool times = binary(r, '*');
        if (!times && !binary(r, '/')) {
            return ADZE_OK;
        }
        double by;
        TRY(power(r, &by));
        *out = times ? *out * by : *out / by;
    }
}

static int sum(reader *r, double *out) {
    TRY(product(r, out));
    for (;;) {
        const bool plus = binary(r, '+');
        if (!plus && !binary(r, '-')) {
            return ADZE_OK;
        }
        double by;
        TRY(product(r, &by));
        *out = plus ? *out + by : *out - by;
    }
}

static int comparison(reader *r, double *out) {
    TRY(sum(r, out));
    blanks(r);
    const char sign = *r->at;
    if (sign != '<' && sign != '>') {
        return ADZE_OK;
    }
    r->at++;
    const bool equal = *r->at == '=';
    r->at += equal;
    double to;
    TRY(sum(r, &to));
    *out = (sign == '<' ? *out < to : *out > to) || (equal && *out >= to && *out <= to);
    return ADZE_OK;
}

/* The whole, or what stands between parentheses, those of a function too. */
static int expression(reader *r, double *out) {
    if (r->depth == MAX_DEPTH) {
        return refuse(r, "parentheses are nested too deeply");
    }
    r->depth++;
    TRY(comparison(r, out));
    r->depth--;
    return ADZE_OK;
}

int lab_eval(adze_ctx *ctx, const char *text, lab_vars *v, double *out) {
    reader r = {.ctx = ctx, .at = text, .v = v};
    TRY(expression(&r, out));
    blanks(&r);
    return *r.at ? refuse(&r, "something stands too much") : ADZE_OK;
}

/* -- scripts ------------------------------------------------------------------------------------------------------------------------------------- */

static int statements(reader *r);

static int count_one(reader *r) {
    return ++r->statements <= MAX_STATEMENTS
               ? ADZE_OK
               : adze_fail(r->ctx, ADZE_EARG, "a script makes at most %d assignments and rounds of loops", MAX_STATEMENTS);
}

static int assign(reader *r) {
    const char *name = r->at;
    const size_t len = name_length(name);
    if (len == 0) {
        return refuse(r, "a name is missing");
    }
    r->at += len;
    blanks(r);
    const char op = *r->at;
    if (!(op == '=' || (op && strchr("+-*/", op) && r->at[1] == '='))) {
        return refuse(r, "'=' is missing");
    }
    r->at += op == '=' ? 1 : 2;
    double value;
    TRY(expression(r, &value));
    const double *old = find(r->v, name, len);
    if (op != '=') {
        if (!old) {
            return adze_fail(r->ctx, ADZE_EARG, "'%.*s' has no value yet", (int)len, name);
        }
        value = op == '+' ? *old + value : op == '-' ? *old - value : op == '*' ? *old * value : *old / value;
    }
    TRY(count_one(r));
    return lab_set(r->ctx, r->v, name, len, value);
}

static int repeat(reader *r) {
    double times;
    TRY(expression(r, &times));
    if (!take(r, "{")) {
        return refuse(r, "a '{' is missing");
    }
    if (!(times >= 1) || times > MAX_STATEMENTS || r->depth == MAX_DEPTH) {
        return adze_fail(r->ctx, ADZE_EARG, "repeat takes a number from 1 to %d", MAX_STATEMENTS);
    }
    const char *body = r->at;
    r->depth++;
    for (int64_t t = 1; t <= (int64_t)times; t++) {
        r->at = body;
        TRY(count_one(r));
        TRY(lab_set(r->ctx, r->v, "t", 1, (double)t));
        TRY(statements(r));
        if (!take(r, "}")) {
            return refuse(r, "a '}' is missing");
        }
    }
    r->depth--;
    return ADZE_OK;
}

static int statements(reader *r) {
    for (;;) {
        while (take(r, ";")) {
        }
        if (*r->at == 0 || *r->at == '}') {
            return ADZE_OK;
        }
        if (name_length(r->at) == 6 && strncmp(r->at, "repeat", 6) == 0) {
            r->at += 6;
            TRY(repeat(r));
            continue;
        }
        TRY(assign(r));
        blanks(r);
        if (*r->at && *r->at != ';' && *r->at != '}') {
            return refuse(r, "a ';' is missing");
        }
    }
}

int lab_script(adze_ctx *ctx, const char *text, lab_vars *v) {
    reader r = {.ctx = ctx, .at = text, .v = v};
    TRY(statements(&r));
    return *r.at ? refuse(&r, "a '}' too many") : ADZE_OK;
}

/* -- regions ------------------------------------------------------------------------------------------------------------------------------------- */

int lab_region_parse(adze_ctx *ctx, const char *text, lab_region *out) {
    lab_vars none = {0};
    reader r = {.ctx = ctx, .at = text, .v = &none};
    *out = (lab_region){.lo = -INFINITY, .hi = INFINITY};
    blanks(&r);
    if (*r.at == '<' || *r.at == '>') {
        const bool above = *r.at++ == '>', closed = *r.at == '=';
        r.at += closed;
        TRY(sum(&r, above ? &out->lo : &out->hi));
        *(above ? &out->open_lo : &out->open_hi) = !closed;
    } else {
        out->outside = name_length(r.at) == 7 && take(&r, "outside");
        TRY(sum(&r, &out->lo));
        if (!take(&r, "..")) {
            return refuse(&r, "a region is '> 1', '>= 1', '< 1', '<= 1', '1 .. 2' or 'outside 1 .. 2', not what stands");
        }
        TRY(sum(&r, &out->hi));
    }
    blanks(&r);
    return *r.at ? refuse(&r, "something stands too much") : out->lo <= out->hi ? ADZE_OK : refuse(&r, "the region is empty");
}

bool lab_region_holds(const lab_region *r, double lo, double hi) {
    if (r->outside) {
        return hi < r->lo || lo > r->hi;
    }
    return (r->open_lo ? lo > r->lo : lo >= r->lo) && (r->open_hi ? hi < r->hi : hi <= r->hi);
}
