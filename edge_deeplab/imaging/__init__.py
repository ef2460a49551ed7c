"""Pictures: decoding with bounds, resizing with its exact inverse, augmentation. No data set, no model."""
