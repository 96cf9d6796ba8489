"""Stands in for the child process of self-verification and does what the text tells it to."""

import json
import os
import signal
import socket

from serving.confidence.self_verify.frames import HEAD, frame, length_of


def main() -> None:
    parent = socket.socket(fileno=0)
    parent.sendall(frame("ready"))
    while head := parent.recv(HEAD.size):
        text = json.loads(parent.recv(length_of(head)))["text"]
        while text == "hang":
            pass
        if text == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        if text == "die":
            os._exit(1)
        if text == "babble":
            parent.sendall(b"\xff" * 64)
        parent.sendall(frame([[0, len(text), "valid", f"by {os.getpid()}"]]))


if __name__ == "__main__":
    main()
