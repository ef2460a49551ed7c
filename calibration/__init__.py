"""Which pictures set the int8 ranges, and the artifact that says so. No TensorFlow."""
