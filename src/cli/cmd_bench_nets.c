/* The convolutions of well-known networks, as problems of `adze bench conv`: each shape once. */
#include "cli/bench.h"

typedef struct conv_row {
    int16_t ic, ih, oc, k, stride, pad;
} conv_row;

static const conv_row LENET5_CAFFE[] = {{1, 28, 20, 5, 1, 0}, {20, 12, 50, 5, 1, 0}, {0}};
static const conv_row LENET5[] = {{1, 32, 6, 5, 1, 0}, {6, 14, 16, 5, 1, 0}, {16, 5, 120, 5, 1, 0}, {0}};
static const conv_row RESNET20[] = {
    {3, 32, 16, 3, 1, 1}, {16, 32, 16, 3, 1, 1}, {16, 32, 32, 3, 2, 1}, {32, 16, 32, 3, 1, 1}, {32, 16, 64, 3, 2, 1}, {64, 8, 64, 3, 1, 1}, {0}};
static const conv_row ALEXNET[] = {{3, 224, 64, 11, 4, 2},  {64, 27, 192, 5, 1, 2},  {192, 13, 384, 3, 1, 1},
                                   {384, 13, 256, 3, 1, 1}, {256, 13, 256, 3, 1, 1}, {0}};
static const conv_row VGG16[] = {
    {3, 224, 64, 3, 1, 1},   {64, 224, 64, 3, 1, 1},  {64, 112, 128, 3, 1, 1}, {128, 112, 128, 3, 1, 1}, {128, 56, 256, 3, 1, 1},
    {256, 56, 256, 3, 1, 1}, {256, 28, 512, 3, 1, 1}, {512, 28, 512, 3, 1, 1}, {512, 14, 512, 3, 1, 1},  {0}};
static const conv_row RESNET50[] = {{3, 224, 64, 7, 2, 3},     {64, 56, 64, 1, 1, 0},    {64, 56, 64, 3, 1, 1},    {64, 56, 256, 1, 1, 0},
                                    {256, 56, 64, 1, 1, 0},    {256, 56, 128, 1, 1, 0},  {128, 56, 128, 3, 2, 1},  {128, 28, 512, 1, 1, 0},
                                    {256, 56, 512, 1, 2, 0},   {512, 28, 128, 1, 1, 0},  {128, 28, 128, 3, 1, 1},  {512, 28, 256, 1, 1, 0},
                                    {256, 28, 256, 3, 2, 1},   {256, 14, 1024, 1, 1, 0}, {512, 28, 1024, 1, 2, 0}, {1024, 14, 256, 1, 1, 0},
                                    {256, 14, 256, 3, 1, 1},   {1024, 14, 512, 1, 1, 0}, {512, 14, 512, 3, 2, 1},  {512, 7, 2048, 1, 1, 0},
                                    {1024, 14, 2048, 1, 2, 0}, {2048, 7, 512, 1, 1, 0},  {512, 7, 512, 3, 1, 1},   {0}};
/* Inception modules (Szegedy et al. 2014, table 1): side, input, 1x1, 3x3 after its 1x1, 5x5 after its 1x1, 1x1 after the pool. */
static const int16_t INCEPTION[][8] = {
    {28, 192, 64, 96, 128, 16, 32, 32},     {28, 256, 128, 128, 192, 32, 96, 64},  {14, 480, 192, 96, 208, 16, 48, 64},
    {14, 512, 160, 112, 224, 24, 64, 64},   {14, 512, 128, 128, 256, 24, 64, 64},  {14, 512, 112, 144, 288, 32, 64, 64},
    {14, 528, 256, 160, 320, 32, 128, 128}, {7, 832, 256, 160, 320, 32, 128, 128}, {7, 832, 384, 192, 384, 48, 128, 128}};
static const conv_row GOOGLENET_STEM[] = {{3, 224, 64, 7, 2, 3}, {64, 56, 64, 1, 1, 0}, {64, 56, 192, 3, 1, 1}, {0}};

static const struct {
    const char *name;
    const conv_row *rows;
    int64_t batch; /* the usual one */
    bool inception;
} NETS[] = {
    {"lenet5", LENET5, 256, false}, {"lenet5-caffe", LENET5_CAFFE, 256, false}, {"resnet20", RESNET20, 128, false},    {"alexnet", ALEXNET, 8, false},
    {"vgg16", VGG16, 8, false},     {"resnet50", RESNET50, 8, false},           {"googlenet", GOOGLENET_STEM, 8, true}};

typedef struct job {
    cli *c;
    bench_list *l;
    int64_t batch;
    const char *tail;
} job;

static bool listed(const bench_list *l, int from, const char *problem) {
    for (int i = from; i < l->n; i++) {
        if (strcmp(l->at[i], problem) == 0) {
            return true;
        }
    }
    return false;
}

/* The passes of one row; training never needs the gradient of the pictures. */
static int add_row(const job *j, int from, const conv_row *r) {
    static const char *const DIRS[] = {"fwd", "dx", "dw"};
    const int out = (r->ih + 2 * r->pad - r->k) / r->stride + 1;
    const bool own = strstr(j->tail, ",dir=") != NULL;
    char shape[BENCH_TEXT / 2], problem[2 * BENCH_TEXT];
    int n = snprintf(shape, sizeof(shape), "mb%lldic%dih%doc%doh%dkh%d", (long long)j->batch, r->ic, r->ih, r->oc, out, r->k);
    if (r->stride > 1) {
        n += snprintf(shape + n, sizeof(shape) - (size_t)n, "sh%d", r->stride);
    }
    if (r->pad > 0) {
        snprintf(shape + n, sizeof(shape) - (size_t)n, "ph%d", r->pad);
    }
    for (size_t d = 0; d < ADZE_COUNT(DIRS) && !(own && d > 0); d++) {
        if (d == 1 && r->ic <= 3) {
            continue;
        }
        snprintf(problem, sizeof(problem), "%s%s%s%s", shape, own ? "" : ",dir=", own ? "" : DIRS[d], j->tail);
        if (!listed(j->l, from, problem)) {
            TRY(bench_list_add(j->c, j->l, problem));
        }
    }
    return ADZE_OK;
}

int bench_net_convs(cli *c, const char *net, int64_t batch, const char *tail, bench_list *l) {
    const int from = l->n;
    for (size_t i = 0; i < ADZE_COUNT(NETS); i++) {
        if (strcmp(NETS[i].name, net) != 0) {
            continue;
        }
        const job j = {c, l, batch > 0 ? batch : NETS[i].batch, tail};
        for (const conv_row *r = NETS[i].rows; r->ic; r++) {
            TRY(add_row(&j, from, r));
        }
        for (size_t k = 0; k < ADZE_COUNT(INCEPTION) && NETS[i].inception; k++) {
            const int16_t *m = INCEPTION[k], s = m[0];
            const conv_row rows[] = {{m[1], s, m[2], 1, 1, 0}, {m[1], s, m[3], 1, 1, 0}, {m[3], s, m[4], 3, 1, 1},
                                     {m[1], s, m[5], 1, 1, 0}, {m[5], s, m[6], 5, 1, 2}, {m[1], s, m[7], 1, 1, 0}};
            for (size_t q = 0; q < ADZE_COUNT(rows); q++) {
                TRY(add_row(&j, from, &rows[q]));
            }
        }
    }
    return ADZE_OK;
}
