"""How answers are printed: aligned tables for people, tab-separated text and JSON for programs."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence

import click

from gateway.commands.client import Json

NOTHING = "-"


def print_items(items: Iterable[Json], columns: Sequence[str], output: str) -> None:
    """A list. `columns` are the fields of the table and of the text; JSON has them all."""
    items = list(items)
    if output == "json":
        click.echo(json.dumps(items, indent=2))
        return
    rows = [[cell(item, column) for column in columns] for item in items]
    if output == "text":
        for row in rows:
            click.echo("\t".join(row))
        return
    heads = [column.replace("_", " ").upper() for column in columns]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    for row in [heads, *rows]:
        click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def print_item(item: Json, fields: Sequence[str], output: str) -> None:
    """One thing: `FIELD: value` lines, or JSON with all fields."""
    if output == "json":
        click.echo(json.dumps(item, indent=2))
        return
    for field in fields:
        click.echo(f"{field.upper()}: {cell(item, field)}")


def print_environment(variables: Json) -> None:
    """`NAME=value` lines that a shell, docker and systemd read alike."""
    for name, value in variables.items():
        click.echo(f"{name}={shlex.quote(str(value))}")


def cell(item: Json, field: str) -> str:
    """A field as text; `buckets` is made of access and grants, as people think of it."""
    if field == "buckets":
        if item["access"] == "all_buckets":
            return f"all ({item['permission']})"
        return ", ".join(f"{grant['bucket']} ({grant['permission']})" for grant in item["grants"]) or NOTHING
    value = item.get(field)
    if isinstance(value, dict):
        value = value.get("name")
    return NOTHING if value is None else str(value)
