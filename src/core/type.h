/* Types in messages. */
#ifndef ADZE_SRC_TYPE_H
#define ADZE_SRC_TYPE_H

#include "adze/core.h"

enum { ADZE_TYPE_TEXT = 224 }; /* bytes that hold the text of any type */
/* The text of *t, "f32 (32, 28, 28, 1)", until the block ends. */
#define ADZE_SHOWN(t) adze_type_print((t), (char[ADZE_TYPE_TEXT]){0}, ADZE_TYPE_TEXT)

#endif
