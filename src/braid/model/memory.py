"""The allocator: keep freed memory instead of giving it back to the system after every step."""

from __future__ import annotations

import ctypes
import os

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # mallopt(3)
KEEP = (1 << 30) - 1


def keep_freed_memory() -> bool:
    """Raise glibc's thresholds (mallopt(3)), so that large gradients are written into pages that are already there,
    and let torch ask for large pages, which come faster.

    True where it worked; elsewhere (no glibc) nothing changes."""
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch looks when it first needs memory
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, KEEP) and mallopt(M_TRIM_THRESHOLD, KEEP))
