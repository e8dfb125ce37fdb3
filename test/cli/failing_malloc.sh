# malloc itself fails, at the n-th call only or from it on, also inside libfyaml, libpng, zlib and libc: the command ends with an exit code of its table
# and says why, or gives the whole result; it never dies of a signal. Usage: failing_malloc.sh ADZE; $FAILING_MALLOC is the library to preload.
# Every n is tried, of a training every 8th; ADZE_QUICK=1 tries every 5th of those.
set -u
adze=$1
lib=${FAILING_MALLOC:?the library test/failing_malloc.c}
step=1
[ "${ADZE_QUICK:-0}" = 0 ] || step=5
if nm "$adze" 2> /dev/null | grep -q __asan_init; then
    echo "1 skipped: a sanitizer has a malloc of its own"
    exit 0
fi
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1
bad=0

# A data set of eight 4x4 pictures in two classes, packed by gzip, and a net for it.
mkdir set
for part in train t10k; do
    { printf '\0\0\10\3\0\0\0\10\0\0\0\4\0\0\0\4'; for i in 0 1 2 3 4 5 6 7; do printf 'abcdefghijklmn%d%d' $i $i; done; } | gzip -n > set/$part-images-idx3-ubyte.gz
    printf '\0\0\10\1\0\0\0\10\0\1\0\1\0\1\0\1' | gzip -n > set/$part-labels-idx1-ubyte.gz
done
cat > net.yaml << 'END'
name: tiny
input: [4, 4, 1]
layers: # of several kinds
  - {type: conv, name: c, filters: 2, kernel: [3, 3], pad: same, activation: "relu"}
  - {type: flatten}
  - type: dense
    name: 'fc'
    units: 2
END
"$adze" train net.yaml --data ./set --epochs 1 --batch 4 --val-count 2 --threads 1 --out run --quiet > out.txt 2>&1 || { cat out.txt; exit 1; }
cp run/model.safetensors m.safetensors
"$adze" data picture ./set --index 3 --out picture.png > out.txt 2>&1 || { cat out.txt; exit 1; }

# sweep NAME OUTPUT-FILE COMMAND...: OUTPUT-FILE, unless -, must be the same whenever the exit code is 0
sweep() {
    local name=$1 file=$2 total n once got codes=
    shift 2
    rm -f "$file"
    FAIL_COUNT=count LD_PRELOAD=$lib "$adze" "$@" > want.txt 2> err.txt || { echo "FAIL: $name: $(cat err.txt)"; bad=1; return; }
    total=$(cat count)
    [ "$file" = - ] || cp "$file" want.bin
    [ "$total" -gt 5 ] || { echo "FAIL: $name: only $total calls of malloc were counted"; bad=1; }
    for once in 0 1; do
        for ((n = 1; n <= total; n += step)); do
            rm -rf out.txt err.txt "$file" fresh
            FAIL_AT=$n FAIL_ONCE=$once LD_PRELOAD=$lib "$adze" "$@" > out.txt 2> err.txt < /dev/null
            got=$?
            codes="$codes $got"
            if [ $got -gt 8 ]; then
                echo "FAIL: $name: call $n (once: $once) ends with $got: $(head -c 300 err.txt)"
                bad=1
            elif [ $got -ne 0 ] && ! grep -q '^adze: ..' err.txt; then
                echo "FAIL: $name: call $n (once: $once) ends with $got and no reason"
                bad=1
            elif [ $got -eq 0 ] && ! cmp -s want.txt out.txt; then
                echo "FAIL: $name: call $n (once: $once) succeeds with another output: $(diff want.txt out.txt | head -4)"
                bad=1
            elif [ $got -eq 0 ] && [ "$file" != - ] && ! cmp -s want.bin "$file"; then
                echo "FAIL: $name: call $n (once: $once) succeeds with another file"
                bad=1
            fi
        done
    done
    echo "$name: $total calls; exit codes (count x code):$(echo $codes | tr ' ' '\n' | sort -n | uniq -c | awk '{printf " %dx%d", $1, $2}')"
}
sweep 'info of a YAML file' - info net.yaml
sweep 'a contact sheet as PNG' sheet.png data show ./set --columns 2 --out sheet.png
sweep 'predict of a PNG' - predict m.safetensors picture.png
sweep 'data info of a packed set' - data info ./set
sweep 'zoo show' - zoo show lenet5
step=$((step * 8)) # a training asks often for memory: a sample
sweep 'train' fresh/model.safetensors train net.yaml --data ./set --epochs 1 --batch 4 --val-count 2 --threads 1 --out fresh --quiet
exit $bad
