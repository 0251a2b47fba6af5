"""What a model's folder says of itself. Nothing here knows a model, and nothing is imported before it is needed."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlseg.models.protocol import Segmenter


@dataclass(frozen=True)
class Published:
    """Weights that somebody published.

    Attributes:
        place: hub id, address of a file to fetch by hand, or the name of weights in a package.
        files: what is needed of it.
        licence: of the weights, by their publisher.
        protocol: that belongs to them.
        whole: they segment as they are; otherwise a part of the network starts random.
        revision: pinned commit of a hub repository; None = none is pinned: give --revision.
        sha256: of the one file, or of the first, where known.
        mirrors: other places of the same weights.
        note: what to know.
        package: the package of the package index that holds them, as `name==version`.
    """

    place: str
    files: tuple[str, ...]
    licence: str
    protocol: str
    revision: str | None = None
    sha256: str | None = None
    mirrors: tuple[str, ...] = ()
    note: str = ""
    whole: bool = True
    package: str | None = None

    @property
    def on_hub(self) -> bool:
        """Whether `place` is a hub id."""
        return self.place.count("/") == 1

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def of_nobody(folder: Path, config: Mapping[str, Any]) -> bool:
    """No folder in a published layout is this model's."""
    return False


def nothing_more(folder: Path) -> Mapping[str, Any]:
    """What `save` wrote down builds the model again as it is."""
    return {}


@dataclass(frozen=True)
class Architecture:
    """What a model's folder tells the front door, which knows no model by name.

    Attributes:
        build: the model with random weights from torch's global generator; takes `targets`, `protocol` and the model's
            own arguments as keywords.
        load: the model from files of others; takes a `path`, `protocol` (None = the files' own) and its own arguments
            as keywords. None: nobody else's files hold it.
        recognises: whether a folder that `save` did not write is this model's, from the folder and its config.json ({}
            where it has none). Asked of every model: it only looks.
        loads_saved: folders that `save` wrote go through `load`, too; otherwise the front door builds the model from
            what config.json says and fills it.
        restored: the arguments that a saved folder itself gives again, e.g. where its tokenizer lies.
        initial: arguments that only say what a new model starts from; a saved one is asked for them in vain.
        resizable: arguments that the weights leave open, such as the size of the input or what may train: they may be
            changed when a saved model is loaded.
        starts_from: models whose saved folders `load` takes, too: they hold a part of this one, from which a training
            starts.
        composed: made of other models; it has no size, text encoder or weights of its own.
        about: what it is, in a line, for `vlseg models`.
        text_encoder: what `vlseg models` says of it; None: the model reads no text.
        protocols: those it knows; none named: the one that it is built with.
        published: where weights are.
        recipes: training settings by recipe's name, over RunConfig's defaults; "corrected" holds unless another is
            asked for.
    """

    build: "Callable[..., Segmenter]"
    load: "Callable[..., Segmenter] | None" = None
    recognises: Callable[[Path, Mapping[str, Any]], bool] = of_nobody
    loads_saved: bool = False
    restored: Callable[[Path], Mapping[str, Any]] = nothing_more
    initial: frozenset[str] = frozenset()
    resizable: frozenset[str] = frozenset({"image_size"})
    starts_from: frozenset[str] = frozenset()
    composed: bool = False
    about: str = ""
    text_encoder: str | None = None
    protocols: tuple[str, ...] = ()
    published: tuple[Published, ...] = ()
    recipes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Later:
    """The function at "module:name", imported when it is first called, with some arguments given."""

    place: str
    fixed: Mapping[str, Any]

    def __call__(self, **arguments: Any) -> Any:
        """What it gives."""
        return self._function()(**self.fixed, **arguments)

    def open(self) -> list[str]:
        """The arguments that are not given yet."""
        return [name for name in signature(self._function()).parameters if name not in self.fixed]

    def _function(self) -> Callable[..., Any]:
        module, _, name = self.place.partition(":")
        found: Callable[..., Any] = getattr(import_module(module), name)
        return found


def later(place: str, **fixed: Any) -> Later:
    """As `Later`, the given arguments by name."""
    return Later(place, fixed)
