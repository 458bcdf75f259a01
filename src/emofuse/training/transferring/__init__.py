"""From one corpus to another: shots, methods, the matrix of both."""
