"""What each client was seen to send, as rows of the table in docs/clients.md."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.recorder import Seen

DOCUMENT = Path(__file__).parents[2] / "docs" / "clients.md"
HEAD = ("Client", "Version", "Over", "PutObject", "UploadPart")

Table = dict[tuple[str, str], "Row"]
"""Rows by client and transport."""


@dataclass(frozen=True, slots=True)
class Row:
    """One client over one transport. An operation that it was not seen to do is an empty text."""

    client: str
    version: str
    transport: str
    put_object: str
    upload_part: str

    def __str__(self) -> str:
        return f"| {self.client} | {self.version} | {self.transport} | {self.put_object} | {self.upload_part} |"


def describe(requests: Iterable[Seen], operation: str) -> str:
    """The ways in which these requests carried a body; and whether all, some or none waited for 100 Continue."""
    uploads = [seen for seen in requests if seen.operation == operation]
    ways = sorted({_way(seen) for seen in uploads})
    waited = {seen.expects_continue for seen in uploads}
    if True in waited:
        ways.append("some 100-continue" if False in waited else "100-continue")
    return "; ".join(ways)


def _way(seen: Seen) -> str:
    chunked = "chunked" if seen.framing == "chunked" else ""
    return " ".join(word for word in (f"`{seen.payload}`", seen.checksums, chunked) if word)


def render(table: Table) -> str:
    """The table in Markdown."""
    lines = [f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|", *map(str, table.values())]
    return "\n".join(lines) + "\n"


def documented() -> Table:
    """The table of docs/clients.md."""
    rows = [
        Row(*(cell.strip() for cell in line.strip("|").split("|")))
        for line in DOCUMENT.read_text(encoding="utf-8").splitlines()
        if line.startswith("| ") and line.count("|") == len(HEAD) + 1
    ]
    return {(row.client, row.transport): row for row in rows if row.client != HEAD[0]}
