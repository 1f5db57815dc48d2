"""Nothing that a stream can hold breaks its reader, and nothing depends on where it is cut."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stages.generator.serving import Answer, event, finish
from voice_agent.stages.generator.events import DONE, EventDecoder, NotAStreamError
from voice_agent.stages.generator.failures import EndpointError
from voice_agent.stages.generator.reply import ReplyReader

WORDS = st.sampled_from(
    [
        *("Hi", "", " ", "\ud83d", "\udc4d", "\x00", "<think>", "</think>", "<|end|>", "<|channel|>", "stop", "error"),
        *("length", "text", "thinking", "assistant", "0", "503"),
    ]
)  # fmt: skip
KEYS = st.sampled_from(
    [
        *("choices", "index", "delta", "message", "content", "text", "type", "reasoning", "reasoning_details"),
        *("refusal", "tool_calls", "function_call", "function", "name", "arguments", "id", "finish_reason", "usage"),
        *("error", "errors", "detail", "code", "status", "param", "loc", "msg", "object", "extra_content", "thought"),
        *("prompt_tokens", "completion_tokens", "google", "value", "summary"),
    ]
)  # fmt: skip
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 600) | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
CHOICES = st.builds(
    lambda delta, rest: {"choices": [{"index": 0, **rest, "delta": delta}]},
    st.dictionaries(KEYS, ANYTHING, max_size=3),
    st.dictionaries(KEYS, ANYTHING, max_size=2),
)


@settings(deadline=None)
@given(st.lists(ANYTHING | CHOICES, max_size=6), st.booleans())
def test_whatever_the_documents_are_there_is_an_answer_or_an_error(
    documents: list[Any], opened: bool
) -> None:
    reply, answer = ReplyReader(opened=opened), Answer()
    try:
        for document in documents:
            for delta in reply.feed(document):
                answer.take(delta)
        for delta in reply.end_of_stream():
            answer.take(delta)
    except EndpointError as error:
        str(error).encode()
    else:
        answer.take(reply.finish())


@settings(deadline=None)
@given(st.binary(max_size=60) | WORDS.map(lambda text: text.encode("utf-8", "replace")), st.data())
def test_whatever_the_bytes_are_there_are_documents_or_an_error(noise: bytes, data: st.DataObject) -> None:
    body = event(content="Hi").encode() + noise + b"\n" + finish().encode() + b"data: [DONE]\n\n"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=6)))

    def read(pieces: list[bytes]) -> list[Any]:
        decoder, found = EventDecoder(), []
        try:
            for piece in pieces:
                found += list(decoder.feed(piece))
            found += list(decoder.end())
        except NotAStreamError:
            found.append("error")
        return [one if one is DONE else json.dumps(one) for one in found]

    pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    assert read(pieces) == read([body])
