#!/usr/bin/env python3
"""Checks .onnx files against the ONNX specification: the checker, and strict shape inference with data propagation.

A development script, no part of `npm test`. Install its one dependency with `pip install onnx`, then

    python training/scripts/check-onnx.py models/*/*/*.onnx

and, for every graph that the tests of the graph builder and of autodiff build,

    mkdir graphs && ELBO_TEST_GRAPHS_DIR=$PWD/graphs npx vitest run test/training
    python training/scripts/check-onnx.py graphs

Prints one line a file (of a directory: one for each .onnx file in it) and exits 1 where one fails.
"""

import sys
from pathlib import Path

try:
    import onnx
    from onnx import checker, shape_inference
except ImportError:
    sys.exit("the Python package onnx is missing: pip install onnx")


def check(path: Path) -> str:
    """What the file holds; raises where it breaks the specification or its declared shapes are not those inferred."""
    model = onnx.load(path)
    checker.check_model(model, full_check=True)
    inferred = shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    opset = ", ".join(f"{entry.domain or 'ai.onnx'} {entry.version}" for entry in inferred.opset_import)
    return f"{len(inferred.graph.node)} nodes, {len(inferred.graph.initializer)} initialisers, opset {opset}"


def files_of(argument: str) -> list[Path]:
    path = Path(argument)
    return sorted(path.glob("*.onnx")) if path.is_dir() else [path]


def main() -> int:
    files = [file for argument in sys.argv[1:] for file in files_of(argument)]
    if not files:
        print("usage: check-onnx.py FILE.onnx | DIRECTORY …", file=sys.stderr)
        return 2
    failures = 0
    for file in files:
        try:
            print(f"ok    {file}: {check(file)}")
        except Exception as error:  # The checker raises errors of many kinds; each is a failed file.
            failures += 1
            print(f"FAIL  {file}: {' '.join(str(error).split())}")
    print(f"{len(files) - failures} of {len(files)} files pass")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
