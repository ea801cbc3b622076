"""A mirror on 127.0.0.1 with every fault a real one has; a full disk; no way to the real hub."""

import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Mirror:
    """Serves one file under /good /plain (no ranges) /cut /slow /stall, faults under /wrong /wrongcut /short /page."""

    def __init__(self) -> None:
        self.content = b""
        self.requests: list[tuple[str, str | None]] = []
        self.closing = threading.Event()
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirror.answer(self)

            def log_message(self, *arguments: object) -> None:
                """Silence."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def url(self, kind: str) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/{kind}/file"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        kind, wanted = handler.path.split("/")[1], handler.headers.get("Range")
        self.requests.append((kind, wanted))
        if kind == "page":
            return self.send(handler, 200, {"Content-Type": "text/html"}, b"<html>busy</html>")
        if kind not in ("good", "plain", "cut", "wrongcut", "slow", "stall", "wrong", "short"):
            return self.send(handler, 404, {}, b"")
        content = {
            "wrong": bytes(len(self.content)),
            "wrongcut": bytes(len(self.content)),
            "short": self.content[:-1],
        }.get(kind, self.content)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and kind != "plain" else 0
        headers = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
        headers["Content-Length"] = str(len(content) - start)
        self.send(handler, 206 if start else 200, headers, content[start:], kind)
        return None

    def send(self, handler: BaseHTTPRequestHandler, code: int, headers: dict, body: bytes, kind: str = "") -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        if kind.endswith("cut"):  # at most 100 kB a connection
            body = body[:100_000]
        if kind == "stall":
            handler.wfile.write(body[:1000])
            self.closing.wait(5)
        elif kind == "slow":  # 5 kB/s
            for place in range(0, len(body), 100):
                if self.closing.wait(0.02):
                    return
                handler.wfile.write(body[place : place + 100])
        else:
            handler.wfile.write(body)

    def asked(self) -> list[str]:
        """The kinds in the order of the requests."""
        return [kind for kind, _ in self.requests]


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    mirror = Mirror()
    yield mirror
    mirror.closing.set()
    mirror.server.shutdown()
    mirror.server.server_close()


@pytest.fixture(autouse=True)
def hub_out_of_reach(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test asks huggingface.co, or finds what a developer has fetched from there."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path_factory.mktemp("hub")))


@pytest.fixture
def files_of_at_most() -> Callable[[int], AbstractContextManager[None]]:
    """The kernel refuses to write on with EFBIG, as it does with EDQUOT and ENOSPC."""

    @contextmanager
    def limited(size: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited
