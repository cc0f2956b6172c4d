"""A WordPiece tokenizer whose vocabulary is small enough to do by hand, saved as a folder without a network."""

from pathlib import Path

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "good", "film", "##ing", "act", "'", "s", "##s"]


def save_tokenizer(path: Path, limit: int = 0) -> Path:
    """Of BERT's kind: lower case, punctuation by itself. limit: of tokens; 0 states none."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordPiece({piece: n for n, piece in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    special = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}
    stated = {"model_max_length": limit} if limit else {}
    PreTrainedTokenizerFast(tokenizer_object=backend, **special, **stated).save_pretrained(str(path))
    return path
