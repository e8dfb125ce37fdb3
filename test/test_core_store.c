/* The store: names, blocks, the hash of its content, and failing memory. */
#include "faulty.h"

#include "adze/core.h"
#include "base/base.h"
#include "graph/device.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static adze_type shape(adze_dtype d, int rank, int64_t a, int64_t b, int64_t c) {
    return adze_type_make(d, rank, (const int64_t[]){a, b, c});
}

/* Every test gets a context over counted memory, and must give all of it back. */
typedef struct scene {
    faulty_mem mem;
    adze_ctx *ctx;
} scene;

static int set_up(void **state) {
    scene *s = calloc(1, sizeof *s);
    faulty_mem_init(&s->mem);
    *state = s;
    return adze_ctx_new(&(adze_ctx_opts){.mem = &s->mem.table, .threads = 1}, &s->ctx);
}

static int tear_down(void **state) {
    scene *s = *state;
    adze_ctx_free(s->ctx);
    bool clean = faulty_mem_clean(&s->mem);
    free(s);
    return clean ? 0 : -1;
}

static adze_ctx *ctx_of(void **state) {
    return ((scene *)*state)->ctx;
}

/* -- the store -- */

static void fill_store(adze_store *s, const char *const *names, int n) {
    for (int i = 0; i < n; i++) {
        adze_tensor t;
        int slot;
        bool temp = strstr(names[i], ":g") != NULL;
        assert_int_equal(adze_store_add(s, names[i], shape(ADZE_F32, 1, 5, 0, 0), temp ? ADZE_SLOT_TEMP : ADZE_SLOT_TRAINABLE, &slot), ADZE_OK);
        assert_int_equal(adze_store_tensor(s, slot, &t), ADZE_OK);
        adze_tensor_set(&t, 2, (double)names[i][0]);
    }
}

static void slots_are_found_by_name(void **state) {
    adze_ctx *ctx = ctx_of(state);
    adze_store *s;
    assert_int_equal(adze_store_new(ctx, &s), ADZE_OK);
    assert_int_equal(adze_store_find(s, "w"), -1);
    for (int i = 0; i < 1000; i++) {
        char name[32];
        int slot;
        snprintf(name, sizeof name, "layer%d:w", i);
        assert_int_equal(adze_store_add(s, name, shape(ADZE_F32, 1, i % 7, 0, 0), ADZE_SLOT_TRAINABLE | ADZE_SLOT_DECAY, &slot), ADZE_OK);
        assert_int_equal(slot, i);
        assert_int_equal(adze_store_add(s, name, shape(ADZE_F32, 1, i % 7, 0, 0), 0, &slot), ADZE_OK); /* found, not doubled */
        assert_int_equal(slot, i);
    }
    assert_int_equal(adze_store_count(s), 1000);
    assert_int_equal(adze_store_find(s, "layer777:w"), 777);
    assert_string_equal(adze_store_name(s, 777), "layer777:w");
    assert_int_equal(adze_store_flags(s, 777), ADZE_SLOT_TRAINABLE | ADZE_SLOT_DECAY);
    assert_int_equal(adze_store_type(s, 6).dims[0], 6);
    assert_int_equal(adze_store_add(s, "layer1:w", shape(ADZE_F64, 1, 1, 0, 0), 0, NULL), ADZE_ESHAPE);
    assert_string_equal(adze_errmsg(ctx), "'layer1:w' is f32 (1) in the store, but f64 (1) is asked for");
    assert_int_equal(adze_store_add(s, "", adze_scalar_type(ADZE_F32), 0, NULL), ADZE_EARG);
    assert_int_equal(adze_store_add(s, "a\nb", adze_scalar_type(ADZE_F32), 0, NULL), ADZE_EARG);
    assert_int_equal(adze_store_add(s, "x", shape(ADZE_F32, 2, INT64_MAX, 2, 0), 0, NULL), ADZE_ESHAPE);
    assert_int_equal(adze_store_add(s, "x", shape(ADZE_NONE, 0, 0, 0, 0), 0, NULL), ADZE_ETYPE);
    assert_int_equal(adze_store_generation(s), 0);
    assert_int_equal(adze_store_remove(s, "layer10:w"), ADZE_OK);
    assert_int_equal(adze_store_generation(s), 1);
    assert_int_equal(adze_store_find(s, "layer10:w"), -1);
    assert_int_equal(adze_store_find(s, "layer999:w"), 998);
    assert_int_equal(adze_store_find(s, "layer9:w"), 9);
    assert_int_equal(adze_store_remove(s, "layer10:w"), ADZE_EARG);
    assert_null(adze_store_name(s, 999));
    assert_null(adze_store_name(s, -1));
    adze_tensor t;
    assert_int_equal(adze_store_tensor(s, 999, &t), ADZE_EARG);
    assert_null(adze_tensor_data(&t));
    adze_store_free(s);
    adze_store_free(NULL);
}

static void slots_of_one_role_and_dtype_share_a_block(void **state) {
    adze_ctx *ctx = ctx_of(state);
    static const struct {
        const char *name;
        adze_dtype d;
        int64_t n;
        uint32_t flags;
        int block;
    } SLOTS[] = {{"a:w", ADZE_F32, 5, ADZE_SLOT_TRAINABLE, 0},  {"a:w:m", ADZE_F32, 5, 0, 1},
                 {"a:b", ADZE_F32, 17, ADZE_SLOT_TRAINABLE, 0}, {"a:b:m", ADZE_F32, 17, 0, 1},
                 {"a:w:g", ADZE_F32, 5, ADZE_SLOT_TEMP, 2},     {"bn:mean", ADZE_F32, 3, ADZE_SLOT_STATE, 3},
                 {"c:w", ADZE_F64, 2, ADZE_SLOT_TRAINABLE, 4},  {"d:w", ADZE_F32, 0, ADZE_SLOT_TRAINABLE, 0},
                 {"e:w", ADZE_F32, 16, ADZE_SLOT_TRAINABLE, 0}};
    adze_store *s;
    assert_int_equal(adze_store_new(ctx, &s), ADZE_OK);
    for (size_t i = 0; i < ADZE_COUNT(SLOTS); i++) {
        assert_int_equal(adze_store_add(s, SLOTS[i].name, shape(SLOTS[i].d, 1, SLOTS[i].n, 0, 0), SLOTS[i].flags, NULL), ADZE_OK);
    }
    adze_tensor t[ADZE_COUNT(SLOTS)];
    int64_t end[8] = {0};
    adze_buffer *block[8] = {NULL};
    for (size_t i = 0; i < ADZE_COUNT(SLOTS); i++) {
        int b = SLOTS[i].block;
        assert_int_equal(adze_store_tensor(s, (int)i, &t[i]), ADZE_OK);
        assert_int_equal((uintptr_t)adze_tensor_data(&t[i]) % 64, 0);
        assert_true(!block[b] || block[b] == t[i].buf);
        block[b] = t[i].buf;
        assert_int_equal(t[i].offset, end[b]); /* in order, without holes but for alignment */
        end[b] += (SLOTS[i].n * (int64_t)adze_dtype_size(SLOTS[i].d) + 63) / 64 * 64;
    }
    for (int a = 0; a < 5; a++) {
        for (int b = 0; b < a; b++) {
            assert_ptr_not_equal(block[a], block[b]);
        }
    }
    void *before = adze_tensor_data(&t[0]);
    assert_int_equal(adze_store_add(s, "late:w", shape(ADZE_F32, 1, 4, 0, 0), ADZE_SLOT_TRAINABLE, NULL), ADZE_OK);
    adze_tensor late;
    assert_int_equal(adze_store_tensor(s, (int)ADZE_COUNT(SLOTS), &late), ADZE_OK);
    assert_int_equal(adze_store_tensor(s, 0, &t[0]), ADZE_OK);
    assert_ptr_equal(adze_tensor_data(&t[0]), before); /* what has memory stays where it is */
    assert_true(adze_tensor_get(&late, 3) == 0);
    assert_int_equal(adze_store_remove(s, "a:w"), ADZE_OK); /* its neighbours live on */
    assert_int_equal(adze_store_tensor(s, adze_store_find(s, "a:b"), &t[2]), ADZE_OK);
    adze_tensor_set(&t[2], 16, 4);
    assert_true(adze_tensor_get(&t[2], 16) == 4);
    adze_store_free(s);
}

static void many_roles_do_not_take_for_ever(void **state) {
    adze_ctx *ctx = ctx_of(state);
    adze_store *s;
    adze_tensor t;
    assert_int_equal(adze_store_new(ctx, &s), ADZE_OK);
    for (int i = 0; i < 20000; i++) {
        char name[32];
        snprintf(name, sizeof name, "a:b:%d", i);
        assert_int_equal(adze_store_add(s, name, shape(ADZE_F32, 1, 1, 0, 0), 0, NULL), ADZE_OK);
    }
    double start = adze_now();
    assert_int_equal(adze_store_tensor(s, 19999, &t), ADZE_OK);
    assert_true(adze_now() - start < 5);
    adze_store_free(s);
}

static void the_hash_depends_on_content_alone(void **state) {
    adze_ctx *ctx = ctx_of(state);
    static const char *const ONE[] = {"a:w", "b:w", "c:w", "c:w:g", "d"}, *const OTHER[] = {"d", "c:w", "q:w:g", "a:w", "b:w"};
    adze_store *s, *t;
    uint64_t x[2], y[2], z[2];
    adze_tensor v;
    assert_int_equal(adze_store_new(ctx, &s), ADZE_OK);
    assert_int_equal(adze_store_new(ctx, &t), ADZE_OK);
    assert_int_equal(adze_store_hash(s, x), ADZE_OK); /* an empty store has one too */
    fill_store(s, ONE, 5);
    fill_store(t, OTHER, 5);
    assert_int_equal(adze_store_hash(s, y), ADZE_OK);
    assert_memory_not_equal(x, y, sizeof x);
    assert_int_equal(adze_store_hash(t, x), ADZE_OK);
    assert_memory_equal(x, y, sizeof x); /* another order, other gradients */
    assert_int_equal(adze_store_tensor(t, adze_store_find(t, "b:w"), &v), ADZE_OK);
    adze_tensor_set(&v, 4, 1e-30);
    assert_int_equal(adze_store_hash(t, z), ADZE_OK);
    assert_memory_not_equal(x, z, sizeof x);
    adze_tensor_set(&v, 4, 0);
    assert_int_equal(adze_store_hash(t, z), ADZE_OK);
    assert_memory_equal(x, z, sizeof x);
    assert_int_equal(adze_store_remove(t, "d"), ADZE_OK);
    assert_int_equal(adze_store_add(t, "d", shape(ADZE_F32, 2, 5, 1, 0), ADZE_SLOT_TRAINABLE, NULL), ADZE_OK);
    assert_int_equal(adze_store_tensor(t, adze_store_find(t, "d"), &v), ADZE_OK);
    adze_tensor_set(&v, 2, 'd');
    assert_int_equal(adze_store_hash(t, z), ADZE_OK); /* the same bytes in another shape */
    assert_memory_not_equal(x, z, sizeof x);
    adze_store_free(s);
    adze_store_free(t);
}

static int build_store(adze_ctx *ctx) {
    adze_store *s;
    uint64_t hash[2];
    TRY(adze_store_new(ctx, &s));
    int status = ADZE_OK;
    for (int i = 0; i < 40 && status == ADZE_OK; i++) {
        char name[32];
        int count = adze_store_count(s), slot;
        snprintf(name, sizeof name, i % 3 ? "l%d:w" : "l%d:w:m", i);
        status = adze_store_add(s, name, shape(ADZE_F32, 1, i, 0, 0), 0, &slot);
        assert_int_equal(adze_store_count(s), count + (status == ADZE_OK)); /* a failed addition changes nothing */
        assert_int_equal(adze_store_find(s, name), status == ADZE_OK ? count : -1);
        adze_tensor t;
        status = status == ADZE_OK && i % 10 == 0 ? adze_store_tensor(s, slot, &t) : status;
    }
    status = status == ADZE_OK ? adze_store_remove(s, "l0:w:m") : status;
    status = status == ADZE_OK ? adze_store_hash(s, hash) : status;
    adze_store_free(s);
    return status;
}

static void a_store_survives_every_failing_allocation(void **state) {
    scene *s = *state;
    for (int for_ever = 0; for_ever < 2; for_ever++) {
        for (long n = 1;; n++) {
            faulty_mem_arm(&s->mem, n, for_ever);
            int status = build_store(s->ctx);
            assert_int_equal(status, s->mem.calls >= n ? ADZE_ENOMEM : ADZE_OK);
            assert_int_equal(adze_ctx_mem_used(s->ctx), 0);
            if (status == ADZE_OK) {
                assert_true(n > 40);
                break;
            }
        }
    }
}

#define SCENE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        SCENE(slots_are_found_by_name),           SCENE(slots_of_one_role_and_dtype_share_a_block), SCENE(many_roles_do_not_take_for_ever),
        SCENE(the_hash_depends_on_content_alone), SCENE(a_store_survives_every_failing_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
