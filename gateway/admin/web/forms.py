"""Forms as browsers send them: fields, and the files beside them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl

from gateway.errors import InvalidInput

FORM_TYPE = "application/x-www-form-urlencoded"
FILES_TYPE = "multipart/form-data"
"""Of a form with a field for a file (RFC 7578)."""
MOST_FIELDS = 200
BOUNDARY = re.compile(r"""boundary="?([0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-])"?\s*(?:;|\Z)""")
"""RFC 2046 §5.1.1."""
DISPOSITION = re.compile(
    rb'content-disposition:[ \t]*form-data;[ \t]*name="([^"\r\n]*)"(?:;[ \t]*filename="([^"\r\n]*)")?[ \t]*',
    re.IGNORECASE,
)
"""As browsers write it (HTML Standard, §4.10.21.8), with quotes in names as ``%22``."""

Form = Mapping[str, str]


class Upload(NamedTuple):
    """A file that was chosen in a form."""

    name: str
    content: bytes


Files = Mapping[str, Upload]


class _Part(NamedTuple):
    name: str
    file: str | None
    content: bytes


def read_sent(kind: str, body: bytes) -> tuple[Form, Files]:
    """A form's fields and files by name. Raises InvalidInput for what no form of the console sends."""
    if _bare(kind) != FILES_TYPE:
        return read_form(kind, body), {}
    parts = list(_parts(kind, body))
    try:
        fields = [(part.name, part.content.decode()) for part in parts if part.file is None]
    except UnicodeDecodeError:
        raise InvalidInput("The form cannot be read") from None
    files = {part.name: Upload(part.file, part.content) for part in parts if part.file}
    return _stripped(fields), files


def read_form(kind: str, body: bytes) -> Form:
    """The fields of a form without files by name, stripped; of a repeated name the first; ``\\r\\n`` is ``\\n``.

    Raises InvalidInput for what no form of the console sends.
    """
    if _bare(kind) != FORM_TYPE:
        raise InvalidInput("A form is sent as " + FORM_TYPE)
    try:
        pairs = parse_qsl(body.decode("ascii"), True, errors="strict", max_num_fields=MOST_FIELDS)
    except ValueError:
        raise InvalidInput("The form cannot be read") from None
    return _stripped(pairs)


def _stripped(pairs: list[tuple[str, str]]) -> Form:
    form: dict[str, str] = {}
    for name, value in pairs:
        form.setdefault(name, value if name == "password" else value.replace("\r\n", "\n").strip())
    return form


def _parts(kind: str, body: bytes) -> Iterator[_Part]:
    boundary = BOUNDARY.search(kind)
    if boundary is None:
        raise InvalidInput("The form cannot be read")
    first, *parts = (b"\r\n" + body).split(b"\r\n--" + boundary[1].encode(), MOST_FIELDS + 2)
    if first or not parts or not parts[-1].startswith(b"--"):
        raise InvalidInput("The form cannot be read")
    for part in parts[:-1]:
        head, blank, content = part.partition(b"\r\n\r\n")
        lines = [found for line in head.split(b"\r\n")[1:] if (found := DISPOSITION.fullmatch(line))]
        if not blank or len(lines) != 1:
            raise InvalidInput("The form cannot be read")
        name, file = (None if each is None else each.decode("utf-8", "replace") for each in lines[0].groups())
        yield _Part(name or "", file, content)


def _bare(kind: str) -> str:
    return kind.partition(";")[0].strip().lower()
