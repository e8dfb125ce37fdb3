#!/bin/bash
# adze train --recipe: options behind those of the command line, by name and from a file. Usage: recipe.sh ADZE TEST_DIR
. "$(dirname "$0")/common.sh"
for part in train t10k; do
    pictures data $part 40 'i % 2 * 100 + (i * 7 + p * 3) % 90'
done
cat > net.yaml << 'NET'
name: net
input: [4, 4, 1]
layers:
  - {type: conv, name: d, kernel: 1, filters: 2}
  - {type: conv, name: c, kernel: 1, filters: 2}
  - {type: add, name: block, from: [c, d]}
  - {type: flatten, name: f}
  - {type: dense, name: fc, units: 2}
NET
train=("$adze" train net.yaml --data data --epochs 1 --val-count 8 --augment crop:pad=1)

# Each recipe: what it sets is in the run's config but for what the command line says, and a file of the same words gives the same config.
for name in $("$adze" list recipes --json | grep -o '"name":"[^"]*"' | cut -d'"' -f4); do
    words=$("$adze" list recipes --json | grep -o "\"name\":\"$name\"[^}]*" | sed 's/.*"more":"//; s/".*//')
    [ -n "$words" ] || fail "nothing is printed of $name"
    expect 0 '' "${train[@]}" --recipe "$name" --out "$name"
    : > own.yaml
    for word in $words; do
        key=${word%%=*} value=${word#*=}
        echo "$key: \"$value\"" >> own.yaml
        case $key in
            epochs) value=1 ;;
            val_count) value=8 ;;
            augment) value=crop:pad=1 ;;
        esac
        grep -qE "^$key: \"?$value\"?\$" "$name/config.yaml" || fail "$name: no '$key: $value' but $(grep "^$key:" "$name/config.yaml")"
    done
    expect 0 '' "${train[@]}" --recipe own.yaml --out "$name-own"
    cmp "$name/config.yaml" "$name-own/config.yaml" || fail "$name and a file of its words differ"
done

# A resume needs the folder alone.
expect 0 '' "$adze" train --resume resnet-cifar --epochs 2
grep -q '^lr: 0.1$' resnet-cifar/config.yaml || fail "the recipe's rate is lost after a resume"
[ "$(wc -l < resnet-cifar/metrics.csv)" -eq 3 ] || fail "the resume did not train an epoch"
expect 2 'leave --recipe out' "$adze" train --resume resnet-cifar --recipe resnet-cifar

# compare and schedule know recipes too, behind what is given beside them.
expect 0 '' "$adze" compare net.yaml --data data --recipe own.yaml --epochs 1 --val-count 8 --augment crop:pad=1 --vary lr=0.1,0.2 --seeds 2 --out both
grep -q '^l2: 0.0005$' both/lr=0.2/seed-1/config.yaml || fail "compare trains without the recipe: $(grep -r '^l2' both | head -3)"
expect 0 '0.004' "$adze" schedule plot --recipe wide-resnet-cifar
expect 0 '' "$adze" schedule plot --recipe wide-resnet-cifar --gamma 1
! grep -q '0.004' out.txt || fail "gamma is the recipe's"
expect 0 'comes within 2: the rate stays' "$adze" train net.yaml --data data --val-count 8 --augment crop:pad=1 --recipe resnet-cifar --epochs 2 --out short

expect 2 "did you mean 'resnet-cifar'" "${train[@]}" --recipe resnet-cifra
printf 'lr: 0.3\nbtach: 7\nbeta1: 2\n' > wrong.yaml
expect 2 "wrong.yaml:2:1: unknown key 'btach' in the recipe; did you mean 'batch'?" "${train[@]}" --recipe wrong.yaml
expect 2 "wrong.yaml:3:1: the recipe: beta1 '2' is out of range" "${train[@]}" --recipe wrong.yaml
expect 4 'absent.yaml' "${train[@]}" --recipe absent.yaml
printf 'data: mnist\n' > data.yaml
expect 2 "unknown key 'data'" "${train[@]}" --recipe data.yaml
exit $bad
