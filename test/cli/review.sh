#!/bin/bash
# Faults that a review found in the command, each with what it must do instead. Usage: review.sh ADZE TEST_DIR
. "$(dirname "$0")/common.sh"

for part in train t10k; do
    pictures data $part 40 'i % 2 * 100 + (i * 7 + p * 3) % 90'
done
mkdir pictures
for part in train t10k; do # 100 pictures of 32x32 in three colours
    printf '\0\0\10\4\0\0\0\144\0\0\0\40\0\0\0\40\0\0\0\3' > pictures/$part-images-idx3-ubyte
    seq 60000 | head -c 307200 >> pictures/$part-images-idx3-ubyte
    printf '\0\0\10\1\0\0\0\144' > pictures/$part-labels-idx1-ubyte
    for i in $(seq 10); do printf '\0\1\2\3\4\5\6\7\10\11' >> pictures/$part-labels-idx1-ubyte; done
done
printf 'name: ../../up\ninput: [4, 4, 1]\nlayers:\n  - {type: flatten, name: f}\n  - {type: dense, name: d, units: 2}\n' > net.yaml

# Options that shape the context count in each of their spellings.
expect 2 "isa: 'v9'" "$adze" info mlp isa=v9
expect 6 'memory limit' "$adze" info mlp --mem_limit=1K
expect 6 'memory limit' "$adze" info mlp mem-limit=1K
expect 2 '--mem-limit' "$adze" info mlp --mem-limit -1

# --json holds for every command, and help looks at its arguments.
for c in 'help' 'help train' 'graph mlp --batch 1'; do
    expect 0 '{"schema":1,' "$adze" $c --json
done
expect 2 'one argument too many' "$adze" help train eval
expect 2 "did you mean '--json'" "$adze" help --jsno
expect 2 '--index' "$adze" data picture data --index -1

# A file that is no model file is told so; it is no misspelt network.
expect 2 'end in .yaml' "$adze" info "$tmp"
expect 2 'end in .yaml' "$adze" info data/t10k-labels-idx1-ubyte
expect 2 'bytes long' "$adze" train "$(printf 'n%.0s' $(seq 600)).yaml" --data data

# A run stays below runs/, whatever the model calls itself, and is not hidden.
train=(--data data --val-count 10 --batch 8 --quiet)
expect 0 '' "$adze" train net.yaml "${train[@]}" --epochs 2
[ -e ../up-001 ] && fail 'the run folder lies outside runs/'
run=$(echo runs/*-001)
[ -f "$run/model.safetensors" ] || fail "no run in runs/: $(ls -a runs)"

# Trainings started together never share a folder.
for i in 1 2 3 4 5 6; do
    "$adze" train net.yaml "${train[@]}" --epochs 1 > /dev/null 2>&1 &
done
wait
[ "$(ls runs | wc -l)" -eq 7 ] || fail "7 trainings, but the folders are: $(ls runs)"

# --resume beside a model, data or folder of one's own is refused, not passed over.
expect 2 "leave 'mlp' out" "$adze" train mlp --resume "$run"
expect 2 'leave --data out' "$adze" train --resume "$run" --data data
expect 2 'leave --out out' "$adze" train --resume "$run" --out elsewhere

# A kill between the checkpoint and the metrics loses no epoch and leaves no torn line; more epochs on one resume hold for the next.
sed '3d' "$run/metrics.csv" > torn.csv
printf '2,3' >> torn.csv
cp torn.csv "$run/metrics.csv"
expect 0 '' "$adze" train --resume "$run" --epochs 3 --quiet
[ "$(cut -d, -f1 "$run/metrics.csv" | tr '\n' ' ')" = 'epoch 1 2 3 ' ] || fail "metrics.csv after a resume: $(cat "$run/metrics.csv")"
[ "$(grep -c '^{.*}$' "$run/metrics.jsonl")" -eq 3 ] || fail "metrics.jsonl after a resume: $(cat "$run/metrics.jsonl")"
expect 0 '' "$adze" train --resume "$run" --quiet
grep -q '^epochs: 3$' "$run/config.yaml" || fail "config.yaml does not hold the new number of epochs"

# A dry run answers programs too.
expect 0 '"dry_run":true' "$adze" train net.yaml "${train[@]}" --dry-run --json

# A data folder is found again from wherever the run is resumed.
mkdir elsewhere
expect 0 '' "$adze" train net.yaml "${train[@]}" --epochs 1 --out far
(cd elsewhere && expect 0 '' "$adze" train --resume ../far --epochs 2 --quiet; exit $bad) || bad=1

# A finished run's folder and the links to its checkpoints are models; a model of another size is told apart from the data.
expect 0 'accuracy' "$adze" eval far --data data
expect 0 'accuracy' "$adze" eval far/ckpt/last --data data
expect 2 'takes examples as' "$adze" eval far --data fashion-mnist

# A remark is made once, a file that may not grow is an error like any other, and pictures are PNGs.
expect 0 '' "$adze" train net.yaml "${train[@]}" --epochs 1 --optimizer sgd --momentum 0.9 --out once --quiet
[ "$(grep -c 'momentum does nothing' err.txt)" -eq 1 ] || fail "the remark: $(cat err.txt)"
(ulimit -f 1 && expect 4 'too large' "$adze" train net.yaml "${train[@]}" --epochs 1 --out small --quiet; exit $bad) || bad=1
expect 2 'takes no smoothed targets' "$adze" train lenet5 --data data --label-smoothing 0.1 --dry-run
expect 2 'no rate to look for' "$adze" schedule range net.yaml --data data --optimizer lbfgs
expect 2 "did you mean '--lr'" "$adze" train net.yaml "${train[@]}" --learning-rate 0.1
expect 2 'give the folder of the run' "$adze" train --resume far/ckpt/last
expect 2 'ends in .png' "$adze" data show data --out sheet.jpg

# Pictures are answered in their order, whether they fill a batch or not, and one that fails does not silence the others.
for i in 0 1 2 3; do
    "$adze" data picture data --index $i --out p$i.png > /dev/null || fail 'no picture'
done
many=$(for i in $(seq 70); do echo p$((i % 4)).png; done)
expect 0 '' "$adze" predict far/model.safetensors $many
[ "$(cut -d: -f1 out.txt)" = "$many" ] || fail "70 pictures were answered out of order"
for p in p0 p1 p2 p3; do
    one=$("$adze" predict far/model.safetensors $p.png)
    [ "$(grep -cF "$one" out.txt)" -ge 17 ] || fail "$p.png alone: $one; among others: $(grep $p out.txt | head -1)"
done
expect 3 'p1.png: ' "$adze" predict far/model.safetensors p0.png net.yaml p1.png

# SIGUSR1 saves and goes on; what would end the process ends it with a checkpoint.
for s in HUP XCPU TERM; do
    "$adze" train net.yaml "${train[@]}" --epochs 1000000 --out sig$s > sig.txt 2>&1 &
    pid=$!
    for _ in $(seq 200); do
        [ -e sig$s/ckpt/last ] && break
        sleep 0.05
    done
    kill -USR1 $pid
    sleep 0.1
    [ $s != TERM ] || expect 75 'another process' "$adze" train --resume sig$s
    kill -0 $pid 2> /dev/null || fail "SIGUSR1 ended the training: $(cat sig.txt)"
    kill -$s $pid
    [ $s = TERM ] || for _ in 1 2 3 4 5; do kill -$s $pid 2> /dev/null; done # the system sends these two more than once
    wait $pid
    [ $? -eq 5 ] || fail "SIG$s: $(cat sig.txt)"
    grep -q 'interrupted; saved' sig.txt || fail "SIG$s said: $(cat sig.txt)"
done

# What another program writes to, and what cannot be written, is refused before a training, and a device stays what it is.
mkfifo pipe
expect 2 'a device or a pipe' "$adze" train net.yaml "${train[@]}" --epochs 1 --profile pipe
expect 4 'nowhere' "$adze" train net.yaml "${train[@]}" --epochs 1 --out profiled --profile nowhere/p.json
[ -p pipe ] && [ ! -e profiled ] || fail 'a profile that cannot be written cost a pipe or began a training'

# A run goes on with the instruction set, the mode and the limit that it began with.
for mode in '--isa ref' '--reproducible' '--isa ref --reproducible --mem-limit 1G'; do
    rm -rf once twice
    expect 0 '' "$adze" train net.yaml "${train[@]}" --epochs 3 --schedule constant --out once $mode
    expect 0 '' "$adze" train net.yaml "${train[@]}" --epochs 1 --schedule constant --out twice $mode
    expect 0 '' "$adze" train --resume twice --epochs 3 --quiet
    cmp once/model.safetensors twice/model.safetensors || fail "a run with $mode ended otherwise when it was resumed"
done

# What a metrics file that cannot be written says is not lost, and a picture that cannot be drawn ends nothing.
rm -rf once
expect 0 '' "$adze" train net.yaml "${train[@]}" --epochs 1 --out once
rm -rf once/plots && echo x > once/plots
expect 0 'no curves were drawn' "$adze" train --resume once --epochs 2
rm once/metrics.jsonl && mkdir once/metrics.jsonl
expect 4 'metrics.jsonl' "$adze" train --resume once --epochs 3 --quiet

# JSON stays JSON whatever a file is called.
cp net.yaml 'a"b.yaml'
"$adze" bench model 'a"b.yaml' --batch 1 --seconds 0.01 --runs 1 --json | grep -qF '"problem":"a\"b.yaml"' || fail 'a quote in a name broke the JSON'

# A memory limit changes no bit, and says so when it cannot be kept.
expect 0 '' "$adze" train resnet20 --data pictures --val-count 20 --batch 80 --epochs 1 --out whole --quiet
expect 0 'computed twice' "$adze" train resnet20 --data pictures --val-count 20 --batch 80 --epochs 1 --out part --mem-limit 110MiB --progress plain
cmp whole/model.safetensors part/model.safetensors || fail 'a memory limit changed the weights'
expect 6 'the least that it can be brought to' "$adze" train resnet20 --data pictures --val-count 20 --batch 80 --out none --mem-limit 60M

[ $bad -eq 0 ] && echo "all of the review's faults stay mended"
exit $bad
