#!/bin/bash
# adze compare on a tiny data set: the table, the files, what is refused, and that an interrupted comparison goes on. Usage: compare.sh ADZE TEST_DIR
. "$(dirname "$0")/common.sh"

# Two classes that overlap.
pictures data train 60 'i % 2 * 20 + (i * 37 + p * 53) * (p + i) % 101'
pictures data t10k 60 'i % 2 * 20 + (i * 37 + p * 53 + 5) * (p + i) % 101'
printf 'name: net\ninput: [4, 4, 1]\nlayers:\n  - {type: flatten, name: f}\n  - {type: dense, name: d, units: 2}\n' > net.yaml
common=(--data data --val-count 20 --batch 8 --epochs 3)

# Three settings, four seeds: a table on stdout, silence on stderr, the files.
expect 0 'paired differences to lr=0.001' "$adze" compare net.yaml --vary lr=0.001,0.05,0.1 --seeds 4 "${common[@]}" --out one
[ -s err.txt ] && fail "stderr of a log is not silent: $(cat err.txt)"
grep -q 'Holm' out.txt || fail "three settings without Holm's correction: $(cat out.txt)"
cp out.txt first.txt
for f in compare.json runs.csv compare.svg compare.png options.txt lr=0.05/seed-4/answers.csv; do
    [ -s "one/$f" ] || fail "one/$f is missing"
done
[ "$(wc -l < one/runs.csv)" -eq 13 ] || fail "runs.csv: $(cat one/runs.csv)"

# The figures of a run are those of adze eval and of the run's own record; the mean of a setting is that of its runs.
acc=$("$adze" eval one/lr=0.05/seed-2/model.safetensors --data data --json | sed -E 's/.*"accuracy":([0-9.]+),"error".*/\1/')
line=$(grep '^lr=0.05,2,' one/runs.csv)
awk -v a="$acc" -v l="$line" 'BEGIN { split(l, f, ","); exit !(a - f[3] < 1e-6 && f[3] - a < 1e-6) }' || fail "test accuracy $acc, but $line"
grep '^lr=0.1,' one/runs.csv | awk -F, '{ s += $3 } END { printf "%.4f\n", s / NR }' > mean.txt
grep -E "^lr=0.1 +4 +$(cat mean.txt) " first.txt > /dev/null || fail "mean of lr=0.1 is $(cat mean.txt), but: $(cat first.txt)"

# Nothing is trained twice: the same table again, another metric, one more value and one more seed train only what is new.
stamp=$(stat -c %Y.%i one/lr=0.1/seed-1/model.safetensors)
expect 0 '' "$adze" compare net.yaml --vary lr=0.001,0.05,0.1 --seeds 4 "${common[@]}" --out one
cmp -s out.txt first.txt || fail "the second table differs: $(diff out.txt first.txt)"
every=() # all options of a training at once, with the values they have
while IFS= read -r line; do
    key=${line%%: *}
    case $key in model | data | lr | seed) continue ;; esac
    every+=("--${key//_/-}=${line#*: }")
done < one/options.txt
[ ${#every[@]} -gt 80 ] || fail "options.txt lacks options: $(cat one/options.txt)"
expect 0 '' "$adze" compare net.yaml --vary lr=0.001,0.05,0.1 --seeds 4 --data data "${every[@]}" --out one
cmp -s out.txt first.txt || fail "with every option given the table differs: $(diff out.txt first.txt)"
expect 0 '"metric":"val_loss"' "$adze" compare net.yaml --vary lr=0.001,0.05,0.1 --seeds 4 "${common[@]}" --out one --metric val_loss --json
expect 0 '"metric":"gap"' "$adze" compare net.yaml --vary lr=0.001,0.05,0.1 --seeds 4 "${common[@]}" --out one --metric gap --json
expect 0 'epochs_to' "$adze" compare net.yaml --vary lr=0.001,0.05,0.2 --seeds 5 "${common[@]}" --out one --metric epochs_to:0.5
[ "$stamp" = "$(stat -c %Y.%i one/lr=0.1/seed-1/model.safetensors)" ] || fail "a finished run was trained again"
[ -d one/lr=0.2/seed-5 ] || fail "the new value was not trained"

# Two keys make a grid; seeds start where --seed says; a plain log on request; --vary in each spelling.
expect 0 'optimizer=adam batch=16' "$adze" compare net.yaml --vary optimizer=momentum,adam vary=batch=8,16 --seeds 2 --seed 7 --data data \
    --val-count 20 --epochs 1 --out grid --progress plain
grep -q 'run 8 of 8: optimizer=adam batch=16 seed 8' err.txt || fail "plain progress: $(cat err.txt)"

# A setting that diverges is left out and said so; it is not tried again.
expect 0 'diverged' "$adze" compare net.yaml --vary lr=0.05,1e30 --seeds 2 "${common[@]}" --optimizer sgd --out wild
grep -q '^lr=1e30,1,,,,,,,$' wild/runs.csv || fail "a diverged run in runs.csv: $(cat wild/runs.csv)"

# Interrupted and gone on with, it says what it would have said.
"$adze" compare net.yaml --vary lr=0.01,0.05 --seeds 2 --data data --val-count 20 --batch 8 --epochs 30 --out whole > whole.txt 2>&1
for s in 1 2 3; do
    "$adze" compare net.yaml --vary lr=0.01,0.05 --seeds 2 --data data --val-count 20 --batch 8 --epochs 30 --out cut > cut.txt 2>&1 &
    pid=$!
    for _ in $(seq 400); do
        [ "$(find cut -name last 2> /dev/null | wc -l)" -ge $s ] && break
        sleep 0.01
    done
    kill -TERM $pid 2> /dev/null
    wait $pid
    got=$?
    [ $got -eq 5 ] || [ $got -eq 143 ] || [ $got -eq 0 ] || fail "interrupted: exit code $got: $(cat cut.txt)"
done
expect 0 '' "$adze" compare net.yaml --vary lr=0.01,0.05 --seeds 2 --data data --val-count 20 --batch 8 --epochs 30 --out cut
diff <(cut -d, -f1-7 cut/runs.csv) <(cut -d, -f1-7 whole/runs.csv) > diff.txt || fail "an interrupted comparison ends differently: $(cat diff.txt)"
cmp cut/lr=0.05/seed-2/model.safetensors whole/lr=0.05/seed-2/model.safetensors || fail "an interruption changed the weights"

# What is refused, before anything is trained.
expect 2 'other options' "$adze" compare net.yaml --vary lr=0.01,0.05 --seeds 2 "${common[@]}" --optimizer adam --out one
cp net.yaml kept.yaml
sed 's/units: 2/units: 3/' kept.yaml > net.yaml
expect 2 'the model is not the one' "$adze" compare net.yaml --vary lr=0.001,0.05 --seeds 2 "${common[@]}" --out one
cp kept.yaml net.yaml
expect 2 'mlpp' "$adze" compare net.yaml --vary model=net.yaml,mlpp --out no
expect 2 "did you mean 'lr'" "$adze" compare net.yaml --vary lrr=1,2 --out no
expect 2 'nothing to compare' "$adze" compare net.yaml --vary lr=1 --out no
expect 2 'there twice' "$adze" compare net.yaml --vary lr=1,1 --out no
expect 2 'same seeds' "$adze" compare net.yaml --vary seed=1,2 --out no
expect 2 'varied already' "$adze" compare net.yaml --vary lr=1,2 --lr 3 --out no
expect 2 'batch' "$adze" compare net.yaml --vary batch=8,none --out no
expect 2 '--metric' "$adze" compare net.yaml --vary lr=1,2 --metric epochs_to --out no
expect 2 '--seeds' "$adze" compare net.yaml --vary lr=1,2 --seeds 1 --out no
[ -e no ] && fail "a refused comparison left a folder"

[ $bad -eq 0 ] && echo "comparisons hold what they promise"
exit $bad
