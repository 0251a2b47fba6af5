import pytest
import torch
from monai.losses import DiceLoss

from vlseg.losses import dice_bce_loss, language_vision_loss, lvit_loss, published_loss, soft_dice_loss


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(5, 1, 9, 7, generator=generator) * 3, (torch.rand(5, 1, 9, 7, generator=generator) > 0.6).float()


def test_soft_dice_equals_monai(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, mask = pair
    reference = DiceLoss(sigmoid=True, smooth_nr=1e-5, smooth_dr=1e-5)(logits, mask)
    torch.testing.assert_close(soft_dice_loss(logits, mask), reference)
    torch.testing.assert_close(published_loss(logits, mask), reference)


def test_cross_entropy_term_is_alive(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, mask = pair
    by_hand = -(3.0 * mask * logits.sigmoid().log() + (1 - mask) * (1 - logits.sigmoid()).log()).mean()
    total = dice_bce_loss(logits, mask, bce_weight=0.5, positive_weight=3.0)
    torch.testing.assert_close(total - soft_dice_loss(logits, mask), 0.5 * by_hand)


def test_empty_truth_has_a_finite_loss_and_gradient() -> None:
    logits = torch.zeros(2, 1, 4, 4, requires_grad=True)
    loss = dice_bce_loss(logits, torch.zeros(2, 1, 4, 4))
    loss.backward()
    assert torch.isfinite(loss)
    assert (logits.grad > 0).all()


def test_perfect_prediction_costs_nothing() -> None:
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2] = 1
    assert dice_bce_loss((mask - 0.5) * 200, mask) < 1e-5


def test_lvit_loss_equals_monai_and_two_means(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, mask = pair
    dice = DiceLoss(sigmoid=True, squared_pred=True, smooth_nr=4e-5, smooth_dr=4e-5)(logits, mask)
    inside = -logits[mask == 1].sigmoid().log().mean()
    outside = -(1 - logits[mask == 0].sigmoid()).log().mean()
    torch.testing.assert_close(lvit_loss(logits, mask), 0.5 * dice + 0.25 * (inside + outside))
    few = mask * (torch.arange(5)[:, None, None, None] == 0)  # of a batch, not of a row: rows without foreground count
    assert torch.isfinite(lvit_loss(logits, few))
    empty = lvit_loss(torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4))
    torch.testing.assert_close(empty, 0.25 * torch.tensor(2.0).log() + 0.5 * (1 - 4e-5 / torch.tensor(4 + 4e-5)))


def test_language_vision_loss_equals_torchs_cosine(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, mask = pair
    cosines = torch.nn.CosineSimilarity()(logits.sigmoid().flatten(1), mask.flatten(1))
    torch.testing.assert_close(language_vision_loss(logits, mask), (1 - cosines).mean())
    assert language_vision_loss((mask - 0.5) * 200, mask) < 1e-6  # of the mask itself
    apart = language_vision_loss((0.5 - mask) * 200, mask)  # of all but the mask
    torch.testing.assert_close(apart, torch.tensor(1.0), atol=1e-4, rtol=0)


def test_an_empty_reference_says_nothing() -> None:
    """Neither NaN, as of a vector without a direction, nor a pull to answer less or more."""
    logits = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    loss = language_vision_loss(logits, torch.zeros(2, 1, 4, 4))
    loss.backward()
    assert float(loss.detach()) == 0
    assert torch.isfinite(logits.grad).all()
    assert float(logits.grad.abs().max()) == 0
