"""Texts that want to be markup, code or filters, in an eval set and its run."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image

from mmrag import RunStore
from mmrag.eval_sets.eval_set import EvalQuery, EvalSet
from mmrag.runs.importing import import_run
from mmrag.runs.run import Ranked, Run
from mmrag.runs.trec import trec_lines
from mmrag.types import GalleryImage

HOSTILE = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "' onmouseover='alert(1)",
    "</style><style>*{display:none}",
    "</title><svg onload=alert(1)>",
    "{{ 7 * 7 }}{% raw %}{{ run }}",
    "![x](http://evil.test/x.png) [y](javascript:alert(1))",
    "\x1b[2J\x1b]0;title\x07\u202e\u2028\x85",
    "line one\nERROR: line two\r\nand three",
    "=cmd|' /C calc'!A0",
    "'; DROP TABLE mmrag_runs; --",
    '" or key != "',
    "&lt;b&gt; & <![CDATA[ <!-- -->",
]  # fmt: skip


def plain(text: str) -> str:
    """What may stand as an id: no tab and no line break."""
    return re.sub(r"[\t\n\r\0]", " ", text)


def made_set(folder: Path, texts: list[str]) -> EvalSet:
    """Every text in every place: ids, file names, descriptions, categories, names."""
    images = []
    for number, text in enumerate(texts):
        name = re.sub(r"[/\0]", "_", text)[:80] + f"{number}.png"
        (folder / "pictures").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9), (number * 9, 0, 0)).save(folder / "pictures" / name)
        path = str(folder.resolve() / "pictures" / name)
        images.append(GalleryImage(plain(text) + str(number), path, text, {text: text}))
    queries = [
        EvalQuery(
            plain(f"q{text}"), images[n].path, text, text, (text,), text, (text,), {text: text}
        )
        for n, text in enumerate(texts)
    ]
    qrels = {q.query_id: {i.image_id: n % 2 for n, i in enumerate(images)} for q in queries}
    made = EvalSet(
        plain(texts[0]), folder, folder.resolve() / "pictures", images, queries, qrels,
        version=texts[1], description=texts[2], licence=texts[3], source=texts[4],
    )  # fmt: skip
    made.save()
    return EvalSet.load(folder)


def made_run(folder: Path, eval_set: EvalSet, store: RunStore, texts: list[str]) -> Run:
    """A run whose name, notes, explanations and settings are those texts too."""
    ids = [image.image_id for image in eval_set.images]
    ranked = {q.query_id: Ranked(q.query_id, ids, [1.0 / (n + 1) for n in range(len(ids))])
              for q in eval_set.queries}  # fmt: skip
    path = folder / "run.trec"
    path.write_text("".join(trec_lines(ranked, texts[0])), encoding="utf-8")
    run = import_run(path, eval_set, store, name=texts[1])
    for n, one in enumerate(run.rankings["retrieval"].values()):
        one.details["explanation"] = texts[n % len(texts)]
    run.notes = list(texts)
    run.config |= {text: text for text in texts}
    run.skipped = [{"query_id": text, "reason": text} for text in texts]
    run.missing_images = [{"image_id": text, "reason": text} for text in texts]
    return run
