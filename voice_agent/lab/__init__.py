"""Recordings in, figures out: the stages measured without a server."""
