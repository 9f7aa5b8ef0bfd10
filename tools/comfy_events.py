"""The event stream of a ComfyUI server.

A WebSocket reader that needs only the standard library, so that dev.py can follow a run from a bare Python.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import struct
import time
from typing import Any

_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10
_PREVIEW, _NODE_TEXT = 1, 3  # types of binary messages: a small picture, text on a node


class EventStream:
    """The messages that the server sends to one client.

    Implements only the part of RFC 6455 that ComfyUI needs: no extensions, no TLS; sends nothing but pongs.
    """

    def __init__(self, host: str, port: int, client_id: str) -> None:
        self._socket = socket.create_connection((host, port), timeout=30)
        self._buffer = b""
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            f"GET /ws?clientId={client_id} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        head = self._read_until(b"\r\n\r\n")
        if b" 101 " not in head.split(b"\r\n", 1)[0]:
            self.close()
            raise ConnectionError(f"The server refused the event stream: {head[:200]!r}")

    def next(self, deadline: float) -> dict[str, Any]:
        """The next message: {"type": str, "data": dict}.

        Text on a node, which is sent in binary, becomes {"type": "progress_text", "data": {"node": str, "text": str}};
        a preview becomes {"type": "preview", "data": {"file": bytes}}, a JPEG or PNG.
        `deadline` is a time.monotonic() value. Raises TimeoutError after the deadline, and ConnectionError when the
        server disconnects.
        """
        while True:
            kind, payload = self._read_message(deadline)
            if kind == _TEXT:
                return json.loads(payload)
            binary = struct.unpack_from(">I", payload)[0] if kind == _BINARY else None
            if binary == _PREVIEW:
                return {"type": "preview", "data": {"file": payload[8:]}}
            if binary == _NODE_TEXT:
                (length,) = struct.unpack_from(">I", payload, 4)
                node, text = payload[8 : 8 + length].decode(), payload[8 + length :].decode()
                return {"type": "progress_text", "data": {"node": node, "text": text}}

    def close(self) -> None:
        """Close the connection; the server needs no close frame."""
        with contextlib.suppress(OSError):
            self._socket.close()

    def _read_message(self, deadline: float) -> tuple[int, bytes]:
        """Join the frames of one message, and answer pings in between."""
        kind, parts = _CONTINUATION, []
        while True:
            # Wait only between frames: a timeout inside a frame would lose the position in the stream.
            self._wait_for_data(deadline)
            opcode, final, payload = self._read_frame()
            if opcode == _CLOSE:
                raise ConnectionError("ComfyUI closed the event stream")
            if opcode == _PING:
                self._send_pong(payload)
            if opcode >= _CLOSE:
                continue
            kind = opcode or kind
            parts.append(payload)
            if final:
                return kind, b"".join(parts)

    def _wait_for_data(self, deadline: float) -> None:
        if self._buffer:
            return
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("no event from ComfyUI in time")
        self._socket.settimeout(remaining)
        try:
            self._buffer = self._receive()
        except TimeoutError as error:
            raise TimeoutError("no event from ComfyUI in time") from error
        finally:
            self._socket.settimeout(30)

    def _read_frame(self) -> tuple[int, bool, bytes]:
        first, second = self._read_exactly(2)
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack(">H", self._read_exactly(2))
        elif size == 127:
            (size,) = struct.unpack(">Q", self._read_exactly(8))
        return first & 0x0F, bool(first & 0x80), self._read_exactly(size)

    def _send_pong(self, payload: bytes) -> None:
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        self._socket.sendall(bytes([0x80 | _PONG, 0x80 | len(payload)]) + mask + masked)

    def _read_exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._buffer += self._receive()
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    def _read_until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            self._buffer += self._receive()
        data, self._buffer = self._buffer.split(mark, 1)
        return data

    def _receive(self) -> bytes:
        data = self._socket.recv(1 << 16)
        if not data:
            raise ConnectionError("ComfyUI ended the connection")
        return data
