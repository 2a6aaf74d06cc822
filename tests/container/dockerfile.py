"""A Dockerfile, read: its stages, their instructions, and what their variables are."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction; ``name`` is in capitals, ``value`` as it is written, on one line."""

    name: str
    value: str

    @property
    def words(self) -> list[str]:
        """The words of an exec form, else those that a shell would make."""
        return list(json.loads(self.value)) if self.value.startswith("[") else shlex.split(self.value)

    @property
    def pairs(self) -> dict[str, str]:
        """NAME=value pairs, as in ENV and LABEL."""
        return dict(word.split("=", 1) for word in shlex.split(self.value))


@dataclass
class Stage:
    """What follows one FROM. ``variables`` are its ARGs and ENVs, expanded; ``environment`` its ENVs alone."""

    base: str
    name: str
    instructions: list[Instruction] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)

    def all(self, name: str) -> list[Instruction]:
        return [each for each in self.instructions if each.name == name]

    def only(self, name: str) -> Instruction:
        """The one instruction of this name."""
        (found,) = self.all(name)
        return found

    def expanded(self, text: str) -> str:
        return expanded(text, self.variables)


def expanded(text: str, variables: Mapping[str, str]) -> str:
    """A text with its variables; one that nobody set is empty."""
    return VARIABLE.sub(lambda found: variables.get(found[1] or found[2], ""), text)


def stages(path: Path, **arguments: str) -> list[Stage]:
    """A Dockerfile's stages, built with these arguments; ``PATH`` is what the base image would have."""
    given: dict[str, str] = {}
    found: list[Stage] = []
    for each in _instructions(path.read_text()):
        if each.name == "FROM":
            base, _, name = expanded(each.value, given).partition(" AS ")
            found.append(
                Stage(base, name, variables={"PATH": arguments.get("PATH", "/usr/local/bin:/usr/bin:/bin")})
            )
            continue
        known = found[-1].variables if found else given
        if each.name == "ARG":
            name, _, default = each.value.partition("=")
            known[name] = arguments.get(name, default or given.get(name, ""))
        if found:
            if each.name == "ENV":
                pairs = {name: expanded(value, known) for name, value in each.pairs.items()}
                known.update(pairs)
                found[-1].environment.update(pairs)
            found[-1].instructions.append(each)
    return found


def _instructions(text: str) -> Iterator[Instruction]:
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            name, _, value = line.strip().partition(" ")
            yield Instruction(name.upper(), value.strip())
