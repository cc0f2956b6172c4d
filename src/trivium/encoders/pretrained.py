"""Pretrained text: any Hugging Face encoder over the store's token ids, fine-tuned or frozen.

Legend: B clips, T tokens, L valid tokens of all clips, R rows, C width of a row, E embedding.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from trivium.data.batch import Stream
from trivium.encoders.base import Encoded, Encoder
from trivium.encoders.hub import load_model
from trivium.encoders.packing import Packing
from trivium.encoders.pooling import check_choice, check_least, pool_steps

POOLS = ("cls", "mean", "pooler")
# Families whose embeddings take position ids and whose layers take any additive mask.
PACKABLE = ("bert", "roberta", "xlm-roberta", "camembert")
# Of these, positions count from after the padding id.
OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "longformer", "mpnet", "data2vec-text")
ROW_LENGTH = 128  # fastest of 64 to 512 with a BERT-base on one CPU core at 16 clips of 18 tokens in the mean


class Pretrained(Encoder):
    """Encodes token ids by a Hugging Face model. Its last hidden states are the tokens, pooled at [CLS] as in Self-MM.

    in_dim: the store's largest token id + 1. model: a folder or a hub name. finetune: false freezes it, dropout off.
    pool: cls, mean of the valid tokens, or the model's own pooler. out: size of tokens and pooled vector after a
    Linear; 0 leaves them the model's. random_init: no weights are read, only the config. packed: compute no padding,
    where that is exact (PACKABLE; others run padded). dropout_scale: multiplies the model's own dropout probabilities.
    lr: what it is fine-tuned at, unless optimizer.groups says otherwise.
    assets: as `assets()` returned it; the architecture is then built without folder or hub.
    Raises ValueError for what `load_model` refuses, a vocabulary smaller than in_dim and a pooler that is not there.
    """

    reads: ClassVar[Literal["values", "tokens"]] = "tokens"

    def __init__(
        self,
        in_dim: int,
        *,
        model: str,
        finetune: bool = True,
        pool: str = "cls",
        out: int = 0,
        random_init: bool = False,
        packed: bool = True,
        dropout_scale: float = 1.0,
        lr: float = 5e-5,
        assets: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.pool, self.lr = check_choice("pool", pool, POOLS), lr
        check_least("out", out, 0)
        self.model, self._config = load_model(
            model, random_init=random_init, pooler=pool == "pooler", dropout_scale=dropout_scale, assets=assets
        )
        self.limit = _longest(self.model.config)
        self.packed = packed and _packable(self.model.config)
        self.finetune = finetune
        self._check_vocabulary(in_dim, model)
        self._keep_pooler(pool == "pooler", model)
        self.model.requires_grad_(finetune)
        width = int(self.model.config.hidden_size)
        self.project = nn.Linear(width, out) if out else nn.Identity()
        self.dim = out or width
        self.train()

    def forward(self, stream: Stream) -> Encoded:
        """Raises ValueError for a clip of more tokens than the model has positions for."""
        longest = int(stream.lengths.max())
        if self.limit and longest > self.limit:
            raise ValueError(
                f"a clip has {longest} tokens, {self.model.config.model_type} takes at most {self.limit}; prepare the "
                "store with the model's own tokenizer, which cuts at its limit"
            )
        with nullcontext() if self.finetune else torch.no_grad():
            hidden_BTE, pooled_BE = self._run_packed(stream) if self.packed else self._run_padded(stream)
        tokens_BTE = self.project(hidden_BTE).masked_fill(~stream.mask[..., None], 0.0)
        return Encoded(tokens_BTE, stream.mask, self.project(pooled_BE))

    def train(self, mode: bool = True) -> Self:
        """Sets the mode; a frozen model stays in evaluation mode."""
        super().train(mode)
        if not self.finetune:
            self.model.eval()
        return self

    def assets(self) -> dict[str, Any]:
        """Returns the model's config: all that its architecture needs."""
        return {"config": self._config}

    def _run_padded(self, stream: Stream) -> tuple[Tensor, Tensor]:
        ids = stream.values.masked_fill(~stream.mask, _pad_id(self.model.config))
        output = self.model(input_ids=ids, attention_mask=stream.mask.long())
        hidden_BTE = output.last_hidden_state
        if self.pool == "pooler":
            return hidden_BTE, output.pooler_output
        return hidden_BTE, self._pooled(hidden_BTE, stream.mask)

    def _run_packed(self, stream: Stream) -> tuple[Tensor, Tensor]:
        """Runs several clips a row, kept apart by the attention mask: linear layers meet next to no padding."""
        clips, steps = stream.values.shape
        config = self.model.config
        packing = Packing.plan(stream.lengths, steps, ROW_LENGTH, stream.values.device)
        embedded_RCE = self.model.embeddings(
            input_ids=packing.pack(stream.values, _pad_id(config)),
            position_ids=packing.step + _first_position(config),
            token_type_ids=torch.zeros_like(packing.step),  # left out, older versions take a row of a clip's length
        )
        # embeddings and layers are called one by one, as what mask the whole model takes differs between versions
        rows_RCE = self.model.encoder(embedded_RCE, attention_mask=packing.bias(embedded_RCE.dtype))[0]
        hidden_BTE = packing.unpack(rows_RCE, clips, steps)
        if self.pool == "pooler":
            return hidden_BTE, self.model.pooler(hidden_BTE)
        return hidden_BTE, self._pooled(hidden_BTE, stream.mask)

    def _pooled(self, hidden_BTE: Tensor, mask_BT: Tensor) -> Tensor:
        return pool_steps("first" if self.pool == "cls" else "mean", hidden_BTE, mask_BT)

    def _check_vocabulary(self, in_dim: int, name: str) -> None:
        size = int(self.model.config.vocab_size)
        if size < in_dim:
            raise ValueError(
                f"model: {name} knows {size} token ids, the store's go up to {in_dim - 1}: they were made by another "
                "model's tokenizer. Prepare the store again with tokenizer= this model's, or choose the model that fits"
            )

    def _keep_pooler(self, wanted: bool, name: str) -> None:
        """Drops a pooler that no output uses, because DDP waits for the gradient of every parameter."""
        if wanted and getattr(self.model, "pooler", None) is None:
            raise ValueError(f"pool: {name} ({self.model.config.model_type}) has no pooler; choose cls or mean")
        if not wanted and getattr(self.model, "pooler", None) is not None:
            self.model.pooler = None


def _pad_id(config: Any) -> int:
    return int(config.pad_token_id or 0)


def _first_position(config: Any) -> int:
    return _pad_id(config) + 1 if config.model_type in OFFSET_POSITIONS else 0


def _longest(config: Any) -> int:
    """Returns the number of tokens that the model has positions for; 0 where its config states none."""
    positions = int(getattr(config, "max_position_embeddings", 0) or 0)
    return max(0, positions - _first_position(config))


def _packable(config: Any) -> bool:
    absolute = getattr(config, "position_embedding_type", "absolute") == "absolute"
    return config.model_type in PACKABLE and absolute and not getattr(config, "is_decoder", False)
