"""The chart, rendered by the real Helm."""

from __future__ import annotations

import base64
import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml

CHART = Path(__file__).parents[2] / "helm" / "stats-gateway"
VALUES = Path(__file__).with_name("values")
CASES = sorted(path.stem for path in VALUES.glob("*.yaml"))
RELEASE, NAMESPACE = "gw", "stats"
BINARY = shutil.which("helm", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
HINT = "helm is missing: a package ships it for Linux on x86-64, elsewhere install it yourself"

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Python's own takes longer than Helm."""

Manifest = dict[str, Any]


def helm(*words: str) -> subprocess.CompletedProcess[str]:
    """What Helm says; no cluster and no configuration of this machine's is asked."""
    if BINARY is None:
        if os.environ.get("CI"):
            pytest.fail(HINT)
        pytest.skip(HINT)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HELM_", "KUBE"))}
    return subprocess.run([BINARY, *words], env=clean, capture_output=True, text=True, timeout=60, check=False)


def template(values: str, *words: str, chart: Path = CHART, release: str = RELEASE) -> tuple[int, str, str]:
    """``helm template`` with these values (YAML): exit code, output and errors."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(values)
        file.flush()
        done = helm("template", release, str(chart), "--namespace", NAMESPACE, "--values", file.name, *words)
    return done.returncode, done.stdout, done.stderr


def values_of(case: str) -> str:
    return (VALUES / f"{case}.yaml").read_text()


def manifests(values: str, *words: str, **more: Any) -> list[Manifest]:
    """What these values make of the chart."""
    code, out, err = template(values, *words, **more)
    assert (code, err) == (0, ""), err
    return [each for each in yaml.load_all(out, LOADER) if each]


@functools.cache
def rendered(case: str) -> list[Manifest]:
    """What a case of the matrix makes of the chart; not to be changed."""
    return manifests(values_of(case))


def one(made: list[Manifest], kind: str, name: str = "gw-stats-gateway") -> Manifest:
    """The one manifest of this kind and name."""
    (found,) = [each for each in made if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def kinds(made: list[Manifest]) -> set[str]:
    return {each["kind"] for each in made}


def pods(made: list[Manifest]) -> dict[str, Manifest]:
    """Every pod, by its component: labels and spec."""
    found = {}
    for each in made:
        pod = each if each["kind"] == "Pod" else each.get("spec", {}).get("template")
        if pod is not None:
            found[pod["metadata"]["labels"]["app.kubernetes.io/component"]] = pod
    return found


def environment(made: list[Manifest], given: dict[tuple[str, str], str]) -> dict[str, str]:
    """The gateway's environment, as the kubelet would make it; ``given`` are Secrets of somebody else's."""
    (container,) = pods(made)["gateway"]["spec"]["containers"]
    found: dict[str, str] = {}
    for source in container["envFrom"]:
        config = next(
            each for each in made
            if each["kind"] == "ConfigMap" and each["metadata"]["name"] == source["configMapRef"]["name"]
        )  # fmt: skip
        found |= config["data"]
    secrets = dict(given)
    for each in made:
        if each["kind"] == "Secret":
            for key, text in each["data"].items():
                secrets[each["metadata"]["name"], key] = base64.b64decode(text).decode()
    for each in container["env"]:
        if "value" in each:
            found[each["name"]] = re.sub(r"\$\((\w+)\)", lambda name: found.get(name[1], name[0]), each["value"])
        else:
            place = each["valueFrom"]["secretKeyRef"]
            value = secrets.get((place["name"], place["key"]))
            assert value is not None or place.get("optional"), place
            if value is not None:
                found[each["name"]] = value
    return found
