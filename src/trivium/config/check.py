"""Checks a command line before torch is imported: every mistake is reported at once, a line each.

The config is composed as Hydra will compose it, once for every choice that a sweep takes, and compared with what the
chosen files and the dataclasses allow. Hydra alone would let `+trainr.max_epochs=3` and `optimizer.lr=abc` through.
"""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Hydra's own parser, so that options mean here what they mean to hydra.main.
from hydra._internal.utils import get_args_parser

from trivium.config.arguments import print_help
from trivium.config.compose import Composer, composer
from trivium.config.config_folder import CONFIGS, take_config_dir
from trivium.config.limits import missing_files, out_of_range
from trivium.config.overrides import ParsedOverride, combinations, read_overrides, swept_values
from trivium.config.reference import Reference, mismatches
from trivium.config.renamed import has_old_names
from trivium.config.sweep import hydra_key_problems, sweep_problems
from trivium.core.system_errors import words_of_error
from trivium.core.wording import printable


def check_command_line(argv: Sequence[str], configs: Path = CONFIGS) -> list[str]:
    """Returns the arguments, with keys by their current names, if a run can start.

    Otherwise prints each problem and exits with code 2. --help prints the help and exits with code 0.
    """
    if "--help" in argv or "-h" in argv:
        from trivium.config.help import help_text

        print_help(f"{help_text(configs)}\n")
        raise SystemExit(0)
    problems = problems_of(argv, configs)
    for problem in problems:
        print(f"error: {printable(problem)}", file=sys.stderr)
    if problems:
        raise SystemExit(2)
    if not has_old_names(argv):
        return list(argv)
    with composer(configs) as session:
        return session.current(argv)


def problems_of(argv: Sequence[str], configs: Path = CONFIGS) -> list[str]:
    """Returns a line for each mistake in a command line; none if a run can start."""
    try:
        args = get_args_parser().parse_args(take_config_dir(list(argv)))
    except ValueError as error:
        return [str(error)]
    if args.hydra_help or args.shell_completion:
        return []
    if args.config_name or args.config_path or args.experimental_rerun:
        return [
            "--config-name, --config-path and --experimental-rerun are not for this script; add files by --config-dir"
        ]
    multirun = args.multirun or "hydra.mode=MULTIRUN" in args.overrides
    # --cfg and --info start nothing, so no data need be there.
    prints_config = bool(args.cfg or args.info)
    with composer(configs) as session:
        overrides, problems = read_overrides(session.current(args.overrides), session, multirun)
        hydra_problems = hydra_key_problems(overrides, session)
        overrides = [override for override in overrides if override.key not in hydra_problems]
        dimensions, search_problems = ([], []) if prints_config else sweep_problems(session, overrides, multirun)
        problems += [*hydra_problems.values(), *search_problems]
        problems += _composition_problems(
            session, [*overrides, *dimensions], files_needed=not (prints_config or problems)
        )
    return list(dict.fromkeys(problems))


def problems_of_run(session: Composer, overrides: Sequence[str]) -> list[str]:
    """Returns a line for each mistake in one run's overrides, whether or not its data and other files are there yet."""
    parsed, problems = read_overrides(session.current(overrides), session, multirun=False)
    return list(dict.fromkeys([*problems, *_composition_problems(session, parsed, files_needed=False)]))


def problems_of_search(session: Composer, overrides: Sequence[str]) -> list[str]:
    """Returns a line for each mistake in a search's overrides (sweep=NAME among them), with or without its data."""
    parsed, problems = read_overrides(session.current(overrides), session, multirun=True)
    dimensions, search_problems = sweep_problems(session, parsed, multirun=True)
    composed = _composition_problems(session, [*parsed, *dimensions], files_needed=False)
    return list(dict.fromkeys([*problems, *search_problems, *composed]))


def _composition_problems(session: Composer, overrides: Sequence[ParsedOverride], files_needed: bool) -> Iterator[str]:
    """Composes every combination of choices, and yields a line for each mistake in it or in a further swept value."""
    for values in combinations(overrides):
        chosen = {override.key: value for override, value in zip(overrides, values, strict=True)}
        # A search has some keys in those trials alone that have certain choices.
        present = [
            override for override in overrides if not override.when or chosen.get(override.when) in override.among
        ]
        lines = [override.with_value(chosen[override.key]) for override in present]
        try:
            config, reference = compose_with_reference(session, lines, present)
        except ValueError as error:
            forced = [override.with_value(chosen[override.key], force=True) for override in present]
            yield from _problems_of_refused(session, forced, present, str(error))
            continue
        yield from list(mismatches(config, reference)) or _unusable(config, files_needed)
        for key, value in swept_values(present):
            variant = _with_value(config, key, value)
            yield from list(mismatches(variant, reference)) or _unusable(variant, files_needed)


def compose_with_reference(
    session: Composer, lines: Sequence[str], overrides: Sequence[ParsedOverride] = ()
) -> tuple[dict[str, Any], Reference]:
    """Returns a composed config and its reference of keys and types. Raises ValueError if it does not compose."""
    sources = {override.key: override.source for override in overrides if not override.choice}
    return session.compose(lines), Reference.of(session.files(lines), sources)


def _problems_of_refused(
    session: Composer, forced: Sequence[str], overrides: Sequence[ParsedOverride], reason: str
) -> Iterator[str]:
    """Yields a line for every wrong key of a command line that Hydra refuses; without one, Hydra's own reason.

    Hydra stops at the first wrong key. forced: the overrides in a form that adds every key.
    """
    try:
        problems = list(mismatches(*compose_with_reference(session, forced, overrides)))
    except ValueError:
        # Hydra refuses for the same reason, or for a second one that the first has hidden.
        problems = []
    yield from problems or [reason]


def _unusable(config: dict[str, Any], files_needed: bool) -> list[str]:
    return list(out_of_range(config)) + (list(missing_files(config)) if files_needed else [])


def _with_value(config: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Returns a copy in which a dotted key has another value."""
    changed = node = copy.deepcopy(config)
    *parents, last = key.split(".")
    for name in parents:
        node = node.setdefault(name, {})
    node[last] = value
    return changed


def multirun_first(argv: Sequence[str]) -> list[str]:
    """Returns the arguments with -m in front, as argparse takes no overrides on both sides of an option."""
    flags = [word for word in argv if word in ("-m", "--multirun")]
    return [*flags, *(word for word in argv if word not in flags)]


@contextmanager
def errors_for_users() -> Iterator[None]:
    """Ends the program with one line and exit code 2 for a user's mistake (ValueError, OSError).

    Other errors pass, and with TRIVIUM_TRACEBACK=1 these do too, which shows where a mistake came from.
    """
    try:
        yield
    except (ValueError, OSError) as error:
        if os.environ.get("TRIVIUM_TRACEBACK") == "1":
            raise
        text = words_of_error(error) if isinstance(error, OSError) else str(error)
        print(f"error: {printable(text)}\n(TRIVIUM_TRACEBACK=1 shows where this came from)", file=sys.stderr)
        raise SystemExit(2) from error
