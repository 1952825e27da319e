#!/usr/bin/env bash
# Makes the Debian package from the binary of packaging/build.sh:
#
#   packaging/deb.sh [amd64|arm64]
#
# It ends up in target/dist/ARCH/. Needed: cargo-deb (`cargo install --locked cargo-deb@3.8.0`), and a binary that runs here:
# its manual page and completions are its own words.
set -euo pipefail
cd "$(dirname "$0")/.."

arch=${1:-$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')}
case $arch in
  amd64) target=x86_64-unknown-linux-musl ;;
  arm64) target=aarch64-unknown-linux-musl ;;
  *) echo "there is no package for $arch: amd64 or arm64" >&2; exit 2 ;;
esac
binary=target/dist/$arch/one-api-sidecar
[ -x "$binary" ] || { echo "no $binary: run packaging/build.sh $arch first" >&2; exit 1; }

rm -rf target/package
mkdir -p target/package
cp "$binary" target/package/
say() {
  local file=target/package/$1
  shift
  "$binary" "$@" >"$file" && [ -s "$file" ] || { echo "\`one-api-sidecar $*\` gives nothing to package" >&2; exit 1; }
}
say one-api-sidecar.1 man
say one-api-sidecar.bash completions bash
say _one-api-sidecar completions zsh
say one-api-sidecar.fish completions fish

cargo deb --no-build --no-strip --target "$target" --output "target/dist/$arch/"
ls -l "target/dist/$arch/"*.deb
