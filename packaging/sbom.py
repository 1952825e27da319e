"""Prints what is linked into the release binary, as CycloneDX 1.5: the crates of `cargo tree`, with the licences and
checksums that Cargo knows, and the C libraries that some of them carry along."""

import json
import re
import subprocess
import sys


def cargo(*arguments):
    return subprocess.run(["cargo", *arguments], check=True, capture_output=True, text=True).stdout


TARGET = "x86_64-unknown-linux-musl"
# What is in a crate beside Rust: name, the words before its version in the crate's sources, licence.
C_LIBRARIES = {
    "libsqlite3-sys": ("sqlite", "sqlite3/sqlite3.c", r'#define SQLITE_VERSION +"([\d.]+)"', "blessing"),
    "libdbus-sys": ("libdbus", "build_vendored.rs", r'DBUS_VERSION: &str = "\\"([\d.]+)\\""', "AFL-2.1 OR GPL-2.0-or-later"),
}

metadata = json.loads(cargo("metadata", "--locked", "--format-version", "1", "--filter-platform", TARGET))
packages = {(package["name"], package["version"]): package for package in metadata["packages"]}
lock = open("Cargo.lock", encoding="utf-8").read()
checksums = dict(
    ((name, version), checksum)
    for name, version, checksum in re.findall(
        r'name = "([^"]+)"\nversion = "([^"]+)"\nsource = "[^"]+"\nchecksum = "([0-9a-f]+)"', lock
    )
)
linked = cargo("tree", "--locked", "--target", TARGET, "--edges", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}")
names = sorted({tuple(line.split()[:2]) for line in linked.splitlines() if line.strip()})

components, root = [], None
for name, version in names:
    version = version.removeprefix("v")
    package = packages[(name, version)]
    component = {
        "type": "library",
        "name": name,
        "version": version,
        "purl": f"pkg:cargo/{name}@{version}",
        "licenses": [{"expression": (package["license"] or "NOASSERTION").replace("/", " OR ")}],
    }
    if (name, version) in checksums:
        component["hashes"] = [{"alg": "SHA-256", "content": checksums[(name, version)]}]
    if package["source"] is None:
        root = {**component, "type": "application"}
        continue
    components.append(component)
    if name in C_LIBRARIES:
        library, source, pattern, licence = C_LIBRARIES[name]
        text = open(f'{package["manifest_path"].removesuffix("Cargo.toml")}{source}', encoding="utf-8", errors="replace").read()
        found = re.search(pattern, text)
        if not found:
            sys.exit(f"{name}: no version of {library} in {source}")
        components.append(
            {
                "type": "library",
                "name": library,
                "version": found[1],
                "purl": f"pkg:generic/{library}@{found[1]}",
                "licenses": [{"expression": licence}],
            }
        )
json.dump(
    {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": root},
        "components": components,
    },
    sys.stdout,
    indent=1,
)
print()
