"""How the client reads a WebSocket, against a server that sends given bytes."""

import base64
import hashlib
import re
import socket
import threading

import pytest

from devtools.comfyui.client import connect, receive

# RFC 6455, section 1.3: the server proves that it has read the request by hashing the key with this.
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accepted(request: bytes) -> bytes:
    """The answer that opens a WebSocket."""
    key = re.search(rb"Sec-WebSocket-Key: *(\S+)", request, re.IGNORECASE)[1]
    proof = base64.b64encode(hashlib.sha1(key + GUID).digest())
    head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    return head + b"Sec-WebSocket-Accept: " + proof + b"\r\n\r\n"


@pytest.fixture
def serve():
    """Start a server that accepts one connection, sends it the given bytes and keeps what it receives afterwards."""
    listener = socket.create_server(("127.0.0.1", 0))
    received = bytearray()
    threads = []

    def start(frames: bytes, answer=accepted):
        def run():
            connection, _ = listener.accept()
            with connection:
                connection.sendall(answer(connection.recv(4096)) + frames)
                while part := connection.recv(4096):
                    received.extend(part)

        threads.append(threading.Thread(target=run, daemon=True))
        threads[0].start()
        return connect(f"ws://127.0.0.1:{listener.getsockname()[1]}/ws?clientId=a"), received, threads[0]

    yield start
    listener.close()


def test_a_message_in_parts_with_a_ping_between_them_arrives_whole(serve):
    client, received, server = serve(b"\x01\x03Hel" + b"\x89\x01?" + b"\x80\x02lo")

    assert receive(client, 5) == "Hello"
    client.shutdown()
    server.join(5)
    # The answer to the ping is a masked pong of one byte: frame head, length, four bytes of mask, content.
    assert received[:2] == b"\x8a\x81" and received[6] ^ received[2] == ord("?")


def test_messages_of_every_length_form_arrive(serve):
    middle, long = b"m" * 300, b"l" * 70_000
    frames = b"\x82\x7e" + len(middle).to_bytes(2, "big") + middle + b"\x82\x7f" + len(long).to_bytes(8, "big") + long
    client, _, _ = serve(frames)

    assert receive(client, 5) == middle
    assert receive(client, 5) == long
    client.shutdown()


def test_silence_is_no_message_and_half_a_frame_is_silence(serve):
    client, _, _ = serve(b"\x81\x05He")

    assert receive(client, 0.1) is None
    client.shutdown()


def test_a_server_that_closes_raises_a_connection_error(serve):
    client, _, _ = serve(b"\x88\x00")

    with pytest.raises(ConnectionError):
        receive(client, 5)


def test_a_server_that_disappears_raises_a_connection_error(serve):
    client, _, _ = serve(b"\x81\x05He")

    client.sock.shutdown(socket.SHUT_RDWR)
    with pytest.raises(ConnectionError):
        receive(client, 5)


def test_a_refused_handshake_names_the_answer(serve):
    with pytest.raises(ConnectionError, match="404"):
        serve(b"", answer=lambda request: b"HTTP/1.1 404 Not Found\r\n\r\n")
