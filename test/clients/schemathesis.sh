#!/usr/bin/env bash
# Holds the server against openapi/openapi.json with Schemathesis, a program that has never seen its source:
# test/clients/schemathesis.sh [FOLDER OF ITS VIRTUAL ENVIRONMENT] [MORE OPTIONS OF schemathesis run…]
# It starts the built server (npm run build) on a port of the system's choice, and installs Schemathesis where it is not.
# Python 3.11 or newer.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
venv=${1:-$here/.venv}
[ $# -eq 0 ] || shift
requirements=$here/schemathesis-requirements.txt
scratch=$(mktemp -d)
log=$scratch/log

want=$(sha256sum <"$requirements")
if [ "$(cat "$venv/installed" 2>/dev/null)" != "$want" ]; then
  "${PYTHON:-python3}" -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps -r "$requirements"
  echo "$want" >"$venv/installed"
fi

ELBO_HOST=127.0.0.1 ELBO_PORT=0 node "$root/server/dist/main.js" >"$log" &
server=$!
finish() {
  kill "$server" 2>/dev/null || true
  wait "$server" 2>/dev/null || true
  rm -rf "$scratch"
}
trap finish EXIT

address=
while [ -z "$address" ]; do
  kill -0 "$server" 2>/dev/null || { echo "schemathesis.sh: the server ended before it served" >&2; exit 1; }
  address=$(sed -n 's/.*"address":"\([^"]*\)".*/\1/p' "$log")
  sleep 0.1
done

# What a model takes (how many numbers, whether labels) is no part of the schema, so that 422 is a right answer to what
# the schema allows. Schemathesis leaves files where it runs.
cd "$scratch"
"$venv/bin/schemathesis" run "$root/openapi/openapi.json" --url "$address" --exclude-checks positive_data_acceptance "$@"
