"""What turns features into logits: ASPP and decoder."""
