/* How many processors this process may use: its affinity, cut down by the quota of its control group. */
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

/* The group of this process in version 2 ("0::/a/b") or of the cpu controller in version 1 ("4:cpu,cpuacct:/a/b"). */
static void find_group(char *text, char *group, size_t n) {
    group[0] = 0;
    for (char *line = strtok_r(text, "\n", &text); line; line = strtok_r(NULL, "\n", &text)) {
        char *kind = strchr(line, ':'), *path = kind ? strchr(kind + 1, ':') : NULL;
        if (!path) {
            continue;
        }
        *path++ = 0;
        bool cpu = strcmp(kind, ":cpu") == 0 || strncmp(kind, ":cpu,", 5) == 0;
        if ((cpu || (kind[1] == 0 && !group[0])) && strcmp(path, "/") != 0) {
            snprintf(group, n, "%s", path);
        }
    }
}

int adze_cores_usable(const adze_fs *fs) {
    static const char ROOT[] = "/sys/fs/cgroup";
    char text[4096], group[4096] = "";
    int cores = affinity();
    if (read_small(fs, "/proc/self/cgroup", text, sizeof text)) {
        find_group(text, group, sizeof group);
    }
    for (;;) { /* every ancestor limits as well */
        cores = quota_of(fs, ROOT, group, cores);
        char *last = strrchr(group, '/');
        if (!last) {
            return cores > 0 ? cores : 1;
        }
        *last = 0;
    }
}
