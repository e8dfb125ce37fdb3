/* Repeats unrolled and branches resolved: from layers as written to the numbered list that is built. */
#include "model/layer.h"

#include <stdio.h>

typedef struct entry { /* a name that a later layer may use */
    const char *name;
    uint64_t hash; /* of the name: files with thousands of layers stay quick */
    int layer;
} entry;

typedef struct unroller {
    adze_model *m;
    adze_faults *faults;
    entry *names; /* innermost list last */
    int nnames, cap_names;
    int status;
    bool full;
} unroller;

static void declare(unroller *u, const char *name, int layer) {
    if (u->nnames == u->cap_names) {
        int cap = u->cap_names ? 2 * u->cap_names : 64;
        entry *names = adze_resize(u->m->ctx, u->names, u->cap_names, cap, sizeof *names);
        if (!names) {
            u->status = ADZE_ENOMEM;
            return;
        }
        u->names = names;
        u->cap_names = cap;
    }
    u->names[u->nnames++] = (entry){name, adze_hash_str(name), layer};
}

static bool find(const unroller *u, const char *name, int *layer) {
    uint64_t hash = adze_hash_str(name);
    for (int i = u->nnames - 1; i >= 0; i--) {
        if (u->names[i].hash == hash && strcmp(u->names[i].name, name) == 0) {
            *layer = u->names[i].layer;
            return true;
        }
    }
    return false;
}

static void resolve(unroller *u, const adze_spec *s, adze_layer *l, int previous, bool quiet) {
    l->nfrom = s->nfrom ? s->nfrom : 1;
    l->from[0] = previous;
    for (int i = 0; i < s->nfrom; i++) {
        if (find(u, s->from[i], &l->from[i]) || quiet || u->faults->count > ADZE_MAX_FAULTS) {
            continue;
        }
        const char *near = adze_suggest(s->from[i], &u->names[0].name, (size_t)u->nnames, sizeof u->names[0]);
        adze_fault(u->faults, s->tree, "layer '%s' takes its input from '%.64s', which is no layer before it%s%s%s", s->name, s->from[i],
                   near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    }
}

static int append(unroller *u, const adze_spec *s, const char *prefix, int previous, bool quiet) {
    adze_model *m = u->m;
    if (m->nlayers == ADZE_MODEL_MAX_LAYERS) {
        if (!u->full) {
            adze_fault(u->faults, s->tree, "the repeats make more than %d layers", ADZE_MODEL_MAX_LAYERS);
        }
        u->full = true;
        return previous;
    }
    if (m->nlayers == m->cap_layers) {
        int cap = m->cap_layers ? 2 * m->cap_layers : 16;
        adze_layer *layers = adze_resize(m->ctx, m->layers, m->cap_layers, cap, sizeof *layers);
        if (!layers) {
            u->status = ADZE_ENOMEM;
            return previous;
        }
        m->layers = layers;
        m->cap_layers = cap;
    }
    adze_layer *l = &m->layers[m->nlayers];
    *l = (adze_layer){.spec = s, .line = s->tree ? s->tree->line : 0, .col = s->tree ? s->tree->col : 0};
    int len = snprintf(l->path, sizeof l->path, "%s%s", prefix, s->name);
    if (len >= (int)sizeof l->path && !quiet) {
        adze_fault(u->faults, s->tree, "the layer's full name '%s%s' is longer than %d characters", prefix, s->name, ADZE_LAYER_NAME - 1);
    }
    resolve(u, s, l, previous, quiet);
    return m->nlayers++;
}

/* Appends a list of layers; returns the number of its last one. */
static int unroll(unroller *u, const adze_spec *list, const char *prefix, int previous, bool quiet) {
    int mark = u->nnames;
    declare(u, "input", previous);
    for (const adze_spec *s = list; s && u->status == ADZE_OK && !u->full; s = s->next) {
        if (s->kind) {
            previous = append(u, s, prefix, previous, quiet);
        } else {
            for (int64_t i = 1; i <= s->times && u->status == ADZE_OK && !u->full; i++) {
                char inner[4 * ADZE_LAYER_NAME];
                snprintf(inner, sizeof inner, "%s%s/%lld/", prefix, s->name, (long long)i);
                previous = unroll(u, s->child, inner, previous, quiet || i > 1);
            }
        }
        declare(u, s->name, previous);
    }
    u->nnames = mark;
    return previous;
}

/* A layer whose output goes nowhere is a mistake in the file. */
static int check_used(unroller *u) {
    adze_model *m = u->m;
    bool *used = adze_alloc(m->ctx, m->nlayers + 1, sizeof *used);
    TRY(ADZE_GOT(used));
    used[m->nlayers] = true;
    for (int i = 0; i < m->nlayers; i++) {
        for (int k = 0; k < m->layers[i].nfrom; k++) {
            used[m->layers[i].from[k] + 1] = true;
        }
    }
    for (int i = 0; i < m->nlayers; i++) {
        if (!used[i + 1]) {
            adze_fault(u->faults, m->layers[i].spec->tree, "nothing uses the output of layer '%s'; name it in a 'from', or take it out",
                       m->layers[i].path);
        }
    }
    adze_free(m->ctx, used);
    return ADZE_OK;
}

int adze_model_unroll(adze_model *m, adze_faults *faults) {
    unroller u = {.m = m, .faults = faults};
    unroll(&u, m->specs, "", -1, false);
    if (u.status == ADZE_OK && !faults->count) {
        u.status = check_used(&u);
    }
    adze_free(m->ctx, u.names);
    return u.status;
}
