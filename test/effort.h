/* How much a test looks at, from the environment: ADZE_QUICK=1 a part, for sanitizers and mutants; unset what `make test` has time for; ADZE_QUICK=0
 * everything. */
#ifndef ADZE_TEST_EFFORT_H
#define ADZE_TEST_EFFORT_H

#include <stdlib.h>
#include <string.h>

enum effort { QUICK, USUAL, EVERYTHING };

__attribute__((unused)) static enum effort effort(void) {
    const char *s = getenv("ADZE_QUICK");
    return s == NULL || *s == 0 ? USUAL : strcmp(s, "0") == 0 ? EVERYTHING : QUICK;
}

#endif
