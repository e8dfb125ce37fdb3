/* The safetensors reader and writer: every dtype comes back, every rule of the format is enforced, and damage is found. */
#include "context.h"

#include "adze/model.h"
#include "base/base.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "faulty.h"

static char folder[256];

static int make_folder(void **state) {
    (void)state;
    faulty_folder(folder, sizeof folder);
    return 0;
}

static int drop_folder(void **state) {
    (void)state;
    faulty_folder_drop(folder);
    return 0;
}

static const char *file(void) {
    static char path[300];
    snprintf(path, sizeof path, "%s/t.safetensors", folder);
    return path;
}

/* A file's bytes: the length, the header, and n bytes of data that count up. */
static uint8_t *make(const char *header, size_t data, size_t *n) {
    size_t h = strlen(header);
    *n = 8 + h + data;
    uint8_t *b = calloc(1, *n);
    for (int i = 0; i < 8; i++) {
        b[i] = (uint8_t)((uint64_t)h >> (8 * i));
    }
    memcpy(b + 8, header, h);
    for (size_t i = 0; i < data; i++) {
        b[8 + h + i] = (uint8_t)(i + 1);
    }
    return b;
}

static int open_bytes(adze_ctx *ctx, const char *header, size_t data, adze_safetensors **f) {
    size_t n;
    uint8_t *b = make(header, data, &n);
    int status = adze_safetensors_parse(ctx, b, n, "x", f);
    free(b);
    return status;
}

static void every_dtype_comes_back(void **state) {
    adze_ctx *ctx = *state;
    adze_named t[ADZE_NDTYPES + 2];
    char names[ADZE_NDTYPES + 2][16];
    int n = 0;
    for (int d = ADZE_NONE + 1; d < ADZE_NDTYPES; d++, n++) {
        adze_type type = adze_type_make((adze_dtype)d, 2, (int64_t[]){3, 5});
        assert_int_equal(adze_tensor_new(ctx, type, &t[n].t), ADZE_OK);
        uint8_t *bytes = adze_tensor_data(&t[n].t);
        for (int64_t i = 0; i < adze_type_bytes(&type); i++) {
            bytes[i] = d == ADZE_BOOL ? (uint8_t)(i & 1) : (uint8_t)(i * 37 + d);
        }
        snprintf(names[n], sizeof names[n], "t\"%d\xc3\xa9", d);
        t[n].name = names[n];
    }
    assert_int_equal(adze_tensor_new(ctx, adze_scalar_type(ADZE_F32), &t[n].t), ADZE_OK);
    adze_tensor_set(&t[n].t, 0, 4.25);
    t[n++].name = "scalar";
    assert_int_equal(adze_tensor_new(ctx, adze_type_make(ADZE_F32, 2, (int64_t[]){0, 7}), &t[n].t), ADZE_OK);
    t[n++].name = "";
    adze_meta meta[] = {{"format", "pt"}, {"a\nb", "\xe2\x82\xac \\ \" \x01"}};
    if (adze_safetensors_save(ctx, file(), t, n, meta, 2) != ADZE_OK) {
        fail_msg("%s", adze_errmsg(ctx));
    }
    adze_safetensors *f;
    if (adze_safetensors_open(ctx, file(), &f) != ADZE_OK) {
        fail_msg("%s", adze_errmsg(ctx));
    }
    assert_int_equal(adze_safetensors_count(f), n);
    assert_string_equal(adze_safetensors_meta(f, "format"), "pt");
    assert_string_equal(adze_safetensors_meta(f, "a\nb"), meta[1].value);
    assert_null(adze_safetensors_meta(f, "none"));
    assert_null(adze_safetensors_meta(f, "hash")); /* Adze's own, not the user's */
    assert_int_equal(adze_safetensors_find(f, "nobody"), -1);
    for (int i = 0; i < n; i++) {
        adze_tensor got;
        int at = adze_safetensors_find(f, t[i].name);
        assert_true(at >= 0);
        assert_string_equal(adze_safetensors_name(f, at), t[i].name);
        assert_int_equal(adze_safetensors_tensor(f, at, &got), ADZE_OK);
        adze_type a = adze_tensor_type(&t[i].t), b = adze_tensor_type(&got);
        assert_true(adze_type_equal(&a, &b));
        assert_int_equal((uintptr_t)adze_tensor_data(&got) % adze_dtype_size(b.dtype), 0);
        assert_memory_equal(adze_tensor_data(&got), adze_tensor_data(&t[i].t), (size_t)adze_type_bytes(&a));
        adze_tensor_free(&t[i].t);
    }
    adze_tensor none;
    assert_int_equal(adze_safetensors_tensor(f, n, &none), ADZE_EARG);
    assert_int_equal(adze_safetensors_tensor(f, -1, &none), ADZE_EARG);
    adze_safetensors_close(f);
}

static void strided_views_are_written_in_order(void **state) {
    adze_ctx *ctx = *state;
    adze_tensor t, got;
    assert_int_equal(adze_tensor_new(ctx, adze_type_make(ADZE_F32, 2, (int64_t[]){2, 3}), &t), ADZE_OK);
    for (int i = 0; i < 6; i++) {
        adze_tensor_set(&t, i, i);
    }
    adze_tensor turned = t;
    turned.dims[0] = 3, turned.dims[1] = 2;
    turned.strides[0] = 1, turned.strides[1] = 3;
    adze_named named = {"x", turned};
    assert_int_equal(adze_safetensors_save(ctx, file(), &named, 1, NULL, 0), ADZE_OK);
    adze_safetensors *f;
    assert_int_equal(adze_safetensors_open(ctx, file(), &f), ADZE_OK);
    assert_int_equal(adze_safetensors_tensor(f, 0, &got), ADZE_OK);
    for (int i = 0; i < 6; i++) {
        assert_true(adze_tensor_get(&got, i) == i % 2 * 3 + i / 2);
    }
    adze_safetensors_close(f);
    adze_tensor_free(&t);
}

static void data_begins_at_a_multiple_of_64(void **state) {
    adze_ctx *ctx = *state;
    char name[80] = "";
    for (int i = 0; i < 70; i++) {
        name[i] = 'n';
        adze_tensor t;
        assert_int_equal(adze_tensor_new(ctx, adze_scalar_type(ADZE_U8), &t), ADZE_OK);
        adze_named named = {name, t};
        assert_int_equal(adze_safetensors_save(ctx, file(), &named, 1, NULL, 0), ADZE_OK);
        adze_tensor_free(&t);
        void *bytes;
        int64_t n;
        assert_int_equal(adze_read_file(ctx, file(), 1 << 20, &bytes, &n), ADZE_OK);
        uint64_t header;
        memcpy(&header, bytes, 8);
        assert_int_equal((header + 8) % 64, 0);
        assert_int_equal((int64_t)header + 8 + 1, n);
        assert_int_equal(((char *)bytes)[8], '{');
        adze_free(ctx, bytes);
    }
}

/* Files that others wrote: no hashes, no padding, tensors that lie unaligned, keys in any order, white space. */
static void foreign_files_open(void **state) {
    adze_safetensors *f;
    adze_tensor t;
    const char *h =
        "{ \"b\" :{\"data_offsets\":[1,9],\"shape\":[ 2 ],\n\"dtype\":\"F32\"},\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}  ";
    assert_int_equal(open_bytes(*state, h, 9, &f), ADZE_OK);
    assert_int_equal(adze_safetensors_tensor(f, adze_safetensors_find(f, "b"), &t), ADZE_OK);
    assert_int_equal((uintptr_t)adze_tensor_data(&t) % 4, 0);
    static const uint8_t want[8] = {2, 3, 4, 5, 6, 7, 8, 9};
    assert_memory_equal(adze_tensor_data(&t), want, 8);
    adze_safetensors_close(f);
    assert_int_equal(open_bytes(*state, "{}", 0, &f), ADZE_OK);
    assert_int_equal(adze_safetensors_count(f), 0);
    adze_safetensors_close(f);
    assert_int_equal(open_bytes(*state, "{\"__metadata__\":{\"k\":\"\\u00e9\\ud83d\\ude00\\n\"}}", 0, &f), ADZE_OK);
    assert_string_equal(adze_safetensors_meta(f, "k"), "\xc3\xa9\xf0\x9f\x98\x80\n");
    adze_safetensors_close(f);
}

#define T(dtype, shape, offsets) "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static void every_broken_rule_is_named(void **state) {
    static const struct {
        const char *header;
        size_t data;
        const char *says;
    } rows[] = {
        {"", 0, "does not begin with '{'"},
        {" {}", 0, "does not begin with '{'"},
        {"[]", 0, "does not begin with '{'"},
        {"{", 0, "a text was expected"},
        {"{}x", 0, "something after the header's end"},
        {"{\"a\":" T("U8", "[1]", "[0,1]"), 1, "a header without its end"},
        {"{\"a\":" T("U8", "[1]", "[0,1]") ",}", 1, "a text was expected"},
        {"{\"a\"" T("U8", "[1]", "[0,1]") "}", 1, "a colon was expected"},
        {"{\"a\":" T("U8", "[1]", "[0,1]") ",\"a\":" T("U8", "[1]", "[1,2]") "}", 2, "tensor 'a' is there twice"},
        {"{\"a\":" T("U8", "[1]", "[0,1]") ",\"b\":" T("U8", "[1]", "[0,1]") "}", 1, "overlaps another one"},
        {"{\"a\":" T("U8", "[2]", "[0,2]") ",\"b\":" T("U8", "[2]", "[1,3]") "}", 3, "tensor 'b' overlaps another one"},
        {"{\"a\":" T("U8", "[1]", "[0,1]") ",\"b\":" T("U8", "[1]", "[2,3]") "}", 3, "tensor 'b' has a hole before it"},
        {"{\"a\":" T("U8", "[1]", "[1,2]") "}", 2, "tensor 'a' has a hole before it"},
        {"{\"a\":" T("U8", "[1]", "[0,1]") "}", 3, "2 bytes that belong to no tensor"},
        {"{}", 1, "1 bytes that belong to no tensor"},
        {"{\"a\":" T("U8", "[2]", "[0,2]") "}", 1, "data_offsets outside the file"},
        {"{\"a\":" T("U8", "[0]", "[1,0]") "}", 1, "data_offsets outside the file"},
        {"{\"a\":" T("F32", "[1]", "[0,2]") "}", 2, "do not fit its dtype and shape"},
        {"{\"a\":" T("U8", "[4294967296,4294967296]", "[0,0]") "}", 0, "do not fit in 63 bits"},
        {"{\"a\":" T("F64", "[2305843009213693952]", "[0,0]") "}", 0, "do not fit in 63 bits"},
        {"{\"a\":" T("U8", "[99999999999999999999]", "[0,0]") "}", 0, "a size that does not fit in 63 bits"},
        {"{\"a\":" T("U8", "[-1]", "[0,1]") "}", 1, "a size was expected"},
        {"{\"a\":" T("U8", "[1.0]", "[0,1]") "}", 1, "a list without its end"},
        {"{\"a\":" T("U8", "[01]", "[0,1]") "}", 1, "a size was expected"},
        {"{\"a\":" T("U8", "[1,]", "[0,1]") "}", 1, "a size was expected"},
        {"{\"a\":" T("U8", "1", "[0,1]") "}", 1, "a list of sizes was expected"},
        {"{\"a\":" T("U8", "[1,1,1,1,1,1,1,1,1]", "[0,1]") "}", 1, "a tensor of more than 8 axes"},
        {"{\"a\":" T("U8", "[1]", "[0]") "}", 1, "data_offsets without two numbers"},
        {"{\"a\":" T("U8", "[1]", "[]") "}", 1, "data_offsets without two numbers"},
        {"{\"a\":" T("U8", "[1]", "[0,1,2]") "}", 1, "data_offsets with more than two numbers"},
        {"{\"a\":" T("U9", "[1]", "[0,1]") "}", 1, "an unknown dtype"},
        {"{\"a\":" T("f32", "[0]", "[0,0]") "}", 0, "an unknown dtype"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, "tensor 'a' lacks its dtype, shape or data_offsets"},
        {"{\"a\":{}}", 0, "a text was expected"},
        {"{\"a\":[]}", 0, "a tensor's map was expected"},
        {"{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "the same key twice"},
        {"{\"a\":{\"type\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "a key that is not dtype, shape or data_offsets"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]", 1, "a tensor's map without its end"},
        {"{\"__metadata__\":[]}", 0, "__metadata__ must be a map of texts"},
        {"{\"__metadata__\":{\"a\":1}}", 0, "a text was expected"},
        {"{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", 0, "the metadata key 'a' is there twice"},
        {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "a second __metadata__"},
        {"{\"__metadata__\":{\"a\":\"1\"}", 0, "a header without its end"},
        {"{\"a", 0, "a text without its end"},
        {"{\"\\x\":" T("U8", "[0]", "[0,0]") "}", 0, "an unknown escape"},
        {"{\"\\u12\":" T("U8", "[0]", "[0,0]") "}", 0, "a broken \\u escape"},
        {"{\"\\ud800\":" T("U8", "[0]", "[0,0]") "}", 0, "half a surrogate pair"},
        {"{\"\\udc00\":" T("U8", "[0]", "[0,0]") "}", 0, "half a surrogate pair"},
        {"{\"\\u0000\":" T("U8", "[0]", "[0,0]") "}", 0, "a zero in a text"},
        {"{\"\xff\":" T("U8", "[0]", "[0,0]") "}", 0, "not UTF-8"},
        {"{\"\xc0\x80\":" T("U8", "[0]", "[0,0]") "}", 0, "not UTF-8"},
        {"{\"\xed\xa0\x80\":" T("U8", "[0]", "[0,0]") "}", 0, "not UTF-8"},
        {"{\"a\tb\":" T("U8", "[0]", "[0,0]") "}", 0, "control characters"},
        {"{\"__metadata__\":{\"hash\":\"00000000000000000000000000000000\"}}", 0, "its header does not match its hash"},
        {"{\"__metadata__\":{\"hash.a\":\"00000000000000000000000000000000\"},\"a\":" T("U8", "[0]", "[0,0]") "}", 0,
         "some of its hashes are missing"},
        {"{\"__metadata__\":{\"hash.a\":\"zz\"},\"a\":" T("U8", "[0]", "[0,0]") "}", 0, "no hash stands under the metadata key 'hash.a'"},
        {"{\"__metadata__\":{\"hash.b\":\"00000000000000000000000000000000\"},\"a\":" T("U8", "[0]", "[0,0]") "}", 0,
         "there is a hash but no tensor 'b'"},
    };
    for (size_t i = 0; i < ADZE_COUNT(rows); i++) {
        adze_safetensors *f = NULL;
        int status = open_bytes(*state, rows[i].header, rows[i].data, &f);
        if (status != ADZE_EFORMAT || f || !strstr(adze_errmsg(*state), rows[i].says) || strncmp(adze_errmsg(*state), "'x' ", 4) != 0) {
            fail_msg("%s: %d, %s; expected '%s'", rows[i].header, status, adze_errmsg(*state), rows[i].says);
        }
    }
}

static void lengths_are_checked_before_memory_is_asked(void **state) {
    static const uint64_t lengths[] = {3, 100000000, 100000001, UINT64_C(1) << 40, INT64_MAX, UINT64_MAX, UINT64_MAX - 7};
    for (size_t i = 0; i < ADZE_COUNT(lengths); i++) {
        uint8_t b[10] = {0, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
        for (int k = 0; k < 8; k++) {
            b[k] = (uint8_t)(lengths[i] >> (8 * k));
        }
        adze_safetensors *f;
        assert_int_equal(adze_safetensors_parse(*state, b, sizeof b, "x", &f), ADZE_EFORMAT);
        assert_non_null(strstr(adze_errmsg(*state), "its header claims"));
    }
    for (size_t n = 0; n < 8; n++) {
        adze_safetensors *f;
        assert_int_equal(adze_safetensors_parse(*state, "\2\0\0\0\0\0\0\0", n, "x", &f), ADZE_EFORMAT);
    }
    assert_true(adze_ctx_mem_peak(*state) < 1 << 16);
}

/* A small file with hashes, as Adze writes it. */
static uint8_t *small_file(adze_ctx *ctx, int64_t *n) {
    adze_named t[3];
    static const char *const names[] = {"c1:w", "c1:b", "count"};
    static const adze_dtype dtypes[] = {ADZE_F32, ADZE_F64, ADZE_U8};
    for (int i = 0; i < 3; i++) {
        t[i].name = names[i];
        assert_int_equal(adze_tensor_new(ctx, adze_type_make(dtypes[i], 1, (int64_t[]){3 + i}), &t[i].t), ADZE_OK);
        for (int k = 0; k < 3 + i; k++) {
            adze_tensor_set(&t[i].t, k, 2 * k + i);
        }
    }
    adze_meta meta = {"adze.model", "{\"name\":\"x\"}"};
    assert_int_equal(adze_safetensors_save(ctx, file(), t, 3, &meta, 1), ADZE_OK);
    void *bytes;
    assert_int_equal(adze_read_file(ctx, file(), 1 << 20, &bytes, n), ADZE_OK);
    for (int i = 0; i < 3; i++) {
        adze_tensor_free(&t[i].t);
    }
    return bytes;
}

static void truncation_at_every_byte_is_refused(void **state) {
    int64_t n;
    uint8_t *b = small_file(*state, &n);
    for (int64_t k = 0; k < n; k++) {
        adze_safetensors *f = NULL;
        assert_int_equal(adze_safetensors_parse(*state, b, (size_t)k, "x", &f), ADZE_EFORMAT);
        assert_null(f);
    }
    adze_free(*state, b);
}

/* 1 when the file reads as the one that was written, 0 when it is refused; anything else is wrong data. */
static int same_content(adze_ctx *ctx, const uint8_t *b, int64_t n) {
    adze_safetensors *f;
    static const char *const names[] = {"c1:w", "c1:b", "count"};
    static const adze_dtype dtypes[] = {ADZE_F32, ADZE_F64, ADZE_U8};
    if (adze_safetensors_parse(ctx, b, (size_t)n, "x", &f) != ADZE_OK) {
        assert_int_equal(adze_errcode(ctx), ADZE_EFORMAT);
        return 0;
    }
    int same = 1;
    if (adze_safetensors_count(f) != 3 || !adze_safetensors_meta(f, "adze.model") ||
        strcmp(adze_safetensors_meta(f, "adze.model"), "{\"name\":\"x\"}") != 0) {
        same = -1;
    }
    for (int i = 0; i < 3 && same > 0; i++) {
        adze_tensor t;
        int at = adze_safetensors_find(f, names[i]);
        if (at < 0) {
            same = -1;
        } else if (adze_safetensors_tensor(f, at, &t) != ADZE_OK) {
            same = 0;
        } else if (t.dtype != dtypes[i] || t.rank != 1 || t.dims[0] != 3 + i) {
            same = -1;
        }
        for (int k = 0; same > 0 && k < 3 + i; k++) {
            same = adze_tensor_get(&t, k) == 2 * k + i ? 1 : -1;
        }
    }
    adze_safetensors_close(f);
    return same;
}

/* Every value of every byte would be 256 times the file; all 8 single bits and two other values are tried at each place. */
static void every_single_byte_flip_is_found_or_harmless(void **state) {
    int64_t n, found = 0;
    uint8_t *b = small_file(*state, &n);
    assert_int_equal(same_content(*state, b, n), 1);
    for (int64_t k = 0; k < n; k++) {
        for (int v = 0; v < 12; v++) {
            static const char others[] = "\xff 0\n";
            uint8_t old = b[k];
            b[k] = (uint8_t)(v < 8 ? old ^ (1 << v) : others[v - 8]);
            int same = same_content(*state, b, n);
            if (same < 0) {
                fail_msg("byte %lld from %d to %d gave wrong data", (long long)k, old, b[k]);
            }
            found += same == 0;
            b[k] = old;
        }
    }
    assert_true(found > 11 * n / 2); /* most flips do harm; only white space for white space does none */
    adze_free(*state, b);
}

/* The n-th request for memory is refused, for every n: a status, no leak, no damage. */
static void every_refused_request_is_survived(void **state) {
    (void)state;
    faulty_mem mem;
    faulty_mem_init(&mem);
    adze_ctx *ctx;
    adze_ctx_opts o = {.size = sizeof o, .threads = 1, .mem = &mem.table};
    assert_int_equal(adze_ctx_new(&o, &ctx), ADZE_OK);
    int64_t n;
    uint8_t *b = small_file(ctx, &n);
    int status = ADZE_ENOMEM, failures = 0;
    for (long k = 1; status != ADZE_OK; k++, failures++) {
        adze_tensor t;
        adze_safetensors *f = NULL;
        faulty_mem_arm(&mem, k, k % 2);
        status = adze_safetensors_parse(ctx, b, (size_t)n, "x", &f);
        if (status == ADZE_OK) {
            status = adze_safetensors_tensor(f, 1, &t);
        }
        adze_safetensors_close(f);
        faulty_mem_arm(&mem, 0, false);
        assert_true(status == ADZE_OK || status == ADZE_ENOMEM);
        assert_true(k < 1000);
    }
    assert_true(failures > 5);
    adze_tensor t;
    assert_int_equal(adze_tensor_new(ctx, adze_scalar_type(ADZE_F32), &t), ADZE_OK);
    adze_named named = {"x", t};
    adze_meta meta = {"k", "v"};
    status = ADZE_ENOMEM;
    for (long k = 1; status != ADZE_OK; k++) {
        faulty_mem_arm(&mem, k, k % 2);
        status = adze_safetensors_save(ctx, file(), &named, 1, &meta, 1);
        faulty_mem_arm(&mem, 0, false);
        assert_true(status == ADZE_OK || status == ADZE_ENOMEM);
        assert_true(k < 1000);
    }
    adze_tensor_free(&t);
    adze_free(ctx, b);
    adze_ctx_free(ctx);
    assert_true(faulty_mem_clean(&mem));
}

static void writer_refuses_what_no_reader_takes(void **state) {
    adze_tensor t;
    assert_int_equal(adze_tensor_new(*state, adze_scalar_type(ADZE_F32), &t), ADZE_OK);
    adze_named twice[] = {{"a", t}, {"b", t}, {"a", t}}, reserved = {"__metadata__", t};
    adze_meta hash = {"hash.a", ""}, both[] = {{"k", "1"}, {"k", "2"}};
    assert_int_equal(adze_safetensors_save(*state, file(), twice, 3, NULL, 0), ADZE_EARG);
    assert_non_null(strstr(adze_errmsg(*state), "there are two tensors called 'a'"));
    assert_int_equal(adze_safetensors_save(*state, file(), &reserved, 1, NULL, 0), ADZE_EARG);
    assert_int_equal(adze_safetensors_save(*state, file(), twice, 2, &hash, 1), ADZE_EARG);
    assert_int_equal(adze_safetensors_save(*state, file(), twice, 2, both, 2), ADZE_EARG);
    assert_non_null(strstr(adze_errmsg(*state), "there are two metadata keys called 'k'"));
    assert_int_equal(adze_safetensors_save(*state, "/nonexistent/x", twice, 2, NULL, 0), ADZE_EIO);
    adze_tensor_free(&t);
}

/* Random headers made of the format's own words: a tensor or a sentence, never a crash, and memory bounded by the file. */
static void random_headers_never_crash(void **state) {
    static const char *const words[] = {"{",         "}",
                                        "[",         "]",
                                        ",",         ":",
                                        "\"a\"",     "\"dtype\"",
                                        "\"shape\"", "\"data_offsets\"",
                                        "1",         "0",
                                        "\"U8\"",    "\"__metadata__\"",
                                        "\"hash\"",  "\"b\"",
                                        " ",         "\\",
                                        "\"",        "\"a\":" T("U8", "[1]", "[0,1]"),
                                        "8,",        "[0,1]"};
    adze_rng r = adze_rng_make(3, 9);
    for (int i = 0; i < 30000; i++) {
        char h[512] = "{";
        for (uint64_t k = adze_rng_below(&r, 14); k > 0; k--) {
            strcat(h, words[adze_rng_below(&r, ADZE_COUNT(words))]);
        }
        adze_safetensors *f;
        int status = open_bytes(*state, h, adze_rng_below(&r, 3), &f);
        if (status == ADZE_OK) {
            adze_safetensors_close(f);
        } else {
            assert_int_equal(status, ADZE_EFORMAT);
        }
    }
    assert_true(adze_ctx_mem_peak(*state) < 1 << 17);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_dtype_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(strided_views_are_written_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(data_begins_at_a_multiple_of_64, setup, teardown),
        cmocka_unit_test_setup_teardown(foreign_files_open, setup, teardown),
        cmocka_unit_test_setup_teardown(every_broken_rule_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(lengths_are_checked_before_memory_is_asked, setup, teardown),
        cmocka_unit_test_setup_teardown(truncation_at_every_byte_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(every_single_byte_flip_is_found_or_harmless, setup, teardown),
        cmocka_unit_test(every_refused_request_is_survived),
        cmocka_unit_test_setup_teardown(writer_refuses_what_no_reader_takes, setup, teardown),
        cmocka_unit_test_setup_teardown(random_headers_never_crash, setup, teardown),
    };
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
