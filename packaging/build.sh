#!/usr/bin/env bash
# Builds the static binary, with SQLite and a set of root certificates in it:
#
#   packaging/build.sh [amd64|arm64]        # default: this machine's own architecture
#
# It ends up in target/dist/ARCH/one-api-sidecar. Needed: a Rust toolchain (rustup adds the musl target by itself) and a
# C compiler for musl: Debian's musl-tools. For the other architecture: cargo-zigbuild with zig
# (`pip install cargo-zigbuild` brings both); its binary was tried in qemu-user.
set -euo pipefail
cd "$(dirname "$0")/.."

here=$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')
arch=${1:-$here}
case $arch in
  amd64) target=x86_64-unknown-linux-musl ;;
  arm64) target=aarch64-unknown-linux-musl ;;
  *) echo "there is no build for $arch: amd64 or arm64" >&2; exit 2 ;;
esac

installed=$(rustc --print target-libdir --target "$target")
[ -d "$installed" ] || rustup target add "$target"

build=build
if [ "$arch" != "$here" ]; then
  command -v cargo-zigbuild >/dev/null || {
    echo "for $arch on this machine: pip install cargo-zigbuild" >&2
    exit 1
  }
  build=zigbuild
elif ! command -v musl-gcc >/dev/null; then
  echo "musl-gcc is not here: apt-get install musl-tools" >&2
  exit 1
else
  export "CC_${target//-/_}=musl-gcc"
  # C needs no tables for unwinding: nothing unwinds through it. On arm64, gcc would call helpers of glibc for atomics.
  export CFLAGS_x86_64_unknown_linux_musl="-fno-asynchronous-unwind-tables"
  export CFLAGS_aarch64_unknown_linux_musl="-fno-asynchronous-unwind-tables -mno-outline-atomics"
fi
# Paths of this machine are nobody's business, and two machines build the same.
export RUSTFLAGS="${RUSTFLAGS:-} --remap-path-prefix=$PWD=. --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo"
# The relocations of a position-independent binary in their short form: 0.3 MB less. zig's linker does not know it.
[ "$build" = zigbuild ] || RUSTFLAGS+=" -C link-arg=-Wl,-z,pack-relative-relocs"
cargo "$build" --release --locked --target "$target"

install -D -m 755 "target/$target/release/one-api-sidecar" "target/dist/$arch/one-api-sidecar"
size=$(stat -c %s "target/dist/$arch/one-api-sidecar")
printf 'target/dist/%s/one-api-sidecar: %s bytes, %s\n' "$arch" "$size" "$(sha256sum "target/dist/$arch/one-api-sidecar" | cut -d' ' -f1)"
