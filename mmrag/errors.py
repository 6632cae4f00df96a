"""Errors that a person can act on: one sentence on what is wrong and what to do next."""


def one_line(error: object, most: int = 500) -> str:
    """An error's message in one line; a long one is cut between words, not inside an address."""
    text = " ".join(str(error).split())
    return text if len(text) <= most else text[:most].rpartition(" ")[0] + " …"


class MmragError(Exception):
    """Base of all errors that this package raises; the command line prints them as one line."""


class ImageError(MmragError):
    """An image that cannot be read; the message is the reason."""


class NotStorableError(ImageError):
    """An image whose own text or metadata cannot be stored or embedded, whatever its file holds."""


class RemovalError(MmragError):
    """An indexing run would remove so much that it needs explicit consent."""


class CheckpointError(MmragError):
    """A checkpoint that is wrong, incomplete, unsafe or absent."""


class IndexStoreError(MmragError):
    """Milvus cannot be reached, or a collection does not suit the request."""


class EvalSetError(MmragError):
    """An eval set that cannot be used; the message names the file and the line."""


class ModelServerError(MmragError):
    """A model server that cannot be used; the message says why, and never shows a key."""


class BudgetReached(MmragError):
    """The next request could exceed the cost limit; what was finished before it is kept."""


class Cancelled(MmragError):
    """Stopped on request; what was finished before it is kept."""
