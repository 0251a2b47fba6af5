"""Connections that bring no request, or take no answer, are closed: uvicorn itself waits for both without end."""

import asyncio
from typing import ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


class TimedProtocol(H11Protocol):
    """A connection that has a request's headers whole in time, and takes its answer.

    Otherwise a few hundred open connections that say nothing would keep everybody out, and need no token for it.
    """

    header_seconds: ClassVar[float] = 10.0
    """From the first byte of a request, or from when a connection is made."""
    stuck_seconds: ClassVar[float] = 60.0
    """After its answer is complete, a client that takes none of it for so long is let go."""
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """As uvicorn's own."""
        super().connection_made(transport)
        self._watch_headers()

    def data_received(self, data: bytes) -> None:
        """As uvicorn's own."""
        super().data_received(data)
        self._watch_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """As uvicorn's own."""
        super().connection_lost(exc)
        self._forget()

    def on_response_complete(self) -> None:
        """As uvicorn's own."""
        super().on_response_complete()
        if self.transport.get_write_buffer_size():
            self._let_go(None)

    def _watch_headers(self) -> None:
        waits = self.conn.their_state is h11.IDLE and not self.transport.is_closing()
        if not waits:
            self._forget()
        elif self._late is None and self.timeout_keep_alive_task is None:
            self._late = self.loop.call_later(self.header_seconds, self._close)

    def _forget(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _close(self) -> None:
        self._late = None
        self.transport.close()

    def _let_go(self, before: int | None) -> None:
        waiting = self.transport.get_write_buffer_size()
        if waiting and waiting == before:
            self.transport.abort()
        elif waiting:
            self.loop.call_later(self.stuck_seconds, self._let_go, waiting)
