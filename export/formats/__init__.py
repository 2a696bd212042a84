"""What a module can be exported to beside ONNX."""
