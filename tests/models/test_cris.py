"""CRIS against stored outputs, its protocols, and the files it comes in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from vlseg.models import Rows, load_model
from vlseg.models.cris.build import build_cris, load_cris
from vlseg.models.cris.model import Cris
from vlseg.models.folder import load_strictly
from vlseg.records import InputError


@pytest.mark.parametrize(
    ("protocol", "mode"),
    [
        ("medvlsm", "published"),
        pytest.param("attention_mask", "attention_mask", marks=pytest.mark.slow),
    ],
)
def test_stored_output_of_the_published_network(protocol: str, mode: str, golden_network: Callable[[str], Any]) -> None:
    stored = golden_network("cris_r50_416")
    model = build_cris(protocol=protocol).eval()
    load_strictly(model.network, stored.weights(), "golden")
    with torch.inference_mode():
        image = model.encode_image(Rows({"pixel_values": stored.image(2, 416)}))
        prompts = model.encode_prompts(stored.tokens())
        logits = model.decode(image, prompts).logits[:, 0]
        fused = model.network.neck(*(image.tensors[name] for name in ("c3", "c4", "c5")), prompts.tensors["state"])
        words, padding = prompts.tensors["words"], prompts.tensors["padding"]
        length = int((~padding).sum(dim=1).max())
        seen = None if protocol == "medvlsm" else padding[:, :length]
        decoded = model.network.decoder(fused, words[:, :length], seen)
        stored.assert_middle(decoded, "dec" if mode == "published" else f"{mode}_dec", 1e-4)
        if mode == "published":
            for name in ("c3", "c4", "c5"):
                stored.assert_middle(image.tensors[name], name, 1e-3)
            for name in ("state", "words"):
                stored.assert_middle(prompts.tensors[name], name, 1e-4)
            stored.assert_middle(fused, "fq", 1e-3)
    stored.assert_maps(logits, mode, 2e-3)


def tiny(protocol: str = "corrected") -> Cris:
    torch.manual_seed(0)
    return build_cris(backbone="tiny", image_size=64, protocol=protocol).eval()


@pytest.fixture
def files(tmp_path: Path) -> Callable[[str], Path]:
    """A tiny network in each layout that CRIS comes in."""

    def write(layout: str) -> Path:
        weights = tiny().network.state_dict()
        path = tmp_path / f"{layout}.pth"
        if layout == "authors":
            torch.save({"epoch": 3, "state_dict": {f"module.{key}": value for key, value in weights.items()}}, path)
        elif layout == "medvlsm":
            torch.save({"state_dict": {f"net.{key}": value for key, value in weights.items()}}, path)
        else:
            start = "backbone."
            clip = {key.removeprefix(start): value.half() for key, value in weights.items() if key.startswith(start)}
            clip = {key: value for key, value in clip.items() if "attnpool.connect" not in key}
            torch.save({**clip, "input_resolution": torch.tensor(64), "context_length": torch.tensor(77)}, path)
        return path

    return write


@pytest.mark.parametrize(("layout", "protocol"), [("authors", "original"), ("medvlsm", "medvlsm")])
def test_published_files_load_under_their_protocol(layout: str, protocol: str, files: Callable[[str], Path]) -> None:
    model = load_cris(files(layout))
    assert (model.spec.protocol, model.spec.threshold) == (protocol, 0.35)
    for key, value in tiny().network.state_dict().items():
        assert torch.equal(model.network.state_dict()[key], value)


def test_clips_resnet_becomes_the_backbone(files: Callable[[str], Path]) -> None:
    """The rest, and the branch that CLIP's file lacks, are random; half precision becomes single."""
    model = load_cris(files("clip"))
    assert model.spec.protocol == "corrected"
    weight = tiny().network.backbone.visual.conv1.weight
    assert torch.equal(model.network.backbone.visual.conv1.weight, weight.half().float())


@pytest.mark.parametrize("layout", ["authors", "medvlsm", "clip"])
def test_a_renamed_key_is_named(layout: str, files: Callable[[str], Path]) -> None:
    path = files(layout)
    values = torch.load(path, weights_only=True)
    inside = values.get("state_dict", values)
    key = next(key for key in inside if key.endswith("layer1.0.conv1.weight"))
    inside[key + "s"] = inside.pop(key)
    torch.save(values, path)
    with pytest.raises(InputError, match=r"missing .*layer1\.0\.conv1\.weight.*left over .*layer1\.0\.conv1\.weights"):
        load_cris(path)


def test_what_is_no_weights_is_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 1}, tmp_path / "b.ckpt")
    with pytest.raises(InputError, match="no tensors"):
        load_cris(tmp_path / "b.ckpt")
    (tmp_path / "c.pth").write_bytes(b"not a file of torch")
    with pytest.raises(InputError, match="cannot be read as weights"):
        load_cris(tmp_path / "c.pth")


def test_a_folder_is_searched_for_a_whole_network_first(files: Callable[[str], Path], tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(InputError, match=r"holds none of cris_best\.pth"):
        load_model(str(folder), name="cris")
    files("clip").rename(folder / "RN50.pt")
    assert load_model(str(folder), name="cris").spec.protocol == "corrected"
    files("authors").rename(folder / "cris_best.pth")
    assert load_model(str(folder), name="cris").spec.protocol == "original"


def test_arguments_beside_a_file(files: Callable[[str], Path]) -> None:
    model = load_model(str(files("authors")), name="cris", arguments={"image_size": 96, "backbone": "tiny"})
    assert model.spec.image_size == (96, 96)
    with pytest.raises(InputError, match="do not fit"):
        load_model(str(files("authors")), name="cris", arguments={"backbone": "rn101"})


def test_another_protocol_than_the_files_own_warns(files: Callable[[str], Path]) -> None:
    with pytest.warns(UserWarning, match="trained under protocol 'original', used under 'medvlsm'"):
        model = load_cris(files("authors"), protocol="medvlsm")
    assert (model.spec.protocol, model.spec.threshold) == ("medvlsm", 0.35)
    assert load_cris(files("clip"), protocol="medvlsm").spec.protocol == "medvlsm"  # CLIP's towers have none


@torch.no_grad()
def test_padding_is_seen_by_medvlsm_alone() -> None:
    """A neighbour changes nothing in any protocol; the padding itself does where it is not masked."""
    for protocol in ("attention_mask", "medvlsm", "original"):
        model = tiny(protocol)
        tokens = model.tokenize(["polyp", "one small round pink polyp at the top"])
        assert tokens.tensors["input_ids"].shape[1] == (17 if protocol == "original" else 77)
        assert int(tokens.tensors["input_ids"][0, -1]) == (0 if protocol == "original" else 49407)
        image = model.encode_image(model.prepare([torch.rand(3, 40, 40)]))
        both = model.decode(image[[0, 0]], model.encode_prompts(tokens)).logits[0]
        alone = model.decode(image, model.encode_prompts(tokens[:1])).logits[0]
        torch.testing.assert_close(both, alone, rtol=1e-4, atol=1e-4 * float(alone.std()))
    seen, masked = (
        one.decode(image, one.encode_prompts(one.tokenize(["polyp"]))).logits
        for one in (tiny("medvlsm"), tiny("attention_mask"))
    )
    assert (seen - masked).abs().max() > 1e-2 * masked.std()


@pytest.mark.parametrize("size", [(30, 90), (90, 30), (64, 64), (7, 200)])
def test_original_letterboxes_and_comes_back(size: tuple[int, int]) -> None:
    model = tiny("original")
    image = torch.zeros(3, *size)
    image[:, : size[0] // 2] = 1.0
    inputs = model.prepare([image])
    assert inputs.tensors["pixel_values"].shape[-2:] == (64, 64)
    mask = (image[0] > 0.5).float()
    grid = model.prepare_masks([mask])
    back = model.restore(grid * 20 - 10, inputs)[0][0] > 0
    assert back.shape == size
    assert (back == (mask > 0.5)).float().mean() > 0.85
    if size[0] < size[1]:
        assert (inputs.tensors["pixel_values"][0, :, 0] == 0).all()  # the mean colour above and below
        assert grid[0, 0, 0].sum() == 0


@pytest.mark.parametrize(
    ("protocol", "share"), [("original", 0.1), ("medvlsm", 0.2), ("attention_mask", 0.2), ("corrected", 0.2)]
)
def test_dropout_is_the_protocols_own(protocol: str, share: float, files: Callable[[str], Path]) -> None:
    """CRIS.pytorch's configuration has 0.1, MedVLSM's 0.2: in all of the decoder, and nowhere else."""
    model = load_cris(files("authors" if protocol == "original" else "clip"), protocol=protocol)
    found: dict[str, list[float]] = {"Dropout": [], "MultiheadAttention": []}
    for name, module in model.named_modules():
        rate = getattr(module, "p", None) if type(module).__name__ == "Dropout" else getattr(module, "dropout", None)
        if isinstance(rate, float) and name.startswith("network.decoder"):
            found[type(module).__name__].append(rate)
        elif isinstance(rate, float):
            assert rate == 0.0, name
    assert found == {"Dropout": [share] * 2, "MultiheadAttention": [share] * 2}  # one layer
