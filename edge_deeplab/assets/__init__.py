"""The bundled models and their cards."""
