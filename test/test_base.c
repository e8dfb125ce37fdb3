/* The ground floor: status codes, context, memory, text, random numbers, hashes and threads. */
#include "faulty.h"

#include "base/base.h"

#include <float.h>
#include <locale.h>
#include <math.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

static adze_ctx *context(void) {
    adze_ctx *ctx;
    assert_int_equal(adze_ctx_new(NULL, &ctx), ADZE_OK);
    return ctx;
}

/* -- status -- */

static void every_status_has_a_name_and_one_exit_code(void **state) {
    (void)state;
    static const int CODES[] = {0, 2, 2, 2, 6, 4, 3, 8, 1, 75, 9, 7, 5};
    for (int i = 0; i < (int)ADZE_COUNT(CODES); i++) {
        assert_int_equal(adze_status_exit_code(-i), CODES[i]);
        assert_memory_equal(adze_status_name(-i), "ADZE_", 5);
        for (int k = 0; k < i; k++) {
            assert_string_not_equal(adze_status_name(-i), adze_status_name(-k));
        }
    }
    assert_string_equal(adze_status_name(ADZE_ESHAPE), "ADZE_ESHAPE");
    assert_int_equal(adze_status_exit_code(-999), 9);
    assert_string_equal(adze_version(), "0.1.0");
}

/* -- context -- */

static void a_message_may_quote_the_one_before_and_be_long(void **state) {
    (void)state;
    adze_ctx *ctx = context();
    assert_string_equal(adze_errmsg(ctx), "");
    assert_int_equal(adze_fail(ctx, ADZE_ESHAPE, "inner %d", 7), ADZE_ESHAPE);
    adze_fail(ctx, ADZE_EARG, "outer: %s", adze_errmsg(ctx));
    assert_string_equal(adze_errmsg(ctx), "outer: inner 7");
    assert_int_equal(adze_errcode(ctx), ADZE_EARG);
    char many[20001];
    memset(many, 'x', sizeof many - 1);
    many[sizeof many - 1] = 0;
    adze_fail(ctx, ADZE_EARG, "%s", many);
    assert_string_equal(adze_errmsg(ctx), many);
    adze_fail(ctx, ADZE_EARG, "%s!", adze_errmsg(ctx));
    assert_int_equal(strlen(adze_errmsg(ctx)), 20001);
    adze_err_clear(ctx);
    assert_string_equal(adze_errmsg(ctx), "");
    assert_int_equal(adze_ctx_mem_used(ctx), 0);
    assert_int_equal(adze_fail(NULL, ADZE_EIO, "nobody listens"), ADZE_EIO);
    adze_ctx_free(ctx);
}

static void a_long_message_without_memory_is_cut(void **state) {
    (void)state;
    faulty_mem mem;
    faulty_mem_init(&mem);
    adze_ctx *ctx;
    assert_int_equal(adze_ctx_new(&(adze_ctx_opts){.mem = &mem.table}, &ctx), ADZE_OK);
    char many[9001];
    memset(many, 'y', sizeof many - 1);
    many[sizeof many - 1] = 0;
    faulty_mem_arm(&mem, 1, true);
    assert_int_equal(adze_fail(ctx, ADZE_EARG, "%s", many), ADZE_EARG);
    size_t n = strlen(adze_errmsg(ctx));
    assert_in_range(n, 4000, 4095);
    assert_string_equal(adze_errmsg(ctx) + n - 3, "...");
    adze_ctx_free(ctx);
    assert_true(faulty_mem_clean(&mem));
}

static void a_context_refuses_wrong_options_in_a_sentence(void **state) {
    (void)state;
    adze_ctx *ctx;
    assert_int_equal(adze_ctx_new(&(adze_ctx_opts){.isa = "sse9"}, &ctx), ADZE_EARG);
    assert_non_null(strstr(adze_errmsg(ctx), "sse9"));
    assert_non_null(strstr(adze_errmsg(ctx), "ref"));
    adze_ctx_free(ctx);
    assert_int_equal(adze_ctx_new(&(adze_ctx_opts){.threads = -1}, &ctx), ADZE_EARG);
    assert_non_null(strstr(adze_errmsg(ctx), "threads"));
    adze_ctx_free(ctx);
    assert_int_equal(adze_ctx_new(&(adze_ctx_opts){.threads = 257}, &ctx), ADZE_EARG);
    adze_ctx_free(ctx);
    setenv("ADZE_ISA", "v9", 1);
    assert_int_equal(adze_ctx_new(NULL, &ctx), ADZE_EARG);
    assert_non_null(strstr(adze_errmsg(ctx), "ADZE_ISA"));
    adze_ctx_free(ctx);
    setenv("ADZE_ISA", "ref", 1);
    assert_int_equal(adze_ctx_new(NULL, &ctx), ADZE_OK);
    assert_string_equal(adze_ctx_isa(ctx), "ref");
    adze_ctx_free(ctx);
    unsetenv("ADZE_ISA");
    assert_int_equal(adze_ctx_new(&(adze_ctx_opts){.isa = "ref", .threads = 3}, &ctx), ADZE_OK);
    assert_int_equal(adze_ctx_threads(ctx), 3);
    assert_int_equal(adze_ctx_isa_level(ctx), ADZE_ISA_REF);
    adze_ctx_free(ctx);
    for (int i = 0; i <= (int)adze_isa_best(); i++) {
        assert_int_equal(adze_ctx_new(&(adze_ctx_opts){.isa = adze_isa_name((adze_isa)i)}, &ctx), ADZE_OK);
        assert_int_equal(adze_ctx_isa_level(ctx), i);
        adze_ctx_free(ctx);
    }
}

static int notes;
static void count_note(void *user, adze_level level, const char *message) {
    assert_int_equal(level, ADZE_WARN);
    assert_string_equal(message, "3 left");
    notes += *(int *)user;
}

static void notes_reach_the_log_alone(void **state) {
    (void)state;
    adze_ctx *ctx;
    int one = 1;
    assert_int_equal(adze_ctx_new(&(adze_ctx_opts){.log = count_note, .log_user = &one}, &ctx), ADZE_OK);
    adze_note(ctx, ADZE_WARN, "%d left", 3);
    assert_int_equal(notes, 1);
    assert_string_equal(adze_errmsg(ctx), "");
    adze_ctx_free(ctx);
}

static void a_context_without_memory_is_no_context(void **state) {
    (void)state;
    faulty_mem mem;
    faulty_mem_init(&mem);
    faulty_mem_arm(&mem, 1, false);
    adze_ctx *ctx = (adze_ctx *)&mem;
    assert_int_equal(adze_ctx_new(&(adze_ctx_opts){.mem = &mem.table}, &ctx), ADZE_ENOMEM);
    assert_null(ctx);
    adze_ctx_free(NULL);
}

/* -- memory -- */

static void sizes_are_checked(void **state) {
    (void)state;
    int64_t v = 5;
    assert_true(adze_mul_size(INT64_MAX, 1, &v) && v == INT64_MAX);
    assert_true(adze_mul_size(0, INT64_MAX, &v) && v == 0);
    v = 5;
    assert_false(adze_mul_size(INT64_MAX / 2 + 1, 2, &v));
    assert_false(adze_mul_size(-1, 2, &v));
    assert_false(adze_mul_size(2, -1, &v));
    assert_false(adze_add_size(INT64_MAX, 1, &v));
    assert_false(adze_add_size(-1, 1, &v));
    assert_int_equal(v, 5);
    assert_true(adze_add_size(INT64_MAX - 1, 1, &v) && v == INT64_MAX);
}

static void blocks_are_zeroed_aligned_counted(void **state) {
    (void)state;
    faulty_mem mem; /* hands out dirty memory */
    faulty_mem_init(&mem);
    adze_ctx *ctx;
    assert_int_equal(adze_ctx_new(&(adze_ctx_opts){.mem = &mem.table}, &ctx), ADZE_OK);
    char *p = adze_alloc(ctx, 100, 3);
    for (int i = 0; i < 300; i++) {
        assert_int_equal(p[i], 0);
    }
    assert_int_equal((uintptr_t)p % 64, 0);
    size_t used = adze_ctx_mem_used(ctx);
    assert_in_range(used, 300, 300 + 64);
    memset(p, 1, 300);
    p = adze_resize(ctx, p, 100, 200, 3);
    for (int i = 0; i < 600; i++) {
        assert_int_equal(p[i], i < 300);
    }
    p = adze_resize(ctx, p, 200, 10, 3);
    assert_int_equal(p[29], 1);
    void *empty = adze_alloc(ctx, 0, 8);
    assert_non_null(empty);
    adze_free(ctx, empty);
    adze_free(ctx, p);
    adze_free(ctx, NULL);
    assert_int_equal(adze_ctx_mem_used(ctx), 0);
    assert_true(adze_ctx_mem_peak(ctx) >= 900);
    assert_null(adze_alloc(ctx, INT64_MAX, 8));
    assert_int_equal(adze_errcode(ctx), ADZE_ENOMEM);
    adze_err_clear(ctx);
    assert_null(adze_alloc(ctx, -1, 8));
    assert_int_equal(adze_errcode(ctx), ADZE_ENOMEM);
    assert_null(adze_alloc_raw(ctx, INT64_MAX));
    char *s = adze_strdup(ctx, "adze");
    assert_string_equal(s, "adze");
    adze_free(ctx, s);
    adze_ctx_free(ctx);
    assert_true(faulty_mem_clean(&mem));
}

static void the_memory_limit_holds_and_says_so(void **state) {
    (void)state;
    adze_ctx *ctx;
    assert_int_equal(adze_ctx_new(&(adze_ctx_opts){.mem_limit = 10000}, &ctx), ADZE_OK);
    void *p = adze_alloc(ctx, 6000, 1);
    assert_non_null(p);
    assert_null(adze_alloc(ctx, 5000, 1));
    assert_int_equal(adze_errcode(ctx), ADZE_ENOMEM);
    assert_non_null(strstr(adze_errmsg(ctx), "5000"));
    assert_non_null(strstr(adze_errmsg(ctx), "10000"));
    assert_null(adze_resize(ctx, p, 6000, 9000, 1)); /* p is still ours */
    adze_free(ctx, p);
    p = adze_alloc(ctx, 9000, 1);
    assert_non_null(p);
    adze_free(ctx, p);
    adze_ctx_free(ctx);
}

static void arenas_keep_small_and_large_objects(void **state) {
    (void)state;
    adze_ctx *ctx = context();
    adze_arena a = {.ctx = ctx};
    char *kept[200];
    for (int i = 0; i < 200; i++) {
        size_t n = (size_t)(i % 17 == 0 ? 9000 : i + 1);
        kept[i] = adze_arena_alloc(&a, n);
        assert_int_equal((uintptr_t)kept[i] % 16, 0);
        for (size_t k = 0; k < n; k++) {
            assert_int_equal(kept[i][k], 0);
        }
        memset(kept[i], i, n);
        char *s = adze_arena_strdup(&a, "odd");
        assert_string_equal(s, "odd");
    }
    for (int i = 0; i < 200; i++) {
        assert_int_equal((unsigned char)kept[i][0], i);
    }
    assert_string_equal(adze_arena_dup(&a, "abc", 4), "abc");
    assert_true(a.used > 100000);
    adze_arena_free(&a);
    assert_int_equal(adze_ctx_mem_used(ctx), 0);
    adze_ctx_free(ctx);
}

static void text_grows_and_its_failure_sticks(void **state) {
    (void)state;
    faulty_mem mem;
    faulty_mem_init(&mem);
    adze_ctx *ctx;
    assert_int_equal(adze_ctx_new(&(adze_ctx_opts){.mem = &mem.table}, &ctx), ADZE_OK);
    char *s;
    for (long n = 1; n < 20; n++) {
        adze_text t = {.ctx = ctx};
        faulty_mem_arm(&mem, n, false);
        for (int i = 0; i < 300; i++) {
            adze_text_add(&t, "%d,", i);
            adze_text_put(&t, "", 0);
        }
        bool hit = mem.calls >= n;
        assert_int_equal(adze_text_finish(&t, &s), hit ? ADZE_ENOMEM : ADZE_OK);
        assert_int_equal(hit, s == NULL);
        if (!hit) {
            assert_int_equal(strlen(s), 10 * 2 + 90 * 3 + 200 * 4);
            assert_memory_equal(s, "0,1,2,3,", 8);
        }
        adze_free(ctx, s);
    }
    faulty_mem_arm(&mem, 0, false);
    adze_text empty = {.ctx = ctx};
    assert_int_equal(adze_text_finish(&empty, &s), ADZE_OK);
    assert_string_equal(s, "");
    adze_free(ctx, s);
    adze_ctx_free(ctx);
    assert_true(faulty_mem_clean(&mem));
}

/* -- random numbers -- */

static void philox_gives_the_published_vectors(void **state) {
    (void)state;
    static const struct { /* Random123, kat_vectors: philox4x32 10 */
        uint32_t ctr[4], key[2], out[4];
    } KNOWN[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}, {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < ADZE_COUNT(KNOWN); i++) {
        uint32_t out[4];
        adze_philox(KNOWN[i].key, KNOWN[i].ctr, out);
        assert_memory_equal(out, KNOWN[i].out, sizeof out);
    }
    adze_rng r = adze_rng_make(0, 0);
    assert_int_equal(adze_rng_u32(&r), 0x6627e8d5);
    assert_true(adze_rng_u64(&r) == UINT64_C(0xbc57ac4ce169c58d));
    adze_rng pi = adze_rng_make(UINT64_C(0x299f31d0a4093822), UINT64_C(0x0370734413198a2e));
    pi.ctr[0] = 0x243f6a88;
    pi.ctr[1] = 0x85a308d3;
    assert_int_equal(adze_rng_u32(&pi), 0xd16cfe09);
    adze_rng carry = adze_rng_make(1, 1);
    carry.ctr[0] = UINT32_MAX;
    adze_rng_u32(&carry);
    assert_true(carry.ctr[0] == 0 && carry.ctr[1] == 1 && carry.ctr[2] == 1);
}

static void draws_have_their_distributions(void **state) {
    (void)state;
    adze_rng r = adze_rng_make(7, 8);
    enum { N = 200000 };
    double sum = 0, squares = 0, fourth = 0, uniform = 0;
    int64_t count[6] = {0};
    for (int i = 0; i < N; i++) {
        double z = adze_rng_normal(&r), u = adze_rng_uniform(&r);
        assert_true(u >= 0 && u < 1 && isfinite(z));
        sum += z;
        squares += z * z;
        fourth += z * z * z * z;
        uniform += u;
        int64_t k = adze_rng_range(&r, -2, 3);
        assert_in_range(k + 2, 0, 5);
        count[k + 2]++;
    }
    assert_true(fabs(sum / N) < 0.01 && fabs(squares / N - 1) < 0.02 && fabs(fourth / N - 3) < 0.15 && fabs(uniform / N - 0.5) < 0.004);
    for (int i = 0; i < 6; i++) {
        assert_true(fabs((double)count[i] / N - 1.0 / 6) < 0.005);
    }
    assert_int_equal(adze_rng_below(&r, 1), 0);
    assert_int_equal(adze_rng_range(&r, 5, 5), 5);
    for (int i = 0; i < 100; i++) {
        assert_true(adze_rng_below(&r, (UINT64_C(1) << 63) + 1) <= UINT64_C(1) << 63);
    }
    adze_rng_range(&r, INT64_MIN, INT64_MAX); /* all 64 bits: must not divide by zero */
}

static void a_permutation_holds_each_once(void **state) {
    (void)state;
    int64_t v[1000], seen[1000] = {0}, moved = 0;
    for (int64_t i = 0; i < 1000; i++) {
        v[i] = i;
    }
    adze_rng r = adze_rng_make(9, 10);
    adze_rng_permute(&r, v, 1000);
    for (int64_t i = 0; i < 1000; i++) {
        seen[v[i]]++;
        moved += v[i] != i;
    }
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(seen[i], 1);
    }
    assert_true(moved > 900);
    adze_rng_permute(&r, v, 0);
    adze_rng_permute(&r, v, 1);
}

static void hashes_are_xxh3(void **state) {
    (void)state;
    uint64_t h[2];
    adze_hash128("", 0, h); /* xxhsum -H2 of nothing: 99aa06d3014798d86001c324468d497f */
    assert_true(h[0] == UINT64_C(0x99aa06d3014798d8) && h[1] == UINT64_C(0x6001c324468d497f));
    assert_true(adze_hash64("", 0, 0) == UINT64_C(0x2d06800538d394c2));
    assert_true(adze_hash_str("conv1:w") == adze_hash64("conv1:w", 7, 0));
    assert_true(adze_hash_str("conv1:w") != adze_hash_str("conv1:b"));
    assert_true(adze_hash64("a", 1, 0) != adze_hash64("a", 1, 1));
}

/* -- threads -- */

typedef struct tally {
    int calls[300];
    int nth;
    int64_t sums[300];
} tally;

static void add_up(void *arg, int ith, int nth) {
    tally *t = arg;
    int64_t from, to;
    adze_share(100000, 16, ith, nth, &from, &to);
    t->calls[ith]++;
    for (int64_t i = from; i < to; i++) {
        t->sums[ith] += i;
    }
    if (ith == 0) {
        t->nth = nth;
    }
}

static void every_thread_works_once_a_run(void **state) {
    (void)state;
    for (int threads = 1; threads <= 8; threads += threads < 3 ? 1 : 5) {
        adze_ctx *ctx;
        assert_int_equal(adze_ctx_new(&(adze_ctx_opts){.threads = threads}, &ctx), ADZE_OK);
        for (int run = 0; run < 300; run++) {
            tally t = {{0}, 0, {0}};
            int wanted = run % 10;
            adze_pool_run(ctx, add_up, &t, wanted);
            int64_t sum = 0;
            int expected = wanted < 1 ? 1 : wanted < threads ? wanted : threads;
            assert_int_equal(t.nth, expected);
            for (int i = 0; i < 300; i++) {
                assert_int_equal(t.calls[i], i < expected);
                sum += t.sums[i];
            }
            assert_int_equal(sum, INT64_C(100000) * 99999 / 2);
        }
        adze_ctx_free(ctx);
    }
}

typedef struct errand {
    int slow; /* the share that takes long */
    int done[8];
} errand;

static void do_share(void *arg, int ith, int nth) {
    errand *e = arg;
    (void)nth;
    if (ith == e->slow) {
        nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
    }
    e->done[ith]++;
}

/* More threads than processors: some come late, the caller is done at once and does their shares, and what the run was about is gone when they come.
 */
static void workers_may_be_late(void **state) {
    (void)state;
    adze_ctx *ctx;
    cpu_set_t all, one;
    assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
    CPU_ZERO(&one);
    CPU_SET((size_t)sched_getcpu(), &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0); /* also of the workers, which begin now */
    assert_int_equal(adze_ctx_new(&(adze_ctx_opts){.threads = 8}, &ctx), ADZE_OK);
    for (int run = 0; run < 400; run++) {
        errand *e = calloc(1, sizeof *e);
        assert_non_null(e);
        e->slow = run % 8;
        adze_pool_run(ctx, do_share, e, 8);
        for (int i = 0; i < 8; i++) {
            assert_int_equal(e->done[i], 1);
        }
        free(e);
    }
    adze_ctx_free(ctx);
    assert_int_equal(sched_setaffinity(0, sizeof all, &all), 0);
}

static void without_memory_for_threads_one_does_all(void **state) {
    (void)state;
    faulty_mem mem;
    faulty_mem_init(&mem);
    adze_ctx *ctx;
    assert_int_equal(adze_ctx_new(&(adze_ctx_opts){.mem = &mem.table, .threads = 4}, &ctx), ADZE_OK);
    faulty_mem_arm(&mem, 1, true);
    tally t = {{0}, 0, {0}};
    adze_pool_run(ctx, add_up, &t, 4);
    assert_int_equal(t.nth, 1);
    assert_int_equal(t.sums[0], INT64_C(100000) * 99999 / 2);
    adze_ctx_free(ctx);
    assert_true(faulty_mem_clean(&mem));
}

static void shares_cover_everything_once(void **state) {
    (void)state;
    for (int64_t n = 0; n < 70; n++) {
        for (int nth = 1; nth < 9; nth++) {
            int64_t at = 0;
            for (int ith = 0; ith < nth; ith++) {
                int64_t from, to;
                adze_share(n, 16, ith, nth, &from, &to);
                assert_int_equal(from, at);
                assert_true(to >= from && (to % 16 == 0 || to == n));
                at = to;
            }
            assert_int_equal(at, n);
        }
    }
    double before = adze_now();
    assert_true(adze_now() >= before);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_has_a_name_and_one_exit_code),
        cmocka_unit_test(a_message_may_quote_the_one_before_and_be_long),
        cmocka_unit_test(a_long_message_without_memory_is_cut),
        cmocka_unit_test(a_context_refuses_wrong_options_in_a_sentence),
        cmocka_unit_test(notes_reach_the_log_alone),
        cmocka_unit_test(a_context_without_memory_is_no_context),
        cmocka_unit_test(sizes_are_checked),
        cmocka_unit_test(blocks_are_zeroed_aligned_counted),
        cmocka_unit_test(the_memory_limit_holds_and_says_so),
        cmocka_unit_test(arenas_keep_small_and_large_objects),
        cmocka_unit_test(text_grows_and_its_failure_sticks),
        cmocka_unit_test(philox_gives_the_published_vectors),
        cmocka_unit_test(draws_have_their_distributions),
        cmocka_unit_test(a_permutation_holds_each_once),
        cmocka_unit_test(hashes_are_xxh3),
        cmocka_unit_test(every_thread_works_once_a_run),
        cmocka_unit_test(workers_may_be_late),
        cmocka_unit_test(without_memory_for_threads_one_does_all),
        cmocka_unit_test(shares_cover_everything_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
