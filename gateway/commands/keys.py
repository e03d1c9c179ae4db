"""`bucketwarden keys`: access keys, through the operator API."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

import click

from gateway.commands.client import Json, OperatorClient, path_of
from gateway.commands.failures import MissingError
from gateway.commands.options import confirmed, in_future, output_option, with_client
from gateway.commands.output import print_environment, print_item, print_items

_FIELDS = (
    "access_key_id",
    "label",
    "tenant",
    "status",
    "buckets",
    "created_at",
    "created_by",
    "expires_at",
    "revoked_at",
    "revoked_by",
    "revoke_reason",
)
_COLUMNS = ("access_key_id", "label", "tenant", "buckets", "status", "created_at", "expires_at")


@click.group()
def keys() -> None:
    """Create, list, show, revoke and delete access keys."""


@keys.command()
@click.argument("name", required=False)
@click.option("--name", "--alias", "--label", "label", help="What people know the key by.")
@click.option("--bucket", "-b", "buckets", multiple=True, help="A bucket it may use; can be repeated.")
@click.option("--all-buckets", is_flag=True, help="Every bucket of the tenant, also future ones.")
@click.option("--read-only", is_flag=True, help="Read and list, nothing else.")
@click.option("--write-only", is_flag=True, help="Write and delete, nothing else.")
@click.option("--expires-at", metavar="RFC3339", help="The moment it stops working.")
@click.option("--expires-in", metavar="90d", help="The same, as a time from now (s, m, h, d, w).")
@click.option("--tenant", default="default", show_default=True)
@output_option("text", "table", "json", "env")
@with_client
def create(
    client: OperatorClient,
    name: str | None,
    label: str | None,
    buckets: tuple[str, ...],
    all_buckets: bool,
    read_only: bool,
    write_only: bool,
    expires_at: str | None,
    expires_in: str | None,
    tenant: str,
    output: str,
) -> None:
    """Make a key and print it. The secret is printed this once and can never be read again.

    \b
    bucketwarden keys create ci-deploy --bucket artifacts --expires-in 90d
    bucketwarden keys create backup --all-buckets --write-only -o env > backup.env
    """
    if name and label and name != label:
        raise click.UsageError("two names: give NAME or --name, not both")
    if bool(buckets) == all_buckets:
        raise click.UsageError("say which buckets: --bucket NAME (can be repeated) or --all-buckets")
    if read_only and write_only:
        raise click.UsageError("--read-only and --write-only exclude each other")
    if expires_at and expires_in:
        raise click.UsageError("--expires-at and --expires-in exclude each other")
    if expires_in:
        expires_at = in_future(expires_in, datetime.now(UTC)).isoformat(timespec="seconds")
    key = client.post(
        path_of("keys"),
        {
            "label": label or name,
            "tenant": tenant,
            "access": "all_buckets" if all_buckets else "buckets",
            "permission": "read" if read_only else "write" if write_only else "read_write",
            "grants": [{"bucket": bucket} for bucket in buckets],
            "expires_at": expires_at,
        },
    )
    _print_created(key, output)
    click.echo("The secret access key is shown this once. Keep it now; if it is lost, make a new key.", err=True)


def _print_created(key: Json, output: str) -> None:
    connection = key["connection"]
    if output == "env":
        print_environment(
            {
                "AWS_ACCESS_KEY_ID": key["access_key_id"],
                "AWS_SECRET_ACCESS_KEY": key["secret_access_key"],
                "AWS_DEFAULT_REGION": connection["region"],
                "AWS_ENDPOINT_URL": connection["endpoint_url"],
            }
        )
        return
    shown = key if output == "json" else {**key, **connection}
    fields = (
        "access_key_id",
        "secret_access_key",
        "label",
        "buckets",
        "expires_at",
        "endpoint_url",
        "region",
    )
    if output == "table":
        print_items([shown], fields, output)
    else:
        print_item(shown, fields, output)


@keys.command("list")
@click.option("--bucket", "-b", help="Only keys that reach this bucket.")
@click.option("--tenant", help="Only keys of this tenant.")
@click.option("--all", "everything", is_flag=True, help="Also revoked and expired keys.")
@output_option("table", "text", "json")
@with_client
def list_(client: OperatorClient, bucket: str | None, tenant: str | None, everything: bool, output: str) -> None:
    """List the keys that work; never a secret."""
    found = client.pages(path_of("keys"), bucket=bucket, tenant=tenant, limit="500")
    print_items((key for key in found if everything or key["status"] == "active"), _COLUMNS, output)


@keys.command()
@click.argument("key")
@output_option("text", "table", "json")
@with_client
def show(client: OperatorClient, key: str, output: str) -> None:
    """Show one key, by id, access key id or label; never its secret."""
    found = _find(client, key)
    if output == "table":
        print_items([found], _COLUMNS, output)
    else:
        print_item(found, _FIELDS, output)


@keys.command()
@click.argument("key")
@click.option("--reason", help="Kept with the key.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@output_option("text", "json")
@with_client
def revoke(client: OperatorClient, key: str, reason: str | None, yes: bool, output: str) -> None:
    """Stop a key for good, at once and on every gateway. It stays in the list."""
    found = _find(client, key)
    confirmed(f"Revoke {_describe(found)}? It stops working everywhere at once, for good.", yes=yes)
    answer = client.post(path_of("keys", found["id"], "revoke"), {"reason": reason})
    print_item(answer, ("access_key_id", "status", "revoked_at"), output)
    _tell_propagation(answer)


@keys.command()
@click.argument("key")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_client
def delete(client: OperatorClient, key: str, yes: bool) -> None:
    """Stop a key and take it off the list. Its id is never given out again."""
    found = _find(client, key)
    confirmed(f"Delete {_describe(found)}? It stops working everywhere at once and leaves the list.", yes=yes)
    answer = client.delete(path_of("keys", found["id"]))
    click.echo(f"deleted {found['access_key_id']}")
    _tell_propagation(answer)


def _find(client: OperatorClient, ident: str) -> Json:
    """The key with this id, access key id or, when only one key has it, label."""
    with suppress(MissingError):
        return client.get(path_of("keys", ident))
    labelled = [key for key in client.pages(path_of("keys"), limit="500") if key["label"] == ident]
    if not labelled:
        raise MissingError(f"no key has the id or label {ident}")
    if len(labelled) > 1:
        idents = ", ".join(key["access_key_id"] for key in labelled)
        raise click.UsageError(f"several keys have the label {ident}: {idents}")
    return labelled[0]


def _describe(key: Json) -> str:
    return f"{key['access_key_id']} ({key['label']})" if key["label"] else str(key["access_key_id"])


def _tell_propagation(answer: Json) -> None:
    propagation = answer.get("propagation")
    if propagation is None:
        return
    click.echo(f"{propagation['acknowledged']} of {propagation['expected']} gateways have confirmed.", err=True)
    if propagation["lagging"]:
        click.echo(
            f"warning: {', '.join(propagation['lagging'])} may serve the key for another "
            f"{propagation['certain_in']:.1f} seconds at most.",
            err=True,
        )


keys.add_command(list_, "ls")
keys.add_command(delete, "rm")
