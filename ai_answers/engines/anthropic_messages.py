"""Anthropic's messages."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ai_answers.engines.base import Usage
from ai_answers.engines.prompting import Prompt
from ai_answers.engines.remote import Failed, Piece, RemoteEngine

if TYPE_CHECKING:
    import httpx2

ANTHROPIC = "https://api.anthropic.com"
_ENDS = {"max_tokens": "length", "model_context_window_exceeded": "length", "refusal": "refused"}


class AnthropicEngine(RemoteEngine):
    name = "anthropic"

    def _stream(self, client: "httpx2.Client", prompt: Prompt) -> Iterator[Piece]:
        # The SDK takes half a second to import, which only a process that calls it pays.
        from anthropic import Anthropic

        connection = self._connection
        with Anthropic(
            api_key=connection.key, base_url=connection.base_url, max_retries=0, http_client=client
        ) as anthropic:
            stream = anthropic.messages.create(
                model=connection.model,
                max_tokens=connection.max_output_tokens,
                system=prompt.instructions,
                messages=[{"role": "user", "content": prompt.message}],
                stream=True,
            )
            read = written = 0
            stopped, end = False, ""
            with stream:
                for event in stream:
                    match event.type:
                        case "message_start":
                            read = _read(event.message.usage)
                        case "content_block_delta":
                            text = getattr(event.delta, "text", "")
                            if not isinstance(text, str):
                                raise Failed("garbled", may_cost=True)
                            yield Piece(text)
                        case "message_delta":
                            reason = event.delta.stop_reason
                            end = _ENDS.get(reason, "stop") if reason else ""
                            written = _count(event.usage.output_tokens)
                        case "message_stop":
                            stopped = True
            if stopped and end:
                yield Piece("", Usage(read, written), end)


def _read(usage: Any) -> int:
    """Return the tokens read, those from the provider's cache too: that costs less, and we count it in full."""
    names = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    return min(sum(_count(getattr(usage, name, 0)) for name in names), 2_000_000_000)


def _count(value: Any) -> int:
    return min(max(value, 0), 2_000_000_000) if isinstance(value, int) else 0
