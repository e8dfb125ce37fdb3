#!/bin/bash
# adze schedule: tables and pictures of every schedule, and the range test's verdict. Usage: schedule.sh ADZE TEST_DIR
. "$(dirname "$0")/common.sh"

for name in $("$adze" list schedules | sed -n 's/^\([a-z_]*\) .*/\1/p'); do
    "$adze" schedule plot --schedule "$name" --epochs 12 --milestones 4,8 --out "$tmp/$name.png" > "$tmp/$name.txt" || fail "plot of $name"
    [ "$(wc -l < "$tmp/$name.txt")" -eq 21 ] || fail "the table of $name has $(wc -l < "$tmp/$name.txt") lines"
    [ "$(head -c 4 "$tmp/$name.png" | tail -c 3)" = PNG ] || fail "no picture of $name"
done
"$adze" schedule plot --schedule milestones --milestones 4,8 --epochs 12 --lr 1 --json | grep -q '"points":\[\[0,1\],' || fail "points as JSON"
"$adze" schedule plot --schedule cosine --epochs 0 2> /dev/null
[ $? -eq 2 ] || fail "no epochs are a wrong use"
"$adze" schedule range mlp --lo 1 --hi 0.1 2> /dev/null
[ $? -eq 2 ] || fail "lo above hi is a wrong use"

# Two kinds of pictures of 4x4 pixels, dark and bright,: every large enough rate learns them, and the verdict says which.
for part in train t10k; do
    pictures . $part 40 'i % 2 * 100 + (i * 7 + p * 3) % 90'
done
cat > "$tmp/net.yaml" << 'NET'
name: net
input: [4, 4, 1]
layers:
  - {type: flatten, name: f}
  - {type: dense, name: fc, units: 2}
NET
"$adze" schedule range "$tmp/net.yaml" --data "$tmp" --batch 40 --lo 1e-4 --hi 1000 --out "$tmp/range.svg" > "$tmp/range.txt" || fail "the range test"
grep -q 'the loss falls fastest near .* is least at .* begin with about' "$tmp/range.txt" || fail "no verdict: $(cat "$tmp/range.txt")"
"$adze" schedule range "$tmp/net.yaml" --data "$tmp" --batch 40 --lo 1e-12 --hi 1e-11 --json | grep -q '"steepest":null' || fail "rates that are too small"
grep -q '<svg' "$tmp/range.svg" || fail "no picture of the range test"

# Pictures that are all 1 or all -1 once normalised: the squared error's largest curvature is 16 along all pixels alike, and the verdict turns at a rate of 2 / 16 = 0.125.
mkdir "$tmp/flat"
head -c 16 "$tmp/train-images-idx3-ubyte" > "$tmp/flat/train-images-idx3-ubyte"
for i in $(seq 40); do
    printf "$(printf '\\%o' $((i % 2 * 255)))%.0s" $(seq 16) >> "$tmp/flat/train-images-idx3-ubyte"
done
cp "$tmp/train-labels-idx1-ubyte" "$tmp/flat"
cp "$tmp/flat/train-images-idx3-ubyte" "$tmp/flat/t10k-images-idx3-ubyte"
cp "$tmp/train-labels-idx1-ubyte" "$tmp/flat/t10k-labels-idx1-ubyte"
at=("$adze" schedule range "$tmp/net.yaml" --data "$tmp/flat" --batch 40 --norm zscore --loss mse --optimizer sgd --l2 0)
"${at[@]}" --lo 0.123 --hi 0.1235 | grep -q 'still falls at the end' || fail "a rate just below 2 / L"
"${at[@]}" --lo 0.1265 --hi 0.127 | grep -q 'did not fall' || fail "a rate just above 2 / L"
"$adze" schedule 2> /dev/null
[ $? -eq 2 ] || fail "a verb is needed"
exit $bad
