"""What pulls tokens from an engine: dialects and parsers (pure), the client (I/O)."""
