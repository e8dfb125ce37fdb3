# The command's exit codes and where its output goes: results on stdout, everything else on stderr. Usage: exit_codes.sh ADZE TEST_DIR
. "$(dirname "$0")/common.sh"
n=0

# expect CODE 'text that stderr must hold' COMMAND...
expect() {
    local code=$1 text=$2
    shift 2
    "$@" > out.txt 2> err.txt < /dev/null
    local got=$?
    n=$((n + 1))
    if [ "$got" -ne "$code" ]; then
        echo "FAIL: '$*' gave exit code $got, not $code: $(cat err.txt)"
        bad=1
    elif [ -n "$text" ] && ! grep -qF -- "$text" err.txt; then
        echo "FAIL: '$*' did not say '$text' but: $(cat err.txt)"
        bad=1
    elif [ "$code" -eq 0 ] && grep -q . err.txt; then
        echo "FAIL: '$*' wrote to stderr: $(cat err.txt)"
        bad=1
    elif [ "$code" -ne 0 ] && grep -q . out.txt; then
        echo "FAIL: '$*' failed but wrote to stdout: $(head -3 out.txt)"
        bad=1
    fi
}

expect 0 '' "$adze" version
expect 0 '' "$adze" --version
expect 0 '' "$adze" help
expect 0 '' "$adze" --help
for c in train eval ensemble predict info inspect graph list zoo data doctor bench check version help; do
    expect 0 '' "$adze" help $c
    [ $c = help ] || expect 0 '' "$adze" $c --help
    n_wide=$("$adze" help $c | awk 'length > 80' | wc -l)
    [ "$n_wide" -eq 0 ] || { echo "FAIL: 'help $c' is wider than 80 columns"; bad=1; }
done
expect 2 'a command is missing' "$adze"
expect 2 "did you mean 'adze train'" "$adze" trian
expect 2 "did you mean '--batch'" "$adze" info lenet5 --bacth 3
expect 2 "unknown option" "$adze" info lenet5 --xyzzyplugh
expect 2 "lenet5-caffe" "$adze" info lenet5-cafe
expect 2 'usage: adze info' "$adze" info
expect 2 'one argument too many' "$adze" info lenet5 mlp
expect 2 '--batch' "$adze" info lenet5 --batch 0
expect 2 '--batch' "$adze" info lenet5 --batch=many
expect 2 'needs a value' "$adze" info lenet5 --batch
expect 2 'no weights' "$adze" eval lenet5
expect 2 'nothing to list' "$adze" list modles
expect 2 'batch' "$adze" train mlp btach=3
expect 2 'no run at' "$adze" train --resume nowhere
expect 2 'not-a-data-set' "$adze" train mlp --data not-a-data-set
expect 4 'absent.yaml' "$adze" info absent.yaml
expect 4 'absent.safetensors' "$adze" eval absent.safetensors
printf 'not a model' > broken.safetensors
expect 3 'broken.safetensors' "$adze" eval broken.safetensors
printf 'name: x\nlayers:\n  - {type: dens}\n' > typo.yaml
expect 2 'typo.yaml:' "$adze" info typo.yaml
printf 'name: [\n' > broken.yaml
expect 3 'broken.yaml:' "$adze" info broken.yaml
expect 2 '--mem-limit' "$adze" info lenet5 --mem-limit 5X
expect 2 '--mem-limit' "$adze" info lenet5 --mem-limit 0
expect 6 '' "$adze" train mlp --data fashion-mnist --mem-limit 1M
expect 0 '' "$adze" info lenet5-caffe
expect 0 '' "$adze" info lenet5-caffe --json
expect 0 '' "$adze" list ops --json
expect 0 '' "$adze" zoo
expect 0 '' "$adze" zoo show lenet5
expect 0 '' "$adze" inspect mlp --batch 4
expect 0 '' "$adze" graph mlp
expect 0 '' "$adze" check mlp --directions 1 --step 1e-6

# With --json a failure is one object on stderr, from wherever it comes; stdout stays empty.
for words in "trian" "info lenet5-cafe" "eval absent.safetensors" "train mlp --average swa --swa-start 99"; do
    # shellcheck disable=SC2086
    "$adze" $words --json > out.txt 2> err.txt
    code=$?
    [ ! -s out.txt ] || { echo "FAIL: '$words --json' failed but wrote to stdout"; bad=1; }
    if command -v python3 > /dev/null; then
        python3 -c 'import json,sys; d=json.load(open("err.txt")); assert d["code"]==int(sys.argv[1]) and d["error"] and d["status"]' $code ||
            { echo "FAIL: '$words --json' said: $(cat err.txt)"; bad=1; }
    fi
done

# No line of a list or of a plan is wider than 80 columns.
for words in "list ops" "list layers" "list options" "list optimizers" "list losses" "list augmentations" "list recipes" "inspect resnet20 --batch 2" \
    "inspect lenet5 --after build"; do
    # shellcheck disable=SC2086
    n_wide=$("$adze" $words | awk 'length > 80' | wc -l)
    [ "$n_wide" -eq 0 ] || { echo "FAIL: '$words' has $n_wide lines wider than 80 columns"; bad=1; }
done

# A full disk of standard output is an error, not silence.
if [ -e /dev/full ]; then
    "$adze" help > /dev/full 2> err.txt
    [ $? -eq 4 ] || { echo "FAIL: writing help to a full device was not an I/O error"; bad=1; }
fi
# JSON is JSON.
if command -v python3 > /dev/null; then
    for words in "info lenet5" "list models" "list ops" "version" "doctor" "inspect mlp --batch 2" "zoo show mlp"; do
        "$adze" $words --json 2> /dev/null | python3 -c 'import json,sys; json.load(sys.stdin)' || { echo "FAIL: '$words --json' is not JSON"; bad=1; }
    done
fi
echo "$n command lines tried"
exit $bad
