"""Files that an editor began with a byte order mark read as those without one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.cli.batch import _content
from gateway.errors import UnusableSettings
from gateway.settings import Settings, load_settings
from gateway.tenants.registry import open_registry
from tests.cli.command import run

BOM = "\ufeff"
TENANT = "[tenants.reports]\nname = 'Reports'\n"
PASSWORD = "hunter2-lboro"


def marked(path: Path) -> None:
    """Begins a file with a byte order mark."""
    path.write_text(BOM + path.read_text())


def test_a_registry_and_its_keys_are_read_and_edited(tmp_path: Path) -> None:
    path = tmp_path / "tenants.toml"
    path.write_text(BOM + TENANT)
    pair = ("--institution", "lboro", "--username", "lboro", "--password-stdin", "--registry", str(path))
    assert run("tenant", "add", "reports", *pair, given=f"{BOM}{PASSWORD}\n").code == 0
    for each in (path, Path(f"{path}.key")):
        marked(each)
    tenant = open_registry(Settings(registry=path)).load().tenants["reports"]
    unmarked = tmp_path / "unmarked.toml"
    Path(f"{unmarked}.key").write_text(Path(f"{path}.key").read_text("utf-8-sig"))
    run("tenant", "add", "reports", *pair[:-1], str(unmarked), given=PASSWORD)
    other = open_registry(Settings(registry=unmarked)).load().tenants["reports"]
    assert (tenant.name, tenant.credentials) == ("Reports", other.credentials), "the password has no mark in it"


@pytest.mark.parametrize("place", ["file", "stdin"])
def test_an_export_is_imported(tmp_path: Path, place: str) -> None:
    export = tmp_path / "all.toml"
    export.write_text(BOM + TENANT)
    words = ("tenant", "import", str(export) if place == "file" else "-", "--registry", str(tmp_path / "to.toml"))
    assert run(*words, given=BOM + TENANT).err == "Imported 1 tenant.\n"


def test_a_settings_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATS_GATEWAY_CONFIG", "")
    path = tmp_path / "gateway.toml"
    path.write_text(f"{BOM}budget_burst = 7\n")
    assert load_settings(path).budget_burst == 7
    path.write_text(f"{BOM}colour = 'red'\n")
    with pytest.raises(UnusableSettings, match="unknown setting 'colour'"):
        load_settings(path)
    assert run("config", "--config", str(path)).error is not None


@pytest.mark.parametrize("wrap", [lambda line: line, lambda line: json.dumps({"targets": [line]})])
def test_targets_of_a_batch_are_read(tmp_path: Path, wrap: Callable[[str], str]) -> None:
    path = tmp_path / "targets.txt"
    path.write_text(BOM + wrap("/total/views/article/23"))
    assert json.loads(_content(path)) == {"targets": ["/total/views/article/23"]}
