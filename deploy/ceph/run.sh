#!/usr/bin/env bash
# Like up.sh, in the foreground: prints the endpoint when Ceph is up, and ends it when told to end.
#
#   run.sh DIRECTORY PORT
#
# The directory is removed at the end.
set -euo pipefail

here=$(dirname "${BASH_SOURCE[0]}")
sleeper=
trap 'kill $sleeper; bash "$here/down.sh" "$1" --wipe' EXIT
trap 'exit 0' INT TERM

# A signal's trap runs between commands, or during `wait`.
sleep infinity &
sleeper=$!
bash "$here/up.sh" "$1" "$2"
wait
