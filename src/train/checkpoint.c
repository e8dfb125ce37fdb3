/* Writing, listing, pruning and reading checkpoint files.
 *
 * The order makes the promise: new file (temporary name, sync, rename, sync of the folder), then the links, then old generations go. Whenever the
 * process dies, a complete checkpoint is there. */
#include "train/checkpoint.h"
#include "core/type.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { KEEP_GENERATIONS = 2, NAME = 64 };

static const char *const STATE_NAME = "state/trainer";

static bool step_of_name(const char *name, int64_t *step) {
    const char *head = "step-", *tail = ".safetensors";
    size_t n = strlen(name), h = strlen(head), t = strlen(tail);
    char digits[24];
    if (n <= h + t || n - h - t >= sizeof digits || strncmp(name, head, h) != 0 || strcmp(name + n - t, tail) != 0) {
        return false;
    }
    memcpy(digits, name + h, n - h - t);
    digits[n - h - t] = 0;
    return adze_parse_i64(digits, step) && *step >= 0;
}

static void name_of_step(int64_t step, char *name) {
    snprintf(name, NAME, "step-%08lld.safetensors", (long long)step);
}

static int join(adze_ctx *ctx, char *path, const char *dir, const char *name) {
    return adze_path_join(path, ADZE_CKPT_PATH, dir, name) == ADZE_OK ? ADZE_OK : adze_fail(ctx, ADZE_EARG, "the path '%s' is too long", dir);
}

int adze_ckpt_path(adze_ctx *ctx, const char *dir, int64_t step, char *path) {
    char name[NAME];
    name_of_step(step, name);
    return join(ctx, path, dir, name);
}

/* -- listing ------------------------------------------------------------------------------------------------------------------------------------ */

typedef struct name_list {
    adze_ctx *ctx;
    bool temporary; /* collect leftovers, else steps */
    int64_t *steps;
    adze_text names; /* NUL-terminated each */
    int64_t n, cap;
    bool failed;
} name_list;

static bool is_leftover(const char *name) {
    return strstr(name, ".tmp-") != NULL &&
           (strncmp(name, "step-", 5) == 0 || strncmp(name, "last.", 5) == 0 || strncmp(name, "best.", 5) == 0 || strncmp(name, "snapshot-", 9) == 0);
}

static int collect(void *arg, const char *name) {
    name_list *l = arg;
    int64_t step;
    if (l->temporary) {
        if (is_leftover(name)) {
            adze_text_put(&l->names, name, strlen(name) + 1);
            l->n++;
        }
        return l->names.failed;
    }
    if (!step_of_name(name, &step)) {
        return 0;
    }
    if (l->n == l->cap) {
        int64_t cap = l->cap > 0 ? 2 * l->cap : 16;
        int64_t *more = adze_resize(l->ctx, l->steps, l->cap, cap, sizeof *more);
        if (more == NULL) {
            l->failed = true;
            return 1;
        }
        l->steps = more;
        l->cap = cap;
    }
    l->steps[l->n++] = step;
    return 0;
}

static int newest_first(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

int adze_ckpt_steps(adze_ctx *ctx, const char *dir, int64_t **steps, int64_t *n) {
    const adze_fs *fs = adze_ctx_fs(ctx);
    name_list l = {.ctx = ctx};
    *steps = NULL;
    *n = 0;
    int err = fs->list(fs->user, dir, collect, &l);
    if (err < 0 || l.failed) {
        adze_free(ctx, l.steps);
        return l.failed ? ADZE_ENOMEM : adze_fail_errno(ctx, err, "list the folder", dir);
    }
    if (l.n > 1) {
        qsort(l.steps, (size_t)l.n, sizeof *l.steps, newest_first);
    }
    *steps = l.steps;
    *n = l.n;
    return ADZE_OK;
}

int adze_ckpt_clean(adze_ctx *ctx, const char *dir) {
    const adze_fs *fs = adze_ctx_fs(ctx);
    name_list l = {.ctx = ctx, .temporary = true, .names = {.ctx = ctx}};
    char path[ADZE_CKPT_PATH];
    int err = fs->list(fs->user, dir, collect, &l);
    int st = l.names.failed ? ADZE_ENOMEM : err < 0 ? adze_fail_errno(ctx, err, "list the folder", dir) : ADZE_OK;
    const char *name = l.names.s;
    for (int64_t i = 0; i < l.n && st == ADZE_OK; i++, name += strlen(name) + 1) {
        st = join(ctx, path, dir, name);
        err = st == ADZE_OK ? fs->unlink(fs->user, path) : 0;
        if (err < 0 && err != -ENOENT) {
            st = adze_fail_errno(ctx, err, "remove the leftover", path);
        }
    }
    adze_text_drop(&l.names);
    return st;
}

/* -- saving -------------------------------------------------------------------------------------------------------------------------------------- */

/* Replaces a link in one step, so that it never points nowhere. File systems without links do without: a resume lists the files. */
static int set_link(adze_ctx *ctx, const char *dir, const char *link, int64_t step) {
    const adze_fs *fs = adze_ctx_fs(ctx);
    char target[NAME], temp_name[NAME], temp[ADZE_CKPT_PATH], path[ADZE_CKPT_PATH];
    name_of_step(step, target);
    snprintf(temp_name, sizeof temp_name, "%s.tmp-link", link);
    TRY(join(ctx, temp, dir, temp_name));
    TRY(join(ctx, path, dir, link));
    int err = fs->unlink(fs->user, temp);
    if (err < 0 && err != -ENOENT) {
        return adze_fail_errno(ctx, err, "remove the leftover", temp);
    }
    err = fs->symlink(fs->user, target, temp);
    if (err == -EPERM || err == -ENOSYS || err == -EOPNOTSUPP) {
        adze_note(ctx, ADZE_WARN, "'%s': this file system has no symbolic links; '%s' is not set", dir, link);
        return ADZE_OK;
    }
    err = err < 0 ? err : fs->rename(fs->user, temp, path);
    err = err < 0 ? err : adze_sync_folder(ctx, dir);
    return err < 0 ? adze_fail_errno(ctx, err, "set the link", path) : ADZE_OK;
}

/* Old files go only after the new one is durable: kept are the new one, the one before, and the best. */
static int prune(adze_ctx *ctx, const char *dir, const adze_ckpt *c) {
    const adze_fs *fs = adze_ctx_fs(ctx);
    int64_t *steps, n;
    char path[ADZE_CKPT_PATH];
    TRY(adze_ckpt_steps(ctx, dir, &steps, &n));
    int st = ADZE_OK, kept = 0;
    for (int64_t i = 0; i < n && st == ADZE_OK; i++) {
        if (steps[i] > c->step || kept < KEEP_GENERATIONS || steps[i] == c->best_step) {
            kept += steps[i] <= c->step;
            continue;
        }
        st = adze_ckpt_path(ctx, dir, steps[i], path);
        int err = st == ADZE_OK ? fs->unlink(fs->user, path) : 0;
        if (err < 0 && err != -ENOENT) {
            st = adze_fail_errno(ctx, err, "remove the old checkpoint", path);
        }
    }
    adze_free(ctx, steps);
    return st;
}

static int gather(adze_ctx *ctx, adze_store *s, const adze_ckpt *c, adze_named *t, int *n) {
    for (int i = 0; i < adze_store_count(s); i++) {
        if ((adze_store_flags(s, i) & ADZE_SLOT_TEMP) == 0) {
            t[*n].name = adze_store_name(s, i);
            TRY(adze_store_tensor(s, i, &t[*n].t));
            (*n)++;
        }
    }
    const int64_t len = (int64_t)strlen(c->state);
    t[*n].name = STATE_NAME;
    return adze_tensor_wrap(ctx, adze_type_make(ADZE_U8, 1, &len), (void *)(uintptr_t)c->state, &t[(*n)++].t);
}

static int write_file(adze_ctx *ctx, const char *path, adze_store *s, const adze_ckpt *c) {
    adze_named *t = adze_alloc(ctx, adze_store_count(s) + 1, sizeof *t);
    int n = 0;
    TRY(ADZE_GOT(t));
    int st = gather(ctx, s, c, t, &n);
    if (st == ADZE_OK) {
        st = adze_safetensors_save(ctx, path, t, n, c->meta, c->nmeta);
        adze_tensor_free(&t[n - 1].t);
    }
    adze_free(ctx, t);
    return st;
}

int adze_ckpt_links(adze_ctx *ctx, const char *dir, int64_t last, int64_t best) {
    TRY(set_link(ctx, dir, "last", last));
    return best >= 0 ? set_link(ctx, dir, "best", best) : ADZE_OK;
}

int adze_ckpt_save(adze_ctx *ctx, const char *dir, adze_store *s, const adze_ckpt *c, char *path) {
    TRY(adze_ckpt_path(ctx, dir, c->step, path));
    TRY(write_file(ctx, path, s, c));
    TRY(adze_ckpt_links(ctx, dir, c->step, c->best_step));
    return prune(ctx, dir, c);
}

/* -- reading ------------------------------------------------------------------------------------------------------------------------------------- */

static int restore_slot(adze_ctx *ctx, const adze_safetensors *f, const char *file, adze_store *s, int slot, bool write) {
    const char *name = adze_store_name(s, slot);
    int i = adze_safetensors_find(f, name);
    adze_tensor from, to;
    if (i < 0) {
        return adze_fail(ctx, ADZE_EFORMAT, "'%s' lacks the tensor '%s'", file, name);
    }
    TRY(adze_safetensors_tensor(f, i, &from));
    adze_type have = adze_tensor_type(&from), want = adze_store_type(s, slot);
    if (!adze_type_equal(&have, &want)) {
        return adze_fail(ctx, ADZE_EFORMAT, "'%s': tensor '%s' is %s, but %s is needed", file, name, ADZE_SHOWN(&have), ADZE_SHOWN(&want));
    }
    if (!write) {
        return ADZE_OK;
    }
    TRY(adze_store_tensor(s, slot, &to));
    return adze_tensor_copy(ctx, to, from);
}

int adze_ckpt_restore(adze_ctx *ctx, const adze_safetensors *f, const char *file, adze_store *s) {
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < adze_store_count(s); i++) {
            if ((adze_store_flags(s, i) & ADZE_SLOT_TEMP) == 0) {
                TRY(restore_slot(ctx, f, file, s, i, pass == 1));
            }
        }
    }
    return ADZE_OK;
}

int adze_ckpt_state(adze_ctx *ctx, const adze_safetensors *f, const char *file, const char **state, int64_t *n) {
    adze_tensor t;
    int i = adze_safetensors_find(f, STATE_NAME);
    if (i < 0) {
        return adze_fail(ctx, ADZE_EFORMAT, "'%s' is no checkpoint of a training: it lacks '%s'", file, STATE_NAME);
    }
    TRY(adze_safetensors_tensor(f, i, &t));
    if (t.dtype != ADZE_U8 || t.rank != 1 || !adze_tensor_contiguous(&t)) {
        return adze_fail(ctx, ADZE_EFORMAT, "'%s': '%s' is no text", file, STATE_NAME);
    }
    *state = adze_tensor_data(&t);
    *n = t.dims[0];
    return ADZE_OK;
}
