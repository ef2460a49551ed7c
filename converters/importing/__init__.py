"""Networks of the official TensorFlow 1 code, brought into model files of ours."""
