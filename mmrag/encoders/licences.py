"""Licences of published weights: which are known, and which forbid commercial use."""

from __future__ import annotations

import re
from pathlib import Path

UNKNOWN = "see the source"
# Licences whose names contain one of these forbid commercial use.
_NON_COMMERCIAL = ("-nc", "amlr", "non-commercial", "research-only")
# By part of a hub repository's name, from its model card in November 2026; the first match counts.
_REPOSITORIES = (
    ("metaclip", "CC-BY-NC-4.0"),
    ("visheratin/nllb", "CC-BY-NC-4.0"),
    ("mobileclip", "Apple AMLR (research only)"),
    ("apple/dfn", "Apple AMLR (research only)"),
    ("siglip", "Apache-2.0"),
    ("pe-core", "Apache-2.0"),
    ("clipa", "Apache-2.0"),
    ("vitamin", "MIT"),
    ("laion", "MIT"),
    ("merged2b", "MIT"),
    (".openai", "MIT"),
    ("baai/", "MIT"),
)


def is_non_commercial(licence: str) -> bool:
    """Whether a licence of this name forbids commercial use."""
    return any(mark in licence.lower() for mark in _NON_COMMERCIAL)


def licence_of(repository: str, folder: Path | None = None) -> str:
    """The licence of weights: from the model card in `folder`, else as known for the repository."""
    card = _of_card(folder / "README.md") if folder else None
    known = (licence for part, licence in _REPOSITORIES if part in repository.lower())
    return card or next(known, UNKNOWN)


def _of_card(file: Path) -> str | None:
    """The licence in the head of a hub's model card."""
    if not file.is_file():
        return None
    text = file.read_text(encoding="utf-8", errors="replace")[:10_000]
    found = dict(re.findall(r"^(license|license_name): *([\w.-]+) *$", text, re.MULTILINE))
    if found.get("license") == "other":
        return found.get("license_name")
    return found.get("license")
