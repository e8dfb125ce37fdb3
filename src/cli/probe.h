/* What this machine can do at most, measured now: multiply-adds a second by number format, bytes a second by level of memory (probe.c). */
#ifndef ADZE_SRC_CLI_PROBE_H
#define ADZE_SRC_CLI_PROBE_H

#include "cli/cli.h"

typedef enum probe_math { PROBE_F32, PROBE_F64, PROBE_BF16, PROBE_I8, PROBE_NMATH } probe_math;
typedef enum probe_stream { PROBE_READ, PROBE_COPY, PROBE_TRIAD } probe_stream;

/* The instruction that a probe leans on ("avx512 fma"), or NULL when the context's instruction set or the processor has none of the kind. */
const char *probe_math_name(const cli *c, probe_math m);
/* Operations a second (an addition and a multiplication count two) of `threads` threads over at least 0.3 ms. Without an instruction of its own,
 * bf16 and int8 are taken for f32: kernels would have to widen them. */
double probe_ops(cli *c, probe_math m, int threads);

typedef struct probe_room { /* memory that a stream passes over */
    float *at;
    int64_t floats;
} probe_room;
int probe_room_new(cli *c, int64_t bytes, probe_room *r); /* at least 16 KiB */
void probe_room_free(cli *c, probe_room *r);
/* Bytes a second, read and written ones alike, of at least one pass over the room and 0.3 ms. */
double probe_bytes(cli *c, const probe_room *r, probe_stream s, int threads);

#endif
