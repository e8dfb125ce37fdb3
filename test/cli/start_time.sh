# `adze version` starts in under 5 ms: the median of 41 runs, measured by the shell's clock, less the cost of starting nothing. Usage: start_time.sh ADZE
set -eu
adze=$1
median() { # of microseconds, one a line
    sort -n | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'
}
time_of() {
    for _ in $(seq 41); do
        a=${EPOCHREALTIME/./}
        "$@" > /dev/null
        b=${EPOCHREALTIME/./}
        echo $((b - a))
    done | median
}
t=$(time_of "$adze" version)
base=$(time_of /bin/true)
echo "adze version: $t us from fork to exit, /bin/true: $base us"
case $(file -b "$adze" 2> /dev/null) in *sanitiz*) exit 0 ;; esac
if nm "$adze" 2> /dev/null | grep -q __asan_init; then
    exit 0 # a sanitizer's own start-up is not ours
fi
[ "$t" -lt 5000 ]
