/* Graphs and plans as text: one line a node, Graphviz, one line a step. */
#include "plan_internal.h"

#include <stdio.h>

void adze_text_free(adze_ctx *ctx, char *text) {
    adze_free(ctx, text);
}

static void print_attrs(const adze_gnode *n, adze_text *t) {
    char text[160];
    bool source = n->op == &adze_op_input || n->op == &adze_op_slot; /* name and type say it all */
    for (const adze_field *f = source ? NULL : n->op->attrs; f && f->name; f++) {
        if (!(f->flags & ADZE_FIELD_HIDDEN) && !adze_field_is_default(f, n->attrs) && adze_field_print(f, n->attrs, text, sizeof text) >= 0) {
            adze_text_add(t, " %s=%s", f->name, text);
        }
    }
}

static void print_node(const adze_graph *g, const adze_gnode *n, adze_text *t) {
    for (int o = 0; o < n->nout; o++) {
        adze_text_add(t, "%s%%%d", o ? ", " : "", (int)n->first + o);
    }
    adze_text_add(t, " = %s", n->op->name);
    for (int k = 0; k < n->nin; k++) {
        adze_text_add(t, " %%%d", (int)n->in[k]);
    }
    print_attrs(n, t);
    for (int o = 0; o < n->nout; o++) {
        adze_text_add(t, "%s%s", o ? ", " : " : ", ADZE_SHOWN(&n->types[o]));
    }
    adze_text_add(t, "  # %s", n->name);
    if (n->region) {
        static const char *const KINDS[] = {"", "guard ", "repeat ", "", ""};
        adze_text_add(t, " [%s%s]", KINDS[g->regions[n->region].kind], g->regions[n->region].name);
    }
    if (n->guard) {
        adze_text_add(t, " [guard %s]", g->regions[n->guard].name);
    }
    adze_text_add(t, "\n");
}

void adze_graph_print(const adze_graph *g, adze_text *t) {
    for (int32_t i = 0; i < g->nnodes; i++) {
        if (!g->nodes[i].dead) {
            print_node(g, &g->nodes[i], t);
        }
    }
    for (int i = 0; i < g->noutputs; i++) {
        adze_text_add(t, "output %s = %%%d\n", g->outputs[i].name, (int)g->outputs[i].val);
    }
}

int adze_graph_dump(const adze_graph *g, char **text) {
    adze_text t = {.ctx = g->ctx};
    adze_graph_print(g, &t);
    return adze_text_finish(&t, text);
}

static void put_escaped(adze_text *t, const char *s) {
    for (; *s; s++) {
        if (*s == '"' || *s == '\\') {
            adze_text_put(t, "\\", 1);
        }
        adze_text_put(t, s, 1);
    }
}

int adze_graph_dot(const adze_graph *g, char **text) {
    adze_text t = {.ctx = g->ctx};
    adze_text_add(&t, "digraph adze {\n  node [shape=box, fontname=\"Helvetica\"];\n");
    for (int32_t i = 0; i < g->nnodes; i++) {
        const adze_gnode *n = &g->nodes[i];
        bool source = n->nin == 0;
        adze_text_add(&t, "  n%d [label=\"%s\\n", (int)i, n->op->name);
        put_escaped(&t, n->name);
        adze_text_add(&t, "\\n%s\"%s];\n", ADZE_SHOWN(&n->types[0]), source ? ", style=rounded" : "");
        for (int k = 0; k < n->nin; k++) {
            adze_text_add(&t, "  n%d -> n%d;\n", (int)g->vals[n->in[k]].node, (int)i);
        }
    }
    for (int i = 0; i < g->noutputs; i++) {
        adze_text_add(&t, "  o%d [label=\"", i);
        put_escaped(&t, g->outputs[i].name);
        adze_text_add(&t, "\", shape=ellipse];\n  n%d -> o%d;\n", (int)g->vals[g->outputs[i].val].node, i);
    }
    adze_text_add(&t, "}\n");
    return adze_text_finish(&t, text);
}

static void print_step(const adze_plan *p, int32_t i, adze_text *t) {
    const adze_pstep *s = &p->steps[i];
    char place[64];
    char op[40];
    const bool followed = i + 1 < p->nsteps && p->steps[i + 1].follows;
    const adze_view *v = &p->views[s->view + s->nin];
    const adze_spot *at = &p->spots[s->view + s->nin];
    adze_type out = adze_type_make(v->dtype, v->rank, v->dims);
    if (at->place == ADZE_PLACE_SLOT) {
        snprintf(place, sizeof place, "slot %d", (int)at->slot);
    } else {
        snprintf(place, sizeof place, "%s%lld", at->place == ADZE_PLACE_LOCAL ? "local " : "", (long long)at->offset);
    }
    snprintf(op, sizeof op, "%s%s%s", s->op->name, followed ? "+" : "", followed ? p->steps[i + 1].op->name : "");
    adze_text_add(t, "%4d %-18.40s %-13.16s %-9.10s %-22.28s %9s", (int)i, s->name, op,
                  s->follows  ? "tail"
                  : s->kernel ? s->kernel->name
                              : "ref",
                  ADZE_SHOWN(&out), place);
    if (s->region) {
        adze_text_add(t, "  %s", p->regions[s->region].name);
    }
    if (s->guard) {
        adze_text_add(t, "  guard %s", p->regions[s->guard].name);
    }
    adze_text_add(t, "\n");
}

int adze_plan_dump(const adze_plan *p, char **text) {
    adze_text t = {.ctx = p->ctx};
    adze_text_add(
        &t,
        "plan for %s: %d steps, arena %lld bytes (%lld live at most), inputs %lld, slots %lld, scratch %lld a thread, %.6g operations, %.6g bytes moved\n",
        p->device, (int)p->nsteps, (long long)p->arena_bytes, (long long)p->live_bytes, (long long)p->input_bytes, (long long)p->slot_bytes,
        (long long)p->local_bytes, p->flops, p->bytes);
    adze_text_add(&t, "%4s %-18s %-13s %-9s %-22s %9s\n", "step", "name", "op", "kernel", "output", "offset");
    for (int32_t i = 0; i < p->nsteps; i++) {
        print_step(p, i, &t);
    }
    return adze_text_finish(&t, text);
}
