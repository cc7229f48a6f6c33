"""What the sandbox can do on this machine, told to an operator: `modelyard doctor` prints it."""

from dataclasses import dataclass

from modelyard.sandbox import seccomp
from modelyard.sandbox.bubblewrap import Bubblewrap
from modelyard.sandbox.cgroups import Cgroups

#: What stands in for a controller that is missing.
_WITHOUT = {"pids": "pids (a watchdog counts processes)", "cpu": "cpu (only thread counts follow the cores)"}


@dataclass(frozen=True, slots=True)
class SandboxReport:
    """What works here, and what to do about the rest."""

    #: Whether user code may run at all under these settings.
    usable: bool
    #: Whether it runs behind walls.
    walled: bool
    #: Path of the bubblewrap that works, or None.
    bubblewrap: str | None
    #: "root" (walls built with root's rights, dropped inside), "rootless" (user namespace) or "off".
    mode: str
    #: "v1", "v2", or None where the watchdog and rlimits stand in.
    cgroups: str | None
    #: Controllers in use: memory, pids, cpu, cpuacct.
    controllers: tuple[str, ...]
    #: Whether the system-call filter knows this architecture.
    seccomp: bool
    #: Sentences on what is missing and how to mend it.
    reasons: tuple[str, ...]

    @property
    def advice(self) -> str:
        """One message for the one who has to mend it."""
        return "user code can't be walled in on this machine: " + (
            "; ".join(self.reasons) + ". To run code that you trust without walls, set MODELYARD_SANDBOX=off."
        )

    def lines(self) -> list[str]:
        """The report as lines of text."""
        walls = f"{self.mode}, {self.bubblewrap}" if self.walled else "NONE: user code runs as this very user"
        limits = f"cgroup {self.cgroups} ({', '.join(self.controllers)})" if self.cgroups else "watchdog and rlimits"
        filtered = "on" if self.seccomp and self.walled else "off"
        return [f"walls: {walls}", f"limits: {limits}", f"system-call filter: {filtered}", *self.reasons]


def describe(bubblewrap: Bubblewrap | None, cgroups: Cgroups | None, reasons: list[str], setting: str) -> SandboxReport:
    """Puts together what was found. `setting` is `required` or `off`."""
    said = list(reasons)
    if cgroups is None or not cgroups.limits_memory():
        said.append(
            "no control group is writable, so a watchdog limits memory ten times a second: run the agent under a "
            "service manager that delegates one (systemd: Delegate=yes; by hand: "
            "systemd-run --user --scope -p Delegate=yes ...)"
        )
    elif missing := [words for name, words in _WITHOUT.items() if name not in cgroups.parents]:
        said.append(
            f"the control group that may be used here lacks controllers: {', '.join(missing)}. Delegate them (systemd: "
            "Delegate=yes; by hand: write +pids +cpu into cgroup.subtree_control of the group above)"
        )
    mode = "off" if bubblewrap is None else "root" if bubblewrap.privileged else "rootless"
    return SandboxReport(
        usable=bubblewrap is not None or setting == "off",
        walled=bubblewrap is not None,
        bubblewrap=str(bubblewrap.binary) if bubblewrap else None,
        mode=mode,
        cgroups=f"v{cgroups.version}" if cgroups else None,
        controllers=tuple(cgroups.parents) if cgroups else (),
        seccomp=seccomp.filter_program() is not None,
        reasons=tuple(said),
    )
