"""A recogniser behind HTTP and WebSocket, its page, and a client."""
