"""Any endpoint that speaks OpenAI's chat completions: OpenAI itself, vLLM, Ollama, gateways."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ai_answers.engines.base import Usage
from ai_answers.engines.prompting import Prompt
from ai_answers.engines.remote import Failed, Piece, RemoteEngine

if TYPE_CHECKING:
    import httpx2

OPENAI = "https://api.openai.com/v1"
_ENDS = {"stop": "stop", "length": "length", "content_filter": "refused"}


class OpenAIEngine(RemoteEngine):
    name = "openai"

    def _stream(self, client: "httpx2.Client", prompt: Prompt) -> Iterator[Piece]:
        # The SDK takes half a second to import, which only a process that calls it pays.
        from openai import BadRequestError, OpenAI, UnprocessableEntityError

        connection = self._connection
        # OpenAI's newer models only know the first name, most other servers only the second.
        cap = "max_completion_tokens" if connection.base_url == OPENAI else "max_tokens"
        arguments: dict[str, Any] = {
            "model": connection.model,
            "messages": [
                {"role": "system", "content": prompt.instructions},
                {"role": "user", "content": prompt.message},
            ],
            "stream": True,
            cap: connection.max_output_tokens,
        }
        # Servers that ask for no key still get the header; the SDK insists on one.
        key = connection.key or "none"
        with OpenAI(api_key=key, base_url=connection.base_url, max_retries=0, http_client=client) as openai:
            try:
                stream = openai.chat.completions.create(**arguments, stream_options={"include_usage": True})
            except (BadRequestError, UnprocessableEntityError):
                # An older server that doesn't know how to count: the call is settled at what was reserved.
                stream = openai.chat.completions.create(**arguments)
            with stream:
                for chunk in stream:
                    yield _piece(chunk)


def _piece(chunk: Any) -> Piece:
    usage = getattr(chunk, "usage", None)
    used = Usage(_count(usage.prompt_tokens), _count(usage.completion_tokens)) if usage is not None else None
    if not chunk.choices:
        return Piece(usage=used)
    choice = chunk.choices[0]
    text = choice.delta.content if choice.delta is not None else None
    if text is not None and not isinstance(text, str):
        raise Failed("garbled", may_cost=True)
    end = _ENDS.get(choice.finish_reason, "stop") if choice.finish_reason else ""
    return Piece(text or "", used, end)


def _count(value: Any) -> int:
    """Return a count of tokens that fits the ledger: the server says it, and may say anything."""
    return min(max(value, 0), 2_000_000_000) if isinstance(value, int) else 0
