"""The WebSocket client against bytes as RFC 6455 allows a server to send them."""

import socket
import threading

import pytest

from devtools.comfyui.websocket import WebSocket

ACCEPTED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"


@pytest.fixture
def serve():
    """Start a server that answers one connection with the given bytes and keeps what it is sent afterwards."""
    listener = socket.create_server(("127.0.0.1", 0))
    received = bytearray()
    threads = []

    def start(answer: bytes):
        def run():
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)
                while part := connection.recv(4096):
                    received.extend(part)

        threads.append(threading.Thread(target=run, daemon=True))
        threads[0].start()
        return WebSocket(f"ws://127.0.0.1:{listener.getsockname()[1]}/ws?clientId=a"), received, threads[0]

    yield start
    listener.close()


def test_a_message_in_parts_with_a_ping_between_them_arrives_whole(serve):
    client, received, server = serve(ACCEPTED + b"\x01\x03Hel" + b"\x89\x01?" + b"\x80\x02lo")

    assert client.receive(5) == "Hello"
    client.close()
    server.join(5)
    # The answer to the ping is a masked pong of one byte: frame head, length, four bytes of mask, content.
    assert received[:2] == b"\x8a\x81" and received[6] ^ received[2] == ord("?")


def test_messages_of_every_length_form_arrive(serve):
    middle, long = b"m" * 300, b"l" * 70_000
    frames = b"\x82\x7e" + len(middle).to_bytes(2, "big") + middle + b"\x82\x7f" + len(long).to_bytes(8, "big") + long
    client, _, _ = serve(ACCEPTED + frames)

    assert client.receive(5) == middle
    assert client.receive(5) == long
    client.close()


def test_silence_is_no_message_and_half_a_frame_is_silence(serve):
    client, _, _ = serve(ACCEPTED + b"\x81\x05He")

    assert client.receive(0.1) is None
    client.close()


def test_a_server_that_closes_raises_a_connection_error(serve):
    client, _, _ = serve(ACCEPTED + b"\x88\x00")

    with pytest.raises(ConnectionError):
        client.receive(5)
    client.close()


def test_a_refused_handshake_names_the_answer(serve):
    with pytest.raises(ConnectionError, match="404"):
        serve(b"HTTP/1.1 404 Not Found\r\n\r\n")
