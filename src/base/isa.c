/* What the processor can do: the levels of the x86-64 psABI, as cpuid tells and the operating system allows. */
#include "base/ctx.h"

#if defined(__x86_64__)
#include <cpuid.h>

static uint64_t xgetbv0(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low | (uint64_t)high << 32;
}

static bool has(uint32_t reg, uint32_t bits) {
    return (reg & bits) == bits;
}

static adze_isa detect(void) {
    uint32_t a, b, c, d, b7 = 0, c81 = 0, unused;
    const uint32_t v2 = bit_SSE3 | bit_SSSE3 | bit_SSE4_1 | bit_SSE4_2 | bit_POPCNT | bit_CMPXCHG16B;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !has(c, v2)) {
        return ADZE_ISA_REF;
    }
    __get_cpuid_count(7, 0, &unused, &b7, &a, &d);
    __get_cpuid(0x80000001u, &unused, &a, &c81, &d);
    const uint32_t v3 = bit_AVX | bit_FMA | bit_F16C | bit_MOVBE | bit_OSXSAVE;
    const uint32_t ymm = 0x6, zmm = 0xe6; /* register state that the system saves */
    if (!has(c81, bit_LAHF_LM)) {
        return ADZE_ISA_REF;
    }
    if (!has(c, v3) || !has(b7, bit_AVX2 | bit_BMI | bit_BMI2) || !has(c81, bit_ABM) || (xgetbv0() & ymm) != ymm) {
        return ADZE_ISA_V2;
    }
    if (!has(b7, bit_AVX512F | bit_AVX512BW | bit_AVX512CD | bit_AVX512DQ | bit_AVX512VL) || (xgetbv0() & zmm) != zmm) {
        return ADZE_ISA_V3;
    }
    return ADZE_ISA_V4;
}
#else
static adze_isa detect(void) {
    return ADZE_ISA_REF;
}
#endif

adze_isa adze_isa_best(void) {
    static atomic_int known; /* a fact of the machine, plus 1; every thread would find the same */
    int level = atomic_load(&known);
    if (level == 0) {
        level = (int)detect() + 1;
        atomic_store(&known, level);
    }
    return (adze_isa)(level - 1);
}

static const char *const NAMES[] = {"ref", "v2", "v3", "v4"};

const char *adze_isa_name(adze_isa isa) {
    return (size_t)isa < ADZE_COUNT(NAMES) ? NAMES[isa] : "unknown";
}

bool adze_isa_parse(const char *name, adze_isa *out) {
    for (size_t i = 0; i < ADZE_COUNT(NAMES); i++) {
        if (strcmp(NAMES[i], name) == 0) {
            *out = (adze_isa)i;
            return true;
        }
    }
    return false;
}
