"""A proxy that can be told to swallow everything: what a network does that drops packets without a word."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

Address = tuple[str, int] | str  # host and port, or the path of a socket


class FaultProxy:
    """Forwards TCP connections to `target`. While black-holed it accepts them, and says nothing, nor hangs up."""

    def __init__(self, target: Address) -> None:
        self.target = target
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._passing: asyncio.Event
        self._ready = threading.Event()
        self._stop: asyncio.Event

    def black_hole(self) -> None:
        self._loop.call_soon_threadsafe(self._passing.clear)

    def heal(self) -> None:
        self._loop.call_soon_threadsafe(self._passing.set)

    async def _serve(self) -> None:
        self._passing, self._stop = asyncio.Event(), asyncio.Event()
        self._passing.set()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.CancelledError):
            await self._forward(reader, writer)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._passing.wait()
        try:
            if isinstance(self.target, str):
                there = await asyncio.open_unix_connection(self.target)
            else:
                there = await asyncio.open_connection(*self.target)
        except OSError:
            writer.transport.abort()
            return
        await asyncio.gather(self._pump(reader, there[1]), self._pump(there[0], writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await self._passing.wait()
                writer.write(data)
                await writer.drain()
        await self._passing.wait()
        writer.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()


@contextmanager
def fault_proxy(target: Address) -> Iterator[FaultProxy]:
    """Forward to `target` until the block ends."""
    proxy = FaultProxy(target)
    thread = threading.Thread(target=proxy._run, daemon=True)
    thread.start()
    assert proxy._ready.wait(5)
    try:
        yield proxy
    finally:
        proxy._loop.call_soon_threadsafe(proxy._stop.set)
        thread.join(5)
