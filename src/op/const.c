/* Values that need no input: scalars, constant tensors, indices along an axis; and full, zeros_like, ones_like as broadcast scalars. */
#include "core/dtype.h"
#include "graph/graph_internal.h"
#include "op/record.h"

enum { SET_CONST = ADZE_SET_NUM | 1 << ADZE_BF16 | 1 << ADZE_F16 | 1 << ADZE_I8 | 1 << ADZE_U8 | 1 << ADZE_BOOL };

static int check_own_dtype(adze_sig *s, int32_t d) {
    return adze_in_set(SET_CONST, (adze_dtype)d) ? ADZE_OK : adze_op_fail(s, ADZE_ETYPE, "a constant cannot be %s", adze_dtype_name((adze_dtype)d));
}

/* -- scalar ----------------------------------------------------------------------------------------------------------------------------------- */

typedef struct scalar_attrs {
    double value;
    int32_t dtype;
} scalar_attrs;

static const adze_field SCALAR_ATTRS[] = {ADZE_ATTR(scalar_attrs, value, ADZE_F_F64, "the number"), ADZE_ATTR_DTYPE(scalar_attrs, dtype),
                                          ADZE_ATTR_END};

static int infer_scalar(adze_sig *s) {
    const scalar_attrs *p = s->attrs;
    TRY(check_own_dtype(s, p->dtype));
    return adze_set_out(s, 0, (adze_dtype)p->dtype, 0, NULL);
}

static void ref_scalar(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const scalar_attrs *p = s->attrs;
    adze_dtype_store((adze_dtype)p->dtype, s->out[0].data, 1, 1, &p->value);
}

static void sample_scalar(adze_rng *r, adze_case *c) {
    scalar_attrs *p = c->attrs;
    p->dtype = (int32_t)adze_sample_any(r, SET_CONST);
    p->value = (double)adze_rng_range(r, -3, 3);
    c->nin = 0;
}

const adze_op adze_op_scalar = {.name = "scalar",
                                .nout = 1,
                                .flags = ADZE_OP_NOGRAD,
                                ADZE_ATTRS(SCALAR_ATTRS, scalar_attrs),
                                .doc = "y = value, of rank 0",
                                .infer = infer_scalar,
                                .cost = adze_cost_move,
                                .ref = ref_scalar,
                                .sample = sample_scalar};

adze_val adze_scalar(adze_graph *g, adze_dtype d, double v) {
    scalar_attrs p;
    memset(&p, 0, sizeof p);
    p.value = v;
    p.dtype = (int32_t)d;
    return adze_apply(g, &adze_op_scalar, NULL, 0, &p, NULL);
}

adze_val adze_full(adze_graph *g, adze_type t, double v) {
    return adze_broadcast(g, adze_scalar(g, t.dtype, v), t.dims, t.rank);
}

adze_val adze_zeros_like(adze_graph *g, adze_val x) {
    adze_type t = adze_val_type(g, x);
    return t.dtype == ADZE_NONE ? (adze_val){0} : adze_full(g, t, 0.0);
}

adze_val adze_ones_like(adze_graph *g, adze_val x) {
    adze_type t = adze_val_type(g, x);
    return t.dtype == ADZE_NONE ? (adze_val){0} : adze_full(g, t, 1.0);
}

/* -- const --------------------------------------------------------------------------------------------------------------------------------------- */

typedef struct const_attrs {
    adze_ints dims;
    int32_t dtype;
    uint64_t hash0, hash1; /* of the elements, which the table of fields cannot show: equal hashes stand for equal elements */
    const void *data;      /* in the graph's arena */
    int64_t bytes;         /* of data */
} const_attrs;

static const adze_field CONST_ATTRS[] = {ADZE_ATTR(const_attrs, dims, ADZE_F_INTS, "shape"), ADZE_ATTR_DTYPE(const_attrs, dtype),
                                         ADZE_ATTR(const_attrs, hash0, ADZE_F_U64, "XXH3-128 of the elements"),
                                         ADZE_ATTR(const_attrs, hash1, ADZE_F_U64, "XXH3-128 of the elements"), ADZE_ATTR_END};

static int infer_const(adze_sig *s) {
    const const_attrs *p = s->attrs;
    if (!p->data) {
        return adze_op_fail(s, ADZE_EARG, "there are no elements");
    }
    TRY(check_own_dtype(s, p->dtype));
    TRY(adze_set_out(s, 0, (adze_dtype)p->dtype, (int)p->dims.n, p->dims.v));
    if (adze_type_bytes(&s->out[0]) != p->bytes) {
        return adze_op_fail(s, ADZE_ESHAPE, "%s does not fit the %lld bytes of elements given", ADZE_SHOWN(&s->out[0]), (long long)p->bytes);
    }
    return ADZE_OK;
}

static void ref_const(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const const_attrs *p = s->attrs;
    size_t bytes = (size_t)adze_view_count(&s->out[0]) * adze_dtype_size(s->out[0].dtype);
    if (bytes > 0) {
        memcpy(s->out[0].data, p->data, bytes);
    }
}

static void sample_const(adze_rng *r, adze_case *c) {
    enum { MOST = 16 };
    static const double NUMBERS[2 * MOST] = {0,    1,  -1, 2.5, 1e-3, -7, 3,    8,  0.5, -0.25, 6,   9,     11, -13, 1e6, 2,
                                             1e-9, -2, 4,  0.1, -1e4, 12, 0.75, -5, 1.5, 7,     -40, 0.125, 10, 1e5, -3,  64};
    static const uint8_t BITS[2 * MOST] = {1, 0, 0, 1, 1, 1, 0, 1, 0, 0, 0, 0, 1, 0, 1, 1, 0, 1, 1, 0, 0, 1, 0, 1, 1, 1, 1, 0, 1, 0, 0, 0};
    const_attrs *p = c->attrs;
    int64_t first = adze_rng_range(r, 0, MOST);
    uint64_t h[2];
    adze_type t =
        adze_type_make(adze_sample_any(r, SET_CONST), (int)adze_rng_range(r, 0, 2), (int64_t[]){adze_rng_range(r, 0, 4), adze_rng_range(r, 1, 4)});
    p->dims = adze_ints_of(t.dims, t.rank);
    p->dtype = (int32_t)t.dtype;
    p->data = t.dtype == ADZE_BOOL ? (const void *)(BITS + first) : NUMBERS + first; /* any bytes will do for any dtype but bool */
    p->bytes = adze_type_bytes(&t);
    adze_hash128(p->data, (size_t)p->bytes, h);
    p->hash0 = h[0];
    p->hash1 = h[1];
    c->nin = 0;
}

const adze_op adze_op_const = {.name = "const",
                               .nout = 1,
                               .flags = ADZE_OP_NOGRAD,
                               ADZE_ATTRS(CONST_ATTRS, const_attrs),
                               .doc = "y = the elements given when the graph was built",
                               .infer = infer_const,
                               .cost = adze_cost_move,
                               .ref = ref_const,
                               .sample = sample_const};

adze_val adze_const(adze_graph *g, adze_type t, const void *data) {
    const_attrs p;
    uint64_t h[2];
    int64_t bytes = adze_type_bytes(&t);
    if (adze_graph_status(g) != ADZE_OK) {
        return (adze_val){0};
    }
    if (bytes < 0 || !data) {
        adze_graph_fail(g, ADZE_EARG, "const: %s", data ? "the shape is impossible" : "there are no elements");
        return (adze_val){0};
    }
    memset(&p, 0, sizeof p);
    p.dims = adze_ints_of(t.dims, t.rank);
    p.dtype = (int32_t)t.dtype;
    p.bytes = bytes;
    adze_hash128(data, (size_t)bytes, h);
    p.hash0 = h[0];
    p.hash1 = h[1];
    p.data = adze_graph_dup(g, data, (size_t)bytes);
    return p.data ? adze_apply(g, &adze_op_const, NULL, 0, &p, NULL) : (adze_val){0};
}

/* -- iota ---------------------------------------------------------------------------------------------------------------------------------------- */

typedef struct iota_attrs {
    adze_ints dims;
    int64_t axis;
    int32_t dtype;
} iota_attrs;

static const adze_field IOTA_ATTRS[] = {ADZE_ATTR(iota_attrs, dims, ADZE_F_INTS, "shape"),
                                        ADZE_ATTR(iota_attrs, axis, ADZE_F_I64, "the axis that counts"), ADZE_ATTR_DTYPE(iota_attrs, dtype),
                                        ADZE_ATTR_END};

static int infer_iota(adze_sig *s) {
    const iota_attrs *p = s->attrs;
    TRY(check_own_dtype(s, p->dtype));
    TRY(adze_check_axis(s, p->axis, (int)p->dims.n));
    return adze_set_out(s, 0, (adze_dtype)p->dtype, (int)p->dims.n, p->dims.v);
}

static void ref_iota(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const iota_attrs *p = s->attrs;
    const adze_view *y = &s->out[0];
    int axis = (int)adze_axis(p->axis, y->rank);
    size_t size = adze_dtype_size(y->dtype);
    int64_t inner = adze_dims_count(y->dims, axis + 1, y->rank), n = adze_view_count(y);
    for (int64_t i = 0; i < n; i++) {
        double v = (double)(i / inner % y->dims[axis]);
        adze_dtype_store(y->dtype, (char *)y->data + (size_t)i * size, 1, 1, &v);
    }
}

static void sample_iota(adze_rng *r, adze_case *c) {
    iota_attrs *p = c->attrs;
    adze_type t = adze_sample_type(r, c, adze_sample_any(r, SET_CONST), 1, 4, 0);
    p->dims = adze_ints_of(t.dims, t.rank);
    p->axis = adze_rng_range(r, -t.rank, t.rank - 1);
    p->dtype = (int32_t)t.dtype;
    c->nin = 0;
}

const adze_op adze_op_iota = {.name = "iota",
                              .nout = 1,
                              .flags = ADZE_OP_NOGRAD,
                              ADZE_ATTRS(IOTA_ATTRS, iota_attrs),
                              .doc = "y[..., i, ...] = i along the axis",
                              .infer = infer_iota,
                              .ref = ref_iota,
                              .sample = sample_iota};

adze_val adze_iota(adze_graph *g, adze_type t, int axis) {
    iota_attrs p;
    memset(&p, 0, sizeof p);
    p.dims = adze_ints_of(t.dims, t.rank);
    p.axis = adze_axis(axis, t.rank);
    p.dtype = (int32_t)t.dtype;
    return adze_apply(g, &adze_op_iota, NULL, 0, &p, NULL);
}
