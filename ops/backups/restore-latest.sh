#!/bin/sh
# Restore everything the archive holds. The same as `restore-to.sh latest`, with the same options.
set -eu
exec "$(cd "$(dirname "$0")" && pwd)/restore-to.sh" latest "$@"
