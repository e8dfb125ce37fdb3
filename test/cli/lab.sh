#!/bin/bash
# adze lab on tiny experiments: runs, verdicts, records, what is kept, what is refused, the page, coverage. Usage: lab.sh ADZE TEST_DIR
. "$(dirname "$0")/common.sh"

mkdir experiments docs
# Two classes that overlap.
pictures data train 60 'i % 2 * 20 + (i * 37 + p * 53) * (p + i) % 101'
pictures data t10k 60 'i % 2 * 20 + (i * 37 + p * 53 + 5) * (p + i) % 101'
printf 'name: net\ninput: [4, 4, 1]\nlayers:\n  - {type: flatten, name: f}\n  - {type: dense, name: d, units: 2}\n' > net.yaml

cat > experiments/root.yaml << 'END'
claim: The notes' square root is right
notes: "001:1"
rows: [T1]
paper: {cite: "Heron, Metrica, 60", figure: "1.41421", unit: "", ours: "right.x"}
quick: true
arms:
  right: 'lab formula "x = 1; repeat 6 { x = (x + 2 / x) / 2 }; e = abs(x * x - 2)"'
  wrong: ['list schedules', 'lab formula "x = 1; repeat 6 { x = (x + 2 * x) / 2 }; e = abs(x * x - 2)"']
measure: {e: e, x: x}
verdict:
  - {value: right, confirmed: "< 1e-12"}
  - {value: wrong.e, confirmed: "> 1"}
control:
  arms: {right: 'lab formula "x = 1; repeat 1 { x = (x + 2 / x) / 2 }; e = abs(x * x - 2)"'}
  verdict: {value: right, confirmed: "< 1e-12"}
  must: refuted
note: Six steps are enough.
END
cat > experiments/train.yaml << 'END'
claim: A larger rate learns faster
notes: "001:2"
rows: [T2, T3]
data: [data]
seeds: 3
arms:
  slow: train net.yaml --data data --val-count 20 --batch 8 --epochs 3 --lr 0.0001
  fast:
    - train net.yaml --data data --val-count 20 --batch 8 --epochs 3 --lr 0.01
    - eval {out}/model.safetensors --data data
measure: last train_loss
verdict: {value: "slow - fast", confirmed: "> 0", refuted: "< 0"}
control: {arms: {fast: train net.yaml --data data --val-count 20 --batch 8 --epochs 3 --lr 0.00001}, measure: last train_loss, must: refuted}
END

# A verdict, its record without a path of this machine, its picture.
expect 0 'verdict over 1 seed: confirmed' "$adze" lab run root
grep -q "paper's figure: 1.41421" out.txt || fail "no paper beside ours: $(cat out.txt)"
[ -s err.txt ] && fail "stderr of a log is not silent: $(cat err.txt)"
for key in '"result":"confirmed"' '"must":"refuted","result":"refuted"' '"rule_hash":"' '"cpu":"' '"seeds":\[1\]' 'lab formula'; do
    grep -q "$key" experiments/records/root.json || fail "the record has no $key: $(cat experiments/records/root.json)"
done
grep -q "$tmp" experiments/records/root.json && fail "the record holds a path of this machine"
[ -s experiments/records/root.png ] || fail "no picture"

# What is finished is not run again; another command is.
stamp=$(stat -c %Y.%i runs/lab/root/right-1-*/out1)
sleep 0.01
expect 0 confirmed "$adze" lab run root --check
[ "$(stat -c %Y.%i runs/lab/root/right-1-*/out1)" = "$stamp" ] || fail "a finished arm was run again"
expect 0 '"result":"confirmed"' "$adze" lab run root --json

# Trainings: seeds in turn, an interval, curves; the metrics decide.
expect 0 'verdict over 3 seeds: confirmed' "$adze" lab run train
[ "$(ls -d runs/lab/train/fast-*-* | wc -l)" -eq 3 ] || fail "not three seeds: $(ls runs/lab/train)"
grep -q '"hash":"[0-9a-f]\{32\}"' experiments/records/train.json || fail "the data's hash is not in the record"
loss=$(tail -1 runs/lab/train/slow-2-*/metrics.csv | cut -d, -f3)
grep -q "\"last train_loss\",\"values\":\[[0-9.]*,$loss," experiments/records/train.json || fail "the record has not the metrics' $loss"

# A killed run goes on where it stopped: the arms that were finished stay.
rm -r runs/lab/train/fast-3-* runs/lab/train/control-fast-2-*
before=$(stat -c %Y.%i runs/lab/train/slow-1-*/arm.json)
expect 0 'confirmed' "$adze" lab run train --check
[ "$(stat -c %Y.%i runs/lab/train/slow-1-*/arm.json)" = "$before" ] || fail "the first arm was run again"
rm runs/lab/train/slow-1-*/arm.json # cut off after the training, before its mark: resumed, not begun anew
expect 0 'confirmed' "$adze" lab run train --check

# A changed rule makes the record stale, and --check says so.
sed -i 's/confirmed: "< 1e-12"}$/confirmed: "< 1e-11"}/' experiments/root.yaml
expect 1 'have changed since' "$adze" lab run root --check
expect 0 'confirmed (stale)' "$adze" lab list
expect 0 '(stale: the rule has changed since)' "$adze" lab show root
expect 0 '' "$adze" lab run root

# Revision 1 is what a file without one has; a higher one makes the record stale and old runs no longer count.
runs=$(ls runs/lab/root | wc -l) hash=$(grep -o '"rule_hash":"[0-9a-f]*"' experiments/records/root.json)
sed -i '1i revision: 1' experiments/root.yaml
expect 0 confirmed "$adze" lab run root --check
[ "$(ls runs/lab/root | wc -l)" -eq "$runs" ] || fail "revision 1 has runs of its own: $(ls runs/lab/root)"
sed -i 's/^revision: 1/revision: 2/' experiments/root.yaml
expect 0 'confirmed (stale)' "$adze" lab list --rows T1
expect 0 'verdict over 1 seed: confirmed' "$adze" lab run root
[ "$(ls runs/lab/root | wc -l)" -eq $((2 * runs)) ] || fail "revision 2 took old runs: $(ls runs/lab/root)"
grep -q "$hash" experiments/records/root.json && fail "the revision is not in the rule's hash"
grep -q '"revision":2,' experiments/records/root.json || fail "the record has no revision"
expect 0 'revision 2, about' "$adze" lab show root

# A verdict that the control shares shows nothing, unless a rule of the control's own is behind it.
expect 0 '"stale":false,"alike":false' "$adze" lab list --json --rows T1
sed '/^  verdict:/d; s/must: refuted/must: confirmed/; s/repeat 1 /repeat 7 /' experiments/root.yaml > experiments/alike.yaml
expect 0 'verdict over 1 seed: confirmed (control alike: nothing was shown)' "$adze" lab run alike
expect 0 'confirmed (control alike)' "$adze" lab list --rows T1
expect 0 'confirmed (control alike)' "$adze" lab show alike
expect 0 '3 confirmed' "$adze" lab report --out docs/alike.md
grep -q '^\*\*confirmed\*\* (control alike: nothing was shown)' docs/alike.md || fail "the page does not say it: $(cat docs/alike.md)"
grep -q 'confirmed, control alike |$' docs/alike.md || fail "nor does its table"
sed 's/must: refuted/must: confirmed/; s/^  verdict: .*/  verdict: {value: right, confirmed: "> 1e-3"}/' experiments/root.yaml > experiments/alike.yaml
expect 0 'verdict over 1 seed: confirmed' "$adze" lab run alike
grep -q alike: out.txt && fail "a control by its own rule is called alike"
sed '/^  verdict:/d; s/must: refuted/must: conditional/; s/"< 1e-1[12]"/"< 0", refuted: "> 1"/; s/repeat 1 /repeat 7 /' experiments/root.yaml > experiments/alike.yaml
expect 0 'verdict over 1 seed: conditional (control alike' "$adze" lab run alike
rm -r docs/alike.md experiments/alike.yaml experiments/records/alike.*

# A control that does not behave; a verdict that differs from the record.
sed 's/must: refuted/must: confirmed/' experiments/root.yaml > experiments/broken.yaml
expect 0 'verdict over 1 seed: invalid' "$adze" lab run broken
sed -i 's/"result":"invalid"/"result":"confirmed"/' experiments/records/broken.json
expect 1 'comes out invalid, but the record says confirmed' "$adze" lab run broken --check
rm experiments/broken.yaml experiments/records/broken.*

# Texts where a record has maps or quotes.
cp experiments/records/root.json root.json
echo '{"result":{},"rule_hash":{}}' > experiments/records/root.json
expect 0 '- (stale)' "$adze" lab list --rows T1
echo '{"result":"con\"firmed"}' > experiments/records/root.json
expect 0 '"verdict":"con\"firmed","stale":true' "$adze" lab list --json --rows T1
mv root.json experiments/records/root.json
expect 0 '"page":"docs/a\"b.md"' "$adze" lab report --json --out 'docs/a"b.md'

# A file that a command names is part of it.
runs=$(ls -d runs/lab/train/slow-1-* | wc -l)
echo '# Reviewed.' >> net.yaml
expect 0 'confirmed (stale)' "$adze" lab list --rows T2
expect 0 'verdict over 3 seeds: confirmed' "$adze" lab run train
[ "$(ls -d runs/lab/train/slow-1-* | wc -l)" -eq $((runs + 1)) ] || fail "the old model's run was taken for the new one's"

# Several at once, and what is passed over.
expect 0 'root' "$adze" lab run --quick
grep -q 'train' out.txt && fail "--quick ran what is not quick"
expect 0 '"rows":["T2","T3"]' "$adze" lab list --json --rows T2

# The page: what stands before the marker stays.
printf '# Mine\n\nWords of my own.\n' > docs/experiments.md
expect 0 '2 confirmed, 0 refuted' "$adze" lab report
"$adze" lab report > /dev/null
grep -q 'Words of my own' docs/experiments.md || fail "the page's head is gone"
[ "$(grep -c '^### root' docs/experiments.md)" -eq 1 ] || fail "not one section: $(cat docs/experiments.md)"
grep -q '^| \[train\](#train) | A larger rate learns faster | ' docs/experiments.md || fail "no row: $(cat docs/experiments.md)"

# The paper, the place and the note are the file's, not the record's.
sed -i 's/Heron, Metrica, 60", figure: "1.41421", unit: ""/Hero, Metrica, 62", where: book 1, figure: "1.414", unit: feet/; s/^notes: "001:1"/notes: "001:7"/' experiments/root.yaml
expect 0 confirmed "$adze" lab report
for text in 'Paper: Hero, Metrica, 62, book 1: 1.414. Ours: 1.41421 feet$' '| 1.414 | 1.41421 feet | confirmed |$' '(notes 001:7; rows T1)$'; do
    grep -q "$text" docs/experiments.md || fail "the page has no '$text': $(cat docs/experiments.md)"
done
sed -i 's/ours: "right.x"/ours: "wrong.x"/' experiments/root.yaml # another figure of ours is not in the record
expect 0 'confirmed (stale)' "$adze" lab list --rows T1
sed -i 's/ours: "wrong.x"/ours: "right.x"/' experiments/root.yaml

# Coverage: experiments, tests with and without a case, what demos find; commands must be there and do not count.
mkdir test
printf 'static void squares(void) {}\n' > test/test_x.c
cat > experiments/claims.yaml << 'END'
rows:
  - {id: T1, claim: a root}
  - {id: T2, claim: a rate, by: [train, test_x, "test_x:squares", "schedule", "list losses"]}
  - {id: T3, claim: a third}
  - {id: T4, claim: a fourth, later: needs pruning}
  - {id: T7, claim: found, by: ["diag stats", "demo rates descent_error"]}
END
expect 0 '5 rows, 2 experiments (0 not run yet); 0 faults, 0 rows waiting for one, 1 for later' "$adze" lab coverage
mv experiments/records/root.json root.json # what nobody has run covers nothing
expect 0 'T1    waits for an experiment that has not run' "$adze" lab coverage
mv root.json experiments/records/root.json
cat >> experiments/claims.yaml << 'END'
  - {id: T5, claim: nobody's}
  - {id: T6, claim: wrong, by: [nowhere, test_y, "test_x:cubes", "list dragons", "dance", "demo rates dragons"]}
  - {id: T8, claim: looked at, by: ["diag stats", "demo rates", "list losses", schedule]}
END
expect 1 'T5    nothing: no experiment with a record, no test and no finding of a demonstration names this row' "$adze" lab coverage
for what in 'nowhere: there is no such exp' 'test_y: there is no such test' 'test_x:cubes: the test has no' 'list dragons: neither its help' \
    'demo rates dragons: there is no such dem'; do
    grep -q "^T6    $what" out.txt || fail "coverage did not say '$what': $(cat out.txt)"
done
grep -q '^T8    nothing:' out.txt || fail "a probe that is there covers a row: $(cat out.txt)"
expect 1 '"row":"T5"' "$adze" lab coverage --json

# What is refused, with its line.
expect 2 "did you mean 'root'" "$adze" lab run rot
expect 2 'run takes a name, --quick or --all' "$adze" lab run
expect 2 'usage: adze lab' "$adze" lab show
expect 2 "nothing is called 'y'" "$adze" lab formula 'x = y'
cp experiments/root.yaml ok.yaml
refused() { # refused 'sed script' 'sentence'
    sed "$1" ok.yaml > experiments/bad.yaml
    expect 2 "$2" "$adze" lab show bad
}
refused 's/^claim:/clam:/' "did you mean 'claim'"
refused 's/cite:/site:/' "did you mean 'cite'"
refused 's/must: refuted/must: refutd/' "did you mean 'refuted'"
refused 's/^control:/controls:/' "the experiment needs 'control'"
refused 's/confirmed: "> 1"/confirmed: "about 1"/' 'bad.yaml:'
refused 's/confirmed: "> 1"/confirmd: "> 1"/' "did you mean 'confirmed'"
refused 's/^  right:/  Right Arm:/' 'small letters'
refused 's/^quick: true/seeds: many/' 'seeds: 1 to 64'
rm experiments/bad.yaml

# An arm that fails says what it said.
sed 's/list schedules/list dragons/' ok.yaml > experiments/bad.yaml
expect 2 "nothing to list as 'dragons'" "$adze" lab run bad
sed 's/value: right,/value: rihgt,/' ok.yaml > experiments/bad.yaml
expect 2 "did you mean 'right'" "$adze" lab run bad
sed 's/{e: e, x: x}/{e: e, x: zzz}/' ok.yaml > experiments/bad.yaml
expect 2 "the result has no 'zzz'" "$adze" lab run bad

# A measure may name the line that it reads.
sed 's/list schedules/lab formula "x = 5"/; s/{e: e, x: x}/{e: e, x: line1.x}/' ok.yaml > experiments/bad.yaml
expect 0 '' "$adze" lab run bad
grep -q '"what":"line1.x","values":\[5\]' experiments/records/bad.json || fail "line 1 of two gave no 5: $(cat experiments/records/bad.json)"
sed 's/{e: e, x: x}/{e: e, x: line2.x}/' ok.yaml > experiments/bad.yaml
expect 2 "arm 'right' has the lines 1 to 1" "$adze" lab run bad

exit $bad
