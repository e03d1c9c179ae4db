"""`make target STORE=...`: the gateway with fixture keys in front of a real store, for an outside judge.

    python -m tests.target seaweedfs|rgw|minio

Serves until stopped. var/target.toml tells the judge what it attacks: two tenants, their buckets and keys, and the
store behind with its administrator's key, in which it sees whether anything was changed. Everything is made anew at
each start.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from gateway.app import serve_forever
from gateway.config import Config
from gateway.demo import add_bucket, check_ports, in_front_of, open_key_store
from gateway.embedded.child import end_with_parent
from gateway.embedded.files import write_private
from gateway.embedded.postgres import EmbeddedPostgres
from gateway.naming import backend_bucket_name
from keystore.migrate import migrate
from keystore.model import Access, Grant, Permission
from keystore.protocols import KeyAdmin
from tests import backends
from tests.backends import Backend

STORES = {"seaweedfs": backends.seaweedfs, "rgw": backends.ceph, "minio": backends.minio}
BUCKETS = (("t1", "alpha"), ("t1", "alpha2"), ("t2", "beta"))
VIRTUAL_HOST_SUFFIX = "s3.gw.test"

# What the judge may find, as (case, pattern of its note, why). Each pattern fits one finding alone, so that a second
# one beside it still counts.
Leniency = tuple[str, str, str]
LENIENCIES: tuple[Leniency, ...] = (
    ("SIG-003.region", "", "s3.region_mode = any, the default: any region is accepted, and signed as it was named"),
    # The judge forgives a key that is taken literally if it finds it in the bucket "alpha"; its oracle, which looks at
    # the store, finds it under that bucket's backend name.
    (
        "PTH-106.*",
        r"^store: object t1--alpha/\S+ new$",
        "the literal key, in the caller's own bucket, which the store knows as t1--alpha",
    ),
    (
        "CPY-147",
        r"^source a\+b copied b'blank', expected b'plus'$",
        "a bare plus in x-amz-copy-source is a blank: AWS reads it so, and s5cmd writes it so",
    ),
    (
        "CPY-152.alpha-abort",
        "^lax: abort of an absent upload answered 204$",
        "the store answers 204 for an upload that it does not have; nothing is aborted",
    ),
)
_LONG_SEGMENT = ("PTH-121.1024", "1024-byte key refused", "the store's path segments end at 255 bytes")
_NO_EMPTY_SEGMENTS: tuple[Leniency, ...] = tuple(
    (case, "cannot hold empty", "the store folds empty and dot segments into another key, so they are refused")
    for case in ("keys.double-slash", "keys.dotdot", "vhost.odd-key")
)
STORE_LIMITS: dict[str, tuple[Leniency, ...]] = {
    "minio": (*_NO_EMPTY_SEGMENTS, _LONG_SEGMENT),
    "seaweedfs": (
        *_NO_EMPTY_SEGMENTS,
        _LONG_SEGMENT,
        ("keys.trail-slash", "cannot hold data", "the store drops the data of a key that ends with a slash"),
        ("keys.brackets", "cannot hold backslashes", "the store takes a backslash for a slash"),
    ),
    "rgw": (
        ("conditions.match-star-*", "412", "RGW 16 does not know If-Match: *"),
        ("CPY-152.alpha-complete", "500", "RGW 16 answers 500 when an upload that it does not have is completed"),
    ),
}

Fixtures = dict[str, dict[str, str]]


def main(store_name: str) -> None:
    """Run it. `store_name` is one of STORES."""
    if "MAKELEVEL" in os.environ:
        end_with_parent()
    loaded = Config.load(None, {**os.environ, "BUCKETWARDEN_S3__REGION": "us-east-1"})
    directory = (loaded.embedded.directory / "target").resolve()
    config = loaded.model_copy(
        update={
            "s3": loaded.s3.model_copy(update={"virtual_host_suffixes": (VIRTUAL_HOST_SUFFIX,)}),
            "embedded": loaded.embedded.model_copy(update={"directory": directory}),
        }
    )
    check_ports(config)
    target_file = directory.parent / "target.toml"
    target_file.unlink(missing_ok=True)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    with EmbeddedPostgres(directory) as postgres, STORES[store_name](directory) as store:
        config = in_front_of(config, store.endpoint, store.access_key, store.secret_key, store.region)
        keys = asyncio.run(_prepare(config, postgres.dsn))
        pid_file = directory / "gateway.pid"
        pid_file.write_text(str(os.getpid()), encoding="ascii")

        async def announce() -> None:
            write_private(target_file, _describe(config, store_name, store, keys, pid_file))
            click.echo(f"serving {config.s3.endpoint_url} in front of {store_name}; see {target_file}")

        asyncio.run(serve_forever(config, postgres.dsn, announce))


async def _prepare(config: Config, dsn: str) -> Fixtures:
    await migrate(dsn)
    store = await open_key_store(config, dsn)
    try:
        for tenant in ("t1", "t2"):
            await store.admin.create_tenant(tenant)
        for tenant, name in BUCKETS:
            await add_bucket(config, store.admin, tenant, name, backend_bucket_name(tenant, name))
        return await _make_keys(store.admin)
    finally:
        await store.close()


async def _make_keys(admin: KeyAdmin) -> Fixtures:
    """KA, KAr and KB work; KR is revoked, KE has expired."""
    both = [Grant("alpha", Permission.READ_WRITE), Grant("alpha2", Permission.READ_WRITE)]
    keys = {
        "KA": await _make_key(admin, "t1", both),
        "KAr": await _make_key(admin, "t1", [Grant("alpha", Permission.READ)]),
        "KB": await _make_key(admin, "t2", [Grant("beta", Permission.READ_WRITE)]),
        "KR": await _make_key(admin, "t1", both),
        "KE": await _make_key(admin, "t1", both, expires_at=datetime.now(UTC) - timedelta(minutes=1)),
    }
    await admin.revoke_key(keys["KR"]["access"], reason="a fixture", actor="target")
    return keys


async def _make_key(
    admin: KeyAdmin, tenant: str, grants: Sequence[Grant], expires_at: datetime | None = None
) -> dict[str, str]:
    info, secret = await admin.create_key(
        tenant=tenant,
        access=Access.BUCKETS,
        permission=Permission.READ_WRITE,
        grants=grants,
        label=None,
        expires_at=expires_at,
        actor="target",
    )
    return {"access": info.access_key_id, "secret": secret.reveal()}


def _describe(config: Config, store_name: str, store: Backend, keys: Fixtures, pid_file: Path) -> str:
    """The target as the judge reads it, in TOML."""
    backend_names = [backend_bucket_name(tenant, name) for tenant, name in BUCKETS]
    features = {"gateway": True, "sandbox": True, "backend_alpha": backend_names[0]}
    if store_name == "rgw":
        features["no_checksums"] = True  # Ceph before 19 keeps none
    tables: dict[str, dict[str, object]] = {
        **{f"keys.{name}": dict(key) for name, key in keys.items()},
        "oracle": {
            "endpoint": store.endpoint,
            "region": store.region,
            "access": store.access_key,
            "secret": store.secret_key,
            "buckets": "^t[12]--",
        },
        "features": dict(features),
    }
    lines = [
        *_assignments(
            {
                "name": f"bucketwarden in front of {store_name}",
                "endpoint": config.s3.endpoint_url,
                "region": config.s3.region,
                "any_region": config.s3.region_mode == "any",
                "vhost": VIRTUAL_HOST_SUFFIX,
                "pidfile": str(pid_file),
                "backend_names": backend_names,
            }
        )
    ]
    for name, values in tables.items():
        lines += ["", f"[{name}]", *_assignments(values)]
    for case, note, why in (*LENIENCIES, *STORE_LIMITS[store_name]):
        lines += ["", "[[leniency]]", *_assignments({"case": case, "note": note, "why": why})]
    return "\n".join(lines) + "\n"


def _assignments(values: dict[str, object]) -> list[str]:
    # JSON's strings, booleans and arrays of strings are TOML's too.
    return [f"{name} = {json.dumps(value)}" for name, value in values.items()]


if __name__ == "__main__":
    if sys.argv[1:] not in [[name] for name in STORES]:
        raise SystemExit(f"usage: python -m tests.target {'|'.join(STORES)}")
    main(sys.argv[1])
