#!/bin/bash
# adze bench: problem strings mean what they say, every kind runs, and the paced mode keeps to its protocol. Usage: bench.sh ADZE TEST_DIR
. "$(dirname "$0")/common.sh"

# expect CODE 'text that the output must hold' ARGUMENTS...
expect() {
    local code=$1 text=$2
    shift 2
    out=$("$adze" bench "$@" --runs 1 --seconds 0 2>&1 < /dev/null)
    local got=$?
    [ "$got" -eq "$code" ] || fail "bench $* gave exit code $got, not $code: $out"
    case $out in
    *"$text"*) ;;
    *) fail "bench $* did not say '$text' but: $out" ;;
    esac
}

# Operations: two for each multiplication whose tap lies inside the picture.
expect 0 '"flops":48,' gemm m2n3k4 --json
expect 0 '"flops":240,' gemm m2n3k4tatb,f64,batch5 --json
expect 0 '"flops":200,' conv mb1ic1ih4oc1kh3ph1 --json                  # taps of a side: 2 + 3 + 3 + 2
expect 0 '"flops":200,' conv mb1ic1ih4oc1kh3ph1,dir=dx --json
expect 0 '"flops":200,' conv mb1ic1ih4oc1oh4kh3ph1,dir=dw,dtype=f64 --json
expect 0 '"flops":108,' conv mb2ic1ih5iw3oc1oh3ow1kh3kw3sh1,dir=fwd --json # pixels 2 x 3 x 1, taps 9
expect 0 '"flops":64,' conv mb1ic2ih4oc2kh2sh2g2 --json # pixels 4, outputs 2, taps 4, one input each
expect 0 '"flops":128,' conv mb1ic1ih6oc1kh2dh1,dir=fwd --json # pixels 16, taps 4
expect 0 '"repro":"adze bench conv mb1ic1ih4oc1kh3ph1 --threads 1"' conv mb1ic1ih4oc1kh3ph1 --json --threads 1

# What cannot be is told in a sentence.
expect 2 "'q' is no part of a problem" gemm m2n3k4q5
expect 2 'needs m, n and k' gemm m2n3
expect 2 'is no dtype' gemm m2n3k4,f31
expect 2 'does not become one of' conv mb1ic1ih4oc1oh9kh3
expect 2 'is no option of a convolution' conv mb1ic1ih4oc1kh3,dir=up
expect 2 "did you mean 'gemm'" gem m2n3k4
expect 2 'no attribute' layer maxpool,1x4x4x1,sice=2x2
expect 2 'is no shape' layer relu,2y3
expect 2 'there is no op' layer relo,2x3
expect 2 'needs an op' layer
expect 2 "" model hints

# Options that do not apply are refused, not passed over.
refuse() {
    out=$("$adze" bench "${@:2}" 2>&1 < /dev/null) && fail "bench ${*:2} was not refused"
    case $out in *"$1"*) ;; *) fail "bench ${*:2} did not say '$1' but: $out" ;; esac
}
refuse '--precision says nothing to bench gemm' gemm m2n3k4 --precision bf16
refuse '--memory says nothing to bench conv' conv resnet20 --memory 3
refuse '--batch says nothing to bench layer' layer relu,2x3 --batch 4
refuse '--batch is for the list of a net' conv mb1ic1ih4oc1kh3ph1 --batch 4
refuse '--runs says nothing to bench peak' peak --runs 3
refuse '--seconds says nothing beside --list' conv resnet20 --list --seconds 1
refuse '--runs says nothing beside --paced' gemm m2n3k4 --paced --runs 1
refuse 'give one of them' gemm m2n3k4 --paced --list
[ "$("$adze" bench gemm m2n3k4 m1n1k1 --list --json)" = '{"schema":1,"work":"gemm","problems":["m2n3k4","m1n1k1"]}' ] || fail "--list --json"

# A name stands for the convolutions of its net: the first layer without dx.
[ "$("$adze" bench conv resnet20 --list | wc -l)" -eq 17 ] || fail "resnet20 has 6 shapes and 17 passes"
[ "$("$adze" bench conv resnet50,dir=fwd --list | wc -l)" -eq 23 ] || fail "resnet50 has 23 shapes"
"$adze" bench conv vgg16,dtype=bf16 --batch 2 --list | grep -qx 'mb2ic64ih224oc64oh224kh3ph1,dir=dw,dtype=bf16' || fail "a list keeps options and batch"

# Every kind runs; a whole list goes on after a work that cannot run.
for w in maxpool softmax_xent batchnorm layernorm sgd adam dropout gather relu,3x5,dir=bwd batchnorm,8x4x4x3,3,3,dir=bwd; do
    expect 0 "\"work\":\"layer\",\"problem\":\"${w%%,*}" layer "$w" --json
done
expect 2 '1 of 2 works could not be measured' gemm m2n3k4,f32 m2n3
expect 0 '"items_per_s":' train mlp --batch 4 --json
expect 0 '"precision":"f64"' model lenet5 --batch 1 --precision f64 --json
case $("$adze" bench peak --json) in *'"what":"f32"'*) ;; *) fail "bench peak" ;; esac

# Paced: ready, five numbers for each line, the memory at the end.
out=$(printf '0 2\n1\n' | "$adze" bench gemm m64n64k64 m8n8k8 --paced) || fail "paced failed: $out"
[ "$(echo "$out" | sed -n 1p)" = ready ] || fail "paced does not say ready: $out"
[ "$(echo "$out" | sed -n 2,3p | awk '{ print NF, $4 }' | tr '\n' ' ')" = "5 524288 5 1024 " ] || fail "paced says: $out"
echo "$out" | sed -n 4p | grep -qx '[0-9]*' || fail "paced does not end with the memory: $out"
out=$(echo 7 | "$adze" bench gemm m8n8k8 --paced 2>&1) && fail "there is no work 7"
case $out in *'works 0 to 0'*) ;; *) fail "work 7: $out" ;; esac
[ "$(echo 1 | "$adze" bench gemm m8n8k8 m2n3 --paced 2> /dev/null)" = ready ] || fail "after a failure paced prints something like a time"

# Times of steps: a table that fits a terminal, and traces that name every step of every run.
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"$adze" inspect mlp --time --batch 8 --trace "$tmp/inspect.json" > "$tmp/out" 2>&1 || fail "inspect --time: $(cat "$tmp/out")"
sed -n '/ us  share/,$p' "$tmp/out" > "$tmp/table"
grep -q '100.0%.*mean of 5 runs' "$tmp/table" || fail "inspect --time says: $(cat "$tmp/table")"
awk 'length > 80 { exit 1 }' "$tmp/table" || fail "the table of times is wider than 80 columns"
steps=$(($(wc -l < "$tmp/table") - 2))
events=$(grep -c '"ph":"X"' "$tmp/inspect.json")
[ "$events" -eq $((5 * (steps + 1))) ] || fail "$steps steps gave $events events in five runs"
mkdir "$tmp/data"
for part in train t10k; do # 40 pictures of 4x4 pixels
    { printf '\0\0\10\3\0\0\0\50\0\0\0\4\0\0\0\4'; seq 1000 | head -c 640; } > "$tmp/data/$part-images-idx3-ubyte"
    { printf '\0\0\10\1\0\0\0\50'; printf '\0\1%.0s' $(seq 20); } > "$tmp/data/$part-labels-idx1-ubyte"
done
printf 'name: net\ninput: [4, 4, 1]\nlayers:\n  - {type: flatten, name: f}\n  - {type: dense, name: d, units: 2}\n' > "$tmp/net.yaml"
"$adze" train "$tmp/net.yaml" --data "$tmp/data" --epochs 2 --batch 8 --out "$tmp/run" --profile "$tmp/train.json" > "$tmp/out" 2>&1 ||
    fail "train --profile: $(cat "$tmp/out")"
grep -q 'mean of 7 runs' "$tmp/out" || fail "two epochs of five updates, less the first and each last: $(cat "$tmp/out")"
"$adze" train "$tmp/net.yaml" --data "$tmp/data" --epochs 1 --batch 8 --optimizer shampoo --out "$tmp/sides" --profile "$tmp/sides.json" > "$tmp/out" 2>&1 ||
    fail "train --profile with shampoo: $(cat "$tmp/out")"
grep -q '"gather"' "$tmp/sides.json" || fail "the trace does not hold what shampoo gathers: $(head -c 600 "$tmp/sides.json")"
grep -q '"name":"run 7"' "$tmp/train.json" || fail "the trace holds every profiled update"

exit $bad
