"""A party's own workers, through joblib: processes on this machine, or a Ray or Dask cluster of the party's."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import joblib
from pydantic import Field

from parties.errors import ConfigError
from vfl.protocols.spread import Workers
from vfl.terms import Terms

__all__ = ["ComputeSettings", "open_workers"]


class ComputeSettings(Terms):
    """``[compute]`` in node.toml. ``none`` computes in the node's own process."""

    backend: Literal["none", "loky", "ray", "dask"] = "none"
    workers: int = Field(default=0, ge=0, le=1024, description="calls at once; 0 takes every core, or the cluster's")
    address: str = Field(default="", description="the cluster's scheduler; empty starts or finds a local one")


class _Joblib:
    def __init__(self, parallel: joblib.Parallel, count: int) -> None:
        self._parallel = parallel
        self.count = count

    def __call__(self, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        results: list[Any] = self._parallel(joblib.delayed(function)(*call) for call in calls)
        return results


@contextlib.contextmanager
def open_workers(settings: ComputeSettings) -> Iterator[Workers | None]:
    """The configured workers for as long as the context lasts; None for ``none``.

    Raises :class:`ConfigError` when the backend is not installed or its cluster cannot be reached.
    """
    if settings.backend == "none":
        yield None
        return
    with contextlib.ExitStack() as stack:
        try:
            count = _register(settings, stack)
        except ImportError:
            raise ConfigError(
                f"compute.backend = {settings.backend!r} is not installed: pip install 'entente[{settings.backend}]'"
            ) from None
        except (OSError, ConnectionError, TimeoutError, ValueError) as error:
            where = settings.address or "a local cluster"
            raise ConfigError(f"compute.address: {settings.backend} at {where} cannot be reached ({error})") from None
        stack.enter_context(joblib.parallel_config(backend=settings.backend, n_jobs=count))
        yield _Joblib(stack.enter_context(joblib.Parallel(n_jobs=count)), count)


def _register(settings: ComputeSettings, stack: contextlib.ExitStack) -> int:
    """Make the backend known to joblib; returns how many calls run at once."""
    if settings.backend == "dask":
        from distributed import Client

        make: Callable[..., Any] = Client
        client = stack.enter_context(make(settings.address, timeout=10) if settings.address else make(processes=True))
        return settings.workers or max(sum(client.nthreads().values()), 1)
    if settings.backend == "ray":
        import ray
        from ray.util.joblib import register_ray

        if not ray.is_initialized():
            # one of our own is for this machine alone, and ends with us
            local: dict[str, Any] = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
            ray.init(settings.address or "local", log_to_driver=False, **({} if settings.address else local))
            stack.callback(ray.shutdown)
        register_ray()
        return settings.workers or max(int(ray.cluster_resources().get("CPU", 1)), 1)
    return settings.workers or joblib.cpu_count()
