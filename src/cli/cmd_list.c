/* adze list and adze zoo: what there is, printed from the tables themselves. */
#include "cli/cli.h"

typedef struct item {
    const char *name, *doc, *paper;
    char text[512];               /* of a row that is put together */
    char more[512];               /* a second line; "": none */
    const char *targets, *source; /* of losses */
    const adze_field *fields;     /* parameters, a line each; or NULL */
    bool brief;                   /* parameters on one line, their ranges in JSON alone */
} item;

static int get_model(int i, item *out) {
    if (i >= adze_zoo_count()) {
        return ADZE_EARG;
    }
    *out = (item){.name = adze_zoo_name(i), .doc = adze_zoo_doc(i)};
    return adze_zoo_usage(i, out->more, sizeof(out->more));
}
static int get_layer(int i, item *out) {
    if (i >= adze_layer_count()) {
        return ADZE_EARG;
    }
    *out = (item){.name = adze_layer_name(i), .doc = adze_layer_doc(i), .fields = adze_layer_fields(i), .brief = true};
    snprintf(out->more, sizeof(out->more), "%s%s", adze_layer_cost(i) ? "costs " : "", adze_layer_cost(i) ? adze_layer_cost(i) : "");
    return ADZE_OK;
}
static int get_op(int i, item *out) {
    const adze_op *op = adze_op_at(i);
    if (!op) {
        return ADZE_EARG;
    }
    *out = (item){.name = op->name, .doc = op->doc};
    return ADZE_OK;
}
/* A row in words: formula; derivative; cost; paper. */
static int describe(bool there, const adze_about *a, item *out) {
    if (!there) {
        return ADZE_EARG;
    }
    snprintf(out->text, sizeof(out->text), "%s%s%s%s%s%s%s", a->formula, a->derivative ? "; derivative " : "", a->derivative ? a->derivative : "",
             a->cost ? "; costs " : "", a->cost ? a->cost : "", a->paper ? "; " : "", a->paper ? a->paper : "");
    out->name = a->name;
    out->doc = out->text;
    return ADZE_OK;
}
static int get_activation(int i, item *out) {
    adze_about a;
    return describe(adze_activation_about(i, &a), &a, out);
}
static int get_initializer(int i, item *out) {
    adze_about a;
    return describe(adze_init_about(i, &a), &a, out);
}
static int get_norm(int i, item *out) {
    adze_about a;
    return describe(adze_norm_about(i, &a), &a, out);
}
static int get_probe(int i, item *out) {
    adze_about a;
    unsigned is;
    return describe(adze_diag_at(i, &a, &is) == ADZE_OK, &a, out);
}
static int get_demo(int i, item *out) {
    adze_about a;
    return describe(adze_demo_at(i, &a) == ADZE_OK, &a, out);
}
static int get_dataset(int i, item *out) {
    return adze_dataset_known(i, &out->name, &out->doc);
}
static int get_augmentation(int i, item *out) {
    adze_augmentation a = {0};
    TRY(adze_augmentation_at(i, &a));
    *out = (item){.name = a.name, .doc = a.doc, .paper = a.paper, .fields = a.fields};
    snprintf(out->more, sizeof(out->more), "costs %s", a.cost);
    return ADZE_OK;
}
static int get_enum(const char *field, int i, item *out) {
    const adze_field *f = adze_field_find(adze_train_fields(), field);
    for (int k = 0; f && f->names[k]; k++) {
        if (k == i) {
            *out = (item){.name = f->names[k], .doc = ""};
            return ADZE_OK;
        }
    }
    return ADZE_EARG;
}
static int get_optimizer(int i, item *out) {
    return adze_optimizer_known(i, &out->name, &out->doc, out->more, sizeof(out->more));
}
static int get_schedule(int i, item *out) {
    const adze_schedule_info *s = adze_schedule_at(i);
    if (!s || get_enum("schedule", i, out) != ADZE_OK) {
        return ADZE_EARG;
    }
    *out = (item){.name = out->name, .doc = s->formula, .paper = s->source};
    return ADZE_OK;
}
static int get_loss(int i, item *out) {
    const adze_loss_info *l = adze_loss_at(i);
    if (!l || get_enum("loss", i, out) != ADZE_OK) {
        return ADZE_EARG;
    }
    *out = (item){.name = out->name, .doc = l->formula, .targets = l->targets, .source = l->source};
    snprintf(out->more, sizeof(out->more), "costs %s", l->cost);
    return ADZE_OK;
}
static int get_recipe(int i, item *out) {
    adze_recipe r;
    TRY(adze_recipe_at(i, &r));
    *out = (item){.name = r.name, .doc = r.doc, .paper = r.paper};
    snprintf(out->more, sizeof(out->more), "%s", r.options);
    return ADZE_OK;
}
static int get_option(int i, item *out) {
    const adze_field *f = &adze_train_fields()[0];
    for (int k = 0; f[k].name; k++) {
        if (k == i) {
            *out = (item){.name = f[k].name, .doc = f[k].help};
            return ADZE_OK;
        }
    }
    return ADZE_EARG;
}

static const struct {
    const char *name;
    int (*get)(int i, item *out);
} LISTS[] = {{"models", get_model},       {"layers", get_layer}, {"activations", get_activation}, {"initializers", get_initializer},
             {"norms", get_norm},         {"ops", get_op},       {"datasets", get_dataset},       {"optimizers", get_optimizer},
             {"schedules", get_schedule}, {"losses", get_loss},  {"options", get_option},         {"augmentations", get_augmentation},
             {"probes", get_probe},       {"demos", get_demo},   {"recipes", get_recipe}};

/* What a field may be: "0 to 1", or its names. */
static void print_range(adze_text *t, const adze_field *f) {
    char lo[32], hi[32];
    if (f->kind == ADZE_F_BOOL || f->kind == ADZE_F_STR) {
        adze_text_add(t, f->kind == ADZE_F_BOOL ? "true, false" : "a text");
    } else if (f->names) {
        for (int i = 0; f->names[i]; i++) {
            adze_text_add(t, "%s%s", i ? ", " : "", f->names[i]);
        }
    } else if (adze_print_f64(lo, sizeof(lo), f->lo) > 0 && adze_print_f64(hi, sizeof(hi), f->hi) > 0) {
        adze_text_add(t, "%s to %s", lo, hi);
    }
}

static void print_params(adze_text *t, const item *it, bool json) {
    if (json && it->paper) {
        adze_text_add(t, ",\"paper\":");
        adze_json_string(t, it->paper);
    }
    adze_text_add(t, "%s", json && it->fields ? ",\"parameters\":[" : "");
    for (const adze_field *f = it->fields; f && f->name; f++) {
        const char *def = f->def ? f->def : "";
        if (json) {
            adze_text_add(t, "%s{\"name\":\"%s\",\"default\":\"%s\",\"range\":\"", f > it->fields ? "," : "", f->name, def);
            print_range(t, f);
            adze_text_add(t, "\",\"help\":");
            adze_json_string(t, f->help);
            adze_text_add(t, "}");
        } else {
            const int64_t from = t->len;
            adze_text_add(t, "  %s=%s  (", f->name, def);
            print_range(t, f);
            adze_text_add(t, ") ");
            int at = (int)(t->len - from);
            cli_wrap(t, &at, 6, f->help);
            adze_text_add(t, "\n");
        }
    }
    adze_text_add(t, "%s", json && it->fields ? "]" : "");
}

/* A name in its column and four texts beside it, each NULL or begun and ended as it is. */
static void print_words(adze_text *t, const char *name, const char *const words[4]) {
    enum { LEFT = 21 };
    char text[2048];
    const int64_t from = t->len;
    adze_text_add(t, "%-20s ", name);
    int at = (int)(t->len - from);
    snprintf(text, sizeof(text), "%s%s%s%s%s", words[0] ? words[0] : "", words[1] && words[0] && words[0][0] && words[1][0] == '(' ? " " : "",
             words[1] ? words[1] : "", words[2] ? words[2] : "", words[3] ? words[3] : "");
    cli_wrap(t, &at, at > LEFT ? at : LEFT, text);
    adze_text_add(t, "\n");
}

/* Parameters by their names and what they are unless given, in one paragraph. */
static void print_brief(adze_text *t, const item *it) {
    char text[2048] = "";
    size_t n = 0;
    for (const adze_field *f = it->fields; f && f->name && n < sizeof(text); f++) {
        const char *def = f->def ? f->def : "";
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s%s%s", n ? " " : "", f->name, *def ? "=" : "", def);
    }
    if (n > 0) {
        print_words(t, "", (const char *[]){text, NULL, NULL, NULL});
    }
}

static int print_list(cli *c, int which) {
    adze_text t = {.ctx = c->ctx};
    item it = {0};
    if (c->global.json) {
        adze_text_add(&t, "{\"schema\":1,\"%s\":[", LISTS[which].name);
    }
    for (int i = 0; LISTS[which].get(i, &it) == ADZE_OK; i++) {
        if (c->global.json) {
            adze_text_add(&t, "%s{\"name\":", i ? "," : "");
            adze_json_string(&t, it.name);
            adze_text_add(&t, ",\"doc\":");
            adze_json_string(&t, it.doc ? it.doc : "");
            if (it.more[0]) {
                adze_text_add(&t, ",\"more\":");
                adze_json_string(&t, it.more);
            }
            if (it.targets) {
                adze_text_add(&t, ",\"targets\":");
                adze_json_string(&t, it.targets);
                adze_text_add(&t, ",\"source\":");
                adze_json_string(&t, it.source);
            }
            print_params(&t, &it, true);
            adze_text_add(&t, "}");
        } else {
            print_words(&t, it.name, (const char *[]){it.doc, it.paper ? "(" : NULL, it.paper, it.paper ? ")" : NULL});
            if (it.targets) {
                print_words(&t, "", (const char *[]){"p: ", it.targets, it.source && *it.source ? "; " : NULL, it.source});
            }
            if (it.more[0]) {
                print_words(&t, "", (const char *[]){it.more, NULL, NULL, NULL});
            }
            if (it.brief) {
                print_brief(&t, &it);
            } else {
                print_params(&t, &it, false);
            }
        }
    }
    if (c->global.json) {
        adze_text_add(&t, "]}\n");
    }
    return cli_print_text(c, &t);
}

static int run_list(cli *c, int argc, const char **argv) {
    cli_args a = {0};
    int status = cli_parse(c, &a, argc, argv, 1, 1);
    if (status == ADZE_OK && c->global.help) {
        cli_help(c->cmd, stdout);
    } else if (status == ADZE_OK) {
        size_t which = 0;
        while (which < ADZE_COUNT(LISTS) && strcmp(LISTS[which].name, a.words[0]) != 0) {
            which++;
        }
        if (which < ADZE_COUNT(LISTS)) {
            status = print_list(c, (int)which);
        } else {
            const char *near = adze_suggest(a.words[0], &LISTS[0].name, ADZE_COUNT(LISTS), sizeof(LISTS[0]));
            status = near ? cli_usage_error(c, "nothing to list as '%s'; did you mean '%s'?", a.words[0], near)
                          : cli_usage_error(c, "nothing to list as '%s'", a.words[0]);
        }
    }
    cli_args_free(c, &a);
    return status;
}

static int zoo_show(cli *c, const char *name) {
    adze_model *m;
    TRY(adze_model_from_zoo(c->ctx, name, &m));
    char *s = NULL;
    int status = c->global.json ? adze_model_to_json(m, &s) : adze_model_to_yaml(m, &s);
    if (status == ADZE_OK) {
        fputs(s, stdout);
        if (c->global.json) {
            fputc('\n', stdout);
        }
        adze_text_free(c->ctx, s);
        status = cli_finish_output(c);
    }
    adze_model_free(m);
    return status;
}

static int run_zoo(cli *c, int argc, const char **argv) {
    cli_args a = {0};
    int status = cli_parse(c, &a, argc, argv, 0, 2);
    if (status == ADZE_OK && c->global.help) {
        cli_help(c->cmd, stdout);
    } else if (status == ADZE_OK && (a.nwords == 0 || (a.nwords == 1 && strcmp(a.words[0], "list") == 0))) {
        status = print_list(c, 0);
    } else if (status == ADZE_OK && a.nwords == 2 && strcmp(a.words[0], "show") == 0) {
        status = zoo_show(c, a.words[1]);
    } else if (status == ADZE_OK) {
        status = cli_usage_error(c, "usage: adze %s", c->cmd->usage);
    }
    cli_args_free(c, &a);
    return status;
}

const cli_cmd CLI_LIST = {
    "list",
    "what there is: models, layers, ops, augmentations, options",
    "list WHAT",
    "  WHAT: models layers activations initializers norms ops datasets\n        augmentations optimizers schedules losses options\n        recipes probes demos\n"
    "  adze list models\n  adze list ops --json\n",
    NULL,
    run_list};
const cli_cmd CLI_ZOO = {"zoo",
                         "the built-in models, and the file of each",
                         "zoo [list | show MODEL]",
                         "  adze zoo\n  adze zoo show lenet5-caffe > net.yaml\n  adze zoo show mlp --json\n",
                         NULL,
                         run_zoo};
