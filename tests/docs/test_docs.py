"""What the documentation promises to be complete about: settings, metrics, errors, commands, routes, fact numbers."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel

from gateway import errors
from gateway.cli import main
from gateway.config import Config, Listen
from gateway.metrics import AUTH_REASONS, DENIAL_REASONS, Metrics
from gateway.operator_api import problems
from gateway.operator_api.app import build_operator_app
from gateway.sigv4.diagnose import CAUSES
from keystore.stats import CacheStats

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
CODE = ("gateway", "keystore", "policies", "tests", "bench", "deploy")

# A letter and a number, or a threat class and three digits: C17, S-T16, SIG-003. "S3" is a service.
_FACT = re.compile(
    r"(?<![%\w.-])(?!S3\b|SHA-|AES-|CVE-)([CDEFHKOPRSWX][0-9]{1,2}|S-T[0-9]{1,2}|[A-Z]{3}-[0-9]{3})(?![\w-])"
)
_THREAT_TEST = re.compile(r"def test_([a-z]{3})_([0-9]{3})_")
_LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def settings() -> Iterator[tuple[str, object]]:
    for section, field in Config.model_fields.items():
        model: BaseModel = field.default
        for key in type(model).model_fields:
            yield f"{section}.{key}", getattr(model, key)


def commands(group: click.Group, words: str = "bucketwarden") -> Iterator[tuple[str, click.Command]]:
    """Every command under the name that it calls itself; `ls` and `rm` are second names."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{words} {name}")
        elif name == command.name:
            yield f"{words} {name}", command


def rows(text: str) -> set[str]:
    """What the first cells of all tables name, in backquotes or plainly; one cell may name several, with commas."""
    cells = re.findall(r"^\| *([^|]+?) *\|", text, re.MULTILINE)
    return {name.strip("` ") for cell in cells for name in cell.split(",")}


def source_files() -> Iterator[Path]:
    for directory in CODE:
        for path in sorted((ROOT / directory).rglob("*")):
            if path.suffix in {".py", ".sql", ".sh"} and path != Path(__file__):
                yield path


def reasons_in_code() -> set[str]:
    """Every literal that is given as `reason=` to an S3Error."""
    found = set()
    for path in sorted((ROOT / "gateway").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "S3Error":
                for keyword in node.keywords:
                    if keyword.arg == "reason" and isinstance(keyword.value, ast.Constant):
                        found.add(str(keyword.value.value))
    return found


@pytest.mark.parametrize(("name", "default"), list(settings()))
def test_every_setting_is_documented_with_its_default(name: str, default: object) -> None:
    text = page("configuration.md")
    match = re.search(rf"^\| `{re.escape(name)}` \| ([^|]+) \|", text, re.MULTILINE)
    assert match is not None, f"{name} has no row in docs/configuration.md"
    shown = match[1].strip("` ")
    if default is None:
        assert shown == "not set"
    elif default == ():
        assert shown == "none"
    elif isinstance(default, bool):
        assert shown == str(default).lower()
    elif isinstance(default, float | int):
        assert float(shown) == default
    else:
        assert shown == str(default)


def test_no_setting_is_documented_that_does_not_exist() -> None:
    sections = "|".join(Config.model_fields)
    written = {name for name in rows(page("configuration.md")) if re.match(rf"({sections})\.", name)}
    assert written == {name for name, _ in settings()}


def exposed_metrics() -> set[str]:
    text = Metrics("minio", CacheStats(), list).exposition().decode()
    names = set()
    for family in text_string_to_metric_families(text):
        if family.name.startswith("bucketwarden_") and not family.name.endswith("_created"):
            names.add(f"{family.name}_total" if family.type == "counter" else family.name)
    return names | {"bucketwarden_build_info"} - {"bucketwarden_build"}


def test_every_metric_is_documented() -> None:
    written = {name for name in rows(page("metrics.md")) if name.startswith("bucketwarden_")}
    assert written == exposed_metrics()


def test_the_alerts_ask_for_metrics_that_exist() -> None:
    asked = set(re.findall(r"bucketwarden_[a-z_]+", page("metrics.md")))
    suffixes = ("_bucket", "_count", "_sum")
    plain = {next((name.removesuffix(s) for s in suffixes if name.endswith(s)), name) for name in asked}
    assert plain <= exposed_metrics()


def test_every_error_code_is_documented_with_its_status() -> None:
    text = page("errors.md")
    for code, (status, _) in errors.CATALOGUE.items():
        match = re.search(rf"^\| `{code}` \| ([0-9, ]+) \|", text, re.MULTILINE)
        assert match is not None, f"{code} has no row in docs/errors.md"
        assert str(status) in match[1].split(", "), f"{code} is documented with {match[1]}, and is {status}"


def test_every_reason_is_explained() -> None:
    found = reasons_in_code()
    assert {"unknown_key", "malformed_body"} <= found  # the search finds something
    assert {*found, *AUTH_REASONS, *DENIAL_REASONS} <= rows(page("errors.md"))


def test_every_likely_cause_is_explained() -> None:
    assert set(CAUSES) <= rows(page("errors.md"))


@pytest.mark.parametrize(("words", "command"), list(commands(main)))
def test_every_command_and_option_is_documented(words: str, command: click.Command) -> None:
    text = page("cli.md")
    assert words in text
    shared = {"--url", "--token-file", "--output", "--config"}
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not shared & set(parameter.opts):
            assert any(form in text for form in parameter.opts), f"{words} {parameter.opts}"
    assert all(option in text for option in shared - {"--output"})


def test_every_route_of_the_operator_api_is_documented() -> None:
    app = build_operator_app(None, None, Config(), list)  # type: ignore[arg-type]  # asked for its routes alone
    text = page("operator-api.md")
    for route in app.router.routes():
        if route.method != "HEAD" and route.resource is not None:
            assert f"`{route.method} {route.resource.canonical}`" in text


def test_every_problem_of_the_operator_api_is_documented_with_its_status() -> None:
    text = page("operator-api.md")
    for code, (status, _) in problems.CATALOGUE.items():
        assert re.search(rf"^\| `{code}` \| {status} \|", text, re.MULTILINE), code


def test_the_default_ports_in_the_documentation_are_those_of_the_program() -> None:
    config = Config()
    assert config.operator.listen == Listen("127.0.0.1", 9901)
    assert f"http://{config.operator.listen}" in page("cli.md")
    assert f"http://{config.metrics.listen}/metrics" in page("metrics.md")


def test_every_fact_number_in_the_code_is_explained() -> None:
    explained = rows(page("wire-facts.md"))
    cited: dict[str, str] = {}
    for path in source_files():
        text = path.read_text(encoding="utf-8")
        numbers = set(_FACT.findall(text))
        numbers |= {f"{kind.upper()}-{number}" for kind, number in _THREAT_TEST.findall(text)}
        cited |= {number: str(path.relative_to(ROOT)) for number in numbers}
    assert {"C17", "K15", "SIG-003"} <= cited.keys()  # the search finds something
    missing = {number: place for number, place in cited.items() if number not in explained}
    assert not missing, "docs/wire-facts.md does not explain these"


def test_the_architecture_shows_the_directions_that_the_lint_enforces() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = [one for one in project["tool"]["importlinter"]["contracts"] if one["type"] == "layers"]
    layers = "\n".join(f"    {layer.replace('gateway.', '')}" for layer in contract["layers"])
    assert f"\n\n{layers}\n\n" in (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")


def test_the_architecture_names_every_file_at_the_top_of_the_gateway() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    for path in (ROOT / "gateway").iterdir():
        if path.name.startswith(("_", "config")) or path.name == "py.typed":
            continue
        assert re.search(rf"\b{path.name}\b" if path.is_file() else rf"\b{path.name}/", text), path.name


@pytest.mark.parametrize("path", [*ROOT.glob("*.md"), *DOCS.glob("*.md")], ids=lambda path: path.name)
def test_every_link_within_the_project_leads_somewhere(path: Path) -> None:
    for target in _LINK.findall(path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), f"{path.name} links to {target}"
