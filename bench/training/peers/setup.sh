#!/usr/bin/env bash
# Makes the virtual environments of the peers: bench/training/peers/setup.sh [FOLDER], by default .venv beside this
# file. One a library, since TensorFlow imports JAX where it finds it, and memory is measured. A second run changes
# nothing unless the requirements did. Linux on x86-64, Python 3.11, and gcc and readelf for PyTorch.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-$here/.venv}
python=${PYTHON:-python3}

fail() {
  echo "setup.sh: $1" >&2
  exit 1
}

"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null ||
  fail "$python is not Python 3.11, for which the versions are pinned; name another one in PYTHON"
[ "$(uname -sm)" = "Linux x86_64" ] || fail "this is $(uname -sm); expected Linux x86_64"
for tool in gcc readelf; do
  command -v "$tool" >/dev/null || fail "$tool is missing; it links stand-ins for the CUDA libraries"
done

for library in torch tensorflow jax; do
  requirements=$here/requirements/$library.txt
  venv=$folder/$library
  want=$(cat "$requirements" "$here/cuda_stubs.py" | sha256sum)
  if [ -f "$venv/installed" ] && [ "$(cat "$venv/installed")" = "$want" ]; then
    echo "$library: already installed"
    continue
  fi
  echo "$library: installing into $venv"
  rm -rf "$venv"
  "$python" -m venv "$venv"
  # The lists are complete; see there why PyTorch's dependencies are not resolved.
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps -r "$requirements" ||
    fail "pip could not install $requirements"
  if [ "$library" = torch ]; then
    "$python" "$here/cuda_stubs.py" "$venv"/lib/python3.11/site-packages || fail "the stand-ins could not be linked"
  fi
  CUDA_VISIBLE_DEVICES='' TF_CPP_MIN_LOG_LEVEL=3 "$venv/bin/python" -c \
    "import $library; print('$library: version', $library.__version__)" || fail "$library does not start"
  echo "$want" >"$venv/installed"
done
du -sh "$folder"/* | sed 's/^/disk: /'
