"""WebDataset: images in tar archives, with their texts beside them. Nothing is unpacked."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import IO, Any, TypeVar

from mmrag.galleries.metadata import TEXT_KEYS
from mmrag.images.formats import HEAD, UnreadFormat, recognise
from mmrag.system.names import Names
from mmrag.system.text_files import decode
from mmrag.types import GalleryImage, Skipped

_MAX_TEXT_FILE = 1 << 20
Held = TypeVar("Held")


@dataclass(frozen=True)
class TarMember(GalleryImage):
    """An image that is `size` bytes from byte `start` of the archive `tar` (a path or URL)."""

    tar: str = ""
    start: int = 0
    size: int = 0


def list_tar(
    file: IO[bytes], length: int, tar: str, prefix: str, root: str
) -> tuple[list[GalleryImage], list[Skipped]]:
    """The images of one archive; members of one key share a text, as in WebDataset.

    The key is a member's name up to the first dot after its folder. `KEY.txt` holds the text of
    the images of that key, `KEY.json` their metadata (and the text, if there is no `.txt`).

    Args:
        file: the uncompressed archive; only headers and texts are read.
        length: of the archive, in bytes.
        tar: where the archive is.
        prefix: the archive's name below the root; ids of images are `PREFIX/MEMBER`.
        root: paths of images are `ROOT/PREFIX/MEMBER`.

    Returns:
        Images, and what was left out: members whose name leads out of the archive, links, devices,
        repeated names, members beyond the end. Hidden files are ignored.
    """
    images: dict[str, TarMember] = {}
    texts: dict[str, str] = {}
    records: dict[str, dict[str, Any]] = {}
    skipped: list[Skipped] = []
    try:
        for member in _members(file):
            is_text = member.name.lower().endswith((".txt", ".json"))
            found = recognise(member.name, partial(_head, file, member, length))
            if found is None and not is_text:
                continue
            name = member.name.removeprefix("./")
            image_id = f"{prefix}/{name}"
            if any(part.startswith(".") and part != ".." for part in name.split("/")):
                continue
            reason = _problem(member, name, length)
            if reason is None and image_id in images:
                reason = "stands twice in the archive"
            if reason is None and isinstance(found, UnreadFormat):
                reason = found.reason
            if reason is None and is_text:
                reason = _read_text(file, member, _key(name), texts, records)
            if reason is not None:
                skipped.append(Skipped(_shown(image_id), reason))
            elif not is_text:
                path = f"{root}/{image_id}"
                images[image_id] = TarMember(
                    image_id, path, tar=tar, start=member.offset_data, size=member.size
                )
    except (tarfile.TarError, OSError, ValueError, EOFError, IndexError, RecursionError) as error:
        shown = " ".join(str(error).split())[:100]
        skipped.append(Skipped(prefix, f"damaged or no uncompressed tar archive: {shown}"))
    keys = {_key(image_id.removeprefix(prefix + "/")) for image_id in images}
    texts, records = _by_key(texts, keys), _by_key(records, keys)
    return [_described(i, texts, records, prefix) for i in images.values()], skipped


def _members(file: IO[bytes]) -> Iterator[tarfile.TarInfo]:
    with tarfile.open(fileobj=file, mode="r:", encoding="utf-8") as archive:
        end = 0
        while (member := archive.next()) is not None:
            # Sizes in headers are untrusted: a negative one would loop for ever.
            if member.size < 0 or archive.offset <= end:
                raise tarfile.ReadError("a header leads backwards")
            end = archive.offset
            archive.members.clear()  # type: ignore[attr-defined]
            yield member


def _head(file: IO[bytes], member: tarfile.TarInfo, length: int) -> bytes:
    if not member.isreg() or member.offset_data + member.size > length:
        return b""
    file.seek(member.offset_data)
    return file.read(min(HEAD, member.size))


def _problem(member: tarfile.TarInfo, name: str, length: int) -> str | None:
    if member.issym() or member.islnk():
        return "is a link, which is not followed"
    if not member.isreg() or member.issparse():
        return "is not a plain file"
    try:
        name.encode()
    except UnicodeEncodeError:
        return "the file name is not valid UTF-8"
    if not is_inside(name):
        return "its name leads out of the archive"
    if member.offset_data + member.size > length:
        return "the archive ends before it does"
    return None


def is_inside(name: str) -> bool:
    """Whether a relative POSIX name is in its plainest form and stays below its start."""
    return (
        bool(name)
        and "\0" not in name
        and not name.startswith("/")
        and ".." not in name.split("/")
        and str(PurePosixPath(name)) == name
    )


def _read_text(
    file: IO[bytes],
    member: tarfile.TarInfo,
    key: str,
    texts: dict[str, str],
    records: dict[str, dict[str, Any]],
) -> str | None:
    """Keep a text or a record; return the reason if that is impossible."""
    if member.size > _MAX_TEXT_FILE:
        return f"a text of more than {_MAX_TEXT_FILE:,} bytes"
    file.seek(member.offset_data)
    try:
        text = decode(file.read(member.size))
        if member.name.lower().endswith(".txt"):
            texts[key] = text.strip()
            return None
        record = json.loads(text, parse_constant=lambda _: None)
    except UnicodeDecodeError:
        return "is not UTF-8"
    except (ValueError, RecursionError):
        return "is not JSON"
    if not isinstance(record, dict):
        return "is not a record with named fields"
    records[key] = record
    return None


def _by_key(held: dict[str, Held], keys: set[str]) -> dict[str, Held]:
    """The held members by image key, including keys that are only written differently."""
    free = Names(key for key in held if key not in keys)
    found = {key: key if key in held else free.find(key) for key in keys}
    return {key: held[there] for key, there in found.items() if there is not None}


def _described(
    image: TarMember, texts: dict[str, str], records: dict[str, dict[str, Any]], prefix: str
) -> TarMember:
    key = _key(image.image_id.removeprefix(prefix + "/"))
    metadata, text = dict(records.get(key, {})), texts.get(key)
    if text is None:
        named = next((one for one in TEXT_KEYS if isinstance(metadata.get(one), str)), None)
        text = metadata.pop(named) if named else ""
    return TarMember(image.image_id, image.path, text, metadata, image.tar, image.start, image.size)


def _key(name: str) -> str:
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.split(".")[0]


def _shown(name: str) -> str:
    return name.encode("utf-8", "replace").decode()
