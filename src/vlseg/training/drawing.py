"""What the optimiser steps of an epoch see: batches in order, as drawn for it, and each as often as it is shown."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby

from vlseg.models import Spec
from vlseg.records import DatasetInfo, RunConfig
from vlseg.training.batches import Batch, Draw, ImageGroup, plan_epoch
from vlseg.training.distributed import rank
from vlseg.training.rewording import Rewording


def chunks_of(groups: Sequence[ImageGroup], config: RunConfig, epoch: int) -> list[list[list[Draw]]]:
    """The batches that are drawn for an epoch, as many together as one optimiser step accumulates."""
    plan = plan_epoch(
        groups,
        seed=config.seed,
        epoch=epoch,
        batch_size=config.batch_size,
        prompts_per_image=config.prompts_per_image,
        pooling=config.pooling,
    )
    if config.accumulate == "auto":
        raise ValueError("accumulate: 'auto' is a wish; see with_fitting_pieces")
    return [plan[start : start + config.accumulate] for start in range(0, len(plan), config.accumulate)]


def rewording_for(spec: Spec, config: RunConfig, epoch: int, infos: Mapping[str, DatasetInfo]) -> Rewording | None:
    """How the prompts of an epoch are changed, if they are."""
    if not spec.uses_text or not (config.class_prompt_share or config.attribute_dropout):
        return None
    return Rewording(config.seed, epoch, config.class_prompt_share, config.attribute_dropout, infos)


def steps_shown(epoch: int, begin: int, steps: int, replays: int) -> list[int]:
    """Which steps of a drawing of the data the optimiser steps of an epoch see.

    An epoch is as many optimiser steps as ever; each step of a drawing is taken `replays` times in a row, so that a
    drawing lasts `replays` epochs. Where a run ends before that, its last drawing is seen in part.

    Args:
        epoch: of the drawing, from 0.
        begin: steps of the epoch that are done.
        steps: of an epoch, and of a drawing.
        replays: at least 1.
    """
    return [step // replays for step in range(epoch * steps + begin, (epoch + 1) * steps)]


def repeated(
    stream: Iterator[Batch], chunks: Sequence[Sequence[Sequence[Draw]]], shown: Sequence[int], epoch: int
) -> Iterator[list[Batch]]:
    """The batches of each optimiser step, made once for all steps in a row that see them.

    Args:
        stream: this process's part of the batches of the steps in `shown`, each once.
        chunks: all that was drawn, by step.
        shown: which of these steps each optimiser step sees, ascending.
        epoch: for which they were drawn.
    """
    for number, times in groupby(shown):
        first = number * len(chunks[0])
        chunk = [
            replace(next(stream), spare=rank() >= len(draws), place=(epoch, place), whole=len(draws))
            for place, draws in enumerate(chunks[number], first)
        ]
        for _ in times:
            yield chunk
