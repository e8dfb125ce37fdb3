/* Tables that fail on purpose. */
#include "faulty.h"

#include "base/ctx.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* -- memory: each block carries its size in front, and a fence that is broken when it is freed -- */

enum { FRONT = 64 };
static const size_t FENCE = (size_t)0xad2efe2cead2e11d;

static void *mem_alloc(void *user, size_t bytes, size_t align) {
    faulty_mem *m = user;
    long call = atomic_fetch_add(&m->calls, 1) + 1;
    if (m->fail_at && (call == m->fail_at || (m->for_ever && call > m->fail_at))) {
        return NULL;
    }
    size_t front = align > FRONT ? align : FRONT;
    if (bytes > (size_t)1 << 40) { /* no machine has so much; sanitizers stop at such requests */
        return NULL;
    }
    char *p = aligned_alloc(front, (front + bytes + front - 1) / front * front);
    if (!p) {
        return NULL;
    }
    size_t head[3] = {bytes, FENCE, front};
    memset(p + front, 0xa5, bytes); /* nobody may take fresh memory for zeros */
    memcpy(p + front - sizeof head, head, sizeof head);
    atomic_fetch_add(&m->blocks, 1);
    atomic_fetch_add(&m->bytes, (long)bytes);
    return p + front;
}

static void mem_free(void *user, void *p, size_t bytes) {
    faulty_mem *m = user;
    size_t head[3];
    char *at = p;
    memcpy(head, at - sizeof head, sizeof head);
    if (head[1] != FENCE || head[0] != bytes) {
        atomic_fetch_add(&m->wrong_frees, 1);
        return;
    }
    size_t front = head[2];
    memset(at, 0x5a, bytes); /* whoever looks at freed memory shall notice */
    head[1] = 0;
    memcpy(at - sizeof head, head, sizeof head);
    atomic_fetch_sub(&m->blocks, 1);
    atomic_fetch_sub(&m->bytes, (long)bytes);
    free(at - front);
}

void faulty_mem_init(faulty_mem *m) {
    memset(m, 0, sizeof *m);
    m->table = (adze_mem){m, mem_alloc, mem_free};
}

void faulty_mem_arm(faulty_mem *m, long n, bool for_ever) {
    atomic_store(&m->calls, 0);
    m->fail_at = n;
    m->for_ever = for_ever;
}

bool faulty_mem_clean(const faulty_mem *m) {
    return atomic_load(&m->blocks) == 0 && atomic_load(&m->bytes) == 0 && atomic_load(&m->wrong_frees) == 0;
}

/* -- files -- */

static int trip(faulty_fs *f, const char *call) {
    f->calls++;
    if (f->fail_at && (f->calls == f->fail_at || (f->for_ever && f->calls > f->fail_at))) {
        f->failed_call = call;
        return -f->error;
    }
    return 0;
}

#define TRIP(call)                                                                                                                                   \
    faulty_fs *f = user;                                                                                                                             \
    int tripped = trip(f, call);                                                                                                                     \
    if (tripped) {                                                                                                                                   \
        return tripped;                                                                                                                              \
    }

static int f_open(void *user, const char *path, int mode) {
    TRIP("open")
    int fd = f->under.open(f->under.user, path, mode);
    f->open_files += fd >= 0;
    return fd;
}

/* A close that fails has closed all the same, as on Linux. */
static int f_close(void *user, int fd) {
    faulty_fs *f = user;
    int tripped = trip(f, "close"), r = f->under.close(f->under.user, fd);
    f->open_files--;
    return tripped ? tripped : r;
}

static size_t shorter(const faulty_fs *f, size_t n) {
    return f->at_most && n > f->at_most ? f->at_most : n;
}

static int64_t f_read(void *user, int fd, void *buf, size_t n) {
    TRIP("read")
    return f->under.read(f->under.user, fd, buf, shorter(f, n));
}

static int64_t f_write(void *user, int fd, const void *buf, size_t n) {
    TRIP("write")
    return f->under.write(f->under.user, fd, buf, shorter(f, n));
}

static int f_reserve(void *user, int fd, int64_t bytes) {
    TRIP("reserve")
    return f->under.reserve(f->under.user, fd, bytes);
}

static int f_sync(void *user, int fd) {
    TRIP("sync")
    return f->under.sync(f->under.user, fd);
}

static int f_sync_dir(void *user, const char *path) {
    TRIP("sync_dir")
    return f->under.sync_dir(f->under.user, path);
}

static int f_rename(void *user, const char *from, const char *to) {
    TRIP("rename")
    return f->under.rename(f->under.user, from, to);
}

static int f_unlink(void *user, const char *path) {
    TRIP("unlink")
    return f->under.unlink(f->under.user, path);
}

static int f_mkdir(void *user, const char *path) {
    TRIP("mkdir")
    return f->under.mkdir(f->under.user, path);
}

static int f_symlink(void *user, const char *target, const char *path) {
    TRIP("symlink")
    return f->under.symlink(f->under.user, target, path);
}

static int f_stat(void *user, const char *path, adze_fstat *out) {
    TRIP("stat")
    return f->under.stat(f->under.user, path, out);
}

static int f_list(void *user, const char *path, int (*each)(void *arg, const char *name), void *arg) {
    TRIP("list")
    return f->under.list(f->under.user, path, each, arg);
}

void faulty_fs_init(faulty_fs *f) {
    *f = (faulty_fs){.under = adze_fs_posix};
    f->table = (adze_fs){f, f_open, f_close, f_read, f_write, f_reserve, f_sync, f_sync_dir, f_rename, f_unlink, f_mkdir, f_symlink, f_stat, f_list};
}

void faulty_fs_arm(faulty_fs *f, long n, bool for_ever, int error) {
    f->calls = 0;
    f->fail_at = n;
    f->for_ever = for_ever;
    f->error = error;
    f->failed_call = NULL;
}

/* -- folders -- */

void faulty_folder(char *out, size_t n) {
    const char *base = getenv("TMPDIR");
    snprintf(out, n, "%s/adze-test-XXXXXX", base && *base ? base : "/tmp");
    if (!mkdtemp(out)) {
        perror(out);
        exit(1);
    }
}

void faulty_folder_drop(const char *path) {
    DIR *dir = opendir(path);
    if (!dir) {
        return;
    }
    for (const struct dirent *e; (e = readdir(dir));) {
        char inner[4096];
        struct stat st;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) {
            continue;
        }
        snprintf(inner, sizeof inner, "%s/%s", path, e->d_name);
        if (lstat(inner, &st) == 0 && S_ISDIR(st.st_mode)) {
            faulty_folder_drop(inner);
        } else {
            unlink(inner);
        }
    }
    closedir(dir);
    rmdir(path);
}
