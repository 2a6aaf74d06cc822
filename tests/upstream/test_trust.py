"""A private authority is trusted where it is named: by the setting, by OpenSSL's variables, and nowhere else."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from gateway.admin.doctor.finding import Finding, State
from gateway.admin.doctor.service import look, reach_findings, trust_findings
from gateway.errors import ConfigurationError, UpstreamUnreachable
from gateway.settings import Settings
from gateway.upstream.client import client_of
from gateway.upstream.network import FILE, FOLDER, TrustStore, context_for
from tests.integration.stage import Stage, staged
from tests.loopback import LOOPBACK
from tests.upstream.authority import Authority, authority
from tests.upstream.origin import Peer, answering, ask, serving

SAID = b'{"totals": 231}'
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
    % len(SAID)
)


@pytest.fixture
def private(tmp_path: Path) -> Authority:
    return authority(tmp_path)


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FILE, raising=False)
    monkeypatch.delenv(FOLDER, raising=False)


async def answer_of(tls: ssl.SSLContext, **settings: Any) -> bytes:
    """What a client with these settings gets of a server with this certificate."""
    async with serving(answering(ANSWER + SAID), tls) as origin:
        client = client_of(Settings(upstream=origin.url, **settings))
        try:
            return (await ask(client)).body
        finally:
            await client.aclose()


async def test_the_system_does_not_trust_it(private: Authority) -> None:
    with pytest.raises(UpstreamUnreachable):
        await answer_of(private.server)


async def test_the_setting_names_it(private: Authority) -> None:
    assert await answer_of(private.server, upstream_ca_file=str(private.file)) == SAID


async def test_ssl_cert_file_names_it(private: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FILE, str(private.file))
    assert await answer_of(private.server) == SAID


@pytest.mark.parametrize("places", ["{}", "/nowhere{sep}{}", "{}{sep}/nowhere"])
async def test_ssl_cert_dir_names_it(private: Authority, places: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, places.format(private.folder, sep=os.pathsep))
    assert await answer_of(private.server) == SAID


async def test_one_of_the_variables_is_enough(private: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FILE, "/nowhere.pem")
    monkeypatch.setenv(FOLDER, str(private.folder))
    assert await answer_of(private.server) == SAID


async def test_the_setting_excludes_all_others(
    private: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    other = authority(tmp_path / "other", "another authority")
    monkeypatch.setenv(FILE, str(private.file))
    with pytest.raises(UpstreamUnreachable):
        await answer_of(private.server, upstream_ca_file=str(other.file))
    assert await answer_of(other.server, upstream_ca_file=str(other.file)) == SAID


async def test_a_certificate_for_another_name_is_not_enough(private: Authority) -> None:
    async with serving(answering(ANSWER + SAID), private.server) as origin:
        url = origin.url.replace("127.0.0.1", "localhost")
        client = client_of(Settings(upstream=url, upstream_ca_file=str(private.file)))
        with pytest.raises(UpstreamUnreachable):
            await ask(client)
        await client.aclose()


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_file_of_the_setting_that_cannot_be_used_is_told(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    settings = Settings(upstream="https://127.0.0.1", upstream_ca_file=str(file))
    with pytest.raises(ConfigurationError, match=rf"upstream_ca_file: {file} cannot be used"):
        client_of(settings)
    assert [each.state for each in trust_findings(TrustStore.of(str(file)))] == [State.PROBLEM]


def test_a_variable_that_leads_nowhere_leaves_the_rest(tmp_path: Path) -> None:
    store = TrustStore.of(environment={FILE: str(tmp_path / "gone.pem")})
    store.context()
    states = [each.state for each in trust_findings(store)]
    assert states == [State.WARNING, State.OK]


def told(store: TrustStore) -> str:
    (finding,) = trust_findings(store)
    return finding.what


def test_the_doctor_names_the_trust_store(private: Authority) -> None:
    assert told(TrustStore.of(environment={})).endswith("with the system's trust store")
    assert told(TrustStore.of(str(private.file))).endswith(f"with {private.file} (upstream_ca_file)")
    both = TrustStore.of(environment={FILE: str(private.file), FOLDER: str(private.folder)})
    assert told(both).endswith(f"with {private.file}, {private.folder} (SSL_CERT_FILE and SSL_CERT_DIR)")
    one = TrustStore.of(environment={FILE: str(private.file)})
    assert f"with {private.file}" in told(one)
    assert told(one).endswith("(SSL_CERT_FILE)")


async def findings(url: str, store: TrustStore) -> list[Finding]:
    return list(reach_findings(await look(url, 20.0, store), time.time()))


async def test_the_doctor_looks_with_the_same_authorities(private: Authority, tmp_path: Path) -> None:
    async def silent(peer: Peer) -> None:
        await peer.until_closed()

    async with serving(silent, private.server) as origin:
        trusted = await findings(origin.url, TrustStore.of(str(private.file)))
        assert trusted[0].state is State.OK
        (refused,) = await findings(origin.url, TrustStore.of(environment={}))
        assert (refused.state, "UPSTREAM_CA_FILE" in refused.advice) == (State.PROBLEM, True)
        (broken,) = await findings(origin.url, TrustStore.of(str(tmp_path / "gone.pem")))
        assert "upstream_ca_file" in broken.what


async def test_the_commands_too_trust_it(private: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FILE, str(private.file))
    async with (
        serving(answering(ANSWER + SAID), private.server) as origin,
        httpx.AsyncClient(trust_env=False, verify=context_for(origin.url)) as client,
    ):
        assert (await client.get(origin.url)).content == SAID


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged(allow_anonymous="true", budget="unlimited") as stage:
        yield stage


@pytest.mark.parametrize("how", ["setting", FILE, FOLDER])
async def test_a_gateway_in_front_of_a_service_with_a_private_authority(
    stage: Stage, private: Authority, how: str
) -> None:
    async with serving(answering(ANSWER + SAID), private.server) as origin:
        named = {FILE: str(private.file), FOLDER: str(private.folder)}
        settings = {"upstream": origin.url} | ({"upstream_ca_file": str(private.file)} if how == "setting" else {})
        before = dict(stage.environment)
        stage.environment |= {how: named[how]} if how in named else {}
        try:
            gateway = await asyncio.to_thread(lambda: stage.serve(**settings))
        finally:
            stage.environment.clear()
            stage.environment |= before
        async with httpx.AsyncClient(**LOOPBACK, timeout=20) as client:
            answer = await client.get(f"{gateway.url}/total/views/article/1")
        assert (answer.status_code, answer.content) == (200, SAID)


def test_a_gateway_whose_authorities_cannot_be_read_does_not_start(stage: Stage) -> None:
    gateway = stage.start_gateway(upstream="https://127.0.0.1", upstream_ca_file="/nowhere/ca.pem")
    assert gateway.running.wait(timeout=30) == 2
    assert "upstream_ca_file: /nowhere/ca.pem cannot be used: No such file" in gateway.output


def test_an_authority_after_a_byte_order_mark_is_trusted(private: Authority, tmp_path: Path) -> None:
    file = tmp_path / "marked.pem"
    file.write_bytes(b"\xef\xbb\xbf" + Path(private.file).read_bytes())
    context = TrustStore(str(file), source="upstream_ca_file", required=True).context()
    assert (
        context.get_ca_certs() == TrustStore(str(private.file), source="x", required=True).context().get_ca_certs()
    )
    file.write_bytes(b"\xef\xbb\xbf")
    with pytest.raises(ConfigurationError, match="holds no certificate"):
        TrustStore(str(file), source="upstream_ca_file", required=True).context()
