#!/usr/bin/env bash
# The commands of the README's section "Install it", a line each: what people are told to type is what is tried.
#
#   packaging/test/readme.sh             all of them, after a look that both READMEs have the same ones and that each is run
#   packaging/test/readme.sh BEGINNING   the one that begins so
set -euo pipefail
cd "$(dirname "$0")/../.."

fail() { printf 'README: %s\n' "$*" >&2; exit 1; }
commands() {
  sed -n "/^## $2\$/,/^## /p" "$1" | sed -n '/^```sh$/,/^```$/p' | sed -e '/^```/d' -e 's/ *#.*//' -e '/^$/d'
}

all=$(commands README.md "Install it")
[ -n "$all" ] || fail 'no commands in "Install it"'
if [ $# -gt 0 ]; then
  while read -r line; do
    case $line in "$1"*) printf '%s\n' "$line"; exit ;; esac
  done <<<"$all"
  fail "\"Install it\" has no command \`$1\`"
fi

[ "$all" = "$(commands README.zh-CN.md "安装")" ] || fail "README.zh-CN.md installs in another way than README.md"
while read -r line; do
  run=
  while read -r beginning; do
    case $line in "$beginning"*) run=yes ;; esac
  done < <(grep -ohE '(as_written|readme\.sh) ("[^"$]+"|[a-z][a-z/.]+)' .ci/run packaging/test/image.sh | sed -E 's/^[^ ]+ //; s/"//g')
  [ -n "$run" ] || fail "nothing runs \`$line\`"
done <<<"$all"
printf '%s\n' "$all"
