"""The Batch API of the test server: files in, batches that take their time, files out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .vision_server import VisionServer


class Batches:
    """Answers a batch when it comes, and says so after it was looked at a few times.

    Attributes:
        looks: how often a batch is looked at before it ends.
        answered: how many of the next batch's requests are answered before it expires; None: all.
        refuse: the message with which the next batch fails.
        broken: how many of the next batch's requests end in an error of their own.
        unread: how many of the next batch's answers are in no known form.
        sent, cancelled: ids.
    """

    def __init__(self, server: VisionServer) -> None:
        self.server = server
        self.looks = 2
        self.answered: int | None = None
        self.refuse: str | None = None
        self.broken = 0
        self.unread = 0
        self.sent: list[str] = []
        self.cancelled: list[str] = []
        self.looked_through = False
        self.told: dict[str, dict[str, Any]] = {}
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}

    def take(self, path: str, content: bytes) -> dict[str, Any]:
        """A file, a batch, or the end of one."""
        if path.endswith("/cancel"):
            name = path.split("/")[-2]
            self.cancelled.append(name)
            return {**self.batches[name], "status": "cancelling"}
        if path.endswith("/files"):
            self.looked_through = False
            name = f"file-{len(self.files)}"
            # One part of the form holds lines of JSON.
            self.files[name] = b"\n".join(
                line for line in content.splitlines() if line.startswith(b"{")
            )
            size = len(self.files[name])
            told = {"id": name, "object": "file", "bytes": size, "created_at": 0}
            told |= {"filename": "requests.jsonl", "purpose": "batch", "status": "pending"}
            self.told[name] = told
            return told
        # Azure refuses a batch of a file that it still looks through, and names paths its own way.
        asked = json.loads(content)
        azure = path.startswith("/openai/")
        assert self.looked_through or not azure
        assert asked["endpoint"].startswith("/v1/") is not azure
        return self._begin(asked)

    def file(self, name: str) -> dict[str, Any]:
        """What is told of a file; when it is asked for a second time it is looked through."""
        told = dict(self.told[name])
        self.looked_through = self.told[name]["status"] == "processed"
        self.told[name]["status"] = "processed"
        return told

    def look(self, name: str) -> dict[str, Any]:
        """How far a batch is."""
        batch = self.batches[name]
        batch["looks"] -= 1
        if batch["looks"] >= 0:
            return {**batch, "status": "in_progress", "output_file_id": None}
        return batch

    def _begin(self, asked: dict[str, Any]) -> dict[str, Any]:
        from .vision_server import Scene, answer_to, as_response, refusal

        name = f"batch-{len(self.batches)}"
        lines = [json.loads(one) for one in self.files[asked["input_file_id"]].splitlines()]
        good, bad = [], []
        for i, line in enumerate(lines[: self.answered]):
            assert line["url"] == asked["endpoint"]
            error = refusal(self.server, line["body"])
            if error is None and i >= self.broken:
                body = answer_to(self.server, line["body"], Scene())
                if "input" in line["body"]:
                    body = as_response(body)
                if i < self.unread:
                    body = {"choices": "none"}
                response = {"status_code": 200, "body": body}
                good.append({"custom_id": line["custom_id"], "response": response, "error": None})
            else:
                body = {"error": error or {"message": "the server stumbled"}}
                response = {"status_code": 400, "body": body}
                bad.append({"custom_id": line["custom_id"], "response": response, "error": None})
        status = "completed" if self.answered is None else "expired"
        errors = None
        if self.refuse is not None:
            status, good, bad = "failed", [], []
            errors = {"object": "list", "data": [{"message": self.refuse, "code": "x"}]}
        out = {"output_file_id": self._file(good), "error_file_id": self._file(bad)}
        counts = {"total": len(lines), "completed": len(good), "failed": len(bad)}
        batch = {"id": name, "object": "batch", "endpoint": asked["endpoint"], "created_at": 0}
        batch |= {"input_file_id": asked["input_file_id"], "completion_window": "24h"}
        batch |= {"status": status, "errors": errors, "request_counts": counts} | out
        self.batches[name] = batch | {"looks": self.looks}
        self.sent.append(name)
        self.answered, self.refuse, self.broken, self.unread = None, None, 0, 0
        return {**batch, "status": "validating"}

    def _file(self, lines: list[dict[str, Any]]) -> str | None:
        if not lines:
            return None
        name = f"out-{len(self.files)}"
        self.files[name] = "\n".join(map(json.dumps, lines)).encode()
        return name
