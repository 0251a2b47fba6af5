"""What a run records of where it ran. Recorded only: it never invalidates anything."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

PACKAGES = ("vlseg", "torch", "torchvision", "transformers", "numpy", "scipy", "pillow")


def package_versions() -> dict[str, str]:
    """Versions of the packages that numbers depend on, and of Python."""
    return dict(_package_versions())


@lru_cache
def _package_versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


@lru_cache
def git_revision() -> str | None:
    """The commit of vlseg's own source, where it runs from a checkout, as it was when this process first asked."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None  # installed from a wheel, or no git here
    return done.stdout.strip()


def peak_memory_bytes(device: torch.device) -> int:
    """The largest memory in use so far: of the GPU where one is used, else of this process."""
    if device.type == "cuda":
        import torch  # takes seconds to load, and who only asks for the revision does not need it

        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
