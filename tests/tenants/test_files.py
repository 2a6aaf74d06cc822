"""Small files that several processes read and write."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from gateway.errors import ConfigurationError
from gateway.tenants import files


def test_a_new_file_is_its_owners_alone_whatever_the_umask(path: Path) -> None:
    files.replace(path, "one\n")
    assert path.read_text() == "one\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o600, 0o640])
def test_a_replaced_file_keeps_its_mode(path: Path, mode: int) -> None:
    files.replace(path, "one\n")
    path.chmod(mode)
    files.replace(path, "two\n")
    assert path.read_text() == "two\n"
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_root_who_edits_a_services_file_leaves_it_to_the_service(path: Path) -> None:
    files.replace(path, "one\n")
    os.chown(path, 12_345, 54_321)
    files.replace(path, "two\n")
    assert (path.stat().st_uid, path.stat().st_gid) == (12_345, 54_321)


def test_a_link_stays_a_link_and_its_target_is_replaced(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere.toml"
    target.write_text("one\n")
    path.symlink_to(target)
    files.replace(path, "two\n")
    assert path.is_symlink()
    assert target.read_text() == "two\n"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(path: Path) -> None:
    files.replace(path, "one\n")
    with pytest.raises(UnicodeEncodeError):
        files.replace(path, "\udcff")
    assert path.read_text() == "one\n"
    assert list(path.parent.iterdir()) == [path]


def test_a_change_of_any_kind_changes_the_stamp(path: Path) -> None:
    assert files.stamp(path) is None
    seen = set()
    for text in ("one", "two", "three"):
        files.replace(path, text)
        os.utime(path, ns=(0, 0))
        seen.add(files.stamp(path))
    path.write_text("four, in place")
    seen.add(files.stamp(path))
    assert len(seen) >= 3
    assert None not in seen


def test_a_missing_file_is_none_and_an_unreadable_one_an_error(path: Path) -> None:
    assert files.read(path) is None
    path.mkdir()
    with pytest.raises(ConfigurationError, match=f"cannot read {path}"):
        files.read(path)


def test_a_file_that_is_not_utf8_is_an_error(path: Path) -> None:
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        files.read(path)


def test_a_file_that_cannot_be_written_is_an_error_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot write .*No such file"):
        files.replace(tmp_path / "missing" / "file", "text")
