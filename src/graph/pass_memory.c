/* Pass "memory": an offset in one arena for every block, so that blocks alive at the same time never overlap. Greedy by size, as described by
 * Pisarchyk and Lee (arXiv 2001.03288), with other orders and a few repairs when the arena comes out larger than the bytes that live at once. */
#include "plan_internal.h"

#include <stdlib.h>

typedef struct item {
    int32_t block;
    double key[2];
} item;

typedef struct pack {
    adze_work *w;
    adze_block *b;
    int32_t n;
    item *items;
    int32_t *placed; /* blocks placed so far, by offset */
    int64_t *best;   /* offsets of the best packing so far */
    int64_t arena;
} pack;

static int by_key(const void *pa, const void *pb) {
    const item *a = pa, *b = pb;
    for (int i = 0; i < 2; i++) {
        if (a->key[i] != b->key[i]) {
            return a->key[i] < b->key[i] ? -1 : 1;
        }
    }
    return a->block < b->block ? -1 : a->block > b->block;
}

/* Puts block `id` into the lowest (or the tightest) gap between the blocks that are alive with it. */
static void place_one(pack *p, int32_t id, int32_t nplaced, bool tightest) {
    adze_block *me = &p->b[id];
    int64_t end = 0, at = -1, gap = INT64_MAX;
    for (int32_t i = 0; i < nplaced; i++) {
        const adze_block *o = &p->b[p->placed[i]];
        if (o->to < me->from || me->to < o->from) {
            continue;
        }
        int64_t room = o->offset - end;
        if (room >= me->size && room < gap) {
            at = end;
            gap = room;
            if (!tightest) {
                break;
            }
        }
        end = o->offset + o->size > end ? o->offset + o->size : end;
    }
    me->offset = at >= 0 ? at : end;
    int32_t i = nplaced;
    while (i > 0 && p->b[p->placed[i - 1]].offset > me->offset) {
        p->placed[i] = p->placed[i - 1];
        i--;
    }
    p->placed[i] = id;
}

/* Packs in the order of the items; keeps the offsets when the arena is the smallest so far. Returns the block that ends last. */
static int32_t pack_all(pack *p, bool tightest) {
    int64_t arena = 0;
    int32_t top = -1, nplaced = 0;
    for (int32_t i = 0; i < p->n; i++) {
        int32_t id = p->items[i].block;
        place_one(p, id, nplaced++, tightest);
        if (p->b[id].offset + p->b[id].size > arena) {
            arena = p->b[id].offset + p->b[id].size;
            top = i;
        }
    }
    if (p->arena < 0 || arena < p->arena) {
        p->arena = arena;
        for (int32_t i = 0; i < p->n; i++) {
            p->best[p->items[i].block] = p->b[p->items[i].block].offset;
        }
    }
    return top;
}

static void set_keys(pack *p, int how) {
    for (int32_t i = 0; i < p->n; i++) {
        const adze_block *b = &p->b[p->items[i].block];
        double size = (double)b->size, length = b->to - b->from + 1.0;
        double first[] = {-size, b->from, -length, -size * length, -b->to};
        double second[] = {-length, -size, -size, -length, -size};
        p->items[i].key[0] = first[how];
        p->items[i].key[1] = second[how];
    }
    qsort(p->items, (size_t)p->n, sizeof *p->items, by_key);
}

/* Moves the block that sticks out to the front again and again: it then gets the low place that it needs. */
static void repair(pack *p, int64_t peak, bool tightest, int rounds) {
    adze_rng rng = adze_rng_make(7, (uint64_t)p->n);
    for (int r = 0; r < rounds && p->arena > peak; r++) {
        int32_t top = pack_all(p, tightest);
        if (top <= 0) {
            return;
        }
        int32_t to = r % 3 == 2 ? (int32_t)adze_rng_below(&rng, (uint64_t)top) : r % 3 == 1 ? top / 2 : 0;
        item moved = p->items[top];
        memmove(p->items + to + 1, p->items + to, sizeof *p->items * (size_t)(top - to));
        p->items[to] = moved;
    }
}

/* Sorted by size once more, with the sizes blurred. */
static void blur(pack *p, int64_t peak, int rounds) {
    adze_rng rng = adze_rng_make(11, (uint64_t)p->n);
    for (int r = 0; r < rounds && p->arena > peak; r++) {
        double power = adze_rng_uniform(&rng);
        for (int32_t i = 0; i < p->n; i++) {
            const adze_block *b = &p->b[p->items[i].block];
            double weight = (double)b->size * (1 + power * (b->to - b->from));
            p->items[i].key[0] = -weight * (0.6 + adze_rng_uniform(&rng));
        }
        qsort(p->items, (size_t)p->n, sizeof *p->items, by_key);
        pack_all(p, r % 2 != 0);
    }
}

static void search(pack *p, int64_t peak) {
    enum { SORTS = 5, BUDGET = 4000000, MOST = 200 }; /* block comparisons that a plan may spend on repairs */
    int64_t work = (int64_t)p->n * p->n / 4 + 1, close = peak + peak / 50;
    int rounds = (int)(BUDGET / work > MOST ? MOST : BUDGET / work);
    rounds = p->w->opts && p->w->opts->random_order ? 0 : rounds;
    for (int how = 0; how < SORTS && p->arena != peak; how++) {
        for (int tight = 0; tight < 2 && p->arena != peak; tight++) {
            set_keys(p, how);
            pack_all(p, tight != 0);
        }
    }
    for (int how = 0; how < SORTS && p->arena > close; how++) { /* within two percent is near enough */
        set_keys(p, how);
        repair(p, close, how % 2 != 0, rounds);
    }
    blur(p, close, 2 * rounds);
}

int adze_pass_memory(adze_work *w) {
    adze_ctx *ctx = w->ctx;
    TRY(adze_plan_live(w, w->order, &w->live));
    pack p = {.w = w, .b = w->live.blocks, .arena = -1};
    int32_t n = w->live.nblocks;
    p.items = adze_alloc(ctx, n, sizeof *p.items);
    p.placed = adze_alloc(ctx, n, sizeof *p.placed);
    p.best = adze_alloc(ctx, n, sizeof *p.best);
    int status = ADZE_GOT(p.items && p.placed && p.best);
    if (status == ADZE_OK) {
        for (int32_t i = 0; i < n; i++) {
            if (p.b[i].size > 0) { /* empty blocks lie anywhere */
                p.items[p.n++].block = i;
            }
        }
        search(&p, w->live.peak);
        for (int32_t i = 0; i < p.n; i++) {
            p.b[p.items[i].block].offset = p.best[p.items[i].block];
        }
        w->arena = p.n > 0 ? p.arena : 0;
    }
    adze_free(ctx, p.items);
    adze_free(ctx, p.placed);
    adze_free(ctx, p.best);
    return status;
}
