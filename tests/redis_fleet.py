"""Several real Redis processes on loopback: a master with a replica and its sentinels, or a cluster."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from tests.redis_server import RedisServer, free_port

CLI = shutil.which("redis-cli")
NODE_TIMEOUT_MS = 1_000
SERVICE = "stats"
AT_ONCE = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
"""A replica is filled, and listed by CLUSTER SLOTS, within a second or two instead of ten."""


def until(condition: Any, what: str | Callable[[], str], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except (redis.RedisError, OSError):
            pass
        assert time.monotonic() < deadline, what if isinstance(what, str) else what()
        time.sleep(0.05)


@dataclass
class Watched:
    """A master, its replica, and three sentinels."""

    servers: list[RedisServer]
    sentinels: list[RedisServer]

    @property
    def url(self) -> str:
        return f"redis+sentinel://{','.join(f'127.0.0.1:{each.port}' for each in self.sentinels)}/{SERVICE}"

    @property
    def master(self) -> RedisServer:
        """As most sentinels say."""
        ports = [int(each.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1]) for each in self.sentinels]
        port = max(set(ports), key=ports.count)
        return next(each for each in self.servers if each.port == port)


@contextmanager
def watched_redis() -> Iterator[Watched]:
    """Starts them, and waits until the sentinels know the replica and each other."""
    with ExitStack() as stack:
        first = _server(stack)
        second = _server(stack, "--replicaof", "127.0.0.1", str(first.port))
        sentinels = [_sentinel(stack, first.port) for _ in range(3)]
        watched = Watched([first, second], sentinels)

        def known() -> bool:
            states = [_pairs(each.call("SENTINEL", "MASTER", SERVICE)) for each in sentinels]
            return all(s[b"num-slaves"] == b"1" and s[b"num-other-sentinels"] == b"2" for s in states)

        until(known, "the sentinels never saw it all")
        until(lambda: second.call("INFO", "replication")["master_link_status"] == "up", "no replica")
        yield watched


@dataclass
class ClusterOfServers:
    """Three masters with a replica each."""

    nodes: list[RedisServer]
    password: str = ""
    options: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"redis+cluster://{','.join(f'127.0.0.1:{node.port}' for node in self.nodes[:3])}"

    @property
    def alive(self) -> list[RedisServer]:
        return [node for node in self.nodes if node.process is not None]

    def owner(self, key: str) -> RedisServer:
        """The master that has a key's slot."""
        slot = self.alive[0].call("CLUSTER", "KEYSLOT", key)
        for first, last, master, *_ in self.alive[0].call("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(node for node in self.nodes if node.port == master[1])
        raise AssertionError("nobody has it")

    def call_all(self, *words: str) -> list[Any]:
        return [node.call(*words) for node in self.alive]

    def healthy(self) -> bool:
        """Whether every living node sees all slots served."""
        return all(b"cluster_state:ok" in node.call("CLUSTER", "INFO") for node in self.alive)

    def agree(self) -> None:
        """Waits until it is healthy; else says what each node saw."""
        until(self.healthy, lambda: "\n".join(["the cluster never agreed", *map(_last_words, self.nodes)]))

    def complete(self) -> bool:
        """Whether every node knows three masters with a replica each, and the replicas have what those have."""
        shapes = [[len(row) for row in table] for table in self.call_all("CLUSTER", "SLOTS")]
        links = [said.get("master_link_status", "up") for said in self.call_all("INFO", "replication")]
        return all(shape == [4, 4, 4] for shape in shapes) and set(links) == {"up"}

    def move(self, source: RedisServer, target: RedisServer, slots: int) -> str:
        """Moves slots while everybody works, as an operator would; answers what redis-cli said."""
        ids = {node.port: node.call("CLUSTER", "MYID").decode() for node in (source, target)}
        return redis_cli(
            "--cluster", "reshard", f"127.0.0.1:{source.port}", "--cluster-from", ids[source.port],
            "--cluster-to", ids[target.port], "--cluster-slots", str(slots), "--cluster-yes", "--cluster-replace",
        )  # fmt: skip


@contextmanager
def redis_cluster() -> Iterator[ClusterOfServers]:
    """Starts them, makes a cluster of them, and waits until everyone agrees."""
    with ExitStack() as stack:
        nodes = [_node(stack) for _ in range(6)]
        places = [f"127.0.0.1:{node.port}" for node in nodes]
        redis_cli("--cluster", "create", *places, "--cluster-replicas", "1", "--cluster-yes")
        cluster = ClusterOfServers(nodes)
        cluster.agree()
        until(cluster.complete, "not all slots known, or not all replicas filled")
        yield cluster


def redis_cli(*words: str) -> str:
    assert CLI is not None
    done = subprocess.run([CLI, *words], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _server(stack: ExitStack, *more: str) -> RedisServer:
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    server = RedisServer(free_port(), folder, more=(*AT_ONCE, *more))
    stack.callback(server.kill)
    server.start()
    return server


def _node(stack: ExitStack) -> RedisServer:
    bus = str(free_port())
    return _server(
        stack, "--cluster-enabled", "yes", "--cluster-node-timeout", str(NODE_TIMEOUT_MS), "--cluster-port", bus
    )


def _sentinel(stack: ExitStack, master: int) -> RedisServer:
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    config = Path(folder) / "sentinel.conf"
    config.write_text(
        f"sentinel monitor {SERVICE} 127.0.0.1 {master} 2\n"
        f"sentinel down-after-milliseconds {SERVICE} 500\n"
        f"sentinel failover-timeout {SERVICE} 3000\n"
    )
    sentinel = Sentinel(free_port(), folder)
    stack.callback(sentinel.kill)
    sentinel.start()
    return sentinel


class Sentinel(RedisServer):
    """A sentinel: a redis-server that takes its own kind of settings."""

    @property
    def command(self) -> list[str]:
        return [
            *(str(self.binary), f"{self.folder}/sentinel.conf", "--sentinel"),
            *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.folder),
        ]


def _last_words(node: RedisServer) -> str:
    """How a node is, what it sees, and the end of its log."""
    ended = None if node.process is None else node.process.poll()
    try:
        sees = node.call("CLUSTER", "NODES")
    except (redis.RedisError, OSError) as error:
        sees = error
    return f"{node.port}: ended with {ended}, sees {sees!r}\n{node.log.read_text()[-2_000:]}"


def _pairs(flat: Any) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True)) if isinstance(flat, list) else flat
