/* The tree that JSON and YAML become: maps and lists of scalars that carry their place in the file; field tables give them types. */
#ifndef ADZE_TREE_H
#define ADZE_TREE_H

#include "base.h"

typedef enum adze_tree_kind {
    ADZE_T_NULL,
    ADZE_T_SCALAR /* untyped: fields decide */,
    ADZE_T_STRING /* quoted */,
    ADZE_T_MAP,
    ADZE_T_LIST
} adze_tree_kind;
typedef struct adze_tree adze_tree;
struct adze_tree {
    adze_tree_kind kind;
    const char *key;         /* in a map; else NULL */
    const char *text;        /* scalar or string, NUL-terminated */
    int line, col;           /* from 1; 0 when unknown */
    adze_tree *child, *next; /* first child; next sibling */
};

#endif
