"""Files of a Hugging Face hub: resumable, with progress and a checksum."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from mmrag.errors import CheckpointError, MmragError
from mmrag.system.durable import own_part, replacing, settle

_CHUNK = 1 << 20


class MissingFileError(CheckpointError):
    """The hub answers, but has no such file."""


def download_file(
    repository: str,
    file: str,
    target: Path,
    progress: Callable[..., Any] | None = None,
    revision: str | None = None,
) -> Path:
    """Download one file of a hub repository to `target`, through `target.part`.

    If several processes want it at once, one fetches it, and the others wait and use it. A file in
    the cache of the hub's own client is copied from there.

    Raises:
        CheckpointError: it cannot be fetched, or its checksum is not the hub's.
    """
    if target.is_file():
        return target
    import huggingface_hub

    url = ""
    try:
        kept = huggingface_hub.try_to_load_from_cache(repository, file, revision=revision)
        if isinstance(kept, str):
            with replacing(target) as part:
                shutil.copyfile(kept, part)
            return target
        url = huggingface_hub.hf_hub_url(repository, file, revision=revision)
        metadata = huggingface_hub.get_hf_file_metadata(url, timeout=10)
    except huggingface_hub.errors.EntryNotFoundError as error:
        raise MissingFileError(f"{repository} has no {file}.") from error
    except huggingface_hub.errors.OfflineModeIsEnabled as error:
        raise CheckpointError(
            f"{file} of {repository} is not here, and the hub is not asked for it "
            "(HF_HUB_OFFLINE, or it could not be reached)."
        ) from error
    # The hub client raises its own errors, httpx's or the system's, depending on the cause.
    except Exception as error:
        what = type(error).__name__ + (f" at {url}" if url else "")
        raise CheckpointError(f"{file} of {repository} cannot be fetched ({what}).") from error
    target.parent.mkdir(parents=True, exist_ok=True)

    def say() -> None:
        logging.getLogger(__name__).warning(
            "%s is being downloaded by another process; waiting for it.", target.name
        )

    with own_part(target, say) as part:
        if target.is_file():
            return target
        _fetch(metadata.location, part, metadata.size, file, progress)
        if not _checksum_fits(part, metadata.etag or ""):
            part.unlink()
            raise CheckpointError(f"{url} arrived damaged: its checksum is wrong; run it again.")
        settle(part, target)
    return target


def download_any(
    repository: str,
    files: Iterable[str],
    folder: Path,
    progress: Callable[..., Any] | None = None,
    first: bool = False,
) -> list[Path]:
    """Download those of `files` that a hub repository has into `folder`.

    Args:
        repository: `OWNER/NAME`.
        files: names to ask for.
        folder: where to put them.
        progress: see `download_file`.
        first: stop after the first that exists.

    Raises:
        CheckpointError: the hub cannot be asked, or a file arrived damaged.
    """
    found: list[Path] = []
    for file in files:
        with contextlib.suppress(MissingFileError):
            found.append(download_file(repository, file, folder / file, progress))
        if found and first:
            break
    return found


def list_files(repository: str, revision: str | None = None) -> list[str]:
    """List the files of a hub repository.

    Raises:
        CheckpointError: the hub cannot be asked, or has no such repository.
    """
    import huggingface_hub

    try:
        info = huggingface_hub.HfApi().model_info(repository, revision=revision, timeout=10)
    # The hub client raises its own errors, httpx's or the system's, depending on the cause.
    except Exception as error:
        raise CheckpointError(
            f"{repository} cannot be looked up on the hub ({type(error).__name__})."
        ) from error
    return [sibling.rfilename for sibling in info.siblings or []]


def check_repository(repository: str) -> None:
    """Raise `MmragError` unless it is a valid hub repository name, which cannot leave a folder."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repository)
    except HFValidationError:
        raise MmragError(f"{repository!r} is no repository of a hub; use OWNER/NAME.") from None


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """Make every request to a hub fail at once within the block, as with `HF_HUB_OFFLINE=1`."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _fetch(
    url: str, part: Path, size: int | None, name: str, progress: Callable[..., Any] | None
) -> None:
    import httpx

    done = part.stat().st_size if part.is_file() else 0
    if size is not None and done > size:
        # Emptied, not removed: the lock is on the file.
        os.truncate(part, 0)
        done = 0
    if size is not None and done == size and size > 0:
        return
    headers = {"Range": f"bytes={done}-"} if done else {}
    timeout = httpx.Timeout(10, read=60)
    try:
        with httpx.stream(
            "GET", url, headers=headers, timeout=timeout, follow_redirects=True
        ) as reply:
            reply.raise_for_status()
            if done and reply.status_code != 206:
                done = 0
            with part.open("ab" if done else "wb") as out:
                bar = progress and progress(
                    total=size, initial=done, unit="B", unit_scale=True, desc=name
                )
                # In pieces as they arrive: a larger buffer would be lost with the connection.
                try:
                    for chunk in reply.iter_bytes():
                        out.write(chunk)
                        done += len(chunk)
                        if bar:
                            bar.update(len(chunk))
                finally:
                    if bar:
                        bar.close()
    except (httpx.HTTPError, OSError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise CheckpointError(
            f"{name} broke off after {done:,} bytes ({reason}); run it again to go on."
        ) from error
    if size is not None and done != size:
        raise CheckpointError(
            f"{name} broke off after {done:,} of {size:,} bytes; run it again to go on."
        )


def _checksum_fits(path: Path, etag: str) -> bool:
    """Whether a file fits the hub's ETag: SHA-256, or for small files git's SHA-1 of the blob."""
    if len(etag) == 64:
        digest = hashlib.sha256()
    elif len(etag) == 40:
        digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    else:
        return False
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest() == etag
