"""A bundle of PyTorch turned into an ONNX bundle, and checked against it."""
