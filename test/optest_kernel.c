/* optest_kernel.h: memory between forbidden pages, exact results, and the ways in which a kernel is called. */
#include "optest_kernel.h"

#include "core/dtype.h"
#include "effort.h"
#include "op/rnn.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

enum { CANARY = 0xA5, THREADS = 8 };

static adze_ctx *ctx;

void kt_setup(void) {
    const adze_ctx_opts opts = {.size = sizeof opts, .threads = THREADS};
    assert_int_equal(adze_ctx_new(&opts, &ctx), ADZE_OK);
}

void kt_teardown(void) {
    adze_ctx_free(ctx);
}

adze_ctx *kt_ctx(void) {
    return ctx;
}

int kt_step(void) {
    static const int step[] = {[QUICK] = 3, [USUAL] = 2, [EVERYTHING] = 1};
    return step[effort()];
}

/* -- memory ------------------------------------------------------------------------------------------------------------------------------------ */

enum { SPARES = 4 };

static kt_memory spares[SPARES]; /* the last ones that were given back: most of the time would go into new pages */
static int next_spare;

static unsigned char *spare_of(size_t mapped) {
    for (int i = 0; i < SPARES; i++) {
        unsigned char *raw = spares[i].raw;
        if (raw && spares[i].mapped == mapped) {
            spares[i].raw = NULL;
            return raw;
        }
    }
    return NULL;
}

/* step: what its address must be a multiple of; bytes beyond it up to the page are watched. */
static kt_memory memory_new(size_t bytes, int fill, size_t step, bool first) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (bytes + step - 1) / step * step, inner = (room + page - 1) / page * page;
    kt_memory m = {.bytes = bytes, .mapped = inner + 2 * page, .raw = spare_of(inner + 2 * page)};
    if (!m.raw) {
        m.raw = mmap(NULL, m.mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert_true(m.raw != MAP_FAILED);
        assert_true(inner == 0 || mprotect(m.raw + page, inner, PROT_READ | PROT_WRITE) == 0);
    }
    m.at = m.raw + page + (first ? 0 : inner - room);
    memset(m.raw + page, CANARY, inner);
    memset(m.at, fill, bytes);
    return m;
}

static void memory_free(kt_memory *m, const char *what) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const unsigned char *end = m->raw + m->mapped - page;
    for (const unsigned char *p = m->raw + page; p < end; p++) {
        if (p == m->at) {
            p += m->bytes;
        }
        if (p < end && *p != CANARY) {
            fail_msg("%s: memory around it was written", what);
        }
    }
    kt_memory *s = &spares[next_spare++ % SPARES];
    if (s->raw) {
        munmap(s->raw, s->mapped);
    }
    *s = *m;
    m->raw = NULL;
}

static adze_view view_of(const adze_type *t, void *data) {
    adze_view v = {.data = data, .dtype = t->dtype, .rank = t->rank};
    int64_t stride = 1;
    for (int i = t->rank - 1; i >= 0; i--) {
        v.dims[i] = t->dims[i], v.strides[i] = stride;
        stride *= t->dims[i];
    }
    return v;
}

static double element(const adze_type *t, const void *data, int64_t i) {
    double v;
    adze_dtype_load(t->dtype, (const char *)data + (size_t)i * adze_dtype_size(t->dtype), 1, 1, &v);
    return v;
}

/* -- what must come out ------------------------------------------------------------------------------------------------------------------------ */

/* ref on the same numbers in f64 (integers as they are), or on their absolute values. */
static void exact(kt *t, bool absolute, double **result) {
    adze_type in[KT_MAX], out[KT_MAX];
    adze_view vin[KT_MAX], vout[KT_MAX];
    adze_sig s = t->sig;
    union {
        max_align_t align;
        char bytes[OT_ATTRS_BYTES];
    } attrs;
    memcpy(attrs.bytes, t->p->attrs, s.op->attrs_size);
    if (strcmp(s.op->name, "matmul") == 0) {
        ((adze_matmul_attrs *)(void *)attrs.bytes)->out = ADZE_NONE;
    } else if (strncmp(s.op->name, "conv", 4) == 0) {
        ((adze_conv_attrs *)(void *)attrs.bytes)->out = ADZE_NONE;
    }
    s.attrs = attrs.bytes, s.in = in, s.out = out;
    for (int i = 0; i < s.nin; i++) {
        const int64_t n = adze_type_count(&t->in[i]);
        const bool real = adze_dtype_is_float(t->in[i].dtype);
        in[i] = t->in[i];
        in[i].dtype = real ? ADZE_F64 : in[i].dtype;
        vin[i] = view_of(&in[i], malloc((size_t)adze_type_bytes(&in[i]) + 8));
        assert_non_null(vin[i].data);
        for (int64_t k = 0; k < n; k++) {
            const double v = element(&t->in[i], t->min[i].at, k), to = absolute && real ? fabs(v) : v;
            adze_dtype_store(in[i].dtype, (char *)vin[i].data + (size_t)k * adze_dtype_size(in[i].dtype), 1, 1, &to);
        }
    }
    assert_int_equal(s.op->infer(&s), ADZE_OK);
    void *scratch = malloc((s.op->ref_scratch ? s.op->ref_scratch(&s) : 0) + 64);
    for (int i = 0; i < s.nout; i++) {
        vout[i] = view_of(&out[i], malloc((size_t)adze_type_bytes(&out[i]) + 8));
        assert_true(scratch && vout[i].data);
    }
    const adze_run run = {.seed = 1};
    const adze_step step = {.op = s.op, .attrs = s.attrs, .nin = s.nin, .nout = s.nout, .in = vin, .out = vout, .scratch = scratch, .run = &run};
    s.op->ref(&step, 0, 1);
    for (int i = 0; i < s.nout; i++) {
        const int64_t n = adze_type_count(&out[i]);
        result[i] = ot_alloc(n);
        adze_dtype_load(out[i].dtype, vout[i].data, 1, n, result[i]);
        free(vout[i].data);
    }
    for (int i = 0; i < s.nin; i++) {
        free(vin[i].data);
    }
    free(scratch);
}

void kt_text(const kt_problem *p, char *text, size_t size) {
    static ot_case c; /* too large for the stack */
    c.op = adze_op_find(p->op), c.c.nin = p->nin;
    memcpy(c.c.in, p->in, sizeof p->in);
    memcpy(c.attrs.bytes, p->attrs, c.op->attrs_size);
    c.c.attrs = c.attrs.bytes;
    const int at = snprintf(text, size, "problem %llu: %s ", (unsigned long long)p->seed, p->op);
    ot_text_case(&c, text + at, size - (size_t)at);
}

void kt_begin(kt *t, const kt_problem *p) {
    adze_rng r = adze_rng_make(p->seed, 7);
    memset(t, 0, sizeof *t);
    t->p = p;
    memcpy(t->in, p->in, sizeof t->in);
    t->sig = (adze_sig){.ctx = ctx, .op = adze_op_find(p->op), .name = "test", .attrs = p->attrs, .nin = p->nin, .in = t->in, .out = t->out};
    t->sig.nout = t->sig.op->nout ? t->sig.op->nout : t->sig.op->count_out(&t->sig);
    kt_text(p, t->text, sizeof t->text);
    if (t->sig.op->infer(&t->sig) != ADZE_OK) {
        fail_msg("%s: %s", t->text, adze_errmsg(ctx));
    }
    for (int i = 0; i < p->nin; i++) {
        const int64_t n = adze_type_count(&t->in[i]);
        double *x = ot_alloc(n);
        ot_fill(&r, t->in[i], &p->dom[i], x);
        t->min[i] = memory_new((size_t)adze_type_bytes(&t->in[i]), 0, adze_dtype_size(t->in[i].dtype), p->first);
        adze_dtype_store(t->in[i].dtype, t->min[i].at, 1, n, x);
        free(x);
    }
    for (int i = 0; i < t->sig.nout; i++) {
        t->mout[i] = memory_new((size_t)adze_type_bytes(&t->out[i]), 0xFF, adze_dtype_size(t->out[i].dtype), p->first);
    }
    exact(t, false, t->want);
}

void kt_end(kt *t) {
    for (int i = 0; i < t->sig.nin; i++) {
        memory_free(&t->min[i], t->text);
    }
    for (int i = 0; i < t->sig.nout; i++) {
        memory_free(&t->mout[i], t->text);
        free(t->want[i]);
        free(t->size[i]);
    }
}

/* Half a unit in the last place of 1: what one operation may lose. */
static double unit(adze_dtype d) {
    return d == ADZE_F64 ? 0x1p-53 : d == ADZE_BF16 ? 0x1p-8 : 0x1p-24;
}

/* A sum of n terms, added one after the other, loses at most n units of the sum of their absolute values; the sum in f64 that it is compared with as
 * many of its own, and rounding the result one more of its size. Over all elements together these errors have either sign: the norm of what is off
 * grows with the root of n only. The kernels of Winograd promise 1e-6 of the norm (winograd_shape.inc), those of Fourier 4e-7.
 * Where values pass through functions, terms are of size one, also those of a sum that cancels; where bf16 is stored in between, it rounds. */
static void check_near(kt *t, const adze_kernel *k, const char *name) {
    const bool fft = strcmp(k->name, "fft") == 0, wino = fft || strcmp(k->name, "winograd") == 0, by_norm = wino || t->p->by_norm;
    if (t->p->terms > 0 && !by_norm && !t->size[0]) {
        exact(t, true, t->size);
    }
    for (int o = 0; o < t->sig.nout; o++) {
        const adze_type *type = &t->out[o];
        const bool real = adze_dtype_is_float(type->dtype) && t->p->terms > 0;
        const double sum = type->dtype == ADZE_F64 ? 2 * unit(ADZE_F64) : unit(ADZE_F32);
        double far = 0, norm = 0, sizes = 0;
        for (int64_t i = 0; i < adze_type_count(type); i++) {
            const double y = element(type, t->mout[o].at, i), w = t->want[o][i], size = real && !by_norm ? t->size[o][i] : 0;
            const double bound = (t->p->terms + 2) * sum * size + (size > 0 ? 1.01 * unit(type->dtype) * fabs(w) + 0x1p-120 : 0);
            far += (y - w) * (y - w), norm += w * w, sizes += size * size;
            if (!(real && by_norm) && !(fabs(y - w) <= bound)) {
                fail_msg("%s %s of %s: output %d, element %lld is %.9g, must be %.9g within %.3g", t->text, k->name, name, o, (long long)i, y, w,
                         bound);
            }
        }
        norm = sqrt(t->p->by_norm ? fmax(norm, (double)adze_type_count(type)) : norm);
        const double root = sqrt(t->p->terms + 2), promise = type->dtype == ADZE_F64 ? 1e-14 + root * sum : fft ? 4e-7 : 1e-6;
        const double rounds = t->in[0].dtype == ADZE_BF16 ? 2 * unit(ADZE_BF16) : unit(type->dtype);
        const double sums = 2 * root * sum * sqrt(sizes) + 1.01 * unit(type->dtype) * norm + 0x1p-120;
        const double whole = wino ? promise * norm : by_norm ? t->p->terms * rounds * norm : sums;
        if (real && !(sqrt(far) <= whole)) {
            fail_msg("%s %s of %s: output %d is off by %.3g, at most %.3g", t->text, k->name, name, o, sqrt(far), whole);
        }
    }
}

/* -- calls ------------------------------------------------------------------------------------------------------------------------------------- */

typedef struct call { /* the step of a problem, with the kernel's memory */
    adze_view in[KT_MAX], out[KT_MAX];
    kt_memory scratch, local;
    adze_step step;
} call;

static void call_begin(call *c, kt *t, const adze_kernel *k, int nth) {
    static const adze_run RUN = {.seed = 1};
    const size_t local = k->local ? (k->local(&t->sig) + 63) / 64 * 64 : 0;
    memset(c, 0, sizeof *c);
    for (int i = 0; i < t->sig.nin; i++) {
        c->in[i] = view_of(&t->in[i], t->min[i].at);
    }
    for (int i = 0; i < t->sig.nout; i++) {
        c->out[i] = view_of(&t->out[i], t->mout[i].at);
        memset(t->mout[i].at, 0xFF, t->mout[i].bytes);
    }
    c->scratch = memory_new(k->scratch ? k->scratch(&t->sig) : 0, 0xFF, 64, t->p->first); /* NaN: nobody may count on zeros */
    c->local = memory_new(local * (size_t)nth, 0xFF, 64, t->p->first);
    c->step = (adze_step){.op = t->sig.op,
                          .attrs = t->sig.attrs,
                          .nin = t->sig.nin,
                          .nout = t->sig.nout,
                          .in = c->in,
                          .out = c->out,
                          .scratch = c->scratch.at,
                          .local = (char *)c->local.at,
                          .local_stride = local,
                          .run = &RUN};
}

static void call_end(call *c, const kt *t) {
    memory_free(&c->scratch, t->text);
    memory_free(&c->local, t->text);
}

typedef struct phase {
    const kt *t;
    const adze_step *s;
    adze_kernel_fn run;
} phase;

static void run_phase(void *arg, int ith, int nth) {
    const phase *p = arg;
    p->run(p->s, ith, nth);
    if (p->t->after) {
        p->t->after();
    }
}

/* One thread after the other, the last first; eight at once. */
static void run_phases(const kt *t, const adze_kernel *k, const adze_step *s, int from, int to, int nth) {
    for (int p = from; p < to && k->run[p]; p++) {
        phase ph = {t, s, k->run[p]};
        if (nth == THREADS) {
            adze_pool_run(ctx, run_phase, &ph, nth);
        }
        for (int i = nth - 1; i >= 0 && nth != THREADS; i--) {
            run_phase(&ph, i, nth);
        }
    }
}

void kt_run(kt *t, const adze_kernel *k, int nth) {
    call c;
    call_begin(&c, t, k, nth);
    run_phases(t, k, &c.step, 0, ADZE_MAX_PHASES, nth);
    call_end(&c, t);
}

static adze_view slice(adze_view v, int64_t from, int64_t to) {
    v.data = (char *)v.data + (size_t)(from * v.strides[0]) * adze_dtype_size(v.dtype);
    v.dims[0] = to - from;
    return v;
}

/* As a group runs it: slices of uneven size, by one thread; sums go into the parts of leaves. False: this problem is not sliced. */
static bool run_slices(kt *t, const adze_kernel *k) {
    static const int64_t SIZES[] = {1, 4, 2, 11, 3, 13};
    const int64_t batch = t->in[0].dims[0], leaves = (batch + ADZE_LEAF - 1) / ADZE_LEAF;
    const size_t part = k->partial ? (k->partial(&t->sig) + 63) / 64 * 64 : 0;
    if (!k->sliced || (k->finish && !part)) {
        return false;
    }
    kt_memory parts = memory_new(part * (size_t)leaves, 0, 64, t->p->first);
    call c;
    call_begin(&c, t, k, 1);
    run_phases(t, k, &c.step, 0, k->prepare, 1);
    call cut = c;
    cut.step.in = cut.in, cut.step.out = cut.out;
    for (int64_t from = 0, to, i = (int64_t)(t->p->seed % 3); from < batch; from = to, i++) {
        to = from + SIZES[i % 6] < batch ? from + SIZES[i % 6] : batch;
        if (part && to > (from / ADZE_LEAF + 1) * ADZE_LEAF) {
            to = (from / ADZE_LEAF + 1) * ADZE_LEAF;
        }
        for (int j = 0; j < t->sig.nin; j++) {
            cut.in[j] = k->sliced >> j & 1 ? slice(c.in[j], from, to) : c.in[j];
        }
        for (int j = 0; j < t->sig.nout; j++) {
            cut.out[j] = part ? c.out[j] : slice(c.out[j], from, to);
        }
        cut.step.partial = part ? (char *)parts.at + part * (size_t)(from / ADZE_LEAF) : NULL;
        run_phases(t, k, &cut.step, k->prepare, k->prepare + 1, 1);
    }
    for (int i = 2; part && i >= 0; i--) {
        k->finish(&c.step, (const char *)parts.at, part, leaves, i, 3);
    }
    memory_free(&parts, t->text);
    call_end(&c, t);
    return true;
}

typedef struct watch { /* how often the tail has seen every element of the output */
    adze_step step;
    unsigned char *seen;
    int64_t rows, cols;
    bool inside, complete; /* all blocks lay in the output; no element was still NaN */
} watch;

/* Doubles a block, which shows that it was final: what would be added later is not doubled. */
static void look(const adze_step *s, int64_t row, int64_t nrows, int64_t col, int64_t ncols) {
    watch *w = s->scratch;
    if (row < 0 || col < 0 || nrows < 1 || ncols < 1 || row + nrows > w->rows || col + ncols > w->cols) {
        w->inside = false;
        return;
    }
    for (int64_t r = row; r < row + nrows; r++) {
        for (int64_t i = r * w->cols + col; i < r * w->cols + col + ncols; i++) {
            double v;
            char *at = (char *)s->in->data + (size_t)i * adze_dtype_size(s->in->dtype);
            adze_dtype_load(s->in->dtype, at, 1, 1, &v);
            w->seen[i]++;
            w->complete = w->complete && !isnan(v);
            v *= 2;
            adze_dtype_store(s->in->dtype, at, 1, 1, &v);
        }
    }
}

static void check_tail(kt *t, const adze_kernel *k, const char *name, const void *want) {
    call c;
    call_begin(&c, t, k, 3);
    const int64_t cols = c.out[0].dims[c.out[0].rank - 1], count = adze_type_count(&t->out[0]);
    watch w = {.rows = cols > 0 ? count / cols : 0, .cols = cols, .inside = true, .complete = true, .seen = calloc((size_t)count + 1, 1)};
    assert_non_null(w.seen);
    w.step = (adze_step){.in = c.out, .scratch = &w};
    const adze_tail tail = {.rows = look, .step = &w.step};
    c.step.tail = &tail;
    run_phases(t, k, &c.step, 0, ADZE_MAX_PHASES, 3);
    for (int64_t i = 0; i < count; i++) {
        if (w.seen[i] != 1 || !w.inside || !w.complete || element(&t->out[0], c.out[0].data, i) != 2 * element(&t->out[0], want, i)) {
            fail_msg("%s %s of %s: the tail saw element %lld %d times, inside %d, complete %d; %g was %g", t->text, k->name, name, (long long)i,
                     w.seen[i], w.inside, w.complete, element(&t->out[0], c.out[0].data, i) / 2, element(&t->out[0], want, i));
        }
    }
    free(w.seen);
    call_end(&c, t);
}

static void check_same(const kt *t, const adze_kernel *k, const char *name, void *const *want, const char *what, int number) {
    for (int i = 0; i < t->sig.nout; i++) {
        if (memcmp(t->mout[i].at, want[i], t->mout[i].bytes) != 0) {
            fail_msg("%s %s of %s: %s %d change bits of output %d", t->text, k->name, name, what, number, i);
        }
    }
}

void kt_check(kt *t, const adze_kernel *k, const char *name) {
    void *want[KT_MAX];
    kt_run(t, k, 1);
    check_near(t, k, name);
    if (t->p->one_pass) {
        return;
    }
    for (int i = 0; i < t->sig.nout; i++) {
        want[i] = malloc(t->mout[i].bytes + 1);
        assert_non_null(want[i]);
        memcpy(want[i], t->mout[i].at, t->mout[i].bytes);
    }
    const int threads[] = {2, 3 + (int)(t->p->seed % 5), THREADS};
    for (size_t i = 0; i < ADZE_COUNT(threads); i++) {
        kt_run(t, k, threads[i]);
        check_same(t, k, name, want, "threads:", threads[i]);
    }
    if (run_slices(t, k)) {
        check_same(t, k, name, want, "slices", 0);
    }
    if (k->tail) {
        check_tail(t, k, name, want[0]);
    }
    for (int i = 0; i < t->sig.nout; i++) {
        free(want[i]);
    }
}

static void check_levels_agree(kt *t, const adze_kernel *k, const char *name) {
    uint64_t bits = 0;
    int at = 0;
    for (int i = 0; i < t->sig.nout; i++) {
        bits = adze_hash64(t->mout[i].at, t->mout[i].bytes, bits);
    }
    while (t->seen[at].kernel && strcmp(t->seen[at].kernel, k->name) != 0) {
        at++;
    }
    if (t->seen[at].kernel && t->seen[at].bits != bits) {
        fail_msg("%s %s of %s: other bits than on the level below", t->text, k->name, name);
    }
    t->seen[at].kernel = k->name, t->seen[at].bits = bits;
}

int kt_check_list(kt *t, const adze_kernel_list *l, const char *name, const char *kernel) {
    int checked = 0;
    for (int i = 0; i < l->count && !(kernel && checked); i++) { /* a kernel may stand twice, as chosen and as named */
        const adze_kernel *k = &l->kernels[i];
        if (strcmp(k->op, t->p->op) == 0 && (!kernel || strcmp(k->name, kernel) == 0) && (!k->accept || k->accept(&t->sig))) {
            kt_check(t, k, name);
            if (t->fused && adze_dtype_size(t->in[0].dtype) >= 4) {
                check_levels_agree(t, k, name);
            }
            checked++;
        }
    }
    return checked;
}

int kt_check_levels(const kt_problem *p, int turn, const char *kernel) {
    const int levels = (int)adze_isa_best() + 1;
    const adze_kernel_list *seen[32] = {NULL};
    int n = 0, checked = 0;
    kt t;
    kt_begin(&t, p);
    for (int isa = turn < 0 ? 0 : turn % levels; isa < (turn < 0 ? levels : turn % levels + 1); isa++) {
        const adze_device *d = adze_device_find("cpu", (adze_isa)isa);
        t.fused = isa >= ADZE_ISA_V3;
        for (int l = 0; l < 4 && d->lists[l]; l++) { /* the highest levels share tables with those below */
            bool again = false;
            for (int i = 0; i < n; i++) {
                again = again || seen[i] == d->lists[l];
            }
            if (!again) {
                seen[n++] = d->lists[l];
                checked += kt_check_list(&t, d->lists[l], adze_isa_name((adze_isa)isa), kernel);
            }
        }
    }
    kt_end(&t);
    return checked;
}

/* -- problems ---------------------------------------------------------------------------------------------------------------------------------- */

static const adze_domain UNIFORM = {.lo = -2, .hi = 2}, BYTES = {.lo = -128, .hi = 128}, UNSIGNED = {.lo = 0, .hi = 256};

kt_problem kt_conv_problem(const kt_conv *s, int pass, adze_dtype d, adze_dtype out, adze_conv_attrs *at) {
    static const char *const OPS[] = {"conv", "conv_dx", "conv_dw"};
    const int64_t in[3] = {s->d, s->h, s->w}, taps[3] = {s->kd, s->kh, s->kw};
    const int skip = s->d > 0 ? 0 : 1, axes = 3 - skip;
    adze_type x = {.dtype = d, .rank = axes + 2, .dims = {s->n}}, w = {.dtype = d, .rank = axes + 2}, y = x;
    double window = 1, places = 1;
    *at = (adze_conv_attrs){.groups = s->groups, .out = (int32_t)out};
    at->stride.n = at->dilation.n = at->pad_lo.n = at->pad_hi.n = axes;
    at->size.n = pass > 0 ? axes : 0;
    for (int i = 0; i < axes; i++) {
        const int64_t size = in[i + skip], k = taps[i + skip];
        const bool flat = axes == 2 && size == 1 && k == 1;
        at->stride.v[i] = s->stride, at->dilation.v[i] = s->dilation;
        at->pad_lo.v[i] = flat ? 0 : s->lo, at->pad_hi.v[i] = flat ? 0 : s->hi;
        x.dims[i + 1] = size, w.dims[i] = k;
        y.dims[i + 1] = (size + at->pad_lo.v[i] + at->pad_hi.v[i] - (k - 1) * s->dilation - 1) / s->stride + 1;
        at->size.v[i] = pass == 0 ? 0 : pass == 1 ? size : k;
        window *= (double)k, places *= (double)y.dims[i + 1];
    }
    x.dims[axes + 1] = s->c, y.dims[axes + 1] = w.dims[axes + 1] = s->k, w.dims[axes] = s->c / s->groups;
    kt_problem p = {.op = OPS[pass], .attrs = at, .nin = 2, .in = {pass == 1 ? y : x, pass == 2 ? y : w}, .dom = {UNIFORM, UNIFORM}};
    p.terms = pass == 2 ? (double)s->n * places : window * (double)((pass == 0 ? s->c : s->k) / s->groups);
    return p;
}

static adze_type matrices(adze_dtype d, int64_t batch, int64_t rows, int64_t cols) {
    return batch > 0 ? adze_type_make(d, 3, (const int64_t[]){batch, rows, cols}) : adze_type_make(d, 2, (const int64_t[]){rows, cols});
}

kt_problem kt_product(int64_t na, int64_t nb, int64_t m, int64_t n, int64_t k, adze_dtype left, adze_dtype right, const adze_matmul_attrs *at) {
    kt_problem p = {.op = "matmul", .attrs = at, .nin = 2, .dom = {UNIFORM, UNIFORM}, .terms = (double)(k > 0 ? k : 1)};
    p.in[0] = matrices(left, na, at->ta ? k : m, at->ta ? m : k);
    p.in[1] = matrices(right, nb, at->tb ? n : k, at->tb ? k : n);
    if (!adze_dtype_is_float(left)) {
        p.dom[0] = left == ADZE_U8 ? UNSIGNED : BYTES, p.dom[1] = BYTES, p.terms = 0;
    }
    return p;
}

kt_problem kt_recurrent(adze_rng *r, adze_dtype d, adze_rnn_attrs *at) {
    static const char *const OPS[] = {"rnn", "lstm", "gru", "rnn_grad", "lstm_grad", "gru_grad"};
    const int which = (int)adze_rng_range(r, 0, 5);
    const adze_op *op = adze_op_find(OPS[which]);
    adze_case c;
    do {
        c = (adze_case){.dtype = d == ADZE_BF16 ? ADZE_F32 : d, .attrs = at, .awkward = adze_rng_range(r, 0, 1)};
        assert_int_equal(adze_fields_default(op->attrs, at), ADZE_OK);
        op->sample(r, &c);
    } while (which % 3 == 2 && !at->reset_after); /* which no kernel takes */
    kt_problem p = {.op = op->name, .attrs = at, .nin = c.nin, .by_norm = true};
    memcpy(p.in, c.in, sizeof p.in);
    memcpy(p.dom, c.dom, sizeof p.dom);
    const int64_t *x = c.in[RNN_X].dims, h = c.in[RNN_WH].dims[0]; /* (N, T, I) */
    p.terms = (double)((x[1] + 1) * (x[2] + h + 10) + x[0] * x[1]);
    if (d == ADZE_BF16) { /* h and cotangents are rounded at every step, which is coarser than any sum in f32 */
        p.in[RNN_X].dtype = p.in[RNN_WX].dtype = p.in[RNN_WH].dtype = d;
        if (which >= 3) {
            p.in[RNN_G_Y].dtype = p.in[RNN_G_DY].dtype = d;
        }
        p.terms = (double)(x[1] + 1);
    }
    return p;
}
