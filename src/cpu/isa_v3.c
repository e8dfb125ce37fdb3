/* The portable loops compiled for AVX2 with FMA (x86-64-v3): 6 x 2 register tiles of 32-byte vectors. */
#include <immintrin.h>

#define CPU_TABLE adze_kernels_v3
#define CPU_VECTOR 32 /* bytes */
#define CPU_ROWS 6    /* rows of a register tile */
#define CPU_FMA 1
#define VFMA_F32(a, b, c) ((V_F32)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#define VFMA_F64(a, b, c) ((V_F64)_mm256_fmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(c)))
#define MASK8(n) _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
#define MASK4(n) _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3))
#define VLOAD_PART_F32(p, n) ((V_F32)_mm256_maskload_ps(p, MASK8(n)))
#define VLOAD_PART_F64(p, n) ((V_F64)_mm256_maskload_pd(p, MASK4(n)))
#define VSTORE_PART_F32(p, v, n) _mm256_maskstore_ps(p, MASK8(n), (__m256)(v))
#define VSTORE_PART_F64(p, v, n) _mm256_maskstore_pd(p, MASK4(n), (__m256d)(v))
#include "kernels.inc"
