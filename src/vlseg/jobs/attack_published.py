"""The attack of Budathoki and Dhakal (arXiv 2505.02971, anjilab/secure-private-ai) as it was done, faults included.

Epsilon in units of the normalised input; PGD of 40 steps of 2/255 without a random start, not clipped to the range of
images, the last step taken; the loss of their training; the attacked image written at the network's size as a file of
the original's kind and read again; found for the image's last target and scored for all of them; and with a wording
drawn anew. What differs here: the file stays in memory, the network is in eval mode, and scores are at the masks' own
size.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from vlseg.attacks import Attack
from vlseg.attacks.samples import Samples, at_rest, samples_of
from vlseg.jobs.attack_files import after_file
from vlseg.jobs.attack_plan import PUBLISHED_STEP, PUBLISHED_STEPS
from vlseg.jobs.attack_search import Attackable, Found, Key, Some, key_of
from vlseg.losses import soft_dice_losses
from vlseg.models import Segmenter
from vlseg.prompts import Prompted, chooser
from vlseg.records import InputError

DICE_WEIGHT = 1.5
JPEGS = frozenset({".jpg", ".jpeg"})


def deviation(model: Segmenter) -> float:
    """What a unit of the normalised input is in units of the image's range, the mean over channels (0.226 of CLIP's).

    Raises:
        InputError: several networks, each with a normalisation of its own.
    """
    return float(_deviations(model, torch.zeros(3, *model.spec.image_size)).mean())


def wording(item: Prompted, seed: int, purpose: str) -> str:
    """A wording of the sample, drawn for a purpose ("attack" or "score")."""
    return chooser("published", seed, purpose, *key_of(item)).choice(item.wordings)


def as_published(method: str, epsilon: float, target: Attackable, some: Some, seed: int) -> dict[Key, Found]:
    """What was found for each sample's image: for the last of its samples, whichever is asked about."""
    last = {id(image): number for number, image in enumerate(some.images)}
    chosen = sorted(last.values())
    reads = target.model.spec.uses_text
    prompts = [wording(some.items[one], seed, "attack") if reads else some.prompts[one] for one in chosen]
    with at_rest(target.model), torch.inference_mode(False):
        samples = samples_of(
            Attack(),
            target.model,
            [some.images[one] for one in chosen],
            prompts,
            [some.masks[one] for one in chosen],
            None,
            target.threshold,
        )
        rows = {}
        for number, one in enumerate(chosen):
            changed = _searched(samples, number, method, epsilon)
            jpeg = some.items[one].sample.image_path.suffix.lower() in JPEGS
            filed = after_file(changed, "jpeg" if jpeg else "8bit")
            with torch.no_grad():
                inputs = samples.inputs([number], filed[None])
            before = samples.canvas(number).image
            rows[id(some.images[one])] = Found(inputs, filed - before, before)
    return {key: rows[id(image)] for key, image in zip(some.keys, some.images, strict=True)}


def _searched(samples: Samples, number: int, method: str, epsilon: float) -> Tensor:
    """The attacked image (3, h, w), beyond [0, 1] where the steps lead there."""
    clean = samples.canvas(number).image
    scale = _deviations(samples.model, clean)[:, None, None]
    size = epsilon if method == "fgsm" else PUBLISHED_STEP
    change = torch.zeros_like(clean)
    for _ in range(PUBLISHED_STEPS[method]):
        with torch.enable_grad():
            leaf = change.detach().requires_grad_()
            logits = samples.logits(samples.inputs([number], (clean + scale * leaf)[None]), [number])
            (gradient,) = torch.autograd.grad(_loss(logits, samples.grids[[number]]), leaf)
        change = (change + size * gradient.sign()).clamp(-epsilon, epsilon)
    return clean + scale * change


def _loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Of their training: MONAI 1.3.2's DiceCELoss of probabilities, whose cross-entropy takes these for logits."""
    found = logits.float().sigmoid()
    return DICE_WEIGHT * soft_dice_losses(found, mask).sum() + F.binary_cross_entropy_with_logits(found, mask)


def _deviations(model: Segmenter, image: Tensor) -> Tensor:
    """(3,) by channel of an RGB image of this size, what a unit of the normalised input is in [0, 1]."""
    colours = torch.cat([image.new_zeros(1, 3), torch.eye(3, dtype=image.dtype, device=image.device)])
    plain = [colour[:, None, None].expand_as(image).contiguous() for colour in colours]
    with torch.no_grad():
        tensors = [one for one in model.prepare(plain).tensors.values() if one.is_floating_point() and one.ndim == 4]
    if len(tensors) != 1:
        raise InputError(
            f"--preset published: {model.spec.name} joins several networks with normalisations of their own; give one"
        )
    gains = (tensors[0][1:] - tensors[0][:1]).abs().flatten(1).amax(1)
    return 1 / gains
