#!/bin/bash
# Penalties, bounds, whitening, shifts and pursuits from the command line. Usage: penalty.sh ADZE TEST_DIR
set -u
adze=$1
bad=0
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

fail() {
    echo "FAIL: $1"
    bad=1
}

# Two kinds of pictures of 4x4 pixels as IDX files; the test part is brighter.
for part in train t10k; do
    printf '\0\0\10\3\0\0\0\50\0\0\0\4\0\0\0\4' > "$dir/$part-images-idx3-ubyte"
    printf '\0\0\10\1\0\0\0\50' > "$dir/$part-labels-idx1-ubyte"
    [ $part = train ] && more=0 || more=60
    for i in $(seq 40); do
        for p in $(seq 16); do
            printf '%b' "\\0$(printf '%o' $((more + i % 2 * 60 + (i * 7 + p * 3 + i * p) % 90)))" >> "$dir/$part-images-idx3-ubyte"
        done
        printf '%b' "\\0$((i % 2))" >> "$dir/$part-labels-idx1-ubyte"
    done
done
cat > "$dir/net.yaml" << 'NET'
name: net
input: [4, 4, 1]
layers:
  - {type: flatten, name: f}
  - {type: dense, name: fc1, units: 6, activation: sigmoid}
  - {type: dense, name: fc2, units: 2}
NET
train=(train "$dir/net.yaml" --data "$dir" --epochs 2 --batch 8 --lr 0.1)

"$adze" "${train[@]}" --norm zca --zca-eps 0.1 --l1 1e-3 --maxnorm 0.5 --maxnorm-report --activity-kl fc1=1e-2:0.1 --out "$dir/run" --json > "$dir/out" 2> /dev/null ||
    fail "a training with everything"
grep -q '"maxnorm":{"units":6,"active":[0-6],"mu_min":' "$dir/out" || fail "no multipliers: $(cat "$dir/out")"
[ "$(wc -l < "$dir/run/maxnorm.csv")" -eq 7 ] || fail "maxnorm.csv has not a row for each unit"
awk -F, 'NR > 1 && $4 > 0.5 * (1 + 1e-6) { exit 1 }' "$dir/run/maxnorm.csv" || fail "a norm above its bound"
grep -q 'maxnorm' "$dir/run/config.yaml" && grep -q 'activity_kl' "$dir/run/config.yaml" || fail "the config lacks options"
"$adze" train --resume "$dir/run" --epochs 3 > /dev/null 2>&1 || fail "a resume"
"$adze" eval "$dir/run/model.safetensors" --data "$dir" > /dev/null || fail "a whitened model is judged"
"$adze" "${train[@]}" --maxnorm-report --out "$dir/none" 2> /dev/null
[ $? -eq 2 ] || fail "a report without a bound is a wrong use"
[ ! -e "$dir/none" ] || fail "a folder for nothing"
"$adze" "${train[@]}" --prior gauss:1 --l2 1 --out "$dir/none" 2>&1 | grep -q 'leave those two out' || fail "a prior beside l2"

"$adze" data shift "$dir" --json > "$dir/out" || fail "data shift"
grep -q '"ks_features_below":16,.*"shift":true,"verdict":"the distributions differ"' "$dir/out" || fail "a shift is not seen: $(cat "$dir/out")"
"$adze" data shift "$dir" --against-part train > "$dir/out" || fail "data shift within a part"
grep -q '^no difference was found' "$dir/out" || fail "a part differs from itself: $(cat "$dir/out")"

"$adze" omp --data "$dir" --patch 3 --atoms 9 --patches 50 --k 3 --json > "$dir/out" || fail "omp"
grep -q '"left":{"random_patches":\[[0-9.e-]*,[0-9.e-]*,[0-9.e-]*\],"k_means":\[[0-9.e-]*,[0-9.e-]*,[0-9.e-]*\],"pursuit":' "$dir/out" || fail "figures of omp: $(cat "$dir/out")"
"$adze" omp --data "$dir" --patch 5 > /dev/null 2>&1
[ $? -eq 2 ] || fail "patches larger than pictures"
exit $bad
