"""A WebSocket client (RFC 6455), as much of it as a ComfyUI server on this machine needs."""

from __future__ import annotations

import base64
import os
import socket
import struct
import time
from urllib.parse import urlsplit

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


class WebSocket:
    """A connection to `ws://host:port/path`. Raises ConnectionError if the server refuses or ends it."""

    def __init__(self, url: str, timeout: float = 30.0):
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname, parts.port), timeout)
        self._received = bytearray()
        self._handshake(parts, time.monotonic() + timeout)

    def _handshake(self, parts, deadline: float) -> None:
        request = (
            f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n\r\n"
        )
        self._socket.sendall(request.encode())
        while b"\r\n\r\n" not in self._received:
            if not self._fill(deadline):
                raise ConnectionError(f"{parts.netloc} did not answer the WebSocket request in time")
        head, _, rest = bytes(self._received).partition(b"\r\n\r\n")
        status = head.split(b"\r\n")[0].decode(errors="replace")
        if " 101 " not in status + " ":
            raise ConnectionError(f"{parts.netloc} refused the WebSocket: {status}")
        self._received = bytearray(rest)

    def receive(self, timeout: float) -> str | bytes | None:
        """Return the next message, text as str and binary as bytes; None if none is complete after `timeout` s."""
        deadline = time.monotonic() + timeout
        while True:
            message = self._next_message()
            if message is not None:
                return message
            if not self._fill(deadline):
                return None

    def send(self, text: str) -> None:
        """Send one text message."""
        self._send_frame(TEXT, text.encode())

    def close(self) -> None:
        """Say goodbye, as far as the server still listens, and close."""
        try:
            self._send_frame(CLOSE, b"")
        except OSError:
            pass
        self._socket.close()

    def _next_message(self) -> str | bytes | None:
        """Take one complete message out of the received bytes, None while it is incomplete."""
        payload, kind, position = b"", None, 0
        while True:
            frame = self._parse_frame(position)
            if frame is None:
                return None
            opcode, final, content, end = frame
            if opcode in (CLOSE, PING, PONG):
                # Control frames may stand between the parts of a message, so they are cut out where they are.
                del self._received[position:end]
                if opcode == CLOSE:
                    raise ConnectionError("the server closed the WebSocket")
                if opcode == PING:
                    self._send_frame(PONG, content)
                continue
            kind = opcode if opcode != CONTINUATION else kind
            payload += content
            position = end
            if final:
                del self._received[:end]
                return payload.decode() if kind == TEXT else payload

    def _parse_frame(self, start: int) -> tuple[int, bool, bytes, int] | None:
        """Return opcode, whether the message ends, content and end of the frame at `start`; None if it is cut off."""
        data = self._received
        if len(data) < start + 2:
            return None
        length, body = data[start + 1] & 0x7F, start + 2
        if length >= 126:
            form, size = ("!H", 2) if length == 126 else ("!Q", 8)
            if len(data) < body + size:
                return None
            (length,) = struct.unpack_from(form, data, body)
            body += size
        if len(data) < body + length:
            return None
        return data[start] & 0x0F, bool(data[start] & 0x80), bytes(data[body : body + length]), body + length

    def _send_frame(self, opcode: int, content: bytes) -> None:
        size = len(content)
        if size < 126:
            head = struct.pack("!BB", 0x80 | opcode, 0x80 | size)
        elif size < 1 << 16:
            head = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, size)
        else:
            head = struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, size)
        mask = os.urandom(4)
        self._socket.sendall(head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(content)))

    def _fill(self, deadline: float) -> bool:
        """Wait for more bytes until `deadline`; False if none came."""
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            return False
        self._socket.settimeout(remaining)
        try:
            received = self._socket.recv(1 << 16)
        except TimeoutError:
            return False
        if not received:
            raise ConnectionError("the server closed the WebSocket")
        self._received += received
        return True
