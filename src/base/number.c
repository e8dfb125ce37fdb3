/* Numbers as text, without the locale. */
#include "base/base.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* Turns what the locale uses as decimal point (one or more bytes) into '.'; returns the new length. */
static int point_to_dot(char *s, int len) {
    int from = 0;
    while (from < len && (is_digit(s[from]) || s[from] == '-' || s[from] == '+')) {
        from++;
    }
    if (from == len || s[from] == 'e' || s[from] == '.') {
        return len;
    }
    int to = from;
    while (to < len && !is_digit(s[to])) {
        to++;
    }
    s[from] = '.';
    memmove(s + from + 1, s + to, (size_t)(len - to) + 1);
    return len - (to - from) + 1;
}

int adze_print_f64(char *out, size_t n, double v) {
    char s[64];
    int len = 0;
    if (isnan(v)) {
        len = snprintf(s, sizeof s, "nan");
    } else if (isinf(v)) {
        len = snprintf(s, sizeof s, v > 0 ? "inf" : "-inf");
    } else {
        /* DBL_DIG digits always suffice for what was written with as few; below DBL_MIN there is less precision, hence shorter texts. */
        double back;
        int digits = fabs(v) < DBL_MIN ? 1 : DBL_DIG;
        do {
            len = point_to_dot(s, snprintf(s, sizeof s, "%.*g", digits, v));
        } while ((!adze_parse_f64(s, &back) || back != v) && ++digits <= DBL_DECIMAL_DIG);
    }
    if ((size_t)len >= n) {
        return -1;
    }
    memcpy(out, s, (size_t)len + 1);
    return len;
}

typedef struct decimal { /* what the syntax check found */
    uint64_t digits;     /* value of the first 18 digits */
    int ndigits;         /* significant digits seen */
    int64_t exponent;    /* of ten, for the last digit counted */
    const char *point;   /* NULL: none */
} decimal;

/* [+-] digits [. digits] [e [+-] digits], at least one digit before the exponent; the whole string. */
static bool scan(const char *s, decimal *d) {
    *d = (decimal){0};
    bool any = false;
    s += *s == '-' || *s == '+';
    for (; is_digit(*s) || (*s == '.' && !d->point); s++) {
        if (*s == '.') {
            d->point = s;
            continue;
        }
        any = true;
        if (d->ndigits || *s != '0') {
            d->ndigits++;
        }
        if (d->ndigits <= 18) {
            d->digits = d->digits * 10 + (uint64_t)(*s - '0');
            d->exponent -= d->point != NULL;
        } else {
            d->exponent += d->point == NULL;
        }
    }
    if (!any) {
        return false;
    }
    if (*s == 'e' || *s == 'E') {
        s++;
        bool minus = *s == '-';
        s += *s == '-' || *s == '+';
        if (!is_digit(*s)) {
            return false;
        }
        int64_t e = 0;
        for (; is_digit(*s); s++) {
            e = e < 100000 ? e * 10 + (*s - '0') : e;
        }
        d->exponent += minus ? -e : e;
    }
    return *s == 0;
}

/* strtod with the locale's decimal point put in place of ours; that point is asked of snprintf, which is safe among threads. */
static bool by_strtod(const char *s, const char *point, double *out) {
    enum { LONGEST = 1100 }; /* 767 significant digits decide every double; longer texts are not numbers that a person or program writes */
    char buf[LONGEST + 16], half[16];
    size_t len = strlen(s);
    if (len > LONGEST) {
        return false;
    }
    if (point) {
        int n = snprintf(half, sizeof half, "%.1f", 0.5) - 2;
        if (n < 1 || n > 8) {
            return false;
        }
        size_t head = (size_t)(point - s);
        memcpy(buf, s, head);
        memcpy(buf + head, half + 1, (size_t)n);
        strcpy(buf + head + (size_t)n, point + 1);
    } else {
        memcpy(buf, s, len + 1);
    }
    char *end;
    double v = strtod(buf, &end);
    if (*end || !isfinite(v)) {
        return false;
    }
    *out = v;
    return true;
}

bool adze_parse_f64(const char *s, double *out) {
    static const double TENS[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                  1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    decimal d;
    bool minus = *s == '-';
    const char *word = s + (*s == '-' || *s == '+');
    if (strcmp(word, "inf") == 0) {
        *out = minus ? -INFINITY : INFINITY;
        return true;
    }
    if (strcmp(s, "nan") == 0) {
        *out = NAN;
        return true;
    }
    if (!scan(s, &d)) {
        return false;
    }
    /* Both factors are exact doubles, so one rounding gives the correct result. */
    if (d.ndigits <= 18 && d.digits < (UINT64_C(1) << 53) && d.exponent >= -22 && d.exponent <= 22) {
        double v = d.exponent < 0 ? (double)d.digits / TENS[-d.exponent] : (double)d.digits * TENS[d.exponent];
        *out = minus ? -v : v;
        return true;
    }
    return by_strtod(s, d.point, out);
}

bool adze_parse_u64(const char *s, uint64_t *out) {
    uint64_t v = 0;
    s += *s == '+';
    if (!is_digit(*s)) {
        return false;
    }
    for (; is_digit(*s); s++) {
        uint64_t digit = (uint64_t)(*s - '0');
        if (v > (UINT64_MAX - digit) / 10) {
            return false;
        }
        v = v * 10 + digit;
    }
    if (*s) {
        return false;
    }
    *out = v;
    return true;
}

bool adze_parse_i64(const char *s, int64_t *out) {
    bool minus = *s == '-';
    uint64_t v;
    if (minus && !is_digit(s[1])) {
        return false;
    }
    if (!adze_parse_u64(s + minus, &v) || v > (uint64_t)INT64_MAX + minus) {
        return false;
    }
    *out = minus ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}
