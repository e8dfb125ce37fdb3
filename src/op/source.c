/* The ops that graphs themselves need: inputs, store slots, assignment, and the doors of regions. */
#include "graph/graph_internal.h"

#include "op/record.h"

static const adze_field SOURCE_ATTRS[] = {ADZE_ATTR(adze_source_attrs, name, ADZE_F_STR, "the name it is bound by"),
                                          ADZE_ATTR_DTYPE(adze_source_attrs, dtype), ADZE_ATTR(adze_source_attrs, dims, ADZE_F_INTS, "shape"),
                                          ADZE_ATTR_END};

static int source_infer(adze_sig *s) {
    const adze_source_attrs *a = s->attrs;
    s->out[0] = adze_type_make((adze_dtype)a->dtype, (int)a->dims.n, a->dims.v);
    if (a->dtype <= ADZE_NONE || a->dtype >= ADZE_NDTYPES) {
        return adze_op_fail(s, ADZE_ETYPE, "%d is not a dtype", (int)a->dtype);
    }
    if (adze_type_bytes(&s->out[0]) < 0) {
        return adze_op_fail(s, ADZE_ESHAPE, "the shape has a negative or an impossible size");
    }
    return ADZE_OK;
}

const adze_op adze_op_input = {
    .name = "input",
    .nout = 1,
    .flags = ADZE_OP_NOGRAD,
    ADZE_ATTRS(SOURCE_ATTRS, adze_source_attrs),
    .doc = "a tensor that the caller fills before each run",
    .infer = source_infer,
};

const adze_op adze_op_slot = {
    .name = "slot",
    .nout = 1,
    .flags = ADZE_OP_NOGRAD,
    ADZE_ATTRS(SOURCE_ATTRS, adze_source_attrs),
    .doc = "the value that a slot of the store has when the run begins",
    .infer = source_infer,
};

static int same_infer(adze_sig *s) {
    if (s->nin > 1 && !adze_type_equal(&s->in[0], &s->in[1])) {
        return adze_op_fail(s, s->in[0].dtype == s->in[1].dtype ? ADZE_ESHAPE : ADZE_ETYPE,
                            "the first input is %s, the second is %s; they must be equal", ADZE_SHOWN(&s->in[0]), ADZE_SHOWN(&s->in[1]));
    }
    s->out[0] = s->in[0];
    return ADZE_OK;
}

static void move_first(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    adze_view_copy(s->out[0].data, &s->in[0]);
}

static void move_second(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    adze_view_copy(s->out[0].data, &s->in[1]);
}

static adze_cost move_cost(const adze_sig *s) {
    double bytes = (double)adze_type_bytes(&s->in[s->nin - 1]);
    return (adze_cost){0, bytes, bytes};
}

static void assign_sample(adze_rng *r, adze_case *c) {
    static const adze_dtype any[] = {ADZE_F64, ADZE_F32, ADZE_I64, ADZE_I32, ADZE_U8, ADZE_BOOL};
    c->nin = 2;
    c->in[0] = c->in[1] = adze_sample_type(r, c, any[adze_rng_below(r, ADZE_COUNT(any))], 0, 4, 0);
}

const adze_op adze_op_assign = {
    .name = "assign",
    ADZE_ARITY(2, 1),
    .flags = ADZE_OP_UPDATE | ADZE_OP_NOGRAD | ADZE_OP_STRIDED,
    .doc = "slot = v; the result is the slot's new value",
    .infer = same_infer,
    .cost = move_cost,
    .ref = move_second,
    .sample = assign_sample,
};

static void open_vjp(adze_adj *a) {
    a->r[0] = a->t[0];
}

const adze_op adze_op_open = {
    .name = "open",
    ADZE_ARITY(1, 1),
    .flags = ADZE_OP_LINEAR | ADZE_OP_STRIDED | ADZE_OP_REGION,
    .doc = "a private copy of x that a region may write to",
    .infer = same_infer,
    .vjp = open_vjp,
    .cost = move_cost,
    .ref = move_first,
};

static void guard_vjp(adze_adj *a) {
    a->r[0] = a->t[0];
    a->r[1] = a->t[0];
}

static void guard_ref(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const adze_view *y = &s->out[0], *f = &s->in[1];
    adze_walk w;
    for (adze_walk_begin(&w, f, 1); w.i < w.count; adze_walk_next(&w)) {
        adze_add_element(y, w.i, f, w.off[0]);
    }
}

static int guard_infer(adze_sig *s) {
    TRY(same_infer(s));
    if (s->in[0].dtype != ADZE_F64 && s->in[0].dtype != ADZE_F32) {
        return adze_op_fail(s, ADZE_ETYPE, "a guard adds f32 or f64, not %s", adze_dtype_name(s->in[0].dtype));
    }
    return ADZE_OK;
}

const adze_op adze_op_guard_add = {
    .name = "guard_add",
    ADZE_ARITY(2, 1),
    .flags = ADZE_OP_LINEAR | ADZE_OP_STRIDED | ADZE_OP_REGION,
    .doc = "y += f, in place, inside a guard: the only way out of one",
    .infer = guard_infer,
    .vjp = guard_vjp,
    .ref = guard_ref,
};

static int row_infer(adze_sig *s) {
    if (s->in[0].rank < 1) {
        return adze_op_fail(s, ADZE_ESHAPE, "a sequence has at least one axis");
    }
    s->out[0] = adze_type_make(s->in[0].dtype, s->in[0].rank - 1, s->in[0].dims + 1);
    return ADZE_OK;
}

/* The view of row 0; the plan adds the stride from one iteration to the next. */
static bool row_view(const adze_sig *s, const adze_view *in, adze_view *out) {
    (void)s;
    out->data = in->data;
    out->dtype = in->dtype;
    out->rank = in->rank - 1;
    for (int d = 0; d < out->rank; d++) {
        out->dims[d] = in->dims[d + 1];
        out->strides[d] = in->strides[d + 1];
    }
    return true;
}

const adze_op adze_op_repeat_row = {
    .name = "repeat_row",
    ADZE_ARITY(1, 1),
    .flags = ADZE_OP_VIEW | ADZE_OP_NOGRAD | ADZE_OP_REGION,
    .doc = "seq (T, ...) -> (...): row i in iteration i of a repeat",
    .infer = row_infer,
    .view = row_view,
};

static bool same_view(const adze_sig *s, const adze_view *in, adze_view *out) {
    (void)s;
    *out = *in;
    return true;
}

const adze_op adze_op_repeat_carry = {
    .name = "repeat_carry",
    ADZE_ARITY(1, 1),
    .flags = ADZE_OP_VIEW | ADZE_OP_NOGRAD | ADZE_OP_REGION,
    .doc = "the value that one iteration of a repeat hands to the next",
    .infer = same_infer,
    .view = same_view,
};

const adze_op adze_op_repeat_next = {
    .name = "repeat_next",
    ADZE_ARITY(2, 1),
    .flags = ADZE_OP_NOGRAD | ADZE_OP_STRIDED | ADZE_OP_REGION,
    .doc = "carry = v at the end of an iteration",
    .infer = same_infer,
    .cost = move_cost,
    .ref = move_second,
};

static int collect_infer(adze_sig *s) {
    adze_type row = s->in[0];
    if (row.rank >= 1) {
        row = adze_type_make(row.dtype, row.rank - 1, s->in[0].dims + 1);
    }
    if (s->in[0].rank < 1 || !adze_type_equal(&row, &s->in[1])) {
        return adze_op_fail(s, ADZE_ESHAPE, "a row %s does not fit %s", ADZE_SHOWN(&s->in[1]), ADZE_SHOWN(&s->in[0]));
    }
    s->out[0] = s->in[0];
    return ADZE_OK;
}

const adze_op adze_op_repeat_collect = {
    .name = "repeat_collect",
    ADZE_ARITY(2, 1),
    .flags = ADZE_OP_NOGRAD | ADZE_OP_STRIDED | ADZE_OP_REGION,
    .doc = "row i of the result (T, ...) = row, in iteration i of a repeat; the other rows are 0",
    .infer = collect_infer,
    .cost = move_cost,
    .ref = move_second,
};
