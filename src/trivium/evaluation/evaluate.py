"""scripts/evaluate.py: a finished run on a store, from all or some modalities."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from trivium.config.arguments import parse_key_values

HELP = """\
Evaluate a finished run: metrics and per-clip predictions, without training anything.

  python scripts/evaluate.py run=DIR [key=value ...]

Examples
  python scripts/evaluate.py run=outputs/runs/NAME                            its own store, all modalities
  python scripts/evaluate.py run=outputs/runs/NAME modalities=text,audio      as if vision were missing
  python scripts/evaluate.py run=outputs/runs/NAME store=other.h5 out=other   another store of the same features

Keys
  run=DIR             a finished run's directory
  store=FILE          another store; otherwise the run's own
  modalities=A,B      predict from these alone; otherwise from all
  splits=valid,test   what to evaluate
  out=DIR             where metrics.json and predictions.csv go; otherwise RUN/evaluation[_A_B][_STORE]
  device=cpu|cuda     where to compute
"""
_KEYS = ("run", "store", "modalities", "splits", "out", "device")


def main(argv: Sequence[str]) -> int:
    """Exit code: 0, or 2 with one line on stderr."""
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0 if argv else 2
    try:
        values = parse_key_values(argv, _KEYS)
        if "run" not in values:
            raise ValueError("run= is missing: a finished run's directory")
        evaluate(
            Path(values["run"]),
            store=Path(values["store"]) if "store" in values else None,
            modalities=values["modalities"].split(",") if "modalities" in values else [],
            splits=values.get("splits", "valid,test").split(","),
            out=Path(values["out"]) if "out" in values else None,
            device=values.get("device", "cpu"),
        )
    except (ValueError, OSError) as error:
        print("error:", error, file=sys.stderr)
        return 2
    return 0


def evaluate(
    run_dir: Path,
    *,
    store: Path | None = None,
    modalities: Sequence[str] = (),
    splits: Sequence[str] = ("valid", "test"),
    out: Path | None = None,
    device: str = "cpu",
) -> dict[str, dict[str, float]]:
    """Write metrics.json and predictions.csv to `out`, print the table, and return split -> metric -> value.

    Raises ValueError for a run that is not finished, an unknown modality or split, or a store that does not fit.
    """
    from trivium.evaluation.predict import predict_split, score_split, write_predictions
    from trivium.files import write_json
    from trivium.runs.load import load_run
    from trivium.runs.show import print_scores

    run = load_run(run_dir, device)
    opened, data = run.data(store)
    loaders = {split: data.loader(split, device=run.method.device) for split in splits}
    parts = {split: (loader, predict_split(run.method, loader, modalities)) for split, loader in loaders.items()}
    scores = {split: score_split(run.method, loader, predictions) for split, (loader, predictions) in parts.items()}
    name = "_".join(["evaluation", *modalities, *([opened.path.stem] if store else [])])
    out = out or run.path / name
    out.mkdir(parents=True, exist_ok=True)
    write_predictions(out / "predictions.csv", parts)
    used = list(modalities) or list(data.reads)
    write_json(
        out / "metrics.json",
        {**scores, "run": str(run.path), "feature_set": opened.schema.feature_set, "modalities": used},
    )
    print_scores(
        f"{run.result['method']} on {opened.schema.feature_set} from {', '.join(used)}", run.method.metrics, scores
    )
    print(f"written to {out}")
    return scores
