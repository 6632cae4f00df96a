#!/usr/bin/env bash
# A newcomer's hour: from a fresh clone to the first report, with the seconds that each step takes.
#
#     bash docs/newcomers-hour.sh                # with photographs that ship with mmrag
#     bash docs/newcomers-hour.sh MY_PHOTOS      # a folder with one subfolder for each product
#
# Everything that it makes is in tmp/hour, and what it prints last is the table of times.
set -euo pipefail
cd "$(dirname "$0")/.."
hour=$PWD/tmp/hour
rm -rf "$hour" && mkdir -p "$hour"
export MMRAG_HOME=$hour/home

times=()
step() {
    printf '\n== %s\n%s\n' "$1" "${*:2}"
    local began=$SECONDS
    "${@:2}"
    times+=("$(printf '| %s | %d s |' "$1" $((SECONDS - began)))")
}

by_product() { # eval_sets/grocery/images/Anjou_001.webp becomes photos/Anjou/001.webp
    for picture in eval_sets/grocery/images/*; do
        name=$(basename "$picture")
        mkdir -p "$hour/photos/${name%_*}"
        cp "$picture" "$hour/photos/${name%_*}/${name##*_}"
    done
}
photos=${1:-}
if [[ -z $photos ]]; then by_product && photos=$hour/photos; fi

step "Install" make setup
mmrag=$PWD/.venv/bin/mmrag
step "What works here" "$mmrag" doctor
step "Demo" "$mmrag" demo
cd "$hour"
some=$(find "$photos" -type f | sort | head -1)
step "Own pictures, indexed" "$mmrag" index "$photos"
step "Own pictures, searched" "$mmrag" search --image "$some" --exclude-query-image --grid result.jpg
step "First labelled set: same folder is right" "$mmrag" eval-set import folder "$photos" my-set
step "First evaluation" "$mmrag" evaluate my-set --encoder demo --name first
step "Second evaluation" "$mmrag" evaluate my-set --encoder demo-clip --name second
step "First comparison" "$mmrag" compare first second
label() { printf '3\n1\nq\n' | "$mmrag" eval-set judge my-set --run first --run second --judge Ada; }
step "First label" label
step "First report" "$mmrag" export first --format html --out report.html
printf '\n| step | time |\n| --- | --- |\n'
printf '%s\n' "${times[@]}"
