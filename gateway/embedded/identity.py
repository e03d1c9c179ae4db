"""As whom Postgres may run. It refuses root, and it refuses a user id without a name.

An ordinary user runs it as themselves. Root has two ways, and the owner of an existing data directory tells
which one was taken when it was made:

- a user namespace in which we are `nobody`. Nothing on disk changes hands, and it works below a directory
  that is closed to others, such as /root. A Postgres that was broken into would reach root's files: fit for a
  quick start and for tests, not for more.
- the user `nobody` itself, where namespaces are forbidden (containers with the usual seccomp profile). Then
  `nobody` must be able to reach the data and the programs.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from gateway.embedded.child import EmbeddedError


@dataclass(frozen=True, slots=True)
class Identity:
    """How to run a program as somebody: words to put before its command line, and ids to change to."""

    prefix: tuple[str, ...] = ()
    user: int | None = None
    group: int | None = None

    def own(self, path: Path) -> None:
        """Give an empty directory of ours to whoever will run there."""
        if self.user is not None and self.group is not None:
            os.chown(path, self.user, self.group)


def identity_for(data: Path) -> Identity:
    """Choose as whom to run Postgres on the data directory `data`, which may not exist yet.

    Raises EmbeddedError where no way is left.
    """
    if os.geteuid() != 0 and _has_name(os.geteuid()):
        return Identity()
    nobody = pwd.getpwnam("nobody")
    namespace = Identity(
        prefix=("unshare", "--user", f"--map-user={nobody.pw_uid}", f"--map-group={nobody.pw_gid}", "--")
    )
    other = Identity(user=nobody.pw_uid, group=nobody.pw_gid)
    if data.exists():
        return other if data.stat().st_uid == nobody.pw_uid else namespace
    if _works(namespace):
        return namespace
    if os.geteuid() == 0:
        return other
    raise EmbeddedError(
        f"Postgres needs a user with a name: user id {os.geteuid()} has none and user namespaces are not "
        "allowed here; add the id to /etc/passwd, or set database.url to a Postgres of your own"
    )


def check_reachable(identity: Identity, program: Path, data: Path) -> None:
    """Make sure that the identity can run `program` and enter `data`; EmbeddedError names what is closed."""
    if identity.user is None:
        return
    for path in (program, data):
        for parent in path.parents:
            if not parent.stat().st_mode & 0o001:
                raise EmbeddedError(
                    f"Postgres does not run as root, user namespaces are not allowed here, and the user "
                    f"nobody cannot enter {parent}; work in a directory that others may enter, or as an "
                    "ordinary user, or set database.url to a Postgres of your own"
                )


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _works(identity: Identity) -> bool:
    if shutil.which(identity.prefix[0]) is None:
        return False
    return subprocess.run([*identity.prefix, "true"], capture_output=True, check=False).returncode == 0  # noqa: S603
