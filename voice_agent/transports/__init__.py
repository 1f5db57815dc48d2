"""Wire protocols, one file each. A transport turns messages into calls on a session, and events into messages."""
