"""Vectors of meaning, by the embedded model and by a service over HTTP."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
from pytest_django.fixtures import Settings

from quokkaq.lib import embedding
from quokkaq.lib.embedding import EmbeddingUnavailable, embedder, local_embedder, remote
from quokkaq.lib.embedding.remote import RemoteEmbedder

Answer = tuple[int, Any]


class Service:
    """A service that speaks OpenAI's embeddings protocol, on a port of this machine, and answers as it is told."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.answer: Callable[[list[str]], Answer] = lambda texts: (200, vectors(texts))
        self.delay = 0.0
        self.url = ""


def vectors(texts: list[str], dimensions: int = 4) -> dict[str, Any]:
    """Return an answer of the protocol, backwards: the index says which vector is whose."""
    rows = [
        {"object": "embedding", "index": place, "embedding": [float(len(text)), 1.0, 0.0, 3.0][:dimensions]}
        for place, text in enumerate(texts)
    ]
    return {"object": "list", "model": "m", "data": rows[::-1], "usage": {"prompt_tokens": 1, "total_tokens": 1}}


@contextmanager
def running_service() -> Iterator[Service]:
    service = Service()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            service.requests.append(asked)
            service.keys.append(self.headers.get("Authorization", ""))
            time.sleep(service.delay)
            status, body = service.answer(asked["input"])
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            with suppress(BrokenPipeError, ConnectionResetError):
                self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    service.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def service() -> Iterator[Service]:
    with running_service() as running:
        yield running


def client(service: Service) -> RemoteEmbedder:
    return RemoteEmbedder(base_url=service.url, api_key="secret-key", model="m")


def test_what_means_the_same_is_near_without_a_common_word() -> None:
    model = local_embedder()
    assert model is not None
    found = model.embed(
        ["How do I cook pasta?", "Boil the noodles in salted water.", "The treaty ended the war in 1648."]
    )
    assert found.shape == (3, 384)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert found[0] @ found[1] > found[0] @ found[2] + 0.2
    alone = model.embed(["How do I cook pasta?"])[0]
    assert alone @ found[0] > 0.9999


def test_a_word_means_what_it_means_in_its_text() -> None:
    model = local_embedder()
    assert model is not None
    texts = ["The bank of the river was muddy.", "A bank lends money.", "They lend money, as banks do.", ""]
    river, lends, banks, nothing = model.embed_tokens(texts)
    assert nothing.vectors.shape == (0, 384)
    for text, tokens in zip(texts, (river, lends, banks, nothing), strict=True):
        assert tokens.vectors.shape == (len(tokens.ids), 384)
        assert np.allclose(np.linalg.norm(tokens.vectors, axis=1), 1, atol=1e-5)
        assert "".join(text[start:end] for start, end in tokens.spans) == text.replace(" ", "")
    # What a text means is the mean of what its tokens mean; only the two marks around them are missing here.
    whole = lends.vectors.mean(0) @ model.embed(texts[1:2])[0] / np.linalg.norm(lends.vectors.mean(0))
    assert whole > 0.9
    bank = lends.vectors[1]
    assert bank @ banks.vectors[-3] > bank @ river.vectors[1] + 0.05
    # Padding changes nothing.
    assert np.allclose(model.embed_tokens(texts[1:2])[0].vectors, lends.vectors, atol=1e-4)


def test_a_service_gives_vectors_in_the_order_asked_and_of_length_one(service: Service) -> None:
    model = client(service)
    assert model.name == "m:4"
    found = model.embed(["a", "bbbb"])
    assert np.allclose(found[1], np.array([4, 1, 0, 3]) / np.sqrt(26))
    assert np.allclose(np.linalg.norm(found, axis=1), 1)
    assert service.keys[-1] == "Bearer secret-key"
    assert model.embed([]).shape[0] == 0


def test_many_texts_go_in_several_requests(service: Service) -> None:
    found = client(service).embed(["x" * n for n in range(1, 131)])
    assert found.shape == (130, 4)
    assert [len(request["input"]) for request in service.requests] == [64, 64, 2]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_may_pass_is_tried_again(service: Service, status: int) -> None:
    answers: list[Answer] = [(status, {"error": {"message": "later"}}), (200, vectors(["a"]))]
    service.answer = lambda texts: answers.pop(0)
    assert client(service).embed(["a"]).shape == (1, 4)
    assert len(service.requests) == 2


@pytest.mark.parametrize(("status", "requests"), [(401, 1), (400, 1), (404, 1), (429, 3), (500, 3)])
def test_what_stays_is_said_in_a_short_code(service: Service, status: int, requests: int) -> None:
    service.answer = lambda texts: (status, {"error": {"message": "private text of the question, and secret-key"}})
    with pytest.raises(EmbeddingUnavailable) as caught:
        client(service).embed(["private text"])
    assert str(caught.value) == f"status_{status}"
    assert len(service.requests) == requests


@pytest.mark.parametrize(
    "body",
    [
        b"not json",
        {"data": []},
        {"data": None},
        {"object": "list", "model": "m", "data": [{"object": "embedding", "index": 0, "embedding": [0.0, 0.0]}]},
        {"object": "list", "model": "m", "data": [{"object": "embedding", "index": 0, "embedding": ["x", 1]}]},
        {"object": "list", "model": "m", "data": [{"object": "embedding", "index": 0, "embedding": [1e400, 1]}]},
    ],
)
def test_an_answer_without_usable_vectors_is_refused(service: Service, body: Any) -> None:
    service.answer = lambda texts: (200, body)
    with pytest.raises(EmbeddingUnavailable):
        client(service).embed(["a"])


@pytest.mark.clocked
def test_a_slow_service_is_given_up(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "TIMEOUT_SECONDS", 0.2)
    service.delay = 1.0
    started = time.monotonic()
    with pytest.raises(EmbeddingUnavailable, match="timeout"):
        client(service).embed(["a"])
    assert time.monotonic() - started < 1.0


def test_no_service_at_all_is_said() -> None:
    with pytest.raises(EmbeddingUnavailable, match="connection"):
        RemoteEmbedder(base_url="http://127.0.0.1:9/v1", api_key="", model="m").embed(["a"])


def test_settings_choose_the_model(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert embedder() is local_embedder()
    settings.EMBEDDING_BASE_URL, settings.EMBEDDING_MODEL = "http://127.0.0.1:9/v1", "m"
    chosen = embedder()
    assert isinstance(chosen, RemoteEmbedder)
    assert chosen.model == "m"


def test_without_weights_there_is_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "PACKAGE", "no_such_package_at_all")
    local_embedder.cache_clear()
    try:
        assert local_embedder() is None
    finally:
        local_embedder.cache_clear()
