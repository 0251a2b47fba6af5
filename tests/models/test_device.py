"""What is set for the whole process."""

import torch

from vlseg.models.device import set_threads


def test_numbers_below_the_normal_range_become_zero() -> None:
    tiny = torch.full((64,), 1e-30)
    torch.set_flush_denormal(False)
    try:
        assert (tiny * 1e-10 > 0).all()
        set_threads(None)
        assert (tiny * 1e-10 == 0).all()
    finally:
        torch.set_flush_denormal(True)  # as in all that ran before
