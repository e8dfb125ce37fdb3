/* Whole files: reading with a limit, durable replacement, appending, folders. All through the context's file table. */
#include "base/ctx.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

enum {
    PATH_LONGEST = 4096,
    READ_AT_ONCE = 1 << 16 /* the first request for a file whose size is unknown */
};

int adze_fail_errno(adze_ctx *ctx, int err, const char *verb, const char *path) {
    return adze_fail(ctx, ADZE_EIO, "cannot %s '%s': %s", verb, path, strerror(err < 0 ? -err : err));
}

static int fail_write(adze_ctx *ctx, int err, const char *path, int64_t bytes) {
    if (err == -ENOSPC || err == -EDQUOT) {
        return adze_fail(ctx, ADZE_EIO, "cannot write '%s': %s; %lld bytes are needed", path, strerror(-err), (long long)bytes);
    }
    return adze_fail_errno(ctx, err, "write", path);
}

/* Both repeat what a signal interrupted and what came up short; the result is minus an errno, or the bytes moved. */
static int64_t read_full(const adze_fs *fs, int fd, char *buf, int64_t n) {
    int64_t done = 0;
    while (done < n) {
        int64_t got = fs->read(fs->user, fd, buf + done, (size_t)(n - done));
        if (got == 0) {
            break;
        }
        if (got < 0 && got != -EINTR) {
            return got;
        }
        done += got > 0 ? got : 0;
    }
    return done;
}

static int write_full(const adze_fs *fs, int fd, const char *buf, int64_t n) {
    for (int64_t done = 0; done < n;) {
        int64_t put = fs->write(fs->user, fd, buf + done, (size_t)(n - done));
        if (put == 0) {
            return -EIO; /* no progress and no reason: do not try for ever */
        }
        if (put < 0 && put != -EINTR) {
            return (int)put;
        }
        done += put > 0 ? put : 0;
    }
    return 0;
}

static int sync_full(const adze_fs *fs, int fd) {
    int r;
    do {
        r = fs->sync(fs->user, fd);
    } while (r == -EINTR);
    return r;
}

int adze_sync_folder(adze_ctx *ctx, const char *path) {
    int r;
    do {
        r = ctx->fs.sync_dir(ctx->fs.user, path);
    } while (r == -EINTR);
    return r;
}

/* Closing is not repeated: after EINTR the descriptor is gone on Linux. */
static int close_once(const adze_fs *fs, int fd) {
    int r = fs->close(fs->user, fd);
    return r == -EINTR ? 0 : r;
}

static int open_full(const adze_fs *fs, const char *path, int mode) {
    int fd;
    do {
        fd = fs->open(fs->user, path, mode);
    } while (fd == -EINTR);
    return fd;
}

typedef struct reading {
    adze_ctx *ctx;
    const char *path;
    int fd;
    int64_t limit; /* 0 or less: none */
    char *bytes;
    int64_t n, cap;
} reading;

/* Memory follows what has really been read; a size told by stat is only the first guess. */
static int read_all(reading *r) {
    for (;;) {
        if (r->n + 1 >= r->cap) {
            int64_t cap = r->cap * 2;
            char *more = adze_resize(r->ctx, r->bytes, r->n, cap, 1);
            TRY(ADZE_GOT(more));
            r->bytes = more;
            r->cap = cap;
        }
        int64_t want = r->cap - 1 - r->n;
        int64_t got = read_full(&r->ctx->fs, r->fd, r->bytes + r->n, want);
        if (got < 0) {
            return adze_fail_errno(r->ctx, (int)got, "read", r->path);
        }
        r->n += got;
        if (r->limit > 0 && r->n > r->limit) {
            return adze_fail(r->ctx, ADZE_EFORMAT, "'%s' is longer than the %lld bytes allowed here", r->path, (long long)r->limit);
        }
        if (got < want) {
            r->bytes[r->n] = 0;
            return ADZE_OK;
        }
    }
}

int adze_read_file(adze_ctx *ctx, const char *path, int64_t max_bytes, void **bytes, int64_t *n) {
    const adze_fs *fs = &ctx->fs;
    adze_fstat st;
    *bytes = NULL;
    *n = 0;
    int err = fs->stat(fs->user, path, &st);
    if (err < 0) {
        return adze_fail_errno(ctx, err, "read", path);
    }
    if (st.is_dir) {
        return adze_fail_errno(ctx, EISDIR, "read", path);
    }
    if (max_bytes > 0 && st.size > max_bytes) {
        return adze_fail(ctx, ADZE_EFORMAT, "'%s' has %lld bytes, more than the %lld allowed here", path, (long long)st.size, (long long)max_bytes);
    }
    reading r = {.ctx = ctx, .path = path, .limit = max_bytes, .fd = open_full(fs, path, ADZE_OPEN_READ)};
    if (r.fd < 0) {
        return adze_fail_errno(ctx, r.fd, "open", path);
    }
    r.cap = (st.size > 0 ? st.size : READ_AT_ONCE) + 2;
    r.bytes = adze_alloc(ctx, r.cap, 1);
    int status = r.bytes ? read_all(&r) : ADZE_ENOMEM;
    close_once(fs, r.fd);
    if (status != ADZE_OK) {
        adze_free(ctx, r.bytes);
        return status;
    }
    *bytes = r.bytes;
    *n = r.n;
    return ADZE_OK;
}

/* The folder that holds path. */
static int folder_of(adze_ctx *ctx, const char *path, char *out) {
    const char *last = strrchr(path, '/');
    size_t n = last ? (size_t)(last - path) : 0;
    if (n + 1 > PATH_LONGEST) {
        return adze_fail(ctx, ADZE_EARG, "a path of %zu bytes is too long", strlen(path));
    }
    if (!last) {
        strcpy(out, ".");
    } else if (n == 0) {
        strcpy(out, "/");
    } else {
        memcpy(out, path, n);
        out[n] = 0;
    }
    return ADZE_OK;
}

static int write_temp(adze_ctx *ctx, int fd, const adze_piece *pieces, int npieces, int64_t total) {
    const adze_fs *fs = &ctx->fs;
    int err;
    do {
        err = total > 0 ? fs->reserve(fs->user, fd, total) : 0;
    } while (err == -EINTR);
    for (int i = 0; i < npieces && err == 0; i++) {
        err = write_full(fs, fd, pieces[i].bytes, pieces[i].n);
    }
    return err == 0 ? sync_full(fs, fd) : err;
}

int adze_replace_file(adze_ctx *ctx, const char *path, const adze_piece *pieces, int npieces) {
    const adze_fs *fs = &ctx->fs;
    char folder[PATH_LONGEST], temp[PATH_LONGEST];
    int64_t total = 0;
    for (int i = 0; i < npieces; i++) {
        if (!adze_add_size(total, pieces[i].n, &total)) {
            return adze_fail(ctx, ADZE_EARG, "cannot write '%s': a piece has the impossible size %lld", path, (long long)pieces[i].n);
        }
    }
    adze_fstat old = {0};
    int err;
    do {
        err = fs->stat(fs->user, path, &old);
    } while (err == -EINTR);
    if (err < 0 || old.is_special) { /* a new file would take a device's place */
        return err < 0 ? fail_write(ctx, err, path, total)
                       : adze_fail(ctx, ADZE_EARG, "cannot write '%s': it is no file but a device or a pipe; name a file", path);
    }
    TRY(folder_of(ctx, path, folder));
    int len = snprintf(temp, sizeof temp, "%s.tmp-%ld-%u", path, (long)getpid(), atomic_fetch_add(&ctx->temps, 1));
    if (len < 0 || (size_t)len >= sizeof temp) {
        return adze_fail(ctx, ADZE_EARG, "a path of %zu bytes is too long", strlen(path));
    }
    int fd = open_full(fs, temp, ADZE_OPEN_CREATE);
    if (fd < 0) {
        return fail_write(ctx, fd, path, total);
    }
    err = write_temp(ctx, fd, pieces, npieces, total);
    int closed = close_once(fs, fd);
    err = err < 0 ? err : closed;
    err = err < 0 ? err : fs->rename(fs->user, temp, path);
    if (err < 0) {
        fs->unlink(fs->user, temp);
        return fail_write(ctx, err, path, total);
    }
    err = adze_sync_folder(ctx, folder);
    return err < 0 ? adze_fail_errno(ctx, err, "make the new name durable of", path) : ADZE_OK;
}

int adze_append_file(adze_ctx *ctx, const char *path, const char *text) {
    const adze_fs *fs = &ctx->fs;
    int64_t n = (int64_t)strlen(text);
    int fd = open_full(fs, path, ADZE_OPEN_APPEND);
    if (fd < 0) {
        return fail_write(ctx, fd, path, n);
    }
    int err = write_full(fs, fd, text, n);
    err = err < 0 ? err : sync_full(fs, fd);
    int closed = close_once(fs, fd);
    err = err < 0 ? err : closed;
    return err < 0 ? fail_write(ctx, err, path, n) : ADZE_OK;
}

/* One folder whose parent exists. */
static int make_dir(adze_ctx *ctx, const char *path) {
    const adze_fs *fs = &ctx->fs;
    adze_fstat st;
    int err = fs->stat(fs->user, path, &st);
    if (err == 0 && st.exists) {
        return st.is_dir ? ADZE_OK : adze_fail_errno(ctx, ENOTDIR, "make the folder", path);
    }
    err = fs->mkdir(fs->user, path);
    if (err == -EEXIST) { /* another process was faster */
        err = fs->stat(fs->user, path, &st);
        err = err < 0 || st.is_dir ? err : -ENOTDIR;
    }
    return err < 0 ? adze_fail_errno(ctx, err, "make the folder", path) : ADZE_OK;
}

int adze_make_dirs(adze_ctx *ctx, const char *path) {
    char part[PATH_LONGEST];
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof part) {
        return adze_fail(ctx, ADZE_EARG, "cannot make a folder with a name of %zu bytes", n);
    }
    for (size_t i = 1; i <= n; i++) {
        if ((path[i] == '/' || path[i] == 0) && path[i - 1] != '/') {
            memcpy(part, path, i);
            part[i] = 0;
            TRY(make_dir(ctx, part));
        }
    }
    return ADZE_OK;
}

bool adze_path_exists(adze_ctx *ctx, const char *path) {
    adze_fstat st;
    return ctx->fs.stat(ctx->fs.user, path, &st) == 0 && st.exists;
}

int adze_path_join(char *out, size_t n, const char *dir, const char *name) {
    size_t len = dir ? strlen(dir) : 0;
    const char *between = len && dir[len - 1] != '/' ? "/" : "";
    int got = snprintf(out, n, "%s%s%s", dir ? dir : "", between, name);
    return got >= 0 && (size_t)got < n ? ADZE_OK : ADZE_EARG;
}
