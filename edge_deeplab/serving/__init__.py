"""Serving a model over HTTP: a bounded front, replicas on Ray Serve behind it, videos as jobs, a page to look at it.

server.run joins them. Replicas hold the model (models, replica); the front holds every connection, body and deadline
(connections, admission, front) and sends them pictures (dispatch). Nothing here trains, converts or knows the command
line; Ray, FastAPI and uvicorn come with the extra `serve`.
"""
