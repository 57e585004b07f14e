"""A model hub on 127.0.0.1, with a second server as its content network, and faults that tests can ask for."""

import dataclasses
import functools
import hashlib
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_RESOLVE = re.compile(r"/([\w.-]+/[\w.-]+)/resolve/([\w.-]+)/([\w./-]+)")


@dataclasses.dataclass
class Transfer:
    """A GET of a file's content: the first byte asked for, and how many were sent."""

    name: str
    start: int
    sent: int = 0


class Hub:
    """Serves files as the Hub serves large ones: HEAD and GET of /REPO/resolve/REVISION/FILE redirect to another host.

    `cuts` lists, for each transfer to come, after how many bytes its connection breaks (None for never). `damaged`
    names files that are sent with one wrong byte. `refusals` maps repositories to a status and an X-Error-Code.
    `pause` is the time in seconds before each 64 kB. Without `ranges` whole files are sent whatever range was asked
    for.
    """

    def __init__(self):
        self.transfers: list[Transfer] = []
        self.tokens: dict[str, set[str | None]] = {"hub": set(), "content": set()}
        self._commits: dict[tuple[str, str], dict[str, bytes]] = {}
        self._mains: dict[str, str] = {}
        self.reset()
        self._content = self._serve(self._answer_content)
        self._hub = self._serve(self._answer_hub)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._hub.server_port}"

    def reset(self) -> None:
        """No faults from now on; forget the transfers so far."""
        self.cuts: list[int | None] = []
        self.damaged: set[str] = set()
        self.refusals: dict[str, tuple[int, str]] = {}
        self.pause = 0.0
        self.ranges = True
        self.transfers.clear()

    def put(self, repo: str, name: str, content: bytes) -> None:
        """Commit a file to the repository's main branch; earlier commits stay."""
        files = {**self._commits.get((repo, self._mains.get(repo, "")), {}), name: content}
        commit = hashlib.sha1(repr([(key, _sha256(files[key])) for key in sorted(files)]).encode()).hexdigest()
        self._commits[repo, commit] = files
        self._mains[repo] = commit

    def remove(self, repo: str, name: str) -> None:
        commit = hashlib.sha1(name.encode()).hexdigest()
        self._commits[repo, commit] = {
            key: value for key, value in self._commits[repo, self._mains[repo]].items() if key != name
        }
        self._mains[repo] = commit

    def sent(self, name: str) -> int:
        return sum(transfer.sent for transfer in self.transfers if transfer.name == name)

    def close(self) -> None:
        for server in (self._hub, self._content):
            server.shutdown()
            server.server_close()

    def _serve(self, answer) -> ThreadingHTTPServer:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                answer(self)

            do_HEAD = do_GET

            def log_message(self, *about):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return server

    def _answer_hub(self, request: BaseHTTPRequestHandler) -> None:
        match = _RESOLVE.fullmatch(request.path)
        if match is None:
            return _answer(request, 404, {})
        self.tokens["hub"].add(request.headers.get("Authorization"))
        repo, revision, name = match.groups()
        commit = self._mains.get(repo, "") if revision == "main" else revision
        files = self._commits.get((repo, commit))
        if repo in self.refusals:
            return _answer(request, self.refusals[repo][0], {"X-Error-Code": self.refusals[repo][1]})
        if files is None:
            return _answer(request, 404, {"X-Error-Code": "RepoNotFound"})
        if name not in files:
            return _answer(request, 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        sha256 = _sha256(files[name])
        _answer(
            request,
            302,
            {
                "Location": f"http://localhost:{self._content.server_port}/{repo}/{commit}/{name}",
                "X-Repo-Commit": commit,
                "X-Linked-Etag": f'"{sha256}"',
                "X-Linked-Size": str(len(files[name])),
                "ETag": '"of the redirection"',
            },
        )

    def _answer_content(self, request: BaseHTTPRequestHandler) -> None:
        self.tokens["content"].add(request.headers.get("Authorization"))
        owner, repo, commit, name = request.path[1:].split("/", 3)
        content = self._commits[f"{owner}/{repo}", commit][name]
        # A content network that may compress its response ignores the range.
        whole = not self.ranges or "gzip" in request.headers.get("Accept-Encoding", "")
        asked = None if whole else re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        end = int(asked[2]) + 1 if asked else len(content)
        body = bytearray(content[start:end])
        if name in self.damaged:
            body[len(body) // 2] ^= 1
        headers = {"ETag": '"of the content network"', "Content-Length": str(len(body))}
        if asked:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
        cut = self.cuts.pop(0) if self.cuts else None
        self.transfers.append(transfer := Transfer(name, start))
        _head(request, 206 if asked else 200, headers)
        body = memoryview(body)[:cut]
        try:
            while transfer.sent < len(body):
                time.sleep(self.pause)
                block = body[transfer.sent : transfer.sent + 65536]
                request.wfile.write(block)
                transfer.sent += len(block)
        except OSError:  # the other side has hung up
            request.close_connection = True
        if cut is not None:
            request.close_connection = True


@functools.cache
def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _head(request: BaseHTTPRequestHandler, status: int, headers: dict[str, str]) -> None:
    request.send_response(status)
    for key, value in headers.items():
        request.send_header(key, value)
    request.end_headers()


def _answer(request: BaseHTTPRequestHandler, status: int, headers: dict[str, str]) -> None:
    body = b"" if status < 400 or request.command == "HEAD" else json.dumps({"error": f"status {status}"}).encode()
    _head(request, status, {**headers, "Content-Length": str(len(body))})
    request.wfile.write(body)
