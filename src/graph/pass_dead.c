/* Pass "dead": a node lives when an output, an UPDATE or a collective needs it. Inputs stay: the caller fills them whether they are used or not. */
#include "plan_internal.h"

/* One walk backwards: inputs have smaller ids until the kernel pass. True when a carry woke the step that replaces it for the next iteration. */
static bool spread(adze_graph *g) {
    bool again = false;
    for (int32_t i = g->nnodes; i-- > 0;) {
        const adze_gnode *n = &g->nodes[i];
        for (int k = 0; !n->dead && k < n->nin; k++) {
            adze_val_node(g, n->in[k])->dead = false;
        }
    }
    for (int32_t i = 0; i < g->nnodes; i++) {
        adze_gnode *n = &g->nodes[i];
        if (n->op == &adze_op_repeat_next && n->dead && !adze_val_node(g, n->in[0])->dead) {
            n->dead = false;
            again = true;
        }
    }
    return again;
}

int adze_pass_dead(adze_work *w) {
    adze_graph *g = w->g;
    for (int32_t i = 0; i < g->nnodes; i++) {
        adze_gnode *n = &g->nodes[i];
        n->dead = n->dead || (!(n->op->flags & (ADZE_OP_UPDATE | ADZE_OP_COMM)) && n->op != &adze_op_input);
    }
    for (int i = 0; i < g->noutputs; i++) {
        adze_val_node(g, g->outputs[i].val)->dead = false;
    }
    while (spread(g)) {
    }
    return ADZE_OK;
}
