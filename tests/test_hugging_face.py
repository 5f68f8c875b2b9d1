"""The Hugging Face Hub, of which a server on this machine plays the part."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pytest

from tests.small_runs import environment

pytest.importorskip("huggingface_hub")
pytest.importorskip("safetensors")
COMMIT = "a" * 40

# One process, for each imports torch.
PROGRAM = """
import gankit, os
from gankit.hub import resolve
from gankit.sharing import push

def said(call):
    try:
        call()
    except gankit.errors.GankitError as error:
        return str(error)
    return "nothing"

folder = str(resolve("hub:stargan-shapes"))
print("address", push(folder, "me/shapes", private=True))
print("domains", gankit.load("hf:me/shapes").domains)
print("revision", gankit.load("hf:me/shapes@main").domains)
for name in ("me/absent", "me/gated", "me/empty", "me/shapes@v9", "me/shapes@", "no name at all"):
    print(name, "=>", said(lambda: gankit.load(f"hf:{name}")))
print("push", "=>", said(lambda: push(folder, "others/shapes")))
"""
OFFLINE = """
print("cached", gankit.load("hf:me/shapes").domains)
print("new", "=>", said(lambda: gankit.load("hf:me/unseen")))
print("push", "=>", said(lambda: push(str(resolve("hub:stargan-shapes")), "me/shapes")))
"""


class Stub(BaseHTTPRequestHandler):
    """The addresses that huggingface_hub asks for files, and for a commit."""

    files: ClassVar[dict[str, bytes]] = {}
    created: ClassVar[dict[str, object]] = {}

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        headers.setdefault("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = self.path.split("?")[0].strip("/").split("/")
        if len(parts) < 5 or parts[2] != "resolve":
            return self.answer(404, X_Error_Code="RepoNotFound")
        name, revision, file = "/".join(parts[:2]), parts[3], parts[4]
        if name == "me/gated":
            return self.answer(403, X_Error_Code="GatedRepo")
        if name == "me/empty":
            return self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=COMMIT)
        if name != "me/shapes":
            return self.answer(404, X_Error_Code="RepoNotFound")
        if revision not in ("main", COMMIT):
            return self.answer(404, X_Error_Code="RevisionNotFound")
        etag = f'"{hash(file) & 0xFFFF:x}"'
        return self.answer(200, self.files[file], ETag=etag, X_Repo_Commit=COMMIT)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        here = f"http://{self.headers['Host']}/me/shapes"
        if "others" in self.path or b"others" in body:
            return self.answer(403, b"{}")
        if self.path.endswith("/repos/create"):
            self.created.update(json.loads(body))
            return self.json({"url": here, "name": "me/shapes", "id": "1"})
        if "preupload" in self.path:
            asked = json.loads(body)["files"]
            modes = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in asked
            ]
            return self.json({"files": modes})
        if "/commit/" in self.path:
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    value = entry["value"]
                    self.files[value["path"]] = base64.b64decode(value["content"])
            return self.json(
                {"commitUrl": f"{here}/commit/{COMMIT}", "commitOid": COMMIT, "success": True}
            )
        return self.json({"errors": [], "warnings": []})

    def json(self, value: object) -> None:
        self.answer(200, json.dumps(value).encode(), Content_Type="application/json")


@pytest.fixture
def address() -> Iterator[str]:
    Stub.files.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stub)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_a_generator_goes_to_the_hub_and_comes_back(address: str, tmp_path: Path) -> None:
    variables = {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path), "HF_TOKEN": "hf_stub"}
    variables |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1"}
    variables |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "NO_PROXY": "127.0.0.1"}

    def lines(program: str, **more: str) -> dict[str, str]:
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=environment(**variables, **more),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return dict(
            line.split(" => " if " => " in line else " ", 1) for line in done.stdout.splitlines()
        )

    online = lines(PROGRAM)
    assert online["address"] == f"{address}/me/shapes/commit/{COMMIT}"
    assert Stub.created.get("private") is True or Stub.created["visibility"] == "private"
    assert set(Stub.files) == {"model.safetensors", "config.json", "README.md", "sample.png"}
    assert online["domains"] == online["revision"]
    assert "red" in online["domains"]
    assert "there is no repository me/absent, or it is private" in online["me/absent"]
    assert "me/gated is gated" in online["me/gated"]
    assert "me/empty lacks model.safetensors or config.json" in online["me/empty"]
    assert "me/shapes has no revision v9" in online["me/shapes@v9"]
    assert "hf:me/shapes@ names no revision" in online["me/shapes@"]
    assert "no name of a repository" in online["no name at all"]
    assert "refused others/shapes with status 403" in online["push"]
    start = PROGRAM[: PROGRAM.index("folder =")]
    offline = lines(start + OFFLINE, HF_HUB_OFFLINE="1")
    assert offline["cached"] == online["domains"]
    assert "me/unseen was not downloaded before" in offline["new"]
    assert "HF_HUB_OFFLINE is set" in offline["push"]
