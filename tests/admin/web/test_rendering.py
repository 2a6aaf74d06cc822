"""How numbers and times read, on the server; and that the page's scripts say the same."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from html import unescape
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.admin.web import format as rendering
from gateway.admin.web.overview import FORMATS, summarise

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NOON = datetime(2030, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("form", "value", "text"),
    [
        ("count", 0, "0"),
        ("count", 1_234_567, "1,234,567"),
        ("rate", 0, "0.0"),
        ("rate", 0.0167, "0.02"),
        ("rate", 1.44, "1.4"),
        ("rate", 99.96, "100"),
        ("rate", 12_345.6, "12,346"),
        ("percent", 0, "0 %"),
        ("percent", 1, "100 %"),
        ("percent", 0.9999, "99.9 %"),
        ("percent", 0.5, "50.0 %"),
        ("percent", 0.0004, "0.0 %"),
        ("seconds", 0.00042, "0.4 ms"),
        ("seconds", 0.00996, "10 ms"),
        ("seconds", 0.184, "184 ms"),
        ("seconds", 0.9996, "1.00 s"),
        ("seconds", 12.3, "12 s"),
        ("clock", "2030-01-31T12:34:56Z", "12:34:56"),
        ("answering", "ok", "answers"),
        ("answering", "degraded", "does not answer"),
    ],
)
def test_a_number_reads_as_people_write_it(form: str, value: Any, text: str) -> None:
    assert FORMATS[form](value) == text


def test_what_is_not_known_is_a_dash() -> None:
    for form in (rendering.count, rendering.percent, rendering.seconds, rendering.decimal, rendering.day):
        assert form(None) == "–"


@pytest.mark.parametrize(
    ("away", "text"),
    [
        (0, "just now"),
        (59, "just now"),
        (60, "1 minute ago"),
        (3 * 86_400, "3 days ago"),
        (400 * 86_400, "1 year ago"),
        (-7_200, "in 2 hours"),
    ],
)
def test_how_long_ago_something_was(away: float, text: str) -> None:
    assert rendering.since(NOON, NOON.timestamp() + away) == text
    assert rendering.since(NOON.timestamp(), NOON.timestamp() + away) == text


def test_a_length_is_told_in_its_largest_whole_unit() -> None:
    assert [rendering.duration(each) for each in (1, 90, 900, 86_400, 604_800, 0.5)] == [
        "1 second", "90 seconds", "15 minutes", "1 day", "7 days", "0.5 seconds",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("key", "word"),
    [
        ({}, "live"),
        ({"expires": NOON + timedelta(days=60)}, "live"),
        ({"expires": NOON + timedelta(days=3)}, "ends soon"),
        ({"expires": NOON}, "expired"),
        ({"expires": NOON + timedelta(days=3), "revoked": NOON}, "revoked"),
    ],
)
def test_a_key_is_live_until_it_ends(key: dict[str, Any], word: str) -> None:
    assert rendering.key_state({"expires": None, "revoked": None} | key, NOON.timestamp())[1] == word


@given(st.floats(0, 1e9), st.floats(0, 1e9))
def test_a_bar_is_never_longer_than_its_place(part: float, whole: float) -> None:
    width = re.search(r'width="([\d.]+)%"', rendering.bar(part, whole))
    assert width is not None
    assert 0 <= float(width[1]) <= 100


# What the scripts make of it


def overview(**more: Any) -> dict[str, Any]:
    """As the API tells it: an hour with a quiet part."""
    minutes = [
        {
            "at": f"2030-01-31T11:{number:02}:00Z",
            "requests": number % 7 * 13,
            "outcomes": {"hit": number % 7 * 10, "miss": number % 7 * 2, "refused": number % 7}
            if number % 7
            else {},
            "calls": number % 5,
        }
        for number in range(60)
    ]
    told: dict[str, Any] = {
        "version": "1.2.3",
        "now": "2030-01-31T12:34:56Z",
        "processes": 2,
        "minutes": minutes,
        "today": {"requests": 9_000, "hits": 8_500, "calls": 300, "saved": 8_600},
        "latency": {"hit": {"count": 100, "p50": 0.0004, "p95": 0.0011, "p99": 0.002}},
        "budget": {"per_second": 1.5, "burst": 5},
        "queue": {"waiting": 3, "running": 1, "by_band": {"people": 1, "left": 0, "refresh": 2}},
        "gate": {"state": "open", "closed_for": 0.0, "held_for": None, "why": ""},
        "refused_credentials": 0,
        "refused": [],
        "refused_targets": 0,
        "redis": {"status": "ok", "embedded": False},
        "registry": {"tenants": 12},
        "fleet_size": 4,
        "differing": [],
    }
    return told | more


REFUSED = {"fingerprint": "ab" * 32, "left": 11.2, "held_for": None, "institution": "lboro"}
OF_MANY = REFUSED | {"tenants": ["a", "b", "c", "d"], "tenants_total": 12}
HELD = REFUSED | {"left": 0.0, "held_for": 3.0, "tenants": ["reports"], "tenants_total": 1}
ORPHAN = REFUSED | {"left": 0.0, "institution": "", "tenants": [], "tenants_total": 0}
IDLE = {"requests": 0, "hits": 0, "calls": 0, "saved": 0}
STATES: list[dict[str, Any]] = [
    overview(),
    overview(
        budget={"per_second": None, "burst": 1}, today=dict.fromkeys(("requests", "hits", "calls", "saved"), 0)
    ),
    overview(redis={"status": "degraded", "embedded": False}, refused_credentials=1),
    overview(
        gate={"state": "closed", "closed_for": 41.2, "held_for": None, "why": "reset"}, refused_credentials=12
    ),
    overview(
        gate={"state": "half-open", "closed_for": 0.0, "held_for": None, "why": ""}, refused_targets=7, latency={}
    ),
    overview(gate={"state": "held", "closed_for": 0.0, "held_for": 3.0, "why": ""}, refused_targets=1),
    overview(processes=5, differing=["budget", "encryption_keys"]),
    overview(refused_credentials=4, refused=[HELD, OF_MANY, ORPHAN]),
]


def test_a_glance_sums_the_hour_up() -> None:
    seen = summarise(STATES[0])
    assert seen["hour"]["requests"] == sum(each["requests"] for each in STATES[0]["minutes"])
    assert seen["hour"]["ratio"] == pytest.approx(10 / 12)
    assert (seen["allowed"], seen["rate"]) == (90, STATES[0]["minutes"][-2]["requests"] / 60)
    assert seen["minutes"][0]["ratio"] is None, "nobody asked"
    assert seen["troubles"] == []


def test_a_glance_says_what_is_the_matter_the_worst_first() -> None:
    assert summarise(STATES[1])["spared"] is None
    kinds = [[each["kind"] for each in summarise(state)["troubles"]] for state in STATES]
    assert kinds == [
        *(
            [],
            [],
            ["bad", "warn"],
            ["bad", "warn"],
            ["warn", "warn"],
            ["warn", "warn"],
            ["bad", "warn"],
            ["warn"] * 4,
        )
    ]
    assert "broke off. It is asked nothing for another 42 s" in summarise(STATES[3])["troubles"][0]["text"]
    assert [summarise(state)["troubles"][-1]["text"].partition(" not")[0] for state in STATES[4:6]] == [
        "7 queries are",
        "One query is",
    ]
    assert "the same budget, encryption_keys." in summarise(STATES[6])["troubles"][0]["text"]
    assert "fleet_size is 4, but there are 5" in summarise(STATES[6])["troubles"][1]["text"]


def test_credentials_that_are_not_used_are_named_with_their_tenants() -> None:
    assert [each["text"] for each in summarise(STATES[7])["troubles"]] == [
        "An operator holds the credential for lboro (reports). It is not used until it is resumed.",
        "The service refuses the credential for lboro (a, b, c, 9 more). It is not used for another 12 s.",
        "The service refuses the credential for abababab (of no tenant any more). "
        "It is not used until a question of its tenants is answered.",
        "One more credential is not used.",
    ]


VALUES: dict[str, list[Any]] = {
    "count": [0, 1, 999, 1_000, 1_234_567, 10**9],
    "rate": [0, 0.0167, 0.09, 0.0996, 0.1, 1.44, 1.46, 99.9, 99.96, 100, 12_345.6],
    "percent": [0, 1, 0.5, 0.501, 0.9999, 0.0004, 0.1234, 0.9876, 1 / 3, 2 / 3],
    "seconds": [
        0.00001,
        0.00042,
        0.0094,
        0.0096,
        0.023,
        0.0994,
        0.0996,
        0.184,
        0.9994,
        0.9996,
        1.2,
        9.99,
        9.996,
        31,
    ],
    "span": [0, 0.9, 59, 60, 61.5, 3_599, 3_600, 86_399, 90_061, 10**7],
    "clock": ["2030-01-31T12:34:56Z"],
    "word": ["open", 7],
    "answering": ["ok", "degraded"],
}
PAGE = """<!doctype html><title>waiting</title><pre id="out"></pre><script type="module">
import { FORMATS } from "/format.js";
import { glance } from "/glance.js";
const { values, states } = await (await fetch("/given.json")).json();
const texts = Object.fromEntries(Object.entries(values).map(([form, all]) => [form, all.map(FORMATS[form])]));
document.getElementById("out").textContent = JSON.stringify({ texts, seen: states.map(glance) });
</script>"""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        extensions_map = {**SimpleHTTPRequestHandler.extensions_map, ".js": "text/javascript"}  # noqa: RUF012

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the PATH: apt-get install chromium")
def test_the_pages_scripts_read_and_sum_up_as_the_server_does(tmp_path: Path) -> None:
    static = files("gateway.admin.web") / "static"
    for name in ("format.js", "glance.js"):
        (tmp_path / name).write_bytes((static / name).read_bytes())
    (tmp_path / "given.json").write_text(json.dumps({"values": VALUES, "states": STATES}))
    (tmp_path / "index.html").write_text(PAGE)
    assert CHROMIUM is not None
    words = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with served(tmp_path) as url, tempfile.TemporaryDirectory() as profile:
        words += [f"--user-data-dir={profile}", "--virtual-time-budget=10000", "--dump-dom", url]
        dumped = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True).stdout
    found = re.search(r'<pre id="out">(.*?)</pre>', dumped, re.DOTALL)
    assert found is not None, dumped
    assert found[1], dumped
    out = json.loads(unescape(found[1]))
    assert out["texts"] == {form: [FORMATS[form](each) for each in all] for form, all in VALUES.items()}
    assert out["seen"] == json.loads(json.dumps([summarise(state) for state in STATES]))
