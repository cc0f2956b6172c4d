"""Makes the text of `trivium train --help`: each group's choices, with the first comment line of their files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from omegaconf import OmegaConf

from trivium.config.compose import ROOT, Composer, composer
from trivium.config.config_folder import CONFIGS

_USAGE = """\
usage: trivium train [GROUP=CHOICE | KEY=VALUE]...

  trivium train                                   the embedded fixture: seconds, no download
  trivium train method=selfmi data=mosei          one run; other keys keep their defaults
  trivium train experiment=selfmi_mosi seed=2     a published row's settings, another seed
  trivium train -m method=selfmi,selfmm seed=1,2  a grid, one run each
  trivium train -m sweep=selfmi data=mosi         a search with Optuna: hydra.sweeper.n_trials=50 and so on
  trivium train method=selfmi --cfg job           print the composed config, and start nothing
"""

_ROOT_KEYS = """\
keys of every run
  seed=N                        decides initial weights, order of clips and random draws
  resume=auto|DIR|off           resume the unfinished run of the same config, resume DIR's, or start anew
  run.dir=DIR                   the run's folder; empty: a new one under paths.outputs
  run.log_steps=true            write the loss of every step
  run.checkpoint_every=N        batches between checkpoints inside an epoch
  run.audit=true                also score every epoch on test when training is over (docs/protocol.md)
  run.learning_imbalance=true   also record how unevenly the modalities learn (docs/protocol.md)
  run.study=DIR run.trial=N     which trial of which study the run is; a search sets them
  paths.data=DIR                prepared stores (or TRIVIUM_DATA); paths.outputs=DIR: runs and sweeps
  encoder@encoders.text=NAME    an encoder for one modality alone; +encoder@encoders.NEW=NAME for one of a new name

keys of -m
  hydra/launcher=NAME             basic (one run after the other), joblib (hydra.launcher.n_jobs=N at once here),
                                  submitit_local, submitit_slurm (a cluster: hydra.launcher.partition=P and so on)
  hydra.sweep.dir=DIR             a grid's folder; resume=auto goes on with the grid that was stopped there
and with sweep=NAME (docs/search.md)
{sweeper}

`--cfg job` shows every key with its value; `--hydra-help` shows Hydra's own options.
"""


def help_text(configs: Path = CONFIGS) -> str:
    """Returns the usage, each group with its choices in the order of the root's defaults list, and the root's keys."""
    with composer(configs) as session:
        defaults = _defaults(session)
        order = [*defaults, *(g for g in session.groups() if g not in defaults)]
        parts = [_group(session, group, defaults.get(group)) for group in order]
    keys = _ROOT_KEYS.replace("{sweeper}", "\n".join(_sweeper_keys(configs)))
    return "\n".join([_USAGE, *parts, keys]).rstrip("\n")


def _sweeper_keys(configs: Path) -> Iterator[str]:
    """Yields the sweeper's keys with their defaults, as its file explains them."""
    for line in (configs / "hydra" / "sweeper" / "trivium.yaml").read_text(encoding="utf-8").splitlines():
        if key := re.fullmatch(r"([a-z]\w*): (\S*) +# (.+)", line):
            yield f"  {f'hydra.sweeper.{key[1]}={key[2].strip(chr(34))}':<34}{key[3]}"


def _group(session: Composer, group: str, default: str | None) -> str:
    """Returns a line for each choice of a group; those in sub-folders, which experiments choose, share one line."""
    choices = session.choices(group)
    direct = {name: title(file) for name, file in choices.items() if "/" not in name}
    width = max(map(len, direct), default=0)
    lines = [f"  {name:<{width}}  {text}" for name, text in direct.items()]
    nested = [name for name in choices if "/" in name]
    lines += [f"  and of the experiments: {', '.join(nested)}"] if nested else []
    return "\n".join([f"{group}={default}" if default else f"{group} (none)", *lines, ""])


def _defaults(session: Composer) -> dict[str, str | None]:
    """Returns group -> its default choice, in the order of the root's defaults list."""
    root = OmegaConf.to_container(OmegaConf.load(session.folders[0] / f"{ROOT}.yaml"), resolve=False)
    assert isinstance(root, dict)
    entries = [entry for entry in root["defaults"] if isinstance(entry, dict)]
    return {
        group: choice
        for entry in entries
        for group, choice in entry.items()
        if "@" not in group and "override " not in group
    }


def title(file: Path) -> str:
    """Returns a config file's first comment line, without the package header and a closing full stop."""
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") and "@package" not in line:
            return line.lstrip("# ").rstrip(". ")
    return ""
