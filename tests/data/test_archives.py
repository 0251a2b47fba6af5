"""Sources are read whatever they are packed in, and hostile ones are refused before anything is written."""

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vlseg.data import archives
from vlseg.data.archives import open_source
from vlseg.data.prepare import prepare
from vlseg.records import InputError


def png(side: int = 8, seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (side, side), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def write_tar(path: Path, members: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


FILES = {"set/images/a.png": png(seed=1), "set/masks/a.png": png(seed=2), "__MACOSX/set/._a.png": b"x"}


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "tar.gz", "tar.xz", "tar.bz2", "folder of archives"])
def test_all_packings_hold_the_same(tmp_path: Path, kind: str) -> None:
    source = tmp_path / "source"
    names = {name: content for name, content in FILES.items() if not name.startswith("__")}
    if kind == "folder":
        for name, content in FILES.items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes(content)
    elif kind == "zip":
        source = write_zip(tmp_path / "s.zip", FILES)
    elif kind == "folder of archives":
        source.mkdir()
        write_zip(source / "one.zip", FILES)
        names = {f"one/{name}": content for name, content in names.items()}
    else:
        source = write_tar(
            tmp_path / f"s.{kind}", FILES, {"tar": "w", **{f"tar.{k}": f"w:{k}" for k in ("gz", "xz", "bz2")}}[kind]
        )
    with open_source(source) as tree:
        assert {name: tree.read(name) for name in tree.names} == names


def zip_with(path: Path, name: str) -> None:
    write_zip(path, {**FILES, name: png()})


def zip_raw_name(path: Path, name: str) -> None:
    """zipfile cleans names when it writes; an attacker does not."""
    write_zip(path, {**FILES, "x" * len(name): png()})
    path.write_bytes(path.read_bytes().replace(b"x" * len(name), name.encode()))


def zip_link(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("set/images/b.png")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")


def tar_member(path: Path, kind: bytes, name: str = "set/images/b.png") -> None:
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)


def zip_twice(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("set/images/a.png", png(seed=1))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("set/images/a.png", png(seed=2))


def zip_encrypted(path: Path) -> None:
    write_zip(path, FILES)
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = content.find(signature)
        content[start + offset] |= 1
    path.write_bytes(bytes(content))


def zip_lies(path: Path) -> None:
    """The directory says 10 bytes; the member unpacks to more."""
    write_zip(path, {"set/images/a.png": png(64), "set/masks/a.png": png(64, 2)})
    content = bytearray(path.read_bytes())
    start = content.find(b"PK\x01\x02")
    content[start + 24 : start + 28] = (10).to_bytes(4, "little")
    path.write_bytes(bytes(content))


HOSTILE: list[tuple[str, str, Callable[[Path], object], str]] = [
    ("parent folder", "a.zip", lambda p: zip_with(p, "../../evil.png"), "leads out"),
    ("absolute name", "a.zip", lambda p: zip_with(p, "/tmp/evil.png"), "leads out"),
    ("backslashes", "a.zip", lambda p: zip_raw_name(p, "..\\..\\evil.png"), "leads out"),
    ("drive letter", "a.zip", lambda p: zip_with(p, "C:/evil.png"), "leads out"),
    ("zero byte", "a.zip", lambda p: zip_raw_name(p, "set/images/b.png\0.txt"), "leads out"),
    ("link in a zip", "a.zip", zip_link, "link or device"),
    ("name twice", "a.zip", zip_twice, "twice"),
    ("encrypted", "a.zip", zip_encrypted, "password"),
    ("bomb in a zip", "a.zip", lambda p: zip_with(p, "set/images/zero.png") or bomb(p), "bomb"),
    ("size that lies", "a.zip", zip_lies, "left|size|could be used|not as large"),
    ("cut off zip", "a.zip", lambda p: p.write_bytes(write_zip(p, FILES).read_bytes()[:-40]), "archive|damaged"),
    ("link in a tar", "a.tar", lambda p: tar_member(p, tarfile.SYMTYPE), "link or device"),
    ("hard link in a tar", "a.tar", lambda p: tar_member(p, tarfile.LNKTYPE), "link or device"),
    ("device in a tar", "a.tar", lambda p: tar_member(p, tarfile.CHRTYPE), "link or device"),
    ("pipe in a tar", "a.tar", lambda p: tar_member(p, tarfile.FIFOTYPE), "link or device"),
    ("parent folder in a tar", "a.tar", lambda p: write_tar(p, {"../evil.png": png()}, "w"), "leads out"),
    ("bomb in a tar", "a.tar.gz", lambda p: write_tar(p, {"set/images/a.png": bytes(40 << 20)}), "bomb"),
    ("cut off tar", "a.tar.gz", lambda p: p.write_bytes(write_tar(p, FILES).read_bytes()[:60]), "damaged|archive"),
    ("not an archive", "a.zip", lambda p: p.write_bytes(b"hello"), "no archive"),
]


def bomb(path: Path) -> None:
    write_zip(path, {**FILES, "set/images/zero.png": bytes(20 << 20)})


@pytest.mark.parametrize(
    ("name", "make", "message"), [(n, m, e) for _, n, m, e in HOSTILE], ids=[h[0] for h in HOSTILE]
)
def test_hostile_archives_are_refused_and_write_nothing(
    tmp_path: Path, name: str, make: Callable[[Path], object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "RATIO_FREE_BYTES", 1 << 20)
    folder = tmp_path / "in"
    folder.mkdir()
    make(folder / name)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=message) as raised:
        prepare(None, folder / name, tmp_path / "out" / "set", target="polyp")
    assert "\n" not in str(raised.value)
    assert [path for path in sorted(tmp_path.rglob("*")) if path not in before and path.name != "out"] == []


def test_more_files_than_any_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_MEMBERS", 2)
    for path in (write_zip(tmp_path / "a.zip", FILES), write_tar(tmp_path / "a.tar", FILES, "w")):
        with pytest.raises(InputError, match=r"more than any|more files"), open_source(path):
            pass


def test_a_picture_of_absurd_size_is_left_out_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    good = {f"images/{n}.png": png() for n in "ab"} | {f"masks/{n}.png": mask() for n in "ab"}
    source = write_zip(tmp_path / "a.zip", {**good, "images/c.png": png(100), "masks/c.png": mask()})
    done = prepare(None, source, tmp_path / "out", target="polyp")
    assert done.images == 2
    assert "c.png" in done.left_out[0]
    assert "too many pixels" in done.left_out[0]


def mask() -> bytes:
    buffer = io.BytesIO()
    values = np.zeros((8, 8), np.uint8)
    values[2:5, 3:6] = 255
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


def test_no_such_source(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"), open_source(tmp_path / "absent.zip"):
        pass


def test_backslashes_of_windows_archivers_are_slashes(tmp_path: Path) -> None:
    for kind in ("zip", "tar"):
        path = tmp_path / f"a.{kind}"
        names = {f"set\\{folder}\\a.png": png(seed=seed) for seed, folder in enumerate(("images", "masks"))}
        if kind == "zip":
            write_zip(path, {"x" * len(name): content for name, content in names.items() if "images" in name})
            path.write_bytes(path.read_bytes().replace(b"x" * 16, b"set\\images\\a.png"))
            names = {"set\\images\\a.png": png(seed=0)}
        else:
            write_tar(path, names, "w")
        with open_source(path) as tree:
            assert {name: tree.read(name) for name in tree.names} == {n.replace("\\", "/"): c for n, c in names.items()}


def test_a_full_temporary_folder_is_not_a_damaged_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno
    import tempfile

    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = write_tar(tmp_path / "a.tar.gz", FILES)
    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(InputError, match=r"cannot be written .No space left") as raised, open_source(path):
        pass
    assert "download" not in str(raised.value)


def test_a_damaged_xz_is_one_line(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar.xz", FILES, "w:xz")
    content = bytearray(path.read_bytes())
    content[60:80] = bytes(20)
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match=r"damaged|no archive"), open_source(path):
        pass
