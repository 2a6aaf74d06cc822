"""Provenance: where each effective setting came from."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gateway.setting_values import GENERIC, made_of_services, strangers
from gateway.settings import PREFIX, Settings

Kind = Literal["flag", "environment", "file", "profile", "default"]


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
    and what is ``in_file``, the settings ``file``. ``strangers`` are variables that look like settings' and are
    none."""

    flags: Collection[str]
    variables: Mapping[str, str]
    file: str
    in_file: Mapping[str, Any]
    strangers: Sequence[str] = ()

    @classmethod
    def of(cls, flags: Collection[str], environment: Mapping[str, str]) -> Sources:
        """The sources of settings that were loaded from them a moment ago, and so are known to read."""
        others = made_of_services(environment)
        variables = {
            name.upper(): name for name in environment if name not in others
        }  # pydantic takes either case
        file = environment.get(f"{PREFIX}CONFIG", "").strip()
        in_file = tomllib.loads(Path(file).read_text(encoding="utf-8")) if file else {}
        return cls(flags, variables, file, in_file, strangers(environment, Settings.model_fields))

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
