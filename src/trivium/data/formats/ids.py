"""Reads clip ids as text from the forms that files have, and makes them unique. Legend: N clips, K parts of an id."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np

from trivium.data.clips import Source
from trivium.data.formats import fields


def clip_ids(where: str, key: str, value: Any) -> list[str]:
    """Returns N ids as text, from strings, bytes or numbers of shape (N,), (N, 1) or (N, K).

    An id of K parts is read as `video[start,end]`. Raises ValueError, whose message begins with `where`, for other
    types or shapes, and if N is 0.
    """
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{where}: key {key!r} has entries of unequal shape ({error})") from error
    if not array.size:
        raise ValueError(f"{where}: is empty; leave the split out of the file, or give it clips")
    if array.ndim not in (1, 2) or array.dtype.kind not in "OSUiuf":
        raise ValueError(
            f"{where}: key {key!r} must hold strings, bytes or numbers, (N,), (N, 1) or (N, K); found {array.shape} "
            f"{array.dtype}"
        )
    rows = array.reshape(len(array), -1)
    flat = [_number_text(item) if isinstance(item, int | float) else item for item in rows.ravel().tolist()]
    width = rows.shape[1]
    texts = fields.strings(where, key, flat)
    if width == 1:
        return texts
    parts = (texts[start : start + width] for start in range(0, len(texts), width))
    return [f"{video}[{','.join(ends)}]" for video, *ends in parts]


def number_repeated_ids(source: Source) -> None:
    """Renames repeated ids to `ID#2` and so on, and says in the note "ids" how many there were.

    A store's ids are unique, and some files name only the video of a clip.
    """
    taken = {clip for clips in source.splits.values() for clip in clips.ids}
    times: Counter[str] = Counter()
    repeated = 0
    for clips in source.splits.values():
        for n, clip in enumerate(clips.ids):
            times[clip] += 1
            if times[clip] > 1:
                repeated += 1
                while f"{clip}#{times[clip]}" in taken:
                    times[clip] += 1
                clips.ids[n] = f"{clip}#{times[clip]}"
    if repeated:
        source.notes["ids"] = f"{repeated} came again and were numbered, as in ID#2"


def _number_text(number: float) -> str:
    return str(int(number)) if math.isfinite(number) and number == math.floor(number) else repr(number)
