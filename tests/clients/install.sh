#!/usr/bin/env bash
# Installs and builds the client programs that the tests of this directory use and that are not here yet.
#
#   bash tests/clients/install.sh
#
# Needs root or passwordless sudo for Debian's packages; what is built goes into var/clients and ~/go/bin.
# Versions are pinned, by lock files where there are several. Run again it only looks.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
built=$(realpath -m ../../var/clients)
mkdir -p "$built/bin"

say() { printf '== clients: %s (%d s)\n' "$*" "$SECONDS"; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

# Whether a build is as new as everything below the directory it is made from.
is_current() {
    local made=$1 source=$2
    [ -e "$made" ] && [ -z "$(find "$source" -newer "$made" -type f -not -path '*/node_modules/*' -print -quit)" ]
}

# The command line comes from Debian, the compilers from wherever they are.
packages=()
for entry in rclone:rclone s3cmd:s3cmd restic:restic curl:curl node:nodejs npm:npm java:default-jdk-headless mvn:maven; do
    command -v "${entry%%:*}" >/dev/null || packages+=("${entry#*:}")
done
if [ ${#packages[@]} -gt 0 ]; then
    say "apt: ${packages[*]}"
    as_root apt-get -qq -o Acquire::Retries=3 update
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends \
        -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 install "${packages[@]}" >/dev/null
fi

command -v go >/dev/null || { echo "clients: go is needed (1.26 or newer, https://go.dev/dl)" >&2; exit 1; }
export CGO_ENABLED=0

mc=github.com/minio/mc@v0.0.0-20250313080218-cf909e1063a9
if [ ! -x "$HOME/go/bin/mc" ]; then
    say "go: $mc"
    GOBIN="$HOME/go/bin" go install "$mc"
fi
if ! is_current "$built/bin/s5cmd" s5cmd; then
    say "go: s5cmd"
    # By a module of ours and not by `go install`: not every module proxy lists its versions.
    (cd s5cmd && go build -mod=readonly -o "$built/bin/s5cmd" github.com/peak/s5cmd/v2)
fi
if ! is_current "$built/bin/s3-sdk-go" go; then
    say "go: aws-sdk-go-v2, minio-go"
    (cd go && go build -mod=readonly -o "$built/bin/s3-sdk-go" .)
fi
if ! is_current "$built/js/node_modules/.package-lock.json" js; then
    say "npm: aws-sdk-js v3"
    mkdir -p "$built/js"
    cp js/* "$built/js/"
    npm ci --silent --no-audit --no-fund --ignore-scripts --prefix "$built/js"
    touch "$built/js/node_modules/.package-lock.json"
fi
if ! is_current "$built/java/made" java; then
    say "mvn: aws-sdk-java v2"
    mvn --quiet --batch-mode --file java/pom.xml process-classes
    touch "$built/java/made"
fi
say "ready"
