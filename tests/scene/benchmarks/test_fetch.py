"""Getting files over HTTP, from a server of its own on this machine."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile

import numpy as np
import pytest
import scipy.io

from bdgf.errors import SceneError
from bdgf.scene.benchmarks import fetch as module
from bdgf.scene.benchmarks.declaration import Benchmark, Container, Download, Modality, Stored
from bdgf.scene.benchmarks.fetch import TRIES, fetch, fetch_file
from bdgf.scene.benchmarks.part import only_one

CONTENT = np.random.default_rng(0).integers(0, 256, 300_000, dtype=np.uint8).tobytes()
OTHER = CONTENT[::-1]
CHUNK = 64 * 1024
LARGEST = 10**6
RIGHT = hashlib.sha256(CONTENT).hexdigest()


def sha(data):
    return hashlib.sha256(data).hexdigest()


def data(content=CONTENT, *, ranges=True, tag='"one"', cut=None, stall=None, length=None, **extra):
    """A good answer, or one that ends or stands still after some bytes of its body."""

    def answer(handler):
        body, start, wanted = content, 0, handler.headers.get("Range")
        fresh = handler.headers.get("If-Range") in (None, tag)
        if ranges and wanted and fresh:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                handler.head(416, {"Content-Range": f"bytes */{len(content)}"})
                return
            body = content[start:]
        headers = {"Content-Length": len(body) if length is None else length}
        headers |= {"ETag": tag} if tag else {}
        headers |= {name.replace("_", "-"): value for name, value in extra.items()}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        handler.head(206 if start else 200, headers)
        handler.body(body[: cut or stall])
        if stall is not None:
            handler.server.released.wait(120)

    return answer


def status(code, **headers):
    def answer(handler):
        handler.head(code, {name.replace("_", "-"): value for name, value in headers.items()})

    return answer


def endless(chunked):
    def answer(handler):
        handler.head(200, {"Transfer-Encoding": "chunked"} if chunked else {})
        while True:
            block = bytes(CHUNK)
            handler.body(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)

    return answer


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def head(self, code, headers):
        self.send_response(code)
        headers = {"Connection": "close", **headers}
        if code >= 300:
            headers.setdefault("Content-Length", 0)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.close_connection = True

    def body(self, block):
        # counted before: who has read all of it may look at once
        self.server.sent[-1] += len(block)
        self.wfile.write(block)

    def do_GET(self):
        server = self.server
        server.asked.append((self.path, dict(self.headers)))
        server.sent.append(0)
        answers = server.answers
        try:
            (answers.pop(0) if len(answers) > 1 else answers[0])(self)
        except OSError:
            self.close_connection = True

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.asked, self.sent = [data()], [], []
        self.released = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/scene.mat"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()
    thread.join()


class Told:
    def __init__(self):
        self.said, self.steps = [], []

    def say(self, text):
        self.said.append(text)

    def track(self, name, done, total, info=""):
        self.steps.append((name, done, total))


@pytest.fixture
def get(server, tmp_path):
    """Fetch scene.mat, and remember what was said and how long it would have waited."""

    def call(sha256=RIGHT, url=None, largest=LARGEST, **options):
        return fetch_file(
            url or server.url, tmp_path / "data", "scene.mat", sha256, largest, call.told,
            timeout=(5, 0.3), sleep=call.waits.append, **options,
        )  # fmt: skip

    call.told, call.waits = Told(), []
    return call


def names(tmp_path):
    return sorted(path.name for path in (tmp_path / "data").iterdir())


def test_a_file_comes_whole_and_nothing_else_stays(server, get, tmp_path):
    path = get()
    assert path == tmp_path / "data" / "scene.mat"
    assert path.read_bytes() == CONTENT
    assert names(tmp_path) == ["scene.mat"]
    assert get.waits == []
    assert get.told.steps[-1] == ("scene.mat", len(CONTENT), len(CONTENT))
    done = [step[1] for step in get.told.steps]
    assert done == sorted(set(done))
    assert len(done) > 2
    assert server.asked[0][1]["Accept-Encoding"] == "identity"


def test_a_file_that_is_there_is_not_fetched_again(server, get):
    get()
    get(RIGHT.upper())
    assert len(server.asked) == 1
    assert "kept" in get.told.said[-1]


def test_a_different_file_that_is_there_is_not_touched(server, get, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "scene.mat").write_bytes(b"my own")
    with pytest.raises(SceneError, match=r"never overwritten: rename or remove it"):
        get()
    assert (tmp_path / "data" / "scene.mat").read_bytes() == b"my own"
    assert server.asked == []


@pytest.mark.parametrize("make", ["folder", "link"])
def test_what_is_no_file_is_not_touched(server, get, tmp_path, make):
    (tmp_path / "data").mkdir()
    target = tmp_path / "data" / "scene.mat"
    target.mkdir() if make == "folder" else target.symlink_to(tmp_path / "nowhere")
    with pytest.raises(SceneError, match="is no file"):
        get()
    assert server.asked == []


def test_a_broken_connection_goes_on_where_it_broke(server, get):
    server.answers = [data(cut=200_000), data()]
    assert get().read_bytes() == CONTENT
    assert len(server.asked) == 2
    assert server.asked[1][1]["If-Range"] == '"one"'
    assert server.sent[1] <= len(CONTENT) - 200_000 + CHUNK
    assert len(get.waits) == 1


def test_a_connection_that_always_breaks_ends_after_all(server, get, tmp_path):
    server.answers = [data(cut=70_000, ranges=False)]
    with pytest.raises(SceneError, match=r"in 5 tries \(the connection broke\).* are kept in"):
        get()
    assert len(server.asked) == TRIES
    assert get.waits == [1, 2, 4, 8]
    assert names(tmp_path) == ["scene.mat.part", "scene.mat.part.json"]
    server.answers = [data()]
    assert get().read_bytes() == CONTENT
    assert server.sent[-1] == len(CONTENT) - CHUNK


def test_every_try_adds_its_bytes(server, get):
    server.answers = [data(cut=140_000)]
    assert get().read_bytes() == CONTENT
    # a connection that is reset may take with it what had arrived and was not read
    assert 3 <= len(server.asked) <= TRIES


def test_a_server_without_ranges_starts_again(server, get):
    server.answers = [data(cut=200_000, ranges=False), data(ranges=False)]
    assert get().read_bytes() == CONTENT
    assert server.sent[1] == len(CONTENT)


def test_a_server_that_stands_still_is_left(server, get):
    server.answers = [data(stall=150_000), data()]
    assert get().read_bytes() == CONTENT
    assert server.sent[1] == len(CONTENT) - 2 * CHUNK


@pytest.mark.parametrize("checksum", [sha(OTHER), None])
def test_a_file_that_changes_between_tries_is_not_pieced(server, get, checksum):
    server.answers = [data(cut=200_000), data(OTHER, tag='"two"')]
    assert get(checksum).read_bytes() == OTHER


def test_a_server_that_ignores_if_range_is_found_out_by_its_tag(server, get):
    def stubborn(handler):
        del handler.headers["If-Range"]
        data(OTHER, tag='"two"')(handler)

    server.answers = [data(cut=200_000), stubborn, data(OTHER, tag='"two"')]
    assert get(None).read_bytes() == OTHER


def test_pieces_that_do_not_fit_are_found_by_the_checksum(server, get):
    server.answers = [data(cut=200_000, tag=None), data(OTHER, tag=None)]
    assert get(sha(OTHER)).read_bytes() == OTHER
    assert "Range" in server.asked[1][1]
    assert "Range" not in server.asked[2][1]
    assert "do not fit together" in get.told.said[1]


def test_nothing_is_pieced_where_nothing_could_tell(server, get):
    server.answers = [data(cut=200_000, tag=None), data(OTHER, tag=None)]
    assert get(None).read_bytes() == OTHER
    assert "Range" not in server.asked[1][1]


def test_the_date_stands_in_for_a_tag(server, get):
    date = "Mon, 01 Jan 2024 00:00:00 GMT"
    server.answers = [data(cut=200_000, tag=None, Last_Modified=date), data(OTHER, tag=None)]
    get(sha(OTHER))
    assert server.asked[1][1]["If-Range"] == date


def test_a_weak_tag_is_not_trusted(server, get):
    server.answers = [data(cut=200_000, tag='W/"one"'), data(tag='W/"one"')]
    assert get(None).read_bytes() == CONTENT
    assert "Range" not in server.asked[1][1]


@pytest.mark.parametrize(
    "span", ["bytes 5-299999/300000", "bytes 196608-299999/300001", "nonsense"]
)
def test_a_wrong_piece_is_not_used(server, get, span):
    def wrong(handler):
        handler.head(206, {"Content-Range": span, "Content-Length": 10, "ETag": '"one"'})
        handler.body(bytes(10))

    server.answers = [data(cut=200_000), wrong, data()]
    assert get().read_bytes() == CONTENT
    assert "Range" not in server.asked[2][1]


def test_a_piece_that_was_not_asked_for_is_not_used(server, get):
    def wrong(handler):
        handler.head(206, {"Content-Range": "bytes 0-9/300000", "Content-Length": 10})
        handler.body(bytes(10))

    server.answers = [wrong, data()]
    assert get().read_bytes() == CONTENT
    assert "Range" not in server.asked[1][1]


def test_a_whole_part_needs_no_server(server, get, tmp_path):
    server.answers = [data(cut=200_000)]
    with pytest.raises(SceneError):
        fetch_file(server.url, tmp_path / "data", "scene.mat", None, 250_000, Told())
    (tmp_path / "data" / "scene.mat.part").write_bytes(CONTENT)
    notes = {"url": server.url, "validator": None, "length": len(CONTENT)}
    (tmp_path / "data" / "scene.mat.part.json").write_text(json.dumps(notes))
    server.asked.clear()
    assert get().read_bytes() == CONTENT
    assert server.asked == []


def test_a_piece_that_ends_early_without_a_break_is_noticed(server, get):
    def short(handler):
        span = f"bytes {3 * CHUNK}-299999/300000"
        handler.head(206, {"Content-Range": span, "Transfer-Encoding": "chunked", "ETag": '"one"'})
        handler.body(b"4\r\n" + CONTENT[3 * CHUNK :][:4] + b"\r\n0\r\n\r\n")

    server.answers = [data(cut=200_000), short, data()]
    assert get(None).read_bytes() == CONTENT
    assert server.asked[2][1]["Range"] == f"bytes={3 * CHUNK + 4}-"


def test_more_bytes_than_the_file_has_are_not_taken_for_it(server, get, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "scene.mat.part").write_bytes(CONTENT + b"more")
    notes = {"url": server.url, "validator": '"one"', "length": None}
    (tmp_path / "data" / "scene.mat.part.json").write_text(json.dumps(notes))
    assert get(None).read_bytes() == CONTENT


def test_a_file_that_appears_meanwhile_is_not_overwritten(server, get, tmp_path):
    def answer(handler):
        (tmp_path / "data" / "scene.mat").write_bytes(b"mine")
        data()(handler)

    server.answers = [answer]
    with pytest.raises(SceneError, match="by another program meanwhile"):
        get()
    assert (tmp_path / "data" / "scene.mat").read_bytes() == b"mine"


def test_a_part_longer_than_the_file_is_not_used(server, get, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "scene.mat.part").write_bytes(CONTENT + b"more")
    notes = {"url": server.url, "validator": '"one"', "length": len(CONTENT)}
    (tmp_path / "data" / "scene.mat.part.json").write_text(json.dumps(notes))
    assert get().read_bytes() == CONTENT
    assert "Range" not in server.asked[0][1]


@pytest.mark.parametrize(("part", "asked"), [(CONTENT, 1), (OTHER, 2), (CONTENT + b"x", 2)])
def test_no_bytes_left_is_checked_and_started_again(server, get, tmp_path, part, asked):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "scene.mat.part").write_bytes(part)
    notes = {"url": server.url, "validator": None, "length": None}
    (tmp_path / "data" / "scene.mat.part.json").write_text(json.dumps(notes))
    assert get().read_bytes() == CONTENT
    assert len(server.asked) == asked
    assert server.asked[0][1]["Range"] == f"bytes={len(part)}-"


@pytest.mark.parametrize(
    "notes", [None, "", "[]", "{", '{"url": 3}', '{"url": "http://127.0.0.1/else", "length": 9}']
)
def test_a_part_of_unknown_origin_is_not_used(server, get, tmp_path, notes):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "scene.mat.part").write_bytes(OTHER[:1000])
    if notes is not None:
        (tmp_path / "data" / "scene.mat.part.json").write_text(notes)
    assert get().read_bytes() == CONTENT
    assert "Range" not in server.asked[0][1]


def test_a_wrong_checksum_leaves_nothing(server, get, tmp_path):
    server.answers = [data(OTHER)]
    with pytest.raises(SceneError, match=f"SHA-256 {sha(OTHER)}, not {RIGHT}"):
        get()
    assert names(tmp_path) == []
    assert len(server.asked) == 1


def test_an_unknown_checksum_is_written_down_and_holds(server, get, tmp_path):
    path = get(None)
    record = path.with_name("scene.mat.sha256")
    assert record.read_text() == f"{RIGHT}  scene.mat\n"
    assert RIGHT in get.told.said[-1]
    get(None)
    assert len(server.asked) == 1
    path.write_bytes(b"changed")
    with pytest.raises(SceneError, match="never overwritten"):
        get(None)
    path.unlink()
    server.answers = [data(OTHER)]
    with pytest.raises(SceneError, match=r"or remove scene\.mat\.sha256"):
        get(None)
    assert names(tmp_path) == ["scene.mat.sha256"]
    record.write_text("no checksum")
    with pytest.raises(SceneError, match="64 hexadecimal digits"):
        get(None)


def test_a_file_put_there_by_hand_is_written_down(server, get, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "scene.mat").write_bytes(CONTENT)
    get(None)
    assert server.asked == []
    assert names(tmp_path) == ["scene.mat", "scene.mat.sha256"]


@pytest.mark.parametrize("code", [403, 404, 410, 304, 204])
def test_an_answer_that_will_not_change_is_not_asked_for_again(server, get, tmp_path, code):
    server.answers = [status(code)]
    with pytest.raises(SceneError, match=f"answered {code} .*by hand"):
        get()
    assert len(server.asked) == 1
    assert names(tmp_path) == []


def test_a_busy_server_is_asked_again_when_it_says(server, get):
    server.answers = [
        status(500),
        status(503, Retry_After=7),
        status(429, Retry_After=9999),
        data(),
    ]
    assert get().read_bytes() == CONTENT
    assert get.waits == [1, 7, 60]


def test_no_server(server, get):
    with pytest.raises(SceneError, match="no connection could be made"):
        get(url="http://127.0.0.1:9/scene.mat")
    assert len(get.waits) == TRIES - 1


@pytest.mark.parametrize("length", [400_000, 300_001])
def test_a_body_shorter_than_announced_is_no_file(server, get, tmp_path, length):
    server.answers = [data(length=length, ranges=False)]
    with pytest.raises(SceneError, match="5 tries"):
        get()
    assert "scene.mat" not in names(tmp_path)


def test_a_length_that_is_no_number(server, get):
    server.answers = [data(length="many"), data()]
    assert get().read_bytes() == CONTENT


@pytest.mark.parametrize("chunked", [True, False])
def test_an_endless_body_is_cut(server, get, tmp_path, chunked):
    server.answers = [endless(chunked)]
    with pytest.raises(SceneError, match=r"at most 1\.0 MB; nothing of it was kept"):
        get()
    assert names(tmp_path) == []
    assert len(server.asked) == 1


def test_a_file_announced_too_large_is_not_begun(server, get, tmp_path):
    with pytest.raises(SceneError, match=r"sends 300\.0 kB or more"):
        get(largest=len(CONTENT) - 1)
    assert names(tmp_path) == []
    assert get.told.steps == []
    assert get(largest=len(CONTENT)).read_bytes() == CONTENT


def test_a_full_disk_is_seen_before_the_download(server, get, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("bdgf.scene.benchmarks.part.shutil.disk_usage", lambda _: usage)
    with pytest.raises(SceneError, match=r"needs 300\.0 kB more and its disk has 1\.0 kB left"):
        get()
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_made(server, get, tmp_path):
    (tmp_path / "data").write_text("a file")
    with pytest.raises(SceneError, match="could not be written"):
        get()


def test_a_web_page_is_no_file(server, get, tmp_path):
    server.answers = [data(b"<html>log in</html>", Content_Type="text/html; charset=utf-8")]
    with pytest.raises(SceneError, match="web page"):
        get(None)
    assert names(tmp_path) == []


def test_a_packed_file_announced_as_packed_transfer_stays_packed(server, get):
    server.answers = [data(Content_Encoding="gzip")]
    assert get().read_bytes() == CONTENT


def test_a_redirect_is_followed_and_keeps_the_range(server, get):
    moved = status(302, Location="/else where/ä.mat".encode().decode("latin-1"))
    server.answers = [data(cut=200_000), moved, data()]
    assert get().read_bytes() == CONTENT
    assert server.asked[2][0] == "/else%20where/%C3%A4.mat"
    assert server.asked[2][1]["Range"] == f"bytes={3 * CHUNK}-"


def test_redirects_without_end(server, get):
    server.answers = [status(301, Location="/scene.mat")]
    with pytest.raises(SceneError, match="redirected 8 times"):
        get()


def test_the_body_of_a_redirect_is_not_read(server, get):
    def long(handler):
        handler.head(302, {"Location": "/x", "Transfer-Encoding": "chunked"})
        while True:
            handler.body(b"1000\r\n" + bytes(4096) + b"\r\n")

    server.answers = [long, data()]
    assert get().read_bytes() == CONTENT


@pytest.mark.parametrize(
    "place",
    ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x", "http://[::1", "http://b.org/x"],
)
def test_a_redirect_elsewhere_is_refused(server, get, tmp_path, place):
    server.answers = [status(302, Location=place)]
    with pytest.raises(SceneError):
        get(allowed_hosts=("127.0.0.1",))
    assert len(server.asked) == 1
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["", ".", "..", "/a", "a/b", "../a", "a\\b", "C:a", "a/"])
def test_a_name_stays_in_its_folder(server, tmp_path, name):
    with pytest.raises(SceneError, match="no file name"):
        fetch_file(server.url, tmp_path, name, None, LARGEST, Told())


KILLED = """
import sys
from pathlib import Path
from bdgf.progress import Silent
from bdgf.scene.benchmarks.fetch import fetch_file
fetch_file(sys.argv[1], Path(sys.argv[2]), "scene.mat", sys.argv[3], 10**6, Silent())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_killed_process_goes_on_and_only_one_works(server, get, tmp_path):
    server.answers = [data(stall=200_000), data()]
    command = [sys.executable, "-c", KILLED, server.url, str(tmp_path / "data"), RIGHT]
    part = tmp_path / "data" / "scene.mat.part"
    with subprocess.Popen(command) as process:
        for _ in range(1000):
            if part.exists() and part.stat().st_size >= 3 * CHUNK:
                break
            time.sleep(0.05)
        with pytest.raises(SceneError, match=r"another process works on .*scene\.mat\.part"):
            get()
        os.kill(process.pid, signal.SIGKILL)
    assert names(tmp_path) == ["scene.mat.part", "scene.mat.part.json"]
    assert get().read_bytes() == CONTENT
    assert server.sent[-1] == len(CONTENT) - 3 * CHUNK
    assert names(tmp_path) == ["scene.mat"]


def zipped(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"Tiny/{name}.mat", content)
    return file.getvalue()


def stored(name):
    return Stored(f"{name}.mat", name, (2, 2), other_files=(f"{name}_other.mat",))


def benchmark(*downloads, containers=("one",)):
    made = tuple(
        Container(name, "us", (Modality("hsi", "spectral", stored("hsi")),), all=stored("gt"))
        for name in containers
    )
    return Benchmark(
        "tiny", "The tiny scene", (), {1: ("Water", "#0000ff")}, made, "CC BY 4.0.", "us",
        "https://example.org/tiny", tuple(downloads),
    )  # fmt: skip


def download(url="http://x/", **changes):
    values = {"file": "tiny.zip", "sha256": None, "archive": True, "container": "one"}
    return Download(**{"url": url, "page": "https://example.org/p", **values, **changes})


@pytest.fixture
def opener(server, tmp_path):
    """Serve what a download's file is named after."""

    def call(url, folder, name, *rest):
        call.asked.append(name)
        return fetch_file(server.url, folder, name, *rest, sleep=lambda _: None)

    call.asked = []
    return call


BOTH = {"hsi": b"image", "gt": b"labels"}
UNPACKED = {f"Tiny/{name}.mat": sha(content) for name, content in BOTH.items()}


@pytest.mark.parametrize("unpacked", [{}, UNPACKED])
def test_an_archive_is_unpacked_once(server, opener, tmp_path, unpacked):
    server.answers = [data(zipped(**BOTH))]
    declared = benchmark(download(sha256=sha(zipped(**BOTH)), unpacked=unpacked))
    for _ in range(2):
        assert fetch(declared, tmp_path, Told(), opener=opener) == tmp_path
        assert (tmp_path / "Tiny" / "hsi.mat").read_bytes() == b"image"
    assert opener.asked == ["tiny.zip"]
    (tmp_path / "tiny.zip").unlink()
    fetch(declared, tmp_path, Told(), opener=opener)
    assert opener.asked == ["tiny.zip"]


def test_a_changed_member_is_found_before_the_download(server, opener, tmp_path):
    (tmp_path / "Tiny").mkdir()
    (tmp_path / "Tiny" / "gt.mat").write_bytes(b"else")
    with pytest.raises(SceneError, match=r"gt\.mat is there already and its SHA-256"):
        fetch(benchmark(download(unpacked=UNPACKED)), tmp_path, Told(), opener=opener)
    assert opener.asked == []


def test_a_member_with_another_checksum_is_not_unpacked(server, opener, tmp_path):
    server.answers = [data(zipped(hsi=b"other", gt=b"labels"))]
    with pytest.raises(SceneError, match=r"'Tiny/hsi\.mat' does not have the SHA-256"):
        fetch(benchmark(download(unpacked=UNPACKED)), tmp_path, Told(), opener=opener)
    assert not (tmp_path / "Tiny").exists()


def test_files_that_are_no_archive(server, opener, tmp_path):
    each = [download(file=f"{name}.mat", archive=False) for name in ("hsi", "gt", "readme")]
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "gt_other.mat").write_bytes(b"by hand")
    fetch(benchmark(*each), tmp_path, Told(), opener=opener)
    assert opener.asked == ["hsi.mat", "readme.mat"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"allowed": False}, r"asks for a message or an account first.*https://example\.org/p,"),
        ({"url": ""}, r"no address is known.*https://example\.org/tiny,"),
        ({"container": "two"}, "no address is known"),
        ({"unpacked": {"Tiny/hsi.mat": None}}, "no address is known"),
    ],
)
def test_what_a_person_has_to_get_is_told_before_anything_is_fetched(
    opener, tmp_path, changes, reason
):
    with pytest.raises(SceneError, match=reason) as caught:
        fetch(benchmark(download(**changes)), tmp_path, Told(), opener=opener)
    text = str(caught.value)
    assert "The tiny scene cannot be downloaded by bdgf" in text
    assert "CC BY 4.0)" in text
    assert f"gt.mat{'' if 'unpacked' in changes else ', hsi.mat'} into {tmp_path}" in text
    assert text.endswith(f"'bdgf run tiny --root {tmp_path}'.")
    assert caught.value.exit_status == 2
    assert opener.asked == []


def test_files_that_a_person_got_are_enough(opener, tmp_path):
    (tmp_path / "hsi.mat").touch()
    with pytest.raises(SceneError, match=r"put gt\.mat into"):
        fetch(benchmark(download(allowed=False)), tmp_path, Told(), opener=opener)
    (tmp_path / ".tiny.zip.unpacking").mkdir()
    (tmp_path / ".tiny.zip.unpacking" / "gt.mat").touch()
    with pytest.raises(SceneError, match=r"put gt\.mat into"):
        fetch(benchmark(download(allowed=False)), tmp_path, Told(), opener=opener)
    deep = tmp_path / "a" / "b" / "c" / "d"
    deep.mkdir(parents=True)
    (deep / "gt.mat").touch()
    with pytest.raises(SceneError, match=r"put gt\.mat into"):
        fetch(benchmark(download(allowed=False)), tmp_path, Told(), opener=opener)
    (deep.parent / "GT_other.mat").touch()
    assert fetch(benchmark(download(allowed=False)), tmp_path, Told(), opener=opener) == tmp_path


def test_the_first_container_that_can_be_had_is_taken(server, opener, tmp_path):
    server.answers = [data(zipped(**BOTH))]
    refused, free = download(allowed=False), download(container="two", file="two.zip")
    declared = benchmark(refused, free, containers=("one", "two"))
    fetch(declared, tmp_path, Told(), opener=opener)
    assert opener.asked == ["two.zip"]
    with pytest.raises(SceneError, match="no container 'three': choose one of one, two"):
        fetch(declared, tmp_path, Told(), container="three", opener=opener)
    with pytest.raises(SceneError, match="cannot be downloaded"):
        fetch(declared, tmp_path / "new", Told(), container="one", opener=opener)


def test_a_container_that_is_there_is_enough(opener, tmp_path):
    other = Container("two", "us", (Modality("msi", "spectral", stored("msi")),))
    declared = benchmark(download())
    declared = dataclasses.replace(declared, containers=(*declared.containers, other))
    scipy.io.savemat(tmp_path / "msi.mat", {"msi": np.ones((2, 2))})
    fetch(declared, tmp_path, Told(), opener=opener)
    assert opener.asked == []


def test_files_of_another_data_set_are_not_taken_for_a_container(server, opener, tmp_path):
    other = Container("two", "us", (Modality("msi", "spectral", stored("msi")),))
    declared = benchmark(download())
    declared = dataclasses.replace(declared, containers=(other, *declared.containers))
    (tmp_path / "elsewhere").mkdir()
    scipy.io.savemat(tmp_path / "elsewhere" / "msi.mat", {"msi": np.ones((5, 7))})
    server.answers = [data(zipped(**BOTH))]
    fetch(declared, tmp_path, Told(), opener=opener)
    assert opener.asked == ["tiny.zip"]
    # where none can be had, what lies there is what locating the files is to say more of
    alone = dataclasses.replace(declared, downloads=(), containers=(other,))
    assert fetch(alone, tmp_path, Told(), opener=opener) == tmp_path


def test_a_file_in_its_place_is_checked(opener, tmp_path):
    each = [
        download(file=f"{name}.mat", archive=False, sha256=sha(content))
        for name, content in BOTH.items()
    ]
    (tmp_path / "hsi.mat").write_bytes(b"image")
    (tmp_path / "gt.mat").write_bytes(b"wrong")
    with pytest.raises(SceneError, match=r"gt\.mat is there already and its SHA-256"):
        fetch(benchmark(*each), tmp_path, Told(), opener=opener)
    assert (tmp_path / "gt.mat").read_bytes() == b"wrong"


@pytest.mark.skipif(sys.platform == "win32", reason="there are no locks")
def test_two_processes_do_not_unpack_one_archive(opener, tmp_path):
    path = tmp_path / "tiny.zip"
    path.write_bytes(zipped(**BOTH))
    with path.open("rb") as file:
        only_one(file, path)
        with pytest.raises(SceneError, match="another process works on"):
            fetch(benchmark(download()), tmp_path, Told(), opener=opener)
    fetch(benchmark(download()), tmp_path, Told(), opener=opener)


def test_an_archive_without_the_files_is_told(server, opener, tmp_path):
    server.answers = [data(zipped(hsi=b"image"))]
    with pytest.raises(SceneError, match=r"gt\.mat of The tiny scene did not come"):
        fetch(benchmark(download()), tmp_path, Told(), opener=opener)


def test_hosts_and_limits_reach_the_opener(tmp_path):
    seen = []

    def refuse(*arguments):
        seen.append(arguments)
        raise SceneError("seen")

    for hosts in ((), ("example.org",)):
        with pytest.raises(SceneError, match="seen"):
            fetch(benchmark(download(hosts=hosts)), tmp_path, Told(), opener=refuse)
    assert [each[6] for each in seen] == [None, ("example.org",)]
    assert seen[0][:5] == ("http://x/", tmp_path, "tiny.zip", None, module.LARGEST_DOWNLOAD)


def test_the_container_that_lacks_least_is_asked_for(opener, tmp_path):
    declared = benchmark()
    other = Container("two", "us", (Modality("msi", "spectral", stored("msi")),), all=stored("gt2"))
    declared = dataclasses.replace(declared, containers=(*declared.containers, other))
    (tmp_path / "MSI.mat").touch()
    with pytest.raises(SceneError, match=r"put gt2\.mat into"):
        fetch(declared, tmp_path, Told(), opener=opener)
