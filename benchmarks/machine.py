"""What figures were measured on."""

import platform
import time
from typing import Any

import torch

from vlseg.models.device import slow_precision


def machine(device: str) -> dict[str, Any]:
    """As the results name it."""
    found = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return {
        "processor": found.get("cpu_name", platform.processor()),
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "threads": torch.get_num_threads(),
        "bf16_instructions": not slow_precision("bf16", torch.device("cpu")),
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }
