/* Pass "dead": a node lives when an output, an UPDATE or a collective needs it. Inputs stay: the caller fills them whether they are used or not. */
#include "plan_internal.h"

int adze_pass_dead(adze_work *w) {
    adze_graph *g = w->g;
    for (int32_t i = 0; i < g->nnodes; i++) {
        adze_gnode *n = &g->nodes[i];
        n->dead = n->dead || (!(n->op->flags & (ADZE_OP_UPDATE | ADZE_OP_COMM)) && n->op != &adze_op_input);
    }
    for (int i = 0; i < g->noutputs; i++) {
        adze_val_node(g, g->outputs[i].val)->dead = false;
    }
    /* Inputs have smaller ids until the kernel pass, so one walk backwards reaches everything. */
    for (int32_t i = g->nnodes; i-- > 0;) {
        for (int k = 0; !g->nodes[i].dead && k < g->nodes[i].nin; k++) {
            adze_val_node(g, g->nodes[i].in[k])->dead = false;
        }
    }
    return ADZE_OK;
}
