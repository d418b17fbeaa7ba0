"""Makes PyPI's Linux PyTorch, a CUDA build, run on a machine that has no CUDA libraries.

Its shared objects link against cuBLAS, cuDNN, NCCL and more: gigabytes of wheels of which a run on the CPU calls
nothing. The loader only asks that each library exists and defines the symbols, so this links small libraries whose
functions report a failure. The CPU kernels (oneDNN, MKL, OpenMP) are those of the wheel, untouched.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

# The CUDA runtime is no stub: its static initialisers run at import, and it says properly that there is no device.
REAL = re.compile(r"libcudart\.so")
CUDA = re.compile(r"lib(cu[a-zA-Z]+|nccl|nvrtc|nvshmem_host|nvJitLink|nvToolsExt|caffe2_nvrtc)\.so")
# Loaded when a CUDA program is, thus never: it would need the driver.
LAZY = re.compile(r"lib(caffe2_nvrtc|cuda)\.so|libtorch_cuda_linalg\.so")
# Libraries whose symbols carry no version, or one that is not the library's file name.
PREFIXES = {
    "libcusparseLt": "cusparseLt",
    "libnccl": "nccl",
    "libcufile": "cuFile",
    "libcupti": "cupti",
    "libnvshmem_host": "nvshmem",
}


class Symbol(NamedTuple):
    """What a shared object expects of another; version is '' where it names none."""

    name: str
    version: str
    is_object: bool


def run(*command: str | Path) -> str:
    """Standard output of a program that must succeed."""
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout


def needed(library: Path) -> list[str]:
    """Sonames that a shared object asks the loader for."""
    return re.findall(r"\(NEEDED\).*\[(.+)\]", run("readelf", "-d", "-W", library))


def undefined(library: Path) -> set[Symbol]:
    """Symbols that a shared object expects of others."""
    found = set()
    for line in run("readelf", "--dyn-syms", "-W", library).splitlines():
        fields = line.split()
        if len(fields) >= 8 and fields[6] == "UND" and fields[4] != "WEAK":
            name, _, version = fields[7].partition("@")
            found.add(Symbol(name, version.lstrip("@"), fields[3] == "OBJECT"))
    return found


def build_stub(soname: str, symbols: set[Symbol], target: Path) -> None:
    """Links a shared object that defines the symbols: functions that return 1, an error in each of these libraries."""
    definitions = [f"char {s.name}[4096];" if s.is_object else f"int {s.name}(void) {{ return 1; }}" for s in symbols]
    version = max((s.version for s in symbols), default="")
    with tempfile.TemporaryDirectory() as folder:
        source, script = Path(folder, "stub.c"), Path(folder, "stub.map")
        source.write_text("\n".join(sorted(definitions)) + "\n")
        script.write_text(f"{version} {{ global: *; }};\n")
        linked = (f"-Wl,-soname,{soname}", f"-Wl,--version-script={script}", "-o", target, source)
        run("gcc", "-shared", "-fPIC", "-O1", "-w", "-fno-builtin", *linked)


def main() -> None:
    """Writes every missing library beside PyTorch's own."""
    folder = Path(sys.argv[1], "torch", "lib")
    libraries = [path for path in folder.glob("lib*.so") if not LAZY.match(path.name)]
    sonames = {soname for library in libraries for soname in needed(library)}
    stubs = {name for name in sonames if CUDA.match(name) and not REAL.match(name) and not LAZY.match(name)}
    symbols = set().union(*(undefined(library) for library in libraries))
    for soname in sorted(stubs):
        prefix = PREFIXES.get(soname.split(".so")[0])
        build_stub(soname, {s for s in symbols if belongs(s, soname, prefix)}, folder / soname)


def belongs(symbol: Symbol, soname: str, prefix: str | None) -> bool:
    """Whether a library is to define a symbol: by the symbol's version, else by how its name begins."""
    return symbol.version == soname or (prefix is not None and symbol.name.startswith(prefix))


if __name__ == "__main__":
    main()
