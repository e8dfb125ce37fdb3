/* One kernel on one problem, for the tests of kernels: every operand and the kernel's own memory lie directly before or directly after a page that
 * nobody may touch; the result is compared with `ref` in f64 on the same numbers, and with itself on other numbers of threads, in slices of the batch
 * as groups of steps call it, and with a tail. A fault fails the running cmocka test with the problem's text. */
#ifndef ADZE_TEST_OPTEST_KERNEL_H
#define ADZE_TEST_OPTEST_KERNEL_H

#include "optest.h"

enum { KT_MAX = 12 }; /* inputs or outputs */

typedef struct kt_memory {
    unsigned char *raw, *at;
    size_t bytes, mapped;
} kt_memory;

typedef struct kt_problem {
    const char *op;
    const void *attrs;
    int nin;
    adze_type in[KT_MAX];
    adze_domain dom[KT_MAX];
    uint64_t seed;
    bool first;    /* operands follow the forbidden page; else it follows them */
    double terms;  /* of the longest sum that ends in an element; 0: nothing is rounded */
    bool by_norm;  /* errors are measured against the norm: values pass through functions */
    bool one_pass; /* no other numbers of threads, no slices, no tail */
} kt_problem;

typedef struct kt { /* a problem with its numbers and what must come out */
    const kt_problem *p;
    adze_sig sig;
    adze_type in[KT_MAX], out[KT_MAX];
    kt_memory min[KT_MAX], mout[KT_MAX];
    double *want[KT_MAX], *size[KT_MAX]; /* exact results; sums of the absolute values of the terms */
    char text[600];
    void (*after)(void); /* each thread's share of a phase; NULL: nothing */
    bool fused;          /* the levels checked now round products and sums once: f32 and f64 have the same bits on all of them, kept by kernel */
    struct {
        const char *kernel;
        uint64_t bits;
    } seen[KT_MAX];
} kt;

void kt_setup(void); /* before the first problem; the context has 8 threads */
void kt_teardown(void);
adze_ctx *kt_ctx(void);
void kt_begin(kt *t, const kt_problem *p);                    /* makes the numbers and what must come out */
void kt_check(kt *t, const adze_kernel *k, const char *name); /* name: whose kernel it is, for messages */
void kt_run(kt *t, const adze_kernel *k, int nth);            /* the result is in mout */
void kt_text(const kt_problem *p, char *text, size_t size);   /* attributes and shapes */
/* Every kernel that accepts; kernel: the one of that name. Returns how many there were. */
int kt_check_list(kt *t, const adze_kernel_list *l, const char *name, const char *kernel);
/* On every level of this machine, or on the level number `turn` modulo their count. */
int kt_check_levels(const kt_problem *p, int turn, const char *kernel);
void kt_end(kt *t);

/* -- problems ---------------------------------------------------------------------------------------------------------------------------------- */

typedef struct kt_conv {
    int64_t n, h, w, c, k, kh, kw, stride, dilation, lo, hi, groups; /* padding before and after, on all axes (none where both sizes are 1) */
    int64_t d, kd;                                                   /* of volumes; 0: images */
} kt_conv;

/* pass: 0 forward, 1 dx, 2 dw. The problem points to the attributes. */
kt_problem kt_conv_problem(const kt_conv *s, int pass, adze_dtype d, adze_dtype out, adze_conv_attrs *at);
/* na, nb: matrices of a and b; 0: rank 2. right: the second input's dtype. */
kt_problem kt_product(int64_t na, int64_t nb, int64_t m, int64_t n, int64_t k, adze_dtype left, adze_dtype right, const adze_matmul_attrs *at);
/* A recurrent layer or its gradient, as the op's own samples are: weights under which the state neither saturates nor grows. */
kt_problem kt_recurrent(adze_rng *r, adze_dtype d, adze_rnn_attrs *at);

/* Every how-manieth case a test takes: 2, with ADZE_QUICK=1 3, with ADZE_QUICK=0 each. */
int kt_step(void);

#endif
