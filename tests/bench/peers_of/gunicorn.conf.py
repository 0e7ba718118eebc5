"""gunicorn's settings for the bare Flask demo: its own threaded worker, two processes of four threads."""

import os

bind = f"127.0.0.1:{os.environ['PORT']}"
workers = 2
worker_class = "gthread"
threads = 4
preload_app = True
control_socket_disable = True
