"""Compute the parts of a batch job on a Ray cluster. All nodes must have the input and the output folder under the same paths.

A part is a task of an actor, which has loaded the model. Ray restarts actors whose node is lost and runs their tasks again.
That a part may be computed twice does no harm: its content is the same, and a file gets its name when it is complete.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from podium.batch.compute import compute_part
from podium.batch.folder import JobFolder
from podium.batch.limits import Limits, RequestMeter, with_limits
from podium.batch.manifest import Manifest, check_same_job
from podium.batch.options import scorer_facts
from podium.batch.outputs import find_output
from podium.batch.parts import Part
from podium.errors import PodiumError
from podium.extras import import_optional
from podium.inputs import check_positive, checked_limit
from podium.prices import Price
from podium.ranking import Reranker
from podium.scorers import as_scorer

__all__ = ["RayJob", "RayOptions"]

POLL_SECONDS = 1.0
# A part is also given to another actor if it takes longer than this, and this many times as long as any part so far. Otherwise
# a job would wait for a lost node whose actor cannot be restarted, because the cluster has no other node for it.
SLOW_SECONDS = 30.0
SLOW_FACTOR = 2.0


@dataclass(frozen=True, slots=True)
class RayOptions:
    """Where and how to run. Raises InvalidInput.

    - `address`: the cluster, such as "auto" for the one of this node; None starts Ray on this machine.
    - `actors`: the maximum number of actors, each with a loaded model; None for as many as the cluster's processors allow.
    - `cpus`: the number of processors of an actor, which are also the threads of its model.
    """

    address: str | None = None
    actors: int | None = None
    cpus: int = 1

    def __post_init__(self) -> None:
        checked_limit(self.actors)
        check_positive("ray_cpus", self.cpus)


@dataclass(frozen=True, slots=True)
class ActorMeter:
    """A Meter whose state is in an actor, for all workers of a job."""

    actor: Any

    def reserve(self, cost: float, tokens: float) -> float:
        seconds: float = _task_result(self.actor.reserve.remote(cost, tokens))
        return seconds

    def settle(self, reserved_cost: float, cost: float) -> None:
        _task_result(self.actor.settle.remote(reserved_cost, cost))


class PartWorker:
    """An actor: a model and the description of a job."""

    def __init__(
        self,
        load: Callable[[], Reranker],
        meter: ActorMeter | None,
        price: Price | None,
        manifest: Mapping[str, Any],
        folder: str,
        is_strict: bool,
    ) -> None:
        reranker = load()
        self._reranker = reranker if meter is None else with_limits(reranker, meter, price)
        self._manifest = Manifest.from_json(manifest)
        self._folder = JobFolder(Path(folder), find_output(self._manifest.options.output).ending)
        self._is_strict = is_strict
        check_same_job(self._manifest, self._manifest.options, scorer_facts(self._reranker))

    def start(self) -> None:
        """Return when the model is loaded."""

    def compute(self, number: int) -> int:
        """Compute a part, unless it is complete, and return the number of its pairs."""
        part = self._manifest.parts[number]
        if self._folder.is_complete(part):
            return 0
        return compute_part(part, self._manifest.options, self._reranker, self._folder, is_strict=self._is_strict).pairs


class RayJob:
    """The connection to a Ray cluster, and the call that loads a job's reranker on its nodes.

    `limits` are those of a job with a hosted model, None for other models. Raises MissingPackage, InvalidInput if the reranker
    was loaded with a secret, and PodiumError if there is no connection.
    """

    def __init__(self, reranker: Reranker, options: RayOptions, limits: Limits | None = None) -> None:
        self._ray = import_optional("ray", "ray")
        self._options = options
        self._load = _load_call(reranker, options.cpus)
        if not self._ray.is_initialized():
            dashboard = None if options.address else False
            try:
                self._ray.init(address=options.address, include_dashboard=dashboard, log_to_driver=False)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise PodiumError(f"cannot connect to Ray: {str(error)[:200]}; check the address, and that Ray runs") from error
        self._price = None if limits is None else limits.price
        self._meter = None if limits is None else ActorMeter(self._meter_actor(limits))

    def cost(self) -> float | None:
        """Return the estimated cost of all requests so far in US dollars, None if it is unknown."""
        return None if self._meter is None else _task_result(self._meter.actor.cost.remote())

    def _meter_actor(self, limits: Limits) -> Any:
        """Start an actor with a RequestMeter on the driver's node, so that it is lost only together with the driver."""
        scheduling = import_optional("ray.util.scheduling_strategies", "ray")
        node = self._ray.get_runtime_context().get_node_id()
        strategy = scheduling.NodeAffinitySchedulingStrategy(node, soft=False)
        return self._ray.remote(num_cpus=0, scheduling_strategy=strategy)(RequestMeter).remote(limits)

    def completed(
        self, manifest: Manifest, missing: Iterable[Part], folder: JobFolder, *, is_strict: bool
    ) -> Iterator[tuple[Part, int]]:
        """Compute parts, and yield each with the number of its pairs when it is complete.

        Raises the errors of `compute_part`.
        """
        parts = list(missing)
        cpus = self._options.cpus
        actor_count = self._options.actors or max(1, int(self._ray.cluster_resources().get("CPU", 1)) // cpus)
        actor_class = self._ray.remote(num_cpus=cpus, max_restarts=-1, max_task_retries=-1)(PartWorker)
        arguments = (self._load, self._meter, self._price, manifest.to_json(), str(folder.path.absolute()), is_strict)
        actors = [actor_class.remote(*arguments) for _ in range(min(actor_count, len(parts)))]
        try:
            yield from _Pool(self._ray, actors, parts).completed()
        finally:
            for actor in actors:
                self._ray.kill(actor)


class _Task(NamedTuple):
    """What an actor does since the time `began`: it computes a part, or starts if `part` is None."""

    actor: Any
    part: Part | None
    began: float


class _Pool:
    """Gives parts to actors that have started, and parts that take very long to a second one."""

    def __init__(self, ray: Any, actors: Iterable[Any], parts: Iterable[Part]) -> None:
        self._ray = ray
        self._waiting = list(reversed(list(parts)))
        self._left = set(self._waiting)
        self._tasks: dict[Any, _Task] = {}  # by Ray's reference to the result
        self._idle_actors: list[Any] = []
        self._longest_seconds = 0.0  # that a part took so far
        for actor in actors:
            self._tasks[actor.start.remote()] = _Task(actor, None, time.monotonic())

    def completed(self) -> Iterator[tuple[Part, int]]:
        """Yield each part with the number of its pairs when it is complete."""
        while self._left:
            done, _ = self._ray.wait(list(self._tasks), num_returns=1, timeout=POLL_SECONDS)
            for reference in done:
                task = self._tasks.pop(reference)
                pairs = _task_result(reference)
                self._idle_actors.append(task.actor)
                if task.part is not None and task.part in self._left:
                    self._left.remove(task.part)
                    self._longest_seconds = max(self._longest_seconds, time.monotonic() - task.began)
                    yield task.part, pairs
            self._assign()

    def _assign(self) -> None:
        """Give a part to each idle actor, as long as there are parts that wait or take very long."""
        while self._idle_actors:
            part = self._waiting.pop() if self._waiting else self._slow_part()
            if part is None:
                return
            actor = self._idle_actors.pop()
            self._tasks[actor.compute.remote(part.number)] = _Task(actor, part, time.monotonic())

    def _slow_part(self) -> Part | None:
        """Return a part that only one actor computes, and that takes very long; None if there is none."""
        running = [task for task in self._tasks.values() if task.part in self._left]
        actor_counts = Counter(task.part for task in running)
        began_before = time.monotonic() - max(SLOW_SECONDS, SLOW_FACTOR * self._longest_seconds)
        return next((task.part for task in running if task.began < began_before and actor_counts[task.part] == 1), None)


def _task_result(reference: Any) -> Any:
    """Wait for the result of a task, and return it. Raises the task's PodiumError, or one for another failure."""
    ray = import_optional("ray", "ray")
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, PodiumError):
            raise error.cause from None
        raise PodiumError(f"a part failed on Ray: {str(error.cause)[:200]}; see Ray's logs, and run the job again") from error
    except ray.exceptions.RayError as error:
        cause = error.__cause__ or error
        raise PodiumError(f"an actor failed on Ray: {str(cause)[-300:]}; see Ray's logs, and run the job again") from error


def _load_call(reranker: Reranker, threads: int) -> Callable[[], Reranker]:
    """Return a call that loads an equal reranker with this number of threads. Raises InvalidInput if it has secrets."""
    has_threads = as_scorer(reranker.scorer).threads is not None
    return reranker.load_call(**({"threads": threads} if has_threads else {}))
