"""Everything that only a GPU can say, in one run of some minutes: `python -m wav_models.bench.gpu`.

Runs where torch, transformers, onnx, accelerate and safetensors are installed and nothing else of this project's.
"""
