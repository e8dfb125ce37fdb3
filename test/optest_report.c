/* The loop over the op table, and how a failure is told. */
#include "optest.h"

#include <stdio.h>
#include <stdlib.h>

enum { CASES = 200, SHOWN_PER_OP = 4 };

void ot_text_case(const ot_case *c, char *out, size_t n) {
    size_t used = 0;
    out[0] = 0;
    for (const adze_field *f = c->op->attrs; f && f->name && used + 2 < n; f++) {
        char value[160];
        if (adze_field_print(f, c->attrs.bytes, value, sizeof value) >= 0) {
            used += (size_t)snprintf(out + used, n - used, " %s=%s", f->name, value);
        }
    }
    for (int i = 0; i < c->c.nin && used + 2 < n; i++) {
        char type[160];
        used += (size_t)snprintf(out + used, n - used, "%s%s", i ? ", " : " on ", adze_type_print(&c->c.in[i], type, sizeof type));
    }
}

bool ot_check(ot *t, const ot_case *c, bool ok, const char *fmt, ...) {
    t->checks++;
    if (ok) {
        return true;
    }
    t->failures++;
    if (t->op_failures++ < SHOWN_PER_OP) {
        char text[1024], why[512];
        va_list args;
        va_start(args, fmt);
        vsnprintf(why, sizeof why, fmt, args);
        va_end(args);
        ot_text_case(c, text, sizeof text);
        fprintf(stderr, "FAIL %s%s: %s  [ADZE_OP=%s ADZE_SEED=%llu %s]\n", c->op->name, text, why, c->op->name, (unsigned long long)c->seed,
                t->program);
    }
    return false;
}

static void grouped(int64_t v, char out[32]) { /* 18600 -> 18,600 */
    char digits[32];
    int n = snprintf(digits, sizeof digits, "%lld", (long long)v), k = 0;
    for (int i = 0; i < n; i++) {
        out[k++] = digits[i];
        if ((n - 1 - i) % 3 == 0 && i + 1 < n) {
            out[k++] = ',';
        }
    }
    out[k] = 0;
}

static void run_op(ot *t, const adze_op *op, ot_test test, ot_case *c) {
    uint64_t first = 1, last = (uint64_t)t->per_op;
    if (t->seed) {
        first = last = strtoull(t->seed, NULL, 10);
    }
    double began = adze_now();
    for (uint64_t seed = first; seed <= last; seed++) {
        adze_dtype dtype = t->dtype != ADZE_NONE ? t->dtype : seed % 2 ? ADZE_F32 : ADZE_F64;
        t->cases++;
        if (ot_case_make(t, c, op, seed, dtype)) {
            test(t, c);
        }
        ot_case_free(c);
    }
    if (getenv("ADZE_TIMES")) {
        fprintf(stderr, "%-24s %8.3f s\n", op->name, adze_now() - began);
    }
    if (t->op_failures > SHOWN_PER_OP) {
        fprintf(stderr, "FAIL %s: %lld failures in all\n", op->name, (long long)t->op_failures);
    }
}

int64_t ot_run(const char *program, adze_dtype dtype, ot_test test, void (*before)(ot *, const adze_op *), void *user) {
    const char *cases = getenv("ADZE_CASES");
    ot t = {.program = program,
            .dtype = dtype,
            .per_op = cases ? strtoll(cases, NULL, 10) : CASES,
            .only = getenv("ADZE_OP"),
            .seed = getenv("ADZE_SEED"),
            .user = user};
    adze_ctx_opts opts = {.size = sizeof opts, .threads = 1, .isa = "ref", .mem_limit = (size_t)1 << 30};
    ot_case *c = calloc(1, sizeof *c);
    if (!c || adze_ctx_new(&opts, &t.ctx) != ADZE_OK) {
        free(c);
        return 1;
    }
    for (int i = 0; i < adze_op_count(); i++) {
        const adze_op *op = adze_op_at(i);
        if (t.only && strcmp(t.only, op->name) != 0) {
            continue;
        }
        t.ops++;
        t.op_failures = 0;
        c->op = op;
        if (before) {
            before(&t, op);
        }
        if (op->sample && test) {
            run_op(&t, op, test, c);
        } else if (!op->sample) {
            memset(c, 0, sizeof *c);
            c->op = op;
            ot_check(&t, c, ot_is_source(op), "an op that computes something needs a sample");
        }
    }
    char n[3][32];
    grouped(t.cases, n[0]);
    grouped(t.checks, n[1]);
    grouped(t.failures, n[2]);
    printf("%s: ops %lld, cases %s, checks %s, failures %s\n", program, (long long)t.ops, n[0], n[1], n[2]);
    free(c);
    adze_ctx_free(t.ctx);
    return t.failures + (t.ops == 0);
}
