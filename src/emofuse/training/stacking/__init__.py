"""Many small models as one batched computation."""
