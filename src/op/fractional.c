/* The regions of fractional max pooling (Graham 2014): where along an axis each region begins, drawn anew in every run. */
#include "op/random.h"
#include "op/rules.h"

enum { MOST = 1 << 16 }; /* pixels of an axis: products below stay within 64 bits */

static const adze_field REGIONS_FIELDS[] = {ADZE_ATTR_DEF(adze_pool_regions_attrs, n, ADZE_F_I64, "1", "pixels of the axis"),
                                            ADZE_ATTR_DEF(adze_pool_regions_attrs, out, ADZE_F_I64, "1", "regions"),
                                            ADZE_ATTR(adze_pool_regions_attrs, stream, ADZE_F_U64, "names the random numbers"),
                                            ADZE_ATTR(adze_pool_regions_attrs, pseudo, ADZE_F_BOOL, "steps spread evenly instead of shuffled"),
                                            ADZE_ATTR(adze_pool_regions_attrs, overlap, ADZE_F_BOOL, "a region ends where the next begins"),
                                            ADZE_ATTR_END};

static int infer_regions(adze_sig *s) {
    const adze_pool_regions_attrs *a = s->attrs;
    const int64_t sum = a->n - a->overlap;
    if (a->out < 1 || a->n > MOST || sum < a->out || sum > 2 * a->out) {
        return adze_op_fail(s, ADZE_EARG, "%lld steps of 1 or 2 pixels cannot add up to %lld of at most %d", (long long)a->out, (long long)sum, MOST);
    }
    return adze_set_out(s, 0, ADZE_I32, 2, (int64_t[]){a->overlap ? 3 : 2, a->out});
}

/* Integers alone: steps are 1 or 2 and add up exactly, whatever is drawn. */
static void ref_regions(const adze_step *s, int ith, int nth) {
    (void)ith, (void)nth;
    const adze_pool_regions_attrs *a = s->attrs;
    const int64_t sum = a->n - a->overlap, unit = (int64_t)1 << 24;
    int32_t *y = s->out[0].data;
    adze_draw d = {0};
    adze_random_key(s->run, a->stream, d.key);
    const int64_t u = adze_random_word(&d, 0, 0) >> 8;
    const int64_t first = (sum * u + a->out * unit - 1) / (a->out * unit); /* ceil(alpha u) */
    for (int64_t i = 0, start = 0, twos = sum - a->out, end; i < a->out; i++, start = end) {
        if (a->pseudo) { /* ceil(alpha (i + 1 + u)) - ceil(alpha u) */
            end = (sum * ((i + 1) * unit + u) + a->out * unit - 1) / (a->out * unit) - first;
        } else { /* every order of the steps is as likely as any: a 2 with probability (2s left) / (steps left) */
            const bool two = (((uint64_t)adze_random_word(&d, 0, (uint64_t)i) * (uint64_t)(a->out - i)) >> 32) < (uint64_t)twos;
            twos -= two;
            end = start + 1 + two;
        }
        const int64_t last = end - !a->overlap;
        for (int64_t k = 0; k < (a->overlap ? 3 : 2); k++) {
            y[k * a->out + i] = (int32_t)(start + k < last ? start + k : last);
        }
    }
}

static void sample_regions(adze_rng *r, adze_case *c) {
    adze_pool_regions_attrs *a = c->attrs;
    c->nin = 0;
    a->out = adze_rng_range(r, 1, 40);
    a->overlap = adze_sample_coin(r, 2);
    a->pseudo = adze_sample_coin(r, 2);
    a->n = adze_rng_range(r, a->out, 2 * a->out) + a->overlap;
    a->stream = adze_rng_u64(r);
}

const adze_op adze_op_pool_regions = {
    .name = "pool_regions",
    .nout = 1,
    .flags = ADZE_OP_RANDOM | ADZE_OP_NOGRAD,
    .attrs = REGIONS_FIELDS,
    .attrs_size = sizeof(adze_pool_regions_attrs),
    .doc = "y[k, i] = pixel k of region i of an axis, its last pixel where it has fewer: i32 (2, out), with overlap (3, out).\n"
           "Regions step on by 1 or 2 pixels, n in all (overlap: n - 1): in random order, or pseudo: ceil(alpha (i + u)) with alpha = n / out",
    .infer = infer_regions,
    .ref = ref_regions,
    .sample = sample_regions,
};

adze_val adze_pool_regions(adze_graph *g, int64_t n, int64_t out, bool pseudo, bool overlap) {
    adze_pool_regions_attrs a;
    memset(&a, 0, sizeof a);
    a.n = n;
    a.out = out;
    a.stream = adze_graph_stream(g);
    a.pseudo = pseudo;
    a.overlap = overlap;
    return adze_apply(g, &adze_op_pool_regions, NULL, 0, &a, NULL);
}
