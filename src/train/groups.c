/* Groups of parameters: factors of the rate and of the decay, and a bound of the norm, by a pattern on names, "*:b:lr=2,decay=0;fc*:maxnorm=2". The
 * first pattern that fits counts; a name is "conv1:w". Kept as text, so that they are an option like any other. */
#include "train/optimizer.h"

#include <math.h>

typedef struct group {
    const char *pattern;
    size_t n;
    double lr, decay, maxnorm; /* < 0: not given */
} group;

/* `*` is any run of characters, `?` any one. */
bool adze_name_fits(const char *pattern, size_t n, const char *name) {
    if (n == 0) {
        return *name == 0;
    }
    if (*pattern == '*') {
        return adze_name_fits(pattern + 1, n - 1, name) || (*name != 0 && adze_name_fits(pattern, n, name + 1));
    }
    return *name != 0 && (*pattern == '?' || *pattern == *name) && adze_name_fits(pattern + 1, n - 1, name + 1);
}

static bool parse_setting(const char *at, size_t n, group *out) {
    char value[40];
    const char *eq = memchr(at, '=', n);
    const size_t key = eq != NULL ? (size_t)(eq - at) : n, len = eq != NULL ? n - key - 1 : 0;
    double *to = NULL;
    to = key == 2 && memcmp(at, "lr", 2) == 0 ? &out->lr : to;
    to = key == 5 && memcmp(at, "decay", 5) == 0 ? &out->decay : to;
    to = key == 7 && memcmp(at, "maxnorm", 7) == 0 ? &out->maxnorm : to;
    if (to == NULL || len == 0 || len >= sizeof value) {
        return false;
    }
    memcpy(value, eq + 1, len);
    value[len] = 0;
    return adze_parse_f64(value, to) && isfinite(*to) && *to >= 0;
}

/* One group, up to `n` bytes: the settings follow the last colon. */
static bool parse_group(const char *at, size_t n, group *out) {
    size_t colon = n;
    while (colon > 0 && at[colon - 1] != ':') {
        colon--;
    }
    *out = (group){.pattern = at, .n = colon > 0 ? colon - 1 : 0, .lr = -1, .decay = -1, .maxnorm = -1};
    if (out->n == 0) {
        return false;
    }
    for (size_t from = colon; from <= n;) {
        const char *comma = memchr(at + from, ',', n - from);
        const size_t to = comma != NULL ? (size_t)(comma - at) : n;
        if (!parse_setting(at + from, to - from, out)) {
            return false;
        }
        from = to + 1;
    }
    return true;
}

/* The group that begins at *at, which moves behind it; false at the end. */
static bool next_group(const char **at, group *out, bool *ok) {
    if (**at == 0) {
        return false;
    }
    const size_t n = strcspn(*at, ";");
    *ok = parse_group(*at, n, out);
    *at += (*at)[n] != 0 ? n + 1 : n;
    return true;
}

int adze_groups_check(adze_ctx *ctx, const char *groups, const char *const *names, int n) {
    group a;
    bool ok;
    for (const char *at = groups, *from = groups; next_group(&at, &a, &ok); from = at) {
        if (!ok) {
            return adze_fail(ctx, ADZE_EARG, "option groups: '%.*s' is not of the form PATTERN:lr=FACTOR,decay=FACTOR,maxnorm=BOUND",
                             (int)strcspn(from, ";"), from);
        }
        bool used = names == NULL;
        for (int i = 0; i < n && !used; i++) {
            used = adze_name_fits(a.pattern, a.n, names[i]);
        }
        if (!used) {
            return adze_fail(ctx, ADZE_EARG, "option groups: no parameter has a name like '%.*s'; '%s' is one", (int)a.n, a.pattern, names[0]);
        }
    }
    return ADZE_OK;
}

/* The first group that fits a name. */
static bool find_group(const char *groups, const char *name, group *out) {
    bool ok;
    for (const char *at = groups; next_group(&at, out, &ok);) {
        if (ok && adze_name_fits(out->pattern, out->n, name)) {
            return true;
        }
    }
    return false;
}

void adze_groups_find(const char *groups, const char *name, bool decays, double *lr, double *decay) {
    group a;
    const bool found = find_group(groups, name, &a);
    *lr = found && a.lr >= 0 ? a.lr : 1;
    *decay = !decays ? 0 : found && a.decay >= 0 ? a.decay : 1;
}

const char *adze_groups_maxnorm(const char *groups, const char *name, double *bound) {
    group a;
    if (!find_group(groups, name, &a) || a.maxnorm < 0) {
        return NULL;
    }
    *bound = a.maxnorm;
    return a.pattern;
}
