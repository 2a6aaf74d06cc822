"""Policy: how a limit is told to clients, in the fields of draft-ietf-httpapi-ratelimit-headers. Pure."""

from __future__ import annotations

import math
from functools import lru_cache

from gateway.admission.grant import Rules
from gateway.errors import Headers

DAY = 86_400


@lru_cache(1_024)
def policy(rules: Rules) -> bytes:
    """``RateLimit-Policy``: each quota ``q`` and its window ``w`` in seconds."""
    items = []
    if rules.interval:
        window = max(1, math.ceil(rules.burst * rules.interval))
        items.append(b'"rate";q=%d;w=%d' % (max(rules.burst, int(window / rules.interval)), window))
    if rules.most:
        items.append(b'"day";q=%d;w=%d' % (rules.most, DAY))
    return b", ".join(items)


def told(rules: Rules, left: int, day_left: int, midnight: float) -> Headers:
    """``RateLimit-Policy`` and ``RateLimit``: what is left, and the seconds until all of it is back."""
    items = []
    if rules.interval:
        left = min(max(0, left), rules.burst)
        items.append(b'"rate";r=%d;t=%d' % (left, math.ceil((rules.burst - left) * rules.interval)))
    if rules.most:
        items.append(b'"day";r=%d;t=%d' % (max(0, day_left), max(0, math.ceil(midnight))))
    return [(b"ratelimit-policy", policy(rules)), (b"ratelimit", b", ".join(items))]
