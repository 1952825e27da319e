#!/usr/bin/env bash
# The image, built from the binary of packaging/build.sh and run by compose beside a One-API database: a key is
# delivered, the config is edited in place, the container is stopped with a refresh under way, `health` turns, the vault
# is sealed and rekeyed, with a read-only root, no capabilities and no temporary directory. Without a Docker engine it
# starts one of its own, in a folder of its own; where that cannot be, it says so and is skipped (with REQUIRE_ALL=1 that is
# a failure).
set -euo pipefail
cd "$(dirname "$0")/../.."

# No image is larger than this, in bytes.
LARGEST=9700000

say() { printf '%s\n' "$*"; }
fail() { say "FAILED: $*" >&2; exit 1; }
skip() { say "skipped: $*"; exit "${REQUIRE_ALL:-0}"; }

folder=$(mktemp -d)
started=()
# shellcheck disable=SC2329
cleanup() {
  local status=$?
  if [ "$status" -ne 0 ] && [ -n "${engine:-}" ]; then
    docker logs one-api-sidecar-test 2>&1 | tail -30 || true
  fi
  if [ -n "${engine:-}" ]; then
    docker ps -aq --filter label=one-api-sidecar-test | xargs -r docker rm -f >/dev/null 2>&1 || true
    docker volume rm one-api-sidecar-test_data >/dev/null 2>&1 || true
  fi
  local pid
  for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${started[@]}"; do wait "$pid" 2>/dev/null || true; done
  rm -rf "$folder" 2>/dev/null || true
}
trap cleanup EXIT

# Waits until a command succeeds, a minute at most.
until_true() {
  local what=$1 began=$SECONDS
  shift
  until "$@" >/dev/null 2>&1; do
    [ $((SECONDS - began)) -lt 60 ] || fail "$what: not within a minute"
    sleep 0.1
  done
  say "$what: ok"
}

arch=$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')
binary=target/dist/$arch/one-api-sidecar
[ -x "$binary" ] || fail "no $binary: run packaging/build.sh first"
for program in docker openssl python3; do
  command -v "$program" >/dev/null || skip "$program is not here (Debian: docker.io docker-compose openssl python3)"
done
if command -v docker-compose >/dev/null; then
  parser=(docker-compose)
elif docker compose version >/dev/null 2>&1; then
  parser=(docker compose)
else
  skip "no compose here (Debian: docker-compose)"
fi

if ! docker info >/dev/null 2>&1; then
  [ "$(id -u)" -eq 0 ] && command -v dockerd >/dev/null || skip "no Docker engine runs, and none can be started"
  export DOCKER_HOST=unix://$folder/docker.sock
  for bridge in "" none; do
    dockerd --host "$DOCKER_HOST" --data-root "$folder/docker" --exec-root "$folder/exec" --pidfile "$folder/pid" \
      ${bridge:+--bridge=none --iptables=false --storage-driver=vfs} >"$folder/dockerd.log" 2>&1 &
    daemon=$!
    for _ in $(seq 150); do
      docker info >/dev/null 2>&1 && break 2
      kill -0 "$daemon" 2>/dev/null || break
      sleep 0.2
    done
    kill "$daemon" 2>/dev/null || true
    wait "$daemon" 2>/dev/null || true
  done
  docker info >/dev/null 2>&1 || { tail -3 "$folder/dockerd.log"; skip "dockerd does not start here"; }
  started+=("$daemon")
fi
engine=yes

image=one-api-sidecar:test
# As the README has it, but for the name: whoever tries this may have an image of that name.
build=$(packaging/test/readme.sh "docker build")
build=${build/one-api-sidecar:0.1.0/$image --label one-api-sidecar-test}
bash -c "$build" >"$folder/build" 2>&1 || { cat "$folder/build"; fail "$build"; }
docker image inspect "$image" >/dev/null || fail "$build: no $image"
size=$(docker image inspect "$image" --format '{{.Size}}')
say "image: $size bytes"
[ "$size" -le "$LARGEST" ] || fail "the image is larger than $LARGEST bytes"
[ "$(docker run --rm "$image" --version)" = "one-api-sidecar $(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)" ] ||
  fail "--version in the image"
docker run --rm --label one-api-sidecar-test "$image" demo --cycles 1 >"$folder/demo" 2>&1 || { cat "$folder/demo"; fail "demo in the image"; }

# The endpoint on the host's side, with a certificate of an authority that only ca_file knows.
new_key=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
{
  openssl req -x509 "${new_key[@]}" -days 2 -subj /CN=authority -keyout "$folder/ca.key" -out "$folder/ca.pem"
  openssl req -new "${new_key[@]}" -subj /CN=endpoint -keyout "$folder/key.pem" -out "$folder/request.pem"
  openssl x509 -req -in "$folder/request.pem" -CA "$folder/ca.pem" -CAkey "$folder/ca.key" -CAcreateserial -days 2 \
    -extfile <(printf 'subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n') -out "$folder/cert.pem"
} 2>/dev/null
python3 packaging/test/endpoint.py "$folder" &
started+=($!)
until_true "the token endpoint listens" test -s "$folder/port"
port=$(cat "$folder/port")

# The shipped compose file, on a folder of its own.
mkdir -p "$folder/compose/sidecar"
cp packaging/docker-compose.yml packaging/cache.env "$folder/compose/"
cp "$folder/ca.pem" "$folder/compose/sidecar/ca.pem"
cat >"$folder/compose/docker-compose.override.yml" <<EOF
services:
  sidecar:
    image: $image
    container_name: one-api-sidecar-test
    network_mode: host
    labels: [one-api-sidecar-test]
    restart: "no"
    environment:
      SECOND: seed-second
      ONE_API_SIDECAR_ENCRYPTION_KEY:
      NEW_KEY:
    healthcheck: { interval: 1s, timeout: 3s, retries: 1, start_period: 1s }
EOF
config() {
  cat <<EOF
[gateway]
database = "/data/one-api.db"
[vault]
$(if [ -n "${ONE_API_SIDECAR_ENCRYPTION_KEY:-}" ]; then echo 'encryption_key = { env = "ONE_API_SIDECAR_ENCRYPTION_KEY" }'; fi)
[defaults]
ca_file = "ca.pem"
[[credential]]
name = "first"
token_url = "https://127.0.0.1:$port/token"
client_id = "first"
refresh_token = { env = "OPENAI_REFRESH_TOKEN" }
channels = [1]
EOF
}
export OPENAI_REFRESH_TOKEN=seed-first PUSHPLUS_TOKEN=unused ONE_API_SIDECAR_ENCRYPTION_KEY="" NEW_KEY=""
config >"$folder/compose/sidecar/sidecar.toml"
chmod 644 "$folder/compose/sidecar/"*
compose() { (cd "$folder/compose" && "${parser[@]}" -p one-api-sidecar-test "$@"); }
sidecar() { docker exec one-api-sidecar-test /usr/local/bin/one-api-sidecar "$@"; }

# The gateway's volume, with a database that One-API made.
docker volume create one-api-sidecar-test_data >/dev/null
volume=$(docker volume inspect one-api-sidecar-test_data --format '{{.Mountpoint}}')
[ -d "$volume" ] || skip "the engine's volumes are not reachable from here"
cp tests/fixtures/one-api.db "$volume/one-api.db"
key() {
  [ "$(python3 -c '
import sqlite3, sys
print(sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True).execute("SELECT key FROM channels WHERE id = ?", (sys.argv[2],)).fetchone()[0])
' "$volume/one-api.db" "$1")" = "$2" ]
}
health() { [ "$(docker inspect one-api-sidecar-test --format '{{.State.Health.Status}}')" = "$1" ]; }

compose up -d --no-deps sidecar >/dev/null 2>&1 || { compose up -d --no-deps sidecar; fail "compose up"; }
until_true "the key is delivered" key 1 key-first-1
until_true "health: healthy" health healthy
sidecar doctor >"$folder/doctor" 2>&1 || fail "doctor: $(cat "$folder/doctor")"
[ "$(docker inspect one-api-sidecar-test --format '{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}}')" = "true [ALL]" ] ||
  fail "the root is to be read-only, without capabilities"

# An edit in place.
cat >>"$folder/compose/sidecar/sidecar.toml" <<EOF
[[credential]]
name = "second"
token_url = "https://127.0.0.1:$port/token"
client_id = "second"
refresh_token = { env = "SECOND" }
channels = [2]
EOF
until_true "an edited config is taken" key 2 key-second-1
printf 'nonsense\n' >>"$folder/compose/sidecar/sidecar.toml"
# shellcheck disable=SC2329
told() { docker logs one-api-sidecar-test 2>&1 | grep -q "$1"; }
until_true "a broken edit is told" told "sidecar.toml"
sed -i '$d' "$folder/compose/sidecar/sidecar.toml"

# The agent hangs, as far as anybody can see; then it goes on.
docker kill -s STOP one-api-sidecar-test >/dev/null
until_true "health: unhealthy while it hangs" health unhealthy
docker kill -s CONT one-api-sidecar-test >/dev/null
until_true "health: healthy again" health healthy

# Stopped while an answer is on its way: it is waited for, and kept.
touch "$folder/hold"
before=$(wc -l <"$folder/requests")
docker exec -d one-api-sidecar-test /usr/local/bin/one-api-sidecar once first --force
# shellcheck disable=SC2329
asked() { [ "$(wc -l <"$folder/requests")" -gt "$before" ]; }
until_true "a refresh is under way" asked
compose stop >/dev/null 2>&1 &
stopping=$!
sleep 1
[ "$(docker inspect one-api-sidecar-test --format '{{.State.Running}}')" = true ] || fail "it did not wait for the answer"
rm "$folder/hold"
wait "$stopping"
[ "$(docker inspect one-api-sidecar-test --format '{{.State.ExitCode}}')" = 0 ] || fail "stop: exit code"
say "stopped with a refresh under way: ok"
compose up -d --no-deps sidecar >/dev/null 2>&1
until_true "health: healthy after the start" health healthy
until_true "the key of that refresh is delivered" key 1 key-first-2
sidecar once first --force >/dev/null 2>&1 || fail "once --force"
until_true "its refresh token goes on" key 1 key-first-3

# Sealed, and sealed anew, without a temporary directory.
compose stop >/dev/null 2>&1
ONE_API_SIDECAR_ENCRYPTION_KEY=$(docker run --rm "$image" vault keygen)
NEW_KEY=$(docker run --rm "$image" vault keygen)
config >"$folder/compose/sidecar/sidecar.toml"
compose up -d --no-deps sidecar >/dev/null 2>&1
until_true "health: healthy with a sealed vault" health healthy
sidecar once first --force >/dev/null 2>&1 || fail "once --force with a sealed vault"
until_true "a sealed vault goes on" key 1 key-first-4
if grep -aq "r-first-" "$volume"/one-api-sidecar/vault.db*; then fail "the vault is not sealed"; fi
compose stop >/dev/null 2>&1
one_off() { compose run --rm --no-deps "$@" 2>/dev/null; }
one_off sidecar vault rekey --new-key env:NEW_KEY >/dev/null || fail "vault rekey"
if one_off sidecar vault check >/dev/null; then fail "the former key still opens the vault"; fi
ONE_API_SIDECAR_ENCRYPTION_KEY=$NEW_KEY
one_off sidecar vault check >"$folder/check" || fail "vault check: $(cat "$folder/check")"
compose up -d --no-deps sidecar >/dev/null 2>&1
until_true "health: healthy with a new key" health healthy
sidecar once first --force >/dev/null 2>&1 || fail "once --force after the rekeying"
until_true "a rekeyed vault goes on" key 1 key-first-5
if grep -q reuse "$folder/requests"; then fail "a refresh token was sent twice"; fi
compose stop >/dev/null 2>&1

# Another user than root, on a folder of its own; the time zone; a config that is mounted alone.
mkdir "$folder/user"
cp tests/fixtures/one-api.db "$folder/user/one-api.db"
chown -R 1000:1000 "$folder/user"
config | sed 's/first/third/g; /encryption_key/d' >"$folder/compose/sidecar/sidecar.toml"
as_user() {
  docker run --rm --user 1000:1000 --read-only --cap-drop ALL --network host --label one-api-sidecar-test \
    -e OPENAI_REFRESH_TOKEN=seed-third -v "$folder/user:/data" -v "$folder/compose/sidecar:/etc/one-api-sidecar:ro" "$@"
}
as_user -e TZ=CST-8 "$image" doctor >"$folder/doctor" 2>&1 || fail "doctor as another user: $(cat "$folder/doctor")"
if grep -q "time zone" "$folder/doctor"; then fail "TZ=CST-8 needs no database"; fi
as_user -e TZ=Asia/Shanghai "$image" doctor 2>&1 | grep -q 'no time zone `Asia/Shanghai`' || fail "TZ=Asia/Shanghai is to be told"
as_user "$image" once >/dev/null 2>&1 || fail "once as another user"
say "another user, the time zone: ok"
docker run -d --name one-api-sidecar-alone --network host --label one-api-sidecar-test -e OPENAI_REFRESH_TOKEN=seed-third \
  --user 1000:1000 -v "$folder/user:/data" -v "$folder/compose/sidecar/sidecar.toml:/etc/one-api-sidecar/sidecar.toml:ro" \
  -v "$folder/compose/sidecar/ca.pem:/etc/one-api-sidecar/ca.pem:ro" "$image" >/dev/null
# shellcheck disable=SC2329
alone() { docker logs one-api-sidecar-alone 2>&1 | grep -q "mounted"; }
until_true "a config that is mounted alone is warned of" alone
docker stop one-api-sidecar-alone >/dev/null
say "the image: all is well"
