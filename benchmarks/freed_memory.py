"""What it gains on a CPU that freed memory is kept: forward passes and training steps, with and without, on one core.

    python benchmarks/freed_memory.py

Each case runs in a process of its own, the two kinds in turn, three times; the best of each counts. The ratio is the
time without over the time with; nothing else differs.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time

import torch
from measure import report

from dfxlib.models.backbones import build_backbone
from dfxlib.system.memory import keep_freed_memory

#: network, side in pixels, images in a batch, whether it trains
CASES = {
    "efficientnet_lite0 forward, 224 px": ("timm:tf_efficientnet_lite0", 224, 32, False),
    "efficientnet_lite0 training, 128 px": ("timm:tf_efficientnet_lite0", 128, 32, True),
    "densenet121 forward, 224 px": ("densenet121", 224, 16, False),
    "densenet121 training, 128 px": ("densenet121", 128, 32, True),
    "resnet18 training, 64 px": ("resnet18", 64, 32, True),
}


def seconds_of_a_step(name: str, side: int, batch: int, train: bool, *, steps: int = 3) -> float:
    """Seconds of one step on random pictures, after a step that does not count."""
    torch.manual_seed(0)
    model = build_backbone(name, weights="none", image_size=side).train(train)
    images = torch.randn(batch, 3, side, side)
    optimizer = torch.optim.Adam(model.parameters())

    def step() -> None:
        with torch.set_grad_enabled(train):
            features = model(images)
        if train:
            optimizer.zero_grad()
            features.square().mean().backward()
            optimizer.step()

    step()
    started = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - started) / steps


def measured(title: str, kept: str) -> tuple[float, float]:  # seconds of a step, megabytes at the most
    command = [sys.executable, __file__, title, kept]
    seconds, memory = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(seconds), float(memory)


def main() -> int:
    if sys.argv[1:]:
        title, kept = sys.argv[1:]
        torch.set_num_threads(1)
        if kept == "kept" and not keep_freed_memory():
            raise SystemExit("this C library is not glibc: nothing to measure")
        seconds = seconds_of_a_step(*CASES[title])
        print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return 0
    figures, details = {}, {}
    for title in CASES:
        turns = {kept: [] for kept in ("as it is", "kept")}
        for _ in range(3):
            for kept, found in turns.items():
                found.append(measured(title, kept))
        (without, plain), (with_it, more) = (min(found) for found in turns.values())
        figures[title] = (without / with_it, ">=", 0.95)
        details[title] = {"seconds": [round(without, 3), round(with_it, 3)], "memory": round(more / plain, 3)}
        print(title, details[title])
    return 0 if report("freed_memory", figures, threads=1, cases=details) else 1


if __name__ == "__main__":
    sys.exit(main())
