"""An HTTP server that speaks the part of the Hugging Face hub's API that publishing uses, and keeps what it is sent."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_" + "x" * 34
# As on the hub: what is larger, or no text, is a large file.
_SMALL = 20_000


@dataclass
class Repo:
    """A dataset: its files, and the names of those that are large."""

    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    large: set[str] = field(default_factory=set)


class FakeHub(ThreadingHTTPServer):
    """`repos` by name; `commits` has for each commit the names that it sent and deleted; `refuses` is a status."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos: dict[str, Repo] = {}
        self.commits: list[dict[str, list[str]]] = []
        self.stored: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.refuses = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    """A hub while the block runs."""
    hub = FakeHub()
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Silent."""

    def answer(self, value: Any, status: int = 200, **headers: str) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, content in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), content)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def missing(self) -> None:
        self.answer({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")

    def handle_any(self) -> None:
        body, path = self.body(), self.path.partition("?")[0]
        self.server.asked.append(f"{self.command} {path}")
        writes = self.command != "GET" and not path.endswith("validate-yaml") and "/stored/" not in path
        if self.server.refuses or (writes and self.headers.get("Authorization") != f"Bearer {TOKEN}"):
            self.answer({"error": "no"}, self.server.refuses or 401)
        elif path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            self.server.repos[name] = Repo(asked.get("visibility") == "private")
            self.answer({"url": f"{self.server.address}/datasets/{name}"})
        elif path.startswith("/stored/"):
            self.server.stored[path.rpartition("/")[2]] = body
            self.answer(b"")
        elif path.startswith("/api/datasets/"):
            self.dataset(path.split("/")[3:], body)
        elif path.startswith("/datasets/") and path.endswith("/objects/batch"):
            self.batch(json.loads(body))
        elif path.startswith("/datasets/") and "/resolve/" in path:
            repo, _, file = path.removeprefix("/datasets/").partition("/resolve/")
            self.resolve(repo, file.partition("/")[2])
        else:
            self.answer({"error": path}, 404)

    do_GET = do_POST = do_PUT = do_HEAD = handle_any

    def dataset(self, words: list[str], body: bytes) -> None:
        repo = self.server.repos.get("/".join(words[:2]))
        if repo is None:
            self.missing()
        elif words[2:3] == ["preupload"]:
            files = json.loads(body)["files"]
            modes = [
                {"path": f["path"], "shouldIgnore": False}
                | {"uploadMode": "lfs" if f["size"] > _SMALL or f["path"].endswith(".parquet") else "regular"}
                for f in files
            ]
            self.answer({"files": modes})
        elif words[2:3] == ["commit"]:
            self.commit(repo, [json.loads(line) for line in body.splitlines()])
        else:
            self.answer(self.info("/".join(words[:2]), repo))

    def info(self, name: str, repo: Repo) -> dict[str, Any]:
        siblings = []
        for path, content in repo.files.items():
            entry: dict[str, Any] = {"rfilename": path, "size": len(content)}
            entry["blobId"] = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()  # noqa: S324 - git's
            if path in repo.large:
                entry["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 1}
            siblings.append(entry)
        return {"id": name, "sha": "a" * 40, "private": repo.private, "siblings": siblings, "tags": []}

    def batch(self, asked: dict[str, Any]) -> None:
        objects = [
            {**one, "actions": {"upload": {"href": f"{self.server.address}/stored/{one['oid']}"}}}
            for one in asked["objects"]
        ]
        self.answer({"objects": objects, "transfer": "basic"})

    def commit(self, repo: Repo, lines: list[dict[str, Any]]) -> None:
        done: dict[str, list[str]] = {"sent": [], "deleted": []}
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                repo.files[value["path"]] = base64.b64decode(value["content"])
                repo.large.discard(value["path"])
            elif line["key"] == "lfsFile":
                repo.files[value["path"]] = self.server.stored[value["oid"]]
                repo.large.add(value["path"])
            elif line["key"] == "deletedFile":
                del repo.files[value["path"]]
            else:
                continue
            done["deleted" if line["key"] == "deletedFile" else "sent"].append(value["path"])
        self.server.commits.append(done)
        self.answer({"commitUrl": f"{self.server.address}/datasets/a/b/commit/{'a' * 40}", "commitOid": "a" * 40})

    def resolve(self, name: str, path: str) -> None:
        repo = self.server.repos.get(name)
        if repo is None or path not in repo.files:
            self.missing()
            return
        content = repo.files[path]
        tag = f'"{hashlib.sha256(content).hexdigest()}"'
        self.answer(content, ETag=tag, X_Repo_Commit="a" * 40)
