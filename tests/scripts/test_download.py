"""The download scripts against a real web server on this machine."""

import bz2
import gzip
import io
import lzma
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from utils.paths import ROOT

SCRIPTS = ROOT / "scripts"
SETS = ("Tax-H36m-coco40k-Muco-UP-Mpii", "human3.6m", "coco_smpl", "muco", "up3d", "mpii", "3dpw")

needs_wget = pytest.mark.skipif(shutil.which("wget") is None, reason="wget is not installed")
needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
pytestmark = needs_bash


class Mirror:
    """A web server with Range support; `files` maps paths to bytes, `faults` to what goes wrong there."""

    def __init__(self):
        mirror = self
        self.files, self.faults, self.requests, self.sent = {}, {}, [], 0

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                mirror.answer(self)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/sets"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler):
        path, _, query = request.path.partition("?")
        name = path.removeprefix("/sets/")
        content, fault = self.files.get(name), self.faults.get(name)
        found = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        start = int(found[1]) if found else 0
        self.requests.append((name, start, query))
        if fault == "refuse":
            return request.send_error(409, "Public access is not permitted on this storage account.")
        if content is None:
            return request.send_error(404)
        if start >= len(content):
            return request.send_error(416)
        request.send_response(206 if found else 200)
        request.send_header("Content-Length", str(len(content) - start))
        request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.end_headers()
        body = content[start:]
        if fault == "hang up once":
            del self.faults[name]
            body = body[: len(body) // 2]
        if fault == "stall":
            request.wfile.write(body[: len(body) // 2])
            request.wfile.flush()
            self.stalled.set()
            self.go_on.wait(20)
            return None
        request.wfile.write(body)
        return None

    def stall(self, name: str):
        self.faults[name], self.stalled, self.go_on = "stall", threading.Event(), threading.Event()


@pytest.fixture
def mirror():
    mirror = Mirror()
    mirror.files = {
        f"{name}.tar": archive({f"{name}/train.yaml": name.encode(), f"{name}/a/b": b"x" * 200_000}) for name in SETS
    }
    yield mirror
    mirror.server.shutdown()
    mirror.server.server_close()


def archive(files: dict[str, bytes], *members: tarfile.TarInfo) -> bytes:
    """A tar file with these files, and members of any kind."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in members:
            tar.addfile(member)
    return buffer.getvalue()


def member(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def run(tool: str, folder: Path, *sets: str, mirror: str | None = None, **env: str) -> subprocess.CompletedProcess:
    """Run a download script in a folder."""
    env = {**os.environ, "HOME": str(folder), **env}
    env.pop("SMPL_POSE_MIRROR", None)
    if mirror:
        env["SMPL_POSE_MIRROR"] = mirror
    command = ["bash", str(SCRIPTS / f"download_datasets_{tool}.sh"), *sets]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=60)


def listing(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def azcopy(tmp_path_factory) -> Path:
    """Stands in for azcopy: copies by HTTP, names its job, fails in the middle where ./fail_once exists, resumes."""
    path = tmp_path_factory.mktemp("bin") / "azcopy"
    path.write_text(
        f"""#!{sys.executable}
import pathlib, sys, urllib.request, zlib
place = pathlib.Path(__file__).parent
print(*sys.argv[1:], file=(place / "calls").open("a"))
if sys.argv[1] == "copy":
    url, file = sys.argv[2:4]
    job = f"0a1b2c3d-{{zlib.crc32(file.encode()):08x}}"
    (place / job).write_text(url + "\\n" + file)
    print(f"INFO: Scanning...\\n\\nJob {{job}} has started", flush=True)
else:
    assert sys.argv[1:3] == ["jobs", "resume"]
    url, file = (place / sys.argv[3]).read_text().split("\\n")
try:
    content = urllib.request.urlopen(url).read()
except OSError as error:
    sys.exit(f"RESPONSE Status: {{error}}")
if pathlib.Path("fail_once").exists():
    pathlib.Path("fail_once").unlink()
    pathlib.Path(file).write_bytes(content[:1000])
    sys.exit(1)
pathlib.Path(file).write_bytes(content)
"""
    )
    path.chmod(0o755)
    return path


@pytest.fixture(params=[pytest.param("wget", marks=needs_wget), "azcopy"])
def download(request, azcopy, mirror):
    """Run one of the two scripts against the mirror."""

    def download(folder: Path, *sets: str, **more) -> subprocess.CompletedProcess:
        return run(request.param, folder, *sets, azcopy_path=str(azcopy), **{"mirror": mirror.url, **more})

    return download


def test_fresh_download_brings_all_sets_and_a_second_run_does_nothing(download, mirror, tmp_path):
    result = download(tmp_path)
    assert result.returncode == 0, result.stderr
    assert listing(tmp_path) == set(SETS)
    for name in SETS:
        assert (tmp_path / name / "train.yaml").read_text() == name
        assert (tmp_path / name / "a" / "b").stat().st_size == 200_000
    mirror.requests.clear()
    assert download(tmp_path).returncode == 0
    assert mirror.requests == []


def test_named_sets_only(download, tmp_path):
    assert download(tmp_path, "3dpw", "human3.6m").returncode == 0
    assert listing(tmp_path) == {"3dpw", "human3.6m"}
    refused = download(tmp_path, "3dpwx")
    assert refused.returncode == 2
    assert "3dpwx" in refused.stderr and "human3.6m" in refused.stderr


def test_an_access_token_follows_the_file_name(download, mirror, tmp_path):
    result = download(tmp_path, "3dpw", mirror=mirror.url + "?sig=secret")
    assert result.returncode == 0, result.stderr
    assert [(name, query) for name, _, query in mirror.requests] == [("3dpw.tar", "sig=secret")]


def test_flat_and_nested_archives(download, mirror, tmp_path):
    mirror.files["3dpw.tar"] = archive({"./train.yaml": b"flat", "sub/x": b"1"})
    mirror.files["mpii.tar"] = archive({"datasets/mpii/train.yaml": b"nested"})
    assert download(tmp_path, "3dpw", "mpii").returncode == 0
    assert (tmp_path / "3dpw" / "train.yaml").read_text() == "flat"
    assert (tmp_path / "mpii" / "train.yaml").read_text() == "nested"
    assert listing(tmp_path) == {"3dpw", "mpii"}


def test_what_is_missing_on_the_mirror_is_named_and_the_rest_is_fetched(download, mirror, tmp_path):
    del mirror.files["muco.tar"], mirror.files["up3d.tar"]
    result = download(tmp_path)
    assert result.returncode == 1
    assert {name for name in listing(tmp_path) if not name.startswith(".")} == set(SETS) - {"muco", "up3d"}
    assert "not downloaded: muco up3d" in result.stderr
    assert "make_synthetic_data.py" in result.stderr and "--data_root" in result.stderr
    mirror.files["muco.tar"] = mirror.files["up3d.tar"] = archive({"a": b"1"})
    assert download(tmp_path).returncode == 0
    assert listing(tmp_path) == set(SETS)


@pytest.mark.parametrize("damage", ["cut short", "cut inside a file", "changed header", "a web page", "empty"])
def test_a_damaged_archive_is_never_unpacked(download, mirror, tmp_path, damage):
    good = mirror.files["3dpw.tar"]
    mirror.files["3dpw.tar"] = {
        "cut short": good[:512],
        "cut inside a file": good[:100_000],
        "changed header": good[:1100] + bytes(64) + good[1164:],
        "a web page": b"<html>please log in</html>" * 100,
        "empty": archive({}),
    }[damage]
    result = download(tmp_path, "3dpw")
    assert result.returncode == 1
    assert listing(tmp_path) == set()
    assert "3dpw.tar.part is damaged" in result.stderr
    mirror.files["3dpw.tar"] = good
    assert download(tmp_path, "3dpw").returncode == 0
    assert listing(tmp_path) == {"3dpw"}


@pytest.mark.parametrize(
    "bad",
    [
        member("3dpw/../../outside", tarfile.REGTYPE),
        member("..", tarfile.DIRTYPE),
        member("/tmp/outside_of_3dpw", tarfile.REGTYPE),
        member("3dpw/link", tarfile.SYMTYPE, "/etc/passwd"),
        member("3dpw/hard", tarfile.LNKTYPE, "3dpw/train.yaml"),
        member("3dpw/pipe", tarfile.FIFOTYPE),
        member("3dpw/device", tarfile.CHRTYPE),
    ],
    ids=lambda info: info.name,
)
def test_an_archive_that_reaches_outside_is_refused(download, mirror, tmp_path, bad):
    folder = tmp_path / "store" / "here"
    folder.mkdir(parents=True)
    mirror.files["3dpw.tar"] = archive({"3dpw/train.yaml": b"1"}, bad)
    result = download(folder, "3dpw")
    assert result.returncode == 1
    assert "refused" in result.stderr and bad.name in result.stderr
    assert listing(folder) == set() and listing(tmp_path) == {"store"} and listing(tmp_path / "store") == {"here"}
    assert not Path("/tmp/outside_of_3dpw").exists()


def test_modes_of_an_archive_do_not_matter(download, mirror, tmp_path):
    """Also for root, for whom tar keeps owners and setuid bits by default."""
    folder, file = member("3dpw", tarfile.DIRTYPE), member("3dpw/run", tarfile.REGTYPE)
    folder.mode, file.mode, file.uid = 0o3777, 0o6777, 12345
    mirror.files["3dpw.tar"] = archive({}, folder, file)
    assert download(tmp_path, "3dpw").returncode == 0
    status = (tmp_path / "3dpw" / "run").stat()
    assert status.st_mode & 0o7022 == 0 and status.st_uid == os.getuid()
    assert (tmp_path / "3dpw").stat().st_mode & 0o7022 == 0


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_a_compressed_archive_is_not_unpacked(download, mirror, tmp_path, compress):
    mirror.files["3dpw.tar"] = compress(archive({"3dpw/zeros": bytes(20_000_000)}))
    result = download(tmp_path, "3dpw")
    assert result.returncode == 1 and "3dpw.tar.part is damaged or not an uncompressed tar" in result.stderr
    assert listing(tmp_path) == set()


def test_a_sparse_archive_that_claims_more_than_its_size_is_not_unpacked(download, mirror, tmp_path):
    folder = tmp_path / "made"
    (folder / "3dpw").mkdir(parents=True)
    with (folder / "3dpw" / "sparse").open("wb") as file:
        file.truncate(1 << 34)
    subprocess.run(["tar", "--sparse", "-cf", "a.tar", "3dpw"], cwd=folder, check=True)
    mirror.files["3dpw.tar"] = (folder / "a.tar").read_bytes()
    (tmp_path / "here").mkdir()
    result = download(tmp_path / "here", "3dpw")
    assert result.returncode == 1 and "unpacks to more than its size" in result.stderr
    assert listing(tmp_path / "here") == set()


def test_a_full_disk_keeps_the_archive_and_leaves_no_half_set(download, mirror, tmp_path):
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    tar = shutil.which("tar")
    (bin_folder / "tar").write_text(f'#!/bin/bash\n{tar} "$@" && [[ $1 != -xf ]]\n')
    (bin_folder / "tar").chmod(0o755)
    folder = tmp_path / "store"
    folder.mkdir()
    result = download(folder, "3dpw", PATH=f"{bin_folder}:{os.environ['PATH']}")
    assert result.returncode == 1
    assert "cannot unpack" in result.stderr
    assert listing(folder) == {"3dpw.tar.part"}
    assert download(folder, "3dpw").returncode == 0
    assert listing(folder) == {"3dpw"}


@needs_wget
def test_wget_goes_on_after_the_server_hung_up(mirror, tmp_path):
    mirror.faults["3dpw.tar"] = "hang up once"
    assert run("wget", tmp_path, "3dpw", mirror=mirror.url).returncode == 0
    assert listing(tmp_path) == {"3dpw"}
    assert [start for _, start, _ in mirror.requests] == [0, len(mirror.files["3dpw.tar"]) // 2]


@needs_wget
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_wget_goes_on_where_it_was_stopped(mirror, tmp_path, stop):
    mirror.stall("3dpw.tar")
    command = ["bash", str(SCRIPTS / "download_datasets_wget.sh"), "3dpw"]
    env = {**os.environ, "SMPL_POSE_MIRROR": mirror.url}
    process = subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        assert mirror.stalled.wait(20)
        half = len(mirror.files["3dpw.tar"]) // 2
        part, deadline = tmp_path / "3dpw.tar.part", time.monotonic() + 20
        while not (part.exists() and part.stat().st_size == half):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        os.killpg(process.pid, stop)  # the whole session, as a terminal's Ctrl-C or a scheduler does
        process.wait(20)
        mirror.go_on.set()
    assert process.returncode != 0
    assert listing(tmp_path) == {"3dpw.tar.part"}
    mirror.faults.clear()
    mirror.requests.clear()
    assert run("wget", tmp_path, "3dpw", mirror=mirror.url).returncode == 0
    assert mirror.requests == [("3dpw.tar", half, "")]
    assert listing(tmp_path) == {"3dpw"}


@needs_wget
def test_wget_takes_an_archive_that_is_already_whole(mirror, tmp_path):
    (tmp_path / "3dpw.tar.part").write_bytes(mirror.files["3dpw.tar"])
    assert run("wget", tmp_path, "3dpw", mirror=mirror.url).returncode == 0
    assert (tmp_path / "3dpw" / "train.yaml").read_text() == "3dpw"


def test_azcopy_takes_up_its_job(mirror, azcopy, tmp_path):
    (tmp_path / "fail_once").touch()
    assert run("azcopy", tmp_path, "3dpw", mirror=mirror.url + "?sig=secret", azcopy_path=str(azcopy)).returncode == 1
    assert not (tmp_path / "3dpw").exists()
    folder_form = run("azcopy", tmp_path, "3dpw", mirror=mirror.url + "?sig=secret", azcopy_path=str(azcopy.parent))
    assert folder_form.returncode == 0, folder_form.stderr
    assert listing(tmp_path) == {"3dpw"}
    first, second = azcopy.with_name("calls").read_text().splitlines()
    assert first.startswith("copy http")
    assert re.fullmatch("jobs resume 0a1b2c3d-[0-9a-f]{8} --source-sas sig=secret", second)


def test_azcopy_is_found_in_the_storage_folder_or_asked_for(mirror, azcopy, tmp_path):
    path = os.environ["PATH"]
    missing = run("azcopy", tmp_path, "3dpw", mirror=mirror.url, azcopy_path="/nowhere/azcopy")
    assert missing.returncode == 2
    assert "/nowhere/azcopy" in missing.stderr and "export azcopy_path" in missing.stderr
    (tmp_path / "azcopy_linux_amd64_10").mkdir()
    shutil.copy2(azcopy, tmp_path / "azcopy_linux_amd64_10" / "azcopy")
    result = run("azcopy", tmp_path, "3dpw", mirror=mirror.url, azcopy_path="", PATH=path)
    assert result.returncode == 0, result.stderr


@needs_wget
def test_the_release_host_says_no(mirror, tmp_path):
    """Without a mirror the first refusal ends it, with the reason and the ways around it."""
    wget = tmp_path / "bin" / "wget"
    wget.parent.mkdir()
    wget.write_text(
        "#!/bin/bash\n"
        "[[ ${*: -1} == https://datarelease.blob.core.windows.net/metro/datasets/Tax-*.tar ]] || exit 99\n"
        f'exec {shutil.which("wget")} "${{@:1:$#-1}}" {mirror.url}/refused.tar\n'
    )
    wget.chmod(0o755)
    mirror.faults["refused.tar"] = "refuse"
    folder = tmp_path / "store"
    folder.mkdir()
    result = run("wget", folder, PATH=f"{wget.parent}:{os.environ['PATH']}")
    assert result.returncode == 1
    assert len(mirror.requests) == 1
    assert listing(folder) == set()
    for words in (
        "409",
        "refuses public access",
        "SMPL_POSE_MIRROR",
        "make_synthetic_data.py",
        "--data_root",
    ):
        assert words in result.stderr
