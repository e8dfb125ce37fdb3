/* adze data augment: a sheet of pictures with and without their augmentation, and how fast each augmentation is. Both look through the loader, so
 * that they show what training sees. */
#include "cli/data_opts.h"

#include <math.h>

enum { TIMED_BATCH = 128 };

/* Every example of d, beginning with --index, in batches; values come out as 0 to 255. */
static int open_loader(cli *c, const adze_dataset *d, const data_opts *o, const char *augment, int64_t batch, adze_loader **out) {
    adze_preprocess p = {.scale = 1, .channels = (int)d->example.dims[d->example.rank - 1]};
    for (size_t i = 0; i < ADZE_COUNT(p.sd); i++) {
        p.sd[i] = 1;
    }
    int64_t *ids = adze_alloc(c->ctx, d->count, sizeof(*ids));
    if (!ids) {
        return ADZE_ENOMEM;
    }
    for (int64_t i = 0; i < d->count; i++) {
        ids[i] = (o->index + i) % d->count;
    }
    adze_loader_opts lo = {.size = sizeof(lo), .batch = batch, .seed = o->seed, .dtype = ADZE_F32, .augment = augment};
    int status = adze_loader_new(c->ctx, d, ids, d->count, &p, &lo, out);
    adze_free(c->ctx, ids);
    return status;
}

typedef struct batch { /* what the loader writes into */
    adze_tensor x, label;
} batch;

static int batch_new(cli *c, const adze_dataset *d, int64_t n, batch *b) {
    const adze_type *e = &d->example;
    int64_t dims[4] = {n};
    memcpy(dims + 1, e->dims, (size_t)e->rank * sizeof(*dims));
    memset(b, 0, sizeof(*b));
    TRY(adze_tensor_new(c->ctx, adze_type_make(ADZE_F32, e->rank + 1, dims), &b->x));
    int status = adze_tensor_new(c->ctx, adze_type_make(ADZE_I64, 1, dims), &b->label);
    if (status != ADZE_OK) {
        adze_tensor_free(&b->x);
    }
    return status;
}

static void batch_free(batch *b) {
    adze_tensor_free(&b->x);
    adze_tensor_free(&b->label);
}

/* -- the sheet --------------------------------------------------------------------------------------------------------------------------------- */

/* One column: the first batch of an epoch, rounded to 8 bits, picture r at place r columns + column. */
static int fill_column(const adze_dataset *d, adze_loader *l, batch *b, int64_t epoch, int64_t column, const data_opts *o, uint8_t *pixels) {
    const int64_t size = adze_type_count(&d->example);
    int64_t n;
    TRY(adze_loader_seek(l, epoch, 0));
    TRY(adze_loader_next(l, b->x, b->label, &n));
    const float *x = adze_tensor_data(&b->x);
    for (int64_t r = 0; r < n; r++) {
        uint8_t *out = pixels + (r * o->columns + column) * size;
        for (int64_t i = 0; i < size; i++) {
            const float v = floorf(x[r * size + i] + 0.5F);
            out[i] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
        }
    }
    return ADZE_OK;
}

static int fill_columns(cli *c, const adze_dataset *d, const data_opts *o, batch *b, uint8_t *pixels) {
    adze_loader *plain = NULL, *changed = NULL;
    int status = open_loader(c, d, o, "", o->rows, &plain);
    if (status == ADZE_OK) {
        status = open_loader(c, d, o, o->augment, o->rows, &changed);
    }
    for (int64_t k = 0; k < o->columns && status == ADZE_OK; k++) {
        status = fill_column(d, k ? changed : plain, b, k, k, o, pixels);
    }
    adze_loader_free(plain);
    adze_loader_free(changed);
    return status;
}

static int write_sheet(cli *c, const adze_dataset *d, const data_opts *o, uint8_t *pixels, int64_t *labels) {
    adze_dataset *pictures = NULL;
    adze_tensor sheet = {.dtype = ADZE_NONE};
    const int64_t n = o->rows * o->columns;
    TRY(adze_dataset_from_memory(c->ctx, d->example, pixels, labels, n, 1, &pictures));
    int status = adze_contact_sheet(c->ctx, pictures, NULL, n, (int)o->columns, (int)o->zoom, &sheet);
    if (status == ADZE_OK) {
        status = cli_write_png(c, o->out, sheet);
        adze_tensor_free(&sheet);
    }
    adze_dataset_close(pictures);
    return status;
}

static int draw(cli *c, const adze_dataset *d, const data_opts *o) {
    const int64_t n = o->rows * o->columns;
    batch b;
    TRY(batch_new(c, d, o->rows, &b));
    uint8_t *pixels = adze_alloc(c->ctx, n, (size_t)adze_type_bytes(&d->example));
    int64_t *labels = adze_alloc(c->ctx, n, sizeof(*labels));
    int status = pixels && labels ? fill_columns(c, d, o, &b, pixels) : ADZE_ENOMEM;
    if (status == ADZE_OK) {
        status = write_sheet(c, d, o, pixels, labels);
    }
    adze_free(c->ctx, pixels);
    adze_free(c->ctx, labels);
    batch_free(&b);
    if (status == ADZE_OK) {
        adze_text t = {.ctx = c->ctx};
        adze_text_add(&t, "%s", c->global.json ? "{\"schema\":1,\"file\":" : "");
        if (c->global.json) {
            adze_json_string(&t, o->out);
            adze_text_add(&t, ",\"rows\":%lld,\"columns\":%lld}\n", (long long)o->rows, (long long)o->columns);
        } else {
            adze_text_add(&t, "%s: %lld examples, each followed by %lld augmented versions\n", o->out, (long long)o->rows, (long long)o->columns - 1);
        }
        status = cli_print_text(c, &t);
    }
    return status;
}

/* -- the time ---------------------------------------------------------------------------------------------------------------------------------- */

/* Pictures that one thread prepares in a second. */
static int measure(cli *c, const adze_dataset *d, const data_opts *o, const char *augment, double *rate) {
    const double seconds = 0.2;
    adze_loader *l = NULL;
    batch b;
    int64_t n = 0, done = 0;
    TRY(batch_new(c, d, TIMED_BATCH, &b));
    int status = open_loader(c, d, o, augment, TIMED_BATCH, &l);
    const double start = adze_now();
    double now = start;
    while (status == ADZE_OK && now - start < seconds) {
        status = adze_loader_next(l, b.x, b.label, &n);
        done += n;
        now = adze_now();
    }
    adze_loader_free(l);
    batch_free(&b);
    *rate = (double)done / (now - start);
    return status;
}

static int add_time(cli *c, const adze_dataset *d, const data_opts *o, const char *augment, adze_text *t) {
    double rate = 0;
    int status = measure(c, d, o, augment, &rate);
    if (status == ADZE_EARG) { /* colours of a grey set, say */
        if (!c->global.json) {
            adze_text_add(t, "%-20s not for this data set\n", augment);
        }
        return ADZE_OK;
    }
    TRY(status);
    adze_text_add(t, c->global.json ? ",{\"augment\":\"%s\",\"images_per_s\":%.0f}" : "%-20s %9.0f images/s\n", augment[0] ? augment : "none", rate);
    return ADZE_OK;
}

/* Without a text, every entry of the table with its defaults. */
static int time_entries(cli *c, const adze_dataset *d, const data_opts *o) {
    adze_text t = {.ctx = c->ctx};
    adze_augmentation a;
    double warm;
    int status = measure(c, d, o, "", &warm);
    adze_text_add(&t, c->global.json ? "{\"schema\":1,\"times\":[{\"threads\":1}" : "");
    if (status == ADZE_OK) {
        status = add_time(c, d, o, "", &t);
    }
    for (int i = 0; !o->augment[0] && adze_augmentation_at(i, &a) == ADZE_OK && status == ADZE_OK; i++) {
        status = add_time(c, d, o, a.name, &t);
    }
    if (o->augment[0] && status == ADZE_OK) {
        status = add_time(c, d, o, o->augment, &t);
    }
    if (status != ADZE_OK) {
        adze_text_drop(&t);
        return status;
    }
    adze_text_add(&t, c->global.json ? "]}\n" : "");
    return cli_print_text(c, &t);
}

int cli_data_augment(cli *c, const char *name, const data_opts *o) {
    adze_dataset *d;
    TRY(adze_augmentation_check(c->ctx, o->augment, "--augment"));
    TRY(adze_dataset_open(c->ctx, name, o->part, &d));
    int status = ADZE_OK;
    if (o->time) {
        status = time_entries(c, d, o);
    } else if (d->count < o->rows) {
        status = cli_usage_error(c, "--rows %lld: the %s part has %lld examples", (long long)o->rows, o->part, (long long)d->count);
    } else {
        status = draw(c, d, o);
    }
    adze_dataset_close(d);
    return status;
}
