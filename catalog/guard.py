"""A function in a child process that can be stopped: input that never ends, or eats all memory, costs only itself."""

import logging
import multiprocessing
import resource
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
START_SECONDS = 120.0  # importing what it calls on a busy machine
LOST = (EOFError, BrokenPipeError, ConnectionResetError)


class Stopped(Exception):
    """The call was given up: it took too long, or its process died."""


class OutOfTime(Stopped):
    """The call took too long."""


class NotStarted(Stopped):
    """There was no call: its process does not start, whatever the input."""


class Guarded(Generic[P, T]):
    """Calls a picklable function in a child; raises what the function raises, or Stopped.

    The child is started at the first call and again after each loss; it ends with the process that started it.
    """

    def __init__(self, function: Callable[P, T], max_seconds: float, max_memory: int) -> None:
        self._function = function
        self._max_seconds = max_seconds
        self._max_memory = max_memory
        self._lock = threading.Lock()  # one call at a time
        self._child: BaseProcess | None = None
        self._pipe: Connection | None = None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        with self._lock:
            return self._call(args, kwargs)

    def _call(self, args: tuple[object, ...], kwargs: dict[str, object]) -> T:
        pipe = self._pipe or self._start()
        try:
            pipe.send((args, kwargs))
            if not pipe.poll(self._max_seconds):
                self.close()
                raise OutOfTime(f"no result after {self._max_seconds:g} seconds")
            value, error = pipe.recv()
        except LOST as lost:
            self.close()
            raise Stopped(f"its process died; it may use {self._max_memory} bytes of memory") from lost
        if error is not None:
            raise error
        result: T = value
        return result

    def close(self) -> None:
        """Kill the child, if there is one."""
        if self._child is not None:
            self._child.kill()
            self._child.join()
        if self._pipe is not None:
            self._pipe.close()
        self._child = self._pipe = None

    def _start(self) -> Connection:
        context = multiprocessing.get_context("spawn")  # a fork would copy the locks of Arrow's and Ray's threads
        self._pipe, end = context.Pipe()
        self._child = context.Process(target=_serve, args=(end, self._function, self._max_memory), daemon=True)
        self._child.start()
        end.close()
        if not self._pipe.poll(START_SECONDS):
            self.close()
            raise NotStarted(f"its process did not start within {START_SECONDS:g} seconds")
        try:
            self._pipe.recv()
        except LOST as lost:
            self.close()
            raise NotStarted("its process died while starting") from lost
        return self._pipe


def _serve(pipe: Connection, function: Callable[..., object], max_memory: int) -> None:
    """Answer calls until the other end is gone."""
    logging.disable(logging.CRITICAL)  # what the function finds wrong is its answer
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = max_memory if hard == resource.RLIM_INFINITY else min(max_memory, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    answer: tuple[Any, Exception | None]
    try:
        pipe.send("ready")
        while True:
            args, kwargs = pipe.recv()
            try:
                answer = function(*args, **kwargs), None
            except Exception as error:  # noqa: BLE001 - handed to the caller, who raises it
                answer = None, error
            pipe.send(answer)
    except (*LOST, KeyboardInterrupt):
        return
