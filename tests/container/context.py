"""What a build is given: the tree, less what ``.dockerignore`` names (by Docker's rules)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


class Ignored:
    """The rules of a ``.dockerignore``: the last that matches a path, or a folder above it, decides."""

    def __init__(self, text: str) -> None:
        lines = (line.strip() for line in text.splitlines())
        self._rules = [
            (line.startswith("!"), _regex(line.lstrip("!").strip("/")))
            for line in lines
            if line and not line.startswith("#")
        ]

    def __call__(self, path: str) -> bool:
        """Whether a file or folder is left out."""
        ignored = False
        places = [path, *(str(parent) for parent in PurePosixPath(path).parents if str(parent) != ".")]
        for wanted, pattern in self._rules:
            if any(pattern.fullmatch(place) for place in places):
                ignored = not wanted
        return ignored


def context(root: Path) -> set[str]:
    """The files that a build of this tree is given, relative to it. No link leads out of it."""
    ignored = Ignored((root / ".dockerignore").read_text())
    return {path for path in _files(root) if not ignored(path)}


def _files(root: Path) -> Iterator[str]:
    for folder, below, names in os.walk(root):
        place = Path(folder).relative_to(root)
        if place == Path():
            # Nothing in them is looked at again: no rule of ours begins with another exception than these.
            below[:] = [name for name in below if name not in (".git", ".venv", ".mypy_cache")]
        yield from ((place / name).as_posix() for name in names)


def _regex(pattern: str) -> re.Pattern[str]:
    """Of a rule, as Docker reads it: ``*`` and ``?`` within a name, ``**`` across folders."""
    tokens = re.findall(r"\*\*/?|\*|\?|[^*?]+", pattern)
    made = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(made.get(token) or re.escape(token) for token in tokens))
