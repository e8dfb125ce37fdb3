#!/bin/bash
# The page on augmentation holds what the table says, and the command reads, draws and times augmentations. Usage: augment.sh ADZE TEST_DIR
. "$(dirname "$0")/common.sh"
page=$2/../docs/augmentation.md

"$adze" list augmentations > "$tmp/list" || fail "list augmentations"
[ -s "$tmp/list" ] || fail "list augmentations is empty"
while IFS= read -r line; do
    grep -qF -- "$line" "$page" || fail "docs/augmentation.md lacks: $line (put the output of 'adze list augmentations' there)"
done < "$tmp/list"
for name in $(grep -oE '^[a-z_]+' "$tmp/list"); do
    [ -s "$2/../docs/pictures/augment_$name.png" ] || fail "docs/pictures/augment_$name.png is missing"
    grep -q "augment_$name.png" "$page" || fail "docs/augmentation.md does not show $name"
done

# A data set of 8 grey pictures of 4x4 pixels, and of 8 digits by its folder's name.
mkdir -p "$tmp/data"
for part in train t10k; do
    { printf '\0\0\10\3\0\0\0\10\0\0\0\4\0\0\0\4'; head -c 128 /dev/zero | tr '\0' 'x'; } > "$tmp/data/$part-images-idx3-ubyte"
    printf '\0\0\10\1\0\0\0\10\0\1\0\1\0\1\0\1' > "$tmp/data/$part-labels-idx1-ubyte"
done
"$adze" data augment data --augment 'hflip,crop:pad=1:border=edge' --rows 2 --columns 3 --out s.png > out.txt 2>&1 || fail "no sheet: $(cat out.txt)"
[ -s s.png ] || fail "the sheet is missing"
"$adze" data augment data --augment crop:pda=1 --rows 2 > out.txt 2>&1
[ $? -eq 2 ] || fail "a wrong parameter is no error of usage: $(cat out.txt)"
grep -q "augment, character 6: crop has no parameter 'pda'; did you mean 'pad'" out.txt || fail "the message is '$(cat out.txt)'"
"$adze" train mlp --data data --augment crpo > out.txt 2>&1
grep -q "augment, character 1: 'crpo' is no augmentation; did you mean 'crop'" out.txt || fail "train says '$(cat out.txt)'"
"$adze" data augment data --time --augment crop > out.txt 2>&1 || fail "no time: $(cat out.txt)"
grep -q "images/s" out.txt || fail "no images a second: $(cat out.txt)"
mkdir -p mnist && cp data/* mnist/
ADZE_DATA=$tmp "$adze" data augment mnist --augment vflip --rows 2 --columns 2 --out s.png > out.txt 2>&1 || fail "mnist: $(cat out.txt)"
grep -q "when mirrored" out.txt || fail "no warning for mirrored digits: $(cat out.txt)"
exit $bad
