/* The second floor: dtypes, types (dtype and shape), tensors (views of reference-counted buffers), and the store of named tensors. */
#ifndef ADZE_CORE_H
#define ADZE_CORE_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

#define ADZE_MAX_RANK 8

typedef enum adze_dtype {
    ADZE_NONE = 0,
    ADZE_F64,
    ADZE_F32,
    ADZE_BF16,
    ADZE_F16,
    ADZE_I64,
    ADZE_I32,
    ADZE_I8,
    ADZE_U8,
    ADZE_BOOL, /* arithmetic or indices */
    ADZE_I16,
    ADZE_U16,
    ADZE_U32,
    ADZE_U64,
    ADZE_F8E4M3,
    ADZE_F8E5M2, /* storage only */
    ADZE_NDTYPES
} adze_dtype;

ADZE_API size_t adze_dtype_size(adze_dtype d);          /* bytes of one element */
ADZE_API const char *adze_dtype_name(adze_dtype d);     /* "f32" */
ADZE_API adze_dtype adze_dtype_parse(const char *name); /* ADZE_NONE when unknown */
ADZE_API bool adze_dtype_is_float(adze_dtype d);
ADZE_API bool adze_dtype_is_int(adze_dtype d);

typedef struct adze_type { /* what a value is before it exists: rank 0 is a scalar; a dim of 0 is legal */
    adze_dtype dtype;
    int32_t rank;
    int64_t dims[ADZE_MAX_RANK];
} adze_type;

ADZE_API adze_type adze_type_make(adze_dtype d, int rank, const int64_t *dims);
ADZE_API adze_type adze_scalar_type(adze_dtype d);
ADZE_API int64_t adze_type_count(const adze_type *t); /* elements; -1 on overflow or a negative dim */
ADZE_API int64_t adze_type_bytes(const adze_type *t); /* -1 likewise */
ADZE_API bool adze_type_equal(const adze_type *a, const adze_type *b);
ADZE_API const char *adze_type_print(const adze_type *t, char *out, size_t n); /* "f32 (32, 28, 28, 1)"; returns out */

typedef struct adze_buffer adze_buffer; /* reference-counted memory, 64-byte aligned; the only count there is */

typedef struct adze_tensor { /* a view, passed by value; strides in elements, offset in bytes */
    adze_dtype dtype;
    int32_t rank;
    int64_t dims[ADZE_MAX_RANK], strides[ADZE_MAX_RANK];
    adze_buffer *buf;
    int64_t offset;
} adze_tensor;

ADZE_API int adze_tensor_new(adze_ctx *ctx, adze_type type, adze_tensor *out);              /* contiguous, zeroed, one reference */
ADZE_API int adze_tensor_wrap(adze_ctx *ctx, adze_type type, void *data, adze_tensor *out); /* borrows data, which must outlive it */
ADZE_API adze_tensor adze_tensor_ref(adze_tensor t);                                        /* one reference more */
ADZE_API void adze_tensor_free(adze_tensor *t);                                             /* one reference less; t is zeroed */
ADZE_API void *adze_tensor_data(const adze_tensor *t);                                      /* address of the first element; NULL when t is zeroed */
ADZE_API adze_type adze_tensor_type(const adze_tensor *t);
ADZE_API bool adze_tensor_contiguous(const adze_tensor *t);
ADZE_API int adze_tensor_slice(adze_ctx *ctx, adze_tensor t, int axis, int64_t from, int64_t to, adze_tensor *out); /* borrowed view */
ADZE_API int adze_tensor_copy(adze_ctx *ctx, adze_tensor to, adze_tensor from); /* same dims; converts between dtypes, any strides */
ADZE_API double adze_tensor_get(const adze_tensor *t, int64_t i);               /* element i in row-major order, as double */
ADZE_API void adze_tensor_set(const adze_tensor *t, int64_t i, double v);

/* -- store: all that training changes. Names are layer path and role: "conv1:w", "conv1:w:m", "ema/conv1:w", "state/step" ------------- */

typedef struct adze_store adze_store;

enum {                          /* slot flags */
       ADZE_SLOT_TRAINABLE = 1, /* a parameter that the optimiser may change */
       ADZE_SLOT_DECAY = 2,     /* weight decay applies (weights: yes; biases, scales: no) */
       ADZE_SLOT_STATE = 4,     /* running statistics, counters: saved, not trained */
       ADZE_SLOT_TEMP = 8       /* gradients and the like: not saved */
};

ADZE_API int adze_store_new(adze_ctx *ctx, adze_store **out);
ADZE_API void adze_store_free(adze_store *s);
/* Adds a zeroed slot, or finds the one of that name (its type must be equal: else ADZE_ESHAPE). *slot is its number, from 0 up. Slots added before
 * data is next asked for lie in one 64-byte aligned block per (role, dtype), in order of addition. */
ADZE_API int adze_store_add(adze_store *s, const char *name, adze_type type, uint32_t flags, int *slot);
ADZE_API int adze_store_remove(adze_store *s, const char *name); /* raises the generation */
ADZE_API int adze_store_count(const adze_store *s);
ADZE_API int adze_store_find(const adze_store *s, const char *name); /* slot number or -1 */
ADZE_API const char *adze_store_name(const adze_store *s, int slot);
ADZE_API uint32_t adze_store_flags(const adze_store *s, int slot);
ADZE_API adze_type adze_store_type(const adze_store *s, int slot);
ADZE_API int adze_store_tensor(adze_store *s, int slot, adze_tensor *out); /* borrowed view of the slot's data; allocates on first use */
ADZE_API uint64_t adze_store_generation(const adze_store *s);              /* rises when a shape changes or a slot goes: old bindings refuse to run */
/* Counts writes: adze_store_tensor (the caller may write through it), runs of plans that update slots, and adze_store_touch. Sessions whose plan
 * keeps packed weights pack them again when it has changed. A program that writes through a tensor it got before calls adze_store_touch afterwards.
 */
ADZE_API uint64_t adze_store_version(const adze_store *s);
ADZE_API void adze_store_touch(adze_store *s);
ADZE_API int adze_store_hash(adze_store *s, uint64_t out[2]); /* XXH3-128 over names, types and bytes of all slots that are saved */

#ifdef __cplusplus
}
#endif
#endif
