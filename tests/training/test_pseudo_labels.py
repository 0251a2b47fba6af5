"""EPI by hand, the state's file, and why the first pseudo-labels come from a trained model."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from vlseg.prompts import Prompted
from vlseg.records import InputError, Sample
from vlseg.training.pseudo_labels import LEVELS, PseudoLabels, next_label


def items(count: int) -> list[Prompted]:
    samples = [Sample(f"s{n}", f"i{n}", Path(f"{n}.png"), (), "disc", {}, "discs", "train") for n in range(count)]
    return [Prompted(sample, ("disc",), "p1", frozenset()) for sample in samples]


def iterated(predictions: Sequence[NDArray[np.float64]], beta: float) -> NDArray[np.float64]:
    """The recursion written out as the sum that it is."""
    last = len(predictions) - 1
    weights = [beta**last] + [(1 - beta) * beta ** (last - t) for t in range(1, last + 1)]
    return sum((w * p for w, p in zip(weights, predictions, strict=True)), np.zeros_like(predictions[0]))


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.99])
def test_labels_are_the_weighted_sum_of_all_answers(tmp_path: Path, beta: float) -> None:
    rng = np.random.default_rng(0)
    answers = rng.random((60, 3, 4, 5))
    labels = PseudoLabels(tmp_path, items(3), (4, 5), beta)
    for epoch, answer in enumerate(answers):
        labels.update(epoch, iter(answer.astype(np.float32)))
    for row, item in enumerate(items(3)):
        expected = iterated(list(answers[:, row]), beta)
        # Rounding in each generation adds up to half a level / (1 - beta).
        assert np.abs(labels.of(item) - expected).max() < 0.51 / LEVELS / (1 - beta) + 1e-6


def test_a_small_lasting_difference_is_followed() -> None:
    """Half precision stops where a hundredth of the difference is less than half its step: 0.024 away from 0.9."""
    label = next_label(None, np.full((1, 1), 0.9, np.float32), 0.99)
    half = np.float16(0.9)
    for _ in range(1000):
        label = next_label(label, np.full((1, 1), 0.92, np.float32), 0.99)
        half = np.float16(0.99 * np.float32(half) + 0.01 * 0.92)
    assert abs(label[0, 0] / LEVELS - 0.92) < 0.001
    assert abs(float(half) - 0.92) > 0.015


def test_a_generation_is_written_whole_and_older_ones_go_when_told(tmp_path: Path) -> None:
    labels = PseudoLabels(tmp_path, items(2), (2, 2), 0.9)
    labels.update(4, [np.full((2, 2), 0.25, np.float32)] * 2)
    labels.forget_others()  # as after a checkpoint, which names it

    def dies() -> object:
        yield np.ones((2, 2), np.float32)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        labels.update(5, dies())  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["pseudo-labels-4.npy"]
    assert labels.of(items(2)[1]) == pytest.approx(np.full((2, 2), 0.25), abs=1e-4)
    labels.update(5, [np.ones((2, 2), np.float32)] * 2)
    assert {path.name for path in tmp_path.iterdir()} == {"pseudo-labels-4.npy", "pseudo-labels-5.npy"}
    labels.forget_others()
    assert [path.name for path in tmp_path.iterdir()] == ["pseudo-labels-5.npy"]
    assert (tmp_path / "pseudo-labels-5.npy").stat().st_size == 128 + 2 * 2 * 2 * 2


def test_another_generation_is_not_taken_for_the_one_that_is_meant(tmp_path: Path) -> None:
    labels = PseudoLabels(tmp_path, items(2), (2, 2), 0.9)
    labels.update(0, [np.zeros((2, 2), np.float32)] * 2)
    labels.forget_others()
    labels.update(1, [np.ones((2, 2), np.float32)] * 2)
    again = PseudoLabels(tmp_path, items(2), (2, 2), 0.9)
    again.restore(0)
    assert again.of(items(2)[0]).max() == 0
    with pytest.raises(InputError, match=r"pseudo-labels-7.npy: pseudo-labels cannot be read"):
        again.restore(7)
    with pytest.raises(InputError, match="of other samples"):
        PseudoLabels(tmp_path, items(3), (2, 2), 0.9).restore(1)


def test_a_first_answer_of_an_untrained_model_outweighs_all_later_ones() -> None:
    """Why there is a warm-up. A model's answer to a pixel of the object rises from 0.5 to 0.95 within ten epochs.

    After fifty epochs with beta 0.99 a label that began at once is still 0.67; one that began when the model was
    trained is right from the start.
    """
    answers = [0.5 + 0.45 * min(1.0, epoch / 10) for epoch in range(60)]

    def label_after(first: int, epochs: int) -> float:
        label = None
        for answer in answers[first : first + epochs]:
            label = next_label(label, np.full((1, 1), answer, np.float32), 0.99)
        assert label is not None
        return float(label[0, 0] / LEVELS)

    assert label_after(0, 50) < 0.68
    assert label_after(10, 1) == pytest.approx(0.95, abs=1e-4)
    assert label_after(10, 50) == pytest.approx(0.95, abs=1e-4)


def test_epochs_between_two_checkpoints_leave_no_files(tmp_path: Path) -> None:
    """A slow disk's checkpoints are epochs apart; of a kill in mid-write nothing stays."""
    labels = PseudoLabels(tmp_path, items(2), (2, 2), 0.9)
    labels.update(3, [np.zeros((2, 2), np.float32)] * 2)
    labels.forget_others()
    for epoch in range(4, 9):
        labels.update(epoch, [np.ones((2, 2), np.float32)] * 2)
    assert {path.name for path in tmp_path.iterdir()} == {"pseudo-labels-3.npy", "pseudo-labels-8.npy"}
    (tmp_path / ".pseudo-labels-9.npy.77-1.part").write_bytes(b"half")
    again = PseudoLabels(tmp_path, items(2), (2, 2), 0.9)
    again.restore(3)
    again.update(4, [np.ones((2, 2), np.float32)] * 2)
    assert {path.name for path in tmp_path.iterdir()} == {"pseudo-labels-3.npy", "pseudo-labels-4.npy"}
