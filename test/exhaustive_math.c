/* Looks at every one of the 2^32 floats: each f32 function of each instruction set must be less than 1 unit in the last place from the true value,
 * and v3 and v4 must agree to the bit. Usage: exhaustive_math [FUNCTION]...; prints the largest error of each and where it is. Takes some minutes:
 * part `math` of `make check-long`. */
#include "ulp.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

enum { THREADS = 64 };

typedef struct search {
    const ulp_function *f;
    _Atomic uint32_t *next; /* the next block that nobody has taken */
    ulp_finding found;
} search;

static void *search_run(void *arg) {
    search *s = arg;
    for (;;) {
        const uint32_t block = atomic_fetch_add(s->next, 1);
        if (block >= (1ull << 32) / ULP_BLOCK) {
            return NULL;
        }
        float x[ULP_BLOCK];
        for (uint32_t i = 0; i < ULP_BLOCK; i++) {
            x[i] = ulp_float(block * ULP_BLOCK + i);
        }
        ulp_block(s->f, x, ULP_BLOCK, &s->found);
    }
}

static bool search_all(const ulp_function *f) {
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    const int nth = cores < 1 ? 1 : cores > THREADS ? THREADS : (int)cores;
    _Atomic uint32_t next = 0;
    search s[THREADS];
    pthread_t thread[THREADS];
    ulp_finding found = {.at = {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX}};
    for (int i = 0; i < nth; i++) {
        s[i] = (search){.f = f, .next = &next};
        if (pthread_create(&thread[i], NULL, search_run, &s[i]) != 0) {
            fprintf(stderr, "exhaustive_math: no thread\n");
            return false;
        }
    }
    for (int i = 0; i < nth; i++) {
        pthread_join(thread[i], NULL);
        ulp_merge(&found, &s[i].found);
    }
    const bool ok = ulp_print(f, &found);
    fflush(stdout);
    return ok;
}

int main(int argc, char **argv) {
    int searched = 0, bad = 0;
    for (size_t i = 0; i < ADZE_COUNT(ULP_FUNCTIONS); i++) {
        bool named = argc == 1;
        for (int k = 1; k < argc; k++) {
            named = named || strcmp(argv[k], ULP_FUNCTIONS[i].op) == 0;
        }
        searched += named;
        bad += named && !search_all(&ULP_FUNCTIONS[i]);
    }
    return bad > 0 || searched < (argc == 1 ? 1 : argc - 1);
}
