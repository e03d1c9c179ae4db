"""Writing an aws-chunked body with an unsigned trailer (K1): how a client's checksum reaches a store that keeps it.

The length of the whole is known before the first byte, so the backend cannot complete the object before it has had
the trailer, which we write only after everything was checked (K15, K16).
"""

from __future__ import annotations

from collections.abc import Iterator

CHUNK = 1 << 20  # bytes; MinIO refuses chunks above 16 MiB (K7)

# Characters of a checksum's value in base64, by trailer name.
VALUE_LENGTHS = {
    "x-amz-checksum-crc32": 8,
    "x-amz-checksum-crc32c": 8,
    "x-amz-checksum-crc64nvme": 12,
    "x-amz-checksum-sha1": 28,
    "x-amz-checksum-sha256": 44,
}


class TrailerFraming:
    """Frames `length` object bytes, which come in pieces of any size, and ends them with one trailer."""

    def __init__(self, length: int, trailer: str) -> None:
        """`trailer` is one of `VALUE_LENGTHS`."""
        self._left = length
        self._in_chunk = 0
        self._trailer = trailer
        full, rest = divmod(length, CHUNK)
        self.encoded_length = (
            full * (len(f"{CHUNK:x}") + 4 + CHUNK)
            + (len(f"{rest:x}") + 4 + rest if rest else 0)
            + len("0\r\n")
            + len(trailer)
            + 1
            + VALUE_LENGTHS[trailer]
            + 4
        )

    def frame(self, piece: bytes | memoryview) -> Iterator[bytes | memoryview]:
        """The next object bytes as they go on the wire."""
        view = memoryview(piece)
        while view:
            if not self._in_chunk:
                self._in_chunk = min(CHUNK, self._left)
                yield b"%x\r\n" % self._in_chunk
            part, view = view[: self._in_chunk], view[self._in_chunk :]
            yield part
            self._in_chunk -= len(part)
            self._left -= len(part)
            if not self._in_chunk:
                yield b"\r\n"

    def end(self, value: str) -> bytes:
        """The last chunk and the trailer with its base64 value."""
        return f"0\r\n{self._trailer}:{value}\r\n\r\n".encode("ascii")
