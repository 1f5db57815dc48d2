"""The history of a conversation, as ordered items with ids. The language model is sent a view of them.

Items keep their identity: merging what belongs together and leaving out what does not fit is done in the view.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import Final, TypeAlias, TypeVar

from voice_agent.dialogue.spoken_text import END, SpokenText
from voice_agent.stages.generator.request import Message, ToolCall

CHARACTERS_PER_TOKEN: Final = 3.5
"""A cautious guess for ASCII text: tokenizers of current models average about four in English."""
BYTES_PER_TOKEN: Final = 2.0
"""The same for all other characters, in UTF-8: 1.5 tokens for a Chinese one. Models made for it take 0.6 to 1, those
made for English up to 3: then the endpoint says that it was too long, and is asked with less."""
MESSAGE_TOKENS: Final = 4
"""Tokens that a chat template puts around a message."""
LEAST_ROOM: Final = 64
"""Tokens without which there is no conversation: a question of some forty words."""
LEAST_CHARACTERS: Final = 40
"""Of a message that are left, however little room there is: none at all is no message."""
KEPT_WHEN_FULL: Final = 0.5
"""Share of the budget that is kept when it runs out. Dropping much at once, and rarely, lets the model's
prompt cache hold for the turns between: it matches a prompt only from its beginning."""
MOST_UNANSWERED: Final = 20_000
"""Characters, or little more, of what the user said without an answer that every transcript of the turn repeats."""
MOST_ITEMS: Final = 600
"""Items of a session that are kept; the oldest go first."""


def token_estimate(text: str) -> float:
    """About how many tokens a model makes of `text`, rather too many than too few."""
    if text.isascii():
        return len(text) / CHARACTERS_PER_TOKEN
    ascii_only = len(text.encode("ascii", "ignore"))
    others = len(text.encode(errors="replace")) - ascii_only
    return ascii_only / CHARACTERS_PER_TOKEN + others / BYTES_PER_TOKEN


@dataclass(frozen=True, slots=True)
class UserItem:
    """The user said or typed this."""

    id: str
    text: str


@dataclass(slots=True)
class AssistantItem:
    """A response; its text is what was heard of it."""

    id: str
    spoken: SpokenText
    heard_ms: float = 0.0
    """Up to where its audio was heard; `END` for all of it. A client may put it back later (Realtime's truncate)."""

    @property
    def text(self) -> str:
        """The words that were heard."""
        return self.spoken.heard(self.heard_ms)


@dataclass(frozen=True, slots=True)
class SystemItem:
    """Said to the model by neither of the two."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class FunctionCallItem:
    """The model called a function."""

    id: str
    call: ToolCall


@dataclass(frozen=True, slots=True)
class FunctionOutputItem:
    """The output of a function."""

    id: str
    call_id: str
    output: str


Item: TypeAlias = UserItem | AssistantItem | SystemItem | FunctionCallItem | FunctionOutputItem
_I = TypeVar("_I", bound=Item)


@dataclass(frozen=True, slots=True)
class Exchange:
    """Words of the user and all that came of them: kept or left out as a whole, so that no call loses its output."""

    first: str | None
    """Id of its first item; None for what is not an item yet."""
    messages: tuple[Message, ...]

    @property
    def tokens(self) -> float:
        """Estimated."""
        return sum(map(_message_tokens, self.messages))


@dataclass(frozen=True, slots=True)
class View:
    """The conversation as the model reads it, without the instructions."""

    exchanges: tuple[Exchange, ...]

    @property
    def tokens(self) -> float:
        """Estimated."""
        return sum(exchange.tokens for exchange in self.exchanges)

    def within(self, budget: float) -> "View":
        """The latest exchanges that fit into so many tokens: all of them, or `KEPT_WHEN_FULL` of the budget at most.

        The last one is always kept; what the user said in it is cut at its beginning where that alone is too long.
        """
        latest, tokens = [0.0], 0.0
        for exchange in reversed(self.exchanges):  # no further than what is kept: a conversation may be long
            tokens += exchange.tokens
            if tokens > budget:
                break
            latest.append(tokens)
        else:
            return self
        many = max(1, bisect_right(latest, budget * KEPT_WHEN_FULL) - 1)
        *kept, last = self.exchanges[-many:]
        return View((*kept, _shortened(last, budget)))

    def messages(self, instructions: str) -> tuple[Message, ...]:
        """The messages that a model is sent."""
        return (
            Message("system", instructions),
            *(m for exchange in self.exchanges for m in exchange.messages),
        )


class Items:
    """The conversation of one session."""

    def __init__(self, history: Iterable[Message] = ()) -> None:
        """`history` is what was said before, by the user and the assistant, oldest first."""
        self._items: list[Item] = []
        self._ids = map("item_{}".format, count(1))
        self._first = 0
        """Index of the first item that the model is still shown."""
        for message in deque(history, MOST_ITEMS):
            if message.role == "user":
                self.add_user(message.content)
            else:
                self.add_assistant(SpokenText.heard_before(message.content)).heard_ms = END

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)

    def __getitem__(self, item_id: str) -> Item:
        """Raises KeyError: there is no such item (any more)."""
        for item in self._items:
            if item.id == item_id:
                return item
        raise KeyError(item_id)

    @property
    def unanswered(self) -> str:
        """The user's last words, or the end of them, while no answer was heard; else empty."""
        said: list[str] = []
        characters = 0
        for item in reversed(self._items):
            match item:
                case UserItem() if characters < MOST_UNANSWERED:
                    said.append(item.text)
                    characters += len(item.text)
                case AssistantItem() if not item.text:
                    continue
                case _:
                    break
        return " ".join(reversed(said))

    @property
    def agent_said(self) -> str:
        """The agent's last words, while the user has said nothing more; else empty."""
        said: list[str] = []
        for item in reversed(self._items):
            match item:
                case AssistantItem():
                    said.append(item.text)
                case UserItem():
                    break
        return " ".join(filter(None, reversed(said)))

    def add_user(self, text: str) -> UserItem:
        """The user said this."""
        return self._add(UserItem(next(self._ids), text))

    def add_assistant(self, spoken: SpokenText) -> AssistantItem:
        """A response has begun; it grows as it is made and heard."""
        return self._add(AssistantItem(next(self._ids), spoken))

    def add_system(self, text: str) -> SystemItem:
        """The model is to know this."""
        return self._add(SystemItem(next(self._ids), text))

    def add_call(self, call: ToolCall) -> FunctionCallItem:
        """The model called a function."""
        return self._add(FunctionCallItem(next(self._ids), call))

    def add_output(self, call_id: str, output: str) -> FunctionOutputItem:
        """The function gave this."""
        return self._add(FunctionOutputItem(next(self._ids), call_id, output))

    def view(self, said: str = "") -> View:
        """All that the model is shown; with `said`, as it would be after `add_user`, which is not done."""
        items = [*self._items[self._first :], *([UserItem("", said)] if said else [])]
        called = {item.call.id for item in items if isinstance(item, FunctionCallItem)}
        answered = called & {item.call_id for item in items if isinstance(item, FunctionOutputItem)}
        rows: list[tuple[str, list[Message]]] = []
        """The messages, one for each run of items by the same speaker, with the id of its first item."""
        for item in items:
            message = _message(item, answered)
            if message is None:
                continue
            if rows and rows[-1][1][0].role == message.role and message.role in ("user", "assistant"):
                rows[-1][1].append(message)
            else:
                rows.append((item.id, [message]))
        exchanges: list[tuple[str, list[Message]]] = []
        for item_id, row in rows:
            message = _joined(row)
            if exchanges and message.role != "user":
                exchanges[-1][1].append(message)
            elif message.role in ("user", "system"):  # what the agent said before anybody asked is left out
                exchanges.append((item_id, [message]))
        return View(tuple(Exchange(item_id or None, tuple(messages)) for item_id, messages in exchanges))

    def leave_out(self, budget: float) -> View:
        """From now on, do not show the model what no longer fits into so many tokens. What it is shown then."""
        view = self.view()
        shown = View(view.exchanges[-len(view.within(budget).exchanges) :])
        if shown.exchanges:
            first = shown.exchanges[0].first
            self._first = next(at for at, item in enumerate(self._items) if item.id == first)
        return shown

    def _add(self, item: _I) -> _I:
        self._items.append(item)
        if len(self._items) > MOST_ITEMS:
            del self._items[0]
            self._first = max(0, self._first - 1)
        return item


def _message(item: Item, answered: set[str]) -> Message | None:
    """An item as the model is shown it; `answered` are the calls that have their output. None for nothing."""
    match item:
        case UserItem():
            return Message("user", item.text)
        case AssistantItem() if text := item.text:
            return Message("assistant", text)
        case SystemItem():
            return Message("system", item.text)
        case FunctionCallItem() if item.call.id in answered:
            return Message("assistant", "", tool_calls=(item.call,))
        case FunctionOutputItem() if item.call_id in answered:
            return Message("tool", item.output, tool_call_id=item.call_id)
    return None


def _joined(messages: list[Message]) -> Message:
    """One message of one or several of the same speaker."""
    if len(messages) == 1:
        return messages[0]
    content = " ".join(message.content for message in messages if message.content)
    return replace(messages[0], content=content, tool_calls=sum((m.tool_calls for m in messages), ()))


def _message_tokens(message: Message) -> float:
    calls = sum(token_estimate(call.name + call.arguments) for call in message.tool_calls)
    return MESSAGE_TOKENS + token_estimate(message.content) + calls


def _shortened(exchange: Exchange, budget: float) -> Exchange:
    """Without the beginnings of its longest texts where it is too long: a question mostly comes last."""
    messages = list(exchange.messages)
    for _ in exchange.messages:
        excess = sum(map(_message_tokens, messages)) - budget
        longest = max(messages, key=lambda message: token_estimate(message.content))
        if excess <= 0 or len(longest.content) <= LEAST_CHARACTERS:
            break
        share = max(0.0, 1 - excess / _message_tokens(longest))
        kept = max(LEAST_CHARACTERS, round(len(longest.content) * share))
        text = longest.content.rstrip()[-kept:]
        rest = text.partition(" ")[2]  # not with the end of a word
        messages[messages.index(longest)] = replace(longest, content=rest if rest.strip() else text)
    return replace(exchange, messages=tuple(messages))
