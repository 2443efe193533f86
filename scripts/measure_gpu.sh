#!/usr/bin/env bash
# Everything that is measured on an NVIDIA GPU, with one command: the engines, then torch and the Triton kernels.
#
#   scripts/measure_gpu.sh [FOLDER] [PACKAGE]          # gpu, nano.argus
#
# A part that fails does not keep the next one from being measured; the exit code is then 1.
set -uo pipefail

folder=${1:-gpu}
package=${2:-nano.argus}
python=${PYTHON:-python3}
root=$(dirname "${BASH_SOURCE[0]}")/..
failed=0
mkdir -p "$folder"

"$root/scripts/verify_tensorrt.sh" "$package" "$folder/engines.json" || failed=1
"$python" "$root/benchmarks/gpu.py" | tee "$folder/torch.txt" || failed=1

echo "measured: $(ls "$folder")" >&2
exit "$failed"
