#!/usr/bin/env bash
# The Debian package: installed, used, removed and purged. Nothing of it is left but what the sidecar itself kept. Only
# as root, and on a machine that does not have it yet.
set -euo pipefail
cd "$(dirname "$0")/../.."

fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }
arch=$(dpkg --print-architecture)
package=$(ls -t target/dist/"$arch"/*.deb 2>/dev/null | head -1)
[ -n "$package" ] || fail "no package: run packaging/deb.sh first"
[ "$(id -u)" -eq 0 ] || { echo "skipped: not root"; exit "${REQUIRE_ALL:-0}"; }
if dpkg -s one-api-sidecar >/dev/null 2>&1 || [ -e /etc/one-api-sidecar ] || [ -e /var/lib/one-api-sidecar ]; then
  echo "skipped: this machine has one-api-sidecar already"
  exit "${REQUIRE_ALL:-0}"
fi

folder=$(mktemp -d)
# shellcheck disable=SC2329
cleanup() {
  [ -z "${agent:-}" ] || kill "$agent" 2>/dev/null || true
  dpkg --purge one-api-sidecar >/dev/null 2>&1 || true
  rm -rf "$folder" /etc/one-api-sidecar /var/lib/one-api-sidecar
}
trap cleanup EXIT

dpkg -i "$package" >"$folder/log" 2>&1 || { cat "$folder/log"; fail "dpkg -i"; }
mapfile -t made < <(dpkg -L one-api-sidecar | while read -r path; do [ -d "$path" ] || echo "$path"; done)
one-api-sidecar --version
# In a container dpkg may be told to leave documentation out; the package has it all the same.
example=/usr/share/doc/one-api-sidecar/examples/sidecar.toml
dpkg -c "$package" >"$folder/list"
for path in /usr/bin/one-api-sidecar /usr/share/man/man1/one-api-sidecar.1.gz $example \
  /usr/share/bash-completion/completions/one-api-sidecar; do
  grep -q " \.$path$" "$folder/list" || fail "the package has no $path"
done
[ -s "$example" ] || example=sidecar.toml.example
unit=$(dpkg -L one-api-sidecar | grep 'system/one-api-sidecar.service$')
packaging/test/unit.sh "$unit"

# The unit's own command, as a user without rights, where there is no systemd to start it.
mkdir -p /var/lib/one-api-sidecar "$folder/gateway"
cp tests/fixtures/one-api.db "$folder/gateway/"
chmod 755 "$folder"
chown -R nobody: /var/lib/one-api-sidecar "$folder/gateway"
chmod 700 /var/lib/one-api-sidecar
sed -e "s|^database = .*|database = \"$folder/gateway/one-api.db\"|" \
  -e 's|^\[vault\]|[vault]\npath = "/var/lib/one-api-sidecar/vault.db"|' "$example" >/etc/one-api-sidecar/sidecar.toml
as_nobody() { setpriv --reuid=nobody --regid="$(id -g nobody)" --clear-groups "$@"; }
command=$(sed -n 's/^ExecStart=//p' "$unit")
# shellcheck disable=SC2086
(cd / && exec setpriv --reuid=nobody --regid="$(id -g nobody)" --clear-groups $command) 2>"$folder/agent" &
agent=$!
for tries in $(seq 300); do
  as_nobody one-api-sidecar health >/dev/null 2>&1 && break
  [ "$tries" -lt 300 ] || { cat "$folder/agent"; fail "the agent does not live"; }
  sleep 0.1
done
kill -TERM "$agent"
wait "$agent" || { cat "$folder/agent"; fail "the agent's exit code"; }
agent=
echo "installed, started, stopped: ok"

rm /etc/one-api-sidecar/sidecar.toml
apt-get remove -y -qq one-api-sidecar >/dev/null 2>&1 || dpkg --remove one-api-sidecar
apt-get purge -y -qq one-api-sidecar >/dev/null 2>&1 || dpkg --purge one-api-sidecar
for path in "${made[@]}"; do [ ! -e "$path" ] || fail "$path is left"; done
[ ! -e /etc/one-api-sidecar ] || fail "/etc/one-api-sidecar is left"
[ -s /var/lib/one-api-sidecar/vault.db ] || fail "the vault is to stay"
if dpkg -s one-api-sidecar >/dev/null 2>&1; then fail "dpkg still knows it"; fi
echo "removed and purged, nothing left but the vault: ok"
