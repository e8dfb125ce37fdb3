# What the tests of the command share, to be sourced first: a temporary folder as working directory, failures that are told and counted, and pictures.
set -u
adze=$1
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1
bad=0

fail() {
    echo "FAIL: $1"
    bad=1
}

# expect CODE 'text that the output must hold' COMMAND...
expect() {
    local code=$1 text=$2
    shift 2
    "$@" > out.txt 2> err.txt < /dev/null
    local got=$?
    [ "$got" -eq "$code" ] || fail "'$*' gave exit code $got, not $code: $(cat out.txt err.txt)"
    [ -z "$text" ] || cat out.txt err.txt | grep -qF -- "$text" || fail "'$*' did not say '$text' but: $(cat out.txt err.txt)"
}

# pictures FOLDER PART COUNT 'FORMULA of i (picture) and p (pixel)': 4x4 pixels of two classes in turn, as IDX files.
pictures() {
    local i p byte
    mkdir -p "$1"
    printf -v byte '%o' "$3"
    printf "\\0\\0\\10\\3\\0\\0\\0\\$byte\\0\\0\\0\\4\\0\\0\\0\\4" > "$1/$2-images-idx3-ubyte"
    printf "\\0\\0\\10\\1\\0\\0\\0\\$byte" > "$1/$2-labels-idx1-ubyte"
    for ((i = 1; i <= $3; i++)); do
        for ((p = 1; p <= 16; p++)); do
            printf -v byte '%o' $(($4))
            printf "\\$byte"
        done >> "$1/$2-images-idx3-ubyte"
        printf "\\$((i % 2))" >> "$1/$2-labels-idx1-ubyte"
    done
}
