/* adze bench hessian: what a matrix of n by n numbers costs, and with which power of n. */
#include "adze/linalg.h"
#include "cli/bench.h"

#include <math.h>

enum { SIZES = 5, TRIES = 5 };

/* Seconds of a Cholesky factorisation of n rows, the fastest of a few: others only delay it. */
static int factor(cli *c, int64_t n, double *room, double *seconds) {
    *seconds = INFINITY;
    for (int t = 0; t < TRIES; t++) {
        for (int64_t i = 0; i < n * n; i++) {
            room[i] = i % (n + 1) == 0 ? (double)n : 1 / (double)(1 + i % 7);
        }
        const double start = adze_now();
        TRY(adze_la_cholesky(c->ctx, adze_la_dense(room, n, n)));
        const double took = adze_now() - start;
        *seconds = took < *seconds ? took : *seconds;
    }
    return ADZE_OK;
}

static double slope(const double *x, const double *y, int n) { /* of logarithms, by least squares */
    double sx = 0, sy = 0, sxx = 0, sxy = 0;
    for (int i = 0; i < n; i++) {
        const double a = log(x[i]), b = log(y[i]);
        sx += a, sy += b, sxx += a * a, sxy += a * b;
    }
    return (n * sxy - sx * sy) / (n * sxx - sx * sx);
}

int cli_bench_hessian(cli *c) {
    static const int64_t sizes[SIZES] = {750, 1060, 1500, 2120, 3000};
    double n[SIZES], bytes[SIZES], seconds[SIZES];
    const bool json = c->global.json;
    printf(json ? "{\"schema\":1,\"work\":\"hessian\",\"threads\":%d,\"sizes\":[" : "%d threads\nparameters        MiB   Cholesky s\n",
           adze_ctx_threads(c->ctx));
    for (int i = 0; i < SIZES; i++) {
        double *room = adze_alloc(c->ctx, sizes[i] * sizes[i], sizeof *room);
        const int status = room ? factor(c, sizes[i], room, &seconds[i]) : ADZE_ENOMEM;
        adze_free(c->ctx, room);
        TRY(status);
        n[i] = (double)sizes[i];
        bytes[i] = n[i] * n[i] * (double)sizeof *room;
        printf(json ? "%s{\"params\":%lld,\"bytes\":%.0f,\"seconds\":%.9g}" : "%s%10lld %10.1f %12.5f\n", json && i ? "," : "", (long long)sizes[i],
               json ? bytes[i] : bytes[i] / 1048576, seconds[i]);
    }
    printf(json ? "],\"storage_exponent\":%.17g,\"cholesky_exponent\":%.17g}\n"
                : "storage grows with power %.3f of the parameters, Cholesky with %.3f\n",
           slope(n, bytes, SIZES), slope(n, seconds, SIZES));
    return cli_finish_output(c);
}
