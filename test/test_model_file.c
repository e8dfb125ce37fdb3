/* Models as files: JSON, YAML and safetensors say the same, and every fault of a file is told, with its place and all at once. */
#include "context.h"

#include "adze/io.h"
#include "base/base.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "faulty.h"

static char folder[256];

static int make_folder(void **state) {
    (void)state;
    faulty_folder(folder, sizeof folder);
    return 0;
}

static int drop_folder(void **state) {
    (void)state;
    faulty_folder_drop(folder);
    return 0;
}

static const char *file(const char *name) {
    static char path[400];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

/* Of the first weights; they are a function of the file, so that for large models the equal texts must do. */
static void hash_of(adze_ctx *ctx, const adze_model *m, uint64_t out[2]) {
    adze_store *s;
    out[0] = out[1] = 0;
    if (adze_model_params(m) > 1000000) {
        return;
    }
    must(ctx, adze_store_new(ctx, &s));
    must(ctx, adze_model_init(m, s, ADZE_F32, 42));
    must(ctx, adze_store_hash(s, out));
    adze_store_free(s);
}

/* model -> JSON -> model -> YAML -> model: the same text and the same first weights each time. */
static void round_trip(adze_ctx *ctx, adze_model *m) {
    char *json, *again, *yaml;
    uint64_t want[2], got[2];
    hash_of(ctx, m, want);
    must(ctx, adze_model_to_json(m, &json));
    must(ctx, adze_model_to_yaml(m, &yaml));
    adze_model *second;
    must(ctx, adze_model_from_json(ctx, json, strlen(json), "m.json", &second));
    must(ctx, adze_model_to_json(second, &again));
    assert_string_equal(json, again);
    hash_of(ctx, second, got);
    assert_memory_equal(want, got, sizeof want);
    adze_free(ctx, again);
    adze_model_free(second);
    must(ctx, parse(ctx, yaml, &second));
    must(ctx, adze_model_to_json(second, &again));
    assert_string_equal(json, again);
    hash_of(ctx, second, got);
    assert_memory_equal(want, got, sizeof want);
    adze_free(ctx, again);
    adze_model_free(second);
    adze_free(ctx, json);
    adze_free(ctx, yaml);
}

static void zoo_prints_itself(void **state) {
    assert_true(adze_zoo_count() >= 4);
    for (int i = 0; i < adze_zoo_count(); i++) {
        adze_model *m;
        must(*state, adze_model_from_zoo(*state, adze_zoo_name(i), &m));
        assert_string_equal(adze_model_name(m), adze_zoo_name(i));
        const int classes = adze_model_classes(m);
        assert_true(classes == 10 || classes == 65 || classes == 1000 || strncmp(adze_zoo_name(i), "autoencoder", 11) == 0);
        assert_true(strlen(adze_zoo_doc(i)) > 20);
        round_trip(*state, m);
        adze_model_free(m);
    }
    adze_model *m;
    assert_int_equal(adze_model_from_zoo(*state, "lenet5-cafe", &m), ADZE_EARG);
    assert_string_equal(adze_errmsg(*state), "no network called 'lenet5-cafe' is in the zoo; did you mean 'lenet5-caffe'?");
    assert_null(m);
}

static void files_of_all_forms_open(void **state) {
    adze_ctx *ctx = *state;
    static const char *const names[] = {"m.yaml", "m.yml", "m.json"};
    char path[512];
    snprintf(path, sizeof path, "%s/models/many.yaml", ADZE_TEST_DIR);
    adze_model *m, *again;
    must(ctx, adze_model_from_file(ctx, path, &m));
    round_trip(ctx, m);
    for (int i = 0; i < 3; i++) {
        char *text, *a, *b;
        must(ctx, i < 2 ? adze_model_to_yaml(m, &text) : adze_model_to_json(m, &text));
        adze_piece piece = {text, (int64_t)strlen(text)};
        must(ctx, adze_replace_file(ctx, file(names[i]), &piece, 1));
        must(ctx, adze_model_from_file(ctx, file(names[i]), &again));
        must(ctx, adze_model_to_json(m, &a));
        must(ctx, adze_model_to_json(again, &b));
        assert_string_equal(a, b);
        adze_free(ctx, a);
        adze_free(ctx, b);
        adze_free(ctx, text);
        adze_model_free(again);
    }
    adze_model_free(m);
    assert_int_equal(adze_model_from_file(ctx, "net.txt", &m), ADZE_EARG);
    assert_string_equal(adze_errmsg(ctx), "'net.txt' is no model file by its name; it must end in .yaml, .yml, .json or .safetensors");
    assert_int_equal(adze_model_from_file(ctx, file("none.yaml"), &m), ADZE_EIO);
}

static void preprocess_and_names_come_back(void **state) {
    adze_ctx *ctx = *state;
    adze_model *m;
    must(ctx,
         parse(ctx,
               "name: \"a: b #c \\\"q\\\" \xc3\xa9\"\ninput: [2, 2, 1]\nclass_names: [no, '1', \"x y\", \"tab\\t\"]\n"
               "preprocess: {scale: 0.1, pad: 3, mean: [1.5], sd: [1e-7], fixed: yes}\nlayers:\n  - {type: flatten}\n  - {type: dense, units: 4}\n",
               &m));
    round_trip(ctx, m);
    char *json;
    must(ctx, adze_model_to_json(m, &json));
    adze_model *again;
    must(ctx, adze_model_from_json(ctx, json, strlen(json), "x", &again));
    const adze_preprocess *p = adze_model_preprocess(again);
    assert_true(p->scale == 0.1 && p->pad == 3 && p->fixed && p->channels == 1 && p->mean[0] == 1.5 && p->sd[0] == 1e-7);
    assert_string_equal(adze_model_name(again), "a: b #c \"q\" \xc3\xa9");
    static const char *const want[] = {"no", "1", "x y", "tab\t"};
    for (int i = 0; i < 4; i++) {
        assert_string_equal(adze_model_class_name(again, i), want[i]);
    }
    assert_string_equal(adze_model_class_name(again, 4), "");
    static const char *const other[] = {"a", "b", "c", "d"};
    assert_int_equal(adze_model_set_class_names(again, other, 3), ADZE_EARG);
    must(ctx, adze_model_set_class_names(again, other, 4));
    assert_string_equal(adze_model_class_name(again, 3), "d");
    adze_free(ctx, json);
    adze_model_free(m);
    adze_model_free(again);
    must(ctx, adze_model_from_zoo(ctx, "mlp", &m));
    assert_string_equal(adze_model_class_name(m, 7), "7");
    adze_model_free(m);
}

/* -- faults -- */

#define HEAD "name: n\ninput: [8, 8, 2]\nlayers:\n" /* layers begin on line 4 */
#define FLAT HEAD "  - {type: flatten}\n"           /* the next layer is on line 5 */
#define TAIL "  - {type: flatten}\n  - {type: dense, units: 2}\n"

static const char *const FAULTS[][2] = {
    /* the head */
    {"[]", "n.yaml:1:1: a model file is a map with the keys name, input and layers"},
    {"input: [4]\nlayers:\n  - {type: dense, units: 2}\n", "n.yaml:1:1: the model needs 'name': what the network is called"},
    {"name: n\nlayers:\n  - {type: dense, units: 2}\n", "n.yaml:1:1: the model needs 'input': shape of one example: [height, width, channels]"},
    {"name: n\ninput: [4]\n", "n.yaml:1:1: the model needs 'layers', a list of at least one layer"},
    {"name: n\ninput: [4]\nlayers: []\n", "n.yaml:3:1: the model needs 'layers', a list of at least one layer"},
    {"name: n\ninput: [4]\nlayers: dense\n", "n.yaml:3:1: the model needs 'layers', a list of at least one layer"},
    {"name: n\ninput: []\nlayers:\n  - {type: dense, units: 2}\n", "n.yaml:2:1: 'input' takes 1 to 7 sizes, such as [28, 28, 1]"},
    {"name: n\ninput: [0]\nlayers:\n  - {type: dense, units: 2}\n", "n.yaml:2:1: the model: input '0' is out of range; it must be 1 to 65536"},
    {"adze: 2\nname: n\ninput: [4]\nlayers:\n  - {type: dense, units: 2}\n", "n.yaml:1:1: the model: adze '2' is out of range; it must be 1 to 1"},
    {"nmae: n\nname: n\ninput: [4]\nlayers:\n  - {type: dense, units: 2}\n", "n.yaml:1:1: unknown key 'nmae' in the model; did you mean 'name'?"},
    {"name: n\ntask: clasify\ninput: [4]\nlayers:\n  - {type: dense, units: 2}\n",
     "n.yaml:2:1: the model: task 'clasify' is not known; did you mean 'classify'?"},
    {"name: n\ninput: [4]\nclass_names: a\nlayers:\n  - {type: dense, units: 2}\n", "n.yaml:3:1: 'class_names' is a list of names, one per class"},
    {"name: n\ninput: [4]\nclass_names: [[a], b]\nlayers:\n  - {type: dense, units: 2}\n", "n.yaml:3:15: a class name is a text"},
    {"name: n\ninput: [4]\nclass_names: [a]\nlayers:\n  - {type: dense, units: 2}\n",
     "n.yaml:4:1: there are 1 class names, but layer 'dense1' has 2 outputs"},
    {"name: n\ninput: [4]\npreprocess: 3\nlayers:\n  - {type: dense, units: 2}\n", "n.yaml:3:1: 'preprocess' is a map such as {pad: 2}"},
    {"name: n\ninput: [4]\npreprocess: {pda: 1}\nlayers:\n  - {type: dense, units: 2}\n",
     "n.yaml:3:14: unknown key 'pda' in 'preprocess'; did you mean 'pad'?"},
    {"name: n\ninput: [4]\npreprocess: {sd: [0, 0, 0, 0]}\nlayers:\n  - {type: dense, units: 2}\n",
     "n.yaml:3:19: 'sd' of preprocess must be positive numbers, not '0'\nn.yaml:3:22: 'sd' of preprocess must be positive numbers, not '0'\n"
     "n.yaml:3:25: 'sd' of preprocess must be positive numbers, not '0'\nn.yaml:3:28: 'sd' of preprocess must be positive numbers, not '0'"},
    {"name: n\ninput: [4]\npreprocess: {mean: [1]}\nlayers:\n  - {type: dense, units: 2}\n",
     "n.yaml:3:1: preprocess has 1 means and 0 deviations, the input has 4 channels"},
    {"name: n\ninput: [4]\npreprocess: {mean: []}\nlayers:\n  - {type: dense, units: 2}\n",
     "n.yaml:3:14: 'mean' of preprocess is a list of one number per channel"},
    /* layers as written */
    {HEAD "  - dense\n", "n.yaml:4:5: a layer is a map such as {type: dense, units: 10}"},
    {HEAD "  - {name: a}\n", "n.yaml:4:5: layer 'a' needs a 'type' such as dense or conv"},
    {HEAD "  - {tpye: dense}\n", "n.yaml:4:6: unknown key 'tpye' in layer '?'; did you mean 'type'?"},
    {HEAD "  - {type: dence, units: 2}\n", "n.yaml:4:6: unknown layer type 'dence'; did you mean 'dense'?"},
    {HEAD "  - {type: quux}\n", "n.yaml:4:6: unknown layer type 'quux'; `adze layers` lists them"},
    {FLAT "  - {type: dense, unit: 2, name: fc1}\n",
     "n.yaml:5:19: unknown key 'unit' in layer 'fc1'; did you mean 'units'?\nn.yaml:5:5: layer 'fc1' needs 'units': number of outputs"},
    {FLAT "  - {type: dense, units: two, name: fc1}\n", "n.yaml:5:19: layer 'fc1': units 'two' is not a whole number"},
    {FLAT "  - {type: dense, units: 0, name: fc1}\n", "n.yaml:5:19: layer 'fc1': units '0' is out of range; it must be 1 to 10000000"},
    {FLAT "  - {type: dense, units: 2, activation: rleu, name: fc1}\n",
     "n.yaml:5:29: layer 'fc1': activation 'rleu' is not known; did you mean 'relu'?"},
    {FLAT "  - {type: dense, units: 2, bias: maybe, name: fc1}\n", "n.yaml:5:29: layer 'fc1': bias 'maybe' is not true or false"},
    {FLAT "  - {type: dense, units: [2], name: fc1}\n", "n.yaml:5:19: layer 'fc1': 'units' takes a single value, not a list"},
    {FLAT "  - {type: dense, units: 2, name: 'a b'}\n",
     "n.yaml:5:29: a layer's name is made of letters, digits, '_', '-' and '.', at most 63 of them"},
    {FLAT "  - {type: dense, units: 2, name: input}\n", "n.yaml:5:29: 'input' is the name of what comes in; call the layer something else"},
    {FLAT "  - {type: dense, units: 3, name: a}\n  - {type: dense, units: 2, name: a}\n",
     "n.yaml:6:5: there are two layers called 'a'; give one of them another name"},
    {FLAT "  - {type: dense, units: 2, from: flaten1}\n",
     "n.yaml:5:5: layer 'dense1' takes its input from 'flaten1', which is no layer before it; did you mean 'flatten1'?"},
    {FLAT "  - {type: dense, units: 2, from: dense1}\n", "n.yaml:5:5: layer 'dense1' takes its input from 'dense1', which is no layer before it"},
    {HEAD "  - {type: add, name: s, from: [input, c]}\n  - {type: conv, name: c, filters: 2, kernel: 1}\n" TAIL,
     "n.yaml:4:5: layer 's' takes its input from 'c', which is no layer before it"},
    {FLAT "  - {type: dense, units: 2, from: []}\n", "n.yaml:5:29: 'from' of layer 'dense1' is an empty list"},
    {FLAT "  - {type: dense, units: 2, from: {a: b}}\n", "n.yaml:5:29: 'from' of layer 'dense1' takes the name of a layer, or a list of names"},
    {FLAT "  - {type: dense, units: 2, from: [flatten1, input]}\n", "n.yaml:5:5: layer 'dense1' has 2 inputs, dense takes 1"},
    {FLAT "  - {type: add, name: s}\n", "n.yaml:5:5: layer 's' joins layers: name them, such as from: [a, b]"},
    {FLAT "  - {type: add, name: s, from: flatten1}\n", "n.yaml:5:5: layer 's' has 1 inputs, add takes at least 2"},
    {FLAT "  - {type: dense, units: 2, name: a, from: input}\n",
     "n.yaml:4:5: nothing uses the output of layer 'flatten1'; name it in a 'from', or take it out"},
    {HEAD "  - {repeat: 0, layers: [{type: flatten}]}\n", "n.yaml:4:6: repeat 'repeat1': repeat '0' is out of range; it must be 1 to 1000"},
    {HEAD "  - {repeat: 2, name: r, layers: []}\n", "n.yaml:4:26: repeat 'r' needs 'layers', a list of at least one layer"},
    {HEAD "  - {repeat: 2, name: r, layres: [{type: flatten}]}\n",
     "n.yaml:4:26: unknown key 'layres' in repeat 'r'; did you mean 'layers'?\nn.yaml:4:5: repeat 'r' needs 'layers', a list of at least one layer"},
    {HEAD "  - {repeat: 1000, name: a, layers: [{repeat: 1000, name: b, layers: [{type: activation, fn: relu}]}]}\n",
     "n.yaml:4:71: the repeats make more than 10000 layers"},
    /* what single layers refuse */
    {HEAD "  - {type: conv, name: c, filters: 3, kernel: 3, groups: 2}\n" TAIL, "n.yaml:4:5: layer 'c': 'filters' 3 is no multiple of 'groups' 2"},
    {HEAD "  - {type: conv, name: c, filters: 3, kernel: 3, pad: same, pad_lo: 1}\n" TAIL,
     "n.yaml:4:5: layer 'c': 'pad: same' and 'pad_lo' or 'pad_hi' exclude each other"},
    {HEAD "  - {type: conv, name: c, filters: 3, kernel: 3, pad: 1, pad_lo: 1}\n" TAIL,
     "n.yaml:4:50: 'pad' as a number and 'pad_lo' or 'pad_hi' exclude each other in layer 'c'"},
    {HEAD "  - {type: conv, name: c, filters: 3, kernel: 3, pad: smae}\n" TAIL,
     "n.yaml:4:50: layer 'c': pad 'smae' is not known; did you mean 'same'?"},
    {HEAD "  - {type: conv, name: c, filters: 3, kernel: 3, pad: -1}\n" TAIL,
     "n.yaml:4:50: layer 'c': pad '-1' is out of range; it must be 0 to 4096"},
    {HEAD "  - {type: conv, name: c, filters: 3, kernel: []}\n" TAIL, "n.yaml:4:5: layer 'c': 'kernel' needs at least one number"},
    {HEAD "  - {type: conv, name: c, filters: 3, kernel: [3, 3, 3]}\n" TAIL,
     "n.yaml:4:5: conv 'c': 'size' has 3 numbers, the input has 2 spatial axes"},
    {HEAD "  - {type: conv, name: c, filters: 3, kernel: 3, groups: 3}\n" TAIL,
     "n.yaml:4:5: conv 'c': the input has 2 channels, no multiple of 'groups' 3"},
    {HEAD "  - {type: conv, name: c, filters: 2, kernel: 3, table: '0 1'}\n" TAIL, "n.yaml:4:5: layer 'c': 'table' has 1 rows, 'filters' is 2"},
    {HEAD "  - {type: conv, name: c, filters: 2, kernel: 3, table: '0, x'}\n" TAIL,
     "n.yaml:4:5: layer 'c': row 1 of 'table' must list input maps from 0 to 511, not ' x'"},
    {HEAD "  - {type: conv, name: c, filters: 2, kernel: 3, table: '0, 2'}\n" TAIL,
     "n.yaml:4:5: conv 'c': row 1 of 'table' must list input maps from 0 to 1, not ' 2'"},
    {HEAD "  - {type: conv, name: c, filters: 2, kernel: 3, table: '0, '}\n" TAIL,
     "n.yaml:4:5: layer 'c': row 1 of 'table' must list input maps from 0 to 511, not ' '"},
    {HEAD "  - {type: dense, name: d, units: 2}\n", "n.yaml:4:5: dense 'd': the input is f32 (1, 8, 8, 2); put a flatten layer before"},
    {FLAT "  - {type: conv, name: c, filters: 3, kernel: 3}\n",
     "n.yaml:5:5: conv 'c': the input is f32 (1, 128), it needs at least one spatial axis (N, ..., C)"},
    {FLAT "  - {type: rbf, name: o}\n", "n.yaml:5:5: rbf 'o': the input has 128 numbers, the digit codes have 84 (7 x 12)"},
    {HEAD "  - {type: reshape, name: r, dims: [3]}\n" TAIL, "n.yaml:4:5: reshape 'r': an example has 128 numbers, 'dims' makes 3"},
    {HEAD "  - {type: flatten, name: f}\n  - {type: dense, units: 3}\n  - {type: add, name: s, from: [f, dense1]}\n",
     "n.yaml:6:5: add 's': its inputs differ: f32 (1, 128) and f32 (1, 3)"},
    {HEAD "  - {type: flatten, name: f}\n  - {type: dense, units: 3}\n  - {type: concat, name: s, axis: 1, from: [f, dense1]}\n",
     "n.yaml:6:5: concat 's': 'axis' is 1, an example has 1 axes"},
    {HEAD "  - {type: conv, name: c, filters: 2, kernel: 3}\n  - {type: concat, name: s, from: [c, input]}\n" TAIL,
     "n.yaml:5:5: concat 's': input 1 is f32 (1, 8, 8, 2), which does not fit beside f32 (1, 6, 6, 2) on axis 3"},
    {HEAD "  - {type: shortcut, name: s, filters: 1}\n" TAIL, "n.yaml:4:5: shortcut 's': the input has 2 channels, a shortcut to 1 cannot drop any"},
    {FLAT "  - {type: shortcut, name: s, filters: 128}\n",
     "n.yaml:5:5: shortcut 's': the input is f32 (1, 128), it needs at least one spatial axis (N, ..., C)"},
    {FLAT "  - {type: dropout, p: 1}\n", "n.yaml:5:21: layer 'dropout1': p '1' is out of range; it must be 0 to 0.99"},
    {FLAT "  - {type: activation}\n", "n.yaml:5:5: layer 'activation1' needs 'fn': the function"},
    /* what the last layer must be, and sizes */
    {HEAD "  - {type: conv, name: c, filters: 3, kernel: 3}\n",
     "n.yaml:3:1: a classifier ends in one number for each of at least two classes, but layer 'c' gives f32 (1, 6, 6, 3); or write 'task: regress'"},
    {FLAT "  - {type: dense, units: 1}\n",
     "n.yaml:3:1: a classifier ends in one number for each of at least two classes, but layer 'dense1' gives f32 (1, 1); or write 'task: regress'"},
    {FLAT "  - {type: dense, units: 2}\n  - {type: softmax}\n",
     "n.yaml:6:5: a classifier's last layer is no softmax: the loss and the prediction apply it; take it out"},
    {FLAT "  - {type: dense, units: 100000}\n  - {type: dense, name: big, units: 100000}\n",
     "n.yaml:6:5: dense 'big': its parameter 'w', f32 (100000, 100000), makes the model larger than 2000000000 parameters; use smaller layers"},
    {"name: n\ninput: [65536, 65536]\nlayers:\n  - {type: flatten}\n", "n.yaml:4:5: the input has more than 2000000000 numbers"},
    {"name: n\ninput: [65536, 65536, 65536, 65536]\nlayers:\n  - {type: flatten}\n", "n.yaml:4:5: the input has more than 2000000000 numbers"},
    /* several at once, in the order of the file */
    {"nam: n\ninput: [8, 8, x]\nlayers:\n  - {type: dense, unit: 3}\n  - {type: conv, kernal: 3, filters: -1}\n",
     "n.yaml:1:1: unknown key 'nam' in the model; did you mean 'name'?\nn.yaml:2:1: the model: input '8,8,x' is not a list of whole numbers such as 3,3\n"
     "n.yaml:1:1: the model needs 'name': what the network is called\nn.yaml:4:19: unknown key 'unit' in layer 'dense1'; did you mean 'units'?\n"
     "n.yaml:4:5: layer 'dense1' needs 'units': number of outputs\nn.yaml:5:18: unknown key 'kernal' in layer 'conv1'; did you mean 'kernel'?\n"
     "n.yaml:5:29: layer 'conv1': filters '-1' is out of range; it must be 1 to 1000000\n"
     "n.yaml:5:5: layer 'conv1' needs 'kernel': size of the window, one number or one per axis"},
};

static void every_fault_has_its_sentence(void **state) {
    int wrong = 0;
    for (size_t i = 0; i < ADZE_COUNT(FAULTS); i++) {
        adze_model *m;
        int status = parse(*state, FAULTS[i][0], &m);
        if (status != ADZE_EARG || m || strcmp(adze_errmsg(*state), FAULTS[i][1]) != 0) {
            print_message("-- %s   gives %d: %s\n   not: %s\n", FAULTS[i][0], status, status ? adze_errmsg(*state) : "a model", FAULTS[i][1]);
            wrong++;
        }
        adze_model_free(m);
    }
    assert_int_equal(wrong, 0);
}

static void json_is_as_strict(void **state) {
    adze_model *m;
    const char *text = "{\"name\":\"n\",\n\"input\":[4],\"layers\":[{\"type\":\"dense\",\n\"unit\":3}]}";
    assert_int_equal(adze_model_from_json(*state, text, strlen(text), "n.json", &m), ADZE_EARG);
    assert_non_null(strstr(adze_errmsg(*state), "n.json:3:1: unknown key 'unit' in layer 'dense1'; did you mean 'units'?"));
    assert_int_equal(adze_model_from_json(*state, text, strlen(text) - 1, "n.json", &m), ADZE_EFORMAT);
    char *big = calloc(1, (1 << 20) + 2);
    memset(big, ' ', (1 << 20) + 1);
    assert_int_equal(adze_model_from_json(*state, big, (1 << 20) + 1, "n.json", &m), ADZE_EFORMAT);
    free(big);
}

/* A file within the limit whose canonical form is not: accepted, it could be saved but never read again. */
static void canonical_form_keeps_to_the_limit(void **state) {
    adze_text t = {.ctx = *state};
    char *text;
    adze_model *m;
    adze_text_add(&t, "name: n\ninput: [4]\nlayers:\n");
    for (int i = 0; i < 9999; i++) {
        adze_text_add(&t, "- {type: activation, fn: leaky_relu, name: a%058d}\n", i);
    }
    adze_text_add(&t, "- {type: dense, units: 2}\n");
    must(*state, adze_text_finish(&t, &text));
    assert_true(strlen(text) < 1 << 20);
    assert_int_equal(parse(*state, text, &m), ADZE_EARG);
    assert_non_null(strstr(adze_errmsg(*state), "written out with all names the model has"));
    adze_free(*state, text);
}

static void preprocessing_that_is_none_is_not_saved(void **state) {
    adze_ctx *ctx = *state;
    adze_model *m;
    adze_store *s;
    must(ctx, adze_model_from_zoo(ctx, "mlp", &m));
    must(ctx, adze_store_new(ctx, &s));
    must(ctx, adze_model_init(m, s, ADZE_F32, 3));
    adze_preprocess p = *adze_model_preprocess(m);
    p.sd[0] = 0;
    adze_model_set_preprocess(m, &p);
    assert_int_equal(adze_model_save(m, s, "", file("p.safetensors")), ADZE_EARG);
    assert_string_equal(adze_errmsg(ctx), "cannot save model 'mlp': mean 0 and deviation 0 of channel 0 are no preprocessing");
    adze_store_free(s);
    adze_model_free(m);
}

/* -- the trained file -- */

static void trained_model_comes_back(void **state) {
    adze_ctx *ctx = *state;
    static const adze_dtype dtypes[] = {ADZE_F32, ADZE_F64};
    for (int d = 0; d < 2; d++) {
        adze_model *m, *again;
        adze_store *s, *back;
        uint64_t want[2], got[2];
        must(ctx, adze_model_from_zoo(ctx, "lenet5", &m));
        must(ctx, adze_store_new(ctx, &s));
        must(ctx, adze_model_init(m, s, dtypes[d], 3));
        static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"};
        must(ctx, adze_model_set_class_names(m, names, 10));
        must(ctx, adze_model_save(m, s, "", file("m.safetensors")));
        must(ctx, adze_model_load(ctx, file("m.safetensors"), &again, &back));
        must(ctx, adze_store_hash(s, want));
        must(ctx, adze_store_hash(back, got));
        assert_memory_equal(want, got, sizeof want);
        char *a, *b;
        must(ctx, adze_model_to_json(m, &a));
        must(ctx, adze_model_to_json(again, &b));
        assert_string_equal(a, b);
        assert_non_null(strstr(a, "\"class_names\":[\"a\""));
        adze_free(ctx, a);
        adze_free(ctx, b);
        adze_store_free(back);
        adze_model_free(again);
        must(ctx, adze_model_from_file(ctx, file("m.safetensors"), &again));
        adze_model_free(again);
        adze_store_free(s);
        adze_model_free(m);
    }
}

/* A stored model under a prefix (an average of weights) is saved under the model's own names. */
static void prefix_is_left_out(void **state) {
    adze_ctx *ctx = *state;
    adze_model *m, *again;
    adze_store *s, *back;
    const char *text = "name: n\ninput: [3]\nlayers:\n  - {type: dense, name: fc, units: 2, bias: false}\n";
    must(ctx, parse(ctx, text, &m));
    must(ctx, adze_store_new(ctx, &s));
    must(ctx, adze_model_init(m, s, ADZE_F32, 3));
    int slot;
    adze_tensor t;
    must(ctx, adze_store_add(s, "ema/fc:w", adze_type_make(ADZE_F32, 2, (int64_t[]){3, 2}), ADZE_SLOT_TRAINABLE, &slot));
    must(ctx, adze_store_tensor(s, slot, &t));
    adze_tensor_set(&t, 5, 77);
    must(ctx, adze_model_save(m, s, "ema/", file("e.safetensors")));
    must(ctx, adze_model_load(ctx, file("e.safetensors"), &again, &back));
    must(ctx, adze_store_tensor(back, adze_store_find(back, "fc:w"), &t));
    assert_true(adze_tensor_get(&t, 5) == 77);
    assert_int_equal(adze_model_save(m, s, "swa/", file("e.safetensors")), ADZE_EARG);
    assert_non_null(strstr(adze_errmsg(ctx), "the store has no slot 'swa/fc:w'"));
    adze_store_free(s);
    adze_store_free(back);
    adze_model_free(m);
    adze_model_free(again);
}

static void files_that_do_not_fit_are_refused(void **state) {
    adze_ctx *ctx = *state;
    static const char json[] = "{\"name\":\"n\",\"input\":[3],\"layers\":[{\"type\":\"dense\",\"name\":\"fc\",\"units\":2,\"bias\":false}]}";
    static const struct {
        const char *name, *key, *value;
        adze_dtype dtype;
        int64_t rows;
        const char *says;
    } rows[] = {
        {"fc:w", "adze.model", json, ADZE_F32, 3, NULL},
        {"fc:w", "other", "x", ADZE_F32, 3, "holds tensors but no model"},
        {"fc:v", "adze.model", json, ADZE_F32, 3, "has no tensor 'fc:w', which its model needs"},
        {"fc:w", "adze.model", json, ADZE_F32, 4, "tensor 'fc:w' is f32 (4, 2), its model needs f32 (3, 2)"},
        {"fc:w", "adze.model", json, ADZE_I32, 3, "tensor 'fc:w' is i32 (3, 2), its model needs f32 (3, 2)"},
        {"fc:w", "adze.model", "{", ADZE_F32, 3, "f.safetensors:1:2"},
        {"fc:w", "adze.model", "{\"name\":\"n\"}", ADZE_F32, 3, "the model needs 'input'"},
    };
    for (size_t i = 0; i < ADZE_COUNT(rows); i++) {
        adze_named t = {.name = rows[i].name};
        must(ctx, adze_tensor_new(ctx, adze_type_make(rows[i].dtype, 2, (int64_t[]){rows[i].rows, 2}), &t.t));
        adze_meta meta = {rows[i].key, rows[i].value};
        must(ctx, adze_safetensors_save(ctx, file("f.safetensors"), &t, 1, &meta, 1));
        adze_tensor_free(&t.t);
        adze_model *m;
        adze_store *s;
        int status = adze_model_load(ctx, file("f.safetensors"), &m, &s);
        assert_int_equal(status, rows[i].says ? ADZE_EFORMAT : ADZE_OK);
        if (rows[i].says && !strstr(adze_errmsg(ctx), rows[i].says)) {
            fail_msg("%s, not %s", adze_errmsg(ctx), rows[i].says);
        }
        adze_model_free(m);
        adze_store_free(s);
    }
}

/* -- memory -- */

static void every_refused_request_is_survived(void **state) {
    (void)state;
    faulty_mem mem;
    faulty_mem_init(&mem);
    adze_ctx *ctx;
    adze_ctx_opts o = {.size = sizeof o, .threads = 1, .mem = &mem.table};
    assert_int_equal(adze_ctx_new(&o, &ctx), ADZE_OK);
    const char *text = "name: n\ninput: [6, 6, 2]\nclass_names: [a, b]\npreprocess: {mean: [1, 2]}\nlayers:\n"
                       "  - {repeat: 2, name: r, layers: [{type: conv, filters: 2, kernel: 3, pad: 1, table: '0 1, 1'}, {type: batchnorm}]}\n"
                       "  - {type: flatten}\n  - {type: dense, units: 2, init: orthogonal}\n";
    char path[400];
    snprintf(path, sizeof path, "%s", file("a.safetensors"));
    int status = ADZE_ENOMEM, failures = 0;
    for (long k = 1; status != ADZE_OK; k++, failures++) {
        adze_model *m = NULL, *again = NULL;
        adze_store *s = NULL, *back = NULL;
        char *json = NULL;
        faulty_mem_arm(&mem, k, k % 2);
        status = parse(ctx, text, &m);
        status = status ? status : adze_model_to_yaml(m, &json);
        status = status ? status : adze_store_new(ctx, &s);
        status = status ? status : adze_model_init(m, s, ADZE_F32, 1);
        status = status ? status : adze_model_save(m, s, "", path);
        status = status ? status : adze_model_load(ctx, path, &again, &back);
        faulty_mem_arm(&mem, 0, false);
        adze_free(ctx, json);
        adze_store_free(s);
        adze_store_free(back);
        adze_model_free(m);
        adze_model_free(again);
        if (status != ADZE_OK && status != ADZE_ENOMEM) {
            fail_msg("request %ld refused gave %d: %s", k, status, adze_errmsg(ctx));
        }
        assert_true(k < 20000);
    }
    assert_true(failures > 30);
    adze_ctx_free(ctx);
    assert_true(faulty_mem_clean(&mem));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(zoo_prints_itself, setup, teardown),
        cmocka_unit_test_setup_teardown(files_of_all_forms_open, setup, teardown),
        cmocka_unit_test_setup_teardown(preprocess_and_names_come_back, setup, teardown),
        cmocka_unit_test_setup_teardown(every_fault_has_its_sentence, setup, teardown),
        cmocka_unit_test_setup_teardown(json_is_as_strict, setup, teardown),
        cmocka_unit_test_setup_teardown(canonical_form_keeps_to_the_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(preprocessing_that_is_none_is_not_saved, setup, teardown),
        cmocka_unit_test_setup_teardown(trained_model_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(prefix_is_left_out, setup, teardown),
        cmocka_unit_test_setup_teardown(files_that_do_not_fit_are_refused, setup, teardown),
        cmocka_unit_test(every_refused_request_is_survived),
    };
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
