"""Evaluates a finished run on a store, and writes its metrics and predictions or linear probes of its vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trivium.core.structure import Keys, parse_json, require
from trivium.core.system_errors import refuse_unwritable


def evaluate(
    run_dir: Path,
    *,
    store: Path | None = None,
    modalities: Sequence[str] = (),
    splits: Sequence[str] = ("valid", "test"),
    out: Path | None = None,
    device: str = "cpu",
) -> dict[str, dict[str, float]]:
    """Writes metrics.json and predictions.csv to `out`, prints the table, and returns split -> metric -> value.

    Raises ValueError for a run that is not finished, an unknown modality or split, or a store that does not fit.
    """
    from trivium.core.files import write_json
    from trivium.data.target import MULTIMODAL
    from trivium.evaluation.predict import confusion_of, details_of, predict_split, score_split, write_predictions
    from trivium.runs.load import load_run
    from trivium.runs.terminal import print_scores

    run = load_run(run_dir, device)
    evaluated_store, data = run.data(store, modalities)
    name = "_".join(["evaluation", *modalities, *([evaluated_store.path.stem] if store else [])])
    out = out or run.path / name
    refuse_unwritable(out)
    loaders = {split: data.loader(split, device=run.method.device) for split in splits}
    parts = {}
    for split, loader in loaders.items():
        try:
            parts[split] = loader, predict_split(run.method, loader, modalities)
        except ValueError as error:
            raise ValueError(f"{evaluated_store.path}: split {split!r}: {error}") from error
    scores = {
        split: score_split(run.method, loader, predictions)
        | details_of(run.method, predictions, loader.split.targets[MULTIMODAL])
        for split, (loader, predictions) in parts.items()
    }
    out.mkdir(parents=True, exist_ok=True)
    write_predictions(out / "predictions.csv", parts)
    modalities_used = list(modalities) or list(data.reads)
    write_json(
        out / "metrics.json",
        {
            **scores,
            **confusion_of(run.method, parts),
            "run": str(run.path),
            "feature_set": evaluated_store.schema.feature_set,
            "modalities": modalities_used,
        },
    )
    print_scores(
        f"{run.result['method']} on {evaluated_store.schema.feature_set} from {', '.join(modalities_used)}",
        run.method.metrics,
        scores,
    )
    if run.method.probed and "valid" in scores:
        print(
            "the readout has been fitted on the validation split too: result.json has the validation metrics to quote"
        )
    print(f"written to {out}")
    return scores


def probe(
    run_dir: Path,
    *,
    store: Path | None = None,
    features: Sequence[str] = (),
    raw: bool = False,
    target: str = "multimodal",
    classes: str = "",
    standardize: bool = False,
    out: Path | None = None,
    device: str = "cpu",
) -> dict[str, dict[str, Any]]:
    """Writes probe.json to `out` (otherwise the run's directory), prints the table, and returns the probes.

    The file's name says what differs from the default: probe_raw_TARGET_CLASSES_standardized_STORE.json. Probes of
    other vectors that the file holds already stay in it.
    Raises ValueError as `probe_run` does, for a run that is not finished, and for a store that does not fit.
    """
    from rich.console import Console

    from trivium.core.files import write_json
    from trivium.evaluation.probe import probe_run
    from trivium.runs.load import load_run
    from trivium.runs.terminal import print_probes

    run = load_run(run_dir, device)
    evaluated_store, data = run.data(store)
    settings = {"features": "raw" if raw else "vectors", "target": target, "standardize": standardize}
    parts = ["raw" * raw, target * (target != "multimodal"), classes * (classes != "sign")]
    parts += ["standardized" * standardize, evaluated_store.path.stem if store else ""]
    out = out or run.path
    refuse_unwritable(out)
    file = out / ("_".join(["probe", *filter(None, parts)]) + ".json")
    head = {"run": str(run.path), "feature_set": evaluated_store.schema.feature_set, **settings}
    previous = read_probe_file(file)
    is_same_probe = all(previous.get(key) == value for key, value in head.items())
    # The status line is shown on a terminal only.
    with Console(stderr=True).status("reading vectors") as status:
        probes = probe_run(
            run.method,
            data,
            target=target,
            classes=classes,
            features=features,
            raw=raw,
            standardize=standardize,
            report=status.update,
        )
    out.mkdir(parents=True, exist_ok=True)
    write_json(file, {**head, "probes": {**(previous["probes"] if is_same_probe else {}), **probes}})
    title = (
        f"linear probes of {'the features' if raw else run.result['method']} on {evaluated_store.schema.feature_set}"
    )
    print_probes(f"{title}, {target}", probes)
    print(f"written to {file}")
    return probes


def read_probe_file(file: Path) -> dict[str, Any]:
    """Returns the content of a file of `probe`, or no probes if there is none. Raises ValueError for a damaged file."""
    if not file.is_file():
        return {"probes": {}}
    try:
        content: dict[str, Any] = parse_json(file.read_text(encoding="utf-8"))
        require(content, Keys({"probes": Keys(other=Keys(other=object))}), "")
        return content
    except ValueError as error:
        raise ValueError(f"{file}: cannot be read ({error}); delete it, and probe again") from error
