# A training killed at random moments (SIGKILL) and resumed, with 1, 2 and 3 threads in turn, ends with the same bits as one left in peace; SIGINT and
# SIGTERM save and exit with 5; a second signal aborts. Usage: kill_resume.sh ADZE. ADZE_KILLS: how often to kill (6; 50 for the long form).
set -u
adze=$1
kills=${ADZE_KILLS:-6}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1

if ! "$adze" data info optdigits > info.txt 2>&1; then
    echo "1 skipped: data set optdigits missing"
    [ "${ADZE_NO_SKIP:-0}" = 1 ] && exit 1
    exit 0
fi
fail() {
    echo "FAIL: $*"
    exit 1
}
# Longer trainings for more kills, so that each finds something to interrupt.
epochs=$((2 + kills / 3))
options="mlp --data optdigits --epochs $epochs --save-every 7 --batch 16 --limit-train 640 --limit-val 100 --shift 1 --quiet"
now() { echo $((${EPOCHREALTIME/./} / 1000)); } # ms

start=$(now)
"$adze" train $options --threads 1 --out whole > out.txt 2>&1 || fail "the undisturbed training: $(cat out.txt)"
took=$(($(now) - start))

# same DIR: its result is that of the undisturbed training
same() {
    cmp -s whole/model.safetensors "$1/model.safetensors" || fail "$2: the model differs"
    # the last column but two are times
    cut -d, -f1-7,10 whole/metrics.csv > a.csv
    cut -d, -f1-7,10 "$1/metrics.csv" > b.csv
    cmp -s a.csv b.csv || fail "$2: metrics.csv differs: $(diff a.csv b.csv | head -5)"
}
# go DIR THREADS: starts or goes on in the background
go() {
    if [ -e "$1/config.yaml" ]; then
        "$adze" train --resume "$1" --threads "$2" --quiet > out.txt 2>&1 &
    else
        rm -rf "$1"
        "$adze" train $options --threads "$2" --out "$1" > out.txt 2>&1 &
    fi
    pid=$!
}
# nap MS
nap() { sleep "$(printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)))"; }

RANDOM=20261
killed=0
rounds=0
threads=1
while [ "$killed" -lt "$kills" ]; do
    rm -rf parts
    rounds=$((rounds + 1))
    here=0
    while :; do
        go parts $threads
        threads=$((threads % 3 + 1))
        if [ "$killed" -lt "$kills" ]; then # anywhere: start, steps, saves, the end
            span=$((took / 4 + 60))
            nap $((RANDOM % span))
            kill -KILL $pid 2> /dev/null
        fi
        wait $pid 2> /dev/null
        got=$?
        if [ $got -eq 137 ]; then
            killed=$((killed + 1))
            here=$((here + 1))
            [ "$here" -lt $((kills * 4 + 20)) ] || fail "no progress between kills"
        elif [ $got -eq 0 ]; then
            break
        else
            fail "after kill $killed: exit code $got: $(cat out.txt)"
        fi
    done
    same parts "after $here kills"
done

# A signal that asks to stop: exit code 5, a checkpoint, and a resume to the same bits.
for sig in INT TERM; do
    rm -rf parts
    for try in 1 2 3 4 5 6 7 8; do
        (trap - INT; exec "$adze" train $options --threads 2 --out parts > out.txt 2>&1) &
        pid=$!
        until [ -e parts/ckpt/last ] || ! kill -0 $pid 2> /dev/null; do nap 5; done
        # bash starts background jobs with SIGINT ignored; the command takes the signal all the same
        kill -$sig $pid 2> /dev/null
        wait $pid 2> /dev/null
        got=$?
        [ $got -ne 0 ] && break # 0: it was done before the signal came
        rm -rf parts
    done
    [ $got -eq 5 ] || fail "SIG$sig gave exit code $got: $(cat out.txt)"
    grep -q -- '--resume parts' out.txt || fail "SIG$sig: it is not said how to go on: $(cat out.txt)"
    "$adze" train --resume parts --threads 3 --quiet > out.txt 2>&1 || fail "resuming after SIG$sig: $(cat out.txt)"
    same parts "after SIG$sig"
done

# The second signal does not wait: a long step (a large batch) is cut short, and the exit code is the signal's. The step may end between the two.
for try in 1 2 3 4 5 6 7 8 9 10; do
    rm -rf parts
    "$adze" train lenet5 --data optdigits --pad 12 --batch 3000 --epochs 50 --threads 1 --quiet --out parts > out.txt 2>&1 &
    pid=$!
    until [ -e parts/config.yaml ] || ! kill -0 $pid 2> /dev/null; do nap 5; done
    nap 300
    kill -TERM $pid
    nap 20
    kill -INT $pid 2> /dev/null
    nap 20
    kill -TERM $pid 2> /dev/null
    wait $pid 2> /dev/null
    got=$?
    [ $got -ne 5 ] && break # 5: it was saved before the second signal came
done
[ $got -eq 143 ] || [ $got -eq 130 ] || fail "two signals gave exit code $got: $(cat out.txt)"
echo "$killed kills in $rounds trainings, SIGINT, SIGTERM and a second signal: the same bits"
