"""Tokenizing with a WordPiece vocabulary small enough to do by hand; word vectors against the lines of their file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tiny_tokenizer import save_tokenizer
from trivium.data.clips import Clips, Ragged, Source
from trivium.data.text import look_up, read_embeddings, tokenize

TEXTS = {"train": ["a good film", "ACTING film"], "test": ["zebra", "  "]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tokenizer(tmp_path_factory.mktemp("tokenizers") / "tiny")


def make_source(texts: dict[str, list[str]] | None) -> Source:
    splits = {}
    for split in ("train", "test"):
        raw = None if texts is None else texts[split]
        audio = Ragged.pack([np.ones((2, 3), dtype=np.float32)] * 2)
        targets = {"multimodal": np.zeros(2, dtype=np.float32)}
        splits[split] = Clips([f"{split}$_$1", f"{split}$_$2"], {"audio": audio}, targets, raw)
    return Source(splits, "csd", [Path("labels.csd")])


def test_tokens_are_wordpieces_between_the_special_tokens(folder: Path) -> None:
    before = make_source(TEXTS)
    source = tokenize(before, str(folder))
    tokens = source.splits["train"].tokens
    assert tokens is not None
    assert tokens.values.dtype == np.int32
    assert tokens[0].tolist() == [2, 5, 6, 7, 3]  # [CLS] a good film [SEP]
    assert tokens[1].tolist() == [2, 9, 8, 7, 3]  # [CLS] act ##ing film [SEP]
    assert source.tokenizer == "tiny"
    assert source.splits["train"].streams is before.splits["train"].streams
    assert before.splits["train"].tokens is None


def test_blank_text_gets_no_token_and_unknown_words_get_unk(folder: Path) -> None:
    tokens = tokenize(make_source(TEXTS), str(folder)).splits["test"].tokens
    assert tokens is not None
    assert tokens.lengths.tolist() == [3, 0]
    assert tokens[0].tolist() == [2, 1, 3]


def test_long_text_is_cut_at_512_where_the_tokenizer_states_no_limit(folder: Path) -> None:
    source = tokenize(make_source({"train": ["film " * 600, "a " * 510], "test": TEXTS["test"]}), str(folder))
    tokens = source.splits["train"].tokens
    assert tokens is not None
    assert tokens.lengths.tolist() == [512, 512]
    assert tokens[0][-1] == 3
    assert source.notes["tokens/cut"] == "1 clips cut at 512 tokens"


def test_long_text_is_cut_at_the_tokenizers_own_limit(folder: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(str(folder), model_max_length=4).save_pretrained(str(tmp_path / "short"))
    tokens = tokenize(make_source(TEXTS), str(tmp_path / "short")).splits["train"].tokens
    assert tokens is not None
    assert tokens[0].tolist() == [2, 5, 6, 3]


def words_of(folder: Path, texts: list[str]) -> tuple[list[list[int]], list[int]]:
    clips = tokenize(make_source({"train": texts, "test": TEXTS["test"]}), str(folder)).splits["train"]
    assert clips.words is not None
    assert clips.tokens is not None
    np.testing.assert_array_equal(clips.words.numbers.offsets, clips.tokens.offsets)
    return [clips.words.numbers[n].tolist() for n in range(2)], clips.words.counts.tolist()


def test_each_token_says_which_word_between_blanks_it_is_of(folder: Path) -> None:
    # [CLS] act ##ing film ' s [SEP], where film's is one word; blanks of any number and kind part words
    numbers, counts = words_of(folder, ["  acting\t film's ", "Zebra  acting a"])
    assert numbers == [[-1, 0, 0, 1, 1, 1, -1], [-1, 0, 1, 1, 2, -1]]
    assert counts == [2, 3]
    numbers, counts = words_of(folder, [" \n", "film"])
    assert (numbers, counts) == ([[], [-1, 0, -1]], [0, 1])


def test_words_whose_tokens_are_cut_off_still_count(folder: Path, tmp_path: Path) -> None:
    numbers, counts = words_of(save_tokenizer(tmp_path / "short", limit=5), ["a acting acting film", "a good film"])
    assert numbers == [[-1, 0, 1, 1, -1], [-1, 0, 1, 2, -1]]
    assert counts == [4, 3]


def test_a_tokenizer_that_counts_the_blank_as_part_of_the_next_word(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    # GPT-2's kind: bytes, of which "Ġ" stands for a blank, and no special tokens
    letters = {piece: n for n, piece in enumerate([*"aĠfilmgod", "Ġf", "Ġfi"])}
    backend = Tokenizer(models.BPE(letters, [("Ġ", "f"), ("Ġf", "i")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False)
    PreTrainedTokenizerFast(tokenizer_object=backend).save_pretrained(str(tmp_path))
    numbers, counts = words_of(tmp_path, ["a film", "ad  fill"])  # a Ġfi l m; a d Ġ Ġfi l l
    assert numbers == [[0, 1, 1, 1], [0, 0, 1, 1, 1, 1]]
    assert counts == [2, 2]


def test_a_tokenizer_that_does_not_know_its_letters_gives_no_words(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import PreTrainedTokenizerFast

    monkeypatch.setattr(PreTrainedTokenizerFast, "is_fast", False)
    source = tokenize(make_source(TEXTS), str(folder))
    assert source.splits["train"].words is None
    assert source.splits["train"].tokens[0].tolist() == [2, 5, 6, 7, 3]  # type: ignore[index]
    assert "not known" in source.notes["tokens/words"]


def test_what_cannot_be_tokenized(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"labels\.csd: split 'train' has no raw text"):
        tokenize(make_source(None), str(folder))
    with pytest.raises(ValueError, match="no such folder"):
        tokenize(make_source(TEXTS), "./nowhere/tokenizer")
    with pytest.raises(ValueError, match="cannot be loaded"):
        tokenize(make_source(TEXTS), str(tmp_path))  # a folder without a tokenizer
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="path of a local folder"):
        tokenize(make_source(TEXTS), "trivium-test/no-such-tokenizer")
    monkeypatch.setitem(sys.modules, "transformers", None)  # as if the extra were not installed
    with pytest.raises(ValueError, match=r"pip install 'trivium\[text\]'"):
        tokenize(make_source(TEXTS), "bert-base-uncased")


def test_embeddings_of_the_vocabulary_alone(tmp_path: Path) -> None:
    path = tmp_path / "glove.txt"
    path.write_text("the 0.5 -1 2\n. . . 7 7 7\nfilm 1e-1 3 4 \nfilm 9 9 9\ncafé 1 1 1\n", encoding="utf-8")
    vectors, dim = read_embeddings(path, {"film", "café", "zebra", ". . ."})
    assert dim == 3
    assert sorted(vectors) == [". . .", "café", "film"]
    assert vectors["film"].dtype == np.float32
    np.testing.assert_allclose(vectors["film"], [0.1, 3, 4])  # of a repeated word, the first
    np.testing.assert_allclose(vectors[". . ."], [7, 7, 7])


def test_embeddings_may_begin_with_a_word2vec_header(tmp_path: Path) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text("2 3\nthe 1 2 3\nfilm 4 5 6\n")
    vectors, dim = read_embeddings(path, {"film", "2"})
    assert (list(vectors), dim) == (["film"], 3)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("the 1 2 3\nfilm 1 2\n", "line 2: expected a word and 3 values as before, found 2"),
        ("the 1 2 3\nfilm 1 2 3 4\n", "line 2: expected a word and 3 values as before, found 4"),
        ("the 1 2 3\n\n", "line 2: expected a word and 3 values"),
        ("the 1 2 3\nfilm 1 x 3\n", "line 2: expected 3 numbers"),
        ("the 1 2 3\nfilm 1 nan 3\n", "line 2: expected 3 finite numbers"),
        ("2 3\nfilm 1 2\n", "line 2: expected a word and 3 values"),
        ("", "no vectors found"),
    ],
)
def test_malformed_embeddings_name_file_and_line(tmp_path: Path, lines: str, message: str) -> None:
    path = tmp_path / "broken.txt"
    path.write_text(lines)
    with pytest.raises(ValueError, match=rf"broken\.txt.*{message}"):
        read_embeddings(path, {"film"})


def test_look_up_falls_back_to_lower_case_then_to_zeros() -> None:
    vectors = {"film": np.float32([1, 2]), "US": np.float32([3, 4]), "us": np.float32([5, 6])}
    rows, known = look_up(["Film", "US", "zebra"], vectors, 2)
    np.testing.assert_array_equal(rows, [[1, 2], [3, 4], [0, 0]])
    assert known.tolist() == [True, True, False]


def test_import_needs_neither_torch_nor_transformers() -> None:
    code = "import sys, trivium.data.text; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
