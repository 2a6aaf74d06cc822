"""A box that is as much of a container as goes without an engine: the image's own install commands, run into an
empty prefix, and what it starts, run without privileges on a tree that cannot be written."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.container.context import context
from tests.container.dockerfile import Stage, stages

ROOT = Path(__file__).parents[2]
AS_ROOT = os.geteuid() == 0
PYTHON = Path(sys.base_prefix)
READ_ONLY = """
set -e
place=$1 writable=$2 python=$3 closed=$4
shift 4
mount --bind "$place" "$place"
if [ -n "$closed" ]; then
  mount --bind "$python" "$place/python"
  mount -t tmpfs -o mode=755 tmpfs "$closed"
  mkdir -p "$python"
  mount --move "$place/python" "$python"
  mount -o remount,ro "$closed"
fi
mount -o remount,bind,ro "$place"
mount --bind "$writable" "$writable"
mount -o remount,bind,rw "$writable"
mount -o remount,bind,ro /
cd "$writable"
exec "$@"
"""
"""Everything read-only but one folder; and Python where all may use it, if it lies in somebody's closed folder."""


def closed() -> str:
    """The outermost folder above this Python that its owner alone may enter; empty where there is none."""
    return next((str(each) for each in reversed(PYTHON.parents) if not each.stat().st_mode & 0o001), "")


@dataclass
class Box:
    """``place`` stands for the image's file system, ``writable`` for the volume at /tmp and the registry's."""

    place: Path
    image: Stage

    @property
    def prefix(self) -> Path:
        return self.place / "prefix"

    @property
    def writable(self) -> Path:
        return self.place / "writable"

    @property
    def environment(self) -> dict[str, str]:
        """The image's own, with the volumes' places, and nothing of this machine's."""
        named = {
            "TMPDIR": str(self.writable),
            "STATS_GATEWAY_REGISTRY": str(self.writable / "tenants.toml"),
            "STATS_GATEWAY_ADMIN_PORT": "0",
        }
        return self.image.environment | named

    def run(
        self, words: list[str], settings: Mapping[str, str] | None = None, given: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        """Runs a command in the box to its end."""
        return subprocess.run(
            self._contained(words),
            input=given,
            env=self.environment | dict(settings or {}),
            cwd=self.writable,
            capture_output=True,
            timeout=60,
            check=False,
        )

    @contextmanager
    def running(self, words: list[str], **settings: str) -> Iterator[Contained]:
        """Runs a command in the box as its first process."""
        log = self.place / "log"
        with log.open("wb") as output:
            outer = subprocess.Popen(
                self._contained(words, first=True),
                env=self.environment | settings,
                cwd=self.writable,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
            contained = Contained(outer, log)
            try:
                yield contained
            finally:
                # It would outlive what started it, whose --kill-child a change of user undoes.
                with suppress(OSError, IndexError):
                    contained.send("SIGKILL")
                outer.kill()
                outer.wait()

    def _contained(self, words: list[str], *, first: bool = False) -> list[str]:
        if not AS_ROOT:
            return words
        user, _, group = self.image.only("USER").value.partition(":")
        words = ["setpriv", "--reuid", user, "--regid", group, "--clear-groups", "--no-new-privs",
                 "--bounding-set=-all", "--inh-caps=-all", "--", *words]  # fmt: skip
        if not can_mount():
            return words
        space = ["unshare", "--mount", "--propagation", "private"]
        space += ["--pid", "--fork", "--kill-child", "--mount-proc"] if first else []
        places = [str(self.place), str(self.writable), str(PYTHON), closed()]
        return [*space, "sh", "-c", READ_ONLY, "sh", *places, *words]


@dataclass
class Contained:
    """What runs in a box; ``outer`` is what started it, or itself where there is no namespace."""

    outer: subprocess.Popen[bytes]
    log: Path

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def send(self, name: str) -> None:
        """A signal, by its name, to the box's first process."""
        children = Path(f"/proc/{self.outer.pid}/task/{self.outer.pid}/children").read_text().split()
        pid = int(children[0]) if AS_ROOT and can_mount() else self.outer.pid
        os.kill(pid, getattr(signal, name))


@cache
def can_mount() -> bool:
    """Whether this machine lets us make namespaces of our own."""
    probe = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc",
             "sh", "-c", "mount --bind /usr /usr && mount -o remount,bind,ro /usr"]  # fmt: skip
    return AS_ROOT and bool(shutil.which("unshare")) and subprocess.run(probe, capture_output=True).returncode == 0


@contextmanager
def built() -> Iterator[Box]:
    """Does what a build would: copies what the build stage copies, and runs what it runs, word for word.

    Only ``PREFIX`` is another; and pip's cache is used, where the image must have none.
    """
    with tempfile.TemporaryDirectory(prefix="stats-gateway-box-") as name:
        place = Path(name)
        place.chmod(0o755)
        base = place / "base"
        subprocess.run([sys.executable, "-m", "venv", str(base)], check=True)
        path = f"{base / 'bin'}:/usr/local/bin:/usr/bin:/bin"
        build, image = stages(ROOT / "Dockerfile", PREFIX=str(place / "prefix"), PATH=path)
        source = place / "src"
        source.mkdir()
        for each in build.instructions:
            if each.name == "COPY":
                _copy(each.words, source)
            elif each.name == "RUN":
                done = subprocess.run(
                    ["sh", "-ec", each.value],
                    cwd=source,
                    env=_environment(build.variables),
                    capture_output=True,
                    check=False,
                )
                assert done.returncode == 0, (done.stdout + done.stderr).decode()
        shutil.rmtree(base)
        box = Box(place, image)
        box.writable.mkdir()
        (place / "python").mkdir()
        if AS_ROOT:
            os.chown(box.writable, *(int(number) for number in image.only("USER").value.split(":")))
        for folder, _, files in os.walk(box.prefix):
            for each_name in [".", *files]:
                path_of = Path(folder, each_name)
                if not path_of.is_symlink():
                    path_of.chmod(path_of.stat().st_mode & ~0o222)
        try:
            yield box
        finally:
            for folder, *_ in os.walk(box.prefix):
                Path(folder).chmod(0o755)


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if name.startswith("PIP_") or name.endswith("_proxy")
    }
    return (
        kept
        | {"HOME": os.environ.get("HOME", "/")}
        | {n: v for n, v in variables.items() if n != "PIP_NO_CACHE_DIR"}
    )


def _copy(words: list[str], source: Path) -> None:
    """COPY from the context; as Docker's, it copies a folder's content."""
    *origins, target = words
    given = context(ROOT)
    for origin in origins:
        files = {path for path in given if path == origin or path.startswith(f"{origin}/")}
        assert files, f"{origin} is not in the build's context"
        for path in files:
            inside = Path(path).name if path == origin else Path(path).relative_to(origin)
            place = source / target / inside
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, place)
