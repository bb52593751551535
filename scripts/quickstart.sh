#!/bin/sh
# From an empty checkout to a cache hit: builds dist/tag, starts it with its own object store, and
# shows objects arriving from far away first and from the local disk then.
#
#     ./scripts/quickstart.sh [--once]        --once: stop after the table
set -eu
cd "$(dirname "$0")/.."
. scripts/bootstrap.sh
exec bun scripts/quickstart.ts "$@"
