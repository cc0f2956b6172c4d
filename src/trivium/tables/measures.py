"""Reads the measures of a table's YAML: its columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trivium.core.choices import suggest
from trivium.core.metric_names import LABELS, OF, is_share, label_of, lower_is_better
from trivium.evaluation.averages import ERASED_RATES
from trivium.tables.yaml_keys import keys

# What is said of all rates of erased steps together: a metric's mean, and the area under it.
OVER_RATES = ("mean", "auilc")


@dataclass(frozen=True)
class Measure:
    """Names one number of a run.

    Either metric, a key of result.json's part of `split`, or probe, the target of a linear probe of the vector `of`,
    whose balanced accuracy it is. subset: of a metric, the modalities ("text+audio") that are predicted from; "": all
    that a clip has. erased: of a metric, the rate at which frames and words are erased ("0.5"), or "mean" or "auilc"
    for the mean or the area over the rates of trivium.evaluation.erased_steps; "": none are. factor, modalities: of the
    store's knowable factors, and the modalities from which it is best told; they give chance and the Bayes-optimal
    accuracy. "": not known.
    better: higher or lower, of a metric of one's own.
    A metric that result.json does not have is computed from the run's predictions, where that is possible.
    """

    name: str
    metric: str = ""
    probe: str = ""
    of: str = ""
    subset: str = ""
    erased: str = ""
    factor: str = ""
    modalities: str = ""
    better: str = ""
    split: str = "test"

    @property
    def is_share(self) -> bool:
        """Returns whether it is in [0, 1] and written in %: accuracies and F1, not errors or Corr."""
        return bool(self.probe) or is_share(self.metric)

    @property
    def of_whole_clips(self) -> bool:
        """Returns whether clips are read as they are, without a modality or a step taken away."""
        return not (self.subset or self.erased)

    @property
    def unit(self) -> str:
        """Returns "%" or a metric's label: measures of one unit may share a table."""
        return "%" if self.is_share else label_of(self.metric.partition(OF)[0])

    @property
    def head(self) -> str:
        """Returns the name without the unit, where a table says that."""
        return self.name.replace(self.unit, "").strip() or self.name

    @property
    def lower_is_better(self) -> bool | None:
        """Returns whether lower is better; None for a measure of which neither direction is, such as the mean error."""
        if self.better:
            return self.better == "lower"
        return False if self.probe else lower_is_better(self.metric)


def _rate(name: str, word: str) -> str:
    """Returns the rate of erased steps as erased.csv is read by, "0.5", or one of OVER_RATES."""
    known = [f"{rate:g}" for rate in ERASED_RATES]
    try:
        rate = word if word in OVER_RATES else f"{float(word):g}"
    except ValueError:
        rate = ""
    if rate not in (*known, *OVER_RATES):
        listed = f"{', '.join(known)}, {' or '.join(OVER_RATES)}"
        raise ValueError(f"measures: {name}: erased: expected one of {listed}, found {word}")
    return rate


def read_measure(values: Any) -> Measure:
    """Returns a measure. Raises ValueError naming it, what was expected and what was found."""
    node = keys(
        "measures", values, ("name",), ("metric", "probe", "of", "subset", "erased", "factor", "modalities", "better")
    )
    if ("metric" in node) == ("probe" in node) or ("of" in node) != ("probe" in node):
        raise ValueError(f"measures: expected either metric, or probe and of, found {', '.join(node)}")
    if len({"subset", "erased", "probe"} & {*node}) > 1:
        raise ValueError(f"measures: {node['name']}: expected one of subset, erased and probe, found {', '.join(node)}")
    if ("factor" in node) != ("modalities" in node):
        raise ValueError(f"measures: {node['name']}: factor and modalities go together, found {', '.join(node)}")
    words = {key: str(value) for key, value in node.items()}
    if words.get("metric", "").startswith("val/"):
        words |= {"metric": words["metric"].removeprefix("val/"), "split": "val"}
        for key in {"subset", "erased"} & {*words}:
            raise ValueError(f"measures: {words['name']}: {key} is of the test split; leave val/ out")
    if "erased" in words:
        words["erased"] = _rate(words["name"], words["erased"])
    measure = Measure(**words)
    known = (*LABELS, "loss")
    # Of one class, label or score, as recall/happy, the part before the stroke is the metric.
    is_known = measure.metric.partition(OF)[0] in known
    if measure.better not in (("",) if measure.probe or is_known else ("", "higher", "lower")):
        of_own = "higher or lower, of a metric of your own alone"
        raise ValueError(f"measures: {measure.name}: better: expected {of_own}, found {measure.better!r}")
    if measure.metric and not measure.better and not is_known:
        hint = f"{suggest(measure.metric, LABELS)}; one of your own needs better: higher, or lower"
        raise ValueError(f"measures: {measure.name}: no metric {measure.metric!r}{hint}")
    if measure.factor and not measure.is_share:
        raise ValueError(f"measures: {measure.name}: factor and modalities are for accuracies, not {measure.metric}")
    return measure
