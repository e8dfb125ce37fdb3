/* adze bench gemm and conv: one product or one pass of one convolution as a plan of its own. */
#include "cli/bench.h"

#include "adze/op.h"

int bench_fill_random(cli *c, adze_tensor *t, uint64_t stream) {
    (void)c;
    adze_rng r = adze_rng_make(1, stream);
    const adze_type type = adze_tensor_type(t);
    const int64_t n = adze_type_count(&type);
    float *x = t->dtype == ADZE_F32 ? adze_tensor_data(t) : NULL;
    const bool whole = adze_dtype_is_int(t->dtype);
    for (int64_t i = 0; i < n; i++) {
        const uint32_t u = adze_rng_u32(&r);
        const double v = whole ? (double)(u % 255) - 127 : (double)u / 2147483648.0 - 1;
        if (x) {
            x[i] = (float)v;
        } else {
            adze_tensor_set(t, i, v);
        }
    }
    return ADZE_OK;
}

static int fill_pair(cli *c, bench_work *w) {
    adze_tensor a, b;
    TRY(adze_session_input(w->session, "a", &a));
    TRY(adze_session_input(w->session, "b", &b));
    TRY(bench_fill_random(c, &a, 1));
    return bench_fill_random(c, &b, 2);
}

static int two_inputs(cli *c, bench_work *w, const char *op, const void *attrs, const adze_type *a, const adze_type *b) {
    TRY(adze_graph_new(c->ctx, &w->g));
    const adze_val in[2] = {adze_input(w->g, "a", *a), adze_input(w->g, "b", *b)};
    TRY(adze_output(w->g, "y", adze_apply_name(w->g, op, in, 2, attrs, NULL)));
    return adze_graph_status(w->g);
}

/* -- products: m512n512k512[ta][tb][,dtype][,batch8] ------------------------------------------------------------------------------------------ */

static int gemm_options(cli *c, const char *problem, const char *rest, adze_dtype *d, int64_t *batch) {
    char name[32], value[32];
    while (bench_option(&rest, name, sizeof(name), value, sizeof(value))) {
        const char *number = value[0] ? value : name + 5;
        if (strcmp(name, "dtype") == 0 && value[0]) {
            TRY(bench_dtype(c, value, d));
        } else if (strncmp(name, "batch", 5) == 0) {
            if (!adze_parse_i64(number, batch) || *batch < 1) {
                return cli_usage_error(c, "'%s': '%s' is no batch; batch8 is", problem, name);
            }
        } else {
            TRY(bench_dtype(c, name, d));
        }
    }
    return ADZE_OK;
}

static int build_gemm(cli *c, const char *problem, const bench_opts *o, bench_work *w) {
    (void)o;
    int64_t m = 0, n = 0, k = 0, batch = 0;
    bool ta = false, tb = false;
    const bench_key keys[] = {{"m", &m, NULL}, {"n", &n, NULL}, {"k", &k, NULL}, {"ta", NULL, &ta}, {"tb", NULL, &tb}};
    const char *rest;
    adze_dtype d = ADZE_F32;
    TRY(bench_keys(c, problem, keys, ADZE_COUNT(keys), &rest));
    TRY(gemm_options(c, problem, rest, &d, &batch));
    if (m < 1 || n < 1 || k < 1) {
        return cli_usage_error(c, "'%s': a product needs m, n and k, such as m512n512k512", problem);
    }
    const int lead = batch > 0;
    const int64_t a[3] = {batch, ta ? k : m, ta ? m : k}, b[3] = {batch, tb ? n : k, tb ? k : n};
    const adze_type ta_ = adze_type_make(d, 2 + lead, a + 1 - lead), tb_ = adze_type_make(d, 2 + lead, b + 1 - lead);
    const adze_matmul_attrs attrs = {.ta = ta, .tb = tb};
    w->math = bench_math(d);
    return two_inputs(c, w, "matmul", &attrs, &ta_, &tb_);
}

const bench_kind BENCH_GEMM = {"gemm", "a product, such as m512n512k512 or m64n500k800tb,bf16,batch8", NULL, build_gemm, fill_pair};

/* -- convolutions: mb128ic16ih32oc16oh32kh3ph1[,dir=fwd|dx|dw][,alg=fft][,dtype=bf16] -------------------------------------------------------- */

enum { FWD, DX, DW };
static const char *const OPS[] = {"conv", "conv_dx", "conv_dw"};
static const char *const ALGS[] = {"direct", "im2col", "winograd", "fft"};

typedef struct conv_shape { /* names as in the problem; 0 means "not given"; dilation 0 is none */
    int64_t g, mb, ic, ih, iw, oc, oh, ow, kh, kw, sh, sw, ph, pw, dh, dw;
    int dir;
    const char *alg; /* NULL: by shape */
    adze_dtype dtype;
} conv_shape;

static const char *find_alg(const char *name) {
    size_t i = 0;
    while (i < ADZE_COUNT(ALGS) && strcmp(ALGS[i], name) != 0) {
        i++;
    }
    return i < ADZE_COUNT(ALGS) ? ALGS[i] : NULL;
}

static int conv_options(cli *c, const char *problem, const char *rest, conv_shape *s) {
    char name[32], value[32];
    while (bench_option(&rest, name, sizeof(name), value, sizeof(value))) {
        if (strcmp(name, "dtype") == 0 && value[0]) {
            TRY(bench_dtype(c, value, &s->dtype));
        } else if (strcmp(name, "dir") == 0 && (strcmp(value, "fwd") == 0 || strcmp(value, "dx") == 0 || strcmp(value, "dw") == 0)) {
            s->dir = value[0] == 'f' ? FWD : value[1] == 'x' ? DX : DW;
        } else if (strcmp(name, "alg") == 0 && find_alg(value)) {
            s->alg = find_alg(value);
        } else {
            return cli_usage_error(
                c, "'%s': '%s' is no option of a convolution; dir=fwd, dir=dx, dir=dw, alg=direct, im2col, winograd or fft and dtype=bf16 are",
                problem, name);
        }
    }
    return ADZE_OK;
}

/* One side: output size and the padding at the far end. Where a size is given it counts, and that padding follows. */
static int settle_side(cli *c, const char *problem, int64_t in, int64_t k, int64_t stride, int64_t dilation, int64_t lo, int64_t *out, int64_t *hi) {
    const int64_t span = (k - 1) * (dilation + 1) + 1, natural = (in + 2 * lo - span) / stride + 1;
    *hi = lo;
    if (*out == 0 && in + 2 * lo >= span) {
        *out = natural;
    } else if (*out != natural || in + 2 * lo < span) {
        *hi = (*out - 1) * stride + span - in - lo;
    }
    if (*out < 1 || *hi < 0 || *hi >= span + stride) {
        return cli_usage_error(c, "'%s': a side of %lld does not become one of %lld", problem, (long long)in, (long long)*out);
    }
    return ADZE_OK;
}

static int parse_conv(cli *c, const char *problem, conv_shape *s) {
    *s = (conv_shape){.g = 1, .mb = 1, .sh = 1, .ph = 0, .pw = -1, .dtype = ADZE_F32};
    const bench_key keys[] = {{"g", &s->g, NULL},   {"mb", &s->mb, NULL}, {"ic", &s->ic, NULL}, {"ih", &s->ih, NULL},
                              {"iw", &s->iw, NULL}, {"oc", &s->oc, NULL}, {"oh", &s->oh, NULL}, {"ow", &s->ow, NULL},
                              {"kh", &s->kh, NULL}, {"kw", &s->kw, NULL}, {"sh", &s->sh, NULL}, {"sw", &s->sw, NULL},
                              {"ph", &s->ph, NULL}, {"pw", &s->pw, NULL}, {"dh", &s->dh, NULL}, {"dw", &s->dw, NULL}};
    const char *rest;
    TRY(bench_keys(c, problem, keys, ADZE_COUNT(keys), &rest));
    TRY(conv_options(c, problem, rest, s));
    if (s->mb < 1 || s->ic < 1 || s->ih < 1 || s->oc < 1 || s->kh < 1 || s->sh < 1 || s->g < 1) {
        return cli_usage_error(c, "'%s': a convolution needs mb, ic, ih, oc and kh, such as mb128ic16ih32oc16kh3ph1", problem);
    }
    const bool square = s->iw == 0; /* what is not given of the width is as the height */
    s->iw = square ? s->ih : s->iw;
    s->kw = s->kw ? s->kw : s->kh;
    s->sw = s->sw ? s->sw : s->sh;
    s->pw = s->pw >= 0 ? s->pw : s->ph;
    s->dw = s->dw ? s->dw : s->dh;
    s->ow = s->ow || !square ? s->ow : s->oh;
    return ADZE_OK;
}

static int build_conv(cli *c, const char *problem, const bench_opts *o, bench_work *w) {
    (void)o;
    conv_shape s;
    int64_t hi_h, hi_w;
    TRY(parse_conv(c, problem, &s));
    TRY(settle_side(c, problem, s.ih, s.kh, s.sh, s.dh, s.ph, &s.oh, &hi_h));
    TRY(settle_side(c, problem, s.iw, s.kw, s.sw, s.dw, s.pw, &s.ow, &hi_w));
    const int64_t xd[4] = {s.mb, s.ih, s.iw, s.ic}, yd[4] = {s.mb, s.oh, s.ow, s.oc}, wd[4] = {s.kh, s.kw, s.ic / s.g, s.oc};
    const adze_type x = adze_type_make(s.dtype, 4, xd), y = adze_type_make(s.dtype, 4, yd), k = adze_type_make(s.dtype, 4, wd);
    adze_conv_attrs a = {
        .stride = {2, {s.sh, s.sw}}, .dilation = {2, {s.dh + 1, s.dw + 1}}, .pad_lo = {2, {s.ph, s.pw}}, .pad_hi = {2, {hi_h, hi_w}}, .groups = s.g};
    if (s.dir != FWD) {
        a.size = s.dir == DX ? (adze_ints){2, {s.ih, s.iw}} : (adze_ints){2, {s.kh, s.kw}};
    }
    w->math = bench_math(s.dtype);
    w->opts.conv = s.alg;
    return two_inputs(c, w, OPS[s.dir], &a, s.dir == DX ? &y : &x, s.dir == DW ? &y : &k);
}

static int expand_conv(cli *c, const char *word, const bench_opts *o, bench_list *l) {
    char net[64];
    const size_t len = strcspn(word, ",");
    snprintf(net, sizeof(net), "%.*s", (int)len, word);
    const int before = l->n;
    TRY(bench_net_convs(c, net, o->batch, word + len, l));
    return l->n > before ? ADZE_OK : bench_list_add(c, l, word);
}

const bench_kind BENCH_CONV = {"conv",
                               "a convolution, such as mb128ic16ih32oc16oh32kh3ph1,dir=dw, or a net's: resnet20, resnet50, vgg16, lenet5, googlenet",
                               expand_conv, build_conv, fill_pair};
