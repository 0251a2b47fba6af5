"""Attacks on images and prompts.

An attack is three objects: a `Budget` (what may be changed, and how far), a `Goal` (what counts as success and what is
maximised), a `Search` (how). They know no torch; `repr(attack)` and its JSON give it again.

    attacked = run_attack(attack, model, images, prompts, masks)

One attack is per sample: an image (3, H, W) RGB in [0, 1], a prompt (the name of the target where the model reads no
text) and the truth (H, W). The prompt is attacked and scored alike; nothing is rounded or written. `Attacked` has, by
sample, the raw and the clipped image, the network's inputs, Dice before and after at the mask's own size, and the loss
and Dice of every restart and step.

`fit_universal` finds one change for many images, `apply_changes` lays given ones over images (universal ones, or those
of another model), `check_masking` tells when a white box does less than a black one.

On the sentence, the image as it is: `TextAttack` is a `TextBudget`, a `Goal` and a `TextSearch`, `run_text_attack` does
it, a `Lexicon` holds the words. `keeps_meaning` tells whether the sentence still asks for the same.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vlseg.attacks.plan import Attack, Budget, Goal, Search, attack_from, attack_to_json, parse_attack
from vlseg.attacks.text_plan import (
    TextAttack,
    TextBudget,
    TextSearch,
    parse_text_attack,
    text_attack_from,
    text_attack_to_json,
)
from vlseg.attacks.text_words import Lexicon, vocabulary_of

if TYPE_CHECKING:
    from vlseg.attacks.apply import apply_changes
    from vlseg.attacks.canvas import Canvas, canvas_of
    from vlseg.attacks.masking import Masking, check_masking
    from vlseg.attacks.run import Attacked, run_attack
    from vlseg.attacks.text_run import TextAttacked, run_text_attack
    from vlseg.attacks.universal import Universal, fit_universal

_LATER = {
    "apply_changes": "vlseg.attacks.apply",
    **dict.fromkeys(("Canvas", "canvas_of"), "vlseg.attacks.canvas"),
    **dict.fromkeys(("Masking", "check_masking"), "vlseg.attacks.masking"),
    **dict.fromkeys(("Attacked", "run_attack"), "vlseg.attacks.run"),
    **dict.fromkeys(("TextAttacked", "run_text_attack"), "vlseg.attacks.text_run"),
    **dict.fromkeys(("Universal", "fit_universal"), "vlseg.attacks.universal"),
}
"""What needs torch is imported when it is first asked for."""


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'vlseg.attacks' has no attribute '{name}'")
    value = getattr(import_module(_LATER[name]), name)
    globals()[name] = value
    return value


__all__ = [
    "Attack",
    "Attacked",
    "Budget",
    "Canvas",
    "Goal",
    "Lexicon",
    "Masking",
    "Search",
    "TextAttack",
    "TextAttacked",
    "TextBudget",
    "TextSearch",
    "Universal",
    "apply_changes",
    "attack_from",
    "attack_to_json",
    "canvas_of",
    "check_masking",
    "fit_universal",
    "parse_attack",
    "parse_text_attack",
    "run_attack",
    "run_text_attack",
    "text_attack_from",
    "text_attack_to_json",
    "vocabulary_of",
]
