"""Attacks on sentences: optimal where the optimum is known, bounded where it is not; budgets, queries, order, goals."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from attacked_models import BRIGHT, DARK, SQUARE, samples, trained
from reading_models import WORDS, Adding
from tiny_models import READING, TARGETS, made
from torch import Tensor

from vlseg.attacks import (
    Goal,
    Lexicon,
    TextAttack,
    TextAttacked,
    TextBudget,
    TextSearch,
    run_text_attack,
    vocabulary_of,
)
from vlseg.attacks.samples import at_rest
from vlseg.attacks.text_embedding import TokenVectors
from vlseg.metrics import dice_score
from vlseg.models import Segmenter, as_module
from vlseg.prompts import known_words
from vlseg.records import InputError

RARE = "abacus bassoon fjord gargoyle ibex kumquat lanyard obelisk quince rhubarb sextant viaduct yurt zeppelin"
LEXICON = Lexicon(
    vocabulary_of([BRIGHT, DARK, SQUARE, RARE, "a round lesion with small holes at the left"]),
    {"bright": ("light", "shining"), "dark": ("dim",), "disc": ("disk", "circle")},
)
BUDGETS = [
    TextBudget("typos", 2),
    TextBudget("words", 1),
    TextBudget("words", 2, "vocabulary"),
    TextBudget("words", 1, "near"),
    TextBudget("suffix", 2),
    TextBudget("order", 1),
]
METHODS = ("greedy", "gradient", "random")


def attacked(attack: TextAttack, count: int = 2, model: Any = None, **more: Any) -> TextAttacked:
    images, prompts, masks, _ = samples(count, 77)
    return run_text_attack(attack, model or trained(), images, prompts, masks, lexicon=LEXICON, **more)


def own_dice(model: Segmenter, image: Tensor, sentence: str, mask: Tensor) -> float:
    inputs = model.prepare([image])
    with torch.no_grad():
        logits = model.forward(inputs, model.tokenize([sentence])).logits
        pred = model.restore(logits, inputs)[0][0].sigmoid() > model.spec.threshold
    return dice_score(pred.numpy(), mask.numpy() > 0.5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("unit", ["typos", "words", "suffix", "order"])
def test_a_budget_of_0_changes_nothing(unit: Any, method: Any) -> None:
    done = attacked(TextAttack(TextBudget(unit, 0), search=TextSearch(method)))
    assert done.sentences == done.prompts
    assert torch.equal(done.dice, done.clean_dice)
    assert done.queries.tolist() == done.gradients.tolist() == done.spent.tolist() == [0] * 4


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("budget", BUDGETS, ids=lambda one: f"{one.unit}-{one.source}")
def test_what_comes_back_is_what_the_model_answers_to_that_sentence(budget: TextBudget, method: Any) -> None:
    model = trained()
    done = attacked(TextAttack(budget, search=TextSearch(method, candidates=6)))
    images, prompts, masks, _ = samples(2, 77)
    for number, sentence in enumerate(done.sentences):
        assert done.clean_dice[number] == own_dice(model, images[number], prompts[number], masks[number])
        assert done.dice[number] == own_dice(model, images[number], sentence, masks[number])
        assert (sentence == prompts[number]) == (done.spent[number] == 0)
    assert torch.equal(done.success, 1 - done.dice)
    assert bool((done.dice <= done.clean_dice).all())
    assert done.dices.shape == (4, done.attack.steps + 1)
    assert torch.equal(done.dices[:, 0], done.clean_dice)
    assert torch.equal(done.dices[:, -1], done.dice)
    assert bool((done.dices.diff(dim=1) <= 0).all())
    assert bool((done.spent <= budget.size).all())
    assert bool((done.queries <= 6 * done.attack.steps).all())
    assert done.keeps_meaning is budget.keeps_meaning is done.attack.keeps_meaning


def worst(model: Segmenter, image: Tensor, sentences: Sequence[str], mask: Tensor) -> float:
    return min(own_dice(model, image, sentence, mask) for sentence in sentences)


def test_greedy_is_optimal_where_words_add_up() -> None:
    """Of a sum the largest terms one by one are the largest together: no sentence of the budget does worse."""
    model, rng = Adding(), torch.Generator().manual_seed(2)
    images = [torch.rand(3, 8, 8, generator=rng) * 0.3 for _ in range(3)]
    masks = [torch.ones(8, 8)] * 3
    prompt, lexicon = "thing alfa bravo", Lexicon(WORDS)
    first = prompt.split()
    for unit, size in product(("suffix", "words"), (1, 2)):
        if unit == "suffix":
            every = [" ".join([*first, *more]) for count in range(size + 1) for more in product(WORDS, repeat=count)]
        else:
            every = [
                " ".join(words)
                for words in product(WORDS, repeat=3)
                if sum(a != b for a, b in zip(words, first, strict=True)) <= size
            ]
        for method in ("greedy", "gradient"):
            candidates = 1000 if method == "greedy" else 1  # a sum is as its gradient says: one sentence a step does
            attack = TextAttack(TextBudget(unit, size, "vocabulary"), search=TextSearch(method, candidates=candidates))
            done = run_text_attack(attack, model, images, [prompt] * 3, masks, lexicon=lexicon)
            found = [worst(model, image, every, mask) for image, mask in zip(images, masks, strict=True)]
            assert done.dice.tolist() == found
            assert min(done.clean_dice.tolist()) > max(found)


@pytest.mark.parametrize("budget", [TextBudget("words", 2, "vocabulary"), TextBudget("suffix", 2)])
def test_greedy_lies_between_one_change_and_all_sentences_of_the_budget(budget: TextBudget) -> None:
    model = trained()
    few = Lexicon(("a", "bright", "dark", "round"))
    images, prompts, masks, _ = samples(2, 77)
    attack = TextAttack(budget, search=TextSearch(candidates=1000))
    done = run_text_attack(attack, model, images, prompts, masks, lexicon=few)
    one = run_text_attack(replace(attack, budget=replace(budget, size=1)), model, images, prompts, masks, lexicon=few)
    for number, prompt in enumerate(prompts):
        words = prompt.split()
        if budget.unit == "suffix":
            every = [[prompt, *more] for count in range(3) for more in product(few.vocabulary, repeat=count)]
            single = [[prompt, word] for word in few.vocabulary]
        else:
            every = [list(both) for both in product(*([word, *few.vocabulary] for word in words))]
            single = [both for both in every if sum(a != b for a, b in zip(both, words, strict=True)) <= 1]
        least, with_one = (
            worst(model, images[number], [" ".join(words) for words in some], masks[number]) for some in (every, single)
        )
        assert one.dice[number] == min(with_one, float(done.clean_dice[number]))
        assert least <= done.dice[number] <= one.dice[number]


@pytest.mark.slow
def test_gradients_choose_better_than_chance() -> None:
    """Among 259 words, five of which the model was trained on; a gradient counts as three sentences."""
    words = sorted(word for word in known_words() if word.isascii() and word.isalpha() and len(word) > 3)[::500]
    lexicon = Lexicon((*words, *"dark bright black square disc".split()))
    images, prompts, masks, _ = samples(3, 77)
    by: dict[str, list[float]] = {"gradient": [], "random": [], "greedy": []}
    for model, size, seed in product([trained(0), trained(1)], (1, 2), (0, 1, 2)):
        budget, candidates, total = TextBudget("suffix", size), 4, 0
        for name in ("gradient", "random", "greedy"):
            search = TextSearch(name, size, candidates, seed)  # type: ignore[arg-type]
            done = run_text_attack(TextAttack(budget, search=search), model, images, prompts, masks, lexicon=lexicon)
            if name == "gradient":
                total = int((done.queries + 3 * done.gradients).min())
                candidates = total // size
            else:
                assert int(done.queries.max()) <= total
            by[name].append(float(done.dice.mean()))
    means = {name: sum(values) / len(values) for name, values in by.items()}
    assert means["gradient"] < min(means["random"], means["greedy"]) - 0.1, means


@pytest.mark.parametrize("method", METHODS)
def test_a_sample_is_attacked_alike_alone_and_in_any_batch(method: Any) -> None:
    attack = TextAttack(TextBudget("words", 2, "vocabulary"), search=TextSearch(method, candidates=2, seed=3))
    images, prompts, masks, _ = samples(2, 77)
    model = trained()
    torch.manual_seed(1)
    together = run_text_attack(attack, model, images, prompts, masks, lexicon=LEXICON, rows=3)
    torch.manual_seed(2)
    back = run_text_attack(attack, model, images[::-1], prompts[::-1], masks[::-1], lexicon=LEXICON)
    for number in range(4):
        some = slice(number, number + 1)
        alone = run_text_attack(attack, model, images[some], prompts[some], masks[some], lexicon=LEXICON)
        assert alone.sentences == together.sentences[some] == back.sentences[3 - number : 4 - number]
        assert torch.equal(alone.dices[0], together.dices[number])
        assert torch.equal(alone.dices[0], back.dices[3 - number])
    if method == "random":
        other = attacked(replace(attack, search=replace(attack.search, seed=4)))
        assert other.sentences != together.sentences


def test_images_and_sentences_are_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each image once; sentences that samples share once; nothing with autograd."""
    model = made("clipseg-tiny")
    sentences, images = [], []
    tokenize, encode_image = model.tokenize, model.encode_image
    monkeypatch.setattr(model, "tokenize", lambda told: (sentences.extend(told), tokenize(told))[1])

    def image(inputs: Any) -> Any:
        assert not torch.is_grad_enabled()
        images.append(len(inputs))
        return encode_image(inputs)

    monkeypatch.setattr(model, "encode_image", image)
    pictures = [torch.rand(3, 40, 40) for _ in range(2)]
    attack = TextAttack(TextBudget("suffix", 1), search=TextSearch("random", steps=3, candidates=4))
    done = run_text_attack(
        attack, model, [*pictures, *pictures], [BRIGHT] * 4, [torch.ones(40, 40)] * 4, lexicon=LEXICON
    )
    assert images == [1, 1]
    assert int(done.queries.min()) > 4
    assert len(sentences) == len(set(sentences)) == 1 + int(done.queries[0])


def test_no_room_for_features_changes_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    attack = TextAttack(TextBudget("words", 2, "vocabulary"), search=TextSearch(candidates=10))
    with_room = attacked(attack)
    monkeypatch.setattr("vlseg.attacks.text_asked.KEPT_BYTES", 0)
    without = attacked(attack)
    assert without.sentences == with_room.sentences
    assert torch.equal(without.dices, with_room.dices)


def test_the_model_is_left_as_it_was() -> None:
    model = made("clipseg")
    module = as_module(model)
    module.train()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    run_text_attack(
        TextAttack(TextBudget("suffix", 1), search=TextSearch("gradient", 1, 2)),
        *(model, [torch.rand(3, 40, 40)], [BRIGHT], [torch.ones(40, 40)]),
        lexicon=LEXICON,
    )
    assert all(one.training for one in module.modules())
    assert all(one.requires_grad and one.grad is None for one in module.parameters())
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert not any(one._forward_hooks for one in module.modules())


def test_goals() -> None:
    """Another word moves the mask to the other disc, or erases it, as it should: the meaning is not kept."""
    images, prompts, masks, others = samples(2, 77)
    model, nothing = trained(), torch.zeros(32, 32)
    for goal, told, truth, wanted in (
        (Goal("move"), prompts, masks, others),
        (Goal("make"), [SQUARE] * 4, [nothing] * 4, masks),
        (Goal("erase"), prompts, masks, None),
    ):
        attack = TextAttack(TextBudget("words", 2, "vocabulary"), goal, TextSearch(candidates=60))
        done = run_text_attack(attack, model, images, told, truth, wanted=wanted, lexicon=LEXICON)
        assert not done.keeps_meaning
        assert float(done.success.mean()) > 0.9
        if wanted is not None:
            for number, sentence in enumerate(done.sentences):
                reached = own_dice(model, images[number], sentence, wanted[number])
                assert float(done.success[number]) == pytest.approx(reached)


@pytest.mark.parametrize("method", METHODS)
def test_what_has_nothing_to_change_is_not_asked(method: Any) -> None:
    few = Lexicon(synonyms={"bright": ("light",)})
    images, prompts, masks, _ = samples(1, 77)
    attack = TextAttack(TextBudget("words", 1), search=TextSearch(method, candidates=3))
    done = run_text_attack(attack, trained(), images, prompts, masks, lexicon=few)
    assert prompts == [BRIGHT, DARK]
    assert done.queries.tolist() == [1, 0]
    assert done.spent[1] == 0
    assert done.dice[1] == done.clean_dice[1]


@pytest.mark.parametrize("name", READING)
def test_token_vectors_are_found_and_their_gradient_is_that_of_the_answer(name: str) -> None:
    """A step along the gradient in the vectors of one token changes the answer as the slope says."""
    model = made(name)
    torch.manual_seed(3)
    image = model.prepare([torch.rand(3, 48, 40)])
    with at_rest(model), torch.no_grad():
        features = model.encode_image(image)

        def answer(prompts: Any) -> Tensor:
            return model.decode(features[[0] * len(prompts)], prompts).logits.sigmoid().flatten(1).mean(1)

        vectors = TokenVectors(model, torch.device("cpu"))
        told, other = vectors.ids(["dark cyst"]), vectors.ids(["bright cyst"])
        losses, gradients = vectors.gradients(["dark cyst"], answer)
        assert torch.allclose(losses, answer(model.encode_prompts(model.tokenize(["dark cyst"]))), atol=1e-6)
        slope = float(vectors.slopes([one[0] for one in gradients], [one[0] for one in told], other))
        step, ends = 1e-2, []
        for sign in (1, -1):
            handles = [
                table.module.register_forward_hook(
                    lambda module, _, given, there=there, here=here, sign=sign: (
                        given
                        + sign
                        * step
                        * (
                            torch.nn.functional.embedding(there, module.weight)
                            - torch.nn.functional.embedding(here, module.weight)
                        )[:, : given.shape[1]]
                    )
                )
                for table, here, there in zip(vectors.tables, told, other, strict=True)
            ]
            ends.append(float(answer(model.encode_prompts(model.tokenize(["dark cyst"])))))
            for handle in handles:
                handle.remove()
        assert slope == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=0.1, abs=2e-5)


def test_near_words_are_near_in_the_models_own_vectors() -> None:
    model = Adding()
    vectors = TokenVectors(model, torch.device("cpu"))
    signs = {word: model.weight(word) > 0 for word in WORDS}
    near = vectors.nearest(WORDS, sum(sign == signs["alfa"] for sign in signs.values()) - 1)("alfa")
    assert all(signs[word] == signs["alfa"] for word in near)  # of numbers: those of its sign
    assert "alfa" not in near
    tiny = TokenVectors(trained(), torch.device("cpu"))
    with torch.no_grad():
        weights = {}
        for word in LEXICON.vocabulary:
            row = trained().tokenize([word]).tensors["buckets"][0, 1]  # type: ignore[union-attr]
            weights[word] = torch.cat([table.module.weight[row[place]] for place, table in enumerate(tiny.tables)])
    best = max(
        (word for word in weights if word != "dark"),
        key=lambda word: float(torch.cosine_similarity(weights["dark"], weights[word], dim=0)),
    )
    assert tiny.nearest(LEXICON.vocabulary)("dark")[0] == best


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"model": "unet"}, "unet reads no sentences"),
        ({"model": "unet-target"}, "unet-target reads no sentences"),
        ({"attack": TextAttack(TextBudget("suffix")), "lexicon": Lexicon()}, "vocabulary"),
        ({"attack": TextAttack(TextBudget("words")), "lexicon": None}, "synonyms"),
        ({"attack": TextAttack(TextBudget("words")), "lexicon": Lexicon(("a",), {"a": ()})}, "synonyms"),
        ({"attack": TextAttack(goal=Goal("move"))}, "wanted"),
        ({"prompts": [BRIGHT]}, "1 prompts"),
        ({"rows": 0}, "rows"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(more: dict[str, Any], named: str) -> None:
    images, prompts, masks, _ = samples(1, 77)
    given = {"attack": TextAttack(), "model": "clipseg-tiny", "images": images, "prompts": prompts, "masks": masks}
    given |= {"lexicon": LEXICON, **more}
    given["model"] = made(given["model"])
    if given["model"].spec.name.startswith("unet"):
        given["prompts"] = list(TARGETS)
    with pytest.raises(InputError, match=named) as caught:
        run_text_attack(**given)
    assert "\n" not in str(caught.value)


def test_published_clipseg_lets_no_gradient_to_its_words() -> None:
    model = made("clipseg-rd64", protocol="published")
    given = ([torch.rand(3, 40, 40)], [BRIGHT], [torch.ones(40, 40)])
    budget = TextBudget("suffix", 1)
    with pytest.raises(InputError, match="greedy"):
        run_text_attack(TextAttack(budget, search=TextSearch("gradient", 1, 2)), model, *given, lexicon=LEXICON)
    done = run_text_attack(TextAttack(budget, search=TextSearch("greedy", 1, 2)), model, *given, lexicon=LEXICON)
    assert done.queries.tolist() == [2]
