from __future__ import annotations

import pytest

from gateway.catalogue.endpoints import COUNTERS, GRANULARITIES, ITEMS, recognise
from gateway.catalogue.families import ALL_TIME, Family
from gateway.catalogue.query import Query
from gateway.errors import BadTarget


def asked(target: str, **options: frozenset[str]) -> Query:
    path, _, query = target.encode().partition(b"?")
    return recognise(path, query, **options)  # type: ignore[arg-type]


JULY = "start_date=2015-07-01&end_date=2015-07-31"


@pytest.mark.parametrize("institution", [None, "lboro", "monash", "-x", "Total", "café"])
@pytest.mark.parametrize("counter", sorted(COUNTERS))
@pytest.mark.parametrize("item", sorted(ITEMS))
def test_every_family_is_known_for_every_counter_and_item(
    institution: str | None, counter: str, item: str
) -> None:
    prefix = "" if institution is None else "/" + institution.replace("é", "%C3%A9")
    wanted: dict[str, tuple[Family, str | None, str | None]] = {
        f"/total/{counter}/{item}/5": (Family.TOTALS, None, "5"),
        f"/top/{counter}/{item}": (Family.TOPS, None, None),
        f"/top/{counter}/{item}?item_id=7": (Family.TOPS, None, "7"),
    }
    for granularity in GRANULARITIES:
        wanted[f"/timeline/{granularity}/{counter}/{item}/5"] = (Family.TIMELINE, granularity, "5")
        wanted[f"/breakdown/{granularity}/{counter}/{item}/5"] = (Family.BREAKDOWN, granularity, "5")
    wanted[f"/total/{item}/5"] = (Family.OVERVIEW, None, "5")
    for target, (family, granularity_, item_id) in wanted.items():
        query = asked(prefix + target)
        assert (query.family, query.granularity, query.item_id) == (family, granularity_, item_id)
        assert (query.institution, query.item) == (institution, item)
        assert query.counter == (None if family is Family.OVERVIEW else counter)
        assert query.exact == (prefix + target).encode()
        assert query.protected is (institution is not None and family not in ALL_TIME)


@pytest.mark.parametrize(
    ("target", "institution"),
    [
        ("/", None),
        ("/-/health/live", None),
        ("/%2D/total/views/article/5", None),
        ("/total", None),
        ("/total/book/5", None),
        ("/total/article/", None),
        ("/total/article/5/", None),
        ("/total/views/article/5/", None),
        ("/total/views/article/", None),
        ("/total/views/article", None),
        ("/total/views/article/5/6", None),
        ("/total/hugs/article/215", None),
        ("/total/views/book/5", None),
        ("/total/Views/article/5", None),
        ("/total/total/views/article/5", None),
        ("/top/top/views/article", None),
        ("/top/views/article/", None),
        ("/top/views/article/5", None),
        ("/timeline/week/views/article/5", None),
        ("/breakdown/views/article/5", None),
        ("/Total/views/article/5", "Total"),
        ("/foo/bar", "foo"),
        ("/lboro", "lboro"),
        ("/lboro/", "lboro"),
        ("/lboro/foo", "lboro"),
        ("/%6cboro/foo", "lboro"),
        ("/lboro/total/book/5", "lboro"),
        ("/lboro/monash/total/views/article/5", "lboro"),
        ("/lboro/-/total/views/article/5", "lboro"),
        ("/lboro/timeline/day/views/article/5?start_date=x", "lboro"),
    ],
)
def test_what_the_catalogue_lacks_is_unknown_and_kept_as_written(target: str, institution: str | None) -> None:
    query = asked(target)
    assert query == Query(Family.UNKNOWN, target.encode(), target.encode(), institution=institution)


@pytest.mark.parametrize(
    "parameters",
    [
        "start_date=",
        "start_date",
        "start_date=2015-7-1",
        "start_date=20150701",
        "start_date=2015-W01-1",
        "start_date=2015-02-29",
        "start_date=0000-01-01",
        "start_date=2015-07-01+",
        "start_date=2015-07-01T00:00:00",
        "start_date=%D9%A2%D9%A0%D9%A1%D9%A5-07-01",
        "end_date=today",
        "start_date=2015-07-02&end_date=2015-07-01",
        "start_date=2015-07-01&start_date=2015-07-01",
        "start_date=2015-07-01&start%5Fdate=2015-07-02",
        "sub_item=",
        "sub_item=referral&sub_item_id=1",
        "sub_item=Category&sub_item_id=1",
        "sub_item=category",
        "sub_item=category&sub_item_id=",
        "sub_item=category&sub_item_id",
        "sub_item=category&sub_item_id=1&sub_item_id=1",
        "sub_item_id=1",
        "n=1;start_date=2015-07-01",
        "_=1;start_date=2015-07-01",
    ],
)
@pytest.mark.parametrize("family", ["timeline", "breakdown"])
def test_a_malformed_filter_of_a_timeline_or_breakdown_is_the_services_to_judge(
    family: str, parameters: str
) -> None:
    assert asked(f"/{family}/day/views/group/1?{parameters}").family is Family.UNKNOWN


@pytest.mark.parametrize(
    "parameters",
    [
        *(
            "count=0",
            "count=010",
            "count=-1",
            "count=+1",
            "count=1.0",
            "count=",
            "count",
            "count=ten",
            "count=%D9%A3",
        ),
        *("count=3&count=3", "item_id=", "item_id=1&item_id=1", "sub_item=author", "sub_item=", "start_date=1999"),
        *("start_date=2015-07-02&end_date=2015-07-01", "count=3;count=4"),
    ],
)
def test_a_malformed_filter_of_tops_is_the_services_to_judge(parameters: str) -> None:
    assert asked(f"/top/views/group?{parameters}").family is Family.UNKNOWN


@pytest.mark.parametrize("sub_item", ["category", "item_type", "referral"])
def test_tops_take_their_documented_filters(sub_item: str) -> None:
    query = asked(f"/monash/top/views/group?item_id=2&sub_item={sub_item}&count=3&{JULY}")
    assert (query.family, query.item_id) == (Family.TOPS, "2")


@pytest.mark.parametrize(
    "target",
    [
        f"/total/views/article/5?{JULY}&start_date=&end_date=never&sub_item=x&count=0",
        "/timeline/day/views/article/5?count=0&item_id=&n=10&n=11",
        "/top/views/article?sub_item_id=&n",
    ],
)
def test_undocumented_parameters_leave_a_request_known(target: str) -> None:
    assert asked(target).family is not Family.UNKNOWN


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/total/views/article/5", "/total/views/article/5?start_date=2015-07-01"),
        ("/total/views/article/5?n=10", "/total/views/article/5"),
        ("/total/views/article/5?n=10", "/total/views/article/5?n=11"),
        ("/total/views/article/5?n", "/total/views/article/5?n="),
        ("/total/views/article/5?a=1&a=2", "/total/views/article/5?a=2&a=1"),
        ("/total/views/article/5?a=1&a=2", "/total/views/article/5?a=2"),
        ("/total/views/article/5?a=1&a=2", "/total/views/article/5?a=1"),
        ("/total/views/article/5?a=1%26b=2", "/total/views/article/5?a=1&b=2"),
        ("/total/views/article/5?a=1&b=2", "/total/views/article/5?a=1:b=2"),
        ("/total/views/article/5?a=1%2Bb", "/total/views/article/5?a=1+b"),
        ("/total/views/article/a+b", "/total/views/article/a%20b"),
        ("/total/views/article/5", "/total/views/article/05"),
        ("/total/views/article/a", "/total/views/article/A"),
        ("/lboro/total/views/article/5", "/Lboro/total/views/article/5"),
        ("/lboro/total/views/article/5", "/total/views/article/5"),
        ("/top/views/article?count=10", "/top/views/article?count=11"),
        ("/top/views/article", "/top/views/article?item_id=5"),
        ("/foo/bar?_=1", "/foo/bar?_=2"),
        ("/foo?a=1&b=2", "/foo?b=2&a=1"),
        ("/foo", "/%66oo"),
    ],
)
def test_what_may_be_answered_differently_is_kept_apart(one: str, other: str) -> None:
    assert asked(one).canonical != asked(other).canonical


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/top/views/article", "/top/views/article?count=10"),
        ("/total/views/article/5?a=b+c", "/total/views/article/5?%61=b%20c"),
        ("/total/views/article/5?", "/total/views/article/5?&&"),
        ("/total/views/article/5?b=2&a=1", "/total/views/article/5?a=1&b=2&_=1700000000&_"),
        ("/%6c%62oro/%74otal/view%73/article/%35", "/lboro/total/views/article/5"),
    ],
)
def test_spellings_of_one_request_are_one(one: str, other: str) -> None:
    assert asked(one).canonical == asked(other).canonical


def test_which_parameters_are_ignored_is_a_setting() -> None:
    plain = asked("/total/views/article/5").canonical
    assert asked("/total/views/article/5?_=1").canonical == plain
    assert asked("/total/views/article/5?utm=1").canonical != plain
    assert asked("/total/views/article/5?utm=1", ignored=frozenset({"utm"})).canonical == plain
    assert asked("/total/views/article/5?_=1", ignored=frozenset({"utm"})).canonical != plain


def test_a_documented_parameter_is_never_ignored() -> None:
    everything = frozenset({"count", "item_id"})
    assert asked("/top/views/group?count=3", ignored=everything) == asked("/top/views/group?count=3")


def test_malformed_and_overlong_targets_are_refused() -> None:
    with pytest.raises(BadTarget):
        recognise(b"/lboro/../monash", b"")
    with pytest.raises(BadTarget):
        recognise(b"/" + b"a" * 100, b"", max_bytes=100)
