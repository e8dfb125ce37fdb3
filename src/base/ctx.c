/* The context: settings, the last error, and the log. */
#include "base/ctx.h"

#include <stdio.h>
#include <stdlib.h>

/* Two buffers take turns, so that a new message may quote the old one: adze_fail(ctx, code, "%s: %s", name, adze_errmsg(ctx)). */
static void message_set(adze_ctx *ctx, int code, const char *fmt, va_list args) {
    int side = 1 - ctx->side;
    adze_free(ctx, ctx->long_msg[side]);
    ctx->long_msg[side] = NULL;
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(ctx->msg[side], ADZE_MSG_FIXED, fmt, args);
    if (len >= ADZE_MSG_FIXED && code != ADZE_ENOMEM) {
        char *more = adze_alloc_raw(ctx, (int64_t)len + 1);
        if (more) {
            vsnprintf(more, (size_t)len + 1, fmt, again);
            ctx->long_msg[side] = more;
        } else {
            strcpy(ctx->msg[side] + ADZE_MSG_FIXED - 4, "...");
        }
    }
    va_end(again);
    if (len < 0) {
        ctx->msg[side][0] = 0;
    }
    ctx->side = side;
    ctx->code = code;
}

int adze_fail(adze_ctx *ctx, int code, const char *fmt, ...) {
    if (ctx) {
        va_list args;
        va_start(args, fmt);
        message_set(ctx, code, fmt, args);
        va_end(args);
    }
    return code;
}

const char *adze_errmsg(const adze_ctx *ctx) {
    if (!ctx || ctx->code == ADZE_OK) {
        return "";
    }
    return ctx->long_msg[ctx->side] ? ctx->long_msg[ctx->side] : ctx->msg[ctx->side];
}

int adze_errcode(const adze_ctx *ctx) {
    return ctx ? ctx->code : ADZE_OK;
}

void adze_err_clear(adze_ctx *ctx) {
    for (int i = 0; i < 2; i++) {
        adze_free(ctx, ctx->long_msg[i]);
        ctx->long_msg[i] = NULL;
        ctx->msg[i][0] = 0;
    }
    ctx->code = ADZE_OK;
}

void adze_note(adze_ctx *ctx, adze_level level, const char *fmt, ...) {
    if (!ctx || !ctx->log) {
        return;
    }
    char line[1024]; /* longer notes are cut: they are for people, and must not need memory */
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    ctx->log(ctx->log_user, level, line);
}

static int choose_isa(adze_ctx *ctx, const char *wanted) {
    const char *from = wanted ? "isa" : "ADZE_ISA";
    const char *name = wanted ? wanted : getenv("ADZE_ISA");
    adze_isa best = adze_isa_best();
    if (!name || !*name) {
        ctx->isa = best;
        return ADZE_OK;
    }
    if (adze_isa_parse(name, &ctx->isa) && ctx->isa <= best) {
        return ADZE_OK;
    }
    char legal[64] = "";
    size_t len = 0;
    for (int i = 0; i <= (int)best; i++) {
        len += (size_t)snprintf(legal + len, sizeof legal - len, "%s%s", i ? ", " : "", adze_isa_name((adze_isa)i));
    }
    return adze_fail(ctx, ADZE_EARG, "%s: '%.40s' is not an instruction set that this processor has; legal are %s", from, name, legal);
}

/* Asked for by the options or by the environment; what is not 0 or 1 there is a mistake that must not go unseen. */
static int choose_reproducible(adze_ctx *ctx, bool wanted) {
    const char *text = getenv("ADZE_REPRODUCIBLE");
    const bool set = text && *text;
    if (set && strcmp(text, "0") != 0 && strcmp(text, "1") != 0) {
        return adze_fail(ctx, ADZE_EARG, "ADZE_REPRODUCIBLE: '%.40s' is neither 0 nor 1", text);
    }
    ctx->reproducible = wanted || (set && text[0] == '1');
    return ADZE_OK;
}

static int configure(adze_ctx *ctx, const adze_ctx_opts *o) {
    ctx->log = o->log;
    ctx->log_user = o->log_user;
    ctx->limit = o->mem_limit;
    ctx->pin = o->pin;
    ctx->fs = o->fs ? *o->fs : adze_fs_posix;
    if (o->threads < 0 || o->threads > ADZE_MAX_THREADS) {
        return adze_fail(ctx, ADZE_EARG, "threads: %d is not allowed; give 1 to %d, or 0 for as many as this process may use", o->threads,
                         ADZE_MAX_THREADS);
    }
    int cores = adze_cores_usable(&ctx->fs);
    ctx->cores = cores < ADZE_MAX_THREADS ? cores : ADZE_MAX_THREADS;
    ctx->threads = o->threads ? o->threads : ctx->cores;
    TRY(choose_reproducible(ctx, o->reproducible));
    return choose_isa(ctx, o->isa);
}

/* On ADZE_EARG *out is still a context, good only for adze_errmsg and adze_ctx_free: somebody has to say what was wrong. */
int adze_ctx_new(const adze_ctx_opts *opts, adze_ctx **out) {
    adze_ctx_opts o = {0};
    *out = NULL;
    if (opts) {
        memcpy(&o, opts, opts->size && opts->size < sizeof o ? opts->size : sizeof o);
    }
    const adze_mem *mem = o.mem ? o.mem : &adze_mem_default;
    adze_ctx *ctx = mem->alloc(mem->user, sizeof *ctx, ADZE_ALIGN);
    TRY(ADZE_GOT(ctx));
    memset(ctx, 0, sizeof *ctx);
    ctx->mem = *mem;
    ctx->threads = ctx->cores = 1;
    *out = ctx;
    return configure(ctx, &o);
}

void adze_ctx_free(adze_ctx *ctx) {
    if (ctx) {
        adze_pool_free(ctx);
        adze_err_clear(ctx);
        adze_mem mem = ctx->mem;
        mem.free(mem.user, ctx, sizeof *ctx);
    }
}

int adze_ctx_threads(const adze_ctx *ctx) {
    return ctx->threads;
}

const char *adze_ctx_isa(const adze_ctx *ctx) {
    return adze_isa_name(ctx->isa);
}

bool adze_ctx_reproducible(const adze_ctx *ctx) {
    return ctx->reproducible;
}

adze_isa adze_ctx_isa_level(const adze_ctx *ctx) {
    return ctx->isa;
}

const adze_fs *adze_ctx_fs(adze_ctx *ctx) {
    return &ctx->fs;
}

size_t adze_ctx_mem_used(const adze_ctx *ctx) {
    return atomic_load(&ctx->used);
}

int64_t adze_ctx_mem_left(const adze_ctx *ctx) {
    const size_t used = adze_ctx_mem_used(ctx);
    return !ctx->limit ? INT64_MAX : used < ctx->limit ? (int64_t)(ctx->limit - used) : 0;
}

size_t adze_ctx_mem_peak(const adze_ctx *ctx) {
    return atomic_load(&ctx->peak);
}

void adze_ctx_set_formats(adze_ctx *ctx, const struct adze_formats *formats) {
    ctx->formats = formats;
}

const struct adze_formats *adze_ctx_formats(const adze_ctx *ctx) {
    return ctx->formats;
}
