#!/usr/bin/env bash
# Does a compose parser take the compose files, with each way to hand over secrets and with each gateway?
set -euo pipefail
cd "$(dirname "$0")/.."

if command -v docker-compose >/dev/null; then
  compose=(docker-compose)
elif docker compose version >/dev/null 2>&1; then
  compose=(docker compose)
else
  echo "no compose parser here (Debian: docker-compose): skipped"
  exit "${REQUIRE_ALL:-0}"
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/packaging"
cp docker-compose.new-api.yml docker-compose.mysql.yml docker-compose.two-hosts.yml cache.env "$folder/packaging/"
cd "$folder/packaging"
printf 'OPENAI_REFRESH_TOKEN=a\n' > sidecar.env
mkdir secrets
touch secrets/openai_refresh_token secrets/pushplus_token

# The file with another way to hand over secrets: as its comments say.
way() {
  case $1 in
    1) cat ;;
    *) sed -e '/ #1$/d' -e "s/^\( *\)#$1 /\1/" ;;
  esac < "$OLDPWD/docker-compose.yml" > docker-compose.yml
}

# Says what is in the sidecar's service, as the parser understands it.
sidecar() {
  "${compose[@]}" "$@" config | python3 -c '
import sys, yaml
service = yaml.safe_load(sys.stdin)["services"]["sidecar"]
assert service["read_only"] and service["cap_drop"] == ["ALL"], service
assert str(service["mem_limit"]) in ("64m", "67108864") and service["depends_on"], service
grace = service["stop_grace_period"]
assert grace in ("60s", "1m0s"), grace
mounts = [m if isinstance(m, str) else m["target"] + (":ro" if m.get("read_only") else "") for m in service["volumes"]]
assert any(m.endswith("/etc/one-api-sidecar:ro") for m in mounts), mounts
assert service["environment"]["MEMORY_CACHE_ENABLED"] == "false", service["environment"]
print(" ".join(sorted(service["environment"])), [s if isinstance(s, str) else s["source"] for s in service.get("secrets", [])])
'
}

expect() {
  local what=$1 want=$2 got=$3
  case $got in
    *"$want"*) echo "$what: ok" ;;
    *) echo "$what: expected $want, got: $got" >&2; exit 1 ;;
  esac
}

export OPENAI_REFRESH_TOKEN=a PUSHPLUS_TOKEN=b NEW_API_VERSION=v0
way 1
expect "secrets by environment" "MEMORY_CACHE_ENABLED OPENAI_REFRESH_TOKEN PUSHPLUS_TOKEN TZ []" "$(sidecar)"
expect "New API" "OPENAI_REFRESH_TOKEN" "$(sidecar -f docker-compose.yml -f docker-compose.new-api.yml)"
image=$("${compose[@]}" -f docker-compose.yml -f docker-compose.new-api.yml config | grep -c 'image: calciumion/new-api:v0')
expect "New API's image" 1 "$image"
unset PUSHPLUS_TOKEN
if "${compose[@]}" config >/dev/null 2>&1; then
  echo "a secret that is missing in .env is not noticed" >&2
  exit 1
fi
unset OPENAI_REFRESH_TOKEN
way 2
expect "secrets by env file" "MEMORY_CACHE_ENABLED OPENAI_REFRESH_TOKEN TZ []" "$(sidecar)"
way 3
expect "docker secrets" "OPENAI_REFRESH_TOKEN_FILE PUSHPLUS_TOKEN_FILE TZ ['openai_refresh_token', 'pushplus_token']" "$(sidecar)"

# A gateway on MySQL, and a vault that a second host can take over.
printf 'HOST=host-a\n' > .env
for file in mysql two-hosts; do
  HOST=host-a MYSQL_PASSWORD=c OPENAI_REFRESH_TOKEN=a PUSHPLUS_TOKEN=b \
    "${compose[@]}" -f "docker-compose.$file.yml" config | python3 -c '
import sys, yaml
service = yaml.safe_load(sys.stdin)["services"]["sidecar"]
assert service["read_only"] and service["cap_drop"] == ["ALL"] and "health" in service["healthcheck"]["test"], service
'
  echo "$file: ok"
done
