"""Settings: where they come from, what is refused, and what is never printed."""

from __future__ import annotations

import base64
import re
import tomllib
from pathlib import Path

import pytest

from gateway.config import Config, ConfigError, Listen

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"
KEK = base64.b64encode(bytes(range(32))).decode()


def refused(path: Path | None = None, **environ: str) -> list[str]:
    """The problems, one line each, of a configuration that must not load."""
    with pytest.raises(ConfigError) as caught:
        Config.load(path, environ)
    assert str(caught.value) == "\n".join(map(str, caught.value.problems))
    return str(caught.value).split("\n")


def written(directory: Path, text: str) -> Path:
    path = directory / "config.toml"
    path.write_text(text)
    return path


def test_nothing_set_gives_the_defaults() -> None:
    config = Config.load(None, {})
    assert config == Config()
    assert (config.s3.listen.host, config.s3.listen.port) == ("127.0.0.1", 9900)
    assert config.database.url is None


def test_the_example_file_loads_as_the_defaults() -> None:
    assert Config.load(EXAMPLE, {}) == Config()


def test_the_example_file_shows_every_setting_with_its_default() -> None:
    """A setting is either there, or shown in a comment when there is no default."""
    text = EXAMPLE.read_text()
    shown = tomllib.loads(text)
    everything = tomllib.loads(re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE))
    for name, field in Config.model_fields.items():
        defaults = field.default.model_dump(mode="json")
        assert list(everything[name]) == list(defaults), name
        assert shown[name] == {key: value for key, value in defaults.items() if value is not None}


def test_each_commented_example_is_a_value_that_would_be_accepted(tmp_path: Path) -> None:
    text = re.sub(r"^# (\w+ = )", r"\1", EXAMPLE.read_text(), flags=re.MULTILINE)
    # What excludes another setting, or names a file that is not there.
    text = re.sub(r"^(profile|\w+_file) = .*$", "", text, flags=re.MULTILINE)
    config = Config.load(written(tmp_path, text), {})
    assert config.backend.endpoint == "https://ceph.internal:8443"
    assert config.s3.endpoint_url == "https://s3.example.com"


def test_the_environment_goes_over_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, '[s3]\nregion = "from-file"\nhead_timeout = 7\n')
    config = Config.load(path, {"BUCKETWARDEN_S3__REGION": "from-environment"})
    assert config.s3.region == "from-environment"
    assert config.s3.head_timeout == 7.0


def test_the_environment_has_numbers_booleans_and_lists() -> None:
    config = Config.load(
        None,
        {
            "BUCKETWARDEN_S3__LISTEN": "[::1]:8443",
            "BUCKETWARDEN_S3__VIRTUAL_HOST_SUFFIXES": "S3.example.com, s3.test",
            "BUCKETWARDEN_LOG__ACCESS": "false",
            "BUCKETWARDEN_BACKEND__MAX_CONNECTIONS": "3",
            "BUCKETWARDEN_SHUTDOWN__GRACE": "0.5",
        },
    )
    assert config.s3.listen == Listen("::1", 8443)
    assert str(config.s3.listen) == "[::1]:8443"
    assert config.s3.virtual_host_suffixes == ("s3.example.com", "s3.test")
    assert config.log.access is False
    assert config.backend.max_connections == 3
    assert config.shutdown.grace == 0.5


def test_an_empty_variable_counts_as_not_set() -> None:
    assert Config.load(None, {"BUCKETWARDEN_S3__REGION": "", "DATABASE_URL": ""}) == Config()


def test_variables_without_a_double_underscore_are_not_settings() -> None:
    names = ["URL", "TOKEN", "BUCKET", "METRICS_URL", "REQUIRE_LANES", "JUDGE", "CONFIG"]
    assert Config.load(None, {f"BUCKETWARDEN_{name}": "x" for name in names}) == Config()


def test_every_fault_is_told_at_once_with_its_key_and_the_nearest_name(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
        listen = "127.0.0.1:1"
        [s3]
        lisen = "127.0.0.1:1"
        region_mode = "some"
        tls_certificate = "/cert.pem"
        [bakend]
        endpoint = "http://127.0.0.1:1"
        [backend]
        connect_timeout = 0
        max_connections = "many"
        [keys]
        prefix = "toolong"
        max_stale = 1
        """,
    )
    problems = refused(path, BUCKETWARDEN_BACKEND__ENDPOIN="x", BUCKETWARDEN_METRICS__LISTEN="nowhere")
    assert problems == [
        "listen: unknown section",
        "bakend: unknown section; did you mean backend?",
        "BUCKETWARDEN_BACKEND__ENDPOIN: unknown setting; did you mean BUCKETWARDEN_BACKEND__ENDPOINT?",
        "s3.region_mode: Input should be 'any' or 'strict'",
        "s3.lisen: unknown key; did you mean listen?",
        "metrics.listen (from BUCKETWARDEN_METRICS__LISTEN): must be HOST:PORT with a port of 0 to 65535",
        "backend.connect_timeout: Input should be greater than 0",
        "backend.max_connections: Input should be a valid integer, unable to parse string as an integer",
        "keys.prefix: String should match pattern '^[A-Z]{4}$'",
        "s3.tls_private_key: is needed, since s3.tls_certificate is set",
        "keys.heartbeat: must be at most half of keys.max_stale (1.0)",
    ]


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("ceph.internal:8443", "must begin with http:// or https:// and name a host"),
        ("ftp://ceph.internal", "must begin with http:// or https:// and name a host"),
        ("http://", "must begin with http:// or https:// and name a host"),
        ("http://user:hunter2@ceph.internal", "must not hold a user name or password"),
        ("http://ceph.internal/path", "must end after host and port: no path, query or fragment"),
        ("http://ceph.internal?x=y", "must end after host and port: no path, query or fragment"),
        ("http://ceph.internal#", "must end after host and port: no path, query or fragment"),
        ("http://ceph.internal:0", "must not name port 0"),
    ],
)
def test_an_endpoint_is_scheme_host_and_port_alone(value: str, fault: str) -> None:
    [problem] = refused(BUCKETWARDEN_BACKEND__ENDPOINT=value)
    assert problem == f"backend.endpoint (from BUCKETWARDEN_BACKEND__ENDPOINT): {fault}"


@pytest.mark.parametrize("port", ["65536", "x", "-1"])
def test_an_endpoint_with_an_impossible_port_is_refused(port: str) -> None:
    [problem] = refused(BUCKETWARDEN_BACKEND__ENDPOINT=f"http://ceph.internal:{port}")
    assert problem.startswith("backend.endpoint (from")


def test_an_endpoint_loses_its_trailing_slash() -> None:
    config = Config.load(None, {"BUCKETWARDEN_BACKEND__ENDPOINT": "https://ceph.internal:8443/"})
    assert config.backend.endpoint == "https://ceph.internal:8443"


@pytest.mark.parametrize("value", ["9900", ":9900", "127.0.0.1", "127.0.0.1:65536", "::1:9900", "a b:1", "[x]:1"])
def test_an_impossible_listening_address_is_refused(value: str) -> None:
    [problem] = refused(BUCKETWARDEN_S3__LISTEN=value)
    assert problem.startswith("s3.listen (from BUCKETWARDEN_S3__LISTEN): ")


@pytest.mark.parametrize("value", ["127.0.0.1:9901", "0.0.0.0:9901", "[::]:9901"])
def test_two_listeners_cannot_share_a_port(value: str) -> None:
    [problem] = refused(BUCKETWARDEN_S3__LISTEN=value)
    assert problem == f"operator.listen: 127.0.0.1:9901 is taken by s3.listen, {value}"


@pytest.mark.parametrize("value", ["127.0.0.2:9901", "127.0.0.1:0"])
def test_other_addresses_and_port_zero_do_not_collide(value: str) -> None:
    assert str(Config.load(None, {"BUCKETWARDEN_S3__LISTEN": value}).s3.listen) == value


def test_a_rule_between_settings_is_silent_about_a_setting_that_was_refused() -> None:
    [problem] = refused(BUCKETWARDEN_KEYS__MAX_STALE="soon", BUCKETWARDEN_KEYS__HEARTBEAT="9")
    assert problem.startswith("keys.max_stale (from BUCKETWARDEN_KEYS__MAX_STALE): ")


@pytest.mark.parametrize("number", ["0", "-1", "nan", "inf"])
def test_a_time_is_a_positive_number(number: str) -> None:
    assert len(refused(BUCKETWARDEN_S3__HEAD_TIMEOUT=number)) == 1


@pytest.mark.parametrize(
    ("environ", "key"),
    [
        ({"ACCESS_KEY_ID": "a"}, "backend.secret_access_key"),
        ({"SECRET_ACCESS_KEY": "s"}, "backend.access_key_id"),
        ({"SESSION_TOKEN": "t"}, "backend.session_token"),
        ({"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "s", "PROFILE": "p"}, "backend.profile"),
    ],
)
def test_half_a_credential_or_two_are_refused(environ: dict[str, str], key: str) -> None:
    [problem] = refused(**{f"BUCKETWARDEN_BACKEND__{name}": value for name, value in environ.items()})
    assert problem.startswith(key)


def test_a_database_of_ones_own_needs_a_key_encryption_key() -> None:
    [problem] = refused(DATABASE_URL="postgresql://db/x")
    assert problem.startswith("keys.kek: is needed with a database of your own; `bucketwarden generate-kek`")
    config = Config.load(None, {"DATABASE_URL": "postgresql://db/x", "BUCKETWARDEN_KEYS__KEK": KEK})
    assert config.database.url is not None
    assert config.database.url.get_secret_value() == "postgresql://db/x"


def test_database_url_gives_way_to_our_own_settings(tmp_path: Path) -> None:
    path = written(tmp_path, f'[database]\nurl = "postgresql://file/x"\n[keys]\nkek = "{KEK}"\n')
    config = Config.load(path, {"DATABASE_URL": "postgresql://stray/x"})
    assert config.database.url is not None
    assert config.database.url.get_secret_value() == "postgresql://file/x"


@pytest.mark.parametrize("kek", ["short", base64.b64encode(b"x" * 31).decode(), base64.b64encode(bytes(32)).decode()])
def test_what_is_no_key_encryption_key_is_refused_and_not_repeated(kek: str) -> None:
    [problem] = refused(BUCKETWARDEN_KEYS__KEK=kek)
    assert "`bucketwarden generate-kek` makes one" in problem
    assert kek not in problem


def test_a_secret_comes_from_a_file_of_its_own(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("from a file\n")
    path = written(tmp_path, f'[backend]\naccess_key_id = "a"\nsecret_access_key_file = "{secret}"\n')
    backend = Config.load(path, {}).backend
    assert backend.secret_access_key is not None
    assert backend.secret_access_key.get_secret_value() == "from a file"


def test_a_secret_from_the_environment_replaces_both_forms_in_the_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("from a file")
    table = '[backend]\naccess_key_id = "a"\n'
    for line in ('secret_access_key = "in place"', 'secret_access_key_file = "/nowhere"'):
        path = written(tmp_path, f"{table}{line}\n")
        for variable, value in (("", "direct"), ("_FILE", str(secret))):
            environ = {f"BUCKETWARDEN_BACKEND__SECRET_ACCESS_KEY{variable}": value}
            found = Config.load(path, environ).backend.secret_access_key
            assert found is not None
            assert found.get_secret_value() == ("from a file" if variable else "direct")


def test_both_forms_of_a_secret_in_one_place_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, '[keys]\nkek = "x"\nkek_file = "/nowhere"\n')
    assert "keys.kek: set this or kek_file, not both" in refused(path)
    variables = {"BUCKETWARDEN_KEYS__KEK": KEK, "BUCKETWARDEN_KEYS__KEK_FILE": "/nowhere"}
    assert refused(**variables) == ["keys.kek (from BUCKETWARDEN_KEYS__KEK): set this or kek_file, not both"]


def test_a_secret_file_that_cannot_be_read_is_one_problem_with_its_path(tmp_path: Path) -> None:
    path = written(tmp_path, '[backend]\naccess_key_id = "a"\nsecret_access_key_file = "/nowhere"\n')
    assert refused(path) == ["backend.secret_access_key_file: /nowhere cannot be read: No such file or directory"]


def test_a_secret_file_with_the_wrong_text_names_the_file_and_not_the_text(tmp_path: Path) -> None:
    secret = tmp_path / "kek"
    secret.write_text("hunter2")
    [problem] = refused(BUCKETWARDEN_KEYS__KEK_FILE=str(secret))
    assert problem.startswith(f"keys.kek (from {secret}): ")
    assert "hunter2" not in problem


def test_a_file_that_is_missing_or_no_toml_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "none.toml"
    assert refused(missing) == [f"{missing}: cannot be read: No such file or directory"]
    broken = written(tmp_path, "[s3\n")
    [problem] = refused(broken)
    assert problem.startswith(f"{broken}: is not TOML: ")


def test_a_section_must_be_a_table(tmp_path: Path) -> None:
    assert refused(written(tmp_path, 's3 = "x"\n')) == ["s3: must be a section: [s3]"]


def test_no_secret_is_printed(tmp_path: Path) -> None:
    secrets = {
        "BUCKETWARDEN_BACKEND__ACCESS_KEY_ID": "AKID",
        "BUCKETWARDEN_BACKEND__SECRET_ACCESS_KEY": "hunter2-secret",
        "BUCKETWARDEN_BACKEND__SESSION_TOKEN": "hunter2-session",
        "BUCKETWARDEN_DATABASE__URL": "postgresql://u:hunter2@db/x",
        "BUCKETWARDEN_KEYS__KEK": KEK,
    }
    config = Config.load(None, secrets)
    for text in (repr(config), str(config), config.describe(), config.model_dump_json()):
        assert "hunter2" not in text
        assert KEK not in text
    assert "AKID" in config.describe()


def test_no_error_repeats_a_value() -> None:
    """A secret pasted into the wrong place must not end in a log."""
    environ = {
        f"BUCKETWARDEN_{section}__{key}".upper(): "hunter2 \x00"
        for section, field in Config.model_fields.items()
        for key in field.default.model_dump()
        if not key.endswith("_file") and key not in ("directory", "tls_certificate", "tls_private_key")
    }
    problems = refused(**environ)
    assert len(problems) > 20
    assert not [problem for problem in problems if "hunter2" in problem]


def test_the_description_is_toml_that_loads_as_the_same_settings(tmp_path: Path) -> None:
    config = Config.load(None, {"BUCKETWARDEN_S3__VIRTUAL_HOST_SUFFIXES": "a.test,b.test"})
    assert Config.load(written(tmp_path, config.describe()), {}) == config


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Config().s3.region = "other"
    with pytest.raises(ValueError, match="frozen"):
        Config().log = Config().log


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, "http://127.0.0.1:9900"),
        ({"LISTEN": "0.0.0.0:80"}, "http://127.0.0.1:80"),
        ({"LISTEN": "[::]:80"}, "http://[::1]:80"),
        ({"LISTEN": "s3.test:80"}, "http://s3.test:80"),
        ({"TLS_CERTIFICATE": "c", "TLS_PRIVATE_KEY": "k"}, "https://127.0.0.1:9900"),
        ({"PUBLIC_URL": "https://s3.example.com/"}, "https://s3.example.com"),
    ],
)
def test_clients_are_told_a_url_that_they_can_reach(environ: dict[str, str], url: str) -> None:
    config = Config.load(None, {f"BUCKETWARDEN_S3__{key}": value for key, value in environ.items()})
    assert config.s3.endpoint_url == url
