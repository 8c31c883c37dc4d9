#!/bin/sh
# Restore everything the archive holds. The same as `restore-to.sh latest`, with the same options.
set -eu
home=$(cd "$(dirname "$0")" && pwd)
[ "${1:-}" = --help ] || set -- latest "$@"
exec "$home/restore-to.sh" "$@"
