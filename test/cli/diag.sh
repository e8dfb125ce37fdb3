#!/bin/bash
# adze diag and adze demo: every probe and every demonstration runs and gives JSON; a watched training writes its lines. Usage: diag.sh ADZE TEST_DIR
. "$(dirname "$0")/common.sh"

cat > "$tmp/net.yaml" << 'END'
name: net
input: [4, 4, 1]
layers:
  - {type: flatten, name: f}
  - {type: dense, name: a, units: 6, activation: relu}
  - {type: batchnorm, name: n}
  - {type: dense, name: out, units: 2}
END

# An optimiser that diverges has not arrived; the others go on.
"$adze" demo valley --optimizers soap,adam --lr 1e200 --steps 50 --json > "$tmp/out.json" 2> "$tmp/err" || fail "a demo of one that diverges: $(cat "$tmp/err")"

names() {
    "$adze" list "$1" --json | grep -o '"name":"[^"]*"' | cut -d'"' -f4
}
for what in $(names probes); do
    "$adze" diag "$what" "$tmp/net.yaml" --steps 5 --json > "$tmp/out.json" 2> "$tmp/err" || fail "probe $what: $(cat "$tmp/err")"
    [[ $(cat "$tmp/out.json") == '{"schema":1,'*'}' ]] || fail "JSON of probe $what"
done
"$adze" diag effective-lr > /dev/null || fail "a probe that needs no model"
"$adze" diag gradflow 2> /dev/null
[ $? -eq 2 ] || fail "a probe without a model is a wrong use"
"$adze" diag gradflow "$tmp/net.yaml" --plot "$tmp/flow.svg" > /dev/null && grep -q '<svg' "$tmp/flow.svg" || fail "no picture of gradients"
for what in saddle clip plateau; do
    "$adze" demo "$what" --json > "$tmp/out.json" || fail "demonstration $what"
    [[ $(cat "$tmp/out.json") == '{"schema":1,'*'}' ]] || fail "JSON of demonstration $what"
done
"$adze" demo vally 2> "$tmp/err"
[ $? -eq 2 ] && grep -q "did you mean 'valley'" "$tmp/err" || fail "a misspelt demonstration"

# Two kinds of pictures of 4x4 pixels, dark and bright,.
for part in train t10k; do
    pictures . $part 40 'i % 2 * 150 + (i * 7 + p * 13) % 90'
done
"$adze" train "$tmp/net.yaml" --data "$tmp" --batch 10 --epochs 2 --diag dead,stats --diag-every 2 --out "$tmp/run" > /dev/null 2> "$tmp/err" ||
    fail "a watched training: $(cat "$tmp/err")"
[ "$(grep -c '"probe":"dead"' "$tmp/run/diag.jsonl")" -eq 5 ] || fail "$(grep -c dead "$tmp/run/diag.jsonl") looks at the dead: steps 0, 2, .. 8 are five"
"$adze" train "$tmp/net.yaml" --data "$tmp" --batch 10 --epochs 2 --out "$tmp/plain" > /dev/null 2>&1
cmp -s "$tmp/run/model.safetensors" "$tmp/plain/model.safetensors" || fail "looking changed the training"
# Stopped and resumed, a training is looked at as one that was not: the same probes, no step twice, nothing forgotten.
train=(train "$tmp/net.yaml" --data "$tmp" --batch 10 --schedule constant)
"$adze" "${train[@]}" --epochs 3 --diag dead,stats --diag-every 2 --out "$tmp/one" > /dev/null 2>&1
"$adze" "${train[@]}" --epochs 1 --diag dead,stats --diag-every 2 --out "$tmp/two" > /dev/null 2>&1
echo '{"probe":"dead","step":8,"verdict":"later than the checkpoint"}' >> "$tmp/two/diag.jsonl"
"$adze" train --resume "$tmp/two" --epochs 3 > /dev/null 2> "$tmp/err" || fail "a watched training goes on: $(cat "$tmp/err")"
cmp -s "$tmp/one/diag.jsonl" "$tmp/two/diag.jsonl" || fail "a resume changed what probes say: $(cut -c 1-60 "$tmp/two/diag.jsonl")"
"$adze" train "$tmp/net.yaml" --data "$tmp" --diag deaf --out "$tmp/none" 2> /dev/null
[ $? -eq 2 ] && [ ! -e "$tmp/none" ] || fail "an unknown probe is told before a folder is made"
"$adze" diag dead "$tmp/run" --examples 0 --json | grep -q '"examples":40,' || fail "the run's own data"
# As many examples as are asked for, in every probe; a look at all of them at once is a batch of that size.
for what in gradflow stats sparsity signs rank cond sharpness decrease index ics bn-coupling linear sensitivity; do
    for n in 8 40; do
        "$adze" diag "$what" "$tmp/net.yaml" --data "$tmp" --steps 5 --examples $n --json > "$tmp/out$n.json" || fail "probe $what on $n examples"
    done
    cmp -s "$tmp/out8.json" "$tmp/out40.json" && fail "probe $what says the same of 8 and of 40 examples"
    "$adze" diag "$what" "$tmp/net.yaml" --data "$tmp" --steps 5 --batch 8 --json > "$tmp/out.json"
    [ "$what" = cond ] || cmp -s "$tmp/out8.json" "$tmp/out.json" || fail "probe $what: 8 examples are not a batch of 8"
done
"$adze" diag sparsity "$tmp/net.yaml" --data "$tmp" --examples 0 --json | grep -q '"name":"a (activations)","zeros":[0-9.e-]*,"numbers":240,' ||
    fail "all 40 examples of 6 units"
"$adze" diag dead "$tmp/run" --examples 5 --json | grep -q '"examples":5,' || fail "fewer examples than a batch"
"$adze" diag rank "$tmp/run" --examples 20 --batch 10 2> "$tmp/err"
[ $? -eq 2 ] && grep -q "give --examples or --batch" "$tmp/err" || fail "a batch beside examples that are looked at together"
# Batch normalisation: a trained net's outputs as in use, a fresh net's and all gradients as in training, unless --mode says otherwise.
while read -r what model mode; do
    "$adze" diag "$what" "$tmp/$model" --data "$tmp" --json > "$tmp/out.json" && "$adze" diag "$what" "$tmp/$model" --data "$tmp" --mode "$mode" --json |
        cmp -s "$tmp/out.json" - || fail "probe $what of $model is not in mode $mode"
done << 'END'
stats run eval
stats net.yaml train
gradflow run train
END
"$adze" diag fit "$tmp/run" --json | grep -q '"overfit":' || fail "a run is judged"
exit $bad
