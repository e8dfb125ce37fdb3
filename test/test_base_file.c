/* Files: whatever call fails, the old file stays whole or the new one is; nothing is left behind, nothing leaks. */
#include "faulty.h"

#include "base/base.h"
#include "base/ctx.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct scene {
    char folder[256], path[300];
    faulty_mem mem;
    faulty_fs fs;
    adze_ctx *ctx;
} scene;

static int set_up(void **state) {
    scene *s = calloc(1, sizeof *s);
    faulty_folder(s->folder, sizeof s->folder);
    snprintf(s->path, sizeof s->path, "%s/file", s->folder);
    faulty_mem_init(&s->mem);
    faulty_fs_init(&s->fs);
    *state = s;
    return adze_ctx_new(&(adze_ctx_opts){.mem = &s->mem.table, .fs = &s->fs.table, .threads = 1}, &s->ctx);
}

static int tear_down(void **state) {
    scene *s = *state;
    adze_ctx_free(s->ctx);
    faulty_folder_drop(s->folder);
    bool clean = faulty_mem_clean(&s->mem) && s->fs.open_files == 0;
    free(s);
    return clean ? 0 : -1;
}

static void write_plain(const char *path, const char *text) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static bool holds(const char *path, const char *text) {
    char got[4096] = "";
    FILE *f = fopen(path, "r");
    if (!f) {
        return false;
    }
    size_t n = fread(got, 1, sizeof got - 1, f);
    fclose(f);
    return n == strlen(text) && memcmp(got, text, n) == 0;
}

static int count_name(void *arg, const char *name) {
    (void)name;
    ++*(int *)arg;
    return 0;
}

static int files_in(scene *s) {
    int n = 0;
    assert_int_equal(s->fs.under.list(NULL, s->folder, count_name, &n), 0);
    return n;
}

static const adze_piece NEW[] = {{"the new ", 8}, {"", 0}, {"file", 4}};

static int replace(scene *s) {
    return adze_replace_file(s->ctx, s->path, NEW, 3);
}

static void a_file_is_replaced_whole(void **state) {
    scene *s = *state;
    assert_int_equal(replace(s), ADZE_OK);
    assert_true(holds(s->path, "the new file"));
    write_plain(s->path, "the old file, which was longer");
    s->fs.at_most = 3; /* short writes */
    assert_int_equal(replace(s), ADZE_OK);
    assert_true(holds(s->path, "the new file"));
    assert_int_equal(files_in(s), 1);
    assert_int_equal(adze_replace_file(s->ctx, s->path, NULL, 0), ADZE_OK);
    assert_true(holds(s->path, ""));
    assert_int_equal(adze_replace_file(s->ctx, s->path, &(adze_piece){"x", -1}, 1), ADZE_EARG);
    assert_true(holds(s->path, ""));
}

static void sweep_replace(scene *s, bool for_ever, int error) {
    s->fs.at_most = 5;
    for (long n = 1;; n++) {
        write_plain(s->path, "old");
        faulty_fs_arm(&s->fs, n, for_ever, error);
        int status = replace(s);
        const char *hit = s->fs.failed_call;
        faulty_fs_arm(&s->fs, 0, false, 0);
        if (!hit) {
            assert_int_equal(status, ADZE_OK);
            assert_true(n > 8); /* stat, open, reserve, writes, sync, close, rename, sync_dir */
            assert_true(for_ever || files_in(s) == 1);
            break;
        }
        assert_int_equal(status, ADZE_EIO);
        assert_non_null(strstr(adze_errmsg(s->ctx), s->path));
        assert_non_null(strstr(adze_errmsg(s->ctx), strerror(error)));
        bool renamed = strcmp(hit, "sync_dir") == 0;
        assert_true(holds(s->path, renamed ? "the new file" : "old"));
        if (!for_ever) { /* else unlink fails as well */
            assert_int_equal(files_in(s), 1);
        }
        assert_int_equal(s->fs.open_files, 0);
    }
}

static void the_old_file_survives_every_failing_call(void **state) {
    scene *s = *state;
    sweep_replace(s, false, EIO);
    sweep_replace(s, false, ENOSPC);
    sweep_replace(s, true, EIO);
}

static void a_full_disk_says_how_much_is_needed(void **state) {
    scene *s = *state;
    write_plain(s->path, "old");
    faulty_fs_arm(&s->fs, 3, false, ENOSPC); /* stat, open, reserve */
    assert_int_equal(replace(s), ADZE_EIO);
    assert_string_equal(s->fs.failed_call, "reserve");
    assert_non_null(strstr(adze_errmsg(s->ctx), "12 bytes are needed"));
    assert_true(holds(s->path, "old"));
}

/* A signal is no failure: only rename, unlink and sync_dir are not interrupted by one. */
static void signals_do_not_disturb(void **state) {
    scene *s = *state;
    s->fs.at_most = 5;
    for (long n = 1; n <= 8; n++) {
        faulty_fs_arm(&s->fs, n, false, EINTR);
        assert_int_equal(replace(s), ADZE_OK);
        assert_non_null(s->fs.failed_call);
        assert_true(holds(s->path, "the new file"));
        assert_int_equal(files_in(s), 1);
    }
    for (long n = 1; n <= 3; n++) {
        unlink(s->path);
        faulty_fs_arm(&s->fs, n, false, EINTR);
        assert_int_equal(adze_append_file(s->ctx, s->path, "line\n"), ADZE_OK);
        assert_true(holds(s->path, "line\n"));
    }
    void *bytes;
    int64_t size;
    for (long n = 2; n <= 3; n++) {
        faulty_fs_arm(&s->fs, n, false, EINTR);
        assert_int_equal(adze_read_file(s->ctx, s->path, 100, &bytes, &size), ADZE_OK);
        assert_string_equal(bytes, "line\n");
        adze_free(s->ctx, bytes);
    }
}

static void appending_adds_lines(void **state) {
    scene *s = *state;
    s->fs.at_most = 2;
    assert_int_equal(adze_append_file(s->ctx, s->path, "one\n"), ADZE_OK);
    assert_int_equal(adze_append_file(s->ctx, s->path, "two\n"), ADZE_OK);
    assert_true(holds(s->path, "one\ntwo\n"));
    s->fs.at_most = 0;
    for (long n = 1; n <= 4; n++) {
        faulty_fs_arm(&s->fs, n, false, EIO);
        assert_int_equal(adze_append_file(s->ctx, s->path, ""), n == 2 ? ADZE_EIO : n < 4 ? ADZE_EIO : ADZE_OK);
    }
    faulty_fs_arm(&s->fs, 2, false, ENOSPC);
    assert_int_equal(adze_append_file(s->ctx, s->path, "three\n"), ADZE_EIO);
    assert_non_null(strstr(adze_errmsg(s->ctx), "6 bytes are needed"));
    assert_true(holds(s->path, "one\ntwo\n"));
}

static void reading_gives_all_or_a_reason(void **state) {
    scene *s = *state;
    void *bytes;
    int64_t n;
    assert_int_equal(adze_read_file(s->ctx, s->path, 100, &bytes, &n), ADZE_EIO);
    assert_non_null(strstr(adze_errmsg(s->ctx), "No such file"));
    assert_null(bytes);
    assert_int_equal(adze_read_file(s->ctx, s->folder, 100, &bytes, &n), ADZE_EIO);
    write_plain(s->path, "0123456789");
    s->fs.at_most = 3;
    assert_int_equal(adze_read_file(s->ctx, s->path, 10, &bytes, &n), ADZE_OK);
    assert_int_equal(n, 10);
    assert_string_equal(bytes, "0123456789");
    adze_free(s->ctx, bytes);
    assert_int_equal(adze_read_file(s->ctx, s->path, 9, &bytes, &n), ADZE_EFORMAT);
    assert_non_null(strstr(adze_errmsg(s->ctx), s->path));
    assert_int_equal(adze_read_file(s->ctx, s->path, 0, &bytes, &n), ADZE_OK); /* no limit */
    adze_free(s->ctx, bytes);
    write_plain(s->path, "");
    assert_int_equal(adze_read_file(s->ctx, s->path, 9, &bytes, &n), ADZE_OK);
    assert_true(n == 0 && *(char *)bytes == 0);
    adze_free(s->ctx, bytes);
}

static int64_t endless_read(void *user, int fd, void *buf, size_t n) {
    (void)user;
    (void)fd;
    memset(buf, 'x', n);
    return (int64_t)n;
}

/* A pipe or a growing file has no size to go by. */
static void the_limit_holds_for_what_is_read_too(void **state) {
    scene *s = *state;
    write_plain(s->path, "");
    void *bytes;
    int64_t n;
    adze_fs endless = s->fs.table;
    endless.read = endless_read;
    adze_ctx *ctx;
    assert_int_equal(adze_ctx_new(&(adze_ctx_opts){.fs = &endless, .threads = 1}, &ctx), ADZE_OK);
    assert_int_equal(adze_read_file(ctx, s->path, 1000000, &bytes, &n), ADZE_EFORMAT);
    assert_null(bytes);
    assert_true(adze_ctx_mem_peak(ctx) < 8000000);
    assert_int_equal(adze_ctx_mem_used(ctx), 0);
    adze_ctx_free(ctx);
}

static void reading_survives_every_failure(void **state) {
    scene *s = *state;
    void *bytes;
    int64_t size;
    write_plain(s->path, "0123456789");
    s->fs.at_most = 4;
    int failures = 0;
    for (long n = 1; n < 10; n++) {
        faulty_fs_arm(&s->fs, n, false, EIO);
        int status = adze_read_file(s->ctx, s->path, 100, &bytes, &size);
        bool matters = s->fs.failed_call && strcmp(s->fs.failed_call, "close") != 0;
        assert_int_equal(status, matters ? ADZE_EIO : ADZE_OK);
        failures += matters;
        adze_free(s->ctx, bytes);
        assert_int_equal(s->fs.open_files, 0);
    }
    assert_true(failures >= 5);
    faulty_fs_arm(&s->fs, 0, false, 0);
    faulty_mem_arm(&s->mem, 1, false);
    assert_int_equal(adze_read_file(s->ctx, s->path, 100, &bytes, &size), ADZE_ENOMEM);
    assert_int_equal(s->fs.open_files, 0);
}

static void folders_are_made_with_their_parents(void **state) {
    scene *s = *state;
    char deep[400], blocked[400];
    snprintf(deep, sizeof deep, "%s/a/b//c/", s->folder);
    for (int twice = 0; twice < 2; twice++) {
        assert_int_equal(adze_make_dirs(s->ctx, deep), ADZE_OK);
        assert_true(adze_path_exists(s->ctx, deep));
    }
    assert_int_equal(adze_make_dirs(s->ctx, "/"), ADZE_OK);
    assert_int_equal(adze_make_dirs(s->ctx, ""), ADZE_EARG);
    write_plain(s->path, "");
    snprintf(blocked, sizeof blocked, "%s/x", s->path);
    assert_int_equal(adze_make_dirs(s->ctx, blocked), ADZE_EIO);
    assert_non_null(strstr(adze_errmsg(s->ctx), s->path));
    snprintf(deep, sizeof deep, "%s/new/er", s->folder);
    for (long n = 1;; n++) {
        faulty_fs_arm(&s->fs, n, false, EACCES);
        int status = adze_make_dirs(s->ctx, deep);
        if (!s->fs.failed_call) {
            assert_int_equal(status, ADZE_OK);
            break;
        }
        assert_true(status == ADZE_EIO || status == ADZE_OK); /* a stat that fails is made up for by mkdir */
        assert_true(n < 20);
    }
}

static void links_are_seen_as_links(void **state) {
    scene *s = *state;
    const adze_fs *fs = adze_ctx_fs(s->ctx);
    char link[400];
    adze_fstat st;
    snprintf(link, sizeof link, "%s/last", s->folder);
    assert_int_equal(fs->symlink(fs->user, "file", link), 0);
    assert_int_equal(fs->stat(fs->user, link, &st), 0);
    assert_true(st.is_link && !st.exists);
    assert_false(adze_path_exists(s->ctx, link));
    write_plain(s->path, "12345");
    assert_int_equal(fs->stat(fs->user, link, &st), 0);
    assert_true(st.is_link && st.exists && !st.is_dir && st.size == 5 && st.mtime_ns > 0);
    assert_int_equal(fs->stat(fs->user, s->path, &st), 0);
    assert_true(!st.is_link && st.exists);
    assert_int_equal(fs->stat(fs->user, s->folder, &st), 0);
    assert_true(st.is_dir);
    assert_int_equal(fs->open(fs->user, "/nonexistent/x", ADZE_OPEN_READ), -ENOENT);
    assert_int_equal(fs->list(fs->user, "/nonexistent", count_name, NULL), -ENOENT);
    assert_int_equal(fs->unlink(fs->user, link), 0);
    assert_int_equal(fs->symlink(fs->user, "x", s->path), -EEXIST);
}

static void paths_join_or_do_not_fit(void **state) {
    (void)state;
    char out[8];
    assert_int_equal(adze_path_join(out, sizeof out, "a", "b"), ADZE_OK);
    assert_string_equal(out, "a/b");
    assert_int_equal(adze_path_join(out, sizeof out, "a/", "b"), ADZE_OK);
    assert_string_equal(out, "a/b");
    assert_int_equal(adze_path_join(out, sizeof out, "", "b"), ADZE_OK);
    assert_string_equal(out, "b");
    assert_int_equal(adze_path_join(out, sizeof out, NULL, "b"), ADZE_OK);
    assert_int_equal(adze_path_join(out, sizeof out, "123", "456"), ADZE_OK);
    assert_int_equal(adze_path_join(out, sizeof out, "123", "4567"), ADZE_EARG);
}

/* -- what the machine can give, by files that stand for the system's ----------------------------------------------------------------------------- */

static int open_below(void *user, const char *path, int how) {
    char real[512];
    snprintf(real, sizeof real, "%s%s", ((const scene *)user)->folder, path);
    return adze_fs_posix.open(NULL, real, how);
}

static void put(const scene *s, const char *path, const char *text) {
    char real[512];
    snprintf(real, sizeof real, "%s%s", s->folder, path);
    *strrchr(real, '/') = 0;
    assert_int_equal(adze_make_dirs(s->ctx, real), ADZE_OK);
    snprintf(real, sizeof real, "%s%s", s->folder, path);
    write_plain(real, text);
}

static void a_plan_that_the_machine_cannot_hold_is_refused(void **state) {
    scene *s = *state;
    const int64_t MIB = 1 << 20;
    adze_fs fs = adze_fs_posix;
    adze_ctx *ctx;
    fs.user = s;
    fs.open = open_below;
    assert_int_equal(adze_ctx_new(&(adze_ctx_opts){.fs = &fs, .threads = 1}, &ctx), ADZE_OK);
    assert_true(adze_memory_usable(&fs) == INT64_MAX); /* nobody says anything */
    put(s, "/proc/meminfo", "MemTotal:       4194304 kB\nMemAvailable:    2097152 kB\n");
    assert_true(adze_memory_usable(&fs) == 2048 * MIB);
    put(s, "/proc/self/cgroup", "4:memory:/v1\n0::/a/b\n"); /* version 1 */
    put(s, "/sys/fs/cgroup/memory/v1/memory.limit_in_bytes", "1073741824\n");
    put(s, "/sys/fs/cgroup/memory/v1/memory.usage_in_bytes", "73400320\n");
    assert_true(adze_memory_usable(&fs) == 954 * MIB);
    put(s, "/proc/self/cgroup", "0::/a/b\n"); /* version 2: the limit is that of an ancestor, and pages of files can go */
    put(s, "/sys/fs/cgroup/a/b/memory.max", "max\n");
    put(s, "/sys/fs/cgroup/a/b/memory.current", "5\n");
    put(s, "/sys/fs/cgroup/a/memory.max", "314572800\n");
    put(s, "/sys/fs/cgroup/a/memory.current", "209715200\n");
    put(s, "/sys/fs/cgroup/a/memory.stat", "anon 7\nactive_file 3145728\ninactive_file 7340032\n");
    assert_true(adze_memory_usable(&fs) == 110 * MIB);
    assert_int_equal(adze_memory_check(ctx, 110 * MIB), ADZE_OK);
    assert_int_equal(adze_memory_check(ctx, 120 * MIB), ADZE_ENOMEM);
    assert_non_null(strstr(adze_errmsg(ctx), "needs 120 MiB of memory, and this machine can give 110 MiB"));
    adze_ctx_free(ctx);
}

#define SCENE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        SCENE(a_file_is_replaced_whole),
        SCENE(the_old_file_survives_every_failing_call),
        SCENE(a_full_disk_says_how_much_is_needed),
        SCENE(signals_do_not_disturb),
        SCENE(appending_adds_lines),
        SCENE(reading_gives_all_or_a_reason),
        SCENE(the_limit_holds_for_what_is_read_too),
        SCENE(reading_survives_every_failure),
        SCENE(folders_are_made_with_their_parents),
        SCENE(links_are_seen_as_links),
        SCENE(a_plan_that_the_machine_cannot_hold_is_refused),
        cmocka_unit_test(paths_join_or_do_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
