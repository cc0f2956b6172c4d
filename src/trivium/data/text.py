"""Prepares text: makes token ids with a Hugging Face tokenizer, and reads word vectors in GloVe's text format.

transformers is imported only when a tokenizer is asked for. Legend: W words, D features of a vector.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from trivium.data.clips import Array, Clips, Ragged, Source, TokenWords

# The limit of tokens for a tokenizer that states none; transformers then reports about 1e30.
_LONGEST = 512


def tokenize(source: Source, tokenizer: str) -> Source:
    """Returns the source with `tokens` made from `raw_text`, special tokens included, cut at the tokenizer's limit.

    tokenizer: a folder that holds one, or a name on the Hugging Face hub; it becomes `Source.tokenizer` (of a folder,
    its last part). A clip whose text is blank gets no token and so lacks the text modality. The note "tokens/cut" says
    how many clips were cut. `words` says which word of the text, between blanks, each token is of; a tokenizer written
    in Python does not tell, and then there are none and the note "tokens/words" says so.
    Raises ValueError if a split has no raw text, the `text` extra is missing, or the tokenizer cannot be loaded.
    """
    where = source.files[0] if source.files else source.format
    for split, clips in source.splits.items():
        if clips.raw_text is None:
            raise ValueError(
                f"{where}: split {split!r} has no raw text to tokenize; prepare from a source that has it "
                "(MMSA: key 'raw_text'; .csd: a words sequence), or leave tokenizer out"
            )
    model = _load_tokenizer(tokenizer)
    limit = int(model.model_max_length) if model.model_max_length < 1_000_000 else _LONGEST
    splits, cut = {}, 0
    for split, clips in source.splits.items():
        splits[split], split_cut = _tokenize_split(clips, model, limit)
        cut += split_cut
    notes = dict(source.notes)
    if not model.is_fast:
        notes["tokens/words"] = "not known, as the tokenizer does not tell which letters a token stands for"
    if cut:
        notes["tokens/cut"] = f"{cut} clips cut at {limit} tokens"
    return replace(source, splits=splits, tokenizer=_short_name(tokenizer), notes=notes)


def read_embeddings(path: Path, vocabulary: set[str]) -> tuple[dict[str, Array], int]:
    """Returns word -> vector, (D,) float32, for the words of the vocabulary that the file has, and D.

    The file has one `word v1 ... vD` a line (GloVe's text format); a first line `count D` (word2vec's) is accepted. It
    is read line by line, so that the vocabulary's vectors alone are in memory. A repeated word has its first vector,
    and a word may contain blanks, as some of glove.840B do.
    Raises ValueError, naming file and line, for a line of another number of values or a value that is no finite number.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; embeddings=FILE takes vectors in GloVe's text format")
    encoded_vocabulary = {word.encode() for word in vocabulary}
    vectors: dict[str, Array] = {}
    dim = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            line = line.rstrip()
            blanks = line.count(b" ")
            if number == 1:
                header = _word2vec_header(line)
                dim = header or blanks
                if header:
                    continue
            word, values = line.split(b" ", 1) if blanks == dim else _split_word(path, number, line, dim)
            if word in encoded_vocabulary and (name := word.decode()) not in vectors:
                vectors[name] = _parse_values(path, number, values, dim)
    if not dim:
        raise ValueError(f"{path}: no vectors found; expected lines of `word v1 v2 ...`")
    return vectors, dim


def look_up(words: list[str], vectors: dict[str, Array], dim: int) -> tuple[Array, Array]:
    """Returns (W, D) float32 vectors of words, and (W,) bool, True where a word has one.

    A word without a vector gets that of its lower case, and zeros if that has none either.
    """
    vectors_W = [vectors.get(word, vectors.get(word.lower())) for word in words]
    values_WD = np.zeros((len(words), dim), dtype=np.float32)
    for values, vector in zip(values_WD, vectors_W, strict=True):
        if vector is not None:
            values[:] = vector
    return values_WD, np.array([vector is not None for vector in vectors_W], dtype=bool)


def _tokenize_split(clips: Clips, model: Any, limit: int) -> tuple[Clips, int]:
    assert clips.raw_text is not None
    texts = [str(text).strip() for text in clips.raw_text]
    # The tokenizer runs a second time without its limit, so that cut clips can be counted. verbose=False keeps it from
    # warning of their length.
    uncut_ids = model(texts, add_special_tokens=True, truncation=False, verbose=False)["input_ids"]
    places = {"return_offsets_mapping": True, "return_special_tokens_mask": True} if model.is_fast else {}
    encoded = model(texts, add_special_tokens=True, truncation=True, max_length=limit, **places)
    cut = sum(len(long) > limit for long in uncut_ids)
    ids = [np.array(row if text else [], dtype=np.int32) for row, text in zip(encoded["input_ids"], texts, strict=True)]
    tokens, words = Ragged.pack(ids), None
    if model.is_fast:
        places_and_marks = zip(texts, encoded["offset_mapping"], encoded["special_tokens_mask"], strict=True)
        numbers = [_word_numbers(*of_clip)[: len(row)] for row, of_clip in zip(ids, places_and_marks, strict=True)]
        counts = np.array([len(text.split()) for text in texts], dtype=np.int32)
        words = TokenWords(Ragged(np.concatenate(numbers), tokens.offsets), counts)
    return replace(clips, tokens=tokens, words=words), cut


def _word_numbers(text: str, places: list[tuple[int, int]], special: list[int]) -> Array:
    """Returns (T,) int32, the number of the word that each token is of, -1 for special tokens.

    places: the letters of the text that each token stands for, from the first to behind the last.
    """
    ends = [word.end() for word in re.finditer(r"\S+", text)]
    # The last letter decides, as some tokenizers count the blank before a word as part of its first token.
    last = [max(start, end - 1) for start, end in places]
    numbers = np.searchsorted(ends, last, side="right")
    return np.where(np.array(special, dtype=bool), -1, numbers).astype(np.int32)


def _load_tokenizer(name: str) -> Any:
    if _looks_like_path(name) and not Path(name).is_dir():
        raise ValueError(f"tokenizer={name}: no such folder; give a folder that holds a tokenizer, or a hub name")
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise ValueError(f"tokenizer={name} needs transformers ({error}): pip install 'trivium[text]'") from error
    try:
        return AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    # transformers raises these offline, for an unknown name, and for a folder without a tokenizer.
    except (OSError, ValueError, KeyError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"tokenizer={name}: cannot be loaded ({reason}); check the name and the network, or give the path of "
            "a local folder that save_pretrained wrote"
        ) from error


def _looks_like_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or name.endswith("/") or name.count("/") > 1


def _short_name(name: str) -> str:
    return Path(name).resolve().name if Path(name).is_dir() else name


def _word2vec_header(line: bytes) -> int:
    """Returns D of a line `count D`, or 0 for any other line."""
    parts = line.split()
    return int(parts[1]) if len(parts) == 2 and all(part.isdigit() for part in parts) else 0


def _split_word(path: Path, number: int, line: bytes, dim: int) -> tuple[bytes, bytes]:
    """Splits a line with more than D blanks, whose word has blanks in it, as in `. . . 0.1 0.2`.

    Raises ValueError, naming file and line, where the line is no such one.
    """
    parts = line.split(b" ")
    word_parts = parts[1:-dim] if len(parts) > dim + 1 else []
    if not word_parts or any(_is_number(part) for part in word_parts):
        raise ValueError(
            f"{path}, line {number}: expected a word and {dim} values as before, found {len(parts) - 1} values; the "
            "file is cut off or not in GloVe's text format"
        )
    return b" ".join(parts[:-dim]), b" ".join(parts[-dim:])


def _is_number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parse_values(path: Path, number: int, values: bytes, dim: int) -> Array:
    try:
        vector = np.array(values.split(), dtype=np.float32)
    except ValueError as error:
        raise ValueError(f"{path}, line {number}: expected {dim} numbers ({error})") from error
    if len(vector) != dim or not np.isfinite(vector).all():
        raise ValueError(f"{path}, line {number}: expected {dim} finite numbers, found {values[:60].decode()!r}")
    return vector
