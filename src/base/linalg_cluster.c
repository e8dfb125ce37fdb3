/* Clusters and principal components. */
#include "base/linalg.h"

#include <stdlib.h>

/* -- k-means -- */

typedef struct kmeans {
    adze_la_mat x, centres;
    int64_t *labels, *before, *sizes;
    double *distance; /* squared, of each point to its centre */
} kmeans;

static double distance(const double *x, const double *y, int64_t n) {
    double sum[4] = {0};
    for (int64_t i = 0; i < n; i++) {
        sum[i % 4] += (x[i] - y[i]) * (x[i] - y[i]);
    }
    return (sum[0] + sum[2]) + (sum[1] + sum[3]);
}

static void nearest(void *arg, la_range r) {
    const kmeans *w = arg;
    for (int64_t i = r.from; i < r.to; i++) {
        w->distance[i] = INFINITY;
        for (int64_t c = 0; c < w->centres.rows; c++) {
            double d = distance(la_row(w->x, i), la_row(w->centres, c), w->x.cols);
            if (d < w->distance[i]) {
                w->distance[i] = d;
                w->labels[i] = c;
            }
        }
    }
}

typedef struct seeding {
    kmeans *w;
    int64_t last; /* the newest centre */
} seeding;

static void nearer(void *arg, la_range r) {
    const seeding *s = arg;
    for (int64_t i = r.from; i < r.to; i++) {
        s->w->distance[i] = fmin(s->w->distance[i], distance(la_row(s->w->x, i), la_row(s->w->centres, s->last), s->w->x.cols));
    }
}

/* A point drawn in proportion to its squared distance; any one when all distances are 0. */
static int64_t draw(const kmeans *w, adze_rng *r) {
    double sum = 0;
    for (int64_t i = 0; i < w->x.rows; i++) {
        sum += w->distance[i];
    }
    if (!(sum > 0) || isinf(sum)) {
        return (int64_t)adze_rng_below(r, (uint64_t)w->x.rows);
    }
    double left = sum * adze_rng_uniform(r);
    int64_t last = 0;
    for (int64_t i = 0; i < w->x.rows; i++) {
        if (w->distance[i] > 0) {
            last = i;
            left -= w->distance[i];
        }
        if (left < 0) {
            break;
        }
    }
    return last;
}

static void seed_centres(adze_ctx *ctx, kmeans *w, uint64_t seed) {
    adze_rng r = adze_rng_make(seed, adze_hash_str("k-means"));
    for (int64_t i = 0; i < w->x.rows; i++) {
        w->distance[i] = INFINITY;
    }
    for (int64_t c = 0; c < w->centres.rows; c++) {
        int64_t i = draw(w, &r);
        memcpy(la_row(w->centres, c), la_row(w->x, i), (size_t)w->x.cols * sizeof(double));
        la_run(ctx, nearer, &(seeding){w, c}, w->x.rows, 16, 3.0 * (double)w->x.rows * (double)w->x.cols);
    }
}

/* Labels and sizes; an empty cluster gets the point farthest from its centre, out of a cluster of more than one. Returns whether a label changed. */
static bool assign(adze_ctx *ctx, kmeans *w) {
    const int64_t n = w->x.rows, k = w->centres.rows;
    memcpy(w->before, w->labels, (size_t)n * sizeof *w->labels);
    la_run(ctx, nearest, w, n, 16, 3.0 * (double)n * (double)k * (double)w->x.cols);
    memset(w->sizes, 0, (size_t)k * sizeof *w->sizes);
    for (int64_t i = 0; i < n; i++) {
        w->sizes[w->labels[i]]++;
    }
    for (int64_t c = 0; c < k; c++) {
        int64_t far = -1;
        for (int64_t i = 0; i < n && w->sizes[c] == 0; i++) {
            if (w->sizes[w->labels[i]] > 1 && (far < 0 || w->distance[i] > w->distance[far])) {
                far = i;
            }
        }
        if (far >= 0) {
            w->sizes[w->labels[far]]--;
            w->labels[far] = c;
            w->sizes[c] = 1;
            w->distance[far] = 0;
            memcpy(la_row(w->centres, c), la_row(w->x, far), (size_t)w->x.cols * sizeof(double));
        }
    }
    return memcmp(w->before, w->labels, (size_t)n * sizeof *w->labels) != 0;
}

static void move_centres(const kmeans *w) {
    for (int64_t c = 0; c < w->centres.rows; c++) {
        memset(la_row(w->centres, c), 0, (size_t)w->centres.cols * sizeof(double));
    }
    for (int64_t i = 0; i < w->x.rows; i++) {
        la_axpy(la_row(w->centres, w->labels[i]), 1, la_row(w->x, i), w->x.cols);
    }
    for (int64_t c = 0; c < w->centres.rows; c++) {
        for (int64_t j = 0; j < w->centres.cols; j++) {
            la_row(w->centres, c)[j] /= (double)w->sizes[c];
        }
    }
}

static int check_clusters(adze_ctx *ctx, adze_la_mat x, const adze_la_clusters *c) {
    TRY(la_check(ctx, "x", x));
    TRY(la_check_shape(ctx, "centres", c->centres, c->centres.rows, x.cols));
    if (c->centres.rows < 1 || c->centres.rows > x.rows || x.cols < 1 || !c->labels) {
        return adze_fail(ctx, ADZE_EARG, "%lld clusters of %lld points of %lld numbers; 1 to %lld are possible", (long long)c->centres.rows,
                         (long long)x.rows, (long long)x.cols, (long long)x.rows);
    }
    return ADZE_OK;
}

int adze_la_kmeans(adze_ctx *ctx, adze_la_mat x, adze_la_clusters *c) {
    TRY(check_clusters(ctx, x, c));
    kmeans w = {x,
                c->centres,
                c->labels,
                adze_alloc(ctx, x.rows, sizeof *w.before),
                adze_alloc(ctx, c->centres.rows, sizeof *w.sizes),
                adze_alloc(ctx, x.rows, sizeof *w.distance)};
    const bool room = w.before && w.sizes && w.distance;
    if (room) {
        seed_centres(ctx, &w, c->seed);
        memset(c->labels, 0xff, (size_t)x.rows * sizeof *c->labels); /* -1: no label yet */
        for (c->rounds = 0; assign(ctx, &w) && c->rounds++ < c->at_most;) {
            move_centres(&w);
        }
        c->inertia = 0;
        for (int64_t i = 0; i < x.rows; i++) {
            c->inertia += w.distance[i];
        }
    }
    adze_free(ctx, w.before);
    adze_free(ctx, w.sizes);
    adze_free(ctx, w.distance);
    return ADZE_GOT(room);
}

/* -- the best clusters of numbers: they are intervals of the sorted numbers, and the best cut moves right with the last number -- */

typedef struct placed {
    double x;
    int64_t i;
} placed;

typedef struct line {
    placed *sorted;
    double *sum, *squares; /* of the first so many, less the middle one */
    double *best, *next;   /* cost of the first so many in the clusters so far, and in one more */
    int32_t *cut;          /* (k, n + 1): where the last cluster begins */
} line;

static int by_place(const void *a, const void *b) {
    const placed *x = a, *y = b;
    return x->x < y->x ? -1 : x->x > y->x ? 1 : x->i < y->i ? -1 : 1;
}

static double cost(const line *l, int64_t from, int64_t to) {
    double sum = l->sum[to] - l->sum[from];
    return fmax(0, l->squares[to] - l->squares[from] - sum * sum / (double)(to - from));
}

/* next and cut of `lo` to `hi` numbers, whose last cluster begins between `a` and `b`: the middle one first, which halves both ranges. */
static void halve(const line *l, int32_t *cut, int64_t lo, int64_t hi, int64_t a, int64_t b) {
    if (lo > hi) {
        return;
    }
    const int64_t mid = lo + (hi - lo) / 2;
    l->next[mid] = INFINITY;
    for (int64_t i = a; i <= la_min(b, mid - 1); i++) {
        double c = l->best[i] + cost(l, i, mid);
        if (c < l->next[mid]) {
            l->next[mid] = c;
            cut[mid] = (int32_t)i;
        }
    }
    halve(l, cut, lo, mid - 1, a, cut[mid]);
    halve(l, cut, mid + 1, hi, cut[mid], b);
}

static void line_run(line *l, adze_la_mat x, adze_la_clusters *c) {
    const int64_t n = x.rows, k = c->centres.rows;
    for (int64_t i = 0; i < n; i++) {
        l->sorted[i] = (placed){la_row(x, i)[0], i};
    }
    qsort(l->sorted, (size_t)n, sizeof *l->sorted, by_place);
    const double middle = l->sorted[n / 2].x; /* keeps the squares small */
    for (int64_t i = 0; i < n; i++) {
        double v = l->sorted[i].x - middle;
        l->sum[i + 1] = l->sum[i] + v;
        l->squares[i + 1] = l->squares[i] + v * v;
        l->best[i + 1] = cost(l, 0, i + 1);
    }
    for (int64_t q = 1; q < k; q++) {
        halve(l, l->cut + q * (n + 1), q + 1, n, q, n - 1);
        double *held = l->best;
        l->best = l->next;
        l->next = held;
    }
    c->inertia = 0;
    for (int64_t q = k - 1, to = n; q >= 0; q--) {
        const int64_t from = q ? l->cut[q * (n + 1) + to] : 0;
        const double centre = middle + (l->sum[to] - l->sum[from]) / (double)(to - from);
        la_row(c->centres, q)[0] = centre;
        for (int64_t i = from; i < to; i++) {
            c->labels[l->sorted[i].i] = q;
            c->inertia += (l->sorted[i].x - centre) * (l->sorted[i].x - centre);
        }
        to = from;
    }
    c->rounds = 1;
}

int adze_la_kmeans_line(adze_ctx *ctx, adze_la_mat x, adze_la_clusters *c) {
    TRY(check_clusters(ctx, x, c));
    const int64_t n = x.rows;
    int64_t cuts;
    if (x.cols != 1 || n >= INT32_MAX || !adze_mul_size(c->centres.rows, n + 1, &cuts)) {
        return adze_fail(ctx, ADZE_ESHAPE, "x: (%lld, %lld) is no column of at most %d numbers", (long long)n, (long long)x.cols, INT32_MAX - 1);
    }
    adze_la_mat room = {0};
    line l = {.sorted = adze_alloc(ctx, n, sizeof *l.sorted), .cut = adze_alloc(ctx, cuts, sizeof *l.cut)};
    int status = l.sorted && l.cut ? la_new(ctx, 4, n + 1, &room) : ADZE_ENOMEM;
    if (status == ADZE_OK) {
        l.sum = la_row(room, 0);
        l.squares = la_row(room, 1);
        l.best = la_row(room, 2);
        l.next = la_row(room, 3);
        line_run(&l, x, c);
    }
    adze_free(ctx, l.sorted);
    adze_free(ctx, l.cut);
    adze_free(ctx, room.at);
    return status;
}

/* -- principal components -- */

/* Of centred points, by whichever square of the sides is smaller. */
static int pca_centred(adze_ctx *ctx, adze_la_mat x, double *variances, adze_la_mat components) {
    const int64_t n = x.rows, d = x.cols, side = la_min(n, d), k = components.rows;
    adze_la_mat first = {0}, second = {0}, values = {0};
    int status = la_new(ctx, 1, side, &values);
    status = status == ADZE_OK ? la_new(ctx, side, side, &first) : status;
    status = status == ADZE_OK ? la_new(ctx, side, d, &second) : status;
    if (status == ADZE_OK && n < d) { /* first = u, second = vt */
        status = adze_la_svd(ctx, x, first, values.at, second);
    } else if (status == ADZE_OK) { /* first = the sums of squares, second = their vectors in the columns */
        status = adze_la_matmul(ctx, x, true, x, false, first);
        status = status == ADZE_OK ? adze_la_eigen(ctx, first, values.at, second) : status;
    }
    for (int64_t i = 0; i < k && status == ADZE_OK; i++) {
        const double v = n < d ? values.at[i] * values.at[i] : fmax(0, values.at[side - 1 - i]);
        variances[i] = v / (double)(n - 1);
        for (int64_t j = 0; j < d; j++) {
            la_row(components, i)[j] = n < d ? la_row(second, i)[j] : la_row(second, j)[side - 1 - i];
        }
    }
    adze_free(ctx, first.at);
    adze_free(ctx, second.at);
    adze_free(ctx, values.at);
    return status;
}

int adze_la_pca(adze_ctx *ctx, adze_la_mat x, double *mean, double *variances, adze_la_mat components) {
    TRY(la_check(ctx, "x", x));
    TRY(la_check_shape(ctx, "components", components, components.rows, x.cols));
    if (x.rows < 2 || components.rows > la_min(x.rows, x.cols)) {
        return adze_fail(ctx, ADZE_ESHAPE, "%lld components of %lld points of %lld numbers", (long long)components.rows, (long long)x.rows,
                         (long long)x.cols);
    }
    adze_la_mat centred;
    TRY(la_new(ctx, x.rows, x.cols, &centred));
    memset(mean, 0, (size_t)x.cols * sizeof *mean);
    for (int64_t i = 0; i < x.rows; i++) {
        la_axpy(mean, 1, la_row(x, i), x.cols);
    }
    for (int64_t i = 0; i < x.rows; i++) {
        for (int64_t j = 0; j < x.cols; j++) {
            la_row(centred, i)[j] = la_row(x, i)[j] - mean[j] / (double)x.rows;
        }
    }
    for (int64_t j = 0; j < x.cols; j++) {
        mean[j] /= (double)x.rows;
    }
    int status = pca_centred(ctx, centred, variances, components);
    adze_free(ctx, centred.at);
    return status;
}
