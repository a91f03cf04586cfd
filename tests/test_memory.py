"""Freed memory is kept where the C library can do so, and a block of a step is not fetched anew."""

import ctypes
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


def test_where_glibc_refuses_a_high_threshold_all_blocks_come_from_the_heap(monkeypatch: pytest.MonkeyPatch) -> None:
    """As before 2.35, where 32 MB are the most."""
    taken = {}

    class OlderLibrary:
        def gnu_get_libc_version(self) -> bytes:
            return b"2.31"

        def mallopt(self, what: int, value: int) -> int:
            if what == -3 and value > 2**25:
                return 0
            taken[what] = value
            return 1

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: OlderLibrary())
    assert keep_freed_memory() and taken == {-4: 0, -1: 2**31 - 1}  # M_MMAP_MAX, M_TRIM_THRESHOLD


@pytest.mark.skipif(not keep_freed_memory(), reason="the C library is not glibc")
def test_blocks_of_64_megabytes_are_fetched_once() -> None:
    faults = {}
    for kind in ("as it is", "kept"):
        command = [sys.executable, "-c", CODE, kind]
        faults[kind] = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert faults["kept"] * 10 < faults["as it is"]
