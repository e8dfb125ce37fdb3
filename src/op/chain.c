/* The op `chain`, which the compiler makes of elementwise ops: its types, and how its program is put together. */
#include "op/chain.h"
#include "op/record.h"

static const char *const NAMES[] = {
#define NAME_OF(name) #name,
    ADZE_CHAIN_CODES(NAME_OF)
#undef NAME_OF
};

static int code_of_cast(adze_dtype from, adze_dtype to) {
    switch (from) {
    case ADZE_BOOL:
        return ADZE_CHAIN_from_bool;
    case ADZE_U8:
        return ADZE_CHAIN_from_u8;
    case ADZE_I32:
        return ADZE_CHAIN_from_i32;
    case ADZE_I64:
        return ADZE_CHAIN_from_i64;
    case ADZE_BF16:
        return to == ADZE_F32 ? ADZE_CHAIN_from_bf16 : -1;
    default:
        return from == ADZE_F32 && to == ADZE_BF16 ? ADZE_CHAIN_to_bf16 : -1;
    }
}

int adze_chain_code_of(const adze_op *op, const adze_type *in, const adze_type *out, adze_dtype *computes) {
    const bool cast = strcmp(op->name, "cast") == 0;
    int code = cast ? code_of_cast(in[0].dtype, out[0].dtype) : ADZE_CHAIN_where; /* the last that is an op's */
    while (!cast && code >= 0 && strcmp(op->name, NAMES[code]) != 0) {
        code--;
    }
    *computes = out[0].dtype == ADZE_BOOL || out[0].dtype == ADZE_BF16 ? in[0].dtype : out[0].dtype;
    return *computes == ADZE_F32 || *computes == ADZE_F64 ? code : -1;
}

/* -- the program ------------------------------------------------------------------------------------------------------------------------------ */

int adze_chain_push(adze_chain_attrs *c, adze_chain_code code, adze_dtype result, const int *args, int nargs, double p, double q) {
    if (c->nins == ADZE_CHAIN_INS) {
        return -1;
    }
    adze_chain_ins *i = &c->ins[c->nins++];
    *i = (adze_chain_ins){.code = (uint8_t)code, .dtype = (uint8_t)result, .nargs = (uint8_t)nargs, .p = p, .q = q};
    for (int k = 0; k < nargs; k++) {
        i->arg[k] = (uint8_t)args[k];
    }
    return ADZE_CHAIN_IN + c->nins - 1;
}

static int uses(const adze_chain_attrs *c, int value) {
    int n = 0;
    for (int i = 0; i < c->nins; i++) {
        for (int k = 0; k < c->ins[i].nargs; k++) {
            n += c->ins[i].arg[k] == value;
        }
    }
    for (int o = 0; o < c->nout; o++) {
        n += c->out[o] == value;
    }
    return n;
}

static void remove_ins(adze_chain_attrs *c, int at) {
    memmove(&c->ins[at], &c->ins[at + 1], sizeof *c->ins * (size_t)(c->nins - at - 1));
    c->nins--;
    for (int i = 0; i < c->nins; i++) {
        for (int k = 0; k < c->ins[i].nargs; k++) {
            c->ins[i].arg[k] = (uint8_t)(c->ins[i].arg[k] - (c->ins[i].arg[k] > ADZE_CHAIN_IN + at));
        }
    }
    for (int o = 0; o < c->nout; o++) {
        c->out[o] = (uint8_t)(c->out[o] - (c->out[o] > ADZE_CHAIN_IN + at));
    }
}

typedef struct pair { /* `outer` with the result of `inner` as its argument `at` is `both`: inner's arguments, then outer's others */
    uint8_t inner, outer, at, both;
} pair;

/* An addition gives the same bits whichever way round. */
static const pair PAIRS[] = {
    {ADZE_CHAIN_sub, ADZE_CHAIN_fma, 0, ADZE_CHAIN_norm},
    {ADZE_CHAIN_norm, ADZE_CHAIN_relu, 0, ADZE_CHAIN_norm_relu},
    {ADZE_CHAIN_norm, ADZE_CHAIN_add, 0, ADZE_CHAIN_norm_add},
    {ADZE_CHAIN_norm, ADZE_CHAIN_add, 1, ADZE_CHAIN_norm_add},
    {ADZE_CHAIN_norm_add, ADZE_CHAIN_relu, 0, ADZE_CHAIN_norm_add_relu},
    {ADZE_CHAIN_norm, ADZE_CHAIN_fma, 2, ADZE_CHAIN_norm_grad},
    {ADZE_CHAIN_add, ADZE_CHAIN_relu, 0, ADZE_CHAIN_add_relu},
    {ADZE_CHAIN_add, ADZE_CHAIN_relu_grad, 0, ADZE_CHAIN_add_gate},
    {ADZE_CHAIN_norm, ADZE_CHAIN_plus_if, 0, ADZE_CHAIN_norm_add_if},
    {ADZE_CHAIN_norm_add_if, ADZE_CHAIN_relu, 0, ADZE_CHAIN_norm_add_relu_if},
    {ADZE_CHAIN_plus_if, ADZE_CHAIN_relu, 0, ADZE_CHAIN_add_relu_if},
    {ADZE_CHAIN_plus_if, ADZE_CHAIN_relu_grad, 0, ADZE_CHAIN_add_gate_if},
};

/* The same value, perhaps widened twice. */
static bool twins(const adze_chain_attrs *c, int a, int b) {
    if (a < ADZE_CHAIN_IN || b < ADZE_CHAIN_IN) {
        return a == b;
    }
    const adze_chain_ins *x = &c->ins[a - ADZE_CHAIN_IN], *y = &c->ins[b - ADZE_CHAIN_IN];
    return a == b || (x->code == ADZE_CHAIN_from_bf16 && y->code == ADZE_CHAIN_from_bf16 && x->arg[0] == y->arg[0]);
}

/* flag ? a + b : b, of which b may be either term, and (flag ? a : 0) + b. */
static bool join_choice(adze_chain_attrs *c, int at) {
    const adze_chain_ins outer = c->ins[at];
    const bool adds = outer.code == ADZE_CHAIN_add, chooses = outer.code == ADZE_CHAIN_choose;
    for (int k = adds ? 0 : 1; k < 2 && (adds || chooses); k++) { /* argument 1 of a choice, any of a sum */
        const int value = outer.arg[k];
        if (value < ADZE_CHAIN_IN || uses(c, value) != 1) {
            continue;
        }
        const adze_chain_ins inner = c->ins[value - ADZE_CHAIN_IN];
        const bool first = chooses && twins(c, inner.arg[0], outer.arg[2]), second = chooses && twins(c, inner.arg[1], outer.arg[2]);
        adze_chain_ins both = {.code = ADZE_CHAIN_plus_if, .dtype = outer.dtype, .nargs = 3};
        if (inner.code == ADZE_CHAIN_add && (first || second)) {
            memcpy(both.arg, (uint8_t[]){inner.arg[first], inner.arg[!first], outer.arg[0]}, 3);
        } else if (inner.code == ADZE_CHAIN_keep_if && adds) {
            memcpy(both.arg, (uint8_t[]){inner.arg[1], outer.arg[1 - k], inner.arg[0]}, 3);
        } else {
            continue;
        }
        c->ins[at] = both;
        remove_ins(c, value - ADZE_CHAIN_IN); /* nobody's, as what it was read from may be */
        for (int i = c->nins - 1; i >= 0; i--) {
            if (uses(c, ADZE_CHAIN_IN + i) == 0) {
                remove_ins(c, i);
            }
        }
        return true;
    }
    return false;
}

static bool join(adze_chain_attrs *c, int at, const pair *p) {
    adze_chain_ins *outer = &c->ins[at];
    if (outer->narrow || outer->code != p->outer || outer->arg[p->at] < ADZE_CHAIN_IN) {
        return false;
    }
    const int value = outer->arg[p->at];
    const adze_chain_ins inner = c->ins[value - ADZE_CHAIN_IN];
    if (inner.code != p->inner || uses(c, value) != 1) {
        return false;
    }
    adze_chain_ins both = inner;
    both.code = p->both;
    for (int k = 0; k < outer->nargs; k++) {
        if (k != p->at) {
            both.arg[both.nargs++] = outer->arg[k];
        }
    }
    *outer = both;
    remove_ins(c, value - ADZE_CHAIN_IN);
    return true;
}

/* The code of a line that does the same and takes bf16; -1 when there is none. */
static int narrow_code(int code) {
    return code == ADZE_CHAIN_add ? ADZE_CHAIN_plus : code == ADZE_CHAIN_relu_grad ? ADZE_CHAIN_gate : code >= ADZE_CHAIN_fma ? code : -1;
}

/* Takes the conversions of arguments and of the result into instruction `at`. */
static bool join_casts(adze_chain_attrs *c, int at) {
    adze_chain_ins *x = &c->ins[at];
    const int code = narrow_code(x->code);
    for (int k = 0; k < x->nargs && code >= 0; k++) {
        const int value = x->arg[k];
        if (value < ADZE_CHAIN_IN || c->ins[value - ADZE_CHAIN_IN].code != ADZE_CHAIN_from_bf16 || uses(c, value) != 1) {
            continue;
        }
        x->code = (uint8_t)code;
        x->narrow = (uint8_t)(x->narrow | 1u << k);
        x->arg[k] = c->ins[value - ADZE_CHAIN_IN].arg[0];
        remove_ins(c, value - ADZE_CHAIN_IN);
        return true;
    }
    if (x->code != ADZE_CHAIN_to_bf16 || x->arg[0] < ADZE_CHAIN_IN || uses(c, x->arg[0]) != 1) {
        return false;
    }
    const int inner = x->arg[0] - ADZE_CHAIN_IN, wide = narrow_code(c->ins[inner].code);
    if (wide < 0 || c->ins[inner].dtype != ADZE_F32) {
        return false;
    }
    *x = c->ins[inner];
    x->code = (uint8_t)wide;
    x->dtype = ADZE_BF16;
    x->narrow = (uint8_t)(x->narrow | 1u << ADZE_CHAIN_ARGS);
    remove_ins(c, inner);
    return true;
}

static int last_use(const adze_chain_attrs *c, int value) {
    int last = -1;
    for (int i = 0; i < c->nins; i++) {
        for (int k = 0; k < c->ins[i].nargs; k++) {
            last = c->ins[i].arg[k] == value ? i : last;
        }
    }
    return last;
}

/* Buffers: a result may take over the buffer of an argument that is read for the last time, when elements have the same size. */
static void choose_rooms(adze_chain_attrs *c) {
    int busy_until[ADZE_CHAIN_INS];
    size_t size[ADZE_CHAIN_INS];
    c->nrooms = 0;
    for (int i = 0; i < c->nins; i++) {
        adze_chain_ins *x = &c->ins[i];
        const size_t bytes = adze_dtype_size((adze_dtype)x->dtype);
        int room = 0;
        x->room = 0;
        for (int o = 0; o < c->nout; o++) {
            x->room = c->out[o] == ADZE_CHAIN_IN + i ? (int8_t)(-1 - o) : x->room;
        }
        if (x->room < 0) {
            continue;
        }
        while (room < c->nrooms && !(busy_until[room] < i || (busy_until[room] == i && size[room] == bytes))) {
            room++;
        }
        c->nrooms = room == c->nrooms ? room + 1 : c->nrooms;
        busy_until[room] = last_use(c, ADZE_CHAIN_IN + i);
        size[room] = bytes;
        x->room = (int8_t)room;
    }
}

void adze_chain_seal(adze_chain_attrs *c) {
    for (bool again = true; again;) {
        again = false;
        for (int i = 0; i < c->nins && !again; i++) { /* before a sum is taken into something else */
            again = join_choice(c, i);
        }
        for (int i = 0; i < c->nins && !again; i++) {
            for (size_t p = 0; p < ADZE_COUNT(PAIRS) && !again; p++) {
                again = join(c, i, &PAIRS[p]);
            }
        }
        for (int i = 0; i < c->nins && !again; i++) { /* once no pair is left */
            again = join_casts(c, i);
        }
    }
    choose_rooms(c);
    size_t used = 0;
    c->text[0] = 0;
    for (int i = 0; i < c->nins && used + 24 < sizeof c->text; i++) {
        const size_t n = strlen(NAMES[c->ins[i].code]);
        c->text[used] = ' ';
        used += i > 0;
        memcpy(c->text + used, NAMES[c->ins[i].code], n + 1);
        used += n;
        if (c->ins[i].narrow) {
            memcpy(c->text + used, ".bf16", 6);
            used += 5;
        }
    }
}

/* -- the record --------------------------------------------------------------------------------------------------------------------------------- */

static const adze_field CHAIN_ATTRS[] = {ADZE_ATTR(adze_chain_attrs, text, ADZE_F_STR, "the instructions"), ADZE_ATTR_END};

static int count_chain(const adze_sig *s) {
    return ((const adze_chain_attrs *)s->attrs)->nout;
}

static int infer_chain(adze_sig *s) {
    const adze_chain_attrs *c = s->attrs;
    for (int i = 1; i < s->nin; i++) {
        if (!adze_same_dims(&s->in[0], &s->in[i])) {
            return adze_op_fail(s, ADZE_EBUG, "input %d does not have the shape of the others", i);
        }
    }
    for (int o = 0; o < s->nout; o++) {
        TRY(adze_set_out(s, o, (adze_dtype)c->ins[c->out[o] - ADZE_CHAIN_IN].dtype, s->in[0].rank, s->in[0].dims));
    }
    return ADZE_OK;
}

/* Output 0 may lie on an input that no instruction reads after it is written. */
static uint32_t inplace_chain(const adze_sig *s) {
    const adze_chain_attrs *c = s->attrs;
    uint32_t mask = 0;
    for (int k = 0; k < s->nin; k++) {
        mask |= last_use(c, k) <= c->out[0] - ADZE_CHAIN_IN ? 1u << k : 0;
    }
    return mask;
}

static adze_cost cost_chain(const adze_sig *s) {
    const adze_chain_attrs *c = s->attrs;
    adze_cost cost = {.flops = (double)c->nins * (double)adze_type_count(&s->out[0]), .read = c->read};
    for (int o = 0; o < s->nout; o++) {
        cost.written += (double)adze_type_bytes(&s->out[o]);
    }
    return cost;
}

const adze_op adze_op_chain = {
    .name = "chain",
    .nin_min = 1,
    .nin_max = ADZE_CHAIN_IN,
    .nout = 0,
    .flags = ADZE_OP_MAP | ADZE_OP_NOGRAD,
    ADZE_ATTRS(CHAIN_ATTRS, adze_chain_attrs),
    .doc = "elementwise ops one after the other, block by block; made by the compiler.",
    .count_out = count_chain,
    .infer = infer_chain,
    .inplace = inplace_chain,
    .cost = cost_chain,
};
