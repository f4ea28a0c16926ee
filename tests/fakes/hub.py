"""A model hub, and the smallest folder that looks like a model. No weights worth the name."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

QWEN = "Qwen/Qwen2.5-0.5B-Instruct"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def weights(size: int = 4000) -> bytes:
    """Return a safetensors file of one tensor."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    body = hashlib.shake_128(b"weights").digest(size)
    return len(header).to_bytes(8, "little") + header + body


def model_files(**config: Any) -> dict[str, bytes]:
    about = {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], **config}
    return {
        "config.json": json.dumps(about).encode(),
        "model.safetensors": weights(),
        "tokenizer.json": b'{"model": {"type": "BPE"}}',
        "tokenizer_config.json": b"{}",
    }


def write_model(folder: Path, files: dict[str, bytes] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in (files or model_files()).items():
        (folder / name).write_bytes(data)
    return folder


class HubFake:
    """`with HubFake() as hub`, then HF_ENDPOINT = hub.url. Runs in a thread of its own."""

    def __init__(self, name: str = QWEN, files: dict[str, bytes] | None = None) -> None:
        self.name = name
        self.files = {**(files or model_files()), "README.md": b"hello", "extra.bin": b"x" * 999}
        self.cut_after: list[int] = []  # bytes of the body after which the next big files break off
        self.damage = 0  # so many of the next big files arrive with a wrong byte
        self.status = 200
        self.log: list[tuple[str, str]] = []  # path, Range
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def fetched(self) -> list[str]:
        return [path.rpartition("/")[2] for path, _ in self.log if "/resolve/" in path]

    def listing(self) -> dict[str, Any]:
        siblings = []
        for name, data in self.files.items():
            about: dict[str, Any] = {"rfilename": name, "size": len(data)}
            about["blobId"] = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()  # noqa: S324
            if name.endswith((".safetensors", ".bin")):
                digest = hashlib.sha256(data).hexdigest()
                about["lfs"] = {"sha256": digest, "size": len(data), "pointerSize": 134}
            siblings.append(about)
        return {"id": self.name, "modelId": self.name, "sha": COMMIT, "siblings": siblings}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                fake.log.append((path, self.headers.get("Range", "")))
                if fake.status != 200:
                    self._send(fake.status, b"{}")
                elif path in (f"/api/models/{fake.name}", f"/api/models/{fake.name}/revision/main"):
                    self._send(200, json.dumps(fake.listing()).encode())
                elif "/resolve/" in path and path.endswith(".safetensors"):  # as the real one does
                    self._send(302, b"", {"Location": f"/cdn/{COMMIT}/{path.rpartition('/')[2]}"})
                elif (name := path.rpartition("/")[2]) in fake.files and COMMIT in path:
                    self._file(name)
                else:
                    self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})

            def _file(self, name: str) -> None:
                data, status, more = fake.files[name], 200, {}
                if (asked := self.headers.get("Range", "")).startswith("bytes="):
                    begin = int(asked.removeprefix("bytes=").rstrip("-"))
                    more = {"Content-Range": f"bytes {begin}-{len(data) - 1}/{len(data)}"}
                    data, status = data[begin:], 206
                if name.endswith(".safetensors") and fake.damage:
                    fake.damage -= 1
                    data = data[:-1] + bytes([data[-1] ^ 1])
                cut = fake.cut_after.pop(0) if name.endswith("tensors") and fake.cut_after else None
                self._send(status, data, more, cut)

            def _send(
                self,
                status: int,
                body: bytes,
                more: dict[str, str] | None = None,
                cut: int | None = None,
            ) -> None:
                self.send_response(status)
                headers = {"Content-Length": str(len(body)), "Connection": "close", **(more or {})}
                for key, value in headers.items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(body[:cut])

        return Handler
