/* A chain: several elementwise ops as one step. The compiler makes them; they are in no listing. A program of instructions over values of one shape:
 * values 0 .. 15 are the inputs, 16 + i is what instruction i gives. */
#ifndef ADZE_OP_CHAIN_H
#define ADZE_OP_CHAIN_H

#include "op/rules.h"

/* The maps that an instruction may be, by the names of their ops. */
#define ADZE_CHAIN_UNARY(X)                                                                                                                          \
    X(neg)                                                                                                                                           \
    X(abs)                                                                                                                                           \
    X(sign)                                                                                                                                          \
    X(exp)                                                                                                                                           \
    X(expm1)                                                                                                                                         \
    X(log)                                                                                                                                           \
    X(log1p)                                                                                                                                         \
    X(sqrt)                                                                                                                                          \
    X(rsqrt)                                                                                                                                         \
    X(square) X(reciprocal) X(sin) X(cos) X(erf) X(tanh) X(sigmoid) X(softplus) X(floor) X(ceil) X(round) X(relu) X(scale) X(clip)
#define ADZE_CHAIN_BINARY(X) X(add) X(sub) X(mul) X(div) X(pow) X(min) X(max) X(relu_grad)
#define ADZE_CHAIN_COMPARE(X) X(eq) X(ne) X(lt) X(le) X(gt) X(ge)
#define ADZE_CHAIN_CAST(X) X(from_bool) X(from_u8) X(from_i32) X(from_i64) X(from_bf16) X(to_bf16)
/* fma: a b + c, rounded once, which only the compiler's own formulas ask for. The others are two or three of the above in one loop:
 * norm (x, m, a, b): (x - m) a + b; norm_add (.., r): + r; norm_grad (x, m, q, o, p, dy): p dy + ((x - m) q + o); add_gate (a, b, c): relu_grad(a +
 * b, c). From fma on lines may read and write bf16; same, plus and gate are x, add and relu_grad as such lines. choose (flag, a, b) is where with one
 * flag for all elements, keep_if (flag, a) the same with b 0; x_if is x where the flag is set, else without the first term: plus_if (a, b, flag): a +
 * b or b; norm_add_if (.., r, flag): or r; add_gate_if (a, b, flag, c). */
#define ADZE_CHAIN_CHOICE(X) X(where) X(choose) X(keep_if)
#define ADZE_CHAIN_LINES(X) X(fma) X(add_relu) X(norm) X(norm_relu) X(norm_add) X(norm_add_relu) X(norm_grad) X(add_gate) X(same) X(plus) X(gate)
#define ADZE_CHAIN_FLAGGED(X) X(plus_if) X(add_relu_if) X(norm_add_if) X(norm_add_relu_if) X(add_gate_if)
#define ADZE_CHAIN_MORE(X) ADZE_CHAIN_CHOICE(X) ADZE_CHAIN_LINES(X) ADZE_CHAIN_FLAGGED(X)
#define ADZE_CHAIN_CODES(X) ADZE_CHAIN_UNARY(X) ADZE_CHAIN_BINARY(X) ADZE_CHAIN_COMPARE(X) ADZE_CHAIN_CAST(X) ADZE_CHAIN_MORE(X)

typedef enum adze_chain_code {
#define CODE(name) ADZE_CHAIN_##name,
    ADZE_CHAIN_CODES(CODE)
#undef CODE
        ADZE_CHAIN_NCODES
} adze_chain_code;

enum { ADZE_CHAIN_IN = 16, ADZE_CHAIN_OUT = 4, ADZE_CHAIN_INS = 32, ADZE_CHAIN_ARGS = 6 };
enum { ADZE_CHAIN_TAIL = 16 }; /* a tail has all its memory on the stack: so many inputs and buffers together */

typedef struct adze_chain_ins {
    uint8_t code, dtype, nargs; /* dtype: of the result */
    int8_t room;                /* where the result goes: a buffer, or -1 - k: output k */
    uint8_t arg[ADZE_CHAIN_ARGS];
    uint8_t narrow; /* bit k: argument k is bf16 to be widened; bit ADZE_CHAIN_ARGS: the result is rounded to bf16 */
    double p, q;    /* of scale: a, b; of clip: lo, hi */
} adze_chain_ins;

typedef struct adze_chain_attrs {
    char text[128]; /* the codes, for people */
    int32_t dtype;  /* in which it computes: f32 or f64 */
    int32_t nins, nout, nrooms;
    uint8_t out[ADZE_CHAIN_OUT]; /* values */
    double read;                 /* bytes of the inputs without what broadcasts repeat */
    adze_chain_ins ins[ADZE_CHAIN_INS];
} adze_chain_attrs;

extern const adze_op adze_op_chain;

/* Appends an instruction and returns its value; -1 when the program is full. */
int adze_chain_push(adze_chain_attrs *c, adze_chain_code code, adze_dtype result, const int *args, int nargs, double p, double q);
/* Joins instructions where one loop does for several, and chooses buffers. Once, when the program and its outputs are complete. */
void adze_chain_seal(adze_chain_attrs *c);
/* The code of an op on these types and the dtype that it computes in; -1 when a chain cannot hold it. */
int adze_chain_code_of(const adze_op *op, const adze_type *in, const adze_type *out, adze_dtype *computes);

#endif
