/* Devices are constant tables: ordered lists of kernels. The reference kernel of an op's record is always the last resort. */
#ifndef ADZE_SRC_DEVICE_H
#define ADZE_SRC_DEVICE_H

#include "adze/op.h"
#include "base/base.h"

typedef struct adze_kernel_list {
    const adze_kernel *kernels;
    int count;
} adze_kernel_list;

typedef struct adze_device {
    const char *name;
    const adze_kernel_list *lists[4]; /* searched in order; NULL ends */
} adze_device;

const adze_device *adze_device_find(const char *name, adze_isa isa); /* "ref" or "cpu"; NULL when unknown. isa REF: "cpu" is the portable build */
const adze_device *adze_device_reproducible(const char *name,
                                            adze_isa isa); /* the same, with kernels whose f32 and f64 bits are those of every level */
/* The first kernel of the device that accepts the node, or NULL: then op->ref. name: of the kernel that is wanted, where one of that name accepts. */
const adze_kernel *adze_device_kernel(const adze_device *d, const adze_sig *sig);
const adze_kernel *adze_device_kernel_named(const adze_device *d, const adze_sig *sig, const char *name);

/* Three tables per instruction set, from the same portable loops compiled with its flags (src/cpu/isa_*.c): linear algebra, everything else, and
 * linear algebra in bf16 and 8-bit integers, which alone has levels above v4. */
extern const adze_kernel_list adze_kernels_ref, adze_kernels_fma, adze_kernels_v2, adze_kernels_v3, adze_kernels_v4;
extern const adze_kernel_list adze_linear_ref, adze_linear_fma, adze_linear_v2, adze_linear_v3, adze_linear_v4;
extern const adze_kernel_list adze_low_ref, adze_low_v2, adze_low_v3, adze_low_v4, adze_low_bf16, adze_low_amx;

#endif
