/* Options of a training that stand behind those of the command line: a recipe's. */
#include "cli/rundir.h"
#include "train/options.h"

int cli_put_given(cli *c, const cli_args *a, int table, const adze_train_opts *given, adze_train_opts *o) {
    char value[512];
    for (const adze_field *f = adze_train_fields(); f->name; f++) {
        if (cli_given(a, table, f->name)) {
            if (adze_field_print(f, given, value, sizeof(value)) < 0) {
                return adze_fail(c->ctx, ADZE_EBUG, "option %s cannot be printed", f->name);
            }
            TRY(adze_field_parse(c->ctx, f, o, value, f->name));
        }
    }
    return ADZE_OK;
}

int cli_recipe_apply(cli *c, const cli_args *a, int table, const char *recipe, adze_train_opts *o) {
    const char *dot = strrchr(recipe, '.');
    const bool file = dot && (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0);
    const adze_train_opts given = *o;
    if (!recipe[0]) {
        return ADZE_OK;
    }
    TRY(adze_fields_default(adze_train_fields(), o));
    TRY(file ? cli_options_read(c, recipe, NULL, o) : adze_recipe_apply(c->ctx, recipe, o));
    return cli_put_given(c, a, table, &given, o);
}
