"""Where settings come from: file, environment, secret files. Each step collects its faults and goes on.

`Values` holds what was found, by section and key, not yet validated; `Sources` tells which variable or file
a key came from when it was not the configuration file itself.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel, ValidationError

from gateway.config_types import Problem

ENVIRONMENT_PREFIX = "BUCKETWARDEN_"

Values = dict[str, dict[str, object]]
Sources = dict[str, str]
Sections = Mapping[str, type[BaseModel]]


def read_file(path: Path, sections: Sections, problems: list[Problem]) -> Values:
    """The tables of a TOML file. Keys within them are judged later, by `validate_section`."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        problems.append(Problem(str(path), f"cannot be read: {error.strerror}"))
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(Problem(str(path), f"is not TOML: {error}"))
        return {}
    values: Values = {}
    for name, table in document.items():
        if name not in sections:
            problems.append(Problem(name, f"unknown section{nearest(name, sections)}"))
        elif not isinstance(table, dict):
            problems.append(Problem(name, f"must be a section: [{name}]"))
        else:
            values[name] = dict(table)
    return values


def overlay_environment(
    values: Values, environ: Mapping[str, str], sections: Sections, problems: list[Problem]
) -> Sources:
    """Put `BUCKETWARDEN_SECTION__KEY` variables over `values`. An empty variable counts as not set.

    Names without a double underscore (BUCKETWARDEN_URL, BUCKETWARDEN_TOKEN ...) are not settings.
    """
    variables = {
        f"{ENVIRONMENT_PREFIX}{section}__{key}".upper(): (section, key)
        for section, model in sections.items()
        for key in model.model_fields
    }
    sources: Sources = {}
    for variable in sorted(environ):
        name = variable.removeprefix(ENVIRONMENT_PREFIX)
        if name == variable or "__" not in name or not environ[variable]:
            continue
        if variable not in variables:
            problems.append(Problem(variable, f"unknown setting{nearest(variable, variables)}"))
            continue
        section, key = variables[variable]
        table = values.setdefault(section, {})
        # A secret given in one form by the environment replaces the other form in the file.
        for other in (f"{key}_file", key.removesuffix("_file")):
            if other != key and other in sections[section].model_fields and f"{section}.{other}" not in sources:
                table.pop(other, None)
        table[key] = environ[variable]
        sources[f"{section}.{key}"] = variable
    if environ.get("DATABASE_URL") and not {"url", "url_file"} & values.get("database", {}).keys():
        values.setdefault("database", {})["url"] = environ["DATABASE_URL"]
        sources["database.url"] = "DATABASE_URL"
    return sources


def read_secret_files(values: Values, sources: Sources, sections: Sections, problems: list[Problem]) -> None:
    """Fill each secret whose `_file` key is set with that file's text, less the line end."""
    for section, key in _secrets_with_files(sections):
        table = values.get(section, {})
        path = table.get(f"{key}_file")
        if not isinstance(path, str) or not path:
            continue
        if key in table:
            detail = f"set this or {key}_file, not both"
            problems.append(Problem(f"{section}.{key}", detail, sources.get(f"{section}.{key}")))
            continue
        try:
            table[key] = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
        except OSError as error:
            detail = f"{path} cannot be read: {error.strerror}"
            problems.append(Problem(f"{section}.{key}_file", detail, sources.get(f"{section}.{key}_file")))
        except UnicodeDecodeError:
            problems.append(Problem(f"{section}.{key}_file", f"{path} is not UTF-8 text"))
        else:
            sources[f"{section}.{key}"] = path


def validate_section(
    name: str, model: type[BaseModel], table: Mapping[str, object], sources: Sources, problems: list[Problem]
) -> BaseModel:
    """The section as its model; a key that was refused is reported and keeps its default."""
    try:
        return model.model_validate(table)
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False)
    for fault in faults:
        key = f"{name}.{fault['loc'][0]}" + "".join(f"[{index}]" for index in fault["loc"][1:])
        if fault["type"] == "extra_forbidden":
            detail = f"unknown key{nearest(str(fault['loc'][0]), model.model_fields)}"
        else:
            detail = fault["msg"].removeprefix("Value error, ")
        problems.append(Problem(key, detail, sources.get(f"{name}.{fault['loc'][0]}")))
    refused = {fault["loc"][0] for fault in faults}
    return model.model_validate({key: value for key, value in table.items() if key not in refused})


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean X?` for the known name most like this one, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _secrets_with_files(sections: Sections) -> Iterator[tuple[str, str]]:
    for section, model in sections.items():
        for key in model.model_fields:
            if f"{key}_file" in model.model_fields:
                yield section, key
