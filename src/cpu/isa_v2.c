/* The kernels of the portable loops, compiled with the flags of one instruction set: v2. */
#include "core/device.h"

const adze_kernel_list adze_kernels_v2 = {NULL, 0};
