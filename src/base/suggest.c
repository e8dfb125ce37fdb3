/* "Did you mean": the nearest of some names by the Damerau-Levenshtein distance (optimal string alignment).
 *
 * Where several names are equally near, the likelier slip decides. A name of n letters has n ways to lose a letter and n - 1 to swap two, but 25 n
 * to have one wrong and 26 (n + 1) to gain one: so a lost or swapped letter explains a word best, then a wrong one, then one too many. */
#include "base/base.h"

enum { LONGEST = 96 }; /* longer words are not misspelt names */

static char fold(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c == '-' ? '_' : c;
}

static int min2(int a, int b) {
    return a < b ? a : b;
}

static int distance(const char *a, int na, const char *b, int nb) {
    int rows[3][LONGEST + 1];
    int *before = rows[0], *last = rows[1], *now = rows[2];
    for (int j = 0; j <= nb; j++) {
        last[j] = j;
        before[j] = 0;
    }
    for (int i = 1; i <= na; i++) {
        now[0] = i;
        for (int j = 1; j <= nb; j++) {
            bool same = fold(a[i - 1]) == fold(b[j - 1]);
            now[j] = min2(last[j - 1] + !same, min2(last[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && fold(a[i - 1]) == fold(b[j - 2]) && fold(a[i - 2]) == fold(b[j - 1])) {
                now[j] = min2(now[j], before[j - 2] + 1);
            }
        }
        int *held = before;
        before = last;
        last = now;
        now = held;
    }
    return last[nb];
}

static bool same_letters(const char *a, const char *b, int n) {
    int count[256] = {0};
    for (int i = 0; i < n; i++) {
        count[(unsigned char)fold(a[i])]++;
        count[(unsigned char)fold(b[i])]--;
    }
    for (int i = 0; i < 256; i++) {
        if (count[i]) {
            return false;
        }
    }
    return true;
}

/* Smaller is likelier, among names at the same distance. */
static int slip(const char *word, int n, const char *name, int m) {
    int kind = m > n ? 1 : m == n ? (same_letters(word, name, n) ? 0 : 2) : 3;
    int case_differs = 0;
    for (int i = 0; i < n && i < m; i++) {
        case_differs |= word[i] != name[i] && fold(word[i]) == fold(name[i]);
    }
    return kind * 8 + (fold(word[0]) != fold(name[0])) * 4 + (fold(word[n - 1]) != fold(name[m - 1])) * 2 + case_differs;
}

const char *adze_suggest(const char *word, const void *names, size_t count, size_t stride) {
    size_t length = strlen(word);
    if (length == 0 || length > LONGEST) {
        return NULL;
    }
    const char *best = NULL;
    int n = (int)length, best_distance = 0, best_slip = 0;
    for (size_t i = 0; i < count; i++) {
        const char *name;
        memcpy(&name, (const char *)names + i * stride, sizeof name);
        if (!name || !*name || strlen(name) > LONGEST) {
            continue;
        }
        int m = (int)strlen(name), longer = n > m ? n : m, allowed = longer / 3 > 1 ? longer / 3 : 1;
        int d = distance(word, n, name, m), s = slip(word, n, name, m);
        if (d <= allowed && d < longer && (!best || d < best_distance || (d == best_distance && s < best_slip))) {
            best = name;
            best_distance = d;
            best_slip = s;
        }
    }
    return best;
}
