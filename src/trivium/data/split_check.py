"""Splits a source of the user's own, and refuses splits that nothing could be learnt or selected from."""

from __future__ import annotations

import numpy as np

from trivium.data.clips import Source
from trivium.data.splitting import SplitColumns, SplitOptions, split_source


def split_checked(source: Source, columns: SplitColumns, options: SplitOptions) -> Source:
    """Returns the source with its clips split. source: with all clips in the split "train", as `split_source` takes it.

    Raises ValueError as that does, for splits without "valid", and for a class or label that train lacks.
    """
    content, where = split_source(source, columns, options), _where(source)
    # Folds leave all clips in one split, from which every fold's splits are made later.
    if content.folds is None:
        if "valid" not in content.splits:
            raise ValueError(f"{where}: no clip is in the split 'valid', by which training selects; give it some")
        refuse_unseen_classes(content)
    return content


def refuse_unseen_classes(source: Source) -> None:
    """Raises ValueError, naming class and clip, for a class or label of another split that no clip of train has."""
    for name, target in source.described.items():
        train_counts = target.counted(source.splits["train"].targets[name]).counts
        for split, clips in source.splits.items():
            counts = target.counted(clips.targets[name]).counts
            for number, (count, in_train) in enumerate(zip(counts, train_counts, strict=True)):
                if count and not in_train:
                    values = clips.targets[name]
                    has = values == number if target.kind == "classes" else values[:, number] == 1
                    clip = clips.ids[int(np.argmax(has))]
                    kind = "class" if target.kind == "classes" else "label"
                    such = f" ({count} such clips)" if count > 1 else ""
                    raise ValueError(
                        f"{_where(source)}: target {name!r}: {kind} {target.names[number]!r} of clip {clip!r} in "
                        f"{split!r} occurs in no clip of 'train', so it cannot be learnt{such}; move clips, or leave "
                        "the column out if it is no target"
                    )


def _where(source: Source) -> str:
    return str(source.files[0]) if source.files else source.format
