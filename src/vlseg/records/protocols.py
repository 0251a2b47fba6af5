"""Versions of what the rooms compute: raised when the same configuration gives other numbers than before.

A study takes a finished run for outdated when a version that its kind depends on is another. Releases, speed, and
output that changes no number leave them alone.
"""

from collections.abc import Mapping

PROTOCOLS: Mapping[str, int] = {
    "data": 1,
    "prompts": 1,
    "models": 1,
    "losses": 1,
    "training": 1,
    "metrics": 2,
    "evaluation": 1,
    "attacks": 1,
}
OF_KIND: Mapping[str, tuple[str, ...]] = {
    "train": ("data", "prompts", "models", "losses", "training"),
    "evaluate": ("data", "prompts", "models", "metrics", "evaluation"),
    "probe": ("data", "prompts", "models", "metrics", "evaluation"),
    "attack": ("data", "prompts", "models", "losses", "metrics", "evaluation", "attacks"),
    "worth": ("data", "prompts", "models", "metrics", "evaluation"),
    "masks": ("data", "prompts", "metrics", "evaluation"),
}
"""The rooms whose numbers a kind of run depends on; validation, which chooses weights, counts as training."""
