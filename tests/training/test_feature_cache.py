"""Features of frozen encoders: computed once, the right ones, by several processes, whatever is killed."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import spearmanr
from tiny_models import TINY, made

from vlseg.data.seeds import derived_seed
from vlseg.evaluation.predict import answer_prompts
from vlseg.jobs.train import train_run
from vlseg.metrics import dice_score
from vlseg.models import Rows, Segmenter, as_module, build_model, load_model
from vlseg.models.feature_keys import Contexts, feature_contexts
from vlseg.models.features import FeatureStore, image_features, store_infos
from vlseg.records import InputError, RunConfig, read_record

MakeDataset = Callable[..., Path]
CPU = torch.device("cpu")
TWO_TOWERS = pytest.param("vlsm-ensemble-c", marks=pytest.mark.slow)
READING = ["clipseg", "cris", "biomedclipseg", "clipseg-tiny", "guide", TWO_TOWERS]


def config(data: Path, name: str = "clipseg", **changes: Any) -> RunConfig:
    values: dict[str, Any] = {
        "model": name,
        "model_arguments": dict(TINY[name]),
        "data": [str(data)],
        "prompt": "p1",
        "regime": "decoder",
        "device": "cpu",
        "threads": 1,
        "batch_size": 2,
        "max_steps": 6,
        "augment": False,
    }
    return RunConfig(**(values | changes))


def weights(run: Path) -> dict[str, torch.Tensor]:
    return as_module(load_model(str(run))).state_dict()


def answers(model: Segmenter) -> torch.Tensor:
    """Logits of one image for two prompts."""
    as_module(model).eval()
    image = torch.rand(3, 40, 40, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        prompts = ["bright disc", "dark disc"]
        return model.forward(model.prepare([image] * 2), model.tokenize(prompts)).logits


@pytest.mark.parametrize("name", READING)
def test_a_cached_run_ends_where_an_uncached_one_does(name: str, make_dataset: MakeDataset, tmp_path: Path) -> None:
    """fp32: cold and warm to the same bits, and to rounding (images one by one, not in batches) with uncached.

    Answers are compared with uncached, not weights: a gradient that is 0 but for rounding Adam takes for a direction.
    """
    data = make_dataset()
    store = {"feature_cache": str(tmp_path / "cache"), "feature_precision": "fp32"}
    train_run(config(data, name), tmp_path / "plain")
    train_run(config(data, name, **store), tmp_path / "cold")
    files = sorted(path for path in (tmp_path / "cache").rglob("*.safetensors"))
    before = {path: path.stat().st_mtime_ns for path in files}
    train_run(config(data, name, **store), tmp_path / "warm")
    assert before == {path: path.stat().st_mtime_ns for path in sorted((tmp_path / "cache").rglob("*.safetensors"))}
    cold, warm = (weights(tmp_path / run) for run in ("cold", "warm"))
    for key, value in cold.items():
        assert torch.equal(value, warm[key]), key
    plain, cached, start = (
        answers(model)
        for model in (load_model(str(tmp_path / "plain")), load_model(str(tmp_path / "cold")), made(name))
    )
    assert (cached - plain).abs().max() <= 0.02 * plain.std()
    assert (start - plain).abs().max() > 0.2 * plain.std(), "nothing was learned: the comparison says nothing"
    assert len(files) == 6 + 2 + 2  # train and val images, two prompts


def test_without_a_cache_one_line_names_it_where_it_would_help(
    make_dataset: MakeDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A frozen encoder and several epochs: else every word of it would be wrong."""
    data = make_dataset(counts=(2, 1, 1))
    cached = {"feature_cache": str(tmp_path / "cache")}
    for told, name, changes in (
        (1, "guide", {}),
        (0, "guide", cached),
        (0, "guide", {"epochs": 1}),
        (0, "guide", {"regime": "full"}),
        (1, "clipseg-tiny", {}),
        (0, "unet", {"regime": "full"}),
    ):
        capsys.readouterr()
        values: dict[str, Any] = {"max_steps": 1, "regime": "freeze_encoders", **changes}
        train_run(config(data, name, **values), tmp_path / f"{name}{len(list(tmp_path.iterdir()))}")
        assert capsys.readouterr().err.count("--cache FOLDER keeps its features") == told, (name, changes)


def test_words_that_are_learned_are_not_kept(make_dataset: MakeDataset, tmp_path: Path) -> None:
    """guide's hashed words train while its image encoder is frozen: images are kept, sentences are encoded anew."""
    data, regime = make_dataset(), {"regime": "freeze_encoders"}
    store = {"feature_cache": str(tmp_path / "cache"), "feature_precision": "fp32"}
    train_run(config(data, "guide", **regime), tmp_path / "plain")
    train_run(config(data, "guide", **regime, **store), tmp_path / "cached")
    plain, cached = (load_model(str(tmp_path / run)) for run in ("plain", "cached"))
    one, two = answers(plain), answers(cached)
    assert (one - two).abs().max() <= 0.02 * one.std()
    moved = {
        key for key, tensor in weights(tmp_path / "cached").items() if not torch.equal(tensor, start_of("guide")[key])
    }
    assert any(key.startswith("words.") for key in moved)
    assert not any(key.startswith("image_encoder.") for key in moved)
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 6 + 2  # images alone


@pytest.mark.parametrize("text", ["none", "target"])
def test_what_twins_are_told_is_learned_and_not_kept(text: str, make_dataset: MakeDataset, tmp_path: Path) -> None:
    """guide told nothing, or the target: images are kept, its tokens train with the decoder."""
    arguments = {**TINY["guide"], "text": text}
    twin = {"model_arguments": arguments, "regime": "freeze_encoders"}
    store = {"feature_cache": str(tmp_path / "cache"), "feature_precision": "fp32"}
    data = make_dataset()
    train_run(config(data, "guide", **twin), tmp_path / "plain")
    train_run(config(data, "guide", **twin, **store), tmp_path / "cached")
    plain, cached = (answers(load_model(str(tmp_path / run))) for run in ("plain", "cached"))
    assert (cached - plain).abs().max() <= 0.02 * plain.std()
    torch.manual_seed(derived_seed(0, "init"))
    start = build_model("guide", arguments=arguments, targets=("bright disc", "dark disc"))
    first = as_module(start).state_dict()
    moved = {key for key, tensor in weights(tmp_path / "cached").items() if not torch.equal(tensor, first[key])}
    assert any(key.startswith("words.token") for key in moved)
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 6 + 2  # images alone


def start_of(name: str) -> dict[str, torch.Tensor]:
    """What a run of `config` starts from."""
    torch.manual_seed(derived_seed(0, "init"))
    return as_module(build_model(name, arguments=dict(TINY[name]))).state_dict()


def test_a_warm_epoch_neither_reads_images_nor_encodes(
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_dataset()
    train_run(config(data, max_steps=1), tmp_path / "base")
    store = {"feature_cache": str(tmp_path / "cache"), "augment": True, "feature_views": 2, "max_steps": 30}
    store["weights"] = str(tmp_path / "base")
    train_run(config(data, **store), tmp_path / "cold")

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("was read or encoded again")

    import sys

    from vlseg.models.clipseg.model import ClipSeg

    calls = []
    encode = ClipSeg.encode_image

    def counted(self: ClipSeg, inputs: Any) -> Any:
        calls.append(1)
        return encode(self, inputs)

    monkeypatch.setattr(sys.modules["vlseg.evaluation.evaluate"], "load_image", fail)
    monkeypatch.setattr(sys.modules["vlseg.training.batches"], "load_pixels", fail)
    monkeypatch.setattr(ClipSeg, "encode_image", counted)
    train_run(config(data, **store, seed=1), tmp_path / "warm")
    assert len(calls) == 1  # the blank image whose features tell the size
    assert read_record(tmp_path / "warm" / "run.json").status == "done"


def test_half_precision_is_close(make_dataset: MakeDataset, tmp_path: Path) -> None:
    """Largest error of the logits at most 1 % of their spread."""
    model = made("clipseg")
    context = feature_contexts(model, CPU, "fp32")
    images = [torch.rand(3, 40, 50, generator=torch.Generator().manual_seed(seed)) for seed in range(4)]
    for precision, limit in (("fp32", 0.0), ("fp16", 0.01)):
        store = FeatureStore(tmp_path / precision, context, precision)  # type: ignore[arg-type]
        for number, image in enumerate(images):
            with torch.no_grad():
                direct = model.encode_image(model.prepare([image]))
                prompts = model.encode_prompts(model.tokenize(["polyp"]))
                kept, _ = image_features(model, store, str(number), lambda i=image: i, device=CPU, precision="fp32")
                exact, rough = model.decode(direct, prompts).logits, model.decode(kept.widened(), prompts).logits
            assert (exact - rough).abs().max() <= limit * exact.std()


def test_processes_share_one_limit(tmp_path: Path) -> None:
    """Each counts what the others wrote, too."""
    stores = [FeatureStore(tmp_path, Contexts({"a": 1}), "fp32", limit=100_000) for _ in range(4)]
    row = Rows({"x": torch.arange(500.0)[None]})  # 2,000 bytes and a header
    for number in range(100):
        stores[number % 4].put(str(number), row)
    written = sum(path.stat().st_size for path in tmp_path.rglob("*.safetensors"))
    assert 80_000 < written < 115_000


def test_another_encoder_protocol_image_or_reading_is_another_entry(make_dataset: MakeDataset, tmp_path: Path) -> None:
    from dataclasses import replace

    from vlseg.data import image_key
    from vlseg.jobs.datasets import open_dataset
    from vlseg.records import IntensityPolicy

    def folder(model: Segmenter, precision: str = "fp32", dtype: str = "fp16") -> Path:
        return FeatureStore(tmp_path / "c", feature_contexts(model, CPU, precision), dtype).folder  # type: ignore[arg-type]

    model, other = made("clipseg"), made("clipseg")
    assert folder(model) == folder(other)
    with torch.no_grad():
        next(p for m in other.parts()["mask_decoder"] for p in m.parameters()).add_(1)
    assert folder(model) == folder(other)  # the decoder does not matter
    with torch.no_grad():
        next(p for m in other.parts()["image_encoder"] for p in m.parameters()).view(-1)[0] += 1e-6
    places = [folder(model), folder(other), folder(model, "bf16"), folder(model, dtype="fp32")]
    places += [folder(made("cris")), folder(made("biomedclipseg")), folder(made("clipseg", image_size=80))]
    assert len(set(places)) == len(places)

    dataset = open_dataset(make_dataset())
    sample, info = dataset.samples[0], dataset.info
    key = image_key(sample, info)
    copy = tmp_path / "copy.png"
    copy.write_bytes(sample.image_path.read_bytes())
    assert image_key(replace(sample, image_path=copy), info) == key
    assert image_key(sample, replace(info, intensity=IntensityPolicy("percentile"))) != key
    pixels = np.asarray(Image.open(copy)).copy()
    pixels[0, 0] ^= 1
    time.sleep(0.01)
    Image.fromarray(pixels).save(copy)
    assert image_key(replace(sample, image_path=copy), info) != key


def test_what_does_not_fit_is_computed_and_nothing_is_thrown_away(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, Contexts({"a": 1}), "fp32", limit=1000)
    row = Rows({"x": torch.arange(100.0)[None]})  # 400 bytes
    for name in "abcd":
        assert torch.equal(store.put(name, row).tensors["x"], row.tensors["x"])
    assert [store.get(name) is not None for name in "abcd"] == [True, True, False, False]


def test_a_broken_file_counts_as_absent(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, Contexts({"a": 1}), "fp32")
    store.put("k", Rows({"x": torch.ones(1, 3)}))
    (path,) = tmp_path.rglob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-5])
    assert store.get("k") is None
    store.put("k", Rows({"x": torch.ones(1, 3)}))
    assert store.get("k") is not None


def fill(folder: Path, start: int, pause: float) -> None:
    """Write the rows 0 to 199, from `start` on and around."""
    store = FeatureStore(folder, Contexts({"a": 1}), "fp32")
    for index in [*range(start, 200), *range(start)]:
        if store.get(f"{index}") is None:
            store.put(f"{index}", Rows({"x": torch.full((1, 5000), float(index))}))
        time.sleep(pause)


@pytest.mark.parametrize("kills", [3])
def test_two_processes_fill_one_store_and_one_is_killed(kills: int, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    for kill in range(kills):
        folder = tmp_path / str(kill)
        one = context.Process(target=fill, args=(folder, 0, 0.001))
        two = context.Process(target=fill, args=(folder, 100, 0.0))
        one.start()
        two.start()
        time.sleep(0.02 + 0.04 * kill)
        assert one.pid is not None
        os.kill(one.pid, signal.SIGKILL)
        one.join()
        two.join(60)
        assert two.exitcode == 0
        store = FeatureStore(folder, Contexts({"a": 1}), "fp32")
        for index in range(200):
            rows = store.get(f"{index}")
            assert rows is not None
            assert torch.equal(rows.tensors["x"], torch.full((1, 5000), float(index)))
        (info,) = store_infos(folder)
        assert info.files == 200


def test_info_and_clear_from_the_command_line(
    make_dataset: MakeDataset, tmp_path: Path, vlseg: Callable[..., Any]
) -> None:
    data, cache = make_dataset(), tmp_path / "cache"
    train_run(config(data, feature_cache=str(cache)), tmp_path / "run")
    (cache / "mine.txt").write_text("not the cache's")
    done = vlseg("cache", "info", cache, "--json")
    assert done.code == 0
    (row,) = done.json["contexts"]
    assert (row["model"], row["protocol"], row["files"]) == ("clipseg", "corrected", 10)
    assert "clipseg" in vlseg("cache", "info", cache).out
    assert vlseg("cache", "clear", cache, "--json").json["bytes"] == row["bytes"]
    assert [path.name for path in cache.iterdir()] == ["mine.txt"]
    assert vlseg("cache", "info", tmp_path / "none").code == 2


def test_what_cannot_be_cached_is_refused(make_dataset: MakeDataset, tmp_path: Path) -> None:
    data = make_dataset()
    with pytest.raises(InputError, match="the image encoder trains under regime 'full'"):
        train_run(config(data, regime="full", feature_cache=str(tmp_path / "c")), tmp_path / "run")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        train_run(config(data, feature_cache=str(tmp_path / "file")), tmp_path / "other")


def test_evaluation_reuses_features(make_dataset: MakeDataset, tmp_path: Path, vlseg: Callable[..., Any]) -> None:
    data = make_dataset()
    train_run(config(data), tmp_path / "run")
    scores = []
    for out, more in (("a", []), ("b", ["--cache", tmp_path / "c"]), ("d", ["--cache", tmp_path / "c"])):
        done = vlseg(
            "evaluate", tmp_path / "run", "--data", data, "--device", "cpu", "--out", tmp_path / out, *more, "--json"
        )
        assert done.code == 0, done.err
        scores.append(done.json["dice"]["mean"])
    assert scores[1] == scores[2]
    assert scores[0] == pytest.approx(scores[1], abs=0.01)
    assert len(list((tmp_path / "c").rglob("*.safetensors"))) == 3


def test_masks_on_kept_features_agree_with_transformers(tmp_path: Path) -> None:
    """Half-precision features, prompts by their true length, one image for many prompts, against transformers' forward.

    Masks at thresholds that give 5, 20 and 50 % foreground: Dice at least 0.998; rank correlation at least 0.999.
    """
    model = made("clipseg")
    store = FeatureStore(tmp_path, feature_contexts(model, CPU, "fp32"), "fp16")
    prompts = ["polyp", "a small round polyp at the top", ""]
    tokens = model.tokenize(prompts)
    for number in range(5):
        image = torch.rand(3, 60, 80, generator=torch.Generator().manual_seed(number))
        for _ in range(2):  # computed and kept, then read
            features, inputs = image_features(
                model, store, f"{number}", lambda i=image: i, device=CPU, precision="fp32"
            )
        answers = answer_prompts(model, features.widened(), inputs, prompts, device=CPU)
        ours = np.stack([answer.probability for answer in answers])
        pixels = model.prepare([image]).tensors["pixel_values"].expand(3, -1, -1, -1)
        network: Any = as_module(model).network
        with torch.no_grad():
            logits = network(pixel_values=pixels, **tokens.tensors, interpolate_pos_encoding=True).logits[:, None]
            maps = torch.nn.functional.interpolate(logits, size=(60, 80), mode="bilinear").sigmoid()[:, 0].numpy()
        for mine, other in zip(ours, maps, strict=True):
            assert spearmanr(mine.ravel(), other.ravel()).statistic >= 0.999
            for share in (0.05, 0.2, 0.5):
                masks = [values > np.quantile(values, 1 - share) for values in (mine, other)]
                assert dice_score(*masks) >= 0.998
