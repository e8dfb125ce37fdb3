/* Status codes: one table with the name of each and the exit code of the command that stands for it. */
#include "base/base.h"

typedef struct status_row {
    int status;
    const char *name;
    int exit_code;
} status_row;

static const status_row STATUS[] = {
    {ADZE_OK, "ADZE_OK", 0},
    {ADZE_EARG, "ADZE_EARG", 2},
    {ADZE_ESHAPE, "ADZE_ESHAPE", 2},
    {ADZE_ETYPE, "ADZE_ETYPE", 2},
    {ADZE_ENOMEM, "ADZE_ENOMEM", 6},
    {ADZE_EIO, "ADZE_EIO", 4},
    {ADZE_EFORMAT, "ADZE_EFORMAT", 3},
    {ADZE_ENOSUP, "ADZE_ENOSUP", 8},
    {ADZE_EDEVICE, "ADZE_EDEVICE", 1},
    {ADZE_ECOMM, "ADZE_ECOMM", 75},
    {ADZE_EBUG, "ADZE_EBUG", 9},
    {ADZE_ENAN, "ADZE_ENAN", 7},
    {ADZE_ESTOPPED, "ADZE_ESTOPPED", 5},
};

static const status_row *status_find(int status) {
    for (size_t i = 0; i < ADZE_COUNT(STATUS); i++) {
        if (STATUS[i].status == status) {
            return &STATUS[i];
        }
    }
    return NULL;
}

const char *adze_status_name(int status) {
    const status_row *row = status_find(status);
    return row ? row->name : "unknown status";
}

int adze_status_exit_code(int status) {
    const status_row *row = status_find(status);
    return row ? row->exit_code : adze_status_exit_code(ADZE_EBUG); /* a code that is in no table is our own fault */
}

#define TEXT_OF(x) #x
#define VERSION_TEXT(a, b, c) TEXT_OF(a) "." TEXT_OF(b) "." TEXT_OF(c)

const char *adze_version(void) {
    return VERSION_TEXT(ADZE_VERSION_MAJOR, ADZE_VERSION_MINOR, ADZE_VERSION_PATCH);
}
