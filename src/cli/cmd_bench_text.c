/* Problem strings of `adze bench`: letters and a number, again and again ("mb128ic16"), then options after commas. */
#include "cli/bench.h"

#include <ctype.h>
#include <stdlib.h>

static const bench_key *find_key(const bench_key *keys, int n, const char *name, size_t len) {
    for (int i = 0; i < n; i++) {
        if (strlen(keys[i].name) == len && memcmp(keys[i].name, name, len) == 0) {
            return &keys[i];
        }
    }
    return NULL;
}

/* "tatb": flags stand side by side without numbers, so the letters of a run are cut where a flag ends. */
static const bench_key *leading_flag(const bench_key *keys, int n, const char *name, size_t len) {
    for (int i = 0; i < n; i++) {
        const size_t m = strlen(keys[i].name);
        if (keys[i].flag && m <= len && memcmp(keys[i].name, name, m) == 0) {
            return &keys[i];
        }
    }
    return NULL;
}

static int no_such_key(cli *c, const char *text, const bench_key *keys, int n, const char *name, size_t len) {
    char known[128] = "";
    size_t at = 0;
    for (int i = 0; i < n && at < sizeof(known); i++) {
        at += (size_t)snprintf(known + at, sizeof(known) - at, "%s%s", i ? ", " : "", keys[i].name);
    }
    return cli_usage_error(c, "'%s': '%.*s' is no part of a problem; there are: %s", text, (int)(len < 24 ? len : 24), name, known);
}

int bench_keys(cli *c, const char *text, const bench_key *keys, int n, const char **rest) {
    const char *s = text;
    while (*s && *s != ',') {
        size_t len = 0;
        while (isalpha((unsigned char)s[len])) {
            len++;
        }
        const bool number = isdigit((unsigned char)s[len]) != 0;
        const bench_key *k = number ? find_key(keys, n, s, len) : NULL;
        const bench_key *flag = k && k->value ? NULL : leading_flag(keys, n, s, len);
        if (flag) {
            *flag->flag = true;
            s += strlen(flag->name);
            continue;
        }
        if (!k || !k->value) {
            return no_such_key(c, text, keys, n, s, len ? len : 1);
        }
        char *end;
        *k->value = strtoll(s + len, &end, 10);
        if (*k->value < 0 || *k->value > INT64_C(1) << 31) {
            return cli_usage_error(c, "'%s': %s is at most 2147483648", text, k->name);
        }
        s = end;
    }
    *rest = s;
    return ADZE_OK;
}

bool bench_option(const char **rest, char *name, size_t n, char *value, size_t m) {
    const char *s = *rest;
    if (*s != ',') {
        return false;
    }
    s++;
    const size_t len = strcspn(s, ",");
    const char *eq = memchr(s, '=', len);
    const size_t left = eq ? (size_t)(eq - s) : len, right = eq ? len - left - 1 : 0;
    snprintf(name, n, "%.*s", (int)left, s);
    snprintf(value, m, "%.*s", (int)right, eq ? eq + 1 : "");
    *rest = s + len;
    return true;
}

int bench_dtype(cli *c, const char *text, adze_dtype *d) {
    const adze_dtype found = adze_dtype_parse(text);
    if (found == ADZE_NONE) {
        return cli_usage_error(c, "'%s' is no dtype; f32, bf16, f64 and i8 are", text);
    }
    *d = found;
    return ADZE_OK;
}

probe_math bench_math(adze_dtype d) {
    return d == ADZE_F64 ? PROBE_F64 : d == ADZE_BF16 ? PROBE_BF16 : d == ADZE_I8 || d == ADZE_U8 ? PROBE_I8 : PROBE_F32;
}
