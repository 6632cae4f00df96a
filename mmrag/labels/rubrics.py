"""Words to ask a vision model with: files in `prompts`, by name, and the user's own files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from mmrag.errors import MmragError
from mmrag.labels.judgments import GRADES
from mmrag.rerank.prompt_files import read_prompt

FOLDER = Path(__file__).parent / "prompts"
DEFAULT_RUBRIC, DEFAULT_WORDING = "rubric-1", "wording-1"


@dataclass(frozen=True)
class Rubric:
    """How pictures are graded: `grades` says what each grade means.

    `name` is the file's name without its ending.
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
    """Load a rubric by its name, or by the path of a `.toml` file.

    Raises:
        MmragError: there is none, or it lacks something; the message says what.
    """
    read, _ = read_prompt(name, FOLDER, ("task", "form"), "rubric", "rubric-*")
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
    """Load task and form of the prompt that words drafts, found as by `load_rubric`."""
    read, _ = read_prompt(name, FOLDER, ("task", "form"), "wording", "wording-*")
    return read["task"].strip(), read["form"].strip()
