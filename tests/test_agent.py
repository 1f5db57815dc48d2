"""Who is admitted, and when the agent is ready."""

import asyncio
from types import SimpleNamespace
from typing import Literal

import pytest

from tests.scripted import Script
from voice_agent.agent import CLOSE_WITHIN_S, START_AGAIN_S, Agent, Refused
from voice_agent.config import ServerSettings, Settings, TtsSettings
from voice_agent.dialogue.events import ResponseStarted, UserTranscript
from voice_agent.dialogue.options import SessionOptions
from voice_agent.engines import Engines
from voice_agent.errors import SettingsError, StageError

pytestmark = pytest.mark.looptime


def agent_of(script: Script) -> Agent:
    return Agent(Settings(server=ServerSettings(max_sessions=1)), script.engines())


async def refusal(agent: Agent) -> str:
    with pytest.raises(Refused) as refused:
        async with agent.session(SessionOptions()):
            pass
    return refused.value.code


async def test_it_is_ready_when_every_engine_has_started(monkeypatch: pytest.MonkeyPatch) -> None:
    script, loaded = Script(), asyncio.Event()
    monkeypatch.setattr(script.transcriber, "start", loaded.wait)
    agent = agent_of(script)
    async with agent.running():
        await asyncio.sleep(60)
        assert not agent.ready
        assert await refusal(agent) == "not_ready"
        loaded.set()
        await asyncio.sleep(1)
        assert agent.ready
        async with agent.session(SessionOptions()):
            assert await refusal(agent) == "server_full"
        async with agent.session(SessionOptions()):
            pass
    assert not agent.ready


async def test_an_endpoint_that_comes_up_late_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    script, attempts = Script(), 0

    async def start() -> None:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise StageError("generator", "can't reach http://localhost:8000")

    monkeypatch.setattr(script.generator, "start", start)
    agent = agent_of(script)
    async with agent.running():
        await asyncio.sleep(1)
        assert agent.failure == "can't reach http://localhost:8000"
        await asyncio.sleep(3 * START_AGAIN_S)
        assert agent.ready
        assert agent.failure is None


async def test_a_wrong_setting_is_told_to_who_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script()

    async def start() -> None:
        raise SettingsError("tts.voice: there is no 'nobody'")

    monkeypatch.setattr(script.synthesizer, "start", start)
    agent = agent_of(script)
    async with agent.running():
        await asyncio.sleep(60)
        with pytest.raises(Refused, match=r"tts\.voice"):
            async with agent.session(SessionOptions()):
                pass


async def test_an_engine_whose_threads_hang_makes_it_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script()
    agent = agent_of(script)
    async with agent.running():
        await asyncio.sleep(1)
        assert agent.serving
        monkeypatch.setattr(script.synthesizer, "healthy", False, raising=False)
        assert not agent.serving
        with pytest.raises(Refused, match="threads of ScriptedSynthesizer hang"):
            async with agent.session(SessionOptions()):
                pass
        monkeypatch.setattr(script.synthesizer, "healthy", True)
        assert agent.serving


@pytest.mark.parametrize("engine", ["piper", "kokoro", "xtts"])
def test_every_engine_with_threads_is_asked_whether_they_hang(
    monkeypatch: pytest.MonkeyPatch, engine: Literal["piper", "kokoro", "xtts"]
) -> None:
    engines = Engines.build(Settings(tts=TtsSettings(engine=engine)))
    assert engines.hung is None
    for threaded in (engines.endpoint, engines.transcriber, engines.synthesizer):
        with monkeypatch.context() as hanging:
            hanging.setattr(threaded, "_worker", SimpleNamespace(healthy=False))
            assert engines.hung
    assert engines.hung is None


async def test_an_engine_that_does_not_close_keeps_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    script, closed = Script(), asyncio.Event()

    async def close() -> None:
        closed.set()

    async def fail() -> None:
        raise StageError("generator", "it was not there")

    monkeypatch.setattr(script.endpoint, "close", asyncio.Event().wait)
    monkeypatch.setattr(script.generator, "close", fail)
    monkeypatch.setattr(script.synthesizer, "close", close)
    clock = asyncio.get_running_loop().time
    async with agent_of(script).running():
        begun = clock()
    assert closed.is_set()
    assert clock() - begun == pytest.approx(CLOSE_WITHIN_S)
    assert "ScriptedEndpoint did not close" in caplog.text
    assert "ScriptedGenerator failed to close" in caplog.text


async def test_draining_waits_for_the_sessions_but_not_for_ever() -> None:
    agent = agent_of(Script())
    clock = asyncio.get_running_loop().time
    async with agent.running():
        await asyncio.sleep(1)
        async with agent.session(SessionOptions()):
            begun = clock()
            await agent.drain(2)
            assert clock() - begun == pytest.approx(2)
        assert await refusal(agent) == "shutting_down"
        await agent.drain(2)
        assert clock() - begun == pytest.approx(2)


async def test_a_session_goes_on_while_nobody_is_attached_to_it() -> None:
    script = Script()
    agent = agent_of(script)
    async with agent.running():
        await asyncio.sleep(1)
        hosted = await agent.begin(SessionOptions())
        async with hosted.attached() as session:
            session.read("hello")
        await asyncio.sleep(10)  # the reply is made and, as far as anybody knows, played
        async with hosted.attached() as again:
            assert again is session
            events = again.events()
            kinds = [type(await anext(events)) for _ in range(4)]
            assert kinds[:2] == [UserTranscript, ResponseStarted]
        assert await refusal(agent) == "server_full"
        await agent.end(hosted)
        async with agent.session(SessionOptions()):
            pass


async def test_what_nobody_foresaw_ends_the_session_and_is_told_to_who_is_attached() -> None:
    agent = agent_of(Script())
    before = asyncio.all_tasks()
    async with agent.running():
        await asyncio.sleep(1)
        with pytest.raises(ExceptionGroup) as caught:
            async with agent.session(SessionOptions()) as session:
                session._listener._ask(_fails())
                await asyncio.sleep(60)
        assert caught.group_contains(ZeroDivisionError)
        async with agent.session(SessionOptions()):
            pass
    assert asyncio.all_tasks() == before


async def _fails() -> None:
    raise ZeroDivisionError


async def test_a_session_whose_tasks_hang_gives_its_place_back() -> None:
    agent = agent_of(Script())
    released = asyncio.Event()

    async def hang() -> None:
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue

    async with agent.running():
        await asyncio.sleep(1)
        async with agent.session(SessionOptions()) as session:
            session._listener._ask(hang())
            await asyncio.sleep(0)
        async with agent.session(SessionOptions()):
            pass
        released.set()


async def test_an_engine_that_fails_as_nobody_foresaw_is_told_to_who_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script, closed = Script(), asyncio.Event()

    async def start() -> None:
        raise RuntimeError("no such device")

    async def close() -> None:
        closed.set()

    monkeypatch.setattr(script.synthesizer, "start", start)
    monkeypatch.setattr(script.transcriber, "close", close)
    agent = agent_of(script)
    async with agent.running():
        await asyncio.sleep(1)
        with pytest.raises(Refused, match="ScriptedSynthesizer failed: RuntimeError: no such device"):
            async with agent.session(SessionOptions()):
                pass
    assert closed.is_set()
