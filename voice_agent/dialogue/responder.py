"""The responses of one session: at most one prepared, at most one with the floor; each cleans up after itself."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from voice_agent.audio import RATE, Pcm16, Resampler
from voice_agent.config import Settings
from voice_agent.dialogue.bounds import unforeseen
from voice_agent.dialogue.events import (
    EndReason,
    ResponseEnded,
    ResponsePaused,
    ResponseResumed,
    SessionError,
    TurnTimeline,
)
from voice_agent.dialogue.items import LEAST_ROOM, AssistantItem, Items, View, token_estimate
from voice_agent.dialogue.listening import Listener
from voice_agent.dialogue.manners import Phrases
from voice_agent.dialogue.options import SessionOptions
from voice_agent.dialogue.outbox import Outbox
from voice_agent.dialogue.playback import Playback
from voice_agent.dialogue.replying import Reply, Retracted
from voice_agent.dialogue.response import Bridge, Phrase, Response, Source, Voice
from voice_agent.dialogue.spoken_text import END
from voice_agent.dialogue.timeline import Timeline
from voice_agent.engines import Engines
from voice_agent.errors import StageError
from voice_agent.stages.generator.request import Request

log = logging.getLogger(__name__)

LEAST_TRIED: Final = 256.0
"""Tokens of a conversation that a model is always sent at first, though it had no room for so many before: the fault
may have been another one."""
MOST_DISCARDED: Final = 4
"""Replies prepared for nothing in one utterance, after which the next one waits until it is due: somebody who pauses
every few words would have the model asked each time."""


@dataclass(slots=True)
class _Making:
    """A response and the task that makes it."""

    response: Response
    task: asyncio.Task[None]
    item: AssistantItem | None = None
    """Once it has the floor, if the model is told of it."""


class Responder:
    """Makes responses, gives them the floor, and takes it away. What was said joins `items`, as far as it was heard."""

    def __init__(
        self,
        session: str,
        engines: Engines,
        settings: Settings,
        items: Items,
        listener: Listener,
        outbox: Outbox,
        tasks: asyncio.TaskGroup,
        *,
        options: Callable[[], SessionOptions],
        phrases: Callable[[], Phrases],
        failed: Callable[[StageError], None],
        ended: Callable[[EndReason], None],
    ) -> None:
        """`options` and `phrases` give the current ones; `failed` is told of failures, `ended` when the floor is
        free."""
        self._session = session
        self._engines = engines
        self._settings = settings
        self._items = items
        self._listener = listener
        self._outbox = outbox
        self._tasks = tasks
        self._options, self._phrases = options, phrases
        self._failed, self._ended = failed, ended
        self._clock = asyncio.get_running_loop().time
        self._count = 0
        self._discarded = 0
        """In the open utterance."""
        self._fits = float("inf")
        """Tokens, as we estimate them, that the model had room for when it had said that there were too many."""
        self._prepared: _Making | None = None
        self._current: _Making | None = None

    @property
    def current(self) -> Response | None:
        """The response that has the floor."""
        return self._current.response if self._current else None

    def prepare(self, text: str, timeline: Timeline) -> None:
        """Begin with the reply to what the user may have said last. Nobody outside hears of it."""
        self.discard_prepared()
        if self._discarded < MOST_DISCARDED and self._engines.speculation.may_begin():
            self._prepared = self._make_reply(timeline, self._items.view(text))

    def discard_prepared(self) -> None:
        """What was prepared is void: the user goes on."""
        if self._prepared:
            self._discarded += 1
            self._engines.speculation.wasted(self._clock() - self._prepared.response.begun)
            self._prepared.task.cancel()
            self._prepared = None

    def answer(self, timeline: Timeline) -> None:
        """Reply to what the items hold, with what is prepared for it if that went well. It has the floor."""
        prepared, self._prepared = self._prepared, None
        view = self._items.leave_out(self._budget(self._instructions))
        if prepared and (prepared.response.failure or prepared.task.done()):
            log.warning("session %s: prepared in vain: %s", self._session, prepared.response.failure)
            self._engines.speculation.failed()
            anew = isinstance(prepared.response.failure, Retracted)
            prepared = self._make_reply(timeline, view, anew=anew)
        elif prepared:
            self._engines.speculation.used()
        self._give_floor(prepared or self._make_reply(timeline, view))

    def utterance_is_over(self) -> None:
        """What is prepared from now on is for another one."""
        self._discarded = 0

    def note_heard(self) -> None:
        """Bring the item of what is being said up to what was heard of it by now."""
        if self._current and self._current.item:
            self._current.item.heard_ms = self._current.response.playback.played_ms

    def say(self, words: str, timeline: Timeline) -> None:
        """Say something of which the model is not told. It has the floor."""
        self._give_floor(self._make(Phrase(words), timeline, remembered=False))

    def interrupt(self) -> None:
        """Take the floor away."""
        if self._current:
            self._end(self._current.response, "interrupted")

    def pause(self) -> None:
        """Fall silent, and be ready to go on."""
        if response := self.current:
            response.playback.pause()
            self._listener.agent_stops()
            self._outbox.put(ResponsePaused(response.id, response.playback.played_ms))

    def resume(self) -> None:
        """Go on from the same sample."""
        if response := self.current:
            self._outbox.put(ResponseResumed(response.id))
            response.playback.resume()

    def played(self, response_id: str, ms: float) -> None:
        """The client has played this much of a response; one that has ended is passed over."""
        response = self.current
        if response and response.id == response_id:
            self._listener.alive()
            if ms > 0 and response.playback.sent_ms:
                response.timeline.mark("first_audio_played", self._clock())
            response.playback.acknowledge(ms)

    def sent(self, response_id: str) -> None:
        """Audio of a response goes out to the client now."""
        response = self.current
        if response and response.id == response_id:
            response.timeline.mark("first_audio_sent", self._clock())

    def close(self) -> None:
        """Stop what is being made; what was heard of it counts, also in the metrics."""
        self.discard_prepared()
        self.interrupt()

    def _make_reply(self, timeline: Timeline, view: View, *, anew: bool = False) -> _Making:
        instructions = self._instructions
        budget = self._budget(instructions)

        def request(share: float) -> Request:
            tokens = budget if share == 1 else share * min(view.tokens, budget)
            messages = view.within(max(LEAST_ROOM, tokens)).messages(instructions)
            return Request(messages, need=making.response.need)  # asked once the response runs

        def fitted(share: float) -> None:
            self._fits = min(self._fits, max(LEAST_TRIED, share * min(view.tokens, budget)))

        reply = Reply(self._engines.generator, request, self._settings.llm.turn_timeout_s, fitted, anew=anew)
        making = self._make(reply, timeline, remembered=True)
        return making

    @property
    def _instructions(self) -> str:
        return self._options().instructions or self._engines.generator.instructions

    def _budget(self, instructions: str) -> float:
        """Tokens that the conversation may take, beside the instructions and the reply."""
        llm = self._settings.llm
        return min(self._fits, llm.context_tokens - llm.max_tokens - token_estimate(instructions))

    def _make(self, source: Source, timeline: Timeline, *, remembered: bool) -> _Making:
        """Begin with a response. However its task ends, and if it never begins, it is no longer under way then."""
        options, phrases, turn = self._options(), self._phrases(), self._settings.turn
        response = Response(
            source,
            timeline,
            self._engines.chunker,
            Voice(
                self._engines.synthesizer,
                options.voice,
                options.language,
                options.output_rate,
                self._settings.tts.timeout_s,
                self._engines.speeds,
            ),
            partial(self._playback, options),
            Bridge(phrases.filler, turn.filler_after_ms / 1000, phrases.no_answer),
            remembered=remembered,
        )
        self._engines.speculation.begun(response)
        task = self._tasks.create_task(self._run(response))
        task.add_done_callback(partial(self._clean_up, response))
        return _Making(response, task)

    async def _run(self, response: Response) -> None:
        try:
            reason = await response.run(self._failed)
            if response.failure and self.current is response:
                self._make_anew(response)
            else:
                self._end(response, reason)
        except Exception:  # a fault of ours: it ends the response, and not the conversation
            log.exception("session %s: a response failed in a way that nobody foresaw", self._session)
            unforeseen.inc()
            if self.current is response:
                self._outbox.put(
                    SessionError("internal_error", "the reply failed; the server's log tells why")
                )
                self._end(response, "failed")
                if response.remembered:
                    self.say(self._phrases().no_answer, response.timeline.again())

    def _make_anew(self, response: Response) -> None:
        """What was said of it was no reply: drop what was not heard, forget the rest, and ask again."""
        log.warning("session %s: %s", self._session, response.failure)
        response.spoken.forget()
        self._end(response, "interrupted")
        timeline = response.timeline.again()
        self._give_floor(self._make_reply(timeline, self._items.view(), anew=True))

    def _clean_up(self, response: Response, _: asyncio.Task[None]) -> None:
        response.close()
        self._engines.speculation.ended(response)

    def _playback(self, options: SessionOptions, send: Callable[[Pcm16], None]) -> Playback:
        resampler = Resampler(options.output_rate, RATE)

        def sounds(pcm: Pcm16, begins: float) -> None:
            self._listener.agent_sounds(resampler.feed(pcm), begins)

        return Playback(
            options.output_rate,
            options.lead_ms,
            send,
            client_pauses=options.client_pauses,
            sounds=sounds if self._settings.turn.echo_guard else None,
        )

    def _give_floor(self, making: _Making) -> None:
        self.interrupt()
        self._count += 1
        self._current, response = making, making.response
        if response.remembered:
            making.item = self._items.add_assistant(response.spoken)
        self._listener.agent_takes_floor(response)
        response.commit(f"resp_{self._count}", self._outbox.put)

    def _end(self, response: Response, reason: EndReason) -> None:
        """Nothing more of a response goes out, and the items hold what was heard of it."""
        making = self._current
        if making is None or making.response is not response:
            return
        self._current = None
        if reason == "interrupted":
            self._outbox.cut_off(response.id)
            making.task.cancel()
        response.close()
        heard_ms = END if reason == "completed" else response.playback.played_ms
        heard = response.spoken.heard(heard_ms)
        if making.item:
            making.item.heard_ms = heard_ms
        self._listener.agent_yields_floor(response.spoken.aloud(heard_ms))
        self._outbox.put(ResponseEnded(response.id, reason, response.playback.played_ms, heard))
        if response.timeline.answers:
            response.timeline.mark("response_end", self._clock())
            self._outbox.put(TurnTimeline(response.timeline.copy()))
        self._ended(reason)
