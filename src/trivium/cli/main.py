"""Starts the verb that stands first on the command line of `trivium`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from trivium.core.interruption import Interrupted, Terminated, one_line_on_ctrl_c
from trivium.core.output import keep_printing, use_utf8

VERBS = {
    "train": "train one run; with -m a grid or a search of many",
    "prepare": "convert a data set's files to the store that training opens, once",
    "evaluate": "score a finished run again: other data, missing modalities, linear probes",
    "runs": "list the runs of a folder: state, tested epoch, main metric",
    "reproduce": "run what a table of methods, data sets and seeds lacks, and write it",
    "report": "show runs, tables and searches on one HTML page",
}

HELP = """\
Trivium trains and compares methods of multimodal learning: text, audio and vision of short clips to one score.

  trivium VERB [key=value ...]

Verbs
{verbs}

  trivium VERB --help            its keys, with examples
  trivium VERB --config-dir DIR  with configs of your own too (docs/extending.md)
  trivium --version              the version

A first day
  trivium train                                       the small data set that comes with Trivium: seconds, no download
  trivium train method=selfmi trainer.max_epochs=20   a method on it; the end says where the run lies
  trivium report outputs/runs/NAME                    that run on a page: open the HTML file that it names
  trivium prepare data=mosi source=unaligned_50.pkl   a real data set
  trivium train -m method=supervised,selfmi data=mosi seed=1,2,3
                                                      two methods, three seeds each

Prepared data lie in data/ of the folder where you work (paths.data=DIR, or the variable TRIVIUM_DATA); runs, tables and
searches in outputs/ (paths.outputs=DIR). `python -m trivium` is the same command.
"""


def help_text() -> str:
    """Returns the text of `trivium --help`."""
    width = max(map(len, VERBS))
    return HELP.format(verbs="\n".join(f"  {verb:<{width}}  {title}" for verb, title in VERBS.items()))


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the verb's exit code, or 2 for an unknown verb. argv: words behind the program; None takes sys.argv's.

    Ctrl-C ends it with one line and code 130 (SystemExit). All else is imported only then, so that it does so from the
    first moment on.
    """
    # Not for a call from a program of the user's, which would be started anew.
    if argv is None or list(argv)[-len(sys.argv[1:]) :] == sys.argv[1:]:
        use_utf8()
    keep_printing()
    with one_line_on_ctrl_c():
        return _run_verb(list(sys.argv[1:] if argv is None else argv))


def _run_verb(words: list[str]) -> int:
    """Returns the exit code. Raises Interrupted on Ctrl-C, with --config-dir in the command that goes on."""
    import trivium
    from trivium.config.arguments import print_help
    from trivium.config.config_folder import config_dir_option, take_config_dir
    from trivium.core.choices import suggest
    from trivium.core.wording import warn_in_lines

    if not words or words[0] in ("-h", "--help", "help"):
        print_help(help_text())
        return 0 if words else 2
    verb, *rest = words
    if verb == "--version":
        print(f"trivium {trivium.__version__}")
        return 0
    if verb in VERBS:
        warn_in_lines()
        try:
            rest = take_config_dir(rest)
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        try:
            code = import_module(f"trivium.cli.{verb}").main(rest)
        except (Interrupted, Terminated) as stop:
            if stop.words:
                stop.words = (*stop.words[:1], *config_dir_option(), *stop.words[1:])
            raise
        assert isinstance(code, int)
        return code
    if "=" in verb or verb.startswith("-"):
        hint = f"the verb comes first, as in: trivium train {verb}"
    else:
        hint = f"no such verb{suggest(verb, VERBS)}; the verbs are {', '.join(VERBS)}"
    print(f"error: {verb}: {hint}", file=sys.stderr)
    return 2
