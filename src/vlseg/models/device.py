"""Where and how exactly a model computes: device, precision, threads."""

from contextlib import AbstractContextManager, nullcontext

import torch

from vlseg.records import InputError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_device(name: str) -> torch.device:
    """The device for "auto", "cpu", "cuda" or "mps".

    Raises:
        InputError: a device this machine does not have.
    """
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(one for one in ("cuda", "mps", "cpu") if available[one])
    if name not in available:
        raise InputError(f"device: '{name}' is unknown (known: auto, cpu, cuda, mps)")
    if not available[name]:
        raise InputError(f"device: '{name}' is not available here; take auto or cpu")
    return _own_gpu() if name == "cuda" else torch.device(name)


def device_for(engine: str, name: str, precision: str) -> torch.device:
    """The device by its name for a model that `engine` computes.

    Raises:
        InputError: see `resolve_device`; a device or precision that an exported model has not.
    """
    if engine == "torch":
        return resolve_device(name)
    if name not in ("auto", "cpu"):
        raise InputError(f"device: an exported model computes on the processor, not on '{name}'; take auto or cpu")
    if precision != "fp32":
        raise InputError(f"precision: an exported model has its own; leave out {precision}")
    return torch.device("cpu")


_gpu: int | None = None


def take_gpu(number: int | None) -> None:
    """From here on "cuda" is the GPU of that number, which is how several processes or models share a machine's.

    None: torch's own choice again.
    """
    global _gpu
    _gpu = number


def _own_gpu() -> torch.device:
    """The one that this process takes; where a launcher lets it see only its own, that one."""
    found = torch.cuda.device_count()
    if _gpu is None or found == 1:
        return torch.device("cuda")
    if _gpu >= found:
        raise InputError(
            f"devices: {_gpu + 1} processes or more are on this machine, whose GPUs are {found}; start fewer"
        )
    torch.cuda.set_device(_gpu)
    return torch.device("cuda", _gpu)


def check_precision(precision: str, device: torch.device) -> None:
    """Refuse what a device cannot do.

    Raises:
        InputError: unknown precision, or fp16 on a CPU.
    """
    if precision not in DTYPES:
        raise InputError(f"precision: '{precision}' is unknown (known: {', '.join(DTYPES)})")
    if precision == "fp16" and device.type == "cpu":
        raise InputError("precision: fp16 is not for the CPU; take bf16 or fp32 (--precision fp32)")


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Mixed precision for a forward pass; nothing for fp32."""
    check_precision(precision, device)
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, DTYPES[precision])


def set_threads(threads: int | None) -> int:
    """Set the number of CPU threads (None leaves it) and return the number in force.

    Numbers too small for the processor's own format become 0 from here on in this process: gradients of sure answers
    are full of them, and Intel's processors take many times longer over each (a training step up to twice as long).
    Torch's threads inherit that when they start: call this before anything is computed.
    """
    torch.set_flush_denormal(True)
    if threads is not None:
        torch.set_num_threads(threads)
    return torch.get_num_threads()


def shared_threads(processes: int) -> int:
    """The CPU threads that torch would take, parted among several processes."""
    return max(1, torch.get_num_threads() // processes)


def slow_precision(precision: str, device: torch.device) -> str | None:
    """A warning where the precision costs time instead of saving it, else None."""
    if precision != "bf16" or device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):
        return None
    found = torch.cpu.get_capabilities()
    if any(found.get(name) for name in ("avx512_bf16", "amx_bf16", "avx10_2", "bf16", "sve_bf16")):
        return None
    return "precision: this processor has no instructions for bf16 and is slower with it than with fp32"
