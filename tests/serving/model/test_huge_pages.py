"""Large tensors are asked to lie in huge pages, where the system has such; nothing else changes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from serving.model.huge_pages import in_huge_pages


@pytest.mark.skipif(not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="no huge pages on this system")
def test_a_large_tensor_is_marked_for_huge_pages() -> None:
    tensor = in_huge_pages(torch.empty(1 << 22))
    tensor.fill_(7.0)
    assert (tensor == 7.0).all()
    assert "hg" in flags_at(tensor.data_ptr() + (1 << 20))


def test_a_small_tensor_stays_as_it_is() -> None:
    tensor = torch.arange(5.0)
    assert in_huge_pages(tensor) is tensor
    assert tensor.tolist() == [0, 1, 2, 3, 4]


def flags_at(address: int) -> list[str]:
    """As the kernel has them of this process's memory there."""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first = line.split()[0]
        if "-" in first and not first.endswith(":"):
            begin, end = (int(bound, 16) for bound in first.split("-"))
            inside = begin <= address < end
        elif inside and first == "VmFlags:":
            return line.split()[1:]
    raise AssertionError("no memory of this process")
