import numpy as np

from vlseg.training.augment import augment


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
