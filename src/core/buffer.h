/* Reference-counted memory, for the core alone. */
#ifndef ADZE_SRC_BUFFER_H
#define ADZE_SRC_BUFFER_H

#include "adze/core.h"

adze_buffer *adze_buffer_new(adze_ctx *ctx, int64_t bytes); /* zeroed, one reference; NULL with ADZE_ENOMEM set */
adze_buffer *adze_buffer_wrap(adze_ctx *ctx, void *data);   /* does not own data */
void adze_buffer_ref(adze_buffer *b);
void adze_buffer_unref(adze_buffer *b); /* NULL is fine */

#endif
