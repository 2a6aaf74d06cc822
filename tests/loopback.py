"""Loopback: how the tests' own clients ask, without proxies and, since they ask by plain HTTP, without loading
the authorities of TLS for each request."""

from __future__ import annotations

import ssl
from typing import Any

LOOPBACK: dict[str, Any] = {"trust_env": False, "verify": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)}
"""Options of an httpx2 client."""
