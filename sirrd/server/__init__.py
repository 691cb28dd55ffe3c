"""The HTTP server under the application: uvicorn with bounds, the socket, and the process from start to end."""
