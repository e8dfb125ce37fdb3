/* The kernels of the portable loops, compiled with the flags of one instruction set: v4. */
#include "core/device.h"

const adze_kernel_list adze_kernels_v4 = {NULL, 0};
