/* Tables that fail on purpose: memory whose n-th request is refused, files whose n-th call fails. Every failure test is built from these. */
#ifndef ADZE_TEST_FAULTY_H
#define ADZE_TEST_FAULTY_H

#include "adze/base.h"

#include <stdatomic.h>

typedef struct faulty_mem {
    adze_mem table; /* give &m.table to the context */
    long fail_at;   /* the number of the request that is refused, from 1; 0: none */
    bool for_ever;  /* all requests from there on are refused */
    atomic_long calls;
    atomic_long blocks, bytes; /* alive now: both 0 after everything is freed, or something leaks */
    atomic_long wrong_frees;   /* freed with a size that was not the one asked for, or twice */
} faulty_mem;

void faulty_mem_init(faulty_mem *m); /* counts from nothing, fails nothing */
/* Counts from 0 again and refuses request n; what is alive stays counted. */
void faulty_mem_arm(faulty_mem *m, long n, bool for_ever);
bool faulty_mem_clean(const faulty_mem *m); /* no block alive, none freed wrongly */

typedef struct faulty_fs {
    adze_fs table; /* give &f.table to the context */
    long fail_at;  /* the number of the call that fails, from 1; 0: none */
    bool for_ever;
    int error;               /* the errno of the failure: EIO, ENOSPC, EINTR ... */
    size_t at_most;          /* reads and writes move at most so many bytes a call; 0: as many as asked */
    long calls;              /* of every kind */
    long open_files;         /* opened and not closed */
    const char *failed_call; /* "write": what the last failure hit; NULL: nothing */
    adze_fs under;           /* the table that does the work */
} faulty_fs;

void faulty_fs_init(faulty_fs *f); /* over POSIX files, fails nothing */
void faulty_fs_arm(faulty_fs *f, long n, bool for_ever, int error);

/* A fresh folder below the build's temporary folder; its path in out. faulty_folder_drop removes it with all files in it. */
void faulty_folder(char *out, size_t n);
void faulty_folder_drop(const char *path);

#endif
