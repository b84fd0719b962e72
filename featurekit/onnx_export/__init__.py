"""A fitted classifier as one ONNX file: pixels in, probabilities out, without featurekit or PyTorch."""

from __future__ import annotations

from .agreement import Agreement
from .run import OnnxModel, export_onnx

__all__ = ["Agreement", "OnnxModel", "export_onnx"]
