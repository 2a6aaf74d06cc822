"""Whether the service's address can be found, connected to and trusted: on real sockets, with real TLS."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from gateway.admin.doctor.finding import State
from gateway.admin.doctor.service import Reach, look, reach_findings, trust_findings
from gateway.upstream.network import TrustStore
from tests.redis_server import free_port
from tests.upstream.origin import Peer, certificate, serving

PATIENCE = 20.0


async def silent(peer: Peer) -> None:
    await peer.until_closed()


def states(reach: Reach) -> list[State]:
    return [finding.state for finding in reach_findings(reach, time.time())]


async def test_a_connection_is_made_and_nothing_is_asked() -> None:
    heard, over = [], asyncio.Event()

    async def listen(peer: Peer) -> None:
        try:
            heard.append(await peer.reader.read())
        finally:
            over.set()

    async with serving(listen) as origin:
        reach = await look(f"{origin.url}/prefix", PATIENCE)
        await over.wait()
    assert (reach.trouble, reach.tls, reach.addresses) == ("", "", ("127.0.0.1",))
    assert states(reach) == [State.OK]
    assert heard in ([], [b""])
    assert origin.connections == 1


async def test_tls_is_tried_with_the_trust_store(tmp_path: Path) -> None:
    tls, _ = certificate(tmp_path)
    async with serving(silent, tls) as origin:
        reach = await look(origin.url, PATIENCE, TrustStore.of(str(tmp_path / "origin.pem")))
    assert reach.tls.startswith("TLSv1")
    assert reach.certificate_ends is not None


async def test_a_certificate_that_nobody_vouches_for_is_a_problem(tmp_path: Path) -> None:
    tls, _ = certificate(tmp_path)
    async with serving(silent, tls) as origin:
        reach = await look(origin.url, PATIENCE)
    assert reach.step == "certificate"
    assert "self-signed" in reach.trouble
    assert states(reach) == [State.PROBLEM]


async def test_who_speaks_no_tls_is_a_problem() -> None:
    async def plain(peer: Peer) -> None:
        await peer.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await peer.until_closed()

    async with serving(plain) as origin:
        reach = await look(origin.url.replace("http:", "https:"), PATIENCE)
    assert states(reach) == [State.PROBLEM]


async def test_nobody_there_and_no_name_are_problems() -> None:
    refused = await look(f"http://127.0.0.1:{free_port()}", PATIENCE)
    unnamed = await look("https://stats.invalid", PATIENCE)
    assert (refused.step, unnamed.step) == ("connection", "name")
    assert states(refused) == states(unnamed) == [State.PROBLEM]


async def test_one_who_never_answers_is_given_up() -> None:
    async with serving(silent) as origin:
        reach = await look(origin.url.replace("http:", "https:"), 0.2)
    assert (reach.step, reach.trouble) == ("connection", "no answer within 0.2 s")


@pytest.mark.parametrize(("days", "count"), [(60, 1), (13, 2), (-1, 2)])
def test_a_certificate_that_ends_soon_is_a_warning(days: float, count: int) -> None:
    reach = Reach("host port 443", ("192.0.2.1",), tls="TLSv1.3", certificate_ends=1e9 + days * 86_400)
    found = [finding.state for finding in reach_findings(reach, 1e9)]
    assert found == [State.OK, State.WARNING][:count]


def test_authorities_that_are_not_there_are_never_said_to_be_well(tmp_path: Path) -> None:
    store = TrustStore("", (str(tmp_path / "gone"),), "SSL_CERT_DIR")
    assert State.OK not in {each.state for each in trust_findings(store)}
