"""accumulate=auto: a step's images cut into what fits the free memory."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from vlseg.models import Segmenter, as_module
from vlseg.prompts import Prompted
from vlseg.records import DatasetInfo, RunConfig
from vlseg.training.batches import Known
from vlseg.training.distributed import least, local_world, world
from vlseg.training.loop import Fit
from vlseg.training.memory import images_that_fit, pieces_for
from vlseg.training.weights import unchanged_buffers


def with_fitting_pieces(
    config: RunConfig,
    model: Segmenter,
    train: Sequence[Prompted],
    infos: Mapping[str, DatasetInfo],
    known: Known | None = None,
) -> RunConfig:
    """The configuration with batch_size and accumulate as numbers, see `RunConfig.accumulate`; the model stays as is.

    Memory is measured on a forward pass of one image in training's mode. Of several processes each takes its part of a
    piece; the one that can take the fewest images decides.
    """
    if config.accumulate != "auto":
        return config
    changes = {"batch_size": 1, "accumulate": 1, "compile": False, "pseudo_labels": "none"}
    one = config.model_copy(update=changes)
    with unchanged_buffers(as_module(model)):
        trial = Fit(model, train, infos, one, Path(), known=known)
        batch = trial.first_batch()
        device = trial.arithmetic.device
        sharing = local_world() if device.type == "cpu" else 1
        fitting = images_that_fit(model, lambda: trial.largest_loss(batch), device, sharing=sharing)
    size, pieces = pieces_for(config.batch_size, least(fitting) * world())
    return config.model_copy(update={"batch_size": size, "accumulate": pieces})
