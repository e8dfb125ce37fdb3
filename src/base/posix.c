/* The default file table: POSIX calls, each returning minus errno on failure. */
#include "base/ctx.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static int result(int r) {
    return r < 0 ? -errno : r;
}

static int fs_open(void *user, const char *path, int mode) {
    (void)user;
    static const int FLAGS[] = {
        [ADZE_OPEN_READ] = O_RDONLY, [ADZE_OPEN_CREATE] = O_WRONLY | O_CREAT | O_TRUNC, [ADZE_OPEN_APPEND] = O_WRONLY | O_CREAT | O_APPEND};
    if (mode < 0 || (size_t)mode >= ADZE_COUNT(FLAGS)) {
        return -EINVAL;
    }
    return result(open(path, FLAGS[mode] | O_CLOEXEC, 0666));
}

static int fs_close(void *user, int fd) {
    (void)user;
    return result(close(fd));
}

static int64_t fs_read(void *user, int fd, void *buf, size_t n) {
    (void)user;
    ssize_t got = read(fd, buf, n);
    return got < 0 ? -errno : got;
}

static int64_t fs_write(void *user, int fd, const void *buf, size_t n) {
    (void)user;
    ssize_t put = write(fd, buf, n);
    return put < 0 ? -errno : put;
}

static int fs_reserve(void *user, int fd, int64_t bytes) {
    (void)user;
    if (bytes <= 0) {
        return 0;
    }
    int r = result(fallocate(fd, 0, 0, bytes));
    return r == -EOPNOTSUPP || r == -ENOSYS || r == -EINVAL ? 0 : r; /* a file system that cannot reserve will say so when written to */
}

static int fs_sync(void *user, int fd) {
    (void)user;
    int r = result(fsync(fd));
    return r == -EINVAL || r == -EROFS ? 0 : r; /* a pipe or a terminal: nothing to make durable */
}

static int fs_sync_dir(void *user, const char *path) {
    int fd = result(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (fd < 0) {
        return fd;
    }
    int r = fs_sync(user, fd);
    close(fd);
    return r;
}

static int fs_rename(void *user, const char *from, const char *to) {
    (void)user;
    return result(rename(from, to));
}

static int fs_unlink(void *user, const char *path) {
    (void)user;
    return result(unlink(path));
}

static int fs_mkdir(void *user, const char *path) {
    (void)user;
    return result(mkdir(path, 0777));
}

static int fs_symlink(void *user, const char *target, const char *path) {
    (void)user;
    return result(symlink(target, path));
}

/* A link whose target is gone: is_link, but not exists. */
static int fs_stat(void *user, const char *path, adze_fstat *out) {
    (void)user;
    struct stat st;
    *out = (adze_fstat){0};
    int r = result(lstat(path, &st));
    if (r == 0 && S_ISLNK(st.st_mode)) {
        out->is_link = true;
        r = result(stat(path, &st));
    }
    if (r < 0) {
        return r == -ENOENT || r == -ENOTDIR ? 0 : r;
    }
    out->exists = true;
    out->is_dir = S_ISDIR(st.st_mode);
    out->is_special = !out->is_dir && !S_ISREG(st.st_mode);
    out->size = (int64_t)st.st_size;
    out->mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + (int64_t)st.st_mtim.tv_nsec;
    return 0;
}

static int fs_list(void *user, const char *path, int (*each)(void *arg, const char *name), void *arg) {
    (void)user;
    DIR *dir = opendir(path);
    if (!dir) {
        return -errno;
    }
    int r = 0;
    for (;;) {
        errno = 0;
        const struct dirent *e = readdir(dir);
        if (!e) {
            r = -errno;
            break;
        }
        bool dots = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
        if (!dots && each(arg, e->d_name) != 0) {
            break;
        }
    }
    closedir(dir);
    return r;
}

const adze_fs adze_fs_posix = {NULL,        fs_open,   fs_close,  fs_read,  fs_write,   fs_reserve, fs_sync,
                               fs_sync_dir, fs_rename, fs_unlink, fs_mkdir, fs_symlink, fs_stat,    fs_list};
