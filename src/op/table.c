/* The table of all ops, made from ops.def, and how it is searched. */
#include "adze/op.h"

#include <string.h>

#define ADZE_OP(name) extern const adze_op adze_op_##name;
#include "ops.def"
#undef ADZE_OP

#define ADZE_OP(name) &adze_op_##name,
static const adze_op *const TABLE[] = {
#include "ops.def"
    NULL};
#undef ADZE_OP

int adze_op_count(void) {
    return (int)(sizeof(TABLE) / sizeof(TABLE[0])) - 1;
}

const adze_op *adze_op_at(int i) {
    return i >= 0 && i < adze_op_count() ? TABLE[i] : NULL;
}

const adze_op *adze_op_find(const char *name) {
    for (int i = 0; i < adze_op_count(); i++) {
        if (strcmp(TABLE[i]->name, name) == 0) {
            return TABLE[i];
        }
    }
    return NULL;
}
