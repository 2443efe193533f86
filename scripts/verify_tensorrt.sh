#!/usr/bin/env bash
# What an owner of a Jetson or another NVIDIA device runs once; the JSON file is to be sent back.
#
#   scripts/verify_tensorrt.sh [PACKAGE] [RESULT]      # nano.argus, verified.json
#
# PACKAGE comes from 'argus-export --target tensorrt --precision fp32,fp16,int8'; where there is none and the export
# extra is installed, it is made. Where the train extra is installed, every engine's metrics are measured as well.
# Building all engines takes minutes each, on small devices an hour or more. The environment may set ENGINES
# (tensorrt,cuda), FRAMES of each latency (200) and SCENES that metrics are measured on (200).
set -euo pipefail

package=${1:-nano.argus}
result=${2:-verified.json}
python=${PYTHON:-python3}
engines=${ENGINES:-tensorrt,cuda}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

has() {
    "$python" -c "import $1" 2>"$scratch/import"
}

run() {
    echo "+ $*" >&2
    "$@"
}

if [[ ! -e $package ]]; then
    if ! has "torch, onnx, onnxscript, onnxruntime"; then
        echo "verify_tensorrt: error: $package does not exist, and nothing here can export it; bring one" >&2
        exit 2
    fi
    run "$python" -m argus_edge.export.commands.export --target tensorrt --precision fp32,fp16,int8 --out "$package"
fi

code=0
run "$python" -m argus_edge.runtime.commands.verify_tensorrt "$package" --out "$result" \
    --engines "$engines" --frames "${FRAMES:-200}" || code=$?

if [[ $code -le 1 ]] && has "torch, rich, pycocotools"; then
    precisions=$("$python" -c "import sys
from argus_edge.package import ModelPackage
print(','.join(ModelPackage.open(sys.argv[1]).spec.precisions))" "$package")
    for engine in ${engines//,/ }; do
        run "$python" -m argus_edge.train.commands.evaluate "$package" --engine "$engine" \
            --precision "$precisions" --scenes "${SCENES:-200}" --json >"$scratch/$engine.json" || code=1
    done
    "$python" - "$result" "$scratch"/*.json <<'MERGE'
import json
import sys
from pathlib import Path

result, *files = map(Path, sys.argv[1:])
measured = {file.stem: json.loads(file.read_text()) for file in files if file.stat().st_size}
for figures in measured.values():
    del figures["path"]  # names of folders are nobody's business
result.write_text(json.dumps({**json.loads(result.read_text()), "metrics": measured}, indent=1))
MERGE
else
    echo "verify_tensorrt: no metrics, as the train extra is not installed" >&2
fi
echo "verify_tensorrt: $result" >&2
exit "$code"
