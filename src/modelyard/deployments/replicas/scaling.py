"""How many replicas a serving is to have: by the calls that gateways have under way, and none after a long silence.

A pure reckoning, asked by `serving.py` whenever a gateway reported or a second has passed; it is handed the time. More
replicas are wanted when the load has asked for them throughout a short while, fewer when nothing has asked for as many
throughout a long one: a load that goes up and down faster than that changes nothing, so the number can't flap.
"""

from math import ceil

from modelyard.deployments.options import DeploymentOptions
from modelyard.settings import Settings

#: Seconds for which a load must last before there are more replicas.
UP_S = 0.5
#: A gateway that reported nothing for so long has no calls under way, or has ended.
STALE_S = 1.5


class Scaler:
    """The wanted number of one serving's replicas."""

    def __init__(self, options: DeploymentOptions, settings: Settings, now: float) -> None:
        self._settings, self._down_s = settings, settings.scale_down_s
        self.adjust(options)
        self.count = self._least
        #: When a call was last under way.
        self.used_at = now
        #: Gateway -> its calls under way and waiting, and when it said so.
        self._loads: dict[int, tuple[int, float]] = {}
        #: How many replicas the load asked for, and since when: a staircase, oldest step first.
        self._asked: list[tuple[float, int]] = [(now, self._least)]

    def adjust(self, options: DeploymentOptions) -> None:
        """Takes over other options."""
        self._least, self._most = options.replicas(self._settings)
        self._target, self._idle_s = options.target_queue, options.idle_timeout_s

    def note(self, gateway: int, load: int, now: float) -> None:
        """A gateway has so many calls under way and waiting; 0: it has had some since it last said so."""
        self._loads[gateway] = (load, now)
        self.used_at = now

    def is_idle(self, now: float) -> bool:
        """Whether the replicas are to be given back."""
        return self._idle_s is not None and now - self.used_at >= self._idle_s

    def wanted(self, now: float) -> int:
        """How many replicas there are to be from now on."""
        self._loads = {each: said for each, said in self._loads.items() if now - said[1] < STALE_S}
        asked = ceil(sum(load for load, _ in self._loads.values()) / self._target)
        if asked != self._asked[-1][1]:
            self._asked.append((now, asked))
        self._forget(now)
        lasting = min(self._since(now - UP_S))
        highest = max(self._since(now - self._down_s))
        self.count = max(min(max(self.count, lasting), highest), self._least)
        self.count = min(self.count, self._most)
        return self.count

    def _since(self, begin: float) -> list[int]:
        """What was asked from then on: the step that stood at that moment, and each later one."""
        later = [count for at, count in self._asked if at > begin]
        before = [count for at, count in self._asked if at <= begin]
        return before[-1:] + later

    def _forget(self, now: float) -> None:
        begin = now - max(self._down_s, UP_S)
        while len(self._asked) > 1 and self._asked[1][0] <= begin:
            self._asked.pop(0)
