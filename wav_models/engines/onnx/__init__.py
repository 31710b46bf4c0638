"""The networks as ONNX graphs: export, passes, the runner."""
