"""Provides the encoder of pretrained text: any Hugging Face encoder over token ids, fine-tuned or frozen.

Legend: B clips, T tokens, L valid tokens of all clips, R rows, C width of a row, E embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from trivium.core.choices import check_choice
from trivium.data.batch import Stream
from trivium.encoders.base import Adapt, Encoded, Encoder
from trivium.encoders.hub import load_model
from trivium.encoders.packing import Packing
from trivium.encoders.pooling import check_least, pool_steps

POOLS = ("cls", "mean", "pooler")
# Model families that can run packed: their embeddings take position ids, and their layers take any additive mask.
PACKABLE = ("bert", "roberta", "xlm-roberta", "camembert")
# Model families whose positions start behind the padding id, as RoBERTa's do.
OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "longformer", "mpnet", "data2vec-text")
# The fastest width of 64 to 512, measured with a BERT-base on one CPU core at 16 clips of 18 tokens in the mean.
ROW_LENGTH = 128


class Pretrained(Encoder):
    """Encodes token ids by a Hugging Face model, whose last hidden states are the tokens (B, T, E).

    The pooled vector is (B, E); by default it is the state at [CLS], as in Self-MM.

    in_dim: the store's largest token id + 1. model: a folder, or a name on the hub.
    finetune: False freezes the model and switches its dropout off.
    pool: "cls", "mean" (of the valid tokens) or "pooler" (the model's own).
    out: size of tokens and pooled vector after a Linear; 0 leaves out the Linear.
    random_init: start from random weights; only the model's config is read.
    packed: compute next to no padding, for the families where that is exact (PACKABLE); others run padded.
    dropout_scale: factor on the model's dropout probabilities.
    lr: learning rate of the fine-tuning, unless optimizer.groups names another.
    assets: what `assets()` returned; the architecture is then built without folder or hub.
    Raises ValueError as `load_model` does, for a vocabulary smaller than in_dim and for a pooler that is not there.
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
        self.input_size = int(self.model.config.vocab_size)
        self._check_vocabulary(in_dim, model)
        self._keep_pooler(pool == "pooler", model)
        self.model.requires_grad_(finetune)
        width = int(self.model.config.hidden_size)
        self.project = nn.Linear(width, out) if out else nn.Identity()
        self.dim = out or width
        self.longest = self.limit or None
        self._say_what_can_be_adapted(width)
        self.train()

    def forward(self, stream: Stream) -> Encoded:
        """Encodes the clips. Raises ValueError for a clip of more tokens than the model has positions for."""
        longest = int(stream.lengths.max())
        if self.limit and longest > self.limit:
            raise ValueError(
                f"a clip has {longest} tokens, {self.model.config.model_type} takes at most {self.limit}; prepare the "
                "store with the model's own tokenizer, which cuts at its limit"
            )
        with nullcontext() if self.finetune else torch.no_grad():
            hidden_BTE, pooled_BE = self._run(stream, _as_it_is, 0)
        return self._encoded(stream, hidden_BTE, pooled_BE)

    def adapted(self, stream: Stream, adapt: Adapt, layer: int = 0) -> Encoded:
        """Encodes with `adapt` applied behind `layer` of the model, or for 0 to what its embeddings return.

        A frozen model passes gradients on to what adapts it.
        """
        return self._encoded(stream, *self._run(stream, lambda hidden_BTE: adapt(hidden_BTE, 0), layer))

    def _run(self, stream: Stream, adapt: Callable[[Tensor], Tensor], layer: int) -> tuple[Tensor, Tensor]:
        run = self._run_packed if self.packed else self._run_padded
        return run(stream, adapt, layer)

    def _encoded(self, stream: Stream, hidden_BTE: Tensor, pooled_BE: Tensor) -> Encoded:
        tokens_BTE = self.project(hidden_BTE).masked_fill(~stream.mask[..., None], 0.0)
        return Encoded(tokens_BTE, stream.mask, self.project(pooled_BE))

    def train(self, mode: bool = True) -> Self:
        """Sets the mode of all parts; a frozen model stays in evaluation mode, so that it has no dropout."""
        super().train(mode)
        if not self.finetune:
            self.model.eval()
        return self

    def assets(self) -> dict[str, Any]:
        """Returns the model's config: all that its architecture needs."""
        return {"config": self._config}

    @contextmanager
    def _adapting(self, adapt: Callable[[Tensor], Tensor], layer: int) -> Iterator[None]:
        """Changes what leaves `layer`, or the embeddings for 0, while the context is open."""
        if adapt is _as_it_is:
            yield
            return

        def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
            # Layers return a tensor, or in versions of transformers before 5 a tuple that begins with it.
            return (adapt(output[0]), *output[1:]) if isinstance(output, tuple) else adapt(output)

        part = self.model.encoder.layer[layer - 1] if layer else self.model.embeddings
        handle = part.register_forward_hook(hook)
        try:
            yield
        finally:
            handle.remove()

    def _say_what_can_be_adapted(self, width: int) -> None:
        """Sets `adapts` and `adapt_layers`, if the model has embeddings of its width and a list of layers."""
        layers = getattr(getattr(self.model, "encoder", None), "layer", None)
        embedded = int(getattr(self.model.config, "embedding_size", width) or width)
        if hasattr(self.model, "embeddings") and layers is not None and embedded == width:
            self.adapts, self.adapt_layers = width, len(layers)

    def _run_padded(self, stream: Stream, adapt: Callable[[Tensor], Tensor], layer: int) -> tuple[Tensor, Tensor]:
        """Returns hidden states (B, T, E) and pooled vectors (B, E), a clip a row, padded to the longest."""
        ids = stream.values.masked_fill(~stream.mask, _pad_id(self.model.config))
        with self._adapting(adapt, layer):
            output = self.model(input_ids=ids, attention_mask=stream.mask.long())
        hidden_BTE = output.last_hidden_state
        if self.pool == "pooler":
            return hidden_BTE, output.pooler_output
        return hidden_BTE, self._pooled(hidden_BTE, stream.mask)

    def _run_packed(self, stream: Stream, adapt: Callable[[Tensor], Tensor], layer: int) -> tuple[Tensor, Tensor]:
        """Returns what `_run_padded` does, with several clips in a row, so that next to no padding is computed.

        The attention mask keeps the clips of a row apart; all other layers work on one token at a time.
        """
        clips, steps = stream.values.shape
        config = self.model.config
        packing = Packing.plan(stream.lengths, steps, ROW_LENGTH, stream.values.device)

        def adapt_rows(rows_RCE: Tensor) -> Tensor:
            return packing.repack(adapt(packing.unpack(rows_RCE, clips, steps)), rows_RCE)

        with self._adapting(_as_it_is if adapt is _as_it_is else adapt_rows, layer):
            embedded_RCE = self.model.embeddings(
                input_ids=packing.pack(stream.values, _pad_id(config)),
                position_ids=packing.step + _first_position(config),
                # Without these, older versions of transformers slice a buffer that is as long as one clip may be.
                token_type_ids=torch.zeros_like(packing.step),
            )
            # Embeddings and layers are called separately, because which mask the whole model accepts differs between
            # versions of transformers.
            rows_RCE = self.model.encoder(embedded_RCE, attention_mask=packing.bias(embedded_RCE.dtype))[0]
        hidden_BTE = packing.unpack(rows_RCE, clips, steps)
        if self.pool == "pooler":
            return hidden_BTE, self.model.pooler(hidden_BTE)
        return hidden_BTE, self._pooled(hidden_BTE, stream.mask)

    def _pooled(self, hidden_BTE: Tensor, mask_BT: Tensor) -> Tensor:
        return pool_steps("first" if self.pool == "cls" else "mean", hidden_BTE, mask_BT)

    def _check_vocabulary(self, in_dim: int, name: str) -> None:
        """Raises ValueError if the store holds token ids that the model does not have."""
        size = int(self.model.config.vocab_size)
        if size < in_dim:
            raise ValueError(
                f"model: {name} knows {size} token ids, the store's go up to {in_dim - 1}: they were made by another "
                "model's tokenizer. Prepare the store again with tokenizer= this model's, or choose the model that fits"
            )

    def _keep_pooler(self, wanted: bool, name: str) -> None:
        """Removes a pooler that no output uses, because DDP waits for the gradient of every parameter.

        Raises ValueError if the pooler is wanted and the model has none.
        """
        if wanted and getattr(self.model, "pooler", None) is None:
            raise ValueError(f"pool: {name} ({self.model.config.model_type}) has no pooler; choose cls or mean")
        if not wanted and getattr(self.model, "pooler", None) is not None:
            self.model.pooler = None


def _as_it_is(hidden_BTE: Tensor) -> Tensor:
    return hidden_BTE


def _pad_id(config: Any) -> int:
    return int(config.pad_token_id or 0)


def _first_position(config: Any) -> int:
    """Returns the position id of a clip's first token."""
    return _pad_id(config) + 1 if config.model_type in OFFSET_POSITIONS else 0


def _longest(config: Any) -> int:
    """Returns the number of tokens that the model has positions for; 0 if its config states none."""
    positions = int(getattr(config, "max_position_embeddings", 0) or 0)
    return max(0, positions - _first_position(config))


def _packable(config: Any) -> bool:
    """Says whether packed rows give the model's own result: absolute positions, and attention in both directions."""
    absolute = getattr(config, "position_embedding_type", "absolute") == "absolute"
    return config.model_type in PACKABLE and absolute and not getattr(config, "is_decoder", False)
