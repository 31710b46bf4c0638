"""Operators that ONNX Runtime has a fused kernel for, where the exporter would spell them out."""

from __future__ import annotations

import math
from typing import Any

import torch
from onnx import TensorProto

from wav_models.engines.onnx.opaque_blocks import OPSET, Translations


def onnxruntime_translations() -> Translations:
    """Translations of RMS norm, attention and rotary embedding to ONNX Runtime's own operators."""
    aten = torch.ops.aten
    return {
        aten.rms_norm.default: _rms_norm,
        aten.scaled_dot_product_attention.default: _attention,
        torch.ops.wav.rotate.default: _rotary_embedding,
    }


def standard_translations() -> Translations:
    """Translations for runtimes that know standard operators only."""
    return {torch.ops.wav.rotate.default: _rotation}


def _rotation(x: Any, cos: Any, sin: Any) -> Any:
    """`networks.rope.apply_rope`: channel pairs [*, hidden] turned by angles [*, hidden / 2]."""
    op = _opset()
    pairs = op.Cast(op.Reshape(x, op.Constant(value_ints=[*x.shape[:-1], -1, 2])), to=TensorProto.FLOAT)
    last = op.Constant(value_ints=[-1])
    real, imaginary = (op.Gather(pairs, op.Constant(value_int=i), axis=-1) for i in (0, 1))
    turned = (
        op.Sub(op.Mul(real, cos), op.Mul(imaginary, sin)),
        op.Add(op.Mul(imaginary, cos), op.Mul(real, sin)),
    )
    both = op.Concat(*(op.Unsqueeze(part, last) for part in turned), axis=-1)
    return op.CastLike(op.Reshape(both, op.Constant(value_ints=list(x.shape))), x)


def _rotary_embedding(x: Any, cos: Any, sin: Any) -> Any:
    """The runtime's operator takes [B, S, hidden] and tables [S, hidden / 2]; heads are not told apart by ours."""
    op, positions, hidden = _opset(), math.prod(cos.shape[:-1]), x.shape[-1]
    flat = op.Cast(op.Reshape(x, op.Constant(value_ints=[-1, positions, hidden])), to=TensorProto.FLOAT)
    tables = (op.Reshape(table, op.Constant(value_ints=[positions, hidden // 2])) for table in (cos, sin))
    first = op.Constant(value_ints=[0])
    turned = _operator("RotaryEmbedding", "com.microsoft", flat, first, *tables, interleaved=1)
    return op.CastLike(op.Reshape(turned, op.Constant(value_ints=list(x.shape))), x)


def _rms_norm(x: Any, normalized_shape: Any, weight: Any = None, eps: float = 0.0) -> Any:
    from onnx import helper

    if weight is None:
        ones = torch.ones(*normalized_shape).numpy()
        weight = _opset().Constant(value=helper.make_tensor("ones", x.dtype.value, ones.shape, ones))
    return _operator("SimplifiedLayerNormalization", "", x, weight, axis=-1, epsilon=eps)


def _attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """[G, heads, S, head_dim]; the runtime's operator takes [G, S, heads * head_dim], so that transpositions cancel."""
    op, heads = _opset(), query.shape[1]

    def merged(x: Any) -> Any:
        return op.Reshape(op.Transpose(x, perm=[0, 2, 1, 3]), op.Constant(value_ints=[0, 0, -1]))

    inputs = [merged(query), merged(key), merged(value)]
    if attn_mask is not None:
        shape = op.Constant(value_ints=[1, 1, query.shape[2], key.shape[2]])
        inputs += [None, None, op.Expand(attn_mask, shape)]
    attended = _operator("MultiHeadAttention", "com.microsoft", *inputs, num_heads=heads)
    return op.Transpose(op.Reshape(attended, op.Constant(value_ints=[0, 0, heads, -1])), perm=[0, 2, 1, 3])


def _opset() -> Any:
    from onnxscript import opset20

    return opset20


def _operator(name: str, domain: str, *inputs: Any, **attributes: float) -> Any:
    """The result of an operator that is not in the ONNX standard."""
    from onnx.defs import OpSchema
    from onnxscript import values

    formal, optional = OpSchema.FormalParameter, OpSchema.FormalParameterOption.Optional
    kinds = {float: OpSchema.AttrType.FLOAT, int: OpSchema.AttrType.INT}
    schema = OpSchema(
        name,
        domain,
        1,
        inputs=[formal(f"input_{i}", "T", param_option=optional) for i in range(len(inputs))],
        outputs=[formal("output", "T")],
        type_constraints=[("T", ["tensor(float)", "tensor(float16)", "tensor(bfloat16)"], "")],
        attributes=[OpSchema.Attribute(key, kinds[type(value)]) for key, value in attributes.items()],
    )
    opset = values.Opset(domain, 1 if domain else OPSET)
    return values.Op(opset, name, schema)(*inputs, **attributes)
