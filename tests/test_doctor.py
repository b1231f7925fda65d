"""Doctor's probes: the storage of runs, local and S3, the home of models and indexes, the key of de-identification."""

from __future__ import annotations

import http.server
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from nosology import doctor
from nosology.config import Config


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("NOSOLOGY_HOME", str(tmp_path / "home"))
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    return tmp_path / "home"


@pytest.fixture
def blocked(tmp_path: Path) -> Path:
    """A place where no folder can be made, for root neither."""
    file = tmp_path / "file"
    file.write_text("")
    return file / "below"


def storage_of(uri: str) -> doctor.Finding:
    return doctor._write("storage", uri, "--out")


class Answer(http.server.BaseHTTPRequestHandler):
    """An S3 server with one answer to everything."""

    protocol_version = "HTTP/1.1"
    status, code = 404, "NoSuchBucket"

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        body = f"<?xml version='1.0'?><Error><Code>{self.code}</Code><Message>no</Message></Error>".encode()
        self.send_response(self.status)
        self.send_header("content-type", "application/xml")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Answer]]:
    kind = type("OneAnswer", (Answer,), {})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    yield kind
    server.shutdown()
    server.server_close()


def test_a_folder_that_can_be_made_is_good_and_nothing_stays(tmp_path: Path) -> None:
    assert storage_of(str(tmp_path / "runs" / "a")).state == "good" and not (tmp_path / "runs").exists()
    (tmp_path / "runs").mkdir()
    assert storage_of(str(tmp_path / "runs")).state == "good" and list(tmp_path.iterdir()) == [tmp_path / "runs"]
    assert storage_of("memory://doctor/runs").state == "good"


def test_a_folder_that_cannot_be_written(blocked: Path) -> None:
    found = storage_of(str(blocked))
    assert found.state == "bad" and "written" in str(found.means) and "--out" in str(found.remedy)


def test_the_home_must_take_an_index_or_hold_one(tmp_path: Path, blocked: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._home().state == "good" and not own_home.exists()
    monkeypatch.setenv("NOSOLOGY_HOME", str(blocked))
    assert doctor._home().state == "bad" and "NOSOLOGY_HOME" in str(doctor._home().remedy)
    (own_home / "index-1").mkdir(parents=True)
    monkeypatch.setenv("NOSOLOGY_HOME", str(own_home))
    monkeypatch.setattr(doctor, "_probe", lambda uri: doctor.InputError("the file system is read-only"))
    assert doctor._home().state == "limited" and "index" in str(doctor._home().means)


def test_the_key_of_deidentification(tmp_path: Path, blocked: Path) -> None:
    def found(file: Path) -> list[str]:
        return [f.state for f in doctor._key_folder(Config.model_validate({"deid": {"key_file": str(file)}}))]

    assert doctor._key_folder(Config()) == []
    assert found(tmp_path / "keys" / "new") == ["good"] and not (tmp_path / "keys").exists()
    assert found(blocked / "key") == ["bad"]
    open_key = tmp_path / "open"
    open_key.write_text("00" * 32)
    open_key.chmod(0o644)
    assert found(open_key) == ["bad"]
    open_key.chmod(0o600)
    assert found(open_key) == ["good"]


@pytest.mark.parametrize(
    ("status", "code", "words", "remedy"),
    [
        (404, "NoSuchBucket", "no such bucket", "Make the bucket"),
        (403, "AccessDenied", "access denied", "credentials"),
        (403, "SignatureDoesNotMatch", "access denied", "credentials"),
    ],
)
def test_what_a_server_says_is_a_finding(s3: type[Answer], status: int, code: str, words: str, remedy: str) -> None:
    s3.status, s3.code = status, code
    found = storage_of("s3://bucket/runs")
    assert found.state == "bad" and words in str(found.means) and remedy in str(found.remedy) and "--out" in str(found.remedy)


def test_no_credentials(s3: type[Answer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    found = storage_of("s3://bucket/runs")
    assert "no credentials" in str(found.means) and "AWS_ACCESS_KEY_ID" in str(found.remedy)


@pytest.mark.parametrize(("endpoint", "words"), [("http://127.0.0.1:9", "does not answer"), ("nonsense", "no URL")])
def test_an_endpoint_that_is_not_there(s3: type[Answer], monkeypatch: pytest.MonkeyPatch, endpoint: str, words: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    found = storage_of("s3://bucket/runs")
    assert found.state == "bad" and words in str(found.means) and "AWS_ENDPOINT_URL" in str(found.remedy)


def test_an_endpoint_that_never_answers_is_given_up(s3: type[Answer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_PROBE_SECONDS", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        found = storage_of("s3://bucket/runs")
    assert found.state == "bad" and "does not answer" in str(found.means)


def test_an_address_without_a_driver() -> None:
    found = storage_of("nonsense://x/y")
    assert found.state == "bad" and "no driver" in str(found.means)


def test_the_verb_says_it_in_one_line_without_a_trace(tmp_path: Path) -> None:
    environment = {**os.environ, "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    done = subprocess.run(
        [sys.executable, "-m", "nosology.cli", "doctor", "--out", "s3://bucket/runs", "--json"],
        capture_output=True, text=True, env=environment, cwd=tmp_path,
    )  # fmt: skip
    last = json.loads(done.stdout.splitlines()[-1])
    (found,) = (f for f in last["findings"] if f["check"] == "storage")
    assert done.returncode == 1 == last["exit"] and "storage" in last["error"] and found["found"] == "s3://bucket/runs"
    assert "does not answer" in found["means"] and "Traceback" not in done.stdout + done.stderr
    assert not list(tmp_path.glob("runs"))
