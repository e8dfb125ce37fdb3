/* The tiles of AMX in plain C, for processors that have none: to be included after <immintrin.h> and before the kernels. It takes the place of the
 * intrinsics the kernels use and stops the test where the processor would fault, where shapes do not agree, and where a tile has no configuration.
 * Not emulated: time, and that bf16 products take denormal numbers for zeros. */
#ifndef ADZE_TEST_AMX_EMULATION_H
#define ADZE_TEST_AMX_EMULATION_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct emulated_tiles {
    int palette; /* 0: not configured */
    int rows[8], bytes[8];
    unsigned char data[8][16][64];
} emulated_tiles;

static _Thread_local emulated_tiles amx;
static _Thread_local uint64_t amx_products; /* of tiles, so far */

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#undef _tile_dpbssd
#undef _tile_dpbusd
#define _tile_loadconfig(p) emulated_loadconfig(p)
#define _tile_release() emulated_release()
#define _tile_zero(t) emulated_zero(t)
#define _tile_loadd(t, p, stride) emulated_load(t, p, stride)
#define _tile_stored(t, p, stride) emulated_store(t, p, stride)
#define _tile_dpbf16ps(c, a, b) emulated_dot_bf16(c, a, b)
#define _tile_dpbssd(c, a, b) emulated_dot_i8(c, a, b, 1)
#define _tile_dpbusd(c, a, b) emulated_dot_i8(c, a, b, 0)

static inline void emulated_expect(int holds, const char *what) {
    if (!holds) {
        fprintf(stderr, "emulated AMX: %s\n", what);
        abort();
    }
}

static inline void emulated_loadconfig(const void *config) {
    unsigned char c[64];
    memcpy(c, config, sizeof c);
    emulated_expect(c[0] == 1, "the palette is not 1");
    for (int i = 1; i < 16; i++) {
        emulated_expect(c[i] == 0, "start row and reserved bytes are not 0");
    }
    memset(&amx, 0, sizeof amx);
    amx.palette = 1;
    for (int i = 0; i < 16; i++) {
        const int bytes = c[16 + 2 * i] | c[17 + 2 * i] << 8, rows = c[48 + i];
        emulated_expect(i < 8 ? bytes <= 64 && rows <= 16 : bytes == 0 && rows == 0, "a tile is larger than 16 x 64 bytes, or beyond the eighth");
        emulated_expect((bytes == 0) == (rows == 0), "a tile has rows or bytes only");
        if (i < 8) {
            amx.rows[i] = rows, amx.bytes[i] = bytes;
        }
    }
}

static inline void emulated_release(void) {
    memset(&amx, 0, sizeof amx);
}

static inline void emulated_configured(int t) {
    emulated_expect(amx.palette == 1 && t >= 0 && t < 8 && amx.rows[t] > 0, "a tile is used that is not configured");
}

static inline void emulated_zero(int t) {
    emulated_configured(t);
    memset(amx.data[t], 0, sizeof amx.data[t]);
}

static inline void emulated_load(int t, const void *p, int64_t stride) {
    emulated_configured(t);
    memset(amx.data[t], 0, sizeof amx.data[t]);
    for (int i = 0; i < amx.rows[t]; i++) {
        memcpy(amx.data[t][i], (const char *)p + i * stride, (size_t)amx.bytes[t]);
    }
}

static inline void emulated_store(int t, void *p, int64_t stride) {
    emulated_configured(t);
    for (int i = 0; i < amx.rows[t]; i++) {
        memcpy((char *)p + i * stride, amx.data[t][i], (size_t)amx.bytes[t]);
    }
}

static inline void emulated_shapes(int c, int a, int b) {
    emulated_configured(c), emulated_configured(a), emulated_configured(b);
    emulated_expect(c != a && c != b && a != b, "a product needs three different tiles");
    emulated_expect(amx.rows[c] == amx.rows[a] && amx.bytes[c] == amx.bytes[b] && amx.bytes[a] == 4 * amx.rows[b], "shapes do not agree");
    emulated_expect(amx.bytes[c] % 4 == 0 && amx.bytes[a] % 4 == 0, "a row is no whole number of units");
    amx_products++;
}

/* Elements e, e + 2, ... of a tile's rows. */
static inline void emulated_widen(int t, int e, float out[16][16]) {
    for (int i = 0; i < 16; i++) {
        for (int j = 0; j < 16; j++) {
            const uint32_t bits = (uint32_t)(amx.data[t][i][4 * j + 2 * e] << 16) | (uint32_t)amx.data[t][i][4 * j + 2 * e + 1] << 24;
            memcpy(&out[i][j], &bits, sizeof bits);
        }
    }
}

/* The first and the second elements of the units are summed apart, then both sums are added to c. */
static inline void emulated_dot_bf16(int c, int a, int b) {
    float left[2][16][16], right[2][16][16];
    emulated_shapes(c, a, b);
    for (int e = 0; e < 2; e++) {
        emulated_widen(a, e, left[e]);
        emulated_widen(b, e, right[e]);
    }
    for (int i = 0; i < amx.rows[c]; i++) {
        float sum[2][16] = {{0}}, v[16];
        for (int u = 0; u < amx.rows[b]; u++) {
            for (int e = 0; e < 2; e++) {
                for (int j = 0; j < amx.bytes[c] / 4; j++) {
                    sum[e][j] = __builtin_fmaf(left[e][i][u], right[e][u][j], sum[e][j]);
                }
            }
        }
        memcpy(v, amx.data[c][i], sizeof v);
        for (int j = 0; j < amx.bytes[c] / 4; j++) {
            v[j] += sum[0][j] + sum[1][j];
        }
        memcpy(amx.data[c][i], v, sizeof v);
    }
}

static inline void emulated_dot_i8(int c, int a, int b, int is_signed) {
    emulated_shapes(c, a, b);
    for (int i = 0; i < amx.rows[c]; i++) {
        for (int j = 0; j < amx.bytes[c]; j += 4) {
            uint32_t v; /* wraps round */
            memcpy(&v, amx.data[c][i] + j, sizeof v);
            for (int u = 0; u < amx.bytes[a]; u++) {
                const unsigned char left = amx.data[a][i][u];
                const int x = is_signed ? (int8_t)left : left, y = (int8_t)amx.data[b][u / 4][j + u % 4];
                v += (uint32_t)(x * y);
            }
            memcpy(amx.data[c][i] + j, &v, sizeof v);
        }
    }
}

#endif
