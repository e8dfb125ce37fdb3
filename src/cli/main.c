/* The command: finds the verb, makes the context, and turns the status into an exit code. */
#include "cli/cli.h"

#include <signal.h>
#include <stdlib.h>

static int run_version(cli *c, int argc, const char **argv);
static int run_help(cli *c, int argc, const char **argv);

static const cli_cmd VERSION = {"version", "the version and what it was built with", "version [--json]", "  adze version\n", NULL, run_version};
static const cli_cmd HELP = {"help", "what a command does, examples first", "help [COMMAND]", "  adze help train\n", NULL, run_help};

const cli_cmd *const CLI_COMMANDS[] = {&CLI_TRAIN, &CLI_EVAL, &CLI_COMPARE, &CLI_PREDICT, &CLI_INFO,   &CLI_INSPECT,  &CLI_GRAPH, &CLI_LIST,
                                       &CLI_ZOO,   &CLI_DATA, &CLI_DOCTOR,  &CLI_BENCH,   &CLI_CHECK,  &CLI_SCHEDULE, &CLI_LAB,   &CLI_ENSEMBLE,
                                       &CLI_FOLD,  &CLI_DIAG, &CLI_DEMO,    &CLI_OMP,     &CLI_FISHER, &VERSION,      &HELP,      NULL};

static const cli_cmd *find_command(const char *name) {
    for (int i = 0; CLI_COMMANDS[i]; i++) {
        if (strcmp(CLI_COMMANDS[i]->name, name) == 0) {
            return CLI_COMMANDS[i];
        }
    }
    return NULL;
}

static void overview(FILE *to) {
    fputs("adze: train, judge and ship neural networks\n\n"
          "  adze train lenet5-caffe --data fashion-mnist --epochs 10\n"
          "  adze eval runs/lenet5-caffe-001/model.safetensors --data fashion-mnist\n"
          "  adze predict runs/lenet5-caffe-001/model.safetensors shirt.png\n\ncommands\n",
          to);
    for (int i = 0; CLI_COMMANDS[i]; i++) {
        fprintf(to, "  %-9s %s\n", CLI_COMMANDS[i]->name, CLI_COMMANDS[i]->brief);
    }
    fputs("\nadze help COMMAND explains one. Results go to stdout, all else to stderr;\n--json works everywhere, for errors too.\n"
          "exit codes: 0 ok, 1 failed, 2 usage, 3 bad input file, 4 I/O, 5 interrupted\n"
          "            and saved, 6 memory, 7 diverged, 8 not supported, 9 internal fault,\n"
          "            75 temporary\n",
          to);
}

static int unknown_command(cli *c, const char *name) {
    const char *names[32];
    size_t n = 0;
    for (int i = 0; CLI_COMMANDS[i]; i++) {
        names[n++] = CLI_COMMANDS[i]->name;
    }
    const char *near = adze_suggest(name, names, n, sizeof(names[0]));
    if (near) {
        return adze_fail(c->ctx, ADZE_EARG, "'%s' is not a command; did you mean 'adze %s'? (adze help lists them)", name, near);
    }
    return adze_fail(c->ctx, ADZE_EARG, "'%s' is not a command (adze help lists them)", name);
}

/* The page of one command, or the overview without one. */
static void print_help(const cli_cmd *cmd, FILE *to) {
    if (cmd) {
        cli_help(cmd, to);
    } else {
        overview(to);
    }
}

static int help_json(cli *c, const cli_cmd *cmd) {
    char *page = NULL;
    size_t n = 0;
    FILE *to = open_memstream(&page, &n);
    if (!to) {
        return ADZE_ENOMEM;
    }
    print_help(cmd, to);
    int status = fclose(to) == 0 ? ADZE_OK : ADZE_ENOMEM;
    if (status == ADZE_OK) {
        adze_text t = {.ctx = c->ctx};
        adze_text_add(&t, "{\"schema\":1,\"help\":");
        adze_json_string(&t, page);
        adze_text_add(&t, "}\n");
        status = cli_print_text(c, &t);
    }
    free(page);
    return status;
}

static int run_help(cli *c, int argc, const char **argv) {
    cli_args a = {0};
    int status = cli_parse(c, &a, argc, argv, 0, 1);
    const cli_cmd *cmd = status == ADZE_OK && a.nwords > 0 ? find_command(a.words[0]) : NULL;
    if (status == ADZE_OK && a.nwords > 0 && !cmd) {
        status = unknown_command(c, a.words[0]);
    } else if (status == ADZE_OK && c->global.json) {
        status = help_json(c, cmd);
    } else if (status == ADZE_OK) {
        print_help(c->global.help ? c->cmd : cmd, stdout);
        status = cli_finish_output(c);
    }
    cli_args_free(c, &a);
    return status;
}

static int run_version(cli *c, int argc, const char **argv) {
    cli_args a = {0};
    int status = cli_parse(c, &a, argc, argv, 0, 0);
    if (status == ADZE_OK && c->global.help) {
        cli_help(c->cmd, stdout);
    } else if (status == ADZE_OK && c->global.json) {
        printf("{\"schema\":1,\"version\":\"%s\",\"compiler\":\"%s\",\"io\":[\"yaml\",\"gzip\",\"png\"]}\n", adze_version(), __VERSION__);
    } else if (status == ADZE_OK) {
        printf("adze %s, built by a compiler of version %s, reads and writes YAML, gzip, PNG\n", adze_version(), __VERSION__);
    }
    cli_args_free(c, &a);
    return status == ADZE_OK ? cli_finish_output(c) : status;
}

static void print_log(void *user, adze_level level, const char *message) {
    const cli *c = user;
    if ((level == ADZE_WARN && !c->told) || (c->global.verbose && !c->global.quiet)) {
        fprintf(stderr, "adze: %s\n", message);
    }
}

/* Options that shape the context must be known before it exists: read here, checked again (with messages) by cli_parse. */
static void peek_globals(int argc, const char **argv, adze_ctx_opts *o) {
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        char name[32];
        int64_t v;
        const char *value = cli_flag(argv[i], name, sizeof(name));
        bool *flag = strcmp(name, "reproducible") == 0 ? &o->reproducible : strcmp(name, "pin") == 0 ? &o->pin : NULL;
        if (flag && (value || strncmp(argv[i], "--", 2) == 0)) {
            *flag = !value || strcmp(value, "true") == 0 || strcmp(value, "yes") == 0 || strcmp(value, "on") == 0 || strcmp(value, "1") == 0;
            continue;
        }
        if (!value && i + 1 < argc && strncmp(argv[i], "--", 2) == 0) {
            value = argv[i + 1];
        }
        if (!value) {
            continue;
        }
        if (strcmp(name, "threads") == 0 && adze_parse_i64(value, &v) && v >= 0 && v <= 256) {
            o->threads = (int)v;
        } else if (strcmp(name, "isa") == 0 && *value) {
            o->isa = value;
        } else if (strcmp(name, "mem_limit") == 0 && cli_parse_bytes(value, &v) == ADZE_OK) {
            o->mem_limit = (size_t)v;
        }
    }
}

/* What shapes the context of a run that is resumed stands in its folder; the command line wins. `room` holds the text that the options point into. */
static void peek_run(int argc, const char **argv, adze_ctx_opts *o, char room[256]) {
    char path[1024] = "", line[1200];
    for (int i = 2; i < argc && strcmp(argv[1], "train") == 0; i++) {
        char name[32];
        const char *value = cli_flag(argv[i], name, sizeof(name));
        value = value || i + 1 == argc ? value : argv[i + 1];
        if (value && strcmp(name, "resume") == 0) {
            snprintf(path, sizeof(path), "%.900s/config.yaml", value);
        }
    }
    FILE *f = path[0] ? fopen(path, "r") : NULL;
    while (f && fgets(line, sizeof(line), f)) {
        char key[32], value[128];
        int64_t v;
        if (sscanf(line, "%31[a-z_]: %127[^\n]", key, value) != 2) {
            continue;
        }
        char *bare = value[0] == '"' || value[0] == '\'' ? value + 1 : value;
        bare[strcspn(bare, "\"'")] = 0;
        if (strcmp(key, "isa") == 0 && !o->isa && bare[0]) {
            o->isa = strcpy(room, bare);
        } else if (strcmp(key, "mem_limit") == 0 && o->mem_limit == 0 && cli_parse_bytes(bare, &v) == ADZE_OK) {
            o->mem_limit = (size_t)v;
        } else if (strcmp(key, "reproducible") == 0) {
            o->reproducible = o->reproducible || strcmp(bare, "true") == 0;
        }
    }
    if (f) {
        fclose(f);
    }
}

static int dispatch(cli *c, int argc, const char **argv) {
    const char *verb = argc > 1 ? argv[1] : NULL;
    if (!verb) {
        overview(stderr);
        return adze_fail(c->ctx, ADZE_EARG, "a command is missing");
    }
    if (strcmp(verb, "--version") == 0 || strcmp(verb, "-V") == 0) {
        verb = "version";
    } else if (strcmp(verb, "--help") == 0 || strcmp(verb, "-h") == 0) {
        verb = "help";
    }
    c->cmd = find_command(verb);
    if (!c->cmd) {
        return unknown_command(c, verb);
    }
    int status = adze_io_register(c->ctx);
    return status == ADZE_OK ? c->cmd->run(c, argc - 2, argv + 2) : status;
}

/* With --json, which may not have been parsed yet, an object of one line on stderr; stdout is kept for results. */
static void tell(const cli *c, int argc, const char **argv, int status) {
    const char *m = adze_errmsg(c->ctx);
    bool json = c->global.json;
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        json = json || strcmp(argv[i], "--json") == 0;
    }
    m = *m ? m : adze_status_name(status);
    if (json) {
        adze_text t = {.ctx = c->ctx};
        char *s = NULL;
        adze_text_add(&t, "{\"schema\":1,\"error\":");
        adze_json_string(&t, m);
        adze_text_add(&t, ",\"status\":\"%s\",\"code\":%d}\n", adze_status_name(status), adze_status_exit_code(status));
        if (adze_text_finish(&t, &s) == ADZE_OK) {
            fputs(s, stderr);
            adze_free(c->ctx, s);
            return;
        }
    }
    fprintf(stderr, "adze: %s\n", m);
    if (status == ADZE_EBUG) {
        fputs("adze: this is a fault of Adze itself; please report it with the command line and `adze doctor`\n", stderr);
    }
}

int main(int argc, char **argv) {
    const char **args = (const char **)argv;
    signal(SIGPIPE, SIG_IGN); /* a closed pipe becomes an error of the write, told like any other, */
    signal(SIGXFSZ, SIG_IGN); /* and so does a file that may not grow */
    cli c = {0};
    adze_ctx_opts opts = {.size = sizeof(opts), .log = print_log, .log_user = &c};
    char room[256];
    peek_globals(argc, args, &opts);
    peek_run(argc, args, &opts, room);
    int status = adze_ctx_new(&opts, &c.ctx);
    if (!c.ctx) {
        fprintf(stderr, "adze: cannot start: %s\n", status == ADZE_ENOMEM ? "out of memory" : adze_status_name(status));
        return adze_status_exit_code(status);
    }
    if (status == ADZE_OK) {
        status = dispatch(&c, argc, args);
    }
    if (status != ADZE_OK) {
        fflush(stdout);
        tell(&c, argc, args, status);
    }
    adze_ctx_free(c.ctx);
    return adze_status_exit_code(status);
}
