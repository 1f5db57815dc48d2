"""Weights: a catalogue of them, and a fetcher that verifies what it brings."""

from voice_agent.models.catalog import File, Weights, catalog
from voice_agent.models.fetch import Problem, ensure, present, verify
from voice_agent.models.progress import Progress

__all__ = ["File", "Problem", "Progress", "Weights", "catalog", "ensure", "present", "verify"]
