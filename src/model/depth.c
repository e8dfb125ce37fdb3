/* Stochastic depth (Huang, Sun, Liu, Sedra and Weinberger 2016): which layers are the branch of a block that training may skip, and the draw of each
 * step. A block ends in an `add` of two inputs; its branch is what only one of them needs. */
#include "model/layer.h"

#include <stdio.h>

static const double *survival_field(const adze_layer *l) {
    const adze_field *f = l->spec->kind == &adze_layer_add ? adze_field_find(l->spec->kind->fields, "drop_path") : NULL;
    return f ? (const double *)(const void *)((const char *)l->spec->fields + f->offset) : NULL;
}

void adze_layer_region(const adze_layer *l, char *out, size_t n) {
    snprintf(out, n, "%s/branch", l->path);
}

/* -- the rule of a whole model ------------------------------------------------------------------------------------------------------------------- */

/* "linear:0.5": falling from 1 to that at the last block; "0.8": all alike; "": none. */
static bool parse_rule(const char *rule, bool *linear, double *last) {
    static const char LINEAR[] = "linear:";
    *linear = strncmp(rule, LINEAR, sizeof LINEAR - 1) == 0;
    *last = 1;
    return rule[0] == 0 || (adze_parse_f64(rule + (*linear ? sizeof LINEAR - 1 : 0), last) && *last > 0 && *last <= 1);
}

static void apply_rule(adze_model *m, bool linear, double last) {
    int blocks = 0, block = 0;
    for (int i = 0; i < m->nlayers; i++) {
        blocks += m->layers[i].spec->kind == &adze_layer_add && m->layers[i].nfrom == 2;
    }
    for (int i = 0; i < m->nlayers; i++) {
        adze_layer *l = &m->layers[i];
        const double *own = survival_field(l);
        const bool is_block = own && l->nfrom == 2;
        block += is_block;
        l->survival = own ? *own : 1;
        if (is_block && *own == 1) {
            l->survival = linear ? 1 - (double)block / blocks * (1 - last) : last;
        }
    }
}

/* -- branches ------------------------------------------------------------------------------------------------------------------------------------ */

/* Marks layer `from` and all that it needs with `bit`. */
static void mark(const adze_model *m, int from, uint8_t bit, uint8_t *needs) {
    for (int i = from; i >= 0; i--) { /* inputs have smaller numbers */
        if (i == from || needs[i] & bit) {
            needs[i] |= bit;
            for (int k = 0; k < m->layers[i].nfrom; k++) {
                if (m->layers[i].from[k] >= 0) {
                    needs[m->layers[i].from[k]] |= bit;
                }
            }
        }
    }
}

static int refuse(const adze_model *m, int *layer, int at, const char *what, const char *which) {
    *layer = at;
    return adze_fail(m->ctx, ADZE_EARG, "layer '%s': drop_path: %s%s%s%s", m->layers[at].path, what, which ? " ('" : "", which ? which : "",
                     which ? "')" : "");
}

/* The branch of the block that ends in layer `at`. */
static int find_branch(adze_model *m, int at, uint8_t *needs, int *layer) {
    enum { FIRST = 1, SECOND = 2 };
    adze_layer *end = &m->layers[at];
    int size = 0;
    if (end->nfrom != 2) {
        return refuse(m, layer, at, "a block that may be skipped adds two inputs", NULL);
    }
    memset(needs, 0, (size_t)m->nlayers);
    mark(m, end->from[0], FIRST, needs);
    mark(m, end->from[1], SECOND, needs);
    end->branch_input = end->from[0] < 0 || (needs[end->from[0]] & SECOND) ? 1 : 0; /* what the other one needs is no branch */
    const uint8_t own = end->branch_input == 0 ? FIRST : SECOND;
    for (int i = 0; i < m->nlayers; i++) {
        adze_layer *l = &m->layers[i];
        if (i < at && needs[i] == own) {
            if (l->branch >= 0 || l->survival < 1) {
                return refuse(m, layer, at, "its branch holds another block that may be skipped; leave one of them out", l->path);
            }
            l->branch = at;
            size++;
        }
        for (int k = 0; k < l->nfrom && i != at && needs[i] != own; k++) {
            if (l->from[k] >= 0 && needs[l->from[k]] == own) {
                return refuse(m, layer, at, "a layer outside its branch reads what is computed inside", l->path);
            }
        }
    }
    return size ? ADZE_OK : refuse(m, layer, at, "both inputs are one value: there is no branch to skip", NULL);
}

int adze_model_find_branches(adze_model *m, int *layer) {
    bool linear = false;
    double last = 1;
    *layer = 0;
    if (!parse_rule(m->drop_path, &linear, &last)) {
        return adze_fail(m->ctx, ADZE_EARG, "drop_path is the share of steps in which a block's branch runs, 0.8, or linear:0.5, not '%s'",
                         m->drop_path);
    }
    apply_rule(m, linear, last);
    uint8_t *needs = adze_alloc(m->ctx, m->nlayers, sizeof *needs);
    int status = ADZE_GOT(needs);
    m->depths = 0;
    for (int i = 0; i < m->nlayers; i++) {
        m->layers[i].branch = -1;
    }
    for (int i = 0; i < m->nlayers && status == ADZE_OK; i++) {
        if (m->layers[i].survival < 1) {
            m->depths++;
            status = find_branch(m, i, needs, layer);
        }
    }
    adze_free(m->ctx, needs);
    return status;
}

int adze_model_set_drop_path(adze_model *m, const char *rule) {
    char before[sizeof m->drop_path];
    int at;
    memcpy(before, m->drop_path, sizeof before);
    if (strlen(rule) >= sizeof m->drop_path) {
        return adze_fail(m->ctx, ADZE_EARG, "drop_path: '%.40s...' is too long", rule);
    }
    strcpy(m->drop_path, rule);
    int status = adze_model_find_branches(m, &at);
    if (status != ADZE_OK) {
        memcpy(m->drop_path, before, sizeof before);
        (void)adze_model_find_branches(m, &at);
        return status;
    }
    return m->depths > 0 || rule[0] == 0 || strcmp(rule, "1") == 0 || strcmp(rule, "linear:1") == 0
               ? ADZE_OK
               : adze_fail(m->ctx, ADZE_EARG, "drop_path: model '%s' has no block, a layer 'add' with two inputs", m->name);
}

/* step NULL: all branches run. */
static int set_depth(const adze_model *m, adze_session *s, uint64_t seed, const uint64_t *step) {
    char region[ADZE_LAYER_NAME + 16];
    for (int i = 0; i < m->nlayers && m->depths > 0; i++) {
        if (m->layers[i].survival < 1) {
            adze_layer_region(&m->layers[i], region, sizeof region);
            adze_rng r = adze_rng_make(seed, adze_hash64(region, strlen(region), step ? *step : 0));
            TRY(adze_session_trips(s, region, !step || adze_rng_uniform(&r) < m->layers[i].survival));
        }
    }
    return ADZE_OK;
}

int adze_model_draw_depth(const adze_model *m, adze_session *s, uint64_t seed, uint64_t step) {
    return set_depth(m, s, seed, &step);
}

int adze_model_all_branches(const adze_model *m, adze_session *s) {
    return set_depth(m, s, 0, NULL);
}
