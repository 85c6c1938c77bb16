"""A real HTTP server on loopback that says what a test wants: the faults of rewriters, and a good one's answers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, dict[str, str], str | bytes]


def said(text: Any, *, tokens: Any = 7, **choice: Any) -> Reply:
    """A well-formed chat completion that says `text`."""
    content = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop", **choice}
    usage = {"prompt_tokens": 5, "completion_tokens": tokens, "total_tokens": 12}
    whole = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [content], "usage": usage}
    return 200, {}, json.dumps(whole)


class Fake(ThreadingHTTPServer):
    """A loopback server; `script` makes the reply to each request, given its body and how often that body came."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: Callable[[dict[str, Any], int], Reply] = lambda body, tries: said("fine")
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.open, self.most_open = 0, 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: Fake

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.bodies.append(body)
            server.headers.append({name.lower(): value for name, value in self.headers.items()})
            server.times.append(time.monotonic())
            tries = server.bodies.count(body)
            server.open += 1
            server.most_open = max(server.most_open, server.open)
        try:
            status, headers, text = server.script(body, tries)
        finally:
            with server.lock:
                server.open -= 1
        data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
        try:
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # The client's patience ended, as the test wants.

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serving(script: Callable[[dict[str, Any], int], Reply] | None = None) -> Iterator[Fake]:
    """A server that runs while the block does."""
    server = Fake()
    if script is not None:
        server.script = script
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
