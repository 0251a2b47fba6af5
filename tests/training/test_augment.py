from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vlseg.models import build_model
from vlseg.prompts import Prompted
from vlseg.records import DatasetInfo, Sample
from vlseg.training.augment import Augmentation, Variant, augment, draw_variant
from vlseg.training.batches import EpochBatches, ImageCache, group_by_image, plan_epoch


def scene() -> tuple[np.ndarray, list[np.ndarray]]:
    image = np.full((8, 6, 3), 0.4, np.float32)
    mask = np.zeros((8, 6), bool)
    mask[1, :2] = True  # top left
    image[mask] = 0.9
    return image, [mask]


def variants(symmetries: set[str], text: str, count: int = 60) -> list[tuple[np.ndarray, np.ndarray, str]]:
    image, masks = scene()
    found = [augment(image, masks, [text], frozenset(symmetries), np.random.default_rng(seed)) for seed in range(count)]
    return [(changed, truths[0], texts[0]) for changed, truths, texts in found]


def test_image_and_mask_move_together() -> None:
    for image, mask, _ in variants({"horizontal", "vertical", "rotation"}, "lesion"):
        assert image[mask].mean() > 0.7 > image[~mask].mean() + 0.2
        assert mask.sum() == 2


def test_words_follow_the_mirror() -> None:
    seen = set()
    for _, mask, text in variants({"horizontal"}, "lesion in the left"):
        assert text == ("lesion in the left" if mask[:, 0].any() else "lesion in the right")
        seen.add(text)
    assert len(seen) == 2


def test_no_transform_that_the_dataset_or_the_words_forbid() -> None:
    original = scene()[1][0]
    for symmetries, text in (
        (set(), "lesion"),
        ({"rotation"}, "lesion in the left"),
        ({"horizontal", "vertical"}, "medial lesion"),
    ):
        assert all(np.array_equal(mask, original) for _, mask, _ in variants(symmetries, text))


def test_one_unwritable_prompt_holds_all_back() -> None:
    image, masks = scene()
    for seed in range(30):
        _, truths, texts = augment(
            image, masks * 2, ["left one", "medial one"], frozenset({"horizontal"}), np.random.default_rng(seed)
        )
        assert texts == ["left one", "medial one"]
        assert np.array_equal(truths[0], masks[0])


def test_values_stay_in_range_and_input_is_untouched() -> None:
    image, masks = scene()
    before = image.copy()
    for seed in range(30):
        changed, _, _ = augment(image, masks, ["x"], frozenset({"horizontal"}), np.random.default_rng(seed))
        assert changed.dtype == np.float32
        assert 0 <= changed.min() <= changed.max() <= 1
    assert np.array_equal(image, before)


@pytest.mark.parametrize("shape", [(60, 60), (40, 70), (70, 41)])
def test_scaled_and_turned_as_pillow_does_it(shape: tuple[int, int]) -> None:
    height, width = shape
    mask = np.zeros(shape, bool)
    mask[height // 4 : height // 2, width // 5 : width // 2] = True
    image = np.repeat(mask[..., None].astype(np.float32), 3, axis=2)
    picture = Image.fromarray(mask.astype(np.uint8) * 255)
    turned = np.asarray(picture.rotate(25, resample=Image.Resampling.NEAREST)) > 0
    found = Variant(angle=25)
    assert ((found.mask(mask) > 0.5) != turned).mean() < 0.01  # an edge here and there
    assert ((found.image(image)[..., 0] > 0.5) != turned).mean() < 0.02
    rows, columns = (np.abs(np.arange(side) - (side - 1) / 2) * 2 < side / 1.5 for side in shape)
    larger = np.asarray(Image.fromarray(mask[np.ix_(rows, columns)]).resize((width, height), Image.Resampling.NEAREST))
    assert ((Variant(scale=1.5).mask(mask) > 0.5) != larger).mean() < 0.06  # the part is cut at whole pixels
    assert abs(Variant(scale=1.25).mask(mask).sum() / mask.sum() - 1.25**2) < 0.1
    assert abs(Variant(scale=0.8).mask(mask).sum() / mask.sum() - 0.8**2) < 0.1


def test_image_and_mask_are_warped_together_and_sides_stay() -> None:
    image, (mask,) = np.full((64, 80, 3), 0.3, np.float32), [np.zeros((64, 80), bool)]
    mask[10:30, 6:30] = True
    image[mask] = 0.9
    angles, scales = set(), set()
    for seed in range(40):
        variant, _ = draw_variant(["spot at the left"], frozenset(), np.random.default_rng(seed), zoom=0.3, rotate=8)
        changed, truth = variant.image(image), variant.mask(mask)
        assert (truth.dtype, changed.dtype, changed.shape) == (np.float32, np.float32, image.shape)
        assert 0 <= truth.min() <= truth.max() <= 1
        assert changed[truth > 0.5].mean() > 0.8
        assert np.argwhere(truth > 0.5)[:, 1].mean() < 39.5
        assert 1 / 1.3 <= variant.scale <= 1.3
        assert -8 <= variant.angle <= 8
        angles.add(variant.angle > 0)
        scales.add(variant.scale > 1)
    assert angles == scales == {True, False}


@pytest.mark.parametrize("kind", ["vessel", "dot"])
def test_thin_structures_keep_their_share_of_the_truth(kind: str) -> None:
    """A mask that is only looked up at one place a pixel loses a vessel of one pixel in one image of twenty."""
    for seed in range(60):
        rng = np.random.default_rng(seed)
        mask = np.zeros((96, 128), bool)
        row, column = (int(number) for number in rng.integers(36, 60, 2))
        mask[slice(24, 72) if kind == "vessel" else row, column] = True
        variant, _ = draw_variant(["vessel"], frozenset(), rng, zoom=0.25, rotate=10)
        truth = variant.mask(mask)
        assert abs(truth.sum() / (mask.sum() * variant.scale**2) - 1) < 0.25
        assert truth.max() > 0.1


def test_what_leaves_the_image_is_not_in_its_truth() -> None:
    mask = np.zeros((80, 100), bool)
    mask[30:50, :6] = True
    assert mask.any()
    assert not Variant(scale=1.25).mask(mask).any()
    assert Variant(scale=0.8).mask(mask).sum() == pytest.approx(mask.sum() * 0.64, rel=0.02)


def test_a_place_in_the_words_changes_no_further_draw() -> None:
    """The same image is scaled and turned alike for a model that reads of a place and one that is told nothing."""
    allowed = frozenset({"rotation"})
    for seed in range(10):
        places, none = (
            draw_variant([text], allowed, np.random.default_rng(seed), zoom=0.2, rotate=5)[0]
            for text in ("scar at the left", "scar")
        )
        assert (places.scale, places.angle) == (none.scale, none.angle)


def test_without_them_runs_see_what_they_saw() -> None:
    allowed = frozenset({"horizontal", "rotation"})
    for seed in range(20):
        plain, _ = draw_variant(["spot"], allowed, np.random.default_rng(seed))
        warped, _ = draw_variant(["spot"], allowed, np.random.default_rng(seed), zoom=0.2, rotate=5)
        assert (plain.intensity, plain.axes, plain.turns) == (warped.intensity, warped.axes, warped.turns)
        assert (plain.scale, plain.angle) == (1, 0) != (warped.scale, warped.angle)


@pytest.mark.parametrize("text", ["vertical scar", "a diagonal line", "oblique fissure"])
def test_directions_are_not_turned(text: str) -> None:
    assert all(draw_variant([text], frozenset({"rotation"}), np.random.default_rng(n))[0].turns == 0 for n in range(30))
    assert any(draw_variant(["scar"], frozenset({"rotation"}), np.random.default_rng(n))[0].turns for n in range(30))


def lungs(folder: Path, names: tuple[str, ...]) -> list[Prompted]:
    """One image with a structure on each side, each asked for in words that name no side."""
    Image.fromarray(np.full((32, 32), 90, np.uint8)).save(folder / "image.png")
    found = []
    for name in names:
        mask = np.zeros((32, 32), np.uint8)
        mask[8:24, 2:12] = 255
        if name.startswith("right"):
            mask = mask[:, ::-1]
        Image.fromarray(mask).save(folder / f"{name}.png")
        sample = Sample(
            name, "image", folder / "image.png", (folder / f"{name}.png",), name, {"p": ("lung",)}, "d", "train"
        )
        found.append(Prompted(sample, (f"lung number {len(found)}",), "p", frozenset({"class"})))
    return found


@pytest.mark.parametrize("model", ["unet", "unet-target"])
@pytest.mark.parametrize(
    ("names", "sides"), [(("left lung", "right lung"), {"left", "right"}), (("left lung", "heart"), {"left"})]
)
def test_a_model_that_is_told_the_target_is_told_the_side_where_it_lies(
    model: str, names: tuple[str, ...], sides: set[str], tmp_path: Path
) -> None:
    """Where the other side is no target, the image is not mirrored."""
    prompted = lungs(tmp_path, names)
    infos = {"d": DatasetInfo("d", tmp_path, tmp_path, symmetries=frozenset({"horizontal"}), targets=names)}
    network = build_model(model, arguments={"image_size": 32}, targets=names)
    told: list[str] = []
    if model == "unet-target":
        tokenize = network.tokenize
        network.tokenize = lambda texts: told.extend(texts) or tokenize(texts)  # type: ignore[method-assign, func-returns-value]
    groups = group_by_image(prompted)
    cache = ImageCache(infos)
    seen = set()
    for epoch in range(16):
        plan = plan_epoch(groups, seed=0, epoch=epoch, batch_size=1, prompts_per_image=2)
        told.clear()
        batch = EpochBatches(plan, network, cache, infos, Augmentation(0, epoch))[0]
        assert len(batch.masks) == len(names)
        for row in range(len(names)):
            name = told[batch.prompt_of[row]] if told else names[batch.channel_of[row]]
            if name != "heart":
                columns = batch.masks[row, 0].sum(dim=0)
                side = "left" if columns[:16].sum() > columns[16:].sum() else "right"
                assert name == f"{side} lung"
                seen.add((row, side))
    assert {side for _, side in seen} == sides
    assert len(seen) == (4 if len(sides) == 2 else 1)  # mirrored and not, where it can be
