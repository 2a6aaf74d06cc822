"""What the image promises, read from the Dockerfile."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import gateway
from gateway.setting_values import unknown_variables
from gateway.settings import Settings
from tests.container.box import ROOT
from tests.container.context import Ignored, context
from tests.container.dockerfile import Stage, stages

HADOLINT = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
SHIPPED = {".css", ".html", ".js", ".json", ".lua", ".py", ".svg", ".typed"}
SECRETS = [
    ".env",
    ".git/config",
    "tenants.toml",
    "tenants.toml.key",
    "gateway.toml",
    "id_rsa",
    "requirements-dev.lock",
    "dump.rdb",
    "tests/conftest.py",
    "helm/values.yaml",
    "gateway/.env",
    "gateway/prod.env",
    "gateway/tenants.toml",
    "gateway/tenants.toml.bak",
    "gateway/tenants/tenants.toml.key",
    "gateway/console/server.pem",
    "gateway/__pycache__/app.cpython-311.pyc",
    "gateway/cli/__pycache__/app.cpython-311.pyc",
]


@pytest.fixture(scope="module")
def both() -> list[Stage]:
    return stages(ROOT / "Dockerfile")


@pytest.fixture(scope="module")
def build(both: list[Stage]) -> Stage:
    return both[0]


@pytest.fixture(scope="module")
def image(both: list[Stage]) -> Stage:
    return both[-1]


def test_hadolint_has_nothing_to_say() -> None:
    if HADOLINT is None:
        if os.environ.get("CI"):
            pytest.fail("hadolint is missing")
        pytest.skip("hadolint is missing: it ships for Linux and macOS")
    done = subprocess.run([HADOLINT, "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_base_is_the_oldest_python_that_is_supported_slim_and_a_build_argument(both: list[Stage]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    oldest = project["requires-python"].removeprefix(">=")
    assert [stage.base for stage in both] == [f"python:{oldest}-slim"] * 2
    assert [stage.base for stage in stages(ROOT / "Dockerfile", PYTHON_IMAGE="other:1")] == ["other:1"] * 2


def test_the_last_stage_installs_nothing_and_takes_only_what_was_built(image: Stage) -> None:
    assert image.all("RUN") == []
    assert image.all("ADD") == []
    prefix = image.variables["PREFIX"]
    copied = [[image.expanded(word) for word in each.words] for each in image.all("COPY")]
    assert copied == [
        ["--from=build", prefix, prefix],
        ["--from=build", "--chown=10001:10001", "/src/state", "/var/lib/stats-gateway"],
    ]


def test_everything_installed_is_locked_with_its_hash(build: Stage) -> None:
    installs = [part for each in build.all("RUN") for part in each.value.split("&&") if " install " in part]
    assert len(installs) == 3
    for words in (part.split() for part in installs):
        assert "--no-deps" in words
        if "-r" in words:
            assert {"--require-hashes", "--only-binary"} <= set(words)
            lock = (ROOT / words[-1]).read_text()
            assert "--hash=sha256:" in lock
        else:
            assert "--no-index" in words
    assert build.environment["PIP_NO_CACHE_DIR"] == "1"


def test_it_runs_as_a_user_that_is_a_number_and_not_root(image: Stage) -> None:
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", image.only("USER").value)


def test_serve_is_what_it_does_unless_told_otherwise(image: Stage) -> None:
    assert image.only("ENTRYPOINT").words == ["stats-gateway"]
    assert image.only("CMD").words == ["serve"]
    assert image.environment["PATH"].split(":")[0] == f"{image.variables['PREFIX']}/bin"


def test_only_the_public_port_is_told_of(image: Stage) -> None:
    assert image.only("EXPOSE").value == str(Settings.model_fields["port"].default)
    assert image.environment["STATS_GATEWAY_HOST"] == "0.0.0.0"
    assert "STATS_GATEWAY_ADMIN_HOST" not in image.environment


def test_what_it_sets_are_settings(image: Stage) -> None:
    assert unknown_variables(image.environment, Settings.model_fields) == []


def test_it_is_stopped_as_it_drains_and_asked_for_its_health(image: Stage) -> None:
    assert image.only("STOPSIGNAL").value == "SIGTERM"
    options, _, command = image.only("HEALTHCHECK").value.partition(" CMD ")
    assert command == '["stats-gateway", "health"]'
    assert {word.split("=")[0] for word in options.split()} == {
        "--interval",
        "--timeout",
        "--start-period",
        "--retries",
    }


def test_labels_say_what_it_is(image: Stage) -> None:
    labels = {name: image.expanded(value) for name, value in image.only("LABEL").pairs.items()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert labels == {
        "org.opencontainers.image.title": project["name"],
        "org.opencontainers.image.description": project["description"],
        "org.opencontainers.image.licenses": project["license"],
        "org.opencontainers.image.version": gateway.__version__,
        "org.opencontainers.image.revision": "unknown",
    }


def test_no_secret_is_built_in(both: list[Stage]) -> None:
    for stage in both:
        assert not [
            name for name in stage.variables if re.search("TOKEN|SECRET|PASSWORD|ENCRYPTION|REDIS_URL", name)
        ]


def test_the_context_is_what_the_build_copies_and_no_more(build: Stage) -> None:
    copied = {word for each in build.all("COPY") for word in each.words[:-1]}
    given = context(ROOT)
    assert {path.split("/")[0] for path in given} == copied
    assert {Path(path).suffix for path in given if path.startswith("gateway/")} <= SHIPPED
    ours = {path.relative_to(ROOT).as_posix() for path in (ROOT / "gateway").rglob("*") if path.suffix in SHIPPED}
    assert ours <= given


@pytest.mark.parametrize("secret", SECRETS)
def test_what_should_not_be_there_is_left_out(tmp_path: Path, secret: str) -> None:
    shutil.copy(ROOT / ".dockerignore", tmp_path)
    for name in (secret, "gateway/app.py", "LICENSE"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert context(tmp_path) == {"gateway/app.py", "LICENSE"}


@pytest.mark.parametrize(
    ("rules", "left_out", "given"),
    [
        ("*\n!a", ["b", "c/a"], ["a", "a/b"]),
        ("a/*.py", ["a/x.py"], ["a/b/x.py", "x.py"]),
        ("**/*.py", ["x.py", "a/b/x.py"], ["x.pyc"]),
        ("a/**/b", ["a/b", "a/x/y/b", "a/x/b/c"], ["b", "ab"]),
        ("# a\n\n/a\n", ["a", "a/b"], ["b/a"]),
        ("a\n!a/b\na/b/c", ["a/x", "a/b/c"], ["a/b/d"]),
        ("?.txt", ["a.txt"], ["ab.txt", ".txt"]),
    ],
)
def test_the_rules_are_dockers(rules: str, left_out: list[str], given: list[str]) -> None:
    ignored = Ignored(rules)
    assert [path for path in left_out + given if ignored(path)] == left_out
