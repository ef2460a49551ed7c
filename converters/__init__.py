"""From a trained network to a verified .tflite: reading foreign weights, exporting, packing, inspecting."""
