"""Regimes that add weights to a model whose own stay as they are. Names are known without torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vlseg.models.architecture import Later, later
from vlseg.records import InputError, unknown_name
from vlseg.records.run import FREEZING


@dataclass(frozen=True)
class Kind:
    """What is known of a regime that adds weights before anything is built.

    Attributes:
        add: puts them into a model, from the model and the regime's own arguments as keywords; gives an `Addition`.
        image: it works inside the image encoder by default, so that images' features change as it trains and cannot be
            kept.
        told: what it is, in a few words, and whose.
    """

    add: Later
    image: bool
    told: str


_PROMPTS = "vlseg.models.additions.prompt_tuning:"
_WHOSE = "VLSM-Adapter's"


def _adapters(kind: str, *, text: bool, sentence: bool) -> Later:
    """Of kind dense or shallow; those on the image alone or on both encoders have none on the sentence's vector."""
    fixed = {"text": text, "sentence": sentence, **({} if sentence else {"sentence_width": 1})}
    return later(f"vlseg.models.additions.adapters:{kind}", **fixed)


ADDITIONS: Mapping[str, Kind] = {
    "dense_v": Kind(
        _adapters("dense", text=False, sentence=False), image=True, told=f"{_WHOSE} dense adapters, image encoder"
    ),
    "dense_vl": Kind(
        _adapters("dense", text=True, sentence=False), image=True, told=f"{_WHOSE} dense adapters, both encoders"
    ),
    "dense_vlc": Kind(
        _adapters("dense", text=True, sentence=True),
        image=True,
        told=f"{_WHOSE} dense adapters, sentence's vector, too",
    ),
    "coop": Kind(later(_PROMPTS + "coop"), image=False, told="CoOp: learned words"),
    "cocoop": Kind(later(_PROMPTS + "cocoop"), image=False, told="CoCoOp: learned words that shift with the image"),
    "vpt": Kind(later(_PROMPTS + "vpt"), image=True, told="VPT: learned tokens of the image"),
    "maple": Kind(later(_PROMPTS + "maple"), image=True, told="MaPLe: learned words, and image tokens made of them"),
    "shared_separate": Kind(
        later(_PROMPTS + "shared_separate"), image=True, told="TuneVLSeg's shared vectors, two projections"
    ),
    "shared_attention": Kind(
        later(_PROMPTS + "shared_attention"), image=True, told="TuneVLSeg's shared vectors, attention among them"
    ),
    "shallow_v": Kind(
        _adapters("shallow", text=False, sentence=False), image=False, told=f"{_WHOSE} shallow adapters, image's taps"
    ),
    "shallow_vl": Kind(
        _adapters("shallow", text=True, sentence=False),
        image=False,
        told=f"{_WHOSE} shallow adapters, both encoders' taps",
    ),
    "shallow_vlc": Kind(
        _adapters("shallow", text=True, sentence=True),
        image=False,
        told=f"{_WHOSE} shallow adapters, sentence's vector, too",
    ),
    "telescopic_like": Kind(
        later("vlseg.models.additions.telescopic:telescopic"),
        image=True,
        told="adapters placed as the Telescopic ones, widths of our own",
    ),
    "lora": Kind(later("vlseg.models.additions.lora:lora"), image=True, told="LoRA, in both encoders, by PEFT"),
}
"""By the regime's name. A further one is a file of this folder and a line here."""


def check_regime(regime: str, arguments: Mapping[str, Any]) -> None:
    """Whether there is such a regime.

    Raises:
        InputError: there is none, or it takes no arguments.
    """
    if regime not in (*FREEZING, *ADDITIONS):
        raise unknown_name("regime", regime, [*FREEZING, *ADDITIONS])
    if arguments and regime not in ADDITIONS:
        raise InputError(f"regime_arguments: '{regime}' takes none; leave them out, or take {', '.join(ADDITIONS)}")


def suits_cache(regime: str) -> bool:
    """Whether a regime leaves the image encoder as it is, by default: then images' features can be kept."""
    return not ADDITIONS[regime].image if regime in ADDITIONS else regime in ("freeze_encoders", "decoder")


__all__ = ["ADDITIONS", "Kind", "check_regime", "suits_cache"]
