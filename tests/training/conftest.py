"""One thread for torch: tiny models gain nothing from more, and lose much where cores are shared."""

import pytest
import torch


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
