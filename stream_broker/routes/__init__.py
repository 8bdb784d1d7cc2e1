"""HTTP and WebSocket routes: thin shells that parse, call and answer."""
