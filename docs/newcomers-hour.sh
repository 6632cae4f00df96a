#!/usr/bin/env bash
# A newcomer's hour: from a fresh clone to the first report, with the time that each step takes.
#
#     bash docs/newcomers-hour.sh                # with photographs that ship with mmrag
#     bash docs/newcomers-hour.sh MY_PHOTOS      # a folder with one subfolder for each product
#
# Everything that it makes is in tmp/hour; the table of times is printed last and kept in times.md there.
# With RECORD=1 the table also goes into docs/newcomers-hour.md.
set -euo pipefail
photos=${1:+$(cd "$1" && pwd)}
cd "$(dirname "$0")/.."
clone=$PWD
hour=$PWD/tmp/hour
rm -rf "$hour" && mkdir -p "$hour"
export MMRAG_HOME=$hour/home

echo "| step | seconds |" >"$hour/times.md"
echo "| --- | --- |" >>"$hour/times.md"
step() { # the step's name, then its command
    printf '\n== %s\n$ %s\n' "$1" "${*:2}"
    local began=$SECONDS
    "${@:2}"
    printf '| %s | %d |\n' "$1" $((SECONDS - began)) >>"$hour/times.md"
}

by_product() { # eval_sets/grocery/images/Anjou_001.webp becomes photos/Anjou/001.webp
    for picture in eval_sets/grocery/images/*; do
        name=$(basename "$picture")
        mkdir -p "$hour/photos/${name%_*}"
        cp "$picture" "$hour/photos/${name%_*}/${name##*_}"
    done
}
[[ -n $photos ]] || { by_product && photos=$hour/photos; }

step "Install" make setup
export PATH=$PWD/.venv/bin:$PATH
step "What works here" mmrag doctor
step "Demo" mmrag demo
cd "$hour"
some=$(find "$photos" -type f | sort | sed -n 1p)
step "Own pictures: index" mmrag index "$photos" --encoder photos
step "Own pictures: search" mmrag search --encoder photos --image "$some" --exclude-query-image --grid result.jpg
step "First labelled set" mmrag eval-set import folder "$photos" my-classes
step "First evaluation" mmrag evaluate my-classes --encoder photos --name first
step "Second evaluation" mmrag evaluate my-classes --encoder demo-clip --name second
step "First comparison" mmrag compare second first
judge() { printf '3\n1\nq\n' | mmrag "$@"; }
step "First labels" judge eval-set judge my-classes --run first --run second --judge Ada
step "First report" mmrag export first --format html --out report.html
printf '\n'
cat times.md
[[ -z ${RECORD:-} ]] || sed -i -e '/^<!-- times -->$/,/^<!-- end -->$/{//!d;}' \
    -e '/^<!-- times -->$/r times.md' "$clone/docs/newcomers-hour.md"
