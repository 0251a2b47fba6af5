"""An exported folder in the segmenter's steps, so that every command takes it for a model."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vlseg.models.exported.opening import open_graphs
from vlseg.models.exported.run import PROGRAM, config_digest
from vlseg.models.folder import read_config, saved_part
from vlseg.models.protocol import ImageFeatures, Inputs, Output, PromptFeatures, Rows, Spec, Tokens
from vlseg.models.run_settings import intensity_of, threshold_of
from vlseg.records import InputError, IntensityPolicy, unknown_name, write_text

BESIDE = ("*tokenizer.json", *PROGRAM)
"""What lies beside the graphs and answers with them."""
NO_TRAINING = "is exported: it answers and cannot be trained or attacked; give the run that it came from"


def load_exported(
    folder: Path, ours: Mapping[str, Any], protocol: str | None, arguments: Mapping[str, Any] | None
) -> "Exported":
    """The graphs in a folder.

    Args:
        folder: that was exported.
        ours: the part "vlseg" of its config.json.
        protocol: must be None or the graphs' own.
        arguments: "engine", and "image_size" where the graphs serve every size.

    Raises:
        InputError: what the graphs fixed is to be changed, or see `Exported`.
    """
    given = dict(arguments or {})
    engine, size = given.pop("engine", None), given.pop("image_size", None)
    if engine not in (None, "onnx", "openvino"):
        if engine != "torch":
            raise unknown_name("engine", str(engine), ("onnx", "openvino"))
        raise InputError(f"engine: {folder} is exported and holds no network for torch; leave --engine torch out")
    if given:
        raise InputError(
            f"model_arguments: {', '.join(given)}: {folder} is exported as it is; change the run and export it again"
        )
    if protocol not in (None, ours["protocol"]):
        raise InputError(
            f"protocol: {folder} is exported under '{ours['protocol']}'; export it under '{protocol}' again"
        )
    return Exported(folder, ours, engine=engine, size=size)


def is_exported(folder: Path) -> bool:
    """Whether a folder holds a model's graphs."""
    if not (folder / "config.json").is_file():
        return False
    return "exported" in (saved_part(read_config(folder), folder) or {})


class Exported(nn.Module):
    """The graphs, run on the processor; `folder` is where they lie."""

    def __init__(
        self, folder: Path, ours: Mapping[str, Any], *, engine: str | None = None, size: int | None = None
    ) -> None:
        """Open them.

        Args:
            folder: that was exported.
            ours: the part "vlseg" of its config.json.
            engine: "onnx" or "openvino"; None = what it was exported for.
            size: side of the square input; None = as exported.

        Raises:
            InputError: a file that is missing or changed, an engine that is not installed or does not read it, a size
                that the graphs do not serve.
        """
        super().__init__()
        self.folder = folder
        try:
            with _as_input_error():
                self.runner = open_graphs(folder, ours, threads=torch.get_num_threads(), engine=engine, size=size)
        except ImportError as error:
            extra = "openvino" if error.name == "openvino" else "export"
            raise InputError(f"{folder}: {error.name} is not installed; pip install vlseg[{extra}]") from error
        told = self.runner.told
        self.spec = Spec(
            name=ours["model"],
            uses_text=told["uses_text"],
            uses_target=told["uses_target"],
            image_size=(told["prepare"]["size"][0], told["prepare"]["size"][1]),
            targets=tuple(told["targets"]),
            threshold=threshold_of(told["threshold"], folder / "config.json"),
            protocol=ours["protocol"],
            precisions=("fp32",),
            engine=self.runner.engine,
        )
        # The graphs are what the model is, and so are part of every digest of it.
        digests = [digest for graph in told["graphs"].values() for digest in graph["files"].values()]
        told_apart = bytes.fromhex("".join(digests)) + self.runner.engine.encode()
        self.register_buffer("graphs", torch.tensor(list(told_apart), dtype=torch.uint8))

    @property
    def weights(self) -> str:
        """How they are kept: "fp32", "fp16" or "int8"."""
        return str(self.runner.told["weights"])

    @property
    def intensity(self) -> IntensityPolicy | None:
        """How images above 8 bit were read when it was trained; None: in several ways.

        Raises:
            InputError: config.json says it otherwise than vlseg writes it.
        """
        return intensity_of(self.runner.told.get("intensity", {}), self.folder / "config.json")

    def prepare(self, rgb: Sequence[Tensor]) -> Inputs:
        """As the model that was exported; not differentiable."""
        images = [image.detach().cpu().float().permute(1, 2, 0).numpy() for image in rgb]
        prepared = _tensors(self.runner.prepare(images))
        return Inputs({name: one.to(rgb[0].device) for name, one in prepared.items()})

    def prepare_masks(self, masks: Sequence[Tensor]) -> Tensor:
        """There is no training.

        Raises:
            InputError: always.
        """
        raise InputError(f"{self.folder}: {NO_TRAINING}")

    def tokenize(self, prompts: Sequence[str]) -> Tokens | None:
        """As the model that was exported.

        Raises:
            InputError: a target that it does not know.
        """
        with _as_input_error():
            tokens = self.runner.tokenize(prompts)
        return None if tokens is None else Tokens(_tensors(tokens))

    def encode_image(self, inputs: Inputs) -> ImageFeatures:
        """As the model that was exported, in the graph's precision."""
        self._refuse_gradients(inputs)
        with _as_input_error():
            return ImageFeatures(_tensors(self.runner.encode_image(_arrays(inputs)), inputs))

    def encode_prompts(self, tokens: Tokens | None) -> PromptFeatures | None:
        """As the model that was exported."""
        if tokens is None:
            return None
        with _as_input_error():
            encoded = self.runner.encode_prompts(_arrays(tokens))
        return None if encoded is None else PromptFeatures(_tensors(encoded, tokens))

    def decode(self, image: ImageFeatures, prompts: PromptFeatures | None) -> Output:
        """As the model that was exported."""
        with _as_input_error():
            found = _tensors(self.runner.decode(_arrays(image), None if prompts is None else _arrays(prompts)), image)
        return Output(found["logits"], found.get("presence"), found.get("samples"))

    def restore(self, logits: Tensor, inputs: Inputs) -> list[Tensor]:
        """Logits at the original sizes."""
        sizes = {"original_size": inputs.tensors["original_size"].cpu().numpy()}
        restored = self.runner.restore(logits.detach().float().cpu().numpy(), sizes)
        return [torch.from_numpy(one).to(logits.device) for one in restored]

    def forward(self, inputs: Inputs, tokens: Tokens | None) -> Output:
        """The steps in a row."""
        return self.decode(self.encode_image(inputs), self.encode_prompts(tokens))

    def parts(self) -> dict[str, list[nn.Module]]:
        """Nothing trains."""
        return {}

    def save(self, folder: Path) -> None:
        """Copy what answers, for an ensemble that has it as a member; the engine and size that were chosen stay."""
        folder.mkdir(parents=True, exist_ok=True)
        told = self.runner.told
        graphs = [self.folder / file for graph in told["graphs"].values() for file in graph["files"]]
        for file in [*graphs, *(found for pattern in BESIDE for found in self.folder.glob(pattern))]:
            shutil.copyfile(file, folder / file.name)
        config = read_config(self.folder)
        config["vlseg"]["exported"]["engine"] = self.runner.engine
        config["vlseg"]["exported"]["prepare"]["size"] = list(self.spec.image_size)
        if "digest" in config["vlseg"]:
            config["vlseg"]["digest"] = config_digest(config["vlseg"])
        write_text(folder / "config.json", json.dumps(config, indent=1) + "\n")

    def _refuse_gradients(self, rows: Rows) -> None:
        if torch.is_grad_enabled() and any(one.requires_grad for one in rows.tensors.values()):
            raise InputError(f"{self.folder}: {NO_TRAINING}")


@contextmanager
def _as_input_error() -> Iterator[None]:
    """What the runner refuses."""
    try:
        yield
    except ValueError as error:
        raise InputError(str(error)) from error


def _arrays(rows: Rows) -> dict[str, np.ndarray]:
    return {name: one.detach().cpu().numpy() for name, one in rows.tensors.items()}


def _tensors(arrays: Mapping[str, np.ndarray], like: Rows | None = None) -> dict[str, Tensor]:
    """On the device of `like`: beside others an exported model may be asked on any."""
    device = torch.device("cpu") if like is None else next(iter(like.tensors.values())).device
    return {name: torch.from_numpy(one).to(device) for name, one in arrays.items()}
