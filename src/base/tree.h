/* The tree that JSON and YAML become (adze_tree), the bounded JSON reader, and the JSON writer. */
#ifndef ADZE_SRC_TREE_H
#define ADZE_SRC_TREE_H

#include "base.h"
#include "adze/tree.h"

enum { ADZE_TREE_MAX_DEPTH = 32 };

/* Parses strict JSON (RFC 8259; no duplicate keys, UTF-8 checked, depth at most 32). Nodes and strings live in the arena. */
int adze_json_parse(adze_arena *a, const char *text, size_t n, const char *file, adze_tree **out);
const adze_tree *adze_tree_get(const adze_tree *map, const char *key); /* NULL when absent */
int adze_tree_len(const adze_tree *t);                                 /* children */
bool adze_json_is_plain(const char *s);                                /* true, false, or a number as JSON writes it */
size_t adze_utf8_length(const char *s);                                /* bytes of the valid UTF-8 sequence at s; 0 when there is none */
void adze_json_string(adze_text *t, const char *s);                    /* appends a quoted, escaped string */
int adze_tree_print_json(const adze_tree *t, adze_text *out);          /* canonical: no spaces, keys in given order */

/* Fills a struct from a map by its field table. Every fault is appended to `faults` as "file:line:col: sentence\n" and counted; `owner` names
 * the thing ("layer 'conv2'"). skip: keys handled elsewhere, NULL-terminated. Returns the number of faults added. */
int adze_tree_fields(adze_ctx *ctx, const adze_tree *map, const adze_field *table, void *obj, const char *file, const char *owner,
                     const char *const *skip, adze_text *faults);

#endif
