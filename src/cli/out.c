/* Output for people and for programs: human counts, terminal facts, checked writes. */
#include "cli/cli.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

bool cli_is_tty(FILE *f) {
    const char *term = getenv("TERM");
    return isatty(fileno(f)) && !(term && strcmp(term, "dumb") == 0);
}

int cli_width(void) {
    const char *columns = getenv("COLUMNS");
    int64_t v;
    if (columns && adze_parse_i64(columns, &v) && v >= 20 && v <= 1000) {
        return (int)v;
    }
    struct winsize w;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col >= 20 ? w.ws_col : 80;
}

const char *cli_count(char *out, size_t n, double v) {
    const char *unit[] = {"", " K", " M", " G", " T"};
    int k = 0;
    while (v >= 999.5 && k < 4) {
        v /= 1000;
        k++;
    }
    if (k == 0 || v >= 99.95) {
        snprintf(out, n, "%.0f%s", v, unit[k]);
    } else {
        snprintf(out, n, "%.1f%s", v, unit[k]);
    }
    return out;
}

const char *cli_bytes(char *out, size_t n, double bytes) {
    const char *unit[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    int k = 0;
    while (bytes >= 1000 && k < 4) {
        bytes /= 1024;
        k++;
    }
    snprintf(out, n, k == 0 ? "%.0f %s" : bytes < 10 ? "%.2f %s" : bytes < 100 ? "%.1f %s" : "%.0f %s", bytes, unit[k]);
    return out;
}

int cli_finish_output(cli *c) {
    if (fflush(stdout) != 0 || ferror(stdout)) {
        return adze_fail_errno(c->ctx, errno, "write", "standard output");
    }
    return ADZE_OK;
}

int cli_print_text(cli *c, adze_text *t) {
    char *s;
    TRY(adze_text_finish(t, &s));
    fputs(s, stdout);
    adze_free(c->ctx, s);
    return cli_finish_output(c);
}

void cli_wrap(adze_text *t, int *at, int left, const char *text) {
    while (*text) {
        const int n = (int)strcspn(text, " ");
        if (*at > left && *at + 1 + n > CLI_COLUMNS) {
            adze_text_add(t, "\n%*s", left, "");
            *at = left;
        } else if (*at > left) {
            adze_text_add(t, " ");
            ++*at;
        }
        adze_text_put(t, text, (size_t)n);
        *at += n;
        text += (size_t)n + strspn(text + n, " ");
    }
}

void cli_fold(adze_text *t, const char *text) {
    for (const char *end; *text; text = *end ? end + 1 : end) {
        end = text + strcspn(text, "\n");
        while (end - text > CLI_COLUMNS) {
            const char *cut = text + CLI_COLUMNS;
            while (cut > text + CLI_COLUMNS / 2 && *cut != ' ') {
                cut--;
            }
            if (*cut != ' ') {
                break; /* a word that long stays whole */
            }
            const char *rest = cut + strspn(cut, " ");
            while (cut > text && cut[-1] == ' ') {
                cut--;
            }
            adze_text_put(t, text, (size_t)(cut - text));
            adze_text_add(t, "\n      ");
            text = rest;
        }
        adze_text_put(t, text, (size_t)(end - text));
        adze_text_put(t, "\n", *end ? 1 : 0);
    }
}

const char *cli_json_number(char *out, size_t n, double v) {
    if (!isfinite(v) || adze_print_f64(out, n, v) < 0) {
        snprintf(out, n, "null");
    }
    return out;
}

void cli_json_type(adze_text *t, const adze_type *type) {
    adze_text_add(t, "[");
    for (int i = 0; i < type->rank; i++) {
        adze_text_add(t, "%s%lld", i ? "," : "", (long long)type->dims[i]);
    }
    adze_text_add(t, "]");
}
