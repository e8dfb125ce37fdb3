/* Regions, the only control flow: guards (0 or 1 trip) and repeats (0 to T trips), and how derivative code walks them in one piece each. */
#include "graph_internal.h"

#include "adze/ops.h"

#include <stdio.h>

int adze_region_add(adze_graph *g, const char *name, adze_region_kind kind, int64_t max_trips, int32_t *out) {
    TRY(adze_graph_room(g, (void **)&g->regions, g->nregions, &g->cap_regions, sizeof *g->regions));
    adze_region r = {.name = adze_arena_strdup(&g->arena, name), .kind = kind, .group = g->nregions, .max_trips = max_trips};
    if (!r.name) {
        return adze_graph_stick(g, ADZE_ENOMEM);
    }
    for (int i = 1; i < g->nregions; i++) {
        if (strcmp(g->regions[i].name, name) == 0) {
            r.group = g->regions[i].group;
            if (g->regions[i].kind != kind || g->regions[i].max_trips != max_trips) {
                return adze_graph_fail(g, ADZE_EARG, "there is already a region '%s' of another kind or length", name);
            }
            break;
        }
    }
    *out = g->nregions;
    g->regions[g->nregions++] = r;
    return ADZE_OK;
}

static int region_begin(adze_graph *g, const char *name, adze_region_kind kind, int64_t max_trips) {
    char path[ADZE_PATH_MAX + ADZE_NAME_MAX];
    TRY(g->status);
    if (g->region != 0) {
        return adze_graph_fail(g, ADZE_EARG, "region '%s' begins inside region '%s'; regions do not nest", name, g->regions[g->region].name);
    }
    if (!name[0] || strlen(name) >= ADZE_NAME_MAX) {
        return adze_graph_fail(g, ADZE_EARG, "the name of a region must have 1 to %d bytes", ADZE_NAME_MAX - 1);
    }
    snprintf(path, sizeof path, "%s%s%s", g->path, g->path[0] ? "/" : "", name);
    int32_t r = 0;
    TRY(adze_region_add(g, path, kind, max_trips, &r));
    g->region = r;
    return ADZE_OK;
}

static int need_open(adze_graph *g, adze_region_kind kind, const char *what) {
    TRY(g->status);
    if (g->region == 0 || g->regions[g->region].kind != kind) {
        return adze_graph_fail(g, ADZE_EARG, "%s is used outside a %s", what, kind == ADZE_REGION_GUARD ? "guard" : "repeat");
    }
    return ADZE_OK;
}

adze_val adze_open_copy(adze_graph *g, adze_val v) {
    int32_t home = g->region;
    g->region = 0;
    adze_val y = adze_apply(g, &adze_op_open, &v, 1, NULL, NULL);
    g->region = home;
    return y;
}

/* -- guards -------------------------------------------------------------------------------------------------------------------------------------- */

int adze_guard_begin(adze_graph *g, const char *name) {
    return region_begin(g, name, ADZE_REGION_GUARD, 1);
}

adze_val adze_guard_end(adze_graph *g, adze_val x, adze_val fx) {
    if (need_open(g, ADZE_REGION_GUARD, "adze_guard_end") != ADZE_OK) {
        return (adze_val){0};
    }
    if (adze_val_ok(g, x) && adze_val_region(g, x.id) != 0) {
        adze_graph_fail(g, ADZE_EARG, "the guard '%s' adds to a value made inside it; it must be made before the guard", g->regions[g->region].name);
        return (adze_val){0};
    }
    adze_val in[2] = {adze_open_copy(g, x), fx};
    adze_val y = adze_apply(g, &adze_op_guard_add, in, 2, NULL, NULL);
    g->regions[g->region].closed = true;
    g->region = 0;
    return y;
}

/* -- repeats ------------------------------------------------------------------------------------------------------------------------------------- */

int adze_repeat_begin(adze_graph *g, const char *name, int64_t max_trips) {
    TRY(g->status);
    if (max_trips < 0) {
        return adze_graph_fail(g, ADZE_EARG, "the repeat '%s' cannot run %lld times", name, (long long)max_trips);
    }
    return region_begin(g, name, ADZE_REGION_REPEAT, max_trips);
}

adze_val adze_repeat_row(adze_graph *g, adze_val seq) {
    if (need_open(g, ADZE_REGION_REPEAT, "adze_repeat_row") != ADZE_OK) {
        return (adze_val){0};
    }
    adze_type t = adze_val_type(g, seq);
    const adze_region *r = &g->regions[g->region];
    if (t.rank >= 1 && t.dims[0] < r->max_trips) {
        adze_graph_fail(g, ADZE_ESHAPE, "the repeat '%s' runs up to %lld times, but the sequence has %lld rows", r->name, (long long)r->max_trips,
                        (long long)t.dims[0]);
        return (adze_val){0};
    }
    if (adze_val_ok(g, seq) && adze_val_node(g, seq.id)->region == g->region) {
        adze_graph_fail(g, ADZE_EARG, "the repeat '%s' takes rows of a value made inside it", r->name);
        return (adze_val){0};
    }
    return adze_apply(g, &adze_op_repeat_row, &seq, 1, NULL, NULL);
}

adze_val adze_repeat_carry(adze_graph *g, adze_val init) {
    if (need_open(g, ADZE_REGION_REPEAT, "adze_repeat_carry") != ADZE_OK) {
        return (adze_val){0};
    }
    adze_val first = adze_open_copy(g, init);
    adze_val v = adze_apply(g, &adze_op_repeat_carry, &first, 1, NULL, NULL);
    if (v.id == 0 || adze_graph_room(g, (void **)&g->carries, g->ncarries, &g->cap_carries, sizeof *g->carries) != ADZE_OK) {
        return (adze_val){0};
    }
    g->carries[g->ncarries++] = (adze_carry){.carry = v.id, .region = g->region};
    return v;
}

int adze_repeat_next(adze_graph *g, adze_val carry, adze_val next) {
    TRY(need_open(g, ADZE_REGION_REPEAT, "adze_repeat_next"));
    for (int i = 0; i < g->ncarries; i++) {
        adze_carry *c = &g->carries[i];
        if (c->carry == carry.id && c->region == g->region) {
            adze_type t = adze_val_type(g, next);
            if (c->next) {
                return adze_graph_fail(g, ADZE_EARG, "the repeat '%s' replaces one carried value twice", g->regions[g->region].name);
            }
            if (!adze_val_ok(g, next) || !adze_type_equal(&t, adze_type_of(g, carry.id))) {
                return adze_graph_fail(g, ADZE_ESHAPE, "the repeat '%s' carries %s, but its next value is %s", g->regions[g->region].name,
                                       ADZE_SHOWN(adze_type_of(g, carry.id)), ADZE_SHOWN(&t));
            }
            c->next = next.id;
            return ADZE_OK;
        }
    }
    return adze_graph_fail(g, ADZE_EARG, "adze_repeat_next needs a value of adze_repeat_carry in the repeat '%s'", g->regions[g->region].name);
}

adze_val adze_repeat_collect(adze_graph *g, adze_val row) {
    if (need_open(g, ADZE_REGION_REPEAT, "adze_repeat_collect") != ADZE_OK) {
        return (adze_val){0};
    }
    adze_type t = adze_val_type(g, row);
    if (t.rank >= ADZE_MAX_RANK) {
        adze_graph_fail(g, ADZE_ESHAPE, "a row to collect has rank %d; at most %d are possible", (int)t.rank, ADZE_MAX_RANK - 1);
        return (adze_val){0};
    }
    memmove(t.dims + 1, t.dims, sizeof(int64_t) * (size_t)t.rank);
    t.dims[0] = g->regions[g->region].max_trips;
    t.rank++;
    int32_t home = g->region;
    g->region = 0;
    adze_val zeros = adze_full(g, t, 0.0);
    g->region = home;
    adze_val in[2] = {adze_open_copy(g, zeros), row};
    return adze_apply(g, &adze_op_repeat_collect, in, 2, NULL, NULL);
}

/* A next value that is itself a carry, or a view of one, would be overwritten before it is read: it is copied first. */
static bool is_carried(const adze_graph *g, int32_t v) {
    const adze_gnode *n = adze_val_node(g, v);
    while ((n->op->flags & ADZE_OP_VIEW) && n->op != &adze_op_repeat_carry && n->nin > 0) {
        n = adze_val_node(g, n->in[0]);
    }
    return n->op == &adze_op_repeat_carry;
}

int adze_repeat_end(adze_graph *g) {
    TRY(need_open(g, ADZE_REGION_REPEAT, "adze_repeat_end"));
    for (int pass = 0; pass < 2; pass++) { /* all copies come before the first replacement */
        for (int i = 0; i < g->ncarries; i++) {
            adze_carry *c = &g->carries[i];
            if (c->region != g->region) {
                continue;
            }
            if (pass == 0 && (!c->next || is_carried(g, c->next))) {
                adze_val v = {c->next ? c->next : c->carry};
                c->next = adze_apply(g, &adze_op_open, &v, 1, NULL, NULL).id;
            } else if (pass == 1) {
                adze_val in[2] = {{c->carry}, {c->next}};
                c->next = adze_apply(g, &adze_op_repeat_next, in, 2, NULL, NULL).id;
            }
            TRY(g->status);
        }
    }
    g->regions[g->region].closed = true;
    g->region = 0;
    return ADZE_OK;
}

/* -- the walk of derivatives --------------------------------------------------------------------------------------------------------------------- */

/* Regions begin and end one after the other, and a node outside that was appended between a region's first and last node never depends on the
 * region: so each region's nodes, in ascending order, may stand where its last one does. */
void adze_graph_blocks(const adze_graph *g, int32_t n, int32_t *ids, int32_t *last) {
    for (int32_t r = 0; r < g->nregions; r++) {
        last[r] = -1;
    }
    for (int32_t i = 0; i < n; i++) {
        last[g->nodes[i].region] = i;
    }
    int32_t count = 0;
    for (int32_t i = 0; i < n; i++) {
        int32_t r = g->nodes[i].region;
        if (r == 0) {
            ids[count++] = i;
        } else if (last[r] == i) {
            int32_t from = i;
            for (int32_t k = 0; k <= i; k++) {
                if (g->nodes[k].region == r) {
                    from = k;
                    break;
                }
            }
            for (int32_t k = from; k <= i; k++) {
                if (g->nodes[k].region == r) {
                    ids[count++] = k;
                }
            }
        }
    }
}
