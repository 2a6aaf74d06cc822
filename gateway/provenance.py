"""The effective settings for people to read, and where each came from."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic_settings import EnvSettingsSource, InitSettingsSource

from gateway.redis_url import MASK, masked_url
from gateway.setting_values import GENERIC, PREFIX, read_toml, unknown_variables
from gateway.settings import KnownInFile, Settings, settings_file

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
    """The places of all settings that are ``given``, by name; the settings ``file`` and what is ``in_file``; and
    the environment's ``unknown_variables``, which begin like settings and name none."""

    given: Mapping[str, Provenance]
    file: str
    in_file: Mapping[str, Any]
    unknown_variables: Sequence[str]

    @classmethod
    def of(cls, flags: Collection[str]) -> Sources:
        """The sources of settings that were loaded with these ``flags`` a moment ago, and so are known to read."""
        path, given = settings_file(), dict[str, Provenance]()
        variables = {name.upper(): name for name in os.environ}  # pydantic takes either case
        given_flags = InitSettingsSource(Settings, dict.fromkeys(flags))
        in_order = Settings.settings_customise_sources(
            Settings, given_flags, EnvSettingsSource(Settings), given_flags, given_flags
        )
        for source in reversed(in_order):
            for name, value in source().items():
                match source:
                    case KnownInFile():
                        given[name] = Provenance("file", str(path))
                    case EnvSettingsSource():
                        place = variables[f"{PREFIX}{name.upper()}"]
                        if isinstance(value, dict) and name in given:  # tables are merged, entry by entry
                            place = f"{place} and {given[name]}"
                        given[name] = Provenance("environment", place)
                    case _:
                        given[name] = Provenance("flag", f"--{name.replace('_', '-')}")
        in_file = {} if path is None else read_toml(path)
        unknown = unknown_variables(os.environ, Settings.model_fields)
        return cls(given, "" if path is None else str(path), in_file, unknown)

    def provenance(self, profile: str) -> dict[str, Provenance]:
        """The provenance of every setting; ``profile`` is the effective one."""
        defaults = dict.fromkeys(Settings.model_fields, DEFAULT)
        if profile == "generic":
            defaults |= dict.fromkeys(GENERIC, Provenance("profile", "profile generic"))
        return {**defaults, **self.given}


def masked(settings: Settings) -> dict[str, Any]:
    """The settings for people to read: no password in a URL, and of secrets only whether they are set."""
    shown = settings.model_dump(mode="json")
    for name in ("redis_url", "registry"):
        value: str = getattr(settings, name).get_secret_value()
        shown[name] = masked_url(value) if "://" in value and value != "memory://" else value
    for name in ("encryption_keys", "admin_token", "redis_sentinel_password"):
        shown[name] = MASK if getattr(settings, name).get_secret_value() else ""
    shown["admin_tokens"] = {name: {"role": token.role} for name, token in settings.admin_tokens.items()}
    return shown
