"""Forms: what a page's form sends. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl

from gateway.errors import InvalidInput

Form = Mapping[str, str]
KIND = "application/x-www-form-urlencoded"
MOST_FIELDS = 200


def read_form(kind: str, body: bytes) -> Form:
    """The fields of a form by name, without the blanks around them; of a repeated one the first counts. Lines end
    as elsewhere, not as browsers end them.

    Raises InvalidInput for what no form of ours sends.
    """
    if kind.partition(";")[0].strip().lower() != KIND:
        raise InvalidInput("A form is sent as " + KIND)
    try:
        pairs = parse_qsl(body.decode("ascii"), True, errors="strict", max_num_fields=MOST_FIELDS)
    except ValueError:
        raise InvalidInput("The form cannot be read") from None
    form: dict[str, str] = {}
    for name, value in pairs:
        form.setdefault(name, value if name == "password" else value.replace("\r\n", "\n").strip())
    return form
