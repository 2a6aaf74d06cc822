"""Accounts: the institutions that the sandbox knows, and their pairs."""

from __future__ import annotations

from base64 import b64encode

INSTITUTIONS = ("lboro", "monash", "melbourne")


def password_of(institution: str) -> str:
    """The password that goes with the institution's name as the username."""
    return f"sandbox-{institution}"


def is_authorised(institution: str | None, authorization: bytes | None) -> bool:
    """Whether an ``Authorization`` value carries the institution's pair; never so for an unknown one."""
    if institution not in INSTITUTIONS or authorization is None:
        return False
    scheme, _, token = authorization.partition(b" ")
    pair = f"{institution}:{password_of(institution)}".encode()
    return scheme.lower() == b"basic" and token.strip() == b64encode(pair)
