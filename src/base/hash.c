/* Hashes: XXH3, inlined from its header so that nothing is linked. */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/base.h"

/* out[0] is the high half, so that printing both in order gives what `xxhsum -H2` prints. */
void adze_hash128(const void *p, size_t n, uint64_t out[2]) {
    XXH128_hash_t h = XXH3_128bits(p, n);
    out[0] = h.high64;
    out[1] = h.low64;
}

uint64_t adze_hash64(const void *p, size_t n, uint64_t seed) {
    return XXH3_64bits_withSeed(p, n, seed);
}

uint64_t adze_hash_str(const char *s) {
    return adze_hash64(s, strlen(s), 0);
}
