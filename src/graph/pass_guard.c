/* Pass "lower", guards, for the device cpu: a guard's steps stop being a region of their own and become steps like any other that carry the guard's
 * number, so that chains, groups and every order may take them; a run leaves out those whose guard is off. The only way out of a guard becomes a map
 * that chooses by the guard's flag: y = on ? x + f : x. It joins the chains beside it and never lets through what was not computed. */
#include "plan_internal.h"

#include "adze/ops.h"

#include <stdio.h>

static bool is_guard(const adze_graph *g, int32_t region) {
    return g->regions[region].kind == ADZE_REGION_GUARD;
}

bool adze_is_zero(const adze_graph *g, adze_val v) {
    const adze_gnode *n = adze_val_node(g, v.id);
    while (strcmp(n->op->name, "broadcast") == 0) {
        n = adze_val_node(g, n->in[0]);
    }
    const adze_field *f = strcmp(n->op->name, "scalar") == 0 ? adze_field_find(n->op->attrs, "value") : NULL;
    return f && *(const double *)((const char *)n->attrs + f->offset) == 0;
}

void adze_guard_flag_name(const char *region, char *out, size_t n) {
    snprintf(out, n, "(guard) %.200s", region);
}

/* The value of a guard_add outside of its guard; flag: of its guard, made when it is first asked for. */
static adze_val leave(adze_graph *g, const adze_gnode *n, adze_val *flag) {
    const adze_type t = n->types[0];
    const adze_gnode *door = adze_val_node(g, n->in[0]);
    const adze_val x = {door->op == &adze_op_open ? door->in[0] : n->in[0]}, fx = {n->in[1]};
    if (flag->id == 0) {
        char name[ADZE_NAME_MAX];
        adze_guard_flag_name(g->regions[n->guard].name, name, sizeof name);
        *flag = adze_input(g, name, adze_scalar_type(ADZE_BOOL));
    }
    return adze_where(g, adze_broadcast(g, *flag, t.dims, t.rank), adze_is_zero(g, x) ? fx : adze_add(g, x, fx), x);
}

static int leave_all(adze_work *w, adze_val *flags) {
    adze_graph *g = w->g;
    const int32_t nnodes = g->nnodes, nvals = g->nvals;
    int32_t *now = adze_alloc(w->ctx, nvals, sizeof *now);
    int32_t *all = NULL;
    int status = ADZE_GOT(now);
    for (int32_t v = 0; v < nvals && now; v++) {
        now[v] = v;
    }
    for (int32_t i = 0; i < nnodes; i++) {
        adze_gnode *n = &g->nodes[i];
        if (is_guard(g, n->region)) {
            n->guard = g->regions[n->region].group;
            n->region = 0;
        }
    }
    for (int32_t i = 0; i < nnodes && status == ADZE_OK; i++) {
        const adze_gnode n = g->nodes[i];
        if (!n.dead && n.op == &adze_op_guard_add) {
            g->name_override = n.name;
            now[n.first] = leave(g, &n, &flags[n.guard]).id;
            g->name_override = NULL;
            status = g->status;
        }
    }
    if (status == ADZE_OK) {
        all = adze_resize(w->ctx, now, nvals, g->nvals, sizeof *now);
        now = all ? all : now;
        status = ADZE_GOT(all);
    }
    for (int32_t v = nvals; v < g->nvals && status == ADZE_OK; v++) {
        all[v] = v;
    }
    status = status == ADZE_OK ? adze_work_replace(w, all) : status;
    adze_free(w->ctx, now);
    return status;
}

int adze_lower_guards(adze_work *w) {
    bool any = false;
    for (int32_t r = 1; r < w->g->nregions; r++) {
        any = any || is_guard(w->g, r);
    }
    if (!any) {
        return ADZE_OK;
    }
    adze_val *flags = adze_alloc(w->ctx, w->g->nregions, sizeof *flags);
    int status = flags ? leave_all(w, flags) : ADZE_ENOMEM;
    adze_free(w->ctx, flags);
    return status;
}
