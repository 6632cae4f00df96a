"""Prompts as files: those in the folder `prompts`, by name, and the user's own."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from mmrag.errors import MmragError
from mmrag.system.text_files import read_text

FOLDER = Path(__file__).parent / "prompts"
DEFAULT_PROMPT = "ranking-1"
_TEXTS = ("task", "grid", "grid_query", "images", "images_query", "form")
_LONGEST = 20_000


@dataclass(frozen=True)
class PromptFile:
    """The texts of a prompt, as its file has them.

    `name` is as requested, `sha256` the file's; `marks` says whether the panorama has coloured
    frames and a second number. In the texts, `{n}` is the number of candidates, `{last}` the last
    index, `{query}` the text for a query picture.
    """

    name: str
    sha256: str
    marks: bool
    task: str
    grid: str
    grid_query: str
    images: str
    images_query: str
    form: str

    def look(self, n: int, presentation: str, query: bool) -> str:
        """The description of what the model sees: n candidates, as a grid or as images."""
        shown = self.grid if presentation == "grid" else self.images
        beside = self.grid_query if presentation == "grid" else self.images_query
        return _fill(shown.replace("{query}", beside if query else ""), n)

    def asked(self, n: int) -> str:
        """The form of the answer."""
        return _fill(self.form, n)


def prompt_names(folder: Path = FOLDER, pattern: str = "*") -> list[str]:
    """The prompts that come with the package."""
    return sorted(path.stem for path in folder.glob(f"{pattern}.toml"))


@lru_cache(maxsize=16)
def load_prompt(name: str) -> PromptFile:
    """A prompt by its name, or by the path of a `.toml` file.

    Raises:
        MmragError: there is none, or it lacks a text; says which.
    """
    read, digest = read_prompt(name, FOLDER, _TEXTS)
    if not isinstance(read.get("marks", False), bool):
        raise MmragError(f"In the prompt {name}, `marks` must be true or false.")
    texts = {one: read[one] for one in _TEXTS}
    return PromptFile(name, digest, read.get("marks", False), **texts)


def read_prompt(
    name: str, folder: Path, texts: Sequence[str], kind: str = "prompt", pattern: str = "*"
) -> tuple[dict[str, Any], str]:
    """The values of a prompt, and the SHA-256 of its file.

    Args:
        name: of a file in `folder` without its ending, or the path of a `.toml` file.
        folder: where the package's own ones are.
        texts: the keys that must hold texts; a line break at the start of one is dropped.
        kind: what messages call it.
        pattern: of the names in `folder` that are of this kind.

    Raises:
        MmragError: there is none, or it lacks a text; says which.
    """
    own = name.endswith(".toml")
    names = prompt_names(folder, pattern)
    if not own and name not in names:
        raise MmragError(
            f"There is no {kind} {name!r}; use one of {', '.join(names)}, or the path of "
            "a .toml file like those."
        )
    path = Path(name) if own else folder / f"{name}.toml"
    try:
        text = read_text(path)
        read: dict[str, Any] = tomllib.loads(text)
    except OSError as error:
        raise MmragError(f"The {kind} {name} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise MmragError(f"The {kind} {name} is not TOML: {error}.") from error
    missing = [one for one in texts if not isinstance(read.get(one), str)]
    if missing:
        raise MmragError(
            f"The {kind} {name} needs the texts {', '.join(texts)}; {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not there. `{folder / names[-1]}.toml` is an "
            "example."
        )
    if len(text) > _LONGEST:
        raise MmragError(f"The {kind} {name} has more than {_LONGEST:,} characters.")
    digest = hashlib.sha256(text.encode()).hexdigest()
    return {**read, **{one: read[one].removeprefix("\n") for one in texts}}, digest


def _fill(text: str, n: int) -> str:
    return text.replace("{n}", str(n)).replace("{last}", str(n - 1))
