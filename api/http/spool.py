"""Output that waits for a slow reader: in memory while it is little, in a file when it is much.

A client that sends all of its request before it reads the answer must not stop the server
from reading that request, and must not make it hold the answer in memory either.
"""

import asyncio
from collections.abc import AsyncIterator
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import Final, Self

IN_MEMORY: Final = 1024 * 1024
CHUNK: Final = 64 * 1024


class Spool:
    """Bytes that one task writes and another reads."""

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 - closed on exit
        self._read = 0
        self._written = 0
        self._ended = False
        self._changed = asyncio.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def write(self, data: bytes) -> None:
        """Add bytes; never waits."""
        self._file.seek(self._written)
        self._file.write(data)
        self._written += len(data)
        self._changed.set()

    def end(self) -> None:
        """Nothing more will be written."""
        self._ended = True
        self._changed.set()

    async def chunks(self) -> AsyncIterator[bytes]:
        """What was written, until the end."""
        while True:
            if self._read < self._written:
                self._file.seek(self._read)
                data = self._file.read(CHUNK)
                self._read += len(data)
                if self._read == self._written:
                    self._file.seek(0)
                    self._file.truncate()
                    self._read = self._written = 0
                yield data
            elif self._ended:
                return
            else:
                self._changed.clear()
                await self._changed.wait()
