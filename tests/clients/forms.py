"""Forms: what the service's clients ask, in all the ways in which they write it down."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tests.clients.asking import Ask, How

HELD = ("lboro", "monash")
"""The institutions whose pair the tenant has."""
DATES = (("start_date", "2014-01-01"), ("end_date", "2015-12-28"))
TIMELINE = "/lboro/timeline/month/views/article/{n}"


@dataclass(frozen=True)
class Form:
    """A request that the service answers with this ``status``, for so many upstream ``calls`` when it is first
    asked. It may be told beforehand what to answer, by a ``plan``."""

    ask: Ask
    status: int = 200
    calls: int = 1
    plan: Mapping[str, Any] = field(default_factory=dict)

    @property
    def pair(self) -> tuple[str, str] | None:
        """What a direct request has to bring: the institution's own pair, if it is one of the tenant's."""
        institution = self.ask.target.split("/")[1]
        return (institution, f"sandbox-{institution}") if institution in HELD else None


def _with(*headers: tuple[str, str], target: str = TIMELINE, **ask: Any) -> Form:
    return Form(Ask(target, DATES if target == TIMELINE else (), headers, **ask))


def _how(how: How, times: int = 1, target: str = TIMELINE) -> Form:
    return Form(Ask(target, DATES if target == TIMELINE else (), how=how, times=times))


def _count(content: str, how: How = How.PLAINLY) -> Form:
    kind = (("Content-Type", "application/json"),)
    return Form(Ask("/count/articles", headers=kind, method="POST", content=content.encode(), how=how))


QUESTIONS = {
    "totals of an article": Form(Ask("/total/views/article/{n}")),
    "totals of an author": Form(Ask("/total/shares/author/{n}")),
    "totals of a collection": Form(Ask("/lboro/total/views/collection/{n}")),
    "totals of a group": Form(Ask("/monash/total/downloads/group/{n}")),
    "totals of a project": Form(Ask("/lboro/total/downloads/project/{n}")),
    "totals that nobody has": Form(Ask("/lboro/total/views/article/{n}e+07")),
    "totals with dates": Form(Ask("/lboro/total/views/article/{n}", DATES)),
    "overview of an article": Form(Ask("/lboro/total/article/{n}")),
    "overview of a collection": Form(Ask("/total/collection/{n}")),
    "timeline": Form(Ask(TIMELINE, DATES)),
    "timeline of the month so far": Form(Ask("/monash/timeline/day/downloads/group/{n}")),
    "timeline of everything": Form(
        Ask("/lboro/timeline/year/views/project/{n}", (("start_date", "1970-01-01"), ("end_date", "2025-12-31")))
    ),
    "timeline of a category": Form(
        Ask("/lboro/timeline/month/views/group/{n}", (("sub_item", "category"), ("sub_item_id", "2"), *DATES))
    ),
    "timeline outside": Form(Ask("/timeline/day/downloads/article/{n}", DATES)),
    "breakdown": Form(Ask("/lboro/breakdown/month/views/article/{n}", DATES)),
    "breakdown beyond its limit": Form(
        Ask("/lboro/breakdown/year/views/group/{n}", (("start_date", "2012-01-01"), ("end_date", "2025-12-31")))
    ),
    "tops": Form(Ask("/lboro/top/views/article", (("n", "{n}"),))),
    "tops of a group": Form(
        Ask("/monash/top/views/group", (("item_id", "{n}"), ("sub_item", "category"), ("count", "3"), *DATES))
    ),
    "tops of all referrals": Form(
        Ask("/top/views/project", (("item_id", "{n}"), ("count", "2"), ("sub_item", "referral")))
    ),
}

SPELLINGS = {
    "an undocumented parameter": Form(Ask(TIMELINE, (*DATES, ("n", "10")))),
    "a cache-buster": Form(Ask("/lboro/total/views/article/{n}", (("_", "1700000000000"),))),
    "a parameter with everything in it": Form(
        Ask("/lboro/top/views/article", (("note", "São Paulo & Köln: 100% +/=?~'()*!,;@"), ("count", "{n}")))
    ),
    "parameters in names": Form(Ask("/lboro/top/views/article", (("a[]", "{n}"), ("a[]", "2"), ("b c", "d e")))),
    "an empty parameter": Form(Ask("/lboro/top/views/article", (("note", ""), ("count", "{n}")))),
    "a parameter given twice": Form(Ask("/lboro/top/views/article", (("count", "3"), ("count", "{n}")))),
    "a query in the URL": Form(Ask(TIMELINE + "?end_date=2015-12-28&start_date=2014-01-01")),
    "a query encoded by hand": Form(Ask(TIMELINE + "?start%5fdate=2014%2D01%2d01&end_date=2015-12-28")),
    "an ampersand too many": Form(Ask(TIMELINE + "?&start_date=2014-01-01&&end_date=2015-12-28&")),
    "a semicolon": Form(Ask(TIMELINE + "?start_date=2014-01-01;end_date=2015-12-28"), 400),
    "an encoded path": Form(Ask("/lboro/total/views/%61rticle/{n}")),
    "a path with a name": Form(Ask("/lboro/total/views/article/K%C3%B6ln%20%26%20{n}")),
    "a question mark at the end": Form(Ask("/lboro/total/views/article/{n}?")),
    "what browsers leave bare": Form(Ask("/lboro/top/views/article?ids={n}|2^3`&where={a[0]:7}")),
    "a fragment": Form(Ask("/lboro/total/views/article/{n}#charts")),
}

ERRORS = {
    "no such counter": Form(Ask("/lboro/total/hugs/article/{n}"), 400),
    "no such item": Form(Ask("/lboro/total/views/artikel/{n}"), 400),
    "a date that is none": Form(Ask(TIMELINE, (("start_date", "NA"), ("end_date", "NA"))), 400),
    "a parameter too few": Form(
        Ask(TIMELINE, (*DATES, ("sub_item", "category"), ("note", "São Paulo & Köln 100%"))), 400
    ),
    "no such endpoint": Form(Ask("/lboro/totals/views/article/{n}", (("q", "a b"),)), 404),
    "a slash at the end": Form(Ask("/lboro/total/views/article/{n}/"), 404),
    "another's numbers": Form(Ask("/melbourne/breakdown/month/views/group/234"), 403, calls=0),
}

HEADERS = {
    "HEAD": Form(Ask(TIMELINE, DATES, method="HEAD")),
    "HEAD of an error": Form(Ask("/lboro/total/hugs/article/{n}", method="HEAD"), 400),
    "JSON wanted": _with(("Accept", "application/json")),
    "anything but JSON wanted": _with(
        ("Accept", "text/html;q=0.9, */*;q=0.1"), ("Accept-Language", "de, en;q=0.5")
    ),
    "no coding wanted": _with(("Accept-Encoding", "identity")),
    "the connection to be closed": _with(("Connection", "close")),
    "an empty User-Agent": _with(("User-Agent", "")),
    "cookies": _with(("Cookie", "fig_tracker_client=0975a192; session=a b")),
    "JSON declared without content": _with(("Content-Type", "application/json")),
    "anew, please": _with(("Cache-Control", "no-cache"), ("Pragma", "no-cache")),
    "reloaded": _with(("Cache-Control", "max-age=0"), ("If-Modified-Since", "Thu, 01 Jan 1970 00:00:00 GMT")),
    "another's validator": _with(("If-None-Match", 'W/"another", "one"')),
    "what a page's script sends": _with(
        ("Origin", "https://repository.example.org"),
        ("Referer", "https://repository.example.org/articles/7?a=b"),
        ("X-Requested-With", "XMLHttpRequest"),
        ("Content-Type", "application/json;charset=UTF-8"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("Sec-Fetch-Mode", "cors"),
        ("DNT", "1"),
    ),
    "what proxies add": _with(
        ("Via", "1.1 squid.example.org (squid/5.7)"),
        ("X-Forwarded-For", "10.1.2.3, 192.0.2.1"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "stats.example.org"),
        ("Forwarded", "for=10.1.2.3;proto=https"),
        ("X-Request-Id", "an-id-of-its-own"),
    ),
    "overrides that nobody heeds": _with(
        ("X-Original-URL", "/melbourne/total"), ("X-HTTP-Method-Override", "DELETE")
    ),
    "what Perl sends": _with(("TE", "deflate,gzip;q=0.3"), ("Connection", "TE, close"), how=How.BY_HAND),
    "what an old proxy leaves": _with(
        ("Keep-Alive", "300"),
        ("Connection", "keep-alive, Keep-Alive"),
        ("Proxy-Connection", "keep-alive"),
        ("Proxy-Authorization", "Basic YTpi"),
        how=How.BY_HAND,
    ),
    "a length of nothing": _with(("Content-Length", "0"), how=How.BY_HAND),
    "names and values as nobody writes them": _with(
        ("X_Under_Score", "\t a \t b\t "),
        ("x-LATIN", "Jos\xe9"),
        ("ACCEPT", "*/*"),
        ("Accept", "a/b"),
        how=How.BY_HAND,
    ),
    "many headers": _with(*((f"X-Part-{n}", f"{n:03}" * 30) for n in range(80))),
    "a long header": _with(("X-Baggage", "a=b," * 2_000)),
}

CONNECTIONS = {
    "coded": _how(How.CODED),
    "coded, and large": _how(How.CODED, target="/lboro/breakdown/day/views/group/{n}?start_date=2014-01-01"),
    "session": _how(How.IN_A_SESSION, 8),
    "session of errors": replace(_how(How.IN_A_SESSION, 4, "/lboro/total/hugs/article/{n}"), status=400),
    "at once": _how(How.AT_ONCE, 6),
    "HTTP/1.0": _how(How.IN_HTTP_1_0),
    "HTTP/1.0 that would be kept": _with(("Connection", "Keep-Alive"), how=How.IN_HTTP_1_0),
    "an upgrade": _how(How.UPGRADING),
    "expecting 100": _how(How.EXPECTING),
    "pipelined": _how(How.PIPELINED, 5),
}

EMPTY_CONTENT = {
    "empty chunks": _how(How.WITH_EMPTY_CHUNKS, target=TIMELINE + "?start_date=2014-01-01"),
    "half-closed": _how(How.HALF_CLOSED),
}

COUNTS = {
    "count of articles": _count('{"groups": [{"id": {n}}, {"id": 7}]}'),
    "count written tightly": _count('{"groups":[{"id":{n}}]}'),
    "count of nothing": _count('{"groups": [], "n": {n}}'),
    "count that expects 100": _count('{"groups": [{"id": {n}}]}', how=How.EXPECTING),
    "count of what is none": replace(_count('{"groups": "{n}"}'), status=400),
}

PLANNED = {
    "headers of its own": Form(
        Ask("/lboro/total/views/article/{n}"),
        plan={
            "body": '{"totals": 7}',
            "headers": {
                "Content-Language": "en",
                "Content-Disposition": 'inline; filename="totals.json"',
                "Last-Modified": "Thu, 01 Jan 2015 00:00:00 GMT",
                "Link": '</lboro/total/downloads/article/7>; rel="related"',
                "X-Stats-Version": "2.31",
            },
        },
    ),
    "bytes of its own": Form(
        Ask("/lboro/timeline/month/views/group/{n}"),
        plan={
            "body": '{ "timeline" :\tnull, "note": "Köln\\u00e9 – 1.0e+02" }\r\n',
            "content_type": "application/json",
        },
    ),
    "very many bytes": Form(
        Ask("/lboro/breakdown/day/views/article/{n}"),
        plan={"body": json.dumps({"breakdown": {f"day {n}": {"Köln": {"total": n}} for n in range(5_000)}})},
    ),
    "an endpoint nobody knows": Form(
        Ask("/lboro/trends/article/{n}", (("by", "week"),)), plan={"body": '{"trends": [1, 2.50, null]}'}
    ),
    "an error with headers": Form(
        Ask("/lboro/total/views/article/{n}"),
        404,
        plan={
            "status": 404,
            "body": '{"message": "Gone", "code": "NotFound", "data": {"path": "/é"}}',
            "headers": {"Content-Language": "en", "X-Stats-Version": "2.31"},
        },
    ),
}

FORMS = QUESTIONS | SPELLINGS | ERRORS | HEADERS | CONNECTIONS | PLANNED | EMPTY_CONTENT | COUNTS
"""All that is asked, by name."""
