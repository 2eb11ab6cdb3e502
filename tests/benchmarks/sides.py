"""Sides that work in no time, for tests of the harness."""

import os
import time

import torch


def count_steps(work, clock):
    """Steps of 1, 2, 3, … units, each noted in a file with the process's id."""
    clock.wait()
    step = 0
    try:
        while True:
            step += 1
            with open(work["log"], "a") as log:
                log.write(f"{work['name']} {step} {os.getpid()}\n")
            clock.after(step)
    finally:
        work["log"].with_suffix(f".{work['name']}-ended").touch()


def break_down(work, clock):
    clock.wait()
    raise ValueError("no such weights")


def die(work, clock):
    clock.wait()
    os._exit(7)


def whole(work, clock):
    return {"peak_memory": 10, "began": time.time()}


def multiply(work, clock):
    """A turn of matrix products and little else."""
    clock.wait()
    matrix = torch.ones(400, 400)
    while True:
        for _ in range(20):
            matrix = (matrix @ matrix).clamp_(0, 1)
        (matrix[:, :16] @ matrix[:16]).clamp_(0, 1)
        clock.after(20)
