/* Devices: which kernels each has, and the choice among them: a pure function of op, types and instruction set. */
#include "graph/device.h"

static const adze_device REF = {.name = "ref"};

static const adze_device CPU[] = {
    [ADZE_ISA_REF] = {.name = "cpu", .lists = {&adze_linear_ref, &adze_kernels_ref, &adze_low_ref}},
    [ADZE_ISA_V2] = {.name = "cpu", .lists = {&adze_linear_v2, &adze_kernels_v2, &adze_low_v2}},
    [ADZE_ISA_V3] = {.name = "cpu", .lists = {&adze_linear_v3, &adze_kernels_v3, &adze_low_v3}},
    [ADZE_ISA_V4] = {.name = "cpu", .lists = {&adze_linear_v4, &adze_kernels_v4, &adze_low_v4}},
    [ADZE_ISA_BF16] = {.name = "cpu", .lists = {&adze_low_bf16, &adze_linear_v4, &adze_kernels_v4}},
    [ADZE_ISA_AMX] = {.name = "cpu", .lists = {&adze_low_amx, &adze_linear_v4, &adze_kernels_v4}},
};

static const adze_device PORTABLE_FMA = {.name = "cpu", .lists = {&adze_linear_fma, &adze_kernels_fma, &adze_low_ref}};

const adze_device *adze_device_find(const char *name, adze_isa isa) {
    if (strcmp(name, "ref") == 0) {
        return &REF;
    }
    return strcmp(name, "cpu") == 0 && (size_t)isa < ADZE_COUNT(CPU) ? &CPU[isa] : NULL;
}

const adze_device *adze_device_reproducible(const char *name, adze_isa isa) {
    const bool portable = strcmp(name, "cpu") == 0 && isa < ADZE_ISA_V3; /* products and sums apart: rounded twice */
    return portable ? &PORTABLE_FMA : adze_device_find(name, isa);
}

const adze_kernel *adze_device_kernel_named(const adze_device *d, const adze_sig *sig, const char *name) {
    for (size_t i = 0; i < ADZE_COUNT(d->lists) && d->lists[i]; i++) {
        for (int k = 0; k < d->lists[i]->count; k++) {
            const adze_kernel *kernel = &d->lists[i]->kernels[k];
            if (strcmp(kernel->op, sig->op->name) == 0 && (!name || strcmp(kernel->name, name) == 0) && (!kernel->accept || kernel->accept(sig))) {
                return kernel;
            }
        }
    }
    return name ? adze_device_kernel_named(d, sig, NULL) : NULL;
}

const adze_kernel *adze_device_kernel(const adze_device *d, const adze_sig *sig) {
    return adze_device_kernel_named(d, sig, NULL);
}
