#!/bin/bash
# adze eval and compare go by how a model was trained: reconstructions are judged as such. Usage: judge.sh ADZE TEST_DIR
. "$(dirname "$0")/common.sh"

pictures data train 60 'i % 2 * 20 + (i * 37 + p * 53) * (p + i) % 101'
pictures data t10k 60 'i % 2 * 20 + (i * 37 + p * 53 + 5) * (p + i) % 101'
printf 'name: net\ntask: regress\ninput: [4, 4, 1]\nlayers:\n  - {type: flatten, name: f}\n  - {type: dense, name: d, units: 16}\n' > net.yaml
grep -v task net.yaml > untold.yaml
sed 's/units: 16/units: 2/' untold.yaml > classes.yaml
common=(--data data --val-count 20 --batch 8 --epochs 3)

# A number of the JSON in out.txt.
of() {
    sed -E "s/.*\"$1\":([-0-9.e]+).*/\1/" out.txt
}

# A model that gives its input back, said so in its file or not: errors and their share, no accuracy, in text and JSON.
for m in net untold; do
    expect 0 'best validation loss' "$adze" train $m.yaml "${common[@]}" --target input --out $m
    expect 0 'R2' "$adze" eval $m/model.safetensors --data data
    grep -q 'loss .*(mse)' out.txt && grep -q 'RMSE' out.txt && grep -q 'MAE' out.txt || fail "eval of a reconstruction: $(cat out.txt)"
    grep -qi 'accuracy\|likelihood\|perplexity' out.txt && fail "a reconstruction has an accuracy: $(cat out.txt)"
    expect 0 '"target":"input"' "$adze" eval $m/model.safetensors --data data --json
    awk -v l="$(of loss)" -v m="$(of mse)" -v r="$(of rmse)" -v a="$(of mae)" \
        'BEGIN { exit !((l - m) ^ 2 < 1e-10 && (r * r - m) ^ 2 < 1e-10 && a > 0 && a <= r) }' || fail "figures of a reconstruction: $(cat out.txt)"
    cp out.txt $m.json
done
cmp net.json untold.json || fail "the word 'task' changed the judgement: $(cat net.json untold.json)"
grep -q '"best_val_loss":' net/result.json || fail "result.json: $(cat net/result.json)"
expect 0 '"target":"input"' "$adze" eval net/ckpt/best --data data --json
cmp out.txt net.json || fail "the checkpoint is judged differently: $(cat out.txt net.json)"
expect 0 '(mae)' "$adze" eval net --data data --loss mae
expect 2 "did you mean 'mse'" "$adze" eval net --data data --loss msee
expect 2 'option target input goes with' "$adze" eval net --data data --loss hinge
expect 2 'gives its input back' "$adze" eval net --data data --reliability sure.svg
expect 2 'gives its input back' "$adze" eval net --data data --crops 1
expect 0 'accuracy' "$adze" eval untold --data data --target label

# Compared by that error, or by the loss; of classes there is nothing to tell.
for m in net untold; do
    expect 0 'error ' "$adze" compare $m.yaml --vary lr=0.01,0.1 --seeds 2 "${common[@]}" --target input --out cmp-$m
    grep -q 'McNemar' out.txt && fail "McNemar's test of reconstructions: $(cat out.txt)"
done
expect 0 '"target":"input"' "$adze" eval cmp-net/lr=0.1/seed-2 --data data --json
line=$(grep '^lr=0.1,2,' cmp-net/runs.csv)
awk -v e="$(of mse)" -v l="$line" 'BEGIN { split(l, f, ","); exit !(f[3] == "" && (e - f[9]) ^ 2 < 1e-12) }' || fail "error $(of mse), but $line"
expect 0 '"metric":"val_loss"' "$adze" compare net.yaml --vary lr=0.01,0.1 --seeds 2 "${common[@]}" --target input --out cmp-net --metric val_loss --json
grep -q '"p_mcnemar":\[null,null\]' out.txt || fail "compare's JSON: $(cat out.txt)"
expect 2 'no accuracy' "$adze" compare net.yaml --vary lr=0.01,0.1 --seeds 2 "${common[@]}" --target input --out no --metric test_acc
expect 2 'no setting has target input' "$adze" compare classes.yaml --vary lr=0.01,0.1 --seeds 2 "${common[@]}" --out no --metric error
[ -e no ] && fail "a refused comparison left a folder"
expect 0 'target=input' "$adze" compare untold.yaml --vary target=label,input --seeds 2 "${common[@]}" --out both --metric val_loss

# Of classes, what the loss reads: nothing is a probability for mse, the hinges and poisson; for sigmoid_xent the sigmoids over their sum are.
for loss in mse hinge poisson; do
    expect 0 '' "$adze" train classes.yaml "${common[@]}" --loss $loss --out c-$loss
    expect 0 'negative log-likelihood -   perplexity -   bits -' "$adze" eval c-$loss --data data
    grep -q "loss [0-9.]* ($loss)" out.txt && grep -q 'test accuracy [0-9]' out.txt && grep -q 'calibration error -' out.txt || fail "$loss: $(cat out.txt)"
    expect 0 '"probabilities":null' "$adze" eval c-$loss --data data --json
    for key in nll perplexity bits ece mce brier bins; do
        grep -q "\"$key\":null" out.txt || fail "$key of $loss: $(cat out.txt)"
    done
    [ "$(of accuracy)" != null ] && [ "$(of matthews)" != null ] || fail "$loss: $(cat out.txt)"
    expect 2 'draws probabilities' "$adze" eval c-$loss --data data --reliability sure.svg
done
expect 0 '' "$adze" train classes.yaml "${common[@]}" --loss sigmoid_xent --out c-sigmoid
expect 0 '' "$adze" data picture data --index 3 --out one.png
expect 0 '"output":' "$adze" predict c-hinge one.png --json
grep -q '"p":' out.txt && fail "the outputs of a hinge are called probabilities: $(cat out.txt)"
expect 0 '"p":' "$adze" predict c-sigmoid one.png --json
sed -E 's/"p":/\n/g' out.txt | awk 'NR > 1 { s += $1 } END { exit !((s - 1) ^ 2 < 1e-10) }' || fail "sigmoids are not normalised: $(cat out.txt)"
expect 2 'give its input back' "$adze" predict net one.png
expect 0 'sigmoids over their sum' "$adze" eval c-sigmoid --data data --reliability sure.svg
expect 0 '"probabilities":"sigmoids"' "$adze" eval c-sigmoid --data data --json
expect 0 '"probabilities":"softmax"' "$adze" eval c-sigmoid --data data --json --loss softmax_xent
expect 0 '(hinge)' "$adze" eval c-sigmoid --data data --loss hinge

[ $bad -eq 0 ] && echo "models are judged by how they were trained"
exit $bad
