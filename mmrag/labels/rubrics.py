"""Words that a vision model is asked by: files in `prompts`, by name, and files of one's own."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from mmrag.errors import MmragError
from mmrag.labels.judgments import GRADES
from mmrag.system.text_files import read_text

FOLDER = Path(__file__).parent / "prompts"
DEFAULT_RUBRIC, DEFAULT_WORDING = "rubric-1", "wording-1"
_LONGEST = 20_000


@dataclass(frozen=True)
class Rubric:
    """How pictures are graded: `grades` says what each grade means.

    `name` is the file's, without its ending.
    """

    name: str
    task: str
    form: str
    grades: dict[int, str]

    @property
    def scale(self) -> str:
        """The grades and their meanings, the best first."""
        lines = [f"{grade} = {self.grades[grade]}" for grade in sorted(self.grades, reverse=True)]
        return "The grades:\n" + "\n".join(lines)


@lru_cache(maxsize=16)
def load_rubric(name: str = DEFAULT_RUBRIC) -> Rubric:
    """A rubric by its name, or by the path of a `.toml` file.

    Raises:
        MmragError: there is none, or it lacks something; says what.
    """
    read = _toml(name, "rubric", ("task", "form"))
    grades = read.get("grades")
    wanted = {str(grade) for grade in GRADES.values()}
    if (
        not isinstance(grades, dict)
        or set(grades) != wanted
        or not all(isinstance(text, str) for text in grades.values())
    ):
        raise MmragError(
            f"The rubric {name} needs a table [grades] with what {', '.join(sorted(wanted))} mean; "
            f"`{FOLDER / DEFAULT_RUBRIC}.toml` is an example."
        )
    meanings = {int(grade): text for grade, text in grades.items()}
    return Rubric(Path(name).stem, read["task"].strip(), read["form"].strip(), meanings)


@lru_cache(maxsize=16)
def load_wording(name: str = DEFAULT_WORDING) -> tuple[str, str]:
    """Task and form of the prompt that words drafts, as `load_rubric` finds them."""
    read = _toml(name, "wording", ("task", "form"))
    return read["task"].strip(), read["form"].strip()


def _toml(name: str, kind: str, texts: tuple[str, ...]) -> dict[str, Any]:
    own = name.endswith(".toml")
    path = Path(name) if own else FOLDER / f"{name}.toml"
    known = sorted(one.stem for one in FOLDER.glob(f"{kind}-*.toml"))
    if not own and name not in known:
        raise MmragError(
            f"There is no {kind} {name!r}; use {', '.join(known)}, or the path of a .toml file."
        )
    try:
        text = read_text(path)
        read: dict[str, Any] = tomllib.loads(text)
    except OSError as error:
        raise MmragError(f"The {kind} {name} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise MmragError(f"The {kind} {name} is not TOML: {error}.") from error
    missing = [one for one in texts if not isinstance(read.get(one), str)]
    if missing:
        raise MmragError(f"The {kind} {name} lacks {' and '.join(missing)}.")
    if len(text) > _LONGEST:
        raise MmragError(f"The {kind} {name} has more than {_LONGEST:,} characters.")
    return read
