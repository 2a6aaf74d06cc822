"""Reports against a sandbox in this process: every number is the one that its item has by itself."""

from __future__ import annotations

import json
from collections import Counter
from datetime import date, timedelta
from typing import Any

import pytest

from gateway.jobs.checks import Trust
from gateway.jobs.columns import ReportRequest, item_target, overview_target, ranking_target
from gateway.jobs.report import UNKNOWN, Report, ReportImpossible, is_partial
from tests.jobs.sandboxed import COUNTERS, NOW, Sandboxed, each_by_itself, numbers, reported, wish
from tests.sandbox.asking import TODAY

EXHAUSTIVE = pytest.mark.exhaustive
WORLD = {"items": 200}
MONTHS: dict[str, Any] = {"by": "month", "first": date(2014, 3, 1), "last": date(2016, 2, 29)}
FEW_MONTHS: dict[str, Any] = {"by": "month", "first": date(2015, 5, 10), "last": date(2016, 3, 20)}


def methods(report: Report) -> set[str]:
    return {basis.method for basis in report.columns}


def kinds(asker: Sandboxed) -> Counter[str]:
    """The asker's calls by family."""
    names = {"top": "ranking", "timeline": "timeline"}
    found: Counter[str] = Counter()
    for call in asker.calls:
        parts = call.split("/")
        found[names.get(parts[2]) or ("overview" if len(parts) == 5 else "total")] += 1
    return found


@pytest.mark.parametrize("many", [230, pytest.param(2_000, marks=EXHAUSTIVE)])
async def test_totals_take_a_ranking_a_counter_and_few_checks(many: int) -> None:
    asker, request = Sandboxed({"items": many - 30}), wish(many)
    report = await reported(asker, request)
    assert numbers(report) == each_by_itself(asker.service, request, report.ids)
    assert kinds(asker) == {"ranking": 3, "overview": 20, "total": 6}
    assert [(basis.method, basis.checked) for basis in report.columns] == [("ranking", 20)] * 3

    asker.calls.clear()
    again = await reported(asker, request, report.trust, seed=2)
    assert again.rows == report.rows
    assert kinds(asker) == {"ranking": 3, "overview": 6, "total": 3}


async def test_totals_are_checked_singly_where_overviews_do_not_agree() -> None:
    asker, request = Sandboxed(WORLD), wish()
    wrong = {"views": 1, "downloads": 1, "shares": 1}
    asker.answers = {
        overview_target(request, id): (200, repr(wrong).replace("'", '"').encode()) for id in request.ids or ()
    }
    report = await reported(asker, request)
    assert numbers(report) == each_by_itself(asker.service, request, report.ids)
    assert kinds(asker)["total"] == 60
    assert len(asker.calls) <= 70
    assert report.trust.checked.keys() == set(COUNTERS)


@pytest.mark.parametrize("many", [230, pytest.param(2_000, marks=EXHAUSTIVE)])
async def test_months_take_a_ranking_a_column_and_a_timeline_a_sample(many: int) -> None:
    asker, request = Sandboxed({"items": many - 30}), wish(many, **MONTHS)
    report = await reported(asker, request)
    assert numbers(report) == each_by_itself(asker.service, request, report.ids)
    assert kinds(asker) == {"ranking": 72 + 3, "timeline": 60}
    assert methods(report) == {"ranking"}


SWITCHES = [{"order": "arbitrary"}, {"order": "time"}, {"count_limit": 40}, {"top_error": 0.1},
            {"top_error": 0.02}, {"lag": 400}, {"lag": 30}, {"zone": "Pacific/Auckland"}, {"revise": 0.1},
            {"empty": "null"}, {"empty": "{}"}]  # fmt: skip
WRONG_RANKINGS = ("count_limit", "top_error")
SEEDS = range(3)
YEAR: dict[str, Any] = {"first": date(2015, 1, 1), "last": date(2015, 12, 31)}


@pytest.mark.parametrize(
    ("many", "window"),
    [(230, {}), (230, YEAR), (230, FEW_MONTHS), pytest.param(2_000, {}, marks=EXHAUSTIVE),
     pytest.param(2_000, YEAR, marks=EXHAUSTIVE), pytest.param(2_000, MONTHS, marks=EXHAUSTIVE)],
    ids=["totals", "year", "months", "many-totals", "many-year", "many-months"],
)  # fmt: skip
@pytest.mark.parametrize("switch", SWITCHES, ids=str)
async def test_no_habit_of_the_service_makes_a_number_wrong(
    switch: dict[str, Any], many: int, window: dict[str, Any]
) -> None:
    asker, request = Sandboxed({"items": many - 30} | switch), wish(many, **window)
    expected = each_by_itself(asker.service, request, request.ids or ())
    [name] = switch
    for seed in SEEDS:
        report = await reported(asker, request, seed=seed)
        assert numbers(report) == expected
        if name in WRONG_RANKINGS or (name == "lag" and not window):
            assert methods(report) == {"each"}
            assert all(basis.why for basis in report.columns)
            check_differences(report, expected)
        else:
            assert methods(report) == {"ranking"}
            assert {basis.difference for basis in report.columns} == {None}


def check_differences(report: Report, expected: list[list[int]]) -> None:
    """Some column names an item whose number in the ranking is another than that of the item by itself."""
    names = [basis.column.period.name for basis in report.columns]
    found = [
        (place, basis.difference)
        for place, (basis, name) in enumerate(zip(report.columns, names, strict=True))
        if basis.difference is not None and basis.difference.period == name
    ]
    assert found
    for place, difference in found:
        assert difference.item == expected[place][report.ids.index(difference.id)] != difference.ranking


@pytest.mark.parametrize("window", [{}, FEW_MONTHS], ids=["totals", "months"])
@pytest.mark.parametrize("switch", SWITCHES, ids=str)
async def test_few_items_are_all_compared(switch: dict[str, Any], window: dict[str, Any]) -> None:
    asker, request = Sandboxed({"items": 20} | switch), wish(50, **window)
    report = await reported(asker, request)
    assert numbers(report) == each_by_itself(asker.service, request, request.ids or ())


async def test_one_wrong_number_among_few_items_is_found_wherever_it_is() -> None:
    asker, request = Sandboxed({"items": 50}), wish(50)
    ranking = "/lboro/top/downloads/article?count=10000"
    plain = await reported(asker, request)
    assert [(basis.method, basis.checked) for basis in plain.columns] == [("ranking", 50)] * 3
    assert kinds(asker) == {"ranking": 3, "overview": 50, "total": 6}
    for wrong in range(0, 50, 7):
        row = [
            (id, count + (place == wrong))
            for place, (id, count) in enumerate(zip(plain.ids, plain.rows[1], strict=True))
        ]
        asker.answers[ranking] = (
            200,
            json.dumps({"top": {str(id): count for id, count in row if count}}).encode(),
        )
        report = await reported(asker, request)
        assert report.rows == plain.rows
        assert methods(report) == {"each"}


@pytest.mark.parametrize("trusted", [False, True], ids=["first", "later"])
@pytest.mark.parametrize("window", [{}, YEAR], ids=["totals", "year"])
async def test_a_stored_answer_that_differs_is_checked(window: dict[str, Any], trusted: bool) -> None:
    request = wish(**window)
    plain = Sandboxed(WORLD)
    right = await reported(plain, request)
    middle = sorted(range(len(right.ids)), key=right.rows[0].__getitem__)[-60]
    column = right.columns[0].column
    counts = {
        str(id): count + (place == middle)
        for place, (id, count) in enumerate(zip(right.ids, right.rows[0], strict=True))
    }
    wrong = {"top": {id: count for id, count in counts.items() if count}}
    answers = {ranking_target(request, column, 10_000): (200, json.dumps(wrong).encode())}
    for seed in SEEDS:
        asker = Sandboxed(WORLD, keeps=True, answers=answers)
        await asker.ask(item_target(request, column.counter, right.ids[middle]))
        report = await reported(asker, request, right.trust if trusted else Trust(), seed=seed)
        assert report.rows == right.rows
        assert methods(report) == {"each"}


async def test_other_rankings_help_to_choose_what_is_checked_of_one() -> None:
    asker, request = Sandboxed({"items": 200, "top_error": 0.02}), wish(counters=("views",), **YEAR)
    for seed in SEEDS:
        report = await reported(asker, request, seed=seed)
        assert numbers(report) == each_by_itself(asker.service, request, report.ids)
        assert methods(report) == {"each"}
    right = Sandboxed(WORLD)
    assert methods(await reported(right, request)) == {"ranking"}
    assert kinds(right) == {"ranking": 3, "timeline": 20}


@pytest.mark.parametrize("window", [{}, FEW_MONTHS], ids=["totals", "months"])
@pytest.mark.parametrize("switch", [{}, {"revise": 0.3}], ids=str)
async def test_what_moves_meanwhile_is_bracketed_by_two_rankings(
    switch: dict[str, Any], window: dict[str, Any]
) -> None:
    request = wish(**window)
    rankings = len(COUNTERS) * (len(request.periods()) + bool(window))
    asker = Sandboxed(WORLD | switch, keeps=True, days={rankings + 5: TODAY + timedelta(60)})
    before = each_by_itself(asker.service, request, request.ids or ())
    report = await reported(asker, request)
    after = each_by_itself(asker.service, request, report.ids)
    assert before != after
    assert methods(report) == {"ranking"}
    assert kinds(asker)["ranking"] > rankings
    for row, basis, old, new in zip(numbers(report), report.columns, before, after, strict=True):
        asked = asker.calls.count(ranking_target(request, basis.column, 10_000))
        assert row == (new if asked == 2 else old)


async def test_a_check_is_never_older_than_its_ranking() -> None:
    asker, request = Sandboxed(WORLD, keeps=True), wish(method="ranking")
    before = await reported(asker, wish(method="each"))
    asker.today += timedelta(60)
    report = await reported(asker, request)
    assert numbers(report) == each_by_itself(asker.service, request, report.ids) != numbers(before)


async def test_a_ranking_that_is_wrong_speaks_against_all() -> None:
    asker, request = Sandboxed(WORLD), wish()
    asker.answers["/lboro/top/shares/article?count=10000"] = (200, b'{"top": {"7": 1}}')
    report = await reported(asker, request)
    assert numbers(report) == each_by_itself(asker.service, request, report.ids)
    assert methods(report) == {"each"}
    doubted = "the ranking of shares has another number than an item by itself"
    assert [basis.why for basis in report.columns] == [doubted, doubted, "an item by itself has another number"]
    assert [basis.difference is None for basis in report.columns] == [True, True, False]
    assert set(report.trust.checked) == {"overviews"}


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (403, b"{}", "the ranking of shares was answered 403"),
        (200, b"<html>", "the ranking cannot be read"),
        (200, b'{"top": {"1": -1}}', "the ranking cannot be read"),
        (200, b'{"top": {"\xff": 1}}', "the ranking cannot be read"),
        (200, b'{"top": {"1": "1"}}', "the ranking cannot be read"),
        (200, b" " * (8 * 1024 * 1024 + 1), "the ranking is longer than 8 MiB"),
    ],
    ids=["403", "html", "negative", "encoding", "text", "long"],
)
async def test_a_ranking_that_cannot_be_used_is_not(status: int, body: bytes, why: str) -> None:
    asker, request = Sandboxed(WORLD), wish()
    asker.answers["/lboro/top/shares/article?count=10000"] = (status, body)
    report = await reported(asker, request)
    assert numbers(report) == each_by_itself(asker.service, request, report.ids)
    assert [basis.why for basis in report.columns] == ["", "", why]


@pytest.mark.parametrize(
    "body", [b'{"totals": -1}', b'{"totals": 9223372036854775808}', b'{"totals": "\xff"}', b"[]"]
)
async def test_an_item_whose_answer_cannot_be_read_has_a_problem_and_no_number(body: bytes) -> None:
    asker = Sandboxed(WORLD)
    asker.answers["/lboro/total/views/article/2"] = (200, body)
    report = await reported(asker, wish(3, counters=("views",), method="each"))
    assert dict(report.failures) == {2: "views: the answer cannot be read"}
    assert report.rows[0][1] == UNKNOWN


async def test_a_ranking_that_is_full_is_asked_for_again_with_more_places() -> None:
    asker, request = Sandboxed(WORLD), wish()
    report = await reported(asker, request, Trust(count=50))
    assert [call for call in asker.calls if "/top/" in call] == [
        "/lboro/top/views/article?count=50",
        "/lboro/top/views/article?count=200",
        *(f"/lboro/top/{counter}/article?count=200" for counter in ("downloads", "shares")),
    ]
    assert report.trust.count == 200
    assert numbers(report) == each_by_itself(asker.service, request, report.ids)


async def test_a_check_without_an_answer_is_made_on_another_item() -> None:
    asker, request = Sandboxed(WORLD), wish(**FEW_MONTHS)
    plain = await reported(asker, request)
    sampled = next(call for call in asker.calls if "/timeline/" in call)
    again = Sandboxed(WORLD, answers={sampled: (503, b"{}")})
    report = await reported(again, request)
    assert report.rows == plain.rows
    assert kinds(again)["timeline"] == kinds(asker)["timeline"] + len(COUNTERS)


async def test_without_enough_checks_no_ranking_is_used() -> None:
    request = wish(counters=("views",))
    refused = {item_target(request, "views", id): (503, b"{}") for id in request.ids or ()}
    report = await reported(Sandboxed(WORLD, answers=refused), request)
    assert set(report.rows[0]) == {UNKNOWN}
    assert report.columns[0].why == "only 0 of the items to check were answered"
    assert report.failures[1] == "views: answered 503"


@pytest.mark.parametrize(
    ("many", "trust", "unanswered", "checked"),
    [
        (30, Trust(), 4, 26),
        (30, Trust(), 5, 0),
        (5, Trust({"views": NOW}), 2, 3),
        (5, Trust({"views": NOW}), 3, 0),
    ],
    ids=["spare", "too-many", "few-later", "too-many-later"],
)
async def test_where_all_are_checked_some_may_be_without_an_answer(
    many: int, trust: Trust, unanswered: int, checked: int
) -> None:
    request = wish(many, counters=("views",), method="ranking")
    refused = {item_target(request, "views", id): (503, b"{}") for id in range(1, unanswered + 1)}
    report = await reported(Sandboxed(WORLD, answers=refused), request, trust)
    assert report.columns[0].checked == checked
    assert (UNKNOWN in report.rows[0]) is (not checked)


async def test_an_item_without_an_answer_is_the_only_one_to_fail() -> None:
    request = wish(method="each")
    asker = Sandboxed(WORLD, answers={item_target(request, "views", 7): (404, b"{}"),
                                      item_target(request, "shares", 7): (200, b"[]")})  # fmt: skip
    report = await reported(asker, request)
    assert report.failures == {7: "views: answered 404; shares: the answer cannot be read"}
    assert [list(row).count(UNKNOWN) for row in report.rows] == [1, 0, 1]


async def test_rankings_alone_leave_a_counter_without_numbers_rather_than_wrong() -> None:
    asker, request = Sandboxed(WORLD | {"top_error": 0.1}), wish(method="ranking")
    report = await reported(asker, request)
    assert len(asker.calls) <= 33
    assert all(set(row) == {UNKNOWN} for row in report.rows)
    assert all(basis.difference for basis in report.columns)
    reason = "views: its ranking is not used; downloads: its ranking is not used; shares: its ranking is not used"
    assert report.failures == dict.fromkeys(report.ids, reason)


@pytest.mark.parametrize("fields", [{}, FEW_MONTHS, {"method": "each"}], ids=["totals", "months", "each"])
async def test_all_items_are_those_that_the_rankings_list(fields: dict[str, Any]) -> None:
    asker, request = Sandboxed(WORLD, keeps=True), wish(ids=None, **fields)
    report = await reported(asker, request)
    assert numbers(report) == each_by_itself(asker.service, request, report.ids)
    everything = each_by_itself(asker.service, request, range(1, 201))
    assert list(report.ids) == [place for place, row in enumerate(zip(*everything, strict=True), 1) if any(row)]


async def test_items_that_cannot_be_listed_are_one_clear_error() -> None:
    asker = Sandboxed(WORLD, answers={"/lboro/top/views/article?count=10000": (403, b"{}")})
    with pytest.raises(ReportImpossible, match="cannot be listed: the ranking of views was answered 403"):
        await reported(asker, wish(ids=None))


async def test_a_few_items_are_asked_for_by_themselves_and_stored_answers_are_used() -> None:
    asker, request = Sandboxed(WORLD, keeps=True), wish(5)
    report = await reported(asker, request)
    assert kinds(asker) == {"total": 15}
    assert methods(report) == {"each"}
    again = await reported(asker, request)
    assert (len(asker.calls), methods(again), again.rows) == (15, {"stored"}, report.rows)


async def test_the_same_seed_and_answers_ask_the_same_again() -> None:
    first, second = Sandboxed(WORLD), Sandboxed(WORLD)
    assert await reported(first, wish(**FEW_MONTHS)) == await reported(second, wish(**FEW_MONTHS))
    assert first.calls == second.calls


async def test_progress_counts_down_from_the_plan() -> None:
    asker = Sandboxed(WORLD)
    await reported(asker, wish())
    assert asker.steps == [(done, 29, 29 - done) for done in range(1, 30)]


async def test_progress_ends_with_nothing_left() -> None:
    asker = Sandboxed(WORLD | {"top_error": 0.1})
    await reported(asker, wish())
    done, total, left = asker.steps[-1]
    assert (done, total, left) == (len(asker.calls), len(asker.calls), 0)
    assert [step[0] for step in asker.steps] == list(range(1, done + 1))
    assert asker.steps[0][1] == 3 + 26  # foreseen before anything differed


async def test_a_report_on_nothing_asks_for_nothing_and_one_too_big_is_refused() -> None:
    asker = Sandboxed(WORLD)
    assert (await reported(asker, wish(0))).ids == ()
    assert asker.calls == []
    days = ReportRequest("lboro", "article", tuple(range(20_000)), ("views",), "day", date(2015, 1, 1), TODAY)
    with pytest.raises(ReportImpossible, match="at most 1500000"):
        await reported(asker, days)


def test_a_period_is_partial_until_it_is_over_everywhere() -> None:
    columns = wish(by="month", first=date(2016, 2, 1), last=date(2016, 3, 31)).periods()
    assert [is_partial(period, NOW) for period in columns] == [False, True]
    assert is_partial(columns[0], NOW - 14 * 86_400 - 1)
    assert not is_partial(wish().window, NOW)
