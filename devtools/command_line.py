"""The words after `dev.py`, and the ways in which a command ends. Standard library only."""

from __future__ import annotations

import argparse
import sys

from .benching import bench
from .demo import demo
from .get_comfyui import RELEASE
from .testing import test
from .tiers import TIERS
from .trouble import TroubleError, sentence_of
from .workflow import workflows

ABOUT = """One command for each thing a developer or a visitor does; each sets itself up.

    python dev.py test       lint, types, core tests, doctests, and what needs a ComfyUI, a browser or Node.js
    python dev.py bench      the figures in docs/; `bench NAME --help` for a benchmark's own options
    python dev.py demo       every example workflow in a real ComfyUI, or the same job without one: what was learned,
                             and where the pictures are
    python dev.py workflows  writes the examples in API format again, after one was changed

The Python environment is kept outside the repository, in `$SCENESCOPE_CACHE` or the user's cache folder, under a name
made of what is in it; a second clone finds it there. A ComfyUI that it downloads is kept there too."""


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line; `run` among the options is the command's function."""
    reader = argparse.ArgumentParser(
        prog="dev.py", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = reader.add_subparsers(required=True, metavar="test | bench | demo | workflows")
    testing = commands.add_parser("test", help=test.__doc__)
    testing.add_argument("--only", nargs="+", choices=TIERS, help="run only these tiers")
    testing.add_argument("--get-host", action="store_true", help=f"get ComfyUI {RELEASE} if there is none")
    testing.add_argument("--require-host", action="store_true", help="a missing ComfyUI is an error")
    testing.add_argument("-k", metavar="EXPRESSION", help="passed to pytest: run the tests whose names match")
    testing.set_defaults(run=test)
    benching = commands.add_parser("bench", help=bench.__doc__)
    benching.add_argument("names", nargs="*", help="which benchmarks; all of them if none is named")
    benching.add_argument("--list", action="store_true", help="list them and stop")
    benching.set_defaults(run=bench, words=[])
    showing = commands.add_parser("demo", help=demo.__doc__)
    showing.add_argument("--no-host", action="store_true", help="without ComfyUI, even where there is one")
    showing.add_argument("--cpu", action="store_true", help="don't use a GPU")
    showing.add_argument("--stay", action="store_true", help="keep the editor open afterwards")
    showing.set_defaults(run=demo)
    writing = commands.add_parser("workflows", help=workflows.__doc__)
    writing.set_defaults(run=workflows)
    return reader


def read(words: list[str]) -> argparse.Namespace:
    """Read the command line; after the names of benchmarks, options are the benchmark's own."""
    own = next((place for place, word in enumerate(words) if word.startswith("--") and word != "--list"), 0)
    if words[:1] != ["bench"] or not own or words[1] == "--help":
        return parser().parse_args(words)
    chosen = parser().parse_args(words[:own])
    chosen.words = words[own:]
    return chosen


def main(words: list[str]) -> int:
    """Run a command; trouble with the machine ends it with a sentence, a fault of ours with its traceback."""
    chosen = read(words)
    try:
        return int(chosen.run(chosen))
    except KeyboardInterrupt:
        return _told("Stopped.")
    except TroubleError as error:
        return _told(f"dev.py: {error}")
    except OSError as error:
        sentence = sentence_of(error)
        if sentence is None:
            raise
        return _told(f"dev.py: {sentence}")


def _told(sentence: str) -> int:
    print(sentence, file=sys.stderr, flush=True)
    return 1
