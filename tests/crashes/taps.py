"""A proxy that stops, refuses, answers for the server, or hangs up in the middle."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.services.fault_proxy import Address, FaultProxy


class Tap(FaultProxy):
    """Forwards until told otherwise. One fault at a time; `heal()` ends it.

    `refuse()` hangs up on whoever comes or is there; `answer(reply)` says `reply` to whatever is sent, and hangs up;
    `cut(after)` hangs up once the server has said so many bytes.
    """

    def __init__(self, target: Address) -> None:
        super().__init__(target)
        self.refuses = False
        self.reply = b""
        self.cut_after: int | None = None

    def refuse(self) -> None:
        self.refuses = True

    def answer(self, reply: bytes) -> None:
        self.reply = reply

    def cut(self, after: int) -> None:
        self.cut_after = after

    def heal(self) -> None:
        self.refuses, self.reply, self.cut_after = False, b"", None
        super().heal()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._passing.wait()
        if self.refuses or not isinstance(self.target, tuple):
            writer.transport.abort()
            return
        if self.reply and self.target:
            await self._say(reader, writer, self.reply)
            return
        try:
            there = await asyncio.open_connection(*self.target)
        except OSError:
            writer.transport.abort()
            return
        await asyncio.gather(self._there(reader, writer, there[1]), self._back(there[0], writer, there[1]))

    async def _say(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, reply: bytes) -> None:
        if not reply.startswith(b"4"):  # a mail server speaks first
            with suppress(OSError):
                await reader.read(65536)
        with suppress(OSError):
            writer.write(reply)
            await writer.drain()
        writer.close()

    async def _there(self, reader: asyncio.StreamReader, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await self._passing.wait()
                if self.refuses:
                    near.transport.abort()
                    break
                if self.reply:
                    near.write(self.reply)
                    near.close()
                    break
                far.write(data)
                await far.drain()
        far.close()

    async def _back(self, reader: asyncio.StreamReader, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        said = 0
        with suppress(OSError):
            while data := await reader.read(65536):
                await self._passing.wait()
                if self.refuses:
                    near.transport.abort()
                    break
                if self.cut_after is not None:
                    data = data[: max(0, self.cut_after - said)]
                said += len(data)
                near.write(data)
                await near.drain()
                if self.cut_after is not None and said >= self.cut_after:
                    near.transport.abort()
                    break
        await self._passing.wait()
        near.close()
        far.close()


@contextmanager
def tap(target: Address) -> Iterator[Tap]:
    """Forward to `target` until the block ends."""
    made = Tap(target)
    thread = threading.Thread(target=made._run, daemon=True)
    thread.start()
    assert made._ready.wait(5)
    try:
        yield made
    finally:
        made._loop.call_soon_threadsafe(made._stop.set)
        thread.join(5)
