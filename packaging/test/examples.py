"""The Kubernetes manifest and the line for cron: parsed, and held against what their comments promise.

With the package `kubernetes-validate` every object is held against the API's schema, too; with the program as the first
argument, the configs in the examples go through `check`.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

import yaml

here = pathlib.Path(__file__).parent.parent
objects = list(yaml.safe_load_all((here / "kubernetes.yaml").read_text()))
kinds = [thing["kind"] for thing in objects]
assert kinds == ["ConfigMap", "PersistentVolumeClaim", "Deployment", "Service"], kinds
config, claim, deployment, service = objects

pod = deployment["spec"]["template"]["spec"]
(sidecar,) = pod["initContainers"]
(gateway,) = pod["containers"]
assert deployment["spec"]["strategy"]["type"] == "Recreate" and deployment["spec"]["replicas"] == 1
assert pod["terminationGracePeriodSeconds"] > 60
assert sidecar["restartPolicy"] == "Always"
assert sidecar["securityContext"] == {
    "readOnlyRootFilesystem": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
}, sidecar["securityContext"]
assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["fsGroup"] == 1000
assert sidecar["env"] == gateway["env"], "both know the same of the memory cache"
assert sidecar["livenessProbe"]["exec"]["command"][1:] == ["health"]
mounts = {mount["name"]: mount for mount in sidecar["volumeMounts"]}
assert not any("subPath" in mount for mount in mounts.values()), "whole folders only"
assert mounts["config"]["readOnly"] and mounts["secrets"]["readOnly"]
assert mounts["data"]["mountPath"] == gateway["volumeMounts"][0]["mountPath"] == "/data"
assert {volume["name"] for volume in pod["volumes"]} == set(mounts)
assert service["spec"]["selector"] == deployment["spec"]["template"]["metadata"]["labels"]
(secrets,) = [volume["projected"] for volume in pod["volumes"] if volume["name"] == "secrets"]
toml = config["data"]["sidecar.toml"]
for item in secrets["sources"][0]["secret"]["items"]:
    assert f'{mounts["secrets"]["mountPath"]}/{item["path"]}' in toml, item
print("kubernetes.yaml: parsed")

try:
    import kubernetes_validate
except ImportError:
    print("kubernetes.yaml: not held against the API's schema, kubernetes-validate is not here")
    if os.environ.get("REQUIRE_ALL"):
        sys.exit(1)
else:
    for thing in objects:
        kubernetes_validate.validate(thing, "1.33", strict=True)
    print("kubernetes.yaml: as the API's schema wants it")

(line,) = [line for line in (here / "one-api-sidecar.cron").read_text().splitlines() if not line.startswith("#")]
*when, user, program, command = line.split(None, 7)[:8]
assert len(when) == 5 and all(re.fullmatch(r"[\d*/,-]+", field) for field in when), when
assert program == "/usr/bin/one-api-sidecar" and command.startswith("once "), line
print("one-api-sidecar.cron: parsed")

if len(sys.argv) > 1:
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "sidecar.toml")
        path.write_text(toml)
        subprocess.run([sys.argv[1], "check", "--config", path], check=True, stdout=subprocess.DEVNULL)
    print("the config in kubernetes.yaml: checked")
