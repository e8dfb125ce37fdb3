#!/bin/bash
# adze diag and adze demo: every probe and every demonstration runs and gives JSON; a watched training writes its lines. Usage: diag.sh ADZE TEST_DIR
set -u
adze=$1
bad=0
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

fail() {
    echo "FAIL: $1"
    bad=1
}

cat > "$dir/net.yaml" << 'END'
name: net
input: [4, 4, 1]
layers:
  - {type: flatten, name: f}
  - {type: dense, name: a, units: 6, activation: relu}
  - {type: batchnorm, name: n}
  - {type: dense, name: out, units: 2}
END

names() {
    "$adze" list "$1" --json | grep -o '"name":"[^"]*"' | cut -d'"' -f4
}
for what in $(names probes); do
    "$adze" diag "$what" "$dir/net.yaml" --steps 5 --json > "$dir/out.json" 2> "$dir/err" || fail "probe $what: $(cat "$dir/err")"
    [[ $(cat "$dir/out.json") == '{"schema":1,'*'}' ]] || fail "JSON of probe $what"
done
"$adze" diag effective-lr > /dev/null || fail "a probe that needs no model"
"$adze" diag gradflow 2> /dev/null
[ $? -eq 2 ] || fail "a probe without a model is a wrong use"
"$adze" diag gradflow "$dir/net.yaml" --plot "$dir/flow.svg" > /dev/null && grep -q '<svg' "$dir/flow.svg" || fail "no picture of gradients"
for what in saddle clip plateau; do
    "$adze" demo "$what" --json > "$dir/out.json" || fail "demonstration $what"
    [[ $(cat "$dir/out.json") == '{"schema":1,'*'}' ]] || fail "JSON of demonstration $what"
done
"$adze" demo vally 2> "$dir/err"
[ $? -eq 2 ] && grep -q "did you mean 'valley'" "$dir/err" || fail "a misspelt demonstration"

# Two kinds of pictures of 4x4 pixels, dark and bright, as IDX files.
for part in train t10k; do
    printf '\0\0\10\3\0\0\0\50\0\0\0\4\0\0\0\4' > "$dir/$part-images-idx3-ubyte"
    printf '\0\0\10\1\0\0\0\50' > "$dir/$part-labels-idx1-ubyte"
    for i in $(seq 40); do
        for p in $(seq 16); do
            printf "\\$(printf '%o' $((i % 2 * 150 + (i * 7 + p * 13) % 90)))" >> "$dir/$part-images-idx3-ubyte"
        done
        printf "\\$((i % 2))" >> "$dir/$part-labels-idx1-ubyte"
    done
done
"$adze" train "$dir/net.yaml" --data "$dir" --batch 10 --epochs 2 --diag dead,stats --diag-every 2 --out "$dir/run" > /dev/null 2> "$dir/err" ||
    fail "a watched training: $(cat "$dir/err")"
[ "$(grep -c '"probe":"dead"' "$dir/run/diag.jsonl")" -eq 5 ] || fail "$(grep -c dead "$dir/run/diag.jsonl") looks at the dead: steps 0, 2, .. 8 are five"
"$adze" train "$dir/net.yaml" --data "$dir" --batch 10 --epochs 2 --out "$dir/plain" > /dev/null 2>&1
cmp -s "$dir/run/model.safetensors" "$dir/plain/model.safetensors" || fail "looking changed the training"
# Stopped and resumed, a training is looked at as one that was not: the same probes, no step twice, nothing forgotten.
train=(train "$dir/net.yaml" --data "$dir" --batch 10 --schedule constant)
"$adze" "${train[@]}" --epochs 3 --diag dead,stats --diag-every 2 --out "$dir/one" > /dev/null 2>&1
"$adze" "${train[@]}" --epochs 1 --diag dead,stats --diag-every 2 --out "$dir/two" > /dev/null 2>&1
echo '{"probe":"dead","step":8,"verdict":"later than the checkpoint"}' >> "$dir/two/diag.jsonl"
"$adze" train --resume "$dir/two" --epochs 3 > /dev/null 2> "$dir/err" || fail "a watched training goes on: $(cat "$dir/err")"
cmp -s "$dir/one/diag.jsonl" "$dir/two/diag.jsonl" || fail "a resume changed what probes say: $(cut -c 1-60 "$dir/two/diag.jsonl")"
"$adze" train "$dir/net.yaml" --data "$dir" --diag deaf --out "$dir/none" 2> /dev/null
[ $? -eq 2 ] && [ ! -e "$dir/none" ] || fail "an unknown probe is told before a folder is made"
"$adze" diag dead "$dir/run" --examples 0 --json | grep -q '"examples":40,' || fail "the run's own data"
"$adze" diag fit "$dir/run" --json | grep -q '"overfit":' || fail "a run is judged"
exit $bad
