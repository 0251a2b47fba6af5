"""What a run records of where it ran. Recorded only: it never invalidates anything."""

import platform
import resource
import subprocess
import sys
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

PACKAGES = ("vlseg", "torch", "torchvision", "transformers", "numpy", "scipy", "pillow")


def package_versions() -> dict[str, str]:
    """Versions of the packages that numbers depend on, and of Python."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


@lru_cache(maxsize=1)
def git_revision() -> str | None:
    """The commit of vlseg's own source, where it runs from a checkout; asked once, as the source was loaded once."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None  # installed from a wheel, or no git here
    return done.stdout.strip()


def peak_memory_bytes(device: torch.device) -> int:
    """The largest memory in use so far: of the GPU where one is used, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
