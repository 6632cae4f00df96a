"""The table of vision models: prices, picture tokens, thought, shutdown dates, successors.

The table is `models.json` beside this file; each line says where and when it was read. The file
that `MMRAG_MODELS` names adds lines and overrides fields of others; if `MMRAG_PRICES` names one,
prices come from that alone. A model in none of them still works: what it refuses is learnt from its
errors, and its price is unknown.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from datetime import date
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any

from mmrag import config
from mmrag.errors import MmragError
from mmrag.system.text_files import read_text
from mmrag.vision.prices import ImageRule, Price, read_image_rule, read_price

TABLE = Path(__file__).parent / "models.json"
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_DATE = re.compile(r"-\d{4}-\d{2}-\d{2}$")


@dataclass(frozen=True)
class ModelFacts:
    """One line of the table.

    Attributes:
        name: as requested.
        known: whether the table has a line for it.
        provider: whose model it is.
        price: None if unknown.
        image: how pictures become tokens; a guess unless `image_known`.
        reasoning: whether it thinks before it answers; None if unknown.
        efforts: the efforts it accepts, least first.
        most_output: most tokens of thought and answer together.
        shutdown: when it leaves its provider's API.
        azure_shutdown: when it leaves Azure.
        successor: the model its provider recommends in its place.
        api: the API it is asked through, "chat" or "responses".
        source, read: where and when its price was read; for the other figures, see the table's
            `from` and `sources`.
    """

    name: str
    known: bool = False
    provider: str = ""
    price: Price | None = None
    image: ImageRule = field(default_factory=ImageRule)
    image_known: bool = False
    reasoning: bool | None = None
    efforts: tuple[str, ...] = ()
    most_output: int | None = None
    shutdown: date | None = None
    azure_shutdown: date | None = None
    successor: str | None = None
    api: str = "chat"
    source: str = ""
    read: str = ""

    def effort(self, wanted: str | None) -> str | None:
        """The effort to ask for; by default the least, None for a model without any.

        Raises:
            MmragError: the model is known not to accept it.
        """
        if wanted is None:
            return self.efforts[0] if self.efforts else None
        if wanted not in EFFORTS:
            raise MmragError(f"An effort is one of {', '.join(EFFORTS)}, not {wanted!r}.")
        if self.reasoning is False:
            return None
        if self.efforts and wanted not in self.efforts:
            raise MmragError(
                f"{self.name} cannot think with effort {wanted!r}; it takes "
                f"{', '.join(self.efforts)}."
            )
        return wanted


def find_model(name: str) -> ModelFacts:
    """The facts about a model.

    A dated snapshot counts as its undated name; a fine-tuned model (`ft:NAME:...`) or one behind a
    gateway (`PROVIDER/NAME`) as NAME, but without its price.

    Raises:
        MmragError: a user's table cannot be used.
    """
    facts = _lookup(_models(), name)
    prices = config.prices_file()
    if prices is not None:
        facts = replace(facts, price=_lookup(_read(prices, "price"), name).price)
    return replace(facts, name=name)


def find_price(name: str) -> Price | None:
    """The price of a model, or None if unknown; raises as `find_model`."""
    return find_model(name).price


def recommended() -> list[str]:
    """Names of recommended models, best first; raises as `find_model`."""
    own = config.models_file()
    named = _document(own, "model").get("recommended", []) if own else []
    if not isinstance(named, list):
        raise _wrong(own or TABLE, "model", "`recommended` is no list")
    return [*map(str, named), *_document(TABLE, "model")["recommended"]]


def is_blind(name: str) -> bool:
    """Whether a server's model is known not to be for looking at pictures.

    Raises:
        MmragError: as `find_model`.
    """
    own = config.models_file()
    further = _document(own, "model").get("blind", []) if own else []
    if not isinstance(further, list):
        raise _wrong(own or TABLE, "model", "`blind` is no list")
    bare = name.rpartition("/")[2].lower()
    patterns = [*map(str, further), *_document(TABLE, "model")["blind"]]
    return any(fnmatchcase(bare, one) for one in patterns)


def _lookup(table: dict[str, ModelFacts], name: str) -> ModelFacts:
    bare = name.removeprefix("ft:").partition(":")[0] if name.startswith("ft:") else name
    bare = bare.rpartition("/")[2]
    for one in (name, _DATE.sub("", name), bare, _DATE.sub("", bare)):
        if one in table:
            found = table[one]
            return found if one in (name, _DATE.sub("", name)) else replace(found, price=None)
    for pattern, facts in table.items():
        if "*" in pattern and fnmatchcase(bare.lower(), pattern):
            return facts
    return ModelFacts(name)


def _models() -> dict[str, ModelFacts]:
    own = config.models_file()
    return _shipped() if own is None else _read(own, "model", _document(TABLE, "model"))


@lru_cache(maxsize=1)
def _shipped() -> dict[str, ModelFacts]:
    return _read(TABLE, "model")


def _read(path: Path, kind: str, below: dict[str, Any] | None = None) -> dict[str, ModelFacts]:
    document = _document(path, kind)
    try:
        lines = {name: dict(line) for name, line in document["models"].items()}
        under = below["models"] if below else {}
        merged = {name: {**under.get(name, {}), **line} for name, line in lines.items()}
        merged |= {name: line for name, line in under.items() if name not in lines}
        return {name: _facts(name, line) for name, line in merged.items()}
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise _wrong(path, kind, repr(error)) from error


def _document(path: Path, kind: str) -> dict[str, Any]:
    try:
        document = json.loads(read_text(path))
    except RecursionError:
        raise MmragError(f"The {kind} table {path} is nested too deeply.") from None
    except OSError as error:
        raise MmragError(f"The {kind} table {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise _wrong(path, kind, repr(error)) from error
    if not isinstance(document, dict):
        raise _wrong(path, kind, "it is no JSON object")
    return document


def _wrong(path: Path, kind: str, why: str) -> MmragError:
    return MmragError(f"The {kind} table {path} is not as {TABLE.name} in {TABLE.parent}: {why}.")


def _facts(name: str, line: dict[str, Any]) -> ModelFacts:
    efforts = tuple(str(effort) for effort in line.get("efforts", ()))
    if not set(efforts) <= set(EFFORTS):
        raise ValueError(f"an effort is one of {', '.join(EFFORTS)}")
    reasoning, api = line.get("reasoning"), line.get("api", "chat")
    if reasoning not in (True, False, None) or api not in ("chat", "responses"):
        raise ValueError("`reasoning` is true or false, `api` is chat or responses")
    most = line.get("most_output")
    return ModelFacts(
        name,
        known=True,
        provider=str(line.get("provider", "")),
        price=read_price(line),
        image=read_image_rule(line),
        image_known="image" in line,
        reasoning=reasoning,
        efforts=tuple(sorted(efforts, key=EFFORTS.index)),
        most_output=None if most is None else int(most),
        shutdown=_date(line.get("shutdown")),
        azure_shutdown=_date(line.get("azure_shutdown")),
        successor=None if line.get("successor") is None else str(line["successor"]),
        api=api,
        source=str(line.get("source", "")),
        read=str(line.get("read", "")),
    )


def _date(text: Any) -> date | None:
    return None if text is None else date.fromisoformat(text)
