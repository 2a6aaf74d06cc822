"""A crowd of clients on raw sockets, cheap enough to have a thousand of them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from tests.wire import resets


@dataclass(frozen=True, slots=True)
class Reply:
    """What one client got: status, lower-case header names, body."""

    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """One request on a connection of its own."""

    def __init__(self, port: int, target: str, key: str = "", headers: dict[str, str] | None = None) -> None:
        lines = [f"GET {target} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Connection: close"]
        lines += [f"X-API-Key: {key}"] if key else []
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self._port = port
        self._request = ("\r\n".join(lines) + "\r\n\r\n").encode()

    async def ask(self, deadline: float = 60.0, *, resets_early: bool = False) -> Reply:
        """Sends the request and reads the whole answer. Where it gives up before, it closes the connection, which
        tells the gateway only that nothing more will be asked; or resets it, which tells that nobody is there."""
        async with asyncio.timeout(deadline):
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            try:
                writer.write(self._request)
                return parse(await reader.read())
            except asyncio.CancelledError:
                if resets_early:
                    resets(writer.get_extra_info("socket"))
                raise
            finally:
                writer.close()


def parse(data: bytes) -> Reply:
    """An answer that was read to the end of its connection."""
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    assert len(body) == int(headers.get("content-length", len(body))), "a truncated answer"
    return Reply(int(lines[0].split()[1]), headers, body)
