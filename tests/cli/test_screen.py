"""What ``top`` shows, for any size and any state of the fleet."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import msgspec
import pytest
from rich.console import Console

from gateway.cli.screen import Day, Seen, Waiting, frame, now_per_second
from gateway.observe.counters import Latency, Minute, Today
from gateway.observe.outcome import Outcome
from gateway.observe.overview import Gate, Overview, Pace, Redis, Tenants, Work
from gateway.upstream.snapshot import Refused, depths_of
from tests.upstream.fleet import depths

NOW = datetime(2030, 1, 31, 12, 34, 30, tzinfo=UTC)


def minutes(requests: int = 0, calls: int = 0, hits: int = 0) -> list[Minute]:
    outcomes = {"hit": hits, "miss": requests - hits}
    starts = [NOW.replace(second=0) - timedelta(minutes=59 - back) for back in range(60)]
    return [Minute(at, requests, outcomes, calls) for at in starts]


def overview(**changes: Any) -> Overview:
    told = Overview(
        version="1.2.3",
        now=NOW,
        processes=2,
        minutes=minutes(600, 30, 570),
        today=Today(90_123, 85_012, 3_012, 86_123),
        latency={outcome: Latency(1_200, 0.0004, 0.0011, 12.0) for outcome in Outcome},
        budget=Pace(1.0, 5),
        queue=Work(3, 1, QUEUED),
        gate=Gate("open", 0.0, None),
        refused_credentials=0,
        redis=Redis("ok", False),
        registry=Tenants(12),
    )
    return msgspec.structs.replace(told, **changes)


QUEUED = depths_of(depths(people=2, left=1))
DAYS = [Day("dashboards", 100, 50, 50), Day("reports", 5_000, 4_900, 40)]


def text(seen: Seen, width: int = 80, height: int | None = 24, **more: Any) -> str:
    return "\n".join(line.plain for line in frame(seen, width, height, **more))


def test_on_a_usual_terminal_everything_has_its_place() -> None:
    waiting = Waiting({"dashboards": QUEUED})
    assert text(Seen(overview(latency={"hit": Latency(34_200, 0.0004, 0.0011, 12.0)}), DAYS, waiting)) == (
        "stats-gateway 1.2.3  2 processes  12 tenants  Redis ok              12:34:30 UTC\n"
        "\n"
        f"Requests  {'█' * 60}    15.0/s\n"
        f"Hit ratio {'█' * 60}    95.0 %\n"
        f"Calls     {'▅' * 60}    0.75/s\n"
        "\n"
        "Today     90,123 requests, 85,012 from the cache, 3,012 calls, 86,123 saved\n"
        "Budget    1.00/s, burst 5; 75.0 % used\n"
        "Queue     3 waiting: 2 people, 1 left, 0 jobs, 0 refresh, 0 warm; 1 running\n"
        "Gate      open\n"
        "\n"
        "Outcome        last hour     share       p50       p95       p99\n"
        "hit               34,200     100 %    400 µs    1.1 ms      12 s\n"
        "\n"
        "Tenant today                  requests     share hit ratio     calls   waiting\n"
        "reports                          5,000    98.0 %    98.0 %        40         0\n"
        "dashboards                         100     2.0 %    50.0 %        50         3"
    )


@pytest.mark.parametrize("trouble", ["", "not reachable, retrying: " + "because " * 40])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (20, 5), (40, 12), (79, 23), (80, 24), (81, 25), (300, 90)])
def test_it_fits_any_terminal(width: int, height: int, trouble: str) -> None:
    many = [Day(f"tenant-{number:03}" + "x" * 50, number, 1, 1) for number in range(99)]
    refused = (Refused("ab" * 32, 60.0, None, "x" * 200, ("reports",), 1),) * 3
    gate = Gate("held", 12.0, 8_000.0)
    told = overview(refused_credentials=3, refused=refused, redis=Redis("degraded", False), gate=gate)
    seen = Seen(told, many, Waiting(), trouble)
    lines = frame(seen, width, height)
    assert len(lines) <= height
    assert max(line.cell_len for line in lines) <= width


def test_with_all_outcomes_an_80_by_24_terminal_still_shows_the_busiest_tenant() -> None:
    shown = text(Seen(overview(refused_credentials=1), DAYS))
    assert shown.count("\n") == 23
    assert "failed" in shown
    assert "reports " in shown
    assert "dashboards" not in shown


def test_without_a_height_ten_tenants_are_shown() -> None:
    shown = text(Seen(overview(), [Day(f"t{number:03}", number, 0, 0) for number in range(50)]), 80, None)
    assert [line.split()[0] for line in shown.splitlines()[-10:]] == [f"t{n:03}" for n in range(49, 39, -1)]


def test_plain_is_ascii_alone() -> None:
    seen = Seen(overview(refused_credentials=1), DAYS, trouble="away " * 40)
    assert text(seen, 60, plain=True).isascii()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"redis": Redis("degraded", False)}, "Redis does not answer: this is what one process knows"),
        ({"redis": Redis("degraded", False)}, "12 tenants  Redis does not answer"),
        ({"redis": Redis("ok", True)}, "Redis embedded"),
        ({"processes": 1, "registry": Tenants(1)}, "1 process  1 tenant  "),
        ({"gate": Gate("closed", 12.0, None)}, "Gate      closed for 12 s more"),
        ({"gate": Gate("held", 0.0, 180.0)}, "Gate      held for 3 min so far"),
        ({"gate": Gate("half-open", 0.0, None)}, "Gate      half-open"),
        ({"budget": Pace(None, 5)}, "Budget    unlimited"),
        ({"budget": Pace(0.25, 5)}, "Budget    0.25/s, burst 5; 100 % used"),
        ({"refused_credentials": 1}, "Breakers  1 not used"),
        ({"differing": ["budget"]}, "Fleet     not all have the same budget"),
        ({"latency": {}, "minutes": minutes()}, "nothing was asked"),
    ],
)
def test_every_state_is_said(changes: dict[str, Any], expected: str) -> None:
    assert expected in text(Seen(overview(**changes)))


def test_credentials_that_are_not_used_are_named_by_institution_and_tenants() -> None:
    refused = (
        Refused("ab" * 32, 300.0, None, "lboro", ("cron", "reports"), 2),
        Refused("cd" * 32, 0.0, 45.0),
        Refused("ef" * 32, 1.0, None, "monash", ("dash",), 1),
    )
    shown = text(Seen(overview(refused_credentials=3, refused=refused), DAYS), 120)
    assert (
        "3 not used: lboro (cron, reports) for 5 min more, cdcdcdcd (of no tenant any more) held for 45 s" in shown
    )


def test_a_tenant_that_waits_is_shown_although_it_had_no_answer_yet() -> None:
    assert "newcomer" in text(Seen(overview(latency={}), DAYS, Waiting({"newcomer": QUEUED})))
    assert "nobody asked" in text(Seen(overview(latency={})))


def test_minutes_without_requests_have_no_hit_ratio() -> None:
    shown = text(Seen(overview(minutes=minutes())))
    assert f"Requests  {'▁' * 60}    0.00/s" in shown
    assert f"Hit ratio {' ' * 60}         -" in shown


def test_the_rate_is_that_of_the_last_sixty_seconds() -> None:
    told = minutes()
    told[-2:] = [Minute(NOW, 600, {}, 60), Minute(NOW, 60, {}, 6)]
    assert now_per_second(told, 0, "requests") == pytest.approx(11.0)
    assert now_per_second(told, 30, "requests") == pytest.approx(6.0)
    assert now_per_second(told, 30, "calls") == pytest.approx(0.6)


def test_no_text_from_elsewhere_moves_the_cursor_or_is_markup() -> None:
    seen = Seen(overview(latency={}), [Day("[red]\x1b[2J", 1, 1, 1)], trouble="no\x1b]0;x\x07 [bold]answer")
    out = StringIO()
    Console(file=out, width=80, height=24, force_terminal=True, color_system="standard").print(seen)
    shown = out.getvalue()
    assert "\x1b[2J" not in shown
    assert "\x1b]" not in shown
    assert "\x07" not in shown
    assert "[red]" in shown
