"""What an entry of the feature cache depends on: every setting of a run is in its key, or said not to matter."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import TARGETS, TINY, made
from torch import nn

from vlseg.jobs.train import train_run
from vlseg.models import Rows, as_module, build_model, feature_keys, load_model
from vlseg.models.feature_keys import Contexts, feature_contexts
from vlseg.models.features import FeatureStore
from vlseg.records import InputError, RunConfig
from vlseg.training.batches import ImageCache

MakeDataset = Callable[..., Path]
CPU = torch.device("cpu")
CACHEABLE = [name for name in TINY if name not in ("ensemble",)]

IN_THE_KEY: dict[str, Any] = {
    "model": "clipseg-rd64",
    "model_arguments": {**TINY["clipseg"], "image_size": 80},
    "protocol": "published",
    "seed": 1,  # of random encoders; with `weights` all seeds share
    "precision": "bf16",
    "image_cache": "reduced",
    "feature_precision": "fp32",
}
"""Settings that change the features of some image, each with a value other than the one below."""

NOT_IN_THE_KEY = {
    "data": "an image's key is its bytes and how they are read",
    "target": "chooses samples",
    "prompt": "an image's features know no prompt, and a prompt's key is its words",
    "pooling": "chooses samples",
    "train_share": "chooses samples",
    "label_share": "chooses masks",
    "pseudo_labels": "in a mask's place",
    "pseudo_beta": "in a mask's place",
    "pseudo_warmup": "when masks' places are taken",
    "lv_weight": "acts on what trains",
    "folds": "chooses samples",
    "fold": "chooses samples",
    "regime": "what trains is not kept: a regime that trains the image encoder is refused",
    "regime_arguments": "what is added inside the image encoder is not kept: such a regime is refused",
    "devices": "who computes, not what",
    "nodes": "who computes, not what",
    "epochs": "length",
    "max_steps": "length",
    "batch_size": "images are encoded one at a time",
    "prompts_per_image": "chooses prompts",
    "class_prompt_share": "chooses prompts",
    "attribute_dropout": "chooses prompts",
    "accumulate": "images are encoded one at a time",
    "checkpoint_activations": "acts on what trains",
    "compile": "acts on what trains; kept features come from the plain encoders",
    "optimizer": "acts on what trains",
    "learning_rate": "acts on what trains",
    "encoder_rate": "acts on what trains",
    "weight_decay": "acts on what trains",
    "schedule": "acts on what trains",
    "warmup_steps": "acts on what trains",
    "clip_norm": "acts on what trains",
    "loss": "acts on what trains",
    "bce_weight": "acts on what trains",
    "positive_weight": "acts on what trains",
    "presence_weight": "acts on what trains",
    "augment": "a changed image has its change in its key",
    "zoom": "a changed image has its change in its key",
    "rotate": "a changed image has its change in its key",
    **dict.fromkeys(
        ("adversarial", "adversarial_epsilon", "adversarial_steps", "adversarial_step_size", "adversarial_share"),
        "features of attacked images are not kept: a cache is refused",
    ),
    "patience": "length",
    "validate_every": "when to validate",
    "validate_limit": "chooses samples",
    "threshold": "acts on answers",
    "workers": "who computes, not what",
    "feature_cache": "the place",
    "feature_views": "a changed image has its change in its key",
    "feature_limit_gib": "how many entries",
    "trackers": "who is told",
}
WHERE_FROM = {"weights", "revision", "device", "threads"}
"""Tested below by content: the encoders' own weights, and what computes."""


def test_every_setting_is_in_the_key_or_does_not_matter() -> None:
    assert {*IN_THE_KEY, *NOT_IN_THE_KEY, *WHERE_FROM} == set(RunConfig.model_fields), (
        "a new setting: if it can change an image's features, put it into the key; else say why it does not"
    )
    assert not set(IN_THE_KEY) & set(NOT_IN_THE_KEY)


def base(data: Path, cache: Path, **changes: Any) -> RunConfig:
    values: dict[str, Any] = {
        "model": "clipseg",
        "model_arguments": dict(TINY["clipseg"]),
        "data": [str(data)],
        "prompt": "p1",
        "regime": "decoder",
        "device": "cpu",
        "threads": 1,
        "max_steps": 1,
        "augment": False,
        "feature_cache": str(cache),
    }
    return RunConfig(**(values | changes))


def entries(cache: Path) -> set[str]:
    return {path.relative_to(cache).as_posix() for path in cache.rglob("*.safetensors")}


@pytest.mark.parametrize("name", IN_THE_KEY)
def test_a_setting_in_the_key_shares_no_entry(name: str, make_dataset: MakeDataset, tmp_path: Path) -> None:
    data, cache = make_dataset(counts=(1, 0, 0), size=100), tmp_path / "cache"
    train_run(base(data, cache), tmp_path / "first")
    first = entries(cache)
    changed = {name: IN_THE_KEY[name]}
    if name == "model":
        changed["model_arguments"] = dict(TINY["clipseg-rd64"])
    train_run(base(data, cache, **changed), tmp_path / "second")
    assert len(first) == 3  # an image and two prompts
    # Only the image's own entry differs where its pixels do: its prompts are the same.
    assert len(entries(cache) - first) == (1 if name == "image_cache" else 3)


@pytest.mark.slow
def test_reduced_images_and_whole_ones_live_in_one_cache(make_dataset: MakeDataset, tmp_path: Path) -> None:
    """In either order, each run ends with the bits of one that has a cache of its own."""
    data = make_dataset(counts=(2, 0, 0), size=150)

    def weights(cache: Path, kind: str, out: Path) -> dict[str, torch.Tensor]:
        train_run(base(data, cache, image_cache=kind, feature_precision="fp32"), out)
        return as_module(load_model(str(out))).state_dict()

    alone = {kind: weights(tmp_path / kind / "cache", kind, tmp_path / kind / "run") for kind in ("reduced", "native")}
    for order in (("reduced", "native"), ("native", "reduced")):
        shared = tmp_path / "-".join(order)
        for kind in order:
            found = weights(shared / "cache", kind, shared / kind)
            assert all(torch.equal(found[key], alone[kind][key]) for key in found), f"{order} {kind}"


def test_a_run_that_dies_while_it_fills_leaves_no_wrong_entry(
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It dies at a mask, whose image's features are kept by then; what comes after ends as if it had not been."""
    data, cache = make_dataset(counts=(2, 0, 0), size=150), tmp_path / "cache"
    mask = ImageCache.mask

    def fail(self: ImageCache, *_: object) -> Any:
        raise InputError("mask: cannot be read")

    for kind in ("reduced", "native"):
        monkeypatch.setattr(ImageCache, "mask", fail)
        with pytest.raises(InputError, match="mask"):
            train_run(base(data, cache, image_cache=kind, feature_precision="fp32"), tmp_path / f"died-{kind}")
    assert entries(cache)
    monkeypatch.setattr(ImageCache, "mask", mask)
    train_run(base(data, cache, feature_precision="fp32"), tmp_path / "after")
    train_run(base(data, tmp_path / "fresh", feature_precision="fp32"), tmp_path / "alone")
    one, two = (as_module(load_model(str(tmp_path / run))).state_dict() for run in ("after", "alone"))
    assert all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize("name", CACHEABLE)
def test_a_saved_and_loaded_model_finds_its_entries(name: str, tmp_path: Path) -> None:
    model = made(name)
    model.save(tmp_path / "model")
    again = load_model(str(tmp_path / "model"))
    assert feature_contexts(again, CPU, "fp32") == feature_contexts(model, CPU, "fp32")


@pytest.mark.parametrize("name", CACHEABLE)
def test_nothing_of_the_decoder_counts_and_all_of_the_encoders_does(name: str) -> None:
    """Every parameter and buffer, by what the model says its decoder is."""
    model = made(name)
    network = as_module(model)
    decoder = {
        id(tensor)
        for module in model.parts()["mask_decoder"]
        for inner in module.modules()
        for tensor in [*inner._parameters.values(), *inner._buffers.values()]
    }
    base_context = feature_contexts(model, CPU, "fp32")

    def context_with(moved: list[torch.Tensor]) -> Contexts:
        for tensor in moved:
            tensor.add_(1)
        found = feature_contexts(model, CPU, "fp32")
        for tensor in moved:
            tensor.sub_(1)
        return found

    with torch.no_grad():
        state = network.state_dict(keep_vars=True).values()
        assert context_with([tensor for tensor in state if id(tensor) in decoder]) == base_context
        outside = [tensor for tensor in state if id(tensor) not in decoder and tensor.numel() < 100]
        for tensor in outside[:: max(1, len(outside) // 5)]:
            assert context_with([tensor]) != base_context
    statistics = {id(buffer) for key, buffer in network.named_buffers() if key.endswith("running_mean")}
    assert name not in ("cris", "smp-unet") or statistics & decoder, "batch norm in the decoder was to be tested here"


SIDES = [*((name, {}) for name in CACHEABLE), *(("guide", {"text": text}) for text in ("none", "target"))]


@pytest.mark.parametrize(("name", "arguments"), SIDES)
@torch.no_grad()
def test_no_tensor_outside_a_key_changes_its_features(
    name: str, arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those whose bytes a context does not count may all change at once, and the features keep their bits."""
    model = made(name, **arguments)
    counted: list[set[int]] = []
    digests, add = feature_keys._digests, feature_keys.add_to_digest
    monkeypatch.setattr(feature_keys, "_digests", lambda *a: counted.append(set()) or digests(*a))  # type: ignore[func-returns-value]
    monkeypatch.setattr(
        feature_keys,
        "add_to_digest",
        lambda to, key, one: (counted[-1].add(id(one)) if counted else None, add(to, key, one)),
    )
    monkeypatch.setattr(feature_keys, "_digest_of", lambda _: "")
    feature_contexts(model, CPU, "fp32")
    tensors = [one for one in as_module(model).state_dict(keep_vars=True).values() if one.is_floating_point()]
    free = {
        side: [tensor for tensor in tensors if id(tensor) not in inside]
        for side, inside in (("images", counted[0]), ("prompts", counted[-1]))
    }
    inputs = model.prepare([torch.rand(3, 40, 50, generator=torch.Generator().manual_seed(0))])
    prompts = ["dark cyst", "a small round nodule at the left"]

    def features(side: str) -> dict[str, torch.Tensor]:
        told = model.encode_image(inputs) if side == "images" else model.encode_prompts(model.tokenize(prompts))
        assert told is not None
        return {key: tensor.clone() for key, tensor in told.tensors.items()}

    for side in ("images", "prompts") if model.spec.uses_text else ("images",):
        first, state = features(side), [tensor.clone() for tensor in tensors]
        assert free[side], "the decoder is in no key"
        for tensor in free[side]:
            tensor.add_(torch.rand(tensor.shape, generator=torch.Generator().manual_seed(1)))
        again = features(side)
        assert all(torch.equal(first[key], again[key]) for key in first)
        inside = {id(one) for one in free[side]}
        for tensor in tensors:
            if id(tensor) not in inside:
                tensor.add_(torch.rand(tensor.shape, generator=torch.Generator().manual_seed(1)))
        assert any(not torch.equal(first[key], one) for key, one in features(side).items())
        for tensor, before in zip(tensors, state, strict=True):
            tensor.copy_(before)


def test_models_share_the_side_that_they_have_alike(tmp_path: Path) -> None:
    """guide, its twins, and what may train: one key of images. Other words, targets or sizes: as they differ."""

    def contexts(**arguments: Any) -> Contexts:
        return feature_contexts(made("guide", **arguments), CPU, "fp32")

    base = contexts()
    assert base.prompts is not None
    for arguments in ({"text": "none"}, {"text": "target"}):
        assert contexts(**arguments).images == base.images
    assert contexts(trainable_stages=1) == base
    assert contexts(image_size=96).images != base.images
    assert contexts(image_size=96).prompts == base.prompts
    torch.manual_seed(0)
    other = build_model("guide", arguments={**TINY["guide"], "text": "target"}, targets=("a", "b", "c"))
    assert feature_contexts(other, CPU, "fp32").images == base.images
    words: Any = made("guide")
    with torch.no_grad():
        words.words.encoder.positions.add_(1)
    assert feature_contexts(words, CPU, "fp32").images == base.images
    assert feature_contexts(words, CPU, "fp32").prompts != base.prompts


@pytest.mark.parametrize("flag", ["image_features_depend_on_text", "prompt_features_depend_on_image"])
def test_encoders_that_need_each_other_share_nothing(flag: str) -> None:
    model: Any = made("guide")
    model.spec = replace(model.spec, **{flag: True})
    with pytest.raises(InputError, match="depend on each other"):
        feature_contexts(model, CPU, "fp32")


def test_a_model_that_reads_more_than_it_declares_is_refused() -> None:
    """A tensor, a module without any, and the text side's: the watch names it."""
    encode: Any

    def refused(model: Any, match: str) -> None:
        with pytest.raises(ValueError, match=match):
            feature_contexts(model, CPU, "fp32")

    model: Any = made("guide")
    encode = model.encode_image
    model.encode_image = lambda inputs: encode(Rows({"pixel_values": inputs.tensors["pixel_values"] * model.scale}))
    model.scale = nn.Parameter(torch.ones(1))
    refused(model, "encode_image reads scale")
    model = made("guide")
    encode = model.encode_image
    model.act = nn.Tanh()
    model.encode_image = lambda inputs: encode(Rows({"pixel_values": model.act(inputs.tensors["pixel_values"])}))
    refused(model, "encode_image reads act")
    model = made("guide")
    model.sides = lambda: ([model.image_encoder], [model.words.encoder.layer])
    refused(model, r"encode_prompts reads words\.encoder\.positions")
    model = made("guide")
    model.sides = lambda: ([model.image_encoder.network.blocks], [model.words])
    refused(model, r"encode_image reads image_encoder\.network\.conv_stem")


def test_twins_encode_images_once(make_dataset: MakeDataset, tmp_path: Path, vlseg: Callable[..., Any]) -> None:
    """Runs of guide and its twins in one cache end as in caches of their own, and `cache info` names who shares."""
    data, cache = make_dataset(counts=(2, 0, 0)), tmp_path / "cache"

    def run(text: str, place: Path, out: Path) -> dict[str, torch.Tensor]:
        arguments = {**TINY["guide"], "text": text}
        changes = {"model": "guide", "model_arguments": arguments, "feature_precision": "fp32"}
        train_run(base(data, place, **changes), out)
        return as_module(load_model(str(out))).state_dict()

    first: set[str] = set()
    for text in ("hashed", "none", "target"):
        shared = run(text, cache, tmp_path / text)
        alone = run(text, tmp_path / f"cache-{text}", tmp_path / f"{text}-alone")
        assert all(torch.equal(shared[key], alone[key]) for key in alone)
        first = first or entries(cache)
        assert entries(cache) == first  # the one that reads wrote its prompts, too
    done = vlseg("cache", "info", cache, "--json")
    kinds = {row["features"]: row for row in done.json["contexts"]}
    assert kinds["images"]["files"] == 2
    assert [any(f"text={text}" in one for one in kinds["images"]["shared_by"]) for text in ("hashed", "none")] == [
        True
    ] * 2
    assert len(kinds["prompts"]["shared_by"]) == 1
    assert "shared by guide" in vlseg("cache", "info", cache).out


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("clipseg", {"config": {**TINY["clipseg"]["config"], "extract_layers": [0, 2, 3]}}),
        ("clipseg", {"image_size": 80}),
    ],
)
def test_what_weights_do_not_tell_is_in_the_key(name: str, arguments: dict[str, Any]) -> None:
    """Other taps or sizes of the same encoders."""
    one = made(name)
    two = build_model(name, arguments={**TINY[name], **arguments}, targets=TARGETS)
    as_module(two).load_state_dict(as_module(one).state_dict())
    contexts = [feature_contexts(model, CPU, "fp32") for model in (one, two)]
    assert contexts[0].images["encoder"] == contexts[1].images["encoder"]
    assert contexts[0] != contexts[1]


def test_another_tokenizer_preprocessing_setting_or_number_of_threads_is_another_context(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = made("clipseg")
    folders = {FeatureStore(tmp_path, feature_contexts(model, CPU, "fp32"), "fp16").folder}
    prepare, tokenize = model.prepare, model.tokenize
    model.prepare = lambda rgb: prepare([image.flip(0) for image in rgb])  # type: ignore[method-assign]
    folders.add(FeatureStore(tmp_path, feature_contexts(model, CPU, "fp32"), "fp16").folder)
    model.prepare = prepare  # type: ignore[method-assign]
    model.tokenize = lambda prompts: tokenize([text.upper()[:3] for text in prompts])  # type: ignore[method-assign]
    folders.add(FeatureStore(tmp_path, feature_contexts(model, CPU, "fp32"), "fp16").folder)
    model.tokenize = tokenize  # type: ignore[method-assign]
    norm = next(m for part in model.parts()["image_encoder"] for m in part.modules() if isinstance(m, nn.LayerNorm))
    norm.eps *= 10
    folders.add(FeatureStore(tmp_path, feature_contexts(model, CPU, "fp32"), "fp16").folder)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    folders.add(FeatureStore(tmp_path, feature_contexts(model, CPU, "fp32"), "fp16").folder)
    assert len(folders) == 5
