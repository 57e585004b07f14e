"""A client of ComfyUI's HTTP and WebSocket API. Needs websocket-client."""

from __future__ import annotations

import json
import struct
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import ProxyHandler, Request, build_opener

import websocket

from devtools.comfyui.prompt import node

PREVIEW_IMAGE = 1
"""The event number of a binary message that carries a preview: an 8-byte header, then the encoded image."""

OnEvent = Callable[[str, dict], None]
"""Receives the type and the data of each message about a prompt."""


class PromptRejected(Exception):
    """The server refused a prompt before running it. `node_errors` is its answer, by node id."""

    def __init__(self, answer: dict):
        self.node_errors = answer.get("node_errors") or {}
        error = answer.get("error") or {}
        reasons = [" ".join(filter(None, (error.get("message"), error.get("details"))))]
        for node_id, refused in self.node_errors.items():
            for problem in refused["errors"]:
                reasons.append(f"node {node_id} ({refused['class_type']}): {problem['message']}: {problem['details']}")
        super().__init__("ComfyUI rejected the prompt. " + "; ".join(reasons))


class ExecutionFailed(Exception):
    """A node raised an error. `details` is the server's execution_error message."""

    def __init__(self, details: dict):
        self.details = details
        super().__init__(f"{details['node_type']} (node {details['node_id']}): {details['exception_message'].strip()}")


class ExecutionInterrupted(Exception):
    """The run was cancelled."""


class Events(list):
    """Collects a run's messages as (type, data); pass it as `on_event`."""

    def __call__(self, kind: str, data: dict) -> None:
        self.append((kind, data))

    def of(self, kind: str) -> list[dict]:
        """The data of all messages of one type, in order."""
        return [data for name, data in self if name == kind]


class ComfyClient:
    """Talks to the server at `url` and follows the progress of the prompts it has queued itself."""

    def __init__(self, url: str):
        self.url = url.rstrip("/")
        self.client_id = uuid.uuid4().hex
        self._socket: websocket.WebSocket | None = None
        # The server is on this machine, out of reach of any proxy that is set for the internet.
        self._opener = build_opener(ProxyHandler({}))

    def close(self) -> None:
        """Close the WebSocket, if there is one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def object_info(self, node: str | None = None) -> dict:
        """The descriptions of all nodes by class name, or of `node` alone ({} if the server lacks it)."""
        return self._json("/object_info" + (f"/{quote(node)}" if node else ""))

    def upload(self, path: Path) -> str:
        """Put a picture into the server's input folder; return the name for LoadImage."""
        boundary = uuid.uuid4().hex
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{Path(path).name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        body = head.encode() + Path(path).read_bytes() + f"\r\n--{boundary}--\r\n".encode()
        answer = self._json("/upload/image", body, f"multipart/form-data; boundary={boundary}")
        return "/".join(filter(None, (answer["subfolder"], answer["name"])))

    def queue(self, prompt: dict) -> str:
        """Queue an API prompt and return its id. Raises PromptRejected if any node of it is invalid."""
        if self._socket is None:
            # The server sends messages only to clients that are connected at that moment.
            self._socket = connect(f"{self.url.replace('http', 'ws', 1)}/ws?clientId={self.client_id}")
        try:
            answer = self._json("/prompt", {"prompt": prompt, "client_id": self.client_id})
        except HTTPError as error:
            raise PromptRejected(json.load(error)) from None
        if answer.get("node_errors"):
            self.interrupt(answer["prompt_id"])
            raise PromptRejected(answer)
        return answer["prompt_id"]

    def wait(self, prompt_id: str, on_event: OnEvent | None = None, timeout: float = 600.0) -> dict:
        """Wait until a prompt is done and return its history entry (`outputs`, `status`).

        `on_event` receives the type and data of every message about this prompt as it arrives: execution_start,
        execution_cached, executing, progress, executed, execution_success and so on; of a preview, "preview" and
        {"image": its bytes}. Raises ExecutionFailed, ExecutionInterrupted, or TimeoutError after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            # The history decides: messages can get lost, so it is asked again after each silence.
            if not self._hear(prompt_id, on_event):
                entry = self._json(f"/history/{prompt_id}").get(prompt_id)
                if entry is not None:
                    return self._successful(entry)
        raise TimeoutError(f"Prompt {prompt_id} was not done after {timeout:.0f} s")

    def run(self, prompt: dict, on_event: OnEvent | None = None, timeout: float = 600.0) -> dict:
        """Queue a prompt and wait for it."""
        return self.wait(self.queue(prompt), on_event, timeout)

    def interrupt(self, prompt_id: str | None = None) -> None:
        """Cancel a prompt, whether it runs or waits in the queue; without an id, whatever runs."""
        if prompt_id is not None:
            self.request("/queue", {"delete": [prompt_id]})
        self.request("/interrupt", {"prompt_id": prompt_id} if prompt_id else {})

    def images(self, history: dict) -> list[tuple[str, bytes]]:
        """Name and content of every picture that a run has saved."""
        pictures = []
        for output in history["outputs"].values():
            for image in output.get("images", []):
                place = {key: image[key] for key in ("filename", "subfolder", "type")}
                pictures.append((image["filename"], self._open("/view?" + urlencode(place))))
        return pictures

    def get(self, path: str) -> dict:
        """The JSON answer of a route."""
        return self._json(path)

    def request(self, path: str, body: dict | None = None) -> bytes:
        """The answer to a GET of a route, or to a POST of `body` as JSON. Raises HTTPError for an error status."""
        return self._open(path, body)

    def free(self) -> None:
        """Make a server with our inspector pack unload its models and drop cached results; done when this returns."""
        # The inspector collects garbage: a model that is collected while ComfyUI unloads it ends ComfyUI's worker.
        self.get("/inspector")
        self.request("/free", {"unload_models": True, "free_memory": True})
        # The worker reads the request after a prompt or while it waits for one. After the first prompt it has read it,
        # and it starts on the second only when it has unloaded the models.
        for _ in range(2):
            self.run({"nothing": node("PreviewAny", source="")})

    def _hear(self, prompt_id: str, on_event: OnEvent | None) -> bool:
        """Pass on the next message; False if the history may have news: after a silence, or when the prompt is done."""
        if self._socket is None:
            time.sleep(0.05)
            return False
        try:
            message = receive(self._socket, timeout=0.5)
        except ConnectionError:
            self.close()
            return False
        if message is None:
            return False
        if isinstance(message, bytes):
            (event,) = struct.unpack(">I", message[:4])
            if event == PREVIEW_IMAGE and on_event is not None:
                on_event("preview", {"image": message[8:]})
            return True
        message = json.loads(message)
        kind, data = message["type"], message["data"]
        if data.get("prompt_id") != prompt_id:
            return True
        if on_event is not None:
            on_event(kind, data)
        return not (kind == "executing" and data["node"] is None)

    @staticmethod
    def _successful(entry: dict) -> dict:
        messages = dict(entry["status"]["messages"])
        if "execution_error" in messages:
            raise ExecutionFailed(messages["execution_error"])
        if "execution_interrupted" in messages:
            raise ExecutionInterrupted(f"Prompt {messages['execution_interrupted']['prompt_id']} was cancelled")
        return entry

    def _json(self, path: str, body: dict | bytes | None = None, kind: str = "application/json") -> dict:
        return json.loads(self._open(path, body, kind))

    def _open(self, path: str, body: dict | bytes | None = None, kind: str = "application/json") -> bytes:
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        request = Request(self.url + path, data, {"Content-Type": kind} if data is not None else {})
        with self._opener.open(request, timeout=60) as answer:
            return answer.read()


def connect(url: str, timeout: float = 30.0) -> websocket.WebSocket:
    """Open a WebSocket to `ws://host:port/path`. Raises ConnectionError if the server refuses it."""
    try:
        return websocket.create_connection(url, timeout, http_no_proxy=[urlsplit(url).hostname])
    except websocket.WebSocketException as error:
        raise ConnectionError(f"{url} refused the WebSocket: {error}") from error


def receive(socket: websocket.WebSocket, timeout: float) -> str | bytes | None:
    """The next message, text as str and binary as bytes; None if none is complete within `timeout` seconds.

    Raises ConnectionError if the server closes the connection.
    """
    socket.settimeout(timeout)
    try:
        opcode, content = socket.recv_data()
    except websocket.WebSocketTimeoutException:
        return None
    except websocket.WebSocketException as error:
        raise ConnectionError(f"the WebSocket broke: {error}") from error
    if opcode == websocket.ABNF.OPCODE_CLOSE:
        raise ConnectionError("the server closed the WebSocket")
    return content.decode() if opcode == websocket.ABNF.OPCODE_TEXT else content
