"""Operators that ONNX Runtime has a fused kernel for, where the exporter would spell them out."""

from __future__ import annotations

import math
from typing import Any, Final

import torch
from onnx import TensorProto

from wav_models.engines.onnx.opaque_blocks import Dialect, Translations

OPSET: Final = 20
ATTENTION_OPSET: Final = 23
"""The first that has attention and RMS norm as one operator each."""


def onnxruntime_dialect(on_gpu: bool) -> Dialect:
    """RMS norm and rotary embedding are ONNX Runtime's own operators, and so is attention on a GPU; on a CPU its
    kernel for the standard's is the faster one."""
    aten = torch.ops.aten
    translations: Translations = {
        aten.rms_norm.default: _rms_norm,
        aten.scaled_dot_product_attention.default: _multi_head_attention if on_gpu else _merged_attention,
        torch.ops.wav.rotate.default: _rotary_embedding,
    }
    return Dialect(OPSET if on_gpu else ATTENTION_OPSET, translations)


def standard_dialect(attention: bool) -> Dialect:
    """For runtimes that know standard operators only; `attention`: also the standard's `Attention` and
    `RMSNormalization`, which are spelled out where a runtime has them not."""
    translations: Translations = {torch.ops.wav.rotate.default: _rotation}
    if not attention:
        return Dialect(OPSET, translations)
    aten = torch.ops.aten
    translations[aten.rms_norm.default] = _standard_rms_norm
    translations[aten.scaled_dot_product_attention.default] = _standard_attention
    return Dialect(ATTENTION_OPSET, translations)


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
    flat = op.Reshape(x, op.Constant(value_ints=[-1, positions, hidden]))
    tables = (op.Reshape(table, op.Constant(value_ints=[positions, hidden // 2])) for table in (cos, sin))
    first, shape = op.Constant(value_ints=[0]), op.Constant(value_ints=list(x.shape))
    if x.dtype.value == TensorProto.FLOAT:
        return op.Reshape(_operator("RotaryEmbedding", "com.microsoft", flat, first, *tables, interleaved=1), shape)
    exact = op.Cast(flat, to=TensorProto.FLOAT)
    turned = _operator("RotaryEmbedding", "com.microsoft", exact, first, *tables, interleaved=1)
    return op.CastLike(op.Reshape(turned, shape), x)


def _rms_norm(x: Any, normalized_shape: Any, weight: Any = None, eps: float = 0.0) -> Any:
    weight = _ones(x, normalized_shape) if weight is None else weight
    return _operator("SimplifiedLayerNormalization", "", x, weight, axis=-1, epsilon=eps)


def _standard_rms_norm(x: Any, normalized_shape: Any, weight: Any = None, eps: float = 0.0) -> Any:
    from onnxscript import opset23

    weight = _ones(x, normalized_shape) if weight is None else weight
    return opset23.RMSNormalization(x, weight, axis=-1, epsilon=eps)


def _ones(like: Any, shape: Any) -> Any:
    from onnx import helper

    ones = torch.ones(*shape).numpy()
    return _opset().Constant(value=helper.make_tensor("ones", like.dtype.value, ones.shape, ones))


def _multi_head_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """The runtime's own operator."""
    inputs = [_merged(query), _merged(key), _merged(value)]
    if attn_mask is not None:
        inputs += [None, None, _expanded(attn_mask, query, key)]
    attended = _operator("MultiHeadAttention", "com.microsoft", *inputs, num_heads=query.shape[1])
    return _apart(attended, query)


def _merged_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """The standard's, which takes heads side by side, too."""
    from onnxscript import opset23

    mask, heads = None if attn_mask is None else _expanded(attn_mask, query, key), query.shape[1]
    inputs = _merged(query), _merged(key), _merged(value), mask
    attended, *_ = opset23.Attention(*inputs, q_num_heads=heads, kv_num_heads=heads)
    return _apart(attended, query)


def _merged(x: Any) -> Any:
    """[G, heads, S, head_dim] -> [G, S, heads * head_dim], as operators take it, so that transpositions cancel."""
    op, (groups, heads, tokens, width) = _opset(), x.shape
    return op.Reshape(op.Transpose(x, perm=[0, 2, 1, 3]), op.Constant(value_ints=[groups, tokens, heads * width]))


def _apart(x: Any, like: Any) -> Any:
    """What `_merged` undoes."""
    op, (groups, heads, tokens, width) = _opset(), like.shape
    return op.Transpose(op.Reshape(x, op.Constant(value_ints=[groups, tokens, heads, width])), perm=[0, 2, 1, 3])


def _standard_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """As the exporter writes it, but for the mask, of which ONNX Runtime wants a row for every query."""
    from onnxscript import opset23

    mask = None if attn_mask is None else _expanded(attn_mask, query, key)
    attended, *_ = opset23.Attention(query, key, value, mask)
    return attended


def _expanded(mask: Any, query: Any, key: Any) -> Any:
    """A mask of all queries together [1, 1, 1, S_key] as one of each."""
    op = _opset()
    return op.Expand(mask, op.Constant(value_ints=[1, 1, query.shape[2], key.shape[2]]))


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
