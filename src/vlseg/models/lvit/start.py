"""A training of LViT that starts from a U-Net's weights, which the authors' release asks for and does not hold."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from vlseg.models.folder import load_strictly, read_config, saved_part
from vlseg.models.lvit.model import Lvit
from vlseg.models.lvit.network import Network
from vlseg.models.lvit.unet import UNet
from vlseg.models.tensors import network_in, read_tensors
from vlseg.records import InputError

NAME = "lvit-unet"
ENLARGES = "up4.up.weight"
"""A name that the authors' U-Net surely has, and LViT has not."""


@dataclass(frozen=True)
class Trained:
    """A U-Net that was trained: its network, the protocol, image size and targets that it was trained with."""

    network: UNet
    width: int
    protocol: str
    image_size: int
    targets: tuple[str, ...]

    @property
    def outputs(self) -> int:
        """Channels of its logits."""
        return self.network.outc.out_channels


def saved_unet(folder: Path) -> Trained | None:
    """The U-Net in a folder that vlseg wrote; None where none is.

    Raises:
        InputError: weights that do not fit or are not finite.
    """
    ours = saved_part(read_config(folder), folder) if (folder / "config.json").exists() else None
    if ours is None or ours["model"] != NAME:
        return None
    width, targets = ours["arguments"]["width"], tuple(ours["targets"])
    network = UNet(width, len(targets), published=ours["protocol"] == "published")
    tensors = read_tensors(folder / "model.safetensors")
    load_strictly(network, {key.removeprefix("network."): one for key, one in tensors.items()}, str(folder))
    return Trained(network, width, ours["protocol"], ours["arguments"]["image_size"], targets)


def published_unet(file: Path, tensors: dict[str, Tensor]) -> Trained | None:
    """The U-Net in a checkpoint of the authors' code, which does not say whose its outputs are; None: there is none.

    Raises:
        InputError: weights that do not fit or are not finite.
    """
    found = network_in(tensors, (ENLARGES,), str(file))
    if found is None:
        return None
    first, last = (found.tensors.get(name) for name in ("inc.conv.weight", "outc.weight"))
    if first is None or last is None or first.ndim != 4 or last.ndim != 4:
        raise InputError(f"{file}: lacks inc or outc of the authors' U-Net; give a checkpoint of their code")
    network = UNet(len(first), len(last), published=True)
    load_strictly(network, found.tensors, str(file))
    return Trained(network, len(first), "published", 224, ("foreground",) if len(last) == 1 else ())


def start_from(unet: Trained, model: Lvit, where: str) -> None:
    """Copy what both have, by name and shape as the authors' code does; `random_part` says what stays.

    Under `published` that leaves a mistake of theirs as it is: what the first convolution of each step up learned of
    the coarse map stands where LViT has the finer one, for their U-Net joins the two the other way round.

    Raises:
        InputError: the U-Net was trained under another protocol.
    """
    assert isinstance(model.network, Network)
    if unet.protocol != model.spec.protocol:
        raise InputError(
            f"protocol: the U-Net in {where} was trained under '{unet.protocol}', and '{model.spec.protocol}' prepares "
            "images otherwise; leave the protocol out, or train a U-Net under it"
        )
    theirs, ours = unet.network.state_dict(), model.network.state_dict()
    taken = {key: one for key, one in theirs.items() if key in ours and ours[key].shape == one.shape}
    if model.spec.uses_text and unet.outputs != 1:  # one of several outputs is not that of whatever is asked for
        taken = {key: one for key, one in taken.items() if not key.startswith("outc.")}
    model.network.load_state_dict({**ours, **taken})
    lacking = {
        "transformers": "downVit.embeddings.position_embeddings",
        "pixel attention": "up4.pixModule.conv_avg.weight",
        "layers for words": "text_module4.weight",
        "output": "outc.weight",
    }
    random = [part for part, name in lacking.items() if name in ours and name not in taken]
    model.random_part = " and ".join([", ".join(random[:-1]), random[-1]] if len(random) > 1 else random)
