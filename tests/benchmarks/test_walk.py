"""How far a request goes: what each kind of hit may cost in calls and files, whatever else the machine does."""

from __future__ import annotations

from benchmarks.walk import walks

MOST = {"near hit": (95, 22), "shared hit": (140, 25), "miss": (600, 51)}
"""The calls of the gateway's own functions, and the files that they are in."""


async def test_no_kind_of_request_goes_further_than_it_did() -> None:
    found = {walk.name: walk for walk in await walks()}
    assert {name: found[name].outcome.partition(";")[0] for name in MOST} == {
        "near hit": "hit", "shared hit": "hit", "miss": "fwd=uri-miss",
    }  # fmt: skip
    gone = {name: (len(found[name].way), len(found[name].files)) for name in MOST}
    assert not {name: went for name, went in gone.items() if went[0] > MOST[name][0] or went[1] > MOST[name][1]}
