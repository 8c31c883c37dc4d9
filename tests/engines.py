"""Engines that say what a test wants said."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import pytest

from ai_answers.engines import Abstention, Quote, Request, Statement, Usage

Said = Statement | Abstention | Usage
Script = Callable[[Request], Iterable[Said]]


def quote_first(request: Request) -> Sequence[Said]:
    """Quote the first source whole."""
    return [Statement("See the notes.", [Quote(1, request.sources[0].text)])]


class ScriptedEngine:
    """Says what `script` returns for a request, and keeps the requests it got."""

    name = "scripted"
    model = "test-1"
    prompt = "test"
    is_remote = False

    def __init__(self, script: Script = quote_first) -> None:
        self.script = script
        self.requests: list[Request] = []

    def most(self, request: Request) -> Usage:
        return Usage()

    def write(self, request: Request, *, deadline: float) -> Iterator[Said]:
        self.requests.append(request)
        yield from self.script(request)


def let_speak(monkeypatch: pytest.MonkeyPatch, engine: ScriptedEngine) -> ScriptedEngine:
    """Let this be the engine every course has chosen."""
    monkeypatch.setattr("ai_answers.actions.calls.choose_engine", lambda course: (engine, ""))
    return engine
