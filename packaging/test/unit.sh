#!/usr/bin/env bash
# The systemd unit: does systemd take it, by itself and with the drop-in, and how much does it leave exposed?
#
#   packaging/test/unit.sh [UNIT]
set -euo pipefail
cd "$(dirname "$0")/.."
# No more than 2.0 of 10, in tenths.
MOST_EXPOSED=20

unit=$(realpath "${1:-one-api-sidecar.service}")
command -v systemd-analyze >/dev/null || {
  echo "systemd-analyze is not here (Debian: systemd): skipped"
  exit "${REQUIRE_ALL:-0}"
}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# It looks for the program, too: one that is not installed yet stands in for itself.
cp "$unit" "$folder/"
if ! command -v one-api-sidecar >/dev/null; then
  sed -i 's|^ExecStart=one-api-sidecar|ExecStart=/bin/true|' "$folder/one-api-sidecar.service"
fi
check() {
  local words
  words=$(systemd-analyze verify --man=no "$folder/one-api-sidecar.service" 2>&1) || { echo "$words"; return 1; }
  # What it does not know it only says.
  if grep one-api-sidecar <<<"$words"; then return 1; fi
  echo "$1: verified"
}
check "the unit"
if ! systemd-analyze security --offline=true --threshold=$MOST_EXPOSED --no-pager "$folder/one-api-sidecar.service" \
  >"$folder/exposure" 2>&1; then
  cat "$folder/exposure"
  # Before version 250 it cannot look at a file.
  grep -q "unrecognized option" "$folder/exposure" || exit 1
  echo "exposure: skipped, this systemd is too old"
fi
grep "Overall exposure" "$folder/exposure" || true
mkdir "$folder/one-api-sidecar.service.d"
cp systemd/dynamic-user.conf "$folder/one-api-sidecar.service.d/"
check "with DynamicUser"
