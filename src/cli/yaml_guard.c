/* libfyaml 0.7.12 does not look whether its first request for memory was granted, and writes through the null pointer. The linker puts this check
 * between
 * (--wrap=fy_input_create, where libfyaml is linked statically): without memory the command ends as for any other want of it. */
#include "cli/cli.h"

#include <stdlib.h>
#include <unistd.h>

void *__wrap_fy_input_create(const void *config);
extern void *__real_fy_input_create(const void *config) __attribute__((weak)); /* absent: libfyaml is a shared library, and this file does nothing */

void *__wrap_fy_input_create(const void *config) {
    static const char note[] = "adze: out of memory while reading a YAML file\n";
    void *input = __real_fy_input_create(config);
    if (!input) {
        if (write(STDERR_FILENO, note, sizeof(note) - 1) < 0) {
            /* nobody is listening: the exit code says it too */
        }
        _exit(adze_status_exit_code(ADZE_ENOMEM));
    }
    return input;
}
