/* The portable loops compiled for AVX-512 (x86-64-v4): 14 x 2 register tiles of 64-byte vectors, masked stores. */
#include <immintrin.h>

#define CPU_TABLE adze_kernels_v4
#define CPU_VECTOR 64 /* bytes */
#define CPU_ROWS 14   /* rows of a register tile */
#define CPU_FMA 1
#define VFMA_F32(a, b, c) ((V_F32)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
#define VFMA_F64(a, b, c) ((V_F64)_mm512_fmadd_pd((__m512d)(a), (__m512d)(b), (__m512d)(c)))
#define VLOAD_PART_F32(p, n) ((V_F32)_mm512_maskz_loadu_ps((__mmask16)((1u << (n)) - 1u), p))
#define VLOAD_PART_F64(p, n) ((V_F64)_mm512_maskz_loadu_pd((__mmask8)((1u << (n)) - 1u), p))
#define VSTORE_PART_F32(p, v, n) _mm512_mask_storeu_ps(p, (__mmask16)((1u << (n)) - 1u), (__m512)(v))
#define VSTORE_PART_F64(p, v, n) _mm512_mask_storeu_pd(p, (__mmask8)((1u << (n)) - 1u), (__m512d)(v))
#include "kernels.inc"
