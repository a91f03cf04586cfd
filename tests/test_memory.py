"""Freed memory is kept where the C library can do so, and a block of a step is not fetched anew."""

import subprocess
import sys

import pytest

from dfxlib.system.memory import keep_freed_memory

CODE = """
import resource, sys
import numpy as np
from dfxlib.system.memory import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
np.ones(8_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    np.ones(8_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not keep_freed_memory(), reason="the C library is not glibc")
def test_blocks_of_64_megabytes_are_fetched_once() -> None:
    faults = {}
    for kind in ("as it is", "kept"):
        command = [sys.executable, "-c", CODE, kind]
        faults[kind] = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert faults["kept"] * 10 < faults["as it is"]
