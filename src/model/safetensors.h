/* Between the reader and the writer of safetensors: the entries of a header, and the text over which its hash goes. */
#ifndef ADZE_SRC_SAFETENSORS_H
#define ADZE_SRC_SAFETENSORS_H

#include "adze/model.h"
#include "base/base.h"
#include "base/tree.h"

enum {
    ADZE_ST_MAX_HEADER = 100000000,
    ADZE_ST_MAX_ITEMS = 100000 /* tensors, and metadata keys, of one file */,
    ADZE_ST_ALIGN = 64,
    ADZE_ST_HASH_CHARS = 32
};

typedef struct adze_st_entry {
    const char *name;
    adze_type type;
    int64_t begin, end; /* bytes of the data section */
    uint64_t hash[2];
    bool hashed, checked;
} adze_st_entry;

/* An open file. */
struct adze_safetensors {
    adze_ctx *ctx;
    adze_arena arena;
    char *file;
    uint8_t *bytes;  /* the whole file */
    int64_t n, data; /* bytes; where the data section starts */
    adze_st_entry *entries;
    int count, cap;
    int *sorted; /* entry numbers by name */
    adze_meta *meta;
    int nmeta, cap_meta;
    adze_tensor *copies; /* of tensors that lie unaligned in the file */
};

int adze_st_read_header(adze_safetensors *f); /* fills entries and meta from bytes 8 to f->data, each entry checked by itself */
int adze_st_broken(const adze_safetensors *f, const char *name, const char *what); /* ADZE_EFORMAT: "... tensor 'name' what" */

const char *adze_st_dtype_name(adze_dtype d); /* "F32"; NULL when the format has none */
adze_dtype adze_st_dtype_parse(const char *name);
bool adze_st_is_hash_key(const char *key); /* "hash" and "hash.NAME": Adze's own metadata */
void adze_st_print_hash(const uint64_t hash[2], char out[ADZE_ST_HASH_CHARS + 1]);

/* The header as Adze writes it: metadata, hashes when asked for, tensors, each in the given order. Without hashes it is what "hash" is taken over. */
void adze_st_print(adze_text *t, const adze_st_entry *e, int n, const adze_meta *meta, int nmeta, const uint64_t header_hash[2]);

#endif
