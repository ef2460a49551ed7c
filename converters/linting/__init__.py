"""What is slow or risky in a .tflite, and what devices take."""
