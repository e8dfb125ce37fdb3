/* What the machine lets this process have: processors (its affinity, cut down by the quota of its control group) and memory. */
#include "base/ctx.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int affinity(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        return CPU_COUNT(&set);
    }
    long n = sysconf(_SC_NPROCESSORS_ONLN); /* more processors than a cpu_set_t holds */
    return n > 0 && n < INT32_MAX ? (int)n : 1;
}

/* These files are a line or two; whatever cannot be read does not limit. */
static bool read_small(const adze_fs *fs, const char *path, char *out, size_t n) {
    int fd = fs->open(fs->user, path, ADZE_OPEN_READ);
    if (fd < 0) {
        return false;
    }
    int64_t got = fs->read(fs->user, fd, out, n - 1);
    fs->close(fs->user, fd);
    out[got > 0 ? got : 0] = 0;
    return got > 0;
}

static int quota_cores(long long quota, long long period, int cores) {
    if (quota <= 0 || period <= 0) {
        return cores; /* "max" or -1: no quota */
    }
    long long n = quota / period + (quota % period != 0);
    return n < cores ? (int)n : cores;
}

static int quota_of(const adze_fs *fs, const char *root, const char *group, int cores) {
    char path[4200], text[128];
    snprintf(path, sizeof path, "%s%s/cpu.max", root, group);
    if (read_small(fs, path, text, sizeof text)) {
        char *end;
        long long quota = strtoll(text, &end, 10);
        return quota_cores(end == text ? 0 : quota, strtoll(end, NULL, 10), cores);
    }
    snprintf(path, sizeof path, "%s/cpu%s/cpu.cfs_quota_us", root, group);
    if (read_small(fs, path, text, sizeof text)) {
        long long quota = strtoll(text, NULL, 10);
        snprintf(path, sizeof path, "%s/cpu%s/cpu.cfs_period_us", root, group);
        return quota_cores(quota, read_small(fs, path, text, sizeof text) ? strtoll(text, NULL, 10) : 0, cores);
    }
    return cores;
}

/* The group of this process in version 2 ("0::/a/b") or of a controller in version 1 ("4:cpu,cpuacct:/a/b"). */
static void find_group(const adze_fs *fs, const char *controller, char *group, size_t n) {
    char whole[4096], *text = whole;
    const size_t len = strlen(controller);
    group[0] = 0;
    if (!read_small(fs, "/proc/self/cgroup", whole, sizeof whole)) {
        return;
    }
    for (char *line = strtok_r(text, "\n", &text); line; line = strtok_r(NULL, "\n", &text)) {
        char *kind = strchr(line, ':'), *path = kind ? strchr(kind + 1, ':') : NULL;
        if (!path) {
            continue;
        }
        *path++ = 0;
        bool named = strncmp(kind + 1, controller, len) == 0 && (kind[1 + len] == 0 || kind[1 + len] == ',');
        if ((named || (kind[1] == 0 && !group[0])) && strcmp(path, "/") != 0) {
            snprintf(group, n, "%s", path);
        }
    }
}

static const char ROOT[] = "/sys/fs/cgroup";

int adze_cores_usable(const adze_fs *fs) {
    char group[4096];
    int cores = affinity();
    find_group(fs, "cpu", group, sizeof group);
    for (;;) { /* every ancestor limits as well */
        cores = quota_of(fs, ROOT, group, cores);
        char *last = strrchr(group, '/');
        if (!last) {
            return cores > 0 ? cores : 1;
        }
        *last = 0;
    }
}

/* -- memory ------------------------------------------------------------------------------------------------------------------------------------- */

/* The number behind `name` in a file of lines "name number", or the file's only number when there is no name; -1: none. */
static int64_t number_in(const adze_fs *fs, const char *dir, const char *file, const char *name) {
    char path[4200], text[8192];
    snprintf(path, sizeof path, "%s/%s", dir, file);
    if (!read_small(fs, path, text, sizeof text)) {
        return -1;
    }
    const size_t len = strlen(name);
    for (char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, len) == 0 && (len == 0 || line[len] == ' ' || line[len] == ':')) {
            char *end;
            const long long v = strtoll(line + len + (len > 0), &end, 10);
            return end == line + len + (len > 0) ? -1 : (int64_t)v; /* "max": no limit */
        }
    }
    return -1;
}

/* What one group may still take: its limit less what it holds, without the pages of files, which go when room is needed. */
static int64_t group_room(const adze_fs *fs, const char *dir, const char *limit, const char *usage, const char *inactive, const char *active) {
    const int64_t most = number_in(fs, dir, limit, ""), held = number_in(fs, dir, usage, "");
    if (most < 0 || held < 0) {
        return INT64_MAX;
    }
    const int64_t a = number_in(fs, dir, "memory.stat", inactive), b = number_in(fs, dir, "memory.stat", active);
    const int64_t taken = held - (a > 0 ? a : 0) - (b > 0 ? b : 0);
    return taken < most ? most - (taken > 0 ? taken : 0) : 0;
}

int64_t adze_memory_usable(const adze_fs *fs) {
    char group[4096], dir[4200];
    const int64_t kilobytes = number_in(fs, "/proc", "meminfo", "MemAvailable");
    int64_t room = kilobytes >= 0 && kilobytes < INT64_MAX >> 10 ? kilobytes << 10 : INT64_MAX;
    find_group(fs, "memory", group, sizeof group);
    for (;;) { /* every ancestor limits as well */
        snprintf(dir, sizeof dir, "%s%s", ROOT, group);
        const int64_t two = group_room(fs, dir, "memory.max", "memory.current", "inactive_file", "active_file");
        snprintf(dir, sizeof dir, "%s/memory%s", ROOT, group);
        const int64_t one = group_room(fs, dir, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", "total_active_file");
        room = two < room ? two : room;
        room = one < room ? one : room;
        char *last = strrchr(group, '/');
        if (!last) {
            return room;
        }
        *last = 0;
    }
}

/* The system hands out memory that it does not have, and kills who touches it: what is large is asked for before it is taken. */
int adze_memory_check(adze_ctx *ctx, int64_t bytes) {
    enum { LARGE = 64 << 20 };
    const int64_t room = bytes < LARGE ? bytes : adze_memory_usable(&ctx->fs);
    return bytes <= room ? ADZE_OK
                         : adze_fail(ctx, ADZE_ENOMEM, "the plan needs %lld MiB of memory, and this machine can give %lld MiB: take a smaller batch",
                                     (long long)(bytes >> 20), (long long)(room >> 20));
}
