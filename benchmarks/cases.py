"""Cases: what clients send beside the question, as deployments see it. Each makes the heads of its requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from benchmarks.origin import TRACES

FRESH = "#" * 8
"""Eight hexadecimal digits that no other request has: the load generator writes them."""
HOST = "stats.example.org"
SCRIPT = "User-Agent: python-requests/2.32.3\r\nAccept: */*\r\n"
REQUEST_ID = f"X-Request-ID: {FRESH}c7d04f1b9e5a2863bf10d4a7\r\n"
BROWSERS = (
    *(f"Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{n}.0.0.0 Safari/537.36"
      for n in (136, 137, 138)),
    *(f"Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{n}.0.0.0 Safari/537.36"
      for n in (137, 138)),
    *(f"Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/{n} Safari/605.1.15"
      for n in ("17.6", "18.3", "18.5")),
    *(f"Windows NT 10.0; Win64; x64; rv:{n}.0) Gecko/20100101 Firefox/{n}.0" for n in (128, 139, 140)),
    "X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
)  # fmt: skip
LANGUAGES = ("en-GB,en;q=0.9", "en-US,en;q=0.5", "de-DE,de;q=0.9,en;q=0.8", "nl,en-US;q=0.7,en;q=0.3")
SCRIPTS = tuple(
    f"{program}/{version}"
    for program, versions in {
        "python-requests": ("2.31.0", "2.32.3"), "httr2": ("1.0.5", "1.1.2"), "curl": ("7.88.1", "8.5.0"),
        "node-fetch": ("3.3.2",), "axios": ("1.7.9",), "Go-http-client": ("1.1",), "Java-http-client": ("21.0.5",),
    }.items()
    for version in versions
)  # fmt: skip

Lines = Callable[[Random, str], str]
"""The lines of one head beside its Host and key; the second argument is the entity tag of what it asks for."""


@dataclass(frozen=True)
class Case:
    """``about`` says what is sent, and ``by`` whom. So many ``heads`` are drawn, of ``tenants`` with a key each;
    ``settings`` are the gateway's, in which ``{origin}`` stands for the origin's URL. ``share`` is that of answers
    which are 304."""

    letter: str
    name: str
    by: str
    about: str
    lines: Lines
    heads: int = 6_000
    tenants: int = 1
    settings: Mapping[str, object] = field(default_factory=dict)
    share: float = 0.0

    @property
    def heading(self) -> str:
        return f"({self.letter}) {self.name}"

    def drawn(self, keys: Sequence[str], tags: Mapping[str, str]) -> bytes:
        """Heads, one after another, for the targets that have those entity tags; the same each time."""
        dice, targets = Random(self.letter), list(tags)
        return "".join(
            self._head(target, dice.choice(keys), self.lines(dice, tags[target]))
            for target in dice.choices(targets, k=self.heads)
        ).encode()

    def _head(self, target: str, key: str, lines: str) -> str:
        return f"GET {target} HTTP/1.1\r\nHost: {HOST}\r\n{lines}X-API-Key: {key}\r\n\r\n"


def _address(dice: Random) -> str:
    """One of the documentation's (RFC 5737), or of those for benchmarks (RFC 2544)."""
    return f"198.{dice.choice((18, 19, 51))}.{dice.randrange(256)}.{dice.randrange(1, 255)}"


def _behind_ingress(dice: Random, _: str) -> str:
    address = _address(dice)
    return (
        f"{REQUEST_ID}X-Real-IP: {address}\r\nX-Forwarded-For: {address}\r\nX-Forwarded-Host: {HOST}\r\n"
        "X-Forwarded-Port: 443\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Scheme: https\r\nX-Scheme: https\r\n"
        f"Forwarded: for={address};proto=https;host={HOST}\r\n"
        f"User-Agent: python-requests/2.32.3\r\nAccept-Encoding: gzip, deflate\r\nAccept: */*\r\n"
    )


def _from_browser(dice: Random, _: str) -> str:
    session, page = dice.getrandbits(64), dice.randrange(100_000)
    return (
        f"Connection: keep-alive\r\nUser-Agent: Mozilla/5.0 ({dice.choice(BROWSERS)}\r\n"
        f"Accept: application/json, text/plain, */*\r\nAccept-Language: {dice.choice(LANGUAGES)}\r\n"
        "Accept-Encoding: gzip, deflate, br, zstd\r\nSec-Fetch-Dest: empty\r\nSec-Fetch-Mode: cors\r\n"
        'Sec-Fetch-Site: same-origin\r\nSec-CH-UA-Mobile: ?0\r\nSec-CH-UA-Platform: "Windows"\r\n'
        f"Referer: https://{HOST}/items/{page}\r\nPriority: u=4\r\n"
        f"Cookie: session={session:016x}; _ga=GA1.1.{page}.1732{FRESH}; consent=yes\r\n"
    )


def _traced(dice: Random, _: str) -> str:
    sampled = dice.random() < 0.01
    return f"traceparent: 00-4bf92f3577b34da6a3ce929d{FRESH}-00f067aa{FRESH}-{sampled:02d}\r\n{SCRIPT}"


def _conditional(dice: Random, tag: str) -> str:
    known = tag if dice.random() < 0.5 else '"of-another-time"'
    return f"If-None-Match: {known}\r\n{SCRIPT}"


def _one_of_ten_agents(dice: Random, _: str) -> str:
    return f"User-Agent: {dice.choice(SCRIPTS)}\r\nAccept: */*\r\n"


CASES = (
    Case("a", "identical heads", "one script in a loop, or a load test",
         "few headers, the same to the byte whenever a target is asked for again", lambda *_: SCRIPT),
    Case("b", "request ids", "a script that numbers its requests, or a proxy that does",
         "the same, with an `X-Request-ID` that no other request has", lambda *_: REQUEST_ID + SCRIPT),
    Case("c", "behind an ingress", "everybody, where an ingress or a load balancer stands in front",
         "a fresh `X-Request-ID`, and the caller's address, one of some thousands, in `X-Forwarded-For`, "
         "`X-Real-IP` and `Forwarded`, all by way of one trusted proxy",
         _behind_ingress, settings={"trusted_proxies": "127.0.0.0/8"}),
    Case("d", "browsers", "web pages",
         "twelve user agents, languages, `Sec-*`, referrers, and cookies that differ", _from_browser),
    Case("e", "agents and keys", "some applications of some tenants", "ten user agents, 50 tenants' keys",
         _one_of_ten_agents, 200_000, 50),
    Case("f", "many keys", "many tenants who ask for the same things",
         "500 tenants' keys: more pairs of key and target than prepared answers fit",
         lambda *_: SCRIPT, 200_000, 500),
    Case("g", "traced", "applications with OpenTelemetry",
         "a `traceparent` that no other request has; one in a hundred says that it is recorded, and the gateway "
         "sends its spans to a collector", _traced,
         settings={"otlp_endpoint": f"{{origin}}{TRACES}", "trace_sample": 0.01}),
    Case("h", "conditional", "clients with a cache of their own",
         "an `If-None-Match`, of which half name the current answer and get a 304", _conditional, share=0.5),
)  # fmt: skip
LETTERS = {case.letter: case for case in CASES}
