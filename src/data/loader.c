/* The loader: worker threads make batches ahead of time, in an order and with contents that depend on seed, epoch and example alone.
 *
 * Batches are claimed in order under one lock and written into a ring of prepared slots; the consumer takes them in the same order. Workers touch
 * neither the context's error nor its memory: a failure is a status in the slot, reported when the consumer reaches that batch. */
#include "data/augment.h"
#include "core/type.h"
#include "data/whiten.h"

#include "model/layer.h"

#include <pthread.h>
#include <stdio.h>

enum { MAX_WORKERS = 64, DEFAULT_AHEAD = 2, MAX_AHEAD = 64, LEVELS = 256 };

typedef enum slot_state { SLOT_FREE, SLOT_CLAIMED, SLOT_READY } slot_state;

typedef struct loader_slot { /* one batch on its way */
    slot_state state;
    int64_t epoch, n;               /* its epoch, its examples */
    int64_t *ids, *labels, *others; /* examples, their labels, and those of what was mixed in */
    double *shares;                 /* of the example's own label */
    char *x;
    int status;
    int64_t bad_id; /* the example that could not be read */
} loader_slot;

struct adze_loader {
    adze_ctx *ctx;
    const adze_dataset *data;
    adze_loader_opts o;
    int64_t *ids, *order; /* n: the examples; the permutation of order_epoch */
    int64_t n, order_epoch;
    adze_preprocess pre;
    adze_augment augment;
    int64_t row_bytes;       /* of one prepared example */
    adze_whitener *whitener; /* norm zca: the last step, in the caller's thread, where all threads may help */
    double *lut;             /* NULL: pre is no norm per channel */
    uint8_t *raw;            /* one example for each worker, and one for the caller */
    float *floats;           /* likewise: room for its augmentation */
    char *first;             /* likewise: a prepared row, when examples are mixed */
    int64_t raw_stride, floats_stride;
    loader_slot *slots;
    int nslots;
    int64_t claimed, taken; /* running numbers of batches: epoch = number / batches */
    bool at_end;            /* the consumer was told that the epoch is over */
    int inflight;
    bool stop, locked;
    int nworkers;
    pthread_t workers[MAX_WORKERS];
    struct loader_worker {
        struct adze_loader *l;
        int i;
    } worker_args[MAX_WORKERS];
    pthread_mutex_t lock;
    pthread_cond_t work, ready;
    double wait;
};

int64_t adze_loader_batches(const adze_loader *l) {
    return (l->n + l->o.batch - 1) / l->o.batch;
}

double adze_loader_wait(const adze_loader *l) {
    return l->wait;
}

/* -- making a batch ---------------------------------------------------------------------------------------------------------------------------- */

/* The order of an epoch: a permutation from (seed, epoch) alone. */
static void loader_permute(adze_loader *l, int64_t epoch) {
    memcpy(l->order, l->ids, (size_t)l->n * sizeof *l->order);
    if (l->o.shuffle) {
        char stream[48];
        snprintf(stream, sizeof stream, "data/order/%lld", (long long)epoch);
        adze_rng r = adze_rng_make(l->o.seed, adze_hash_str(stream));
        adze_rng_permute(&r, l->order, l->n);
    }
    l->order_epoch = epoch;
}

/* Takes the next batch number and its example ids; called with the lock held. */
static loader_slot *loader_claim(adze_loader *l) {
    int64_t batches = adze_loader_batches(l), epoch = l->claimed / batches, at = l->claimed % batches * l->o.batch;
    if (l->order_epoch != epoch) {
        loader_permute(l, epoch);
    }
    loader_slot *s = &l->slots[l->claimed % l->nslots];
    s->state = SLOT_CLAIMED;
    s->epoch = epoch;
    s->n = l->n - at < l->o.batch ? l->n - at : l->o.batch;
    memcpy(s->ids, l->order + at, (size_t)s->n * sizeof *s->ids);
    l->claimed++;
    return s;
}

/* One example, read into its worker's memory, augmented and prepared. */
static int loader_row(const adze_loader *l, int worker, int64_t epoch, int64_t id, int64_t *label, void *out) {
    const adze_type *t = &l->data->example;
    const int64_t n = adze_type_count(t);
    uint8_t *raw = l->raw + worker * l->raw_stride;
    float *x = l->floats + worker * l->floats_stride;
    TRY(l->data->read(l->data, id, raw, label));
    if (l->augment.n == 0) {
        adze_preprocess_image(&l->pre, l->lut, t, raw, l->o.dtype, out);
        return ADZE_OK;
    }
    for (int64_t i = 0; i < n; i++) {
        x[i] = raw[i];
    }
    x = adze_augment_run(&l->augment, t, LEVELS - 1, epoch, id, x);
    adze_preprocess_floats(&l->pre, t, x, l->o.dtype, out);
    return ADZE_OK;
}

/* x += part (y - x) for values from .. from + n - 1. */
static void loader_blend(adze_dtype d, void *x, const void *y, int64_t from, int64_t n, double part) {
    for (int64_t i = from; i < from + n; i++) {
        if (d == ADZE_F64) {
            double *v = (double *)x + i;
            *v += part * (((const double *)y)[i] - *v);
        } else {
            float *v = (float *)x + i;
            *v += (float)part * (((const float *)y)[i] - *v);
        }
    }
}

/* Each example is mixed with the next one of its batch, the last with the first: the order is random, so the neighbour is too. */
static void loader_mix(const adze_loader *l, loader_slot *s, char *first) {
    const adze_type *t = &l->data->example;
    const int64_t c = t->dims[2], row = (t->dims[1] + 2 * l->pre.pad) * c, size = (int64_t)adze_dtype_size(l->o.dtype);
    memcpy(first, s->x, (size_t)l->row_bytes);
    for (int64_t i = 0; i < s->n; i++) {
        const bool last = i == s->n - 1;
        const adze_mix m = adze_augment_mix(&l->augment, t, s->epoch, s->ids[i]);
        char *x = s->x + i * l->row_bytes;
        const char *y = last ? first : x + l->row_bytes;
        s->others[i] = s->labels[last ? 0 : i + 1];
        s->shares[i] = m.share;
        if (!m.box) {
            loader_blend(l->o.dtype, x, y, 0, l->row_bytes / size, 1 - m.share);
            continue;
        }
        for (int64_t k = 0; k < m.height; k++) {
            const int64_t from = ((l->pre.pad + m.top + k) * row + (l->pre.pad + m.left) * c) * size;
            memcpy(x + from, y + from, (size_t)(m.width * c * size));
        }
    }
}

static void loader_fill(const adze_loader *l, loader_slot *s, int worker) {
    for (int64_t i = 0; i < s->n; i++) {
        s->status = loader_row(l, worker, s->epoch, s->ids[i], &s->labels[i], s->x + i * l->row_bytes);
        if (s->status != ADZE_OK) {
            s->bad_id = s->ids[i];
            return;
        }
        s->others[i] = s->labels[i];
        s->shares[i] = 1;
    }
    if (l->augment.mixes) {
        loader_mix(l, s, l->first + worker * l->row_bytes);
    }
}

static void *loader_work(void *arg) {
    struct loader_worker *w = arg;
    adze_loader *l = w->l;
    pthread_mutex_lock(&l->lock);
    while (!l->stop) {
        if (l->claimed >= l->taken + l->nslots) {
            pthread_cond_wait(&l->work, &l->lock);
            continue;
        }
        loader_slot *s = loader_claim(l);
        l->inflight++;
        pthread_mutex_unlock(&l->lock);
        loader_fill(l, s, w->i);
        pthread_mutex_lock(&l->lock);
        s->state = SLOT_READY;
        l->inflight--;
        pthread_cond_broadcast(&l->ready);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

/* -- life ---------------------------------------------------------------------------------------------------------------------------------------- */

static void loader_stop(adze_loader *l) {
    if (!l->locked) {
        return;
    }
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
    for (int i = 0; i < l->nworkers; i++) {
        pthread_join(l->workers[i], NULL);
    }
    pthread_cond_destroy(&l->work);
    pthread_cond_destroy(&l->ready);
    pthread_mutex_destroy(&l->lock);
}

void adze_loader_free(adze_loader *l) {
    if (l == NULL) {
        return;
    }
    loader_stop(l);
    adze_ctx *ctx = l->ctx;
    for (int i = 0; l->slots != NULL && i < l->nslots; i++) {
        adze_free(ctx, l->slots[i].ids);
        adze_free(ctx, l->slots[i].labels);
        adze_free(ctx, l->slots[i].others);
        adze_free(ctx, l->slots[i].shares);
        adze_free(ctx, l->slots[i].x);
    }
    adze_free(ctx, l->slots);
    adze_free(ctx, l->ids);
    adze_free(ctx, l->order);
    adze_whitener_free(l->whitener);
    adze_free(ctx, l->lut);
    adze_free(ctx, l->raw);
    adze_free(ctx, l->floats);
    adze_free(ctx, l->first);
    adze_free(ctx, l);
}

static int loader_check(adze_ctx *ctx, const adze_dataset *d, const int64_t *ids, int64_t n, const adze_preprocess *p, const adze_loader_opts *o) {
    if (o->batch < 1 || n < 1) {
        return adze_fail(ctx, ADZE_EARG, "a loader needs a batch of at least 1 and at least 1 example, not %lld and %lld", (long long)o->batch,
                         (long long)n);
    }
    if (o->dtype != ADZE_F32 && o->dtype != ADZE_F64) {
        return adze_fail(ctx, ADZE_ETYPE, "a loader makes f32 or f64 examples, not %s", adze_dtype_name(o->dtype));
    }
    if (o->workers < 0 || o->workers > MAX_WORKERS || o->ahead < 0 || o->ahead > MAX_AHEAD) {
        return adze_fail(ctx, ADZE_EARG, "a loader takes 0 to %d workers and 0 to %d batches ahead", MAX_WORKERS, MAX_AHEAD);
    }
    if (d->example.dtype != ADZE_U8 || d->example.rank < 1 || d->example.rank > 3 || p->pad < 0 || p->pad > 4096) {
        return adze_fail(ctx, ADZE_ENOSUP, "a loader reads u8 examples of rank 1 to 3 and pads by 0 to 4096 pixels");
    }
    for (int64_t i = 0; ids != NULL && i < n; i++) {
        if (ids[i] < 0 || ids[i] >= d->count) {
            return adze_fail(ctx, ADZE_EARG, "example %lld is outside data set '%s' of %lld", (long long)ids[i], d->name, (long long)d->count);
        }
    }
    if (adze_norm_per_feature(p) && (p->feature == NULL || p->nfeature != adze_type_count(&d->example))) {
        return adze_fail(ctx, ADZE_EARG, "the preprocessing %s is fitted to %lld numbers, an example of '%s' has %lld", adze_norm_names[p->norm],
                         (long long)(p->feature ? p->nfeature : 0), d->name, (long long)adze_type_count(&d->example));
    }
    return !(ids == NULL && n > d->count)
               ? ADZE_OK
               : adze_fail(ctx, ADZE_EARG, "data set '%s' has %lld examples, not %lld", d->name, (long long)d->count, (long long)n);
}

/* Bytes of one prepared example: a border of pad pixels around (H, W), in the loader's dtype. */
static int loader_row_bytes(adze_loader *l, const adze_preprocess *p) {
    const adze_type *t = &l->data->example;
    int64_t size = (int64_t)adze_dtype_size(l->o.dtype), border = 2 * p->pad;
    bool fits = true;
    for (int i = 0; i < t->rank; i++) {
        bool spatial = i < t->rank - 1;
        fits = fits && adze_mul_size(size, t->dims[i] + (spatial ? border : 0), &size);
    }
    if (t->rank < 3 && p->pad > 0) {
        return adze_fail(l->ctx, ADZE_ESHAPE, "only images (H, W, C) can be padded; the examples have rank %d", t->rank);
    }
    l->row_bytes = size;
    return fits ? ADZE_OK : adze_fail(l->ctx, ADZE_ESHAPE, "the padded examples are too large");
}

static int loader_alloc(adze_loader *l, const int64_t *ids, const adze_preprocess *p) {
    adze_ctx *ctx = l->ctx;
    int64_t channels = l->data->example.dims[l->data->example.rank - 1], batch_bytes, example = adze_type_bytes(&l->data->example);
    TRY(loader_row_bytes(l, p));
    if (!adze_mul_size(l->row_bytes, l->o.batch, &batch_bytes)) {
        return adze_fail(ctx, ADZE_ENOMEM, "a batch of %lld examples is too large", (long long)l->o.batch);
    }
    l->raw_stride = (example + 63) / 64 * 64;
    l->floats_stride = (adze_augment_room(&l->augment, &l->data->example) + 15) / 16 * 16;
    l->ids = adze_alloc(ctx, l->n, sizeof *l->ids);
    l->order = adze_alloc(ctx, l->n, sizeof *l->order);
    const bool table = adze_norm_per_channel(p);
    l->lut = table ? adze_alloc(ctx, channels, LEVELS * sizeof *l->lut) : NULL;
    l->raw = adze_alloc(ctx, l->raw_stride, (size_t)(l->o.workers + 1));
    l->floats = adze_alloc(ctx, l->floats_stride, (size_t)(l->o.workers + 1) * sizeof *l->floats);
    l->first = adze_alloc(ctx, l->augment.mixes ? l->row_bytes : 0, (size_t)(l->o.workers + 1));
    l->slots = adze_alloc(ctx, l->nslots, sizeof *l->slots);
    TRY(ADZE_GOT(l->ids && l->order && (!table || l->lut) && l->raw && l->floats && l->first && l->slots));
    for (int i = 0; i < l->nslots; i++) {
        loader_slot *s = &l->slots[i];
        s->ids = adze_alloc(ctx, l->o.batch, sizeof *s->ids);
        s->labels = adze_alloc(ctx, l->o.batch, sizeof *s->labels);
        s->others = adze_alloc(ctx, l->o.batch, sizeof *s->others);
        s->shares = adze_alloc(ctx, l->o.batch, sizeof *s->shares);
        s->x = adze_alloc(ctx, batch_bytes, 1);
        TRY(ADZE_GOT(s->ids && s->labels && s->others && s->shares && s->x));
    }
    for (int64_t i = 0; i < l->n; i++) {
        l->ids[i] = ids != NULL ? ids[i] : i;
    }
    if (table) {
        adze_preprocess_table(p, channels, l->lut);
    }
    return p->norm == ADZE_NORM_ZCA ? adze_whitener_new(ctx, p, &l->data->example, l->o.batch, l->o.dtype, &l->whitener) : ADZE_OK;
}

static int loader_start(adze_loader *l) {
    if (pthread_mutex_init(&l->lock, NULL) != 0) {
        return adze_fail(l->ctx, ADZE_ENOMEM, "the loader could not make a lock");
    }
    if (pthread_cond_init(&l->work, NULL) != 0) {
        pthread_mutex_destroy(&l->lock);
        return adze_fail(l->ctx, ADZE_ENOMEM, "the loader could not make a lock");
    }
    if (pthread_cond_init(&l->ready, NULL) != 0) {
        pthread_cond_destroy(&l->work);
        pthread_mutex_destroy(&l->lock);
        return adze_fail(l->ctx, ADZE_ENOMEM, "the loader could not make a lock");
    }
    l->locked = true;
    for (int i = 0; i < l->o.workers; i++) {
        l->worker_args[i].l = l;
        l->worker_args[i].i = i;
        if (pthread_create(&l->workers[i], NULL, loader_work, &l->worker_args[i]) != 0) {
            break; /* fewer workers change the speed, never the result */
        }
        l->nworkers++;
    }
    return ADZE_OK;
}

int adze_loader_new(adze_ctx *ctx, const adze_dataset *d, const int64_t *ids, int64_t n, const adze_preprocess *p, const adze_loader_opts *o,
                    adze_loader **out) {
    *out = NULL;
    TRY(loader_check(ctx, d, ids, n, p, o));
    adze_loader *l = adze_alloc(ctx, 1, sizeof *l);
    TRY(ADZE_GOT(l));
    l->ctx = ctx;
    l->data = d;
    l->o = *o;
    l->n = n;
    l->pre = *p;
    l->order_epoch = -1;
    l->nslots = o->workers == 0 ? 1 : (o->ahead > 0 ? o->ahead : DEFAULT_AHEAD) + 1;
    l->o.augment = NULL; /* the caller's text, not ours to keep */
    int st = adze_augment_parse(ctx, o->augment != NULL ? o->augment : "", "augment", &l->augment);
    if (st == ADZE_OK) {
        st = adze_augment_fit(ctx, &l->augment, d, ids, n, o->seed);
    }
    if (st == ADZE_OK) {
        st = loader_alloc(l, ids, p);
    }
    if (st == ADZE_OK) {
        st = loader_start(l);
    }
    if (st != ADZE_OK) {
        adze_loader_free(l);
        return st;
    }
    *out = l;
    return ADZE_OK;
}

/* -- the consumer's side ------------------------------------------------------------------------------------------------------------------------- */

int adze_loader_seek(adze_loader *l, int64_t epoch, int64_t batch) {
    int64_t batches = adze_loader_batches(l), number;
    if (epoch < 0 || batch < 0 || batch > batches || !adze_mul_size(epoch, batches, &number) || !adze_add_size(number, batch, &number)) {
        return adze_fail(l->ctx, ADZE_EARG, "there is no batch %lld in epoch %lld: an epoch has %lld", (long long)batch, (long long)epoch,
                         (long long)batches);
    }
    pthread_mutex_lock(&l->lock);
    l->claimed = INT64_MAX - l->nslots; /* nothing is claimed while the last claims finish */
    while (l->inflight > 0) {
        pthread_cond_wait(&l->ready, &l->lock);
    }
    for (int i = 0; i < l->nslots; i++) {
        l->slots[i].state = SLOT_FREE;
    }
    l->claimed = l->taken = number;
    l->at_end = batch == 0;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
    return ADZE_OK;
}

static bool loader_list_fits(const adze_tensor *t, adze_dtype d, int64_t need) {
    return t->rank == 1 && t->dims[0] >= need && t->dtype == d && adze_tensor_contiguous(t);
}

/* need: the examples of the batch to come. */
static int loader_check_batch(const adze_loader *l, const adze_tensor *x, const adze_tensor *label, int64_t need) {
    bool ok = x->rank >= 1 && x->dims[0] >= need && x->dtype == l->o.dtype && adze_tensor_contiguous(x) && loader_list_fits(label, ADZE_I64, need);
    int64_t bytes = 0;
    adze_type t = adze_tensor_type(x);
    ok = ok && adze_mul_size(l->row_bytes, x->dims[0], &bytes) && adze_type_bytes(&t) == bytes;
    if (!ok) {
        return adze_fail(l->ctx, ADZE_ESHAPE, "the loader has %lld examples of %lld bytes with i64 labels; x is %s", (long long)need,
                         (long long)l->row_bytes, ADZE_SHOWN(&t));
    }
    return ADZE_OK;
}

/* The slot of the next batch, waited for, or made here when there are no workers; called with the lock held. */
static loader_slot *loader_await(adze_loader *l) {
    loader_slot *s = &l->slots[l->taken % l->nslots];
    if (l->nworkers == 0) {
        s = loader_claim(l);
        loader_fill(l, s, l->o.workers);
        return s;
    }
    while (l->claimed <= l->taken || s->state != SLOT_READY) {
        pthread_cond_wait(&l->ready, &l->lock);
    }
    return s;
}

int adze_loader_next(adze_loader *l, adze_tensor x, adze_tensor label, int64_t *n) {
    return adze_loader_next_mixed(l, x, label, (adze_tensor){.dtype = ADZE_NONE}, (adze_tensor){.dtype = ADZE_NONE}, n);
}

int adze_loader_next_mixed(adze_loader *l, adze_tensor x, adze_tensor label, adze_tensor other, adze_tensor share, int64_t *n) {
    *n = 0;
    int64_t batches = adze_loader_batches(l), at = l->taken % batches * l->o.batch;
    if (l->taken % batches == 0 && l->taken > 0 && !l->at_end) {
        l->at_end = true;
        return ADZE_OK;
    }
    const int64_t need = l->n - at < l->o.batch ? l->n - at : l->o.batch;
    const bool mixed = other.dtype != ADZE_NONE || share.dtype != ADZE_NONE;
    TRY(loader_check_batch(l, &x, &label, need));
    if (mixed && (!loader_list_fits(&other, ADZE_I64, need) || !loader_list_fits(&share, l->o.dtype, need))) {
        return adze_fail(l->ctx, ADZE_ESHAPE, "the loader gives %lld other labels (i64) and shares (%s)", (long long)need,
                         adze_dtype_name(l->o.dtype));
    }
    l->at_end = false;
    double start = adze_now();
    pthread_mutex_lock(&l->lock);
    loader_slot *s = loader_await(l);
    pthread_mutex_unlock(&l->lock);
    l->wait += adze_now() - start;
    int st = s->status;
    if (st == ADZE_OK) {
        memcpy(adze_tensor_data(&x), s->x, (size_t)(s->n * l->row_bytes));
        st = l->whitener ? adze_whitener_run(l->whitener, adze_tensor_data(&x), s->n) : ADZE_OK;
        memcpy(adze_tensor_data(&label), s->labels, (size_t)s->n * sizeof(int64_t));
        for (int64_t i = 0; i < s->n && mixed; i++) {
            ((int64_t *)adze_tensor_data(&other))[i] = s->others[i];
            adze_tensor_set(&share, i, s->shares[i]);
        }
        *n = s->n;
    } else {
        st = adze_fail(l->ctx, st, "example %lld of data set '%s' cannot be read", (long long)s->bad_id, l->data->name);
    }
    pthread_mutex_lock(&l->lock);
    s->state = SLOT_FREE;
    l->taken++;
    pthread_cond_signal(&l->work);
    pthread_mutex_unlock(&l->lock);
    return st;
}
