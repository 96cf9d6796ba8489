"""Asks the system to keep memory in huge pages: experts and caches are read all over, and small pages miss the TLB."""

from __future__ import annotations

import ctypes
import mmap

from torch import Tensor

_LEAST = 1 << 22  # bytes: what is smaller gains nothing
_PAGE = mmap.PAGESIZE


def in_huge_pages(tensor: Tensor) -> Tensor:
    """The same tensor, which must be new: pages that have been written to stay as they are.

    A wish: where the system does not know huge pages, nothing changes.
    """
    advice = getattr(mmap, "MADV_HUGEPAGE", None)
    if advice is not None and tensor.nbytes >= _LEAST:
        first = -(-tensor.data_ptr() // _PAGE) * _PAGE
        length = (tensor.data_ptr() + tensor.nbytes - first) // _PAGE * _PAGE
        ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(length), advice)
    return tensor
