"""The one home of tfmot: its faults mended, its graph prepared and calibrated."""
