"""Clips of a user's own arrays: token ids, which a pretrained text encoder reads; features: test_predict_own_clips."""

import numpy as np
import pytest

from trivium.data.own_clips import clips_of

READS, DIMS = {"text": "tokens", "audio": "values"}, {"audio": 2}


def test_token_ids_become_the_text_and_a_clip_may_lack_it() -> None:
    clips = clips_of({"text": [[5, 1, 2], None], "audio": [None, np.ones((4, 2))]}, READS, DIMS, ids=["a", "b"])
    tokens = clips.read("text", "tokens")
    assert [tokens[n].tolist() for n in range(2)] == [[5, 1, 2], []]
    assert tokens.values.dtype == np.int32
    assert clips.streams["audio"].lengths.tolist() == [0, 4]
    assert (clips.ids, clips.targets) == (["a", "b"], {})


def test_a_vector_of_features_is_one_step_as_in_preparing() -> None:
    clips = clips_of({"text": [[5], [6]], "audio": [np.array([0.5, 2.0]), np.ones((3, 2))]}, READS, DIMS)
    assert clips.streams["audio"].lengths.tolist() == [1, 3]
    assert clips.streams["audio"][0].tolist() == [[0.5, 2.0]]


@pytest.mark.parametrize("cell", [[[1.0, 2.0]], [0.5], [-1, 2]])
def test_what_is_no_row_of_token_ids_is_refused(cell: list[float]) -> None:
    with pytest.raises(ValueError, match=r"'text' of clip 0: expected token ids, \(T,\) whole numbers from 0, found"):
        clips_of({"text": [cell]}, READS, DIMS)
