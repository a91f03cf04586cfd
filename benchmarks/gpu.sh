#!/usr/bin/env bash
# What a GPU is to show, in eight minutes at most; writes benchmarks/results/gpu.json.
#     benchmarks/gpu.sh            in an installed environment: make test installs all it needs into .venv
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${VENV:-.venv}/bin
timeout 60 "$bin/python" -m pytest tests/test_fit.py
timeout 300 "$bin/python" benchmarks/gpu_throughput.py --images 1024 --batch-sizes 32 256 --compile
timeout 120 "$bin/python" -m snakemake --configfile studies/smoke.yaml --workflow-profile profiles/local-gpu --quiet all
