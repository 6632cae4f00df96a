"""Sources of images: a local folder, a folder of any fsspec file system, or tar archives."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mmrag.distributed.tars import TarMember, is_inside, list_tar
from mmrag.errors import ImageError, MmragError, one_line
from mmrag.galleries.gallery import Gallery, join_metadata, open_gallery
from mmrag.galleries.metadata import Reading
from mmrag.images.decode import read_bytes
from mmrag.images.formats import HEAD, UnreadFormat, recognise
from mmrag.types import GalleryImage, Skipped

# How to run a function over a list: in this process, or over workers.
Map = Callable[[Callable[[Any], Any], Sequence[Any]], Sequence[Any]]


@dataclass(frozen=True)
class Root:
    """The root that image ids are relative to: a local folder (absolute, without links) or a URL.

    The path of an image is always `PATH/IMAGE_ID`.
    """

    path: str
    pattern: str = ""

    @property
    def is_local(self) -> bool:
        """Whether it is a folder on this machine (or at the same path on all nodes)."""
        return "://" not in self.path


def open_root(folder: str) -> Root:
    """The source that FOLDER of the command line names.

    Args:
        folder: a folder, a URL such as `s3://bucket/photos`, or tar archives by path or URL whose
            last part may hold `*` and `?`: `shards/*.tar`.

    Raises:
        MmragError: no such folder, an unknown kind of URL, or one with credentials in it.
    """
    if folder.startswith("file://"):
        folder = folder.removeprefix("file://")
    pattern = ""
    if folder.endswith(".tar"):
        folder, slash, pattern = folder.rpartition("/")
        folder = folder or slash or "."
    if "://" not in folder:
        if not Path(folder).is_dir():
            raise MmragError(f"{folder} is not a folder.")
        return Root(str(Path(folder).resolve()), pattern)
    if "@" in urlsplit(folder).netloc:
        raise MmragError(
            "A URL with credentials would be stored with the images; give them to all nodes by "
            "the environment or a role instead."
        )
    with file_system_errors(folder):
        fs, inside = file_system(folder)
    return Root(fs.unstrip_protocol(inside).rstrip("/"), pattern)


def list_images(
    root: Root,
    metadata: str | None = None,
    run: Map | None = None,
    reading: Reading | None = None,
) -> Gallery:
    """The images below a root, in order of id; a local folder as `open_gallery` lists it.

    Args:
        root: from `open_root`.
        metadata: a file as for `open_gallery`, by path or URL.
        run: lists archives elsewhere; default: here, one after the other.
        reading: how that file is written.

    Raises:
        MmragError: something cannot be listed (its images would count as vanished), or no archive
        fits.
    """
    if root.is_local and not root.pattern:
        with _as_file(metadata) as path:
            return open_gallery(root.path, path, reading)
    gallery = _list_tars(root, run) if root.pattern else _list_remote(root)
    gallery.images.sort(key=lambda image: image.image_id)
    if metadata is None:
        return gallery
    with _as_file(metadata) as path:
        # Names in the file are relative to the root; a remote root is no folder here.
        base = Path(root.path) if root.is_local else Path("/ /nowhere")
        return join_metadata(gallery, base, Path(path or ""), reading)


def read_image(image: GalleryImage) -> bytes:
    """The bytes of an image, wherever it is.

    Raises:
        ImageError: it is not there (any more), or is empty.
        MmragError: its file system fails; that says nothing about the image.
    """
    where, start, end = image.path, None, None
    if isinstance(image, TarMember):
        where, start, end = image.tar, image.start, image.start + image.size
    elif "://" not in where:
        return read_bytes(where)
    with file_system_errors(where):
        fs, inside = file_system(where)
        try:
            data: bytes = fs.cat_file(inside, start=start, end=end)
        except (FileNotFoundError, IsADirectoryError):
            raise ImageError("file not found") from None
    if not data:
        raise ImageError("file is empty")
    if end is not None and len(data) != end - (start or 0):
        raise ImageError("the archive ends before it does")
    return data


def _list_remote(root: Root) -> Gallery:
    with file_system_errors(root.path):
        fs, inside = file_system(root.path)
        found: dict[str, dict[str, Any]] = fs.find(inside, detail=True)
    if not found:
        raise MmragError(f"There is nothing at {root.path}.")
    images, skipped, others = [], [], Counter[str]()
    prefix = inside.rstrip("/") + "/"
    for path, entry in sorted(found.items()):
        name = path.removeprefix(prefix)
        if _is_hidden(name):
            continue
        kind = recognise(name, partial(_head, fs, path, entry))
        if kind is None:
            others[os.path.splitext(name)[1].lower()] += 1
            continue
        shown = name.encode("utf-8", "replace").decode()
        if not path.startswith(prefix) or not is_inside(name):
            skipped.append(Skipped(shown, "its name leads out of the folder"))
        elif shown != name:
            skipped.append(Skipped(shown, "the file name is not valid UTF-8"))
        elif entry.get("type", "file") != "file" or entry.get("islink"):
            skipped.append(Skipped(shown, "is not a file"))
        elif isinstance(kind, UnreadFormat):
            skipped.append(Skipped(shown, kind.reason))
        else:
            images.append(GalleryImage(name, f"{root.path}/{name}"))
    return Gallery(images, skipped, dict(others.most_common()))


def _head(fs: Any, path: str, entry: dict[str, Any]) -> bytes:
    """The first bytes of a remote file; one that alone cannot be read counts as no picture."""
    if entry.get("type", "file") != "file" or entry.get("islink"):
        return b""
    try:
        data: bytes = fs.cat_file(path, start=0, end=HEAD)
    except (FileNotFoundError, PermissionError):
        return b""
    return data


def _list_tars(root: Root, run: Map | None) -> Gallery:
    if root.is_local:
        base = Path(root.path)
        tars = sorted(str(path) for path in base.glob(root.pattern))
    else:
        with file_system_errors(root.path):
            fs, inside = file_system(root.path)
            tars = sorted(fs.unstrip_protocol(path) for path in fs.glob(f"{inside}/{root.pattern}"))
    if not tars:
        raise MmragError(f"There is no archive {root.pattern} in {root.path}.")
    images: list[GalleryImage] = []
    skipped: list[Skipped] = []
    for found, left_out in (run or _run_here)(partial(_list_one, root), tars):
        images += found
        skipped += left_out
    return Gallery(images, skipped)


def _run_here(function: Callable[[Any], Any], items: Sequence[Any]) -> Sequence[Any]:
    return [function(item) for item in items]


def _list_one(root: Root, tar: str) -> tuple[list[GalleryImage], list[Skipped]]:
    prefix = tar.rpartition("/")[2]
    if root.is_local and not Path(tar).resolve().is_relative_to(root.path):
        return [], [Skipped(prefix, "is a link that leads out of the folder")]
    with file_system_errors(tar):
        fs, inside = file_system(tar)
        length = int(fs.size(inside) or 0)
        with fs.open(inside, "rb") as file:
            return list_tar(file, length, tar, prefix, root.path)


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") and part != ".." for part in name.split("/"))


@contextmanager
def _as_file(metadata: str | None) -> Iterator[str | None]:
    """A path for what may be a URL."""
    if metadata is None or "://" not in metadata:
        yield metadata
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / metadata.rpartition("/")[2]
        with file_system_errors(metadata):
            fs, inside = file_system(metadata)
            copy.write_bytes(fs.cat_file(inside))
        yield str(copy)


def file_system(url: str) -> tuple[Any, str]:
    """fsspec's file system for a path or URL, and the path's name there."""
    from fsspec.core import url_to_fs  # type: ignore[import-untyped]

    fs, inside = url_to_fs(url)
    return fs, str(inside)


@contextmanager
def file_system_errors(where: str) -> Iterator[None]:
    """Raise file-system errors as one sentence that begins with the name of the place."""
    try:
        yield
    except MmragError:
        raise
    except ImportError as error:
        raise MmragError(f"{where} cannot be read: {error}") from error
    # Each file system has its own errors, for credentials and the network among others.
    except Exception as error:
        reason = one_line(error) or type(error).__name__
        raise MmragError(
            f"{where} cannot be read: {reason}. Check its name, and that every node has access."
        ) from error
