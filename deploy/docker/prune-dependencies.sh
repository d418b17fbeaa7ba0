#!/bin/sh
# Removes from node_modules in the current folder what no process loads.
set -eu

# onnxruntime-node carries the libraries of every platform; the other ones are 240 MB.
find node_modules/onnxruntime-node/bin -mindepth 3 -maxdepth 3 ! -path "*/linux/$(node -p process.arch)" -exec rm -r {} +
find node_modules -type f \( -name '*.map' -o -name '*.d.ts' -o -name '*.d.mts' -o -name '*.d.cts' -o -name '*.flow' \
    -o -iname 'readme*.md' -o -iname 'changelog*.md' -o -iname 'history.md' \) -delete
# OpenTelemetry has each module three times; Node.js loads build/src and build/esm.
find node_modules -path '*/@opentelemetry/*' -type d -name esnext -prune -exec rm -r {} +
# A checkout under a strict umask has files that only their owner may read.
chmod -R a+rX .
