"""The images that are searched: a folder, joined with a metadata file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from mmrag.errors import MmragError
from mmrag.galleries.metadata import PATH_KEYS, TEXT_KEYS, Reading, read_records
from mmrag.images.formats import HEAD, UnreadFormat, recognise
from mmrag.system.names import AmbiguousName, Names, is_absolute, slashed
from mmrag.types import GalleryImage, Skipped

# More records than the larger of these limits are not read: they could fill the memory.
MOST_RECORDS, RECORDS_PER_IMAGE = 1_000_000, 20
_LONGEST_SHOWN = 300


@dataclass(frozen=True)
class Gallery:
    """Images, what was left out when listing them, and how many files are not pictures.

    `others` counts the latter by extension, "" for none. `notes` are sentences about how names and
    tables were understood.
    """

    images: list[GalleryImage]
    skipped: list[Skipped]
    others: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def check_not_empty(self) -> None:
        """Raise MmragError, which says what there is instead, if there are no images."""
        if not self.images:
            raise MmragError(f"There are no images to index{self._what_else()}.")

    def _what_else(self) -> str:
        counts = Counter(self.others)
        counts.update(os.path.splitext(one.path)[1].lower() for one in self.skipped)
        if not counts:
            return ": the folder is empty"
        example = f" ({self.skipped[0].path}: {self.skipped[0].reason})" if self.skipped else ""
        return f", only {listed(counts)}{example}"

    def _repr_html_(self) -> str:
        from mmrag import notebook

        return notebook.gallery_html(self)


def listed(others: Mapping[str, int]) -> str:
    """How many files there are of each extension, in words."""
    return ", ".join(
        f"{count:,} {extension or 'without an extension'}" for extension, count in others.items()
    )


def open_gallery(
    folder: str | os.PathLike[str],
    metadata: str | os.PathLike[str] | None = None,
    reading: Reading | None = None,
) -> Gallery:
    """List the images under `folder`, in order of id.

    Args:
        folder: searched recursively. Hidden files and folders are ignored; links to folders or out
            of the folder, names that are not UTF-8, and pictures in unsupported formats are listed
            as skipped; other files are counted. A picture without an extension is one.
        metadata: a JSON Lines, JSON or CSV file. A record's image is its `image_path` (or `path`,
            `image`, `file_name` ...), relative to the folder, to the metadata file or to the
            working directory; its text is its `description` (or `text`, `caption`, `title`);
            all other fields are kept as metadata.
        reading: how that file is written; fields left out are detected.

    Raises:
        MmragError: no such folder or file, a folder that cannot be listed (its images would
            count as vanished), or a metadata file that cannot be read or names several images at
            once.

    Example:
        >>> gallery = open_gallery("photos")
        >>> len(gallery.images), len(gallery.skipped)
        (296, 0)
    """
    try:
        root = Path(folder).resolve()
        there = root.is_dir()
    except (OSError, ValueError):
        there = False
    if not there:
        raise MmragError(f"{folder} is not a folder.")
    images, skipped, others = [], [], Counter[str]()
    for path, is_folder in _walk(root):
        found = None if is_folder else recognise(path.name, partial(_head, path))
        relative = path.relative_to(root).as_posix()
        if found is None and not is_folder:
            others[path.suffix.lower()] += 1
        elif not _is_utf8(str(path)):
            shown = relative.encode("utf-8", "replace").decode()
            skipped.append(Skipped(shown, "the file name is not valid UTF-8"))
        elif isinstance(found, UnreadFormat):
            skipped.append(Skipped(relative, found.reason))
        elif path.is_symlink() and not path.resolve().is_relative_to(root):
            skipped.append(Skipped(relative, "is a link that leads out of the folder"))
        elif path.is_file():
            images.append(GalleryImage(relative, str(path)))
        elif path.is_symlink() and path.is_dir():
            skipped.append(Skipped(relative, "is a link to a folder, which is not followed"))
        else:
            skipped.append(Skipped(relative, "is not a file"))
    images.sort(key=lambda image: image.image_id)
    if metadata is None:
        return Gallery(images, skipped, dict(others.most_common()))
    if Path(metadata).absolute().is_relative_to(root):
        others -= Counter([Path(metadata).suffix.lower()])
    gallery = Gallery(images, skipped, dict(others.most_common()))
    return join_metadata(gallery, root, Path(metadata), reading)


def _walk(root: Path) -> Iterator[tuple[Path, bool]]:
    """Files, and links to folders, with whether it is one of the latter."""

    def fail(error: OSError) -> None:
        raise MmragError(f"The folder {error.filename} cannot be listed: {error.strerror}.")

    for folder, subfolders, files in os.walk(root, onerror=fail):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in subfolders:
            if Path(folder, name).is_symlink():
                yield Path(folder, name), True
        for name in files:
            if not name.startswith("."):
                yield Path(folder, name), False


def _head(path: Path) -> bytes:
    """The first bytes of a file; none if it cannot be read, or is a pipe."""
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(HEAD)
    except OSError:
        return b""


def join_metadata(
    gallery: Gallery, root: Path, metadata: Path, reading: Reading | None = None
) -> Gallery:
    """The gallery with text and fields from a metadata file; records that fit none are skipped.

    A record's image is found by its exact name, else by a name that differs only in Unicode form or
    separators, else by the end of a path from another machine if only one image fits.

    Raises:
        MmragError: a name fits several images; names the line.
    """
    names = Names(image.image_id for image in gallery.images)
    bases = (root, metadata.absolute().parent, Path.cwd())
    problems: list[tuple[int, str]] = []
    # By line: how well it fits (0 is best), which image, the record, and its key for the path.
    fits: list[tuple[int, int, str, dict[str, Any], str]] = []
    best: dict[str, int] = {}
    records = read_records(metadata, reading)
    most = max(MOST_RECORDS, RECORDS_PER_IMAGE * len(gallery.images))
    for count, (number, record) in enumerate(records.rows, start=1):
        if count > most:
            raise MmragError(
                f"{metadata} holds more than {most:,} records for {len(gallery.images):,} "
                "pictures, which is more than is read; is it the right file? Leave out what is not "
                "in the folder."
            )
        if not isinstance(record, dict):
            problems.append((number, "is not a record with named fields"))
            continue
        path_key = next((key for key in PATH_KEYS if isinstance(record.get(key), str)), None)
        if path_key is None:
            problems.append((number, f"names no image; expected one of {', '.join(PATH_KEYS)}"))
            continue
        try:
            found = _find(record[path_key], root, bases, names)
        except AmbiguousName as error:
            raise MmragError(f"{metadata}, line {number}: {error}.") from error
        if found is None:
            problems.append((number, f"no such image in the folder: {_shown(record[path_key])}"))
        else:
            how, image_id = found
            if how >= best.get(image_id, how + 1):
                # Only its name is kept, so that hundreds of thousands do not fill the memory.
                record = {path_key: _shown(record[path_key])}
            else:
                best[image_id] = how
            fits.append((how, number, image_id, record, path_key))
    by_id = {image.image_id: image for image in gallery.images}
    described: set[str] = set()
    ends = Counter(image_id for how, _, image_id, _, _ in fits if how == _BY_END)
    for how, number, image_id, record, path_key in sorted(fits, key=lambda fit: fit[:2]):
        if image_id in described:
            problems.append((number, f"describes {image_id} a second time"))
        elif how == _BY_END and ends[image_id] > 1:
            problems.append((number, f"no such image in the folder: {_shown(record[path_key])}"))
        else:
            described.add(image_id)
            text_key = next((key for key in TEXT_KEYS if isinstance(record.get(key), str)), None)
            text = record[text_key] if text_key else ""
            rest = {k: v for k, v in record.items() if k not in (path_key, text_key)}
            by_id[image_id] = replace(by_id[image_id], text=text, metadata=rest)
    joined = sum(count for image_id, count in ends.items() if count == 1)
    unmatched = [Skipped(f"{metadata.name}:{number}", what) for number, what in sorted(problems)]
    return replace(
        gallery,
        images=list(by_id.values()),
        skipped=gallery.skipped + unmatched,
        notes=(*gallery.notes, *records.notes, *_by_end_note(joined)),
    )


_EXACT, _OTHERWISE_WRITTEN, _BY_END = range(3)


def _find(name: str, root: Path, bases: Sequence[Path], names: Names) -> tuple[int, str] | None:
    """How well a name fits an image, and which one."""
    candidates = [name]
    for base in bases:
        path = Path(os.path.normpath(base / slashed(name)))
        if path.is_relative_to(root):
            candidates.append(path.relative_to(root).as_posix())
    for candidate in candidates:
        if candidate in names:
            return _EXACT, candidate
    for candidate in candidates:
        if (found := names.find(candidate)) is not None:
            return _OTHERWISE_WRITTEN, found
    if is_absolute(name) and (found := names.find_by_end(name)) is not None:
        return _BY_END, found
    return None


def _shown(name: str) -> str:
    return name if len(name) <= _LONGEST_SHOWN else f"{name[:_LONGEST_SHOWN]}…"


def _by_end_note(count: int) -> tuple[str, ...]:
    if not count:
        return ()
    what = "1 record names a path" if count == 1 else f"{count:,} records name paths"
    return (f"{what} of another machine; joined by the end of the path.",)


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
