"""An S3 server of this machine (moto's, in a process of its own) and, in front of it, a proxy that misbehaves as it is told.

The proxy is what clients see. A `Fault` says which requests it harms, how, and how often; `strip_conditions` and `stale_seconds` hold
for all requests until they are set back. moto looks for an object and then stores it, in two steps, so the proxy lets one put at a
time through: what S3 promises of conditional puts is then true of the pair.
"""

from __future__ import annotations

import asyncio
import random
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections import Counter
from dataclasses import dataclass, field

from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, web

BUCKET = "archive"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
_DROPPED = {"transfer-encoding", "connection", "content-length", "content-encoding", "server", "date"}
_XML = '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{}</Code><Message>{}</Message><RequestId>0</RequestId></Error>'
_ERRORS = {
    "slow_down": (503, "SlowDown", "Please reduce your request rate."),
    "conflict": (409, "ConditionalRequestConflict", "A conflicting operation occurred during the request."),
    "internal": (500, "InternalError", "We encountered an internal error. Please try again."),
}
KINDS = (*_ERRORS, "reset", "lost_answer", "late_answer", "cut_body", "short_body")


@dataclass
class Fault:
    """Requests that are harmed.

    Attributes:
        kind: `slow_down`, `conflict`, `internal`: that error, nothing is done. `reset`: the connection ends, nothing is done.
            `lost_answer`: the work is done, then the connection ends. `late_answer`: the work is done, the answer comes too late.
            `cut_body`: the body ends before its length. `short_body`: half of the body, and a length to match.
        method: of HTTP. match: a regular expression for the path and query.
        times: how many requests; those of any key together.
    """

    kind: str
    method: str
    match: str
    times: int = 1
    hits: int = 0

    def takes(self, request: web.Request) -> bool:
        found = self.hits < self.times and request.method == self.method and re.search(self.match, request.path_qs) is not None
        return found and (self.kind != "conflict" or "If-None-Match" in request.headers)


@dataclass
class Chaos:
    """A share of all requests is harmed, in ways drawn from a seed; no key more than `most` times in a row."""

    seed: int
    share: float
    kinds: tuple[str, ...] = ("slow_down", "conflict", "internal", "reset", "lost_answer", "cut_body")
    most: int = 2
    _rows: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)

    def draw(self, request: web.Request) -> str | None:
        key = f"{request.method} {request.path}"
        if self._chance.random() >= self.share or self._rows[key] >= self.most:
            self._rows[key] = 0
            return None
        self._rows[key] += 1
        kind = self._chance.choice(self.kinds)
        if kind == "conflict" and "If-None-Match" not in request.headers:
            return "slow_down"
        return "reset" if kind == "cut_body" and request.method != "GET" else kind


class Store:
    """Server and proxy, started and stopped together."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.chaos: Chaos | None = None
        self.strip_conditions = False
        self.stale_seconds = 0.0
        self.late_seconds = 5.0
        self.injected: Counter[str] = Counter()
        self.num_requests = 0
        self._created: dict[str, float] = {}
        self._behind, self._port = _free_port(), _free_port()
        self._server = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self._behind)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )  # fmt: skip
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        _wait_for(self._behind)
        self._ready.wait(30)
        request = urllib.request.Request(f"http://127.0.0.1:{self._behind}/{BUCKET}", method="PUT")
        with urllib.request.urlopen(request, timeout=10):
            pass

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def behave(self) -> None:
        """No faults from here on."""
        self.faults, self.chaos, self.strip_conditions, self.stale_seconds = [], None, False, 0.0

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(10)
        self._server.terminate()
        self._server.wait(10)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._run())

    async def _run(self) -> None:
        self._stopped, self._puts = asyncio.Event(), asyncio.Lock()
        self._client = ClientSession(
            timeout=ClientTimeout(total=60), auto_decompress=False, cookie_jar=DummyCookieJar(), connector=TCPConnector(force_close=True)
        )
        application = web.Application(client_max_size=1 << 30)
        application.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self._port).start()
        self._ready.set()
        await self._stopped.wait()
        await self._client.close()
        await runner.cleanup()

    def _choose(self, request: web.Request) -> str | None:
        for fault in self.faults:
            if fault.takes(request):
                fault.hits += 1
                return fault.kind
        return self.chaos.draw(request) if self.chaos else None

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.num_requests += 1
        kind = self._choose(request)
        if kind:
            self.injected[kind] += 1
        body = await request.read()
        if kind in _ERRORS:
            status, code, message = _ERRORS[kind]
            return web.Response(status=status, text=_XML.format(code, message), content_type="application/xml")
        if kind == "reset":
            return self._hang_up(request)
        status, headers, answer = await self._forward(request, body)
        if kind == "lost_answer":
            return self._hang_up(request)
        if kind == "late_answer":
            await asyncio.sleep(self.late_seconds)
        if kind == "short_body":
            answer = answer[: len(answer) // 2]
        if request.method == "HEAD":
            length = headers.pop("Content-Length", "0")
            return web.Response(status=status, headers={**headers, "Content-Length": length})
        if kind == "cut_body" and len(answer) > 1:
            response = web.StreamResponse(status=status, headers={**headers, "Content-Length": str(len(answer))})
            await response.prepare(request)
            await response.write(answer[: len(answer) // 2])
            return self._hang_up(request)
        return web.Response(status=status, headers=headers, body=answer)

    async def _forward(self, request: web.Request, body: bytes) -> tuple[int, dict[str, str], bytes]:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in ("host", "content-length")}
        if self.strip_conditions:
            headers.pop("If-None-Match", None)
        if request.method == "PUT":
            async with self._puts:
                status, found, answer = await self._ask(request, headers, body)
            if status == 200:
                self._created[urllib.parse.unquote(request.path)] = time.monotonic()
        else:
            status, found, answer = await self._ask(request, headers, body)
        kept = {
            name: value
            for name, value in found.items()
            if name.lower() not in _DROPPED or (request.method == "HEAD" and name.lower() == "content-length")
        }
        if request.method == "GET" and "list-type" in request.query and self.stale_seconds:
            answer = self._as_it_was(answer, request.path)
        return status, kept, answer

    async def _ask(self, request: web.Request, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        from yarl import URL

        url = URL(f"http://127.0.0.1:{self._behind}{request.raw_path}", encoded=True)
        async with self._client.request(request.method, url, headers=headers, data=body, allow_redirects=False) as response:
            return response.status, dict(response.headers), await response.read()

    def _as_it_was(self, answer: bytes, path: str) -> bytes:
        """A listing without what a run created a moment ago."""
        since = time.monotonic() - self.stale_seconds

        def keep(found: re.Match[bytes]) -> bytes:
            key = re.search(rb"<Key>(.*?)</Key>", found[0])
            assert key
            name = f"{path.rstrip('/')}/{urllib.parse.unquote(key[1].decode())}"
            if "/out/" not in name or self._created.get(name, 0.0) < since:
                return found[0]
            self.injected["stale"] += 1
            return b""

        return re.sub(rb"<Contents>.*?</Contents>", keep, answer, flags=re.DOTALL)

    def _hang_up(self, request: web.Request) -> web.Response:
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=500)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int) -> None:
    for _ in range(300):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError("the S3 server did not start")
