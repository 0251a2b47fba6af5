"""An attack on the sentences of samples: images are encoded once, sentences in batches."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vlseg.attacks.plan import Attack, Budget
from vlseg.attacks.samples import at_rest, samples_of
from vlseg.attacks.text_asked import Asked, Best, Reader
from vlseg.attacks.text_plan import TextAttack
from vlseg.attacks.text_search import search_words
from vlseg.attacks.text_words import Lexicon
from vlseg.models import Segmenter
from vlseg.records import InputError


@dataclass(frozen=True)
class TextAttacked:
    """What became of N samples in S steps, in the samples' order.

    Attributes:
        attack: what was done.
        prompts, sentences: N, before and after; equal where nothing that was asked served the goal more.
        keeps_meaning: whether the sentences ask for the same. Where not, a worse mask may be the right answer.
        spent: (N,) of the budget.
        clean_dice, dice: (N,) Dice with the truth at the mask's own size, before and after.
        success: (N,) how far the goal was reached, in [0, 1].
        queries: (N,) sentences that the model was asked about this image, the clean one not counted; 0: there was
            nothing to change, which is no robustness.
        gradients: (N,) sentences whose gradient was taken besides.
        dices: (N, S + 1) Dice of the sentence that served the goal most so far, the clean one first.
    """

    attack: TextAttack
    prompts: list[str]
    sentences: list[str]
    keeps_meaning: bool
    spent: Tensor
    clean_dice: Tensor
    dice: Tensor
    success: Tensor
    queries: Tensor
    gradients: Tensor
    dices: Tensor


def run_text_attack(
    attack: TextAttack,
    model: Segmenter,
    images: Sequence[Tensor],
    prompts: Sequence[str],
    masks: Sequence[Tensor],
    *,
    lexicon: Lexicon | None = None,
    wanted: Sequence[Tensor] | None = None,
    threshold: float | None = None,
    rows: int = 16,
) -> TextAttacked:
    """Attack every sample's sentence; the image stays as it is.

    The Dice of a sample is that of the sentence that served the goal most among all that were asked, its own included:
    success at the image's own size and the threshold decides, among equals the loss. Draws derive from the seed and the
    sentence, so that samples of one sentence are asked the same where the search allows it, and these are read once.

    Args:
        attack: what to do.
        model: one that reads, on the device where it computes; left as it was.
        images: N of (3, H_i, W_i), RGB in [0, 1]; samples of one image share the tensor.
        prompts: N sentences.
        masks: N of (H_i, W_i), the truth, 0/1.
        lexicon: where words are from, and which ones no typo may make.
        wanted: N of (H_i, W_i), the mask to make, or to move to.
        threshold: on probabilities; None: the model's.
        rows: sentences in one pass.

    Raises:
        InputError: what does not fit together, a model that reads no sentences, or, of the method "gradient" and the
            source "near", one without token vectors.
    """
    lexicon = lexicon or Lexicon()
    _check(attack, model, lexicon)
    plain = Attack(Budget(epsilon=0, place="native"), attack.goal)
    with at_rest(model), torch.inference_mode(False), torch.no_grad():
        samples = samples_of(plain, model, images, prompts, masks, wanted, threshold)
        reader = Reader(attack, samples, lexicon, rows)
        found: list[tuple[list[Best], int, int]] = [([], 0, 0)] * len(samples)
        for image in range(len(samples.canvases)):
            features = model.encode_image(samples.canvases[image].inputs)
            for number in (one for one in range(len(samples)) if samples.image[one] == image):
                asked = Asked(reader, number, features)
                found[number] = list(search_words(asked)), asked.queries, asked.gradients
    last = [curve[-1] for curve, _, _ in found]
    return TextAttacked(
        attack,
        list(prompts),
        [one.wording.text for one in last],
        attack.keeps_meaning,
        spent=torch.tensor([one.wording.spent for one in last]),
        clean_dice=torch.tensor([curve[0].dice for curve, _, _ in found], dtype=torch.float64),
        dice=torch.tensor([one.dice for one in last], dtype=torch.float64),
        success=torch.tensor([one.success for one in last], dtype=torch.float64),
        queries=torch.tensor([queries for _, queries, _ in found]),
        gradients=torch.tensor([gradients for _, _, gradients in found]),
        dices=torch.tensor([[one.dice for one in curve] for curve, _, _ in found], dtype=torch.float64),
    )


def _check(attack: TextAttack, model: Segmenter, lexicon: Lexicon) -> None:
    name, source = model.spec.name, attack.budget.source
    if not model.spec.uses_text:
        raise InputError(f"model: {name} reads no sentences, so there is none to attack; take run_attack on its images")
    if source in ("vocabulary", "near") and not lexicon.vocabulary:
        raise InputError("lexicon: has no vocabulary; give Lexicon(vocabulary_of(the dataset's sentences))")
    if source == "synonyms" and not any(lexicon.synonyms.values()):
        raise InputError("lexicon: has no synonyms; give Lexicon(synonyms=...), or take the source vocabulary")
