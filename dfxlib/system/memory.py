"""Memory that the C library keeps for the next step, where it would be given back and fetched anew."""

import ctypes
import sys

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4

_LARGEST_BLOCK = 2**30  # bytes; blocks up to this come from the heap, which keeps them


def keep_freed_memory() -> bool:  # whether the C library took the setting
    """Let glibc keep freed blocks of any size that a network needs.

    By default it gives blocks of many megabytes back after each step, and a process on a CPU spends up to 40% of its
    time on fetching their pages again. No number changes; the process keeps the memory of its largest step.
    benchmarks/freed_memory.py measures the ratios. Elsewhere than on Linux with glibc nothing happens.
    """
    if not (sys.platform.startswith("linux") and hasattr(library := ctypes.CDLL(None), "gnu_get_libc_version")):
        return False
    # Before 2.35, glibc refuses a threshold above 32 MB: there all blocks come from the heap.
    heap = library.mallopt(_MMAP_THRESHOLD, _LARGEST_BLOCK) or library.mallopt(_MMAP_MAX, 0)
    return bool(heap and library.mallopt(_TRIM_THRESHOLD, 2**31 - 1))
