"""A self-hosted real-time voice assistant: speech in, speech out, over one WebSocket."""
