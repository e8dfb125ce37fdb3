/* Between the reader and the writer of safetensors: the entries of a header, and the text over which its hash goes. */
#ifndef ADZE_SRC_SAFETENSORS_H
#define ADZE_SRC_SAFETENSORS_H

#include "adze/model.h"
#include "base/base.h"
#include "base/tree.h"

enum { ADZE_ST_MAX_HEADER = 100000000, ADZE_ST_ALIGN = 64, ADZE_ST_HASH_CHARS = 32 };

typedef struct adze_st_entry {
    const char *name;
    adze_type type;
    int64_t begin, end; /* bytes of the data section */
    uint64_t hash[2];
    bool hashed, checked;
} adze_st_entry;

const char *adze_st_dtype_name(adze_dtype d); /* "F32"; NULL when the format has none */
adze_dtype adze_st_dtype_parse(const char *name);
bool adze_st_is_hash_key(const char *key); /* "hash" and "hash.NAME": Adze's own metadata */
void adze_st_print_hash(const uint64_t hash[2], char out[ADZE_ST_HASH_CHARS + 1]);

/* The header as Adze writes it: metadata, hashes when asked for, tensors, each in the given order. Without hashes it is what "hash" is taken over. */
void adze_st_print(adze_text *t, const adze_st_entry *e, int n, const adze_meta *meta, int nmeta, const uint64_t header_hash[2]);

#endif
