"""Start-up: from the command to the first answer."""

from __future__ import annotations

from benchmarks.origin import origin
from benchmarks.results import Column, Table
from benchmarks.rig import ASGI, BARE, GATEWAY, NGINX, VARNISH, Rig, Samples

ABOUT = (
    "From the start of the process until it answers (the gateway: until it is ready), and the memory that it then "
    "takes."
)


def measure(rig: Rig) -> list[Table]:
    """The table."""
    samples = Samples()
    with origin(rig.folder) as service:
        for turn, contender in rig.turns(rig.among(NGINX, VARNISH, BARE, GATEWAY, ASGI)):
            with rig.started(contender, service) as running:
                samples.add(contender, {"ready": running.ready, "memory": running.memory / 1e6})
                rig.say(f"start-up, round {turn + 1}, {contender.name}: {running.ready:.2f} s")
    columns = [Column("ready", "ready after, s", 2), Column("memory", "memory, MB")]
    return [samples.table("startup", "Start-up", ABOUT, columns)]
