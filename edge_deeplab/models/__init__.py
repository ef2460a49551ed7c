"""Networks, each a function of a Keras namespace. No data, no runtime, no cv2."""
