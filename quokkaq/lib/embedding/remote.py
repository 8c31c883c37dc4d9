"""Vectors from a service that speaks OpenAI's embeddings protocol: OpenAI itself, vLLM, Ollama, a gateway.

Only what may pass is tried again (too many requests, a failing server); everything else is said at once.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import openai

from quokkaq.lib import egress
from quokkaq.lib.embedding import EmbeddingUnavailable
from quokkaq.lib.embedding.minilm import Vectors

TIMEOUT_SECONDS = 10.0
RETRIES = 2
# Texts in one request; services refuse more than some hundreds.
BATCH = 64
# 64 vectors of 4096 numbers in decimals.
MOST_BYTES = 16 * 1024 * 1024


class RemoteEmbedder:
    """A model behind `base_url`. Its name carries the number of dimensions, which is found out by asking once."""

    is_remote = True

    def __init__(self, *, base_url: str, api_key: str, model: str) -> None:
        self.model = model
        # No retries of its own: the SDK would try time-outs and conflicts again, too.
        http = egress.client(base_url=base_url, seconds=2 * TIMEOUT_SECONDS, most=MOST_BYTES)
        self._client = openai.OpenAI(
            base_url=base_url, api_key=api_key or "none", timeout=TIMEOUT_SECONDS, max_retries=0, http_client=http
        )

    @cached_property
    def name(self) -> str:
        """The model and its dimensions, such as `text-embedding-3-small:1536`. Raises `EmbeddingUnavailable`."""
        return f"{self.model}:{self._request(['dimensions']).shape[1]}"

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one vector of length 1 per text, float32. Raises `EmbeddingUnavailable`."""
        parts = [self._request(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)]
        return np.vstack(parts) if parts else np.empty((0, 0), np.float32)

    def _request(self, texts: Sequence[str]) -> Vectors:
        for attempt in range(RETRIES + 1):
            try:
                answer = self._client.embeddings.create(model=self.model, input=list(texts), encoding_format="float")
            except openai.APIStatusError as error:
                passing = error.status_code == 429 or error.status_code >= 500
                if not passing or attempt == RETRIES:
                    raise EmbeddingUnavailable(f"status_{error.status_code}") from None
            except openai.APITimeoutError:
                raise EmbeddingUnavailable("timeout") from None
            except openai.APIConnectionError:
                raise EmbeddingUnavailable("connection") from None
            except (openai.OpenAIError, ValueError, TypeError):
                raise EmbeddingUnavailable("malformed") from None
            else:
                return _checked(answer.data, len(texts))
        raise AssertionError("the last attempt returns or raises")


def _checked(rows: Sequence[openai.types.Embedding] | None, count: int) -> Vectors:
    """Return the vectors in the order they were asked for, of length 1; raise unless all are there, alike and finite."""
    try:
        ordered = sorted(rows or (), key=lambda row: row.index)
        vectors = np.array([row.embedding for row in ordered], np.float32)
    except (AttributeError, TypeError, ValueError):
        raise EmbeddingUnavailable("malformed") from None
    if vectors.ndim != 2 or vectors.shape[0] != count or not np.isfinite(vectors).all():
        raise EmbeddingUnavailable("malformed")
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (lengths > 0).all():
        raise EmbeddingUnavailable("malformed")
    normalised: Vectors = vectors / lengths
    return normalised
