"""``stats-gateway tenant`` and ``stats-gateway key``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.tenants.tenant import digest_of, mint_key, parse_key
from tests.cli.command import Done, run

UNLIMITED = dict.fromkeys(["requests_per_second", "burst", "requests_per_day", "queued"]) | {"share": 1.0}
PASSWORD = "hunter2 with: a colon"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tenants.toml"


def add(path: Path, *more: str, tenant: str = "reports", institution: str = "lboro") -> Done:
    pair = ["--institution", institution, "--username", institution, "--password-stdin"]
    return run("tenant", "add", tenant, *pair, *more, "--registry", str(path), given=PASSWORD + "\n")


def new_key(path: Path, *more: str) -> str:
    done = run("key", "add", "reports", *more, "--registry", str(path))
    assert done.code == 0
    return done.out.removesuffix("\n")


def listed(path: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = json.loads(run("tenant", "list", "--json", "--registry", str(path)).out)
    return rows


def test_adding_says_what_was_done_and_what_comes_next(path: Path) -> None:
    first = add(path, "--name", "Report scripts")
    assert (first.code, first.out) == (0, "")
    assert "Added tenant reports with the credential for lboro." in first.err
    assert "stats-gateway key add reports" in first.err
    assert add(path, institution="monash").err == "Added the credential for monash to tenant reports.\n"
    assert add(path).err == "Replaced the credential for lboro of tenant reports.\n"
    assert listed(path) == [
        {
            "id": "reports",
            "name": "Report scripts",
            "enabled": True,
            "note": "",
            "origins": [],
            "networks": [],
            "limits": dict.fromkeys(["requests_per_second", "burst", "requests_per_day", "queued"])
            | {"share": 1.0},
            "lifetimes": {},
            "institutions": [
                {"institution": "lboro", "username": "lboro"},
                {"institution": "monash", "username": "monash"},
            ],
            "keys": [],
        }
    ]


def test_a_tenant_without_an_institution_can_be_added_and_renamed(path: Path) -> None:
    assert "Added tenant open." in run("tenant", "add", "open", "--registry", str(path)).err
    renamed = run("tenant", "add", "open", "--name", "Öffentlich", "--registry", str(path))
    assert renamed.err == "Renamed tenant open.\n"
    assert listed(path)[0]["name"] == "Öffentlich"


def test_a_new_key_is_alone_on_stdout_and_the_hint_is_not(path: Path) -> None:
    add(path)
    done = run("key", "add", "reports", "--label", "cron", "--registry", str(path))
    assert parse_key(done.out.removesuffix("\n")) is not None
    assert "cannot be shown again" in done.err
    assert done.out.strip() not in done.err


def test_lists_are_tables_for_people(path: Path) -> None:
    add(path, "--name", "Report scripts")
    key_id = new_key(path, "--label", "cron")[4:14]
    tenants = run("tenant", "list", "--registry", str(path)).out.splitlines()
    assert tenants[0].split() == ["ID", "NAME", "STATUS", "INSTITUTIONS", "KEYS"]
    assert tenants[1].split() == ["reports", "Report", "scripts", "enabled", "lboro", "1"]
    held = run("key", "list", "reports", "--registry", str(path)).out.splitlines()
    assert held[0].split() == ["KEY", "LABEL", "CREATED", "EXPIRES", "STATUS"]
    assert held[1].split()[:2] == [key_id, "cron"]
    assert held[1].endswith("active")
    shown = run("tenant", "show", "reports", "--registry", str(path)).out
    assert "lboro        lboro" in shown
    assert key_id in shown


def test_show_as_json_is_the_lists_row(path: Path) -> None:
    add(path)
    new_key(path)
    shown = json.loads(run("tenant", "show", "reports", "--json", "--registry", str(path)).out)
    assert [shown] == listed(path)
    held = json.loads(run("key", "list", "reports", "--json", "--registry", str(path)).out)
    assert held == shown["keys"]
    assert list(held[0]) == ["id", "label", "created", "expires", "revoked"]


def test_a_key_is_revoked_by_its_id(path: Path) -> None:
    add(path)
    key = new_key(path)
    done = run("key", "revoke", key[4:14], "--registry", str(path))
    assert (done.code, done.said) == (0, f"Revoked key {key[4:14]}.\n")
    assert "revoked 2" in run("key", "list", "reports", "--registry", str(path)).out
    assert run("tenant", "list", "--registry", str(path)).out.split()[-1] == "0"


def test_removing_takes_one_institution_or_the_tenant(path: Path) -> None:
    add(path)
    add(path, institution="monash")
    run("tenant", "remove", "reports", "--institution", "monash", "--registry", str(path))
    assert listed(path)[0]["institutions"] == [{"institution": "lboro", "username": "lboro"}]
    assert "Removed tenant reports" in run("tenant", "remove", "reports", "--registry", str(path)).err
    assert listed(path) == []


def test_where_there_is_nothing_the_lists_say_how_to_begin(path: Path) -> None:
    empty = run("tenant", "list", "--registry", str(path))
    assert (empty.code, empty.out) == (0, "")
    assert "tenant add" in empty.err
    assert not path.exists()
    run("tenant", "add", "reports", "--registry", str(path))
    assert "key add reports" in run("key", "list", "reports", "--registry", str(path)).err


MISTAKES = {
    "no such tenant": (["tenant", "show", "nobody"], "there is no tenant 'nobody'"),
    "no such tenant for a key": (["key", "add", "nobody"], "there is no tenant 'nobody'"),
    "no such key": (["key", "revoke", "AbCdEf1234"], "no key with the id AbCdEf1234"),
    "a bad id": (["tenant", "add", "Bad/Id"], "an id is 1 to 63"),
    "a family as institution": (
        ["tenant", "add", "x", "--institution", "top", "--username", "u", "--password-stdin"],
        "'top' cannot be an institution",
    ),
    "no username": (["tenant", "add", "x", "--institution", "lboro"], "--institution needs --username"),
    "no institution": (["tenant", "add", "x", "--password-stdin"], "need --institution"),
    "no terminal": (
        ["tenant", "add", "x", "--institution", "lboro", "--username", "u"],
        "use --password-stdin",
    ),
}


@pytest.mark.parametrize(("words", "reason"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_refused_with_a_reason_and_change_nothing(path: Path, words: list[str], reason: str) -> None:
    done = run(*words, "--registry", str(path), given="p\n")
    assert done.code == 2
    assert done.error is not None
    assert reason in done.error
    assert not path.exists()


def test_adding_what_exists_without_saying_what_to_change_is_refused(path: Path) -> None:
    add(path)
    done = run("tenant", "add", "reports", "--registry", str(path))
    assert done.error == "tenant 'reports' exists; give --institution or --name to change it"


@pytest.mark.parametrize("given", ["", "\n", "two\nlines\n", "x" * 5_000])
def test_a_password_that_cannot_be_used_is_refused(path: Path, given: str) -> None:
    pair = ["--institution", "lboro", "--username", "lboro", "--password-stdin"]
    done = run("tenant", "add", "reports", *pair, "--registry", str(path), given=given)
    assert done.error is not None
    assert "the password" in done.error
    assert not path.exists()


OF_A_KEY = {
    "a tenant's id": ["tenant", "add", "{}"],
    "a tenant's id, to look at": ["tenant", "show", "{}"],
    "a tenant's id, for a key": ["key", "add", "{}"],
    "a tenant's id, of keys": ["key", "list", "{}", "--last-used"],
    "a name": ["tenant", "add", "x", "--name", "{}"],
    "another name": ["tenant", "set", "reports", "--name", "the scripts' {}"],
    "a note": ["tenant", "set", "reports", "--note", "theirs is {}, by mail"],
    "an origin": ["tenant", "set", "reports", "--origin", "https://{}"],
    "an institution": ["tenant", "add", "x", "--institution", "{}", "--username", "u", "--password-stdin"],
    "a username": ["tenant", "add", "x", "--institution", "lboro", "--username={}", "--password-stdin"],
    "an institution to remove": ["tenant", "remove", "reports", "--institution", "{}"],
    "a label": ["key", "add", "reports", "--label", "{}"],
    "a key's id": ["key", "revoke", "{}"],
    "a key's id, to rotate": ["key", "rotate", "{}"],
    "a tenant to look at": ["usage", "--tenant", "{}"],
    "an item": ["purge", "--item", "article/{}"],
    "a path": ["explain", "/{}/total/views/article/23"],
    "a fingerprint": ["breaker", "hold", "{}"],
    "a command": ["{}"],
    "an option": ["tenant", "list", "--{}"],
}


@pytest.mark.parametrize("words", OF_A_KEY.values(), ids=OF_A_KEY)
@pytest.mark.parametrize("cut", [0, 1], ids=["whole", "cut short"])
def test_a_key_pasted_in_the_wrong_place_is_refused_and_not_repeated(
    path: Path, words: list[str], cut: int
) -> None:
    add(path)
    key = new_key(path)
    before, pasted = path.read_bytes(), key[: len(key) - cut]
    done = run(*(word.format(pasted) for word in words), given="p\n")
    assert done.code == 2
    assert "a gateway key was given" in (done.error or "")
    assert key[4:14] in (done.error or ""), "so that one finds it to revoke it"
    assert key[-20:-1] not in done.said
    assert path.read_bytes() == before


def test_a_password_may_be_a_key_of_another_gateway(path: Path) -> None:
    pair = ["--institution", "lboro", "--username", "any", "--password-stdin"]
    given = mint_key().text + "\n"
    assert run("tenant", "add", "reports", *pair, "--registry", str(path), given=given).code == 0


def test_an_import_with_a_key_in_a_label_writes_nothing(path: Path, tmp_path: Path) -> None:
    add(path)
    key = new_key(path, "--label", "a-label")
    exported = run("tenant", "export", "--registry", str(path)).out
    before = path.read_bytes()
    for label in (key, f"cron, {key}"):
        (tmp_path / "all.toml").write_text(exported.replace("a-label", label))
        done = run("tenant", "import", str(tmp_path / "all.toml"), "--replace", "--registry", str(path))
        assert "a gateway key was given where the label" in (done.error or "")
        assert path.read_bytes() == before
        assert key[-20:] not in done.said


def test_a_registry_that_holds_a_key_in_a_label_still_works(path: Path) -> None:
    add(path)
    key = new_key(path, "--label", "a-label")
    path.write_text(path.read_text().replace("a-label", key))
    assert run("key", "revoke", key[4:14], "--registry", str(path)).code == 0


def test_nothing_that_is_said_or_written_holds_a_password_a_secret_or_a_digest(path: Path) -> None:
    said = [add(path)]
    key = new_key(path)
    here = ["--registry", str(path)]
    for words in (["tenant", "list"], ["tenant", "show", "reports"], ["key", "list", "reports"]):
        said += [run(*words, *here), run(*words, "--json", *here)]
    said += [run("key", "revoke", key, *here), run("tenant", "remove", "nobody", *here)]
    parsed = parse_key(key)
    assert parsed is not None
    digest = digest_of(parsed[1]).hex()
    for done in said:
        for hidden in (PASSWORD, "enc:", parsed[1], digest):
            assert hidden not in done.said
    for file in path.parent.iterdir():
        for hidden in (PASSWORD, parsed[1]):
            assert hidden not in file.read_text()


def test_a_key_file_that_others_may_read_is_warned_of(path: Path) -> None:
    add(path)
    path.with_name("tenants.toml.key").chmod(0o644)
    assert "warning: " in run("tenant", "list", "--registry", str(path)).err
