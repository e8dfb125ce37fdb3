/* adze doctor: what this machine offers and whether it can be relied on: processor, threads, memory, disk, data sets. */
#include "cli/cli.h"

#include <locale.h>
#include <sys/sysinfo.h>
#include <unistd.h>

typedef struct finding {
    const char *what;
    char value[256];
    bool ok, absent; /* absent: not there, which is no fault */
} finding;

static void check_processor(cli *c, finding *f) {
    *f = (finding){.what = "processor", .ok = true};
    snprintf(f->value, sizeof(f->value), "instruction sets up to %s, using %s", adze_isa_name(adze_isa_best()), adze_ctx_isa(c->ctx));
}

static void check_threads(cli *c, finding *f) {
    *f = (finding){.what = "threads", .ok = true};
    snprintf(f->value, sizeof(f->value), "%d used, %ld processors online", adze_ctx_threads(c->ctx), sysconf(_SC_NPROCESSORS_ONLN));
}

static void check_memory(finding *f) {
    *f = (finding){.what = "memory"};
    struct sysinfo si;
    char a[32], b[32];
    if (sysinfo(&si) == 0) {
        f->ok = true;
        snprintf(f->value, sizeof(f->value), "%s, %s free", cli_bytes(a, sizeof(a), (double)si.totalram * si.mem_unit),
                 cli_bytes(b, sizeof(b), (double)(si.freeram + si.bufferram) * si.mem_unit));
    } else {
        snprintf(f->value, sizeof(f->value), "unknown");
    }
}

/* Writes, syncs and reads back a small file where runs would go. */
static void check_disk(cli *c, finding *f) {
    *f = (finding){.what = "disk"};
    char path[64];
    snprintf(path, sizeof(path), "adze-doctor-%ld.tmp", (long)getpid());
    static const char text[] = "adze";
    adze_piece piece = {text, sizeof(text)};
    double start = adze_now();
    int status = adze_replace_file(c->ctx, path, &piece, 1);
    double seconds = adze_now() - start;
    void *bytes = NULL;
    int64_t n = 0;
    if (status == ADZE_OK) {
        status = adze_read_file(c->ctx, path, sizeof(text), &bytes, &n);
        unlink(path);
    }
    f->ok = status == ADZE_OK && n == (int64_t)sizeof(text) && memcmp(bytes, text, sizeof(text)) == 0;
    if (f->ok) {
        snprintf(f->value, sizeof(f->value), "durable write here takes %.1f ms", 1000 * seconds);
    } else {
        snprintf(f->value, sizeof(f->value), "%s", status == ADZE_OK ? "a file read back differs from what was written" : adze_errmsg(c->ctx));
    }
    adze_free(c->ctx, bytes);
    adze_err_clear(c->ctx);
}

static void check_locale(finding *f) {
    *f = (finding){.what = "locale", .ok = true};
    setlocale(LC_ALL, "");
    double v;
    char text[32];
    adze_print_f64(text, sizeof(text), 0.5);
    f->ok = strcmp(text, "0.5") == 0 && adze_parse_f64("0.5", &v) && v == 0.5;
    snprintf(f->value, sizeof(f->value), "%s: numbers are read and written %s", setlocale(LC_NUMERIC, NULL), f->ok ? "with a point" : "WRONGLY");
    setlocale(LC_ALL, "C");
}

static int check_data(cli *c, finding *f, int max) {
    int n = 0;
    const char *name, *doc;
    for (int i = 0; n < max && adze_dataset_known(i, &name, &doc) == ADZE_OK; i++, n++) {
        f[n] = (finding){.what = name, .ok = true};
        adze_dataset *d = NULL;
        if (adze_dataset_open(c->ctx, name, "test", &d) == ADZE_OK) {
            snprintf(f[n].value, sizeof(f[n].value), "data set found, %lld test examples", (long long)d->count);
        } else {
            f[n].absent = true;
            snprintf(f[n].value, sizeof(f[n].value), "data set not found (set ADZE_DATA to the folder that holds it)");
        }
        adze_dataset_close(d);
        adze_err_clear(c->ctx);
    }
    return n;
}

static int doctor(cli *c) {
    finding f[24];
    int n = 0;
    check_processor(c, &f[n++]);
    check_threads(c, &f[n++]);
    check_memory(&f[n++]);
    check_disk(c, &f[n++]);
    check_locale(&f[n++]);
    n += check_data(c, f + n, (int)ADZE_COUNT(f) - n);
    adze_text t = {.ctx = c->ctx};
    bool ok = true;
    adze_text_add(&t, "%s", c->global.json ? "{\"schema\":1,\"checks\":[" : "");
    for (int i = 0; i < n; i++) {
        ok = ok && f[i].ok;
        if (c->global.json) {
            adze_text_add(&t, "%s{\"name\":\"%s\",\"ok\":%s,\"value\":", i ? "," : "", f[i].what, f[i].ok ? "true" : "false");
            adze_json_string(&t, f[i].value);
            adze_text_add(&t, "}");
        } else {
            adze_text_add(&t, "%-4s %-14s %s\n", !f[i].ok ? "BAD" : f[i].absent ? "--" : "ok", f[i].what, f[i].value);
        }
    }
    adze_text_add(&t, "%s", c->global.json ? "]}\n" : "");
    TRY(cli_print_text(c, &t));
    return ok ? ADZE_OK : adze_fail(c->ctx, ADZE_EDEVICE, "this machine has a fault (above)");
}

static int run(cli *c, int argc, const char **argv) {
    cli_args a = {0};
    int status = cli_parse(c, &a, argc, argv, 0, 0);
    if (status == ADZE_OK && c->global.help) {
        cli_help(c->cmd, stdout);
    } else if (status == ADZE_OK) {
        status = doctor(c);
    }
    cli_args_free(c, &a);
    return status;
}

const cli_cmd CLI_DOCTOR = {"doctor",
                            "what this machine offers, and whether it can be relied on",
                            "doctor [options]",
                            "  adze doctor\n  adze doctor --json\n  ADZE_DATA=/data adze doctor\n",
                            NULL,
                            run};
