"""Audio as it moves through the system: formats, resampling, files."""

import math
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, TypeAlias, cast, get_args

import av
import av.error
import numpy as np
import soundfile
from av.filter import Graph
from av.filter.context import FilterContext
from numpy.typing import NDArray

from voice_agent.errors import AudioError

Pcm16: TypeAlias = NDArray[np.int16]
"""Mono PCM, signed 16 bit, shape (samples,)."""

SampleRate: TypeAlias = Literal[8000, 16000, 24000, 48000]
"""Rates that a client may ask for, hertz."""
SAMPLE_RATES: Final[tuple[int, ...]] = get_args(SampleRate)

RATE: Final = 16_000
"""Rate at which VAD and Whisper hear, and on which session time is counted, hertz."""
FRAME_MS: Final = 20
FRAME: Final = RATE * FRAME_MS // 1000
"""Samples in a frame."""
SILENCE: Final[Pcm16] = np.zeros(0, np.int16)
"""No audio at all."""


def samples_to_ms(samples: int, rate: int = RATE) -> float:
    """Length of `samples` at `rate`, milliseconds."""
    return samples * 1000 / rate


def ms_to_samples(ms: float, rate: int = RATE) -> int:
    """Whole samples in `ms` at `rate`, rounded."""
    return round(ms * rate / 1000)


def to_float(pcm: Pcm16) -> NDArray[np.float32]:
    """PCM16 to float32 in [-1, 1)."""
    audio: NDArray[np.float32] = np.divide(pcm, 32768, dtype=np.float32)
    return audio


def to_pcm16(audio: NDArray[np.floating]) -> Pcm16:
    """Float in [-1, 1] to PCM16, clipped; what is no number becomes silence."""
    pcm: Pcm16 = (np.clip(np.nan_to_num(audio, nan=0.0), -1.0, 1.0) * 32767.0).astype(np.int16)
    return pcm


_ULAW_BIAS: Final = 132
"""G.711 adds this to a magnitude before it takes the exponent, in 16 bits (33 in its own 14)."""
_ULAW_CLIP: Final = 32_635
"""The largest magnitude that can be told, 32767 less the bias."""


def _ulaw_values() -> NDArray[np.int16]:
    """The sample for each mu-law byte (ITU-T G.711, table 2; here in 16 bits, so four times its 14-bit values).

    The byte is sent inverted: a sign, three bits of exponent, four of mantissa, biased by 132.
    """
    code = ~np.arange(256, dtype=np.uint8)
    mantissa, exponent = (code & 0x0F).astype(np.int32), (code >> 4 & 0x07).astype(np.int32)
    magnitude = ((mantissa << 3) + _ULAW_BIAS << exponent) - _ULAW_BIAS
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


def _ulaw_codes() -> NDArray[np.uint8]:
    """The mu-law byte of every 16-bit sample, indexed by the sample's bits taken as unsigned."""
    sample = np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int32)
    magnitude = np.minimum(np.abs(sample), _ULAW_CLIP) + _ULAW_BIAS
    exponent = np.floor(np.log2(magnitude)).astype(np.int32) - 7
    mantissa = magnitude >> (exponent + 3) & 0x0F
    sign = np.where(sample < 0, 0x80, 0)
    code: NDArray[np.uint8] = (~(sign | exponent << 4 | mantissa) & 0xFF).astype(np.uint8)
    return code


_ULAW_DECODED: Final = _ulaw_values()
_ULAW_ENCODED: Final = _ulaw_codes()


def ulaw_encode(pcm: Pcm16) -> bytes:
    """PCM16 as G.711 mu-law, a byte a sample."""
    return _ULAW_ENCODED[pcm.view(np.uint16)].tobytes()


def ulaw_decode(data: bytes) -> Pcm16:
    """G.711 mu-law as PCM16, a sample a byte."""
    pcm: Pcm16 = _ULAW_DECODED[np.frombuffer(data, np.uint8)]
    return pcm


class Resampler:
    """Streaming conversion between two rates; the identity when they are equal.

    FFmpeg's resampler holds back 2 ms at 8 kHz and 1 ms above; soxr's stream held back 60 ms on the same
    20 ms frames, at its second-lowest quality, which every caller on a phone line would have waited for.

    `av.AudioResampler` is the same filter, but its graph starts a thread for each core, and one is made for
    each chunk that is spoken and each question that is asked. A graph of one's own can do without.
    """

    def __init__(self, source_rate: int, target_rate: int) -> None:
        self._source_rate = source_rate
        self._ends: tuple[FilterContext, FilterContext] | None = None
        if source_rate != target_rate:
            graph = Graph()
            graph.threads = 1  # the caller's
            source = graph.add_abuffer(sample_rate=source_rate, format="s16", layout="mono")
            sink = graph.add("abuffersink")
            graph.link_nodes(source, graph.add("aresample", str(target_rate)), sink).configure()
            self._graph = graph  # the ends do not hold it
            self._ends = source, sink

    def feed(self, pcm: Pcm16, *, last: bool = False) -> Pcm16:
        """The part of the audio so far that is ready; with `last`, also the filter's tail. Nothing follows on that."""
        if self._ends is None:
            return pcm
        source, sink = self._ends
        if len(pcm):
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(pcm)[None, :], format="s16", layout="mono"
            )
            frame.sample_rate = self._source_rate
            source.push(frame)
        if last:
            source.push(None)
        out = []
        with suppress(av.error.BlockingIOError, av.error.EOFError):  # there is no more for now, or at all
            while True:
                out.append(cast(av.AudioFrame, sink.pull()).to_ndarray()[0])
        return np.concatenate(out) if out else SILENCE


class FrameResampler:
    """A resampler to `RATE` that gives a frame for a frame: the filter's delay is silence before the first."""

    def __init__(self, rate: int) -> None:
        self._resampler = Resampler(rate, RATE)

    def feed(self, frame: Pcm16) -> Pcm16:
        """The next `FRAME_MS` at the rate, as `FRAME` samples."""
        pcm = self._resampler.feed(frame)
        return pcm if len(pcm) == FRAME else np.pad(pcm, (FRAME, 0))[-FRAME:]


def resample(pcm: Pcm16, source_rate: int, target_rate: int) -> Pcm16:
    """A whole recording at another rate."""
    return Resampler(source_rate, target_rate).feed(pcm, last=True)


def frames(pcm: Pcm16, size: int = FRAME, *, pad: bool = True) -> Iterator[Pcm16]:
    """Cut into frames of `size` samples; the last is padded with silence, or with `pad=False` left short."""
    for start in range(0, len(pcm), size):
        frame = pcm[start : start + size]
        yield frame if len(frame) == size or not pad else np.pad(frame, (0, size - len(frame)))


class RecentAudio:
    """The latest audio of a stream, kept until it is let go, and given out at `RATE`.

    Positions count from the stream's start, in samples at `RATE`.

    It is kept as it came for as long as nobody asks and it is let go again, as that of a silent line. What is
    asked for is resampled once; what was before it is resampled again with what comes next, as far as the
    filter looks back. So no call takes longer than the resampling of `SETTLE_S`.
    """

    SETTLE_S: Final = 1.0
    """Audio that is kept as it came, at most."""
    OVERLAP_MS: Final = 10
    """Over the reach of FFmpeg's filter, 2.1 ms each way at 8 kHz."""

    def __init__(self, rate: int = RATE) -> None:
        self._rate = rate
        self._grain = rate // math.gcd(rate, RATE)
        """Samples that become a whole number of samples: only there can audio be cut."""
        self._overlap = 0 if rate == RATE else ms_to_samples(self.OVERLAP_MS, rate)
        self._settled: deque[Pcm16] = deque()
        """At RATE, resampled for good."""
        self._settled_end = 0
        self._settled_samples = 0
        self._came: deque[Pcm16] = deque()
        """At the rate they came in: those that are not settled, and an overlap before."""
        self._came_start = 0
        """In samples at `rate`, at a grain."""
        self._came_samples = 0

    def append(self, pcm: Pcm16) -> None:
        """Add what comes next."""
        self._came.append(pcm)
        self._came_samples += len(pcm)
        if self._came_samples > self.SETTLE_S * self._rate + 2 * self._overlap:
            self._settle(self._unsettled())

    def since(self, position: int) -> Pcm16:
        """The audio that is kept, from `position` on."""
        unsettled = self._unsettled()
        start = self._settled_end - self._settled_samples
        whole = np.concatenate((*self._settled, unsettled))
        self._settle(unsettled)
        return whole[max(0, position - start) :]

    def drop_before(self, position: int) -> None:
        """Let go of what lies before `position`; some of it may be kept."""
        while self._settled and self._settled_end - self._settled_samples + len(self._settled[0]) <= position:
            self._settled_samples -= len(self._settled.popleft())
        if not self._settled:
            self._drop_came(self._as_it_came(position) - self._overlap)
            self._settled_end = max(self._settled_end, self._at_rate(self._came_start))

    def _unsettled(self) -> Pcm16:
        """Resamples the rest, which was not resampled for good."""
        if not self._came:
            return SILENCE
        came = np.concatenate(self._came)
        return resample(came, self._rate, RATE)[self._settled_end - self._at_rate(self._came_start) :]

    def _settle(self, unsettled: Pcm16) -> None:
        """Keep what does not depend on what comes next."""
        end = self._came_start + self._came_samples - self._overlap
        end -= end % self._grain
        count = self._at_rate(end) - self._settled_end
        if count > 0:
            self._settled.append(unsettled[:count])
            self._settled_end += count
            self._settled_samples += count
            self._drop_came(end - self._overlap)

    def _drop_came(self, position: int) -> None:
        """Let go of what came before `position`, in samples at `rate`, but for less than a grain."""
        position = min(position, self._came_start + self._came_samples)
        excess = position - position % self._grain - self._came_start
        if excess <= 0:
            return
        self._came_start += excess
        self._came_samples -= excess
        while self._came and len(self._came[0]) <= excess:
            excess -= len(self._came.popleft())
        if excess:
            self._came[0] = self._came[0][excess:]

    def _at_rate(self, position: int) -> int:
        return position * RATE // self._rate

    def _as_it_came(self, position: int) -> int:
        return position * self._rate // RATE


def read_audio(path: Path, rate: int = RATE) -> Pcm16:
    """A WAV, FLAC or other file that libsndfile reads, mixed down to mono, at `rate`.

    Raises:
        AudioError: no such file, not audio, or empty; the message names the file.
    """
    if not path.is_file():
        raise AudioError(f"{path}: no such file")
    try:
        data, source_rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError) as error:
        raise AudioError(f"{path}: not audio that can be read (WAV, FLAC, OGG or MP3): {error}") from error
    if not len(data):
        raise AudioError(f"{path}: holds no audio")
    return resample(to_pcm16(data.mean(axis=1)), source_rate, rate)


def write_wav(path: Path, pcm: Pcm16, rate: int) -> None:
    """Write mono PCM16 as WAV."""
    soundfile.write(path, pcm, rate, subtype="PCM_16")
