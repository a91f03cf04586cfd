"""One GPU for each job of a machine: lock files that the kernel holds as long as it lives."""

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dfxlib.system.files import hold
from dfxlib.system.live import say

#: What CUDA reads; a scheduler such as SLURM sets it by itself.
VISIBLE = "CUDA_VISIBLE_DEVICES"


@contextmanager
def own_device() -> Iterator[tuple[int, ...]]:  # descriptor of the lock, to be handed to the kernel
    """Wait for a GPU that no other job of this user has, and make it the only visible one.

    Inside a SLURM job this holds among what runs in that job: two jobs may both call their device 0.
    Raises OSError where no GPU is to be seen.
    """
    before = os.environ.get(VISIBLE, "")
    devices = before.split(",") if before else [str(number) for number in range(_count())]
    if not devices:
        raise OSError("a GPU is asked for and none is to be seen; set gpus_per_job to 0, or mend the driver")
    os.environ[VISIBLE], lock = _wait(devices)
    try:
        yield (lock,)
    finally:
        os.close(lock)
        del os.environ[VISIBLE]
        if before:
            os.environ[VISIBLE] = before


def _count() -> int:
    import torch  # asked only where nothing else names the devices: importing it takes seconds

    return torch.cuda.device_count()


def _wait(devices: list[str]) -> tuple[str, int]:  # name and descriptor of the first device to be free
    folder, job = Path(tempfile.gettempdir(), f"dfxlib-devices-{os.getuid()}"), os.environ.get("SLURM_JOB_ID", "")
    prefix = f"job{job}-" if job else ""
    told = False
    while True:
        for device in map(str.strip, devices):
            lock = hold(folder / f"{prefix}{device}.lock")
            if lock is not None:
                return device, lock
        if not told:
            say(f"waiting for a GPU: other jobs have {', '.join(devices)}", file=sys.stderr)
        told = True
        time.sleep(0.5)
