"""`bucketwarden buckets` and `bucketwarden tenants`, through the operator API."""

from __future__ import annotations

import click

from gateway.commands.client import OperatorClient, path_of
from gateway.commands.options import output_option, with_client
from gateway.commands.output import print_item, print_items

_BUCKET = ("name", "tenant", "backend_name", "created_at")
_TENANT = ("name", "created_at")


@click.group()
def buckets() -> None:
    """Create, adopt and list buckets."""


@buckets.command()
@click.argument("name")
@click.option("--tenant", default="default", show_default=True)
@click.option("--backend-name", help="Its name at the backend; made of tenant and name otherwise.")
@output_option("text", "json")
@with_client
def create(client: OperatorClient, name: str, tenant: str, backend_name: str | None, output: str) -> None:
    """Make a bucket at the backend."""
    body = {"name": name, "tenant": tenant, "backend_name": backend_name, "adopt": False}
    print_item(client.post(path_of("buckets"), body), _BUCKET, output)


@buckets.command()
@click.argument("name")
@click.option("--tenant", default="default", show_default=True)
@click.option("--backend-name", help="Its name at the backend, where it is another.")
@output_option("text", "json")
@with_client
def adopt(client: OperatorClient, name: str, tenant: str, backend_name: str | None, output: str) -> None:
    """Take over a bucket that the backend has already, with all that is in it."""
    body = {"name": name, "tenant": tenant, "backend_name": backend_name, "adopt": True}
    print_item(client.post(path_of("buckets"), body), _BUCKET, output)


@buckets.command("list")
@click.option("--tenant", help="Only this tenant's.")
@output_option("table", "text", "json")
@with_client
def list_(client: OperatorClient, tenant: str | None, output: str) -> None:
    """List buckets."""
    print_items(client.pages(path_of("buckets"), tenant=tenant), _BUCKET, output)


buckets.add_command(list_, "ls")


@click.group()
def tenants() -> None:
    """Create and list tenants, the owners of buckets and keys."""


@tenants.command("create")
@click.argument("name")
@output_option("text", "json")
@with_client
def create_tenant(client: OperatorClient, name: str, output: str) -> None:
    """Make a tenant."""
    print_item(client.post(path_of("tenants"), {"name": name}), _TENANT, output)


@tenants.command("list")
@output_option("table", "text", "json")
@with_client
def list_tenants(client: OperatorClient, output: str) -> None:
    """List tenants."""
    print_items(client.pages(path_of("tenants")), _TENANT, output)


tenants.add_command(list_tenants, "ls")


@click.command()
@output_option("text", "json")
@with_client
def whoami(client: OperatorClient, output: str) -> None:
    """Show whose token this is and what clients connect to."""
    fields = ("type", "name", "role", "endpoint_url", "region", "version")
    print_item(client.get(path_of("whoami")), fields, output)
