"""Encoders, one modality's sequence in, tokens and a vector out: `from trivium.encoders import GRU, Stream`."""

from trivium.data.batch import Stream
from trivium.encoders.base import Encoded, Encoder
from trivium.encoders.gru import GRU
from trivium.encoders.identity import Identity
from trivium.encoders.lstm import LSTM
from trivium.encoders.pretrained import Pretrained
from trivium.encoders.stacked import Stacked
from trivium.encoders.transformer import Transformer

__all__ = ["GRU", "LSTM", "Encoded", "Encoder", "Identity", "Pretrained", "Stacked", "Stream", "Transformer"]
