/* A library to preload: malloc and its family answer NULL from the n-th call on, or at the n-th only. It counts what a program asks for.
 *
 * FAIL_AT: n, from 1; 0 or unset: none. FAIL_ONCE=1: only that one. FAIL_COUNT: a file that gets the number of calls at exit. */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t count, size_t n);
extern void *__libc_realloc(void *p, size_t n);
extern void *__libc_memalign(size_t align, size_t n);

static atomic_long calls, fail_at;
static int once;

__attribute__((constructor)) static void begin(void) {
    const char *at = getenv("FAIL_AT"), *only = getenv("FAIL_ONCE");
    once = only != NULL && *only == '1';
    atomic_store(&calls, 0); /* those of the loader do not count */
    atomic_store(&fail_at, at != NULL ? atol(at) : 0);
}

__attribute__((destructor)) static void end(void) {
    const char *file = getenv("FAIL_COUNT");
    char text[32];
    int fd = file != NULL ? open(file, O_WRONLY | O_CREAT | O_TRUNC, 0666) : -1;
    if (fd >= 0) {
        size_t n = (size_t)snprintf(text, sizeof text, "%ld\n", atomic_load(&calls));
        if (write(fd, text, n) < 0) {
            _exit(99);
        }
        close(fd);
    }
}

static int refused(void) {
    long call = atomic_fetch_add(&calls, 1) + 1, at = atomic_load(&fail_at);
    int fails = at != 0 && (once ? call == at : call >= at);
    if (fails) {
        errno = ENOMEM;
    }
    return fails;
}

EXPORT void *malloc(size_t n) {
    return refused() ? NULL : __libc_malloc(n);
}

EXPORT void *calloc(size_t count, size_t n) {
    return refused() ? NULL : __libc_calloc(count, n);
}

EXPORT void *realloc(void *p, size_t n) {
    return refused() ? NULL : __libc_realloc(p, n);
}

EXPORT void *aligned_alloc(size_t align, size_t n) {
    return refused() ? NULL : __libc_memalign(align, n);
}

EXPORT void *memalign(size_t align, size_t n) {
    return refused() ? NULL : __libc_memalign(align, n);
}

EXPORT int posix_memalign(void **out, size_t align, size_t n) {
    void *p = refused() ? NULL : __libc_memalign(align, n);
    if (p == NULL) {
        return ENOMEM;
    }
    *out = p;
    return 0;
}
