"""clipseg-tiny: a small text-prompted segmenter that trains from scratch on a CPU in minutes."""

from vlseg.models.architecture import Architecture, later

CLIPSEG_TINY = Architecture(
    about="a small network that reads, for the demo",
    build=later("vlseg.models.clipseg_tiny.build:build_clipseg_tiny"),
    text_encoder="hashed words, 77",
    recipes={"corrected": {"learning_rate": 2e-3, "presence_weight": 0.3}},
)
