"""Parses the command line of `trivium evaluate` and starts the evaluation that it asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trivium.config.arguments import (
    Types,
    modules,
    names,
    one_of,
    parse_key_values,
    path,
    paths,
    script,
    truth,
    whole_number,
)
from trivium.config.trust import trust

HELP = """\
Evaluate a finished run: metrics and per-clip predictions, without training anything.

  trivium evaluate run=DIR [key=value ...]

Examples
  trivium evaluate run=outputs/runs/NAME                            its own store, all modalities
  trivium evaluate run=outputs/runs/NAME modalities=text,audio      as if vision were missing
  trivium evaluate run=outputs/runs/NAME store=other.h5 out=other   another store of the same features
  trivium evaluate run=outputs/runs/NAME source=new.pkl out=new.csv clips of new files, labelled or not
  trivium evaluate run=outputs/runs/NAME probe=true                 linear probes of its vectors
  trivium evaluate run=outputs/runs/NAME probe=true features=raw    the same of the features themselves
  trivium evaluate run=outputs/runs/NAME protocol=all               when modalities are missing or noisy
  trivium evaluate run=outputs/runs/NAME alignment=true             modalities' vectors beside the joint ones

Keys
  run=DIR             a finished run's directory
  store=FILE          another store; otherwise the run's own
  modalities=A,B      predict from these alone; otherwise from all
  splits=valid,test   what to evaluate
  out=DIR             where metrics.json and predictions.csv go; otherwise RUN/evaluation[_A_B][_STORE]
  device=cpu|cuda     where to compute
  trust=A,B           modules of your own that the run's config names (docs/extending.md); their code is run

New clips: predictions of files that were never prepared, repaired and standardised as the training's were. Written to
out=FILE, a CSV file; with labels, metrics are printed.
  source=FILE[,FILE]  what `trivium prepare` takes as source; or a store. splits= and modalities= choose among them.
                      All of them may lack labels and splits, most of them modalities too (docs/running.md)
  format=NAME         of the files, where they do not tell
  drop=A,B            keys of a pickle to leave out
  absent=A,B          folder with a table: modalities that clips may lack
  align=RULE          as in `trivium prepare`; so are emotions, folds, embeddings and word_lag
  folds=FILE          .csd: JSON of split -> video ids
  embeddings=FILE     .csd: word vectors in GloVe's text format
  word_lag=0|1        .csd: whether words stand one interval after their own

Linear probes: how much a linear map can read from the frozen vectors (docs/protocol.md). Written to DIR/probe.json,
DIR being out= or the run's directory; the name says what was asked for, as in probe_raw.json.
  probe=true          fit them, in place of the evaluation above; from all modalities, on all splits
  features=A,B        which vectors: joint, or a modality's own; otherwise all. raw: means over time of the features
  target=NAME         what to read: multimodal, what the run predicts (the default), a modality's own target, or another
                      of the store: scores by ridge regression, classes, or each label; one score also as classes
  classes=RULE        how one score becomes classes: sign (label > 0, the default), objective (those that the run was
                      trained on), or 2, 3, 5, 7 (those of objective=cross_entropy)
  standardize=true    of features brought to mean 0 and variance 1; otherwise as they are

Missing modalities: one set of weights when modalities are missing or disturbed (docs/protocol.md). Written to out= or
the run's directory; a name says what differs from the default, as in subsets_valid.csv.
  protocol=subsets    from every subset: subsets.csv and .png, .pdf; each modality's Shapley value in every metric,
                      shapley.csv and .png, .pdf, and in each clip's prediction, shapley_clips.csv; averages over
                      subsets, and equity, how equally modalities contribute to each metric, subsets.json
  protocol=rates      each clip loses each modality at random, at rates 0 to .7: rates.csv and .png, .pdf; averages
                      over rates and areas under the metrics (AUILC), rates.json
  protocol=imbalanced the same at rates of mean .3 that are shared, or differ between modalities: imbalanced.csv, .json
  protocol=erased     each clip loses single frames and words, at rates 0 to .9, as in LNLN: erased.csv and .png, .pdf,
                      and averages and areas, erased.json
  protocol=noise      Gaussian noise, and steps set to zero: noise.csv and .png, .pdf
  protocol=all        all of them; or some with commas between
  law=NAME            of protocol=rates: keep_one (the default), gcnet, imder; files are then rates_gcnet.csv and so on
  unknown_id=N        of protocol=erased, where text is token ids: what an erased word becomes; otherwise 100, or what
                      method=lnln was trained with
  alignment=true      alignment.json: whether a modality's vectors have the joint vectors' neighbours (complete clips)
  split=test          what to evaluate
  draws=5             of the random masks, and of the random numbers of noise; 1 is the fastest
  complete=true       score only clips that have every modality
"""
_TYPES: Types = {
    **dict.fromkeys(("run", "store", "out", "folds", "embeddings"), path),
    "source": paths,
    **dict.fromkeys(("drop", "absent"), modules),
    "emotions": one_of("6", "4", "4merged"),
    "word_lag": one_of("0", "1"),
    **dict.fromkeys(("modalities", "splits", "features", "protocol"), names),
    "trust": modules,
    **dict.fromkeys(("probe", "standardize", "alignment", "complete"), truth),
    **dict.fromkeys(("draws", "unknown_id"), whole_number),
}
_SOURCE_KEYS = ("format", "drop", "absent", "align", "emotions", "folds", "embeddings", "word_lag")
_PROBE_KEYS = ("features", "target", "classes", "standardize")


def main(argv: Sequence[str]) -> int:
    """Returns the exit code: 0, or 2 after one line on stderr."""
    return script(argv, HELP, lambda: _evaluate(parse_key_values(argv, HELP, _TYPES)))


def _evaluate(values: Mapping[str, Any]) -> int:
    if "run" not in values:
        raise ValueError("run= is missing: a finished run's directory")
    trust(values.get("trust", []))
    probes, aligns = values.get("probe", False), values.get("alignment", False)
    if probes + aligns + ("protocol" in values) + ("source" in values) > 1:
        raise ValueError("probe=true, alignment=true, protocol= and source= are calls of their own; give one of them")
    if "source" in values:
        _predict_from(values)
        return 0
    _refuse(values, _SOURCE_KEYS, "belongs to source=; add it")
    if probes:
        _probe_from(values)
    elif aligns:
        _align_from(values)
    elif "protocol" in values:
        _protocols_from(values)
    else:
        _evaluate_from(values)
    return 0


def _evaluate_from(values: Mapping[str, Any]) -> None:
    from trivium.runs.evaluate_run import evaluate

    _refuse_of_probes(values)
    _refuse(values, ["split"], "belongs to protocol= and alignment=true; here it is splits=")
    _refuse(values, ["draws", "complete", "law", "unknown_id"], "belongs to protocol=; add it")
    evaluate(
        values["run"],
        **{key: values[key] for key in ("modalities", "splits") if key in values},
        **_common_options(values),
    )


def _predict_from(values: Mapping[str, Any]) -> None:
    from trivium.runs.predict_source import predict_source

    _refuse_of_probes(values)
    _refuse(values, ["split"], "belongs to protocol= and alignment=true; here it is splits=")
    _refuse(values, ["draws", "complete"], "belongs to protocol=; leave it out")
    _refuse(values, ["store"], "and source= are two ways to name the data; give one of them, as source=")
    if "out" not in values:
        raise ValueError("out= is missing: the CSV file that the predictions of source= are written to")
    reading = {key: values[key] for key in ("align", "emotions", "folds", "embeddings") if key in values}
    if "word_lag" in values:
        reading["word_lag"] = int(values["word_lag"])
    predict_source(
        values["run"],
        values["source"],
        values["out"],
        drop=tuple(values.get("drop", ())),
        absent=tuple(values.get("absent", ())),
        **{key: values[key] for key in ("modalities", "splits", "format", "device") if key in values},
        **reading,
    )


def _protocols_from(values: Mapping[str, Any]) -> None:
    from trivium.core.choices import check_choice
    from trivium.data.missing_laws import LAWS
    from trivium.report.robustness_report import PROTOCOLS, write_protocols

    _refuse_of_probes(values)
    _refuse(values, ["modalities", "splits"], "does not go with protocol=, which takes split= and all modalities")
    requested = values["protocol"]
    protocols = PROTOCOLS if requested == ["all"] else requested
    if set(protocols) - set(PROTOCOLS):
        raise ValueError(f"protocol={','.join(requested)}: expected {', '.join(PROTOCOLS)} or all")
    if set(protocols) == {"subsets"}:
        _refuse(values, ["draws"], "belongs to the other protocols; subsets has nothing random")
    for key, protocol in (("law", "rates"), ("unknown_id", "erased")):
        if protocol not in protocols:
            _refuse(values, [key], f"belongs to protocol={protocol}")
    write_protocols(
        values["run"],
        protocols,
        split=values.get("split", "test"),
        draws=values.get("draws", 5),
        complete=values.get("complete", False),
        law=check_choice("law", values.get("law", LAWS[0]), LAWS),
        unknown_id=values.get("unknown_id"),
        **_common_options(values),
    )


def _align_from(values: Mapping[str, Any]) -> None:
    from trivium.report.robustness_report import write_alignment

    _refuse_of_probes(values)
    protocol_keys = ["draws", "law", "unknown_id"]
    _refuse(values, ["modalities", "splits", *protocol_keys], "does not go with alignment=true; leave it out")
    _refuse(values, ["complete"], "does not go with alignment=true, which takes complete clips alone")
    write_alignment(values["run"], split=values.get("split", "test"), **_common_options(values))


def _common_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options that every evaluation takes."""
    return {key: values[key] for key in ("store", "out", "device") if key in values}


def _probe_from(values: Mapping[str, Any]) -> None:
    from trivium.runs.evaluate_run import probe

    _refuse(values, ["modalities", "splits"], "does not go with probe=true, which reads all of them; leave it out")
    _refuse(values, ["split", "draws", "complete", "law", "unknown_id"], "does not go with probe=true; leave it out")
    features = values.get("features", [])
    if "raw" in features and len(features) > 1:
        raise ValueError(f"features={','.join(features)}: raw stands alone; ask for the vectors in another call")
    probe(
        values["run"],
        features=[name for name in features if name != "raw"],
        raw=features == ["raw"],
        target=values.get("target", "multimodal"),
        classes=values.get("classes", ""),
        standardize=values.get("standardize", False),
        **_common_options(values),
    )


def _refuse_of_probes(values: Mapping[str, Any]) -> None:
    _refuse(values, _PROBE_KEYS, "belongs to probes; add probe=true")


def _refuse(values: Mapping[str, Any], keys: Sequence[str], reason: str) -> None:
    for key in keys:
        if key in values:
            raise ValueError(f"{key}= {reason}")
