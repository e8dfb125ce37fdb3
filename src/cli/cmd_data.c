/* adze data: what is in a data set, whether it is sound, and a sheet of its pictures. */
#include "cli/data_opts.h"

#include <math.h>
#include <stdlib.h>

static const adze_field FIELDS[] = {
    {"part", ADZE_F_STR, 0, offsetof(data_opts, part), sizeof(((data_opts *)0)->part), "train", 0, 0, NULL, "train or test (check looks at both)"},
    {"out", ADZE_F_STR, 0, offsetof(data_opts, out), sizeof(((data_opts *)0)->out), "sheet.png", 0, 0, NULL,
     "show and augment: the PNG file to write"},
    {"columns", ADZE_F_I64, 0, offsetof(data_opts, columns), 0, "20", 1, 100, NULL,
     "show: pictures of each class; augment: pictures of each example, the first unchanged"},
    {"index", ADZE_F_I64, 0, offsetof(data_opts, index), 0, "0", 0, 1e15, NULL, "picture: which example; augment: the first one"},
    {"augment", ADZE_F_STR, 0, offsetof(data_opts, augment), sizeof(((data_opts *)0)->augment), "", 0, 0, NULL,
     "augment: as in train, say hflip,crop:pad=4"},
    {"rows", ADZE_F_I64, 0, offsetof(data_opts, rows), 0, "8", 1, 1000, NULL, "augment: examples"},
    {"zoom", ADZE_F_I64, 0, offsetof(data_opts, zoom), 0, "1", 1, 16, NULL, "show, augment: pixels are drawn so large"},
    {"against", ADZE_F_STR, 0, offsetof(data_opts, against), sizeof(((data_opts *)0)->against), "", 0, 0, NULL,
     "shift: the data set to compare with; default: the same one"},
    {"against_part", ADZE_F_STR, 0, offsetof(data_opts, against_part), sizeof(((data_opts *)0)->against_part), "test", 0, 0, NULL, "shift: its part"},
    {"examples", ADZE_F_I64, 0, offsetof(data_opts, examples), 0, "500", 2, 5000, NULL, "shift: drawn at random from each side"},
    {"permutations", ADZE_F_I64, 0, offsetof(data_opts, permutations), 0, "199", 19, 100000, NULL, "shift: for the chance of the discrepancy"},
    {"seed", ADZE_F_U64, 0, offsetof(data_opts, seed), 0, "1", 0, 0, NULL, "augment: as in train; shift: of the draw"},
    {"time", ADZE_F_BOOL, 0, offsetof(data_opts, time), 0, "false", 0, 0, NULL, "augment: pictures a second instead of a sheet"},
    {0}};

static int tables(cli_table *t) {
    t[0] = (cli_table){FIELDS, NULL, NULL};
    return 1;
}

typedef struct census { /* what one pass over a part finds */
    int64_t counts[256], bad_labels, duplicates;
    double mean, sd;
    uint64_t *hashes; /* of the examples, sorted after the pass; also to find those in both parts */
    int64_t n;
} census;

static int compare_u64(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static int take_census(cli *c, const adze_dataset *d, census *out) {
    *out = (census){.n = d->count};
    int64_t size = adze_type_bytes(&d->example);
    uint8_t *x = adze_alloc(c->ctx, size, 1);
    out->hashes = adze_alloc(c->ctx, d->count, sizeof(*out->hashes));
    int status = x && out->hashes ? ADZE_OK : ADZE_ENOMEM;
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < d->count && status == ADZE_OK; i++) {
        int64_t label = -1;
        status = d->read(d, i, x, &label);
        if (label >= 0 && label < d->classes && label < 256) {
            out->counts[label]++;
        } else {
            out->bad_labels++;
        }
        out->hashes[i] = adze_hash64(x, (size_t)size, 0);
        int64_t s = 0, q = 0;
        for (int64_t k = 0; k < size; k++) {
            s += x[k];
            q += x[k] * x[k];
        }
        sum += (double)s;
        squares += (double)q;
    }
    adze_free(c->ctx, x);
    if (status != ADZE_OK) {
        return adze_errcode(c->ctx) == ADZE_OK ? adze_fail(c->ctx, status, "an example of '%s' cannot be read", d->name) : status;
    }
    double n = (double)d->count * (double)size;
    out->mean = n > 0 ? sum / n : 0;
    out->sd = n > 0 ? sqrt(squares / n - out->mean * out->mean) : 0;
    qsort(out->hashes, (size_t)d->count, sizeof(*out->hashes), compare_u64);
    for (int64_t i = 1; i < d->count; i++) {
        out->duplicates += out->hashes[i] == out->hashes[i - 1];
    }
    return ADZE_OK;
}

static int64_t shared_examples(const census *a, const census *b) {
    int64_t i = 0, k = 0, n = 0;
    while (i < a->n && k < b->n) {
        if (a->hashes[i] == b->hashes[k]) {
            n++;
            k++;
        } else if (a->hashes[i] < b->hashes[k]) {
            i++;
        } else {
            k++;
        }
    }
    return n;
}

/* A class's name, or its number. */
static const char *class_name(const adze_dataset *d, int64_t k, char number[32]) {
    snprintf(number, 32, "%lld", (long long)k);
    return d->class_names && k >= 0 && k < d->classes ? d->class_names[k] : number;
}

static void describe(cli *c, adze_text *t, const adze_dataset *d, const char *part, const census *s) {
    if (c->global.json) {
        adze_text_add(t, "{\"part\":\"%s\",\"examples\":%lld,\"shape\":", part, (long long)d->count);
        cli_json_type(t, &d->example);
        adze_text_add(t, ",\"mean\":%.4f,\"sd\":%.4f,\"duplicates\":%lld,\"bad_labels\":%lld,\"fingerprint\":\"%016llx%016llx\",\"counts\":[",
                      s->mean, s->sd, (long long)s->duplicates, (long long)s->bad_labels, (unsigned long long)d->fingerprint[1],
                      (unsigned long long)d->fingerprint[0]);
        for (int k = 0; k < d->classes && k < 256; k++) {
            adze_text_add(t, "%s%lld", k ? "," : "", (long long)s->counts[k]);
        }
        adze_text_add(t, "]}");
        return;
    }
    char shape[96];
    adze_text_add(t, "%s %s: %lld examples, %s, mean %.2f, deviation %.2f, %lld duplicates\n", d->name, part, (long long)d->count,
                  adze_type_print(&d->example, shape, sizeof(shape)), s->mean, s->sd, (long long)s->duplicates);
    for (int k = 0; k < d->classes && k < 256; k++) {
        char name[32];
        adze_text_add(t, "  %-14s %7lld\n", class_name(d, k, name), (long long)s->counts[k]);
    }
    adze_text_add(t, "  fingerprint %016llx%016llx\n", (unsigned long long)d->fingerprint[1], (unsigned long long)d->fingerprint[0]);
}

static int info(cli *c, const char *name, const data_opts *o) {
    adze_dataset *d;
    TRY(adze_dataset_open(c->ctx, name, o->part, &d));
    census s = {0};
    int status = take_census(c, d, &s);
    if (status == ADZE_OK) {
        adze_text t = {.ctx = c->ctx};
        describe(c, &t, d, o->part, &s);
        adze_text_add(&t, "%s", c->global.json ? "\n" : "");
        status = cli_print_text(c, &t);
    }
    adze_free(c->ctx, s.hashes);
    adze_dataset_close(d);
    return status;
}

/* Both parts: labels in range, every class present, nothing of the test part among the training examples. */
static int check(cli *c, const char *name, const data_opts *o) {
    (void)o;
    static const char *const parts[2] = {"train", "test"};
    adze_dataset *d[2] = {NULL, NULL};
    census s[2];
    memset(s, 0, sizeof(s));
    int status = ADZE_OK, faults = 0;
    for (int p = 0; p < 2 && status == ADZE_OK; p++) {
        status = adze_dataset_open(c->ctx, name, parts[p], &d[p]);
        if (status == ADZE_OK) {
            status = take_census(c, d[p], &s[p]);
        }
    }
    if (status == ADZE_OK) {
        adze_text t = {.ctx = c->ctx};
        int64_t leak = shared_examples(&s[0], &s[1]);
        adze_text_add(&t, "%s", c->global.json ? "{\"schema\":1,\"parts\":[" : "");
        for (int p = 0; p < 2; p++) {
            describe(c, &t, d[p], parts[p], &s[p]);
            adze_text_add(&t, "%s", c->global.json && p == 0 ? "," : "");
            faults += s[p].bad_labels > 0;
            for (int k = 0; k < d[p]->classes && k < 256; k++) {
                faults += s[p].counts[k] == 0;
            }
        }
        adze_text_add(&t, c->global.json ? "],\"shared\":%lld,\"faults\":%d}\n" : "test examples that are training examples too: %lld\nfaults: %d\n",
                      (long long)leak, faults);
        status = cli_print_text(c, &t);
    }
    for (int p = 0; p < 2; p++) {
        adze_free(c->ctx, s[p].hashes);
        adze_dataset_close(d[p]);
    }
    if (status == ADZE_OK && faults) {
        return adze_fail(c->ctx, ADZE_EFORMAT, "data set '%s' has %d faults (labels out of range, or classes without examples)", name, faults);
    }
    return status;
}

int cli_write_png(cli *c, const char *path, adze_tensor image) {
    const char *dot = strrchr(path, '.');
    return dot && strcmp(dot, ".png") == 0 ? adze_png_write(c->ctx, path, image)
                                           : cli_usage_error(c, "--out '%s': the picture is a PNG, so its name ends in .png", path);
}

/* One example as a PNG, for `adze predict`. */
static int picture(cli *c, const char *name, const data_opts *o) {
    adze_dataset *d;
    TRY(adze_dataset_open(c->ctx, name, o->part, &d));
    uint8_t *x = adze_alloc(c->ctx, adze_type_bytes(&d->example), 1);
    int64_t label = -1;
    int status = x ? ADZE_OK : ADZE_ENOMEM;
    if (status == ADZE_OK && o->index >= d->count) {
        status = cli_usage_error(c, "--index %lld: the %s part has %lld examples", (long long)o->index, o->part, (long long)d->count);
    }
    if (status == ADZE_OK) {
        status = d->read(d, o->index, x, &label);
    }
    if (status == ADZE_OK) {
        adze_tensor image;
        const adze_type *e = &d->example;
        const int64_t dims[3] = {e->dims[0], e->rank > 1 ? e->dims[1] : 1, e->rank > 2 ? e->dims[2] : 1};
        status = adze_tensor_wrap(c->ctx, adze_type_make(ADZE_U8, 3, dims), x, &image);
        if (status == ADZE_OK) {
            status = cli_write_png(c, o->out, image);
            adze_tensor_free(&image);
        }
    }
    if (status == ADZE_OK) {
        char number[32];
        const char *name_of = class_name(d, label, number);
        adze_text t = {.ctx = c->ctx};
        if (c->global.json) {
            adze_text_add(&t, "{\"schema\":1,\"file\":");
            adze_json_string(&t, o->out);
            adze_text_add(&t, ",\"index\":%lld,\"label\":%lld,\"class\":", (long long)o->index, (long long)label);
            adze_json_string(&t, name_of);
            adze_text_add(&t, "}\n");
        } else {
            adze_text_add(&t, "%s: example %lld of the %s part, class %s\n", o->out, (long long)o->index, o->part, name_of);
        }
        status = cli_print_text(c, &t);
    }
    adze_free(c->ctx, x);
    adze_dataset_close(d);
    return status;
}

/* A row for each class, its first examples from left to right. */
static int show(cli *c, const char *name, const data_opts *o) {
    adze_dataset *d;
    adze_tensor sheet = {.dtype = ADZE_NONE};
    TRY(adze_dataset_open(c->ctx, name, o->part, &d));
    const int64_t rows = d->classes, n = rows * o->columns;
    uint8_t *x = adze_alloc(c->ctx, adze_type_bytes(&d->example), 1);
    int64_t *ids = adze_alloc(c->ctx, n, sizeof(*ids)), *seen = adze_alloc(c->ctx, rows, sizeof(*seen));
    int status = x && ids && seen ? ADZE_OK : ADZE_ENOMEM;
    for (int64_t i = 0; i < n && status == ADZE_OK; i++) {
        ids[i] = -1;
    }
    for (int64_t i = 0; i < d->count && status == ADZE_OK; i++) {
        int64_t label = -1;
        status = d->read(d, i, x, &label);
        if (status == ADZE_OK && label >= 0 && label < rows && seen[label] < o->columns) {
            ids[label * o->columns + seen[label]++] = i;
        }
    }
    status = status == ADZE_OK ? adze_contact_sheet(c->ctx, d, ids, n, (int)o->columns, (int)o->zoom, &sheet) : status;
    status = status == ADZE_OK ? cli_write_png(c, o->out, sheet) : status;
    if (status == ADZE_OK) {
        adze_text t = {.ctx = c->ctx};
        adze_text_add(&t, "%s", c->global.json ? "{\"schema\":1,\"file\":" : o->out);
        if (c->global.json) {
            adze_json_string(&t, o->out);
        }
        adze_text_add(&t,
                      c->global.json ? ",\"classes\":%lld,\"columns\":%lld,\"width\":%lld,\"height\":%lld}\n"
                                     : ": %lld classes, %lld of each, %lldx%lld pixels\n",
                      (long long)rows, (long long)o->columns, (long long)sheet.dims[1], (long long)sheet.dims[0]);
        status = cli_print_text(c, &t);
    }
    adze_tensor_free(&sheet);
    adze_free(c->ctx, seen);
    adze_free(c->ctx, ids);
    adze_free(c->ctx, x);
    adze_dataset_close(d);
    return status;
}

static int run(cli *c, int argc, const char **argv) {
    static const struct {
        const char *name;
        int (*go)(cli *, const char *, const data_opts *);
    } verbs[] = {{"check", check}, {"info", info}, {"show", show}, {"picture", picture}, {"augment", cli_data_augment}, {"shift", cli_data_shift}};
    data_opts o;
    cli_args a = {.tables = {{FIELDS, &o, NULL}}, .ntables = 1};
    int status = cli_parse(c, &a, argc, argv, 2, 2);
    if (status == ADZE_OK && c->global.help) {
        cli_help(c->cmd, stdout);
    } else if (status == ADZE_OK) {
        status = cli_usage_error(c, "'%s' is none of check, info, show, picture, augment, shift", a.words[0]);
        for (size_t i = 0; i < ADZE_COUNT(verbs); i++) {
            if (strcmp(a.words[0], verbs[i].name) == 0) {
                adze_err_clear(c->ctx);
                status = verbs[i].go(c, a.words[1], &o);
            }
        }
    }
    cli_args_free(c, &a);
    return status;
}

const cli_cmd CLI_DATA = {
    "data",
    "what is in a data set: check it, count it, look at it",
    "data check|info|show|picture|augment|shift NAME [options]",
    "  adze data check fashion-mnist\n  adze data info mnist --part test --json\n  adze data show fashion-mnist --out sheet.png\n"
    "  adze data shift mnist --against fashion-mnist --part test\n  adze data augment cifar10 --augment hflip,crop:pad=4 --out sheet.png\n",
    tables,
    run};
