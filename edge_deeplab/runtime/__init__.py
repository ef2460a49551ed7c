"""The engine: the only place that imports a LiteRT interpreter, and what reads a .tflite."""
