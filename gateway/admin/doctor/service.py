"""The doctor's look at the service: a connection, then one query for each credential within the fleet's budget."""

from __future__ import annotations

import asyncio
import secrets
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from gateway.admin.doctor.finding import Finding, counted, named, note, ok, problem, unknown, warning
from gateway.admin.doctor.redis import ClockReading
from gateway.cache.control import age_of, joined, response_control
from gateway.cache.dates import http_date
from gateway.cache.keys import question_of
from gateway.catalogue.answers import Reading, read
from gateway.catalogue.endpoints import recognise
from gateway.catalogue.families import Family
from gateway.errors import CacheUnavailable, ConfigurationError, GatewayError, Headers, UpstreamRedirected
from gateway.tenants.tenant import Credential
from gateway.upstream.client import UpstreamClient, UpstreamRequest, UpstreamResponse
from gateway.upstream.credential_breaker import REFUSALS, signal_of, signal_of_error
from gateway.upstream.flight import Confirm, Fetched, FlightRequest, FlightResult, Flow, Reuse
from gateway.upstream.network import TrustStore
from gateway.upstream.queue import Queue

DAY = "start_date=2014-01-01&end_date=2014-01-01"
PUBLIC = "/total/views/article/1"
SKEW_SECONDS = 5.0
IGNORE = "STATS_GATEWAY_UPSTREAM_DIRECTIVES=ignore"
WRONG = "does STATS_GATEWAY_UPSTREAM name the statistics service?"
MOST_SHOWN = 100
MILD, SEVERE = 1, 2
EXPIRY_DAYS = 14
STAGGER_SECONDS = 0.25
"""Before the next address is tried as well (RFC 8305 §5)."""
ADVICE = {
    "name": "check STATS_GATEWAY_UPSTREAM, and this machine's DNS",
    "connection": "check the firewall between: the gateway uses no proxy from the environment",
    "certificate": "is something between that replaces certificates, or is its authority your own? "
    "STATS_GATEWAY_UPSTREAM_CA_FILE names the authorities that count; see upstream.trust",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A query to try, with a credential and the tenants that hold it; without one it is a public query."""

    target: str
    credential: Credential | None = None
    tenants: tuple[str, ...] = ()

    @property
    def protected(self) -> bool:
        return self.credential is not None

    @property
    def family(self) -> Family:
        path, _, query = self.target.partition("?")
        return recognise(path.encode(), query.encode()).family


@dataclass(frozen=True, slots=True)
class Call:
    """A question's answer, with the seconds since the epoch at which it was sent and received, or its ``error``;
    ``withheld``: the fleet keeps this credential back, so that nothing was asked."""

    asked: Asked
    answer: UpstreamResponse | None = None
    sent: float = 0.0
    received: float = 0.0
    error: GatewayError | None = None
    withheld: bool = False

    @property
    def reading(self) -> Reading | None:
        return None if self.answer is None else _reading(self.asked, self.answer)


def questions(held: Iterable[tuple[str, Credential]]) -> list[Asked]:
    """One question for each distinct credential, about a day long past; a public one where there is none."""
    holders: dict[str, list[str]] = {}
    by_fingerprint: dict[str, Credential] = {}
    for tenant_id, credential in held:
        by_fingerprint[credential.fingerprint] = credential
        holders.setdefault(credential.fingerprint, []).append(tenant_id)
    return [
        Asked(f"/{each.institution}/timeline/total/views/article/1?{DAY}", each, tuple(holders[fingerprint]))
        for fingerprint, each in by_fingerprint.items()
    ] or [Asked(PUBLIC)]


class Caller:
    """Asks the service through the fleet's queue: in its budget, and a block closes the gate as any call's would.

    What the answers say of a credential is for the operator alone.
    """

    def __init__(
        self, queue: Queue, client: UpstreamClient, timeout: float, now: Callable[[], float] = time.time
    ) -> None:
        self._queue = queue
        self._client = client
        self._timeout = timeout
        self._now = now

    async def call(self, asked: Asked) -> Call:
        """One call at most. Never raises but when cancelled."""
        if asked.credential is not None and self._queue.breaker.refused_for(asked.credential.fingerprint):
            return Call(asked, withheld=True)
        found: list[Call] = []

        async def work(confirm: Confirm) -> Fetched:
            call, result = await self._ask(asked, confirm)
            found.append(call)
            return result

        fingerprint = "" if asked.credential is None else asked.credential.fingerprint
        flow = Flow(asked.tenants[0] if asked.tenants else "doctor", caller="doctor", credential=fingerprint)
        question = question_of(b"GET", asked.target.encode())
        flight = FlightRequest(f"doctor{secrets.token_hex(8)}", flow, exact=asked.target, question=question)
        try:
            landing, _ = await self._queue.land(flight, work, _nothing, self._timeout, reuse=_nobody)
        except GatewayError as error:
            return Call(asked, error=error)
        return found[-1] if found else Call(asked, error=landing.error)

    async def _ask(self, asked: Asked, confirm: Confirm) -> tuple[Call, Fetched]:
        authorization = None if asked.credential is None else asked.credential.authorization
        request = UpstreamRequest(asked.target.encode(), authorization)
        sent = self._now()

        async def confirmed() -> None:
            nonlocal sent
            await confirm()
            sent = self._now()

        try:
            answer = await self._client.fetch(request, confirmed)
        except CacheUnavailable:
            raise
        except GatewayError as error:
            landing = FlightResult(asked.target, error=error)
            return Call(asked, error=error), Fetched(landing, signal=signal_of_error(error))
        received = self._now()
        signal = signal_of(answer.status, answer.headers, received, speaks=_reading(asked, answer).speaks)
        return Call(asked, answer, sent, received), Fetched(FlightResult(asked.target), signal=signal)


def is_block(call: Call) -> bool:
    """Whether the service, or something in front of it, wants to hear nothing more for now."""
    if call.answer is None or call.reading is None:
        return False
    speaks = call.reading.speaks
    return signal_of(call.answer.status, call.answer.headers, call.received, speaks=speaks).kind in REFUSALS


def seconds_for(calls: Sequence[Asked], interval: float | None) -> float | None:
    """How long these take at the budget's pace where nothing else is asked and answers come at once; None without
    a budget."""
    return None if interval is None else len(calls) * interval


def _reading(asked: Asked, answer: UpstreamResponse) -> Reading:
    return read(asked.family, answer.status, answer.headers, answer.body)


async def _nothing() -> FlightResult | None:
    return None


def _nobody() -> Reuse:
    return Reuse.NOBODY


def answer_findings(calls: Sequence[Call], *, obey: bool, shortest: float) -> Iterator[Finding]:
    """Findings on the calls: for each credential, then for all answers together.

    ``obey``: the service's Cache-Control counts; ``shortest`` is the shortest lifetime of an answer in seconds.
    """
    for call in calls:
        yield _credential(call) if call.asked.protected else _public(call)
    answers = [call.answer for call in calls if call.answer is not None and call.answer.status == 200]
    if answers:
        yield from _directives(answers, obey=obey, shortest=shortest)
    yield from _clock(calls)


def not_asked(asked: Sequence[Asked], why: str, advice: str = "") -> Iterator[Finding]:
    """The finding where nothing was asked."""
    names = [_name(each.credential) for each in asked if each.credential is not None]
    what = f"credentials not tried: {named(names)}" if names else "the service was not asked anything"
    yield unknown("upstream.credentials", f"{what}: {why}", advice)


def _name(credential: Credential) -> str:
    return f"{credential.username} at {credential.institution}"


def _credential(call: Call) -> Finding:
    check, credential = "upstream.credentials", call.asked.credential
    assert credential is not None
    whose = f"{_name(credential)} (of {named(call.asked.tenants)})"
    if call.withheld:
        return warning(
            check,
            f"the fleet keeps {whose} back: the service refused it lately, or somebody holds it",
            "stats-gateway breaker list; stats-gateway breaker resume, to try it again",
        )
    status, speaks = _status(call)
    if status == 200 and speaks:
        return ok(check, f"the service accepts {whose}")
    if status == 401 or (status == 403 and speaks):
        return problem(
            check,
            f"the service refuses {whose}: {status}",
            f"stats-gateway tenant add {call.asked.tenants[0]} --institution {credential.institution} "
            f"--username {credential.username}, with the right password",
        )
    return _untried(check, whose, call)


def _public(call: Call) -> Finding:
    if _status(call) == (200, True):
        return ok("upstream.answer", "the service answers a public query")
    return _untried("upstream.answer", "a public query", call)


def _status(call: Call) -> tuple[int, bool]:
    """An answer's status, 0 without one, and whether it has the service's shape."""
    reading = call.reading
    return (0, False) if call.answer is None or reading is None else (call.answer.status, reading.speaks)


def _untried(check: str, what: str, call: Call) -> Finding:
    """The finding on a call that shows neither that the service accepts it nor that it refuses it."""
    if isinstance(call.error, UpstreamRedirected):
        place = call.error.place[:MOST_SHOWN].encode("unicode_escape").decode()
        return warning(check, f"{what} was redirected to {place}, where nobody may take a key", WRONG)
    if call.answer is None:
        why = "no answer" if call.error is None else call.error.message.rstrip(".")
        return unknown(check, f"{what} could not be tried: {why}", "try again later")
    status = call.answer.status
    if is_block(call):
        return warning(
            check,
            f"{what} could not be tried: the service, or a firewall before it, blocks us ({status})",
            "wait; the gate is closed for the fleet until a probe succeeds: stats-gateway gate show",
        )
    if call.reading is not None and call.reading.names:
        names = named(call.reading.names)
        return warning(check, f"the answer to {what} has another shape than the service's: {names}", WRONG)
    kind = joined(call.answer.headers, b"content-type").decode("latin-1") or "no content type"
    advice = WRONG if status < 500 else "try again later"
    return unknown(check, f"{what} could not be tried: it answered {status} ({kind[:60]})", advice)


def _directives(answers: Sequence[UpstreamResponse], *, obey: bool, shortest: float) -> Iterator[Finding]:
    check = "upstream.caching"
    said = named(sorted({_text(each) for each in answers} - {""}))
    hindered = [why for each in answers if (why := _hindrance(each.headers, shortest))]
    if not hindered:
        yield ok(check, f"nothing the service says prevents caching{f' ({said})' if said else ''}")
    elif not obey:
        yield ok(check, f"the service says {said}, which is ignored, as upstream_directives = ignore wants")
    else:
        severity, effect = max(hindered)
        found = warning if severity == SEVERE else note
        yield found(check, f"the service says {said}: {effect}", f"if its operator agrees, set {IGNORE}")


def _hindrance(headers: Headers, shortest: float) -> tuple[int, str] | None:
    """How bad the effect of directives on caching is, and the effect; None where there is none."""
    control = response_control(headers)
    left = None if control.max_age is None else control.max_age - age_of(headers)
    if b"no-store" in control or control.no_cache:
        return SEVERE, "no answer is kept, so that every request costs a call"
    if left is not None and left <= 0:
        return SEVERE, "every answer is stale at once, so that nearly every request costs a call"
    if left is not None and left < shortest:
        return MILD, f"answers stay fresh for {left:.0f} s only"
    if b"private" in control:
        return MILD, "answers without a credential are not kept (those with one are, for their own tenant)"
    if control.forbids_stale:
        return MILD, "nothing stale may stand in while the service fails"
    return None


def _text(answer: UpstreamResponse) -> str:
    """The header that governs an answer's caching, as it was sent."""
    names = (b"cdn-cache-control", b"cache-control")
    return next((value.decode("latin-1") for name in names if (value := joined(answer.headers, name))), "")


def _clock(calls: Sequence[Call]) -> Iterator[Finding]:
    """The first answer's clock. Its Date is in whole seconds, and so up to one second early."""
    for call in calls:
        date = b"" if call.answer is None else joined(call.answer.headers, b"date")
        there = http_date(date) if date else None
        if there is None:
            continue
        skew = ClockReading(call.sent - 1.0, there, call.received).skew
        if abs(skew) <= SKEW_SECONDS:
            yield ok("upstream.clock", "the clocks of the service and this machine agree")
        else:
            way = "behind" if skew > 0 else "ahead of"
            yield warning(
                "upstream.clock",
                f"this machine's clock is {abs(skew):.0f} s {way} the service's, which says what today is",
                "synchronise this machine with a time server (NTP)",
            )
        return


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a connection came: the name's addresses, the ``step`` with ``trouble`` (``name``, ``connection`` or
    ``certificate``), the seconds it took, the TLS version, and when the certificate ends."""

    place: str
    addresses: tuple[str, ...] = ()
    step: str = ""
    trouble: str = ""
    seconds: float = 0.0
    tls: str = ""
    certificate_ends: float | None = None


async def look(url: str, timeout: float, store: TrustStore | None = None) -> Reach:
    """Connect as the gateway would, ask nothing, and hang up. Each step takes at most ``timeout`` seconds.

    ``store`` has the certificate authorities, by default those that the environment names. Never raises.
    """
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    place = f"{host} port {port}"
    try:
        async with asyncio.timeout(timeout):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError) as error:
        return Reach(place, step="name", trouble=_said(error, timeout))
    addresses = tuple(dict.fromkeys(str(each[4][0]) for each in found))
    try:
        tls = (store or TrustStore.of()).context() if secure else None
    except ConfigurationError as error:
        return Reach(place, addresses, "certificate", error.message)
    return await _connect(Reach(place, addresses), host, port, tls, timeout)


async def _connect(reach: Reach, host: str, port: int, tls: ssl.SSLContext | None, timeout: float) -> Reach:
    began = time.monotonic()
    try:
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection(host, port, ssl=tls, happy_eyeballs_delay=STAGGER_SECONDS)
    except ssl.SSLError as error:
        trouble = getattr(error, "verify_message", "") or error.reason or str(error)
        return Reach(reach.place, reach.addresses, "certificate", str(trouble))
    except (OSError, TimeoutError) as error:
        return Reach(reach.place, reach.addresses, "connection", _said(error, timeout))
    seconds = time.monotonic() - began
    secured = writer.get_extra_info("ssl_object")
    ends = writer.get_extra_info("peercert", {}).get("notAfter") if secured else None
    writer.transport.abort()
    return Reach(
        reach.place,
        reach.addresses,
        seconds=seconds,
        tls=(secured.version() or "") if secured else "",
        certificate_ends=None if ends is None else float(ssl.cert_time_to_seconds(ends)),
    )


def reach_findings(reach: Reach, now: float) -> Iterator[Finding]:
    """Findings on a connection; ``now`` is in seconds since the epoch."""
    if reach.step:
        failed = {
            "name": f"{reach.place} has no address",
            "connection": f"no connection to {reach.place} ({', '.join(reach.addresses[:3])})",
            "certificate": f"{reach.place} cannot be trusted",
        }
        yield problem("upstream.reach", f"{failed[reach.step]}: {reach.trouble}", ADVICE[reach.step])
        return
    how = f"with {reach.tls}" if reach.tls else "in the clear"
    yield ok("upstream.reach", f"connected to {reach.place} {how} in {reach.seconds * 1000:.0f} ms")
    if reach.certificate_ends is not None and reach.certificate_ends - now < EXPIRY_DAYS * 86_400:
        days = max(0, int((reach.certificate_ends - now) // 86_400))
        yield warning(
            "upstream.certificate",
            f"the certificate of {reach.place} ends in {counted(days, 'day')}",
            "ask the people who run it, in case they do not renew it by themselves",
        )


def trust_findings(store: TrustStore) -> Iterator[Finding]:
    """Findings on the authorities that may vouch for the service's certificate."""
    try:
        store.context()
    except ConfigurationError as error:
        yield problem("upstream.trust", error.message, "name certificates in PEM that the gateway may read")
        return
    for place in store.missing:
        yield warning("upstream.trust", f"{store.source}: {place} is not there", "mount it, or name another")
    if not store.source or len(store.missing) < len(store.places):
        yield ok("upstream.trust", f"the service's certificate is checked with {store}")


def _said(error: BaseException, timeout: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout:g} s"
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
