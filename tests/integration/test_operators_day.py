"""An operator's day, through the command line alone, while the gateway runs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tests.cli.command import Done, command
from tests.integration.stage import Stage, get, staged, until
from tests.redis_server import RedisServer

LBORO = "/lboro/timeline/day/views/article/77?start_date=2014-01-01&end_date=2014-03-01"
PAIR = ("--institution", "lboro", "--username", "lboro", "--password-stdin")


class Operator:
    """Types commands, in one environment."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment

    def does(self, *words: str, given: str = "", code: int = 0, **more: str) -> Done:
        settings: Any = {
            name: value for name, value in self.environment.items() if name.startswith("STATS_")
        } | more
        done = command(*words, given=given.encode(), **settings)
        assert done.code == code, done.said
        return done

    def told(self, *words: str) -> Any:
        return json.loads(self.does(*words, "--json").out)


def status(stage: Stage, key: str) -> int:
    return get(stage.gateways[0].url + LBORO, headers={"X-API-Key": key}).status_code


def cache(stage: Stage, key: str) -> str:
    return str(get(stage.gateways[0].url + LBORO, headers={"X-API-Key": key}).headers["cache-status"])


def logged(output: str, event: str) -> list[Any]:
    """The lines of a log about an event."""
    return [json.loads(line) for line in output.splitlines() if f'"event": "{event}"' in line]


def test_an_operators_day(shared_redis: RedisServer, prefix: str, tmp_path: Path) -> None:
    settings = {"redis_url": shared_redis.url, "redis_prefix": prefix, "budget": "unlimited"}
    with staged(**settings, admin_token="hunter2-admin") as stage:
        gateway = stage.serve()
        admin = f"http://127.0.0.1:{gateway.admin_port}"
        operator = Operator(stage.environment | {"STATS_GATEWAY_ADMIN_URL": admin})

        operator.does("tenant", "add", "reports", *PAIR, given="sandbox-lboro")
        key = operator.does("key", "add", "reports", "--label", "cron").out.strip()
        until(lambda: status(stage, key) == 200)
        assert "; hit" in cache(stage, key)

        until(lambda: operator.told("usage", "--tenant", "reports")["usage"] != [])
        (row,) = operator.told("usage", "--tenant", "reports")["usage"]
        assert row["requests"] >= 2
        assert row["calls"] == 1
        assert re.search(r"reports +\d+ +\d+ +1\n", operator.does("usage").out)
        assert "1 process\n" in operator.does("queue").out

        operator.does("tenant", "add", "reports", *PAIR, given="wrong")
        until(lambda: status(stage, key) == 403)
        operator.does("tenant", "add", "reports", *PAIR, given="sandbox-lboro")
        until(lambda: status(stage, key) == 200)

        new = operator.does("key", "rotate", key[4:14], "--overlap", "1h").out.strip()
        until(lambda: status(stage, new) == 200)
        assert status(stage, key) == 200

        assert operator.told("purge", "--item", "article/77", "--preview")["matching"] >= 1
        operator.does("purge", "--item", "article/77", "--hard")
        assert operator.told("explain", LBORO, "--tenant", "reports")["decision"] == "Fetch"
        backwards = LBORO.replace("start_date=2014", "start_date=2015")
        unknown = operator.does("explain", backwards, "--tenant", "reports").out
        assert "its start_date is after its end_date" in unknown
        nothing = operator.does("explain", "/total/views/article/4242", "--tenant", "reports").out
        assert re.search(r"^cache +Redis answers$", nothing, re.MULTILINE)
        assert re.search(r"^entry +none$", nothing, re.MULTILINE)
        assert "fwd=uri-miss" in cache(stage, new)
        assert "Serve" in operator.does("explain", LBORO, "--tenant", "reports").out

        fingerprint = operator.told("explain", LBORO, "--tenant", "reports")["scope"]["fingerprint"]
        held = operator.does("breaker", "hold", fingerprint).out
        assert re.search(rf"^lboro \(reports\) .* {fingerprint}$", held, re.MULTILINE)
        (refused,) = operator.told("queue")["refused"]
        assert (refused["institution"], refused["tenants"]) == ("lboro", ["reports"])
        assert "1 not used: lboro (reports) held for" in operator.does("top", "--once").out
        until(lambda: logged(gateway.output, "credential_held"))
        (line,) = logged(gateway.output, "credential_held")
        assert (line["institution"], line["tenants"]) == ("lboro", ["reports"])
        assert status(stage, new) == 403
        operator.does("breaker", "resume", fingerprint)
        assert fingerprint not in operator.does("breaker", "list").out
        until(lambda: logged(gateway.output, "credential_used_again"))
        assert status(stage, new) == 200
        assert re.search(r"admin_token +\*\*\*\n", operator.does("settings").out)
        until(lambda: new[4:14] in str([each for each in operator.told("key", "list", "reports", "--last-used")
                                        if each["last_used"]]))  # fmt: skip
        used = operator.does("key", "list", "reports", "--last-used")
        assert re.search(rf"^{new[4:14]} +cron +\d{{4}}-\S+ +\d+ (s|min)$", used.out, re.MULTILINE)
        assert used.err == "Uses of the last 5 s may be missing: gateways report theirs that often.\n"

        operator.does("gate", "hold")
        assert operator.does("gate", "show").out.startswith("held")
        assert "gate held, no call until the gate is resumed, 1 process\n" in operator.does("queue").out
        operator.does("gate", "resume")

        operator.does("key", "revoke", key[4:14])
        until(lambda: status(stage, key) == 401)

        (tmp_path / "all.toml").write_text(operator.does("tenant", "export").out)
        secret = Path(f"{stage.environment['STATS_GATEWAY_REGISTRY']}.key").read_text().strip()
        moved: Any = {"STATS_GATEWAY_REGISTRY": shared_redis.url, "STATS_GATEWAY_ENCRYPTION_KEYS": secret}
        operator.does("tenant", "import", str(tmp_path / "all.toml"), **moved)
        second = stage.serve(registry=shared_redis.url, encryption_keys=secret)
        answers = [get(second.url + LBORO, headers={"X-API-Key": each}).status_code for each in (new, key)]
        assert answers == [200, 401]
        operator.does("key", "revoke", new[4:14], **moved)
        until(lambda: get(second.url + LBORO, headers={"X-API-Key": new}).status_code == 401)


def test_commands_that_ask_say_what_is_amiss_and_end_with_a_code_that_means_something(
    shared_redis: RedisServer, prefix: str
) -> None:
    nobody = Operator({"STATS_GATEWAY_ADMIN_URL": "http://127.0.0.1:1"})
    assert "no gateway answers at http://127.0.0.1:1" in nobody.does("queue", code=7).err
    for url, code in (("http://u:hunter2@127.0.0.1:1", 7), ("http://u:hunter2@[", 7), ("ftp://u:hunter2@h", 2)):
        assert "hunter2" not in nobody.does("queue", "--admin-url", url, code=code).said
    for token in ("hunter2\x07", "hunter2é"):
        nobody.environment["STATS_GATEWAY_ADMIN_TOKEN"] = token
        assert "hunter2" not in nobody.does("queue", code=2).said
    with staged(redis_url=shared_redis.url, redis_prefix=prefix, admin_token="hunter2-admin") as stage:
        gateway = stage.serve()
        admin = f"http://127.0.0.1:{gateway.admin_port}"
        operator = Operator({"STATS_GATEWAY_ADMIN_URL": admin})
        assert "set STATS_GATEWAY_ADMIN_TOKEN" in operator.does("queue", code=6).err
        operator.environment["STATS_GATEWAY_ADMIN_TOKEN"] = "hunter2-mistyped"
        wrong = operator.does("queue", code=6).err
        assert "none of the gateway's admin tokens; STATS_GATEWAY_ADMIN_TOKEN holds another token" in wrong
        operator.environment["STATS_GATEWAY_ADMIN_TOKEN"] = "hunter2-admin"
        assert "no such tenant" in operator.does("explain", "/", "--tenant", "nobody", code=3).err
        assert "exactly one" in operator.does("purge", code=6).err
        assert "a fingerprint is" in operator.does("breaker", "hold", "../../tenants", code=6).err.lower()
        assert "--yes" in operator.does("purge", "--all", "--hard", code=2).err
        operator.environment["STATS_GATEWAY_ADMIN_URL"] = gateway.url
        assert "hunter2" not in operator.does("queue", code=6).said
