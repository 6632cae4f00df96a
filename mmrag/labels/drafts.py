"""Drafted queries: proposed by a machine, waiting for a person.

They are kept in `drafts.jsonl` beside `queries.jsonl`, one row for each draft and each decision;
the last row of an id counts, so rejected drafts stay known and are not proposed again.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import orjson

from mmrag.errors import EvalSetError
from mmrag.eval_sets.eval_set import EvalQuery, EvalSet
from mmrag.eval_sets.records import Record, read_records
from mmrag.labels.judgments import GRADES, Judgment, JudgmentLog
from mmrag.labels.queries import locked, put_query
from mmrag.types import GalleryImage

State = Literal["waiting", "accepted", "rejected"]
BY_METADATA = "metadata"


@dataclass(frozen=True)
class Draft:
    """A proposed query: from the picture `image_id` by `text` to the picture `target_id`.

    `negatives` are pictures that should not be found, `by` the model that worded it or
    "metadata", `band` the distance of the two pictures (0 is near). `fitting` are further right
    pictures and `needs` a label of `mmrag.runs.labels`, as far as a check has found them.
    """

    query_id: str
    image_id: str
    target_id: str
    text: str
    paraphrases: tuple[str, ...] = ()
    negatives: tuple[str, ...] = ()
    by: str = BY_METADATA
    band: int = 0
    state: State = "waiting"
    judge: str = ""
    time: str = ""
    fitting: tuple[str, ...] = ()
    needs: str = ""


class DraftFile:
    """The drafts of one eval set.

    Args:
        folder: of the eval set.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)
        self.path = self._folder / "drafts.jsonl"

    def drafts(self) -> list[Draft]:
        """Each draft in its current state, in the order of proposal.

        Raises:
            EvalSetError: a row is damaged; names file and line.
        """
        if not self.path.exists():
            return []
        found: dict[str, Draft] = {}
        for record in read_records(self.path):
            draft = _parse(record)
            found[draft.query_id] = draft
        return list(found.values())

    def propose(self, drafts: Iterable[Draft]) -> int:
        """Add drafts; pairs of pictures proposed before are left out.

        Returns:
            How many were new.
        """
        with self._locked():
            known = self.drafts()
            pairs = {(one.image_id, one.target_id) for one in known}
            ids = {one.query_id for one in known}
            new = []
            for draft in drafts:
                if (draft.image_id, draft.target_id) in pairs:
                    continue
                pairs.add((draft.image_id, draft.target_id))
                number = len(ids) + 1
                while f"draft-{number:04}" in ids:
                    number += 1
                ids.add(f"draft-{number:04}")
                new.append(replace(draft, query_id=f"draft-{number:04}", time=_now()))
            self._append(new)
        return len(new)

    def reject(self, query_id: str, judge: str) -> None:
        """Record that a person rejected a draft."""
        with self._locked():
            self._append(
                [replace(self._find(query_id), state="rejected", judge=judge, time=_now())]
            )

    def amend(self, found: Mapping[str, tuple[str, tuple[str, ...]]]) -> None:
        """Write what a check found on drafts: id to `needs` and to other pictures that fit."""
        with self._locked():
            now = {one.query_id: one for one in self.drafts()}
            self._append(
                [
                    replace(
                        now[query_id],
                        needs=needs,
                        fitting=fitting,
                        negatives=tuple(n for n in now[query_id].negatives if n not in fitting),
                    )
                    for query_id, (needs, fitting) in found.items()
                    if query_id in now
                ]
            )

    def accept(self, query_id: str, judge: str, text: str | None = None) -> EvalQuery:
        """Make a draft a query of the set: its target is right, its negatives are wrong.

        Args:
            query_id: of the draft, and of the query.
            judge: the person; the target's judgment is theirs, the negatives' the drafter's.
            text: the instruction, if the person has edited it.

        Raises:
            EvalSetError: there is no such draft, or the set lacks one of its pictures.
        """
        with self._locked():
            draft = replace(self._find(query_id), state="accepted", judge=judge, time=_now())
            edited = text is not None and text.strip() != draft.text
            if edited:
                # Paraphrases of the former words would ask something else.
                draft = replace(draft, text=(text or "").strip(), paraphrases=())
            if not draft.text:
                raise EvalSetError("An instruction is needed; type one, or reject the draft.")
            eval_set = EvalSet.load(self._folder)
            paths = {image.image_id: image.path for image in eval_set.images}
            if draft.image_id not in paths or draft.target_id not in paths:
                raise EvalSetError(f"The pictures of {query_id!r} are no longer in the set.")
            query = EvalQuery(
                query_id,
                paths[draft.image_id],
                draft.text,
                f"band {draft.band}",
                draft.paraphrases,
                metadata={"drafted_by": draft.by, "edited": edited},
            )
            put_query(self._folder, query)
            right = Judgment(query_id, draft.target_id, GRADES["right"], judge)
            wrong = [
                Judgment(query_id, one, GRADES["wrong"], draft.by, "model")
                for one in draft.negatives
                if one in paths
            ]
            others = [
                Judgment(query_id, one, GRADES["right"], draft.by, "model")
                for one in draft.fitting
                if one in paths and one != draft.target_id and not edited
            ]
            JudgmentLog(self._folder).add([right, *wrong, *others])
            self._append([draft])
        return query

    def _find(self, query_id: str) -> Draft:
        for draft in self.drafts():
            if draft.query_id == query_id:
                return draft
        raise EvalSetError(f"There is no draft {query_id!r} in {self._folder}.")

    def _append(self, drafts: Sequence[Draft]) -> None:
        with self.path.open("ab") as out:
            out.writelines(
                orjson.dumps(_record(one), option=orjson.OPT_APPEND_NEWLINE) for one in drafts
            )
            out.flush()
            os.fsync(out.fileno())

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with locked(self._folder, "drafts"):
            yield


def worded_by_metadata(source: GalleryImage, target: GalleryImage) -> str | None:
    """An instruction from what differs between two images: "the same, but colour: blue".

    None unless both have the same keys, at least one value agrees, and one or two differ: one
    instruction cannot say more, and without anything in common nothing stays "the same".
    """
    a, b = _plain_values(source.metadata), _plain_values(target.metadata)
    if a.keys() != b.keys():
        return None
    changed = [key for key in a if a[key] != b[key]]
    if not 1 <= len(changed) <= 2 or len(changed) == len(a):
        return None
    return "the same, but " + " and ".join(f"{key}: {b[key]}" for key in changed)


def fitting_negatives(target: GalleryImage, others: Sequence[GalleryImage]) -> list[str]:
    """Ids of images whose metadata differs from the target's, so they cannot be right."""
    wanted = _plain_values(target.metadata)
    return [one.image_id for one in others if _plain_values(one.metadata) != wanted]


def _plain_values(metadata: Mapping[str, Any]) -> dict[str, str]:
    return {
        key: str(value)
        for key, value in metadata.items()
        if isinstance(value, str | int | float) and value != ""
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _record(draft: Draft) -> dict[str, Any]:
    return {"_id": draft.query_id, **{k: v for k, v in asdict(draft).items() if k != "query_id"}}


def _parse(record: Record) -> Draft:
    state = record.required("state")
    if state not in ("waiting", "accepted", "rejected"):
        raise record.error(f"'state' cannot be {state!r}")
    return Draft(
        record.id(),
        record.required("image_id"),
        record.required("target_id"),
        record.text("text") or "",
        record.strings("paraphrases"),
        record.strings("negatives"),
        record.required("by"),
        record.integer("band"),
        state,  # type: ignore[arg-type]
        record.text("judge") or "",
        record.text("time") or "",
        record.strings("fitting"),
        record.text("needs") or "",
    )
