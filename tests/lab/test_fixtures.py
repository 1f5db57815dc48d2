"""The lab's recordings: what a folder and its manifest give, and what is said of one that is wrong."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.fixtures import SHARED
from voice_agent.audio import RATE, Pcm16, write_wav
from voice_agent.errors import LabError
from voice_agent.lab.fixtures import Dialogue, read_fixtures


def sound(before_s: float = 0.5, speech_s: float = 1.0, after_s: float = 0.5, rate: int = RATE) -> Pcm16:
    tone = 8000 * np.sin(np.arange(round(speech_s * rate)) * 2 * np.pi * 300 / rate)
    pcm: Pcm16 = np.pad(tone, (round(before_s * rate), round(after_s * rate))).astype(np.int16)
    return pcm


def put(folder: Path, *names: str, pcm: Pcm16 | None = None) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_wav(folder / name, sound() if pcm is None else pcm, RATE)


def manifest(folder: Path, *rows: str) -> None:
    (folder / "manifest.tsv").write_text("\n".join(row.replace("|", "\t") for row in rows), encoding="utf-8")


def names(dialogues: list[Dialogue]) -> dict[str, list[str]]:
    return {dialogue.name: [said.name for said in dialogue.utterances] for dialogue in dialogues}


def problem(folder: Path) -> str:
    with pytest.raises(LabError) as raised:
        read_fixtures(folder)
    return str(raised.value)


def test_without_a_manifest_every_wav_and_flac_is_one_dialogue(tmp_path: Path) -> None:
    put(tmp_path, "b.wav", "deep/er/a.WAV")
    soundfile.write(tmp_path / "c.flac", sound(), RATE)
    (tmp_path / "readme.txt").write_text("not audio")
    (tmp_path / "._b.wav").write_text("what another system left")
    assert names(read_fixtures(tmp_path)) == {
        "b.wav": ["b.wav"],
        "c.flac": ["c.flac"],
        "deep/er/a.WAV": ["deep/er/a.WAV"],
    }


def test_the_speech_is_found_by_energy_and_given_at_the_rate_asked_for(tmp_path: Path) -> None:
    put(tmp_path, "a.wav")
    [dialogue] = read_fixtures(tmp_path, 24_000)
    [said] = dialogue.utterances
    assert said.transcript is None
    assert len(said.pcm) == pytest.approx(2.0 * 24_000, abs=50)
    assert np.array(said.speech) / 24_000 == pytest.approx([0.5, 1.5], abs=0.011)


def test_the_manifest_says_what_there_is_and_where_the_speech_is(tmp_path: Path) -> None:
    put(tmp_path, "a.wav", "b.wav", "unlisted.wav")
    manifest(
        tmp_path,
        "path|seconds|transcript|speech_start|speech_end",
        "b.wav|2|two words|0.6|1.2",
        "a.wav|2|||1.4",
    )
    b, a = (dialogue.utterances[0] for dialogue in read_fixtures(tmp_path))
    assert (b.name, b.transcript, b.speech) == ("b.wav", "two words", (9600, 19_200))
    assert (a.name, a.transcript) == ("a.wav", None)
    assert a.speech[0] / RATE == pytest.approx(0.5, abs=0.011)
    assert a.speech[1] == 22_400


def test_json_lines_say_the_same(tmp_path: Path) -> None:
    put(tmp_path, "a.wav")
    row = {"path": "a.wav", "transcript": "so it is", "speech_start": 0.25, "speech_end": 1, "speaker": "joe"}
    (tmp_path / "manifest.jsonl").write_text("\n" + json.dumps(row) + "\n", encoding="utf-8")
    [dialogue] = read_fixtures(tmp_path)
    assert dialogue.utterances[0].transcript == "so it is"
    assert dialogue.utterances[0].speech == (4000, 16_000)


def test_numbered_files_of_a_sub_folder_are_one_dialogue_by_number(tmp_path: Path) -> None:
    put(tmp_path, "order/10-bye.wav", "order/2-size.wav", "order/01-hello.wav", "alone.wav")
    assert names(read_fixtures(tmp_path)) == {
        "alone.wav": ["alone.wav"],
        "order": ["order/01-hello.wav", "order/2-size.wav", "order/10-bye.wav"],
    }


@pytest.mark.parametrize(
    "files",
    [
        ("01-a.wav", "02-b.wav"),  # the folder itself
        ("x/02b77977.wav", "x/0334e17c.wav"),  # hashes
        ("x/84-121123-0000.wav", "x/84-121123-0001.wav"),  # the same number: a speaker's
        ("x/01-a.wav", "x/b.wav"),
    ],
)
def test_other_files_with_digits_are_dialogues_of_their_own(tmp_path: Path, files: tuple[str, ...]) -> None:
    put(tmp_path, *files)
    assert names(read_fixtures(tmp_path)) == {file: [file] for file in files}


def test_a_dialogue_column_puts_rows_together_in_their_order(tmp_path: Path) -> None:
    put(tmp_path, "yes.wav", "no.wav", "other.wav")
    manifest(
        tmp_path,
        "path|dialogue",
        "yes.wav|first",
        "no.wav|first",
        "other.wav|",
        "no.wav|second",
        "yes.wav|second",
    )
    assert names(read_fixtures(tmp_path)) == {
        "first": ["yes.wav", "no.wav"],
        "other.wav": ["other.wav"],
        "second": ["no.wav", "yes.wav"],
    }


def test_all_that_is_wrong_is_said_at_once_by_file_and_line(tmp_path: Path) -> None:
    put(tmp_path, "good.wav", "late.wav", "reversed.wav")
    put(tmp_path, "silent.wav", pcm=np.zeros(RATE, np.int16))
    (tmp_path / "noaudio.wav").write_text("text")
    manifest(
        tmp_path,
        "path|speech_start|speech_end",
        "good.wav||2.005",
        "missing.wav||",
        "silent.wav||",
        "noaudio.wav||",
        "late.wav||2.5",
        "reversed.wav|1.4|0.6",
    )
    lines = problem(tmp_path).splitlines()
    assert [line.split("manifest.tsv, ")[1][:7] for line in lines] == [f"line {n}:" for n in range(3, 8)]
    missing, silent, unreadable, late, reverse = lines
    assert "missing.wav: no such file" in missing
    assert "take the row out" in missing
    assert "no speech in" in silent
    assert "noaudio.wav: not audio that can be read" in unreadable
    assert "speech_end, 2.5 s, is after the end of" in late
    assert "2.00 s" in late
    assert "begin at 1.40 s and end at 0.60 s" in reverse


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["file|transcript", "a.wav|x"], "`path` among them; it has: file, transcript"),
        (["path|speech_end", "a.wav|soon"], "line 2: speech_end: input should be a valid number"),
        (["path|speech_end", "a.wav|-1"], "line 2: speech_end: input should be greater than or equal to 0"),
        (["path|transcript", "|x"], "line 2: `path` is missing"),
        (["path"], "it lists no recordings"),
        ([""], "it has: nothing"),
        (["path", "a.wav", "a.wav"], "a.wav is there 2 times"),
    ],
)
def test_a_manifest_that_is_wrong_is_refused(tmp_path: Path, rows: list[str], words: str) -> None:
    put(tmp_path, "a.wav")
    manifest(tmp_path, *rows)
    assert words in problem(tmp_path)


@pytest.mark.parametrize(
    ("line", "words"),
    [('{"transcript": "x"}', "line 1: `path` is missing"), ("{path", "line 1: the line: invalid JSON")],
)
def test_json_lines_that_are_wrong_are_refused(tmp_path: Path, line: str, words: str) -> None:
    put(tmp_path, "a.wav")
    (tmp_path / "manifest.jsonl").write_text(line, encoding="utf-8")
    assert words in problem(tmp_path)


def test_a_folder_that_is_empty_absent_or_has_two_manifests_is_refused(tmp_path: Path) -> None:
    assert "no recordings" in problem(tmp_path)
    assert "no such folder" in problem(tmp_path / "absent")
    (tmp_path / "manifest.jsonl").touch()
    (tmp_path / "manifest.tsv").touch()
    assert "keep one" in problem(tmp_path)


@pytest.mark.skipif(not SHARED.is_dir(), reason="no recordings beside the checkout")
def test_real_recordings_are_read_with_their_labels() -> None:
    dialogues = read_fixtures(SHARED)
    assert len(dialogues) > 100
    assert all(len(dialogue.utterances) == 1 for dialogue in dialogues)
    assert sum(dialogue.utterances[0].transcript is not None for dialogue in dialogues) > 90
