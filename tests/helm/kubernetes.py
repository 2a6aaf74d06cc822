"""What Kubernetes, and those who extend it, say a manifest may be. Strict: what they do not know is a fault."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate.utils as shipped
from packaging.version import Version
from referencing import Registry, Resource

OWN = Path(__file__).with_name("schemas")
NEWEST = sorted(set(shipped.all_versions()), key=Version)[-3:]
"""The three newest minor versions there are schemas of."""
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
LABEL = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")


def faults(manifest: dict[str, Any], version: str) -> list[str]:
    """What is wrong with a manifest for this version of Kubernetes; a kind without a schema is a fault, too."""
    try:
        validator = _validator(manifest["apiVersion"], manifest["kind"], version)
    except FileNotFoundError:
        return [f"there is no schema of {manifest['apiVersion']} {manifest['kind']} for {version}"]
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(manifest)] + _misnamed(
        manifest
    )


@functools.cache
def _validator(api: str, kind: str, version: str) -> Any:
    own = OWN / f"{kind.lower()}.json"
    if "." in api and own.exists():
        schema = json.loads(own.read_text())
        if schema["properties"]["apiVersion"]["const"] != api:
            raise FileNotFoundError(api)
        return jsonschema.Draft202012Validator(schema)
    # As kubernetes-validate does it, but reading its definitions once: they are large.
    folder = f"kubernetes-json-schema/v{version}-local-strict"
    group = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api)
    schema = shipped.schema_contents(f"{folder}/{kind.lower()}-{group}.json", version)
    return jsonschema.Draft202012Validator(schema, registry=_definitions(folder, version))


@functools.cache
def _definitions(folder: str, version: str) -> Any:
    definitions = Resource.from_contents(shipped.schema_contents(f"{folder}/_definitions.json", version))
    return definitions @ Registry()


def _misnamed(manifest: dict[str, Any]) -> list[str]:
    """Names and labels, of which the schemas only say that they are strings."""
    metadata = manifest["metadata"]
    bad = [] if NAME.fullmatch(metadata["name"]) else [f"metadata.name: {metadata['name']}"]
    pod = manifest["spec"]["template"]["metadata"]["labels"] if "template" in manifest.get("spec", {}) else {}
    labels = [*metadata.get("labels", {}).items(), *pod.items()]
    return bad + [f"label {name}: {value}" for name, value in labels if not LABEL.fullmatch(value)]
