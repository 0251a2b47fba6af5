"""Several runs at once: decoders of the same shape, each with its own prompts, seed and end, in one pass a step.

Small decoders leave a GPU idle between kernels. Here the weights of all runs are stacked and one vectorised pass
computes every run's gradients; optimiser, schedule, validation, early stopping and checkpoints stay each run's own.
"""

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from vlseg.models import Rows, as_module
from vlseg.training.batches import Batch
from vlseg.training.interrupt import stop_on_interrupt
from vlseg.training.loop import Fit, FitResult, advance
from vlseg.training.precision import deterministic_on_cpu
from vlseg.training.progress import ProgressBar
from vlseg.training.step import TrainingStep


def fit_together(runs: Sequence[Fit]) -> list[FitResult]:
    """Train several runs in one process, a step of each in turn; what each would have become alone, to rounding.

    Ctrl-C ends all of them resumably.

    Args:
        runs: on one device. Where `runs_as_one` says so their gradients are computed together, else one by one.

    Raises:
        FloatingPointError: a loss is not finite.
    """
    together = runs_as_one(runs)
    total, done = sum(run.total_steps for run in runs), sum(run.progress.step for run in runs)
    with (
        deterministic_on_cpu(runs[0].arithmetic.device),
        stop_on_interrupt() as stop,
        ProgressBar(total, done, named=True) as bar,
    ):
        steps = {index: run.steps(bar, stop) for index, run in enumerate(runs)}
        chunks = {index: next(stepping, None) for index, stepping in steps.items()}
        while active := {index: chunk for index, chunk in chunks.items() if chunk is not None}:
            members = [runs[index] for index in active]
            losses = _gradients(members, list(active.values()), together)
            chunks = {index: advance(steps[index], loss) for index, loss in zip(active, losses, strict=True)}
    return [run.result() for run in runs]


def runs_as_one(runs: Sequence[Fit]) -> bool:
    """Whether one pass can compute the gradients of all runs as each would have computed them.

    The encoders are frozen and their features known; the trained part has no batch norm (which mixes a batch's rows
    and moves statistics) and no dropout (whose draws would be other ones); half precision has no loss scale.
    """
    first = runs[0]
    shape = [(name, tensor.shape) for name, tensor in _trained(first).items()]
    return all(
        run.known is not None
        and (run.known.prompts or not run.model.spec.uses_text)
        and [(name, tensor.shape) for name, tensor in _trained(run).items()] == shape
        and run.config.precision == first.config.precision != "fp16"
        and run.config.loss != "present_dice"  # picks rows by their content
        and not any(_random_or_mixing(module) for root in run.training for module in root.modules())
        for run in runs
    )


def _random_or_mixing(module: nn.Module) -> bool:
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return True
    chance = module.p if isinstance(module, nn.modules.dropout._DropoutNd) else getattr(module, "dropout", 0.0)
    return isinstance(chance, float) and chance > 0


def _trained(run: Fit) -> dict[str, nn.Parameter]:
    """The trained parameters by their names inside the training step."""
    named = TrainingStep(run.model).named_parameters()
    return {name: parameter for name, parameter in named if parameter.requires_grad}


def share_frozen(first: Fit, other: Fit) -> None:
    """Let the frozen weights that two runs have alike be one in memory."""
    kept = {name: p for name, p in as_module(first.model).named_parameters() if not p.requires_grad}
    for name, parameter in as_module(other.model).named_parameters():
        same = kept.get(name)
        if same is not None and not parameter.requires_grad and torch.equal(same, parameter):
            parameter.data = same.data


def _gradients(runs: Sequence[Fit], chunks: Sequence[list[Batch]], together: bool) -> list[float]:
    """Accumulate the gradients of a step of each run; their losses."""
    if not together:
        return [_alone(run, chunk) for run, chunk in zip(runs, chunks, strict=True)]
    alike: dict[tuple[object, ...], list[int]] = {}
    for index, chunk in enumerate(chunks):
        alike.setdefault(tuple(_shape(batch) for batch in chunk), []).append(index)
    losses = [0.0] * len(runs)
    for members in alike.values():
        found = _jointly([runs[index] for index in members], [chunks[index] for index in members])
        for index, loss in zip(members, found, strict=True):
            losses[index] = loss
    return losses


def _alone(run: Fit, chunk: list[Batch]) -> float:
    # Another run's step came in between and set its own random numbers.
    run.seed_step()
    return run.gradients(chunk)


def _jointly(runs: Sequence[Fit], chunks: Sequence[list[Batch]]) -> list[float]:
    """`_gradients` of runs whose batches have the same shapes."""
    if len(runs) == 1:
        return [_alone(runs[0], chunks[0])]
    total = torch.zeros(len(runs), device=runs[0].arithmetic.device)
    for piece in zip(*chunks, strict=True):
        losses = _joint_losses(runs, piece) / len(chunks[0])
        runs[0].arithmetic.backward(losses.sum())
        total += losses.detach()
    return [float(loss) for loss in total.cpu()]


def _shape(batch: Batch) -> tuple[object, ...]:
    """Batches of one shape can be stacked; how many distinct prompts they hold does not matter."""
    images = [(name, tuple(tensor.shape)) for name, tensor in batch.inputs.items()]
    told = [(name, tuple(tensor.shape[1:])) for name, tensor in batch.tokens.items()]
    return (*images, *told, len(batch.image_of), tuple(batch.masks.shape))


def _joint_losses(runs: Sequence[Fit], batches: Sequence[Batch]) -> Tensor:
    """The mean loss of each run's batch, (number of runs,), in one pass over the stacked decoders."""
    first = runs[0]
    step = TrainingStep(first.model)
    trained = [_trained(run) for run in runs]
    weights = {name: torch.stack([one[name] for one in trained]) for name in trained[0]}
    moved = [batch.tensors(first.arithmetic.device) for batch in batches]
    columns = [list(column) for column in zip(*moved, strict=True)]
    # An image and a prompt for each row: how many distinct ones there are may differ between runs.
    images = [Rows(tensors)[image_of].tensors for tensors, image_of in zip(columns[0], columns[2], strict=True)]
    inputs = {name: torch.stack([row[name] for row in images]) for name in images[0]}
    told = [
        Rows(tokens)[prompt_of].tensors if tokens else {}
        for tokens, prompt_of in zip(columns[1], columns[3], strict=True)
    ]
    tokens = {name: torch.stack([row[name] for row in told]) for name in told[0]}
    image_of, channel_of, masks = (torch.stack(columns[index]) for index in (2, 4, 5))
    prompt_of = torch.arange(image_of.shape[1], device=image_of.device).expand_as(image_of)
    kept = first.known is not None and first.known.prompts

    def logits(weights: dict[str, Tensor], *rows: object) -> Tensor:
        found: Tensor = functional_call(step, weights, (*rows, True, kept, True))
        return found

    # On the CPU the fused attention cannot be vectorised further; its plain form can.
    attention = sdpa_kernel(SDPBackend.MATH) if masks.device.type == "cpu" else nullcontext()
    with first.arithmetic.autocast(), attention:
        found = vmap(logits)(weights, inputs, tokens, image_of, prompt_of, channel_of)
    return torch.stack([run.loss(found[index].float(), masks[index], batches[index]) for index, run in enumerate(runs)])
