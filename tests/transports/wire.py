"""What a test receives and sends on the native wire."""

import json
from typing import Any

import numpy as np
import pytest
from starlette.testclient import WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

from voice_agent.audio import Pcm16


def receive(socket: WebSocketTestSession) -> dict[str, Any]:
    """The next message; audio comes as {"type": "audio", "pcm": ...}."""
    message = socket.receive()
    if message["type"] == "websocket.close":
        raise WebSocketDisconnect(message["code"])
    if message.get("bytes") is not None:
        return {"type": "audio", "pcm": np.frombuffer(message["bytes"], "<i2")}
    loaded: dict[str, Any] = json.loads(message["text"])
    return loaded


def until(socket: WebSocketTestSession, kind: str) -> list[dict[str, Any]]:
    """Every message up to the first of a kind."""
    messages = [receive(socket)]
    while messages[-1]["type"] != kind:
        messages.append(receive(socket))
    return messages


def send_audio(socket: WebSocketTestSession, *parts: Pcm16) -> None:
    socket.send_bytes(np.concatenate(parts).astype("<i2").tobytes())


def close_code(socket: WebSocketTestSession) -> int:
    with pytest.raises(WebSocketDisconnect) as caught:
        receive(socket)
    return int(caught.value.code)
