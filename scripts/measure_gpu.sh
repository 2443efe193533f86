#!/usr/bin/env bash
# Everything that is measured on an NVIDIA GPU, with one command: the engines on a package, then the device's limits,
# the kernels, frames, whole models and training through torch.
#
#   scripts/measure_gpu.sh [--smoke] [FOLDER] [PACKAGE]          # gpu, nano.argus
#
# FOLDER is made; engines.json, gpu.json and gpu.txt in it are what to send back. MINUTES is the most that torch's part
# may take (10). A part that fails does not keep the next one from being measured; the exit code is then 1.
# --smoke: whether every part runs, on a machine without a GPU: TensorRT and CUDA are those of the tests, sizes are tiny,
# and no figure means anything.
set -uo pipefail

smoke=()
if [[ ${1:-} == --smoke ]]; then
    smoke=(--smoke)
    shift
fi
mkdir -p "${1:-gpu}" || exit 2
folder=$(cd "${1:-gpu}" && pwd)
package=${2:-nano.argus}
python=${PYTHON:-python3}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
failed=0

if [[ ${#smoke[@]} -gt 0 ]]; then
    export PYTHONPATH=$root/tests/runtime/fakes${PYTHONPATH:+:$PYTHONPATH}
    export ENGINES=${ENGINES:-tensorrt} FRAMES=${FRAMES:-2} SCENES=${SCENES:-2}
fi

"$root/scripts/verify_tensorrt.sh" "$package" "$folder/engines.json" || failed=1
(cd "$root" && "$python" -m benchmarks.gpu "${smoke[@]}" --minutes "${MINUTES:-10}" --json "$folder/gpu.json") |
    tee "$folder/gpu.txt" || failed=1

echo "measured: $(ls "$folder")" >&2
exit "$failed"
