"""Export to ONNX, prove that the export is right, and measure it. Needs torch and onnx."""
