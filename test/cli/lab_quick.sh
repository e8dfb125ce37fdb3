#!/bin/bash
# The experiments that take seconds come out as their records say; those whose data are not here are passed over; every row is covered.
# Usage: lab_quick.sh ADZE TEST_DIR; ADZE_QUICK=1 tries three of them
set -u
adze=$1
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
which=(--quick) least=15
[ "${ADZE_QUICK:-0}" = 0 ] || { which=(adam-one-plus-beta1 gradient-descent-rate elu-saturates) least=3; }
for w in "${which[@]}"; do
    "$adze" lab run "$w" --check --dir "$2/../experiments" --work "$tmp" >> "$tmp/out.txt" || {
        cat "$tmp/out.txt"
        exit 1
    }
done
[ "$(grep -c 'verdict over' "$tmp/out.txt")" -ge "$least" ] || { echo "too few experiments ran: $(cat "$tmp/out.txt")"; exit 1; }
# Every row of the notes is named by something that exists.
"$adze" lab coverage --dir "$2/../experiments" > "$tmp/rows.txt" || { cat "$tmp/rows.txt"; exit 1; }
