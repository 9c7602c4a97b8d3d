"""Remote rasters are read by windows, and what goes wrong on the way is said without secrets."""

from __future__ import annotations

import base64
import itertools
import logging
import pickle
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import rasterio

from bdgf.errors import SceneError
from bdgf.scene.formats.location import RemotePath, fingerprint
from bdgf.scene.formats.preview import preview
from bdgf.scene.formats.raster import GdalSource, gdal_arrays
from bdgf.scene.windows import Window

_NUMBER = itertools.count()


class Server(ThreadingHTTPServer):
    """Serves bytes by name with ranges, and counts what it sends."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {}
        self.asked = []
        self.sent = 0
        self.ranges = True
        self.cut_after = None
        self.silent = False
        self.login = None
        self.headers = {"ETag": '"v1"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
        self.say_length = True

    @property
    def host(self):
        return f"127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, client_address):
        """A connection that the other side has closed is no news."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        server = self.server
        name = self.path.partition("?")[0].lstrip("/")
        server.asked.append((self.command, self.path, self.headers.get("Range")))
        if server.silent:
            time.sleep(60)
        if server.login and self.headers.get("Authorization") != server.login:
            return self.reply(401, b"", {"WWW-Authenticate": 'Basic realm="x"'}, body)
        if name not in server.files:
            return self.reply(404, b"not here", {}, body)
        content = server.files[name]
        if server.cut_after is not None and body and self.offset() >= server.cut_after:
            # Promises all, sends a little, and closes.
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {self.headers['Range'][6:]}/{len(content)}")
            self.send_header("Content-Length", "100000")
            self.end_headers()
            self.wfile.write(b"\0" * 10)
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return None
        wanted = self.headers.get("Range")
        if wanted and server.ranges:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            part = content[int(first) : int(last or len(content) - 1) + 1]
            last = int(first) + len(part) - 1
            headers = {"Content-Range": f"bytes {first}-{last}/{len(content)}"}
            return self.reply(206, part, headers, body)
        return self.reply(200, content, {}, body)

    def offset(self):
        return int((self.headers.get("Range") or "bytes=0-")[6:].partition("-")[0])

    def reply(self, status, content, headers, body):
        self.send_response(status)
        headers = dict(self.server.headers) | headers
        if self.server.ranges:
            headers["Accept-Ranges"] = "bytes"
        if self.server.say_length:
            headers["Content-Length"] = str(len(content))
        else:
            self.close_connection = True
        for field, value in headers.items():
            self.send_header(field, value)
        self.end_headers()
        if body:
            self.wfile.write(content)
            self.server.sent += len(content)


@pytest.fixture
def server(monkeypatch):
    # Neither the machine's proxy nor its credentials take part.
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.05")
    one = Server()
    thread = threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield one
    one.shutdown()
    one.server_close()
    thread.join()


@pytest.fixture
def name():
    """A new name for every test: GDAL remembers what it has read from an address."""
    return f"file{next(_NUMBER)}.tif"


@pytest.fixture(scope="module")
def cog(tmp_path_factory):
    """A cloud-optimised GeoTIFF of some megabytes, and its values."""
    values = np.random.default_rng(0).integers(0, 60_000, (2, 1024, 1024)).astype(np.uint16)
    path = tmp_path_factory.mktemp("cog") / "big.tif"
    with rasterio.open(
        path, "w", driver="COG", count=2, height=1024, width=1024, dtype="uint16", nodata=0,
        blocksize=256, compress="deflate", crs="EPSG:32632", resampling="nearest",
        transform=rasterio.Affine(10, 0, 500_000, 0, -10, 5_000_000),
    ) as dataset:  # fmt: skip
        dataset.write(values)
    return path.read_bytes(), values


WINDOW = Window(300, 500, 30, 40)


def test_a_window_costs_a_small_part_of_the_file(server, name, cog):
    content, values = cog
    server.files[name] = content
    source = GdalSource(RemotePath(f"http://{server.host}/{name}"))
    assert (source.bands, source.height, source.width, source.block) == (2, 1024, 1024, (256, 256))
    assert source.crs.to_epsg() == 32632
    read, valid = source.read(WINDOW)
    np.testing.assert_array_equal(read, values[:, 300:330, 500:540])
    np.testing.assert_array_equal(valid, values[:, 300:330, 500:540] != 0)
    assert 0 < server.sent < len(content) / 4
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(source)).read(WINDOW)[0], read)
    # No listing of folders and no sidecar files are asked for.
    assert {path for _, path, _ in server.asked} == {f"/{name}"}


def test_a_picture_costs_a_small_part_of_the_file(server, name, cog):
    content, values = cog
    server.files[name] = content
    picture, valid = preview(GdalSource(RemotePath(f"http://{server.host}/{name}")), 64)
    assert picture.shape == valid.shape == (2, 64, 64)
    assert np.isin(picture, values).all()
    assert 0 < server.sent < len(content) / 4


def test_a_big_remote_raster_without_overviews_is_sampled(server, name, write_tif):
    values = np.random.default_rng(0).integers(1, 255, (2000, 3000)).astype(np.uint8)
    path = write_tif("a.tif", values, tiled=True, blockxsize=128, blockysize=128)
    server.files[name] = path.read_bytes()
    picture, valid = preview(GdalSource(RemotePath(f"http://{server.host}/{name}")), 300)
    assert max(picture.shape[1:]) > 5
    assert valid.all()
    assert server.sent < path.stat().st_size / 2


def test_query_and_password_reach_the_server_and_nothing_else(server, name, cog, caplog):
    content, values = cog
    server.files[name] = content
    server.login = "Basic " + base64.b64encode(b"ann:s3cret").decode()
    location = RemotePath(f"http://ann:s3cret@{server.host}/{name}?signature=abc123")
    with caplog.at_level(logging.DEBUG):
        source = GdalSource(location)
        np.testing.assert_array_equal(source.read(WINDOW)[0], values[:, 300:330, 500:540])
        assert '"v1"' in fingerprint(location)
        assert all("signature=abc123" in path for _, path, _ in server.asked)
        wrong = RemotePath(f"http://ann:s3cret@{server.host}/no-{name}?signature=abc123")
        with pytest.raises(SceneError) as opening:
            GdalSource(wrong)
        with pytest.raises(SceneError) as gone:
            fingerprint(wrong)
        server.cut_after = 0
        with pytest.raises(SceneError) as reading:
            source.read(Window(900, 900, 100, 100))
    shown = [str(opening.value), str(gone.value), str(reading.value), str(location)]
    shown += [repr(location), location.name, caplog.text, str(source.path)]
    for text in shown:
        assert "s3cret" not in text
        assert "abc123" not in text
    assert f"http://{server.host}/{name}" in str(reading.value)
    chain = [opening.value, gone.value, reading.value]
    assert all(error.__cause__ is None and error.__suppress_context__ for error in chain)


@pytest.mark.parametrize("call", [GdalSource, gdal_arrays, fingerprint])
def test_an_address_without_a_file(server, name, call):
    address = f"http://{server.host}/{name}"
    start = time.monotonic()
    with pytest.raises(SceneError, match=r"(?s)404.*(address|file)") as error:
        call(RemotePath(address))
    assert address in str(error.value)
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("call", [GdalSource, fingerprint])
def test_a_server_that_is_not_there(server, name, call):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/{name}"
    start = time.monotonic()
    with pytest.raises(SceneError, match="check the address") as error:
        call(RemotePath(address))
    assert address in str(error.value)
    assert time.monotonic() - start < 20


def test_a_connection_cut_in_the_middle(server, name, cog):
    server.files[name] = cog[0]
    source = GdalSource(RemotePath(f"http://{server.host}/{name}"))
    server.cut_after = 0
    start = time.monotonic()
    with pytest.raises(SceneError, match="check the connection and try again") as error:
        source.read(Window(900, 900, 100, 100))
    assert f"http://{server.host}/{name}" in str(error.value)
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("by_environment", [True, False])
def test_own_settings_of_gdal_are_kept(server, name, cog, monkeypatch, by_environment):
    """A server that falls silent is given up after the time that the user has set."""
    server.files[name] = cog[0]
    source = GdalSource(RemotePath(f"http://{server.host}/{name}"))
    server.silent = True
    own = {"GDAL_HTTP_TIMEOUT": "1", "GDAL_HTTP_MAX_RETRY": "0"}
    for option, value in own.items() if by_environment else ():
        monkeypatch.setenv(option, value)
    start = time.monotonic()
    with (
        rasterio.Env(**({} if by_environment else own)),
        pytest.raises(SceneError, match="check the connection"),
    ):
        source.read(Window(900, 900, 100, 100))
    assert time.monotonic() - start < 8


def test_a_server_without_ranges(server, name, cog):
    server.files[name] = cog[0]
    server.ranges = False
    with pytest.raises(SceneError, match="download the file"):
        GdalSource(RemotePath(f"http://{server.host}/{name}")).read(WINDOW)


def test_a_page_instead_of_a_raster(server, name):
    server.files[name] = b"<html>please log in</html>" * 10
    with pytest.raises(SceneError, match="cannot be opened as a raster"):
        GdalSource(RemotePath(f"http://{server.host}/{name}"))


def test_envi_at_an_address(server, tmp_path, name, monkeypatch):
    # rasterio asks for mask files while it holds Python's lock, which this server needs to answer;
    # such a question ends after this time.
    monkeypatch.setenv("GDAL_HTTP_LOW_SPEED_TIME", "1")
    values = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    with rasterio.open(
        tmp_path / "a.img", "w", driver="ENVI", count=2, height=3, width=4, dtype="int16"
    ) as dataset:
        dataset.write(values)
    stem = name.removesuffix(".tif")
    for ending in (".img", ".hdr"):
        server.files[stem + ending] = (tmp_path / f"a{ending}").read_bytes()
    source = GdalSource(RemotePath(f"http://{server.host}/{stem}.img"))
    np.testing.assert_array_equal(source.read(Window(0, 0, 3, 4))[0], values)
    with pytest.raises(SceneError, match="name the file with the values"):
        GdalSource(RemotePath(f"http://{server.host}/{stem}.hdr"))


def test_a_bucket(server, name, cog, monkeypatch):
    content, values = cog
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("AWS_S3_ENDPOINT", server.host)
    monkeypatch.setenv("AWS_HTTPS", "NO")
    monkeypatch.setenv("AWS_VIRTUAL_HOSTING", "FALSE")
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "YES")
    server.files[f"bucket/deep/{name}"] = content
    location = RemotePath(f"s3://bucket/deep/{name}")
    source = GdalSource(location)
    np.testing.assert_array_equal(source.read(WINDOW)[0], values[:, 300:330, 500:540])
    assert 0 < server.sent < len(content) / 4
    assert fingerprint(location) == f"s3://bucket/deep/{name}"
    with pytest.raises(SceneError, match=f"s3://bucket/none/{name} cannot be opened"):
        GdalSource(RemotePath(f"s3://bucket/none/{name}"))


def test_fingerprint_is_what_the_server_says_of_the_version(server, name):
    server.files[name] = b"abc"
    location = RemotePath(f"http://{server.host}/{name}")
    first = fingerprint(location)
    assert first == '"v1" Mon, 01 Jan 2024 00:00:00 GMT 3'
    assert server.asked[-1][0] == "HEAD"
    server.headers["ETag"] = '"v2"'
    assert fingerprint(location) != first
    server.headers = {}
    assert fingerprint(location) == "3"
    server.say_length = False
    assert fingerprint(location) == ""


def test_fingerprint_of_an_address_that_refuses_the_question(server, name):
    server.login = "nobody"
    assert fingerprint(RemotePath(f"http://{server.host}/{name}")) == ""
