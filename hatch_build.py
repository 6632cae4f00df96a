"""Build hook: dependencies and extras stand in the requirement files, and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

EXTRA_FILES = {name: f"requirements-{name}.txt" for name in ("distributed", "mteb", "dev")}


class CustomMetadataHook(MetadataHookInterface):
    """Reads `requirements.txt` and what extends it."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set `dependencies` and `optional-dependencies`."""
        root = Path(self.root)
        sections = read_sections(root / "requirements.txt")
        metadata["dependencies"] = sections.pop("")
        extras = {name: read_sections(root / file)[""] for name, file in EXTRA_FILES.items()}
        metadata["optional-dependencies"] = {**sections, **extras}


def read_sections(path: Path) -> dict[str, list[str]]:
    """Requirements by section: "" for those before the first line `# extra NAME`."""
    sections: dict[str, list[str]] = {"": []}
    name = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.strip()
        if text.startswith("# extra "):
            name = text.removeprefix("# extra ").strip()
            sections[name] = []
        elif text and not text.startswith(("#", "-r ")):
            sections[name].append(text)
    return sections
