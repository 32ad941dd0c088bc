"""The ASGI doors: POST / for AWS clients, health, metrics, the admin socket."""
