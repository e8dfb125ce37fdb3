#!/bin/bash
# From averages and snapshots to an ensemble on the command line: files, figures as JSON, the data a model was trained on. Usage: ensemble.sh ADZE TEST_DIR
. "$(dirname "$0")/common.sh"

# A data set of 40 pictures of 4x4 pixels, once under a name that is known and once under one that is not.
mkdir mnist
for part in train t10k; do
    { printf '\0\0\10\3\0\0\0\50\0\0\0\4\0\0\0\4'; seq 1000 | head -c 640; } > mnist/$part-images-idx3-ubyte
    { printf '\0\0\10\1\0\0\0\50'; printf '\0\1%.0s' $(seq 20); } > mnist/$part-labels-idx1-ubyte
done
cp -r mnist mine
export ADZE_DATA=$tmp
printf 'name: n\ninput: [4, 4, 1]\nlayers:\n  - {type: flatten, name: f}\n  - {type: dense, name: d, units: 10}\n  - {type: batchnorm, name: b}\n' > n.yaml

train() { "$adze" train n.yaml --epochs 4 --batch 8 -q "$@" > out.txt 2>&1 || fail "train $*: $(cat out.txt)"; }
train --data mnist --snapshots 2 --schedule restarts --out cycles
train --data mnist --average swa --out swa
train --data mine --out plain
[ -s cycles/ckpt/snapshot-1.safetensors ] && [ -s cycles/ckpt/snapshot-2.safetensors ] || fail "two cycles leave two snapshots"

# A model file knows its data; a folder without a name is asked for.
"$adze" eval swa/model.safetensors --json > eval.json || fail "eval without --data"
"$adze" eval swa/model.safetensors --data mnist --json | cmp -s - eval.json || fail "eval without --data judged on something else"
"$adze" eval swa/model.safetensors --bn-recal 2 > out.txt 2>&1 || fail "eval --bn-recal: $(cat out.txt)"
"$adze" eval swa/model.safetensors --crops 10 --crop-pad 1 --json > out.txt 2>&1 && grep -q '"crops":10,"crop_pad":1' out.txt || fail "eval --crops: $(cat out.txt)"
"$adze" eval swa/model.safetensors --crops 10 > out.txt 2>&1 && fail "ten crops that are all the whole picture were taken"
grep -q "all of them alike" out.txt || fail "eval --crops 10 said: $(cat out.txt)"
"$adze" eval plain/model.safetensors > out.txt 2>&1 && fail "the folder 'mine' was found by its name"
grep -q "was trained on 'mine'" out.txt || fail "eval said: $(cat out.txt)"

"$adze" fold swa/model.safetensors folded.safetensors > out.txt && "$adze" eval folded.safetensors > out.txt || fail "a folded model knows its data"

for mean in prob logit vote; do
    "$adze" ensemble cycles/ckpt/snapshot-*.safetensors swa/model.safetensors --mean $mean --weights 1,2,0.5 --against plain/model.safetensors \
        --json > $mean.json || fail "ensemble --mean $mean"
    "$adze" ensemble cycles/ckpt/snapshot-*.safetensors --mean $mean > out.txt || fail "ensemble as text"
    grep -q "ensemble ($mean)" out.txt || fail "ensemble --mean $mean says: $(cat out.txt)"
    awk 'length > 80 { exit 1 }' out.txt || fail "the table of an ensemble is wider than 80 columns: $(cat out.txt)"
done
if command -v python3 > /dev/null; then
    python3 - << 'PY' || fail "the figures of the ensembles"
import json
for mean in ("prob", "logit", "vote"):
    d = json.load(open(mean + ".json"))
    assert d["mean"] == mean and d["examples"] == 40 and len(d["members"]) == 4 and d["members"][3]["weight"] == 0
    assert len(d["pairs"]) == 4 and all(d["pairs"][i][i] == 0 for i in range(4))
    assert d["against"]["file"].endswith("plain/model.safetensors") and len(d["against"]["bootstrap95"]) == 2
    assert abs(d["against"]["gain"] - (d["ensemble"]["accuracy"] - d["members"][3]["accuracy"])) < 1e-9
    if mean == "prob":
        assert d["ensemble"]["nll"] <= d["mean_member"]["nll"]
PY
fi

refuse() {
    "$adze" "${@:2}" > out.txt 2>&1 && fail "${*:2} was not refused"
    grep -q -- "$1" out.txt || fail "${*:2} did not say '$1' but: $(cat out.txt)"
}
refuse 'is not 2 numbers' ensemble swa/model.safetensors plain/model.safetensors --weights 1
refuse 'is not 1 numbers' ensemble swa/model.safetensors --weights x
refuse 'weight above 0' ensemble swa/model.safetensors --weights 0
refuse 'needs schedule restarts' train n.yaml --data mnist --snapshots 2
exit $bad
