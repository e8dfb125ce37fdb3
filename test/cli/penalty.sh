#!/bin/bash
# Penalties, bounds, whitening, shifts and pursuits from the command line. Usage: penalty.sh ADZE TEST_DIR
. "$(dirname "$0")/common.sh"

# Two kinds of pictures of 4x4 pixels; the test part is brighter.
pictures . train 40 'i % 2 * 60 + (i * 7 + p * 3 + i * p) % 90'
pictures . t10k 40 '60 + i % 2 * 60 + (i * 7 + p * 3 + i * p) % 90'
cat > "$tmp/net.yaml" << 'NET'
name: net
input: [4, 4, 1]
layers:
  - {type: flatten, name: f}
  - {type: dense, name: fc1, units: 6, activation: sigmoid}
  - {type: dense, name: fc2, units: 2}
NET
train=(train "$tmp/net.yaml" --data "$tmp" --epochs 2 --batch 8 --lr 0.1)

"$adze" "${train[@]}" --norm zca --zca-eps 0.1 --l1 1e-3 --maxnorm 0.5 --maxnorm-report --activity-kl fc1=1e-2:0.1 --out "$tmp/run" --json > "$tmp/out" 2> /dev/null ||
    fail "a training with everything"
grep -q '"maxnorm":{"units":6,"active":[0-6],"mu_min":' "$tmp/out" || fail "no multipliers: $(cat "$tmp/out")"
[ "$(wc -l < "$tmp/run/maxnorm.csv")" -eq 7 ] || fail "maxnorm.csv has not a row for each unit"
awk -F, 'NR > 1 && $4 > 0.5 * (1 + 1e-6) { exit 1 }' "$tmp/run/maxnorm.csv" || fail "a norm above its bound"
grep -q 'maxnorm' "$tmp/run/config.yaml" && grep -q 'activity_kl' "$tmp/run/config.yaml" || fail "the config lacks options"
"$adze" train --resume "$tmp/run" --epochs 3 > /dev/null 2>&1 || fail "a resume"
"$adze" eval "$tmp/run/model.safetensors" --data "$tmp" > /dev/null || fail "a whitened model is judged"
"$adze" "${train[@]}" --maxnorm-report --out "$tmp/none" 2> /dev/null
[ $? -eq 2 ] || fail "a report without a bound is a wrong use"
[ ! -e "$tmp/none" ] || fail "a folder for nothing"
"$adze" "${train[@]}" --prior gauss:1 --l2 1 --out "$tmp/none" 2>&1 | grep -q 'leave those two out' || fail "a prior beside l2"

"$adze" data shift "$tmp" --json > "$tmp/out" || fail "data shift"
grep -q '"ks_features_below":16,.*"shift":true,"verdict":"the distributions differ"' "$tmp/out" || fail "a shift is not seen: $(cat "$tmp/out")"
"$adze" data shift "$tmp" --against-part train > "$tmp/out" || fail "data shift within a part"
grep -q '^no difference was found' "$tmp/out" || fail "a part differs from itself: $(cat "$tmp/out")"

"$adze" omp --data "$tmp" --patch 3 --atoms 9 --patches 50 --k 3 --json > "$tmp/out" || fail "omp"
grep -q '"left":{"random_patches":\[[0-9.e-]*,[0-9.e-]*,[0-9.e-]*\],"k_means":\[[0-9.e-]*,[0-9.e-]*,[0-9.e-]*\],"pursuit":' "$tmp/out" || fail "figures of omp: $(cat "$tmp/out")"
"$adze" omp --data "$tmp" --patch 5 > /dev/null 2>&1
[ $? -eq 2 ] || fail "patches larger than pictures"
exit $bad
