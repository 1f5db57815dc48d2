"""The page, with a scripted server behind it and a voice in the microphone."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser

from tests.chromium import Launch
from tests.fixtures import packaged
from tests.scripted_server import Call
from tests.web.microphone import track
from tests.web.site import Site, site
from tests.web.visit import Visit, visit


@pytest.fixture(scope="module")
def browser(launch: Launch, tmp_path_factory: pytest.TempPathFactory) -> Browser:
    """Hears somebody who never ends. To it `voice.test` is this machine, and yet not a secure origin."""
    voice = track(tmp_path_factory.mktemp("voice") / "voice.wav", *packaged()[:6], tail=0.1, loops=True)
    return launch(*voice.flags, "--host-resolver-rules=MAP voice.test 127.0.0.1")


@pytest.fixture
def served() -> Iterator[Site]:
    with site() as served:
        yield served


@pytest.fixture
def visited(browser: Browser, served: Site) -> Iterator[Visit]:
    """The page, as it is found."""
    with visit(browser, served.http) as visited:
        yield visited


@dataclass(frozen=True)
class Talk:
    """A call, from both sides."""

    visit: Visit
    site: Site

    @property
    def call(self) -> Call:
        """The server's side of the last connection."""
        return self.site.calls[-1]

    def hear(self, turn: int, text: str, final: bool = True) -> None:
        self.site.do(self.call.send("transcript", turn=turn, text=text, final=final))

    def sent(self, kind: str) -> list[dict[str, object]]:
        """What the page sent of this type."""
        return [message for _, message in self.call.messages if message["type"] == kind]

    def wait_for(self, kind: str, count: int = 1) -> dict[str, object]:
        """The so manieth of them."""
        self.visit.until(lambda: len(self.sent(kind)) >= count, f"{kind} from the page")
        return self.sent(kind)[count - 1]

    def wait_until_played(self, turn: int, ms: float) -> None:
        """Until the page says that it has played the whole reply, which is so long."""
        self.visit.until(
            lambda: max(self.call.played(f"r{turn}"), default=0) > ms - 3, "the end of the reply"
        )

    def wait_for_audio(self, seconds: float) -> list[int]:
        """The loudest sample of each frame of the next so many seconds."""
        begun, frames = len(self.call.frames), round(seconds / 0.02)
        self.visit.until(lambda: len(self.call.frames) >= begun + frames, "audio from the page")
        return [int(abs(pcm.astype(int)).max()) for _, pcm in self.call.frames[begun : begun + frames]]


def begin(visited: Visit, served: Site) -> Talk:
    """Press the button, and be through."""
    before = len(served.calls)
    visited.button("Start talking").click()
    visited.until(lambda: len(served.calls) > before, "a call")
    visited.expect_floor("listening")
    talk = Talk(visited, served)
    visited.until(lambda: talk.call.frames, "audio from the page")
    return talk


@pytest.fixture
def talk(visited: Visit, served: Site) -> Talk:
    """A call that has begun; nobody has said anything that the server would have understood."""
    return begin(visited, served)


@pytest.fixture
def other() -> Iterator[Site]:
    """A server of somebody else."""
    with site() as other:
        yield other
