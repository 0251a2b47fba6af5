"""The U-Nets with random weights."""

from vlseg.models.protocol import Spec
from vlseg.models.unet.model import TargetUNet, UNet
from vlseg.models.unet.network import STRIDE
from vlseg.records import InputError, unknown_name


def build_unet(*, image_size: int = 96, targets: tuple[str, ...] = (), protocol: str = "corrected") -> UNet:
    """Image-only U-Net, one channel per target (one unnamed when none is given).

    Raises:
        InputError: `image_size` is no multiple of 16, a target is named twice, or a protocol other than "corrected".
    """
    return UNet(_spec("unet", image_size, targets, protocol, uses_target=False))


def build_unet_target(
    *, image_size: int = 96, targets: tuple[str, ...] = (), protocol: str = "corrected"
) -> TargetUNet:
    """U-Net steered by the name of a target.

    Raises:
        InputError: as `build_unet`.
    """
    return TargetUNet(_spec("unet-target", image_size, targets, protocol, uses_target=True))


def _spec(name: str, image_size: int, targets: tuple[str, ...], protocol: str, *, uses_target: bool) -> Spec:
    if image_size < STRIDE or image_size % STRIDE:
        raise InputError(f"image_size: {image_size} is not a multiple of {STRIDE}; take 96")
    if protocol != "corrected":
        raise unknown_name(f"protocol of {name}", protocol, ["corrected"])
    if len(set(targets)) != len(targets):
        raise InputError(f"targets: a name is given twice in {', '.join(targets)}; name each once")
    return Spec(
        name=name,
        uses_text=False,
        uses_target=uses_target,
        image_size=(image_size, image_size),
        targets=targets or ("foreground",),
        protocol=protocol,
    )
