"""Conversations on virtual time, drawn from a seed: a caller, a client and engines that do all that these do in the
world, and what must hold nevertheless."""

from tests.dialogue.simulation.conversation import WIRES, Conversation, converse
from tests.dialogue.simulation.invariants import check

__all__ = ["WIRES", "Conversation", "check", "converse"]
