"""BiomedCLIPSeg against stored outputs, and the files it comes in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from vlseg.models import Rows
from vlseg.models.biomedclipseg.build import build_biomedclipseg, load_biomedclipseg
from vlseg.models.biomedclipseg.model import BiomedClipSeg
from vlseg.models.biomedclipseg.tokenizer import load_tokenizer, spelling_tokenizer
from vlseg.models.folder import load_strictly
from vlseg.records import InputError


@pytest.mark.parametrize("protocol", ["published", pytest.param("corrected", marks=pytest.mark.slow)])
def test_stored_output_of_the_published_network(protocol: str, golden_network: Callable[[str], Any]) -> None:
    stored = golden_network("biomedclipseg_224")
    model = build_biomedclipseg(protocol=protocol).eval()
    weights = {key: tensor for key, tensor in stored.weights().items() if not key.endswith("position_ids")}
    load_strictly(model.network, weights, "golden")
    with torch.inference_mode():
        image = model.encode_image(Rows({"pixel_values": stored.image(2, 224)}))
        prompts = model.encode_prompts(stored.tokens())
        logits = model.decode(image, prompts).logits[:, 0]
    stored.assert_middle(prompts.tensors["embedding"], "text_embedding", 5e-5)
    for position, tap in enumerate(model.taps):
        stored.assert_middle(image.tensors["taps"][:, position], f"block{tap}", 1e-4)
    stored.assert_maps(logits, protocol, 5e-5)


def tiny(**more: Any) -> BiomedClipSeg:
    torch.manual_seed(0)
    return build_biomedclipseg(size="tiny", **more).eval()


def hub_folder(folder: Path) -> Path:
    """BiomedCLIP as its hub repository holds it, with an old version's position table."""
    folder.mkdir()
    weights = tiny().network.biomedclip.state_dict()
    old = {"text.transformer.embeddings.position_ids": torch.arange(512)[None]}
    torch.save({**weights, **old}, folder / "open_clip_pytorch_model.bin")
    (folder / "open_clip_config.json").write_text("{}")
    spelling_tokenizer().save_pretrained(folder)
    return folder


def test_hub_folder_gives_the_encoders(tmp_path: Path) -> None:
    from vlseg.models import load_model

    folder = hub_folder(tmp_path / "hub")
    model = load_model(str(folder), arguments={"size": "tiny"})
    assert isinstance(model, BiomedClipSeg)
    assert (model.spec.name, model.spec.protocol) == ("biomedclipseg", "corrected")
    for key, value in tiny().network.biomedclip.state_dict().items():
        assert torch.equal(model.network.biomedclip.state_dict()[key], value)


def test_medvlsm_checkpoint_is_published_unless_said_otherwise(tmp_path: Path) -> None:
    weights = {f"net.{key}": value for key, value in tiny().network.state_dict().items()}
    torch.save({"state_dict": weights, "epoch": 7}, tmp_path / "best.ckpt")
    spelling_tokenizer().save_pretrained(tmp_path)
    model = load_biomedclipseg(tmp_path / "best.ckpt", size="tiny")
    assert (model.spec.protocol, model.taps) == ("published", (4, 7, 10))
    with pytest.warns(UserWarning, match="trained under protocol 'published', used under 'corrected'"):
        assert load_biomedclipseg(tmp_path / "best.ckpt", size="tiny", protocol="corrected").taps == (3, 6, 9)
    key = "net.decoder.film_mul.weight"
    weights["net.decoder.film_mull.weight"] = weights.pop(key)
    torch.save({"state_dict": weights}, tmp_path / "best.ckpt")
    with pytest.raises(InputError, match=r"missing \(decoder\.film_mul\.weight\).*left over \(decoder\.film_mull"):
        load_biomedclipseg(tmp_path / "best.ckpt", size="tiny")


def test_d_takes_clipsegs_decoder(tmp_path: Path) -> None:
    """From transformers' layout and from the original repository's; a decoder that does not fit is refused."""
    torch.manual_seed(5)
    decoder = build_biomedclipseg(size="tiny").network.decoder.state_dict()
    torch.save({f"decoder.{key}": value for key, value in decoder.items()}, tmp_path / "clipseg.bin")
    folder = hub_folder(tmp_path / "hub")
    model = load_biomedclipseg(folder, name="biomedclipseg-d", size="tiny", decoder=str(tmp_path / "clipseg.bin"))
    assert model.spec.name == "biomedclipseg-d"
    for key, value in decoder.items():
        assert torch.equal(model.network.decoder.state_dict()[key], value)
    torch.save({"decoder.film_mul.weight": torch.zeros(2, 2)}, tmp_path / "other.bin")
    with pytest.raises(InputError, match="other shape"):
        load_biomedclipseg(folder, size="tiny", decoder=str(tmp_path / "other.bin"))
    torch.save({"anything": torch.zeros(2)}, tmp_path / "none.bin")
    with pytest.raises(InputError, match="holds no CLIPSeg, nor its decoder"):
        load_biomedclipseg(folder, size="tiny", decoder=str(tmp_path / "none.bin"))


def test_d_on_bare_encoders_needs_clipsegs_decoder(tmp_path: Path) -> None:
    from vlseg.models import load_model

    folder = hub_folder(tmp_path / "hub")
    with pytest.raises(InputError, match=r"decoder: FOLDER.*clipseg-rd64-refined"):
        load_model(str(folder), name="biomedclipseg-d", arguments={"size": "tiny"})
    with pytest.raises(InputError, match=r"CIDAS/clipseg-rd64-refined.*pytorch_model\.bin.*into a folder"):
        load_model(
            str(folder), name="biomedclipseg-d", arguments={"size": "tiny", "decoder": "CIDAS/clipseg-rd64-refined"}
        )
    torch.save(
        {f"biomedclip.{k}": v for k, v in tiny().network.biomedclip.state_dict().items()}
        | {f"decoder.{k}": v for k, v in tiny().network.decoder.state_dict().items()},
        folder / "whole.ckpt",
    )
    assert load_model(str(folder / "whole.ckpt"), name="biomedclipseg-d", arguments={"size": "tiny"})


def test_image_size_beside_a_file(tmp_path: Path) -> None:
    model = load_biomedclipseg(hub_folder(tmp_path / "hub"), size="tiny", image_size=48)
    assert model(model.prepare([torch.rand(3, 20, 20)]), model.tokenize(["a"])).logits.shape[-2:] == (48, 48)


def test_published_protocol_never_trains_the_image_encoder() -> None:
    assert tiny(protocol="published").parts().keys() == {"mask_decoder", "text_encoder"}
    assert tiny().parts().keys() == {"mask_decoder", "text_encoder", "image_encoder"}


def test_tokenizers(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"vocab\.txt"):
        load_tokenizer(tmp_path)
    (tmp_path / "vocab.txt").write_text("[UNK]\n[PAD]\n[CLS]\n[SEP]\n[MASK]\npolyp\n")
    with pytest.raises(InputError, match="PubMedBERT has them at 0 to 4"):
        load_tokenizer(tmp_path)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "pol", "##yp"]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    assert load_tokenizer(tmp_path)("Polyp")["input_ids"] == [2, 5, 6, 3]


@torch.no_grad()
def test_padding_is_trimmed_without_effect() -> None:
    model = tiny()
    alone = model.encode_prompts(model.tokenize(["polyp"])).tensors["embedding"]
    beside = model.encode_prompts(model.tokenize(["polyp", "word " * 30])).tensors["embedding"]
    torch.testing.assert_close(alone[0], beside[0], atol=1e-5, rtol=1e-5)
