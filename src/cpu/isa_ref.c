/* The kernels of the portable loops, compiled with the flags of one instruction set: ref. */
#include "core/device.h"

const adze_kernel_list adze_kernels_ref = {NULL, 0};
