#!/usr/bin/env bash
# Makes the virtual environments of the peers: bench/serving/peers/setup.sh [FOLDER], by default .venv beside this file;
# name another one to the benchmark in ELBO_BENCH_PEERS. One a peer, since they ask for different versions of the same
# packages. A second run changes nothing unless the requirements did. A peer that cannot be installed is told and left out.
# Linux on x86-64 and Python 3.11.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-$here/.venv}
python=${PYTHON:-python3}
missing=0

fail() {
  echo "setup.sh: $1" >&2
  exit 1
}

"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null ||
  fail "$python is not Python 3.11, for which the versions are pinned; name another one in PYTHON"
[ "$(uname -sm)" = "Linux x86_64" ] || fail "this is $(uname -sm); expected Linux x86_64"

for requirements in "$here"/requirements/*.txt; do
  peer=$(basename "$requirements" .txt)
  venv=$folder/$peer
  want=$(sha256sum <"$requirements")
  if [ -f "$venv/installed" ] && [ "$(cat "$venv/installed")" = "$want" ]; then
    echo "$peer: already installed"
    continue
  fi
  echo "$peer: installing into $venv"
  rm -rf "$venv"
  "$python" -m venv "$venv"
  # The lists are complete: there is nothing to resolve.
  if "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps -r "$requirements" &&
    "$venv/bin/python" -c "import $peer; print('$peer: version', __import__('importlib.metadata').metadata.version('$peer'))"; then
    echo "$want" >"$venv/installed"
  else
    echo "setup.sh: $peer could not be installed; the benchmark goes without it" >&2
    rm -rf "$venv"
    missing=1
  fi
done
du -sh "$folder"/* | sed 's/^/disk: /'
exit "$missing"
