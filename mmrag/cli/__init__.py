"""The command line: parse, call the library, show. One file per group of commands."""

from __future__ import annotations

import importlib
import logging
import sys
from typing import Any

import click

from mmrag import config
from mmrag.errors import MmragError
from mmrag.system import interrupt
from mmrag.system.memory import out_of_memory
from mmrag.version import __version__

# The module that defines each command, in help order. Modules are imported when their command runs,
# so that `--help` needs no torch.
COMMANDS = {
    "demo": ("mmrag.cli.demo", "Search and score photographs and drawings that ship."),
    "dashboard": ("mmrag.cli.dashboard", "Open the dashboard in a browser."),
    "index": ("mmrag.cli.index", "Embed a folder of images and store it."),
    "adopt": ("mmrag.cli.adopt", "Search and evaluate a collection made elsewhere."),
    "search": ("mmrag.cli.search", "Find images by a picture, a text, or both."),
    "ask": ("mmrag.cli.ask", "Answer a question from the best match."),
    "train": ("mmrag.cli.train", "Fine-tune an encoder on labelled queries."),
    "eval-set": ("mmrag.cli.eval_set", "Import, check and describe labelled query sets."),
    "evaluate": ("mmrag.cli.evaluate", "Score a configuration on a labelled query set."),
    "batches": ("mmrag.cli.batches", "List the batches sent through the Batch API."),
    "metrics": ("mmrag.cli.metrics", "List the metrics that rankings are scored by."),
    "published": ("mmrag.cli.published", "List published figures."),
    "compare": ("mmrag.cli.runs", "Compare runs query by query."),
    "runs": ("mmrag.cli.runs", "List the stored runs."),
    "export": ("mmrag.cli.runs", "Write a run as a file, a page, or a submission."),
    "import-run": ("mmrag.cli.runs", "Score rankings from elsewhere."),
    "encoders": ("mmrag.cli.encoders", "List the encoders and whether their weights are here."),
    "download": ("mmrag.cli.encoders", "Fetch official weights."),
    "bench": ("mmrag.cli.bench", "Measure speed, and compare results."),
    "doctor": ("mmrag.cli.doctor", "Say what works on this machine, and what is missing."),
}

_LONGEST = 2000


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Every command has --help with an example. Settings: MMRAG_* variables, also in .env.",
)
@click.version_option(__version__, "--version", prog_name="mmrag")
def main() -> None:
    """Composed image retrieval: search your pictures with a picture and an instruction."""


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status: 0 done, 1 failed, 2 wrong usage."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine("%(levelname)s: %(message)s"))
    logging.basicConfig(handlers=[handler])
    for noisy in ("httpx", "httpx2", "huggingface_hub", "pymilvus", "transformers"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    try:
        config.load_dotenv()
        result: Any = main.main(args=arguments, prog_name="mmrag", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.UsageError as error:
        error.show()
        return 2
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        interrupt.say_stopped()
        return interrupt.STATUS
    except MmragError as error:
        return _failed(str(error))
    except BrokenPipeError:
        return 1
    except OSError as error:
        # A full disk or an unwritable path: the system's message says which.
        return _failed(
            out_of_memory(error) or f"{error.filename or 'The system'}: {error.strerror or error}."
        )
    except Exception as error:
        short = out_of_memory(error)
        if short:
            return _failed(short)
        # A library may have turned Ctrl-C into another error, such as a failed import.
        if not interrupt.asked():
            raise
        interrupt.say_stopped()
        return interrupt.STATUS


class _OneLine(logging.Formatter):
    """One line per record, whatever it holds: data cannot forge a line or steer a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        from mmrag.cli.options import printable

        return printable(super().format(record))


def _failed(reason: str) -> int:
    from mmrag.cli.options import printable

    # Quoted data may be very long.
    print(f"Error: {printable(reason)[:_LONGEST]}", file=sys.stderr)
    return 1
