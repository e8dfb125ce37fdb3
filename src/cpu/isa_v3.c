/* The portable loops compiled for AVX2 with FMA (x86-64-v3): 6 x 2 register tiles of 32-byte vectors. */
#include <immintrin.h>

#define CPU_TABLE adze_kernels_v3
#define CPU_VECTOR 32 /* bytes */
#define CPU_ROWS 6    /* rows of a register tile */
#define CPU_FMA 1
#define VFMA_F32(a, b, c) ((V_F32)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#define VFMA_F64(a, b, c) ((V_F64)_mm256_fmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(c)))
#include "kernels.inc"
