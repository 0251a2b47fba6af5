"""clipseg-tiny with random weights."""

from vlseg.models.clipseg_tiny.image import STRIDE
from vlseg.models.clipseg_tiny.model import ClipSegTiny
from vlseg.models.protocol import Spec
from vlseg.records import InputError, unknown_name


def build_clipseg_tiny(
    *, image_size: int = 96, targets: tuple[str, ...] = (), protocol: str = "corrected"
) -> ClipSegTiny:
    """clipseg-tiny; weights come from torch's global generator.

    Raises:
        InputError: `image_size` is no multiple of 16, or the protocol is not "corrected".
    """
    if image_size < STRIDE or image_size % STRIDE:
        raise InputError(f"image_size: {image_size} is not a multiple of {STRIDE}; take 96")
    if protocol != "corrected":
        raise unknown_name("protocol of clipseg-tiny", protocol, ["corrected"])
    size = (image_size, image_size)
    spec = Spec(name="clipseg-tiny", uses_text=True, image_size=size, targets=targets, protocol=protocol)
    return ClipSegTiny(spec)
