#!/usr/bin/env bash
# Stop what up.sh started.
#
#   down.sh DIRECTORY [--wipe]
#
# --wipe also removes the directory; then nothing is worth saving and the daemons are killed at once.
set -euo pipefail

directory=$(cd "${1:?directory}" && pwd)
signal=TERM
if [ "${2:-}" = --wipe ]; then signal=KILL; fi

. "$(dirname "${BASH_SOURCE[0]}")/daemons.sh"

# The gateway first: it waits for an OSD that is gone.
for program in radosgw ceph-osd ceph-mon; do
    stop_daemon "$program" "$signal"
done
if [ "$signal" = KILL ] && [ -e "$directory/ceph.conf" ]; then rm -rf "$directory"; fi
