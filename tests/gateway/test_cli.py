"""The command line: what it prints where, and with which exit code it ends."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli import main
from keystore.model import Propagation
from tests.backends import Backend
from tests.gateway.operator_surface import Surface, operator_surface

Run = Callable[..., Awaitable[Result]]
KEK = base64.b64encode(os.urandom(32)).decode()


def local(*arguments: str, **environ: str) -> Result:
    """Run a command that needs no operator API."""
    return CliRunner(env=environ).invoke(main, arguments)


def loaded_by_a_shell(text: str) -> dict[str, str]:
    """The environment of a process that a shell starts after it has read `text`."""
    script = f"set -a\n{text}\nexec '{sys.executable}' -c 'import json, os; print(json.dumps(dict(os.environ)))'"
    done = subprocess.run(["sh", "-c", script], capture_output=True, check=True)
    environ: dict[str, str] = json.loads(done.stdout)
    return environ


@pytest.fixture
async def surface(fresh_database: str) -> AsyncIterator[Surface]:
    async with operator_surface(fresh_database, BUCKETWARDEN_S3__PUBLIC_URL="https://s3.test") as running:
        yield running


@pytest.fixture
def run(surface: Surface) -> Run:
    """Run a command against the operator API, with a valid token unless told otherwise."""

    async def invoke(*arguments: str, input: str | None = None, **environ: str | None) -> Result:  # noqa: A002
        env = {"BUCKETWARDEN_URL": surface.url, "BUCKETWARDEN_TOKEN": surface.token, **environ}
        return await asyncio.to_thread(CliRunner(env=env).invoke, main, arguments, input=input)

    return invoke


async def test_create_prints_the_pair_on_stdout_and_the_warning_on_stderr(run: Run) -> None:
    result = await run("keys", "create", "ci-deploy", "--all-buckets")
    assert result.exit_code == 0, result.output
    assert re.search(r"^ACCESS_KEY_ID: BWAK[A-Z2-7]{16}$", result.stdout, re.MULTILINE)
    assert re.search(r"^SECRET_ACCESS_KEY: [0-9A-Za-z]{40}$", result.stdout, re.MULTILINE)
    assert "LABEL: ci-deploy" in result.stdout
    assert "ENDPOINT_URL: https://s3.test" in result.stdout
    assert "shown this once" in result.stderr
    assert "shown this once" not in result.stdout


async def test_create_prints_an_environment_that_a_shell_can_load(run: Run, surface: Surface) -> None:
    result = await run("keys", "create", "--all-buckets", "-o", "env")
    names = [line.split("=")[0] for line in result.stdout.splitlines()]
    assert names == ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"]
    shown = loaded_by_a_shell(result.stdout)
    key = await surface.store.reader.find_key(shown["AWS_ACCESS_KEY_ID"])
    assert key is not None
    assert key.secret.reveal() == shown["AWS_SECRET_ACCESS_KEY"]
    assert shown["AWS_ENDPOINT_URL"] == "https://s3.test"


@pytest.mark.parametrize("option", ["--name", "--alias", "--label"])
async def test_the_label_has_every_name_that_people_know(run: Run, option: str) -> None:
    result = await run("keys", "create", option, "laptop", "--all-buckets", "-o", "json")
    assert json.loads(result.stdout)["label"] == "laptop"


async def test_scope_and_expiry_reach_the_key(run: Run) -> None:
    for name in ("photos", "videos"):
        assert (await run("buckets", "create", name)).exit_code == 0
    result = await run(
        "keys", "create", "-b", "photos", "--bucket", "videos", "--read-only", "--expires-in", "90d", "-o", "json"
    )
    key = json.loads(result.stdout)
    assert key["access"] == "buckets"
    assert key["grants"] == [
        {"bucket": "photos", "permission": "read"},
        {"bucket": "videos", "permission": "read"},
    ]
    assert key["expires_at"].endswith("Z")
    result = await run(
        "keys", "create", "--all-buckets", "--write-only", "--expires-at", "2099-01-01T00:00:00Z", "-o", "json"
    )
    key = json.loads(result.stdout)
    assert (key["access"], key["permission"], key["expires_at"]) == ("all_buckets", "write", "2099-01-01T00:00:00Z")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--bucket", "photos", "--all-buckets"],
        ["--all-buckets", "--read-only", "--write-only"],
        ["--all-buckets", "--expires-in", "1d", "--expires-at", "2099-01-01T00:00:00Z"],
        ["--all-buckets", "--expires-in", "soon"],
        ["--all-buckets", "--expires-at", "2001-01-01T00:00:00Z"],
        ["--all-buckets", "one", "--name", "other"],
        ["--all-buckets", "-o", "yaml"],
    ],
)
async def test_create_with_impossible_arguments_is_2_and_makes_nothing(
    run: Run, surface: Surface, arguments: list[str]
) -> None:
    result = await run("keys", "create", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert await surface.store.admin.list_keys() == ([], None)


async def test_list_shows_what_works_and_all_with_all(run: Run) -> None:
    await run("keys", "create", "good", "--all-buckets")
    await run("keys", "create", "bad", "--all-buckets")
    assert (await run("keys", "revoke", "bad", "--yes")).exit_code == 0
    table = (await run("keys", "list")).stdout
    assert table.startswith("ACCESS KEY ID")
    assert ("good" in table, "bad" in table) == (True, False)
    rows = [line.split("\t") for line in (await run("keys", "ls", "--all", "-o", "text")).stdout.splitlines()]
    assert [(row[1], row[4]) for row in rows] == [("good", "active"), ("bad", "revoked")]
    assert rows[0][3] == "all (read_write)"
    found = json.loads((await run("keys", "list", "--all", "-o", "json")).stdout)
    assert all("secret_access_key" not in key for key in found)


async def test_a_key_is_shown_by_id_access_key_id_and_label(run: Run) -> None:
    key = json.loads((await run("keys", "create", "a/b c?", "--all-buckets", "-o", "json")).stdout)
    for ident in (key["id"], key["access_key_id"], "a/b c?"):
        result = await run("keys", "show", ident)
        assert result.exit_code == 0, result.output
        assert f"ACCESS_KEY_ID: {key['access_key_id']}" in result.stdout
        assert "CREATED_BY: ci" in result.stdout


async def test_a_label_that_two_keys_have_is_not_guessed_at(run: Run, surface: Surface) -> None:
    for _ in range(2):
        await run("keys", "create", "twin", "--all-buckets")
    result = await run("keys", "revoke", "twin", "--yes")
    assert result.exit_code == 2
    keys, _ = await surface.store.admin.list_keys()
    assert all(key.access_key_id in result.stderr and key.revoked_at is None for key in keys)


async def test_revoke_and_delete_do_it_and_say_who_has_confirmed(run: Run, surface: Surface) -> None:
    key = json.loads((await run("keys", "create", "--all-buckets", "-o", "json")).stdout)
    result = await run("keys", "revoke", key["access_key_id"], "--reason", "leaked", "--yes")
    assert "STATUS: revoked" in result.stdout
    assert "1 of 1 gateways have confirmed." in result.stderr
    result = await run("keys", "rm", key["access_key_id"], "--yes")
    assert (result.exit_code, result.stdout) == (0, f"deleted {key['access_key_id']}\n")
    assert (await run("keys", "delete", key["access_key_id"], "--yes")).exit_code == 4


async def test_a_gateway_that_lags_is_named(run: Run, surface: Surface, monkeypatch: pytest.MonkeyPatch) -> None:
    async def lagging(*_: object, **__: object) -> Propagation:
        return Propagation(expected=2, acknowledged=1, lagging=("gateway-b",), certain_in=4.5)

    key = json.loads((await run("keys", "create", "--all-buckets", "-o", "json")).stdout)
    monkeypatch.setattr(type(surface.store.admin), "delete_key", lagging)
    result = await run("keys", "delete", key["id"], "--yes")
    assert "1 of 2 gateways have confirmed." in result.stderr
    assert "gateway-b may serve the key for another 4.5 seconds at most" in result.stderr


@pytest.mark.parametrize("verb", ["revoke", "delete"])
async def test_what_cannot_be_undone_needs_yes_without_a_terminal(run: Run, surface: Surface, verb: str) -> None:
    await run("keys", "create", "precious", "--all-buckets")
    result = await run("keys", verb, "precious", input="y\n")
    assert result.exit_code == 2
    assert "--yes" in result.stderr
    [key], _ = await surface.store.admin.list_keys()
    assert key.revoked_at is None


@pytest.mark.parametrize("token", ["", "bwop_wrong", "not ascii \u00e9"])
async def test_no_token_or_a_wrong_one_is_3(run: Run, token: str) -> None:
    assert (await run("whoami", BUCKETWARDEN_TOKEN=token)).exit_code == 3


async def test_the_token_can_come_from_a_file(run: Run, surface: Surface, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(surface.token + "\n")
    result = await run("whoami", "--token-file", str(path), "-o", "json", BUCKETWARDEN_TOKEN=None)
    assert json.loads(result.stdout)["name"] == "ci"
    result = await run("whoami", "--token-file", "/nowhere", BUCKETWARDEN_TOKEN=None)
    assert result.exit_code == 3


async def test_no_command_takes_a_token_as_an_argument(run: Run) -> None:
    """Arguments are public: every user of the machine reads them in `ps`."""
    for name in ("keys", "buckets", "tenants"):
        for command in main.commands[name].commands.values():
            assert "--token" not in [option for parameter in command.params for option in parameter.opts]


async def test_what_is_taken_is_5_and_what_is_missing_is_4(run: Run) -> None:
    assert (await run("tenants", "create", "acme")).exit_code == 0
    assert (await run("tenants", "create", "acme")).exit_code == 5
    assert (await run("buckets", "adopt", "nowhere")).exit_code == 5
    assert (await run("keys", "show", "nowhere")).exit_code == 4
    assert (await run("keys", "create", "--bucket", "nowhere")).exit_code == 4


async def test_buckets_are_made_adopted_and_listed(run: Run, surface: Surface) -> None:
    surface.backend.names.add("Old_Bucket")
    assert (await run("tenants", "create", "acme")).exit_code == 0
    assert "BACKEND_NAME: acme--photos" in (await run("buckets", "create", "photos", "--tenant", "acme")).stdout
    assert (await run("buckets", "adopt", "old-bucket", "--backend-name", "Old_Bucket")).exit_code == 0
    rows = [line.split("\t")[:3] for line in (await run("buckets", "list", "-o", "text")).stdout.splitlines()]
    assert rows == [["photos", "acme", "acme--photos"], ["old-bucket", "default", "Old_Bucket"]]
    assert "acme" in (await run("tenants", "list")).stdout


def test_nobody_there_is_1_and_names_the_url() -> None:
    result = local("whoami", BUCKETWARDEN_URL="http://127.0.0.1:1", BUCKETWARDEN_TOKEN="x")
    assert result.exit_code == 1
    assert "http://127.0.0.1:1 does not answer" in result.stderr


def test_a_token_on_an_open_way_is_warned_about() -> None:
    result = local("whoami", BUCKETWARDEN_URL="http://gateway.invalid", BUCKETWARDEN_TOKEN="x")
    assert "unencrypted" in result.stderr


def test_an_impossible_url_is_2() -> None:
    for url in ("gateway:9901", "http://user:pw@gateway", "http://gateway/path"):
        assert local("whoami", BUCKETWARDEN_URL=url, BUCKETWARDEN_TOKEN="x").exit_code == 2


def test_check_config_prints_the_settings_without_secrets(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[backend]\naccess_key_id = "AKID"\nsecret_access_key = "hunter2"\n')
    result = local("check-config", "--config", str(path))
    assert result.exit_code == 0, result.output
    assert 'access_key_id = "AKID"' in result.stdout
    assert "hunter2" not in result.output


def test_check_config_prints_every_fault_on_a_line_of_its_own_and_is_1() -> None:
    result = local("check-config", BUCKETWARDEN_S3__LISEN="x", BUCKETWARDEN_LOG__LEVEL="loud")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "\n  BUCKETWARDEN_S3__LISEN: unknown setting; did you mean BUCKETWARDEN_S3__LISTEN?\n" in result.stderr
    assert "\n  log.level (from BUCKETWARDEN_LOG__LEVEL): " in result.stderr


def test_check_config_online_says_what_does_not_answer() -> None:
    result = local(
        "check-config",
        "--online",
        DATABASE_URL="postgresql://nobody:hunter2@127.0.0.1:1/x",
        BUCKETWARDEN_KEYS__KEK=KEK,
        BUCKETWARDEN_BACKEND__ENDPOINT="http://127.0.0.1:1",
    )
    assert result.exit_code == 1
    assert "\n  database.url: " in result.stderr
    assert "\n  backend.endpoint: does not answer" in result.stderr
    assert "hunter2" not in result.output


def test_check_config_online_names_the_store_when_all_is_well(fresh_database: str, seaweedfs: Backend) -> None:
    environ = {
        "DATABASE_URL": fresh_database,
        "BUCKETWARDEN_KEYS__KEK": KEK,
        "BUCKETWARDEN_BACKEND__ENDPOINT": seaweedfs.endpoint,
        "BUCKETWARDEN_BACKEND__ACCESS_KEY_ID": seaweedfs.access_key,
        "BUCKETWARDEN_BACKEND__SECRET_ACCESS_KEY": seaweedfs.secret_key,
    }
    result = local("check-config", "--online", **environ)
    assert result.exit_code == 1
    assert "database.url: `bucketwarden migrate` has to apply 0001_" in result.stderr
    assert local("migrate", **environ).exit_code == 0
    result = local("check-config", "--online", **environ)
    assert result.exit_code == 0, result.output
    assert "The backend is seaweedfs" in result.stderr
    assert seaweedfs.secret_key not in result.output
    environ["BUCKETWARDEN_BACKEND__SECRET_ACCESS_KEY"] = "wrong"
    result = local("check-config", "--online", **environ)
    assert result.exit_code == 1
    assert "backend.access_key_id: the backend answered 403" in result.stderr


def test_serve_without_a_backend_is_a_configuration_fault() -> None:
    result = local("serve")
    assert result.exit_code == 1
    assert "backend.endpoint: is needed to serve" in result.stderr


def test_serve_on_a_taken_port_names_the_setting(fresh_database: str, seaweedfs: Backend) -> None:
    settings = {
        "DATABASE_URL": fresh_database,
        "BUCKETWARDEN_KEYS__KEK": KEK,
        "BUCKETWARDEN_BACKEND__ENDPOINT": seaweedfs.endpoint,
        "BUCKETWARDEN_BACKEND__ACCESS_KEY_ID": seaweedfs.access_key,
        "BUCKETWARDEN_BACKEND__SECRET_ACCESS_KEY": seaweedfs.secret_key,
        "BUCKETWARDEN_S3__LISTEN": "127.0.0.1:0",
        "BUCKETWARDEN_METRICS__LISTEN": "127.0.0.1:0",
    }
    assert local("migrate", **settings).exit_code == 0
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings["BUCKETWARDEN_OPERATOR__LISTEN"] = f"127.0.0.1:{taken.getsockname()[1]}"
        command = [sys.executable, "-m", "gateway", "serve"]
        done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "operator.listen: port" in done.stderr
    assert "Traceback" not in done.stderr


def test_generate_kek_prints_a_key_that_the_settings_accept() -> None:
    result = local("generate-kek")
    assert len(base64.b64decode(result.stdout)) == 32
    assert local("check-config", BUCKETWARDEN_KEYS__KEK=result.stdout.strip()).exit_code == 0


def test_migrate_brings_a_database_up_to_date_once(fresh_database: str) -> None:
    environ = {"DATABASE_URL": fresh_database, "BUCKETWARDEN_KEYS__KEK": KEK}
    check = local("migrate", "--check", **environ)
    assert check.exit_code == 1
    assert "pending 0001_" in check.stdout
    assert "applied 0001_" in local("migrate", **environ).stdout
    check = local("migrate", "--check", **environ)
    assert (check.exit_code, check.stdout) == (0, "")


def test_bootstrap_prints_the_first_token_alone_on_stdout_and_refuses_a_second(fresh_database: str) -> None:
    settings = {"DATABASE_URL": fresh_database, "BUCKETWARDEN_KEYS__KEK": KEK}
    unmigrated = local("bootstrap", **settings)
    assert unmigrated.exit_code == 1
    assert "bucketwarden migrate" in unmigrated.stderr
    assert local("migrate", **settings).exit_code == 0
    # As a process of its own: whatever is logged on the way must not get between the token and a script.
    command = [sys.executable, "-m", "gateway", "bootstrap"]
    first = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    assert re.fullmatch(r"bwop_[0-9A-Za-z]{36}\n", first.stdout)
    second = local("bootstrap", **settings)
    assert (second.exit_code, second.stdout) == (5, "")
    assert "exists already" in second.stderr


def test_every_command_has_help_and_needs_nothing_for_it() -> None:
    names = [
        [name, *rest]
        for name, command in main.commands.items()
        for rest in ([], *([child] for child in getattr(command, "commands", {})))
    ]
    assert len(names) > 15
    for arguments in names:
        result = local(*arguments, "--help")
        assert result.exit_code == 0
        assert len(result.output.splitlines()) > 4, arguments
