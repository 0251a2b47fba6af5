"""How MedVLSM trained: one recipe for its vision-language models, one for its CNNs.

Poudel et al., MIDL 2024; configs and scripts of the code. What differs here: the rate falls by val Dice at native size,
not by val loss; training stops by val Dice at native size, not at the network's; masks are shrunk with antialiasing,
not by the nearest pixel; an epoch has each image once with up to `prompts_per_image` of its prompts; wordings are drawn
by (seed, epoch, sample); frozen parts neither drop out nor move their batch-norm statistics, which there they did.
"""

from typing import Any

RECIPE: dict[str, Any] = {
    "loss": "published",
    "weight_decay": 1e-3,
    "schedule": "plateau",
    "warmup_steps": 0,
    "clip_norm": 0.5,
    "epochs": 1000,
    "patience": 20,
    "augment": False,
    "precision": "fp16",
    "batch_size": 128,
    "learning_rate": 2e-3,
    "seed": 42,
    "protocol": "published",
}

CNN_RECIPE: dict[str, Any] = {
    **RECIPE,
    "model_arguments": {"encoder_weights": "imagenet"},
    "loss": "present_dice",
    "optimizer": "adam",
    "weight_decay": 0.0,
    "schedule": "constant",
    "batch_size": 16,
    "learning_rate": 1e-3,
}
