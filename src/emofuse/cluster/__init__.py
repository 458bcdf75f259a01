"""Many workers: processes of this machine, or a Ray cluster. It knows nothing of emotions."""
