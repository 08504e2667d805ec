#!/usr/bin/env bash
# GPU tests, then the figures, in less than eight minutes: bash benchmarks/gpu.sh [RESULT.md]
set -u
cd "$(dirname "$0")/.." || exit
python="${PYTHON:-python}"
output="${1:-benchmarks/results/gpu-$(date +%F).md}"
"$python" -c 'import sys, torch; sys.exit(None if torch.cuda.is_available() else "this torch sees no GPU")' || exit 2
failed=0
timeout 120 "$python" -m pytest -q -p no:cacheprovider tests/test_gpu.py tests/engine/graph/test_modes.py || failed=1
timeout 350 "$python" -m benchmarks.gpu --output "$output" || failed=1
echo "Figures are in $output"
exit "$failed"
