"""Matte in, picture out: smoothing over time, upsampling, blur, backgrounds, overlays."""
