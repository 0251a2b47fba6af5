"""An agent reads below the folders that the user allowed, and writes no name that is taken, whatever it asks."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from vlseg.records import InputError
from vlseg.serve import agent_files
from vlseg.serve.agent_files import Folders, open_folders, read_image_file, write_mask
from vlseg.serve.limits import Refused

MOST = 1000


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """allowed/ with files and links, outside/ with a secret."""
    for name in ("allowed/sub", "outside", "second"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "allowed" / "a.png").write_bytes(b"picture a")
    (tmp_path / "allowed" / "sub" / "b.png").write_bytes(b"picture b")
    (tmp_path / "second" / "c.png").write_bytes(b"picture c")
    (tmp_path / "outside" / "secret.png").write_bytes(b"secret")
    (tmp_path / "allowed-too").mkdir()
    (tmp_path / "allowed-too" / "d.png").write_bytes(b"secret")
    links = {
        "allowed/inside": "sub",
        "allowed/inside.png": "sub/b.png",
        "allowed/second": str(tmp_path / "second"),
        "allowed/out": "../outside",
        "allowed/out.png": "../outside/secret.png",
        "allowed/absolute.png": str(tmp_path / "outside" / "secret.png"),
        "allowed/loop": "loop",
        "allowed/chain.png": "out.png",
        "allowed/root": "/",
    }
    for link, target in links.items():
        (tmp_path / link).symlink_to(target)
    os.mkfifo(tmp_path / "allowed" / "pipe.png")
    (tmp_path / "allowed" / "large.png").write_bytes(b"x" * (MOST + 1))
    return tmp_path


def folders(place: Path) -> Folders:
    return open_folders([place / "allowed", place / "second"], None)


READ = {
    "a.png": b"picture a",
    "sub/b.png": b"picture b",
    "./sub/../a.png": b"picture a",
    "inside/b.png": b"picture b",
    "inside.png": b"picture b",
    "c.png": b"picture c",
    "second/c.png": b"picture c",
    "{place}/allowed/a.png": b"picture a",
    "{place}/outside/../allowed/a.png": b"picture a",
    "../allowed/a.png": b"picture a",
}


@pytest.mark.parametrize("path", READ)
def test_what_lies_below_is_read(place: Path, path: str) -> None:
    assert read_image_file(folders(place), path.format(place=place), MOST) == READ[path]


HOSTILE = [
    "../outside/secret.png",
    "sub/../../outside/secret.png",
    "{place}/outside/secret.png",
    "{place}/allowed/../outside/secret.png",
    "{place}/allowed-too/d.png",
    "out/secret.png",
    "out.png",
    "absolute.png",
    "chain.png",
    "root/etc/passwd",
    "/etc/passwd",
    "/proc/self/environ",
    "/dev/stdin",
    "",
    ".",
    "..",
    "{place}/allowed",
    "a.png\0.txt",
    "\ud800.png",
    "../" * 3000 + "etc/passwd",
    "x" * 5000,
]


@pytest.mark.parametrize("path", HOSTILE)
def test_nothing_else_is(place: Path, path: str) -> None:
    with pytest.raises(Refused) as told:
        read_image_file(folders(place), path.format(place=place), MOST)
    assert told.value.code == "path_outside"
    assert "\n" not in told.value.message
    assert len(told.value.message) < 600 + 2 * len(str(place))


@pytest.mark.parametrize("path", ["{place}/outside/{name}", "../outside/{name}", "out/{name}"])
def test_the_line_does_not_tell_what_is_outside(place: Path, path: str) -> None:
    said = set()
    for name in ("secret.png", "nosuch.png"):
        with pytest.raises(Refused) as told:
            read_image_file(folders(place), path.format(place=place, name=name), MOST)
        said.add(told.value.message.replace(name, "NAME"))
    assert len(said) == 1


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("none.png", "no_such_file"),
        ("loop", "no_such_file"),
        ("~/a.png", "no_such_file"),
        ("a.png/b.png", "no_such_file"),
        ("sub", "no_plain_file"),
        ("pipe.png", "no_plain_file"),
        ("large.png", "too_large"),
        ("y" * 300, "no_such_file"),
    ],
)
def test_what_is_no_file_below(place: Path, path: str, code: str) -> None:
    with pytest.raises(Refused) as told:
        read_image_file(folders(place), path, MOST)
    assert told.value.code == code


@pytest.mark.parametrize("swapped", ["sub", "sub/b.png"])
def test_a_link_that_comes_in_between_is_not_followed(
    place: Path, monkeypatch: pytest.MonkeyPatch, swapped: str
) -> None:
    """The path is judged, then a part of it becomes a link outside, then it is opened."""
    real: Callable[..., object] = agent_files._opened
    (place / "outside" / "b.png").write_bytes(b"secret")

    def late(root: Path, parts: tuple[str, ...]) -> object:
        path = place / "allowed" / swapped
        path.rename(place / "gone")
        path.symlink_to(place / "outside" / ("" if swapped == "sub" else "secret.png"))
        return real(root, parts)

    monkeypatch.setattr(agent_files, "_opened", late)
    with pytest.raises(Refused) as told:
        read_image_file(folders(place), "sub/b.png", MOST)
    assert told.value.code == "no_such_file"


def test_no_open_files_are_left(place: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for path in ("sub/b.png", "sub/none.png", "pipe.png", "sub", "none/none.png", "out.png"):
        try:
            read_image_file(folders(place), path, MOST)
        except Refused:
            continue
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_folders_are_known_to_be_right_before_anything_is_asked(place: Path) -> None:
    with pytest.raises(InputError, match=r"--allow: .*none is no folder"):
        open_folders([place / "none"], None)
    with pytest.raises(InputError, match=r"--out: .* is a file"):
        open_folders([place], place / "allowed" / "a.png")
    assert open_folders([place / "allowed", place / "allowed" / "."], place / "new").readable == (place / "allowed",)
    assert (place / "new").is_dir()


@pytest.mark.parametrize(
    ("image", "prompt", "name"),
    [
        ("sub/b.png", "a Polyp", "b__a-polyp.png"),
        ("", "x", "image__x.png"),
        ("../../etc/cron.d/evil", "../../etc/x", "evil__etc-x.png"),
        ("..", "/", "image__empty.png"),
        ("a\0b\n.png", "\0", "a-b__empty.png"),
        ("n" * 400 + ".png", "p" * 400, "n" * 100 + "__" + "p" * 60 + ".png"),
    ],
)
def test_masks_lie_in_the_folder(place: Path, image: str, prompt: str, name: str) -> None:
    out = open_folders([place / "allowed"], place / "masks")
    path = write_mask(out, image, prompt, b"mask")
    assert path == place / "masks" / name
    assert path.read_bytes() == b"mask"
    assert path.stat().st_mode & 0o777 == 0o600


def test_no_name_that_is_taken_is_written(place: Path) -> None:
    masks = place / "masks"
    out = open_folders([place / "allowed"], masks)
    (masks / "a__x.png").write_bytes(b"mine")
    (masks / "a__x-2.png").symlink_to(place / "outside" / "secret.png")
    (masks / "a__x-3.png").symlink_to(place / "outside" / "new.png")
    assert write_mask(out, "a.png", "x", b"mask").name == "a__x-4.png"
    assert (masks / "a__x.png").read_bytes() == b"mine"
    assert (place / "outside" / "secret.png").read_bytes() == b"secret"
    assert not (place / "outside" / "new.png").exists()


def test_masks_written_at_once_have_names_of_their_own(place: Path) -> None:
    out = open_folders([place / "allowed"], place / "masks")
    threads = [threading.Thread(target=write_mask, args=(out, "a.png", "x", str(k).encode())) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.read_bytes() for path in (place / "masks").iterdir()) == [str(k).encode() for k in range(8)]
