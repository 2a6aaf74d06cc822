"""Reports: what two reports on all articles of an institution cost, asked one by one and made by the gateway.

Whoever asks for each article by itself asks as many different questions, each of which is a call, whatever cache
there is. The gateway makes the same table from rankings; each of its numbers is compared with the origin's world.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from http.client import HTTPConnection
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.contenders.process import DidNotStart
from benchmarks.results import Column, Row, Table
from benchmarks.shield import clients
from benchmarks.shield.lanes import Stand
from benchmarks.shield.origin import origin
from benchmarks.shield.replay import Lane
from benchmarks.shield.tables import CONTENDERS, Spec
from benchmarks.shield.traffic import INSTITUTIONS
from benchmarks.shield.world import Oracle, World, own

BY = "gateway-unpaced"
"""The contender that makes reports."""
PATIENCE = 600.0
MONTHS = 24
COLUMNS = [Column("calls", "upstream calls"), Column("wrong", "wrong numbers")]
ABOUT = (
    "Totals of all time, and numbers by month over two years, of 2,000 articles and three counters, from empty "
    "caches. Asked article by article each is 6,000 different questions, which every cache by question has to "
    "ask the service: that row is by arithmetic. The gateway's reports are measured; each number of theirs is "
    "compared with the origin's world."
)


def reports(articles: int = clients.ARTICLES) -> Table:
    """Both reports on so many articles. Raises DidNotStart."""
    today = datetime.now(UTC).date()
    day = clients.ClientsDay(1, today, institutions=1)
    world = World(day.seed, today, institutions=1)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        source = stack.enter_context(origin(1, 0.0, world))
        lane = Stand(folder, 1.0, clients.tenants(day), today, stack).lane(Spec(BY, 1), source.ports[0])
        made, moments = {}, []
        for name, order in orders(articles, today).items():
            moments.append(time.monotonic())
            made[name] = order, _made(lane, order)
        moments.append(time.monotonic())
        called = source.calls()[0]
    oracle = Oracle(world)
    rows = []
    for number, (name, (order, report)) in enumerate(made.items()):
        begin, end = moments[number : number + 2]
        calls, wrong = sum(begin <= at < end for at in called), _wrong(oracle, order, report)
        rows += [
            Row("any cache by question", {"calls": [articles * len(clients.COUNTERS)]}, name),
            Row(f"{CONTENDERS[BY]}, as a report", {"calls": [calls], "wrong": [wrong]}, name),
        ]
    return Table("reports", "Two reports", ABOUT, COLUMNS, rows)


def orders(articles: int, today: date) -> dict[str, dict[str, Any]]:
    """What is ordered, by name."""
    last = today.replace(day=1) - timedelta(days=1)
    first = last.replace(year=last.year - MONTHS // 12, day=1) + timedelta(days=32)
    wish = {
        "institution": INSTITUTIONS[0],
        "ids": list(range(1, articles + 1)),
        "counters": list(clients.COUNTERS),
    }
    window = {"by": "month", "from": f"{first:%Y-%m}", "to": f"{last:%Y-%m}"}
    return {"totals": wish, "by month": wish | window}


def _made(lane: Lane, order: Mapping[str, Any]) -> dict[str, Any]:
    """The report, once it is made."""
    connection = HTTPConnection("127.0.0.1", lane.ports[0], timeout=PATIENCE)
    headers = {"X-API-Key": lane.keys[0]}
    connection.request("POST", "/-/reports", json.dumps(order), headers)
    answer = connection.getresponse()
    last = answer.read().splitlines()[-1]
    if b'"state":"done"' not in last:
        raise DidNotStart(f"the report was not made: {last[:500]!r}")
    connection.request("GET", f"{answer.headers['Location']}/report?format=json", headers=headers)
    return dict(json.loads(connection.getresponse().read()))


def _wrong(oracle: Oracle, order: Mapping[str, Any], report: Mapping[str, Any]) -> int:
    """How many of its numbers the world has otherwise."""
    right = dict(_numbers(oracle, order))
    columns = [(column["counter"], column["period"]) for column in report["columns"]]
    told = {
        (row["id"], *key): value
        for row in report["rows"]
        for key, value in zip(columns, row["values"], strict=True)
    }
    differing = sum(1 for key, value in told.items() if value != right.get(key, 0))
    return differing + abs(len(order["ids"]) - len(report["rows"]))


def _numbers(oracle: Oracle, order: Mapping[str, Any]) -> Iterator[tuple[tuple[int, str, str], int]]:
    """The world's numbers by article, counter and period."""
    place = order["institution"]
    for id, counter in product(order["ids"], order["counters"]):
        if "by" not in order:
            body = oracle.answer(f"/{place}/total/{counter}/article/{id}", own(place))[1]
            yield (id, counter, "total"), json.loads(body)["totals"]
            continue
        window = f"start_date={order['from']}-01&end_date={_end(order['to'])}"
        body = oracle.answer(f"/{place}/timeline/month/{counter}/article/{id}?{window}", own(place))[1]
        for month, count in (json.loads(body)["timeline"] or {}).items():
            yield (id, counter, month), count


def _end(month: str) -> date:
    """The last day of a month."""
    return (date.fromisoformat(f"{month}-28") + timedelta(days=4)).replace(day=1) - timedelta(days=1)
