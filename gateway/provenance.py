"""Provenance: where each effective setting came from."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from gateway.settings import GENERIC, PREFIX, Settings

Kind = Literal["flag", "environment", "file", "profile", "default"]

OTHER_VARIABLES = frozenset({"CONFIG", "ADMIN_URL"})
"""What else the environment may hold with our prefix: it says where things are, and is no setting."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """The ``kind`` of place that a value came from, and its ``place``: a flag, a variable, a file."""

    kind: Kind
    place: str

    def __str__(self) -> str:
        return self.place


DEFAULT = Provenance("default", "default")


@dataclass(frozen=True, slots=True)
class Sources:
    """Everything that settings are taken from: the ``flags`` given, by setting, the environment's ``variables``,
    and what is ``in_file``, the settings ``file``."""

    flags: Collection[str]
    variables: Mapping[str, str]
    file: str
    in_file: Mapping[str, Any]

    @classmethod
    def of(cls, flags: Collection[str], environment: Mapping[str, str]) -> Sources:
        """The sources of settings that were loaded from them a moment ago, and so are known to read."""
        variables = {name.upper(): name for name in environment}  # pydantic takes either case
        file = environment.get(f"{PREFIX}CONFIG", "")
        in_file = tomllib.loads(Path(file).read_text(encoding="utf-8")) if file else {}
        return cls(flags, variables, file, in_file)

    def provenance(self, profile: str) -> dict[str, Provenance]:
        """For every setting where its value came from; ``profile`` is the effective one."""
        return {name: self._of(name, profile) for name in Settings.model_fields}

    def _of(self, name: str, profile: str) -> Provenance:
        variable = self.variables.get(f"{PREFIX}{name.upper()}")
        if name in self.flags:
            return Provenance("flag", f"--{name.replace('_', '-')}")
        if variable is not None:
            # Tables are merged, entry by entry.
            merged = isinstance(self.in_file.get(name), dict)
            return Provenance("environment", f"{variable} and {self.file}" if merged else variable)
        if name in self.in_file:
            return Provenance("file", self.file)
        if profile == "generic" and name in GENERIC:
            return Provenance("profile", "profile generic")
        return DEFAULT


def strangers(variables: Iterable[str]) -> list[str]:
    """Those environment variables with our prefix that name no setting, and so have no effect."""
    known = {name.upper() for name in Settings.model_fields} | OTHER_VARIABLES
    ours = (name for name in variables if name.upper().startswith(PREFIX))
    return sorted(name for name in ours if name.upper().removeprefix(PREFIX) not in known)


def misnomer(variable: str) -> str:
    """What to say of such a variable, with the setting that it was perhaps meant to name."""
    near = get_close_matches(variable.upper().removeprefix(PREFIX).lower(), Settings.model_fields, n=1)
    hint = f"; did you mean {PREFIX}{near[0].upper()}?" if near else ""
    return f"the environment variable {variable} is no setting and has no effect{hint}"
