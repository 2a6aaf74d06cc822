"""A registry file that is mounted by itself into a container can be written, and not replaced. On real mounts."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from threading import Event

import pytest

from gateway.errors import ConfigurationError
from gateway.settings import Settings
from gateway.tenants import files
from gateway.tenants.registry import open_registry

ROOT = Path(__file__).parents[2]
BEGIN = "# by hand\n[tenants.first]\nname = 'First'\n"
ADD = """
import sys
from pathlib import Path
from gateway.settings import Settings
from gateway.tenants.registry import open_registry

registry = open_registry(Settings(registry=Path(sys.argv[1])))
for number in range(8):
    registry.create(f"{sys.argv[2]}-{number}")
"""
MOUNTS = {
    "writable folder": 'mount --bind "$OUTSIDE" "$INSIDE"',
    "read-only folder": 'mount --bind "$FOLDER" "$FOLDER" && mount --bind "$OUTSIDE" "$INSIDE" && '
    'mount -o remount,bind,ro "$FOLDER"',
}


def in_namespace(script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs a shell script with mounts of its own."""
    words = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]), "sh", "-ec", script]
    environment = os.environ | variables | {"PYTHON": sys.executable, "PYTHONPATH": str(ROOT), "ADD": ADD}
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def _mounts() -> None:
    try:
        able = (
            in_namespace('d=$(mktemp -d) && mount --bind "$d" "$d" && umount "$d" && rmdir "$d"').returncode == 0
        )
    except FileNotFoundError:
        able = False
    if not able:
        pytest.skip("needs unshare, and the right to mount")


@pytest.fixture(params=MOUNTS)
def mounted(request: pytest.FixtureRequest, tmp_path: Path, _mounts: None) -> tuple[str, dict[str, str]]:
    outside, folder = tmp_path / "outside.toml", tmp_path / "etc"
    outside.write_text(BEGIN)
    folder.mkdir()
    (folder / "tenants.toml").touch()
    (tmp_path / "tmp").mkdir()
    places = {"OUTSIDE": str(outside), "FOLDER": str(folder), "INSIDE": str(folder / "tenants.toml")}
    return MOUNTS[request.param], places | {"TMPDIR": str(tmp_path / "tmp")}


def test_several_who_edit_it_at_once_lose_nothing_and_leave_a_copy(
    mounted: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    mount, places = mounted
    script = f"""{mount}
    for each in a b c; do "$PYTHON" -c "$ADD" "$INSIDE" $each & pids="$pids $!"; done
    for pid in $pids; do wait $pid; done"""
    done = in_namespace(script, **places)
    assert done.returncode == 0, done.stderr
    outside = tmp_path / "outside.toml"
    tables = open_registry(Settings(registry=outside)).store.read()
    assert set(tables) == {"first"} | {f"{name}-{number}" for name in "abc" for number in range(8)}
    assert outside.read_text().startswith(BEGIN)
    (copy,) = [*tmp_path.glob("*/tenants.toml.copy")]
    assert copy.read_text().count("[tenants.") == len(tables) - 1, "it is the file before the last edit"


def test_a_reader_waits_for_whoever_writes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tenants.toml"
    path.write_text(BEGIN)
    met = Event()
    monkeypatch.setattr(files, "PATIENCE", 30.0)
    monkeypatch.setattr(time, "sleep", lambda _: met.set())
    with path.open("r+") as writing:
        assert files._flock(writing.fileno(), fcntl.LOCK_EX, 0.0)
        reading = files.aside(lambda: files.read(path))
        writing.truncate(5)
        assert met.wait(30)
        writing.seek(0)
        writing.write(BEGIN)
    assert reading.result(30) == BEGIN


def test_a_file_that_changed_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "tenants.toml"
    path.write_text(BEGIN)
    before = files.stamp(path)
    path.write_text(BEGIN + "# more\n")
    with pytest.raises(files.Overtaken):
        files._in_place(path, b"", lambda _: None, before)
    assert path.read_text() == BEGIN + "# more\n"


def test_the_copy_is_its_owners_alone_whoever_left_a_file_of_that_name(tmp_path: Path) -> None:
    path, copy = tmp_path / "tenants.toml", tmp_path / "tenants.toml.copy"
    path.write_text(BEGIN)
    copy.touch()
    copy.chmod(0o666)
    files._in_place(path, b"", lambda _: None, None)
    assert (copy.read_text(), copy.stat().st_mode & 0o777) == (BEGIN, 0o600)


def test_without_a_copy_nothing_is_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tenants.toml"
    path.write_text(BEGIN)
    (tmp_path / "tenants.toml.copy").mkdir()
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path / "gone"))
    with pytest.raises(ConfigurationError, match="no room for a copy"):
        files._in_place(path, b"", lambda _: None, None)
    assert path.read_text() == BEGIN
