/* The samples of every op reach every value of its attributes: both bools, all enumerated values that infer accepts, lists with and without members
 * where both are legal, more than one number where infer accepts more than one. */
#include "optest.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MAX_FIELDS = 32 };

typedef struct seen {       /* of one attribute, over all samples of its op */
    uint64_t taken, legal;  /* bits: bool and enum by value, list 0 empty and 1 not; numbers: 0 the first, 1 another one */
    unsigned char first[8]; /* of a number: the value in the first sample */
    bool begun;
} seen;

typedef struct tally {
    const adze_op *op; /* whose samples are being drawn */
    seen of[MAX_FIELDS];
    int64_t kinds[8], values, missing; /* attributes of each kind; values reached */
} tally;

static bool accepted(ot *t, ot_case *c) {
    adze_type out[ADZE_MAX_OUT];
    adze_sig s = ot_case_sig(t, c);
    s.out = out;
    if (c->op->nout == 0) {
        s.nout = c->op->count_out(&s);
    }
    bool yes = s.nout >= 1 && s.nout <= ADZE_MAX_OUT && c->op->infer(&s) == ADZE_OK;
    adze_err_clear(t->ctx);
    return yes;
}

static void see_enum(ot *t, ot_case *c, const adze_field *f, char *at, seen *e) {
    int32_t now, other = 0;
    memcpy(&now, at, sizeof now);
    e->taken |= (uint64_t)1 << now;
    for (; f->names[other]; other++) {
        memcpy(at, &other, sizeof other);
        e->legal |= accepted(t, c) ? (uint64_t)1 << other : 0;
    }
    memcpy(at, &now, sizeof now);
}

static void see_list(ot *t, ot_case *c, char *at, seen *e) {
    adze_ints now, none;
    memcpy(&now, at, sizeof now);
    none = now;
    none.n = 0;
    e->taken |= now.n > 0 ? 2 : 1;
    memcpy(at, &none, sizeof none);
    e->legal |= 2 | (accepted(t, c) ? 1 : 0);
    memcpy(at, &now, sizeof now);
}

static void see_number(ot *t, ot_case *c, const adze_field *f, char *at, seen *e) {
    static const int64_t WHOLE[] = {-1, 0, 1, 2};
    static const double REAL[] = {0, 0.25, 0.5, 1, 2};
    unsigned char now[sizeof e->first];
    bool real = f->kind == ADZE_F_F64;
    memcpy(now, at, sizeof now);
    if (!e->begun) {
        memcpy(e->first, now, sizeof now);
    }
    bool first = memcmp(e->first, now, sizeof now) == 0;
    e->taken |= first ? 1 : 2;
    e->legal |= 1;
    for (size_t i = 0; i < (real ? ADZE_COUNT(REAL) : ADZE_COUNT(WHOLE)); i++) {
        memcpy(at, real ? (const void *)&REAL[i] : &WHOLE[i], sizeof now);
        bool another = memcmp(e->first, at, sizeof now) != 0;
        e->legal |= another && accepted(t, c) ? 2 : 0;
    }
    memcpy(at, now, sizeof now);
}

static void see_case(ot *t, ot_case *c) {
    tally *all = t->user;
    int k = 0;
    for (const adze_field *f = c->op->attrs; f && f->name; f++, k++) {
        char *at = c->attrs.bytes + f->offset;
        seen *e = &all->of[k];
        bool number = f->kind == ADZE_F_I64 || f->kind == ADZE_F_U64 || f->kind == ADZE_F_F64;
        if (f->kind == ADZE_F_BOOL) {
            e->taken |= *(bool *)at ? 2 : 1;
            e->legal = 3;
        } else if (f->kind == ADZE_F_ENUM) {
            see_enum(t, c, f, at, e);
        } else if (f->kind == ADZE_F_INTS) {
            see_list(t, c, at, e);
        } else if (number) {
            see_number(t, c, f, at, e);
        }
        e->begun = true;
    }
}

static const char *value_name(const adze_field *f, int v) {
    static const char *const BOOLS[] = {"false", "true"}, *const LISTS[] = {"an empty list", "a list with members"};
    static const char *const NUMBERS[] = {"a number", "a second number"};
    return f->kind == ADZE_F_ENUM ? f->names[v] : f->kind == ADZE_F_BOOL ? BOOLS[v] : f->kind == ADZE_F_INTS ? LISTS[v] : NUMBERS[v];
}

/* Judges the op that was sampled last and begins the next. */
static void turn_over(tally *all, const adze_op *next) {
    int k = 0;
    for (const adze_field *f = all->op && all->op->sample ? all->op->attrs : NULL; f && f->name; f++, k++) {
        all->kinds[f->kind]++;
        for (int v = 0; v < 64; v++) {
            bool taken = all->of[k].taken >> v & 1, legal = all->of[k].legal >> v & 1;
            all->values += taken;
            if (legal && !taken) {
                all->missing++;
                fprintf(stderr, "FAIL %s: no sample has %s for %s\n", all->op->name, value_name(f, v), f->name);
            }
        }
    }
    all->op = next;
    memset(all->of, 0, sizeof all->of);
}

static void next_op(ot *t, const adze_op *op) {
    int n = 0;
    for (const adze_field *f = op->attrs; f && f->name; f++) {
        n++;
        ot_case none = {.op = op};
        ot_check(t, &none, f->kind < 8 && n <= MAX_FIELDS, "the attribute %s is beyond what this test counts", f->name);
    }
    turn_over(t->user, op);
}

static void samples_reach_every_value_of_every_attribute(void **state) {
    (void)state;
    tally all = {0};
    unsetenv("ADZE_CASES"); /* rare values need all of the 200 cases; they are quick here */
    int64_t failures = ot_run("test_ops_attrs", ADZE_NONE, see_case, next_op, &all);
    turn_over(&all, NULL);
    printf("test_ops_attrs: %lld bools, %lld enums, %lld lists, %lld numbers; %lld values reached, %lld not\n", (long long)all.kinds[ADZE_F_BOOL],
           (long long)all.kinds[ADZE_F_ENUM], (long long)all.kinds[ADZE_F_INTS],
           (long long)(all.kinds[ADZE_F_I64] + all.kinds[ADZE_F_U64] + all.kinds[ADZE_F_F64]), (long long)all.values, (long long)all.missing);
    assert_int_equal(failures, 0);
    assert_int_equal(all.missing, 0);
    assert_true(all.kinds[ADZE_F_BOOL] > 0 && all.kinds[ADZE_F_ENUM] > 0 && all.kinds[ADZE_F_INTS] > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(samples_reach_every_value_of_every_attribute)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
