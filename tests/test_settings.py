"""Settings that cannot be used say so in one line; those that differ by profile do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.errors import ConfigurationError
from gateway.settings import load_settings


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ({"pass_methods": "POST,TRACE"}, "'TRACE' cannot be passed on"),
        ({"pass_methods": "PO ST@"}, "'ST@' cannot be passed on"),
        ({"content_codings": "gzip,br"}, "'br' is not one of zstd, gzip"),
        ({"stale_if_error_family": {"total": 5}}, "'total' is not one of"),
        ({"stale_while_revalidate_family": {"totals": -5}}, "greater than 0"),
        ({"profile": "other"}, "'statistics' or 'generic'"),
    ],
    ids=range(6),
)
def test_what_is_wrong_is_named(flags: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^[^\n]+$") as raised:
        load_settings(**flags)
    assert complaint in raised.value.message


def test_the_generic_profile_paces_and_invents_nothing_unless_told_to() -> None:
    plain = load_settings(profile="generic")
    assert (plain.budget, plain.refresh_floor, plain.lifetime_jitter, plain.content_codings) == (
        "unlimited",
        0,
        0,
        (),
    )
    assert load_settings(profile="generic", budget="2/s").budget_interval == 0.5
    assert load_settings().budget == "1/s"


def test_a_profile_from_a_file_counts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATS_GATEWAY_CONFIG", "")
    path = tmp_path / "gateway.toml"
    path.write_text('profile = "generic"\n[stale_if_error_family]\ntotals = 5\n')
    found = load_settings(path)
    assert (found.budget, found.stale_if_error_family) == ("unlimited", {"totals": 5})
