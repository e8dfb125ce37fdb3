/* What the processor can do: the levels of the x86-64 psABI, then AVX-512 with bf16 and 8-bit products, then AMX, as cpuid tells and the operating
 * system allows. */
#include "base/ctx.h"

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

static uint64_t xgetbv0(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low | (uint64_t)high << 32;
}

static bool has(uint32_t reg, uint32_t bits) {
    return (reg & bits) == bits;
}

/* Linux saves the tiles of AMX only in processes that asked for it. The permission holds for all threads that are made later. */
static bool tiles_allowed(void) {
#if defined(__linux__) && defined(SYS_arch_prctl)
    enum { REQ_XCOMP_PERM = 0x1023, TILE_DATA = 18 };
    const uint64_t tiles = UINT64_C(3) << 17;
    return (xgetbv0() & tiles) == tiles && syscall(SYS_arch_prctl, REQ_XCOMP_PERM, TILE_DATA) == 0;
#else
    return false;
#endif
}

/* What lies above v4: leaf 7 of cpuid, registers c and d of subleaf 0 and a of subleaf 1. */
static adze_isa detect_low_precision(void) {
    const uint32_t vnni = 1u << 11, amx = 1u << 22 | 1u << 24 | 1u << 25, bf16 = 1u << 5; /* amx: bf16, tile, int8 */
    uint32_t a0 = 0, a1 = 0, b, c = 0, d = 0, unused;
    __get_cpuid_count(7, 0, &a0, &b, &c, &d);
    if (a0 < 1 || !has(c, vnni) || !__get_cpuid_count(7, 1, &a1, &b, &unused, &unused) || !has(a1, bf16)) {
        return ADZE_ISA_V4;
    }
    return has(d, amx) && tiles_allowed() ? ADZE_ISA_AMX : ADZE_ISA_BF16;
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
    return detect_low_precision();
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

static const char *const NAMES[] = {"ref", "v2", "v3", "v4", "avx512bf16", "amx"};

const char *adze_isa_name(adze_isa isa) {
    return (size_t)isa < ADZE_COUNT(NAMES) ? NAMES[isa] : "unknown";
}

bool adze_isa_parse(const char *name, adze_isa *out) {
    name = strcmp(name, "avx2") == 0 ? "v3" : strcmp(name, "avx512") == 0 ? "v4" : name;
    for (size_t i = 0; i < ADZE_COUNT(NAMES); i++) {
        if (strcmp(NAMES[i], name) == 0) {
            *out = (adze_isa)i;
            return true;
        }
    }
    return false;
}
