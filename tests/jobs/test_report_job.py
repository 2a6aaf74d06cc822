"""Reports as jobs: what is kept of an order, and whose the result is."""

from __future__ import annotations

from datetime import date

import pytest

from gateway.cache.keys import PUBLIC
from gateway.jobs.checks import Trust
from gateway.jobs.columns import ReportRequest
from gateway.jobs.report_job import CredentialChanged, ReportOrder, about, order_of, scope_of, wanting_report
from gateway.jobs.trusts import trust_name

MONTHS = ReportRequest(
    "lboro", "article", (1, 2), ("views", "shares"), "month", date(2025, 1, 1), date(2025, 3, 31)
)


@pytest.mark.parametrize(
    "report", [MONTHS, ReportRequest("lboro", "author", None, ("views",))], ids=["window", "all"]
)
def test_an_order_is_read_as_it_was_kept(report: ReportRequest) -> None:
    order = ReportOrder(
        report, ("ids[1]: 007 is read as 7",), "public:article:lboro", Trust({"views": 5.0}, 40_000)
    )
    assert order_of(wanting_report(order)) == order


def test_a_report_is_known_by_a_line() -> None:
    assert about(MONTHS) == "lboro, article: views, shares by month, 2025-01-01 to 2025-03-31"


def test_a_report_has_the_scope_of_what_is_not_public_in_it() -> None:
    assert scope_of([]) == PUBLIC
    assert scope_of([("lboro", "one")]) == "one"
    with pytest.raises(CredentialChanged):
        scope_of([("lboro", "one"), ("lboro", "two")])


def test_a_trust_is_one_credential_s_for_one_kind_of_an_institution_s_items() -> None:
    kinds = [("a", "x", "article"), ("a", "y", "article"), ("b", "x", "article"), ("a", "x", "author")]
    assert len({trust_name(*each) for each in kinds}) == len(kinds)
