/* Random numbers: Philox4x32-10, counter-based, so that every draw is a pure function of where it is used.
 * Salmon, Moraes, Dror, Shaw: Parallel Random Numbers: As Easy as 1, 2, 3 (SC 2011). */
#include "base/base.h"

#include <math.h>

enum { PHILOX_ROUNDS = 10 };

void adze_philox(const uint32_t key[2], const uint32_t ctr[4], uint32_t out[4]) {
    uint32_t k0 = key[0], k1 = key[1];
    uint32_t c0 = ctr[0], c1 = ctr[1], c2 = ctr[2], c3 = ctr[3];
    for (int i = 0; i < PHILOX_ROUNDS; i++) {
        uint64_t a = (uint64_t)0xD2511F53u * c0, b = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(b >> 32) ^ c1 ^ k0, n2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)b;
        c3 = (uint32_t)a;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u; /* the golden ratio */
        k1 += 0xBB67AE85u; /* sqrt(3) - 1 */
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

adze_rng adze_rng_make(uint64_t seed, uint64_t stream) {
    return (adze_rng){.key = {(uint32_t)seed, (uint32_t)(seed >> 32)}, .ctr = {0, 0, (uint32_t)stream, (uint32_t)(stream >> 32)}};
}

uint32_t adze_rng_u32(adze_rng *r) {
    if (r->left == 0) {
        adze_philox(r->key, r->ctr, r->out);
        r->left = 4;
        if (++r->ctr[0] == 0) {
            r->ctr[1]++;
        }
    }
    return r->out[4 - r->left--];
}

uint64_t adze_rng_u64(adze_rng *r) {
    uint64_t low = adze_rng_u32(r);
    return low | (uint64_t)adze_rng_u32(r) << 32;
}

uint64_t adze_rng_below(adze_rng *r, uint64_t n) {
    if (n < 2) {
        return 0;
    }
    uint64_t unfair = (0 - n) % n; /* 2^64 mod n: the first so many values would make small results likelier */
    uint64_t v;
    do {
        v = adze_rng_u64(r);
    } while (v < unfair);
    return v % n;
}

int64_t adze_rng_range(adze_rng *r, int64_t lo, int64_t hi) {
    if (hi <= lo) {
        return lo;
    }
    uint64_t n = (uint64_t)hi - (uint64_t)lo + 1; /* 0: all 2^64 values */
    uint64_t v = n ? adze_rng_below(r, n) : adze_rng_u64(r);
    return (int64_t)((uint64_t)lo + v);
}

double adze_rng_uniform(adze_rng *r) {
    return (double)(adze_rng_u64(r) >> 11) * 0x1p-53;
}

double adze_rng_normal(adze_rng *r) {
    double radius = sqrt(-2.0 * log(1.0 - adze_rng_uniform(r))); /* 1 - u lies in (0, 1]: no log of zero */
    return radius * cos(6.283185307179586476925286766559 * adze_rng_uniform(r));
}

void adze_rng_permute(adze_rng *r, int64_t *v, int64_t n) {
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t j = (int64_t)adze_rng_below(r, (uint64_t)i + 1);
        int64_t held = v[i];
        v[i] = v[j];
        v[j] = held;
    }
}
