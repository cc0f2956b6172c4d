"""Parses the command line of `trivium prepare` and prepares or verifies a store."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# omegaconf brings PyYAML.
import yaml

from trivium.config.arguments import Types, modules, one_of, parse_key_values, path, paths, script, truth
from trivium.config.config_folder import CONFIGS
from trivium.core.choices import suggest
from trivium.data import formats
from trivium.data.prepare import prepare
from trivium.data.splitting import KINDS, SplitOptions
from trivium.data.store import verify_store

HELP = """\
Prepare a data set once: read its raw file, check it, and write the store that training opens.

  trivium prepare data=DATA source=FILE [key=value ...]
  trivium prepare verify=FILE

Examples
  trivium prepare data=mosi source=unaligned_50.pkl              MMSA's file, recognised by its checksum
  trivium prepare data=mosi source=mine.pkl name=mine            a file of your own in MMSA's layout
  trivium prepare data=mosi source=mine.pkl tokenizer=bert-base-uncased
                                                                 token ids from raw_text, for encoder=bert
  trivium prepare data=mosi source=labels.csd,words.csd,covarep.csd folds=folds.json
                                                                 the CMU SDK's files, one step a word
  trivium prepare data=mosi source=csd/ folds=folds.json embeddings=glove.6B.300d.txt
  trivium prepare data=mosi source=mosi_data.pkl                 MultiBench's file, told by its keys
  trivium prepare data=iemocap source=IEMOCAP_features.pkl       utterances of dialogues, MELD's likewise
  trivium prepare data=mosi source=gmc/                          GMC's three .dt files
  trivium prepare data=custom data.name=gestures source=gestures/
                                                                 a folder of your own: labels.csv, audio/ID.npy, ...
  trivium prepare verify=data/mosi/mine.h5                       read a store again, compare its checksum

Keys
  data=NAME           mosi, mosei, sims, simsv2, urfunny, mustard, iemocap, meld, or custom for your own
  data.name=NAME      with data=custom: the name of your data set, which `trivium train` takes in the same way
  source=FILE[,FILE]  a pickle of MMSA's or MultiBench's, or of dialogues; .csd files or folders of them (ROLE:FILE
                      where a name does not tell the role); one of GMC's .dt files or their folder; a folder with
                      labels.csv and a folder of features for each modality, or its manifest.yaml (docs/my_own_data.md)
  name=NAME           name of the feature set; otherwise the published one, or made from the file's name
  out=FILE            where to write; otherwise PATHS.DATA/DATA/NAME.h5
  force=true          replace a store that is there
  format=mmsa|csd|multibench|dialogues|gmc|folder  where the file does not tell
  emotions=6|4|4merged  IEMOCAP: all six; four, without excited and frustrated; four, with excited as happy
  drop=A,B            keys of a pickle, or a folder's columns of labels.csv, to leave out; other keys that nothing reads
                      are an error
  absent=A,B          folder: modalities that clips may lack; otherwise every clip needs a file of each
  tokenizer=NAME      make token ids from raw_text: a Hugging Face name or a folder
  classes=C[,C]       add the targets classes_C: the score in C classes, 7, 5, 3 or 2 (SIMS: 5, 3 or 2)
  label_range=LOW,HIGH  otherwise from configs/data/DATA.yaml
  config_dir=DIR      where data/DATA.yaml of a data set of your own is, as `trivium train`'s --config-dir
  paths.data=DIR      root of all stores; otherwise $TRIVIUM_DATA, or data
  folds=FILE          .csd: JSON of split -> video ids; otherwise the installed SDK's folds
  align=words|intervals  .csd: one step a word (mean of its steps), or each sequence's own steps
       true|false     MultiBench: every modality from the text's first step (true), or from its own
  embeddings=FILE     .csd: word vectors in GloVe's text format, as the text features
  word_lag=0|1        .csd: whether words stand one interval after their own; otherwise found out
  split=given|random|kfold|leave_one_group_out  how clips are split, where the source leaves it open: by its column
                      split or fold (the default), or at random, or into folds of a cross-validation
  group=COLUMN        column of speakers or videos, none of which is in two splits; otherwise group, if there. Of
                      dialogues: dialogue, session or speaker
  shares=.7,.1,.2     split=random: of train, valid and test
  split_seed=0        split=random, split=kfold: what is drawn
  fold_count=5        split=kfold: the number of folds
  verify=FILE         check a store, nothing else
"""


def _shares(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(share) for share in text.split(","))
    except ValueError as error:
        raise ValueError("expected numbers for train, valid and test, such as .7,.1,.2") from error


def _number(text: str) -> int:
    if not text.isdecimal():
        raise ValueError("expected a whole number")
    return int(text)


_TYPES: Types = {
    **dict.fromkeys(("out", "config_dir", "paths.data", "folds", "embeddings", "verify"), path),
    "force": truth,
    "drop": modules,
    "emotions": one_of("6", "4", "4merged"),
    "absent": modules,
    "format": one_of(*formats.READERS),
    "word_lag": one_of("0", "1"),
    "split": one_of(*KINDS),
    "shares": _shares,
    "split_seed": _number,
    "fold_count": _number,
}


def main(argv: Sequence[str]) -> int:
    """Returns the exit code: 0, or 2 after one line on stderr."""
    return script(argv, HELP, lambda: _act(parse_key_values(argv, HELP, _TYPES)))


def _act(values: dict[str, Any]) -> int:
    if "verify" in values:
        _verify(values)
    else:
        _prepare(values)
    return 0


def label_range_of(data: str, config_dir: Path | None = None) -> tuple[float, float] | None:
    """Returns the range of labels in data/DATA.yaml, from configs or `config_dir`; None if the file leaves it open.

    Raises ValueError for an unknown data set.
    """
    folders = [CONFIGS / "data", *([] if config_dir is None else [config_dir / "data"])]
    choices = {file.stem: file for folder in reversed(folders) for file in sorted(folder.glob("*.yaml"))}
    if not choices:
        raise ValueError(f"{CONFIGS / 'data'}: no configs of data sets here; give the range as label_range=LOW,HIGH")
    if data not in choices:
        hint, where = suggest(data, choices), "configs/data" if config_dir is None else " and ".join(map(str, folders))
        raise ValueError(
            f"data={data}: no such data set{hint}; {where} has {', '.join(sorted(choices))}; your own is data=custom "
            "data.name=NAME"
        )
    file = choices[data]
    config = yaml.safe_load(file.read_text())
    if "label_range" not in config:
        raise ValueError(f"{file}: key 'label_range' is missing; expected [LOW, HIGH], or [] for any")
    return _low_high(config["label_range"], f"{file}: label_range") if config["label_range"] else None


def _prepare(values: dict[str, Any]) -> None:
    for key in ("data", "source"):
        if key not in values:
            raise ValueError(f"{key}= is missing; trivium prepare --help shows examples")
    typed = values.get("label_range")
    low_high = _low_high(typed.split(","), f"label_range={typed}") if typed else None
    # With a range that was typed, the configs are still read: a data set's name may be misspelled.
    if typed is None or (CONFIGS / "data").is_dir():
        configured = label_range_of(values["data"], values.get("config_dir"))
        low_high = low_high or configured
    prepare(
        data=_own_name(values) if "data.name" in values else values["data"],
        source=paths(values["source"]),
        name=values.get("name"),
        out=values.get("out"),
        data_root=values.get("paths.data") or path(os.environ.get("TRIVIUM_DATA") or "data"),
        label_range=low_high,
        folds=values.get("folds"),
        align=values.get("align"),
        embeddings=values.get("embeddings"),
        word_lag=int(values["word_lag"]) if "word_lag" in values else None,
        splitting=SplitOptions(
            values.get("split", ""),
            values.get("group", ""),
            values.get("shares"),
            values.get("split_seed"),
            values.get("fold_count"),
        ),
        tokenizer=values.get("tokenizer"),
        classes=_whole_numbers(values.get("classes", "")),
        format=values.get("format"),
        drop=values.get("drop", ()),
        emotions=values.get("emotions"),
        absent=values.get("absent", ()),
        force=values.get("force", False),
        own_name="data.name" in values,
    )


def _own_name(values: dict[str, Any]) -> str:
    """Returns data.name, under which stores of the user's own lie. Raises ValueError for a name that has a meaning."""
    name = str(values["data.name"])
    if values["data"] != "custom":
        raise ValueError(f"data.name={name}: is for data=custom, found data={values['data']}; leave one of them out")
    if (CONFIGS / "data" / f"{name}.yaml").is_file():
        raise ValueError(f"data.name={name}: is the name of a known data set; say data={name}, or take another name")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ValueError(f"data.name={name}: expected letters, digits, '.', '_' and '-', a letter or digit first")
    return name


def _verify(values: dict[str, Any]) -> None:
    if len(values) > 1:
        raise ValueError(f"verify= stands alone; leave out {', '.join(sorted(set(values) - {'verify'}))}")
    summary = verify_store(values["verify"])
    counts = ", ".join(f"{split} {count}" for split, count in (summary["folds"] or summary["counts"]).items())
    counts = f"in {len(summary['folds'])} folds: {counts}" if summary["folds"] else counts
    dims = ", ".join(f"{modality} {dim}" for modality, dim in summary["dims"].items()) or "no numeric features"
    print(f"{values['verify']}: ok, {summary['feature_set']}; clips: {counts}; features a step: {dims}")
    print(f"checksum {summary['checksum']}")


def _low_high(ends: Any, where: str) -> tuple[float, float]:
    try:
        low, high = (float(end) for end in ends)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: expected two numbers, LOW and HIGH ({error})") from error
    if not low < high:
        raise ValueError(f"{where}: expected LOW below HIGH")
    return low, high


def _whole_numbers(text: str) -> list[int]:
    numbers = [part for part in text.split(",") if part]
    if not all(part.isdecimal() for part in numbers):
        raise ValueError(f"classes={text}: expected whole numbers, such as 3,7")
    return [int(part) for part in numbers]
