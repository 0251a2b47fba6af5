"""What each tracker holds of a run, by its own reader; W&B's files, which have none, by their format."""

import json
import sqlite3
import struct
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Curves = dict[str, list[tuple[int, float]]]


def tensorboard(run: Path) -> tuple[Curves, dict[str, str]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import plugin_data_pb2

    folder = run / "trackers" / "tensorboard"
    read = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    read.Reload()
    curves = {tag: [(event.step, event.value) for event in read.Scalars(tag)] for tag in read.Tags()["scalars"]}
    content = read.PluginTagToContent("hparams")["_hparams_/session_start_info"]
    found = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    kinds = {key: getattr(value, value.WhichOneof("kind")) for key, value in found.items()}
    return curves, {key: str(value) for key, value in kinds.items()}


def mlflow(run: Path) -> tuple[Curves, dict[str, str]]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{run / 'trackers' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("vlseg")
    assert experiment is not None
    (found,) = client.search_runs([experiment.experiment_id])
    metrics = {
        name: [(metric.step, metric.value) for metric in client.get_metric_history(found.info.run_id, name)]
        for name in found.data.metrics
    }
    assert found.info.status == "FINISHED"
    return metrics, dict(found.data.params)


def trackio(run: Path) -> tuple[Curves, dict[str, str]]:
    from trackio import sqlite_storage

    curves: Curves = defaultdict(list)
    identity = (run / "trackers" / "id").read_text().strip()
    with sqlite3.connect(sqlite_storage.TRACKIO_DIR / "vlseg.db") as database:
        rows = database.execute("SELECT step, metrics FROM metrics WHERE run_id = ? ORDER BY id", (identity,))
        for step, metrics in rows:
            for name, value in json.loads(metrics).items():
                curves[name].append((step, value))
        ((config,),) = database.execute("SELECT config FROM configs WHERE run_id = ?", (identity,))
    return dict(curves), {key: str(value) for key, value in json.loads(config).items()}


def wandb(run: Path) -> tuple[Curves, dict[str, str]]:
    from wandb.proto import wandb_internal_pb2

    curves: Curves = defaultdict(list)
    config: dict[str, str] = {}
    counted: list[int] = []
    identity = (run / "trackers" / "id").read_text().strip()
    for path in sorted((run / "trackers" / "wandb").glob(f"offline-run-*-{identity}*/run-{identity}.wandb")):
        for content in _log_records(path.read_bytes()):
            record = wandb_internal_pb2.Record.FromString(content)
            items = {(item.key or ".".join(item.nested_key)): item.value_json for item in record.history.item}
            values = {name: json.loads(value) for name, value in items.items()}
            if values:
                counted.append(values["_step"])
                for name in values.keys() - {"step"}:
                    if not name.startswith("_"):
                        curves[name].append((values["step"], values[name]))
            config |= {item.key: str(json.loads(item.value_json)) for item in record.run.config.update}
    assert counted == sorted(set(counted))  # else rows are refused when the run is synchronised
    return dict(curves), config


def _log_records(content: bytes) -> Iterator[bytes]:
    """The records of a W&B file: LevelDB's log format after a header of seven bytes; the last may be cut off."""
    whole, at, block = b"", 7, 32768
    while at + 7 <= len(content):
        room = block - at % block
        if room < 7:
            at += room
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        if kind == 0 or at + 7 + length > len(content):
            return
        whole = (whole if kind in (3, 4) else b"") + content[at + 7 : at + 7 + length]
        if kind in (1, 4):  # full, or the last part
            yield whole
        at += 7 + length


READERS: dict[str, Any] = {"tensorboard": tensorboard, "mlflow": mlflow, "trackio": trackio, "wandb": wandb}
