/* A growing string; the first failure sticks, so that a writer checks once, at the end. */
#include "base/base.h"

#include <stdio.h>

static bool room(adze_text *t, size_t n) {
    if (t->failed || n > INT64_MAX / 4 - (size_t)t->len) {
        t->failed = true;
        return false;
    }
    int64_t need = t->len + (int64_t)n + 1;
    if (need > t->cap) {
        int64_t cap = t->cap * 2 > need ? t->cap * 2 : need + 64;
        char *s = adze_resize(t->ctx, t->s, t->cap, cap, 1);
        if (!s) {
            t->failed = true;
            return false;
        }
        t->s = s;
        t->cap = cap;
    }
    return true;
}

void adze_text_put(adze_text *t, const char *s, size_t n) {
    if (n && room(t, n)) {
        memcpy(t->s + t->len, s, n);
        t->len += (int64_t)n;
        t->s[t->len] = 0;
    }
}

void adze_text_add(adze_text *t, const char *fmt, ...) {
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    if (n < 0) {
        t->failed = true;
    } else if (n > 0 && room(t, (size_t)n)) {
        vsnprintf(t->s + t->len, (size_t)n + 1, fmt, again);
        t->len += n;
    }
    va_end(again);
    va_end(args);
}

int adze_text_finish(adze_text *t, char **out) {
    *out = NULL;
    if (!room(t, 0)) {
        adze_text_drop(t);
        return adze_errcode(t->ctx) == ADZE_ENOMEM ? ADZE_ENOMEM : adze_fail(t->ctx, ADZE_ENOMEM, "out of memory: a text has become too long");
    }
    *out = t->s;
    t->s = NULL;
    t->len = t->cap = 0;
    return ADZE_OK;
}

void adze_text_drop(adze_text *t) {
    adze_free(t->ctx, t->s);
    t->s = NULL;
    t->len = t->cap = 0;
    t->failed = false;
}
