/* adze bench layer: any op of the table on given shapes, forward or with its derivative: maxpool,128x24x24x20,size=2x2,dir=bwd. */
#include "cli/bench.h"

#include "adze/op.h"

#include <ctype.h>

/* What an op's bare name stands for. */
static const char *const USUAL[] = {"softmax,256x1000",
                                    "log_softmax,256x1000",
                                    "softmax_xent,256x1000,i64:256",
                                    "maxpool,128x24x24x20,size=2x2,stride=2x2",
                                    "avgpool,128x24x24x20,size=2x2,stride=2x2",
                                    "batchnorm,128x32x32x16,16,16",
                                    "layernorm,4096x256,256,256",
                                    "dropout,256x4096,p=0.5",
                                    "relu,128x32x32x16",
                                    "sigmoid,256x4096",
                                    "tanh,256x4096",
                                    "exp,256x4096",
                                    "add,128x32x32x16,128x32x32x16",
                                    "sum,128x32x32x16,axes=0x1x2",
                                    "transpose,1024x1024,perm=1x0",
                                    "concat,128x16x16x64,128x16x16x64,axis=3",
                                    "gather,10000x256,i64:4096,axis=0",
                                    "sgd,1048576,1048576,f64",
                                    "momentum,1048576,1048576,1048576,f64",
                                    "adam,1048576,1048576,1048576,1048576,f64,f64"};
static const struct { const char *name, *op; } OTHER_NAMES[] = {{"pool", "maxpool"}, {"cross-entropy", "softmax_xent"}};

typedef struct layer {
    const adze_op *op;
    void *attrs;
    adze_type in[ADZE_MAX_IN];
    int nin;
    bool backward;
} layer;

/* "i64:128x3", "128x3", or "f64" for a number of rank 0; false when it is none of these. */
static bool parse_type(const char *text, adze_type *t) {
    const char *colon = strchr(text, ':');
    char name[8];
    snprintf(name, sizeof(name), "%.*s", colon ? (int)(colon - text) : (int)strlen(text), text);
    *t = (adze_type){.dtype = adze_dtype_parse(name)};
    if (t->dtype != ADZE_NONE && !colon) {
        return true;
    }
    t->dtype = colon ? t->dtype : ADZE_F32;
    for (const char *s = colon ? colon + 1 : text; *s;) {
        char digits[24];
        const size_t n = strspn(s, "0123456789");
        snprintf(digits, sizeof(digits), "%.*s", (int)n, s);
        if (t->rank == ADZE_MAX_RANK || !adze_parse_i64(digits, &t->dims[t->rank]) || t->dims[t->rank] < 1 || (s[n] != 'x' && s[n])) {
            return false;
        }
        t->rank++;
        s += n + (s[n] == 'x');
    }
    return t->dtype != ADZE_NONE && t->rank > 0;
}

static int parse_attr(cli *c, const char *problem, layer *l, const char *name, const char *value) {
    if (strcmp(name, "dir") == 0 && (strcmp(value, "fwd") == 0 || strcmp(value, "bwd") == 0)) {
        l->backward = value[0] == 'b';
        return ADZE_OK;
    }
    const adze_field *f = l->op->attrs ? adze_field_find(l->op->attrs, name) : NULL;
    if (!f) {
        return cli_usage_error(c, "'%s': the op '%s' has no attribute '%s'", problem, l->op->name, name);
    }
    char text[64];
    snprintf(text, sizeof(text), "%s", value);
    for (char *s = text; *s && f->kind == ADZE_F_INTS; s++) {
        *s = *s == 'x' ? ',' : *s;
    }
    return adze_field_parse(c->ctx, f, l->attrs, text, name);
}

static int parse_layer(cli *c, const char *problem, layer *l) {
    char name[64], value[64];
    const size_t len = strcspn(problem, ",");
    snprintf(name, sizeof(name), "%.*s", (int)len, problem);
    l->op = adze_op_find(name);
    if (!l->op || (l->op->flags & ADZE_OP_REGION)) {
        return cli_usage_error(c, "there is no op '%s' (adze list ops has them all)", name);
    }
    l->attrs = adze_alloc(c->ctx, 1, l->op->attrs_size > 0 ? l->op->attrs_size : 1);
    if (!l->attrs) {
        return ADZE_ENOMEM;
    }
    adze_fields_default(l->op->attrs, l->attrs);
    for (const char *rest = problem + len; bench_option(&rest, name, sizeof(name), value, sizeof(value));) {
        if (value[0]) {
            TRY(parse_attr(c, problem, l, name, value));
        } else if (l->nin == ADZE_MAX_IN || !parse_type(name, &l->in[l->nin])) {
            return cli_usage_error(c, "'%s': '%s' is no shape; 128x32x32x16, i64:128 and f64 (one number) are", problem, name);
        } else {
            l->nin++;
        }
    }
    if (l->nin == 0 && l->op->nin_min > 0) {
        return cli_usage_error(c, "'%s': the op needs the shapes of its inputs, such as %s,128x32x32x16", problem, l->op->name);
    }
    return ADZE_OK;
}

/* The vector-Jacobian product with random seeds, in place of the outputs. */
static int add_backward(bench_work *w, const layer *l, const adze_val *x, const adze_val *y) {
    adze_val wanted[ADZE_MAX_IN], gx[ADZE_MAX_IN];
    char name[16];
    int n = 0;
    for (int i = 0; i < l->nin; i++) {
        if (adze_dtype_is_float(l->in[i].dtype)) {
            wanted[n++] = x[i];
        }
    }
    const adze_val seed = adze_input(w->g, "seed", adze_val_type(w->g, y[0]));
    TRY(adze_vjp(w->g, y, &seed, 1, wanted, n, gx, 0));
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof(name), "g%d", i);
        TRY(adze_output(w->g, name, gx[i]));
    }
    return ADZE_OK;
}

static int add_layer(cli *c, bench_work *w, const layer *l) {
    adze_val x[ADZE_MAX_IN], y[ADZE_MAX_OUT] = {{0}};
    char name[16];
    TRY(adze_graph_new(c->ctx, &w->g));
    for (int i = 0; i < l->nin; i++) {
        snprintf(name, sizeof(name), "x%d", i);
        const bool slot = (l->op->flags & ADZE_OP_UPDATE) && i < l->op->nout;
        x[i] = slot ? adze_slot(w->g, name, l->in[i]) : adze_input(w->g, name, l->in[i]);
    }
    adze_apply(w->g, l->op, x, l->nin, l->attrs, y);
    TRY(adze_graph_status(w->g));
    if (l->backward) {
        return add_backward(w, l, x, y);
    }
    for (int i = 0; i < (l->op->nout ? l->op->nout : ADZE_MAX_OUT) && y[i].id; i++) {
        snprintf(name, sizeof(name), "y%d", i);
        TRY(adze_output(w->g, name, y[i]));
    }
    return ADZE_OK;
}

static int build_layer(cli *c, const char *problem, const bench_opts *o, bench_work *w) {
    (void)o;
    layer l = {0};
    int status = parse_layer(c, problem, &l);
    if (status == ADZE_OK) {
        w->math = bench_math(l.nin > 0 ? l.in[0].dtype : ADZE_F32);
        status = add_layer(c, w, &l);
    }
    adze_free(c->ctx, l.attrs);
    return status;
}

/* Indices and labels stay below the smallest side of input 0, so that they are legal whatever they count. */
static int64_t smallest_side(const adze_type *t) {
    int64_t least = 2;
    for (int i = 0; i < t->rank; i++) {
        least = i == 0 || t->dims[i] < least ? t->dims[i] : least;
    }
    return least;
}

static void fill_input(adze_tensor *t, int64_t below, const adze_domain *dom, uint64_t stream) {
    const adze_type type = adze_tensor_type(t);
    const double lo = dom->lo < dom->hi ? dom->lo : -2, hi = dom->lo < dom->hi ? dom->hi : 2;
    adze_rng r = adze_rng_make(1, stream);
    for (int64_t i = 0, n = adze_type_count(&type); i < n; i++) {
        const double u = adze_rng_uniform(&r);
        adze_tensor_set(t, i, !adze_dtype_is_float(t->dtype) ? (double)(int64_t)(u * (double)below) : t->rank == 0 ? 1e-3 : lo + (hi - lo) * u);
    }
}

/* Values come from where the op's own test cases draw them: logarithms get no negative numbers. */
static int fill_layer(cli *c, bench_work *w) {
    layer l = {0};
    int status = parse_layer(c, w->problem, &l);
    adze_case k = {.dtype = ADZE_F32, .attrs = l.attrs};
    adze_rng r = adze_rng_make(1, 0);
    if (status == ADZE_OK && l.op->sample) {
        l.op->sample(&r, &k); /* changes the attributes, which nobody needs any more */
    }
    for (int i = 0; i < l.nin && status == ADZE_OK; i++) {
        char name[16];
        adze_tensor t;
        snprintf(name, sizeof(name), "x%d", i);
        const bool slot = (l.op->flags & ADZE_OP_UPDATE) && i < l.op->nout;
        status = slot ? adze_store_tensor(w->store, adze_store_find(w->store, name), &t) : adze_session_input(w->session, name, &t);
        if (status == ADZE_OK) {
            fill_input(&t, smallest_side(&l.in[0]), i < k.nin ? &k.dom[i] : &(adze_domain){0}, (uint64_t)i);
        }
    }
    adze_tensor seed;
    if (status == ADZE_OK && l.backward && adze_session_input(w->session, "seed", &seed) == ADZE_OK) {
        fill_input(&seed, 2, &(adze_domain){0}, ADZE_MAX_IN);
    }
    adze_free(c->ctx, l.attrs);
    return status;
}

static int expand_layer(cli *c, const char *word, const bench_opts *o, bench_list *l) {
    (void)o;
    const char *name = word;
    for (size_t i = 0; i < ADZE_COUNT(OTHER_NAMES); i++) {
        name = strcmp(OTHER_NAMES[i].name, name) == 0 ? OTHER_NAMES[i].op : name;
    }
    for (size_t i = 0; i < ADZE_COUNT(USUAL) && !strchr(name, ','); i++) {
        if (strcspn(USUAL[i], ",") == strlen(name) && strncmp(USUAL[i], name, strlen(name)) == 0) {
            return bench_list_add(c, l, USUAL[i]);
        }
    }
    return bench_list_add(c, l, name);
}

const bench_kind BENCH_LAYER = {"layer", "an op and the shapes of its inputs, such as softmax,256x1000", expand_layer, build_layer, fill_layer};
